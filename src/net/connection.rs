//! One connection of the native protocol, after its preface. One task reads, starts requests, polls
//! their answers and writes; it is a single hand-written future, so that every wait ends in the
//! same place and every turn has a measure.
//!
//! A turn goes round this circle until nothing moves or the turn's measure is full: results that
//! are there become frames; frames that have arrived become requests; bytes go to the socket.
//! Reading pauses while too much is under way here or in the node, or while the peer leaves too
//! many answers unread; results are left where they are while the socket has enough to do.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use event_listener::EventListener;
use prost::Message as _;
use tokio::time::{Instant, Sleep, sleep_until};

use super::admission::{Admission, Held};
use super::arrival::Arrival;
use super::input::Input;
use super::output::{Output, OutputError};
use super::service::{Answer, Payload, Pending, Service, Session};
use super::streams::{Event, Streams, Weight};
use super::{Edge, Socket};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::credit::Credit;
use crate::protocol::native::frame::{FrameError, FrameHeader, FrameLimits, Kind, StreamId};
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{Error, Request, Response, Subscribe};
use crate::telemetry::{Listener, Reason};

const WRITE_STALL: Duration = Duration::from_millis(limits::WRITE_STALL_MS_MAX);
/// Buffers go back to the allocator after this much silence.
const SHRINK_AFTER: Duration = Duration::from_secs(10);
/// How long the last frame may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves the connection to its end. `read` is what arrived behind the preface.
pub(super) async fn serve<S: Service>(
    edge: Arc<Edge<S>>,
    listener: Listener,
    socket: Socket,
    session: Session,
    read: BytesMut,
) {
    let mut connection = Connection::new(edge, listener, socket, session, read);
    let end = poll_fn(|cx| connection.poll(cx)).await;
    connection.close(end).await;
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The peer closed it, or everything asked of a stopping server is done.
    Finished,
    /// The socket or a file behind it failed.
    Failed(OutputError),
    /// The peer broke a rule.
    Refused(Reason, ErrorCode, String),
    /// The peer does not read, so nothing can be said to it.
    SlowReader,
}

struct Connection<S: Service> {
    edge: Arc<Edge<S>>,
    listener: Listener,
    session: Session,
    socket: Socket,
    input: Input,
    output: Output,
    streams: Streams,
    credit_bytes: u32,
    admission: Admission,
    state: State,
    turn: Turn,
    clock: Clock,
    stop: EventListener,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// GO_AWAY was sent or received: what is under way is finished, new requests are refused.
    Draining,
    /// The peer will send nothing more; what changes something is finished.
    HalfClosed,
}

/// What a connection may do before it is others' turn.
#[derive(Debug)]
struct Turn {
    requests: usize,
    bytes: usize,
}

impl Turn {
    fn new() -> Turn {
        Turn { requests: limits::CONNECTION_TURN_REQUESTS, bytes: limits::CONNECTION_TURN_BYTES }
    }

