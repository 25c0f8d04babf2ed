//! API 47, OffsetDelete. Deletes committed consumer offsets.

use super::wire::Text;

messages! {
    OffsetDelete: OffsetDeleteRequest => OffsetDeleteResponse;

    /// Deletes committed consumer offsets of a group.
    struct OffsetDeleteRequest {
        /// The group.
        group_id: Text => since(0),
        /// The topics.
        topics: Vec<OffsetDeleteRequestTopic> => since(0),
    }

    /// One topic of a [`OffsetDeleteRequest`].
    struct OffsetDeleteRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<OffsetDeleteRequestPartition> => since(0),
    }

    /// One partition of a [`OffsetDeleteRequest`].
    struct OffsetDeleteRequestPartition {
        /// The partition.
        partition_index: i32 => since(0),
    }

    /// What became of each.
    struct OffsetDeleteResponse {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0).ignorable(),
        /// The topics.
        topics: Vec<OffsetDeleteResponseTopic> => since(0),
    }

    /// One topic of a [`OffsetDeleteResponse`].
    struct OffsetDeleteResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<OffsetDeleteResponsePartition> => since(0),
    }

    /// One partition of a [`OffsetDeleteResponse`].
    struct OffsetDeleteResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
