//! The produce path inside the owner: fence, deduplicate, stamp, stage, write, park the reply.

use std::sync::Arc;

use super::{Partition, Reply};
use crate::limits;
use crate::log::AppendError;
use crate::log::producers::Verdict;
use crate::planted::{self, Bug};
use crate::record::{BatchHeader, CheckedBatch};
use crate::time::Now;
use crate::types::{Durability, Offset, ProducerEpoch, Sequence};

/// What an accepted append got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset after the last record.
    pub next_offset: Offset,
    /// Offset of the first record that the log still holds.
    pub log_start_offset: Offset,
    /// What the acknowledgement means.
    pub durability: Durability,
}

/// Why an append, or another command to a partition, was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    /// No such partition on this node.
    #[error("this node has no such partition")]
    UnknownPartition,
    /// A conditional append found another end offset.
    #[error("expected the next offset to be {expected}, it is {actual}")]
    UnexpectedOffset {
        /// What the client expected.
        expected: Offset,
        /// What it is.
        actual: Offset,
    },
    /// A gap in a producer's sequence.
    #[error("sequence {actual} does not follow the producer's last: expected {expected}")]
    OutOfOrderSequence {
        /// The sequence that would have been accepted.
        expected: Sequence,
        /// The batch's.
        actual: Sequence,
    },
    /// A newer epoch of the producer is known.
    #[error("producer epoch {actual} is fenced by epoch {current}")]
    Fenced {
        /// The newest epoch.
        current: ProducerEpoch,
        /// The batch's.
        actual: ProducerEpoch,
    },
    /// A producer id without a usable epoch or sequence.
    #[error("{0}")]
    InvalidProducer(&'static str),
    /// The file system has no room.
    #[error("disk full: {0}")]
    DiskFull(Arc<str>),
    /// As many files are open as may be.
    #[error("no more files can be open: {0}")]
    NoDescriptors(Arc<str>),
    /// The bound on bytes that are not durable yet is reached.
    #[error("{pending} bytes of this partition wait for the disk, {limit} may")]
    Overloaded {
        /// Bytes waiting.
        pending: usize,
        /// The bound.
        limit: usize,
    },
    /// The log failed and is offline until the broker is restarted.
    #[error("the partition is offline: {0}")]
    Offline(Arc<str>),
    /// The log holds damaged data and takes no more.
    #[error("the partition holds damaged data: {0}")]
    Damaged(Arc<str>),
    /// An offset outside the log.
    #[error("offset {wanted} is outside {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        wanted: Offset,
        /// The first offset there is.
        start: Offset,
        /// The offset after the last committed one.
        end: Offset,
    },
    /// The broker is stopping.
    #[error("the broker is stopping")]
    ShuttingDown,
}

/// Where the outcome of an append goes.
pub type AppendReply = Reply<Result<Appended, AppendRefusal>>;

/// A request to append.
#[derive(Debug)]
pub struct Append {
    /// At least one batch; all of them or none.
    pub batches: Vec<CheckedBatch>,
    /// Append only if the first record will get this offset.
    pub expected_offset: Option<Offset>,
    /// Who waits for the outcome.
    pub reply: AppendReply,
}

#[derive(Debug)]
pub(super) struct StagedReply {
    appended: Appended,
    bytes: usize,
    reply: AppendReply,
}

enum Judged {
    Append,
    Repeat(Offset, Offset),
}

impl Partition {
    /// Checks and stages an append; [`Partition::settle`] writes it.
    pub fn append(&mut self, now: Now, append: Append) {
        assert!(!append.batches.is_empty(), "an append holds at least one batch");
        if self.repeats_staged_producer(&append) || self.staged_bytes >= self.staged_bytes_max() {
            // Deduplication reads the log's state, which learns of a batch when it is written; and
            // one write shall neither take long nor outgrow a segment.
            self.write_staged(now);
        }
        match self.judge(&append) {
            Ok(Judged::Append) => self.stage(append),
            Ok(Judged::Repeat(base_offset, next_offset)) => {
                // The first one is written, and what is staged comes behind it.
                let appended = self.appended(base_offset, next_offset);
                self.park(self.log.end_offset(), 0, Ok(appended), append.reply);
            }
            // There may be no room for the records that a refusal rests on.
            Err(refusal) if refusal.rests_on_log() && !self.staged.is_empty() => {
                self.write_staged(now);
                self.append(now, append);
            }
            // A refusal that rests on records not settled yet waits for them.
            Err(refusal) if refusal.rests_on_log() => {
                self.park(self.log.end_offset(), 0, Err(refusal), append.reply);
            }
            Err(refusal) => append.reply.send(Err(refusal)),
        }
    }

    fn repeats_staged_producer(&self, append: &Append) -> bool {
        let id = |header: &BatchHeader| header.producer().map(|(id, _, _)| id);
        let staged = |producer| self.staged.iter().any(|staged| id(staged.header()) == producer);
        append.batches.iter().any(|batch| {
            let producer = id(batch.header());
            producer.is_some() && staged(producer)
        })
    }

    fn park(
        &mut self,
        depends_on: Offset,
        bytes: usize,
        outcome: Result<Appended, AppendRefusal>,
        reply: AppendReply,
    ) {
        self.pending.park(self.high_watermark, depends_on, bytes, outcome, reply);
    }

