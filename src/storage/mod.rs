//! The seam to disks. Everything that touches a file goes through [`Disk`], so the engine runs the
//! same on a real file system ([`file::FileDisk`]) and on a simulated one that loses power
//! ([`memory::MemoryDisk`]). Knows nothing of what the bytes mean.
//!
//! The rules that every caller follows:
//! * create: exclusive, then [`DiskFile::sync`], then [`Disk::sync_dir`] before anything in it
//!   counts;
//! * replace: [`Disk::replace`] (temporary file, sync, rename, directory sync);
//! * a failed sync is final for that file: nothing may retry it, because the kernel may have
//!   dropped the dirty pages and would report success for data that is gone.

pub mod file;
mod handles;
pub mod lock;
pub mod memory;
pub mod platform;
#[cfg(test)]
mod suite;

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

/// How often something is tried again for which no file could be opened, and how long after.
const RETRIES_MAX: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Proof that a sync of a file returned success. Only [`DiskFile::sync`] makes one (through
/// [`Synced::by_disk`], which nothing outside `storage` can call).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced(());

impl Synced {
    pub(in crate::storage) fn by_disk() -> Synced {
        Synced(())
    }
}

/// What was attempted when the disk failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Creating, opening or locking a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// `fdatasync` of a file or `fsync` of a directory.
    Sync,
    /// Renaming, removing, listing, looking up.
    Directory,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
            Operation::Directory => "look up or change",
        })
    }
}

/// A failed disk operation: what, where, why.
#[derive(Debug, thiserror::Error)]
#[error("can not {operation} {}: {source}", path.display())]
pub struct StorageError {
    /// What was attempted.
    pub operation: Operation,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl StorageError {
    /// A failure of `operation` on `path`.
    #[must_use]
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> StorageError {
        StorageError { operation, path: path.to_path_buf(), source }
    }

    /// Whether the file system or a quota had no room, which is a state and not a defect.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }

    /// Whether the file or directory does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether a file that was there does not exist any more, or its name is another's.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_not_found() || self.source.kind() == io::ErrorKind::StaleNetworkFileHandle
    }

    /// Whether something could not be opened because this process, or the system, has as many
    /// files open as it may. It passes, and what was to be opened is as it was.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        is_out_of_descriptors(&self.source)
    }
}

/// Makes a call again that fails for want of descriptors, which passes, until some seconds are
/// over. For threads that wait for disks anyway.
///
/// # Errors
/// When the call fails for another reason, or still.
pub fn patiently<T, E>(
    mut call: impl FnMut() -> Result<T, E>,
    is_out_of_descriptors: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..RETRIES_MAX {
        match call() {
            Err(error) if is_out_of_descriptors(&error) => std::thread::sleep(RETRY_PAUSE),
            other => return other,
        }
    }
    call()
}

/// Only calls that open something fail in this way.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// File name without its directory.
    pub name: String,
    /// Size in bytes; 0 for directories.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Room on the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged process may still write.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// A file system. Paths are absolute or relative to the working directory, as the caller has them.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file that must not exist yet.
    ///
    /// # Errors
    /// When it exists or the system refuses.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StorageError>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// When it does not exist or the system refuses.
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>, StorageError>;

    /// Creates a directory and those above it, and makes the new entries durable.
    ///
    /// # Errors
    /// When the system refuses.
    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError>;

    /// Makes creations, renames and removals in a directory durable.
    ///
    /// # Errors
    /// When the sync fails, which is final.
    fn sync_dir(&self, path: &Path) -> Result<Synced, StorageError>;

    /// The entries of a directory, sorted by name.
    ///
    /// # Errors
    /// When it does not exist or can not be read.
    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError>;

    /// Renames a file or directory, replacing a file at `to`. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, path: &Path) -> Result<(), StorageError>;

    /// Removes a directory with everything in it.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError>;

    /// Room on the file system that holds `path`.
    ///
    /// # Errors
    /// When the system refuses.
    fn space(&self, path: &Path) -> Result<Space, StorageError>;

    /// Whether a file or directory exists.
    ///
    /// # Errors
    /// When the system will not tell.
    fn exists(&self, path: &Path) -> Result<bool, StorageError>;

    /// The whole content of a small file. A file larger than `bytes_max` is an error, so that a
    /// damaged directory can not fill the memory.
    ///
    /// # Errors
    /// When it does not exist, is too large or can not be read.
    fn read_small(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, StorageError> {
        let file = self.open(path, Access::Read)?;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        if len > bytes_max {
            let why = format!("{len} bytes where at most {bytes_max} are expected");
            let source = io::Error::new(io::ErrorKind::InvalidData, why);
            return Err(StorageError::new(Operation::Read, path, source));
        }
        let mut content = vec![0; len];
        let read = file.read_at(0, &mut content)?;
        content.truncate(read);
        Ok(content)
    }

    /// Replaces a small file atomically: after a crash it holds the old or the new content.
    ///
    /// # Errors
    /// When any step fails; a failed sync is final. Without a descriptor nothing is replaced.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<Synced, StorageError> {
        replace_unsynced(self, path, content)?;
        self.sync_dir(directory_of(path))
    }
}

/// All of [`Disk::replace`] but that the new name is durable.
fn replace_unsynced(
    disk: &(impl Disk + ?Sized),
    path: &Path,
    content: &[u8],
) -> Result<(), StorageError> {
    let temporary = temporary_of(path);
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    file.write_at(0, &mut [IoSlice::new(content)])?;
    file.sync()?;
    disk.rename(&temporary, path)
}

/// An open file. Positions are explicit, so one handle serves readers and the writer alike.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all of `pieces`, one after the other, starting at `at`.
    ///
    /// # Errors
    /// When the system refuses; an unknown part of the bytes may have been written.
    fn write_at(&self, at: u64, pieces: &mut [IoSlice<'_>]) -> Result<(), StorageError>;

    /// Reads until `into` is full or the file ends; how many bytes were read.
    ///
    /// # Errors
    /// When the system refuses.
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, StorageError>;

    /// Makes everything written before the call durable.
    ///
    /// # Errors
    /// When the sync fails, which is final: it must not be tried again.
    fn sync(&self) -> Result<Synced, StorageError>;

    /// Takes room on the file system for the first `len` bytes without writing them.
    ///
    /// # Errors
    /// When there is no such room or the system refuses.
    fn reserve(&self, len: u64) -> Result<(), StorageError>;

    /// Cuts the file to `len` bytes or grows it with zeros.
    ///
    /// # Errors
    /// When the system refuses.
    fn truncate(&self, len: u64) -> Result<(), StorageError>;

    /// Size in bytes.
    ///
    /// # Errors
    /// When the system will not tell.
    fn len(&self) -> Result<u64, StorageError>;

    /// Whether the file holds nothing.
    ///
    /// # Errors
    /// When the system will not tell.
    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.len()? == 0)
    }

    /// Tells the system that these bytes, already durable, will not be read soon. A hint.
    fn drop_cached(&self, at: u64, len: u64);

    /// Whether both ends of the range are in memory, so that sending it would not wait for a disk.
    fn is_cached(&self, at: u64, len: u64) -> bool;

    /// The descriptor for `sendfile`, when there is a real file behind this one that can be opened.
    /// Held no longer than the call needs it.
    fn descriptor(&self) -> Option<Arc<OwnedFd>>;
}

/// The directory that holds `path`'s entry.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        // The root of the file system is in itself.
        None => path,
    }
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}
