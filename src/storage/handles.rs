//! A bound on open files. A log keeps a file for every segment it has, and there may be far more of
//! them than a process may have open: the descriptor behind a file is closed when it was not used
//! for long, or when there is none left for another, and opened again when it is needed. Knows
//! nothing of what is read and written.
//!
//! A file with bytes that are not synced keeps its descriptor: the kernel reports a failed
//! writeback to those who had the file open then, and nobody else may ever learn of it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use arc_swap::ArcSwapOption;
use rustix::fs::{self as sys, Mode, OFlags};
use rustix::io::Errno;
use std::path::PathBuf;

use super::is_out_of_descriptors;

/// Files that are closed at once, as a part of those that are open: one in so many.
const CLOSED_AT_ONCE: usize = 4;

/// All files that one disk has handed out.
#[derive(Debug)]
pub(super) struct Handles {
    open: AtomicUsize,
    open_max: usize,
    /// Counts openings; what a file was last used at.
    clock: AtomicU64,
    files: Mutex<Vec<Weak<Handle>>>,
}

/// One file, open or not.
#[derive(Debug)]
pub(super) struct Handle {
    handles: Arc<Handles>,
    path: PathBuf,
    flags: OFlags,
    /// Device and inode: the path may have come to name another file.
    identity: (u64, u64),
    descriptor: ArcSwapOption<OwnedFd>,
    /// How many writes have begun, how many of them have ended, and how many of those a sync has
    /// covered. Numbers and no flag: a write may begin before a sync does and end after it.
    begun: AtomicU64,
    ended: AtomicU64,
    covered: AtomicU64,
    used: AtomicU64,
}

/// A write that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Writing<'a>(&'a Handle);

impl Handles {
    /// At most about this many files stay open.
    pub(super) fn new(open_max: usize) -> Arc<Handles> {
        let (open, clock) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Handles { open, open_max, clock, files: Mutex::default() })
    }

    /// Takes a file in that was just opened, or created, with `flags`.
    pub(super) fn take(
        self: &Arc<Handles>,
        path: PathBuf,
        flags: OFlags,
        descriptor: OwnedFd,
    ) -> Result<Arc<Handle>, Errno> {
        let handle = Arc::new(Handle {
            handles: Arc::clone(self),
            path,
            flags: flags.difference(OFlags::CREATE | OFlags::EXCL),
            identity: identity(&descriptor)?,
            descriptor: ArcSwapOption::from_pointee(descriptor),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            used: AtomicU64::new(0),
        });
        // Counted before anybody can find and close it.
        self.note_open(&handle);
        let mut files = self.files();
        if files.len() == files.capacity() {
            // Where few files stay open nobody else comes by to forget those that are gone.
            files.retain(|file| file.strong_count() > 0);
        }
        files.push(Arc::downgrade(&handle));
        drop(files);
        Ok(handle)
    }

    /// Makes a call that takes a descriptor. If there is none, files that are idle give theirs up
    /// and the call is made once more.
    pub(super) fn with_room<T>(&self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if is_out_of_descriptors(&error) => {
                self.close_some();
                open()
            }
            other => other,
        }
    }

    fn note_open(&self, handle: &Handle) {
        handle.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.open_max {
            self.close_some();
        }
    }

    /// Closes those that were used longest ago.
    fn close_some(&self) {
        let mut files = self.files();
        files.retain(|file| file.strong_count() > 0);
        let mut idle: Vec<_> =
            files.iter().filter_map(Weak::upgrade).filter(|file| file.is_idle()).collect();
        drop(files);
        idle.sort_by_key(|file| file.used.load(Ordering::Relaxed));
        let count = self.open.load(Ordering::Relaxed).div_ceil(CLOSED_AT_ONCE);
        idle.iter().take(count).for_each(|file| file.close());
    }

    fn files(&self) -> MutexGuard<'_, Vec<Weak<Handle>>> {
        self.files.lock().expect("nothing panics while it holds the list of files")
    }
}

impl Handle {
    /// The descriptor; stays valid while it is held.
    pub(super) fn descriptor(&self) -> io::Result<Arc<OwnedFd>> {
        let now = self.handles.clock.load(Ordering::Relaxed);
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
        match self.descriptor.load_full() {
            Some(descriptor) => Ok(descriptor),
            None => self.open_again(),
        }
    }

