//! API 24, AddPartitionsToTxn. Makes partitions part of a transaction.

use super::wire::Text;

messages! {
    AddPartitionsToTxn: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse;

    /// Makes partitions part of a transaction. Versions from 4 on are for brokers, which also
    /// verify.
    struct AddPartitionsToTxnRequest {
        /// The transactions, in versions for brokers.
        transactions: Vec<AddPartitionsToTxnRequestTransaction> => since(4),
        /// Transactional id of the producer, in versions for clients.
        v3_and_below_transactional_id: Text => since(0).until(3),
        /// The producer, in versions for clients.
        v3_and_below_producer_id: i64 => since(0).until(3),
        /// Epoch of the producer, in versions for clients.
        v3_and_below_producer_epoch: i16 => since(0).until(3),
        /// Topics to add, in versions for clients.
        v3_and_below_topics: Vec<AddPartitionsToTxnRequestTopic> => since(0).until(3),
    }

    /// One transaction.
    struct AddPartitionsToTxnRequestTransaction {
        /// Transactional id of the producer
        transactional_id: Text => since(4),
        /// The producer.
        producer_id: i64 => since(4),
        /// Epoch of the producer.
        producer_epoch: i16 => since(4),
        /// Whether only to check that the partitions are part of the transaction.
        verify_only: bool => since(4),
        /// The topics.
        topics: Vec<AddPartitionsToTxnRequestTopic> => since(4),
    }

    /// One topic of a [`AddPartitionsToTxnRequest`].
    struct AddPartitionsToTxnRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<i32> => since(0),
    }

    /// What became of each partition.
    struct AddPartitionsToTxnResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(4).ignorable(),
        /// One answer for each transaction.
        results_by_transaction: Vec<AddPartitionsToTxnResponseTransaction> => since(4),
        /// One answer for each topic, in versions for clients.
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnResponseTopic> => since(0).until(3),
    }

    /// What became of one transaction's partitions.
    struct AddPartitionsToTxnResponseTransaction {
        /// Transactional id of the producer
        transactional_id: Text => since(4),
        /// One answer for each topic.
        topic_results: Vec<AddPartitionsToTxnResponseTopic> => since(4),
    }

    /// One topic of a [`AddPartitionsToTxnResponse`].
    struct AddPartitionsToTxnResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// One answer for each partition.
        results_by_partition: Vec<AddPartitionsToTxnResponsePartition> => since(0),
    }

    /// One partition of a [`AddPartitionsToTxnResponse`].
    struct AddPartitionsToTxnResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        partition_error_code: i16 => since(0),
    }
}
