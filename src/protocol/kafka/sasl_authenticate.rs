//! API 36, SaslAuthenticate. Exchanges the messages of a SASL mechanism.

use bytes::Bytes;

use super::wire::Text;

messages! {
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse;

    /// One step of the authentication.
    struct SaslAuthenticateRequest {
        /// What the mechanism says.
        auth_bytes: Bytes => since(0),
    }

    /// The server's side of the step.
    struct SaslAuthenticateResponse {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> = Some(Text::new()) => since(0).nullable(0),
        /// What the mechanism says.
        auth_bytes: Bytes => since(0),
        /// After how long the client has to authenticate again; 0 for never.
        session_lifetime_ms: i64 => since(1).ignorable(),
    }
}
