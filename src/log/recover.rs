//! Recovery of one log: observing the facts that the decision table asks for, carrying out what it
//! decides, and restoring what is known of the batches. What is decided is in `recovery` alone.

use std::path::PathBuf;
use std::sync::Arc;

use super::epochs::LeaderEpochs;
use super::frontier::FrontierEntry;
use super::open::{KnownFrontier, OpenError};
use super::read::{Damage, Position, ReadError};
use super::recovery::{
    self, CleanMarker, Decision, Facts, Found, FrontierKnown, Gaps, Indexes, Place, Quarantine,
    Recovery, ScanFrom, SegmentSeen, SyncFailed, Truncation,
};
use super::segment::Segment;
use super::sync::SYNC_FAILED;
use super::{Log, producers, retention, sidecar};
use crate::planted::{self, Bug};
use crate::record::BatchHeader;
use crate::storage::{Access, StorageError};
use crate::types::{LeaderEpoch, Millis, Offset};

/// What a look at the log found.
struct Look {
    /// Where it began; what lies below was known to be sound.
    from: Offset,
    /// First segment that was looked at, and where in it.
    first: usize,
    first_at: u64,
    /// Segment, by number, in which it ended, and where.
    segment: usize,
    end: Position,
    found: Found,
    /// It is the next segment that does not begin there.
    is_joint: bool,
    why: String,
}

/// A log that is being recovered.
pub(super) struct Recoverer<'a> {
    pub(super) log: &'a mut Log,
    /// The larger of the journal's entry and the end that a contradicted clean-shutdown marker
    /// gave.
    pub(super) frontier: Option<FrontierEntry>,
    pub(super) known: KnownFrontier,
    pub(super) clean: CleanMarker,
    /// A sync had failed.
    pub(super) sync_failed: bool,
    pub(super) indexes: Indexes,
    pub(super) report: Recovery,
}

