//! API 8, OffsetCommit. Stores consumer offsets. Topics go by name up to version 9 and by id after
//! it.

use super::wire::{Remark, Text};
use crate::types::TopicId;

messages! {
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse;

    /// Commits consumer offsets of a group.
    struct OffsetCommitRequest {
        /// The group.
        group_id: Text => since(0),
        /// Generation of the group, or the member's epoch in the new group protocol; -1 outside
        /// both.
        generation_id_or_member_epoch: i32 = -1 => since(1).ignorable(),
        /// The member; empty when it has no id yet.
        member_id: Text => since(1).ignorable(),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(7).nullable(7),
        /// How long to keep the offsets; -1 for the server's own rule.
        retention_time_ms: i64 = -1 => since(2).until(4).ignorable(),
        /// The topics.
        topics: Vec<OffsetCommitRequestTopic> => since(0),
    }

    /// One topic of a [`OffsetCommitRequest`].
    struct OffsetCommitRequestTopic {
        /// Name of the topic.
        name: Text => since(0).until(9).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(10).ignorable(),
        /// The partitions.
        partitions: Vec<OffsetCommitRequestPartition> => since(0),
    }

    /// One partition of a [`OffsetCommitRequest`].
    struct OffsetCommitRequestPartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// The consumer offset; -1 when there is none.
        committed_offset: i64 => since(0),
        /// Leader epoch of the last record before it; -1 when it is not known.
        committed_leader_epoch: i32 = -1 => since(6).ignorable(),
        /// What the consumer wants to be kept with it.
        committed_metadata: Option<Remark> = Some(Remark::default()) => since(0).nullable(0),
    }

    /// What became of each consumer offset.
    struct OffsetCommitResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(3).ignorable(),
        /// The topics.
        topics: Vec<OffsetCommitResponseTopic> => since(0),
    }

    /// One topic of a [`OffsetCommitResponse`].
    struct OffsetCommitResponseTopic {
        /// Name of the topic.
        name: Text => since(0).until(9).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(10).ignorable(),
        /// The partitions.
        partitions: Vec<OffsetCommitResponsePartition> => since(0),
    }

    /// One partition of a [`OffsetCommitResponse`].
    struct OffsetCommitResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
