//! What the processor does with bytes that are in memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rivvend::record::layout::crc32c;

use super::measurement::Measurement;

const TIME: Duration = Duration::from_millis(300);

/// CRC-32C over blocks of these sizes, on one core.
pub(super) fn checksum() -> Vec<Measurement> {
    [1_000, 1_000_000].map(checksum_of).into()
}

fn checksum_of(block_bytes: usize) -> Measurement {
    let block = vec![0x5A; block_bytes];
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        // Reading the clock costs more than a small block.
        for _ in 0..64 {
            black_box(crc32c(black_box(&block)));
        }
        count += 64;
    }
    Measurement::new("crc32c", 1, block_bytes, count, begun.elapsed())
}
