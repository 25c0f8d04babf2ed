//! The exhaustive maps from what can go wrong inside to what clients are told: code, what happened,
//! why, and what to do.

use crate::log::ReadError;
use crate::partition::AppendRefusal;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{Error, ErrorDetails};
use crate::record::BatchError;
use crate::types::{PartitionId, TopicId};

/// What a client learns of a batch that broke a rule.
#[must_use]
pub fn of_batch(error: &BatchError, topic: &str, limit: usize) -> Error {
    let code = match error {
        BatchError::Crc { .. } | BatchError::Truncated { .. } => ErrorCode::CorruptMessage,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::Magic(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Codec(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Timestamp { .. } | BatchError::TimestampType => ErrorCode::InvalidTimestamp,
        BatchError::Crowded => ErrorCode::Overloaded,
        BatchError::Invalid(_)
        | BatchError::Record { .. }
        | BatchError::Decompress(_)
        | BatchError::Expansion { .. } => ErrorCode::InvalidRecord,
    };
    let result = Error::new(code, format!("topic {topic}: {error}"));
    match error {
        BatchError::TooLarge { size, .. } => result.with_details(ErrorDetails {
            limit: Some(limit as u64),
            actual: Some(*size as u64),
            ..ErrorDetails::default()
        }),
        _ => match error.record() {
            record @ Some(_) => {
                result.with_details(ErrorDetails { record, ..ErrorDetails::default() })
            }
            None => result,
        },
    }
}

/// What a client learns of an append that was refused.
#[must_use]
pub fn of_append(refusal: &AppendRefusal, topic: &str, partition: i32) -> Error {
    let code = match refusal {
        AppendRefusal::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        AppendRefusal::UnexpectedOffset { .. } => ErrorCode::UnexpectedOffset,
        AppendRefusal::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequence,
        AppendRefusal::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
        AppendRefusal::InvalidProducer(_) => ErrorCode::InvalidRecord,
        AppendRefusal::DiskFull(_) => ErrorCode::DiskFull,
        AppendRefusal::Overloaded { .. } | AppendRefusal::NoDescriptors(_) => ErrorCode::Overloaded,
        AppendRefusal::Offline(_) => ErrorCode::StorageError,
        AppendRefusal::Damaged(_) => ErrorCode::Corruption,
        AppendRefusal::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        AppendRefusal::ShuttingDown => ErrorCode::ShuttingDown,
    };
    let advice = match refusal {
        AppendRefusal::NoDescriptors(_) => {
            "; try again, and raise the broker's limit of open files (LimitNOFILE, ulimit -n)"
        }
        AppendRefusal::Offline(_) => "; check the disk, then restart the broker",
        AppendRefusal::Damaged(_) => "; `rivvend inspect verify` shows the extent",
        _ => "",
    };
    let error = Error::new(code, format!("{topic}/{partition}: {refusal}{advice}"));
    match refusal {
        AppendRefusal::UnexpectedOffset { actual, .. } => {
            error.with_details(ErrorDetails { offset: Some(actual.0), ..ErrorDetails::default() })
        }
        AppendRefusal::Overloaded { pending, limit } => error.with_details(ErrorDetails {
            limit: Some(*limit as u64),
            actual: Some(*pending as u64),
            ..ErrorDetails::default()
        }),
        _ => error,
    }
}

/// What a client learns of a read that was refused.
#[must_use]
pub fn of_read(error: &ReadError, topic: &str, partition: PartitionId) -> Error {
    let code = match error {
        ReadError::BelowStart { .. } | ReadError::BeyondEnd { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Stale => ErrorCode::OffsetNotAvailable,
        ReadError::Corrupt(_) => ErrorCode::Corruption,
        ReadError::Storage(_) => ErrorCode::StorageError,
    };
    let advice = match error {
        ReadError::Corrupt(_) => {
            "; what lies before it is served. `rivvend inspect verify` shows the extent"
        }
        _ => "",
    };
    Error::new(code, format!("{topic}/{partition}: {error}{advice}"))
}

/// What a client learns of a partition whose log failed.
#[must_use]
pub fn offline(topic: &str, partition: PartitionId, reason: &str) -> Error {
    let message = format!(
        "{topic}/{partition} is offline: {reason}; check the disk, then restart the broker"
    );
    Error::new(ErrorCode::StorageError, message)
}

/// No topic of this name.
#[must_use]
pub fn unknown_topic(name: &str) -> Error {
    let message = format!("there is no topic {name:?}");
    Error::new(ErrorCode::UnknownTopicOrPartition, message)
}

/// No topic with this id.
#[must_use]
pub fn unknown_topic_id(id: TopicId) -> Error {
    let message = format!("there is no topic with the id {id}; it may have been deleted");
    Error::new(ErrorCode::UnknownTopicId, message)
}

/// The topic has fewer partitions.
#[must_use]
pub fn unknown_partition(topic: &str, partition: PartitionId, count: usize) -> Error {
    let message =
        format!("topic {topic} has {count} partitions, there is no partition {partition}");
    Error::new(ErrorCode::UnknownTopicOrPartition, message)
}

/// The disk has too little room for more records.
#[must_use]
pub fn disk_full(free_bytes: u64, needed_bytes: u64) -> Error {
    let message = format!(
        "disk full: {free_bytes} bytes free, needs {needed_bytes}; writing resumes by itself when \
         there is room (delete records or topics, or enlarge the disk)"
    );
    Error::new(ErrorCode::DiskFull, message).with_details(ErrorDetails {
        limit: Some(needed_bytes),
        actual: Some(free_bytes),
        ..ErrorDetails::default()
    })
}

/// A change was asked of a directory that is open for reading.
#[must_use]
pub fn read_only() -> Error {
    Error::new(ErrorCode::ReadOnly, "the data directory is open for reading only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;

    /// bad-inputs 26: what is not there is told from what can not be told yet.
    #[test]
    fn offsets_outside_the_log_and_views_that_are_not_ready_have_their_own_codes() {
        let code = |error| of_read(&error, "t", PartitionId(0)).error_code();
        let (offset, start, end) = (Offset(5), Offset(7), Offset(3));
        let below = ReadError::BelowStart { offset, start };
        assert_eq!(code(below), Some(ErrorCode::OffsetOutOfRange));
        assert_eq!(code(ReadError::BeyondEnd { offset, end }), Some(ErrorCode::OffsetOutOfRange));
        assert_eq!(code(ReadError::Stale), Some(ErrorCode::OffsetNotAvailable));
    }
}
