//! Batches whose bytes have been proved sound, and batches whose place in the log is assigned.

use std::io::IoSlice;

use bytes::Bytes;

use super::layout::{self, BatchHeader, HEADER_BYTES, STAMPED_PREFIX_BYTES, attributes};
use crate::limits;
use crate::types::{LeaderEpoch, Millis, Offset};

/// Why bytes are not an acceptable batch. The wire maps give each its code.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BatchError {
    /// Fewer bytes than the batch says it has, or than a header needs.
    #[error("the batch ends after {available} of {needed} bytes")]
    Truncated {
        /// Bytes that are there.
        available: usize,
        /// Bytes that there should be.
        needed: usize,
    },
    /// The batch is larger than the topic allows.
    #[error("the batch has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// The bound it broke.
        limit: usize,
    },
    /// The bytes are not those the producer made.
    #[error("CRC-32C is {computed:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// As the header says.
        stored: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// A format version this broker does not speak.
    #[error("magic {0} is not supported, only 2")]
    Magic(i8),
    /// A codec number without a meaning.
    #[error("compression codec {0} is unknown")]
    Codec(i16),
    /// A rule of the format is broken.
    #[error("{0}")]
    Invalid(&'static str),
    /// A time stamp is outside what the topic accepts.
    #[error("timestamp {0} ms is outside what the topic accepts")]
    Timestamp(i64),
}

/// Which batches a caller accepts, beyond those that are well formed.
#[derive(Clone, Copy, Debug)]
pub struct CheckRules {
    /// Largest batch, in bytes.
    pub bytes_max: usize,
    /// Whether control and transactional batches may pass: replicas and recovery say yes, clients no.
    pub internal: bool,
    /// Time stamps that are accepted, if they are bounded.
    pub timestamps: Option<Timestamps>,
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
    /// it was.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn take(bytes: &mut Bytes, rules: &CheckRules) -> Result<CheckedBatch, BatchError> {
        let header = check_header(bytes, rules)?;
        let size = header.size_bytes().ok_or(BatchError::Invalid("impossible batch length"))?;
        let computed = layout::crc32c(&bytes[layout::ATTRIBUTES_AT..size]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        check_counts(&header, rules)?;
        Ok(CheckedBatch { header, bytes: bytes.split_to(size) })
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

fn check_header(bytes: &[u8], rules: &CheckRules) -> Result<BatchHeader, BatchError> {
    let truncated = |needed| BatchError::Truncated { available: bytes.len(), needed };
    // Old formats keep magic at the same place, so it is read before the rest is trusted.
    if let Some(&magic) = bytes.get(layout::MAGIC_AT)
        && magic as i8 != layout::MAGIC
    {
        return Err(BatchError::Magic(magic as i8));
    }
    let header = BatchHeader::parse(bytes).ok_or_else(|| truncated(HEADER_BYTES))?;
    let size = header.size_bytes().ok_or(BatchError::Invalid("impossible batch length"))?;
    let limit = rules.bytes_max.min(limits::BATCH_BYTES_MAX);
    if size > limit {
        return Err(BatchError::TooLarge { size, limit });
    }
    if size > bytes.len() {
        return Err(truncated(size));
    }
    Ok(header)
}

fn check_counts(header: &BatchHeader, rules: &CheckRules) -> Result<(), BatchError> {
    if header.attributes & !attributes::KNOWN != 0 {
        return Err(BatchError::Invalid("attribute bits without a meaning are set"));
    }
    let codec = header.attributes & attributes::CODEC;
    if codec > 4 {
        return Err(BatchError::Codec(codec));
    }
    if header.records_count < 0 || header.last_offset_delta < 0 {
        return Err(BatchError::Invalid("record count and last offset delta are not negative"));
    }
    if header.records_count as usize > limits::BATCH_RECORDS_MAX {
        return Err(BatchError::Invalid("more records than a batch may hold"));
    }
    if rules.internal {
        return Ok(());
    }
    if header.is_control() || header.is_transactional() {
        return Err(BatchError::Invalid("only the broker writes control batches"));
    }
    if header.records_count == 0 || header.last_offset_delta != header.records_count - 1 {
        return Err(BatchError::Invalid("last offset delta is not record count - 1"));
    }
    match rules.timestamps {
        Some(bounds) => check_timestamps(header, bounds),
        None => Ok(()),
    }
}

fn check_timestamps(header: &BatchHeader, bounds: Timestamps) -> Result<(), BatchError> {
    for timestamp in [header.base_timestamp, header.max_timestamp] {
        if timestamp < bounds.earliest.0 || timestamp > bounds.latest.0 {
            return Err(BatchError::Timestamp(timestamp));
        }
    }
    Ok(())
}
