//! What a connection has under way: requests that wait for their answer and subscriptions with
//! their credit. One set of futures, polled by the connection's task; a future is in it only while
//! its result could be sent, so a subscription without credit costs nothing and holds nobody up.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::admission::Held;
use super::service::{Answer, Feed, Next, NextData};
use crate::protocol::native::credit::Credit;
use crate::protocol::native::frame::StreamId;
use crate::protocol::native::message::Error;

/// Everything under way on one connection.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<StreamId, Open>,
    waiting: FuturesUnordered<Waiting>,
    /// Requests that change something, which count against the in-flight bounds.
    in_flight: usize,
    in_flight_bytes: usize,
    /// Requests that may wait long (fetches), and subscriptions.
    long: usize,
}

/// A stream that the server has not ended.
enum Open {
    /// A request. It can be cancelled if it only reads.
    Request { cancel: Option<Arc<Cancel>> },
    /// A subscription.
    Feed { cancel: Arc<Cancel>, credit: Credit, parked: Option<Box<dyn Feed>> },
}

/// How a request counts.
pub(super) enum Weight {
    /// It only reads, may wait long, and can be cancelled.
    Reading,
    /// It may change something: it counts against the connection's bounds and the node's.
    Changing {
        /// Bytes of its frame.
        bytes: usize,
        /// Returned to the node when it is answered.
        room: Held,
    },
}

/// Something that happened on a stream.
pub(super) enum Event {
    /// A request is answered; its stream is over.
    Answered { answer: Answer, started: Instant },
    /// A request was cancelled; its stream is over.
    Cancelled,
    /// A subscription has data.
    Data(Answer),
    /// A subscription is over.
    Ended(Option<Error>),
}

impl Streams {
    /// Whether this stream is open.
    pub(super) fn is_open(&self, stream: StreamId) -> bool {
        self.open.contains_key(&stream)
    }

    /// Whether no stream is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Requests under way that change something.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes of their frames.
    pub(super) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// Fetches and subscriptions that are open.
    pub(super) fn long(&self) -> usize {
        self.long
    }

    /// Keeps a request until its answer comes.
    ///
    /// # Panics
    /// When the stream is open already: the caller refuses such requests.
    pub(super) fn wait_for(
        &mut self,
        stream: StreamId,
        answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
        weight: Weight,
        started: Instant,
    ) {
        let (cancel, bytes, room) = match weight {
            Weight::Reading => {
                self.long += 1;
                (Some(Arc::default()), 0, Held::default())
            }
            Weight::Changing { bytes, room } => {
                self.in_flight += 1;
                self.in_flight_bytes += bytes;
                (None, bytes, room)
            }
        };
        let before = self.open.insert(stream, Open::Request { cancel: cancel.clone() });
        assert!(before.is_none(), "a stream is opened once");
        let work = Work::Request { answer, started, bytes, _room: room };
        self.waiting.push(Waiting { stream, cancel, work });
    }

    /// Keeps a subscription.
    ///
    /// # Panics
    /// When the stream is open already: the caller refuses such requests.
    pub(super) fn feed(&mut self, stream: StreamId, feed: Box<dyn Feed>, credit: Credit) {
        let open = Open::Feed { cancel: Arc::default(), credit, parked: Some(feed) };
        let before = self.open.insert(stream, open);
        assert!(before.is_none(), "a stream is opened once");
        self.long += 1;
        self.unpark(stream);
    }

    /// Lets a subscription send more. Streams that are over are ignored: the grant crossed the end.
    pub(super) fn grant(&mut self, stream: StreamId, bytes: u32) {
        if let Some(Open::Feed { credit, .. }) = self.open.get_mut(&stream) {
            credit.grant(bytes);
            self.unpark(stream);
        }
    }

    /// Asks for an early end. Requests that change something are left alone: they will happen.
    /// Returns the end of a subscription that was not being waited for.
    pub(super) fn cancel(&mut self, stream: StreamId) -> Option<Event> {
        match self.open.get_mut(&stream)? {
            Open::Request { cancel } => cancel.as_ref()?.set(),
            Open::Feed { cancel, parked, .. } => {
                if parked.take().is_some() {
                    self.close(stream, true, 0);
                    return Some(Event::Ended(None));
                }
                cancel.set();
            }
        }
        None
    }

