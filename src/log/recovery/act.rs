//! The acts on files that the decision table calls for. None of them decides anything, each ends
//! with its effect durable, and each may be repeated when a crash interrupted it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use crate::limits::RECOVERY_BUFFER_BYTES;
use crate::storage::{Disk, DiskFile, StorageError, Synced};

/// Cuts a file at `position`, after what is cut off has been copied to a file whose name ends in
/// `.torn`; its path. `None` when there was nothing to cut or the disk had no room for the copy,
/// which must not keep the broker from starting. Only for bytes at or above the frontier.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn remove_tail(
    disk: &dyn Disk,
    path: &Path,
    file: &dyn DiskFile,
    position: u64,
) -> Result<Option<PathBuf>, StorageError> {
    if file.len()? <= position {
        return Ok(None);
    }
    let torn = torn_path(path, position);
    let kept = match keep(disk, &torn, file, position) {
        Ok(()) => Some(torn),
        Err(error) if error.is_full() => {
            discard(disk, &torn)?;
            None
        }
        Err(error) => return Err(error),
    };
    cut_zeros(file, position)?;
    Ok(kept)
}

/// Cuts a file at `position` without keeping what is cut off.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn cut_zeros(file: &dyn DiskFile, position: u64) -> Result<Synced, StorageError> {
    file.truncate(position)?;
    file.sync()
}

/// Writes the bytes from `position` to the end of the file over themselves and syncs them; how
/// many. After a failed sync the page cache may hold them as clean although the disk never got
/// them, and only dirty pages are written out.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn rewrite_above(file: &dyn DiskFile, position: u64) -> Result<u64, StorageError> {
    let written =
        copy(file, position, &mut |at, piece| file.write_at(at, &mut [IoSlice::new(piece)]))?;
    file.sync()?;
    Ok(written)
}

fn keep(
    disk: &dyn Disk,
    torn: &Path,
    file: &dyn DiskFile,
    position: u64,
) -> Result<(), StorageError> {
    // A copy from a start that was interrupted before the cut.
    discard(disk, torn)?;
    let copied = disk.create(torn)?;
    copy(file, position, &mut |at, piece| {
        copied.write_at(at - position, &mut [IoSlice::new(piece)])
    })?;
    copied.sync()?;
    disk.sync_dir(torn.parent().unwrap_or(Path::new(".")))?;
    Ok(())
}

fn discard(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    if disk.exists(path)? { disk.remove(path) } else { Ok(()) }
}

fn copy(
    file: &dyn DiskFile,
    from: u64,
    put: &mut dyn FnMut(u64, &[u8]) -> Result<(), StorageError>,
) -> Result<u64, StorageError> {
    let left = usize::try_from(file.len()?.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; left.min(RECOVERY_BUFFER_BYTES)];
    let mut at = from;
    loop {
        let read = file.read_at(at, &mut buffer)?;
        if read == 0 {
            return Ok(at - from);
        }
        put(at, &buffer[..read])?;
        at += read as u64;
    }
}

fn torn_path(path: &Path, position: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{position}.torn"));
    path.with_file_name(name)
}
