//! What a log does for itself after a sync, while nobody waits: brings side files up to date,
//! writes the producers down, gives page cache back. All of it may fail without harm, and none of
//! it holds an acknowledgement up. A log has one such job under way at most, so its parts keep
//! their order.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::sidecar::Flush;
use super::window::{STEP_BYTES, Share, TailWindow};
use super::{Log, LogId, producers};
use crate::storage::{Disk, DiskFile};
use crate::types::Offset;

/// Producer snapshots that are kept.
const SNAPSHOTS_KEPT: usize = 2;

/// Files to be written for batches that are synced, or soon will be.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Side files, in the order in which they are to be written.
    pub(super) flushes: Vec<Flush>,
    pub(super) snapshot: Option<Snapshot>,
}

/// The state of the producers at an offset.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) offset: Offset,
    pub(super) content: Vec<u8>,
}

impl Chores {
    pub(super) fn is_empty(&self) -> bool {
        self.flushes.is_empty() && self.snapshot.is_none()
    }

    /// Base offset of the first segment whose side files are among them.
    pub(super) fn first_flush(&self) -> Option<Offset> {
        self.flushes.iter().map(|flush| flush.base).min()
    }

    /// Drops the side files of segments below `first`.
    pub(super) fn forget_removed(&mut self, first: Offset) {
        self.flushes.retain(|flush| flush.base >= first);
    }

    /// Adds what came later.
    pub(super) fn append(&mut self, later: Chores) {
        self.flushes.extend(later.flushes);
        self.snapshot = later.snapshot.or(self.snapshot.take());
    }
}

/// Bytes that were just appended.
pub(super) struct Extent<'a> {
    pub(super) segment: Offset,
    pub(super) file: &'a Arc<dyn DiskFile>,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// What this process's appends have left in the page cache.
#[derive(Debug, Default)]
pub(super) struct Cache {
    extents: VecDeque<Cached>,
    bytes: u64,
    /// What it holds of the budget, once that is worth speaking of.
    share: Option<Share>,
    /// Whether anything was noted since the log was last found at rest.
    is_busy: bool,
}

#[derive(Debug)]
struct Cached {
    segment: Offset,
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Cache {
    pub(super) fn note(&mut self, extent: Extent<'_>, window: &Arc<TailWindow>) {
        self.is_busy = true;
        self.bytes += extent.end - extent.at;
        if self.share.is_none() && self.bytes >= STEP_BYTES {
            self.share = Some(Share::of(window));
        }
        match self.extents.back_mut() {
            Some(last) if last.segment == extent.segment && last.end == extent.at => {
                last.end = extent.end;
            }
            _ => self.extents.push_back(Cached {
                segment: extent.segment,
                file: extent.file.clone(),
                at: extent.at,
                end: extent.end,
            }),
        }
    }

    /// Forgets what is cached of segments below `first`, whose files are gone.
    pub(super) fn forget_below(&mut self, first: Offset) {
        let extents = &mut self.extents;
        while extents.front().is_some_and(|extent| extent.segment < first) {
            let gone = extents.pop_front().expect("there is a first one");
            self.bytes -= gone.end - gone.at;
        }
    }

    /// Gives the share up when nothing came since this was last asked. What is cached is then left
    /// to the system, which drops what nobody uses.
    fn rest(&mut self) {
        if !std::mem::take(&mut self.is_busy) {
            *self = Cache::default();
        }
    }

    /// What lies further behind the end than `window`, when it is worth the calls.
    fn take_behind(&mut self, window: u64) -> Vec<Cached> {
        let mut taken = Vec::new();
        if self.bytes < window.saturating_add(STEP_BYTES) {
            return taken;
        }
        while let Some(first) = self.extents.front_mut().filter(|_| self.bytes > window) {
            let drop = (self.bytes - window).min(first.end - first.at);
            let (segment, file) = (first.segment, first.file.clone());
            taken.push(Cached { segment, file, at: first.at, end: first.at + drop });
            first.at += drop;
            self.bytes -= drop;
            if first.at == first.end {
                self.extents.pop_front();
            }
        }
        taken
    }
}

/// Work that makes the next opening cheap and the page cache small. Owns all it needs, so that any
/// thread may run it.
#[derive(Debug)]
pub struct UpkeepJob {
    log: LogId,
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    chores: Chores,
    uncached: Vec<Cached>,
}

/// What became of an [`UpkeepJob`].
#[derive(Debug)]
#[must_use = "the log has to be told"]
pub struct UpkeepDone {
    log: LogId,
    /// Whether all side files could be written. They are disposable, so it is no failure if not.
    flushed: bool,
}

impl UpkeepJob {
    /// Does the work. Blocks for as long as the disk takes.
    pub fn run(self) -> UpkeepDone {
        for dropped in &self.uncached {
            dropped.file.drop_cached(dropped.at, dropped.end - dropped.at);
        }
        let disk = self.disk.as_ref();
        let mut flushed = true;
        for flush in &self.chores.flushes {
            flushed &= flush.run(disk).is_ok();
        }
        if let Some(Snapshot { offset, content }) = &self.chores.snapshot {
            let path = producers::snapshot_path(&self.dir, *offset);
            let written = disk.replace(&path, content).is_ok();
            let _ =
                written && producers::remove_old_snapshots(disk, &self.dir, SNAPSHOTS_KEPT).is_ok();
        }
        UpkeepDone { log: self.log, flushed }
    }
}

impl Log {
    /// The upkeep that is due, unless some is under way.
    pub fn begin_upkeep(&mut self) -> Option<UpkeepJob> {
        if self.pending.upkeep_in_flight || self.failure.is_some() {
            return None;
        }
        let uncached = self.pending.cache.take_behind(self.config.tail_window.share_bytes());
        if self.pending.due.is_empty() && uncached.is_empty() {
            return None;
        }
        self.pending.upkeep_in_flight = true;
        self.pending.flushing = self.pending.due.first_flush();
        Some(UpkeepJob {
            log: self.id,
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            chores: std::mem::take(&mut self.pending.due),
            uncached,
        })
    }

    /// To be called from time to time: a log that nobody appends to leaves the cache to others.
    pub fn rest(&mut self) {
        self.pending.cache.rest();
    }

    /// Takes note of the end of upkeep.
    ///
    /// # Panics
    /// When it is another log's, or none is under way.
    pub fn finish_upkeep(&mut self, done: UpkeepDone) {
        assert_eq!(done.log, self.id, "upkeep is finished by the log that began it");
        assert!(self.pending.upkeep_in_flight, "upkeep is finished once");
        self.pending.upkeep_in_flight = false;
        self.pending.flushing = None;
        if !done.flushed
            && let Some(active) = &mut self.active
        {
            // The next flush writes the files anew.
            (active.written, active.file_bytes) = (0, 0);
        }
    }
}
