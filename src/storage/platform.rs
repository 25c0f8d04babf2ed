//! What this machine gives a data directory: the kind of file system under it and how many files
//! the process may hold open. Only tells and raises; what follows from it others decide.

use super::file::failed;
use super::{Operation, StorageError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::path::Path;

/// The file systems that matter to durability, by the magic number of `statfs(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemKind {
    /// ext2, ext3 and ext4, which share a number.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// ZFS on Linux.
    Zfs,
    /// F2FS.
    F2fs,
    /// Memory with swap behind it.
    Tmpfs,
    /// Memory.
    Ramfs,
    /// A union of others, as under containers.
    Overlay,
    /// Network: NFS.
    Nfs,
    /// Network: SMB.
    Smb,
    /// The 9P protocol, as virtual machines use it.
    Plan9,
    /// A user-space file system.
    Fuse,
    /// Any other, with its number.
    Other(u64),
}

impl FilesystemKind {
    fn from_magic(magic: u64) -> FilesystemKind {
        match magic {
            0xEF53 => FilesystemKind::Ext4,
            0x5846_5342 => FilesystemKind::Xfs,
            0x9123_683E => FilesystemKind::Btrfs,
            0x2FC1_2FC1 => FilesystemKind::Zfs,
            0xF2F5_2010 => FilesystemKind::F2fs,
            0x0102_1994 => FilesystemKind::Tmpfs,
            0x8584_58F6 => FilesystemKind::Ramfs,
            0x794C_7630 => FilesystemKind::Overlay,
            0x6969 => FilesystemKind::Nfs,
            0xFF53_4D42 | 0xFE53_4D42 => FilesystemKind::Smb,
            0x0102_1997 => FilesystemKind::Plan9,
            0x6573_5546 => FilesystemKind::Fuse,
            other => FilesystemKind::Other(other),
        }
    }

    /// Whether nothing here outlives a power cut, so that a sync promises nothing.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        matches!(self, FilesystemKind::Tmpfs | FilesystemKind::Ramfs)
    }

    /// Whether a sync, and a lock, mean what another machine makes of them.
    #[must_use]
    pub fn is_remote(self) -> bool {
        matches!(self, FilesystemKind::Nfs | FilesystemKind::Smb | FilesystemKind::Plan9)
    }
}

impl fmt::Display for FilesystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            FilesystemKind::Ext4 => "ext4",
            FilesystemKind::Xfs => "xfs",
            FilesystemKind::Btrfs => "btrfs",
            FilesystemKind::Zfs => "zfs",
            FilesystemKind::F2fs => "f2fs",
            FilesystemKind::Tmpfs => "tmpfs",
            FilesystemKind::Ramfs => "ramfs",
            FilesystemKind::Overlay => "overlay",
            FilesystemKind::Nfs => "nfs",
            FilesystemKind::Smb => "smb",
            FilesystemKind::Plan9 => "9p",
            FilesystemKind::Fuse => "fuse",
            FilesystemKind::Other(magic) => return write!(f, "unknown ({magic:#x})"),
        };
        f.write_str(name)
    }
}

/// The kind of file system that holds `path`.
///
/// # Errors
/// When `path` does not exist or the system will not tell.
pub fn filesystem_kind(path: &Path) -> Result<FilesystemKind, StorageError> {
    let status =
        rustix::fs::statfs(path).map_err(|error| failed(Operation::Directory, path, error))?;
    // The numbers have 32 bits, in a field whose width and sign depend on the architecture.
    Ok(FilesystemKind::from_magic(status.f_type as u64 & 0xFFFF_FFFF))
}

/// When a file was last changed, in milliseconds since 1970, if it is there and may be looked at.
#[must_use]
pub fn last_change_ms(path: &Path) -> Option<i64> {
    let status = rustix::fs::stat(path).ok()?;
    status.st_mtime.checked_mul(1000)?.checked_add(status.st_mtime_nsec as i64 / 1_000_000)
}

/// Raises the soft limit of open files to the hard one; the limit now in force. Sealed segments
/// and connections need far more than the usual soft limit of 1024.
pub fn raise_open_files() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    // A refusal leaves the old limit, which is what is then reported.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_disk() {
        assert!(FilesystemKind::from_magic(0x0102_1994).is_volatile());
        assert!(!FilesystemKind::from_magic(0xEF53).is_volatile());
        assert!(FilesystemKind::from_magic(0x6969).is_remote());
        assert_eq!(FilesystemKind::from_magic(0x6969).to_string(), "nfs");
        assert_eq!(filesystem_kind(Path::new("/proc")).unwrap(), FilesystemKind::Other(0x9FA0));
    }

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_open_files(), hard);
    }
}
