//! Which leader epoch stamped which offsets, so that replicas can find where their histories part
//! (KIP-101, KIP-279) and recovery can check the epoch field, which no batch checksum covers. Owns
//! the list and its file `leader-epochs`; knows nothing of who leads.
//!
//! An epoch's entry is the offset of the first batch it stamped; the epoch ends where the next
//! entry starts, the last one at the log end. Epochs and start offsets both increase strictly.
//!
//! Order of writes, so that a crash between two of them is harmless:
//! * the file gets a new epoch *before* the first batch of that epoch is appended; an entry at or
//!   beyond the log end is dropped when the log is opened;
//! * truncation shortens the file before it shortens the log.
//!
//! Payload of `leader-epochs`, version 1: count (4), then per entry epoch (4) and start offset (8).

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{self, CheckpointError, Fields, Kind, ReadError};
use crate::limits;
use crate::storage::{Disk, StorageError, Synced};
use crate::types::{LeaderEpoch, Offset};

/// Name of the file in a partition's directory.
pub const FILE_NAME: &str = "leader-epochs";

const ENTRY_BYTES: usize = 12;
pub(super) const KIND: Kind = Kind {
    magic: *b"RVLE",
    name: "leader-epochs",
    version: 1,
    payload_bytes_max: 4 + limits::LEADER_EPOCHS_MAX * ENTRY_BYTES,
};

/// One epoch and the offset of the first batch it stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// A batch claims an epoch or an offset older than what the log already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "leader epoch {} from offset {} can not follow epoch {} from offset {}",
    given.epoch, given.start, latest.epoch, latest.start
)]
pub struct EpochRegressed {
    /// The newest entry of the log.
    pub latest: EpochStart,
    /// What was to follow it.
    pub given: EpochStart,
}

/// The leader epochs of one partition. Clones share their memory: there is one with every view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    // Epochs and start offsets strictly increasing, no epoch negative.
    entries: Arc<Vec<EpochStart>>,
}

