//! The sending half of a connection: frames waiting for the socket. Frames without payload
//! gather in one buffer and leave in one write; payloads in memory leave in the same vectored write
//! without being copied; ranges of files leave by `sendfile`, or through a thread that may wait for
//! the disk when they are not in the page cache. Knows nothing of what the frames mean.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::service::{FileRange, Payload, Piece};
use super::socket::Socket;
use crate::limits::CONNECTION_TURN_BYTES;
use crate::protocol::native::frame::{self, Kind, PING_BYTES, StreamId};
use crate::storage::{DiskFile, StorageError};

/// Pieces of one vectored write.
const WRITE_PIECES_MAX: usize = 64;
/// Payloads up to this size are copied next to their header: cheaper than a piece of their own.
const COPIED_BYTES_MAX: usize = 1024;
/// Bytes of a file handled at a time.
const FILE_BYTES_MAX: u64 = CONNECTION_TURN_BYTES as u64;

/// Why output could not go on. In every case a frame may be cut, so the connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The file failed.
    #[error("a file that was being sent: {0}")]
    Storage(#[from] StorageError),
    /// The file is shorter than the range that was to be sent.
    #[error("a file that was being sent ends at or before byte {0}")]
    FileTooShort(u64),
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Goes first, in order.
    queue: VecDeque<Chunk>,
    /// Encoded frames behind the queue.
    tail: BytesMut,
    bytes: u64,
    memory_bytes: u64,
}

#[derive(Debug)]
enum Chunk {
    Memory(Bytes),
    File(FileChunk),
}

#[derive(Debug)]
struct FileChunk {
    range: FileRange,
    /// The range is known to be cached up to this position.
    cached_to: u64,
    /// A thread reads the front of the range.
    reading: Option<JoinHandle<Result<Bytes, StorageError>>>,
}

impl Output {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that wait and occupy memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds a frame.
    pub(super) fn frame(
        &mut self,
        kind: Kind,
        stream: StreamId,
        header: &impl prost::Message,
        payload: Payload,
    ) {
        let before = self.tail.len();
        let payload_bytes = payload.len() as usize;
        frame::put_frame(&mut self.tail, kind, stream, header, payload_bytes);
        self.count((self.tail.len() - before) as u64, true);
        self.payload(payload);
    }

    /// Adds a frame that is encoded already.
    pub(super) fn payload(&mut self, payload: Payload) {
        for piece in payload.into_pieces() {
            self.piece(piece);
        }
    }

    /// Gives the memory for encoded frames back if nothing is in it.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Output::default();
        }
    }

    /// Adds a PONG.
    pub(super) fn pong(&mut self, payload: [u8; PING_BYTES]) {
        let before = self.tail.len();
        frame::put_pong(&mut self.tail, payload);
        self.count((self.tail.len() - before) as u64, true);
    }

    /// Adds a PING.
    pub(super) fn ping(&mut self, payload: [u8; PING_BYTES]) {
        let before = self.tail.len();
        frame::put_ping(&mut self.tail, payload);
        self.count((self.tail.len() - before) as u64, true);
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Memory(bytes) if bytes.len() <= COPIED_BYTES_MAX => {
                self.count(bytes.len() as u64, true);
                self.tail.extend_from_slice(&bytes);
            }
            Piece::Memory(bytes) => {
                self.close_tail();
                self.count(bytes.len() as u64, true);
                self.queue.push_back(Chunk::Memory(bytes));
            }
            Piece::File(range) => {
                self.close_tail();
                self.count(range.len, false);
                let chunk = FileChunk { cached_to: range.at, range, reading: None };
                self.queue.push_back(Chunk::File(chunk));
            }
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queue.push_back(Chunk::Memory(self.tail.split().freeze()));
        }
    }

    fn count(&mut self, bytes: u64, in_memory: bool) {
        self.bytes += bytes;
        if in_memory {
            self.memory_bytes += bytes;
        }
    }

    /// Hands bytes to the socket once; how many it took.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<Result<u64, OutputError>> {
        assert!(!self.is_empty(), "there is something to send");
        if let Some(Chunk::File(chunk)) = self.queue.front_mut() {
            match ready!(chunk.poll(cx, socket))? {
                FileStep::Sent(bytes) => {
                    let done = chunk.range.len == 0;
                    if done {
                        self.queue.pop_front();
                    }
                    self.bytes -= bytes;
                    return Poll::Ready(Ok(bytes));
                }
                FileStep::Read(bytes) => self.replace_front(bytes),
            }
        }
        let sent = ready!(self.poll_write(cx, socket))?;
        self.advance(sent);
        Poll::Ready(Ok(sent as u64))
    }

    /// Puts bytes that were read from the file at the front in its place, or before its rest.
    fn replace_front(&mut self, bytes: Bytes) {
        if let Some(Chunk::File(chunk)) = self.queue.front()
            && chunk.range.len == 0
        {
            self.queue.pop_front();
        }
        self.memory_bytes += bytes.len() as u64;
        self.queue.push_front(Chunk::Memory(bytes));
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<usize>> {
        let mut pieces = [IoSlice::new(&[]); WRITE_PIECES_MAX];
        let mut count = 0;
        for chunk in self.queue.iter().take(WRITE_PIECES_MAX) {
            let Chunk::Memory(bytes) = chunk else { break };
            pieces[count] = IoSlice::new(bytes);
            count += 1;
        }
        if count == self.queue.len() && count < WRITE_PIECES_MAX {
            pieces[count] = IoSlice::new(&self.tail);
            count += 1;
        }
        match ready!(socket.poll_write(cx, &pieces[..count]))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => Poll::Ready(Ok(sent)),
        }
    }

    fn advance(&mut self, sent: usize) {
        self.bytes -= sent as u64;
        self.memory_bytes -= sent as u64;
        let mut left = sent;
        while left > 0 {
            match self.queue.front_mut() {
                Some(Chunk::Memory(bytes)) if bytes.len() > left => {
                    bytes.advance(left);
                    return;
                }
                Some(Chunk::Memory(bytes)) => {
                    left -= bytes.len();
                    self.queue.pop_front();
                }
                Some(Chunk::File(_)) => unreachable!("a write never goes past a file"),
                None => {
                    self.tail.advance(left);
                    left = 0;
                }
            }
        }
    }
}

