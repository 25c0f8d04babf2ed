//! The sparse index of one segment: places between batches, a few kilobytes apart, with what a
//! reader needs to start there. It answers by offset, by position and by time, carries the checksum
//! of the block that ends at each place, and remembers which blocks have been verified.
//!
//! The owner appends to the index of the active segment while readers look things up in it; both
//! need no lock because places are only ever added. Truncation makes a new index.

use super::words::Words;
use crate::types::{Millis, Offset};

/// A place between two batches of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundary {
    /// Batches before the place have only offsets below this one, those after it only others.
    pub(super) offset: Offset,
    /// Byte position in the segment file.
    pub(super) at: u64,
    /// Newest time stamp of any record before the place; [`NEVER`] when there is none.
    pub(super) newest: Millis,
    /// Checksum of the block that ends here, see `sums`. `None` when the boundary was found again
    /// from headers that nobody had verified: a sum over those would testify to any damage.
    pub(super) sum: Option<u32>,
}

/// The word of a checksum that there is none of.
const NO_SUM: u64 = 1 << 32;

/// Older than every time stamp.
pub(super) const NEVER: Millis = Millis(i64::MIN);

/// The boundaries of a segment. Number 0 is the start of the segment and always there; block `i`
/// lies between boundaries `i` and `i + 1`.
#[derive(Debug)]
pub(super) struct Index {
    base: Offset,
    places: Words,
    times: Words,
    sums: Words,
    verified: Words,
}

impl Index {
    pub(super) fn new(base: Offset) -> Index {
        let (places, times) = (Words::new(), Words::new());
        Index { base, places, times, sums: Words::new(), verified: Words::new() }
    }

    /// First offset of the segment.
    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// Number of the last boundary, which is also the number of blocks.
    pub(super) fn last(&self) -> usize {
        self.places.len()
    }

    /// Boundary `i`, at most [`Index::last`].
    pub(super) fn boundary(&self, i: usize) -> Boundary {
        if i == 0 {
            return Boundary { offset: self.base, at: 0, newest: NEVER, sum: None };
        }
        let [place, time, sum] = self.words(i);
        Boundary {
            offset: self.base.plus((place >> 32) as i64),
            at: place & u64::from(u32::MAX),
            newest: Millis(time as i64),
            sum: sum_of(sum),
        }
    }

    pub(super) fn last_boundary(&self) -> Boundary {
        self.boundary(self.last())
    }

    /// Boundary `i` > 0 as the three words that the files hold.
    pub(super) fn words(&self, i: usize) -> [u64; 3] {
        [self.places.get(i - 1), self.times.get(i - 1), self.sums.get(i - 1)]
    }

    /// Appends a boundary; `verified` says whether the block that ends there is known to be sound.
    ///
    /// # Panics
    /// When it does not lie behind the last one: the owner goes forward only.
    pub(super) fn push(&self, boundary: Boundary, verified: bool) {
        let last = self.last_boundary();
        assert!(boundary.at > last.at, "boundaries ascend: {boundary:?} after {last:?}");
        assert!(boundary.offset > last.offset, "boundaries ascend: {boundary:?} after {last:?}");
        let relative = u32::try_from(boundary.offset.0 - self.base.0)
            .expect("the segment rolls before its offsets outgrow 32 bits");
        let at = u32::try_from(boundary.at).expect("the segment rolls before it outgrows 32 bits");
        if verified {
            self.verified.set_bit(self.last());
        }
        self.times.push(boundary.newest.0 as u64);
        self.sums.push(boundary.sum.map_or(NO_SUM, u64::from));
        self.places.push(u64::from(relative) << 32 | u64::from(at));
    }

    /// Appends a boundary as a file holds it, or says that it is impossible there.
    pub(super) fn push_words(&self, [place, time, sum]: [u64; 3], len: u64) -> bool {
        let last = self.last_boundary();
        let (relative, at) = ((place >> 32) as i64, place & u64::from(u32::MAX));
        let Some(offset) = self.base.0.checked_add(relative).map(Offset) else { return false };
        let (newest, sum) = (Millis(time as i64), sum_of(sum));
        if at <= last.at || at > len || offset <= last.offset || newest < last.newest {
            return false;
        }
        self.push(Boundary { offset, at, newest, sum }, false);
        true
    }

