//! Writing a compacted segment: batches one after the other into a file beside those that it will
//! replace, with an index like that of any other segment. Nothing of it counts before it is
//! durable and an exchange has been announced. Decides nothing about batches.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::super::index::{Boundary, Index, NEVER};
use super::super::sidecar::{Flush, KINDS};
use super::super::sums;
use super::state;
use crate::planted::{self, Bug};
use crate::record::CheckedBatch;
use crate::storage::{Access, Disk, DiskFile, StorageError};
use crate::types::{Millis, Offset};

/// What is gathered before it is written.
const BUFFER_BYTES: usize = 1 << 20;
/// What is written before it is synced, so that the disk never gets much at once while producers
/// wait for it.
const SYNC_BYTES: u64 = 16 << 20;

/// A compacted segment in the making.
pub(super) struct Output {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    index: Arc<Index>,
    interval: u64,
    /// Bytes in the file, and those that are yet to be written.
    written: u64,
    synced: u64,
    buffer: Vec<u8>,
    block_at: u64,
    sum: u32,
    newest: Millis,
    end: Offset,
}

impl Output {
    /// Begins a segment whose first offset is `base`.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        base: Offset,
        interval: u64,
    ) -> Result<Output, StorageError> {
        state::remove_cleaned(disk, dir, base)?;
        let path: Arc<Path> = state::cleaned_path(dir, base).into();
        let file = disk.create(&path)?;
        let (index, buffer) = (Arc::new(Index::new(base)), Vec::with_capacity(BUFFER_BYTES));
        let (written, synced, block_at, sum, newest, end) = (0, 0, 0, 0, NEVER, base);
        Ok(Output {
            file,
            path,
            index,
            interval,
            written,
            synced,
            buffer,
            block_at,
            sum,
            newest,
            end,
        })
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds a batch, which lies behind those before it.
    pub(super) fn push(&mut self, batch: &CheckedBatch) -> Result<(), StorageError> {
        let header = batch.header();
        assert!(header.base_offset >= self.end, "batches keep their order");
        if self.buffer.len() + batch.bytes().len() > BUFFER_BYTES {
            self.write()?;
        }
        self.buffer.extend_from_slice(batch.bytes());
        self.sum = sums::extend(self.sum, header);
        self.newest = self.newest.max(header.newest().unwrap_or(NEVER));
        self.end = header.next_offset();
        if self.len() - self.block_at >= self.interval {
            self.end_block(self.end);
        }
        Ok(())
    }

    /// Makes the segment durable, side files included, and its names too.
    pub(super) fn finish(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        end: Offset,
    ) -> Result<(), StorageError> {
        assert!(self.end <= end && self.len() > 0, "the last batch of a segment stays");
        if self.len() > self.block_at {
            self.end_block(end);
        }
        self.write()?;
        let (log, base, index) = (Arc::clone(&self.path), self.index.base(), self.index.clone());
        let until = index.last();
        Flush { log, base, index, written: 0, until, file_bytes: 0 }.run(disk)?;
        if planted::is(Bug::CompactionDeletesFirst) {
            return Ok(());
        }
        self.file.sync()?;
        for (kind, _) in KINDS {
            disk.open(&self.path.with_extension(kind), Access::Write)?.sync()?;
        }
        disk.sync_dir(dir)?;
        // Who reads it next is as likely to read anything else.
        self.file.drop_cached(0, self.written);
        Ok(())
    }

    /// The index of what was written.
    pub(super) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    fn write(&mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            self.file.write_at(self.written, &mut [IoSlice::new(&self.buffer)])?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn end_block(&mut self, end: Offset) {
        let (offset, at, sum) = (end, self.len(), Some(self.sum));
        self.index.push(Boundary { offset, at, newest: self.newest, sum }, true);
        (self.block_at, self.sum) = (at, 0);
    }
}
