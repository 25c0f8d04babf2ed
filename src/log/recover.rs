//! Recovery of a log whose last stop was not clean: scanning from the frontier, cutting the tail that
//! does not count, refusing what is damaged.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use super::frontier::FrontierEntry;
use super::open::{KnownFrontier, OpenError, Recovery, Torn};
use super::read::{Damage, Position, ReadError};
use super::scan::{self, Walk, WalkError};
use super::segment::Segment;
use super::{Log, producers, retention, sidecar};
use crate::storage::{Access, DiskFile, StorageError};
use crate::types::{Millis, Offset};

const COPY_BYTES: usize = 256 * 1024;

/// What a scan found.
struct Scan {
    /// Where it began.
    from: Position,
    /// Segment (by number) and place up to which everything is sound.
    segment: usize,
    end: Position,
    bytes: u64,
    /// What stopped it before the end of the last segment.
    bad: Option<&'static str>,
}

impl Log {
    /// Finds the end of the log, and cuts off what lies behind it. Returns where the scan began: the
    /// state that batches below have left must come from elsewhere.
    pub(super) fn scan(
        &mut self,
        frontier: KnownFrontier,
        recovery: &mut Recovery,
    ) -> Result<Position, OpenError> {
        let entry = match frontier {
            KnownFrontier::At(entry) => entry,
            KnownFrontier::Missing => None,
        };
        let (first, from) = match self.locate(entry)? {
            Ok(place) => place,
            Err(damage) => {
                let known_end = entry.map_or(damage.offset, |entry| entry.end_offset);
                self.refuse_from(damage, known_end, recovery);
                return Ok(self.end);
            }
        };
        let scan = self.scan_from(first, from)?;
        recovery.scanned_bytes = scan.bytes;
        let is_last = scan.segment + 1 == self.segments.len();
        match scan.bad {
            None => {
                let segment = self.segments[scan.segment].base();
                self.settle_end(scan.end.offset, segment, scan.end.bytes);
            }
            Some(why) if frontier == KnownFrontier::Missing && !is_last => {
                let path = self.segments[scan.segment].path().clone();
                let damage = Damage { path, byte: scan.end.bytes, offset: scan.end.offset, why };
                let known_end = self.segments.last().map_or(damage.offset, |last| last.base());
                self.refuse_from(damage, known_end, recovery);
                return Ok(from);
            }
            Some(why) => self.cut_tail(&scan, why, recovery)?,
        }
        if self.writable {
            self.make_durable(first, scan.from)?;
        }
        Ok(scan.from)
    }

    /// Number of the segment and place where the scan has to begin, or what is wrong below it.
    fn locate(
        &self,
        entry: Option<FrontierEntry>,
    ) -> Result<Result<(usize, Position), Damage>, StorageError> {
        let start = |i: usize| {
            let base = self.segments[i].base();
            (i, Position { offset: base, segment: base, bytes: 0 })
        };
        let Some(entry) = entry.filter(|entry| entry.end_offset > self.start) else {
            return Ok(Ok(start(0)));
        };
        let after = self.segments.partition_point(|segment| segment.base() <= entry.end_offset);
        let Some(i) = after.checked_sub(1) else { return Ok(Ok(start(0))) };
        if let Some(hole) = self.hole_below(i)? {
            return Ok(Err(hole));
        }
        let segment = &self.segments[i];
        let len = segment.sealed_len().unwrap_or(0);
        if segment.base() == entry.end_offset {
            return Ok(Ok(start(i)));
        }
        if segment.base() != entry.segment_base {
            // The frontier lies inside a segment that has since been sealed or rewritten.
            let is_last = i + 1 == self.segments.len();
            return Ok(Ok(if is_last { start(i) } else { start(i + 1) }));
        }
        if len >= entry.position {
            let (offset, segment) = (entry.end_offset, entry.segment_base);
            return Ok(Ok((i, Position { offset, segment, bytes: entry.position })));
        }
        let base = start(i).1;
        let (end, _) = check_segment(segment, base, len)?;
        let why = "the file is shorter than what was durable";
        let (path, byte, offset) = (segment.path().clone(), end.bytes, end.offset);
        Ok(Err(Damage { path, byte, offset, why }))
    }

    /// A segment missing among those up to `last`, as far as their indexes tell.
    fn hole_below(&self, last: usize) -> Result<Option<Damage>, StorageError> {
        for (segment, next) in self.segments[..=last].iter().zip(&self.segments[1..=last]) {
            let len = segment.sealed_len().unwrap_or(0);
            let end = sidecar::last_place(self.disk.as_ref(), segment.path(), segment.base());
            let complete = end.is_some_and(|(_, at)| at == len);
            if let Some((offset, _)) = end.filter(|&(offset, _)| complete && offset < next.base()) {
                let path = self.dir.join(super::open::segment_name(offset)).into();
                let why = "the segment that begins here is missing";
                return Ok(Some(Damage { path, byte: 0, offset, why }));
            }
        }
        Ok(None)
    }

