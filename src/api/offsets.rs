//! Offsets: listing them and deleting the records below them.

use std::sync::Arc;

use super::{Context, error};
use bytes::Bytes;

use crate::log::{Position, ReadError, ReadRange};
use crate::partition::{AppendRefusal, PartitionHandle, PartitionView, Reader};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, Error, ListOffsetsPartition,
    ListOffsetsPartitionResult,
};
use crate::record::{Batches, decode_records};
use crate::types::{Millis, Offset, PartitionId};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

/// Finds the offset that an entry asks for. May read from the disk when it asks by time.
#[must_use]
pub fn list(entry: ListOffsetsPartition, context: &Context<'_>) -> ListOffsetsPartitionResult {
    let (error, offset, timestamp_ms) = match find(&entry, context) {
        Ok((offset, timestamp)) => (None, offset.0, timestamp.0),
        Err(error) => (Some(error), -1, -1),
    };
    let ListOffsetsPartition { topic, partition, .. } = entry;
    ListOffsetsPartitionResult { error, topic, partition, offset, timestamp_ms }
}

fn find(entry: &ListOffsetsPartition, context: &Context<'_>) -> Result<(Offset, Millis), Error> {
    const NONE: Millis = Millis(-1);
    let found = context.find(&entry.topic)?;
    let handle = found.partition(PartitionId(entry.partition))?;
    let view = handle.view();
    let up_to: Position = view.end(Reader::Uncommitted);
    let by_time = match entry.timestamp_ms {
        LATEST => return Ok((up_to.offset, NONE)),
        EARLIEST => return Ok((view.start(), NONE)),
        MAX_TIMESTAMP => newest(&view, up_to),
        timestamp if timestamp >= 0 => first_from(&view, Millis(timestamp), up_to),
        other => {
            let message = format!(
                "timestamp {other} has no meaning: -1 is the latest offset, -2 the earliest, -3 \
                 the one with the largest time stamp"
            );
            return Err(Error::new(ErrorCode::InvalidRequest, message));
        }
    };
    let by_time =
        by_time.map_err(|e| error::of_read(&e, &entry.topic, PartitionId(entry.partition)))?;
    Ok(by_time.unwrap_or((Offset(-1), NONE)))
}

/// The first record that is not older than `timestamp`.
fn first_from(
    view: &PartitionView,
    timestamp: Millis,
    up_to: Position,
) -> Result<Option<(Offset, Millis)>, ReadError> {
    let Some(range) = view.log.batch_for_timestamp(timestamp, up_to)? else { return Ok(None) };
    let start = view.start();
    let records = records_of(&range)?.into_iter();
    let mut reached = records.filter(|(offset, time)| *offset >= start && *time >= timestamp);
    Ok(reached.next())
}

/// The first record with the largest time stamp.
fn newest(view: &PartitionView, up_to: Position) -> Result<Option<(Offset, Millis)>, ReadError> {
    let Some(range) = view.log.batch_of_max_timestamp(up_to)? else { return Ok(None) };
    let records = records_of(&range)?;
    let newest = records.iter().map(|(_, time)| *time).max();
    Ok(records.into_iter().find(|(_, time)| Some(*time) == newest))
}

fn records_of(range: &ReadRange) -> Result<Vec<(Offset, Millis)>, ReadError> {
    let mut records = Vec::new();
    for batch in Batches::new(Bytes::from(range.copy()?)) {
        // The range was verified when it was read, so what does not decode was never a batch of
        // ours.
        let Ok(batch) = batch else { break };
        let Ok(decoded) = decode_records(&batch) else { break };
        records.extend(decoded.into_iter().map(|r| (r.offset, r.timestamp)));
    }
    Ok(records)
}

/// A deletion to submit to its partition's owner.
#[derive(Debug)]
pub struct Deletion {
    /// The partition.
    pub handle: Arc<PartitionHandle>,
    /// Everything below goes; `None`: below the high watermark.
    pub before: Option<Offset>,
}

/// Decides what an entry of a DeleteRecords request means.
///
/// # Errors
/// When the partition does not exist or is the broker's own.
pub fn plan_delete(
    entry: &DeleteRecordsPartition,
    context: &Context<'_>,
) -> Result<Deletion, Error> {
    let found = context.find(&entry.topic)?;
    if found.topic.internal {
        let message = format!("{} is the broker's own topic", entry.topic);
        return Err(Error::new(ErrorCode::InvalidTopic, message));
    }
    let handle = Arc::clone(found.partition(PartitionId(entry.partition))?);
    let before = match entry.before_offset {
        -1 => None,
        offset if offset >= 0 => Some(Offset(offset)),
        other => {
            let message =
                format!("offset {other} has no meaning: name one, or -1 for the high watermark");
            return Err(Error::new(ErrorCode::OffsetOutOfRange, message));
        }
    };
    Ok(Deletion { handle, before })
}

/// The error that tells why nothing is deleted at the moment. A full disk is no reason: deleting is
/// how it gets room again.
///
/// # Errors
/// That error, when nothing is.
pub fn accept_deletions(context: &Context<'_>) -> Result<(), Error> {
    match context.writes {
        super::Writes::ReadOnly | super::Writes::Stopping => context.accept_writes(),
        super::Writes::Accepted | super::Writes::DiskFull { .. } => Ok(()),
    }
}

/// What a deletion would do, without doing it.
///
/// # Errors
/// When the offset is out of range.
pub fn validate_delete(deletion: &Deletion) -> Result<Offset, AppendRefusal> {
    let view = deletion.handle.view();
    let (start, end) = (view.start(), view.high_watermark.offset);
    let before = deletion.before.unwrap_or(end);
    if before > end {
        return Err(AppendRefusal::OutOfRange { wanted: before, start, end });
    }
    Ok(before.max(start))
}

/// Turns the outcome of a deletion into the client's answer.
#[must_use]
pub fn deleted(
    entry: DeleteRecordsPartition,
    outcome: Result<Offset, Error>,
) -> DeleteRecordsPartitionResult {
    let (error, log_start_offset) = match outcome {
        Ok(offset) => (None, offset.0),
        Err(error) => (Some(error), -1),
    };
    let DeleteRecordsPartition { topic, partition, .. } = entry;
    DeleteRecordsPartitionResult { error, topic, partition, log_start_offset }
}
