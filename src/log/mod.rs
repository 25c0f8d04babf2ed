//! One partition's durable log: a directory of segments that grows at one end and is cut at the
//! other. A synchronous core over [`Disk`]; it has one owner, who appends and syncs, and any number
//! of readers, who hold [`LogView`]s. Knows neither clocks nor threads nor what replicas are.
//!
//! # Life of an append
//! [`Log::append`] writes, [`Log::begin_sync`] hands out the work that makes it durable,
//! [`SyncJob::run`] does that work on any thread, [`Log::finish_sync`] takes the result and returns
//! [`Settled`], the only proof that an acknowledgement may leave. One sync is in flight at a time;
//! what is appended meanwhile forms the next group. [`Log::begin_upkeep`] hands out what is to be
//! done besides, for which nobody waits.
//!
//! # When the disk fails
//! A full disk is a state: the partial batch is cut off and the caller may try again. Every other
//! failed write and every failed sync *poisons* the log: it takes no more appends in this process.
//!
//! # Files
//! `<base offset>.log` with its side files (`sidecar`), `leader-epochs`, `log-start`,
//! `producers-<offset>`, `compaction`; `*.cleaned.*` is on its way in and `*.deleted` on its way
//! out, `*.torn` is what recovery or a repair cut off, `repaired` says what a repair has taken.

mod append;
pub mod checkpoint;
pub mod clean;
mod compaction;
pub mod epochs;
pub mod frontier;
mod index;
#[cfg(test)]
mod manual;
mod open;
pub mod producers;
mod read;
mod recover;
pub mod recovery;
pub mod repair;
mod retention;
mod scan;
mod segment;
mod sidecar;
mod sums;
mod sync;
#[cfg(test)]
mod tests;
mod upkeep;
mod window;
pub mod witness;
mod words;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use append::{AppendError, Appended};
pub use compaction::{
    Compacted, Compaction, CompactionConfig, CompactionError, CompactionOptions, CompactionReport,
    CompactionState, CompactionStep, Dirt, Exchange, ExchangeDone, ExchangeJob, SegmentPlace,
    Survey,
};
pub use open::{FileKind, Known, KnownFrontier, OpenError, OpenMode, Recovery, Torn, segment_name};
pub use read::{Damage, FileRange, LogView, Position, ReadError, ReadRange};
pub use retention::{ChangeError, Truncated, load_log_start};
pub use sidecar::{Comparison, IndexEntry, SideFile, SideFileState, SideFiles, Verdict};
pub use sums::Seals;
pub use sync::{Poisoned, Settled, SyncDone, SyncJob};
pub use upkeep::{UpkeepDone, UpkeepJob};
pub use window::TailWindow;

use self::append::Active;
use self::clean::CleanLog;
use self::epochs::LeaderEpochs;
use self::frontier::FrontierEntry;
use self::producers::Producers;
use self::segment::Segment;
use self::sync::Pending;
use self::witness::Gaps;
use crate::limits;
use crate::planted::{self, Bug};
use crate::storage::{Disk, StorageError};
use crate::types::{Durability, LeaderEpoch, Millis, Offset};

/// How a log behaves. Defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment that would outgrow this is followed by another.
    pub segment_bytes: u64,
    /// So is one whose first record is older than this.
    pub segment_ms: i64,
    /// Distance of index entries.
    pub index_interval_bytes: usize,
    /// When an append counts as settled.
    pub durability: Durability,
    /// Age at which records may go; `None` keeps them.
    pub retention_ms: Option<i64>,
    /// Size above which the oldest segments go; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// After this long without a batch an idempotent producer is forgotten.
    pub producer_expiry_ms: i64,
    /// How the log is compacted, if it is.
    pub compaction: Option<CompactionConfig>,
    /// Whether the log comes from one with gaps between its offsets. Those that compaction leaves
    /// here are known without.
    pub gaps: Gaps,
    /// What stays in the page cache of the ends of all logs of the directory; what is synced and
    /// lies before that is dropped from it.
    pub tail_window: Arc<TailWindow>,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            index_interval_bytes: limits::INDEX_INTERVAL_BYTES,
            durability: Durability::Fsync,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            producer_expiry_ms: DAY_MS,
            compaction: None,
            gaps: Gaps::Refused,
            tail_window: TailWindow::new(512 << 20),
        }
    }
}

