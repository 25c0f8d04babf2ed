//! The real file system: [`FileDisk`] over Linux system calls. Nothing else in the engine may use
//! `std::fs`. Knows nothing of what the bytes mean nor when a sync is due.

use super::handles::{Handle, Handles};
use super::{
    Access, Disk, DiskFile, Entry, Operation, Space, StorageError, Synced, directory_of,
    replace_unsynced,
};
use rustix::fs::{self as sys, Advice, AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Most pieces one `pwritev` takes (`IOV_MAX` of Linux).
const PIECES_PER_WRITE: usize = 1024;

/// The file system of this machine.
#[derive(Debug, Clone)]
pub struct FileDisk {
    owner: Option<Owner>,
    handles: Arc<Handles>,
}

impl Default for FileDisk {
    /// Half of the descriptors that this process may have are for files; sockets need the others.
    fn default() -> FileDisk {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let most = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        FileDisk::with_open_max(most / 2)
    }
}

impl FileDisk {
    /// The file system as this process may use it. When root works in a directory that is somebody
    /// else's, everything it creates is given to the owner of `root`, so that the owner's server
    /// can still use its directory afterwards.
    #[must_use]
    pub fn new(root: &Path) -> FileDisk {
        FileDisk { owner: Owner::to_keep(root), ..FileDisk::default() }
    }

    #[cfg(test)]
    pub(super) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// At most about this many files stay open.
    pub(crate) fn with_open_max(open_max: usize) -> FileDisk {
        FileDisk { owner: None, handles: Handles::new(open_max) }
    }
}

/// To whom created files are given when root acts for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    user: Uid,
    group: Gid,
}