    /// Cancels whatever only reads. Returns the subscriptions that were not being waited for.
    pub(super) fn cancel_all(&mut self) -> Vec<StreamId> {
        let streams: Vec<_> = self.open.keys().copied().collect();
        streams.into_iter().filter(|&stream| self.cancel(stream).is_some()).collect()
    }

    /// The next thing that happened.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<(StreamId, Event)> {
        let Poll::Ready(Some(done)) = self.waiting.poll_next_unpin(cx) else {
            return Poll::Pending;
        };
        let stream = done.stream;
        let event = match done.outcome {
            Outcome::Answer { answer, started, bytes } => {
                self.close(stream, done.is_long, bytes);
                Event::Answered { answer, started }
            }
            Outcome::CancelledRequest => {
                self.close(stream, true, 0);
                Event::Cancelled
            }
            Outcome::Next(Next::Data(feed, answer)) => {
                self.spend(stream, feed, answer.payload.len());
                Event::Data(answer)
            }
            Outcome::Next(Next::End(error)) => {
                self.close(stream, true, 0);
                Event::Ended(error)
            }
        };
        Poll::Ready((stream, event))
    }

    fn spend(&mut self, stream: StreamId, feed: Box<dyn Feed>, bytes: u64) {
        let Some(Open::Feed { credit, parked, .. }) = self.open.get_mut(&stream) else {
            unreachable!("a feed that yields data has its stream open");
        };
        credit.spend(bytes as usize);
        *parked = Some(feed);
        self.unpark(stream);
    }

    /// Waits for the data of a subscription if it may send any.
    fn unpark(&mut self, stream: StreamId) {
        let Some(Open::Feed { cancel, credit, parked }) = self.open.get_mut(&stream) else {
            return;
        };
        if credit.is_open()
            && let Some(feed) = parked.take()
        {
            let credit_bytes = u32::try_from(credit.bytes()).unwrap_or(u32::MAX);
            let cancel = Some(Arc::clone(cancel));
            let work = Work::Feed(feed.next(credit_bytes));
            self.waiting.push(Waiting { stream, cancel, work });
        }
    }

    fn close(&mut self, stream: StreamId, is_long: bool, bytes: usize) {
        let before = self.open.remove(&stream);
        assert!(before.is_some(), "a stream is ended once");
        if is_long {
            self.long -= 1;
        } else {
            self.in_flight -= 1;
            self.in_flight_bytes -= bytes;
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("in_flight", &self.in_flight)
            .field("in_flight_bytes", &self.in_flight_bytes)
            .field("long", &self.long)
            .finish_non_exhaustive()
    }
}

/// Tells a future in the set that nobody wants its result.
#[derive(Debug, Default)]
struct Cancel {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

impl Cancel {
    fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll(&self, cx: &mut Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.is_set.load(Ordering::Acquire)
    }
}

/// A member of the set.
struct Waiting {
    stream: StreamId,
    cancel: Option<Arc<Cancel>>,
    work: Work,
}

enum Work {
    Request {
        answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
        started: Instant,
        bytes: usize,
        /// Held while the future is.
        _room: Held,
    },
    Feed(NextData),
}

struct Done {
    stream: StreamId,
    is_long: bool,
    outcome: Outcome,
}

enum Outcome {
    Answer { answer: Answer, started: Instant, bytes: usize },
    CancelledRequest,
    Next(Next),
}

impl Future for Waiting {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let is_long = self.cancel.is_some();
        let is_cancelled = self.cancel.as_ref().is_some_and(|cancel| cancel.poll(cx));
        let outcome = match &mut self.work {
            Work::Request { .. } if is_cancelled => Poll::Ready(Outcome::CancelledRequest),
            Work::Feed(_) if is_cancelled => Poll::Ready(Outcome::Next(Next::End(None))),
            Work::Request { answer, started, bytes, .. } => {
                let (started, bytes) = (*started, *bytes);
                let outcome = |answer| Outcome::Answer { answer, started, bytes };
                answer.as_mut().poll(cx).map(outcome)
            }
            Work::Feed(next) => next.as_mut().poll(cx).map(Outcome::Next),
        };
        outcome.map(|outcome| Done { stream: self.stream, is_long, outcome })
    }
}
