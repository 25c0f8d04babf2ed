//! Making batches: of records for producers, and of the single entries that the broker's own logs
//! hold. Whatever is built here is a batch that the checks accept.

use super::body::{self, NewRecord, Record};
use super::layout::{HEADER_BYTES, attributes};
use super::{BatchHeader, CheckedBatch, Compression};
use crate::limits;
use crate::types::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence};

/// Gathers records into one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    attributes: i16,
    producer: (ProducerId, ProducerEpoch, Sequence),
    /// Time stamp of the first record, which the others count from.
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    /// Room for the header, then the records, so that an uncompressed batch is never copied.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// A builder without records.
    #[must_use]
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            compression,
            level: None,
            attributes: compression.codec(),
            producer: (ProducerId::NONE, ProducerEpoch(-1), Sequence(-1)),
            base_timestamp: -1,
            max_timestamp: -1,
            count: 0,
            bytes: vec![0; HEADER_BYTES],
        }
    }

    /// A batch with nothing but this record, as the broker's own logs hold them.
    #[must_use]
    pub fn single(timestamp: Millis, key: Option<&[u8]>, value: Option<&[u8]>) -> CheckedBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { timestamp, key, value, headers: &[] });
        builder.build()
    }

    /// How hard the codec tries; its own default without this.
    #[must_use]
    pub fn level(mut self, level: Option<i32>) -> BatchBuilder {
        self.level = level;
        self
    }

    /// Makes the batch part of what this producer sends in sequence.
    #[must_use]
    pub fn producer(
        mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
    ) -> BatchBuilder {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Makes the batch part of its producer's transaction.
    #[must_use]
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= attributes::TRANSACTIONAL;
        self
    }

    /// Turns the batch into one of markers.
    pub(super) fn marked_control(mut self) -> BatchBuilder {
        self.attributes |= attributes::CONTROL;
        self
    }

    /// Whether one more record keeps the batch within `bytes_max` and within what any batch may
    /// hold, even if it can not be compressed. The first record of a batch does not fit only if it
    /// never will.
    #[must_use]
    pub fn fits(&self, record: &NewRecord<'_>, bytes_max: usize) -> bool {
        let limit = bytes_max.min(limits::BATCH_BYTES_MAX);
        let limit = match self.compression {
            Compression::None => limit,
            // Every codec stores what it can not shrink, at less than a byte in sixty-four.
            _ => limit - limit / 64,
        };
        self.len() < limits::BATCH_RECORDS_MAX
            && self.estimated_bytes().saturating_add(body::size_max(record)) <= limit
    }

    /// Adds a record.
    ///
    /// # Panics
    /// When the batch holds as many records as a batch may; ask [`fits`](BatchBuilder::fits).
    pub fn push(&mut self, record: &NewRecord<'_>) {
        let (timestamp_delta, offset_delta) = self.place(record.timestamp);
        body::put_new(&mut self.bytes, timestamp_delta, offset_delta, record);
    }

    /// Adds a record that was read elsewhere, with a time stamp of the caller's choice.
    ///
    /// # Panics
    /// When the batch holds as many records as a batch may.
    pub fn push_record(&mut self, record: &Record<'_>, timestamp: Millis) {
        let (timestamp_delta, offset_delta) = self.place(timestamp);
        body::put_read(&mut self.bytes, timestamp_delta, offset_delta, record);
    }

    /// Size of the batch if nothing were compressed.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch, at base offset 0 and without a leader epoch.
    ///
    /// # Panics
    /// When there are no records, or more bytes than [`limits::BATCH_BYTES_MAX`].
    #[must_use]
    pub fn build(self) -> CheckedBatch {
        assert!(self.count > 0, "a batch has at least one record");
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: 0,
            leader_epoch: LeaderEpoch(-1),
            magic: super::layout::MAGIC,
            crc: 0,
            attributes: self.attributes,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.count,
        };
        CheckedBatch::seal(header, self.packed())
    }

    /// Takes note of the next record's time and returns its deltas.
    fn place(&mut self, timestamp: Millis) -> (i64, i32) {
        assert!(self.len() < limits::BATCH_RECORDS_MAX, "a batch may not hold more records");
        if self.count == 0 {
            self.base_timestamp = timestamp.0;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp.0);
        let offset_delta = self.count;
        self.count += 1;
        // Time stamps come from clients: far apart ones wrap and are refused at receipt.
        (timestamp.0.wrapping_sub(self.base_timestamp), offset_delta)
    }

    fn packed(self) -> Vec<u8> {
        if self.compression == Compression::None {
            return self.bytes;
        }
        let mut packed = vec![0; HEADER_BYTES];
        self.compression.compress_into(self.level, &self.bytes[HEADER_BYTES..], &mut packed);
        packed
    }
}
