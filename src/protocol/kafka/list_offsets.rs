//! API 2, ListOffsets. Finds offsets by time.

use super::wire::Text;

messages! {
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse;

    /// Asks for offsets by time.
    struct ListOffsetsRequest {
        /// Node whose replica asks; -1 for a consumer.
        replica_id: i32 => since(0),
        /// 0: all records; 1: only those of committed transactions.
        isolation_level: i8 => since(2),
        /// The topics.
        topics: Vec<ListOffsetsRequestTopic> => since(0),
        /// How long the server may look in tiered storage.
        timeout_ms: i32 => since(10).ignorable(),
    }

    /// One topic of a [`ListOffsetsRequest`].
    struct ListOffsetsRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<ListOffsetsRequestPartition> => since(0),
    }

    /// One partition of a [`ListOffsetsRequest`].
    struct ListOffsetsRequestPartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// Leader epoch that the client knows of, for fencing; -1 when it knows none.
        current_leader_epoch: i32 = -1 => since(4).ignorable(),
        /// What to look for: the first record at or after this time in milliseconds, or -1 latest,
        /// -2 earliest, -3 largest time stamp, -4 earliest local, -5 latest tiered.
        timestamp: i64 => since(0),
    }

    /// The offsets.
    struct ListOffsetsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(2).ignorable(),
        /// The topics.
        topics: Vec<ListOffsetsResponseTopic> => since(0),
    }

    /// One topic of a [`ListOffsetsResponse`].
    struct ListOffsetsResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<ListOffsetsResponsePartition> => since(0),
    }

    /// One partition of a [`ListOffsetsResponse`].
    struct ListOffsetsResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Time stamp of the record; -1 for none.
        timestamp: i64 = -1 => since(1),
        /// Offset of the record; -1 when there is none.
        offset: i64 = -1 => since(1),
        /// Epoch of the leader; -1 when it is not known.
        leader_epoch: i32 = -1 => since(4),
    }
}