    fn is_over(&self) -> bool {
        self.requests == 0 || self.bytes == 0
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Moments from which deadlines are counted.
#[derive(Debug)]
struct Clock {
    now: Instant,
    /// Something was last received.
    heard: Instant,
    /// A PING asks whether the peer still lives.
    is_pinged: bool,
    /// How long the frame at the front is waited for.
    arrival: Arrival,
    /// The peer has taken nothing since.
    stalled_since: Option<Instant>,
    /// Reading pauses because the peer is throttled.
    muted_until: Option<Instant>,
}

impl<S: Service> Connection<S> {
    fn new(
        edge: Arc<Edge<S>>,
        listener: Listener,
        socket: Socket,
        session: Session,
        read: BytesMut,
    ) -> Connection<S> {
        let now = Instant::now();
        let hello = edge.service().hello();
        let mut output = Output::default();
        output.frame(Kind::Hello, StreamId::CONNECTION, &hello, Payload::default());
        Connection {
            listener,
            session,
            socket,
            input: Input::new(read),
            output,
            streams: Streams::default(),
            credit_bytes: hello.credit_bytes,
            admission: Admission::default(),
            state: State::Open,
            turn: Turn::new(),
            clock: Clock {
                now,
                heard: now,
                is_pinged: false,
                arrival: Arrival::default(),
                stalled_since: None,
                muted_until: None,
            },
            stop: edge.stopping().listen(),
            timer: Box::pin(sleep_until(now + SHRINK_AFTER)),
            edge,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.clock.now = Instant::now();
        self.turn = Turn::new();
        loop {
            match self.round(cx) {
                Ok(true) if self.turn.is_over() => {
                    // Others on this worker come first; the waker puts this task behind them.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(true) => {}
                Ok(false) => return self.poll_deadline(cx),
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Once round the circle; whether anything moved.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        self.hear_stop(cx);
        let mut moved = self.take_events(cx);
        moved |= self.take_frames(cx)?;
        moved |= self.send(cx)?;
        let is_done = self.streams.is_empty() && self.output.is_empty();
        if self.state != State::Open && is_done { Err(End::Finished) } else { Ok(moved) }
    }

    /// Tells the peer once that the server is stopping.
    fn hear_stop(&mut self, cx: &mut Context<'_>) {
        if self.state != State::Open {
            return;
        }
        if self.edge.stopping().deadline().is_none()
            && Pin::new(&mut self.stop).poll(cx).is_pending()
        {
            return;
        }
        let error = shutting_down();
        self.output.frame(Kind::GoAway, StreamId::CONNECTION, &error, Payload::default());
        self.drain();
    }

    /// Accepts nothing new and lets go of what only reads.
    fn drain(&mut self) {
        self.state = State::Draining;
        for stream in self.streams.cancel_all() {
            self.end(stream, Some(shutting_down()));
        }
    }

    /// Makes frames of results, as long as the socket has not enough to do.
    fn take_events(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.output.bytes() < limits::CONNECTION_TURN_BYTES as u64 {
            let Poll::Ready((stream, event)) = self.streams.poll_event(cx) else { break };
            moved = true;
            match event {
                Event::Answered { answer, started } => self.respond(stream, answer, started),
                Event::Cancelled => self.respond_cancelled(stream),
                Event::Data(answer) => {
                    self.edge.reject_in(self.listener, &self.session.peer, &answer.response);
                    self.output.frame(Kind::Data, stream, &answer.response, answer.payload);
                }
                Event::Ended(None) if self.state == State::Draining => {
                    self.end(stream, Some(shutting_down()));
                }
                Event::Ended(error) => self.end(stream, error),
            }
        }
        moved
    }

    fn respond(&mut self, stream: StreamId, answer: Answer, started: Instant) {
        let seconds = &self.edge.telemetry.edge.request_seconds;
        seconds.observe(started.elapsed());
        self.edge.reject_in(self.listener, &self.session.peer, &answer.response);
        let throttle_ms = answer.response.throttle_ms.min(limits::THROTTLE_MS_MAX);
        if throttle_ms > 0 {
            let until = self.clock.now + Duration::from_millis(u64::from(throttle_ms));
            self.clock.muted_until = self.clock.muted_until.max(Some(until));
        }
        self.output.frame(Kind::Response, stream, &answer.response, answer.payload);
    }

    fn respond_cancelled(&mut self, stream: StreamId) {
        let error = match self.state {
            State::Draining => shutting_down(),
            _ => Error::new(ErrorCode::RequestTimedOut, "the request was cancelled"),
        };
        let answer = Answer::failed(error);
        self.output.frame(Kind::Response, stream, &answer.response, answer.payload);
    }

    fn end(&mut self, stream: StreamId, error: Option<Error>) {
        let response = Response { error, ..Response::default() };
        self.edge.reject_in(self.listener, &self.session.peer, &response);
        self.output.frame(Kind::End, stream, &response, Payload::default());
    }

    /// Reads and starts requests until there is nothing to read, a bound is reached or the turn is
    /// over; whether a frame was taken or bytes arrived.
    fn take_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        while self.state != State::HalfClosed && !self.turn.is_over() {
            let header =
                self.input.header(FrameLimits::OF_CLIENTS).map_err(|e| refuse_frame(&e))?;
            let allowed = if self.is_paused(header) { None } else { self.allowed(cx, header) };
            let Some(allowed) = allowed else {
                // The peer is not to blame for what waits here.
                self.clock.arrival.pause(self.clock.now);
                break;
            };
            if let Some(header) = header
                && self.input.is_complete()
            {
                self.clock.arrival = Arrival::default();
                self.turn.requests -= 1;
                self.take_frame(header)?;
            } else if !self.fill(cx, allowed)? {
                break;
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Whether too much is under way, or unread, to take another frame.
    fn is_paused(&self, next: Option<FrameHeader>) -> bool {
        self.clock.muted_until.is_some()
            || self.output.memory_bytes() >= limits::CONNECTION_OUTPUT_BYTES_MAX as u64
            || next.is_some_and(|header| self.is_paused_for_request(header))
    }

    /// Whether too much is under way to take this frame if it is a request. Others add nothing to
    /// it: the very frame that ends a stream may be the next.
    fn is_paused_for_request(&self, next: FrameHeader) -> bool {
        let (in_flight_bytes, bytes) = (self.streams.in_flight_bytes(), next.frame_bytes());
        next.kind == Kind::Request
            && (self.streams.in_flight() >= limits::CONNECTION_IN_FLIGHT_MAX
                || self.streams.long() >= limits::CONNECTION_STREAMS_MAX
                || (in_flight_bytes > 0
                    && in_flight_bytes + bytes > limits::CONNECTION_IN_FLIGHT_BYTES_MAX))
    }

    /// How many bytes of the frame at the front may be there before this is asked again, or `None`
    /// while the node has no room for more. Asked before room for them is made, so that what all
    /// connections together receive has a bound.
    fn allowed(&mut self, cx: &mut Context<'_>, next: Option<FrameHeader>) -> Option<usize> {
        match next {
            Some(header) if header.kind == Kind::Request => {
                let arriving = self.input.arriving(header);
                match self.admission.poll(cx, &self.edge.room, arriving) {
                    Poll::Ready(allowed) => Some(allowed),
                    Poll::Pending => None,
                }
            }
            Some(_) => Some(usize::MAX),
            None if self.edge.room.is_plenty() => Some(limits::FRAME_BYTES_ORDINARY),
            None => Some(limits::ARRIVING_BYTES_FREE),
        }
    }

    /// Reads once; whether anything came.
    fn fill(&mut self, cx: &mut Context<'_>, allowed: usize) -> Result<bool, End> {
        match self.input.poll_fill(cx, &mut self.socket, allowed) {
            Poll::Pending => {
                if self.input.is_partial() {
                    let (received, holds_reserve) =
                        (self.input.received_bytes(), self.admission.holds_reserve());
                    self.clock.arrival.wait(self.clock.now, received, holds_reserve);
                }
                Ok(false)
            }
            Poll::Ready(Ok(0)) => {
                // Answers to what it changed may still be read; nobody waits for the rest.
                self.state = State::HalfClosed;
                self.admission = Admission::default();
                self.clock.arrival = Arrival::default();
                self.streams.cancel_all();
                Ok(true)
            }
            Poll::Ready(Ok(read)) => {
                self.clock.heard = self.clock.now;
                self.clock.is_pinged = false;
                self.turn.spend(read);
                self.edge.telemetry.edge.network_received_bytes.add(read as u64);
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(End::Failed(error.into())),
        }
    }

    fn take_frame(&mut self, header: FrameHeader) -> Result<(), End> {
        match header.kind {
            Kind::Request => return self.take_request(header),
            Kind::Credit => {
                let payload = self.input.take();
                let bytes = payload.first_chunk().expect("the codec checked the size");
                self.streams.grant(header.stream, u32::from_be_bytes(*bytes));
            }
            Kind::Cancel => {
                self.input.take();
                if let Some(Event::Ended(error)) = self.streams.cancel(header.stream) {
                    self.end(header.stream, error);
                }
            }
            Kind::Ping => {
                let payload = self.input.take();
                self.output.pong(*payload.first_chunk().expect("the codec checked the size"));
            }
            Kind::Pong => drop(self.input.take()),
            Kind::GoAway => {
                self.input.take();
                self.drain();
            }
            Kind::Error => return Err(End::Finished),
            Kind::Hello | Kind::Response | Kind::Data | Kind::End => {
                return Err(malformed(format!("only servers send {} frames", header.kind.name())));
            }
        }
        Ok(())
    }

    fn take_request(&mut self, header: FrameHeader) -> Result<(), End> {
        let request = Request::decode(self.input.header_bytes(header))
            .map_err(|error| malformed(format!("the header of a request: {error}")))?;
        let payload = self.input.take();
        let room = self.admission.take();
        if self.streams.is_open(header.stream) {
            return Err(malformed(format!("stream {} is open already", header.stream)));
        }
        if !payload.is_empty() && !matches!(request.operation, Some(Operation::Produce(_))) {
            return Err(malformed("only the operation Produce has a payload".to_owned()));
        }
        self.edge.telemetry.edge.requests.add(1);
        let bytes = header.frame_bytes();
        match request {
            Request { operation: Some(Operation::Subscribe(subscribe)), .. } => {
                self.subscribe(header.stream, subscribe);
            }
            request => self.call(header.stream, request, payload, bytes, room),
        }
        Ok(())
    }

    fn call(
        &mut self,
        stream: StreamId,
        request: Request,
        payload: Bytes,
        bytes: usize,
        room: Held,
    ) {
        let started = Instant::now();
        if let Some(error) = self.refuse(&request) {
            return self.respond(stream, Answer::failed(error), started);
        }
        let is_reading = matches!(request.operation, Some(Operation::Fetch(_)));
        match self.edge.service().call(&self.session, request, payload) {
            Pending::Ready(answer) => self.respond(stream, answer, started),
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

    fn subscribe(&mut self, stream: StreamId, subscribe: Subscribe) {
        if self.state == State::Draining {
            return self.end(stream, Some(shutting_down()));
        }
        match self.edge.service().subscribe(&self.session, subscribe) {
            Ok(feed) => self.streams.feed(stream, feed, Credit::new(self.credit_bytes)),
            Err(error) => self.end(stream, Some(error)),
        }
    }

    /// Writes until the socket takes no more, nothing is left or the turn is over; whether
    /// anything was written.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        let mut left = limits::CONNECTION_TURN_BYTES as u64;
        while !self.output.is_empty() && left > 0 {
            match self.output.poll_send(cx, &mut self.socket) {
                Poll::Ready(Ok(sent)) => {
                    moved = true;
                    left = left.saturating_sub(sent);
                    self.clock.stalled_since = None;
                    self.turn.spend(sent as usize);
                    self.edge.telemetry.edge.network_sent_bytes.add(sent);
                }
                Poll::Ready(Err(error)) => return Err(End::Failed(error)),
                Poll::Pending => {
                    self.clock.stalled_since.get_or_insert(self.clock.now);
                    break;
                }
            }
        }
        Ok(moved)
    }

    /// Acts on deadlines that have passed and arms the timer for the next.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Some(end) = self.overdue() {
                return Poll::Ready(end);
            }
            if self.keep_house() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let next = self.next_deadline();
            // A timer that fires too early costs one look at the clock; moving it costs more.
            if next < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.clock.now = Instant::now();
        }
    }

    /// What the passing of time asks for; whether the circle has to be gone round again.
    fn keep_house(&mut self) -> bool {
        let now = self.clock.now;
        if now >= self.clock.heard + SHRINK_AFTER {
            self.input.shrink();
            self.output.shrink();
        }
        let is_asking = now >= self.clock.heard + self.idle() / 2
            && !self.clock.is_pinged
            && !self.streams.is_empty();
        if is_asking {
            self.clock.is_pinged = true;
            self.output.ping(self.session.id.to_be_bytes());
        }
        let is_unmuted = self.clock.muted_until.is_some_and(|until| now >= until);
        if is_unmuted {
            self.clock.muted_until = None;
        }
        is_asking || is_unmuted
    }

    fn overdue(&self) -> Option<End> {
        let now = self.clock.now;
        if self.clock.stalled_since.is_some_and(|since| now >= since + WRITE_STALL) {
            return Some(End::SlowReader);
        }
        let received = self.input.received_bytes();
        if self.clock.arrival.deadline(received).is_some_and(|deadline| now >= deadline) {
            let text = "a frame did not arrive in time".to_owned();
            return Some(End::Refused(Reason::SlowBody, ErrorCode::RequestTimedOut, text));
        }
        if now >= self.clock.heard + self.idle() {
            let text = format!("nothing was received for {} ms", self.idle().as_millis());
            return Some(End::Refused(Reason::Idle, ErrorCode::RequestTimedOut, text));
        }
        let stop = self.edge.stopping().deadline();
        stop.is_some_and(|deadline| now >= deadline).then_some(End::Finished)
    }

    /// Silence after which the connection is closed.
    fn idle(&self) -> Duration {
        self.edge.settings().idle_timeout
    }

    fn next_deadline(&self) -> Instant {
        let (heard, idle) = (self.clock.heard, self.idle());
        let housekeeping = [heard + SHRINK_AFTER, heard + idle / 2, heard + idle]
            .into_iter()
            .find(|&moment| moment > self.clock.now);
        let others = [
            housekeeping,
            self.clock.stalled_since.map(|since| since + WRITE_STALL),
            self.clock.arrival.deadline(self.input.received_bytes()),
            self.clock.muted_until,
            self.edge.stopping().deadline(),
        ];
        others.into_iter().flatten().min().unwrap_or(heard + idle)
    }

    /// Says the last words and closes.
    async fn close(mut self, end: End) {
        // Nobody waits for these any more, and their room is others' turn.
        self.streams = Streams::default();
        self.admission = Admission::default();
        match end {
            End::Finished => {}
            End::Failed(OutputError::Socket(error)) => {
                tracing::debug!(peer = %self.session.peer, "connection lost: {error}");
                return;
            }
            End::Failed(error) => {
                self.edge.reject(self.listener, Reason::Storage, &self.session.peer, error);
                return;
            }
            End::SlowReader => {
                let detail = "the peer does not read its answers";
                self.edge.reject(self.listener, Reason::SlowReader, &self.session.peer, detail);
                return;
            }
            End::Refused(reason, code, text) => {
                self.edge.reject(self.listener, reason, &self.session.peer, &text);
                let error = Error::new(code, text);
                self.output.frame(Kind::Error, StreamId::CONNECTION, &error, Payload::default());
            }
        }
        let Connection { mut output, mut socket, .. } = self;
        let flush = poll_fn(|cx| {
            while !output.is_empty() {
                match output.poll_send(cx, &mut socket) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        });
        if let Ok(Ok(())) = tokio::time::timeout(LAST_WORDS, pin!(flush)).await {
            socket.close_gently().await;
        }
    }
}

fn refuse_frame(error: &FrameError) -> End {
    let reason = match error {
        FrameError::TooLarge { .. }
        | FrameError::TooShort(_)
        | FrameError::HeaderTooLarge { .. }
        | FrameError::HeaderBeyondFrame { .. } => Reason::FrameSize,
        _ => Reason::Malformed,
    };
    End::Refused(reason, error.code(), error.to_string())
}

fn malformed(text: String) -> End {
    End::Refused(Reason::Malformed, ErrorCode::Malformed, text)
}

fn shutting_down() -> Error {
    Error::new(ErrorCode::ShuttingDown, "the server is stopping")
}
