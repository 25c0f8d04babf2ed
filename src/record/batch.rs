//! Batches whose bytes have been proved sound, and batches whose place in the log is assigned.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::layout::{self, BatchHeader, HEADER_BYTES, STAMPED_PREFIX_BYTES, attributes};
use super::{BatchError, Compression, Record, Records, Scratch};
use crate::limits;
use crate::types::{LeaderEpoch, Millis, Offset, ProducerId};

/// Which batches a caller accepts, beyond those that are well formed.
///
/// Start from [`CheckRules::default`] (what a client may send) or [`CheckRules::internal`] (what
/// the broker itself wrote) and change what differs.
#[derive(Clone, Copy, Debug)]
pub struct CheckRules {
    /// Largest batch, in bytes.
    pub bytes_max: usize,
    /// Whether it comes from a log (recovery, replicas, consumers) and not from a producer: then
    /// control batches and what compaction leaves are fine.
    pub internal: bool,
    /// Whether a producer may send batches of a transaction.
    pub transactional: bool,
    /// Whether the records themselves are decompressed and read.
    pub check_records: bool,
    /// Whether every record needs a key, as on a compacted topic. Needs `check_records`.
    pub keys_required: bool,
    /// Time stamps that are accepted, if they are bounded.
    pub timestamps: Option<Timestamps>,
}

impl Default for CheckRules {
    /// What any client may send to a topic that was not configured otherwise.
    fn default() -> CheckRules {
        CheckRules {
            bytes_max: limits::BATCH_BYTES_DEFAULT,
            internal: false,
            transactional: false,
            check_records: true,
            keys_required: false,
            timestamps: None,
        }
    }
}

impl CheckRules {
    /// What a log may hold. The records are not read: they were when the batch came in, and the CRC
    /// says that they are still the same.
    #[must_use]
    pub fn internal() -> CheckRules {
        CheckRules {
            bytes_max: limits::BATCH_BYTES_MAX,
            internal: true,
            check_records: false,
            ..CheckRules::default()
        }
    }

    /// What the topic demands of a record, wherever it comes from; `index` is for the error.
    ///
    /// # Errors
    /// The rule that the record breaks.
    #[inline]
    pub fn check_record(&self, index: i32, record: &Record<'_>) -> Result<(), BatchError> {
        if self.internal {
            return Ok(());
        }
        if self.keys_required && record.key.is_none() {
            let rule = "has no key, which a compacted topic needs";
            return Err(BatchError::Record { index, rule });
        }
        self.check_timestamp(Some(index), record.timestamp)
    }

    #[inline]
    fn check_timestamp(&self, index: Option<i32>, timestamp: Millis) -> Result<(), BatchError> {
        // -1 says that nobody knows the time; nothing else before 1970 is a time.
        let accepted = match self.timestamps {
            _ if timestamp.0 < 0 => timestamp.0 == -1,
            Some(bounds) => timestamp >= bounds.earliest && timestamp <= bounds.latest,
            None => true,
        };
        let timestamp = timestamp.0;
        if accepted { Ok(()) } else { Err(BatchError::Timestamp { index, timestamp }) }
    }
}

/// Bounds for the time stamps of records, inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Timestamps {
    /// Earliest accepted.
    pub earliest: Millis,
    /// Latest accepted.
    pub latest: Millis,
}

