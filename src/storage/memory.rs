//! The simulated file system: [`MemoryDisk`] keeps apart what programs see and what would still be
//! there after a power cut, and can be told to fail in every way a disk can. Deterministic: the
//! same calls give the same results. Knows nothing of what the bytes mean.
//!
//! # What is simulated
//! * Per file, what was written since the last sync is pending; per directory, so are entries that
//!   were made, renamed or removed since its last sync. Programs see pending changes at once.
//! * [`MemoryDisk::crash`] makes the disk that a power cut leaves behind. Each pending change
//!   survives or not on its own: a sector (512 B or 4 KiB) holds any version it had since the last
//!   sync, a file has any of its lengths, a grown file may show bytes that nobody wrote, an entry
//!   may be there without its file's bytes and the other way round.
//! * [`enumerate::Enumeration`] tries the crashes of a whole scenario, one operation at a time.
//! * [`Fault`]s strike operations; [`MemoryDisk::flip_bit`] and [`MemoryDisk::zero_page`] damage
//!   what lies there.
//!
//! # Why a lock
//! The trait's handles are shared between threads, and simulated disks serve tests with threads as
//! well as the single-threaded simulator, so the state sits behind one `Mutex`. It is held for one
//! operation at a time and never while another lock is taken.

mod content;
mod crash;
pub mod enumerate;
mod fault;
mod names;
mod pages;
mod state;
mod tree;

pub use crash::{Choice, Undecided, Unit};
pub use fault::{Fault, FaultKind};
pub use state::{Action, JournalEntry};

