//! Log compaction: of every key only the newest record stays (Kafka's `LogCleaner`). Works on
//! sealed segments below the last stable offset, on any thread, while the owner goes on appending.
//!
//! # A pass
//! [`Log::begin_compaction`] hands out a [`Compaction`]. It reads what was appended since the last
//! pass and notes the newest offset of each key, in bounded memory; where that does not suffice,
//! what was not noted is left to another pass. Then it reads the log from its start up to there and
//! writes what stays into new segments, neighbours together as far as one segment holds them. Each
//! is exchanged for those that it replaces by the owner, with [`Log::begin_exchange`]; readers that
//! hold the old files go on reading them. At the end the log learns up to where it is clean.
//!
//! # What stays besides
//! * Offsets, base offset and last offset of every batch, its producer, time stamps and leader
//!   epoch. A batch that loses nothing is copied byte for byte.
//! * The batches that idempotent producers are remembered by, without records if need be: all five
//!   of each, so that their state can be rebuilt from the log (P2, D15).
//! * The last batch of each segment, so that a segment ends where the next one begins and a missing
//!   one is still noticed.
//! * Whatever lies in a segment that is younger than the minimal lag, and the last segment.

mod map;
mod output;
mod pass;
mod reader;
mod rewrite;
mod state;
mod survey;
mod transactions;

use std::sync::Arc;

pub use pass::{Compacted, Compaction, CompactionOptions, CompactionReport, CompactionStep};
#[cfg(test)]
pub(super) use state::KIND;
pub use state::{CompactionState, SegmentPlace};
pub(super) use state::{FILE_NAME, is_cleaned, lower, resume};
pub(super) use survey::Outlook;
pub use survey::Survey;

use super::read::ReadError;
use super::segment::Segment;
use super::sync::Poisoned;
use super::witness::Witness;
use super::{Log, LogId};
use crate::storage::{Disk, Operation, StorageError, patiently};
use crate::types::{Millis, Offset};

/// How a log is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Records younger than this stay.
    pub min_lag_ms: i64,
    /// Records older than this do not wait for anything but a pass.
    pub max_lag_ms: i64,
    /// How long a tombstone stays after the pass that found nothing older of its key.
    pub delete_retention_ms: i64,
    /// Share of the log, in millionths, that has to be dirty before a pass is worth it.
    pub min_dirty_ppm: u32,
}

/// How much of a log a pass could look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirt {
    /// Bytes of segments that were appended since the last pass.
    pub dirty_bytes: u64,
    /// Bytes of those before.
    pub clean_bytes: u64,
    /// Where what a pass could look at ends.
    pub until: Offset,
    /// Whether a pass is due.
    pub is_due: bool,
}

impl Dirt {
    /// Share of what could be compacted that is dirty, in millionths.
    #[must_use]
    pub fn ppm(&self) -> u32 {
        let whole = u128::from(self.dirty_bytes + self.clean_bytes);
        (u128::from(self.dirty_bytes) * 1_000_000).checked_div(whole).unwrap_or(0) as u32
    }
}

/// Why a pass ended early. The log is as it was after its last exchange.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// What is there can not be read, or is not what was written.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// What stays could not be written.
    #[error(transparent)]
    Unwritable(StorageError),
    /// Batches expand so much at the moment that there is no memory for more.
    #[error("too much is being decompressed at the moment")]
    Crowded,
}

/// What is known of a log's compaction while it is open.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Below this offset, offsets may be missing.
    pub(super) gaps_below: Offset,
    /// Below this offset every key has one record.
    pub(super) clean_to: Offset,
    /// Whether an exchange is under way.
    pub(super) exchanging: bool,
    /// Whether the file still announces an exchange that is done: before there can be another
    /// compacted segment of that name, it must not.
    pub(super) announced: bool,
    /// How often the log was cut at its end.
    pub(super) cuts: u32,
}

/// What the owner is asked for in the course of a pass.
#[derive(Debug)]
pub enum Exchange {
    /// A compacted segment takes the place of those it was made of.
    Segment(Box<Compacted>),
    /// The pass is over.
    CleanTo {
        /// The log is clean up to here,
        clean_to: Offset,
        /// unless it was cut more often than when the pass began.
        cuts: u32,
    },
}

/// The work that makes an exchange durable. Owns all it needs, so that any thread may run it.
#[derive(Debug)]
pub struct ExchangeJob {
    log: LogId,
    disk: Arc<dyn Disk>,
    dir: Arc<std::path::Path>,
    announced: Option<CompactionState>,
    after: CompactionState,
    exchange: Exchange,
}