/// Tells logs of one process apart, so that a proof for one can not be used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId(u64);

impl LogId {
    fn next() -> LogId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        LogId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One partition's log. See the module for how it is used.
#[derive(Debug)]
pub struct Log {
    id: LogId,
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    config: LogConfig,
    /// Ascending; the last one is written to. Shared with views, so replaced and never changed.
    segments: Arc<Vec<Arc<Segment>>>,
    /// What writing to the last segment needs; absent until the first append.
    active: Option<Active>,
    start: Offset,
    end: Position,
    synced: Position,
    /// Size of all segments but the last.
    sealed_bytes: u64,
    /// Ends of the newest batches.
    recent: VecDeque<Position>,
    /// Place and checksum of the last batch of the last segment, as far as it is known.
    last_batch: Option<(u64, u32)>,
    pending: Pending,
    compaction: compaction::Progress,
    epochs: LeaderEpochs,
    producers: Producers,
    /// Bytes of batches behind the newest snapshot of the producers.
    unsnapshotted_bytes: u64,
    failure: Option<StorageError>,
    damage: Option<Arc<Damage>>,
    writable: bool,
    /// How often the frontier was lowered under this log; its claims carry the number.
    lowerings: u32,
}

impl Log {
    /// A log that does not exist yet. Nothing is on the disk before the first append.
    #[must_use]
    pub fn create(disk: Arc<dyn Disk>, dir: PathBuf, config: LogConfig) -> Log {
        Log {
            id: LogId::next(),
            disk,
            dir: dir.into(),
            config: config.clamped(),
            segments: Arc::default(),
            active: None,
            start: Offset::ZERO,
            end: Position::default(),
            synced: Position::default(),
            sealed_bytes: 0,
            recent: VecDeque::new(),
            last_batch: None,
            pending: Pending::default(),
            compaction: compaction::Progress::default(),
            epochs: LeaderEpochs::default(),
            producers: Producers::new(),
            unsnapshotted_bytes: 0,
            failure: None,
            damage: None,
            writable: true,
            lowerings: 0,
        }
    }

    /// Changes how the log behaves from now on.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config.clamped();
    }

