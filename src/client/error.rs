//! Everything a call on the client can end with, said so that a person knows what to do next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::error::ErrorCode;
use crate::protocol::native::message;

/// Why a call failed. Cheap to clone: one broken connection fails every call that was on it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("can not connect to {target}: {source}; check that a broker runs there")]
    Connect {
        /// Where to.
        target: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The connection broke while the call was under way: it may or may not have been carried out.
    #[error("the connection to {target} was lost: {reason}; the request may have been carried out")]
    Disconnected {
        /// The other end.
        target: String,
        /// How it was noticed.
        reason: String,
    },
    /// The other end does not follow the native protocol.
    #[error("{target} does not follow the native protocol: {reason}; check that it is a rivvend")]
    Protocol {
        /// The other end.
        target: String,
        /// The rule that was broken.
        reason: String,
    },
    /// The other end speaks another protocol: the port is not the one that was meant.
    #[error(
        "{target} speaks {protocol} instead of rivvend's native protocol: name the broker's native \
         port (server.bind_address, 9092 by default)"
    )]
    OtherProtocol {
        /// The other end.
        target: String,
        /// What it speaks, in words.
        protocol: String,
    },
    /// The server wants proof of who we are, and there is none to give.
    #[error("{target} wants authentication ({mechanisms}), which this client was not given")]
    AuthenticationRequired {
        /// The other end.
        target: String,
        /// What the server accepts.
        mechanisms: String,
    },
    /// No answer came in time: the call may or may not have been carried out.
    #[error("{operation} was not answered within {after:?}{}", because(.cause))]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// The time it had.
        after: Duration,
        /// What stood in the way, where that is known.
        cause: Option<Box<ClientError>>,
    },
    /// It ended with an error, but an earlier try of the same may have been carried out.
    #[error("{last}; an earlier try may have been carried out ({earlier})")]
    Doubtful {
        /// How the last try ended.
        last: Box<ClientError>,
        /// How the earlier one did.
        earlier: Box<ClientError>,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Server(Box<message::Error>),
    /// What was to be sent is larger than the server accepts.
    #[error("a request of {bytes} bytes is larger than the {limit} that the server accepts")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// A record can not be encoded or decoded.
    #[error("{0}")]
    Record(String),
    /// Settings that contradict each other.
    #[error("{0}")]
    Config(String),
    /// The client, producer or consumer was closed, or its only connection ended.
    #[error("the client is closed")]
    Closed,
}

impl ClientError {
    /// An error that the server sent.
    #[must_use]
    pub fn server(error: message::Error) -> ClientError {
        ClientError::Server(Box::new(error))
    }

    /// The server's code, if it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Server(error) => error.error_code(),
            ClientError::Doubtful { last, .. } => last.code(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Server(error) => error.retriable,
            ClientError::Doubtful { last, .. } => last.is_retriable(),
            ClientError::Connect { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. } => true,
            ClientError::Protocol { .. }
            | ClientError::OtherProtocol { .. }
            | ClientError::AuthenticationRequired { .. }
            | ClientError::TooLarge { .. }
            | ClientError::Record(_)
            | ClientError::Config(_)
            | ClientError::Closed => false,
        }
    }

    /// Whether the server may have carried the call out all the same.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        match self {
            ClientError::Disconnected { .. }
            | ClientError::Timeout { .. }
            | ClientError::Doubtful { .. } => true,
            ClientError::Server(error) => error.error_code() == Some(ErrorCode::RequestTimedOut),
            _ => false,
        }
    }
}

fn because(cause: &Option<Box<ClientError>>) -> String {
    cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
}
