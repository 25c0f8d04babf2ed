//! API 28, TxnOffsetCommit. Stores consumer offsets as part of a transaction. Topics go by name up
//! to version 5 and by id after it.

use super::wire::{Remark, Text};
use crate::types::TopicId;

messages! {
    TxnOffsetCommit: TxnOffsetCommitRequest => TxnOffsetCommitResponse;

    /// Commits consumer offsets of a group when the transaction commits.
    struct TxnOffsetCommitRequest {
        /// Transactional id of the producer
        transactional_id: Text => since(0),
        /// The group.
        group_id: Text => since(0),
        /// The producer.
        producer_id: i64 => since(0),
        /// Epoch of the producer.
        producer_epoch: i16 => since(0),
        /// Generation of the group, or the member's epoch in the new group protocol; -1 outside
        /// both.
        generation_id_or_member_epoch: i32 = -1 => since(3),
        /// The member; empty when it has no id yet.
        member_id: Text => since(3),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(3).nullable(3),
        /// The topics.
        topics: Vec<TxnOffsetCommitRequestTopic> => since(0),
    }

    /// One topic of a [`TxnOffsetCommitRequest`].
    struct TxnOffsetCommitRequestTopic {
        /// Name of the topic.
        name: Text => since(0).until(5).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(6).ignorable(),
        /// The partitions.
        partitions: Vec<TxnOffsetCommitRequestPartition> => since(0),
    }

    /// One partition of a [`TxnOffsetCommitRequest`].
    struct TxnOffsetCommitRequestPartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// The consumer offset; -1 when there is none.
        committed_offset: i64 => since(0),
        /// Leader epoch of the last record before it; -1 when it is not known.
        committed_leader_epoch: i32 = -1 => since(2).ignorable(),
        /// What the consumer wants to be kept with it.
        committed_metadata: Option<Remark> = Some(Remark::default()) => since(0).nullable(0),
    }

    /// What became of each consumer offset.
    struct TxnOffsetCommitResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The topics.
        topics: Vec<TxnOffsetCommitResponseTopic> => since(0),
    }

    /// One topic of a [`TxnOffsetCommitResponse`].
    struct TxnOffsetCommitResponseTopic {
        /// Name of the topic.
        name: Text => since(0).until(5).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(6).ignorable(),
        /// The partitions.
        partitions: Vec<TxnOffsetCommitResponsePartition> => since(0),
    }

    /// One partition of a [`TxnOffsetCommitResponse`].
    struct TxnOffsetCommitResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