impl Owner {
    /// The owner of `root`, when this process is root and `root` exists and is not root's.
    pub(super) fn to_keep(root: &Path) -> Option<Owner> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let status = sys::stat(root).ok()?;
        let owner =
            Owner { user: Uid::from_raw(status.st_uid), group: Gid::from_raw(status.st_gid) };
        (!owner.user.is_root()).then_some(owner)
    }

    /// Gives an open file to this owner.
    pub(super) fn take(self, file: &OwnedFd) -> Result<(), Errno> {
        sys::fchown(file, Some(self.user), Some(self.group))
    }

    fn take_path(self, path: &Path) -> Result<(), Errno> {
        let (user, group) = (Some(self.user), Some(self.group));
        sys::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Names the operation and the path of a failed system call.
pub(super) fn failed(
    operation: Operation,
    path: &Path,
    source: impl Into<io::Error>,
) -> StorageError {
    StorageError::new(operation, path, source.into())
}

/// Repeats a call that a signal interrupted before it did anything.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

impl FileDisk {
    fn open_with(&self, path: &Path, flags: OFlags) -> Result<Arc<dyn DiskFile>, StorageError> {
        let flags = flags | OFlags::CLOEXEC | self.follow();
        let descriptor = self.open_descriptor(path, flags)?;
        if let Some(owner) = self.owner.filter(|_| flags.contains(OFlags::CREATE)) {
            owner.take(&descriptor).map_err(|error| failed(Operation::Open, path, error))?;
        }
        let handle = self
            .handles
            .take(path.to_path_buf(), flags, descriptor)
            .map_err(|error| failed(Operation::Open, path, error))?;
        Ok(Arc::new(OpenFile(handle)))
    }

    fn open_descriptor(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, StorageError> {
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || Ok(uninterrupted(|| sys::open(path, flags, mode))?);
        self.handles.with_room(open).map_err(|error| failed(Operation::Open, path, error))
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd, StorageError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.open_descriptor(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    /// In somebody else's directory a symbolic link could lead root anywhere.
    fn follow(&self) -> OFlags {
        if self.owner.is_some() { OFlags::NOFOLLOW } else { OFlags::empty() }
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        match sys::mkdir(path, Mode::RWXU) {
            Ok(()) => {}
            // Somebody else was quicker, which is as good.
            Err(Errno::EXIST) if path.is_dir() => return Ok(()),
            Err(error) => return Err(failed(Operation::Directory, path, error)),
        }
        if let Some(owner) = self.owner {
            owner.take_path(path).map_err(|error| failed(Operation::Directory, path, error))?;
        }
        Ok(())
    }

    /// A process that died between creating the directory and syncing its parent left an entry that
    /// is there and not durable. A parent that we may not even read was not made by us.
    fn sync_entry_of_existing(&self, path: &Path) -> Result<(), StorageError> {
        match self.sync_dir(directory_of(path)) {
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

impl Disk for FileDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StorageError> {
        self.open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>, StorageError> {
        match access {
            Access::Read => self.open_with(path, OFlags::RDONLY),
            Access::Write => self.open_with(path, OFlags::RDWR),
        }
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.is_dir()).collect();
        let deepest_existing = missing.last().map_or(path, |topmost| directory_of(topmost));
        self.sync_entry_of_existing(deepest_existing)?;
        for directory in missing.into_iter().rev() {
            self.create_dir(directory)?;
            self.sync_dir(directory_of(directory))?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<Synced, StorageError> {
        sync_open_dir(&self.open_dir(path)?, path)
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        let entries = self.handles.with_room(|| std::fs::read_dir(path)).and_then(read_directory);
        entries.map_err(|error| failed(Operation::Directory, path, error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        sys::rename(from, to).map_err(|error| failed(Operation::Directory, from, error))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        sys::unlink(path).map_err(|error| failed(Operation::Directory, path, error))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<(), StorageError> {
        let removed = self.handles.with_room(|| std::fs::remove_dir_all(path));
        removed.map_err(|error| failed(Operation::Directory, path, error))
    }

    /// Has the directory open before anything is changed, so that a want of descriptors is not met
    /// when the file has its new name and nobody knows for how long.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<Synced, StorageError> {
        let directory = self.open_dir(directory_of(path))?;
        replace_unsynced(self, path, content)?;
        sync_open_dir(&directory, directory_of(path))
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        let status =
            sys::statvfs(path).map_err(|error| failed(Operation::Directory, path, error))?;
        Ok(Space {
            free_bytes: status.f_bavail.saturating_mul(status.f_frsize),
            total_bytes: status.f_blocks.saturating_mul(status.f_frsize),
        })
    }

    fn exists(&self, path: &Path) -> Result<bool, StorageError> {
        std::fs::exists(path).map_err(|error| failed(Operation::Directory, path, error))
    }
}

fn sync_open_dir(directory: &OwnedFd, path: &Path) -> Result<Synced, StorageError> {
    sys::fsync(directory).map_err(|error| failed(Operation::Sync, path, error))?;
    Ok(Synced::by_disk())
}

fn read_directory(listed: std::fs::ReadDir) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry?;
        let status = match entry.metadata() {
            // Removed while the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            len: if status.is_dir() { 0 } else { status.len() },
            is_dir: status.is_dir(),
        });
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

#[derive(Debug)]
struct OpenFile(Arc<Handle>);

impl OpenFile {
    fn failed(&self, operation: Operation, source: impl Into<io::Error>) -> StorageError {
        failed(operation, self.0.path(), source)
    }

    fn open(&self) -> Result<Arc<OwnedFd>, StorageError> {
        self.0.descriptor().map_err(|error| self.failed(Operation::Open, error))
    }
}

/// Whether reading the byte at `at` would not wait for the disk.
fn is_byte_cached(descriptor: &OwnedFd, at: u64) -> bool {
    let mut byte = [0_u8];
    let mut into = [IoSliceMut::new(&mut byte)];
    let read =
        uninterrupted(|| rustix::io::preadv2(descriptor, &mut into, at, ReadWriteFlags::NOWAIT));
    // A file system that can not tell (EOPNOTSUPP) counts as memory: the alternative would send
    // every read there through the pool for blocking reads.
    !matches!(read, Err(Errno::AGAIN))
}

impl DiskFile for OpenFile {
    fn write_at(&self, at: u64, pieces: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        let _writing = self.0.begin_write();
        let descriptor = self.open()?;
        let mut at = at;
        let mut left = pieces;
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let now = &left[..left.len().min(PIECES_PER_WRITE)];
            let written = uninterrupted(|| rustix::io::pwritev(&descriptor, now, at))
                .map_err(|error| self.failed(Operation::Write, error))?;
            if written == 0 && now.iter().any(|piece| !piece.is_empty()) {
                return Err(self.failed(Operation::Write, io::ErrorKind::WriteZero));
            }
            at += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, StorageError> {
        let descriptor = self.open()?;
        let mut filled = 0;
        while filled < into.len() {
            let from = at.saturating_add(filled as u64);
            let rest = &mut into[filled..];
            let read = uninterrupted(|| rustix::io::pread(&descriptor, &mut *rest, from))
                .map_err(|error| self.failed(Operation::Read, error))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(filled)
    }

    fn sync(&self) -> Result<Synced, StorageError> {
        let descriptor = self.open()?;
        let covered = self.0.begin_sync();
        // Not even EINTR is tried again: whatever a sync reports, the pages may be gone.
        sys::fdatasync(&descriptor).map_err(|error| self.failed(Operation::Sync, error))?;
        self.0.synced(covered);
        Ok(Synced::by_disk())
    }

    fn reserve(&self, len: u64) -> Result<(), StorageError> {
        let _writing = self.0.begin_write();
        let descriptor = self.open()?;
        let all = sys::FallocateFlags::empty();
        uninterrupted(|| sys::fallocate(&descriptor, all, 0, len))
            .map_err(|error| self.failed(Operation::Write, error))
    }

    fn truncate(&self, len: u64) -> Result<(), StorageError> {
        let _writing = self.0.begin_write();
        let descriptor = self.open()?;
        uninterrupted(|| sys::ftruncate(&descriptor, len))
            .map_err(|error| self.failed(Operation::Write, error))
    }

    fn len(&self) -> Result<u64, StorageError> {
        let status =
            sys::fstat(&*self.open()?).map_err(|error| self.failed(Operation::Read, error))?;
        Ok(u64::try_from(status.st_size).unwrap_or(0))
    }

    fn drop_cached(&self, at: u64, len: u64) {
        // To the kernel a length of zero means "to the end", to us it means nothing. A refused hint
        // changes nothing but memory use.
        if let Some(len) = NonZeroU64::new(len)
            && let Ok(descriptor) = self.open()
        {
            let _ = sys::fadvise(&descriptor, at, Some(len), Advice::DontNeed);
        }
    }

    fn is_cached(&self, at: u64, len: u64) -> bool {
        let Some(last) = len.checked_sub(1) else { return true };
        let both = |descriptor: Arc<OwnedFd>| {
            is_byte_cached(&descriptor, at) && is_byte_cached(&descriptor, at.saturating_add(last))
        };
        self.open().is_ok_and(both)
    }

    fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        // Reading tells why it can not be opened.
        self.open().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::suite;

    #[test]
    fn behaves_as_every_disk_does() {
        let directory = tempfile::tempdir().unwrap();
        suite::run(&FileDisk::new(directory.path()), directory.path());
    }

    #[test]
    fn more_pieces_than_one_system_call_takes_are_all_written() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(directory.path());
        let file = disk.create(&directory.path().join("many")).unwrap();
        let content: Vec<u8> = (0..2 * PIECES_PER_WRITE + 7).map(|at| at as u8).collect();
        let mut pieces: Vec<IoSlice<'_>> = content.chunks(1).map(IoSlice::new).collect();
        file.write_at(3, &mut pieces).unwrap();
        let mut read = vec![0; content.len()];
        assert_eq!(file.read_at(3, &mut read).unwrap(), content.len());
        assert_eq!(read, content);
    }

    #[test]
    fn what_was_just_written_is_cached_and_a_real_descriptor_stands_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = FileDisk::default().create(&directory.path().join("warm")).unwrap();
        file.write_at(0, &mut [IoSlice::new(&[7; 10_000])]).unwrap();
        assert!(file.is_cached(0, 10_000));
        assert!(file.is_cached(9_999, 50_000), "the end of the file is never waited for");
        assert!(file.descriptor().is_some());
    }

    #[test]
    fn files_and_directories_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(directory.path());
        let below = directory.path().join("a/b");
        disk.create_dir_all(&below).unwrap();
        disk.create(&below.join("c")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&below), 0o700);
        assert_eq!(mode(&below.join("c")), 0o600);
    }

    #[test]
    fn a_full_disk_and_a_failed_sync_are_told_apart() {
        let file = FileDisk::default().open(Path::new("/dev/full"), Access::Write).unwrap();
        let error = file.write_at(0, &mut [IoSlice::new(b"x")]).unwrap_err();
        assert!(error.is_full() && error.operation == Operation::Write);
        let error = file.sync().unwrap_err();
        assert!(!error.is_full() && error.operation == Operation::Sync);
        assert_eq!(error.path, Path::new("/dev/full"));
    }

    /// The rule holds for root only, so elsewhere there is nothing to observe.
    #[test]
    fn root_leaves_what_it_creates_to_the_owner_of_the_directory() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(directory.path(), Some(12_345), Some(54_321)).is_err() {
            return;
        }
        let disk = FileDisk::new(directory.path());
        let below = directory.path().join("a/b");
        disk.create_dir_all(&below).unwrap();
        disk.replace(&below.join("c"), b"content").unwrap();
        for path in [directory.path().join("a"), below.clone(), below.join("c")] {
            let status = std::fs::metadata(&path).unwrap();
            assert_eq!((status.uid(), status.gid()), (12_345, 54_321), "{}", path.display());
        }
        std::os::unix::fs::symlink("/dev/null", below.join("trap")).unwrap();
        assert!(disk.open(&below.join("trap"), Access::Write).is_err(), "no link leads root away");
    }
}