impl LeaderEpochs {
    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The newest epoch and its first offset.
    #[must_use]
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// The epoch that stamped the batch at `offset`, as far as it is known.
    #[must_use]
    pub fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        Some(self.entries[after.checked_sub(1)?].epoch)
    }

    /// Notes the epoch of a batch about to be appended at `start`. True when the epoch is new, so
    /// that the file must be replaced before the append.
    ///
    /// # Errors
    /// When the epoch is older than the newest one, or starts before it.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<bool, EpochRegressed> {
        let given = EpochStart { epoch, start };
        if let Some(latest) = self.latest() {
            if epoch == latest.epoch && start >= latest.start {
                return Ok(false);
            }
            if epoch <= latest.epoch || start < latest.start {
                return Err(EpochRegressed { latest, given });
            }
            if start == latest.start {
                // The previous epoch stamped nothing that is still there.
                Arc::make_mut(&mut self.entries).pop();
            }
        }
        if self.entries.len() == limits::LEADER_EPOCHS_MAX {
            // Forgetting the oldest makes a far-behind follower refetch more, never less.
            Arc::make_mut(&mut self.entries).remove(0);
        }
        Arc::make_mut(&mut self.entries).push(given);
        Ok(true)
    }

    /// Drops what begins at or beyond the new log end. True when something changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start < end);
        let changed = kept < self.entries.len();
        if changed {
            Arc::make_mut(&mut self.entries).truncate(kept);
        }
        changed
    }

    /// Drops what ended at or before the new log start. The epoch in force there stays and begins
    /// at `start`, so that it can still be asked for. True when something changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let after = self.entries.partition_point(|entry| entry.start <= start);
        let Some(in_force) = after.checked_sub(1) else { return false };
        let changed = in_force > 0 || self.entries[in_force].start < start;
        if changed {
            let entries = Arc::make_mut(&mut self.entries);
            entries.drain(..in_force);
            entries[0].start = start;
        }
        changed
    }

    /// The answer to OffsetForLeaderEpoch: the largest known epoch not above `epoch`, and the
    /// offset where it ends. `None` when nothing is known: the epoch is above every known one (or
    /// negative), or no epoch is known at all. An epoch below the oldest known one is answered with
    /// itself and the offset where the oldest begins, as KIP-279 asks.
    #[must_use]
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if epoch.0 < 0 || epoch > latest.epoch {
            return None;
        }
        if epoch == latest.epoch {
            // R8: never below the newest epoch's start, whatever the caller calls the log end.
            return Some((epoch, log_end.max(latest.start)));
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let answered = match higher.checked_sub(1) {
            Some(floor) => self.entries[floor].epoch,
            None => epoch,
        };
        Some((answered, self.entries[higher].start))
    }

    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        checkpoint::encode(&KIND, KIND.version, &self.payload())
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is damaged, newer, or breaks the order of epochs.
    pub fn decode(bytes: &[u8]) -> Result<LeaderEpochs, CheckpointError> {
        let (_, payload) = checkpoint::decode(&KIND, bytes)?;
        let mut fields = Fields::new(&KIND, payload);
        let count = fields.count_of(ENTRY_BYTES)?;
        let mut entries: Vec<EpochStart> = Vec::with_capacity(count);
        for _ in 0..count {
            let epoch = LeaderEpoch(fields.i32()?);
            let start = Offset(fields.i64()?);
            let follows = match entries.last() {
                Some(last) => epoch > last.epoch && start > last.start,
                None => epoch.0 >= 0 && start >= Offset::ZERO,
            };
            if !follows {
                return Err(fields.broken("epochs and their start offsets must increase"));
            }
            entries.push(EpochStart { epoch, start });
        }
        fields.end()?;
        Ok(LeaderEpochs { entries: Arc::new(entries) })
    }

    /// Reads the file of a partition; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read or is damaged. It can be rebuilt by a scan of the whole log.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<LeaderEpochs>, ReadError> {
        match checkpoint::read(disk, &dir.join(FILE_NAME), &KIND) {
            Ok(bytes) => Ok(Some(LeaderEpochs::decode(&bytes)?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the file of a partition atomically.
    ///
    /// # Errors
    /// When the disk refuses; a failed sync is final.
    pub fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<Synced, StorageError> {
        checkpoint::write(disk, &dir.join(FILE_NAME), &KIND, &self.payload())
    }

    fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(4 + self.entries.len() * ENTRY_BYTES);
        payload.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for entry in self.entries.iter() {
            payload.extend_from_slice(&entry.epoch.0.to_be_bytes());
            payload.extend_from_slice(&entry.start.0.to_be_bytes());
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::memory::MemoryDisk;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            epochs.assign(LeaderEpoch(epoch), Offset(start)).expect("increasing");
        }
        epochs
    }

    fn listed(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect()
    }

    #[test]
    fn the_frozen_fixture_is_what_we_write_and_read() {
        let fixture = include_bytes!("../../tests/golden/log/leader-epochs-v1.bin");
        let sample = epochs(&[(0, 0), (3, 120), (7, 5_000_000_000)]);
        assert_eq!(sample.encode(), fixture);
        assert_eq!(LeaderEpochs::decode(fixture), Ok(sample));
    }

    #[test]
    fn an_epoch_is_noted_once_and_never_goes_back() {
        let mut epochs = epochs(&[(1, 10)]);
        assert_eq!(epochs.assign(LeaderEpoch(1), Offset(20)), Ok(false));
        assert_eq!(epochs.assign(LeaderEpoch(4), Offset(30)), Ok(true));
        assert!(epochs.assign(LeaderEpoch(3), Offset(40)).is_err());
        assert!(epochs.assign(LeaderEpoch(5), Offset(29)).is_err());
        assert!(epochs.assign(LeaderEpoch(4), Offset(29)).is_err());
        assert_eq!(listed(&epochs), [(1, 10), (4, 30)]);
    }

    #[test]
    fn an_epoch_that_stamped_nothing_leaves_no_entry() {
        assert_eq!(listed(&epochs(&[(1, 0), (2, 10), (3, 10), (5, 10)])), [(1, 0), (5, 10)]);
    }

    // KIP-101 and KIP-279: asked epoch, answer.
    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next_known_one() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let answer =
            |asked| epochs.end_offset_for(LeaderEpoch(asked), Offset(35)).map(|(e, o)| (e.0, o.0));
        let table = [
            (-1, None),
            (0, Some((0, 10))),
            (1, Some((1, 10))),
            (2, Some((2, 20))),
            (3, Some((2, 20))),
            (4, Some((4, 30))),
            (6, Some((4, 30))),
            (7, Some((7, 35))),
            (8, None),
        ];
        for (asked, expected) in table {
            assert_eq!(answer(asked), expected, "epoch {asked}");
        }
        assert_eq!(LeaderEpochs::default().end_offset_for(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn truncation_from_the_end_drops_epochs_that_lost_all_their_batches() {
        let original = epochs(&[(1, 0), (2, 10), (3, 20)]);
        let table: [(i64, &[(i32, i64)]); 5] = [
            (0, &[]),
            (1, &[(1, 0)]),
            (10, &[(1, 0)]),
            (11, &[(1, 0), (2, 10)]),
            (21, &[(1, 0), (2, 10), (3, 20)]),
        ];
        for (end, expected) in table {
            let mut epochs = original.clone();
            assert_eq!(epochs.truncate_from_end(Offset(end)), epochs != original);
            assert_eq!(listed(&epochs), expected, "end {end}");
        }
    }

    #[test]
    fn truncation_from_the_start_keeps_the_epoch_in_force() {
        let original = epochs(&[(1, 5), (2, 10), (3, 20)]);
        let table: [(i64, &[(i32, i64)]); 5] = [
            (4, &[(1, 5), (2, 10), (3, 20)]),
            (7, &[(1, 7), (2, 10), (3, 20)]),
            (10, &[(2, 10), (3, 20)]),
            (15, &[(2, 15), (3, 20)]),
            (99, &[(3, 99)]),
        ];
        for (start, expected) in table {
            let mut epochs = original.clone();
            assert_eq!(epochs.truncate_from_start(Offset(start)), epochs != original);
            assert_eq!(listed(&epochs), expected, "start {start}");
        }
        assert!(!LeaderEpochs::default().truncate_from_start(Offset(5)));
    }

    #[test]
    fn a_list_out_of_order_is_refused() {
        for wrong in [[(2, 0), (1, 5)], [(1, 5), (2, 5)], [(-1, 0), (0, 1)], [(0, -1), (1, 1)]] {
            let entries = wrong.map(|(epoch, start)| EpochStart {
                epoch: LeaderEpoch(epoch),
                start: Offset(start),
            });
            let file = LeaderEpochs { entries: Arc::new(entries.to_vec()) }.encode();
            assert!(matches!(LeaderEpochs::decode(&file), Err(CheckpointError::Payload { .. })));
        }
    }

    proptest! {
        // R7, R8: what the list answers is what the stamped batches themselves say.
        #[test]
        fn the_list_agrees_with_the_batches(
            steps in prop::collection::vec((0..3_i32, 1..5_i64), 1..40),
            asked in 0..100_i32,
            cut in 0..150_i64,
        ) {
            let (mut epoch, mut end) = (0, 0);
            let mut stamped: Vec<i32> = Vec::new();
            let mut epochs = LeaderEpochs::default();
            for (advance, records) in steps {
                epoch += advance;
                epochs.assign(LeaderEpoch(epoch), Offset(end)).expect("increasing");
                stamped.extend(std::iter::repeat_n(epoch, records as usize));
                end += records;
            }
            stamped.truncate(cut as usize);
            epochs.truncate_from_end(Offset(stamped.len() as i64));
            for (offset, &epoch) in stamped.iter().enumerate() {
                prop_assert_eq!(epochs.epoch_for(Offset(offset as i64)), Some(LeaderEpoch(epoch)));
            }
            let expected = stamped.last().filter(|&&last| asked <= last).map(|_| {
                let end = stamped.iter().take_while(|&&epoch| epoch <= asked).count();
                let floor = stamped[..end].last().copied().unwrap_or(asked);
                (LeaderEpoch(floor), Offset(end as i64))
            });
            let log_end = Offset(stamped.len() as i64);
            prop_assert_eq!(epochs.end_offset_for(LeaderEpoch(asked), log_end), expected);
            prop_assert_eq!(LeaderEpochs::decode(&epochs.encode()), Ok(epochs));
        }
    }

    #[test]
    fn the_file_is_absent_whole_or_damaged() {
        let disk = MemoryDisk::new();
        let here = Path::new("");
        assert!(LeaderEpochs::load(&disk, here).expect("sound disk").is_none());
        let sample = epochs(&[(1, 0), (2, 10)]);
        sample.save(&disk, here).expect("sound disk");
        let disk = disk.crash_losing_all();
        assert_eq!(LeaderEpochs::load(&disk, here).expect("sound disk"), Some(sample));
        disk.flip_bit(Path::new(FILE_NAME), 15, 0).expect("it exists");
        assert!(matches!(LeaderEpochs::load(&disk, here), Err(ReadError::Damaged(_))));
    }
}
