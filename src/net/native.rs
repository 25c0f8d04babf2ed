//! A connection of the native protocol, after its preface: many streams side by side, whose answers
//! leave in whatever order they are ready.
//!
//! Results that are there become frames; frames that have arrived become requests. Results are left
//! where they are while the socket has enough to do.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tokio::time::Instant;

use super::admission::Held;
use super::output::Output;
use super::service::{Answer, Payload, Pending, Service, Session};
use super::streams::{Event, Streams, Weight};
use super::transport::{self, Dialect, End, Step, Transport};
use super::{Edge, Socket};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::credit::Credit;
use crate::protocol::native::frame::{FRAME_PREFIX_BYTES, FrameHeader, Kind, StreamId};
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{Error, Request, Response, Subscribe};
use crate::telemetry::{Listener, Reason};

/// Serves the connection to its end. `read` is what arrived behind the preface.
pub(super) async fn serve<S: Service>(
    edge: Arc<Edge<S>>,
    listener: Listener,
    socket: Socket,
    session: Session,
    read: BytesMut,
) {
    let hello = edge.service().hello();
    let mut transport = Transport::new(edge, listener, socket, session, read);
    transport.output.frame(Kind::Hello, StreamId::CONNECTION, &hello, Payload::default());
    transport::serve(transport, Native::new(hello.credit_bytes)).await;
}

/// What the peer has asked for.
struct Native {
    streams: Streams,
    credit_bytes: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// GO_AWAY was sent or received: what is under way is finished, new requests are refused.
    Draining,
    /// The peer will send nothing more; what changes something is finished.
    HalfClosed,
}

/// The connection below the streams.
type Wire<S> = Transport<S, FrameHeader>;

impl<S: Service> Dialect<S> for Native {
    type Head = FrameHeader;

    fn round(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Result<bool, End> {
        self.hear_stop(wire, cx);
        if wire.has_left() {
            self.streams.cancel_all();
        }
        let mut moved = self.take_events(wire, cx);
        moved |= self.take_frames(wire, cx)?;
        moved |= wire.send(cx)?;
        let is_done = self.streams.is_empty() && wire.output.is_empty();
        if self.state != State::Open && is_done { Err(End::Finished) } else { Ok(moved) }
    }

    fn is_awaited(&self) -> bool {
        !self.streams.is_empty()
    }

    fn probe(&mut self, wire: &mut Wire<S>) -> bool {
        wire.output.ping(wire.session.id.to_be_bytes());
        true
    }

    fn last_words(&mut self, output: &mut Output, code: ErrorCode, text: String) {
        let error = Error::new(code, text);
        output.frame(Kind::Error, StreamId::CONNECTION, &error, Payload::default());
    }
}

impl Native {
    fn new(credit_bytes: u32) -> Native {
        Native { streams: Streams::default(), credit_bytes, state: State::Open }
    }

    /// Tells the peer once that the server is stopping.
    fn hear_stop<S: Service>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) {
        if self.state != State::Open || !wire.hears_stop(cx) {
            return;
        }
        let error = shutting_down();
        wire.output.frame(Kind::GoAway, StreamId::CONNECTION, &error, Payload::default());
        self.drain(wire);
    }

    /// Accepts nothing new and lets go of what only reads.
    fn drain<S: Service>(&mut self, wire: &mut Wire<S>) {
        self.state = State::Draining;
        for stream in self.streams.cancel_all() {
            end(wire, stream, Some(shutting_down()));
        }
    }

