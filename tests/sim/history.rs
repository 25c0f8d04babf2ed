//! What the clients know: everything that was sent with what became of it, and everything that was
//! ever seen of each partition. The invariants are checked against it and never against the
//! engine's own idea of itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use rivvend::log::{Position, ReadError, Recovery};
use rivvend::partition::AppendRefusal;
use rivvend::record::{
    BatchBuilder, Batches, CheckedBatch, Compression, NewRecord, decode_records,
};
use rivvend::types::{Durability, Millis, ProducerEpoch, ProducerId, Sequence};

use crate::invariants;

/// Who sent a batch, if it has a producer: id, epoch and first sequence.
pub(crate) type Identity = (ProducerId, ProducerEpoch, Sequence);

/// What is wrong: the invariant's number and how it was broken.
pub(crate) type Broken = String;

/// Why a batch was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be stored, once.
    Idempotent,
    /// To be stored.
    Plain,
    /// To be stored only at the offset that was said.
    Conditional(i64),
    /// To be refused: batches before it are missing.
    Gap,
    /// To be refused: a newer epoch has written.
    Zombie,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody knows (yet).
    Unknown,
    /// Stored at this offset.
    Stored(i64),
    /// Refused for good.
    Refused,
}

/// One batch that was sent, retries included.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) partition: usize,
    pub(crate) purpose: Purpose,
    pub(crate) identity: Option<Identity>,
    /// The records are this value and those that follow it.
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) timestamp: i64,
    pub(crate) outcome: Outcome,
    pub(crate) tries: u32,
}

/// One partition as its clients have seen it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Which value is at which offset.
    pub(crate) values: BTreeMap<i64, u64>,
    /// The time stamp of what is at an offset.
    pub(crate) watermark: i64,
    pub(crate) start: i64,
    /// The log start may not lie beyond this.
    pub(crate) deletable: i64,
    /// A bit of it has been flipped.
    pub(crate) rotten: bool,
    /// The same, even if it has been put right since: who looked before may still say so.
    pub(crate) has_rotted: bool,
}

/// How the node went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Clean,
    Kill,
    Power,
}

/// One record as it was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadRecord {
    pub(crate) offset: i64,
    pub(crate) value: u64,
    pub(crate) timestamp: i64,
}

/// One batch as it was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadBatch {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) epoch: i32,
    pub(crate) identity: Option<Identity>,
    pub(crate) records: Vec<ReadRecord>,
}

/// Something that happened and that an invariant may have an opinion on. Checked before it becomes
/// part of the history.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// A batch was acknowledged.
    Acknowledged { sent: usize, offset: i64 },
    /// A batch was refused. `settled`: everything the producer sent before it was acknowledged.
    Refused { sent: usize, refusal: &'a AppendRefusal, settled: bool, faulty: bool },
    /// A request got no answer although the node was up all the time.
    Unanswered { what: &'a str },
    /// A partition as its view shows it, beside what its log holds.
    View {
        partition: usize,
        start: i64,
        watermark: i64,
        synced: i64,
        durability: Durability,
        health_good: bool,
        faulty: bool,
    },
    /// A partition was opened.
    Recovered { partition: usize, stop: Stop, before: Option<Before>, after: After<'a> },
    /// The log start moved while this was all that could be removed.
    Cut { partition: usize, cut: Cut },
    /// A consumer read a batch.
    Read { partition: usize, from: i64, watermark: i64, batch: &'a ReadBatch },
    /// A consumer was refused.
    ReadFailed { partition: usize, from: i64, error: &'a ReadError, old: bool, faulty: bool },
    /// What was read is not what a log can hold.
    Garbled { partition: usize, from: i64, why: &'a str },
    /// A whole partition, read after everything was healed.
    Final { partition: usize, content: &'a Content },
    /// The files of a partition at the very end.
    Files { partition: usize, files: &'a [SegmentFile] },
}

/// A log at the moment its node went down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pub(crate) written: i64,
    pub(crate) synced: i64,
    pub(crate) failed: bool,
}

/// A log after it was opened again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After<'a> {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) recovery: &'a Recovery,
}

/// What retention or a request may have removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) watermark: i64,
    /// The clock, and what retention goes by; `None` for a request.
    pub(crate) retention: Option<Retention>,
}

/// What retention went by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) now: i64,
    pub(crate) age_ms: Option<i64>,
    pub(crate) bytes: Option<u64>,
    /// Size of the log afterwards.
    pub(crate) left: u64,
}

/// All of a partition, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) batches: Vec<ReadBatch>,
    /// For some time stamps, the base offset of the batch that a lookup found.
    pub(crate) lookups: Vec<(i64, Option<i64>)>,
}

/// One segment's file.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) base: i64,
    pub(crate) bytes: Vec<u8>,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) sends: Vec<Sent>,
    /// For each value the batch it was sent in.
    pub(crate) batch_of: Vec<usize>,
    pub(crate) partitions: Vec<Seen>,
}

