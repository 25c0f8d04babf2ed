//! Making appends durable: what is dirty, the job that syncs it on some other thread, and the proof
//! that comes out of it. A failed sync is final.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::epochs::LeaderEpochs;
use super::read::Position;
use super::sidecar::Flush;
use super::{Log, LogId, producers};
use crate::planted::{self, Bug};
use crate::storage::{Disk, DiskFile, StorageError, Synced};
use crate::types::{Durability, Offset};

/// In `os` durability a background sync is due after this much.
const WRITEBACK_BYTES: u64 = 8 << 20;
/// Side files of the active segment are brought up to date after this much.
const FLUSH_BYTES: u64 = 16 << 20;
/// Page cache is dropped in steps of at least this much.
const DROP_BYTES: u64 = 8 << 20;
/// Producer snapshots that are kept.
const SNAPSHOTS_KEPT: usize = 2;
/// Left behind by a failed sync, so that recovery does not trust the page cache.
pub(super) const SYNC_FAILED: &str = "sync-failed";

/// What the next sync has to do besides syncing the active file.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) in_flight: bool,
    /// Files of segments sealed since the last sync.
    pub(super) files: Vec<Arc<dyn DiskFile>>,
    /// Their side files.
    pub(super) rolled: Vec<Flush>,
    /// The directory has new entries.
    pub(super) entries: bool,
    /// There is a new leader epoch.
    pub(super) epochs: bool,
    /// A snapshot of the producer state, and the offset it was taken at.
    pub(super) snapshot: Option<(Offset, Vec<u8>)>,
    cached: VecDeque<Cached>,
    cached_bytes: u64,
}

/// Bytes that were just appended.
pub(super) struct Extent<'a> {
    pub(super) segment: Offset,
    pub(super) file: &'a Arc<dyn DiskFile>,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// Bytes of this process's appends that should still be in the page cache.
#[derive(Debug)]
struct Cached {
    segment: Offset,
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Pending {
    pub(super) fn note_cached(&mut self, extent: Extent<'_>) {
        self.cached_bytes += extent.end - extent.at;
        match self.cached.back_mut() {
            Some(last) if last.segment == extent.segment && last.end == extent.at => {
                last.end = extent.end;
            }
            _ => self.cached.push_back(Cached {
                segment: extent.segment,
                file: extent.file.clone(),
                at: extent.at,
                end: extent.end,
            }),
        }
    }

    /// Forgets what was to be done for bytes that are no longer there.
    pub(super) fn forget_cut(&mut self) {
        self.files.clear();
        self.rolled.clear();
        self.snapshot = None;
        self.forget_cached();
    }

    /// Forgets what was noted of the page cache.
    pub(super) fn forget_cached(&mut self) {
        self.cached.clear();
        self.cached_bytes = 0;
    }

    /// What lies further behind the end than `window`, when it is worth the calls.
    fn take_uncached(&mut self, window: u64) -> Vec<Cached> {
        let mut taken = Vec::new();
        if self.cached_bytes < window.saturating_add(DROP_BYTES) {
            return taken;
        }
        while let Some(first) = self.cached.front_mut().filter(|_| self.cached_bytes > window) {
            let drop = (self.cached_bytes - window).min(first.end - first.at);
            let (segment, file) = (first.segment, first.file.clone());
            taken.push(Cached { segment, file, at: first.at, end: first.at + drop });
            first.at += drop;
            self.cached_bytes -= drop;
            if first.at == first.end {
                self.cached.pop_front();
            }
        }
        taken
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.entries && !self.epochs && self.snapshot.is_none()
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
    snapshot: Option<(Offset, Vec<u8>)>,
    flushes: Vec<Flush>,
    uncached: Vec<Cached>,
}

/// What became of a [`SyncJob`].
#[derive(Debug)]
#[must_use = "the log has to be told"]
pub struct SyncDone {
    log: LogId,
    up_to: Position,
    result: Result<Synced, StorageError>,
    /// Side files that could not be written. They are disposable, so that is no failure.
    flushed: bool,
}

impl SyncJob {
    /// Bytes below this offset will be durable.
    #[must_use]
    pub fn up_to(&self) -> Offset {
        self.up_to.offset
    }

    /// Does the work. Blocks for as long as the disk takes.
    pub fn run(self) -> SyncDone {
        let (log, up_to) = (self.log, self.up_to);
        let result = self.sync();
        let flushed = result.is_ok() && self.finish();
        SyncDone { log, up_to, result, flushed }
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

    /// What may fail without harm; whether nothing did.
    fn finish(&self) -> bool {
        for dropped in &self.uncached {
            dropped.file.drop_cached(dropped.at, dropped.end - dropped.at);
        }
        let mut flushed = true;
        for flush in &self.flushes {
            flushed &= flush.run(self.disk.as_ref()).is_ok();
        }
        if let Some((offset, content)) = &self.snapshot {
            let path = producers::snapshot_path(&self.dir, *offset);
            let written = self.disk.replace(&path, content).is_ok();
            let (disk, dir) = (self.disk.as_ref(), &self.dir);
            let _ = written && producers::remove_old_snapshots(disk, dir, SNAPSHOTS_KEPT).is_ok();
        }
        flushed
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
        let idle = !dirty && self.pending.is_empty();
        if idle || self.pending.in_flight || self.failure.is_some() {
            return None;
        }
        self.pending.in_flight = true;
        let pending = &mut self.pending;
        let mut flushes = std::mem::take(&mut pending.rolled);
        let mut files = std::mem::take(&mut pending.files);
        if let Some(active) = self.active.as_mut().filter(|_| dirty) {
            files.push(active.file.clone());
            if self.end.bytes - active.flushed_at >= FLUSH_BYTES {
                active.flushed_at = self.end.bytes;
                flushes.extend(active.flush_and_note());
            }
        }
        Some(SyncJob {
            log: self.id,
            up_to: self.end,
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            files,
            entries: std::mem::take(&mut pending.entries),
            epochs: std::mem::take(&mut pending.epochs).then(|| self.epochs.clone()),
            snapshot: pending.snapshot.take(),
            flushes,
            uncached: pending.take_uncached(self.config.cached_tail_bytes),
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
        if !done.flushed {
            self.rewrite_side_files();
        }
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
    /// When a sync is under way: it has to be finished first.
    pub fn close(&mut self) -> Result<(), Poisoned> {
        assert!(!self.pending.in_flight, "a sync under way is finished before the log is closed");
        if let Some(failure) = &self.failure {
            return Err(Poisoned(failure.to_string()));
        }
        if !self.writable || self.segments.is_empty() {
            return Ok(());
        }
        let changed = self.end.offset > self.synced.offset || self.active.is_some();
        if changed {
            self.pending.snapshot = Some((self.end.offset, self.producers.encode()));
        }
        let end = self.end;
        if let Some(active) = self.active.as_mut() {
            // The last stretch gets its checksum too.
            active.end_block(end);
        }
        if let Some(job) = self.begin_sync() {
            self.finish_sync(job.run())?;
        }
        if let Some(flush) = self.active.as_mut().and_then(super::append::Active::flush_and_note) {
            // Disposable: the next opening finds out again what is missing.
            let _ = flush.run(self.disk.as_ref());
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

    fn rewrite_side_files(&mut self) {
        if let Some(active) = &mut self.active {
            (active.written, active.file_bytes) = (0, 0);
        }
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
