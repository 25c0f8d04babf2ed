//! Reading a log: immutable views that any thread may hold, and the byte ranges they hand out. A
//! range is whole batches, verified unless this process wrote them itself, ready for `sendfile`.
//! Knows no limit but what it is given: which offsets a reader may see is the partition's business.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::compaction::{Outlook, Survey};
use super::epochs::LeaderEpochs;
use super::index::NEVER;
use super::segment::Segment;
use crate::record::BatchHeader;
use crate::storage::{DiskFile, StorageError};
use crate::types::{Millis, Offset};

/// A place between two batches of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// Offset of the batch that begins there, or would.
    pub offset: Offset,
    /// Base offset of the segment.
    pub segment: Offset,
    /// Byte position in the segment's file.
    pub bytes: u64,
}

/// Where stored bytes are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {byte}, offset {offset}: {why}", path.display())]
pub struct Damage {
    /// The file.
    pub path: Arc<Path>,
    /// The first byte that can not be served.
    pub byte: u64,
    /// The first offset that can not be served.
    pub offset: Offset,
    /// What is wrong there.
    pub why: Cow<'static, str>,
}

/// Why a read fails.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset was removed by retention or DeleteRecords.
    #[error("offset {offset} is below the log start {start}")]
    BelowStart {
        /// As asked for.
        offset: Offset,
        /// Where the log begins.
        start: Offset,
    },
    /// The offset is beyond what the reader may see.
    #[error("offset {offset} is beyond {end}")]
    BeyondEnd {
        /// As asked for.
        offset: Offset,
        /// Where reading ends.
        end: Offset,
    },
    /// The log has changed under the view: take a new one and try again.
    #[error("the view is older than the files")]
    Stale,
    /// The stored bytes are damaged there.
    #[error(transparent)]
    Corrupt(#[from] Damage),
    /// The disk failed.
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> ReadError {
        // A file that the view knows and the disk does not was removed meanwhile.
        if error.is_gone() { ReadError::Stale } else { ReadError::Storage(error) }
    }
}

/// Consecutive bytes of one file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// First byte.
    pub at: u64,
    /// How many.
    pub len: u64,
    /// The file's path, for messages.
    pub path: Arc<Path>,
}

/// Whole batches, in order, as ranges of files.
#[derive(Clone, Debug)]
pub struct ReadRange {
    /// The bytes.
    pub pieces: Vec<FileRange>,
    /// Where the next read goes on.
    pub next_offset: Offset,
}

impl ReadRange {
    /// Size of all pieces together.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Copies the bytes out of the files, for those who can not send from them.
    ///
    /// # Errors
    /// When the disk fails or a file has been cut meanwhile.
    pub fn copy(&self) -> Result<Vec<u8>, ReadError> {
        let mut copy = vec![0; self.len() as usize];
        let mut rest = copy.as_mut_slice();
        for piece in &self.pieces {
            let (into, after) = rest.split_at_mut(piece.len as usize);
            if piece.file.read_at(piece.at, into)? < into.len() {
                return Err(ReadError::Stale);
            }
            rest = after;
        }
        Ok(copy)
    }
}

/// A log as it was at one moment. Cheap to make and to clone, never changes.
#[derive(Clone, Debug)]
pub struct LogView {
    pub(super) start: Offset,
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    pub(super) end: Position,
    pub(super) damage: Option<Arc<Damage>>,
    pub(super) epochs: LeaderEpochs,
    pub(super) outlook: Option<Outlook>,
}

impl LogView {
    /// The first offset that the log still has.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The leader epochs with their first offsets.
    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// The end of the log.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// What a pass of compaction could look at below `stable`; `None` when there are none.
    #[must_use]
    pub fn survey(&self, stable: Offset) -> Option<Survey> {
        self.outlook.map(|outlook| Survey::of(outlook, &self.segments, stable))
    }

    /// Whether reading from this offset on needs nothing checked first, because this process wrote
    /// all of it. Where not, reading may have to wait for a disk.
    #[must_use]
    pub fn is_own(&self, from: Offset) -> bool {
        self.segments.get(self.segment_of(from)).is_none_or(|segment| segment.inherited() == 0)
    }