    fn scan_from(&mut self, first: usize, from: Position) -> Result<Scan, StorageError> {
        let mut scan = Scan { from, segment: first, end: from, bytes: 0, bad: None };
        for i in first..self.segments.len() {
            let segment = &self.segments[i];
            if i > first {
                if segment.base() != scan.end.offset && !self.is_gap(i - 1, segment.base()) {
                    scan.bad = Some("the next segment does not begin where this one ends");
                    break;
                }
                scan.end = Position { offset: segment.base(), segment: segment.base(), bytes: 0 };
            }
            scan.segment = i;
            let len = segment.sealed_len().unwrap_or(0);
            let (end, bad) = check_segment(segment, scan.end, len)?;
            scan.bytes += end.bytes - scan.end.bytes;
            (scan.end, scan.bad) = (end, bad);
            if bad.is_some() {
                break;
            }
        }
        Ok(scan)
    }

    /// Whether compaction has left a gap between a segment and the next one.
    fn is_gap(&self, i: usize, next: Offset) -> bool {
        let segment = &self.segments[i];
        let end = sidecar::last_place(self.disk.as_ref(), segment.path(), segment.base());
        end == Some((next, segment.sealed_len().unwrap_or(0)))
    }

    /// Leaves out of the log what is damaged and everything behind it.
    fn refuse_from(&mut self, damage: Damage, known_end: Offset, recovery: &mut Recovery) {
        let kept = self.segments.partition_point(|segment| segment.base() < damage.offset);
        let mut segments = self.segments[..kept].to_vec();
        let mut bytes = 0;
        if let Some(last) = segments.last_mut() {
            bytes = last.sealed_len().unwrap_or(0);
            if *last.path() == damage.path {
                bytes = damage.byte;
                *last = Arc::new(last.cut(bytes, None));
            }
        }
        self.segments = Arc::new(segments);
        let offset = known_end.max(damage.offset);
        match self.segments.last().map(|last| last.base()) {
            Some(segment) => self.settle_end(offset, segment, bytes),
            None => self.end = Position { offset, segment: offset, bytes: 0 },
        }
        recovery.damage = Some(damage);
    }

    fn cut_tail(
        &mut self,
        scan: &Scan,
        why: &'static str,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        let segment = self.segments[scan.segment].clone();
        let len = segment.sealed_len().unwrap_or(0);
        let behind: Vec<_> = self.segments[scan.segment + 1..].to_vec();
        let behind_bytes: u64 = behind.iter().filter_map(|segment| segment.sealed_len()).sum();
        let zeros =
            behind_bytes == 0 && scan::is_zero(segment.file()?.as_ref(), scan.end.bytes, len)?;
        let mut kept = None;
        if self.writable {
            if !zeros {
                kept = Some(self.keep_torn(&segment, scan.end.bytes, len)?);
                for segment in &behind {
                    self.keep_torn(segment, 0, segment.sealed_len().unwrap_or(0))?;
                }
            }
            let disk = self.disk.as_ref();
            producers::remove_snapshots_above(disk, &self.dir, scan.end.offset)?;
            retention::cut_segments(disk, &self.dir, &behind)?;
            retention::cut_file(disk, &self.dir, segment.path(), scan.end.bytes)?;
        }
        let mut segments = self.segments[..=scan.segment].to_vec();
        segments[scan.segment] = Arc::new(segment.cut(scan.end.bytes, None));
        self.segments = Arc::new(segments);
        self.settle_end(scan.end.offset, segment.base(), scan.end.bytes);
        let bytes = len - scan.end.bytes + behind_bytes;
        recovery.torn = Some(Torn { at: self.end, bytes, zeros, why, kept });
        Ok(())
    }

    /// Copies what is about to be cut off to a file of its own.
    fn keep_torn(&self, segment: &Segment, at: u64, end: u64) -> Result<PathBuf, StorageError> {
        let path = segment.path().with_extension(format!("log.{at}.torn"));
        if self.disk.exists(&path)? {
            self.disk.remove(&path)?;
        }
        let copy = self.disk.create(&path)?;
        copy_bytes(segment.file()?.as_ref(), at, end, copy.as_ref(), 0)?;
        copy.sync()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(path)
    }