/// A whole batch whose CRC, bounds and counts have been verified.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl CheckedBatch {
    /// Verifies the batch at the front of `bytes` and splits it off. On an error `bytes` is left as
    /// it was. Compressed records are decompressed into a buffer that the thread keeps for it.
    ///
    /// Some producers leave the largest time stamp unset. Retention and lookups by time trust it,
    /// so a wrong one is put right here, as Kafka does, at the price of copying the batch.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn take(bytes: &mut Bytes, rules: &CheckRules) -> Result<CheckedBatch, BatchError> {
        let (header, size) = check_header(bytes, rules)?;
        let computed = layout::crc32c(&bytes[layout::ATTRIBUTES_AT..size]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        check_fields(&header, rules)?;
        let batch = CheckedBatch { header, bytes: bytes.slice(..size) };
        let newest = match rules.check_records {
            true => Scratch::of_thread(|scratch| batch.check_records(rules, scratch))?,
            false => header.max_timestamp,
        };
        bytes.advance(size);
        if rules.internal || newest == header.max_timestamp {
            return Ok(batch);
        }
        Ok(batch.with_header(BatchHeader { max_timestamp: newest, ..header }))
    }

    /// Makes a batch of `header` and `bytes`, which are room for the header and then the records as
    /// they are stored. Length and CRC are filled in.
    pub(super) fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> CheckedBatch {
        assert!(bytes.len() >= HEADER_BYTES, "there is room for the header");
        assert!(bytes.len() <= limits::BATCH_BYTES_MAX, "a batch we build is one we accept");
        header.batch_length = (bytes.len() - layout::LENGTH_OVERHEAD) as i32;
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        header.crc = layout::crc32c(&bytes[layout::ATTRIBUTES_AT..]);
        bytes[layout::CRC_AT..layout::ATTRIBUTES_AT].copy_from_slice(&header.crc.to_be_bytes());
        CheckedBatch { header, bytes: bytes.into() }
    }

    /// The batch as it lies in a topic whose records bear the time of their append. Copies it.
    #[must_use]
    pub fn with_append_time(self, now: Millis) -> CheckedBatch {
        let attributes = self.header.attributes | attributes::LOG_APPEND_TIME;
        let header = BatchHeader { attributes, max_timestamp: now.0, ..self.header };
        self.with_header(header)
    }

    /// The fixed header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records, still compressed.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// How the records are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        let codec = Compression::from_codec(self.header.attributes & attributes::CODEC);
        codec.expect("no batch is checked whose codec is unknown")
    }

    /// The records, one after the other, decompressed into `scratch` if they need to be. Records of
    /// a batch that was only checked by its CRC may still turn out to be malformed.
    ///
    /// # Errors
    /// When the records can not be decompressed.
    pub fn records<'a>(&'a self, scratch: &'a mut Scratch) -> Result<Records<'a>, BatchError> {
        Ok(Records::new(&self.header, scratch.expand(self.compression(), self.body())?))
    }

    /// Gives the batch its place in the log.
    #[must_use]
    pub fn stamp(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> StampedBatch {
        assert!(base_offset >= Offset::ZERO, "offsets start at zero");
        let header = BatchHeader { base_offset, leader_epoch, ..self.header };
        let mut prefix = [0; STAMPED_PREFIX_BYTES];
        prefix.copy_from_slice(&header.encode()[..STAMPED_PREFIX_BYTES]);
        StampedBatch { header, prefix, rest: self.bytes.slice(STAMPED_PREFIX_BYTES..) }
    }

    /// Keeps the place that the leader's stamp gave it, as a follower and recovery do.
    #[must_use]
    pub fn keep_stamp(self) -> StampedBatch {
        let (offset, epoch) = (self.header.base_offset, self.header.leader_epoch);
        self.stamp(offset, epoch)
    }

    fn with_header(&self, header: BatchHeader) -> CheckedBatch {
        CheckedBatch::seal(header, self.bytes.to_vec())
    }

    /// Reads every record and returns the largest time stamp. Offset deltas ascend up to the last
    /// one, so where there are as many records as offsets each is at the offset of its place.
    fn check_records(&self, rules: &CheckRules, scratch: &mut Scratch) -> Result<i64, BatchError> {
        let mut newest = -1;
        for (index, record) in (0..).zip(self.records(scratch)?) {
            let record = record?;
            rules.check_record(index, &record)?;
            newest = newest.max(record.timestamp.0);
        }
        Ok(newest)
    }
}

/// A checked batch with base offset and leader epoch assigned. The received bytes are shared, so
/// the stamp is a prefix of its own instead of a change to them.
#[derive(Clone, Debug)]
pub struct StampedBatch {
    header: BatchHeader,
    prefix: [u8; STAMPED_PREFIX_BYTES],
    rest: Bytes,
}