    fn staged_bytes_max(&self) -> usize {
        let segment = usize::try_from(self.log.config().segment_bytes).unwrap_or(usize::MAX);
        segment.min(limits::STAGED_BYTES_MAX)
    }

    fn judge(&self, append: &Append) -> Result<Judged, AppendRefusal> {
        self.refuse_offline()?;
        let pending = self.pending.bytes() + self.staged_bytes;
        if pending > limits::PARTITION_PENDING_BYTES_MAX {
            let limit = limits::PARTITION_PENDING_BYTES_MAX;
            return Err(AppendRefusal::Overloaded { pending, limit });
        }
        // Clients may send one batch per partition when it has a producer, so the first decides.
        if let Some(repeat) = self.judge_sequence(&append.batches[0])? {
            return Ok(repeat);
        }
        match append.expected_offset {
            Some(expected)
                if expected != self.staged_end && !planted::is(Bug::IgnoreExpectedOffset) =>
            {
                Err(AppendRefusal::UnexpectedOffset { expected, actual: self.staged_end })
            }
            _ => Ok(Judged::Append),
        }
    }

    fn judge_sequence(&self, batch: &CheckedBatch) -> Result<Option<Judged>, AppendRefusal> {
        let Some((_, actual_epoch, actual)) = batch.header().producer() else { return Ok(None) };
        match self.log.producers().check(batch.header()) {
            Verdict::Accept => Ok(None),
            Verdict::Duplicate { base_offset, .. } => {
                let next = base_offset.plus(i64::from(batch.header().last_offset_delta) + 1);
                Ok(Some(Judged::Repeat(base_offset, next)))
            }
            Verdict::Invalid(why) => Err(AppendRefusal::InvalidProducer(why)),
            Verdict::OutOfOrder { expected } => {
                Err(AppendRefusal::OutOfOrderSequence { expected, actual })
            }
            Verdict::Fenced { current } => {
                Err(AppendRefusal::Fenced { current, actual: actual_epoch })
            }
        }
    }

    fn stage(&mut self, append: Append) {
        let base_offset = self.staged_end;
        let mut bytes = 0;
        for batch in append.batches {
            let stamped = batch.stamp(self.staged_end, self.epoch);
            self.staged_end = stamped.next_offset();
            bytes += stamped.size_bytes();
            self.staged.push(stamped);
        }
        let appended = self.appended(base_offset, self.staged_end);
        self.staged_bytes += bytes;
        self.staged_replies.push(StagedReply { appended, bytes, reply: append.reply });
    }

    fn appended(&self, base_offset: Offset, next_offset: Offset) -> Appended {
        Appended {
            base_offset,
            next_offset,
            log_start_offset: self.log.start_offset(),
            durability: self.log.config().durability,
        }
    }

    /// Whether what is staged may wait for the sync under way to end: nothing of it can be
    /// acknowledged before the next one, and one write for all that comes until then costs less
    /// than a write each. Larger batches are written beside the sync, which takes about as long.
    pub(super) fn is_gathering(&self) -> bool {
        self.syncing
            && !self.closing
            && self.log.config().durability == Durability::Fsync
            && self.staged_bytes < limits::GATHERED_BYTES_MAX
            && self.staged.len() < limits::GATHERED_BATCHES_MAX
    }

    /// Writes everything staged with one call and parks the replies on their offsets.
    pub(super) fn write_staged(&mut self, now: Now) {
        if self.staged.is_empty() {
            return;
        }
        let outcome = self.log.append(&self.staged, now);
        self.staged.clear();
        self.staged_bytes = 0;
        let replies = std::mem::take(&mut self.staged_replies);
        match outcome {
            Ok(_) => {
                assert_eq!(self.log.end_offset(), self.staged_end, "the log took what was staged");
                for StagedReply { appended, bytes, reply } in replies {
                    self.park(appended.next_offset, bytes, Ok(appended), reply);
                }
            }
            Err(error) => self.refuse_staged(&error, replies),
        }
    }

    fn refuse_staged(&mut self, error: &AppendError, replies: Vec<StagedReply>) {
        self.staged_end = self.log.end_offset();
        let refusal = match error {
            AppendError::Full(error) => AppendRefusal::DiskFull(error.to_string().into()),
            AppendError::NoDescriptors(error) => {
                AppendRefusal::NoDescriptors(error.to_string().into())
            }
            AppendError::Damaged(damage) => AppendRefusal::Damaged(damage.to_string().into()),
            AppendError::Poisoned(reason) => self.go_offline(reason),
            AppendError::ReadOnly | AppendError::OutOfPlace(_) => {
                unreachable!("a leader writes in order to a log it may write to: {error}")
            }
        };
        for staged in replies {
            staged.reply.send(Err(refusal.clone()));
        }
    }
}

impl AppendRefusal {
    /// Whether the refusal follows from records in the log that a crash could still take back.
    fn rests_on_log(&self) -> bool {
        matches!(
            self,
            AppendRefusal::UnexpectedOffset { .. }
                | AppendRefusal::OutOfOrderSequence { .. }
                | AppendRefusal::Fenced { .. }
        )
    }
}
