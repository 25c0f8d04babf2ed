//! What the two header fields are held against that a batch's own checksum leaves out: the base
//! offset and the leader epoch. On sealed segments `.sum` covers them as well; for what was being
//! written when a process ended, the witness is all there is. Knows headers, reads no file.
//!
//! * **Offsets**: a leader stamps without gaps, so a batch begins where the one before it ended.
//!   Compaction leaves gaps, and a log that was compacted says below which offset they may be.
//! * **Epochs** never go back. Which one stamped an offset is in `leader-epochs`, which is saved
//!   before a sync counts: it is right for everything below the frontier. Above it, the file may be
//!   older or newer than the batches, so that nothing but the order can be asked for there.

use std::sync::Arc;

use super::epochs::LeaderEpochs;
use crate::record::BatchHeader;
use crate::types::{LeaderEpoch, Offset};

/// Whether offsets may be missing between two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Compaction may have removed records, here or on the leader this came from. Right for good
    /// for a log that was compacted once.
    Allowed,
    /// Each batch begins where the one before it ended.
    Refused,
}

/// What is known of a log besides its batches.
#[derive(Clone, Debug)]
pub struct Witness {
    gaps: Gaps,
    /// Below this offset compaction of this very log may have left gaps.
    compacted: Offset,
    epochs: Option<Arc<LeaderEpochs>>,
    /// `epochs` are right below this offset.
    durable: Offset,
}

/// How a header contradicts what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// It begins below the end of the batch before it, where gaps are allowed: either of the two
    /// may be the damaged one.
    GoesBack,
    /// It does not begin where the batch before it ends.
    DoesNotFollow,
    /// Its offsets are none that a log can have.
    Impossible,
    /// It has an older epoch than the batch before it.
    OlderEpoch,
    /// Another epoch stamped its offset.
    OtherEpoch,
}

impl Contradiction {
    /// The same in words.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Contradiction::GoesBack => "the offset goes back",
            Contradiction::DoesNotFollow => "the batch does not begin where the one before it ends",
            Contradiction::Impossible => "the header has impossible offsets",
            Contradiction::OlderEpoch => "the leader epoch goes back",
            Contradiction::OtherEpoch => "another leader epoch stamped the offset",
        }
    }
}

impl Witness {
    /// A witness that knows nothing of epochs but that they do not go back.
    #[must_use]
    pub fn new(gaps: Gaps) -> Witness {
        Witness { gaps, compacted: Offset::ZERO, epochs: None, durable: Offset::ZERO }
    }

    /// One that knows which epochs stamped what lies below `durable`.
    #[must_use]
    pub fn with_epochs(gaps: Gaps, epochs: Arc<LeaderEpochs>, durable: Offset) -> Witness {
        Witness { gaps, compacted: Offset::ZERO, epochs: Some(epochs), durable }
    }

    /// The same of a log that was compacted below this offset.
    #[must_use]
    pub fn compacted_below(self, compacted: Offset) -> Witness {
        Witness { compacted, ..self }
    }

    /// Whether offsets may be missing.
    #[must_use]
    pub fn allows_gaps(&self) -> bool {
        self.gaps == Gaps::Allowed
    }

    /// What it still knows when the log is cut at `end` and may go on differently.
    #[must_use]
    pub fn cut(&self, end: Offset) -> Witness {
        Witness { durable: self.durable.min(end), ..self.clone() }
    }

