//! API 61, DescribeProducers. Tells what partitions remember of their producers.

use super::wire::Text;

messages! {
    DescribeProducers: DescribeProducersRequest => DescribeProducersResponse;

    /// Asks for the producers that partitions remember.
    struct DescribeProducersRequest {
        /// The topics.
        topics: Vec<DescribeProducersRequestTopic> => since(0),
    }

    /// One topic of a [`DescribeProducersRequest`].
    struct DescribeProducersRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partition_indexes: Vec<i32> => since(0),
    }

    /// The producers.
    struct DescribeProducersResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The topics.
        topics: Vec<DescribeProducersResponseTopic> => since(0),
    }

    /// One topic of a [`DescribeProducersResponse`].
    struct DescribeProducersResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<DescribeProducersResponsePartition> => since(0),
    }

    /// One partition of a [`DescribeProducersResponse`].
    struct DescribeProducersResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(0).nullable(0),
        /// Producers that the partition remembers.
        active_producers: Vec<DescribeProducersResponseProducer> => since(0),
    }

    /// One producer.
    struct DescribeProducersResponseProducer {
        /// The producer.
        producer_id: i64 => since(0),
        /// Epoch of the producer.
        producer_epoch: i32 => since(0),
        /// Sequence of the last record; -1 for none.
        last_sequence: i32 = -1 => since(0),
        /// Time stamp of the last record; -1 for none.
        last_timestamp: i64 = -1 => since(0),
        /// Epoch of the coordinator's partition.
        coordinator_epoch: i32 => since(0),
        /// Where the open transaction begins; -1 for none.
        current_txn_start_offset: i64 = -1 => since(0),
    }
}
