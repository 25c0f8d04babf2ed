//! Gathers records into batches, one open batch for each partition. Building them here instead of
//! handing over single records makes a large file cost a few thousand batches and not a wake-up per
//! line; retries, order and numbering stay with the client's producer.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rivvend::limits::BATCH_BYTES_MAX;
use rivvend::partitioner::{StickyPartitioner, Unplaced};
use rivvend::protocol::error::ErrorCode;
use rivvend::random::Random;
use rivvend::record::{BatchBuilder, CheckedBatch, Compression, NewRecord};
use rivvend::time::Now;
use rivvend::types::{Millis, PartitionId};

use crate::failure::Failure;
use crate::input::InputRecord;

/// Aim for the size of a batch, where the topic allows it.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes in all open batches together: with very many partitions they are sent smaller.
const OPEN_BYTES_MAX: usize = 32 << 20;

/// What batches are made of and where they go.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Partitions of the topic.
    pub(super) partitions: i32,
    /// Largest batch that the topic takes.
    pub(super) bytes_max: usize,
    pub(super) compression: Compression,
    pub(super) sticky: StickyPartitioner,
    /// An empty value is a tombstone.
    pub(super) tombstone: bool,
}

/// A record's place in what is sent: the number of its batch and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) batch: u64,
    pub(super) index: u32,
}

/// A batch ready to be sent.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) number: u64,
    pub(super) partition: i32,
    pub(super) records: u32,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
    pub(super) batch: CheckedBatch,
}

#[derive(Debug)]
struct Open {
    number: u64,
    bytes: u64,
    builder: BatchBuilder,
}

/// The open batches.
#[derive(Debug)]
pub(super) struct Batcher {
    rules: Rules,
    random: Random,
    started: Instant,
    now: Now,
    open: BTreeMap<i32, Open>,
    open_bytes: usize,
    next_number: u64,
    /// How many records were added, to say which one can not be sent.
    records: u64,
}

impl Batcher {
    pub(super) fn new(rules: Rules) -> Batcher {
        let now = Now { wall: wall_clock(), monotonic_ms: 0 };
        Batcher {
            rules,
            // Only spreads load, so the time of the start is random enough.
            random: Random::new(now.wall.0.unsigned_abs() ^ u64::from(std::process::id())),
            started: Instant::now(),
            now,
            open: BTreeMap::new(),
            open_bytes: 0,
            next_number: 0,
            records: 0,
        }
    }

    /// Whether any batch waits for more records.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Looks at the clocks; records that bring no time stamp get the present one.
    pub(super) fn tick(&mut self) {
        let monotonic_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now = Now { wall: wall_clock(), monotonic_ms };
    }

    /// Adds a record; batches that became full come out.
    pub(super) fn add(
        &mut self,
        record: &InputRecord,
        full: &mut Vec<Built>,
    ) -> Result<Slot, Failure> {
        let headers: Vec<(&str, Option<&[u8]>)> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_ref())))
            .collect();
        let is_tombstone = self.rules.tombstone && record.value.is_empty();
        let new = NewRecord {
            timestamp: record.timestamp_ms.map_or(self.now.wall, Millis),
            key: record.key.as_deref(),
            value: (!is_tombstone).then_some(record.value.as_ref()),
            headers: &headers,
        };
        let bytes = record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.len();
        self.records += 1;
        let partition = self.place(record, bytes)?;
        let limit = BATCH_BYTES.min(self.rules.bytes_max);
        if self.open.get(&partition).is_some_and(|open| !open.builder.fits(&new, limit)) {
            full.extend(self.seal(partition));
        }
        let open = self.open.entry(partition).or_insert_with(|| {
            self.next_number += 1;
            let builder = BatchBuilder::new(self.rules.compression);
            Open { number: self.next_number, bytes: 0, builder }
        });
        if open.builder.is_empty() {
            check_size(&open.builder, &new, &self.rules, (self.records, bytes))?;
        }
        let slot = Slot { batch: open.number, index: open.builder.len() as u32 };
        let before = open.builder.estimated_bytes();
        open.builder.push(&new);
        open.bytes += bytes as u64;
        self.open_bytes += open.builder.estimated_bytes() - before;
        if self.open_bytes > OPEN_BYTES_MAX {
            full.extend(self.seal_all());
        }
        Ok(slot)
    }

    /// Ends all open batches.
    pub(super) fn seal_all(&mut self) -> Vec<Built> {
        let partitions: Vec<i32> = self.open.keys().copied().collect();
        partitions.into_iter().filter_map(|partition| self.seal(partition)).collect()
    }

    fn seal(&mut self, partition: i32) -> Option<Built> {
        let open = self.open.remove(&partition)?;
        // A record that was refused may have left a batch with nothing in it.
        if open.builder.is_empty() {
            return None;
        }
        self.open_bytes = self.open_bytes.saturating_sub(open.builder.estimated_bytes());
        Some(Built {
            number: open.number,
            partition,
            records: open.builder.len() as u32,
            bytes: open.bytes,
            batch: open.builder.build(),
        })
    }

    fn place(&mut self, record: &InputRecord, bytes: usize) -> Result<i32, Failure> {
        let (partition, key) = (record.partition.map(PartitionId), record.key.as_deref());
        let unplaced = Unplaced { partition, key, bytes };
        let count = self.rules.partitions;
        let placed = self.rules.sticky.place(&unplaced, count, self.now, &mut self.random);
        placed.map(|partition| partition.0).ok_or_else(|| {
            let asked = record.partition.unwrap_or(-1);
            let number = self.records;
            let message = format!("record {number}: the topic has no partition {asked}");
            Failure::failed(message).hint(format!("it has {count}, numbered from 0"))
        })
    }
}

