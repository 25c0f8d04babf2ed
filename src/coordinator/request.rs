//! What may be asked of a coordinator, the answers, and the reasons for refusing.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use super::assignor::SERVER_PREFIX;
use super::{GroupConfig, Rebalance, State, Text};
use crate::limits;
use crate::types::{Millis, Offset, PartitionId, TopicId};

/// A request: a closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A member joins, or joins again. Answered when the rebalance is over.
    Join(Join),
    /// A member asks for its assignment; the leader brings everybody's.
    Sync(Sync),
    /// A member is alive.
    Heartbeat(Heartbeat),
    /// Members leave.
    Leave(Leave),
    /// Offsets are committed.
    Commit(Commit),
    /// Which offsets are committed.
    Fetch(Fetch),
    /// Committed offsets are no longer wanted.
    DeleteOffsets(DeleteOffsets),
    /// A group without members is no longer wanted.
    DeleteGroup(Text),
    /// Which groups there are.
    List(Filter),
    /// What there is to know of a group.
    Describe(Text),
    /// How many groups there are, and what they have committed.
    Survey,
}

/// Who brings the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigner {
    /// The member that leads, as in Kafka's classic protocol.
    Leader,
    /// The coordinator.
    Server,
}

/// A member joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: Text,
    /// The member's id, once it has one.
    pub member: Option<Text>,
    /// The name under which the member comes back after a restart (KIP-345).
    pub instance: Option<Text>,
    /// What the client calls itself.
    pub client_id: Text,
    /// Where it connected from.
    pub client_host: Text,
    /// Silence after which it counts as gone, in milliseconds.
    pub session_ms: u32,
    /// How long members may take to join again, in milliseconds.
    pub rebalance_ms: u32,
    /// What kind of group.
    pub protocol_type: Text,
    /// How the member can be assigned to, by preference, with what it tells the assignor.
    pub protocols: Vec<(Text, Bytes)>,
    /// Why, in the client's words.
    pub reason: Option<Text>,
    /// Who assigns.
    pub assigner: Assigner,
    /// A new member is given an id first and has to come again with it (KIP-394), so that a client
    /// whose answer is lost leaves no member behind.
    pub id_required: bool,
    /// The client understands that a leader may come back to a stable group and has nothing to
    /// assign.
    pub skips_assignment: bool,
    /// For the id of a new member. Chance is an input, so the caller draws it.
    pub fresh: Uuid,
}

/// A member asks for its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The group.
    pub group: Text,
    /// The member.
    pub member: Text,
    /// Its instance, if it has one.
    pub instance: Option<Text>,
    /// The generation it joined.
    pub generation: i32,
    /// What the client takes the group for, if it says.
    pub protocol_type: Option<Text>,
    /// How it takes the group to be assigned, if it says.
    pub protocol: Option<Text>,
    /// From the leader: who gets what.
    pub assignments: Vec<(Text, Bytes)>,
}

/// A member is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: Text,
    /// The member.
    pub member: Text,
    /// Its instance, if it has one.
    pub instance: Option<Text>,
    /// The generation it joined.
    pub generation: i32,
}

/// Members leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The group.
    pub group: Text,
    /// Who.
    pub members: Vec<Leaving>,
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its id; `None` to remove whoever has the instance.
    pub member: Option<Text>,
    /// Its instance, if it has one.
    pub instance: Option<Text>,
    /// Why, in the client's words.
    pub reason: Option<Text>,
}

/// Offsets are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: Text,
    /// Who commits; `None` for a consumer that is no member.
    pub member: Option<Text>,
    /// Its instance, if it has one.
    pub instance: Option<Text>,
    /// The generation of the member; -1 for a consumer that is no member.
    pub generation: i32,
    /// How long to keep the offsets whatever becomes of the group, as old clients may ask; `None`
    /// for the coordinator's own rule.
    pub retention_ms: Option<u64>,
    /// What.
    pub offsets: Vec<CommitOffset>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    /// The topic's name.
    pub topic: Text,
    /// The topic's id, so that the offset is not taken for one of a later topic.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to read.
    pub offset: Offset,
    /// Leader epoch of the last record that was read; -1 when it is not known.
    pub leader_epoch: i32,
    /// Whatever the client wants to keep with it.
    pub metadata: Text,
}

/// Which offsets are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The group.
    pub group: Text,
    /// Which partitions; `None`: all that have one.
    pub partitions: Option<Vec<(Text, PartitionId)>>,
}

/// Committed offsets are no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: Text,
    /// Of which partitions.
    pub partitions: Vec<(Text, PartitionId)>,
}

