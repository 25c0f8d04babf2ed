//! The receiving half of a connection: one reused buffer in which frames arrive, from which
//! their payloads are cut without copying. Knows lengths and limits, not what the frames mean.
//!
//! The buffer grows with what is really received, not with what is announced; only a frame of
//! ordinary size gets all of its room at once. It is given back when the connection falls idle, so
//! that thousands of quiet connections cost little.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};

use super::socket::Socket;
use super::transport::End;
use crate::limits;
use crate::protocol::native::frame::{
    FRAME_PREFIX_BYTES, FrameError, FrameHeader, FrameLimits, Kind,
};
use crate::telemetry::Reason;

/// Room made for the first bytes after a pause.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Room made once reads fill what they are given. Larger frames get exactly their own.
const READ_BYTES_MAX: usize = 64 * 1024;
/// A buffer up to this size is kept for the next frame even if that one is smaller.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The part at the front of a frame that says what follows.
pub(super) trait Head: Copy {
    /// Bytes that are read at least before anything is known.
    const PREFIX_BYTES: usize;

    /// Looks at the front of what was received; `None` while it is too little.
    fn parse(received: &[u8]) -> Result<Option<Self>, End>;

    /// Bytes of the frame, from its first to its last.
    fn frame_bytes(&self) -> usize;

    /// Where the part begins that is handed on as it came.
    fn payload_at(&self) -> usize;

    /// Bytes of it, at most, that become values several times their size.
    fn decoded_bytes(&self) -> usize;

    /// Whether it occupies the node's memory until it is answered.
    fn needs_room(&self) -> bool;
}

impl Head for FrameHeader {
    const PREFIX_BYTES: usize = FRAME_PREFIX_BYTES;

    fn parse(received: &[u8]) -> Result<Option<FrameHeader>, End> {
        FrameHeader::parse(received, FrameLimits::OF_CLIENTS).map_err(|error| refuse(&error))
    }

    fn frame_bytes(&self) -> usize {
        FrameHeader::frame_bytes(self)
    }

    fn payload_at(&self) -> usize {
        FRAME_PREFIX_BYTES + self.header_bytes
    }

    fn decoded_bytes(&self) -> usize {
        self.header_bytes
    }

    fn needs_room(&self) -> bool {
        self.kind == Kind::Request
    }
}

fn refuse(error: &FrameError) -> End {
    let reason = match error {
        FrameError::TooLarge { .. }
        | FrameError::TooShort(_)
        | FrameError::HeaderTooLarge { .. }
        | FrameError::HeaderBeyondFrame { .. } => Reason::FrameSize,
        _ => Reason::Malformed,
    };
    End::Refused(reason, error.code(), error.to_string())
}

/// How far a frame has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arriving {
    /// Bytes of it that are there.
    pub(super) received: usize,
    /// Bytes of all of it.
    pub(super) frame_bytes: usize,
    /// Bytes of it that are decoded into values.
    pub(super) decoded_bytes: usize,
}

impl Arriving {
    pub(super) fn is_complete(&self) -> bool {
        self.received == self.frame_bytes
    }
}

/// Bytes on their way to become frames.
#[derive(Debug)]
pub(super) struct Input<H> {
    buffer: BytesMut,
    /// The fixed part of the frame at the front of the buffer, once it has been checked.
    head: Option<H>,
    read_bytes: usize,
    /// Size of the last large frame: the next one is probably as large, and room for all of it
    /// at once saves moving its beginning.
    expected_bytes: usize,
}

impl<H: Head> Input<H> {
    /// Starts with what was read while the protocol was found out.
    pub(super) fn new(buffer: BytesMut) -> Input<H> {
        Input { buffer, head: None, read_bytes: READ_BYTES_MIN, expected_bytes: 0 }
    }

    /// The checked front of the next frame, or `None` while it is not there.
    pub(super) fn head(&mut self) -> Result<Option<H>, End> {
        if self.head.is_none() {
            self.head = H::parse(&self.buffer)?;
        }
        Ok(self.head)
    }

    /// Whether the whole frame has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.head.is_some_and(|head| self.buffer.len() >= head.frame_bytes())
    }

    /// Whether a part of a frame is there.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// How far the frame at the front has come.
    pub(super) fn arriving(&self, head: H) -> Arriving {
        let (frame_bytes, decoded_bytes) = (head.frame_bytes(), head.decoded_bytes());
        Arriving { received: self.buffer.len().min(frame_bytes), frame_bytes, decoded_bytes }
    }

    /// Bytes that are there.
    pub(super) fn received_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// What lies before the payload of a complete frame.
    pub(super) fn front(&self, head: H) -> &[u8] {
        &self.buffer[..head.payload_at()]
    }

    /// Takes the complete frame off the buffer and returns its payload, which shares the buffer.
    ///
    /// # Panics
    /// When the frame is not complete, which the caller has to know.
    pub(super) fn take(&mut self) -> Bytes {
        assert!(self.is_complete(), "a frame is taken only when all of it is there");
        let head = self.head.take().expect("a complete frame has its head");
        let (frame_bytes, payload_at) = (head.frame_bytes(), head.payload_at());
        self.buffer.advance(payload_at);
        if frame_bytes > READ_BYTES_MAX {
            self.expected_bytes = frame_bytes;
        }
        // Splitting makes the buffer shared; without a payload there is nothing to share.
        match frame_bytes - payload_at {
            0 => Bytes::new(),
            bytes => self.buffer.split_to(bytes).freeze(),
        }
    }

    /// Reads once; how many bytes, 0 at the end of the stream. Of the frame at the front no more
    /// than `allowed` bytes are read.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        allowed: usize,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            ready!(socket.poll_readable(cx))?;
        }
        let bytes_max = self.make_room(allowed);
        let spare = self.buffer.capacity() - self.buffer.len();
        let read = ready!(socket.poll_read(cx, &mut self.buffer, bytes_max))?;
        if read == spare && self.head.is_none() {
            self.read_bytes = (self.read_bytes * 4).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// Gives the buffer back if nothing is in it.
    pub(super) fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
            self.expected_bytes = 0;
        }
    }

    /// Makes room for the next read and returns how much of it to use. A large frame is read to its
    /// end and no further: what came behind it would have to be moved out of its buffer.
    fn make_room(&mut self, allowed: usize) -> usize {
        let len = self.buffer.len();
        let frame_bytes = self.head.map_or(0, |head| head.frame_bytes());
        let missing = frame_bytes.saturating_sub(len);
        let left = allowed.saturating_sub(len);
        assert!(left > 0, "reading goes on only as far as it is allowed");
        if missing >= READ_BYTES_MAX {
            let whole = frame_bytes <= limits::FRAME_BYTES_ORDINARY;
            self.buffer.reserve(if whole { missing } else { missing.min(left) });
            return missing.min(left);
        }
        if self.buffer.capacity() - len < missing.max(H::PREFIX_BYTES) {
            let expected = if len == 0 && self.expected_bytes <= KEPT_BYTES_MAX {
                self.expected_bytes
            } else {
                0
            };
            self.buffer.reserve(missing.max(self.read_bytes).max(expected));
        }
        // Behind a frame that may arrive whole the next ones may as well.
        let room = self.buffer.capacity() - len;
        if allowed < frame_bytes || self.head.is_none() { room.min(left) } else { room }
    }
}
