//! The log under the quorum and the frontier journal that tells damage from the remains of a write.
//! A batch is one entry, an offset is an index. Everything is durable when its function returns.
//!
//! The log's own rule for a tail that does not read is right for data: cut it off unless it is
//! known to have been durable. Here the frontier has to be there whenever there is a log, because
//! without it a flipped bit in the newest segment would quietly take entries away that Raft has
//! promised.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::error::QuorumError;
use crate::log::frontier::{self, Claim, Frontier, FrontierEntry, FrontierLowered, FrontierState};
use crate::log::{
    AppendError, Known, KnownFrontier, Log, LogConfig, OpenError, OpenMode, ReadError, Recovery,
};
use crate::record::{Batches, CheckedBatch, StampedBatch};
use crate::storage::{Disk, patiently};
use crate::time::Now;
use crate::types::{Durability, Millis, Offset, PartitionId, TopicId, TopicPartition};

/// What the log's directory is called.
const LOG_DIR: &str = "log";

/// What the frontier journal calls the log: no topic has this id.
const NAME: TopicPartition =
    TopicPartition { topic: TopicId(Uuid::nil()), partition: PartitionId(0) };

/// Entries are few and small; what is purged goes by whole segments.
const SEGMENT_BYTES: u64 = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    log: Log,
    /// Absent when the log was opened for reading.
    frontier: Option<Frontier>,
    /// Whether the frontier journal holds claims that are not synced.
    unsynced: bool,
}

impl Journal {
    /// Opens the log below `dir`, which need not exist, and cuts off the remains of a write.
    pub(super) fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Journal, QuorumError> {
        let log = open_log(disk, dir, OpenMode::Write)?;
        let entries = [(NAME, log.frontier())].into();
        let frontier = Frontier::begin(Arc::clone(disk), dir, entries)?;
        Ok(Journal { log, frontier: Some(frontier), unsynced: false })
    }