/// What became of an [`ExchangeJob`].
#[derive(Debug)]
#[must_use = "the log has to be told"]
pub struct ExchangeDone {
    log: LogId,
    after: CompactionState,
    exchange: Exchange,
    result: Result<Done, StorageError>,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug)]
enum Done {
    /// There was no room to announce it.
    Nothing,
    /// It is done, and there was no room to say so.
    Announced,
    All,
}

impl ExchangeJob {
    /// Does the work. Blocks for as long as the disk takes.
    pub fn run(self) -> ExchangeDone {
        // Every step may be done again.
        let result = patiently(|| self.carry_out(), StorageError::is_out_of_descriptors);
        ExchangeDone { log: self.log, after: self.after, exchange: self.exchange, result }
    }

    fn carry_out(&self) -> Result<Done, StorageError> {
        let (disk, dir) = (self.disk.as_ref(), self.dir.as_ref());
        if let Some(announced) = &self.announced {
            if !fits(announced.save(disk, dir))? {
                return Ok(Done::Nothing);
            }
            announced.exchange(disk, dir)?;
        }
        match fits(self.after.save(disk, dir))? {
            true => Ok(Done::All),
            false if self.announced.is_some() => Ok(Done::Announced),
            false => Ok(Done::Nothing),
        }
    }
}

/// Whether there was room for what was to be saved; without room, nothing has changed.
fn fits(saved: Result<(), StorageError>) -> Result<bool, StorageError> {
    match saved {
        Err(error) if error.is_full() && error.operation != Operation::Sync => Ok(false),
        saved => saved.map(|()| true),
    }
}

impl Log {
    /// Up to where the last pass has come: below this offset every key has one record.
    #[must_use]
    pub fn clean_to(&self) -> Offset {
        self.compaction.clean_to
    }

    /// What of the log a pass could look at; `None` when the log is not compacted or takes no
    /// changes. Nothing at or above `stable` is looked at.
    #[must_use]
    pub fn survey(&self, stable: Offset) -> Option<Survey> {
        let outlook = self.outlook().filter(|_| self.is_usable())?;
        Some(Survey::of(outlook, &self.segments, stable))
    }

    /// What readers have to know to survey the log; `None` when it is not compacted.
    pub(super) fn outlook(&self) -> Option<Outlook> {
        let config = self.config.compaction?;
        let (synced, unflushed) = (self.synced.segment, self.pending.first_unflushed());
        let quiet_to = unflushed.map_or(synced, |unflushed| synced.min(unflushed));
        Some(Outlook { config, clean_to: self.compaction.clean_to, quiet_to })
    }

    /// Begins a pass over what lies below `options.until`. `None` when there is nothing, or another
    /// job still writes files of the segments. One pass at a time; the caller sees to that, and to
    /// the ages of the records, as [`Survey::assess`] tells them.
    pub fn begin_compaction(
        &mut self,
        now: Millis,
        stable: Offset,
        committed: Offset,
        options: CompactionOptions,
    ) -> Option<Compaction> {
        let config = self.config.compaction?;
        let dirty = self.survey(stable.min(options.until))?.range();
        if dirty.is_empty() || !self.is_unannounced() {
            return None;
        }
        let committed = self.position_of(committed);
        Some(Compaction::new(self, config, now, dirty, committed, options))
    }

    fn is_usable(&self) -> bool {
        self.refuse_if_unusable().is_ok()
    }

    /// Begins the exchange that a pass asks for. Not while another is under way.
    ///
    /// # Errors
    /// Gives it back when the segments that it is about are not there any more, or the log takes
    /// no changes.
    pub fn begin_exchange(&mut self, exchange: Exchange) -> Result<ExchangeJob, Exchange> {
        assert!(!self.compaction.exchanging, "exchanges follow one another");
        if !self.is_usable() {
            return Err(exchange);
        }
        let Progress { gaps_below, clean_to, .. } = self.compaction;
        let mut after = CompactionState { gaps_below, clean_to, exchange: Vec::new() };
        let announced = match &exchange {
            Exchange::CleanTo { cuts, .. } if *cuts != self.compaction.cuts => {
                return Err(exchange);
            }
            Exchange::CleanTo { clean_to: offset, .. } => {
                after.clean_to = (*offset).max(clean_to);
                None
            }
            Exchange::Segment(compacted) => {
                if self.place_of(compacted).is_none() {
                    return Err(exchange);
                }
                after.gaps_below = gaps_below.max(compacted.end);
                let bases = compacted.replaced.iter().map(|old| old.base()).collect();
                Some(CompactionState { exchange: bases, ..after })
            }
        };
        self.compaction.exchanging = true;
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        Ok(ExchangeJob { log: self.id, disk, dir, announced, after, exchange })
    }

