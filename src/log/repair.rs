//! Taking damage out of a log when a person has decided so: what can not be served goes, is kept
//! beside the log under names that nothing reads, and the next start says which offsets are gone.
//! Done offline, by whoever holds the data directory alone. Decides nothing: callers say where.
//!
//! # Order of writes
//! A crash at any step leaves a log that serves what it served before, with the damage refused or
//! out of it, and every byte that goes in some file:
//! 1. the tail of the segment that is cut is copied;
//! 2. `repaired` gets the offsets that are lost;
//! 3. the frontier journal and the marker of the clean stop claim no more than what stays;
//! 4. `leader-epochs` is shortened, the producers' snapshots beyond the new end go;
//! 5. later segments are renamed, the last one first and each durably, so that no hole is left;
//! 6. the segment is cut.
//!
//! # `repaired`
//! Payload, version 1: count (4), then per range the first offset lost (8) and the one after the
//! last (8). Whoever opens the log for writing and finds these offsets gone says so and removes the
//! file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{self, Fields, Kind, ReadError};
use super::clean::{CleanShutdown, Taken};
use super::epochs::LeaderEpochs;
use super::frontier::{Frontier, FrontierEntry, FrontierState};
use super::open::FileKind;
use super::read::Position;
use super::{compaction, open, producers, recovery, retention, sidecar};
use crate::storage::{Access, Disk, StorageError};
use crate::types::{Offset, TopicPartition};

/// Name of the file in a partition's directory.
pub const FILE_NAME: &str = "repaired";
/// Ranges that are remembered; of more repairs without a start between them, the newest.
const RANGES_MAX: usize = 256;
const RANGE_BYTES: usize = 16;
pub(super) const KIND: Kind = Kind {
    magic: *b"RVRP",
    name: FILE_NAME,
    version: 1,
    payload_bytes_max: 4 + RANGES_MAX * RANGE_BYTES,
};

/// Offsets that a log has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub first: Offset,
    /// The one after the last.
    pub end: Offset,
}

/// What is to be done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It ends here: a place between batches, or the start of a log that keeps nothing.
    EndAt(Position),
    /// It begins here, with the first segment that is there.
    BeginAt(Offset),
}

/// Why a log was not repaired. What it serves is as before.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The disk refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is to go can not be kept.
    #[error(
        "there is no room beside {} for a copy of what would be cut off, or there are several \
         copies already; nothing was changed", path.display()
    )]
    NoRoom {
        /// The file that would be cut.
        path: PathBuf,
    },
}

/// A log that is to be repaired.
#[derive(Clone, Debug)]
pub struct Repair {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// The data directory, whose lock the caller holds.
    pub data_dir: PathBuf,
    /// The directory of the log; it need not exist.
    pub dir: PathBuf,
    /// What journals call it.
    pub partition: TopicPartition,
}

impl Repair {
    /// Carries out a remedy; returns where what was taken out is kept.
    ///
    /// # Errors
    /// When something can not be kept, or the disk refuses.
    pub fn run(&self, remedy: Remedy, lost: Lost) -> Result<Vec<PathBuf>, RepairError> {
        let disk = self.disk.as_ref();
        if !disk.exists(&self.dir)? {
            disk.create_dir_all(&self.dir)?;
        }
        compaction::resume(disk, &self.dir)?;
        match remedy {
            Remedy::EndAt(end) => self.end_at(end, lost),
            Remedy::BeginAt(start) => self.begin_at(start, lost),
        }
    }