    /// Opens the log below `dir` without changing anything.
    pub(super) fn open_read_only(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Journal, QuorumError> {
        let log = open_log(disk, dir, OpenMode::ReadOnly)?;
        Ok(Journal { log, frontier: None, unsynced: false })
    }

    pub(super) fn dir(&self) -> &Path {
        self.log.dir()
    }

    pub(super) fn start(&self) -> Offset {
        self.log.start_offset()
    }

    pub(super) fn end(&self) -> Offset {
        self.log.end_offset()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start() == self.end()
    }

    /// Appends batches that are stamped for the end of the log.
    pub(super) fn append(
        &mut self,
        batches: &[StampedBatch],
        at: Millis,
    ) -> Result<(), QuorumError> {
        let now = Now { wall: at, monotonic_ms: 0 };
        // Here is nobody who could be told to come again.
        let wants = |error: &AppendError| matches!(error, AppendError::NoDescriptors(_));
        patiently(|| self.log.append(batches, now), wants).map_err(offline)?;
        let job = self.log.begin_sync().expect("something was appended and no sync is under way");
        let settled = self.log.finish_sync(job.run()).map_err(offline)?;
        assert_eq!(settled.up_to(), self.end(), "the sync covers what was appended");
        assert!(settled.synced().is_some(), "metadata waits for the disk, not for its cache");
        if let Some(job) = self.log.begin_upkeep() {
            self.log.finish_upkeep(job.run());
        }
        self.claim()
    }

    /// Some batches from `from` on and below `to`: at least one, and not many more bytes than
    /// these.
    pub(super) fn read(
        &self,
        from: Offset,
        to: Offset,
        bytes: usize,
    ) -> Result<Vec<CheckedBatch>, QuorumError> {
        let range = self.log.view().read(from, self.log.position_of(to), bytes);
        let bytes = range.and_then(|range| range.copy()).map_err(|error| self.unreadable(error))?;
        let batches = Batches::new(bytes.into()).collect::<Result<Vec<_>, _>>();
        batches.map_err(|error| QuorumError::damaged(self.dir(), 0, format!("{error} at {from}")))
    }

    /// Removes everything from `end` on.
    pub(super) fn truncate(&mut self, end: Offset) -> Result<(), QuorumError> {
        let cut = self.log.plan_truncation(end).map_err(|error| self.unreadable(error))?;
        assert_eq!(cut.end_offset, end, "a batch is one entry, so cuts are exact");
        let lowered = self.lower(cut)?;
        self.log.truncate_to(end, NAME, &lowered).map_err(offline)?;
        Ok(())
    }

    /// Lets go of everything below `start`.
    pub(super) fn advance(&mut self, start: Offset) -> Result<(), QuorumError> {
        self.log.advance_start(start).map_err(offline)
    }

    /// Lets go of everything and begins again at `start`.
    pub(super) fn restart(&mut self, start: Offset) -> Result<(), QuorumError> {
        // The journal may only name places that are in the log as it still is: a crash before the
        // restart would else miss a segment that never was.
        let first = self.log.plan_truncation(self.start().min(start));
        let lowered = self.lower(first.map_err(|error| self.unreadable(error))?)?;
        self.log.restart_at(start, NAME, &lowered).map_err(offline)
    }

    /// Whether [`Journal::sync_frontier`] has something to do.
    pub(super) fn is_frontier_behind(&self) -> bool {
        self.unsynced
    }

    /// Makes it survive a power cut that what is durable is known to be. Without this a restart
    /// only trusts less of its own log.
    pub(super) fn sync_frontier(&mut self) -> Result<(), QuorumError> {
        if let Some(frontier) = self.frontier.as_mut().filter(|_| self.unsynced) {
            frontier.sync()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Writes down what makes the next opening cheap.
    pub(super) fn close(&mut self) -> Result<(), QuorumError> {
        self.log.close().map_err(offline)?;
        self.sync_frontier()
    }

    fn claim(&mut self) -> Result<(), QuorumError> {
        let (entry, lowerings) = (self.log.frontier(), self.log.lowerings());
        let claim = Claim { partition: NAME, entry, lowerings };
        match self.writable().record(&[claim]) {
            Ok(()) => self.unsynced = true,
            // The next claim says it again.
            Err(error) if error.is_full() || error.is_out_of_descriptors() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn lower(&mut self, entry: FrontierEntry) -> Result<FrontierLowered, QuorumError> {
        Ok(self.writable().lower(NAME, entry)?)
    }

    fn writable(&mut self) -> &mut Frontier {
        self.frontier.as_mut().expect("a log that was opened for reading is not changed")
    }

    fn unreadable(&self, error: ReadError) -> QuorumError {
        match error {
            ReadError::Corrupt(damage) => {
                let what = format!("{} (entry {})", damage.why, damage.offset);
                QuorumError::damaged(&*damage.path, damage.byte, what)
            }
            ReadError::Storage(error) => error.into(),
            error => QuorumError::damaged(self.dir(), 0, error.to_string()),
        }
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        segment_ms: i64::MAX,
        durability: Durability::Fsync,
        retention_ms: None,
        retention_bytes: None,
        ..LogConfig::default()
    }
}

fn open_log(disk: &Arc<dyn Disk>, dir: &Path, mode: OpenMode) -> Result<Log, QuorumError> {
    let log_dir = dir.join(LOG_DIR);
    let (state, entries) = Frontier::load(&**disk, dir);
    let entry = entries.get(&NAME).copied();
    let frontier = match state {
        FrontierState::Whole | FrontierState::TornTail { .. } => KnownFrontier::At(entry),
        FrontierState::Missing | FrontierState::Unreadable(_) if disk.exists(&log_dir)? => {
            let what = format!("{state:?}, and there is a log that needs it");
            return Err(QuorumError::damaged(dir.join(frontier::FILE_NAME), 0, what));
        }
        FrontierState::Missing | FrontierState::Unreadable(_) => KnownFrontier::Missing,
    };
    let known = Known { frontier, clean: None };
    let (log, recovery) =
        Log::open(Arc::clone(disk), log_dir, config(), known, mode).map_err(unopened)?;
    check(&log, &recovery, entry)?;
    Ok(log)
}

fn check(log: &Log, recovery: &Recovery, entry: Option<FrontierEntry>) -> Result<(), QuorumError> {
    if let Some(damage) = &recovery.damage {
        let what = format!("{} (entry {})", damage.why, damage.offset);
        return Err(QuorumError::damaged(&*damage.path, damage.byte, what));
    }
    let durable = entry.map_or(Offset::ZERO, |entry| entry.end_offset);
    if log.end_offset() < durable {
        let what = format!("entries {} to {durable} are missing", log.end_offset());
        return Err(QuorumError::damaged(log.dir(), 0, what));
    }
    if let Some(torn) = &recovery.torn {
        tracing::warn!(
            "metadata log: {} bytes of an unfinished write at byte {} are left out: {}",
            torn.bytes,
            torn.at.bytes,
            torn.why
        );
    }
    Ok(())
}

fn unopened(error: OpenError) -> QuorumError {
    match error {
        OpenError::Storage(error) => error.into(),
        OpenError::File { path, source } => QuorumError::damaged(path, 0, source.to_string()),
    }
}

fn offline(error: impl std::fmt::Display) -> QuorumError {
    QuorumError::Offline(error.to_string())
}
