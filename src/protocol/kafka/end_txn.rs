//! API 26, EndTxn. Commits or aborts a transaction.

use super::wire::Text;

messages! {
    EndTxn: EndTxnRequest => EndTxnResponse;

    /// Commits or aborts a transaction.
    struct EndTxnRequest {
        /// Transactional id of the producer
        transactional_id: Text => since(0),
        /// The producer.
        producer_id: i64 => since(0),
        /// Epoch of the producer.
        producer_epoch: i16 => since(0),
        /// Whether to commit rather than to abort.
        committed: bool => since(0),
    }

    /// Whether it will be done, and the epoch to go on with (KIP-890).
    struct EndTxnResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Producer to go on with; -1 when it stays.
        producer_id: i64 = -1 => since(5).ignorable(),
        /// Epoch to go on with; -1 when it stays.
        producer_epoch: i16 = -1 => since(5).ignorable(),
    }
}
