//! API 65, DescribeTransactions. Tells the state of transactions.

use super::wire::Text;

messages! {
    DescribeTransactions: DescribeTransactionsRequest => DescribeTransactionsResponse;

    /// Asks for the state of transactions.
    struct DescribeTransactionsRequest {
        /// The transactional ids.
        transactional_ids: Vec<Text> => since(0),
    }

    /// The transactions.
    struct DescribeTransactionsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The transactions.
        transaction_states: Vec<DescribeTransactionsResponseTransaction> => since(0),
    }

    /// One transaction.
    struct DescribeTransactionsResponseTransaction {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Transactional id of the producer
        transactional_id: Text => since(0),
        /// State of the transaction, as Kafka's tools spell it.
        transaction_state: Text => since(0),
        /// A transaction that is open for longer than this is aborted.
        transaction_timeout_ms: i32 => since(0),
        /// When the transaction began; -1 for none.
        transaction_start_time_ms: i64 => since(0),
        /// The producer.
        producer_id: i64 => since(0),
        /// Epoch of the producer.
        producer_epoch: i16 => since(0),
        /// The topics.
        topics: Vec<DescribeTransactionsResponseTopic> => since(0),
    }

    /// One topic of a [`DescribeTransactionsResponse`].
    struct DescribeTransactionsResponseTopic {
        /// Name of the topic.
        topic: Text => since(0),
        /// The partitions.
        partitions: Vec<i32> => since(0),
    }
}