impl History {
    /// Notes a batch that is about to be sent for the first time.
    pub(crate) fn send(&mut self, partition: usize, purpose: Purpose, made: &Made) -> usize {
        let sent = self.sends.len();
        self.batch_of.extend(std::iter::repeat_n(sent, made.count as usize));
        self.sends.push(Sent {
            partition,
            purpose,
            identity: made.identity,
            first: made.first,
            count: made.count,
            timestamp: made.timestamp,
            outcome: Outcome::Unknown,
            tries: 0,
        });
        sent
    }

    /// The value that the next record will have.
    pub(crate) fn next_value(&self) -> u64 {
        self.batch_of.len() as u64
    }

    /// Holds a fact against every invariant, then takes it into the history.
    pub(crate) fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Broken> {
        invariants::check(fact, self)?;
        match fact {
            Fact::Acknowledged { sent, offset } => {
                let batch = &mut self.sends[*sent];
                batch.outcome = Outcome::Stored(*offset);
                let values = &mut self.partitions[batch.partition].values;
                for i in 0..batch.count as i64 {
                    values.insert(offset + i, batch.first + i as u64);
                }
            }
            Fact::Refused { sent, refusal, .. } if is_definite(refusal) => {
                let sent = &mut self.sends[*sent];
                let repeated = sent.purpose == Purpose::Idempotent || sent.tries > 1;
                if sent.outcome == Outcome::Unknown && !repeated {
                    sent.outcome = Outcome::Refused;
                }
            }
            Fact::View { partition, start, watermark, .. } => {
                let seen = &mut self.partitions[*partition];
                seen.start = seen.start.max(*start);
                seen.watermark = seen.watermark.max(*watermark);
            }
            Fact::Cut { partition, cut } => {
                let seen = &mut self.partitions[*partition];
                seen.deletable = seen.deletable.max(cut.to);
            }
            Fact::Read { partition, batch, .. } => {
                let values = &mut self.partitions[*partition].values;
                values.extend(batch.records.iter().map(|record| (record.offset, record.value)));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether nothing of the batch can ever appear.
fn is_definite(refusal: &AppendRefusal) -> bool {
    !matches!(refusal, AppendRefusal::Offline(_) | AppendRefusal::ShuttingDown)
}

/// A batch that was made to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) batch: CheckedBatch,
    pub(crate) identity: Option<Identity>,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) timestamp: i64,
}

/// Makes a batch whose records are the values from `first` on.
pub(crate) fn make(
    first: u64,
    sizes: &[u64],
    timestamp: i64,
    identity: Option<Identity>,
    compression: Compression,
) -> Made {
    let mut builder = BatchBuilder::new(compression);
    if let Some((id, epoch, sequence)) = identity {
        builder = builder.producer(id, epoch, sequence);
    }
    for (value, size) in (first..).zip(sizes) {
        let content = content(value, *size);
        let timestamp = Millis(timestamp);
        builder.push(&NewRecord { timestamp, key: None, value: Some(&content), headers: &[] });
    }
    Made { batch: builder.build(), identity, first, count: sizes.len() as u64, timestamp }
}

/// The bytes of a record: its value and a filling that follows from it.
fn content(value: u64, filling: u64) -> Vec<u8> {
    let mut bytes = value.to_be_bytes().to_vec();
    bytes.extend((0..filling).map(|i| (value.wrapping_mul(31).wrapping_add(i)) as u8));
    bytes
}

/// Takes apart what a consumer was sent.
pub(crate) fn parse(bytes: Vec<u8>) -> Result<Vec<ReadBatch>, String> {
    let mut batches = Vec::new();
    for batch in Batches::new(Bytes::from(bytes)) {
        let batch = batch.map_err(|error| error.to_string())?;
        let mut records = Vec::new();
        for record in decode_records(&batch).map_err(|error| error.to_string())? {
            let found = record.value.unwrap_or_default();
            let head = found.first_chunk().ok_or("a record without a value")?;
            let value = u64::from_be_bytes(*head);
            if found != content(value, found.len() as u64 - 8) {
                return Err(format!("the record at {} is not what was sent", record.offset));
            }
            let timestamp = record.timestamp.0;
            records.push(ReadRecord { offset: record.offset.0, value, timestamp });
        }
        let header = batch.header();
        batches.push(ReadBatch {
            base: header.base_offset.0,
            next: header.next_offset().0,
            epoch: header.leader_epoch.0,
            identity: header.producer(),
            records,
        });
    }
    Ok(batches)
}

/// A place as the invariants speak of it.
pub(crate) fn offset_of(position: Position) -> i64 {
    position.offset.0
}
