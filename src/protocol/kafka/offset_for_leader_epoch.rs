//! API 23, OffsetForLeaderEpoch. Tells where leader epochs end, so that others find out where their
//! log parts from this one.

use super::wire::Text;

messages! {
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;

    /// Asks where leader epochs end.
    struct OffsetForLeaderEpochRequest {
        /// Node whose replica asks; -1 for a consumer, -2 for one that does not say.
        replica_id: i32 = -2 => since(3).ignorable(),
        /// The topics.
        topics: Vec<OffsetForLeaderEpochRequestTopic> => since(0),
    }

    /// One topic of a [`OffsetForLeaderEpochRequest`].
    struct OffsetForLeaderEpochRequestTopic {
        /// Name of the topic.
        topic: Text => since(0),
        /// The partitions.
        partitions: Vec<OffsetForLeaderEpochRequestPartition> => since(0),
    }

    /// One partition of a [`OffsetForLeaderEpochRequest`].
    struct OffsetForLeaderEpochRequestPartition {
        /// The partition.
        partition: i32 => since(0),
        /// Leader epoch that the client knows of, for fencing; -1 when it knows none.
        current_leader_epoch: i32 = -1 => since(2).ignorable(),
        /// Epoch whose end is asked for.
        leader_epoch: i32 => since(0),
    }

    /// Where they end.
    struct OffsetForLeaderEpochResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(2).ignorable(),
        /// The topics.
        topics: Vec<OffsetForLeaderEpochResponseTopic> => since(0),
    }

    /// One topic of a [`OffsetForLeaderEpochResponse`].
    struct OffsetForLeaderEpochResponseTopic {
        /// Name of the topic.
        topic: Text => since(0),
        /// The partitions.
        partitions: Vec<OffsetForLeaderEpochResponsePartition> => since(0),
    }

    /// One partition of a [`OffsetForLeaderEpochResponse`].
    struct OffsetForLeaderEpochResponsePartition {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The partition.
        partition: i32 => since(0),
        /// The epoch itself or the largest one below it; -1 when there is none.
        leader_epoch: i32 = -1 => since(1).ignorable(),
        /// Where that epoch ends; -1 when it is not known.
        end_offset: i64 = -1 => since(0),
    }
}
