//! One pass over a log, step by step: note the newest offset of each key in what is dirty, then
//! write anew what is not. Owns the state between two steps; which thread takes them, and when, is
//! its holder's business.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::index::Index;
use super::super::read::Position;
use super::super::segment::Segment;
use super::map::OffsetMap;
use super::output::Output;
use super::reader::Reader;
use super::rewrite::{Fate, Judge};
use super::transactions::Aborted;
use super::{CompactionConfig, CompactionError, Exchange, Log, state};
use crate::limits::COMPACTION_GROUP_SEGMENTS_MAX;
use crate::record::{CheckedBatch, Record, Scratch};
use crate::storage::Disk;
use crate::types::{Millis, Offset};

/// What a pass may use.
#[derive(Clone, Copy, Debug)]
pub struct CompactionOptions {
    /// Memory for keys, in bytes.
    pub memory_bytes: usize,
    /// Secret and different for every pass, so that nobody can make keys collide.
    pub seed: u128,
    /// Nothing at or above this offset is looked at.
    pub until: Offset,
}

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Bytes of batches that were read, those read twice counted twice.
    pub read_bytes: u64,
    /// Bytes of segments that were written.
    pub written_bytes: u64,
    /// Bytes that the log is smaller.
    pub removed_bytes: u64,
    /// Records that are gone from it.
    pub removed_records: u64,
    /// How many of those had no key.
    pub keyless_records: u64,
    /// Segments that were replaced.
    pub replaced_segments: u64,
    /// Segments that took their places.
    pub new_segments: u64,
    /// Keys that were noted.
    pub keys: u64,
}

/// Where a step has come to.
#[derive(Debug)]
pub enum CompactionStep {
    /// There is more to do; so many bytes were read and written.
    More(u64),
    /// The owner of the log is to be asked for this before the next step.
    Exchange(Exchange),
    /// Nothing is left. `is_whole`: all was looked at that there was to look at; else another pass
    /// has to follow, because memory did not suffice for all keys.
    Done {
        /// See above.
        is_whole: bool,
    },
}

/// A compacted segment that is durable and has not taken its place yet.
pub struct Compacted {
    pub(super) replaced: Vec<Arc<Segment>>,
    /// Where the segments that it replaces end.
    pub(super) end: Offset,
    pub(super) index: Arc<Index>,
    pub(super) len: u64,
}

/// A segment that the pass reads.
struct Source {
    segment: Arc<Segment>,
    len: u64,
    /// Where the next one begins.
    end: Offset,
}

enum Phase {
    /// Reading what is dirty.
    Note {
        source: usize,
        reader: Reader,
    },
    /// Writing what stays. Segments that are done with are let go of, so that their files can go.
    Rewrite(Option<Box<Group>>),
    /// Telling the owner.
    Tell,
    Done,
}

/// Neighbours that become one segment.
struct Group {
    /// How many of the segments that are left.
    count: usize,
    reader: Reader,
    /// None while everything stays as it is.
    output: Option<Output>,
    /// Until then: how far the only segment of the group stays as it is.
    same_until: u64,
    /// The last batch of the segment that was read last, if it is needed only for being the last.
    last: Option<CheckedBatch>,
}

/// A pass under way.
pub struct Compaction {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    segment_bytes: u64,
    interval: u64,
    /// All segments of the log, as when the pass began, and where what is committed ended.
    segments: Arc<Vec<Arc<Segment>>>,
    committed: Position,
    sources: VecDeque<Source>,
    end: Offset,
    first_dirty: Offset,
    judge: Judge,
    phase: Phase,
    report: CompactionReport,
    cuts: u32,
    is_cancelled: Arc<AtomicBool>,
}

