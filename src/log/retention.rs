//! Cutting a log, at either end. Every change is ordered so that a crash at any step leaves the old
//! log, the new one, or a shorter old one, never a mix: what says that bytes do not count is
//! durable before the bytes go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{self, Fields, Kind};
use super::frontier::{FrontierEntry, FrontierLowered};
use super::read::{Position, ReadError};
use super::segment::Segment;
use super::{AppendError, Log, compaction, producers, sidecar};
use crate::planted::{self, Bug};
use crate::storage::{Access, Disk, StorageError};
use crate::types::{Millis, Offset, TopicPartition};

/// Name of the file in a partition's directory.
pub(super) const LOG_START_NAME: &str = "log-start";
pub(super) const LOG_START: Kind =
    Kind { magic: *b"RVLS", name: LOG_START_NAME, version: 1, payload_bytes_max: 8 };
/// Extension of a segment that is being removed.
pub(super) const DELETED: &str = "deleted";

/// Why a log was not cut.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A sync is under way; try again when it has finished.
    #[error("a sync is under way")]
    Busy,
    /// The offset is beyond the end of the log.
    #[error("offset {offset} is beyond the end {end} of the log")]
    BeyondEnd {
        /// As asked for.
        offset: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The log takes no changes, or this one failed.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// The place to cut at can not be found.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
}

/// What a truncation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The new end.
    pub end: Position,
    /// How many offsets are gone.
    pub offsets: i64,
}

impl Log {
    /// Where a truncation to `to` would cut: there, or at the start of the batch that holds it. The
    /// frontier has to be lowered to it before [`Log::truncate_to`] may cut.
    ///
    /// # Errors
    /// When the place can not be read.
    pub fn plan_truncation(&self, to: Offset) -> Result<FrontierEntry, ReadError> {
        let cut = self.cut_for(to)?;
        let (segment_base, end_offset) = (cut.segment, cut.offset);
        Ok(FrontierEntry { segment_base, end_offset, position: cut.bytes })
    }

    fn cut_for(&self, to: Offset) -> Result<Position, ReadError> {
        if to >= self.end.offset {
            return Ok(self.end);
        }
        let after = self.segments.partition_point(|segment| segment.base() <= to);
        let Some(segment) = after.checked_sub(1).map(|i| &self.segments[i]) else {
            let base = self.segments.first().map_or(self.end.segment, |first| first.base());
            return Ok(Position { offset: base, segment: base, bytes: 0 });
        };
        segment.position_below(to, segment.sealed_len().unwrap_or(self.end.bytes))
    }

    /// Removes everything from `to` on, and the rest of the batch that holds it.
    ///
    /// # Errors
    /// When it can not be done now, or the disk fails, which poisons the log.
    ///
    /// # Panics
    /// When the frontier was not lowered for this.
    pub fn truncate_to(
        &mut self,
        to: Offset,
        partition: TopicPartition,
        lowered: &FrontierLowered,
    ) -> Result<Truncated, ChangeError> {
        self.refuse_change()?;
        let (cut, old_end) = (self.cut_for(to)?, self.end.offset);
        assert!(lowered.permits(partition, cut.offset), "the frontier is lowered before the cut");
        self.lowerings = lowered.lowerings();
        if cut != self.end {
            self.lower_compaction(cut.offset)?;
            self.cut_files(cut).map_err(|error| self.poison(error))?;
            self.cut_memory(cut)?;
        }
        Ok(Truncated { end: self.end, offsets: old_end.0 - self.end.offset.0 })
    }

    /// What is said of the log's compaction holds no more beyond its new end.
    fn lower_compaction(&mut self, end: Offset) -> Result<(), ChangeError> {
        let lowered = compaction::lower(self.disk.as_ref(), &self.dir, end);
        lowered.map_err(|error| self.poison(error))?;
        let progress = &mut self.compaction;
        progress.gaps_below = progress.gaps_below.min(end);
        progress.clean_to = progress.clean_to.min(end);
        progress.cuts += 1;
        Ok(())
    }

