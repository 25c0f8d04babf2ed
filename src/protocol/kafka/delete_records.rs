//! API 21, DeleteRecords. Deletes the oldest records of partitions.

use super::wire::Text;

messages! {
    DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse;

    /// Moves the log start of partitions up.
    struct DeleteRecordsRequest {
        /// The topics.
        topics: Vec<DeleteRecordsRequestTopic> => since(0),
        /// How long the server may take over it.
        timeout_ms: i32 => since(0),
    }

    /// One topic of a [`DeleteRecordsRequest`].
    struct DeleteRecordsRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<DeleteRecordsRequestPartition> => since(0),
    }

    /// One partition of a [`DeleteRecordsRequest`].
    struct DeleteRecordsRequestPartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// New log start; -1 for the high watermark.
        offset: i64 => since(0),
    }

    /// What became of each partition.
    struct DeleteRecordsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The topics.
        topics: Vec<DeleteRecordsResponseTopic> => since(0),
    }

    /// One topic of a [`DeleteRecordsResponse`].
    struct DeleteRecordsResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<DeleteRecordsResponsePartition> => since(0),
    }

    /// One partition of a [`DeleteRecordsResponse`].
    struct DeleteRecordsResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// First offset of the partition afterwards; -1 after an error.
        low_watermark: i64 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
