//! API 17, SaslHandshake. Begins an authentication.

use super::wire::Text;

messages! {
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse;

    /// Chooses the mechanism.
    struct SaslHandshakeRequest {
        /// Mechanism that the client wants.
        mechanism: Text => since(0),
    }

    /// Whether the server offers it.
    struct SaslHandshakeResponse {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Mechanisms that the server offers.
        mechanisms: Vec<Text> => since(0),
    }
}
