//! The acts on files that the decision table calls for. None of them decides anything, each ends
//! with its effect durable, and each may be repeated when a crash interrupted it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use crate::limits::RECOVERY_BUFFER_BYTES;
use crate::storage::{Disk, DiskFile, StorageError, Synced};

/// Copies kept of what was cut at one position. A start that is interrupted again and again must
/// not fill the disk, and the first copies are the ones nearest to what was there.
const COPIES_MAX: u32 = 4;

/// Cuts a file at `position`, after what is cut off has been copied to a file whose name ends in
/// `.torn`; its path. `None` when there was nothing to cut, or when there was no room for a copy,
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
    let kept = keep(disk, path, file, position)?;
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
    let written = copy(file, position, |at, piece| file.write_at(at, &mut [IoSlice::new(piece)]))?;
    file.sync()?;
    Ok(written)
}

/// Copies a file from `position` on to one whose name ends in `.torn`; its path. `None` when there
/// is no room for it.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn keep(
    disk: &dyn Disk,
    path: &Path,
    file: &dyn DiskFile,
    position: u64,
) -> Result<Option<PathBuf>, StorageError> {
    let Some(torn) = free_name(disk, path, position)? else { return Ok(None) };
    let unfinished = torn.with_extension("unfinished");
    discard(disk, &unfinished)?;
    match copy_to(disk, &unfinished, file, position) {
        Ok(()) => {}
        Err(error) if error.is_full() => {
            discard(disk, &unfinished)?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    disk.rename(&unfinished, &torn)?;
    disk.sync_dir(torn.parent().unwrap_or(Path::new(".")))?;
    Ok(Some(torn))
}

/// A name for what is taken out of a file at `position`, unless several are taken already.
///
/// A copy from an earlier start is never replaced: a crash during the cut may have turned what it
/// was made of into zeros.
///
/// # Errors
/// When the disk will not tell which there are.
pub fn free_name(
    disk: &dyn Disk,
    path: &Path,
    position: u64,
) -> Result<Option<PathBuf>, StorageError> {
    for copy in 1..=COPIES_MAX {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{position}.{copy}.torn"));
        let torn = path.with_file_name(name);
        if !disk.exists(&torn)? {
            return Ok(Some(torn));
        }
    }
    Ok(None)
}

fn copy_to(
    disk: &dyn Disk,
    to: &Path,
    file: &dyn DiskFile,
    position: u64,
) -> Result<(), StorageError> {
    let copied = disk.create(to)?;
    copy(file, position, |at, piece| copied.write_at(at - position, &mut [IoSlice::new(piece)]))?;
    copied.sync()?;
    Ok(())
}

fn discard(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    if disk.exists(path)? { disk.remove(path) } else { Ok(()) }
}

fn copy(
    file: &dyn DiskFile,
    from: u64,
    mut put: impl FnMut(u64, &[u8]) -> Result<(), StorageError>,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::Access;
    use crate::storage::memory::enumerate::enumerate_crashes;
    use crate::storage::memory::{Fault, FaultKind, MemoryDisk};

    const LOG: &str = "0.log";
    const TORN: &str = "0.log.7.1.torn";
    const CONTENT: &[u8] = b"durable and torn";

    fn open(disk: &MemoryDisk) -> Arc<dyn DiskFile> {
        disk.open(Path::new(LOG), Access::Write).expect("it exists")
    }

    fn content(disk: &MemoryDisk, name: &str) -> Option<Vec<u8>> {
        disk.read_small(Path::new(name), 1_000).ok()
    }

    fn prepared(disk: &MemoryDisk) {
        disk.replace(Path::new(LOG), CONTENT).expect("sound disk");
    }

    fn cut(disk: &MemoryDisk) -> Result<Option<PathBuf>, StorageError> {
        remove_tail(disk, Path::new(LOG), &*open(disk), 7)
    }

    #[test]
    fn a_tail_is_kept_before_it_is_removed() {
        let disk = MemoryDisk::new();
        prepared(&disk);
        assert_eq!(cut(&disk).expect("sound disk"), Some(PathBuf::from(TORN)));
        assert_eq!(content(&disk, LOG).as_deref(), Some(&CONTENT[..7]));
        assert_eq!(content(&disk, TORN).as_deref(), Some(&CONTENT[7..]));
        assert_eq!(cut(&disk).expect("sound disk"), None, "nothing is left to cut");
        assert_eq!(content(&disk, TORN).as_deref(), Some(&CONTENT[7..]));
    }

    // D14
    #[test]
    fn a_crash_loses_neither_the_tail_nor_its_copy() {
        let coverage = enumerate_crashes(
            |disk| disk.replace(Path::new(LOG), CONTENT).and_then(|_| cut(disk)).is_ok(),
            |disk, &done, _| {
                let Some(log) = content(&disk, LOG) else { return assert!(!done) };
                if log != CONTENT {
                    // A cut that the crash interrupted may have left zeros in place of the tail.
                    assert_eq!(content(&disk, TORN).as_deref(), Some(&CONTENT[7..]));
                }
                assert!(!done || log.len() == 7);
                cut(&disk).expect("the next start cuts again");
                assert_eq!(content(&disk, LOG).as_deref(), Some(&CONTENT[..7]));
                assert_eq!(content(&disk, TORN).as_deref(), Some(&CONTENT[7..]));
            },
        );
        assert!(coverage.crashes > 10, "{coverage:?}");
    }

    #[test]
    fn a_tail_torn_again_and_again_leaves_a_bounded_number_of_copies() {
        let disk = MemoryDisk::new();
        for round in 0..10 {
            prepared(&disk);
            assert_eq!(cut(&disk).expect("sound disk").is_some(), round < 4);
        }
        assert_eq!(disk.list(Path::new("")).expect("sound disk").len(), 5);
    }

    #[test]
    fn a_full_disk_does_not_keep_a_tail_from_being_cut() {
        let disk = MemoryDisk::new();
        prepared(&disk);
        disk.inject(Fault::always(FaultKind::NoSpace, ".unfinished"));
        assert_eq!(cut(&disk).expect("the copy is not essential"), None);
        assert_eq!(content(&disk, LOG).as_deref(), Some(&CONTENT[..7]));
        assert_eq!(content(&disk, TORN), None);
    }

    // Bad inputs row 85: a later sync reports success for pages that a failed one dropped.
    #[test]
    fn bytes_above_the_frontier_are_written_again_after_a_failed_sync() {
        let disk = MemoryDisk::new();
        prepared(&disk);
        let file = open(&disk);
        file.write_at(7, &mut [IoSlice::new(b"NEW AND TORN")]).expect("sound disk");
        disk.inject(Fault::once(FaultKind::SyncFails, LOG));
        assert!(file.sync().is_err());
        file.sync().expect("the lie that this is about");
        assert_eq!(content(&disk.crash_losing_all(), LOG).as_deref(), Some(CONTENT));

        assert_eq!(rewrite_above(&*file, 7).expect("sound disk"), 12);
        let survived = content(&disk.crash_losing_all(), LOG);
        assert_eq!(survived.as_deref(), Some(&b"durableNEW AND TORN"[..]));
    }
}
