//! What is made of a batch that is not stored as it came: with fewer records, each at the offset it
//! had, when a log is compacted; with another codec where a topic has one of its own. Owns how that
//! is encoded; which records go is the log's decision.

use super::body;
use super::layout::{HEADER_BYTES, attributes};
use super::{BatchError, CheckedBatch, Compression, Record, Scratch};
use crate::limits;
use crate::types::Millis;

impl CheckedBatch {
    /// The batch with those records that `keep` keeps. Base offset, last offset, leader epoch and
    /// producer stay as they are, even when no record is left: the log may need to remember them.
    ///
    /// `delete_horizon` is the time from which tombstones and markers of the batch may go, noted at
    /// the first pass that sees them; `None` leaves what is noted already.
    ///
    /// # Errors
    /// When the records can not be decompressed or one is malformed, and
    /// [`BatchError::TooLarge`] when our codec packs them so much worse than the producer's did
    /// that the batch would break the bound on batches. The log then keeps the batch as it is.
    pub fn rewrite(
        &self,
        delete_horizon: Option<Millis>,
        scratch: &mut Scratch,
        mut keep: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<CheckedBatch, BatchError> {
        let mut header = *self.header();
        if let Some(horizon) = delete_horizon {
            // Record time stamps are relative to the base, so they are encoded anew.
            header.base_timestamp = horizon.0;
            header.attributes |= attributes::DELETE_HORIZON;
        }
        let mut kept = vec![0; HEADER_BYTES];
        let mut newest = None;
        header.records_count = 0;
        for record in self.records(scratch)? {
            let record = record?;
            if keep(&record) {
                let timestamp_delta = record.timestamp.0.wrapping_sub(header.base_timestamp);
                body::put_read(&mut kept, timestamp_delta, record.offset_delta, &record);
                header.records_count += 1;
                newest = newest.max(Some(record.timestamp.0));
            }
        }
        header.max_timestamp = newest.unwrap_or(header.max_timestamp);
        if header.records_count == 0 {
            header.attributes &= !attributes::CODEC;
            return Ok(CheckedBatch::seal(header, kept));
        }
        let bytes = self.pack(kept);
        let (size, limit) = (bytes.len(), limits::BATCH_BYTES_MAX);
        if size > limit {
            return Err(BatchError::TooLarge { size, limit });
        }
        Ok(CheckedBatch::seal(header, bytes))
    }

    /// The same batch compressed with another codec.
    ///
    /// # Errors
    /// When the records can not be decompressed, and [`BatchError::TooLarge`] when the batch would
    /// have more than `bytes_max` bytes.
    pub fn recompress(
        self,
        compression: Compression,
        bytes_max: usize,
    ) -> Result<CheckedBatch, BatchError> {
        if self.compression() == compression {
            return Ok(self);
        }
        let mut bytes = vec![0; HEADER_BYTES];
        Scratch::of_thread(|scratch| {
            let records = scratch.expand(self.compression(), self.body())?;
            compression.compress_into(None, records, &mut bytes);
            Ok::<_, BatchError>(())
        })?;
        let (size, limit) = (bytes.len(), bytes_max.min(limits::BATCH_BYTES_MAX));
        if size > limit {
            return Err(BatchError::TooLarge { size, limit });
        }
        let mut header = *self.header();
        header.attributes = (header.attributes & !attributes::CODEC) | compression.codec();
        Ok(CheckedBatch::seal(header, bytes))
    }

    fn pack(&self, kept: Vec<u8>) -> Vec<u8> {
        if self.compression() == Compression::None {
            return kept;
        }
        let mut bytes = vec![0; HEADER_BYTES];
        self.compression().compress_into(None, &kept[HEADER_BYTES..], &mut bytes);
        bytes
    }
}
