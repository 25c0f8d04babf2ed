//! API 22, InitProducerId. Gives a producer its id and epoch. Version 6 is not stable in Kafka 4.4
//! and is left out.

use super::wire::Text;

messages! {
    InitProducerId: InitProducerIdRequest => InitProducerIdResponse;

    /// Asks for a producer id, and ends what an older producer with the transactional id had begun.
    struct InitProducerIdRequest {
        /// Transactional id; `None` for a producer that is only idempotent.
        transactional_id: Option<Text> = Some(Text::new()) => since(0).nullable(0),
        /// A transaction that is open for longer than this is aborted.
        transaction_timeout_ms: i32 => since(0),
        /// Producer that goes on; -1 for a new one.
        producer_id: i64 = -1 => since(3),
        /// Epoch of the producer that goes on; -1 for a new one.
        producer_epoch: i16 = -1 => since(3),
    }

    /// The producer id and epoch.
    struct InitProducerIdResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The producer; -1 after an error.
        producer_id: i64 = -1 => since(0),
        /// Epoch of the producer.
        producer_epoch: i16 => since(0),
    }
}