    /// The epoch that stamped the batch at `offset`, if that is known for certain.
    #[must_use]
    pub fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let known = self.epochs.as_ref().filter(|_| offset < self.durable)?;
        known.epoch_for(offset)
    }

    /// Whether a header can stand behind a batch that ended at `expected` in epoch `latest`.
    ///
    /// # Errors
    /// What it contradicts.
    pub fn check(
        &self,
        header: &BatchHeader,
        expected: Offset,
        latest: LeaderEpoch,
    ) -> Result<(), Contradiction> {
        let base = header.base_offset;
        match self.gaps {
            Gaps::Allowed if base < expected => return Err(Contradiction::GoesBack),
            Gaps::Refused if base != expected && !self.may_be_gap(expected, base) => {
                return Err(Contradiction::DoesNotFollow);
            }
            _ => {}
        }
        let last = base.0.checked_add(i64::from(header.last_offset_delta));
        if header.last_offset_delta < 0 || last.is_none_or(|last| last == i64::MAX) {
            return Err(Contradiction::Impossible);
        }
        match self.epoch_for(base) {
            Some(known) if known != header.leader_epoch => Err(Contradiction::OtherEpoch),
            None if header.leader_epoch < latest => Err(Contradiction::OlderEpoch),
            _ => Ok(()),
        }
    }

    /// Whether compaction may have removed all that was between two offsets.
    fn may_be_gap(&self, from: Offset, to: Offset) -> bool {
        from < to && to <= self.compacted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;
    use crate::types::Millis;

    fn header(base: i64, epoch: i32) -> BatchHeader {
        let batch = BatchBuilder::single(Millis(1), None, Some(b"value"));
        *batch.stamp(Offset(base), LeaderEpoch(epoch)).header()
    }

    fn epochs(entries: &[(i32, i64)]) -> Arc<LeaderEpochs> {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            epochs.assign(LeaderEpoch(epoch), Offset(start)).expect("increasing");
        }
        Arc::new(epochs)
    }

    /// D9: no flipped bit of a base offset passes where nothing may be missing.
    #[test]
    fn every_other_offset_than_the_expected_one_is_refused() {
        let strict = Witness::new(Gaps::Refused);
        assert_eq!(strict.check(&header(19, 0), Offset(19), LeaderEpoch(0)), Ok(()));
        for bit in 0..64 {
            let flipped = BatchHeader { base_offset: Offset(19 ^ (1 << bit)), ..header(19, 0) };
            assert!(strict.check(&flipped, Offset(19), LeaderEpoch(0)).is_err(), "bit {bit}");
        }
        let compacted = Witness::new(Gaps::Allowed);
        assert_eq!(compacted.check(&header(25, 0), Offset(19), LeaderEpoch(0)), Ok(()));
        let back = compacted.check(&header(18, 0), Offset(19), LeaderEpoch(0));
        assert_eq!(back, Err(Contradiction::GoesBack));
    }

    /// D9: what was not compacted yet is held to as strictly as ever.
    #[test]
    fn gaps_pass_only_where_the_log_was_compacted() {
        let witness = Witness::new(Gaps::Refused).compacted_below(Offset(30));
        let check =
            |base, expected| witness.check(&header(base, 0), Offset(expected), LeaderEpoch(0));
        assert_eq!((check(25, 19), check(30, 19), check(40, 40)), (Ok(()), Ok(()), Ok(())));
        for (base, expected) in [(31, 30), (31, 19), (18, 19), (41, 40)] {
            assert_eq!(check(base, expected), Err(Contradiction::DoesNotFollow), "{base}");
        }
    }

    /// D9: below the frontier no other epoch passes than the one that stamped the offset; above it
    /// the file may be behind the log or ahead of it.
    #[test]
    fn epochs_are_held_against_the_list_where_it_is_certain() {
        let witness = Witness::with_epochs(Gaps::Refused, epochs(&[(2, 0), (5, 10)]), Offset(15));
        let check = |base, epoch, latest| {
            witness.check(&header(base, epoch), Offset(base), LeaderEpoch(latest))
        };
        assert_eq!(check(9, 2, 2), Ok(()));
        assert_eq!(check(10, 5, 2), Ok(()));
        for bit in 0..31 {
            assert_eq!(check(12, 5 ^ (1 << bit), -1), Err(Contradiction::OtherEpoch), "bit {bit}");
        }
        assert_eq!(check(15, 7, 5), Ok(()));
        assert_eq!(check(15, 4, 5), Err(Contradiction::OlderEpoch));
        assert_eq!(witness.cut(Offset(12)).epoch_for(Offset(12)), None);
    }
}
