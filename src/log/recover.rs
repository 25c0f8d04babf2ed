//! Recovery of one log: observing the facts that the decision table asks for, carrying out what it
//! decides, and restoring what is known of the batches. What is decided is in `recovery` alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::frontier::FrontierEntry;
use super::open::{KnownFrontier, LoadedEpochs, OpenError};
use super::read::{Damage, Position, ReadError};
use super::recovery::{
    self, CleanMarker, Decision, Facts, Found, FrontierKnown, Indexes, Place, Quarantine, Recovery,
    ScanFrom, SegmentSeen, SyncFailed, Truncation,
};
use super::segment::Segment;
use super::sync::SYNC_FAILED;
use super::{Log, epochs, producers, retention, sidecar};
use crate::planted::{self, Bug};
use crate::record::BatchHeader;
use crate::storage::{Access, Operation, StorageError};
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
                (Decision::RebuildIndexes, look) => {
                    self.rebuild_indexes()?;
                    facts.indexes = Indexes::Usable;
                    // Now that every segment's end is known, a hole shows that was not seen before.
                    if let Some(hole) = self.hole_below(self.log.segments.len()) {
                        *look = Some(hole);
                        self.observe(&mut facts, look.as_ref());
                    }
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
        let (_, at) = self.glance(i)?;
        let load = || sidecar::load(disk, segment.path(), segment.base(), len);
        let last = || load().index.last_boundary();
        (at == len && len > 0).then(last).filter(|last| last.at == len).map(|last| last.offset)
    }

    /// Looks at everything that is not known to be synced.
    fn look_above(&mut self) -> Result<Look, StorageError> {
        let Some(frontier) = self.frontier else {
            let first = (0..self.log.segments.len())
                .find(|&i| self.kind(i) != recovery::Segment::Sealed)
                .expect("the last segment is not a sealed one");
            return match self.hole_below(first) {
                Some(hole) => Ok(hole),
                None => self.look_behind_sealed(first),
            };
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

    /// A segment missing among the first `count`, as far as is known where those before end.
    fn hole_below(&self, count: usize) -> Option<Look> {
        (1..count).find_map(|i| {
            let (segment, next) = (&self.log.segments[i - 1], self.log.segments[i].base());
            let offset = self.known_end(i - 1).filter(|&end| end < next)?;
            let end = Position { offset, segment: segment.base(), bytes: len_of(segment) };
            Some(hole(i - 1, end))
        })
    }

    /// Offset at the end of a segment that another follows, if that is known without reading it.
    fn known_end(&self, i: usize) -> Option<Offset> {
        let (segment, next) = (&self.log.segments[i], self.log.segments[i + 1].base());
        let loaded = segment.index_if_loaded().map(|index| index.last_boundary());
        match loaded.filter(|last| last.at == len_of(segment)) {
            Some(last) => Some(last.offset),
            // What the glance shows is not checked; but damage does not make it fit.
            None if self.glance(i) == Some((next, len_of(segment))) => Some(next),
            None => self.sealed_end(i),
        }
    }

    /// The last entry of a segment's index, unchecked.
    fn glance(&self, i: usize) -> Option<(Offset, u64)> {
        let segment = &self.log.segments[i];
        sidecar::last_place(self.log.disk.as_ref(), segment.path(), segment.base())
    }

    /// Whether every segment that another follows has side files that reach to its end. Those that
    /// are damaged further up are met when they are first needed.
    pub(super) fn indexes(&self, found: &BTreeSet<Offset>) -> Indexes {
        let sealed = 0..self.log.segments.len().saturating_sub(1);
        let mut known = sealed
            .map(|i| found.contains(&self.log.segments[i].base()) && self.known_end(i).is_some());
        if known.all(|known| known) { Indexes::Usable } else { Indexes::Wrong }
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
        let from = ScanFrom { position, next_offset, leader_epoch: *epoch };
        let (file, witness) = (segment.file()?.as_ref(), segment.witness());
        let result = recovery::scan(file, from, witness, &mut |_, _| {})?;
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
            if self.sealed_end(i).is_some() || segment.damage()?.is_some() {
                continue;
            }
            let next = self.log.segments[i + 1].base();
            let Some(flush) = segment.complete_side_files(next)? else { continue };
            if !self.log.writable {
                continue;
            }
            // Complete side files prove that the segment was synced, so it has to be.
            self.log.disk.open(segment.path(), Access::Write)?.sync()?;
            let path = segment.path().with_extension("index");
            let outcome = match flush.run(self.log.disk.as_ref()) {
                Ok(()) => {
                    self.report.indexes_rebuilt += 1;
                    "rebuilt".to_owned()
                }
                Err(error) => format!("not rebuilt: {error}"),
            };
            self.report.skipped.push(format!("{} was missing or wrong, {outcome}", path.display()));
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
        self.log.keep_segments(look.segment, look.end);
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
        self.log.keep_segments(look.segment, look.end);
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
    /// Leaves out of the log what lies behind a place, whatever the disk has there.
    fn keep_segments(&mut self, last: usize, end: Position) {
        let mut segments = self.segments[..=last].to_vec();
        segments[last] = Arc::new(segments[last].cut(end));
        self.segments = Arc::new(segments);
    }

    /// Brings epochs and producers up to the end of the log. Batches from `from` on have just been
    /// looked at; what those below have left is in files.
    pub(super) fn restore(
        &mut self,
        from: Offset,
        epochs: LoadedEpochs,
        report: &mut Recovery,
    ) -> Result<(), OpenError> {
        self.restore_epochs(from, epochs, report)?;
        if self.writable {
            producers::remove_snapshots_above(self.disk.as_ref(), &self.dir, self.end.offset)?;
        }
        match self.rebuild_producers() {
            Ok(skipped) => report.skipped.extend(skipped),
            Err(error) => self.refuse_from(error, report)?,
        }
        Ok(())
    }

    /// Quarantines the log from a place on that was not looked at and turns out to be damaged. It
    /// may take nothing more: who has written what is known only as far as the batches tell (P1).
    fn refuse_from(&mut self, error: ReadError, report: &mut Recovery) -> Result<(), OpenError> {
        let damage = match error {
            ReadError::Corrupt(damage) => damage,
            ReadError::Storage(error) => return Err(error.into()),
            // Somebody has taken a file away while the log is being opened.
            error => {
                let source = std::io::Error::other(error.to_string());
                return Err(StorageError::new(Operation::Read, &self.dir, source).into());
            }
        };
        if self.damage.is_some() {
            return Ok(());
        }
        let segment = self.segments.iter().position(|at| at.path() == &damage.path);
        let segment = segment.expect("the damage is in one of the segments");
        let Damage { byte: bytes, offset, .. } = damage;
        let base = self.segments[segment].base();
        self.keep_segments(segment, Position { offset, segment: base, bytes });
        self.settle_end(self.end.offset, base, bytes);
        report.quarantines.push(Quarantine {
            file: damage.path.to_path_buf(),
            position: bytes,
            offset,
            why: damage.why.clone().into_owned(),
        });
        self.damage = Some(Arc::new(damage));
        Ok(())
    }

    fn restore_epochs(
        &mut self,
        from: Offset,
        loaded: LoadedEpochs,
        report: &mut Recovery,
    ) -> Result<(), OpenError> {
        if let Err(error) = &loaded {
            report.skipped.push(format!("leader-epochs is rebuilt: {error}"));
        }
        let loaded = loaded.ok().flatten();
        let from = if loaded.is_some() { from } else { self.start };
        let mut epochs = loaded.as_deref().cloned().unwrap_or_default();
        // An interrupted truncation may have left epochs of batches that are gone.
        epochs.truncate_from_end(from);
        let read = self.replay(from, |header| {
            // An older one than those before it was refused when it was looked at.
            let _ = epochs.assign(header.leader_epoch, header.base_offset);
        });
        let is_news = loaded.as_ref().is_none_or(|loaded| **loaded != epochs);
        epochs.truncate_from_start(self.start);
        self.epochs = epochs;
        if is_news && self.writable && read.is_ok() {
            self.save_epochs(loaded.is_some())?;
        }
        read.or_else(|error| self.refuse_from(error, report))
    }

    /// Writes the epochs down before anybody may claim that what they stamped is durable: below the
    /// frontier the file is believed more than the batches. On a full disk, no file is as good.
    fn save_epochs(&mut self, is_there: bool) -> Result<(), StorageError> {
        match self.epochs.save(self.disk.as_ref(), &self.dir) {
            Ok(_) => Ok(()),
            Err(error) if error.is_full() => {
                self.pending.epochs = true;
                if is_there {
                    self.disk.remove(&self.dir.join(epochs::FILE_NAME))?;
                    self.disk.sync_dir(&self.dir)?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Restores the newest snapshot of the producer state and replays the batches behind it.
    /// Returns what was wrong with newer ones.
    pub(super) fn rebuild_producers(&mut self) -> Result<Vec<String>, ReadError> {
        let restored = producers::restore(self.disk.as_ref(), &self.dir, self.sound_end())?;
        let mut state = restored.producers;
        // Batches below the log start count as long as they are there: their producers may retry.
        let from = restored.from.unwrap_or(Offset::ZERO);
        let mut replayed = 0;
        self.replay(from, |header| {
            replayed += header.size_bytes().unwrap_or(0) as u64;
            state.record(header, Millis(header.max_timestamp));
        })?;
        (self.producers, self.unsnapshotted_bytes) = (state, replayed);
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
