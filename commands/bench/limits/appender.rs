//! The cheapest way to append blocks to a file with a given promise: what a log could reach if it
//! did nothing else. Knows nothing of sockets and batches.

use std::fs::File;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use clap::ValueEnum;
use rustix::fs::{Advice, fadvise, fdatasync};
use rustix::io::ReadWriteFlags;

/// Blocks are written back in the background once this much is new.
const WRITEBACK_BYTES: u64 = 8 << 20;
/// Cached data is given back in pieces of at least this.
const DROP_BYTES: u64 = 8 << 20;

/// When a block has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sync {
    /// Whenever the system likes.
    Never,
    /// Soon: writeback is started early, nobody waits for it.
    Behind,
    /// Before `append` returns, by a sync after the write.
    After,
    /// Before `append` returns, by a write that is one with its sync.
    Within,
}

/// A file that only grows.
#[derive(Debug)]
pub(super) struct Appender {
    file: Arc<File>,
    end: u64,
    sync: Sync,
    cache: Option<Cache>,
    writeback: Option<Writeback>,
}

impl Appender {
    /// A new file. With a window, only so many of its newest bytes stay in the page cache.
    pub(super) fn create(path: &Path, sync: Sync, window: Option<u64>) -> io::Result<Appender> {
        let file = Arc::new(File::create_new(path)?);
        let mut cache = window.map(|window| Cache { window, dropped: 0 });
        let writeback = match sync {
            Sync::Behind => Some(Writeback::start(Arc::clone(&file), cache.take())),
            _ => None,
        };
        Ok(Appender { file, end: 0, sync, cache, writeback })
    }

    /// Appends and keeps the promise of this file's [`Sync`].
    pub(super) fn append(&mut self, block: &[u8]) -> io::Result<()> {
        match self.sync {
            Sync::Within => self.write_through(block)?,
            _ => self.file.write_all_at(block, self.end)?,
        }
        self.end += block.len() as u64;
        if self.sync == Sync::After {
            fdatasync(&*self.file)?;
        }
        if let Some(cache) = &mut self.cache {
            cache.trim(&self.file, self.end)?;
        }
        match &mut self.writeback {
            Some(writeback) => writeback.announce(self.end),
            None => Ok(()),
        }
    }

    fn write_through(&self, mut block: &[u8]) -> io::Result<()> {
        let mut at = self.end;
        while !block.is_empty() {
            let pieces = [IoSlice::new(block)];
            let flags = ReadWriteFlags::DSYNC;
            let written = rustix::io::pwritev2(&*self.file, &pieces, at, flags)?;
            block = &block[written..];
            at += written as u64;
        }
        Ok(())
    }
}

/// What of a file is in the page cache.
#[derive(Debug)]
struct Cache {
    /// Bytes at the end that stay.
    window: u64,
    /// Where what has not been given back yet starts.
    dropped: u64,
}

impl Cache {
    /// Gives back what lies behind the window; everything below `synced` is on the disk.
    fn trim(&mut self, file: &File, synced: u64) -> io::Result<()> {
        let until = synced.saturating_sub(self.window);
        let Some(length) = until.checked_sub(self.dropped).filter(|length| *length >= DROP_BYTES)
        else {
            return Ok(());
        };
        fadvise(file, self.dropped, NonZeroU64::new(length), Advice::DontNeed)?;
        self.dropped = until;
        Ok(())
    }
}

/// A thread that syncs behind the writer's back.
#[derive(Debug)]
struct Writeback {
    /// `None` only while it is dropped.
    written: Option<SyncSender<u64>>,
    announced: u64,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Writeback {
    fn start(file: Arc<File>, mut cache: Option<Cache>) -> Writeback {
        let (written, queue) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            for end in queue {
                fdatasync(&*file)?;
                if let Some(cache) = &mut cache {
                    cache.trim(&file, end)?;
                }
            }
            Ok(())
        });
        Writeback { written: Some(written), announced: 0, thread: Some(thread) }
    }

    /// Lets the thread know how far the file goes, if it is worth a sync and one can wait.
    fn announce(&mut self, end: u64) -> io::Result<()> {
        if end - self.announced < WRITEBACK_BYTES {
            return Ok(());
        }
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return Err(io::Error::other("the writeback failed"));
        }
        if let Some(written) = &self.written
            && written.try_send(end).is_ok()
        {
            self.announced = end;
        }
        Ok(())
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        self.written = None;
        if let Some(thread) = self.thread.take() {
            // An error of a sync nobody waits for was told by the next append, if there was one.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_leaves_all_blocks_in_their_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let block = |number: u8| vec![number; 3 << 19];
        for sync in [Sync::Never, Sync::Behind, Sync::After, Sync::Within] {
            for window in [None, Some(1 << 20)] {
                let path = dir.path().join(format!("{sync:?}-{window:?}"));
                let mut appender = Appender::create(&path, sync, window).expect("created");
                (0..8).for_each(|number| appender.append(&block(number)).expect("appended"));
                drop(appender);
                let expected: Vec<u8> = (0..8).flat_map(block).collect();
                assert!(std::fs::read(&path).expect("read") == expected, "{sync:?} {window:?}");
            }
        }
    }
}
