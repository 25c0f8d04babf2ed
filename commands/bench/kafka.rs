//! A connection that speaks Kafka's protocol, as far as a measurement needs it: requests go out as
//! they come, and answers come back in the same order. It knows one broker and no retries.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use rivvend::client::ClientError;
use rivvend::limits::FRAME_BYTES_MAX;
use rivvend::protocol::kafka::{
    ErrorCode, Message as _, Reader, Request, ResponseHeader, Text, request_frame,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long an answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for being written.
const WAITING_MAX: usize = 1_024;
/// Length of a frame, in front of it.
const PREFIX_BYTES: usize = 4;
/// Room for bytes that come in: for answers without records,
const ROOM_BYTES_MIN: usize = 64 << 10;
/// and the most at once, since what a peer declares is no reason to take memory.
const ROOM_BYTES_MAX: usize = 2 << 20;

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Kafka {
    address: String,
    requests: mpsc::Sender<Outgoing>,
    correlation_id: AtomicI32,
}

/// A frame on its way, in pieces so that batches need not be copied.
#[derive(Debug)]
struct Outgoing {
    pieces: [Bytes; 3],
    correlation_id: i32,
    /// Told when it has gone out, or with the answer where there is one.
    done: oneshot::Sender<Bytes>,
    is_answered: bool,
}

/// What a broker said no with.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    message: String,
}

/// Nothing unless the code is one of an error.
pub(super) fn accepted(code: i16, message: Option<&Text>) -> Result<(), Refusal> {
    if code == 0 {
        return Ok(());
    }
    let code = ErrorCode::from_code(code);
    let message = message.filter(|message| !message.is_empty());
    let message = message.map_or_else(|| code.message().to_owned(), ToString::to_string);
    Err(Refusal { code, message })
}

impl Kafka {
    /// Connects to a broker at `HOST:PORT`.
    pub(super) async fn connect(address: &str) -> Result<Kafka, ClientError> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|source| ClientError::Connect {
            target: address.to_owned(),
            source: Arc::new(source),
        })?;
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(converse(stream, waiting));
        Ok(Kafka { address: address.to_owned(), requests, correlation_id: AtomicI32::new(0) })
    }

    /// Asks and waits for the answer. `batch` is what stands for foreign records in the request.
    pub(super) async fn ask<M: Request>(
        &self,
        version: i16,
        request: &M,
        batch: Bytes,
    ) -> anyhow::Result<M::Response> {
        let answer = self.send(version, request, batch, true).await?;
        let mut reader = Reader::new(answer);
        ResponseHeader::decode(&mut reader, M::KEY, version)
            .and_then(|_| M::Response::decode_whole(reader, version))
            .with_context(|| format!("{} sent an answer that can not be read", self.address))
    }

    /// Sends a request that is not answered, and returns when it has gone out.
    pub(super) async fn tell<M: Request>(
        &self,
        version: i16,
        request: &M,
        batch: Bytes,
    ) -> anyhow::Result<()> {
        self.send(version, request, batch, false).await.map(drop)
    }

    async fn send<M: Request>(
        &self,
        version: i16,
        request: &M,
        batch: Bytes,
        is_answered: bool,
    ) -> anyhow::Result<Bytes> {
        let correlation_id = self.correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let client_id = Some(Text::from_static("rivvend-bench"));
        let frame = request_frame(request, version, correlation_id, client_id)?;
        let at = frame.splices.first().map_or(frame.bytes.len(), |splice| splice.at);
        let pieces = [frame.bytes.slice(..at), batch, frame.bytes.slice(at..)];
        let (done, answer) = oneshot::channel();
        let outgoing = Outgoing { pieces, correlation_id, done, is_answered };
        let lost = || format!("the connection to {} was lost", self.address);
        self.requests.send(outgoing).await.ok().with_context(lost)?;
        let answer = timeout(REQUEST_TIMEOUT, answer).await;
        let late = || format!("{} was not answered within {REQUEST_TIMEOUT:?}", M::NAME);
        answer.with_context(late)?.ok().with_context(lost)
    }
}

/// Writes what waits and hands out what comes, until either side is done. Whoever still waits then
/// is told by the end of its channel.
async fn converse(mut stream: TcpStream, mut waiting: mpsc::Receiver<Outgoing>) {
    let mut asked: VecDeque<(i32, oneshot::Sender<Bytes>)> = VecDeque::new();
    let mut incoming = BytesMut::new();
    loop {
        incoming.reserve(missing_bytes(&incoming).clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX));
        tokio::select! {
            biased;
            outgoing = waiting.recv() => {
                let Some(Outgoing { pieces, correlation_id, done, is_answered }) = outgoing else {
                    return;
                };
                let [head, batch, tail] = pieces;
                let mut frame = head.chain(batch).chain(tail);
                if stream.write_all_buf(&mut frame).await.is_err() {
                    return;
                }
                if is_answered {
                    asked.push_back((correlation_id, done));
                } else {
                    // Whoever asked may have gone.
                    let _ = done.send(Bytes::new());
                }
            }
            read = stream.read_buf(&mut incoming) => {
                if !matches!(read, Ok(1..)) || !hand_out(&mut incoming, &mut asked) {
                    return;
                }
            }
        }
    }
}

/// Bytes of the frame at the front that are still to come.
fn missing_bytes(incoming: &BytesMut) -> usize {
    let needed = length(incoming).map_or(PREFIX_BYTES, |length| PREFIX_BYTES + length);
    needed.saturating_sub(incoming.len())
}

/// Length of the frame at the front, once that is there.
fn length(incoming: &BytesMut) -> Option<usize> {
    let prefix = incoming.first_chunk::<PREFIX_BYTES>()?;
    // A negative length is far above the bound, too.
    Some(u32::from_be_bytes(*prefix) as usize)
}

/// Gives whole frames to those who asked for them. Whether all is in order.
fn hand_out(incoming: &mut BytesMut, asked: &mut VecDeque<(i32, oneshot::Sender<Bytes>)>) -> bool {
    while let Some(length) = length(incoming) {
        if length > FRAME_BYTES_MAX {
            return false;
        }
        if incoming.len() < PREFIX_BYTES + length {
            break;
        }
        incoming.advance(PREFIX_BYTES);
        let frame = incoming.split_to(length).freeze();
        let answered = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        match asked.pop_front() {
            Some((correlation_id, done)) if answered == Some(correlation_id) => {
                // Whoever asked may have gone.
                let _ = done.send(frame);
            }
            _ => return false,
        }
    }
    true
}
