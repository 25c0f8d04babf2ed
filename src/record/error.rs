//! Why bytes are not an acceptable batch: one variant for each outcome that a client can tell
//! apart. Knows nothing of wire protocols; each of them maps these variants to its own codes.

use super::Compression;

/// Why bytes are not an acceptable batch. Each variant names the error that Kafka's and the native
/// protocol answer with.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BatchError {
    /// Fewer bytes than the batch says it has, or than a header needs. CORRUPT_MESSAGE.
    #[error("the batch ends after {available} of {needed} bytes")]
    Truncated {
        /// Bytes that are there.
        available: usize,
        /// Bytes that there should be.
        needed: usize,
    },
    /// The batch is larger than the topic allows. MESSAGE_TOO_LARGE.
    #[error("the batch has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// The bound it broke.
        limit: usize,
    },
    /// The bytes are not those the producer made. CORRUPT_MESSAGE.
    #[error("CRC-32C is {computed:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// As the header says.
        stored: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// A format version this broker does not speak. UNSUPPORTED_FOR_MESSAGE_FORMAT.
    #[error("magic {0} is not supported, only 2")]
    Magic(i8),
    /// A codec number without a meaning. UNSUPPORTED_COMPRESSION_TYPE.
    #[error("compression codec {0} is unknown")]
    Codec(i16),
    /// The batch as a whole breaks a rule of the format. INVALID_RECORD.
    #[error("{0}")]
    Invalid(&'static str),
    /// One record breaks a rule of the format or of the topic. INVALID_RECORD.
    #[error("record {index} {rule}")]
    Record {
        /// Which record of the batch, from zero.
        index: i32,
        /// What is wrong with it, as the rest of a sentence about it.
        rule: &'static str,
    },
    /// The CRC holds, yet the codec can not read what the producer compressed. INVALID_RECORD.
    #[error("the {0} stream is damaged, not whole, or asks for too much memory")]
    Decompress(Compression),
    /// The records expand beyond what a batch of this size may. INVALID_RECORD.
    #[error("the records expand to more than {limit} bytes")]
    Expansion {
        /// The bound at which decompression stopped.
        limit: usize,
    },
    /// Too many batches that expand much are being read at this moment. OVERLOADED.
    #[error("too much is being decompressed at the moment; send it again")]
    Crowded,
    /// A time stamp is outside what the topic accepts. INVALID_TIMESTAMP.
    #[error("timestamp {timestamp} ms is outside what the topic accepts")]
    Timestamp {
        /// Which record of the batch, from zero; `None` where only the batch as a whole was read.
        index: Option<i32>,
        /// The time stamp in milliseconds since 1970.
        timestamp: i64,
    },
    /// A producer claims the time stamp type that only the broker may set. INVALID_TIMESTAMP.
    #[error("only the broker may mark time stamps as those of the append")]
    TimestampType,
}

impl BatchError {
    /// Which record of the batch broke the rule, from zero, where it is known to be one.
    #[must_use]
    pub fn record(&self) -> Option<i32> {
        match self {
            BatchError::Record { index, .. } => Some(*index),
            BatchError::Timestamp { index, .. } => *index,
            _ => None,
        }
    }
}