impl Compaction {
    pub(super) fn new(
        log: &Log,
        config: CompactionConfig,
        now: Millis,
        dirty: Range<usize>,
        committed: Position,
        options: CompactionOptions,
    ) -> Compaction {
        let source = |i: usize| {
            let (segment, end) = (Arc::clone(&log.segments[i]), log.segments[i + 1].base());
            let len = segment.sealed_len().expect("what another segment follows is sealed");
            Source { segment, len, end }
        };
        let map = OffsetMap::new(options.seed, options.memory_bytes);
        let needed = log.producers.needed();
        let end = log.segments[dirty.end].base();
        let mut judge = Judge::new(map, now, config.delete_retention_ms, needed);
        judge.map_end = end;
        let first = &log.segments[dirty.start];
        let reader = Reader::new(first, 0, first.sealed_len().unwrap_or(0));
        Compaction {
            disk: log.disk.clone(),
            dir: log.dir.clone(),
            segment_bytes: log.config.segment_bytes,
            interval: log.config.index_interval_bytes as u64,
            segments: log.segments.clone(),
            committed,
            sources: (0..dirty.end).map(source).collect(),
            end,
            first_dirty: log.compaction.clean_to.max(first.base()),
            judge,
            phase: Phase::Note { source: dirty.start, reader },
            report: CompactionReport::default(),
            cuts: log.compaction.cuts,
            is_cancelled: Arc::default(),
        }
    }

    /// What has been done so far.
    #[must_use]
    pub fn report(&self) -> &CompactionReport {
        &self.report
    }

