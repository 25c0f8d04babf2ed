//! Reading what is in batches: records in place, records as values of their own, and batches one
//! after the other. Bytes that are malformed end the reading with an error, never with a panic.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;

use super::body::{self, RECORD_BYTES_MIN, Record};
use super::compression::Contexts;
use super::expansion::{Output, Share, expansion_max};
use super::layout::{BatchHeader, HEADER_BYTES, attributes};
use super::{BatchError, CheckRules, CheckedBatch, Compression};
use crate::limits;
use crate::planted::{self, Bug};
use crate::types::{Millis, Offset};

thread_local! {
    /// Nothing is remembered in it from one use to the next.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Room to decompress into, to be kept from batch to batch: one for each thread, not for each
/// connection, for it keeps up to [`limits::SCRATCH_BYTES_KEPT`] twice.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    contexts: Contexts,
    /// What `bytes` holds of the bound of all.
    share: Share,
}

impl Scratch {
    /// Memory that is held.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.contexts.size_bytes()
    }

    /// Lends out the scratch of this thread, to work that asks for no other.
    pub(super) fn of_thread<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
        SCRATCH.with_borrow_mut(|scratch| {
            let done = work(scratch);
            scratch.trim();
            done
        })
    }

    /// Gives back what an unusually large batch needed.
    pub(super) fn trim(&mut self) {
        if self.bytes.capacity() > limits::SCRATCH_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        self.share.release();
        if self.contexts.size_bytes() > limits::SCRATCH_BYTES_KEPT {
            self.contexts = Contexts::default();
        }
    }

    pub(super) fn expand<'a>(
        &'a mut self,
        compression: Compression,
        body: &'a [u8],
    ) -> Result<&'a [u8], BatchError> {
        // Compaction may leave a batch that only remembers its offsets and its producer.
        if compression == Compression::None || body.is_empty() {
            return Ok(body);
        }
        self.trim();
        let cap = expansion_max(body.len());
        let output = Output::new(&mut self.bytes, cap, Some(&mut self.share));
        compression.decompress_with(&mut self.contexts, body, output)?;
        Ok(&self.bytes)
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("size_bytes", &self.size_bytes()).finish()
    }
}

/// The records of one batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
    /// Offset deltas ascend from here and stay below the end.
    next_delta: i32,
    last_delta: i32,
    base_timestamp: i64,
    append_time: Option<Millis>,
}

impl<'a> Records<'a> {
    pub(super) fn new(header: &BatchHeader, expanded: &'a [u8]) -> Records<'a> {
        let by_broker = header.attributes & attributes::LOG_APPEND_TIME != 0;
        Records {
            rest: expanded,
            index: 0,
            count: header.records_count,
            next_delta: 0,
            last_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            append_time: by_broker.then_some(Millis(header.max_timestamp)),
        }
    }

    #[inline]
    fn take(&mut self) -> Result<Record<'a>, BatchError> {
        let index = self.index;
        let broken = |rule| BatchError::Record { index, rule };
        let mut record = body::take_record(&mut self.rest).map_err(broken)?;
        if record.offset_delta < self.next_delta || record.offset_delta > self.last_delta {
            return Err(broken("is not at the offset of its place"));
        }
        record.timestamp = match self.append_time {
            Some(appended) => appended,
            None => add(index, self.base_timestamp, record.timestamp)?,
        };
        self.next_delta = record.offset_delta.saturating_add(1);
        self.index += 1;
        Ok(record)
    }

    fn end(&mut self) -> Option<BatchError> {
        let left = std::mem::take(&mut self.rest);
        (!left.is_empty()).then_some(BatchError::Invalid("bytes follow the last record"))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            return self.end().map(Err);
        }
        let record = self.take();
        if record.is_err() {
            self.index = self.count;
            self.rest = &[];
        }
        Some(record)
    }
}

fn add(index: i32, base: i64, delta: Millis) -> Result<Millis, BatchError> {
    let sum = base.checked_add(delta.0).map(Millis);
    let timestamp = if delta.0 < 0 { i64::MIN } else { i64::MAX };
    sum.ok_or(BatchError::Timestamp { index: Some(index), timestamp })
}

/// A record that stands for itself. Uncompressed, key and value share the batch's memory: copy them
/// to keep few of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Position in the partition.
    pub offset: Offset,
    /// When it was made or, where the topic says so, appended.
    pub timestamp: Millis,
    /// What partitioning and compaction go by.
    pub key: Option<Bytes>,
    /// The content; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// Names and values that travel with the record, in their order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// All records of a batch as values of their own. Those of a control batch are markers and not
/// data: see [`Marker`](super::Marker).
///
/// # Errors
/// When they can not be decompressed or one is malformed.
pub fn decode_records(batch: &CheckedBatch) -> Result<Vec<OwnedRecord>, BatchError> {
    let expanded = expand(batch)?;
    let share = |piece: &[u8]| expanded.slice_ref(piece);
    let header = batch.header();
    let declared = header.records_count.max(0) as usize;
    let bounded = declared.min(expanded.len() / RECORD_BYTES_MIN);
    let room = if planted::is(Bug::AllocateDeclared) { declared } else { bounded };
    let mut records = Vec::with_capacity(room);
    for record in Records::new(header, &expanded) {
        let record = record?;
        let headers = record.headers().map(|(name, value)| (name.to_owned(), value.map(share)));
        records.push(OwnedRecord {
            offset: absolute(header, &record)?,
            timestamp: record.timestamp,
            key: record.key.map(share),
            value: record.value.map(share),
            headers: headers.collect(),
        });
    }
    Ok(records)
}

fn expand(batch: &CheckedBatch) -> Result<Bytes, BatchError> {
    let body = batch.bytes().slice(HEADER_BYTES..);
    if batch.compression() == Compression::None || body.is_empty() {
        return Ok(body);
    }
    let (mut expanded, cap) = (Vec::new(), expansion_max(body.len()));
    Scratch::of_thread(|scratch| {
        let output = Output::new(&mut expanded, cap, None);
        batch.compression().decompress_with(&mut scratch.contexts, &body, output)
    })?;
    Ok(expanded.into())
}

fn absolute(header: &BatchHeader, record: &Record<'_>) -> Result<Offset, BatchError> {
    let offset = header.base_offset.0.checked_add(i64::from(record.offset_delta));
    offset.map(Offset).ok_or(BatchError::Invalid("the offsets go beyond the last one there is"))
}

/// The batches that lie one after the other in some bytes. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    bytes: Bytes,
    rules: CheckRules,
    partial_tail: bool,
}

impl Batches {
    /// Batches as they come out of a log: nothing but whole ones.
    #[must_use]
    pub fn new(bytes: Bytes) -> Batches {
        Batches::with_rules(bytes, CheckRules::internal())
    }

    /// Batches that obey `rules`.
    #[must_use]
    pub fn with_rules(bytes: Bytes, rules: CheckRules) -> Batches {
        Batches { bytes, rules, partial_tail: false }
    }

    /// Ends quietly before a batch that is not whole, as a Kafka broker may leave one at the end of
    /// what it answers.
    #[must_use]
    pub fn allow_partial_tail(mut self) -> Batches {
        self.partial_tail = true;
        self
    }
}

impl Iterator for Batches {
    type Item = Result<CheckedBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        match CheckedBatch::take(&mut self.bytes, &self.rules) {
            Ok(batch) => Some(Ok(batch)),
            Err(problem) => {
                self.bytes.clear();
                let partial = matches!(problem, BatchError::Truncated { .. });
                (!(partial && self.partial_tail)).then_some(Err(problem))
            }
        }
    }
}