/// Which groups a listing names. Empty lists exclude nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// States.
    pub states: Vec<State>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a join.
    Joined(Result<Joined, JoinRefused>),
    /// To a sync.
    Synced(Result<Synced, GroupError>),
    /// To a leave: of each member that was named, in that order.
    Left(Result<Vec<Left>, GroupError>),
    /// To a commit: of each offset, in that order.
    Committed(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To a fetch.
    Fetched(Result<Vec<Fetched>, GroupError>),
    /// To a deletion of offsets: of each partition, in that order.
    OffsetsDeleted(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To a listing.
    Listed(Result<Vec<Listed>, GroupError>),
    /// To a description.
    Described(Result<Box<Described>, GroupError>),
    /// To a survey.
    Surveyed(Result<Box<Survey>, GroupError>),
    /// To a heartbeat or the deletion of a group.
    Done(Result<(), GroupError>),
}

/// A member of a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub member: Text,
    /// The generation.
    pub generation: i32,
    /// What kind of group.
    pub protocol_type: Text,
    /// How it is assigned.
    pub protocol: Text,
    /// Who leads.
    pub leader: Text,
    /// The leader has come back and has nothing to assign.
    pub skip_assignment: bool,
    /// For the leader: who there is to assign to.
    pub members: Vec<JoinedMember>,
    /// What the server assigned, where it does.
    pub assignment: Option<Bytes>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: Text,
    /// Its instance, if it has one.
    pub instance: Option<Text>,
    /// What it told the assignor.
    pub metadata: Bytes,
}

/// Why a member may not join, and under which id it was heard of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct JoinRefused {
    /// Why.
    #[source]
    pub error: GroupError,
    /// With [`GroupError::MemberIdRequired`], the id to come again with; else the id that the
    /// request had.
    pub member: Option<Text>,
}

/// A member has its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What kind of group.
    pub protocol_type: Text,
    /// How it is assigned.
    pub protocol: Text,
    /// What the member gets, in the assignor's bytes; may be empty.
    pub assignment: Bytes,
}

/// What became of a member that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// As it was named.
    pub member: Option<Text>,
    /// As it was named.
    pub instance: Option<Text>,
    /// Whether it left.
    pub outcome: Result<(), GroupError>,
}

/// A partition of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The topic's name.
    pub topic: Text,
    /// The partition.
    pub partition: PartitionId,
    /// What is committed, if anything.
    pub committed: Option<super::Committed>,
}

/// A group of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub group: Text,
    /// What kind of group; empty when it only has offsets.
    pub protocol_type: Text,
    /// Its state.
    pub state: State,
}

/// What there is to measure of the groups of a coordinator. Some of it may not be durable yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many groups are in each state.
    pub states: BTreeMap<State, usize>,
    /// Members of all groups.
    pub members: usize,
    /// What is committed, up to a bound on the offsets.
    pub committed: Vec<CommittedTopic>,
    /// Of how many topics of groups more is committed.
    pub left_out: usize,
}

/// What a group has committed of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// The group's name.
    pub group: Text,
    /// The topic's name.
    pub topic: Text,
    /// The offset of each partition that has one.
    pub offsets: Vec<(PartitionId, Offset)>,
}

/// Everything about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub group: Text,
    /// What kind of group; empty when it only has offsets.
    pub protocol_type: Text,
    /// How it is assigned; nothing while no generation is under way.
    pub protocol: Option<Text>,
    /// Who assigns.
    pub assigner: Assigner,
    /// Its state.
    pub state: State,
    /// How often it rebalanced.
    pub generation: i32,
    /// Who leads, if anybody.
    pub leader: Option<Text>,
    /// Its members by id.
    pub members: Vec<DescribedMember>,
    /// Why it rebalanced, oldest first.
    pub rebalances: Vec<Rebalance>,
}

/// A member of a described group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member: Text,
    /// Its instance, if it has one.
    pub instance: Option<Text>,
    /// What the client calls itself.
    pub client_id: Text,
    /// Where it connected from.
    pub client_host: Text,
    /// What it told the assignor. Empty unless the group is stable.
    pub metadata: Bytes,
    /// What it was given. Empty unless the group is stable.
    pub assignment: Bytes,
    /// Since when it is a member of the group in this process's memory.
    pub since: Millis,
}

