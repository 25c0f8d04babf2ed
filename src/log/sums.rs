//! The checksum of a block of batches. Every byte of a batch from `attributes` on is covered by its
//! own CRC-32C, which stands in its header; so a checksum over the first 21 bytes of each batch,
//! the part that CRC leaves out and the CRC itself, covers the block whole. It costs a few
//! nanoseconds per batch when written and needs nothing but the headers.
//!
//! Blocks are those of the index: whole batches, at least the index interval of bytes together.

use crate::record::BatchHeader;
use crate::record::layout::{self, ATTRIBUTES_AT};

/// The checksum of a block, extended by one more batch. An empty block has 0.
pub(super) fn extend(sum: u32, header: &BatchHeader) -> u32 {
    let mut bytes = [0; 4 + ATTRIBUTES_AT];
    bytes[..4].copy_from_slice(&sum.to_be_bytes());
    bytes[4..].copy_from_slice(&header.encode()[..ATTRIBUTES_AT]);
    layout::crc32c(&bytes)
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