    /// Number of the last boundary whose offset is at most `offset`.
    pub(super) fn floor_offset(&self, offset: Offset) -> usize {
        self.partition(|boundary| boundary.offset <= offset)
    }

    /// Number of the last boundary whose position is at most `at`.
    pub(super) fn floor_position(&self, at: u64) -> usize {
        self.partition(|boundary| boundary.at <= at)
    }

    /// Number of the last boundary before which every record is older than `timestamp`.
    pub(super) fn floor_time(&self, timestamp: Millis) -> usize {
        self.partition(|boundary| boundary.newest < timestamp)
    }

    pub(super) fn is_verified(&self, block: usize) -> bool {
        self.verified.bit(block)
    }

    pub(super) fn set_verified(&self, block: usize) {
        self.verified.set_bit(block);
    }

    /// Whether the stretch between the last boundary before `at` and `at` is known to be sound.
    /// What lies behind the last boundary of all always is: it is checked when the index is loaded.
    pub(super) fn is_sound_up_to(&self, at: u64) -> bool {
        let block = self.floor_position(at);
        block == self.last() || self.boundary(block).at == at || self.is_verified(block)
    }

    /// The index of the segment cut to `len` bytes.
    pub(super) fn cut(&self, len: u64) -> Index {
        let cut = Index::new(self.base);
        for i in 1..=self.floor_position(len) {
            cut.push(self.boundary(i), self.is_verified(i - 1));
        }
        cut
    }

    /// Number of the last boundary that satisfies a condition which holds for a prefix of them.
    fn partition(&self, holds: impl Fn(Boundary) -> bool) -> usize {
        let (mut low, mut high) = (0, self.last());
        while low < high {
            let middle = (low + high).div_ceil(2);
            if holds(self.boundary(middle)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

fn sum_of(word: u64) -> Option<u32> {
    u32::try_from(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let index = Index::new(Offset(100));
        for i in 1..=200u32 {
            let (offset, at) = (Offset(100 + i64::from(i) * 10), u64::from(i) * 4_096);
            let (newest, sum) = (Millis(i64::from(i / 2)), (i % 5 > 0).then_some(i));
            index.push(Boundary { offset, at, newest, sum }, i > 3);
        }
        index
    }

    #[test]
    fn lookups_agree_with_a_walk_over_the_boundaries() {
        let index = sample();
        let walk = |holds: &dyn Fn(Boundary) -> bool| {
            (0..=index.last()).take_while(|&i| holds(index.boundary(i))).last()
        };
        for offset in (100..2_200).map(Offset) {
            assert_eq!(Some(index.floor_offset(offset)), walk(&|b| b.offset <= offset));
        }
        for at in (0..820_000).step_by(1_111) {
            assert_eq!(Some(index.floor_position(at)), walk(&|b| b.at <= at));
        }
        for time in (0..120).map(Millis) {
            assert_eq!(Some(index.floor_time(time)), walk(&|b| b.newest < time));
        }
    }

    #[test]
    fn a_cut_keeps_what_lies_before_it_and_what_is_known_of_it() {
        let cut = sample().cut(5 * 4_096 + 1);
        assert_eq!(cut.last(), 5);
        assert_eq!(cut.last_boundary().offset, Offset(150));
        assert!(cut.is_verified(4) && !cut.is_verified(0));
    }

    #[test]
    fn a_boundary_without_a_checksum_stays_without_one() {
        let (from, index) = (sample(), Index::new(Offset(100)));
        for i in 1..=200 {
            assert!(index.push_words(from.words(i), u64::MAX));
            assert_eq!(index.boundary(i), from.boundary(i));
        }
    }

    #[test]
    fn impossible_words_are_refused() {
        let index = sample();
        let last = index.words(200);
        assert!(!index.push_words(last, u64::MAX), "not behind the last");
        let beyond = [(3_000 << 32) | 900_000, 1_000, 0];
        assert!(!index.push_words(beyond, 899_999), "behind the end of the file");
        assert!(!index.push_words([beyond[0], 0, 0], 900_000), "older than the one before");
        assert!(index.push_words(beyond, 900_000));
    }
}
