//! Appending: one write for all batches in hand, a new segment when one is due.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::index::{Boundary, NEVER};
use super::read::{Damage, Position};
use super::segment::Segment;
use super::sidecar::Flush;
use super::sync::SYNC_FAILED;
use super::upkeep::{Extent, Snapshot};
use super::witness::{Gaps, Witness};
use super::{Log, sums};
use crate::limits;
use crate::planted::{self, Bug};
use crate::record::{BatchHeader, StampedBatch};
use crate::storage::{DiskFile, Operation, StorageError};
use crate::time::Now;
use crate::types::{Millis, Offset};

/// Largest segment: positions in index entries have 32 bits, and one group of batches may come on
/// top of a segment that is just not full.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 31;
/// Batch ends that are remembered whatever happens.
const RECENT_MIN: usize = 128;
/// Batch ends that are remembered while they are not settled.
const RECENT_MAX: usize = 16 * 1024;
/// Bytes between snapshots of the producer state.
const SNAPSHOT_BYTES: u64 = 64 << 20;

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// The new end of the log.
    pub end: Position,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. Nothing is left of the batches; trying again later is right.
    #[error("disk full: {0}")]
    Full(#[source] StorageError),
    /// No more files can be open now. Nothing was changed; trying again later is right.
    #[error("no more files can be open: {0}")]
    NoDescriptors(#[source] StorageError),
    /// The disk failed, now or earlier; the log is poisoned.
    #[error("the log is offline after a disk failure: {0}")]
    Poisoned(String),
    /// The log is damaged and takes nothing until it is repaired.
    #[error(transparent)]
    Damaged(Damage),
    /// The log was opened for reading.
    #[error("the log was opened for reading only")]
    ReadOnly,
    /// A replicated batch does not follow what is there.
    #[error("{0}")]
    OutOfPlace(&'static str),
}

/// What the owner needs to write to the last segment.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the block that is being filled began, and its checksum so far.
    block_at: u64,
    sum: u32,
    newest: Millis,
    /// Largest time stamp of the first batch.
    first: Option<Millis>,
    /// Boundaries in the side files, and the size of those.
    pub(super) written: usize,
    pub(super) file_bytes: u64,
    /// Position at which the side files were last brought up to date.
    pub(super) flushed_at: u64,
}

impl Active {
    fn new(segment: Arc<Segment>, file: Arc<dyn DiskFile>) -> Active {
        let (written, file_bytes, flushed_at) = (0, 0, 0);
        let (block_at, sum, newest, first) = (0, 0, NEVER, None);
        Active { segment, file, block_at, sum, newest, first, written, file_bytes, flushed_at }
    }

    /// The side-file work that is open when the segment ends at its newest boundary.
    pub(super) fn flush(&self) -> Option<Flush> {
        let index = self.segment.index_if_loaded().expect("an active segment has its index");
        (index.last() > self.written).then(|| Flush {
            log: self.segment.path().clone(),
            base: self.segment.base(),
            index: index.clone(),
            written: self.written,
            until: index.last(),
            file_bytes: self.file_bytes,
        })
    }

    /// Largest time stamp of its first batch.
    pub(super) fn first(&self) -> Option<Millis> {
        self.first
    }

    /// Newest time stamp in the segment.
    pub(super) fn newest(&self) -> Millis {
        self.newest
    }

    fn note(&mut self, header: &BatchHeader, end: Position, interval: u64) {
        self.sum = sums::extend(self.sum, header);
        self.newest = self.newest.max(header.newest().unwrap_or(NEVER));
        self.first.get_or_insert(Millis(header.max_timestamp));
        if end.bytes - self.block_at >= interval {
            self.end_block(end);
        }
    }

    /// Ends the block that is being filled, if there is anything in it.
    pub(super) fn end_block(&mut self, end: Position) {
        if end.bytes == self.block_at {
            return;
        }
        let index = self.segment.index_if_loaded().expect("an active segment has its index");
        let (offset, at, sum) = (end.offset, end.bytes, Some(self.sum));
        // Sound: this process wrote the block, or checked the part of it that was there.
        index.push(Boundary { offset, at, newest: self.newest, sum }, true);
        (self.block_at, self.sum) = (at, 0);
    }
}

impl Log {
    /// Appends batches that this node, as the leader, has stamped: each begins where the one before
    /// ends. One write for all of them, to one segment.
    ///
    /// # Errors
    /// When nothing was appended, see [`AppendError`].
    ///
    /// # Panics
    /// When there are no batches, or they are not stamped for the end of the log.
    pub fn append(&mut self, batches: &[StampedBatch], now: Now) -> Result<Appended, AppendError> {
        let mut next = self.end.offset;
        let mut epoch = self.last_epoch();
        for batch in batches {
            assert_eq!(batch.base_offset(), next, "a leader stamps without gaps");
            assert!(batch.header().leader_epoch >= epoch, "leader epochs never go back");
            (next, epoch) = (batch.next_offset(), batch.header().leader_epoch);
        }
        self.append_in_order(batches, now)
    }

    /// Appends batches as another node's log has them. Gaps left by compaction are kept in a log
    /// that is configured to have some.
    ///
    /// # Errors
    /// When nothing was appended, see [`AppendError`].
    ///
    /// # Panics
    /// When there are no batches.
    pub fn append_replicated(
        &mut self,
        batches: &[StampedBatch],
        now: Now,
    ) -> Result<Appended, AppendError> {
        let mut next = self.end.offset;
        let mut epoch = self.epochs.latest().map(|latest| latest.epoch).unwrap_or_default();
        for batch in batches {
            if batch.base_offset() < next {
                return Err(AppendError::OutOfPlace("the batch begins before the log ends"));
            }
            if batch.base_offset() > next && self.config.gaps == Gaps::Refused {
                return Err(AppendError::OutOfPlace("offsets are missing before the batch"));
            }
            if batch.header().leader_epoch < epoch {
                return Err(AppendError::OutOfPlace("the batch is of an older leader epoch"));
            }
            (next, epoch) = (batch.next_offset(), batch.header().leader_epoch);
        }
        self.append_in_order(batches, now)
    }

    fn append_in_order(
        &mut self,
        batches: &[StampedBatch],
        now: Now,
    ) -> Result<Appended, AppendError> {
        let (first, last) = match batches {
            [first, .., last] => (first, last),
            [only] => (only, only),
            [] => panic!("an append has at least one batch"),
        };
        let bytes: u64 = batches.iter().map(|batch| batch.size_bytes() as u64).sum();
        let newest = batches.iter().map(StampedBatch::max_timestamp).max().unwrap_or(NEVER);
        self.make_room(last.next_offset(), bytes, newest.min(now.wall))?;
        self.write(batches)?;
        for batch in batches {
            self.note(batch, now.wall);
        }
        self.note_extent(bytes);
        self.snapshot_if_due();
        Ok(Appended { base_offset: first.base_offset(), end: self.end })
    }

    fn write(&mut self, batches: &[StampedBatch]) -> Result<(), AppendError> {
        let active = self.active.as_ref().expect("room was made");
        let at = self.end.bytes;
        let written = match batches {
            [only] => active.file.write_at(at, &mut only.slices()),
            many => {
                let mut pieces: Vec<IoSlice<'_>> = Vec::with_capacity(2 * many.len());
                pieces.extend(many.iter().flat_map(StampedBatch::slices));
                active.file.write_at(at, &mut pieces)
            }
        };
        match written {
            Ok(()) => Ok(()),
            // Whoever hears of a full disk may rely on nothing being left. Batches of the group may
            // have been written whole, and the disk may already have them: after a power cut they
            // would be a sound tail. So the cut is durable before anybody is refused. The frontier
            // need not be lowered, it never claimed what was not synced.
            Err(error) if error.is_full() => {
                match active.file.truncate(at).and_then(|()| active.file.sync()) {
                    Ok(_) => Err(AppendError::Full(error)),
                    Err(error) => Err(self.poison(error)),
                }
            }
            // A file that was closed for a while is opened before anything is written.
            Err(error) => Err(self.refuse(error)),
        }
    }

    fn note(&mut self, batch: &StampedBatch, wall: Millis) {
        let header = batch.header();
        let new_epoch = self.epochs.assign(header.leader_epoch, header.base_offset);
        self.pending.epochs |= new_epoch.expect("epochs were checked before the write");
        self.producers.record(header, wall);
        self.unsnapshotted_bytes += batch.size_bytes() as u64;
        self.last_batch = Some((self.end.bytes, header.crc));
        let bytes = self.end.bytes + batch.size_bytes() as u64;
        self.end = Position { offset: header.next_offset(), bytes, ..self.end };
        self.remember_end();
        let interval = self.config.index_interval_bytes as u64;
        let active = self.active.as_mut().expect("room was made");
        active.note(header, self.end, interval);
    }

    fn remember_end(&mut self) {
        let settled = self.settled_offset();
        self.recent.push_back(self.end);
        while self.recent.len() > RECENT_MIN
            && (self.recent.len() > RECENT_MAX || self.recent[0].offset < settled)
        {
            self.recent.pop_front();
        }
    }

    fn note_extent(&mut self, bytes: u64) {
        let active = self.active.as_ref().expect("room was made");
        let (base, end) = (self.end.segment, self.end.bytes);
        let extent = Extent { segment: base, file: &active.file, at: end - bytes, end };
        self.pending.cache.note(extent, &self.config.tail_window);
    }

    fn snapshot_if_due(&mut self) {
        if self.unsnapshotted_bytes >= SNAPSHOT_BYTES {
            self.note_snapshot();
        }
    }

    pub(super) fn note_snapshot(&mut self) {
        self.unsnapshotted_bytes = 0;
        let content = self.producers.encode();
        self.pending.after.snapshot = Some(Snapshot { offset: self.end.offset, content });
    }

    /// Makes sure there is a segment that takes this group of batches.
    fn make_room(&mut self, next: Offset, bytes: u64, newest: Millis) -> Result<(), AppendError> {
        self.refuse_if_unusable()?;
        if bytes > SEGMENT_BYTES_MAX {
            return Err(AppendError::OutOfPlace("more bytes than a segment can hold"));
        }
        if self.segments.is_empty() {
            return self.begin_segment();
        }
        if self.active.is_none() {
            self.prepare()?;
        }
        if self.is_roll_due(next, bytes, newest) {
            self.roll()?;
        }
        Ok(())
    }

    pub(super) fn refuse_if_unusable(&self) -> Result<(), AppendError> {
        if !self.writable {
            return Err(AppendError::ReadOnly);
        }
        if let Some(failure) = &self.failure {
            return Err(AppendError::Poisoned(failure.to_string()));
        }
        match &self.damage {
            Some(damage) => Err(AppendError::Damaged(damage.as_ref().clone())),
            None => Ok(()),
        }
    }

    fn is_roll_due(&self, next: Offset, bytes: u64, newest: Millis) -> bool {
        let first = self.active.as_ref().and_then(|active| active.first);
        let is_old =
            first.is_some_and(|first| newest.0.saturating_sub(first.0) > self.config.segment_ms);
        let is_full = self.end.bytes + bytes > self.config.segment_bytes
            || next.0 - self.end.segment.0 > i64::from(u32::MAX);
        self.end.bytes > 0 && (is_full || is_old)
    }

    /// Seals the last segment and begins another where it ends.
    pub(super) fn roll(&mut self) -> Result<(), AppendError> {
        assert!(self.end.bytes > 0, "an empty segment is never sealed");
        let end = self.end;
        let mut sealed = self.active.take().expect("the caller has prepared it");
        if let Err(error) = self.begin_segment() {
            self.active = Some(sealed);
            return Err(error);
        }
        sealed.end_block(end);
        sealed.segment.set_len(Some(end.bytes));
        self.sealed_bytes += end.bytes;
        self.pending.after.flushes.extend(sealed.flush());
        if !planted::is(Bug::SkipSealedSync) {
            self.pending.files.push((sealed.segment.base(), sealed.file));
        }
        self.note_snapshot();
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), AppendError> {
        let base = self.end.offset;
        let path: Arc<Path> = self.dir.join(super::open::segment_name(base)).into();
        let created = self.create_file(&path);
        let file = match created {
            Ok(file) => file,
            Err(error) if error.is_full() => return Err(AppendError::Full(error)),
            Err(error) => return Err(self.refuse(error)),
        };
        let witness = Arc::new(Witness::new(self.config.gaps));
        let segment = Segment::created(self.disk.clone(), path, base, file.clone(), witness);
        let segment = Arc::new(segment);
        self.active = Some(Active::new(segment.clone(), file));
        self.segments = self.segments.iter().cloned().chain([segment]).collect::<Vec<_>>().into();
        self.pending.entries = true;
        self.end = Position { segment: base, bytes: 0, ..self.end };
        self.last_batch = None;
        // The same offset at the end of the old segment: readers may be shown either.
        self.recent.push_back(self.end);
        Ok(())
    }

    fn create_file(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StorageError> {
        if self.segments.is_empty() {
            self.disk.create_dir_all(&self.dir)?;
        }
        self.disk.create(path)
    }

    /// Opens the last segment of a log found on the disk for writing.
    pub(super) fn prepare(&mut self) -> Result<(), AppendError> {
        let segment = self.segments.last().expect("the caller has seen a segment").clone();
        match open_active(&segment, self.end.bytes) {
            Ok(Ok(active)) => {
                segment.set_len(None);
                self.active = Some(active);
                Ok(())
            }
            Ok(Err(damage)) => {
                self.damage = Some(Arc::new(damage.clone()));
                Err(AppendError::Damaged(damage))
            }
            Err(error) => Err(self.refuse(error)),
        }
    }

    /// Refuses what failed before it had changed anything. Where only a descriptor was wanting the
    /// log serves on; any other failure takes it offline.
    pub(super) fn refuse(&mut self, error: StorageError) -> AppendError {
        match error.is_out_of_descriptors() {
            true => AppendError::NoDescriptors(error),
            false => self.poison(error),
        }
    }

    /// Takes the log offline for good.
    pub(super) fn poison(&mut self, error: StorageError) -> AppendError {
        let text = error.to_string();
        if error.operation == Operation::Sync {
            // Best effort, as after every failed sync: the page cache is not to be trusted.
            let _ = self.disk.replace(&self.dir.join(SYNC_FAILED), text.as_bytes());
        }
        self.failure.get_or_insert(error);
        AppendError::Poisoned(text)
    }
}

fn open_active(segment: &Arc<Segment>, len: u64) -> Result<Result<Active, Damage>, StorageError> {
    if let Some(damage) = segment.damage()? {
        return Ok(Err(damage.clone()));
    }
    let index = segment.index()?;
    let tail = match segment.check_tail(index)? {
        Ok(tail) => tail,
        Err(damage) => return Ok(Err(damage)),
    };
    let first = segment.first_timestamp(len)?;
    let mut active = Active::new(segment.clone(), segment.open_for_writing()?);
    active.block_at = index.last_boundary().at;
    (active.sum, active.newest, active.first) = (tail.sum, tail.newest, first);
    active.flushed_at = len;
    Ok(Ok(active))
}

// A group never exceeds a frame, so a segment that is not full still has room for it in 32 bits.
const _: () = assert!(SEGMENT_BYTES_MAX + SEGMENT_BYTES_MAX - 1 <= u32::MAX as u64);
const _: () = assert!((limits::FRAME_BYTES_MAX as u64) < SEGMENT_BYTES_MAX);