    fn cut_files(&mut self, cut: Position) -> Result<(), StorageError> {
        let disk = self.disk.as_ref();
        for (_, file) in self.pending.files.drain(..) {
            file.sync()?;
        }
        producers::remove_snapshots_above(disk, &self.dir, cut.offset)?;
        let kept = self.kept_by(cut);
        cut_segments(disk, &self.dir, &self.segments[kept..])?;
        match self.segments[..kept].last() {
            Some(last) => cut_file(disk, &self.dir, last.path(), cut.bytes),
            None => Ok(()),
        }
    }

    /// How many segments stay. None when the batch that holds the log start is cut off whole: the
    /// start stays where it is, and what comes next begins there in a segment of its own.
    fn kept_by(&self, cut: Position) -> usize {
        let is_below_start = cut.offset < self.start;
        let kept = self.segments.partition_point(|segment| segment.base() <= cut.segment);
        if is_below_start { 0 } else { kept }
    }

    fn cut_memory(&mut self, cut: Position) -> Result<(), ChangeError> {
        let kept = self.kept_by(cut);
        let mut segments = self.segments[..kept].to_vec();
        if let Some(last) = segments.last_mut() {
            *last = Arc::new(last.cut(cut));
        }
        self.sealed_bytes = sizes(&segments[..segments.len().saturating_sub(1)]);
        self.segments = Arc::new(segments);
        (self.active, self.last_batch) = (None, None);
        let end = if kept == 0 { Position::start_of(self.start.max(cut.offset)) } else { cut };
        (self.end, self.synced) = (end, end);
        self.recent.retain(|at| at.offset <= cut.offset && at.segment <= cut.segment);
        self.pending.forget_cut();
        self.pending.epochs |= self.epochs.truncate_from_end(cut.offset);
        if self.producers.truncate_to(cut.offset) == producers::Truncated::Rebuild {
            self.rebuild_producers().map(drop)?;
        }
        Ok(())
    }

    /// Makes `to` the first offset of the log, durably, and removes the segments that lie wholly
    /// below it. A lower offset than the present start changes nothing.
    ///
    /// # Errors
    /// When it can not be done now, or the disk fails, which poisons the log.
    pub fn advance_start(&mut self, to: Offset) -> Result<(), ChangeError> {
        self.refuse_change()?;
        if to > self.end.offset {
            return Err(ChangeError::BeyondEnd { offset: to, end: self.end.offset });
        }
        if to > self.start {
            if !planted::is(Bug::ForgetLogStart) {
                self.save_start(to)?;
            }
            self.start = to;
            self.pending.epochs |= self.epochs.truncate_from_start(to);
        }
        self.drop_below_start()
    }

    /// Empties the log and lets it begin at `to`, as a replica does that has fallen behind the
    /// start of its leader's log.
    ///
    /// # Errors
    /// When it can not be done now, or the disk fails, which poisons the log.
    ///
    /// # Panics
    /// When the frontier was not lowered for this.
    pub fn restart_at(
        &mut self,
        to: Offset,
        partition: TopicPartition,
        lowered: &FrontierLowered,
    ) -> Result<(), ChangeError> {
        self.refuse_change()?;
        if self.segments.is_empty() {
            self.disk.create_dir_all(&self.dir).map_err(|error| self.poison(error))?;
        }
        assert!(lowered.permits(partition, self.start.min(to)), "the frontier is lowered first");
        self.lowerings = lowered.lowerings();
        self.lower_compaction(Offset::ZERO)?;
        // From here on a crash leaves an empty log that begins at `to`.
        self.save_start(to)?;
        let cut = Position { offset: to, segment: to, bytes: 0 };
        let disk = self.disk.clone();
        let removed = producers::remove_snapshots_above(disk.as_ref(), &self.dir, Offset(-1))
            .and_then(|()| cut_segments(disk.as_ref(), &self.dir, &self.segments));
        removed.map_err(|error| self.poison(error))?;
        self.segments = Arc::default();
        (self.active, self.last_batch, self.sealed_bytes) = (None, None, 0);
        (self.start, self.end, self.synced) = (to, cut, cut);
        self.recent.clear();
        self.pending.forget_cut();
        self.pending.epochs |= self.epochs.truncate_from_end(Offset::ZERO);
        self.producers = producers::Producers::new();
        Ok(())
    }

