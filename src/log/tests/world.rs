//! A log with its frontier journal and what is promised of it: what must be there after a crash,
//! and what may be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::frontier::{Claim, Frontier};
use super::super::*;
use super::{batch, config, now, partition};
use crate::storage::Disk;
use crate::storage::memory::MemoryDisk;

const DATA: &str = "/data";

/// One batch: base offset and bytes.
pub(super) type Stored = (Offset, Vec<u8>);

/// What a crash may leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    /// Batches that must be there, unless they lie below the start.
    pub(super) must: Vec<Stored>,
    /// These and no others may be; `must` is how they begin.
    pub(super) may: Vec<Stored>,
    /// The start is one of these two.
    pub(super) starts: (Offset, Offset),
}

pub(super) struct World {
    pub(super) log: Log,
    frontier: Frontier,
    pub(super) promise: Promise,
    round: u8,
}

/// An operation failed, so the scenario is over.
#[derive(Debug)]
pub(super) struct Over;

fn over<E>(_: E) -> Over {
    Over
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from(super::DIR)
}

/// Segments so small that a few batches fill them.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 700, ..config() }
}

fn shared(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// What the disk says of the log, beside its own files.
pub(super) fn known(disk: &MemoryDisk) -> Known {
    let (state, entries) = Frontier::load(disk, Path::new(DATA));
    let frontier = match state {
        frontier::FrontierState::Missing | frontier::FrontierState::Unreadable(_) => {
            KnownFrontier::Missing
        }
        _ => KnownFrontier::At(entries.get(&partition()).copied()),
    };
    Known { frontier, clean: None }
}

impl World {
    pub(super) fn new(disk: &MemoryDisk) -> Result<World, Over> {
        World::open(disk, Promise::default())
    }

    /// Starts on what a disk holds, and checks it against what was promised.
    pub(super) fn open(disk: &MemoryDisk, mut promise: Promise) -> Result<World, Over> {
        disk.create_dir_all(Path::new(DATA)).map_err(over)?;
        let known = known(disk);
        let (_, entries) = Frontier::load(disk, Path::new(DATA));
        let frontier = Frontier::begin(shared(disk), Path::new(DATA), entries).map_err(over)?;
        let opened = Log::open(shared(disk), dir(), small(), known, OpenMode::Write);
        let (log, recovery) = opened.map_err(over)?;
        assert_eq!(recovery.report.quarantines, [], "nothing was damaged, only lost");
        check(&log, &mut promise);
        Ok(World { log, frontier, promise, round: 0 })
    }

    pub(super) fn append(&mut self, batches: usize, count: usize, size: usize) -> Result<(), Over> {
        let mut made = Vec::new();
        let mut next = self.log.end_offset();
        for _ in 0..batches {
            self.round = self.round.wrapping_add(1);
            let batch = batch(next, count, size, self.round);
            next = batch.next_offset();
            made.push(batch);
        }
        let stored = made.iter().map(|batch| (batch.base_offset(), batch.to_bytes().to_vec()));
        // Even a failed write may be found after a crash.
        self.promise.may.extend(stored);
        self.log.append(&made, now()).map_err(over)?;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), Over> {
        self.sync_alone()?;
        if let Some(job) = self.log.begin_upkeep() {
            self.log.finish_upkeep(job.run());
        }
        Ok(())
    }

    /// Without the upkeep that follows a sync.
    pub(super) fn sync_alone(&mut self) -> Result<(), Over> {
        let Some(job) = self.log.begin_sync() else { return Ok(()) };
        let settled = self.log.finish_sync(job.run()).map_err(over)?;
        assert_eq!(settled.up_to(), self.log.end_offset());
        self.promise.must = self.promise.may.clone();
        Ok(())
    }

    pub(super) fn claim(&mut self) -> Result<(), Over> {
        let (entry, lowerings) = (self.log.frontier(), self.log.lowerings());
        let claim = Claim { partition: partition(), entry, lowerings };
        self.frontier.record(&[claim]).map_err(over)?;
        self.frontier.sync().map_err(over)
    }

    pub(super) fn truncate(&mut self, to: Offset) -> Result<(), Over> {
        let entry = self.log.plan_truncation(to).map_err(over)?;
        let kept = self.promise.may.partition_point(|(base, _)| *base < entry.end_offset);
        self.promise.must.truncate(kept);
        let lowered = self.frontier.lower(partition(), entry).map_err(over)?;
        self.log.truncate_to(to, partition(), &lowered).map_err(over)?;
        let start = self.log.start_offset();
        assert_eq!(self.log.end_offset(), entry.end_offset.max(start));
        self.promise.may.truncate(kept);
        Ok(())
    }

    pub(super) fn advance_start(&mut self, to: Offset) -> Result<(), Over> {
        self.promise.starts.1 = self.promise.starts.1.max(to);
        self.log.advance_start(to).map_err(over)?;
        self.promise.starts.0 = self.promise.starts.1;
        Ok(())
    }

    pub(super) fn restart_at(&mut self, to: Offset) -> Result<(), Over> {
        let entry = self.log.plan_truncation(self.log.start_offset()).map_err(over)?;
        self.promise.must.clear();
        let lowered = self.frontier.lower(partition(), entry).map_err(over)?;
        self.promise.starts.1 = to;
        self.log.restart_at(to, partition(), &lowered).map_err(over)?;
        self.promise.may.clear();
        self.promise.starts.0 = to;
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), Over> {
        self.log.close().map_err(over)?;
        self.promise.must = self.promise.may.clone();
        self.claim()
    }
}

/// Holds an opened log against what was promised, which from here on is what it has.
fn check(log: &Log, promise: &mut Promise) {
    let start = log.start_offset();
    let (old, new) = promise.starts;
    assert!(start == old || start == new, "start {start} is neither {old} nor {new}");
    let has = batches(&log.view());
    let above = |stored: &&Stored| next_of(stored) > start;
    let must: Vec<_> = promise.must.iter().filter(above).cloned().collect();
    let may: Vec<_> = promise.may.iter().filter(above).cloned().collect();
    assert!(has.len() >= must.len(), "{} of {} settled batches", has.len(), must.len());
    assert!(has.len() <= may.len(), "{} batches where {} were written", has.len(), may.len());
    let places = |list: &[Stored]| -> Vec<_> {
        list.iter().map(|(base, bytes)| (base.0, bytes.len())).collect()
    };
    let (is, was) = (places(&has), places(&may));
    assert!(has == may[..has.len()], "{is:?} is there, {was:?} was written, {log:?}");
    let end = has.last().map_or(start, next_of);
    assert_eq!(log.end_offset(), end);
    let below = promise.may.len() - may.len();
    promise.may.truncate(below + has.len());
    promise.must = promise.may.clone();
    promise.starts = (start, start);
}

pub(super) fn next_of(stored: &Stored) -> Offset {
    let header = crate::record::BatchHeader::parse(&stored.1).expect("whole batch");
    header.next_offset()
}

/// All batches of a view, one by one.
pub(super) fn batches(view: &LogView) -> Vec<Stored> {
    let mut bytes = super::read_all(view).into_iter().collect::<std::collections::VecDeque<_>>();
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let header = crate::record::BatchHeader::parse(bytes.make_contiguous()).expect("header");
        let size = header.size_bytes().expect("size");
        batches.push((header.base_offset, bytes.drain(..size).collect()));
    }
    batches
}