enum FileStep {
    /// So many bytes went from the file to the socket.
    Sent(u64),
    /// These bytes were taken off the front of the range and must be written.
    Read(Bytes),
}

impl FileChunk {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<Result<FileStep, OutputError>> {
        if self.reading.is_some() {
            return self.poll_reading(cx);
        }
        let file = Arc::clone(&self.range.file);
        let len = self.range.len.min(FILE_BYTES_MAX);
        let Some(descriptor) = file.descriptor() else {
            let bytes = read(&*file, self.range.at, len as usize);
            return Poll::Ready(bytes.map_err(OutputError::from).and_then(|b| self.taken(b)));
        };
        if self.cached_to <= self.range.at {
            if !file.is_cached(self.range.at, len) {
                let (file, at) = (Arc::clone(&file), self.range.at);
                let read = move || read(&*file, at, len as usize);
                self.reading = Some(tokio::task::spawn_blocking(read));
                return self.poll_reading(cx);
            }
            self.cached_to = self.range.at + len;
        }
        let len = self.range.len.min(self.cached_to - self.range.at);
        let sent =
            ready!(socket.poll_send_file(cx, descriptor.as_fd(), self.range.at, len as usize))?;
        if sent == 0 {
            return Poll::Ready(Err(OutputError::FileTooShort(self.range.at)));
        }
        self.range.at += sent as u64;
        self.range.len -= sent as u64;
        Poll::Ready(Ok(FileStep::Sent(sent as u64)))
    }

    fn poll_reading(&mut self, cx: &mut Context<'_>) -> Poll<Result<FileStep, OutputError>> {
        let reading = self.reading.as_mut().expect("the caller looked");
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let bytes = match read {
            Ok(read) => read?,
            // The runtime is shutting down or the read panicked: no bytes either way.
            Err(error) => return Poll::Ready(Err(io::Error::other(error).into())),
        };
        Poll::Ready(self.taken(bytes))
    }

    fn taken(&mut self, bytes: Bytes) -> Result<FileStep, OutputError> {
        if bytes.is_empty() {
            return Err(OutputError::FileTooShort(self.range.at));
        }
        self.range.at += bytes.len() as u64;
        self.range.len -= bytes.len() as u64;
        Ok(FileStep::Read(bytes))
    }
}

fn read(file: &dyn DiskFile, at: u64, len: usize) -> Result<Bytes, StorageError> {
    let mut bytes = BytesMut::zeroed(len);
    let read = file.read_at(at, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes.freeze())
}
