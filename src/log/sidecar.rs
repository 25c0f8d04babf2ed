//! The files beside a segment: `.index`, `.timeindex` and `.sum`. Each holds one of the three words
//! of every [`Boundary`](super::index::Boundary), so the three are read and written together. They
//! are disposable: what is absent or wrong is found out again from the batches (D15).
//!
//! ```text
//!  at  size  field
//!   0     4  magic: "RVIX" places, "RVTX" times, "RVSM" checksums
//!   4     2  version (1)
//!   6     2  zero
//!   8     8  base offset of the segment
//!  16     4  CRC-32C of the sixteen bytes before
//!  20        frames, one per flush:
//!            4  count of words
//!            4  CRC-32C of the words that the same frame of the places has
//!            4  CRC-32C of the two numbers before and the words
//!            8  each word
//!                 places:    offset less base offset (32 bits), position (32 bits)
//!                 times:     newest time stamp before the place, milliseconds
//!                 checksums: 1 if there is none, else 0 (32 bits), checksum of the block that
//!                 ends there (32 bits)
//! ```
//!
//! All numbers are big endian. Frames are appended as the active segment grows and only for
//! batches that are synced; a frame that is cut short or damaged ends the file. A power cut may
//! leave the files of different rewrites side by side, so each frame names the places it belongs
//! to. Readers take what all three have. Versions they do not know count as absent.

mod survey;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use survey::{Comparison, IndexEntry, SideFile, SideFileState, SideFiles, Verdict};

use super::index::Index;
use crate::record::layout;
use crate::storage::{Access, Disk, StorageError};
use crate::types::Offset;

pub(super) const HEAD_BYTES: usize = 20;
pub(super) const FRAME_HEAD_BYTES: usize = 12;
pub(super) const VERSION: u16 = 1;
/// Larger ones are no file of ours: an index entry stands for at least 128 bytes of 4 GiB.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// Extension and magic, in the order of [`Index::words`].
pub(super) const KINDS: [(&str, &[u8; 4]); 3] =
    [("index", b"RVIX"), ("timeindex", b"RVTX"), ("sum", b"RVSM")];

/// Boundaries to be written to the files of one segment.
#[derive(Debug)]
pub(super) struct Flush {
    /// The segment's `.log` file.
    pub(super) log: Arc<Path>,
    pub(super) base: Offset,
    pub(super) index: Arc<Index>,
    /// Boundaries already in the files; with none the files are written from the start.
    pub(super) written: usize,
    /// Boundaries in the files afterwards.
    pub(super) until: usize,
    /// Size of each file before.
    pub(super) file_bytes: u64,
}

impl Flush {
    /// Appends the boundaries to the three files.
    pub(super) fn run(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        for (kind, (extension, magic)) in KINDS.iter().enumerate() {
            let path = self.log.with_extension(extension);
            let frame = self.frame(kind);
            if self.written > 0 {
                let file = disk.open(&path, Access::Write)?;
                file.write_at(self.file_bytes, &mut [IoSlice::new(&frame)])?;
                continue;
            }
            remove_if_there(disk, &path)?;
            let head = head(magic, self.base);
            let file = disk.create(&path)?;
            file.write_at(0, &mut [IoSlice::new(&head), IoSlice::new(&frame)])?;
        }
        Ok(())
    }

    /// Size of each file after [`Flush::run`].
    pub(super) fn file_bytes_after(&self) -> u64 {
        let head = if self.written == 0 { HEAD_BYTES as u64 } else { self.file_bytes };
        head + FRAME_HEAD_BYTES as u64 + 8 * (self.until - self.written) as u64
    }

    fn frame(&self, kind: usize) -> Vec<u8> {
        let count = (self.until - self.written) as u32;
        let places = layout::crc32c(&self.words(0));
        let mut frame = [count.to_be_bytes(), places.to_be_bytes(), [0; 4]].concat();
        frame.extend(self.words(kind));
        let crc = frame_crc(&frame[..8], &frame[FRAME_HEAD_BYTES..]);
        frame[8..FRAME_HEAD_BYTES].copy_from_slice(&crc.to_be_bytes());
        frame
    }

    fn words(&self, kind: usize) -> Vec<u8> {
        let words = (self.written + 1..=self.until).map(|i| self.index.words(i)[kind]);
        words.flat_map(u64::to_be_bytes).collect()
    }
}

/// One frame of a file.
struct Frame<'a> {
    /// Which places it belongs to.
    places: u32,
    words: &'a [[u8; 8]],
}

/// What the side files of a segment tell.
pub(super) struct Kept {
    /// As far as all three agree and it can be.
    pub(super) index: Index,
    /// A file that is there and is not what was written, if there is one.
    pub(super) wrong: Option<PathBuf>,
}

/// Reads the files of a segment of `len` bytes; boundaries that can not be are left out.
pub(super) fn load(disk: &dyn Disk, log: &Path, base: Offset, len: u64) -> Kept {
    let read = |kind: usize| {
        let content = disk.read_small(&log.with_extension(KINDS[kind].0), BYTES_MAX);
        content.unwrap_or_default()
    };
    let contents = [read(0), read(1), read(2)];
    let parsed = [0, 1, 2].map(|kind| frames(&contents[kind], KINDS[kind].1, base));
    let (index, agree) = agreed(&parsed.each_ref().map(|(frames, _)| frames.as_slice()), base, len);
    let wrong = parsed.iter().position(|(_, left)| *left > 0).or((!agree).then_some(0));
    let wrong = wrong.map(|kind| log.with_extension(KINDS[kind].0));
    Kept { index, wrong }
}