    /// Removes the oldest segments that retention no longer keeps, none that holds anything at or
    /// above `high_watermark`. Returns whether the log start moved.
    ///
    /// # Errors
    /// As for [`Log::advance_start`].
    pub fn enforce_retention(
        &mut self,
        now: Millis,
        high_watermark: Offset,
    ) -> Result<bool, ChangeError> {
        self.refuse_change()?;
        self.roll_if_overdue(now, high_watermark)?;
        self.roll_if_expired(now, high_watermark)?;
        let mut size = self.size_bytes();
        let mut start = self.start;
        for (segment, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            let len = segment.sealed_len().unwrap_or(0);
            let too_much = self.config.retention_bytes.is_some_and(|most| size - len >= most);
            if next.base() > high_watermark || !(too_much || self.is_expired(segment, now)?) {
                break;
            }
            size -= len;
            start = next.base();
        }
        let moves = start > self.start;
        if moves && !self.may_remove_below(start)? {
            return Ok(false);
        }
        if moves || self.is_below_start(0) {
            self.advance_start(start)?;
        }
        Ok(moves)
    }

    /// The last segment never goes, so one that is old enough to go is followed by an empty one.
    fn roll_if_expired(&mut self, now: Millis, high_watermark: Offset) -> Result<(), ChangeError> {
        if self.config.retention_ms.is_none()
            || self.end.bytes == 0
            || self.end.offset > high_watermark
        {
            return Ok(());
        }
        if self.active.is_none() {
            self.prepare()?;
        }
        let newest = self.active.as_ref().expect("just prepared").newest();
        if is_older(newest, now, self.config.retention_ms) {
            self.roll()?;
        }
        Ok(())
    }

    fn is_expired(&self, segment: &Segment, now: Millis) -> Result<bool, ChangeError> {
        if self.config.retention_ms.is_none() {
            return Ok(false);
        }
        let newest = segment.newest().map_err(ReadError::from)?;
        Ok(is_older(newest, now, self.config.retention_ms))
    }

    fn refuse_change(&self) -> Result<(), ChangeError> {
        self.refuse_if_unusable()?;
        if self.pending.is_busy() || self.compaction.exchanging {
            // The job may be writing the very files that are to go.
            return Err(ChangeError::Busy);
        }
        Ok(())
    }

    fn save_start(&mut self, start: Offset) -> Result<(), ChangeError> {
        let saved = save_log_start(self.disk.as_ref(), &self.dir, start);
        match saved {
            Err(error) if error.is_full() => Err(AppendError::Full(error).into()),
            Err(error) => Err(self.refuse(error).into()),
            Ok(()) => Ok(()),
        }
    }

    /// Whether segment `i` lies wholly below the log start.
    fn is_below_start(&self, i: usize) -> bool {
        self.segments.get(i + 1).is_some_and(|next| next.base() <= self.start)
    }

    /// Whether what the segments below `first` tell of producers outlives them (P2). If not, it is
    /// written down after the next sync, and the segments stay until then.
    fn may_remove_below(&mut self, first: Offset) -> Result<bool, ChangeError> {
        if self.producers.is_empty() {
            return Ok(true);
        }
        let newest = producers::newest_snapshot(self.disk.as_ref(), &self.dir);
        if newest.map_err(|error| self.refuse(error))?.is_some_and(|at| at >= first) {
            // A process that was killed may not have made its name durable.
            self.disk.sync_dir(&self.dir).map_err(|error| self.refuse(error))?;
            return Ok(true);
        }
        if self.pending.after.snapshot.is_none() && self.pending.due.snapshot.is_none() {
            self.note_snapshot();
        }
        Ok(false)
    }

