//! The fixed header of a record batch (magic 2), as in Kafka's `DefaultRecordBatch`.
//!
//! ```text
//!  at  size  field                    covered by the CRC
//!   0     8  base offset              no: the leader stamps it
//!   8     4  batch length             no: counts what follows it; a wrong one breaks the CRC
//!  12     4  partition leader epoch   no: the leader stamps it
//!  16     1  magic (2)                no
//!  17     4  CRC-32C                  of everything from `attributes` to the end
//!  21     2  attributes               bits 0-2 codec, 3 timestamp type, 4 transactional,
//!                                     5 control, 6 delete horizon set; the rest must be zero
//!  23     4  last offset delta        records count - 1, unless compaction removed records
//!  27     8  base timestamp
//!  35     8  max timestamp
//!  43     8  producer id              -1: none
//!  51     2  producer epoch           -1: none
//!  53     4  base sequence            -1: none
//!  57     4  records count
//!  61     …  records, together compressed by the codec
//! ```
//!
//! All numbers are big endian. Only the first sixteen bytes may change after a producer made the
//! batch, which is why they are outside the CRC: a broker stamps a batch without reading it again.

use crate::types::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence};

/// Where `base offset` starts.
pub const BASE_OFFSET_AT: usize = 0;
/// Where `batch length` starts.
pub const LENGTH_AT: usize = 8;
/// Where `partition leader epoch` starts.
pub const LEADER_EPOCH_AT: usize = 12;
/// Where `magic` stands.
pub const MAGIC_AT: usize = 16;
/// Where the CRC starts.
pub const CRC_AT: usize = 17;
/// Where `attributes`, and with them the bytes that the CRC covers, start.
pub const ATTRIBUTES_AT: usize = 21;
/// Where `last offset delta` starts.
pub const LAST_OFFSET_DELTA_AT: usize = 23;
/// Where `base timestamp` starts.
pub const BASE_TIMESTAMP_AT: usize = 27;
/// Where `max timestamp` starts.
pub const MAX_TIMESTAMP_AT: usize = 35;
/// Where `producer id` starts.
pub const PRODUCER_ID_AT: usize = 43;
/// Where `producer epoch` starts.
pub const PRODUCER_EPOCH_AT: usize = 51;
/// Where `base sequence` starts.
pub const BASE_SEQUENCE_AT: usize = 53;
/// Where `records count` starts.
pub const RECORDS_COUNT_AT: usize = 57;
/// Size of the fixed header: where the records start.
pub const HEADER_BYTES: usize = 61;
/// Bytes before `partition leader epoch` that `batch length` does not count.
pub const LENGTH_OVERHEAD: usize = 12;
/// Bytes at the front that the leader stamps.
pub const STAMPED_PREFIX_BYTES: usize = 16;
/// The only magic this broker reads and writes.
pub const MAGIC: i8 = 2;

/// Bits of `attributes`.
pub mod attributes {
    /// The codec of the records.
    pub const CODEC: i16 = 0b111;
    /// Set when the time stamps are those of the append, not of the producer.
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    /// Set on batches of a transaction.
    pub const TRANSACTIONAL: i16 = 1 << 4;
    /// Set on batches that hold markers instead of records.
    pub const CONTROL: i16 = 1 << 5;
    /// Set by compaction when `base timestamp` is the time at which tombstones may go.
    pub const DELETE_HORIZON: i16 = 1 << 6;
    /// Every bit that has a meaning.
    pub const KNOWN: i16 = CODEC | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL | DELETE_HORIZON;
}

const _: () = assert!(LENGTH_AT == BASE_OFFSET_AT + 8);
const _: () = assert!(LEADER_EPOCH_AT == LENGTH_AT + 4 && LEADER_EPOCH_AT == LENGTH_OVERHEAD);
const _: () = assert!(MAGIC_AT == LEADER_EPOCH_AT + 4 && MAGIC_AT == STAMPED_PREFIX_BYTES);
const _: () = assert!(CRC_AT == MAGIC_AT + 1 && ATTRIBUTES_AT == CRC_AT + 4);
const _: () = assert!(LAST_OFFSET_DELTA_AT == ATTRIBUTES_AT + 2);
const _: () = assert!(BASE_TIMESTAMP_AT == LAST_OFFSET_DELTA_AT + 4);
const _: () = assert!(MAX_TIMESTAMP_AT == BASE_TIMESTAMP_AT + 8);
const _: () = assert!(PRODUCER_ID_AT == MAX_TIMESTAMP_AT + 8);
const _: () = assert!(PRODUCER_EPOCH_AT == PRODUCER_ID_AT + 8);
const _: () = assert!(BASE_SEQUENCE_AT == PRODUCER_EPOCH_AT + 2);
const _: () = assert!(RECORDS_COUNT_AT == BASE_SEQUENCE_AT + 4);
const _: () = assert!(HEADER_BYTES == RECORDS_COUNT_AT + 4);