/// Why a request is refused. The doc comment names the error that clients get (protocol/error.rs).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// `OffsetMetadataTooLarge`.
    #[error("the metadata of an offset may have {limit} bytes, this has {bytes}")]
    MetadataTooLarge {
        /// The bytes it has.
        bytes: usize,
        /// The bytes it may have.
        limit: usize,
    },
    /// `CoordinatorLoadInProgress`.
    #[error("the coordinator is reading its log; try again in a moment")]
    Loading,
    /// `CoordinatorNotAvailable`.
    #[error("the coordinator is not available: {0}")]
    NotAvailable(Text),
    /// `IllegalGeneration`.
    #[error("generation {given} is not the group's, which is {current}")]
    IllegalGeneration {
        /// As the request had it.
        given: i32,
        /// The group's.
        current: i32,
    },
    /// `InconsistentGroupProtocol`.
    #[error("the other members of the group do not know any protocol of this one")]
    InconsistentProtocol,
    /// `InvalidGroupId`.
    #[error("a group's name has between 1 and {} bytes", limits::GROUP_ID_BYTES_MAX)]
    InvalidGroupId,
    /// `UnknownMemberId`.
    #[error("the group has no such member")]
    UnknownMember,
    /// `InvalidSessionTimeout`.
    #[error("a session timeout is between {min} and {max} ms, not {given}")]
    InvalidSessionTimeout {
        /// As the request had it.
        given: u32,
        /// The shortest.
        min: u32,
        /// The longest.
        max: u32,
    },
    /// `RebalanceInProgress`.
    #[error("the group is rebalancing; the member has to join again")]
    RebalanceInProgress,
    /// `InvalidCommitOffsetSize`.
    #[error("{0} is no offset to commit")]
    InvalidOffset(Offset),
    /// `InvalidRequest`.
    #[error("{what} may have {limit}, this has {given}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much it has.
        given: usize,
        /// How much it may have.
        limit: usize,
    },
    /// `InvalidRequest`.
    #[error("{0}")]
    Malformed(&'static str),
    /// `NonEmptyGroup`.
    #[error("the group has members")]
    NotEmpty,
    /// `GroupIdNotFound`.
    #[error("there is no such group")]
    NotFound,
    /// `MemberIdRequired`.
    #[error("the member has to join again with the id that it was given")]
    MemberIdRequired,
    /// `GroupMaxSizeReached`.
    #[error("the group has as many members as it may have")]
    Full,
    /// `FencedInstanceId`.
    #[error("another member has come with the same instance id")]
    FencedInstance,
    /// `GroupSubscribedToTopic`.
    #[error("members of the group read that topic")]
    Subscribed,
    /// `PolicyViolation`.
    #[error("a coordinator keeps at most {} groups; delete some", limits::GROUPS_PER_PARTITION_MAX)]
    TooManyGroups,
    /// `CoordinatorNotAvailable`.
    #[error("the broker has too much to do; try again later")]
    Overloaded,
    /// `ReadOnly`.
    #[error("the data directory is open for reading only")]
    ReadOnly,
    /// `UnknownTopicOrPartition`.
    #[error("there is no such topic or partition")]
    UnknownTopicOrPartition,
    /// `OffsetOutOfRange`.
    #[error("offset {offset} is above the high watermark, which is {high_watermark}")]
    AboveHighWatermark {
        /// As the request had it.
        offset: Offset,
        /// Where what is committed ends.
        high_watermark: Offset,
    },
    /// Whatever error tells why nothing is written at the moment: `DiskFull` and its like.
    #[error("{0}")]
    NotWritable(Text),
}

impl JoinRefused {
    pub(super) fn of(join: &Join, error: GroupError) -> JoinRefused {
        JoinRefused { error, member: join.member.clone() }
    }
}

impl Join {
    /// Checks what can be seen without knowing the group.
    pub(super) fn check(&self, config: &GroupConfig) -> Result<(), GroupError> {
        check_group(&self.group)?;
        let sessions = config.session_ms_min..=config.session_ms_max;
        if !sessions.contains(&self.session_ms) {
            let (min, max) = (config.session_ms_min, config.session_ms_max);
            return Err(GroupError::InvalidSessionTimeout { given: self.session_ms, min, max });
        }
        if self.protocol_type.is_empty() || self.protocols.is_empty() {
            return Err(GroupError::InconsistentProtocol);
        }
        let by_server = self.protocols.iter().all(|(name, _)| name.starts_with(SERVER_PREFIX));
        if by_server != (self.assigner == Assigner::Server) {
            return Err(GroupError::InconsistentProtocol);
        }
        self.check_sizes()
    }

    fn check_sizes(&self) -> Result<(), GroupError> {
        let short = [
            ("a member id", self.member.as_deref().unwrap_or_default()),
            ("an instance id", self.instance.as_deref().unwrap_or_default()),
            ("a client id", &self.client_id),
            ("a client's address", &self.client_host),
            ("a protocol type", &self.protocol_type),
        ];
        let names = self.protocols.iter().map(|(name, _)| ("a protocol's name", &**name));
        for (what, text) in short.into_iter().chain(names) {
            check_size(what, text.len(), limits::GROUP_NAME_BYTES_MAX)?;
        }
        let limit = limits::GROUP_PROTOCOLS_MAX;
        check_size("a list of protocols", self.protocols.len(), limit)?;
        let bytes = self.protocols.iter().map(|(_, metadata)| metadata.len()).sum();
        check_size("what a member tells its assignor", bytes, limits::GROUP_MEMBER_BYTES_MAX)
    }
}

/// Refuses a name that no group has.
pub(super) fn check_group(group: &str) -> Result<(), GroupError> {
    match group.len() {
        1..=limits::GROUP_ID_BYTES_MAX => Ok(()),
        _ => Err(GroupError::InvalidGroupId),
    }
}

pub(super) fn check_size(what: &'static str, given: usize, limit: usize) -> Result<(), GroupError> {
    if given > limit {
        return Err(GroupError::TooLarge { what, given, limit });
    }
    Ok(())
}