    /// Says that bytes are about to be written, so that the file stays open until they are synced.
    pub(super) fn begin_write(&self) -> Writing<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Writing(self)
    }

    /// Says that a sync is about to begin; returns how many writes it covers.
    pub(super) fn begin_sync(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Says that a sync has succeeded that covers so many writes.
    pub(super) fn synced(&self, writes: u64) {
        self.covered.fetch_max(writes, Ordering::SeqCst);
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn is_dirty(&self) -> bool {
        // In this order: a write that begins in between counts.
        let covered = self.covered.load(Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst) > covered
    }

    fn is_open(&self) -> bool {
        self.descriptor.load().is_some()
    }

    fn is_idle(&self) -> bool {
        !self.is_dirty() && self.is_open()
    }

    fn close(&self) {
        // Somebody else may be closing it, and then may have to restore it: that is his alone.
        let Some(closed) = self.descriptor.swap(None) else { return };
        // If a write began in between, it may have taken the descriptor, which then stays.
        let is_kept = self.is_dirty();
        if !is_kept || self.descriptor.swap(Some(closed)).is_some() {
            self.handles.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn open_again(&self) -> io::Result<Arc<OwnedFd>> {
        let open = || Ok(sys::open(&self.path, self.flags, Mode::empty())?);
        let descriptor = self.handles.with_room(open)?;
        if identity(&descriptor)? != self.identity {
            return Err(Errno::STALE.into());
        }
        let descriptor = Arc::new(descriptor);
        let opened = Some(Arc::clone(&descriptor));
        let before = self.descriptor.compare_and_swap(&None::<Arc<OwnedFd>>, opened);
        if let Some(earlier) = &*before {
            // Somebody was quicker, and may have written with it.
            return Ok(Arc::clone(earlier));
        }
        self.handles.note_open(self);
        Ok(descriptor)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_open() {
            self.handles.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn identity(descriptor: &OwnedFd) -> Result<(u64, u64), Errno> {
    let status = sys::fstat(descriptor)?;
    Ok((status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::path::Path;
    use std::sync::Barrier;

    use super::*;
    use crate::storage::file::FileDisk;
    use crate::storage::{Access, Disk, DiskFile};

    fn open_below(directory: &Path) -> usize {
        let mine = std::fs::read_dir("/proc/self/fd").expect("proc is there");
        mine.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.starts_with(directory))
            .count()
    }

    fn written(disk: &FileDisk, path: &Path, content: &[u8]) -> std::sync::Arc<dyn DiskFile> {
        let file = disk.create(path).expect("a new file");
        file.write_at(0, &mut [IoSlice::new(content)]).expect("written");
        file
    }

    /// More files than may be open: each can be read and written all the same.
    #[test]
    fn files_beyond_the_bound_are_closed_and_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::with_open_max(8);
        let files: Vec<_> = (0_u8..40)
            .map(|number| {
                let file = written(&disk, &directory.path().join(number.to_string()), &[number]);
                file.sync().expect("synced");
                file
            })
            .collect();
        assert!(open_below(directory.path()) <= 9, "{}", open_below(directory.path()));
        for (number, file) in files.iter().enumerate() {
            let mut byte = [0];
            assert_eq!(file.read_at(0, &mut byte).expect("read"), 1);
            assert_eq!(usize::from(byte[0]), number);
            file.write_at(1, &mut [IoSlice::new(b"x")]).expect("written");
            file.sync().expect("synced");
        }
        assert!(open_below(directory.path()) <= 9);
        drop(files);
        assert_eq!(open_below(directory.path()), 0);
    }

    /// A failed writeback is reported to those who have the file open.
    #[test]
    fn a_file_that_is_not_synced_stays_open() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::with_open_max(2);
        let path = |number: u8| directory.path().join(number.to_string());
        let dirty: Vec<_> =
            (0..10).map(|number| written(&disk, &path(number), &[number])).collect();
        assert_eq!(open_below(directory.path()), 10);
        dirty.iter().for_each(|file| _ = file.sync().expect("synced"));
        let last = disk.open(&path(0), Access::Read).expect("opened");
        assert!(open_below(directory.path()) < 10);
        drop(last);
    }

    /// Idle files make room for others, and a call that finds none all the same is not made again.
    #[test]
    fn without_a_descriptor_idle_files_give_theirs_up_and_the_call_is_made_once_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::with_open_max(1_000);
        let path = |number: u8| directory.path().join(number.to_string());
        let files: Vec<_> = (0..8).map(|number| written(&disk, &path(number), &[number])).collect();
        let mut calls = 0;
        let mut open = |most: usize| {
            calls = 0;
            disk.handles().with_room(|| {
                calls += 1;
                if open_below(directory.path()) < most { Ok(()) } else { Err(Errno::MFILE.into()) }
            })
        };
        let error = open(8).expect_err("all of them have bytes that are not synced");
        assert!(is_out_of_descriptors(&error));
        files.iter().for_each(|file| _ = file.sync().expect("synced"));
        open(8).expect("two have been closed");
        open(1).expect_err("once is enough");
        assert_eq!(calls, 2);
        let mut byte = [0];
        assert_eq!(files[0].read_at(0, &mut byte).expect("it is opened again"), 1);
    }

    fn handle(directory: &Path, name: &str, open_max: usize) -> Arc<Handle> {
        let path = directory.join(name);
        std::fs::write(&path, b"").expect("written");
        let flags = OFlags::RDWR;
        let descriptor = sys::open(&path, flags, Mode::empty()).expect("opened");
        Handles::new(open_max).take(path, flags, descriptor).expect("taken")
    }

    /// A sync covers what was written before it began, and nothing else.
    #[test]
    fn a_write_that_ends_after_a_sync_began_keeps_the_file_open() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = handle(directory.path(), "segment", 8);
        let writing = file.begin_write();
        let covered = file.begin_sync();
        file.synced(covered);
        file.close();
        assert!(!file.is_idle() && file.is_open(), "it is being written to");
        drop(writing);
        file.close();
        assert!(!file.is_idle() && file.is_open(), "what was written is not synced");
        file.synced(file.begin_sync());
        assert!(file.is_idle());
        file.close();
        assert!(!file.is_open());
    }

    /// Two that close the same file while a write begins: neither undoes what the other restores.
    #[test]
    fn a_file_that_is_written_to_survives_any_number_of_closings() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = handle(directory.path(), "segment", 1_000);
        let barrier = Barrier::new(3);
        let round = |act: &dyn Fn(), check: &dyn Fn()| {
            (0..2_000).for_each(|_| {
                barrier.wait();
                act();
                barrier.wait();
                check();
            });
        };
        let lost = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| round(&|| file.close(), &|| ()));
            }
            let write = || {
                let _writing = file.begin_write();
                file.descriptor().expect("opened");
            };
            let check = || {
                lost.fetch_add(usize::from(!file.is_open()), Ordering::Relaxed);
                file.synced(file.begin_sync());
            };
            round(&write, &check);
        });
        assert_eq!(lost.into_inner(), 0, "closed with bytes that are not synced");
        let open = file.handles.open.load(Ordering::Relaxed);
        assert_eq!(open, usize::from(file.is_open()), "and the count is right");
    }

    /// Small files come and go all the time; what is remembered of them goes with them.
    #[test]
    fn files_that_are_gone_are_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let handles = Handles::new(1_000_000);
        let path = directory.path().join("file");
        std::fs::write(&path, b"").expect("written");
        for _ in 0..1_000 {
            let descriptor = sys::open(&path, OFlags::RDONLY, Mode::empty()).expect("opened");
            drop(handles.take(path.clone(), OFlags::RDONLY, descriptor).expect("taken"));
        }
        assert!(handles.files().len() < 10, "{}", handles.files().len());
    }

    /// A path may come to name another file; its bytes are not the ones that were asked for.
    #[test]
    fn another_file_of_the_same_name_is_not_taken_for_this_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::with_open_max(1);
        let path = directory.path().join("segment");
        let file = written(&disk, &path, b"old");
        file.sync().expect("synced");
        let others: Vec<_> = (0..3)
            .map(|number| disk.create(&directory.path().join(number.to_string())).expect("new"))
            .collect();
        std::fs::rename(&path, directory.path().join("away")).expect("renamed");
        std::fs::write(&path, b"new").expect("written");
        let error = file.read_at(0, &mut [0; 3]).expect_err("it is another file");
        assert!(error.to_string().contains("segment"), "{error}");
        drop(others);
    }
}
