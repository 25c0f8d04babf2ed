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
//!            4  CRC-32C of the count and the words
//!            8  each word
//!                 places:    offset less base offset (32 bits), position (32 bits)
//!                 times:     newest time stamp before the place, milliseconds
//!                 checksums: zero (32 bits), checksum of the block that ends there (32 bits)
//! ```
//!
//! All numbers are big endian. Frames are appended as the active segment grows and only for batches
//! that are synced; a frame that is cut short or damaged ends the file. Readers take what all three
//! have. Versions they do not know count as absent.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::index::Index;
use crate::record::layout;
use crate::storage::{Access, Disk, StorageError};
use crate::types::Offset;

const HEAD_BYTES: usize = 20;
const FRAME_HEAD_BYTES: usize = 8;
const VERSION: u16 = 1;
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
        let count = self.until - self.written;
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + 8 * count);
        frame.extend((count as u32).to_be_bytes());
        frame.extend([0; 4]);
        for i in self.written + 1..=self.until {
            frame.extend(self.index.words(i)[kind].to_be_bytes());
        }
        let crc = frame_crc(&frame[..4], &frame[FRAME_HEAD_BYTES..]);
        frame[4..8].copy_from_slice(&crc.to_be_bytes());
        frame
    }
}

/// What the files of a segment of `len` bytes tell about it; boundaries that can not be are left
/// out.
pub(super) fn load(disk: &dyn Disk, log: &Path, base: Offset, len: u64) -> Index {
    let index = Index::new(base);
    let read = |kind: usize| {
        let (extension, magic) = KINDS[kind];
        let content = disk.read_small(&log.with_extension(extension), BYTES_MAX);
        words(&content.unwrap_or_default(), magic, base)
    };
    let (places, times, sums) = (read(0), read(1), read(2));
    for ((place, time), sum) in places.into_iter().zip(times).zip(sums) {
        if !index.push_words([place, time, sum], len) {
            break;
        }
    }
    index
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

fn frame_crc(count: &[u8], words: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(count);
    digest.update(words);
    digest.finalize() as u32
}

/// The words of the frames that are whole.
fn words(content: &[u8], magic: &[u8; 4], base: Offset) -> Vec<u64> {
    let mut words = Vec::new();
    let Some((found, mut rest)) = content.split_first_chunk::<HEAD_BYTES>() else { return words };
    if *found != head(magic, base) {
        return words;
    }
    while let Some((frame_head, after)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() {
        let (count, crc) = frame_head.split_at(4);
        let count_of = |bytes: &[u8]| bytes.iter().fold(0, |sum, &b| sum << 8 | usize::from(b));
        let Some((body, after)) = after.split_at_checked(8 * count_of(count)) else { break };
        if frame_crc(count, body) as usize != count_of(crc) || body.is_empty() {
            break;
        }
        let (chunks, _) = body.as_chunks::<8>();
        words.extend(chunks.iter().map(|word| u64::from_be_bytes(*word)));
        rest = after;
    }
    words
}
