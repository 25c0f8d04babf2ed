//! Errors as problem documents (RFC 9457), with the codes of the native protocol. They say what is
//! wrong with the request and nothing about the server.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::protocol::error::ErrorCode;

/// What a client is told when its request failed.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    code: ErrorCode,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: ErrorCode, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code.code(),
            "name": self.code.name(),
            "retriable": self.code.is_retriable(),
        });
        let kind = [(CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, document.to_string()).into_response()
    }
}
