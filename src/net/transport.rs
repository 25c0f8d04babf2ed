//! What every connection has, whatever it speaks: a socket, frames that arrive and leave, a turn
//! that ends, and deadlines. One task serves one connection; it is a single hand-written future, so
//! that every wait ends in the same place and every turn has a measure. What the frames mean is
//! the [`Dialect`]'s matter.
//!
//! A turn goes round the dialect's circle until nothing moves or the turn's measure is full.
//! Reading pauses while too much is under way here or in the node, or while the peer leaves too
//! many answers unread.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use event_listener::EventListener;
use tokio::time::{Instant, Sleep, sleep_until};

use super::admission::{Admission, Held};
use super::arrival::Arrival;
use super::input::{Head, Input};
use super::output::{Output, OutputError};
use super::service::{Service, Session};
use super::{Edge, Socket};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::telemetry::{Listener, Reason};

const WRITE_STALL: Duration = Duration::from_millis(limits::WRITE_STALL_MS_MAX);
/// Buffers go back to the allocator after this much silence.
const SHRINK_AFTER: Duration = Duration::from_secs(10);
/// While something of the peer waits unread, the end behind it is looked for this often.
const LEFT_CHECK: Duration = Duration::from_secs(1);
/// How long the last frame may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a connection speaks.
pub(super) trait Dialect<S: Service> {
    /// The part of a frame that says how long it is.
    type Head: Head;

    /// Once round the circle: results become frames, frames become requests, bytes leave. Answers
    /// whether anything moved.
    fn round(
        &mut self,
        transport: &mut Transport<S, Self::Head>,
        cx: &mut Context<'_>,
    ) -> Result<bool, End>;

    /// Whether the peer waits for something.
    fn is_awaited(&self) -> bool;

    /// Asks the peer for a sign of life; `false` when the protocol has no such question.
    fn probe(&mut self, transport: &mut Transport<S, Self::Head>) -> bool;

    /// Says why the connection ends.
    fn last_words(&mut self, output: &mut Output, code: ErrorCode, text: String);
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed it, or everything asked of a stopping server is done.
    Finished,
    /// The socket or a file behind it failed.
    Failed(OutputError),
    /// The peer broke a rule.
    Refused(Reason, ErrorCode, String),
    /// The peer does not read, so nothing can be said to it.
    SlowReader,
}

/// One connection, below what it speaks.
pub(super) struct Transport<S: Service, H> {
    pub(super) edge: Arc<Edge<S>>,
    pub(super) listener: Listener,
    pub(super) session: Session,
    pub(super) output: Output,
    socket: Socket,
    input: Input<H>,
    admission: Admission,
    turn: Turn,
    clock: Clock,
    has_left: bool,
    stop: EventListener,
    timer: Pin<Box<Sleep>>,
}

/// A step towards the next frame.
pub(super) enum Step<H> {
    /// All of it is there; to be taken.
    Frame(H),
    /// Something of it came.
    Received,
    /// The peer will send nothing more.
    Closed,
    /// Nothing is there, or nothing may be read now.
    Blocked,
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
    /// The peer was asked for a sign of life.
    is_probed: bool,
    /// How long the frame at the front is waited for.
    arrival: Arrival,
    /// The peer has taken nothing since.
    stalled_since: Option<Instant>,
    /// Reading pauses because the peer is throttled.
    muted_until: Option<Instant>,
    /// Something waits unread, and then it is time to look whether the peer has closed behind it.
    left_check: Option<Instant>,
}

/// Serves the connection to its end.
pub(super) async fn serve<S: Service, D: Dialect<S>>(
    mut transport: Transport<S, D::Head>,
    mut dialect: D,
) {
    let end = poll_fn(|cx| transport.poll(cx, &mut dialect)).await;
    transport.close(end, dialect).await;
}

