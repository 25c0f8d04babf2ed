//! A connection that speaks Kafka's protocol: requests are answered in the order in which they
//! came. Producers may send the next batch while earlier ones wait for the disk; any other request
//! starts when those before it are answered, as clients of Kafka rely on. Knows the length and the
//! first words of a request, not what it means.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::admission::Held;
use super::input::Head;
use super::output::Output;
use super::service::{Conversation, KafkaAnswer, KafkaPending, Service, Session};
use super::transport::{self, Dialect, End, Step, Transport};
use super::{Edge, PROTECTED_MODE, Socket};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::ApiKey;
use crate::telemetry::{Listener, Reason};

/// The length prefix of every frame.
const LENGTH_BYTES: usize = 4;
/// Length and API key.
const HEAD_BYTES: usize = LENGTH_BYTES + 2;
/// The shortest request has an API key, a version and a correlation id.
const REQUEST_BYTES_MIN: usize = 8;

/// Serves the connection to its end. `read` begins with the first frame's length.
pub(super) async fn serve<S: Service>(
    edge: Arc<Edge<S>>,
    listener: Listener,
    socket: Socket,
    session: Session,
    read: BytesMut,
) {
    let admitted = edge.admits(&session.peer);
    let transport = Transport::new(edge, listener, socket, session, read);
    transport::serve(transport, Kafka { admitted, ..Kafka::default() }).await;
}

/// The front of a request: how long it is and what it asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestHead {
    frame_bytes: usize,
    produces: bool,
}

impl Head for RequestHead {
    const PREFIX_BYTES: usize = HEAD_BYTES;

    fn parse(received: &[u8]) -> Result<Option<RequestHead>, End> {
        let Some(length) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        refuse_length(length, bytes < REQUEST_BYTES_MIN, bytes > limits::FRAME_BYTES_MAX)?;
        let Some(head) = received.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let produces = i16::from_be_bytes([head[4], head[5]]) == ApiKey::Produce.code();
        refuse_length(length, false, !produces && bytes > limits::KAFKA_REQUEST_BYTES_MAX)?;
        Ok(Some(RequestHead { frame_bytes: LENGTH_BYTES + bytes, produces }))
    }

    fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    fn payload_at(&self) -> usize {
        LENGTH_BYTES
    }

    fn decoded_bytes(&self) -> usize {
        // Of a produce request only names and numbers become values, the records stay bytes.
        let limit = match self.produces {
            true => limits::ARRIVING_BYTES_FREE,
            false => limits::FRAME_HEADER_BYTES_MAX,
        };
        self.frame_bytes.min(limit)
    }

    fn needs_room(&self) -> bool {
        true
    }
}

fn refuse_length(length: i32, too_short: bool, too_long: bool) -> Result<(), End> {
    if !too_short && !too_long {
        return Ok(());
    }
    let limit = limits::FRAME_BYTES_MAX;
    let (code, text) = match too_short || length < 0 {
        true => (ErrorCode::Malformed, format!("a request of {length} bytes can not be one")),
        false => (
            ErrorCode::FrameTooLarge,
            format!(
                "a request of {length} bytes is too large: at most {limit} are accepted, and {} \
                 of those that do not produce",
                limits::KAFKA_REQUEST_BYTES_MAX
            ),
        ),
    };
    Err(End::Refused(Reason::FrameSize, code, text))
}

/// What the peer has asked for and not heard yet.
#[derive(Default)]
struct Kafka {
    /// Oldest first.
    owed: VecDeque<Owed>,
    /// Bytes of the frames of those.
    owed_bytes: usize,
    conversation: Conversation,
    /// Whether the peer may do more than ask for the versions.
    admitted: bool,
    /// Nothing more is read; what changes something is finished.
    is_closing: bool,
    /// Why the connection ends once everything before is answered.
    end: Option<End>,
}

/// A request that is under way.
struct Owed {
    answer: KafkaPending,
    produces: bool,
    bytes: usize,
    started: Instant,
    /// Returned to the node when the request is answered.
    _room: Held,
}

impl<S: Service> Dialect<S> for Kafka {
    type Head = RequestHead;

    fn round(
        &mut self,
        wire: &mut Transport<S, RequestHead>,
        cx: &mut Context<'_>,
    ) -> Result<bool, End> {
        if !self.is_closing && wire.hears_stop(cx) {
            self.close();
        }
        if wire.has_left() {
            self.let_go();
        }
        let mut moved = self.answer(wire, cx);
        moved |= self.take_frames(wire, cx)?;
        moved |= wire.send(cx)?;
        let is_done = self.owed.is_empty() && wire.output.is_empty();
        match self.is_closing && is_done {
            true => Err(self.end.take().unwrap_or(End::Finished)),
            false => Ok(moved),
        }
    }

    fn is_awaited(&self) -> bool {
        !self.owed.is_empty()
    }

    fn probe(&mut self, _wire: &mut Transport<S, RequestHead>) -> bool {
        false
    }

    /// The protocol has no word for it: the reason is in the log, the peer sees the end.
    fn last_words(&mut self, _output: &mut Output, _code: ErrorCode, _text: String) {}
}

impl Kafka {
    /// Reads no more and lets go of whoever only waits.
    fn close(&mut self) {
        self.is_closing = true;
        self.let_go();
    }

