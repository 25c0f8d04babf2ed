//! Making appends durable: what is dirty, the job that syncs it on some other thread, and the proof
//! that comes out of it. A failed sync is final. What nobody waits for is left to
//! [upkeep](super::upkeep).

use std::path::Path;
use std::sync::Arc;

use super::epochs::LeaderEpochs;
use super::read::Position;
use super::sidecar::Flush;
use super::upkeep::{Cache, Chores};
use super::{Log, LogId};
use crate::planted::{self, Bug};
use crate::storage::{Disk, DiskFile, StorageError, Synced, patiently};
use crate::types::{Durability, Offset};

/// In `os` durability a background sync is due after this much.
const WRITEBACK_BYTES: u64 = 8 << 20;
/// Side files of the active segment are brought up to date after this much.
const FLUSH_BYTES: u64 = 16 << 20;
/// At a stop, side files and snapshots are brought up to date when they lack this much. Less than
/// that is read again at the next opening, which costs less than more files in thousands of
/// directories.
const CLOSE_BYTES: u64 = 64 << 10;
/// Left behind by a failed sync, so that recovery does not trust the page cache.
pub(super) const SYNC_FAILED: &str = "sync-failed";

/// What the next sync has to do besides syncing the active file, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) in_flight: bool,
    /// Files of segments sealed since the last sync, with the base offsets of those.
    pub(super) files: Vec<(Offset, Arc<dyn DiskFile>)>,
    /// The directory has new entries.
    pub(super) entries: bool,
    /// There is a new leader epoch.
    pub(super) epochs: bool,
    /// What may be done once the next sync has succeeded.
    pub(super) after: Chores,
    /// What may be done once the sync under way has succeeded.
    covered: Chores,
    /// What may be done.
    pub(super) due: Chores,
    pub(super) upkeep_in_flight: bool,
    /// Base offset of the first segment whose side files the upkeep under way writes.
    pub(super) flushing: Option<Offset>,
    pub(super) cache: Cache,
}

impl Pending {
    /// Forgets what was to be done for bytes that are no longer there.
    pub(super) fn forget_cut(&mut self) {
        self.files.clear();
        self.after = Chores::default();
        self.due = Chores::default();
        self.cache = Cache::default();
    }

    /// Forgets what was to be done for segments below `first`, which are being removed: their files
    /// may not be found any more, and must not come back.
    pub(super) fn forget_removed(&mut self, first: Offset) {
        self.files.retain(|(base, _)| *base >= first);
        self.after.forget_removed(first);
        self.due.forget_removed(first);
        self.cache = Cache::default();
    }

    /// Base offset of the first segment whose side files are to be written, or being written.
    pub(super) fn first_unflushed(&self) -> Option<Offset> {
        let waiting = [&self.after, &self.covered, &self.due].map(Chores::first_flush);
        waiting.into_iter().flatten().chain(self.flushing).min()
    }

    /// Whether a job may be writing files of the log right now.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight || self.upkeep_in_flight
    }

    /// Whether there is nothing to sync besides the active file.
    fn is_synced(&self) -> bool {
        self.files.is_empty() && !self.entries && !self.epochs
    }
}

/// Everything that has to happen before what was appended counts as durable. Owns all it needs, so
/// that any thread may run it.
#[derive(Debug)]
pub struct SyncJob {
    log: LogId,
    up_to: Position,
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    files: Vec<Arc<dyn DiskFile>>,
    entries: bool,
    epochs: Option<LeaderEpochs>,
}

/// What became of a [`SyncJob`].
#[derive(Debug)]
#[must_use = "the log has to be told"]
pub struct SyncDone {
    log: LogId,
    up_to: Position,
    result: Result<Synced, StorageError>,
}

impl SyncJob {
    /// Bytes below this offset will be durable.
    #[must_use]
    pub fn up_to(&self) -> Offset {
        self.up_to.offset
    }

    /// Does the work. Blocks for as long as the disk takes.
    pub fn run(self) -> SyncDone {
        // Where something could not even be opened no sync has failed, so nothing is lost by
        // beginning anew; a sync that did fail is never tried again.
        let result = patiently(|| self.sync(), StorageError::is_out_of_descriptors);
        SyncDone { log: self.log, up_to: self.up_to, result }
    }

    fn sync(&self) -> Result<Synced, StorageError> {
        let mut synced = None;
        for file in &self.files {
            let again = |error| match planted::is(Bug::RetryFailedSync) {
                true => file.sync(),
                false => Err(error),
            };
            synced = Some(file.sync().or_else(again)?);
        }
        if self.entries && !planted::is(Bug::SkipDirectorySync) {
            synced = Some(self.disk.sync_dir(&self.dir)?);
        }
        if let Some(epochs) = &self.epochs {
            synced = Some(epochs.save(self.disk.as_ref(), &self.dir)?);
        }
        synced.map_or_else(|| self.disk.sync_dir(&self.dir), Ok)
    }
}

/// Proof that everything below an offset of one log is as durable as promised. Only the log makes
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    log: LogId,
    up_to: Offset,
    synced: Option<Synced>,
}

impl Settled {
    /// Everything below this offset is settled.
    #[must_use]
    pub fn up_to(&self) -> Offset {
        self.up_to
    }

    /// Of which log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Proof of a sync, unless the log settles for the page cache.
    #[must_use]
    pub fn synced(&self) -> Option<Synced> {
        self.synced
    }
}