    /// Whole batches from the one that holds `from` on, none at or beyond `up_to`, together at most
    /// `max_bytes`, except that the first one always comes whole. Empty at `up_to`.
    ///
    /// # Errors
    /// When the offset is outside the log, or its bytes are damaged, unreadable or gone.
    pub fn read(
        &self,
        from: Offset,
        up_to: Position,
        max_bytes: usize,
    ) -> Result<ReadRange, ReadError> {
        self.refuse_outside(from, up_to.offset)?;
        let up_to = self.sound(up_to);
        let mut range = ReadRange { pieces: Vec::new(), next_offset: from };
        let mut room = max_bytes as u64;
        let mut i = self.segment_of(from);
        while range.next_offset < up_to.offset && (room > 0 || range.is_empty()) {
            let Some(limit) = self.limit(i, up_to)? else { break };
            let first = range.is_empty();
            match self.read_segment(i, range.next_offset, limit, room, first) {
                Ok(Some((piece, next_offset))) => {
                    room = room.saturating_sub(piece.len);
                    range.next_offset = next_offset;
                    let at_end = piece.at + piece.len == limit.bytes;
                    range.pieces.push(piece);
                    if !at_end {
                        break;
                    }
                }
                Ok(None) if first => range.next_offset = limit.offset,
                Ok(None) => break,
                // What was found so far is sound and goes out; the next read meets the error again.
                Err(_) if !first => break,
                Err(error) => return Err(error),
            }
            i += 1;
        }
        Ok(range)
    }

    /// The batch that holds the first record not older than `timestamp`: its range, alone. `None`
    /// when every record below `up_to` is older. Which record of it is the first is for those to
    /// say who look into batches.
    ///
    /// # Errors
    /// As for [`LogView::read`].
    pub fn batch_for_timestamp(
        &self,
        timestamp: Millis,
        up_to: Position,
    ) -> Result<Option<ReadRange>, ReadError> {
        let up_to = self.sound(up_to);
        let found = self.first_not_older(timestamp, up_to)?;
        found.map(|header| self.read_batch(&header, up_to)).transpose()
    }

    /// The batch that holds the first record with the largest time stamp: its range, alone.
    ///
    /// # Errors
    /// As for [`LogView::read`].
    pub fn batch_of_max_timestamp(&self, up_to: Position) -> Result<Option<ReadRange>, ReadError> {
        let up_to = self.sound(up_to);
        let mut newest = NEVER;
        for i in self.segment_of(self.start)..self.segments.len() {
            let Some(limit) = self.limit(i, up_to)? else { break };
            let index = self.segments[i].index()?;
            newest = newest.max(index.boundary(index.floor_position(limit.bytes)).newest);
        }
        // The indexes do not know the few batches behind their last boundaries.
        let mut found = None;
        while let Some(header) = self.first_not_older(newest, up_to)? {
            newest = Millis(header.max_timestamp.saturating_add(1));
            found = Some(header);
        }
        found.map(|header| self.read_batch(&header, up_to)).transpose()
    }

