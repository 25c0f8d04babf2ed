//! The one seam between the edge and the broker. The edge owns sockets, frames, credit, room and
//! deadlines of the transport; behind [`Service`] lie topics, partitions and what a request means.
//! Neither side sees more of the other than this file.
//!
//! What the edge promises an implementation:
//! * the frame was complete and within its limits, and its header decoded;
//! * `call` runs in the order in which the requests of one connection arrived;
//! * not more than `CONNECTION_IN_FLIGHT_MAX` answers and `CONNECTION_STREAMS_MAX` feeds of one
//!   connection are outstanding, and the payload's bytes are covered by room of the node until
//!   the answer is given;
//! * dropping a future or a feed is how it learns that nobody waits for the answer any more (the
//!   connection is gone, the stream was cancelled); a request that was started may still happen.
//!
//! What it relies on: header and payload of an answer fit a frame (`FRAME_BYTES_MAX`).

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::kafka::fetch::FetchSession;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{Error, Request, Response, ServerHello, Subscribe};
use crate::storage::DiskFile;
use crate::telemetry::Reason;

/// What the edge asks of a broker.
pub trait Service: Send + Sync + 'static {
    /// What a client is told first.
    fn hello(&self) -> ServerHello;

    /// Starts a request. Runs on the connection's task and must not block, short writes to the page
    /// cache excepted. Every operation but `Subscribe` comes here; one without an operation must be
    /// answered with an error like any other bad request. The answer has to come within the
    /// request's own timeout: the edge adds none.
    ///
    /// The payload is a slice of the connection's receive buffer: who keeps it longer than the
    /// request keeps the whole buffer, so copy what is small and kept.
    fn call(self: &Arc<Self>, session: &Session, request: Request, payload: Bytes) -> Pending;

    /// Opens a stream of data. The feed is first asked when the stream has credit.
    ///
    /// # Errors
    /// When the subscription is refused; the error is sent and the stream is over.
    fn subscribe(
        self: &Arc<Self>,
        session: &Session,
        subscribe: Subscribe,
    ) -> Result<Box<dyn Feed>, Error>;

    /// Starts a request of Kafka's protocol: a frame without its length. Runs like `call`, which
    /// also says how long the frame may be kept.
    fn kafka(
        self: &Arc<Self>,
        session: &Session,
        conversation: &mut Conversation,
        frame: Bytes,
    ) -> KafkaPending;

    /// What a peer that is not served learns when it asks in Kafka's protocol: the versions if it
    /// asks for them, and this error otherwise.
    fn kafka_refusal(
        self: &Arc<Self>,
        frame: Bytes,
        reason: Reason,
        code: ErrorCode,
        message: &str,
    ) -> KafkaPending;

    /// Whether requests would be served, or how far the start has come.
    fn health(&self) -> Health;

    /// Everything there is to measure, in the Prometheus text format.
    fn metrics(self: &Arc<Self>) -> impl Future<Output = String> + Send;
}

/// An answer now or later.
#[must_use]
#[expect(clippy::large_enum_variant, reason = "moved once; a box would be allocated per request")]
pub enum Pending {
    /// Known at once.
    Ready(Answer),
    /// Known when the future ends. Polled on the connection's task, so it must not block either.
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pending::Ready(answer) => f.debug_tuple("Ready").field(answer).finish(),
            Pending::Later(_) => f.write_str("Later"),
        }
    }
}

/// A response and the bytes that follow it.
#[derive(Debug, Default)]
pub struct Answer {
    /// The header of the frame.
    pub response: Response,
    /// The payload of the frame.
    pub payload: Payload,
}

impl Answer {
    /// An answer without payload.
    #[must_use]
    pub fn of(response: Response) -> Answer {
        Answer { response, payload: Payload::default() }
    }

    /// An answer that says the whole operation failed.
    #[must_use]
    pub fn failed(error: Error) -> Answer {
        Answer::of(Response { error: Some(error), ..Response::default() })
    }
}

/// An answer to a request of Kafka's protocol, now or later.
#[must_use]
pub enum KafkaPending {
    /// Known at once.
    Ready(KafkaAnswer),
    /// Known when the future ends; the request may change something. Polled like
    /// [`Pending::Later`], and only when everything before it has been answered.
    Changing(Pin<Box<dyn Future<Output = KafkaAnswer> + Send>>),
    /// The same for a request that changes nothing, or nothing more once it has begun, may wait
    /// long, and is dropped when nobody waits for it any more.
    Waiting(Pin<Box<dyn Future<Output = KafkaAnswer> + Send>>),
}

impl fmt::Debug for KafkaPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KafkaPending::Ready(answer) => f.debug_tuple("Ready").field(answer).finish(),
            KafkaPending::Changing(_) => f.write_str("Changing"),
            KafkaPending::Waiting(_) => f.write_str("Waiting"),
        }
    }
}

/// What a client of Kafka's protocol gets.
#[derive(Debug, Default)]
pub struct KafkaAnswer {
    /// The whole frame with its length, or nothing for a request that is not answered.
    pub frame: Payload,
    /// How long the client is to send nothing.
    pub throttle_ms: u32,
    /// What the answer refuses, whole or in part, to be counted and logged.
    pub refusals: Vec<(Reason, String)>,
    /// Why nothing is read from the client after this answer.
    pub end: Option<(Reason, ErrorCode, String)>,
    /// What the connection remembers from now on, if that has changed.
    pub conversation: Option<Conversation>,
}