    /// Takes the result of an exchange. Gives it back when a full disk has kept it from being
    /// begun: then nothing has changed.
    ///
    /// # Errors
    /// When it failed, which poisons the log: what its files are called is not known any more.
    ///
    /// # Panics
    /// When it is another log's, or none is under way.
    pub fn finish_exchange(&mut self, done: ExchangeDone) -> Result<Option<Exchange>, Poisoned> {
        assert_eq!(done.log, self.id, "an exchange is finished by the log that began it");
        assert!(self.compaction.exchanging, "an exchange is finished once");
        self.compaction.exchanging = false;
        match done.result {
            Err(error) => {
                let text = error.to_string();
                self.poison(error);
                return Err(Poisoned(text));
            }
            Ok(Done::Nothing) => return Ok(Some(done.exchange)),
            Ok(Done::Announced) => self.compaction.announced = true,
            Ok(Done::All) => self.compaction.announced = false,
        }
        (self.compaction.gaps_below, self.compaction.clean_to) =
            (done.after.gaps_below, done.after.clean_to);
        if let Exchange::Segment(compacted) = done.exchange {
            self.replace_segments(&compacted);
        }
        Ok(None)
    }

    /// Takes an announcement back that a full disk has left; whether there is none.
    fn is_unannounced(&mut self) -> bool {
        if self.compaction.announced {
            let Progress { gaps_below, clean_to, .. } = self.compaction;
            let state = CompactionState { gaps_below, clean_to, exchange: Vec::new() };
            match fits(state.save(self.disk.as_ref(), &self.dir)) {
                Ok(saved) => self.compaction.announced = !saved,
                Err(error) => _ = self.refuse(error),
            }
        }
        !self.compaction.announced
    }

    /// Takes the log offline for good, because a sync failed somewhere in its directory.
    pub fn fail(&mut self, error: StorageError) {
        self.poison(error);
    }

    fn replace_segments(&mut self, compacted: &Compacted) {
        let first = self.place_of(compacted).expect("nothing changes during an exchange");
        let behind = first + compacted.replaced.len();
        let witness = Witness::new(self.config.gaps).compacted_below(self.compaction.gaps_below);
        let path = Arc::clone(compacted.replaced[0].path());
        let (disk, index, len) = (self.disk.clone(), compacted.index.clone(), compacted.len);
        let segment = Segment::compacted(disk, path, index, len, Arc::new(witness));
        let mut segments = self.segments.to_vec();
        segments.splice(first..behind, [Arc::new(segment)]);
        let sealed = &segments[..segments.len() - 1];
        self.sealed_bytes = sealed.iter().filter_map(|segment| segment.sealed_len()).sum();
        self.segments = Arc::new(segments);
        self.recent.retain(|place| place.segment >= compacted.end);
        self.pending.cache.forget_below(compacted.end);
    }

    /// Number of the first segment that a compacted one replaces, if all of them are there.
    fn place_of(&self, compacted: &Compacted) -> Option<usize> {
        let base = compacted.replaced[0].base();
        let first = self.segments.iter().position(|segment| segment.base() == base)?;
        let there = self.segments[first..self.segments.len() - 1].iter();
        let same = there.zip(&compacted.replaced).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        (same == compacted.replaced.len()).then_some(first)
    }

    /// Seals the last segment when it holds a record that a pass should have seen by now.
    pub(super) fn roll_if_overdue(
        &mut self,
        now: Millis,
        high_watermark: Offset,
    ) -> Result<(), super::AppendError> {
        let Some(config) = self.config.compaction else { return Ok(()) };
        let is_settled = self.end.bytes > 0 && self.end.offset <= high_watermark;
        if config.max_lag_ms == i64::MAX || !is_settled {
            return Ok(());
        }
        if self.active.is_none() {
            self.prepare()?;
        }
        let first = self.active.as_ref().and_then(|active| active.first());
        if first.is_some_and(|first| now.0.saturating_sub(first.0) > config.max_lag_ms) {
            self.roll()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
