//! The first bytes of a connection: which protocol it speaks and whether it is served. Everybody
//! who is not gets one clear answer in its own language, as far as that can be told, and everything
//! happens under one absolute deadline, so that silence and slowness cost a peer its connection.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::time::timeout;

use super::service::{Service, Session};
use super::{Edge, PROTECTED_MODE, Socket};
use crate::limits::HANDSHAKE_MS_MAX;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::frame::{self, Kind, PREFACE_BYTES, Preface, PrefaceError, StreamId};
use crate::protocol::native::message::Error;
use crate::telemetry::{Listener, Reason};

/// What the first four bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Native,
    Tls,
    Http,
    Kafka,
}

/// Why a connection is not served.
struct Refusal {
    reason: Reason,
    detail: String,
    /// The last words, in the peer's protocol.
    answer: Vec<u8>,
}

/// A connection that is to be served, with what was read of it and is not used up yet.
pub(super) enum Greeted {
    /// It has sent its preface.
    Native(Socket, BytesMut),
    /// It begins with the length of a request.
    Kafka(Socket, BytesMut),
}

/// Reads the first bytes. Returns what the connection speaks if it is to be served; otherwise it
/// has been answered and closed.
pub(super) async fn greet<S: Service>(
    edge: &Edge<S>,
    listener: Listener,
    mut socket: Socket,
    session: &Session,
) -> Option<Greeted> {
    let mut buffer = BytesMut::with_capacity(512);
    let limit = Duration::from_millis(HANDSHAKE_MS_MAX);
    let preface = tokio::select! {
        preface = timeout(limit, read_preface(&mut socket, &mut buffer)) => preface,
        _ = edge.stopping().wait() => return None,
    };
    let refusal = match preface {
        Ok(Ok(Ok(preface))) => match refuse_native(edge, session, preface) {
            None => {
                buffer.advance(PREFACE_BYTES);
                return Some(Greeted::Native(socket, buffer));
            }
            Some(refusal) => refusal,
        },
        Ok(Ok(Err(error))) => match refuse_other(edge, &buffer, error) {
            None => return Some(Greeted::Kafka(socket, buffer)),
            Some(refusal) => refusal,
        },
        // The peer is gone, often a probe of the port: nothing to answer and nothing to report.
        Ok(Err(_)) => return None,
        Err(_) => Refusal {
            reason: Reason::HandshakeTimeout,
            detail: format!("no preface within {} s", limit.as_secs()),
            answer: Vec::new(),
        },
    };
    edge.reject(listener, refusal.reason, &session.peer, &refusal.detail);
    // If the peer does not take it, it learns less.
    let _ = timeout(Duration::from_secs(1), socket.write_all(&refusal.answer)).await;
    socket.close_gently().await;
    None
}

/// Reads until the preface is complete or known not to come.
async fn read_preface(
    socket: &mut Socket,
    buffer: &mut BytesMut,
) -> io::Result<Result<Preface, PrefaceError>> {
    loop {
        match Preface::parse(buffer) {
            Ok(Some(preface)) => return Ok(Ok(preface)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        if socket.read(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn refuse_native<S: Service>(
    edge: &Edge<S>,
    session: &Session,
    preface: Preface,
) -> Option<Refusal> {
    if !edge.admits(&session.peer) {
        return Some(Refusal {
            reason: Reason::ProtectedMode,
            detail: PROTECTED_MODE.to_owned(),
            answer: error_frame(ErrorCode::ProtectedMode, PROTECTED_MODE),
        });
    }
    preface.negotiate().err().map(|error| version_refusal(&error))
}

fn version_refusal(error: &PrefaceError) -> Refusal {
    let reason = match error {
        PrefaceError::UnsupportedVersion { .. } => Reason::UnsupportedVersion,
        PrefaceError::NotNative | PrefaceError::Malformed(_) => Reason::Malformed,
    };
    let text = error.to_string();
    let answer = error_frame(error.code(), &text);
    Refusal { reason, detail: text, answer }
}

/// `None` for what is to be served in Kafka's protocol.
fn refuse_other<S: Service>(edge: &Edge<S>, buffer: &[u8], error: PrefaceError) -> Option<Refusal> {
    let (reason, detail, answer) = match buffer.first_chunk().map(|first| spoken(*first)) {
        Some(Spoken::Tls) => {
            let detail = "looks like TLS, which is not enabled on this port";
            (Reason::Tls, detail.to_owned(), Vec::new())
        }
        Some(Spoken::Http) => {
            let line = http_hint(edge);
            let answer = http_answer(&line);
            (Reason::Http, "looks like HTTP, which has its own port".to_owned(), answer)
        }
        Some(Spoken::Kafka) => return None,
        Some(Spoken::Native) | None => return Some(version_refusal(&error)),
    };
    Some(Refusal { reason, detail, answer })
}

/// Tells the protocols apart. None of the others can be a Kafka length prefix, because they all
/// read as lengths above every frame that is accepted.
fn spoken(first: [u8; 4]) -> Spoken {
    const VERBS: [&[u8; 4]; 10] =
        [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"PATC", b"OPTI", b"CONN", b"TRAC", b"PRI "];
    match first {
        [0x16, 0x03, _, _] => Spoken::Tls,
        [b'R', b'V', b'N', _] => Spoken::Native,
        verb if VERBS.contains(&&verb) => Spoken::Http,
        _ => Spoken::Kafka,
    }
}

fn http_hint<S: Service>(edge: &Edge<S>) -> String {
    match edge.settings().http_address {
        Some(address) => format!(
            "This port speaks the native and Kafka protocols; HTTP is on port {}.\n",
            address.port()
        ),
        None => {
            "This port speaks the native and Kafka protocols; HTTP is switched off.\n".to_owned()
        }
    }
}

fn http_answer(line: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{line}",
        line.len()
    )
    .into_bytes()
}

fn error_frame(code: ErrorCode, message: &str) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let error = Error::new(code, message);
    frame::put_frame(&mut frame, Kind::Error, StreamId::CONNECTION, &error, 0);
    frame.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAME_BYTES_MAX;

    #[test]
    fn every_protocol_is_known_by_its_first_four_bytes() {
        assert_eq!(spoken(*b"RVN1"), Spoken::Native);
        assert_eq!(spoken(*b"RVN7"), Spoken::Native);
        assert_eq!(spoken([0x16, 0x03, 0x01, 0x02]), Spoken::Tls);
        for verb in [b"GET ", b"POST", b"PRI "] {
            assert_eq!(spoken(*verb), Spoken::Http);
        }
        for length in [0, 1, 35, FRAME_BYTES_MAX as u32] {
            assert_eq!(spoken(length.to_be_bytes()), Spoken::Kafka);
        }
    }
}