    fn end_at(&self, end: Position, lost: Lost) -> Result<Vec<PathBuf>, RepairError> {
        let disk = self.disk.as_ref();
        let goes_whole = |base: Offset| base > end.segment || base == end.segment && end.bytes == 0;
        let log = self.dir.join(open::segment_name(end.segment));
        let is_cut = end.bytes > 0 && disk.open(&log, Access::Read)?.len()? > end.bytes;
        let going = self.segments()?.into_iter().rev().filter(|base| goes_whole(*base));
        let going: Vec<_> = going.map(|base| self.dir.join(open::segment_name(base))).collect();
        for path in &going {
            if recovery::free_name(disk, path, 0)?.is_none() {
                return Err(RepairError::NoRoom { path: path.clone() });
            }
        }
        let mut kept = Vec::new();
        if is_cut {
            kept.push(self.keep(&log, end.bytes)?);
        }
        self.note(lost)?;
        self.lower_claims(end)?;
        self.shorten_epochs(end.offset)?;
        producers::remove_snapshots_above(disk, &self.dir, end.offset)?;
        for path in &going {
            kept.push(self.set_aside(path)?);
        }
        if is_cut {
            retention::cut_file(disk, &self.dir, &log, end.bytes)?;
        }
        Ok(kept)
    }

    fn begin_at(&self, start: Offset, lost: Lost) -> Result<Vec<PathBuf>, RepairError> {
        let disk = self.disk.as_ref();
        let mut kept = Vec::new();
        if retention::load_log_start(disk, &self.dir).is_err() {
            kept.push(self.keep(&self.dir.join(retention::LOG_START_NAME), 0)?);
        }
        self.note(lost)?;
        retention::save_log_start(disk, &self.dir, start)?;
        Ok(kept)
    }

    /// The base offsets of the segments, in order.
    fn segments(&self) -> Result<Vec<Offset>, StorageError> {
        let entries = self.disk.list(&self.dir)?.into_iter();
        let base = |name: &str| match FileKind::of(name) {
            FileKind::Segment(base) => Some(base),
            _ => None,
        };
        Ok(entries.filter_map(|entry| base(&entry.name)).collect())
    }

    fn keep(&self, path: &Path, position: u64) -> Result<PathBuf, RepairError> {
        let disk = self.disk.as_ref();
        let file = disk.open(path, Access::Read)?;
        let kept = recovery::keep(disk, path, file.as_ref(), position)?;
        kept.ok_or_else(|| RepairError::NoRoom { path: path.to_owned() })
    }

    /// Gives a segment a name that nothing reads. Its side files would speak of another one.
    fn set_aside(&self, log: &Path) -> Result<PathBuf, RepairError> {
        let disk = self.disk.as_ref();
        let name = recovery::free_name(disk, log, 0)?;
        let name = name.ok_or_else(|| RepairError::NoRoom { path: log.to_owned() })?;
        sidecar::remove(disk, log)?;
        disk.rename(log, &name)?;
        disk.sync_dir(&self.dir)?;
        Ok(name)
    }

    /// Takes back what is claimed of the log beyond its new end. A journal that is missing or can
    /// not be believed stays as it is: the next start reads every log in full all the same.
    fn lower_claims(&self, end: Position) -> Result<(), StorageError> {
        let (disk, data_dir) = (self.disk.as_ref(), &self.data_dir);
        let (state, entries) = Frontier::load(disk, data_dir);
        if matches!(state, FrontierState::Whole | FrontierState::TornTail { .. }) {
            let Position { offset: end_offset, segment: segment_base, bytes: position } = end;
            let mut frontier = Frontier::begin(Arc::clone(&self.disk), data_dir, entries)?;
            let entry = FrontierEntry { segment_base, end_offset, position };
            frontier.lower(self.partition, entry)?;
        }
        compaction::lower(disk, &self.dir, end.offset)?;
        // It tells of the other logs what it told before.
        if let Taken::Clean(mut marker) = CleanShutdown::peek(disk, data_dir)
            && marker.logs.remove(&self.partition).is_some()
        {
            marker.write(disk, data_dir)?;
        }
        Ok(())
    }

    fn shorten_epochs(&self, end: Offset) -> Result<(), StorageError> {
        // A damaged file is made anew when the log is opened.
        let Ok(Some(mut epochs)) = LeaderEpochs::load(self.disk.as_ref(), &self.dir) else {
            return Ok(());
        };
        if epochs.truncate_from_end(end) {
            epochs.save(self.disk.as_ref(), &self.dir)?;
        }
        Ok(())
    }

