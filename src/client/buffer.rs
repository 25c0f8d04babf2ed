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
/// Large frames whose memory is looked after, to be used again.
const LENT_MAX: usize = 4;
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
    /// all of it its beginning has not to be moved.
    expected_bytes: usize,
    /// The last large frames, oldest first. Memory that nobody else holds any more is used again,
    /// the newest first, since it is the likeliest to be in the processor's caches.
    lent: VecDeque<Bytes>,
}

impl Incoming {
    /// Where the next read goes; there is always room.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        let expected = if self.buffer.is_empty() { self.expected_bytes } else { 0 };
        let room = self.buffer.capacity() - self.buffer.len();
        if room < expected.max(READ_BYTES_MIN) {
            if expected > 0 {
                self.take_back();
            }
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
        let mut header = self.buffer.split_to(size).freeze();
        self.expect(&header);
        let payload = header.split_off(FRAME_PREFIX_BYTES + fixed.header_bytes);
        header.advance(FRAME_PREFIX_BYTES);
        Ok(Some(Frame { fixed, header, payload }))
    }

    /// Gets ready for a frame like this one.
    fn expect(&mut self, frame: &Bytes) {
        let size = frame.len();
        self.expected_bytes = if size > READ_BYTES { size.min(EXPECTED_BYTES_MAX) } else { 0 };
        match self.expected_bytes == size {
            true if self.lent.len() == LENT_MAX => _ = self.lent.pop_front(),
            true => {}
            false => return self.lent.clear(),
        }
        self.lent.push_back(frame.clone());
    }

    /// Makes the buffer of memory that was lent and is not held any more.
    fn take_back(&mut self) {
        // The end of the last frame's memory, which is too small for another.
        self.buffer = BytesMut::new();
        let Some(newest) = self.lent.iter().rposition(Bytes::is_unique) else { return };
        let memory = self.lent.remove(newest).expect("it was just found");
        if let Ok(mut memory) = memory.try_into_mut() {
            memory.clear();
            self.buffer = memory;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    /// Puts a frame into the wire's bytes and takes it out as a socket would hand it over.
    fn receive(incoming: &mut Incoming, payload: &[u8]) -> Bytes {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, Kind::Response, StreamId(3), &Response::default(), payload.len());
        wire.extend_from_slice(payload);
        let mut left = &wire[..];
        loop {
            let room = incoming.room();
            let read = (room.capacity() - room.len()).min(left.len());
            room.extend_from_slice(&left[..read]);
            left = &left[read..];
            if let Some(frame) = incoming.next_frame().expect("sound") {
                assert!(left.is_empty());
                return frame.payload;
            }
        }
    }

    #[test]
    fn memory_of_large_frames_is_used_again_and_never_while_somebody_holds_it() {
        for held_max in 0..LENT_MAX {
            let mut incoming = Incoming::default();
            let (mut held, mut places) = (VecDeque::new(), BTreeSet::new());
            for number in 0..40_u8 {
                // The first are smaller, so what they took does not suffice for the later ones.
                let size = if number < 10 { 1 << 19 } else { 1 << 20 };
                let payload = receive(&mut incoming, &vec![number; size]);
                if number >= 20 {
                    places.insert(payload.as_ptr() as usize);
                }
                held.push_back((number, payload));
                while held.len() > held_max {
                    let (number, payload) = held.pop_front().expect("there is one");
                    assert!(payload.iter().all(|&byte| byte == number));
                }
            }
            assert!(places.len() <= held_max + 1, "{places:?} for {held_max} that are held");
        }
    }

    #[test]
    fn nothing_is_kept_for_large_frames_once_small_ones_come() {
        let mut incoming = Incoming::default();
        receive(&mut incoming, &[1; 1 << 20]);
        assert_eq!(incoming.lent.len(), 1);
        receive(&mut incoming, &[2; 10]);
        assert_eq!(incoming.lent.len(), 0);
    }
}