    /// Syncs what lies above the frontier, before anybody is shown it.
    fn make_durable(&self, first: usize, from: Position) -> Result<(), StorageError> {
        let marker = self.dir.join(super::sync::SYNC_FAILED);
        let distrusted = self.disk.exists(&marker)?;
        for (i, segment) in self.segments.iter().enumerate().skip(first) {
            let at = if i == first { from.bytes } else { 0 };
            let len = segment.sealed_len().unwrap_or(0);
            if at == len && !distrusted {
                continue;
            }
            let file = self.disk.open(segment.path(), Access::Write)?;
            if distrusted {
                // After a failed sync the page cache may hold as clean what never reached the disk.
                copy_bytes(file.as_ref(), at, len, file.as_ref(), at)?;
            }
            file.sync()?;
        }
        self.disk.sync_dir(&self.dir)?;
        if distrusted {
            self.disk.remove(&marker)?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Brings epochs and producers up to the end of the log. Batches from `from` on have been
    /// scanned; what those below have left is in files.
    pub(super) fn restore(
        &mut self,
        from: Position,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        self.restore_epochs(from, recovery)?;
        if self.writable {
            producers::remove_snapshots_above(self.disk.as_ref(), &self.dir, self.end.offset)?;
        }
        if let Err(error) = self.rebuild_producers() {
            recovery.notes.push(format!("producer state is incomplete: {error}"));
        }
        Ok(())
    }

    fn restore_epochs(&mut self, from: Position, recovery: &mut Recovery) -> Result<(), OpenError> {
        let loaded = super::epochs::LeaderEpochs::load(self.disk.as_ref(), &self.dir);
        let mut from = from.offset;
        match loaded {
            Ok(Some(epochs)) => self.epochs = epochs,
            Ok(None) => from = self.start,
            Err(error) => {
                recovery.notes.push(format!("leader-epochs is rebuilt: {error}"));
                from = self.start;
            }
        }
        // A truncation that was interrupted, or batches that are gone, may have left later ones.
        self.epochs.truncate_from_end(from);
        let mut epochs = std::mem::take(&mut self.epochs);
        let mut changed = false;
        let read = self.replay(from, |header| {
            changed |= epochs.assign(header.leader_epoch, header.base_offset).unwrap_or(false);
        });
        epochs.truncate_from_start(self.start);
        self.epochs = epochs;
        self.pending.epochs |= changed;
        if let Err(error) = read {
            recovery.notes.push(format!("leader epochs are incomplete: {error}"));
        }
        Ok(())
    }

    /// Restores the newest snapshot of the producer state and replays the batches behind it.
    pub(super) fn rebuild_producers(&mut self) -> Result<(), ReadError> {
        let end = self.sound_end();
        let restored = producers::restore(self.disk.as_ref(), &self.dir, end)?;
        let mut state = restored.producers;
        let from = restored.from.unwrap_or(self.start);
        self.replay(from, |header| state.record(header, Millis(header.max_timestamp)))?;
        self.producers = state;
        Ok(())
    }

    /// Calls `note` with the header of every batch that ends beyond `from`.
    fn replay(
        &self,
        from: Offset,
        mut note: impl FnMut(&crate::record::BatchHeader),
    ) -> Result<(), ReadError> {
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

/// Checks every batch from a place on; where that ends, and what stopped it.
fn check_segment(
    segment: &Segment,
    from: Position,
    len: u64,
) -> Result<(Position, Option<&'static str>), StorageError> {
    let mut walk = Walk::check(segment.file()?.clone(), from.bytes, len, from.offset);
    let mut bad = None;
    loop {
        let passed = walk.peek().and_then(|header| match header {
            Some(header) => walk.pass(&header).map(|()| true),
            None => Ok(false),
        });
        match passed {
            Ok(true) => {}
            Ok(false) => break,
            Err(WalkError::Bad { why }) => {
                bad = Some(why);
                break;
            }
            Err(WalkError::Storage(error)) => return Err(error),
        }
    }
    Ok((Position { offset: walk.expected(), segment: segment.base(), bytes: walk.at() }, bad))
}

fn copy_bytes(
    from: &dyn DiskFile,
    at: u64,
    end: u64,
    into: &dyn DiskFile,
    into_at: u64,
) -> Result<(), StorageError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0;
    while at + copied < end {
        let wanted = buffer.len().min(usize::try_from(end - at - copied).unwrap_or(usize::MAX));
        let read = from.read_at(at + copied, &mut buffer[..wanted])?;
        if read == 0 {
            break;
        }
        into.write_at(into_at + copied, &mut [IoSlice::new(&buffer[..read])])?;
        copied += read as u64;
    }
    Ok(())
}