    /// How the log behaves.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Which log of this process it is.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first offset it still has.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.start
    }

    /// The offset of the next record.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end.offset
    }

    /// The end of the log as a place.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// Everything below is as durable as promised.
    #[must_use]
    pub fn settled_offset(&self) -> Offset {
        match self.config.durability {
            _ if planted::is(Bug::AckBeforeSync) => self.end.offset,
            Durability::Fsync => self.synced.offset,
            Durability::Os => self.end.offset,
        }
    }

    /// Everything below survives a power cut.
    #[must_use]
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// Bytes from a place up to which the log was synced before to where it is synced now.
    #[must_use]
    pub fn synced_bytes_since(&self, from: Position) -> u64 {
        let later = self.segments.iter().rev().take_while(|s| s.base() >= from.segment);
        let before_last = later.filter(|segment| segment.base() < self.synced.segment);
        let sealed: u64 = before_last.filter_map(|segment| segment.sealed_len()).sum();
        (sealed + self.synced.bytes).saturating_sub(from.bytes)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.sealed_bytes + self.end.bytes
    }

    /// Epoch of the newest batch, or 0 when there never was one.
    #[must_use]
    pub fn last_epoch(&self) -> LeaderEpoch {
        self.epochs.latest().map_or(LeaderEpoch(0), |latest| latest.epoch)
    }

    /// The leader epochs with their first offsets.
    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// What is remembered of idempotent producers.
    #[must_use]
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Forgets producers that have not written for long; how many.
    pub fn expire_producers(&mut self, now: Millis) -> usize {
        self.producers.expire(now, self.config.producer_expiry_ms)
    }

    /// Why the log takes no more appends, if a disk failure is the reason.
    #[must_use]
    pub fn is_poisoned(&self) -> Option<&StorageError> {
        self.failure.as_ref()
    }

    /// Where the log is damaged, if it was found to be when it was opened.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_deref()
    }

    /// What the frontier journal may claim of this log. A claim carries [`Log::lowerings`].
    #[must_use]
    pub fn frontier(&self) -> FrontierEntry {
        let first = self.segments.first().map_or(self.end.segment, |first| first.base());
        if self.synced.segment < first {
            // What was synced last has been removed since; the first segment begins behind it.
            return FrontierEntry { segment_base: first, end_offset: first, position: 0 };
        }
        let durable = if planted::is(Bug::ClaimBeforeSync) { self.end } else { self.synced };
        let Position { offset, segment, bytes } = durable;
        FrontierEntry { segment_base: segment, end_offset: offset, position: bytes }
    }

    /// How often the frontier was lowered for this log, as of the last truncation.
    #[must_use]
    pub fn lowerings(&self) -> u32 {
        self.lowerings
    }

    /// What the clean-shutdown marker has to say of this log, once it is closed. `None` when it has
    /// nothing on the disk or is not wholly sound.
    ///
    /// # Errors
    /// When the last batch can not be read.
    pub fn clean_entry(&self) -> Result<Option<CleanLog>, ReadError> {
        let Some(last) = self.segments.last() else { return Ok(None) };
        if self.damage.is_some() || self.failure.is_some() || self.synced != self.end {
            return Ok(None);
        }
        let (last_batch_at, last_batch_crc) = match self.last_batch {
            _ if self.end.bytes == 0 => (0, 0),
            Some(known) => known,
            None => last.last_batch(self.end)?,
        };
        let Position { offset: end_offset, segment: segment_base, bytes: position } = self.end;
        Ok(Some(CleanLog { segment_base, end_offset, position, last_batch_at, last_batch_crc }))
    }

    /// The log as it is now, for readers.
    #[must_use]
    pub fn view(&self) -> LogView {
        LogView {
            start: self.start,
            segments: self.segments.clone(),
            end: self.end,
            damage: self.damage.clone(),
            epochs: self.epochs.clone(),
            outlook: self.outlook(),
        }
    }

    /// The place between the batches that end at or below `end` and those beyond. Exact when `end`
    /// is where a batch ends, else the last such place before it.
    #[must_use]
    pub fn position_of(&self, end: Offset) -> Position {
        if end >= self.end.offset {
            return self.end;
        }
        let after = self.recent.partition_point(|position| position.offset <= end);
        match after.checked_sub(1) {
            Some(i) => self.recent[i],
            None => self.look_up(end),
        }
    }

    /// The slow way of [`Log::position_of`], for what is no longer remembered.
    fn look_up(&self, end: Offset) -> Position {
        let after = self.segments.partition_point(|segment| segment.base() <= end);
        let Some(segment) = after.checked_sub(1).map(|i| &self.segments[i]) else {
            let segment = self.segments.first().map_or(self.end.segment, |first| first.base());
            return Position { offset: self.start.min(end), segment, bytes: 0 };
        };
        let len = segment.sealed_len().unwrap_or(self.end.bytes);
        // When the disk fails, an earlier place is as right as any: nothing is shown too soon.
        segment.position_below(end, len).unwrap_or(Position {
            offset: segment.base(),
            segment: segment.base(),
            bytes: 0,
        })
    }
}

impl LogConfig {
    /// The configuration within what the file formats can hold.
    fn clamped(mut self) -> LogConfig {
        self.segment_bytes = self.segment_bytes.clamp(1, append::SEGMENT_BYTES_MAX);
        self.index_interval_bytes = self.index_interval_bytes.clamp(128, 1 << 20);
        self
    }
}
