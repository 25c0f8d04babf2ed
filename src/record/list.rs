//! Plain record lists: records one after the other, exactly as in the body of a batch whose base
//! time stamp is 0, with offset deltas counted from 0. Producers that name no partition send them;
//! the server partitions the records and makes the batches.

use bytes::Bytes;

use super::BatchError;
use super::body::{self, NewRecord, RECORD_BYTES_MIN, Record};
use crate::limits;

/// Gathers records into a list.
#[derive(Clone, Debug, Default)]
pub struct RecordList {
    bytes: Vec<u8>,
    count: i32,
}

impl RecordList {
    /// A list without records.
    #[must_use]
    pub fn new() -> RecordList {
        RecordList::default()
    }

    /// Adds a record. A time stamp of -1 leaves it to the server.
    ///
    /// # Panics
    /// When the list holds as many records as a batch may.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        assert!(self.len() < limits::BATCH_RECORDS_MAX, "a list may not hold more records");
        body::put_new(&mut self.bytes, record.timestamp.0, self.count, record);
        self.count += 1;
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

    /// Bytes so far.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes to send.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// Reads a list of at most `max` records, their time stamps as they were sent; what a topic demands
/// of them is [`CheckRules::check_record`](super::CheckRules::check_record)'s to say.
///
/// # Errors
/// The first record that is malformed, or that there are more than `max`.
pub fn parse_record_list(bytes: &[u8], max: usize) -> Result<Vec<Record<'_>>, BatchError> {
    let max = max.min(limits::BATCH_RECORDS_MAX);
    let mut rest = bytes;
    let mut records = Vec::with_capacity(max.min(bytes.len() / RECORD_BYTES_MIN).min(1024));
    while !rest.is_empty() {
        if records.len() == max {
            return Err(BatchError::Invalid("the list has more records than it may"));
        }
        let index = records.len() as i32;
        let broken = |rule| BatchError::Record { index, rule };
        let record = body::take_record(&mut rest).map_err(broken)?;
        if record.offset_delta != index {
            return Err(broken("is not at the offset of its place"));
        }
        records.push(record);
    }
    Ok(records)
}
