//! The side files of a segment as tools look at them: which are there, which are damaged and where,
//! what they claim, and whether the batches bear it out. Readers of the log take what they can use
//! and find the rest out again; this says all of it and changes nothing.

use std::path::{Path, PathBuf};

use super::super::index::NEVER;
use super::super::sums;
use super::{BYTES_MAX, HEAD_BYTES, KINDS, agreed, frames};
use crate::record::BatchHeader;
use crate::storage::Disk;
use crate::types::{Millis, Offset};

/// One of the three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// What became of it.
    pub state: SideFileState,
}

/// What one file is like by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideFileState {
    /// There is none.
    Missing,
    /// Every byte is what was written.
    Sound,
    /// It can not be used from this byte on.
    Damaged {
        /// Where the first frame begins that is not what was written.
        byte: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// One place that the files tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Batches before the place have only offsets below this one.
    pub offset: Offset,
    /// Byte of the segment file.
    pub position: u64,
    /// Newest time stamp before the place, if there is any record.
    pub newest: Option<Millis>,
    /// Checksum over the headers of the block that ends there, if it was known when written.
    pub sum: Option<u32>,
}

/// The side files of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFiles {
    /// Places, times and checksums, in this order.
    pub files: [SideFile; 3],
    /// What all three have.
    pub entries: Vec<IndexEntry>,
    /// Each is sound by itself and they do not belong together: more than this is not used.
    pub differ: bool,
}

impl SideFiles {
    /// Reads the side files of a segment of `len` bytes.
    #[must_use]
    pub fn read(disk: &dyn Disk, log: &Path, base: Offset, len: u64) -> SideFiles {
        let contents = KINDS.map(|(extension, _)| {
            let path = log.with_extension(extension);
            (disk.read_small(&path, BYTES_MAX), path)
        });
        let bytes = contents.each_ref().map(|(content, _)| content.as_deref().unwrap_or_default());
        let parsed = [0, 1, 2].map(|kind| frames(bytes[kind], KINDS[kind].1, base));
        let sound = parsed.each_ref().map(|(frames, _)| frames.as_slice());
        let (index, agree) = agreed(&sound, base, len);
        let entries = (1..=index.last()).map(|i| {
            let place = index.boundary(i);
            let newest = Some(place.newest).filter(|&newest| newest != NEVER);
            IndexEntry { offset: place.offset, position: place.at, newest, sum: place.sum }
        });
        let entries = entries.collect();
        let lefts = parsed.map(|(_, left)| left);
        let mut kind = 0;
        let files = contents.map(|(content, path)| {
            kind += 1;
            let state = match content {
                Err(error) if error.is_not_found() => SideFileState::Missing,
                Err(error) => SideFileState::Damaged { byte: 0, why: error.to_string() },
                Ok(content) => state_of(content.len(), lefts[kind - 1]),
            };
            SideFile { path, state }
        });
        let differ = !agree && files.iter().all(|file| file.state == SideFileState::Sound);
        SideFiles { files, entries, differ }
    }

    /// Those of a segment that does not exist.
    #[must_use]
    pub fn none() -> SideFiles {
        let missing = || SideFile { path: PathBuf::new(), state: SideFileState::Missing };
        SideFiles { files: [missing(), missing(), missing()], entries: Vec::new(), differ: false }
    }

    /// Whether all three are there, sound, and belong together.
    #[must_use]
    pub fn are_whole(&self) -> bool {
        let sound = |file: &SideFile| file.state == SideFileState::Sound;
        self.files.iter().all(sound) && !self.differ
    }

    /// Whether there is none of the three.
    #[must_use]
    pub fn are_missing(&self) -> bool {
        self.files.iter().all(|file| file.state == SideFileState::Missing)
    }

    /// The first file that is there and not what was written.
    #[must_use]
    pub fn damaged(&self) -> Option<&SideFile> {
        self.files.iter().find(|file| matches!(file.state, SideFileState::Damaged { .. }))
    }

    /// Byte of the segment up to which they tell of it.
    #[must_use]
    pub fn covered_bytes(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.position)
    }
}