    /// Forgets what only waits.
    fn let_go(&mut self) {
        self.owed.retain(|owed| !matches!(owed.answer, KafkaPending::Waiting(_)));
        self.owed_bytes = self.owed.iter().map(|owed| owed.bytes).sum();
    }

    /// Sends the answers that are there, as long as the socket has not enough to do.
    fn answer<S: Service>(
        &mut self,
        wire: &mut Transport<S, RequestHead>,
        cx: &mut Context<'_>,
    ) -> bool {
        let mut moved = false;
        while wire.output.bytes() < limits::CONNECTION_TURN_BYTES as u64
            && let Some(owed) = self.owed.front_mut()
            && let Poll::Ready(answer) = poll_answer(&mut owed.answer, cx)
        {
            let owed = self.owed.pop_front().expect("it was just looked at");
            self.owed_bytes -= owed.bytes;
            self.respond(wire, answer, owed.started);
            moved = true;
        }
        moved
    }

    fn respond<S: Service>(
        &mut self,
        wire: &mut Transport<S, RequestHead>,
        answer: KafkaAnswer,
        started: Instant,
    ) {
        wire.edge.telemetry.edge.request_seconds.observe(started.elapsed());
        for (reason, text) in answer.refusals {
            wire.edge.refuse(wire.listener, reason, &wire.session.peer, &text);
        }
        wire.mute(answer.throttle_ms);
        if let Some(conversation) = answer.conversation {
            self.conversation = conversation;
        }
        wire.output.payload(answer.frame);
        if let Some((reason, code, text)) = answer.end {
            // Whatever the peer has sent behind it is not answered.
            self.owed.clear();
            self.is_closing = true;
            self.end = Some(End::Refused(reason, code, text));
        }
    }

    fn take_frames<S: Service>(
        &mut self,
        wire: &mut Transport<S, RequestHead>,
        cx: &mut Context<'_>,
    ) -> Result<bool, End> {
        let mut moved = false;
        while !self.is_closing && wire.has_turn() {
            match wire.next_frame(cx, |next| self.is_paused(next))? {
                Step::Frame(head) => self.take_request(wire, head),
                Step::Received => {}
                // Answers to what it changed may still be read; nobody waits for the rest.
                Step::Closed => self.close(),
                Step::Blocked => break,
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Whether the next request has to wait for those before it.
    fn is_paused(&self, next: Option<RequestHead>) -> bool {
        let (Some(next), Some(last)) = (next, self.owed.back()) else { return false };
        !(next.produces && last.produces)
            || self.owed.len() >= limits::CONNECTION_IN_FLIGHT_MAX
            || self.owed_bytes + next.frame_bytes > limits::CONNECTION_IN_FLIGHT_BYTES_MAX
    }

    fn take_request<S: Service>(
        &mut self,
        wire: &mut Transport<S, RequestHead>,
        head: RequestHead,
    ) {
        let (frame, room) = wire.take_frame();
        wire.edge.telemetry.edge.requests.add(1);
        let started = Instant::now();
        let answer = match self.admitted {
            true => wire.edge.service().kafka(&wire.session, &mut self.conversation, frame),
            false => refuse_stranger(wire, frame),
        };
        match answer {
            // Nothing is before it, so there is no need to wait in line.
            KafkaPending::Ready(answer) if self.owed.is_empty() => {
                self.respond(wire, answer, started);
            }
            answer => {
                let bytes = head.frame_bytes;
                self.owed_bytes += bytes;
                let produces = head.produces;
                self.owed.push_back(Owed { answer, produces, bytes, started, _room: room });
            }
        }
    }
}

/// A peer that may not talk to this server is told so in its own protocol: it learns the versions,
/// and then that it is not authorized.
fn refuse_stranger<S: Service>(wire: &Transport<S, RequestHead>, frame: Bytes) -> KafkaPending {
    let code = ErrorCode::ClusterAuthorizationFailed;
    wire.edge.service().kafka_refusal(frame, Reason::ProtectedMode, code, PROTECTED_MODE)
}

fn poll_answer(pending: &mut KafkaPending, cx: &mut Context<'_>) -> Poll<KafkaAnswer> {
    match pending {
        KafkaPending::Ready(answer) => Poll::Ready(std::mem::take(answer)),
        KafkaPending::Changing(future) | KafkaPending::Waiting(future) => Pin::new(future).poll(cx),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> Option<ErrorCode> {
        match RequestHead::parse(bytes) {
            Err(End::Refused(Reason::FrameSize, code, _)) => Some(code),
            Err(other) => panic!("{other:?}"),
            Ok(_) => None,
        }
    }

    /// bad-inputs 1
    #[test]
    fn a_length_that_no_request_has_is_refused_before_anything_is_read() {
        for length in [i32::MIN, -1, 0, 7] {
            assert_eq!(refusal(&length.to_be_bytes()), Some(ErrorCode::Malformed), "{length}");
        }
        for length in [limits::FRAME_BYTES_MAX as i32 + 1, i32::MAX] {
            assert_eq!(refusal(&length.to_be_bytes()), Some(ErrorCode::FrameTooLarge), "{length}");
        }
        let mut large = (limits::KAFKA_REQUEST_BYTES_MAX as i32 + 1).to_be_bytes().to_vec();
        assert_eq!(refusal(&large), None, "it may be a produce request");
        large.extend([0, 3]);
        assert_eq!(refusal(&large), Some(ErrorCode::FrameTooLarge));
        large[5] = 0;
        assert_eq!(refusal(&large), None);
    }
}
