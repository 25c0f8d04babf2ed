//! API 25, AddOffsetsToTxn. Makes a group's consumer offsets part of a transaction.

use super::wire::Text;

messages! {
    AddOffsetsToTxn: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse;

    /// Makes a group's consumer offsets part of a transaction.
    struct AddOffsetsToTxnRequest {
        /// Transactional id of the producer
        transactional_id: Text => since(0),
        /// The producer.
        producer_id: i64 => since(0),
        /// Epoch of the producer.
        producer_epoch: i16 => since(0),
        /// Group whose consumer offsets become part of the transaction.
        group_id: Text => since(0),
    }

    /// Whether they are.
    struct AddOffsetsToTxnResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