use super::{Access, Disk, DiskFile, Entry, Operation, Space, StorageError, Synced, directory_of};
use rustix::io::Errno;
use state::State;
use std::fmt;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A simulated disk. Clones are the same disk; [`MemoryDisk::snapshot`] makes another one.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        MemoryDisk::new()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.operations();
        f.debug_struct("MemoryDisk").field("operations", &operations).finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// An empty disk without a limit to its size.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::with_state(State::empty())
    }

    fn with_state(state: State) -> MemoryDisk {
        MemoryDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// A panic of a test while it held the lock left nothing half done that matters to it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk in the same state, pending changes and faults included. It has no open handles,
    /// its power is on and it counts its operations from the start.
    #[must_use]
    pub fn snapshot(&self) -> MemoryDisk {
        MemoryDisk::with_state(self.lock().unobserved())
    }

    /// Limits the disk to this many bytes, of which files take whole pages of 4 KiB.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Disarms all faults. Damage that was done stays.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// How many operations faults have struck so far.
    #[must_use]
    pub fn faults_struck(&self) -> u64 {
        self.lock().faults.struck
    }

    /// Flips one bit (0 to 7) of the durable byte at `at`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn flip_bit(&self, path: &Path, at: u64, bit: u8) -> Result<(), StorageError> {
        self.damage(path, at, |pages| {
            if let Some(&byte) = pages.copy(at, 1).first() {
                pages.write(at, &[byte ^ (1 << (bit % 8))]);
            }
        })
    }

    /// Zeroes the durable page of 4 KiB that holds the byte at `at`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn zero_page(&self, path: &Path, at: u64) -> Result<(), StorageError> {
        let start = at - at % pages::PAGE_BYTES;
        self.damage(path, at, |pages| pages.zero(start, pages::PAGE_BYTES))
    }

    fn damage(
        &self,
        path: &Path,
        at: u64,
        change: impl Fn(&mut pages::Pages),
    ) -> Result<(), StorageError> {
        let mut state = self.lock();
        let node = state.file_at(path)?;
        state.change_content(node, |content| content.damage(at, change));
        Ok(())
    }

    /// How many mutating operations were begun. Syncs count, reads do not.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Keeps a list of the mutating operations from now on.
    pub fn record_journal(&self) {
        self.lock().journal.get_or_insert_default();
    }

    /// The mutating operations since [`MemoryDisk::record_journal`].
    #[must_use]
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.lock().journal.clone().unwrap_or_default()
    }

    /// Lets the power fail during the mutating operation with this number: its effect is pending
    /// like that of those before it, it reports an error, and so does everything after it.
    pub fn cut_power_at(&self, operation: u64) {
        self.lock().power_cut_at = Some(operation);
    }

    /// Lets the mutating operation with this number do nothing and fail: a sync with EIO, after
    /// which its pages are lost, anything else with ENOSPC or EIO.
    pub fn fail_at(&self, operation: u64, is_full: bool) {
        let error = if is_full { Errno::NOSPC } else { Errno::IO };
        self.lock().failure_at = Some((operation, error));
    }

    /// Cuts the power now, between two operations.
    pub fn cut_power(&self) {
        self.lock().is_off = true;
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().is_off
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StorageError> {
        let node = self.lock().create(path)?;
        Ok(MemoryFile::open(self, node, path, Access::Write))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>, StorageError> {
        let node = self.lock().open(path)?;
        Ok(MemoryFile::open(self, node, path, access))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        let mut missing = Vec::new();
        for at in path.ancestors().filter(|at| !at.as_os_str().is_empty()) {
            match self.lock().is_dir(at)? {
                None => missing.push(at),
                Some(true) => break,
                Some(false) => {
                    let error = Errno::NOTDIR.into();
                    return Err(StorageError::new(Operation::Directory, path, error));
                }
            }
        }
        let deepest_existing = missing.last().map_or(path, |topmost| directory_of(topmost));
        self.sync_dir(directory_of(deepest_existing))?;
        for directory in missing.into_iter().rev() {
            self.lock().create_dir(directory)?;
            self.sync_dir(directory_of(directory))?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<Synced, StorageError> {
        self.lock().sync_dir(path).map(|()| Synced::by_disk())
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.lock().list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.lock().remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        self.lock().remove_dir_all(path)
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        self.lock().space(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, StorageError> {
        self.lock().is_dir(path).map(|found| found.is_some())
    }
}

/// An open file of a simulated disk.
struct MemoryFile {
    disk: MemoryDisk,
    node: names::NodeId,
    path: PathBuf,
    access: Access,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MemoryFile {
    fn open(
        disk: &MemoryDisk,
        node: names::NodeId,
        path: &Path,
        access: Access,
    ) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile { disk: disk.clone(), node, path: path.to_path_buf(), access })
    }

    fn check_writable(&self, error: Errno) -> Result<(), StorageError> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(StorageError::new(Operation::Write, &self.path, error.into())),
        }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.disk.lock().close(self.node);
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, at: u64, pieces: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        self.check_writable(Errno::BADF)?;
        let bytes = pieces.iter().map(|piece| &**piece).collect::<Vec<&[u8]>>().concat();
        if bytes.is_empty() {
            return Ok(());
        }
        self.disk.lock().write(self.node, &self.path, at, &bytes)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, StorageError> {
        self.disk.lock().read(self.node, &self.path, at, into)
    }

    fn sync(&self) -> Result<Synced, StorageError> {
        self.disk.lock().sync(self.node, &self.path).map(|()| Synced::by_disk())
    }

    fn reserve(&self, len: u64) -> Result<(), StorageError> {
        // There is no hole to speak of in memory: room is taken by being there.
        if self.len()? < len { self.truncate(len) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> Result<(), StorageError> {
        self.check_writable(Errno::INVAL)?;
        self.disk.lock().truncate(self.node, &self.path, len)
    }

    fn len(&self) -> Result<u64, StorageError> {
        self.disk.lock().len(self.node, &self.path)
    }

    fn drop_cached(&self, at: u64, len: u64) {
        self.disk.lock().change_content(self.node, |content| content.evict(at, len));
    }

    fn is_cached(&self, at: u64, len: u64) -> bool {
        self.disk.lock().content(self.node).is_cached(at, len)
    }

    fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        None
    }
}

#[cfg(test)]
mod tests;
