//! The two buffers of a connection: frames on their way out, written without copying what is large,
//! and bytes on their way in, cut into frames without copying anything. Knows no sockets.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::native::frame::{FRAME_PREFIX_BYTES, FrameError, FrameHeader, FrameLimits};

/// Pieces up to this size are copied next to their neighbours: cheaper than an iovec of their own.
const COPY_BYTES_MAX: usize = 4 * 1024;
/// Room that a read gets when no large frame is under way.
const READ_BYTES: usize = 64 * 1024;
/// Below this much room the next read gets new room.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Room for the next frame is as much as the last one took, up to this.
const EXPECTED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Pieces that one vectored write takes.
pub(super) const SLICES_MAX: usize = 64;

/// Bytes that wait for the socket, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    sealed: VecDeque<Bytes>,
    sealed_bytes: usize,
    open: BytesMut,
}

impl Outgoing {
    /// Where the next frame is encoded.
    pub(super) fn end(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Appends a piece of payload, sharing its memory unless it is small.
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPY_BYTES_MAX {
            self.open.extend_from_slice(&piece);
            return;
        }
        if !self.open.is_empty() {
            let head = self.open.split().freeze();
            self.seal(head);
        }
        self.seal(piece);
    }

    fn seal(&mut self, piece: Bytes) {
        self.sealed_bytes += piece.len();
        self.sealed.push_back(piece);
    }

    /// Bytes that are waiting.
    pub(super) fn len(&self) -> usize {
        self.sealed_bytes + self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces at the front, for a vectored write; returns how many.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let open = (!self.open.is_empty()).then_some(&self.open[..]);
        let pieces = self.sealed.iter().map(|piece| &piece[..]).chain(open);
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Takes off what was written.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        assert!(bytes <= self.len(), "more was written than there was");
        while bytes > 0 {
            let Some(front) = self.sealed.front_mut() else {
                self.open.advance(bytes);
                return;
            };
            let taken = bytes.min(front.len());
            front.advance(taken);
            self.sealed_bytes -= taken;
            bytes -= taken;
            if front.is_empty() {
                self.sealed.pop_front();
            }
        }
    }
}

/// A whole frame; header and payload share the receive buffer.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) fixed: FrameHeader,
    pub(super) header: Bytes,
    pub(super) payload: Bytes,
}

/// Bytes that have arrived and are no whole frame yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    buffer: BytesMut,
    /// Size of the last frame if it was large: the next one is probably as large, and with room for
    /// all of it its beginning has not to be moved, and the memory of the last is used again if
    /// nobody holds it any more.
    expected_bytes: usize,
}

impl Incoming {
    /// Where the next read goes; there is always room.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
            let expected = if self.buffer.is_empty() { self.expected_bytes } else { 0 };
            self.buffer.reserve(expected.max(READ_BYTES));
        }
        &mut self.buffer
    }

    /// What has arrived and is no whole frame yet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Cuts off the next frame, or makes room for what is missing of it.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(fixed) = FrameHeader::parse(&self.buffer, FrameLimits::OF_SERVERS)? else {
            return Ok(None);
        };
        let size = fixed.frame_bytes();
        if self.buffer.len() < size {
            self.buffer.reserve(size - self.buffer.len());
            return Ok(None);
        }
        self.expected_bytes = if size > READ_BYTES { size.min(EXPECTED_BYTES_MAX) } else { 0 };
        let mut header = self.buffer.split_to(size).freeze();
        let payload = header.split_off(FRAME_PREFIX_BYTES + fixed.header_bytes);
        header.advance(FRAME_PREFIX_BYTES);
        Ok(Some(Frame { fixed, header, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::frame::{Kind, StreamId, put_frame, put_ping};
    use crate::protocol::native::message::Response;

    #[test]
    fn large_pieces_are_shared_and_come_out_in_order_however_they_are_written() {
        let large = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
        for step in [1, 1_000, 1 << 20] {
            let mut out = Outgoing::default();
            out.end().extend_from_slice(b"head");
            out.push(large.clone());
            out.push(Bytes::from_static(b"small"));
            out.end().extend_from_slice(b"tail");
            let mut written = Vec::new();
            while !out.is_empty() {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = out.slices(&mut slices);
                assert!(count > 0);
                let mut left = step;
                for slice in &slices[..count] {
                    let taken = left.min(slice.len());
                    written.extend_from_slice(&slice[..taken]);
                    left -= taken;
                }
                out.advance(step - left);
            }
            let expected = [&b"head"[..], &large, b"smalltail"].concat();
            assert!(written == expected, "step {step}");
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, Kind::Response, StreamId(3), &Response::default(), 5);
        wire.extend_from_slice(b"bytes");
        put_ping(&mut wire, *b"01234567");
        for step in 1..wire.len() {
            let mut incoming = Incoming::default();
            let mut frames = Vec::new();
            for piece in wire.chunks(step) {
                incoming.room().extend_from_slice(piece);
                while let Some(frame) = incoming.next_frame().expect("sound frames") {
                    frames.push((frame.fixed.kind, frame.payload));
                }
            }
            let expected = [(Kind::Response, &b"bytes"[..]), (Kind::Ping, &b"01234567"[..])]
                .map(|(k, b)| (k, Bytes::from(b)));
            assert_eq!(frames, expected, "step {step}");
        }
    }

    #[test]
    fn the_memory_of_a_large_frame_is_used_again_once_it_is_dropped() {
        let payload = vec![7; 1 << 20];
        let mut wire = BytesMut::new();
        put_frame(&mut wire, Kind::Response, StreamId(3), &Response::default(), payload.len());
        wire.extend_from_slice(&payload);
        let mut incoming = Incoming::default();
        let mut places = Vec::new();
        for _ in 0..4 {
            let mut left = &wire[..];
            while !left.is_empty() {
                let room = incoming.room();
                let read = (room.capacity() - room.len()).min(left.len());
                room.extend_from_slice(&left[..read]);
                left = &left[read..];
                if let Some(frame) = incoming.next_frame().expect("sound") {
                    assert!(left.is_empty() && frame.payload[..] == payload[..]);
                    places.push(frame.payload.as_ptr() as usize);
                }
            }
        }
        assert_eq!(places[2], places[3], "after the first the size is known");
    }
}
