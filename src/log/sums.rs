//! The checksum of a block of batches. Every byte of a batch from `attributes` on is covered by its
//! own CRC-32C, which stands in its header; so a checksum over the first 21 bytes of each batch,
//! the part that CRC leaves out and the CRC itself, covers the block whole. It costs a few
//! nanoseconds per batch when written and needs nothing but the headers.
//!
//! Blocks are those of the index: whole batches, at least the index interval of bytes together.

use std::path::Path;

use super::index::Index;
use super::read::Position;
use super::sidecar;
use crate::record::BatchHeader;
use crate::record::layout::{self, ATTRIBUTES_AT};
use crate::storage::Disk;
use crate::types::Offset;

/// The checksum of a block, extended by one more batch. An empty block has 0.
pub(super) fn extend(sum: u32, header: &BatchHeader) -> u32 {
    let mut bytes = [0; 4 + ATTRIBUTES_AT];
    bytes[..4].copy_from_slice(&sum.to_be_bytes());
    bytes[4..].copy_from_slice(&header.encode()[..ATTRIBUTES_AT]);
    layout::crc32c(&bytes)
}

/// The checksums that the side files of a segment hold, for those who read the segment themselves
/// and compare as its headers pass by.
#[derive(Debug)]
pub struct Seals {
    index: Index,
    base: Offset,
    /// The block that is being read, and its checksum so far.
    block: usize,
    sum: u32,
}

impl Seals {
    /// Reads the side files of a segment of `len` bytes. What they do not tell is not compared.
    #[must_use]
    pub fn load(disk: &dyn Disk, log: &Path, base: Offset, len: u64) -> Seals {
        let index = sidecar::load(disk, log, base, len).index;
        Seals { index, base, block: 0, sum: 0 }
    }

    /// Takes the header of the next batch, which ends at `end` in the file.
    ///
    /// # Errors
    /// Where the block began of which some header is not what was written.
    pub fn pass(&mut self, header: &BatchHeader, end: u64) -> Result<(), Position> {
        if self.block >= self.index.last() {
            return Ok(());
        }
        self.sum = extend(self.sum, header);
        let (start, until) = (self.index.boundary(self.block), self.index.boundary(self.block + 1));
        if end < until.at {
            return Ok(());
        }
        if end > until.at {
            // No batch ends there: it is the index that is wrong, which can be made anew.
            self.block = self.index.last();
            return Ok(());
        }
        let sum = std::mem::take(&mut self.sum);
        self.block += 1;
        if until.sum.is_none_or(|sealed| sealed == sum) {
            return Ok(());
        }
        Err(Position { offset: start.offset, segment: self.base, bytes: start.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::layout::HEADER_BYTES;

    /// D9: no bit that the batch's own CRC leaves uncovered may change unnoticed.
    #[test]
    fn every_bit_outside_the_batch_checksum_changes_the_sum() {
        let bytes = [7; HEADER_BYTES];
        let header = BatchHeader::parse(&bytes).expect("whole header");
        let sum = extend(0, &header);
        for bit in 0..ATTRIBUTES_AT * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = BatchHeader::parse(&flipped).expect("whole header");
            assert_ne!(extend(0, &flipped), sum, "bit {bit}");
        }
        assert_ne!(extend(sum, &header), sum);
    }
}
