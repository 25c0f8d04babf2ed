//! Headers of the operations on consumer groups. Shapes only.

use super::Error;

messages! {
    /// Which consumer groups there are.
    pub struct ListGroups {
        /// Only groups in one of these states; none: all.
        #[prost(string, repeated, tag = "1")]
        pub states: Vec<String>,
    }

    /// Answer to [`ListGroups`].
    pub struct ListGroupsResult {
        /// The groups, by name.
        #[prost(message, repeated, tag = "1")]
        pub groups: Vec<GroupListing>,
    }

    /// One group of a listing.
    pub struct GroupListing {
        /// Name.
        #[prost(string, tag = "1")]
        pub group: String,
        /// What kind of group; empty: it only has offsets.
        #[prost(string, tag = "2")]
        pub protocol_type: String,
        /// Empty, PreparingRebalance, CompletingRebalance or Stable.
        #[prost(string, tag = "3")]
        pub state: String,
    }

    /// Asks for everything about groups.
    pub struct DescribeGroups {
        /// Their names.
        #[prost(string, repeated, tag = "1")]
        pub groups: Vec<String>,
    }

    /// Answer to [`DescribeGroups`].
    pub struct DescribeGroupsResult {
        /// One for each name, in the order of the request.
        #[prost(message, repeated, tag = "1")]
        pub groups: Vec<GroupDescription>,
    }

    /// Everything about a group.
    pub struct GroupDescription {
        /// Why there is nothing to tell.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Name.
        #[prost(string, tag = "2")]
        pub group: String,
        /// What kind of group; empty: it only has offsets.
        #[prost(string, tag = "3")]
        pub protocol_type: String,
        /// How partitions are assigned; empty: no generation is under way.
        #[prost(string, tag = "4")]
        pub protocol: String,
        /// Whether the server assigns.
        #[prost(bool, tag = "5")]
        pub server_assigned: bool,
        /// As in a listing.
        #[prost(string, tag = "6")]
        pub state: String,
        /// How often it rebalanced.
        #[prost(int32, tag = "7")]
        pub generation: i32,
        /// The node that coordinates it.
        #[prost(int32, tag = "8")]
        pub coordinator: i32,
        /// The member that leads; empty: none.
        #[prost(string, tag = "9")]
        pub leader: String,
        /// Its members, by id.
        #[prost(message, repeated, tag = "10")]
        pub members: Vec<GroupMember>,
        /// What it has committed, and what it was given and has not committed yet.
        #[prost(message, repeated, tag = "11")]
        pub offsets: Vec<GroupOffset>,
        /// Why it rebalanced, oldest first, since the coordinator started.
        #[prost(message, repeated, tag = "12")]
        pub rebalances: Vec<GroupRebalance>,
    }

    /// A member of a group.
    pub struct GroupMember {
        /// Id.
        #[prost(string, tag = "1")]
        pub member: String,
        /// Name under which it comes back after a restart; empty: none.
        #[prost(string, tag = "2")]
        pub instance: String,
        /// What the client calls itself.
        #[prost(string, tag = "3")]
        pub client_id: String,
        /// Where it connected from.
        #[prost(string, tag = "4")]
        pub client_host: String,
        /// What it was given, where that can be read.
        #[prost(message, repeated, tag = "5")]
        pub assignment: Vec<TopicPartitions>,
    }

    /// Partitions of a topic.
    pub struct TopicPartitions {
        /// The topic.
        #[prost(string, tag = "1")]
        pub topic: String,
        /// Indices of the partitions.
        #[prost(int32, repeated, tag = "2")]
        pub partitions: Vec<i32>,
    }

    /// A committed offset.
    pub struct GroupOffset {
        /// Why it can not be told; unset: it can.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// The topic.
        #[prost(string, tag = "2")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "3")]
        pub partition: i32,
        /// The next offset to read; -1: none is committed.
        #[prost(int64, tag = "4")]
        pub committed: i64,
        /// Leader epoch of the last record that was read; -1: unknown.
        #[prost(int32, tag = "5")]
        pub leader_epoch: i32,
        /// What the client added.
        #[prost(string, tag = "6")]
        pub metadata: String,
        /// Offset after the last committed record; -1: the partition is not there.
        #[prost(int64, tag = "7")]
        pub high_watermark: i64,
        /// First offset that can be read; -1: the partition is not there.
        #[prost(int64, tag = "8")]
        pub log_start_offset: i64,
        /// The member that reads it; empty: none.
        #[prost(string, tag = "9")]
        pub member: String,
    }

    /// One cause of a rebalance.
    pub struct GroupRebalance {
        /// When, in milliseconds since 1970.
        #[prost(int64, tag = "1")]
        pub at_ms: i64,
        /// The generation it leads to.
        #[prost(int32, tag = "2")]
        pub generation: i32,
        /// What happened.
        #[prost(string, tag = "3")]
        pub reason: String,
    }

    /// Deletes groups that have no members, with their offsets.
    pub struct DeleteGroups {
        /// Their names.
        #[prost(string, repeated, tag = "1")]
        pub groups: Vec<String>,
        /// Check everything and change nothing.
        #[prost(bool, tag = "2")]
        pub validate_only: bool,
    }

    /// Answer to [`DeleteGroups`].
    pub struct DeleteGroupsResult {
        /// One for each name, in the order of the request.
        #[prost(message, repeated, tag = "1")]
        pub groups: Vec<GroupResult>,
    }

    /// What became of one group.
    pub struct GroupResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Name.
        #[prost(string, tag = "2")]
        pub group: String,
    }

    /// Commits offsets.
    pub struct CommitOffsets {
        /// The group.
        #[prost(string, tag = "1")]
        pub group: String,
        /// The member that commits; empty: none, which only a group without members takes.
        #[prost(string, tag = "2")]
        pub member: String,
        /// Its instance; empty: none.
        #[prost(string, tag = "3")]
        pub instance: String,
        /// Generation of the member; -1: none.
        #[prost(sint32, tag = "4")]
        pub generation: i32,
        /// The offsets.
        #[prost(message, repeated, tag = "5")]
        pub offsets: Vec<OffsetToCommit>,
    }

    /// An offset to commit.
    pub struct OffsetToCommit {
        /// The topic.
        #[prost(string, tag = "1")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "2")]
        pub partition: i32,
        /// The next offset to read; at most the high watermark.
        #[prost(int64, tag = "3")]
        pub offset: i64,
        /// Leader epoch of the last record that was read; unset: unknown.
        #[prost(int32, optional, tag = "4")]
        pub leader_epoch: Option<i32>,
        /// Whatever is to be kept with it.
        #[prost(string, tag = "5")]
        pub metadata: String,
    }

    /// Answer to [`CommitOffsets`].
    pub struct CommitOffsetsResult {
        /// One for each offset, in the order of the request.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<GroupPartitionResult>,
    }

    /// What became of one partition.
    pub struct GroupPartitionResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// The topic.
        #[prost(string, tag = "2")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "3")]
        pub partition: i32,
    }

    /// Which offsets are committed.
    pub struct FetchOffsets {
        /// The group.
        #[prost(string, tag = "1")]
        pub group: String,
        /// Of which partitions; none: of all that have one.
        #[prost(message, repeated, tag = "2")]
        pub partitions: Vec<TopicPartitions>,
    }

    /// Answer to [`FetchOffsets`].
    pub struct FetchOffsetsResult {
        /// The offsets.
        #[prost(message, repeated, tag = "1")]
        pub offsets: Vec<GroupOffset>,
    }

    /// Removes committed offsets of partitions that no member reads.
    pub struct DeleteOffsets {
        /// The group.
        #[prost(string, tag = "1")]
        pub group: String,
        /// Of which partitions.
        #[prost(message, repeated, tag = "2")]
        pub partitions: Vec<TopicPartitions>,
    }

    /// Answer to [`DeleteOffsets`].
    pub struct DeleteOffsetsResult {
        /// One for each partition, in the order of the request.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<GroupPartitionResult>,
    }

    /// Joins a group, or joins it again. The answer comes when the rebalance is over and brings the
    /// member's partitions, which the server works out.
    pub struct JoinGroup {
        /// The group.
        #[prost(string, tag = "1")]
        pub group: String,
        /// The member's id; empty: it is new.
        #[prost(string, tag = "2")]
        pub member: String,
        /// Name under which it comes back after a restart; empty: none.
        #[prost(string, tag = "3")]
        pub instance: String,
        /// The topics it reads.
        #[prost(string, repeated, tag = "4")]
        pub topics: Vec<String>,
        /// Range, roundrobin, sticky or cooperative-sticky, by preference; none: range.
        #[prost(string, repeated, tag = "5")]
        pub assignors: Vec<String>,
        /// Silence after which it counts as gone; 0: 45 s.
        #[prost(uint32, tag = "6")]
        pub session_timeout_ms: u32,
        /// How long members may take to join again; 0: five minutes.
        #[prost(uint32, tag = "7")]
        pub rebalance_timeout_ms: u32,
        /// With cooperative-sticky: the partitions it goes on reading meanwhile.
        #[prost(message, repeated, tag = "8")]
        pub owned: Vec<TopicPartitions>,
        /// Generation that gave it those; unset: none.
        #[prost(int32, optional, tag = "9")]
        pub generation: Option<i32>,
        /// Why it joins, for people.
        #[prost(string, tag = "10")]
        pub reason: String,
    }

    /// Answer to [`JoinGroup`].
    pub struct JoinGroupResult {
        /// The member's id, for all that follows.
        #[prost(string, tag = "1")]
        pub member: String,
        /// The generation, for all that follows.
        #[prost(int32, tag = "2")]
        pub generation: i32,
        /// How partitions were assigned.
        #[prost(string, tag = "3")]
        pub assignor: String,
        /// The member's partitions.
        #[prost(message, repeated, tag = "4")]
        pub assignment: Vec<TopicPartitions>,
        /// How soon the coordinator wants to hear of the member again, in milliseconds.
        #[prost(uint32, tag = "5")]
        pub heartbeat_interval_ms: u32,
    }

    /// Says that a member is alive. The error REBALANCE_IN_PROGRESS means that it has to join
    /// again.
    pub struct GroupHeartbeat {
        /// The group.
        #[prost(string, tag = "1")]
        pub group: String,
        /// The member.
        #[prost(string, tag = "2")]
        pub member: String,
        /// Its instance; empty: none.
        #[prost(string, tag = "3")]
        pub instance: String,
        /// Its generation.
        #[prost(int32, tag = "4")]
        pub generation: i32,
    }

    /// Answer to [`GroupHeartbeat`].
    pub struct GroupHeartbeatResult {}

    /// Takes members out of a group.
    pub struct LeaveGroup {
        /// The group.
        #[prost(string, tag = "1")]
        pub group: String,
        /// Who.
        #[prost(message, repeated, tag = "2")]
        pub members: Vec<LeavingMember>,
        /// Why, for people.
        #[prost(string, tag = "3")]
        pub reason: String,
    }

    /// A member that leaves.
    pub struct LeavingMember {
        /// Its id; empty: whoever has the instance.
        #[prost(string, tag = "1")]
        pub member: String,
        /// Its instance; empty: none.
        #[prost(string, tag = "2")]
        pub instance: String,
    }

    /// Answer to [`LeaveGroup`].
    pub struct LeaveGroupResult {
        /// One for each member, in the order of the request.
        #[prost(message, repeated, tag = "1")]
        pub members: Vec<LeftMember>,
    }

    /// What became of one member.
    pub struct LeftMember {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Its id.
        #[prost(string, tag = "2")]
        pub member: String,
        /// Its instance.
        #[prost(string, tag = "3")]
        pub instance: String,
    }
}
