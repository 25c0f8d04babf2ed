//! How much memory decompression may take: every stream has a cap, and all streams of the process
//! together have a bound beyond what each may use anyway. Knows no codec.
//!
//! A stream that outgrows its free beginning takes its share of the bound piece by piece, as it
//! expands, and is given up when there is none left. Its buffer gets address space up to the cap at
//! once, which costs nothing until it is written to and spares the copies of growing.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;
use crate::planted::{self, Bug};

/// What a stream may expand to without asking.
const FREE_BYTES: usize = limits::SCRATCH_BYTES_KEPT;
/// What a stream that goes on expanding asks for at a time.
pub(super) const PIECE_BYTES: usize = FREE_BYTES;

/// The bound of this process.
static NODE: Bound = Bound::new(limits::NODE_EXPANSION_BYTES_MAX);

/// Most bytes that `compressed` bytes of a batch may expand to.
#[must_use]
pub(super) fn expansion_max(compressed: usize) -> usize {
    compressed.saturating_mul(limits::DECOMPRESSED_FACTOR).max(limits::DECOMPRESSED_BYTES_FLOOR)
}

/// Why a stream was given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It expands beyond its cap.
    Cap,
    /// All streams together expand too much at the moment.
    Crowded,
    /// It is not what its codec writes.
    Damaged,
}

impl From<std::io::Error> for Problem {
    fn from(_: std::io::Error) -> Problem {
        Problem::Damaged
    }
}

/// A number of bytes that shares are taken of.
#[derive(Debug)]
struct Bound {
    taken: AtomicUsize,
    limit: usize,
}

impl Bound {
    const fn new(limit: usize) -> Bound {
        Bound { taken: AtomicUsize::new(0), limit }
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|&sum| sum <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "only what was taken is given back");
    }
}

/// What one stream holds of the bound, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: &'static Bound,
    bytes: usize,
}

impl Default for Share {
    fn default() -> Share {
        Share { of: &NODE, bytes: 0 }
    }
}

impl Share {
    /// Gives everything back.
    pub(super) fn release(&mut self) {
        self.of.give_back(std::mem::take(&mut self.bytes));
    }

    fn raise_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.of.take(more);
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

/// Where the bytes of a stream go.
pub(super) struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    cap: usize,
    /// `None`: whoever keeps the bytes has his own bounds.
    share: Option<&'a mut Share>,
}

impl<'a> Output<'a> {
    /// Starts anew in `bytes`.
    pub(super) fn new(
        bytes: &'a mut Vec<u8>,
        cap: usize,
        share: Option<&'a mut Share>,
    ) -> Output<'a> {
        bytes.clear();
        let cap = if planted::is(Bug::DecompressWithoutCap) { usize::MAX } else { cap };
        Output { bytes, cap, share }
    }

    /// What the stream may expand to.
    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    /// Whether more came than may.
    pub(super) fn is_beyond(&self) -> bool {
        self.bytes.len() > self.cap
    }

    /// Bytes that may still come.
    pub(super) fn left(&self) -> usize {
        self.cap.saturating_sub(self.bytes.len())
    }

    /// The buffer, with the leave to append so many bytes to it. May be asked for one byte beyond
    /// the cap: that is how a stream that ends there is told from one that goes on.
    pub(super) fn room_for(&mut self, more: usize) -> Result<&mut Vec<u8>, Problem> {
        if more > self.left().saturating_add(1) {
            return Err(Problem::Cap);
        }
        let wanted = self.bytes.len() + more;
        if let Some(share) = &mut self.share
            && wanted > FREE_BYTES
        {
            if !share.raise_to(wanted - FREE_BYTES) {
                return Err(Problem::Crowded);
            }
            let most = self.cap.min(expansion_max(limits::BATCH_BYTES_MAX)).saturating_add(1);
            self.bytes.reserve_exact(most.max(wanted) - self.bytes.len());
        }
        Ok(self.bytes)
    }

    /// Appends a piece that the stream expanded to.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), Problem> {
        if piece.len() > self.left() {
            return Err(Problem::Cap);
        }
        self.room_for(piece.len())?.extend_from_slice(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn bound(bytes: usize) -> &'static Bound {
        Box::leak(Box::new(Bound::new(bytes)))
    }

    fn grow(share: &mut Share, bytes: usize) -> Result<usize, Problem> {
        let mut buffer = Vec::new();
        let mut output = Output::new(&mut buffer, 64 * MIB, Some(share));
        for _ in 0..bytes / MIB {
            output.append(&[1; MIB])?;
        }
        Ok(buffer.capacity())
    }

    #[test]
    fn streams_that_are_large_together_are_given_up_and_small_ones_are_not() {
        let of = bound(10 * MIB);
        let shares = || Share { of, bytes: 0 };
        let [mut first, mut second, mut third] = [shares(), shares(), shares()];
        assert!(grow(&mut first, 12 * MIB).is_ok());
        assert_eq!(grow(&mut second, 12 * MIB), Err(Problem::Crowded));
        assert!(grow(&mut third, FREE_BYTES).is_ok(), "what is free stays free");
        assert!(of.taken.load(Ordering::Relaxed) <= of.limit);
        drop(first);
        second.release();
        assert!(grow(&mut second, 12 * MIB).is_ok(), "there is room again");
        drop(second);
        assert_eq!(of.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_stream_takes_what_it_expands_to_and_no_more_than_its_cap() {
        let of = bound(1024 * MIB);
        let mut share = Share { of, bytes: 0 };
        assert!(grow(&mut share, 30 * MIB).is_ok());
        assert_eq!(of.taken.load(Ordering::Relaxed), 30 * MIB - FREE_BYTES);
        assert_eq!(grow(&mut share, 65 * MIB), Err(Problem::Cap));
        assert!(of.taken.load(Ordering::Relaxed) <= 64 * MIB);
    }
}