/// A record that no batch can hold is refused here, where it can be named. What compression may
/// still make small enough, the broker decides.
fn check_size(
    empty: &BatchBuilder,
    record: &NewRecord<'_>,
    rules: &Rules,
    (number, bytes): (u64, usize),
) -> Result<(), Failure> {
    let limit = match rules.compression {
        Compression::None => rules.bytes_max,
        _ => BATCH_BYTES_MAX,
    };
    if empty.fits(record, limit) {
        return Ok(());
    }
    let message = format!("record {number} has {bytes} bytes and does not fit a batch of {limit}");
    let failure = Failure { code: Some(ErrorCode::MessageTooLarge), ..Failure::failed(message) };
    Err(failure.hint("the topic's setting max.message.bytes is the limit"))
}

fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rivvend::record::decode_records;

    use super::*;

    fn batcher(partitions: i32, bytes_max: usize) -> Batcher {
        let sticky = StickyPartitioner::default();
        let compression = Compression::None;
        Batcher::new(Rules { partitions, bytes_max, compression, sticky, tombstone: true })
    }

    fn value(text: &str) -> InputRecord {
        InputRecord { value: Bytes::copy_from_slice(text.as_bytes()), ..InputRecord::default() }
    }

    #[test]
    fn records_stay_in_order_and_batches_within_the_limit() {
        let mut batcher = batcher(1, 200);
        let mut built = Vec::new();
        let slots: Vec<Slot> = (0..50)
            .map(|n| batcher.add(&value(&format!("record {n}")), &mut built).expect("it fits"))
            .collect();
        built.extend(batcher.seal_all());
        assert!(batcher.is_empty() && built.len() > 5);
        let mut values = Vec::new();
        let mut expected_slots = Vec::new();
        for built in &built {
            assert!(built.batch.bytes().len() <= 200);
            let records = decode_records(&built.batch).expect("sound");
            assert_eq!(records.len(), built.records as usize);
            for (index, record) in (0..).zip(records) {
                values.push(String::from_utf8(record.value.expect("a value").to_vec()));
                expected_slots.push(Slot { batch: built.number, index });
            }
        }
        assert_eq!(values, (0..50).map(|n| Ok(format!("record {n}"))).collect::<Vec<_>>());
        assert_eq!(slots, expected_slots);
    }

    #[test]
    fn a_record_that_never_fits_is_refused_and_others_go_on() {
        let mut batcher = batcher(1, 200);
        let mut built = Vec::new();
        assert!(batcher.add(&value(&"x".repeat(300)), &mut built).is_err());
        batcher.add(&value("small"), &mut built).expect("it fits");
        assert_eq!(batcher.seal_all().len(), 1);
    }

    #[test]
    fn asked_for_partitions_must_exist_and_empty_values_are_tombstones() {
        let mut batcher = batcher(2, 1 << 20);
        let mut built = Vec::new();
        let asked = InputRecord { partition: Some(2), ..value("x") };
        assert!(batcher.add(&asked, &mut built).is_err());
        let asked = InputRecord { partition: Some(1), key: Some("k".into()), ..value("") };
        batcher.add(&asked, &mut built).expect("it exists");
        let sealed = batcher.seal_all().remove(0);
        assert_eq!((sealed.partition, sealed.bytes), (1, 1));
        assert_eq!(decode_records(&sealed.batch).expect("sound")[0].value, None);
    }
}
