//! Who may use a data directory: one process that changes it, or several that only read it. The
//! lock is an advisory `flock` on `rivvend.lock`, which the kernel releases when its holder dies,
//! however it dies. Knows nothing of what is in the directory.

use super::file::{Owner, failed};
use super::{Operation, StorageError};
use rustix::fs::{self as sys, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Name of the lock file in a data directory. It holds the process id of the exclusive holder as
/// text and is never removed: removing it would let two processes lock two different files.
pub const LOCK_FILE: &str = "rivvend.lock";

/// Longest content of a lock file that is looked at.
const PID_BYTES_MAX: usize = 20;

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else uses the directory.
    #[error("the directory is in use by {}", holder(*pid))]
    Held {
        /// Process id of the exclusive holder, when there is one and it said so; readers do not.
        pid: Option<u32>,
    },
    /// The lock file can not be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A locked data directory; dropping it releases the lock.
#[derive(Debug)]
pub struct DirectoryLock {
    file: OwnedFd,
    is_exclusive: bool,
}

impl DirectoryLock {
    /// Locks `directory`, which must exist, for changing it. Never waits.
    ///
    /// # Errors
    /// When another process holds it, shared or exclusive, or the lock file can not be used.
    pub fn exclusive(directory: &Path) -> Result<DirectoryLock, LockError> {
        let path = directory.join(LOCK_FILE);
        let file = open_or_create(&path, Owner::to_keep(directory))?;
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive, &path)? {
            return Err(held(&file));
        }
        let pid = rustix::process::getpid().to_string();
        sys::ftruncate(&file, 0)
            .and_then(|()| rustix::io::pwrite(&file, pid.as_bytes(), 0))
            .map_err(|error| failed(Operation::Write, &path, error))?;
        Ok(DirectoryLock { file, is_exclusive: true })
    }

    /// Locks `directory`, which must exist, for reading it. Never waits.
    ///
    /// # Errors
    /// When another process holds it exclusively, or the lock file can not be used.
    pub fn shared(directory: &Path) -> Result<DirectoryLock, LockError> {
        let path = directory.join(LOCK_FILE);
        let file = match sys::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => open_for_reading(directory, &path)?,
            Err(error) => return Err(failed(Operation::Open, &path, error).into()),
        };
        if !try_lock(&file, FlockOperation::NonBlockingLockShared, &path)? {
            return Err(held(&file));
        }
        Ok(DirectoryLock { file, is_exclusive: false })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if self.is_exclusive {
            // So that nobody is told of a process that is gone. Closing releases the lock itself.
            let _ = sys::ftruncate(&self.file, 0);
        }
    }
}

/// A directory without a lock file, such as a restored backup, gets one. A read-only file system
/// can not, and nobody can be writing there either: the directory itself stands in.
fn open_for_reading(directory: &Path, path: &Path) -> Result<OwnedFd, StorageError> {
    match open_or_create(path, Owner::to_keep(directory)) {
        Err(error) if error.source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            sys::open(directory, flags, Mode::empty())
                .map_err(|error| failed(Operation::Open, directory, error))
        }
        other => other,
    }
}

fn open_or_create(path: &Path, owner: Option<Owner>) -> Result<OwnedFd, StorageError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = sys::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| failed(Operation::Open, path, error))?;
    if let Some(owner) = owner {
        owner.take(&file).map_err(|error| failed(Operation::Open, path, error))?;
    }
    Ok(file)
}

fn try_lock(file: &OwnedFd, how: FlockOperation, path: &Path) -> Result<bool, StorageError> {
    match sys::flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(failed(Operation::Open, path, error)),
    }
}

/// Tells an exclusive holder from readers: only the former wrote its process id, while readers may
/// sit beside the id that a killed process left behind.
fn held(file: &OwnedFd) -> LockError {
    let only_readers = sys::flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    let pid = if only_readers { None } else { written_pid(file) };
    LockError::Held { pid }
}

fn written_pid(file: &OwnedFd) -> Option<u32> {
    let mut content = [0; PID_BYTES_MAX];
    let read = rustix::io::pread(file, &mut content, 0).ok()?;
    std::str::from_utf8(&content[..read]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn pid_of(outcome: Result<DirectoryLock, LockError>) -> Option<u32> {
        match outcome {
            Err(LockError::Held { pid }) => pid,
            other => panic!("should be held: {other:?}"),
        }
    }

    #[test]
    fn one_process_changes_and_names_itself_to_those_it_keeps_out() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::exclusive(directory.path()).unwrap();
        let us = Some(std::process::id());
        assert_eq!(pid_of(DirectoryLock::exclusive(directory.path())), us);
        assert_eq!(pid_of(DirectoryLock::shared(directory.path())), us);
        drop(lock);
        assert!(DirectoryLock::exclusive(directory.path()).is_ok());
    }

    #[test]
    fn readers_share_and_keep_a_writer_out_without_a_stale_name() {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join(LOCK_FILE);
        // What a killed server leaves behind.
        std::fs::write(&path, "4242").unwrap();
        let one = DirectoryLock::shared(directory.path()).unwrap();
        let two = DirectoryLock::shared(directory.path()).unwrap();
        assert_eq!(pid_of(DirectoryLock::exclusive(directory.path())), None);
        drop((one, two));
        assert!(DirectoryLock::exclusive(directory.path()).is_ok());
    }

    #[test]
    fn a_missing_directory_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        for outcome in [DirectoryLock::shared(&missing), DirectoryLock::exclusive(&missing)] {
            assert!(matches!(outcome, Err(LockError::Storage(error)) if error.is_not_found()));
        }
        assert!(!missing.exists());
    }
}