/// The fixed header as values. Parsing proves nothing but that there were enough bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes that follow the length field.
    pub batch_length: i32,
    /// Epoch of the leader that stamped the batch.
    pub leader_epoch: LeaderEpoch,
    /// Format version.
    pub magic: i8,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Flags; see [`attributes`].
    pub attributes: i16,
    /// Offset of the last record, less the base offset.
    pub last_offset_delta: i32,
    /// Time stamp that record time stamps are relative to, in milliseconds.
    pub base_timestamp: i64,
    /// Largest time stamp of the records, in milliseconds.
    pub max_timestamp: i64,
    /// Producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Epoch of the producer, or -1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or -1.
    pub base_sequence: Sequence,
    /// Records in the batch.
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header, or `None` when fewer than [`HEADER_BYTES`] are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<BatchHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        Some(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(bytes, BASE_OFFSET_AT))),
            batch_length: i32::from_be_bytes(field(bytes, LENGTH_AT)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT))),
            magic: i8::from_be_bytes(field(bytes, MAGIC_AT)),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT)),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, PRODUCER_ID_AT))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, PRODUCER_EPOCH_AT))),
            base_sequence: Sequence(i32::from_be_bytes(field(bytes, BASE_SEQUENCE_AT))),
            records_count: i32::from_be_bytes(field(bytes, RECORDS_COUNT_AT)),
        })
    }

    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(BASE_OFFSET_AT, &self.base_offset.0.to_be_bytes());
        put(LENGTH_AT, &self.batch_length.to_be_bytes());
        put(LEADER_EPOCH_AT, &self.leader_epoch.0.to_be_bytes());
        put(MAGIC_AT, &self.magic.to_be_bytes());
        put(CRC_AT, &self.crc.to_be_bytes());
        put(ATTRIBUTES_AT, &self.attributes.to_be_bytes());
        put(LAST_OFFSET_DELTA_AT, &self.last_offset_delta.to_be_bytes());
        put(BASE_TIMESTAMP_AT, &self.base_timestamp.to_be_bytes());
        put(MAX_TIMESTAMP_AT, &self.max_timestamp.to_be_bytes());
        put(PRODUCER_ID_AT, &self.producer_id.0.to_be_bytes());
        put(PRODUCER_EPOCH_AT, &self.producer_epoch.0.to_be_bytes());
        put(BASE_SEQUENCE_AT, &self.base_sequence.0.to_be_bytes());
        put(RECORDS_COUNT_AT, &self.records_count.to_be_bytes());
        bytes
    }

    /// Whole size of the batch in bytes, or `None` when the length field is impossible.
    #[must_use]
    pub fn size_bytes(&self) -> Option<usize> {
        let length = usize::try_from(self.batch_length).ok()?;
        let size = length.checked_add(LENGTH_OVERHEAD)?;
        (size >= HEADER_BYTES).then_some(size)
    }

    /// The offset after the last record of the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta) + 1)
    }

    /// Largest time stamp of the records; `None` for a batch that compaction has left without any,
    /// which keeps the time stamp it had.
    #[must_use]
    pub fn newest(&self) -> Option<Millis> {
        (self.records_count > 0).then_some(Millis(self.max_timestamp))
    }

    /// Whether the batch holds markers instead of records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & attributes::CONTROL != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & attributes::TRANSACTIONAL != 0
    }

    /// The producer with its epoch and the first record's sequence, when the batch has one.
    #[must_use]
    pub fn producer(&self) -> Option<(ProducerId, ProducerEpoch, Sequence)> {
        (self.producer_id.0 >= 0).then_some((
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
        ))
    }
}

/// CRC-32C (Castagnoli), with the processor's instructions for it where there are any.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