/// The boundaries that all three files have; whether there are no others.
fn agreed(files: &[&[Frame<'_>]; 3], base: Offset, len: u64) -> (Index, bool) {
    let index = Index::new(base);
    let [places, times, sums] = files;
    for ((places, times), sums) in places.iter().zip(*times).zip(*sums) {
        let own = layout::crc32c(places.words.as_flattened());
        if [places.places, times.places, sums.places] != [own; 3] {
            return (index, false);
        }
        for ((place, time), sum) in places.words.iter().zip(times.words).zip(sums.words) {
            if !index.push_words([place, time, sum].map(|word| u64::from_be_bytes(*word)), len) {
                return (index, false);
            }
        }
    }
    (index, places.len() == times.len() && places.len() == sums.len())
}

/// Offset and position of the last boundary, without reading the whole file. A hint: not checked.
pub(super) fn last_place(disk: &dyn Disk, log: &Path, base: Offset) -> Option<(Offset, u64)> {
    let file = disk.open(&log.with_extension(KINDS[0].0), Access::Read).ok()?;
    let at = file.len().ok()?.checked_sub(8).filter(|&at| at >= HEAD_BYTES as u64)?;
    let mut word = [0; 8];
    let read = file.read_at(at, &mut word).ok()?;
    let word = u64::from_be_bytes(word);
    let offset = base.0.checked_add((word >> 32) as i64).map(Offset)?;
    (read == 8).then_some((offset, word & u64::from(u32::MAX)))
}

/// Removes the files of a segment, those that are there.
pub(super) fn remove(disk: &dyn Disk, log: &Path) -> Result<(), StorageError> {
    KINDS
        .iter()
        .try_for_each(|(extension, _)| remove_if_there(disk, &log.with_extension(extension)))
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn head(magic: &[u8; 4], base: Offset) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(magic);
    head[4..6].copy_from_slice(&VERSION.to_be_bytes());
    head[8..16].copy_from_slice(&base.0.to_be_bytes());
    let crc = layout::crc32c(&head[..16]);
    head[16..].copy_from_slice(&crc.to_be_bytes());
    head
}

fn frame_crc(numbers: &[u8], words: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(numbers);
    digest.update(words);
    digest.finalize() as u32
}

/// The frames that are whole, and how many bytes are left behind them.
fn frames<'a>(content: &'a [u8], magic: &[u8; 4], base: Offset) -> (Vec<Frame<'a>>, usize) {
    let mut frames = Vec::new();
    let mut rest = match content.split_first_chunk::<HEAD_BYTES>() {
        Some((found, rest)) if *found == head(magic, base) => rest,
        _ => return (frames, content.len()),
    };
    while let Some((frame, after)) = first_frame(rest) {
        frames.push(frame);
        rest = after;
    }
    (frames, rest.len())
}

fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (frame_head, after) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let [count, places, crc] = *frame_head.as_chunks::<4>().0 else { return None };
    let count = u32::from_be_bytes(count) as usize;
    let (body, after) = after.split_at_checked(count.checked_mul(8)?)?;
    if count == 0 || frame_crc(&frame_head[..8], body) != u32::from_be_bytes(crc) {
        return None;
    }
    let (places, words) = (u32::from_be_bytes(places), body.as_chunks::<8>().0);
    Some((Frame { places, words }, after))
}

#[cfg(test)]
mod tests {
    use super::super::index::Boundary;
    use super::*;
    use crate::storage::memory::MemoryDisk;
    use crate::types::Millis;

    /// Side files written in two frames.
    fn written() -> (MemoryDisk, Arc<Path>) {
        let (disk, index) = (MemoryDisk::new(), Arc::new(Index::new(Offset(7))));
        for i in 1..=5u32 {
            let (offset, at) = (Offset(7 + i64::from(i)), u64::from(i) * 300);
            index.push(Boundary { offset, at, newest: Millis(1), sum: Some(i) }, true);
        }
        let log: Arc<Path> = Path::new("7.log").into();
        let (base, written, until, file_bytes) = (Offset(7), 0, 2, 0);
        let first = Flush { log: log.clone(), base, index, written, until, file_bytes };
        first.run(&disk).expect("sound disk");
        let (written, until, file_bytes) = (2, 5, first.file_bytes_after());
        Flush { written, until, file_bytes, ..first }.run(&disk).expect("sound disk");
        (disk, log)
    }

    /// Bad inputs row 79: whichever byte of whichever file is damaged, it is noticed and named, and
    /// no boundary is made up.
    #[test]
    fn a_damaged_file_is_named_and_only_its_sound_part_used() {
        let (disk, log) = written();
        let sound = load(&disk, &log, Offset(7), 1_500);
        assert_eq!((sound.index.last(), sound.wrong), (5, None));
        for (extension, _) in KINDS {
            let path = log.with_extension(extension);
            let len = disk.open(&path, Access::Read).and_then(|file| file.len()).expect("there");
            for at in 0..len {
                let disk = disk.snapshot();
                let file = disk.open(&path, Access::Write).expect("it exists");
                let mut byte = [0];
                file.read_at(at, &mut byte).expect("readable");
                file.write_at(at, &mut [IoSlice::new(&[byte[0] ^ 1])]).expect("writable");
                let kept = load(&disk, &log, Offset(7), 1_500);
                assert_eq!(kept.wrong.as_ref(), Some(&path), "byte {at}");
                let last = kept.index.last();
                assert!([0, 2].contains(&last), "byte {at}: {last}");
                (0..=last)
                    .for_each(|i| assert_eq!(kept.index.boundary(i), sound.index.boundary(i)));
            }
        }
    }
}