    /// Makes frames of results, as long as the socket has not enough to do.
    fn take_events<S: Service>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while wire.output.bytes() < limits::CONNECTION_TURN_BYTES as u64 {
            let Poll::Ready((stream, event)) = self.streams.poll_event(cx) else { break };
            moved = true;
            match event {
                Event::Answered { answer, started } => respond(wire, stream, answer, started),
                Event::Cancelled => self.respond_cancelled(wire, stream),
                Event::Data(answer) => {
                    wire.edge.refuse_in(wire.listener, &wire.session.peer, &answer.response);
                    wire.output.frame(Kind::Data, stream, &answer.response, answer.payload);
                }
                Event::Ended(None) if self.state == State::Draining => {
                    end(wire, stream, Some(shutting_down()));
                }
                Event::Ended(error) => end(wire, stream, error),
            }
        }
        moved
    }

    fn respond_cancelled<S: Service>(&mut self, wire: &mut Wire<S>, stream: StreamId) {
        let error = match self.state {
            State::Draining => shutting_down(),
            _ => Error::new(ErrorCode::RequestTimedOut, "the request was cancelled"),
        };
        let answer = Answer::failed(error);
        wire.output.frame(Kind::Response, stream, &answer.response, answer.payload);
    }

    /// Reads and starts requests until there is nothing to read, a bound is reached or the turn is
    /// over; whether a frame was taken or bytes arrived.
    fn take_frames<S: Service>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Result<bool, End> {
        let mut moved = false;
        while self.state != State::HalfClosed && wire.has_turn() {
            match wire.next_frame(cx, |next| self.is_paused(next))? {
                Step::Frame(header) => self.take_frame(wire, header)?,
                Step::Received => {}
                Step::Closed => {
                    // Answers to what it changed may still be read; nobody waits for the rest.
                    self.state = State::HalfClosed;
                    self.streams.cancel_all();
                }
                Step::Blocked => break,
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Whether too much is under way to take this frame if it is a request. Others add nothing to
    /// it: the very frame that ends a stream may be the next.
    fn is_paused(&self, next: Option<FrameHeader>) -> bool {
        let Some(next) = next else { return false };
        let (in_flight_bytes, bytes) = (self.streams.in_flight_bytes(), next.frame_bytes());
        next.kind == Kind::Request
            && (self.streams.in_flight() >= limits::CONNECTION_IN_FLIGHT_MAX
                || self.streams.long() >= limits::CONNECTION_STREAMS_MAX
                || (in_flight_bytes > 0
                    && in_flight_bytes + bytes > limits::CONNECTION_IN_FLIGHT_BYTES_MAX))
    }

    fn take_frame<S: Service>(
        &mut self,
        wire: &mut Wire<S>,
        header: FrameHeader,
    ) -> Result<(), End> {
        if header.kind == Kind::Request {
            return self.take_request(wire, header);
        }
        let (payload, _) = wire.take_frame();
        match header.kind {
            Kind::Credit => {
                let bytes = payload.first_chunk().expect("the codec checked the size");
                self.streams.grant(header.stream, u32::from_be_bytes(*bytes));
            }
            Kind::Cancel => {
                if let Some(Event::Ended(error)) = self.streams.cancel(header.stream) {
                    end(wire, header.stream, error);
                }
            }
            Kind::Ping => {
                wire.output.pong(*payload.first_chunk().expect("the codec checked the size"));
            }
            Kind::Pong => {}
            Kind::GoAway => self.drain(wire),
            Kind::Error => return Err(End::Finished),
            Kind::Request | Kind::Hello | Kind::Response | Kind::Data | Kind::End => {
                return Err(malformed(format!("only servers send {} frames", header.kind.name())));
            }
        }
        Ok(())
    }

    fn take_request<S: Service>(
        &mut self,
        wire: &mut Wire<S>,
        header: FrameHeader,
    ) -> Result<(), End> {
        let request = Request::decode(&wire.frame_front(header)[FRAME_PREFIX_BYTES..])
            .map_err(|error| malformed(format!("the header of a request: {error}")))?;
        let (payload, room) = wire.take_frame();
        if self.streams.is_open(header.stream) {
            return Err(malformed(format!("stream {} is open already", header.stream)));
        }
        if !payload.is_empty() && !matches!(request.operation, Some(Operation::Produce(_))) {
            return Err(malformed("only the operation Produce has a payload".to_owned()));
        }
        wire.edge.telemetry.edge.requests.add(1);
        let bytes = header.frame_bytes();
        match request {
            Request { operation: Some(Operation::Subscribe(subscribe)), .. } => {
                self.subscribe(wire, header.stream, subscribe);
            }
            request => self.call(wire, header.stream, request, payload, (bytes, room)),
        }
        Ok(())
    }

    fn call<S: Service>(
        &mut self,
        wire: &mut Wire<S>,
        stream: StreamId,
        request: Request,
        payload: Bytes,
        (bytes, room): (usize, Held),
    ) {
        let started = Instant::now();
        if let Some(error) = self.refuse(&request) {
            return respond(wire, stream, Answer::failed(error), started);
        }
        let is_reading = matches!(request.operation, Some(Operation::Fetch(_)));
        match wire.edge.service().call(&wire.session, request, payload) {
            Pending::Ready(answer) => respond(wire, stream, answer, started),
            Pending::Later(answer) => {
                let weight =
                    if is_reading { Weight::Reading } else { Weight::Changing { bytes, room } };
                self.streams.wait_for(stream, answer, weight, started);
            }
        }
    }

    /// What the edge itself refuses.
    fn refuse(&self, request: &Request) -> Option<Error> {
        if self.state == State::Draining {
            return Some(shutting_down());
        }
        let (len, limit) = (request.client_id.len(), limits::CLIENT_ID_BYTES_MAX);
        let text = if len > limit {
            format!("the client id has {len} bytes; at most {limit} are accepted")
        } else if request.client_id.contains(char::is_control) {
            "the client id has control characters".to_owned()
        } else {
            return None;
        };
        Some(Error::new(ErrorCode::InvalidRequest, text))
    }

    fn subscribe<S: Service>(
        &mut self,
        wire: &mut Wire<S>,
        stream: StreamId,
        subscribe: Subscribe,
    ) {
        if self.state == State::Draining {
            return end(wire, stream, Some(shutting_down()));
        }
        match wire.edge.service().subscribe(&wire.session, subscribe) {
            Ok(feed) => self.streams.feed(stream, feed, Credit::new(self.credit_bytes)),
            Err(error) => end(wire, stream, Some(error)),
        }
    }
}

fn respond<S: Service>(wire: &mut Wire<S>, stream: StreamId, answer: Answer, started: Instant) {
    let seconds = &wire.edge.telemetry.edge.request_seconds;
    seconds.observe(started.elapsed());
    wire.edge.refuse_in(wire.listener, &wire.session.peer, &answer.response);
    wire.mute(answer.response.throttle_ms);
    wire.output.frame(Kind::Response, stream, &answer.response, answer.payload);
}

fn end<S: Service>(wire: &mut Wire<S>, stream: StreamId, error: Option<Error>) {
    let response = Response { error, ..Response::default() };
    wire.edge.refuse_in(wire.listener, &wire.session.peer, &response);
    wire.output.frame(Kind::End, stream, &response, Payload::default());
}

fn malformed(text: String) -> End {
    End::Refused(Reason::Malformed, ErrorCode::Malformed, text)
}

fn shutting_down() -> Error {
    Error::new(ErrorCode::ShuttingDown, "the server is stopping")
}