    fn note(&self, lost: Lost) -> Result<(), StorageError> {
        if lost.first >= lost.end {
            return Ok(());
        }
        let mut all = read_lost(self.disk.as_ref(), &self.dir).unwrap_or_default();
        all.retain(|known| *known != lost);
        all.push(lost);
        let newest = &all[all.len().saturating_sub(RANGES_MAX)..];
        checkpoint::write(self.disk.as_ref(), &self.dir.join(FILE_NAME), &KIND, &encode(newest))?;
        Ok(())
    }
}

fn encode(ranges: &[Lost]) -> Vec<u8> {
    let mut payload = (ranges.len() as u32).to_be_bytes().to_vec();
    for Lost { first, end } in ranges {
        payload.extend_from_slice(&first.0.to_be_bytes());
        payload.extend_from_slice(&end.0.to_be_bytes());
    }
    payload
}

fn read_lost(disk: &dyn Disk, dir: &Path) -> Result<Vec<Lost>, ReadError> {
    let bytes = checkpoint::read(disk, &dir.join(FILE_NAME), &KIND)?;
    let (_, payload) = checkpoint::decode(&KIND, &bytes)?;
    let mut fields = Fields::new(&KIND, payload);
    let mut ranges = Vec::new();
    for _ in 0..fields.count_of(RANGE_BYTES)? {
        let (first, end) = (Offset(fields.i64()?), Offset(fields.i64()?));
        if first < Offset::ZERO || end <= first {
            return Err(fields.broken("a range of lost offsets is empty").into());
        }
        ranges.push(Lost { first, end });
    }
    fields.end()?;
    Ok(ranges)
}

/// What repairs have taken from a log that has the offsets `has` now. The file that says so goes,
/// readable or not: it is told once. While the log still has some of it, a repair was interrupted
/// before it took anything, and the file stays.
pub(super) fn take_lost(
    disk: &dyn Disk,
    dir: &Path,
    has: Range<Offset>,
) -> Result<Result<Vec<Lost>, ReadError>, StorageError> {
    let ranges = read_lost(disk, dir);
    let is_gone = |lost: &Lost| lost.end <= has.start || lost.first.max(has.start) >= has.end;
    if ranges.as_ref().is_ok_and(|ranges| !ranges.iter().all(is_gone)) {
        return Ok(Ok(Vec::new()));
    }
    disk.remove(&dir.join(FILE_NAME))?;
    disk.sync_dir(dir)?;
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::storage::memory::MemoryDisk;

    const FIXTURE: &[u8] = include_bytes!("../../tests/golden/log/repaired-v1.bin");

    fn disk_with(content: &[u8]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new(FILE_NAME)).expect("new disk");
        file.write_at(0, &mut [IoSlice::new(content)]).expect("sound disk");
        disk
    }

    #[test]
    fn the_frozen_fixture_is_what_we_write_and_read() {
        let range = |first, end| Lost { first: Offset(first), end: Offset(end) };
        let ranges = [range(48, 160), range(7, 9)];
        assert_eq!(checkpoint::encode(&KIND, 1, &encode(&ranges)), FIXTURE);
        let read = read_lost(&disk_with(FIXTURE), Path::new("")).expect("intact");
        assert_eq!(read, ranges);
    }

    #[test]
    fn a_damaged_file_is_told_of_and_goes_and_one_that_is_early_stays() {
        let (here, has) = (Path::new(""), |start, end| Offset(start)..Offset(end));
        let mut flipped = FIXTURE.to_vec();
        flipped[20] ^= 1;
        let disk = disk_with(&flipped);
        assert!(take_lost(&disk, here, has(0, 5)).expect("sound disk").is_err());
        assert!(!disk.exists(Path::new(FILE_NAME)).expect("sound disk"));
        let disk = disk_with(FIXTURE);
        let early = take_lost(&disk, here, has(9, 49)).expect("sound disk").expect("intact");
        assert_eq!(early, []);
        let taken = take_lost(&disk, here, has(9, 48)).expect("sound disk").expect("intact");
        assert_eq!(taken.len(), 2);
        assert!(!disk.exists(Path::new(FILE_NAME)).expect("sound disk"));
    }
}
