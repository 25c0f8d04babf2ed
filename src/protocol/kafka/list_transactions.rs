//! API 66, ListTransactions. Tells which transactions there are.

use super::wire::Text;

messages! {
    ListTransactions: ListTransactionsRequest => ListTransactionsResponse;

    /// Asks which transactions this node coordinates.
    struct ListTransactionsRequest {
        /// States to list; empty for all.
        state_filters: Vec<Text> => since(0),
        /// Producers to list; empty for all.
        producer_id_filters: Vec<i64> => since(0),
        /// Only those that are open for longer than this many milliseconds; -1 for all.
        duration_filter: i64 = -1 => since(1),
        /// Only those whose transactional id matches this regular expression; `None` when there is
        /// none.
        transactional_id_pattern: Option<Text> => since(2).nullable(2),
    }

    /// The transactions.
    struct ListTransactionsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// States among the filters that do not exist.
        unknown_state_filters: Vec<Text> => since(0),
        /// The transactions.
        transaction_states: Vec<ListTransactionsResponseTransaction> => since(0),
    }

    /// One transaction.
    struct ListTransactionsResponseTransaction {
        /// Transactional id of the producer
        transactional_id: Text => since(0),
        /// The producer.
        producer_id: i64 => since(0),
        /// State of the transaction, as Kafka's tools spell it.
        transaction_state: Text => since(0),
    }
}