impl Recoverer<'_> {
    /// Goes through the table until the log is open or in quarantine. Returns the offset below
    /// which nothing was looked at.
    pub(super) fn run(&mut self) -> Result<Offset, OpenError> {
        let mut facts = self.first_facts();
        let mut look = None;
        loop {
            let row = recovery::decide(&facts);
            match (row.decision, &mut look) {
                (Decision::OpenWithoutScan, _) => {
                    if self.hole_below(self.log.segments.len()).is_none() {
                        return Ok(self.log.end.offset);
                    }
                    // The marker speaks of the last segment only.
                    facts.clean = CleanMarker::Contradicted;
                }
                (Decision::RebuildIndexes, _) => {
                    self.rebuild_indexes()?;
                    facts.indexes = Indexes::Usable;
                }
                (Decision::ScanAboveFrontier, look) => {
                    *look = Some(self.look_above()?);
                    self.observe(&mut facts, look.as_ref());
                }
                (Decision::ScanAll, look) => {
                    *look = Some(self.look_at_all()?);
                    self.observe(&mut facts, look.as_ref());
                }
                (_, None) => unreachable!("the table decides nothing else before a look"),
                (Decision::RewriteAboveFrontier, Some(look)) => {
                    self.rewrite(look)?;
                    facts.sync_failed = SyncFailed::No;
                }
                (Decision::CutZeros, Some(look))
                | (Decision::Truncate, Some(look))
                | (Decision::TruncateAndDropLater, Some(look)) => {
                    self.cut(look, row.decision)?;
                    facts.found = Found::Sound;
                }
                (Decision::SyncTailAndOpen, Some(look)) => {
                    if !planted::is(Bug::ShowUnsyncedTail) {
                        self.sync_from(look)?;
                    }
                    return Ok(look.from);
                }
                (Decision::Quarantine, Some(look)) => {
                    self.quarantine(look);
                    return Ok(look.from);
                }
            }
        }
    }

    fn first_facts(&self) -> Facts {
        let failed = self.sync_failed && !planted::is(Bug::IgnoreSyncFailed);
        Facts {
            clean: self.clean,
            frontier: match self.known {
                KnownFrontier::Missing => FrontierKnown::No,
                KnownFrontier::At(None) => FrontierKnown::NoEntry,
                KnownFrontier::At(Some(_)) => FrontierKnown::Entry,
            },
            // What is only read is not written again; whoever opens it for writing will.
            sync_failed: if failed && self.log.writable { SyncFailed::Yes } else { SyncFailed::No },
            found: Found::NotLooked,
            place: Place::AtOrAbove,
            segment: recovery::Segment::Last,
            indexes: self.indexes,
        }
    }

    fn observe(&self, facts: &mut Facts, look: Option<&Look>) {
        let look = look.expect("there has just been a look");
        // What is missing is not proved to have been synced, whatever is known of what is before
        // it.
        let segment = match look.is_joint {
            true => recovery::Segment::Unproved,
            false => self.kind(look.segment),
        };
        let base = look.end.segment;
        facts.found = look.found;
        facts.segment = segment;
        facts.place = recovery::place(self.frontier.as_ref(), base, look.end.bytes, segment);
    }

    /// Whether a segment was synced whole before the next one began. Side files are written behind
    /// the sync, so complete ones prove it.
    fn kind(&self, i: usize) -> recovery::Segment {
        let segments = &self.log.segments;
        let Some(next) = segments.get(i + 1) else { return recovery::Segment::Last };
        match self.sealed_end(i) {
            Some(offset) if offset <= next.base() => recovery::Segment::Sealed,
            _ => recovery::Segment::Unproved,
        }
    }

    /// Offset at the end of a segment whose side files are complete.
    fn sealed_end(&self, i: usize) -> Option<Offset> {
        let segment = &self.log.segments[i];
        let (disk, len) = (self.log.disk.as_ref(), len_of(segment));
        // A glance at the last entry spares reading most files that are not complete.
        let (_, at) = sidecar::last_place(disk, segment.path(), segment.base())?;
        let last = || sidecar::load(disk, segment.path(), segment.base(), len).last_boundary();
        (at == len && len > 0).then(last).filter(|last| last.at == len).map(|last| last.offset)
    }

    /// Looks at everything that is not known to be synced.
    fn look_above(&mut self) -> Result<Look, StorageError> {
        let Some(frontier) = self.frontier else {
            let first = (0..self.log.segments.len())
                .find(|&i| self.kind(i) != recovery::Segment::Sealed)
                .expect("the last segment is not a sealed one");
            return self.look_behind_sealed(first);
        };
        let upto = self.log.segments.partition_point(|at| at.base() <= frontier.segment_base);
        if let Some(hole) = self.hole_below(upto) {
            return Ok(hole);
        }
        let above = self.log.segments.iter().enumerate().skip(upto.saturating_sub(1));
        let kinds: Vec<_> = above
            .map(|(i, at)| SegmentSeen { base: at.base(), bytes: len_of(at), kind: self.kind(i) })
            .collect();
        if recovery::falls_short(&frontier, &kinds) {
            return self.look_at_short(upto.saturating_sub(1));
        }
        match kinds.first() {
            Some(first) if first.base == frontier.segment_base => match first.kind {
                recovery::Segment::Sealed => self.look_behind_sealed(upto),
                _ => self.look(upto - 1, frontier.position, Some(frontier.end_offset)),
            },
            _ => self.look_behind_sealed(upto.min(self.log.segments.len() - 1)),
        }
    }

    /// Looks at segment `i` and those behind it, and whether it follows the sealed one before it.
    fn look_behind_sealed(&mut self, i: usize) -> Result<Look, StorageError> {
        let before = i.checked_sub(1);
        match before.and_then(|before| Some((before, self.sealed_end(before)?))) {
            Some((before, end)) => self.look(before, len_of(&self.log.segments[before]), Some(end)),
            None => self.look(i, 0, None),
        }
    }

    /// Looks at everything, which may end before what was synced did.
    fn look_at_all(&mut self) -> Result<Look, StorageError> {
        let look = self.look(0, 0, None)?;
        let durable = self.frontier.map_or(look.end.offset, |frontier| frontier.end_offset);
        let is_short = look.found == Found::Sound && look.end.offset < durable;
        if is_short { self.look_at_short(0) } else { Ok(look) }
    }

    /// Finds the end of what is there when less is there than was synced.
    fn look_at_short(&mut self, segment: usize) -> Result<Look, StorageError> {
        let mut look = self.look(segment, 0, None)?;
        if look.found == Found::Sound {
            look.why = "the log ends before what was known to be synced".to_owned();
        }
        look.found = Found::Short;
        Ok(look)
    }

    /// A segment missing among the first `count`, as far as side files tell.
    fn hole_below(&self, count: usize) -> Option<Look> {
        for i in 1..count {
            let segment = &self.log.segments[i - 1];
            let (disk, next) = (self.log.disk.as_ref(), self.log.segments[i].base());
            let (offset, at) =
                sidecar::last_place(disk, segment.path(), segment.base()).unwrap_or((next, 0));
            if offset < next && at == len_of(segment) && self.sealed_end(i - 1) == Some(offset) {
                let end = Position { offset, segment: segment.base(), bytes: at };
                return Some(hole(i - 1, end));
            }
        }
        None
    }

    /// Checks every batch from a place on, until the log ends or something is wrong.
    fn look(
        &mut self,
        first: usize,
        first_at: u64,
        offset: Option<Offset>,
    ) -> Result<Look, StorageError> {
        let base = self.log.segments[first].base();
        let from = offset.unwrap_or(base);
        let end = Position { offset: from, segment: base, bytes: first_at };
        let (segment, found, is_joint, why) = (first, Found::Sound, false, String::new());
        let mut look = Look { from, first, first_at, segment, end, found, is_joint, why };
        let mut epoch = LeaderEpoch(-1);
        for i in first..self.log.segments.len() {
            let base = self.log.segments[i].base();
            if i > first {
                if let Some(gap) = self.check_joint(&look, base) {
                    return Ok(gap);
                }
                look.end = Position { offset: base, segment: base, bytes: 0 };
                look.segment = i;
            }
            self.look_at_segment(&mut look, &mut epoch)?;
            if look.found != Found::Sound {
                break;
            }
        }
        Ok(look)
    }

    fn look_at_segment(
        &mut self,
        look: &mut Look,
        epoch: &mut LeaderEpoch,
    ) -> Result<(), StorageError> {
        let segment = self.log.segments[look.segment].clone();
        if look.end.bytes < len_of(&segment)
            && self.kind(look.segment) == recovery::Segment::Sealed
            && let Some(damage) = segment.verify(0, len_of(&segment))?.damage
        {
            // The checksum over headers knows more than the batches themselves.
            look.end = Position { offset: damage.offset, bytes: damage.byte, ..look.end };
            (look.found, look.why) = (Found::Corrupt, damage.why.into_owned());
            return Ok(());
        }
        let (position, next_offset) = (look.end.bytes, look.end.offset);
        let gaps = Gaps::Allowed;
        let from = ScanFrom { position, next_offset, leader_epoch: *epoch, gaps };
        let result = recovery::scan(segment.file()?.as_ref(), from, None, &mut |_, _| {})?;
        self.report.scanned_bytes += result.position - position;
        self.report.scanned_batches += result.batches;
        *epoch = result.last.map_or(*epoch, |last| last.leader_epoch);
        look.end = Position { offset: result.next_offset, bytes: result.position, ..look.end };
        look.found = result.found();
        look.why = result.defect.map(|defect| defect.why).unwrap_or_default();
        Ok(())
    }

    /// What is wrong when the next segment does not begin where the look has come to.
    fn check_joint(&self, look: &Look, next: Offset) -> Option<Look> {
        if next == look.end.offset || self.sealed_end(look.segment) == Some(next) {
            return None;
        }
        let mut gap = hole(look.segment, look.end);
        (gap.from, gap.first, gap.first_at) = (look.from, look.first, look.first_at);
        let acknowledged = match self.known {
            KnownFrontier::Missing => true,
            KnownFrontier::At(_) => {
                self.frontier.is_some_and(|frontier| look.end.offset < frontier.end_offset)
            }
        };
        if next < look.end.offset {
            gap.found = Found::Corrupt;
            gap.why = format!("the next segment begins at {next} already");
        } else if !acknowledged {
            // A power cut took what follows here, but not the entry of a later segment.
            gap.found = Found::Torn;
        }
        Some(gap)
    }

    fn rebuild_indexes(&mut self) -> Result<(), StorageError> {
        let sealed = self.log.segments.len().saturating_sub(1);
        for (i, segment) in self.log.segments[..sealed].iter().enumerate() {
            if !self.log.writable || self.sealed_end(i).is_some() || segment.damage()?.is_some() {
                continue;
            }
            let next = self.log.segments[i + 1].base();
            let Some(flush) = segment.complete_side_files(next)? else { continue };
            // Complete side files prove that the segment was synced, so it has to be.
            self.log.disk.open(segment.path(), Access::Write)?.sync()?;
            match flush.run(self.log.disk.as_ref()) {
                Ok(()) => self.report.indexes_rebuilt += 1,
                Err(error) => self.report.skipped.push(format!("indexes not rebuilt: {error}")),
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, look: &Look) -> Result<(), StorageError> {
        for (i, segment) in self.log.segments.iter().enumerate().skip(look.first) {
            let at = if i == look.first { look.first_at } else { 0 };
            let file = self.log.disk.open(segment.path(), Access::Write)?;
            self.report.rewritten_bytes += recovery::rewrite_above(file.as_ref(), at)?;
        }
        self.log.disk.remove(&self.log.dir.join(SYNC_FAILED))?;
        self.log.disk.sync_dir(&self.log.dir)?;
        Ok(())
    }

    fn cut(&mut self, look: &Look, decision: Decision) -> Result<(), StorageError> {
        let segment = self.log.segments[look.segment].clone();
        let behind: Vec<_> = self.log.segments[look.segment + 1..].to_vec();
        let bytes =
            len_of(&segment) - look.end.bytes + behind.iter().map(|at| len_of(at)).sum::<u64>();
        let mut kept = Vec::new();
        if self.log.writable {
            kept = self.cut_files(&segment, &behind, look.end, decision)?;
        }
        if decision == Decision::CutZeros {
            self.report.zero_bytes_cut += bytes;
        } else {
            self.report.truncations.push(Truncation {
                file: segment.path().to_path_buf(),
                position: look.end.bytes,
                offset: look.end.offset,
                bytes,
                why: look.why.clone(),
                kept,
            });
        }
        self.keep_segments(look.segment, look.end.bytes);
        Ok(())
    }

    fn cut_files(
        &self,
        segment: &Segment,
        behind: &[Arc<Segment>],
        end: Position,
        decision: Decision,
    ) -> Result<Vec<PathBuf>, StorageError> {
        let (disk, dir) = (self.log.disk.as_ref(), self.log.dir.as_ref());
        let mut kept = Vec::new();
        producers::remove_snapshots_above(disk, dir, end.offset)?;
        // From the last one on, each durably, so that a crash leaves no hole.
        for later in behind.iter().rev() {
            let file = disk.open(later.path(), Access::Write)?;
            kept.extend(recovery::remove_tail(disk, later.path(), file.as_ref(), 0)?);
            retention::cut_segments(disk, dir, std::slice::from_ref(later))?;
        }
        sidecar::remove(disk, segment.path())?;
        disk.sync_dir(dir)?;
        let file = disk.open(segment.path(), Access::Write)?;
        if decision == Decision::CutZeros {
            recovery::cut_zeros(file.as_ref(), end.bytes)?;
        } else {
            kept.extend(recovery::remove_tail(disk, segment.path(), file.as_ref(), end.bytes)?);
        }
        Ok(kept)
    }

    /// Leaves out of the log what lies behind a place, whatever the disk has there.
    fn keep_segments(&mut self, last: usize, bytes: u64) {
        let mut segments = self.log.segments[..=last].to_vec();
        segments[last] = Arc::new(segments[last].cut(bytes, None));
        self.log.segments = Arc::new(segments);
    }

    /// Syncs what was not known to be, before anybody is shown it.
    fn sync_from(&mut self, look: &Look) -> Result<(), StorageError> {
        let mut synced = false;
        for (i, segment) in self.log.segments.iter().enumerate().skip(look.first) {
            let at = if i == look.first { look.first_at } else { 0 };
            if self.log.writable && len_of(segment) > at {
                self.log.disk.open(segment.path(), Access::Write)?.sync()?;
                synced = true;
            }
        }
        if synced {
            self.log.disk.sync_dir(&self.log.dir)?;
        }
        self.log.settle_end(look.end.offset, look.end.segment, look.end.bytes);
        Ok(())
    }

    /// Leaves out of the log what is damaged and everything behind it.
    fn quarantine(&mut self, look: &Look) {
        let segment = &self.log.segments[look.segment];
        let (mut path, mut byte) = (segment.path().clone(), look.end.bytes);
        if look.found == Found::MissingSegment {
            path = self.log.dir.join(super::open::segment_name(look.end.offset)).into();
            byte = 0;
        }
        let (offset, why) = (look.end.offset, look.why.clone());
        self.report.quarantines.push(Quarantine {
            file: path.to_path_buf(),
            position: byte,
            offset,
            why: why.clone(),
        });
        let last_base = self.log.segments.last().map_or(offset, |last| last.base());
        let known = self.frontier.map_or(offset, |frontier| frontier.end_offset);
        self.keep_segments(look.segment, look.end.bytes);
        let end = offset.max(known).max(last_base);
        self.log.settle_end(end, look.end.segment, look.end.bytes);
        self.log.damage = Some(Arc::new(Damage { path, byte, offset, why: why.into() }));
    }
}

fn hole(segment: usize, end: Position) -> Look {
    let why = format!("the segment that begins at offset {} is missing", end.offset);
    let (from, found) = (end.offset, Found::MissingSegment);
    Look { from, first: segment, first_at: end.bytes, segment, end, found, is_joint: true, why }
}

fn len_of(segment: &Segment) -> u64 {
    segment.sealed_len().expect("no segment grows while the log is opened")
}

impl Log {
    /// Brings epochs and producers up to the end of the log. Batches from `from` on have just been
    /// looked at; what those below have left is in files.
    pub(super) fn restore(&mut self, from: Offset, report: &mut Recovery) -> Result<(), OpenError> {
        self.restore_epochs(from, report);
        if self.writable {
            producers::remove_snapshots_above(self.disk.as_ref(), &self.dir, self.end.offset)?;
        }
        match self.rebuild_producers() {
            Ok(skipped) => report.skipped.extend(skipped),
            Err(error) => report.skipped.push(format!("producer state is incomplete: {error}")),
        }
        Ok(())
    }

    fn restore_epochs(&mut self, from: Offset, report: &mut Recovery) {
        let loaded = LeaderEpochs::load(self.disk.as_ref(), &self.dir);
        let mut from = from;
        let mut epochs = match loaded {
            Ok(Some(epochs)) => epochs,
            Ok(None) => {
                from = self.start;
                LeaderEpochs::default()
            }
            Err(error) => {
                report.skipped.push(format!("leader-epochs is rebuilt: {error}"));
                from = self.start;
                LeaderEpochs::default()
            }
        };
        // An interrupted truncation may have left epochs of batches that are gone.
        epochs.truncate_from_end(from);
        let mut changed = false;
        let read = self.replay(from, |header| {
            changed |= epochs.assign(header.leader_epoch, header.base_offset).unwrap_or(false);
        });
        epochs.truncate_from_start(self.start);
        self.epochs = epochs;
        self.pending.epochs |= changed && self.writable;
        if let Err(error) = read {
            report.skipped.push(format!("leader epochs are incomplete: {error}"));
        }
    }

    /// Restores the newest snapshot of the producer state and replays the batches behind it.
    /// Returns what was wrong with newer ones.
    pub(super) fn rebuild_producers(&mut self) -> Result<Vec<String>, ReadError> {
        let restored = producers::restore(self.disk.as_ref(), &self.dir, self.sound_end())?;
        let mut state = restored.producers;
        // Batches below the log start count as long as they are there: their producers may retry.
        let from = restored.from.unwrap_or(Offset::ZERO);
        self.replay(from, |header| state.record(header, Millis(header.max_timestamp)))?;
        self.producers = state;
        let skipped = restored.skipped.iter();
        Ok(skipped.map(|(path, error)| format!("{}: {error}", path.display())).collect())
    }

    /// Calls `note` with the header of every batch that ends beyond `from`.
    fn replay(&self, from: Offset, mut note: impl FnMut(&BatchHeader)) -> Result<(), ReadError> {
        if from >= self.sound_end() {
            return Ok(());
        }
        let first = self.segments.partition_point(|segment| segment.base() <= from);
        for segment in &self.segments[first.saturating_sub(1)..] {
            let len = segment.sealed_len().unwrap_or(self.end.bytes);
            let place = segment.position_below(from.max(segment.base()), len)?;
            segment.for_each_header(place, len, &mut note)?;
        }
        Ok(())
    }

    fn sound_end(&self) -> Offset {
        self.damage.as_ref().map_or(self.end.offset, |damage| damage.offset)
    }
}