    /// Whether the owner wants the pass to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Lets its holder end the pass from elsewhere.
    #[must_use]
    pub fn cancellation(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_cancelled)
    }

    /// Goes on for about so many bytes. After an exchange was asked for, only once the owner has
    /// carried it out.
    ///
    /// # Errors
    /// When the pass can not go on; it has to be [abandoned](Compaction::abandon).
    pub fn step(&mut self, bytes_max: u64) -> Result<CompactionStep, CompactionError> {
        let before = self.work_bytes();
        loop {
            let asked = match &mut self.phase {
                Phase::Note { .. } => self.note_batch()?,
                Phase::Rewrite(_) => self.rewrite_batch()?,
                Phase::Tell => {
                    self.phase = Phase::Done;
                    let (clean_to, cuts) = (self.judge.map_end, self.cuts);
                    Some(Exchange::CleanTo { clean_to, cuts })
                }
                Phase::Done => {
                    // Without any progress, another pass would make none either.
                    let reached = self.judge.map_end;
                    let is_whole = reached == self.end || reached <= self.first_dirty;
                    return Ok(CompactionStep::Done { is_whole });
                }
            };
            if let Some(asked) = asked {
                return Ok(CompactionStep::Exchange(asked));
            }
            let done = self.work_bytes() - before;
            if done >= bytes_max {
                return Ok(CompactionStep::More(done));
            }
        }
    }

    /// Ends the pass and removes what has not taken its place.
    pub fn abandon(self) {
        if let (Phase::Rewrite(Some(_)), Some(first)) = (&self.phase, self.sources.front()) {
            self.discard(first.segment.base());
        }
    }

    /// Removes a compacted segment that the owner did not take. The next start does it otherwise.
    fn discard(&self, base: Offset) {
        if let Err(error) = state::remove_cleaned(self.disk.as_ref(), &self.dir, base) {
            tracing::debug!(%error, "what is left of a compaction goes with the next start");
        }
    }

    /// Removes what an exchange that was refused would have put in place.
    pub fn refused(&self, exchange: &Exchange) {
        if let Exchange::Segment(compacted) = exchange {
            self.discard(compacted.replaced[0].base());
        }
    }

    fn work_bytes(&self) -> u64 {
        self.report.read_bytes + self.report.written_bytes
    }

    /// Notes the keys of the next dirty batch.
    fn note_batch(&mut self) -> Result<Option<Exchange>, CompactionError> {
        let Phase::Note { source, reader } = &mut self.phase else { return Ok(None) };
        let Some(batch) = reader.next()? else {
            let next = *source + 1;
            match self.sources.get(next) {
                Some(Source { segment, len, .. }) => {
                    let reader = Reader::new(segment, 0, *len);
                    self.phase = Phase::Note { source: next, reader };
                }
                None => self.begin_rewrite(),
            }
            return Ok(None);
        };
        self.report.read_bytes += batch.bytes().len() as u64;
        let header = batch.header();
        if header.is_control() || header.next_offset() <= self.first_dirty {
            return Ok(None);
        }
        if header.is_transactional() && self.judge.aborted.is_none() {
            let from = header.base_offset.min(self.first_dirty);
            let aborted = Aborted::read(&self.segments, from, self.committed)?;
            self.judge.map_end = self.judge.map_end.min(aborted.known_to);
            self.judge.aborted = Some(aborted);
        }
        let aborted = self.judge.aborted.as_ref();
        let is_aborted = aborted.is_some_and(|aborted| aborted.has(header));
        let next = header.next_offset();
        let is_full = !is_aborted && !self.note_keys(&batch);
        if is_full || next >= self.judge.map_end {
            self.begin_rewrite();
        }
        Ok(None)
    }

    /// Notes the keys of a batch; whether there was room for all of them.
    fn note_keys(&mut self, batch: &CheckedBatch) -> bool {
        let mut scratch = std::mem::take(&mut self.judge.scratch);
        let room = self.note_records(batch, &mut scratch);
        self.judge.scratch = scratch;
        room
    }

    fn note_records(&mut self, batch: &CheckedBatch, scratch: &mut Scratch) -> bool {
        // What can not be read stays as it is, and says nothing of any key.
        let Ok(records) = batch.records(scratch) else { return true };
        let offset_of =
            |record: &Record<'_>| batch.header().base_offset.plus(i64::from(record.offset_delta));
        for record in records {
            let Ok(record) = record else { return true };
            let offset = offset_of(&record);
            if offset < self.first_dirty || offset >= self.judge.map_end {
                continue;
            }
            let Some(key) = record.key else { continue };
            if !self.judge.map.put(key, offset) {
                self.judge.map_end = offset;
                return false;
            }
        }
        true
    }

    fn begin_rewrite(&mut self) {
        self.report.keys = self.judge.map.len() as u64;
        self.segments = Arc::default();
        self.phase = Phase::Rewrite(None);
    }

    /// Decides about the next batch, and at the end of a segment whether the next one joins it.
    fn rewrite_batch(&mut self) -> Result<Option<Exchange>, CompactionError> {
        let Phase::Rewrite(Some(group)) = &mut self.phase else {
            self.begin_group();
            return Ok(None);
        };
        let Some(batch) = group.reader.next()? else { return self.end_segment() };
        self.report.read_bytes += batch.bytes().len() as u64;
        let fate = self.judge.judge(&batch, &mut self.report)?;
        let is_last = group.reader.is_at_end();
        match fate {
            Fate::Stays if group.output.is_none() => group.same_until = group.reader.at(),
            Fate::Stays => self.put(&batch)?,
            Fate::Changes(changed) => self.put(&changed)?,
            Fate::Goes if is_last => {
                let emptied = self.judge.emptied(&batch)?;
                let is_same = batch.header().records_count == 0;
                if !is_same || group.output.is_some() {
                    self.begin_output()?;
                }
                self.group().last = Some(emptied);
            }
            Fate::Goes => self.begin_output()?,
        }
        Ok(None)
    }

    fn begin_group(&mut self) {
        let is_behind = |source: &&Source| source.segment.base() < self.judge.map_end;
        let Some(first) = self.sources.front().filter(is_behind) else {
            self.phase = Phase::Tell;
            return;
        };
        let reader = Reader::new(&first.segment, 0, first.len);
        let (output, same_until, last) = (None, 0, None);
        let group = Group { count: 1, reader, output, same_until, last };
        self.phase = Phase::Rewrite(Some(Box::new(group)));
    }

    fn group(&mut self) -> &mut Group {
        match &mut self.phase {
            Phase::Rewrite(Some(group)) => group,
            _ => unreachable!("asked for only while a group is rewritten"),
        }
    }

    /// Writes a batch of the group in hand.
    fn put(&mut self, batch: &CheckedBatch) -> Result<(), CompactionError> {
        self.begin_output()?;
        let output = self.group().output.as_mut().expect("just begun");
        output.push(batch).map_err(CompactionError::Unwritable)?;
        self.report.written_bytes += batch.bytes().len() as u64;
        Ok(())
    }

    /// Begins to write the group in hand, with what has stayed as it is so far.
    fn begin_output(&mut self) -> Result<(), CompactionError> {
        if self.group().output.is_some() {
            return Ok(());
        }
        let until = self.group().same_until;
        let segment = Arc::clone(&self.sources[0].segment);
        let created = Output::create(self.disk.as_ref(), &self.dir, segment.base(), self.interval);
        let mut output = created.map_err(CompactionError::Unwritable)?;
        let mut reader = Reader::new(&segment, 0, until);
        while let Some(batch) = reader.next()? {
            output.push(&batch).map_err(CompactionError::Unwritable)?;
        }
        self.report.read_bytes += until;
        self.report.written_bytes += until;
        self.group().output = Some(output);
        Ok(())
    }

    fn end_segment(&mut self) -> Result<Option<Exchange>, CompactionError> {
        if self.joins() {
            self.begin_output()?;
            let count = self.group().count;
            let next = &self.sources[count];
            let reader = Reader::new(&next.segment, 0, next.len);
            let group = self.group();
            // It was kept for being the last, which it is not any more.
            (group.count, group.reader, group.last) = (count + 1, reader, None);
            return Ok(None);
        }
        if let Some(last) = self.group().last.take()
            && self.group().output.is_some()
        {
            self.put(&last)?;
        }
        self.end_group()
    }

    /// Makes what was written durable, if anything was.
    fn end_group(&mut self) -> Result<Option<Exchange>, CompactionError> {
        let Phase::Rewrite(group) = &mut self.phase else { return Ok(None) };
        let Some(group) = group.take() else { return Ok(None) };
        let sources: Vec<Source> = self.sources.drain(..group.count).collect();
        let Some(mut output) = group.output else { return Ok(None) };
        let end = sources.last().expect("a group has a segment").end;
        if let Err(error) = output.finish(self.disk.as_ref(), &self.dir, end) {
            self.discard(sources[0].segment.base());
            return Err(CompactionError::Unwritable(error));
        }
        let old: u64 = sources.iter().map(|source| source.len).sum();
        self.report.removed_bytes += old.saturating_sub(output.len());
        self.report.replaced_segments += sources.len() as u64;
        self.report.new_segments += 1;
        let replaced = sources.into_iter().map(|source| source.segment).collect();
        let (index, len) = (Arc::clone(output.index()), output.len());
        Ok(Some(Exchange::Segment(Box::new(Compacted { replaced, end, index, len }))))
    }

    /// Whether the next segment becomes one with the group in hand.
    fn joins(&self) -> bool {
        let Phase::Rewrite(Some(group)) = &self.phase else { return false };
        let Some(next) = self.sources.get(group.count) else { return false };
        let first = &self.sources[0];
        let len = group.output.as_ref().map_or(first.len, Output::len);
        next.segment.base() < self.judge.map_end
            && len + next.len <= self.segment_bytes
            && next.end.0 - first.segment.base().0 <= i64::from(u32::MAX)
            && group.count < COMPACTION_GROUP_SEGMENTS_MAX
    }
}

impl std::fmt::Debug for Compacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, count) = (self.replaced[0].base(), self.replaced.len());
        write!(f, "Compacted({count} segments from {first} to {}, {} bytes)", self.end, self.len)
    }
}

impl std::fmt::Debug for Compaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compaction").field("report", &self.report).finish_non_exhaustive()
    }
}