impl StampedBatch {
    /// The fixed header, stamp included.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch as the two pieces that a vectored write takes.
    #[must_use]
    pub fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.prefix), IoSlice::new(&self.rest)]
    }

    /// The batch in one piece. Copies it: for tests and for small batches.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        [&self.prefix, self.rest.as_ref()].concat().into()
    }

    /// Size on disk and on the wire.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        STAMPED_PREFIX_BYTES + self.rest.len()
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        self.header.base_offset
    }

    /// Offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.header.next_offset()
    }

    /// Largest time stamp of the records.
    #[must_use]
    pub fn max_timestamp(&self) -> Millis {
        Millis(self.header.max_timestamp)
    }
}

fn check_header(bytes: &[u8], rules: &CheckRules) -> Result<(BatchHeader, usize), BatchError> {
    let truncated = |needed| BatchError::Truncated { available: bytes.len(), needed };
    // Old formats keep magic at the same place, so it is read before the rest is trusted.
    if let Some(&magic) = bytes.get(layout::MAGIC_AT)
        && magic as i8 != layout::MAGIC
    {
        return Err(BatchError::Magic(magic as i8));
    }
    let header = BatchHeader::parse(bytes).ok_or_else(|| truncated(HEADER_BYTES))?;
    let size = header.size_bytes().ok_or(BatchError::Invalid("the batch length is impossible"))?;
    let limit = rules.bytes_max.min(limits::BATCH_BYTES_MAX);
    if size > limit {
        return Err(BatchError::TooLarge { size, limit });
    }
    if size > bytes.len() {
        return Err(truncated(size));
    }
    Ok((header, size))
}

fn check_fields(header: &BatchHeader, rules: &CheckRules) -> Result<(), BatchError> {
    let codec = header.attributes & attributes::CODEC;
    if Compression::from_codec(codec).is_none() {
        return Err(BatchError::Codec(codec));
    }
    require(
        header.attributes & !attributes::KNOWN == 0,
        "attribute bits without a meaning are set",
    )?;
    require(header.records_count >= 0, "the record count is negative")?;
    require(header.last_offset_delta >= 0, "the last offset delta is negative")?;
    require(
        header.records_count as usize <= limits::BATCH_RECORDS_MAX,
        "the batch has more records than a batch may hold",
    )?;
    require(
        header.records_count - 1 <= header.last_offset_delta,
        "the batch has more records than offsets",
    )?;
    // No CRC covers the base offset, and arithmetic with it must never fail.
    require(header.base_offset >= Offset::ZERO, "the base offset is negative")?;
    require(
        header.base_offset.0 < i64::MAX - i64::from(header.last_offset_delta),
        "the offsets go beyond the last one there is",
    )?;
    if rules.internal { Ok(()) } else { check_produced(header, rules) }
}

/// What holds for batches as producers send them.
fn check_produced(header: &BatchHeader, rules: &CheckRules) -> Result<(), BatchError> {
    require(!header.is_control(), "only the broker writes control batches")?;
    require(
        rules.transactional || !header.is_transactional(),
        "the batch claims to be part of a transaction",
    )?;
    require(
        header.attributes & attributes::DELETE_HORIZON == 0,
        "only compaction sets a delete horizon",
    )?;
    if header.attributes & attributes::LOG_APPEND_TIME != 0 {
        return Err(BatchError::TimestampType);
    }
    require(header.records_count > 0, "the batch has no records")?;
    require(
        header.last_offset_delta == header.records_count - 1,
        "the last offset delta is not record count - 1",
    )?;
    require(header.producer_id >= ProducerId::NONE, "the producer id is below -1")?;
    if let Some((_, epoch, sequence)) = header.producer() {
        require(epoch.0 >= 0, "a producer id without a producer epoch")?;
        require(sequence.0 >= 0, "a producer id without a sequence")?;
    }
    match rules.check_records {
        true => Ok(()),
        false => rules.check_timestamp(None, Millis(header.max_timestamp)),
    }
}

fn require(holds: bool, rule: &'static str) -> Result<(), BatchError> {
    if holds { Ok(()) } else { Err(BatchError::Invalid(rule)) }
}