    fn drop_below_start(&mut self) -> Result<(), ChangeError> {
        let dropped = (0..).take_while(|&i| self.is_below_start(i)).count();
        if dropped == 0 || !self.may_remove_below(self.segments[dropped].base())? {
            return Ok(());
        }
        let gone = self.segments[..dropped].to_vec();
        self.sealed_bytes -= sizes(&gone);
        self.segments = Arc::new(self.segments[dropped..].to_vec());
        self.pending.forget_removed(self.segments[0].base());
        remove_segments(self.disk.as_ref(), &self.dir, gone.iter().map(|gone| gone.path().as_ref()))
            .map_err(|error| self.poison(error).into())
    }
}

fn sizes(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().filter_map(|segment| segment.sealed_len()).sum()
}

fn is_older(newest: Millis, now: Millis, retention_ms: Option<i64>) -> bool {
    let forgetful = planted::is(Bug::RetainNothing);
    retention_ms.is_some_and(|kept_ms| forgetful || now.0.saturating_sub(newest.0) > kept_ms)
}

/// Removes the segments with these `.log` paths: renamed, the renames made durable, then unlinked.
pub(super) fn remove_segments<'a>(
    disk: &dyn Disk,
    dir: &Path,
    logs: impl Iterator<Item = &'a Path> + Clone,
) -> Result<(), StorageError> {
    for log in logs.clone() {
        disk.rename(log, &deleted(log))?;
    }
    disk.sync_dir(dir)?;
    for log in logs {
        disk.remove(&deleted(log))?;
        sidecar::remove(disk, log)?;
    }
    Ok(())
}

/// Removes segments at the end, the last one first and each durably, so that a crash never leaves a
/// hole.
pub(super) fn cut_segments(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Arc<Segment>],
) -> Result<(), StorageError> {
    for segment in segments.iter().rev() {
        // A segment that begins here again must not meet the side files of this one: they go with
        // the same sync that makes the name go.
        sidecar::remove(disk, segment.path())?;
        remove_segments(disk, dir, std::iter::once(segment.path().as_ref()))?;
    }
    Ok(())
}

/// Cuts a segment's file. Its side files go first: they may tell of what is cut off.
pub(super) fn cut_file(
    disk: &dyn Disk,
    dir: &Path,
    log: &Path,
    len: u64,
) -> Result<(), StorageError> {
    sidecar::remove(disk, log)?;
    disk.sync_dir(dir)?;
    let file = disk.open(log, Access::Write)?;
    file.truncate(len)?;
    file.sync()?;
    Ok(())
}

fn deleted(log: &Path) -> PathBuf {
    log.with_extension(format!("log.{DELETED}"))
}

/// Makes the log start durable.
pub(super) fn save_log_start(
    disk: &dyn Disk,
    dir: &Path,
    start: Offset,
) -> Result<(), StorageError> {
    checkpoint::write(disk, &dir.join(LOG_START.name), &LOG_START, &start.0.to_be_bytes())?;
    Ok(())
}

/// The log start as written down; `None` when it never moved.
///
/// # Errors
/// When the file is there and can not be read as what it is.
pub fn load_log_start(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<Offset>, checkpoint::ReadError> {
    let bytes = match checkpoint::read(disk, &dir.join(LOG_START.name), &LOG_START) {
        Err(error) if error.is_not_found() => return Ok(None),
        bytes => bytes?,
    };
    let (_, payload) = checkpoint::decode(&LOG_START, &bytes)?;
    let mut fields = Fields::new(&LOG_START, payload);
    let start = Offset(fields.i64()?);
    if start < Offset::ZERO {
        return Err(fields.broken("the log start is negative").into());
    }
    fields.end()?;
    Ok(Some(start))
}
