//! API 35, DescribeLogDirs. Tells how much room partitions take on disk.

use super::wire::Text;

messages! {
    DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse;

    /// Asks how much room partitions take on disk.
    struct DescribeLogDirsRequest {
        /// Partitions to tell of; `None` for all.
        topics: Option<Vec<DescribeLogDirsRequestTopic>> = Some(Vec::new()) => since(0).nullable(0),
    }

    /// One topic of a [`DescribeLogDirsRequest`].
    struct DescribeLogDirsRequestTopic {
        /// Name of the topic.
        topic: Text => since(0),
        /// The partitions.
        partitions: Vec<i32> => since(0),
    }

    /// The log directories.
    struct DescribeLogDirsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(3).ignorable(),
        /// The answers.
        results: Vec<DescribeLogDirsResponseLogDir> => since(0),
    }

    /// One log directory.
    struct DescribeLogDirsResponseLogDir {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Absolute path of the directory.
        log_dir: Text => since(0),
        /// The topics.
        topics: Vec<DescribeLogDirsResponseTopic> => since(0),
        /// Size of the file system; -1 when it is not known.
        total_bytes: i64 = -1 => since(4).ignorable(),
        /// Room that is left on the file system; -1 when it is not known.
        usable_bytes: i64 = -1 => since(4).ignorable(),
        /// Whether the directory gets no new partitions.
        is_cordoned: bool => since(5).ignorable(),
    }

    /// One topic of a [`DescribeLogDirsResponse`].
    struct DescribeLogDirsResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<DescribeLogDirsResponsePartition> => since(0),
    }

    /// One partition of a [`DescribeLogDirsResponse`].
    struct DescribeLogDirsResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// Bytes of the partition's segments.
        partition_size: i64 => since(0),
        /// How far the replica is behind.
        offset_lag: i64 => since(0),
        /// Whether the replica is on its way to this directory.
        is_future_key: bool => since(0),
    }
}
