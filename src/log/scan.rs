//! Walking over the batches of a segment file, hopping from header to header or checking every
//! byte. What it reads is not trusted: every length is held against the file, nothing is allocated
//! by what a header declares. Owns no state beyond its buffer.

use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};

use super::sums;
use super::witness::{Contradiction, Gaps, Witness};
use crate::limits;
use crate::record::BatchHeader;
use crate::record::layout::{self, ATTRIBUTES_AT, HEADER_BYTES, MAGIC};
use crate::storage::{DiskFile, StorageError};
use crate::types::{LeaderEpoch, Offset};

/// Buffer of a walk that reads only headers.
const HOP_BYTES: usize = 4 * 1024;
/// Buffer of a walk that reads everything.
const CHECK_BYTES: usize = 256 * 1024;

/// Why a walk can not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    #[error("{why}")]
    Bad { why: &'static str },
    /// Like `Bad`, and the batch before it may as well be the damaged one.
    #[error("the offset goes back")]
    GoesBack,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A walk over the batches that lie in `at..end` of a file.
pub(super) struct Walk {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
    expected: Offset,
    /// Epoch of the batch passed last.
    epoch: LeaderEpoch,
    witness: Option<Arc<Witness>>,
    sum: u32,
    buffer: Vec<u8>,
    buffered: std::ops::Range<u64>,
}

impl Walk {
    /// A walk that reads headers. No batch it meets may begin below `expected`.
    pub(super) fn hop(file: Arc<dyn DiskFile>, at: u64, end: u64, expected: Offset) -> Walk {
        Walk::new(file, at, end, expected, HOP_BYTES)
    }

    /// A walk that reads everything, so with a buffer that suits.
    pub(super) fn check(file: Arc<dyn DiskFile>, at: u64, end: u64, expected: Offset) -> Walk {
        Walk::new(file, at, end, expected, CHECK_BYTES)
    }

    fn new(file: Arc<dyn DiskFile>, at: u64, end: u64, expected: Offset, buffer: usize) -> Walk {
        assert!(at <= end, "a walk goes forward");
        let buffer = vec![0; buffer.min(usize::try_from(end - at).unwrap_or(buffer))];
        let (epoch, witness) = (LeaderEpoch(-1), None);
        Walk { file, at, end, expected, epoch, witness, sum: 0, buffer, buffered: 0..0 }
    }

    /// The same walk, which holds every header against what is known of the log. It has to begin
    /// exactly at the offset that it expects.
    pub(super) fn against(self, witness: &Arc<Witness>) -> Walk {
        Walk { witness: Some(witness.clone()), ..self }
    }

    /// Where the next batch starts.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The offset below which the next batch can not begin.
    pub(super) fn expected(&self) -> Offset {
        self.expected
    }

    /// Checksum over the headers of the batches passed so far.
    pub(super) fn sum(&self) -> u32 {
        self.sum
    }

    /// The header of the next batch, with its bounds checked; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<BatchHeader>, WalkError> {
        if self.at == self.end {
            return Ok(None);
        }
        let bytes = self.bytes(HEADER_BYTES)?;
        let header =
            BatchHeader::parse(bytes).ok_or(WalkError::Bad { why: "the header is cut short" })?;
        check_size(&header, self.end - self.at)?;
        self.check_order(&header)?;
        Ok(Some(header))
    }

    /// Passes the batch that [`Walk::peek`] returned without looking at its body.
    pub(super) fn skip(&mut self, header: &BatchHeader) {
        self.sum = sums::extend(self.sum, header);
        self.at += size_of(header);
        (self.expected, self.epoch) = (header.next_offset(), header.leader_epoch);
    }

    fn check_order(&self, header: &BatchHeader) -> Result<(), WalkError> {
        let checked = match &self.witness {
            Some(witness) => witness.check(header, self.expected, self.epoch),
            None => Witness::new(Gaps::Allowed).check(header, self.expected, LeaderEpoch(i32::MIN)),
        };
        checked.map_err(|contradiction| match contradiction {
            Contradiction::GoesBack => WalkError::GoesBack,
            contradiction => WalkError::Bad { why: contradiction.why() },
        })
    }

    /// Passes the batch that [`Walk::peek`] returned if its checksum holds.
    pub(super) fn pass(&mut self, header: &BatchHeader) -> Result<(), WalkError> {
        let end = self.at + size_of(header);
        let mut at = self.at + ATTRIBUTES_AT as u64;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        while at < end {
            let bytes = self.bytes_at(at, end)?;
            if bytes.is_empty() {
                return Err(WalkError::Bad { why: "the batch is cut short" });
            }
            digest.update(bytes);
            at += bytes.len() as u64;
        }
        if digest.finalize() as u32 != header.crc {
            return Err(WalkError::Bad { why: "the checksum of the batch does not match" });
        }
        self.skip(header);
        Ok(())
    }

    /// Up to `wanted` bytes from the walk's place on, fewer only at the end of the file.
    fn bytes(&mut self, wanted: usize) -> Result<&[u8], StorageError> {
        let until = self.end.min(self.at + wanted as u64);
        if self.at < self.buffered.start || until > self.buffered.end {
            self.fill(self.at)?;
        }
        let from = (self.at - self.buffered.start) as usize;
        let until = (until.min(self.buffered.end) - self.buffered.start) as usize;
        Ok(&self.buffer[from..until])
    }

    /// What the buffer has of `at..until`, at least one byte unless the file ends.
    fn bytes_at(&mut self, at: u64, until: u64) -> Result<&[u8], StorageError> {
        if !self.buffered.contains(&at) {
            self.fill(at)?;
        }
        let from = (at - self.buffered.start) as usize;
        let until = (until.min(self.buffered.end) - self.buffered.start) as usize;
        Ok(&self.buffer[from..until])
    }

    fn fill(&mut self, at: u64) -> Result<(), StorageError> {
        let wanted = self.buffer.len().min(usize::try_from(self.end - at).unwrap_or(usize::MAX));
        let read = self.file.read_at(at, &mut self.buffer[..wanted])?;
        self.buffered = at..at + read as u64;
        Ok(())
    }
}

/// Whole size of a batch whose header has been checked.
pub(super) fn size_of(header: &BatchHeader) -> u64 {
    header.size_bytes().expect("the header has been checked") as u64
}

fn check_size(header: &BatchHeader, room: u64) -> Result<(), WalkError> {
    let bad = |why| Err(WalkError::Bad { why });
    if header.magic != MAGIC {
        return bad("the header has another magic than 2");
    }
    let Some(size) = header.size_bytes().filter(|&size| size <= limits::BATCH_BYTES_MAX) else {
        return bad("the header has an impossible length");
    };
    if size as u64 > room {
        return bad("the batch is cut short");
    }
    Ok(())
}

const _: () = assert!(HOP_BYTES >= HEADER_BYTES && CHECK_BYTES >= HEADER_BYTES);
const _: () = assert!(layout::CRC_AT < ATTRIBUTES_AT);