fn state_of(len: usize, left: usize) -> SideFileState {
    let why = match len - left {
        _ if left == 0 => return SideFileState::Sound,
        0 if len < HEAD_BYTES => "the file ends within its head",
        0 => "the head is not that of this segment's file",
        _ => "a frame is cut short or its checksum does not match",
    };
    SideFileState::Damaged { byte: (len - left) as u64, why: why.to_owned() }
}

/// Whether the batches bear out an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They do.
    Agrees,
    /// No batch ends at its position.
    NoBatchEnds,
    /// This offset follows there.
    OtherOffset(Offset),
    /// This is the newest time stamp before it.
    OtherTime(Millis),
    /// The headers of the block have this checksum: they are not what was written.
    OtherSum(u32),
}

/// Holds entries against the batches of their segment, which pass by from its start.
#[derive(Debug)]
pub struct Comparison<'a> {
    entries: &'a [IndexEntry],
    /// The next entry to be judged.
    next: usize,
    /// Checksum of the block so far; none when it is not known where the block began.
    sum: Option<u32>,
    newest: Millis,
}

impl<'a> Comparison<'a> {
    /// Entries that nothing has been held against.
    #[must_use]
    pub fn of(entries: &'a [IndexEntry]) -> Comparison<'a> {
        Comparison { entries, next: 0, sum: Some(0), newest: NEVER }
    }

    /// Takes the next batch, whose end in the file is `end`, and calls `note` with each entry that
    /// is judged by it.
    pub fn pass(&mut self, header: &BatchHeader, end: u64, mut note: impl FnMut(usize, Verdict)) {
        self.sum = self.sum.map(|sum| sums::extend(sum, header));
        self.newest = self.newest.max(header.newest().unwrap_or(NEVER));
        let following =
            Offset(header.base_offset.0.saturating_add(i64::from(header.last_offset_delta) + 1));
        while let Some(entry) = self.entries.get(self.next).filter(|entry| entry.position <= end) {
            let is_end = entry.position == end;
            note(self.next, self.judge(entry, is_end, following));
            self.sum = is_end.then_some(0);
            self.next += 1;
        }
    }

    fn judge(&self, entry: &IndexEntry, is_end: bool, following: Offset) -> Verdict {
        if !is_end {
            return Verdict::NoBatchEnds;
        }
        // In a compacted segment the place may lie behind a gap.
        if entry.offset < following {
            return Verdict::OtherOffset(following);
        }
        match (entry.sum, self.sum) {
            (Some(written), Some(found)) if written != found => Verdict::OtherSum(found),
            _ if entry.newest != Some(self.newest) => Verdict::OtherTime(self.newest),
            _ => Verdict::Agrees,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;

    use super::super::super::index::{Boundary, Index};
    use super::super::Flush;
    use super::*;
    use crate::record::BatchBuilder;
    use crate::storage::Access;
    use crate::storage::memory::MemoryDisk;
    use crate::types::LeaderEpoch;

    /// Headers of batches of one record with the place where each ends.
    fn batches(count: i64) -> Vec<(BatchHeader, u64)> {
        let mut end = 0;
        (0..count)
            .map(|offset| {
                let batch = BatchBuilder::single(Millis(offset), None, Some(b"value"));
                let header = *batch.stamp(Offset(offset), LeaderEpoch(0)).header();
                end += header.size_bytes().expect("whole") as u64;
                (header, end)
            })
            .collect()
    }

    /// The right entry behind every second batch.
    fn written(batches: &[(BatchHeader, u64)]) -> (MemoryDisk, Arc<Path>, u64) {
        let index = Arc::new(Index::new(Offset(0)));
        for pair in batches.chunks(2) {
            let sum = pair.iter().fold(0, |sum, (header, _)| sums::extend(sum, header));
            let (last, at) = pair[1];
            let (offset, newest) = (last.next_offset(), Millis(last.max_timestamp));
            index.push(Boundary { offset, at, newest, sum: Some(sum) }, true);
        }
        let (disk, log): (_, Arc<Path>) = (MemoryDisk::new(), Path::new("0.log").into());
        let (base, until) = (Offset(0), index.last());
        let flush = Flush { log: log.clone(), base, index, written: 0, until, file_bytes: 0 };
        flush.run(&disk).expect("sound disk");
        (disk, log, batches.last().expect("some").1)
    }

    fn verdicts(entries: &[IndexEntry], batches: &[(BatchHeader, u64)]) -> Vec<Verdict> {
        let mut comparison = Comparison::of(entries);
        let mut verdicts = Vec::new();
        for (header, end) in batches {
            comparison.pass(header, *end, |i, verdict| {
                assert_eq!(i, verdicts.len(), "each entry is judged once, in order");
                verdicts.push(verdict);
            });
        }
        verdicts
    }

    #[test]
    fn what_was_written_agrees_with_the_batches() {
        let batches = batches(6);
        let (disk, log, len) = written(&batches);
        let files = SideFiles::read(&disk, &log, Offset(0), len);
        assert!(files.files.iter().all(|file| file.state == SideFileState::Sound), "{files:?}");
        assert_eq!((files.covered_bytes(), files.differ), (len, false));
        assert_eq!(verdicts(&files.entries, &batches), [Verdict::Agrees; 3]);
    }

    #[test]
    fn each_wrong_number_has_its_own_verdict_and_no_other_entry_suffers() {
        let batches = batches(6);
        let (disk, log, len) = written(&batches);
        let right = SideFiles::read(&disk, &log, Offset(0), len).entries;
        let wrong = |change: fn(&mut IndexEntry)| {
            let mut entries = right.clone();
            change(&mut entries[1]);
            let verdicts = verdicts(&entries, &batches);
            assert_eq!((verdicts[0], verdicts[2]), (Verdict::Agrees, Verdict::Agrees));
            verdicts[1]
        };
        assert_eq!(wrong(|entry| entry.position -= 1), Verdict::NoBatchEnds);
        assert_eq!(wrong(|entry| entry.offset.0 -= 1), Verdict::OtherOffset(Offset(4)));
        assert_eq!(wrong(|entry| entry.newest = None), Verdict::OtherTime(Millis(3)));
        let sum = right[1].sum.expect("written");
        assert_eq!(wrong(|entry| entry.sum = Some(7)), Verdict::OtherSum(sum));
        assert_eq!(wrong(|entry| entry.sum = None), Verdict::Agrees, "nothing was claimed");
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_is_named_with_the_place() {
        let (disk, log, len) = written(&batches(6));
        let read = |disk: &MemoryDisk| SideFiles::read(disk, &log, Offset(0), len);
        let times = log.with_extension("timeindex");
        let gone = disk.snapshot();
        gone.remove(&times).expect("it is there");
        assert_eq!(read(&gone).files[1].state, SideFileState::Missing);
        assert_eq!(read(&gone).entries, []);
        assert!(!read(&gone).are_missing() && read(&gone).damaged().is_none());
        let file = disk.open(&times, Access::Write).expect("it is there");
        let mut byte = [0];
        file.read_at(40, &mut byte).expect("readable");
        file.write_at(40, &mut [IoSlice::new(&[byte[0] ^ 1])]).expect("writable");
        let files = read(&disk);
        let damaged = files.damaged().expect("a bit flipped");
        assert_eq!(damaged.path, times);
        assert!(matches!(damaged.state, SideFileState::Damaged { byte: 20, .. }), "{damaged:?}");
    }

    #[test]
    fn files_of_different_writings_do_not_belong_together() {
        let (disk, log, len) = written(&batches(6));
        let (other, _, _) = written(&batches(4));
        let path = log.with_extension("sum");
        let content = other.read_small(&path, BYTES_MAX).expect("there");
        disk.remove(&path).expect("there");
        disk.create(&path)
            .and_then(|file| file.write_at(0, &mut [IoSlice::new(&content)]))
            .expect("sound disk");
        let files = SideFiles::read(&disk, &log, Offset(0), len);
        assert!(files.differ && files.damaged().is_none() && files.entries.is_empty());
    }
}