/// A sync failed: the log takes no more appends in this process.
#[derive(Debug, thiserror::Error)]
#[error("the log is offline after a failed sync: {0}")]
pub struct Poisoned(pub String);

impl Log {
    /// Whether a sync should begin now: something waits for it, or, where nothing does, enough has
    /// gathered.
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        let gathered = self.end.segment != self.synced.segment
            || self.end.bytes - self.synced.bytes >= WRITEBACK_BYTES;
        let due = match self.config.durability {
            Durability::Fsync => self.end.offset > self.synced.offset,
            Durability::Os => self.end.offset > self.synced.offset && gathered,
        };
        due && !self.pending.in_flight && self.failure.is_none()
    }

    /// The work that makes everything appended so far durable. `None` when there is none, when such
    /// work is under way, or when the log is poisoned.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        let dirty = self.end.offset > self.synced.offset;
        let idle = !dirty && self.pending.is_synced() && self.pending.after.is_empty();
        if idle || self.pending.in_flight || self.failure.is_some() {
            return None;
        }
        let pending = &mut self.pending;
        pending.in_flight = true;
        let sealed = std::mem::take(&mut pending.files);
        let mut files: Vec<_> = sealed.into_iter().map(|(_, file)| file).collect();
        if let Some(active) = self.active.as_mut().filter(|_| dirty) {
            files.push(active.file.clone());
            if self.end.bytes - active.flushed_at >= FLUSH_BYTES {
                active.flushed_at = self.end.bytes;
                pending.after.flushes.extend(active.flush_and_note());
            }
        }
        pending.covered = std::mem::take(&mut pending.after);
        Some(SyncJob {
            log: self.id,
            up_to: self.end,
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            files,
            entries: std::mem::take(&mut pending.entries),
            epochs: std::mem::take(&mut pending.epochs).then(|| self.epochs.clone()),
        })
    }

    /// Takes the result of a sync.
    ///
    /// # Errors
    /// When it failed, which poisons the log for good.
    ///
    /// # Panics
    /// When the result is another log's, or no sync is under way.
    pub fn finish_sync(&mut self, done: SyncDone) -> Result<Settled, Poisoned> {
        assert_eq!(done.log, self.id, "a sync is finished by the log that began it");
        assert!(self.pending.in_flight, "a sync is finished once");
        self.pending.in_flight = false;
        let synced = match done.result {
            Ok(synced) => synced,
            Err(error) => return Err(self.sync_failed(error)),
        };
        let covered = std::mem::take(&mut self.pending.covered);
        self.pending.due.append(covered);
        // Nothing is cut while a sync is under way, so its end is still one of ours.
        assert!(done.up_to.offset >= self.synced.offset, "syncs finish in order");
        assert!(done.up_to.offset <= self.end.offset, "what is synced was appended");
        self.synced = done.up_to;
        let up_to = self.settled_offset();
        Ok(Settled { log: self.id, up_to, synced: Some(synced) })
    }

    /// Proof of what is settled already: all that is written in a log that settles for the page
    /// cache, all that was synced in every other. `None` for a log that failed or is damaged.
    #[must_use]
    pub fn settled(&self) -> Option<Settled> {
        let sound = self.failure.is_none() && self.damage.is_none();
        sound.then(|| Settled { log: self.id, up_to: self.settled_offset(), synced: None })
    }

    /// Makes everything durable and writes down what makes the next opening cheap. The log takes
    /// appends afterwards as before.
    ///
    /// # Errors
    /// When the log is poisoned, or becomes so.
    ///
    /// # Panics
    /// When a job of the log is under way: it has to be finished first.
    pub fn close(&mut self) -> Result<(), Poisoned> {
        assert!(!self.pending.is_busy(), "a job under way is finished before the log is closed");
        if let Some(failure) = &self.failure {
            return Err(Poisoned(failure.to_string()));
        }
        if !self.writable || self.segments.is_empty() {
            return Ok(());
        }
        if self.unsnapshotted_bytes >= CLOSE_BYTES {
            self.note_snapshot();
        }
        let end = self.end;
        if let Some(active) =
            self.active.as_mut().filter(|a| end.bytes - a.flushed_at >= CLOSE_BYTES)
        {
            // The last stretch gets its checksum too.
            active.end_block(end);
            self.pending.after.flushes.extend(active.flush_and_note());
        }
        if self.end.offset == self.synced.offset && self.pending.is_synced() {
            let after = std::mem::take(&mut self.pending.after);
            self.pending.due.append(after);
        } else if let Some(job) = self.begin_sync() {
            self.finish_sync(job.run())?;
        }
        if let Some(job) = self.begin_upkeep() {
            self.finish_upkeep(job.run());
        }
        Ok(())
    }

    fn sync_failed(&mut self, error: StorageError) -> Poisoned {
        let text = error.to_string();
        // Best effort: on a disk that fails this is likely to fail too.
        let _ = self.disk.replace(&self.dir.join(SYNC_FAILED), text.as_bytes());
        self.failure.get_or_insert(error);
        Poisoned(text)
    }
}

impl super::append::Active {
    /// The open side-file work, which from now on counts as done.
    fn flush_and_note(&mut self) -> Option<Flush> {
        let flush = self.flush()?;
        (self.written, self.file_bytes) = (flush.until, flush.file_bytes_after());
        Some(flush)
    }
}