impl<S: Service, H: Head> Transport<S, H> {
    /// A connection that begins with what was `read` while the protocol was found out.
    pub(super) fn new(
        edge: Arc<Edge<S>>,
        listener: Listener,
        socket: Socket,
        session: Session,
        read: BytesMut,
    ) -> Transport<S, H> {
        let now = Instant::now();
        Transport {
            listener,
            session,
            socket,
            input: Input::new(read),
            output: Output::default(),
            admission: Admission::default(),
            turn: Turn::new(),
            clock: Clock {
                now,
                heard: now,
                is_probed: false,
                arrival: Arrival::default(),
                stalled_since: None,
                muted_until: None,
                left_check: None,
            },
            has_left: false,
            stop: edge.stopping().listen(),
            timer: Box::pin(sleep_until(now + SHRINK_AFTER)),
            edge,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, dialect: &mut impl Dialect<S, Head = H>) -> Poll<End> {
        self.clock.now = Instant::now();
        self.turn = Turn::new();
        loop {
            match dialect.round(self, cx) {
                Ok(true) if self.turn.is_over() => {
                    // Others on this worker come first; the waker puts this task behind them.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(true) => {}
                Ok(false) => return self.poll_deadline(cx, dialect),
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Whether the server is stopping.
    pub(super) fn hears_stop(&mut self, cx: &mut Context<'_>) -> bool {
        self.edge.stopping().deadline().is_some() || Pin::new(&mut self.stop).poll(cx).is_ready()
    }

    /// Whether this connection may do more in this turn.
    pub(super) fn has_turn(&self) -> bool {
        !self.turn.is_over()
    }

    /// Whether the peer was seen to have closed behind what was not read yet. Answers to what it
    /// changed may still be read; nobody waits for the rest.
    pub(super) fn has_left(&self) -> bool {
        self.has_left
    }

    /// Reads nothing for so long, because the peer is throttled.
    pub(super) fn mute(&mut self, throttle_ms: u32) {
        if throttle_ms > 0 {
            let pause = Duration::from_millis(u64::from(throttle_ms.min(limits::THROTTLE_MS_MAX)));
            self.clock.muted_until = self.clock.muted_until.max(Some(self.clock.now + pause));
        }
    }

    /// Goes one step towards the next frame, unless `is_paused` says that too much is under way to
    /// take it.
    pub(super) fn next_frame(
        &mut self,
        cx: &mut Context<'_>,
        is_paused: impl FnOnce(Option<H>) -> bool,
    ) -> Result<Step<H>, End> {
        let head = self.input.head()?;
        let allowed = if self.is_full() || is_paused(head) { None } else { self.allowed(cx, head) };
        let Some(allowed) = allowed else {
            // The peer is not to blame for what waits here.
            self.clock.arrival.pause(self.clock.now);
            if !self.has_left {
                self.clock.left_check.get_or_insert(self.clock.now + LEFT_CHECK);
            }
            return Ok(Step::Blocked);
        };
        self.clock.left_check = None;
        if let Some(head) = head
            && self.input.is_complete()
        {
            self.clock.arrival = Arrival::default();
            self.turn.requests -= 1;
            return Ok(Step::Frame(head));
        }
        self.fill(cx, allowed)
    }

    /// What lies before the payload of a complete frame.
    pub(super) fn frame_front(&self, head: H) -> &[u8] {
        self.input.front(head)
    }

    /// Takes a complete frame off the buffer: its payload, which shares the buffer, and the room it
    /// holds.
    pub(super) fn take_frame(&mut self) -> (Bytes, Held) {
        (self.input.take(), self.admission.take())
    }

    /// Whether the peer is throttled or leaves too much unread.
    fn is_full(&self) -> bool {
        self.clock.muted_until.is_some()
            || self.output.memory_bytes() >= limits::CONNECTION_OUTPUT_BYTES_MAX as u64
    }

    /// How many bytes of the frame at the front may be there before this is asked again, or `None`
    /// while the node has no room for more. Asked before room for them is made, so that what all
    /// connections together receive has a bound.
    fn allowed(&mut self, cx: &mut Context<'_>, next: Option<H>) -> Option<usize> {
        match next {
            Some(head) if head.needs_room() => {
                let arriving = self.input.arriving(head);
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

    /// Reads once.
    fn fill(&mut self, cx: &mut Context<'_>, allowed: usize) -> Result<Step<H>, End> {
        match self.input.poll_fill(cx, &mut self.socket, allowed) {
            Poll::Pending => {
                if self.input.is_partial() {
                    let (received, holds_reserve) =
                        (self.input.received_bytes(), self.admission.holds_reserve());
                    self.clock.arrival.wait(self.clock.now, received, holds_reserve);
                }
                Ok(Step::Blocked)
            }
            Poll::Ready(Ok(0)) => {
                self.admission = Admission::default();
                self.clock.arrival = Arrival::default();
                Ok(Step::Closed)
            }
            Poll::Ready(Ok(read)) => {
                self.clock.heard = self.clock.now;
                self.clock.is_probed = false;
                self.turn.spend(read);
                self.edge.telemetry.edge.network_received_bytes.add(read as u64);
                Ok(Step::Received)
            }
            Poll::Ready(Err(error)) => Err(End::Failed(error.into())),
        }
    }

    /// Writes until the socket takes no more, nothing is left or the turn is over; whether
    /// anything was written.
    pub(super) fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
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
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        dialect: &mut impl Dialect<S, Head = H>,
    ) -> Poll<End> {
        loop {
            if let Some(end) = self.overdue() {
                return Poll::Ready(end);
            }
            if self.keep_house(dialect) {
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
    fn keep_house(&mut self, dialect: &mut impl Dialect<S, Head = H>) -> bool {
        let now = self.clock.now;
        if now >= self.clock.heard + SHRINK_AFTER {
            self.input.shrink();
            self.output.shrink();
        }
        let mut is_asking = now >= self.clock.heard + self.idle() / 2
            && !self.clock.is_probed
            && dialect.is_awaited();
        if is_asking {
            is_asking = dialect.probe(self);
            self.clock.is_probed = is_asking;
            if !is_asking {
                // It waits for an answer and can not be asked, so its silence means nothing.
                self.clock.heard = now;
            }
        }
        let is_unmuted = self.clock.muted_until.is_some_and(|until| now >= until);
        if is_unmuted {
            self.clock.muted_until = None;
        }
        let is_checking = self.clock.left_check.is_some_and(|moment| now >= moment);
        if is_checking {
            self.has_left = self.socket.has_left();
            self.clock.left_check = (!self.has_left).then_some(now + LEFT_CHECK);
        }
        is_asking || is_unmuted || (is_checking && self.has_left)
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
            self.clock.left_check,
            self.edge.stopping().deadline(),
        ];
        others.into_iter().flatten().min().unwrap_or(heard + idle)
    }

    /// Says the last words and closes.
    async fn close(mut self, end: End, mut dialect: impl Dialect<S, Head = H>) {
        // Its room is others' turn.
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
                dialect.last_words(&mut self.output, code, text);
            }
        }
        // Nobody waits any more for what is under way.
        drop(dialect);
        let Transport { mut output, mut socket, .. } = self;
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