/// What a connection of Kafka's protocol remembers between its requests. A request takes what it
/// needs of it when it starts and gives it back with its answer.
#[derive(Debug, Default)]
pub struct Conversation {
    /// What the client reads.
    pub fetch: Option<FetchSession>,
}

/// The payload of an answer: pieces that are sent one after the other.
#[derive(Debug, Default)]
pub struct Payload {
    pieces: Vec<Piece>,
    len: u64,
}

/// A part of a payload.
#[derive(Debug)]
pub enum Piece {
    /// Bytes in memory.
    Memory(Bytes),
    /// Bytes of a file, sent without passing through this process where the system can.
    File(FileRange),
}

/// A range of a file. The file must not become shorter than the range's end while it is sent.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// Position of the first byte.
    pub at: u64,
    /// How many bytes.
    pub len: u64,
}

impl Payload {
    /// Appends a piece; empty ones are left out.
    pub fn push(&mut self, piece: Piece) {
        let len = piece.len();
        if len > 0 {
            self.len += len;
            self.pieces.push(piece);
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, in order.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        let mut payload = Payload::default();
        payload.push(Piece::Memory(bytes));
        payload
    }
}

impl FromIterator<Piece> for Payload {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Payload {
        let mut payload = Payload::default();
        pieces.into_iter().for_each(|piece| payload.push(piece));
        payload
    }
}

impl Piece {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Piece::Memory(bytes) => bytes.len() as u64,
            Piece::File(range) => range.len,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A source of DATA frames: one subscription.
pub trait Feed: Send {
    /// Waits for the next data. Takes the feed and gives it back with the data, so that dropping
    /// the future ends the subscription wherever it stands. `credit_bytes` is what the stream may
    /// still send (at least 1): the payload should not exceed it, but one whole batch always may,
    /// or a batch larger than the window could never be sent.
    fn next(self: Box<Self>, credit_bytes: u32) -> NextData;
}

/// What [`Feed::next`] waits for.
pub type NextData = Pin<Box<dyn Future<Output = Next> + Send>>;

/// What a feed yields.
#[expect(clippy::large_enum_variant, reason = "moved once; a box would be allocated per frame")]
pub enum Next {
    /// The next DATA frame, and the feed to ask again.
    Data(Box<dyn Feed>, Answer),
    /// The stream is over, regularly or for a reason.
    End(Option<Error>),
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::Data(_, answer) => f.debug_tuple("Data").field(answer).finish(),
            Next::End(error) => f.debug_tuple("End").field(error).finish(),
        }
    }
}

/// What the broker knows about the connection a request came on.
#[derive(Debug, Clone)]
pub struct Session {
    /// Counts the connections of this process.
    pub id: u64,
    /// Who is on the other side.
    pub peer: Peer,
    /// The address of this side, where there is one: it can be reached there.
    pub reached: Option<SocketAddr>,
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection.
    Tcp(SocketAddr),
    /// A process of this machine on the Unix socket, as the kernel vouches for it.
    Unix {
        /// Its effective user id.
        uid: u32,
        /// Its process id, when the kernel knows it in our namespace.
        pid: Option<i32>,
    },
    /// This very process: commands that run without a server.
    Embedded,
}

impl Peer {
    /// Whether the connection stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix { .. } | Peer::Embedded => true,
        }
    }

    /// The network address, with IPv4 addresses in their plain form.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix { .. } | Peer::Embedded => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix { uid, pid: Some(pid) } => write!(f, "unix (uid {uid}, pid {pid})"),
            Peer::Unix { uid, pid: None } => write!(f, "unix (uid {uid})"),
            Peer::Embedded => f.write_str("embedded"),
        }
    }
}

/// Whether the broker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// Not yet: it is reading its logs.
    Recovering(Progress),
    /// No longer.
    Stopping,
}

/// How far recovery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Progress {
    /// Partition logs that are open.
    pub logs_done: u64,
    /// Partition logs there are.
    pub logs_total: u64,
    /// Bytes read and checked.
    pub bytes_done: u64,
    /// Bytes that have to be.
    pub bytes_total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_loopback_address_is_local_and_others_are_not() {
        let local = |text: &str| Peer::Tcp(text.parse().expect("address")).is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("[::ffff:127.0.0.1]:1"));
        assert!(
            !local("192.0.2.1:1") && !local("[::ffff:192.0.2.1]:1") && !local("[2001:db8::1]:1")
        );
        assert!(Peer::Embedded.is_local() && Peer::Unix { uid: 0, pid: None }.is_local());
    }

    #[test]
    fn a_payload_knows_its_length_and_drops_empty_pieces() {
        let payload: Payload = [b"ab".as_slice(), b"", b"c"]
            .map(|b| Piece::Memory(Bytes::from_static(b)))
            .into_iter()
            .collect();
        assert_eq!((payload.len(), payload.into_pieces().len()), (3, 2));
        assert!(Payload::from(Bytes::new()).is_empty());
    }
}