    fn first_not_older(
        &self,
        timestamp: Millis,
        up_to: Position,
    ) -> Result<Option<BatchHeader>, ReadError> {
        for i in self.segment_of(self.start)..self.segments.len() {
            let Some(limit) = self.limit(i, up_to)? else { break };
            let newer = |header: &BatchHeader| {
                header.newest().is_some_and(|newest| newest >= timestamp)
                    && header.next_offset() > self.start
            };
            if let Some(header) = first_newer(&self.segments[i], timestamp, limit.bytes, newer)? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn read_batch(&self, header: &BatchHeader, up_to: Position) -> Result<ReadRange, ReadError> {
        self.read(header.base_offset.max(self.start), up_to, 0)
    }

    fn refuse_outside(&self, from: Offset, end: Offset) -> Result<(), ReadError> {
        if from < self.start {
            return Err(ReadError::BelowStart { offset: from, start: self.start });
        }
        if from > end {
            return Err(ReadError::BeyondEnd { offset: from, end });
        }
        match &self.damage {
            Some(damage) if from >= damage.offset && from < end => {
                Err(ReadError::Corrupt(damage.as_ref().clone()))
            }
            _ => Ok(()),
        }
    }

    /// The part of what a reader may see that is not known to be damaged.
    pub(super) fn sound(&self, up_to: Position) -> Position {
        let Some(damage) = self.damage.as_ref().filter(|at| at.offset < up_to.offset) else {
            return up_to;
        };
        let last = self.segments.last();
        let bytes = last.and_then(|last| last.sealed_len()).unwrap_or(0);
        let segment = last.map_or(damage.offset, |last| last.base());
        Position { offset: damage.offset, segment, bytes }
    }

    fn segment_of(&self, offset: Offset) -> usize {
        let after = self.segments.partition_point(|segment| segment.base() <= offset);
        // With nothing below, the log begins with a gap that compaction left.
        after.saturating_sub(1)
    }

    /// Where reading of segment `i` ends; `None` behind `up_to`.
    fn limit(&self, i: usize, up_to: Position) -> Result<Option<Position>, ReadError> {
        let Some(segment) = self.segments.get(i) else { return Ok(None) };
        let base = segment.base();
        if base > up_to.segment {
            return Ok(None);
        }
        if base == up_to.segment {
            return Ok(Some(Position { segment: base, ..up_to }));
        }
        let next = self.segments.get(i + 1).map(|next| next.base());
        match (segment.sealed_len(), next) {
            (Some(bytes), Some(offset)) => Ok(Some(Position { offset, segment: base, bytes })),
            _ => Err(ReadError::Stale),
        }
    }

    /// A piece of segment `i` from the batch that holds `from` on, and the offset behind it; `None`
    /// when the segment has nothing there.
    fn read_segment(
        &self,
        i: usize,
        from: Offset,
        limit: Position,
        room: u64,
        first: bool,
    ) -> Result<Option<(FileRange, Offset)>, ReadError> {
        let segment = &self.segments[i];
        let Some(at) = place_of(segment, from, limit.bytes)? else { return Ok(None) };
        let (mut until, mut next_offset) = (limit.bytes, limit.offset);
        if until - at > room {
            (until, next_offset) = segment.cut_after(at, room, limit)?;
            if until - at > room && !first {
                return Ok(None);
            }
        }
        let sound = segment.verify(at, until)?;
        match sound.damage {
            Some(damage) if sound.until <= at => return Err(ReadError::Corrupt(damage)),
            Some(damage) if sound.until < until => {
                (until, next_offset) = (sound.until, damage.offset);
            }
            _ => {}
        }
        let (file, path) = (segment.file()?.clone(), segment.path().clone());
        Ok(Some((FileRange { file, at, len: until - at, path }, next_offset)))
    }
}

/// Where the batch that holds `from` begins in the segment, or the first one behind it.
fn place_of(segment: &Segment, from: Offset, limit: u64) -> Result<Option<u64>, ReadError> {
    if from <= segment.base() {
        return Ok((limit > 0).then_some(0));
    }
    let index = segment.index()?;
    let i = index.floor_offset(from);
    let start = index.boundary(i);
    if start.at >= limit {
        return Ok(None);
    }
    if start.offset == from {
        return Ok(Some(start.at));
    }
    let until = if i < index.last() { index.boundary(i + 1).at.min(limit) } else { limit };
    let sound = segment.verify(start.at, until)?;
    let found = segment.find(start.at, sound.until, |header| header.next_offset() > from)?;
    match (found, sound.damage) {
        (Some((at, _)), _) => Ok(Some(at)),
        (None, Some(damage)) => Err(ReadError::Corrupt(damage)),
        // Compaction may leave nothing between `from` and the next block.
        (None, None) => Ok((until < limit).then_some(until)),
    }
}

/// The first batch of the segment that `newer` holds for; it implies a record at `timestamp` or
/// later.
fn first_newer(
    segment: &Segment,
    timestamp: Millis,
    limit: u64,
    newer: impl Fn(&BatchHeader) -> bool,
) -> Result<Option<BatchHeader>, ReadError> {
    let index = segment.index()?;
    for block in index.floor_time(timestamp)..=index.last() {
        let at = index.boundary(block).at;
        if at >= limit {
            break;
        }
        let end = if block < index.last() { index.boundary(block + 1).at } else { limit };
        let sound = segment.verify(at, end.min(limit))?;
        match (segment.find(at, sound.until, &newer)?, sound.damage) {
            (Some((_, header)), _) => return Ok(Some(header)),
            (None, Some(damage)) => return Err(ReadError::Corrupt(damage)),
            (None, None) => {}
        }
    }
    Ok(None)
}
