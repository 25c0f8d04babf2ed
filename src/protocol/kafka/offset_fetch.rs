//! API 9, OffsetFetch. Tells committed consumer offsets, of one group up to version 7 and of many
//! after it.

use super::wire::Text;
use crate::types::TopicId;

messages! {
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse;

    /// Asks for committed consumer offsets.
    struct OffsetFetchRequest {
        /// The group, in versions for one only.
        group_id: Text => since(0).until(7),
        /// Partitions of the one group; `None` for all that it has committed.
        topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new())
            => since(0).until(7).nullable(2),
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> => since(8),
        /// Whether offsets in open transactions are to be answered with an error.
        require_stable: bool => since(7),
    }

    /// One topic of a [`OffsetFetchRequest`].
    struct OffsetFetchRequestTopic {
        /// Name of the topic.
        name: Text => since(0).until(7),
        /// The partitions.
        partition_indexes: Vec<i32> => since(0).until(7),
    }

    /// One group of a [`OffsetFetchRequest`].
    struct OffsetFetchRequestGroup {
        /// The group.
        group_id: Text => since(8),
        /// Member that asks; `None` outside the new group protocol.
        member_id: Option<Text> => since(9).nullable(9).ignorable(),
        /// Epoch of the member; -1 outside the new group protocol.
        member_epoch: i32 = -1 => since(9).ignorable(),
        /// Partitions to tell of; `None` for all that the group has committed.
        topics: Option<Vec<OffsetFetchRequestGroupTopic>> = Some(Vec::new())
            => since(8).nullable(8),
    }

    /// One topic of a group of a [`OffsetFetchRequest`].
    struct OffsetFetchRequestGroupTopic {
        /// Name of the topic.
        name: Text => since(8).until(9).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(10).ignorable(),
        /// The partitions.
        partition_indexes: Vec<i32> => since(8),
    }

    /// The consumer offsets.
    struct OffsetFetchResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(3).ignorable(),
        /// The one group's topics, in versions for one only.
        topics: Vec<OffsetFetchResponseTopic> => since(0).until(7),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode), in versions for one group only.
        error_code: i16 => since(2).until(7).ignorable(),
        /// The groups.
        groups: Vec<OffsetFetchResponseGroup> => since(8),
    }

    /// One topic of a [`OffsetFetchResponse`].
    struct OffsetFetchResponseTopic {
        /// Name of the topic.
        name: Text => since(0).until(7),
        /// The partitions.
        partitions: Vec<OffsetFetchResponsePartition> => since(0).until(7),
    }

    /// One partition of a [`OffsetFetchResponse`].
    struct OffsetFetchResponsePartition {
        /// The partition.
        partition_index: i32 => since(0).until(7),
        /// The consumer offset; -1 when there is none.
        committed_offset: i64 => since(0).until(7),
        /// Leader epoch of the last record before it; -1 when it is not known.
        committed_leader_epoch: i32 = -1 => since(5).until(7).ignorable(),
        /// What the consumer wanted to be kept with it.
        metadata: Option<Text> = Some(Text::new()) => since(0).until(7).nullable(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0).until(7),
    }

    /// One group of a [`OffsetFetchResponse`].
    struct OffsetFetchResponseGroup {
        /// The group.
        group_id: Text => since(8),
        /// The topics.
        topics: Vec<OffsetFetchResponseGroupTopic> => since(8),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(8),
    }

    /// One topic of a group of a [`OffsetFetchResponse`].
    struct OffsetFetchResponseGroupTopic {
        /// Name of the topic.
        name: Text => since(8).until(9).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(10).ignorable(),
        /// The partitions.
        partitions: Vec<OffsetFetchResponseGroupPartition> => since(8),
    }

    /// One partition of a group's topic of a [`OffsetFetchResponse`].
    struct OffsetFetchResponseGroupPartition {
        /// The partition.
        partition_index: i32 => since(8),
        /// The consumer offset; -1 when there is none.
        committed_offset: i64 => since(8),
        /// Leader epoch of the last record before it; -1 when it is not known.
        committed_leader_epoch: i32 = -1 => since(8).ignorable(),
        /// What the consumer wanted to be kept with it.
        metadata: Option<Text> = Some(Text::new()) => since(8).nullable(8),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(8),
    }
}
