//! Disk full as a state: below the low-water mark produce is refused with a retriable error that
//! says how much is free and needed, while everything else goes on. A ballast file keeps room for
//! what must still be written then. Leaving the state is automatic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::directory::Mode;
use super::node::NodeOptions;
use crate::storage::{Disk, Space, StorageError};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const BALLAST: &str = "ballast";

/// How much room the data directory's file system has, as last seen.
#[derive(Debug)]
pub(super) struct DiskSpace {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// What the configuration says; else it follows from the size of the file system.
    low_water_bytes: Option<u64>,
    may_write: bool,
    full: AtomicBool,
    total_bytes: AtomicU64,
    free_bytes: AtomicU64,
    needed_bytes: AtomicU64,
    /// Bytes that may be written before the next look: what lay above the mark at the last.
    allowance_bytes: AtomicI64,
}

impl DiskSpace {
    /// Looks at the file system for the first time.
    ///
    /// # Errors
    /// When the system will not tell.
    pub(super) fn new(options: &NodeOptions) -> Result<DiskSpace, StorageError> {
        let space = DiskSpace {
            disk: Arc::clone(&options.disk),
            directory: options.data_dir.clone(),
            low_water_bytes: options.low_water_bytes,
            may_write: options.mode == Mode::Write,
            full: AtomicBool::new(false),
            total_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            needed_bytes: AtomicU64::new(0),
            allowance_bytes: AtomicI64::new(0),
        };
        space.refresh()?;
        Ok(space)
    }

    /// Whether produce is refused, with the bytes that are free and those that are needed.
    pub(super) fn refusal(&self) -> Option<(u64, u64)> {
        self.full.load(Ordering::Relaxed).then(|| {
            (self.free_bytes.load(Ordering::Relaxed), self.needed_bytes.load(Ordering::Relaxed))
        })
    }

    /// Bytes that were free when it was last looked.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the file system.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }

    /// Enters the state at once, because a write found no room.
    pub(super) fn report_full(&self) {
        self.enter();
    }

    /// Counts bytes that are about to be written. A quick disk is full between two looks by the
    /// clock, so there is another when all is written that lay above the mark.
    pub(super) fn spend(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let left = self.allowance_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if left >= bytes || self.full.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.look() {
            tracing::warn!(%error, "the free space can not be told");
        }
    }

    /// Looks again; enters or leaves the state.
    ///
    /// # Errors
    /// When the system will not tell.
    pub(super) fn refresh(&self) -> Result<(), StorageError> {
        let space = self.look()?;
        let is_roomy = space.free_bytes >= self.needed_bytes.load(Ordering::Relaxed);
        match self.full.load(Ordering::Relaxed) {
            true if is_roomy => self.leave(space),
            false if is_roomy => self.keep_ballast(ballast_bytes(space)),
            _ => {}
        }
        Ok(())
    }

    /// Looks how much room there is; enters the state where it is too little.
    fn look(&self) -> Result<Space, StorageError> {
        let space = self.disk.space(&self.directory)?;
        let low_water = low_water_bytes(self.low_water_bytes, space);
        // Leaving asks for more than entering, or the state would flap, and for the ballast twice:
        // making it must not take the room that is left.
        let roomy = low_water + low_water / 8 + 2 * ballast_bytes(space);
        let above = space.free_bytes.saturating_sub(low_water);
        self.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        self.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        self.needed_bytes.store(roomy, Ordering::Relaxed);
        self.allowance_bytes.store(i64::try_from(above).unwrap_or(i64::MAX), Ordering::Relaxed);
        if space.free_bytes < low_water {
            self.enter();
        }
        Ok(space)
    }

    fn enter(&self) {
        if self.full.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            free_bytes = self.free_bytes.load(Ordering::Relaxed),
            needed_bytes = self.needed_bytes.load(Ordering::Relaxed),
            "disk full: new records are refused until there is room; reading and deleting go on"
        );
        if self.may_write
            && let Err(error) = self.disk.remove(&self.directory.join(BALLAST))
            && !error.is_not_found()
        {
            tracing::warn!(%error, "the ballast could not be released");
        }
    }

    fn leave(&self, space: Space) {
        self.full.store(false, Ordering::Relaxed);
        tracing::info!(free_bytes = space.free_bytes, "there is room again: records are accepted");
        self.keep_ballast(ballast_bytes(space));
    }

    /// Makes the ballast if it is not there. Failing is not an error: the state works without.
    fn keep_ballast(&self, bytes: u64) {
        if !self.may_write {
            return;
        }
        let path = self.directory.join(BALLAST);
        if self.disk.exists(&path).unwrap_or(true) {
            return;
        }
        if let Err(error) = self.fill_ballast(&path, bytes) {
            tracing::warn!(%error, "the ballast could not be made");
        }
    }

    fn fill_ballast(&self, path: &Path, bytes: u64) -> Result<(), StorageError> {
        self.disk.create(path)?.reserve(bytes)
    }
}

/// Free bytes below which producers are refused: what is configured, else 5 % of the file system,
/// but at least 64 MiB and at most 2 GiB.
#[must_use]
pub fn low_water_bytes(configured: Option<u64>, space: Space) -> u64 {
    configured.unwrap_or_else(|| (space.total_bytes / 20).clamp(64 * MIB, 2 * GIB))
}

/// The smaller of 256 MiB and 1 % of the file system.
fn ballast_bytes(space: Space) -> u64 {
    (space.total_bytes / 100).min(256 * MIB)
}
