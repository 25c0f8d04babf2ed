//! Compaction against a model: every record ever appended. Whatever is done in whatever order, what
//! the log holds is what was appended, and what it does not hold is what may be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::frontier::{Claim, Frontier, FrontierState};
use super::super::*;
use super::*;
use crate::record::{
    BatchBuilder, Batches, CheckedBatch, Compression, Marker, NewRecord, OwnedRecord,
    decode_records,
};
use crate::storage::Disk;
use crate::storage::memory::MemoryDisk;
use crate::storage::memory::enumerate::Enumeration;
use crate::storage::memory::{Fault, FaultKind};
use crate::time::Now;
use crate::types::{PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicPartition};

const DATA: &str = "/data";
const DIR: &str = "/data/0";
const DAY_MS: i64 = 86_400_000;

fn partition() -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([3; 16]), partition: PartitionId(0) }
}

fn config() -> LogConfig {
    let compaction = CompactionConfig {
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: DAY_MS,
        min_dirty_ppm: 0,
    };
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 200,
        retention_ms: None,
        compaction: Some(compaction),
        ..LogConfig::default()
    }
}

/// What was appended at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: Millis,
}

/// What must be there, and what may.
#[derive(Clone, Debug, Default)]
struct Model {
    made: Vec<Made>,
    /// As many of them were settled.
    settled: usize,
    start: usize,
}

impl Model {
    /// Offsets of the newest record of each key, of all that a log has which ends at `end`.
    fn newest(&self, end: usize) -> BTreeMap<&[u8], usize> {
        let made = self.made[..end].iter().enumerate();
        made.map(|(offset, made)| (made.key.as_slice(), offset)).collect()
    }
}

struct World {
    disk: MemoryDisk,
    log: Log,
    frontier: Frontier,
    model: Model,
    now: Millis,
}

/// Something failed, so the scenario is over.
#[derive(Debug)]
struct Over;

fn over<E>(_: E) -> Over {
    Over
}

fn shared(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn known(disk: &MemoryDisk) -> Known {
    let (state, entries) = Frontier::load(disk, Path::new(DATA));
    let frontier = match state {
        FrontierState::Missing | FrontierState::Unreadable(_) => KnownFrontier::Missing,
        _ => KnownFrontier::At(entries.get(&partition()).copied()),
    };
    Known { frontier, clean: None }
}

impl World {
    fn new(disk: &MemoryDisk) -> Result<World, Over> {
        World::open(disk, Model::default(), config())
    }

    fn open(disk: &MemoryDisk, model: Model, config: LogConfig) -> Result<World, Over> {
        disk.create_dir_all(Path::new(DATA)).map_err(over)?;
        let (known, entries) = (known(disk), Frontier::load(disk, Path::new(DATA)).1);
        let opened = Log::open(shared(disk), DIR.into(), config, known, OpenMode::Write);
        let (log, recovery) = opened.map_err(over)?;
        assert_eq!(recovery.report.quarantines, [], "nothing was damaged, only lost");
        let frontier = Frontier::begin(shared(disk), Path::new(DATA), entries).map_err(over)?;
        let mut world = World { disk: disk.clone(), log, frontier, model, now: Millis(2_000_000) };
        world.holds();
        // From here on, this is what was there.
        let end = world.log.end_offset().0 as usize;
        world.model.made.truncate(end);
        world.model.settled = end;
        world.model.start = world.log.start_offset().0 as usize;
        world.claim()?;
        Ok(world)
    }

    fn reopen(&mut self, disk: &MemoryDisk) -> Result<(), Over> {
        let config = self.log.config().clone();
        *self = World::open(disk, self.model.clone(), config)?;
        Ok(())
    }

    fn at(&self, wall: Millis) -> Now {
        Now { wall, monotonic_ms: 0 }
    }

    /// Appends a batch with these keys; a key below zero is a tombstone of its absolute value.
    fn append(&mut self, codec: Compression, keys: &[i32]) -> Result<(), Over> {
        self.append_by(BatchBuilder::new(codec), keys)
    }

    fn append_by(&mut self, mut builder: BatchBuilder, keys: &[i32]) -> Result<(), Over> {
        for &key in keys {
            let number = self.model.made.len();
            let name = format!("key-{}", key.unsigned_abs()).into_bytes();
            let value = (key >= 0).then(|| format!("value {number} {}", "x".repeat(20)).into());
            let made = Made { key: name, value, timestamp: Millis(1_000_000 + number as i64) };
            builder.push(&NewRecord {
                timestamp: made.timestamp,
                key: Some(&made.key),
                value: made.value.as_deref(),
                headers: &[("n", Some(b"h"))],
            });
            self.model.made.push(made);
        }
        self.append_batch(builder.build())
    }

    fn append_batch(&mut self, batch: CheckedBatch) -> Result<(), Over> {
        let stamped = batch.stamp(self.log.end_offset(), LeaderEpoch(1));
        let now = self.at(self.now);
        self.log.append(&[stamped], now).map_err(over)?;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Over> {
        if let Some(job) = self.log.begin_sync() {
            self.log.finish_sync(job.run()).map_err(over)?;
        }
        if let Some(job) = self.log.begin_upkeep() {
            self.log.finish_upkeep(job.run());
        }
        self.model.settled = self.model.made.len();
        Ok(())
    }

    fn claim(&mut self) -> Result<(), Over> {
        let (entry, lowerings) = (self.log.frontier(), self.log.lowerings());
        let claim = Claim { partition: partition(), entry, lowerings };
        self.frontier.record(&[claim]).map_err(over)?;
        self.frontier.sync().map_err(over)
    }

    /// Begins a pass over what is old enough.
    fn begin(&mut self, memory_bytes: usize, seed: u128) -> Option<Compaction> {
        let stable = self.log.settled_offset();
        let dirt = self.log.survey(stable)?.assess(self.now).expect("readable")?;
        let options = CompactionOptions { memory_bytes, seed, until: dirt.until };
        self.log.begin_compaction(self.now, stable, stable, options)
    }

    /// Compacts as long as there is something to do.
    fn compact(&mut self, memory_bytes: usize) -> Result<CompactionReport, Over> {
        let mut sum = CompactionReport::default();
        for seed in 0..1_000 {
            let Some(mut pass) = self.begin(memory_bytes, seed) else { return Ok(sum) };
            let is_whole = loop {
                match pass.step(300) {
                    Ok(CompactionStep::More(_)) => {}
                    Ok(CompactionStep::Exchange(exchange)) => {
                        let job = self.log.begin_exchange(exchange).expect("nothing changed");
                        let refused = self.log.finish_exchange(job.run()).map_err(over)?;
                        if let Some(refused) = refused {
                            pass.refused(&refused);
                            pass.abandon();
                            return Err(Over);
                        }
                    }
                    Ok(CompactionStep::Done { is_whole }) => break is_whole,
                    Err(_) => {
                        pass.abandon();
                        return Err(Over);
                    }
                }
            };
            sum.removed_records += pass.report().removed_records;
            sum.replaced_segments += pass.report().replaced_segments;
            sum.new_segments += pass.report().new_segments;
            sum.written_bytes += pass.report().written_bytes;
            if is_whole {
                return Ok(sum);
            }
        }
        panic!("every pass gets some way");
    }

    fn records(&self) -> Vec<OwnedRecord> {
        records(&self.log.view())
    }

    /// D13, D14: what is there is what was appended, and what is not there may be gone.
    fn holds(&self) {
        let end = self.log.end_offset().0 as usize;
        assert!((self.model.settled..=self.model.made.len()).contains(&end), "ends at {end}");
        let newest = self.model.newest(end);
        let mut missing: BTreeSet<usize> = (self.log.start_offset().0 as usize..end).collect();
        for record in self.records() {
            let made = &self.model.made[record.offset.0 as usize];
            assert_eq!(record.key.as_deref(), Some(made.key.as_slice()), "{record:?}");
            assert_eq!(record.value.as_deref(), made.value.as_deref(), "{record:?}");
            assert_eq!(record.timestamp, made.timestamp, "{record:?}");
            assert_eq!(record.headers.len(), 1);
            missing.remove(&(record.offset.0 as usize));
        }
        for record in self.records() {
            let made = &self.model.made[record.offset.0 as usize];
            let by = newest[made.key.as_slice()];
            assert!(!missing.contains(&by), "{record:?} came back: its tombstone at {by} is gone");
        }
        for offset in missing {
            let made = &self.model.made[offset];
            let is_newest = newest[made.key.as_slice()] == offset;
            assert!(!is_newest || made.value.is_none(), "offset {offset} is gone: {made:?}");
        }
    }

    /// Every key has one record below the last segment.
    fn is_clean(&self) {
        let active = self.log.segments.last().expect("not empty").base();
        let mut seen = BTreeSet::new();
        for record in self.records().into_iter().filter(|record| record.offset < active) {
            assert!(seen.insert(record.key.clone()), "{:?} is there twice", record.key);
        }
    }
}

fn batches(view: &LogView) -> Vec<CheckedBatch> {
    let mut batches = Vec::new();
    let mut from = view.start();
    while from < view.end().offset {
        let range = view.read(from, view.end(), 400).expect("sound");
        assert!(range.next_offset > from, "reading gets on");
        let bytes = Bytes::from(range.copy().expect("there"));
        batches.extend(Batches::new(bytes).map(|batch| batch.expect("sound")));
        from = range.next_offset;
    }
    batches
}

fn records(view: &LogView) -> Vec<OwnedRecord> {
    let batches = batches(view).into_iter().filter(|batch| !batch.header().is_control());
    let records = batches.flat_map(|batch| decode_records(&batch).expect("sound"));
    records.filter(|record| record.offset >= view.start()).collect()
}

fn world() -> World {
    World::new(&MemoryDisk::new()).expect("sound disk")
}

/// Some segments with few keys.
fn filled(rounds: i32) -> World {
    let mut world = world();
    for round in 0..rounds {
        let codec = Compression::ALL[round as usize % 5];
        world.append(codec, &[round % 3, 3 + round % 2, round % 7]).expect("room");
        if round % 4 == 3 {
            world.sync().expect("sound disk");
        }
    }
    world.sync().expect("sound disk");
    world.claim().expect("sound disk");
    world
}

#[test]
fn the_newest_of_each_key_stays_and_offsets_do_not_move() {
    let mut world = filled(60);
    let (end, before) = (world.log.end_offset(), world.log.size_bytes());
    let report = world.compact(1 << 20).expect("sound disk");
    world.holds();
    world.is_clean();
    assert!(report.removed_records > 120 && report.new_segments < report.replaced_segments);
    assert!(world.log.size_bytes() < before / 3, "{} of {before}", world.log.size_bytes());
    assert_eq!(world.log.end_offset(), end);
    let mut again = world.compact(1 << 20).expect("sound disk");
    assert_eq!(std::mem::take(&mut again.removed_records), 0, "it is clean");
    // A view, an index and a time lead to the same records as before.
    let view = world.log.view();
    for record in world.records() {
        let range = view.read(record.offset, view.end(), 1).expect("there");
        let batch = Batches::new(range.copy().expect("there").into()).next();
        let found = decode_records(&batch.expect("one").expect("sound")).expect("sound");
        assert!(found.iter().any(|found| found.offset == record.offset));
        let by_time = view.batch_for_timestamp(record.timestamp, view.end()).expect("sound");
        assert!(by_time.is_some_and(|range| range.next_offset > record.offset));
    }
    assert!(view.batch_of_max_timestamp(view.end()).expect("sound").is_some());
}

/// A batch keeps its place, its producer and its codec; one that loses nothing keeps every byte.
#[test]
fn batches_keep_what_is_not_their_records() {
    let mut world = filled(60);
    let of = |world: &World| -> BTreeMap<Offset, CheckedBatch> {
        let batches = batches(&world.log.view()).into_iter();
        batches.map(|batch| (batch.header().base_offset, batch)).collect()
    };
    let before = of(&world);
    world.compact(1 << 20).expect("sound disk");
    let (mut same, mut fewer) = (0, 0);
    for (base, batch) in of(&world) {
        let (old, new) = (before[&base].header(), batch.header());
        assert_eq!(new.next_offset(), old.next_offset());
        assert_eq!((new.leader_epoch, new.producer()), (old.leader_epoch, old.producer()));
        if new.records_count == old.records_count {
            assert_eq!(batch.bytes(), before[&base].bytes());
            same += 1;
        } else if new.records_count > 0 {
            assert_eq!(batch.compression(), before[&base].compression());
            fewer += 1;
        }
    }
    assert!(same > 0 && fewer > 0, "{same} and {fewer}");
}

/// A reader that took its view before goes on in the old files.
#[test]
fn a_view_from_before_reads_what_was_there() {
    let mut world = filled(40);
    let view = world.log.view();
    let before = records(&view);
    world.compact(1 << 20).expect("sound disk");
    assert_eq!(records(&view), before);
    assert!(world.records().len() < before.len());
}

/// With room for few keys it takes several passes to the same end.
#[test]
fn little_memory_needs_more_passes_and_loses_nothing() {
    let (mut little, mut much) = (filled(120), filled(120));
    much.compact(1 << 20).expect("sound disk");
    little.compact(0).expect("sound disk");
    little.holds();
    little.is_clean();
    let places = |world: &World| world.records().iter().map(|r| r.offset).collect::<Vec<_>>();
    assert_eq!(places(&little), places(&much));
}

/// Tombstones stay as long as was promised after the pass that noted them, and then they go.
#[test]
fn tombstones_live_their_time_and_go() {
    let mut world = filled(20);
    let dead: Vec<i32> = (0..7).map(|key| -key).collect();
    world.append(Compression::None, &dead[1..]).expect("room");
    for _ in 0..30 {
        world.append(Compression::None, &[100]).expect("room");
    }
    world.sync().expect("sound disk");
    world.compact(1 << 20).expect("sound disk");
    let tombstones = |world: &World| world.records().iter().filter(|r| r.value.is_none()).count();
    assert_eq!(tombstones(&world), 6);
    let next_pass = |world: &mut World, days: i64| {
        world.now = Millis(world.now.0 + days * DAY_MS);
        for _ in 0..30 {
            world.append(Compression::None, &[100]).expect("room");
        }
        world.sync().expect("sound disk");
        world.compact(1 << 20).expect("sound disk");
        world.holds();
        tombstones(world)
    };
    assert_eq!(next_pass(&mut world, 0), 6, "their time has not come");
    assert_eq!(next_pass(&mut world, 1), 0);
    assert!(world.records().iter().all(|record| record.key.as_deref() != Some(b"key-2")));
}

/// P2, D15: all that is remembered of producers can be found again in a compacted log.
#[test]
fn producers_are_remembered_from_a_compacted_log_alone() {
    let mut world = world();
    let mut sequence = [0; 2];
    for round in 0..40 {
        let id = round % 2;
        let (producer, epoch) = (ProducerId(id as i64 + 7), ProducerEpoch(2));
        let builder = BatchBuilder::new(Compression::Lz4);
        let first = Sequence(sequence[id]);
        world.append_by(builder.producer(producer, epoch, first), &[1, 2, 1]).expect("room");
        sequence[id] += 3;
    }
    for _ in 0..20 {
        world.append(Compression::None, &[1, 2]).expect("room");
    }
    world.sync().expect("sound disk");
    world.claim().expect("sound disk");
    let before = world.log.producers().clone();
    let five = before.needed();
    world.compact(1 << 20).expect("sound disk");
    world.holds();
    let view = world.log.view();
    let kept = batches(&view).into_iter().filter(|batch| batch.header().producer().is_some());
    assert_eq!(kept.filter(|batch| five.has(batch.header())).count(), 10);
    let disk = world.disk.snapshot();
    for entry in disk.list(Path::new(DIR)).expect("there") {
        if producers::snapshot_offset(&entry.name).is_some() {
            disk.remove(&Path::new(DIR).join(entry.name)).expect("there");
        }
    }
    world.reopen(&disk).expect("opens");
    assert_eq!(world.log.producers().needed().list(), before.needed().list());
}

/// D15: neither side files nor the file of the compaction are needed to read what is there.
#[test]
fn whatever_can_be_found_out_again_may_be_lost() {
    for lost in ["index", "timeindex", "sum", "compaction", "frontier"] {
        let mut world = filled(60);
        world.compact(1 << 20).expect("sound disk");
        let before = world.records();
        let disk = world.disk.snapshot();
        for dir in [DIR, DATA] {
            for entry in disk.list(Path::new(dir)).expect("there") {
                if !entry.is_dir && entry.name.ends_with(lost) {
                    disk.remove(&Path::new(dir).join(entry.name)).expect("there");
                }
            }
        }
        world.reopen(&disk).expect("opens");
        assert_eq!(world.records(), before, "without {lost}");
        for _ in 0..30 {
            world.append(Compression::None, &[1]).expect("room");
        }
        world.sync().expect("sound disk");
        world.compact(1 << 20).expect("sound disk");
        world.holds();
        world.is_clean();
    }
}

/// A topic that is not compacted any more keeps its gaps.
#[test]
fn a_log_that_was_compacted_once_opens_without_being_so_any_more() {
    let mut world = filled(60);
    world.compact(1 << 20).expect("sound disk");
    let before = world.records();
    let plain = LogConfig { compaction: None, ..config() };
    let again = World::open(&world.disk.snapshot(), world.model.clone(), plain).expect("opens");
    assert_eq!(again.records(), before);
}

/// D9: a damaged batch is neither taken over nor dropped; the pass ends and changes nothing.
#[test]
fn damage_ends_a_pass() {
    let mut world = filled(60);
    let first = Path::new(DIR).join(segment_name(Offset::ZERO));
    let disk = world.disk.snapshot();
    world.reopen(&disk).expect("opens");
    disk.flip_bit(&first, 150, 3).expect("there");
    let mut pass = world.begin(1 << 20, 1).expect("something to do");
    let error = loop {
        match pass.step(1 << 20) {
            Err(error) => break error,
            Ok(step) => assert!(matches!(step, CompactionStep::More(_)), "{step:?}"),
        }
    };
    assert!(matches!(error, CompactionError::Unreadable(ReadError::Corrupt(_))), "{error:?}");
    pass.abandon();
    let names = disk.list(Path::new(DIR)).expect("there");
    assert!(names.iter().all(|entry| !entry.name.contains(".cleaned.")));
}

/// Records younger than the minimal lag stay; those older than the maximal one do not wait.
#[test]
fn lags_bound_what_a_pass_looks_at() {
    let mut world = filled(60);
    let with = |min_lag_ms: i64, max_lag_ms: i64, min_dirty_ppm: u32| {
        let compaction = config().compaction.expect("set");
        let compaction = CompactionConfig { min_lag_ms, max_lag_ms, min_dirty_ppm, ..compaction };
        LogConfig { compaction: Some(compaction), ..config() }
    };
    let stable = world.log.settled_offset();
    let now = Millis(1_000_000 + 100);
    let survey = |world: &World| world.log.survey(stable).expect("usable");
    let dirt = |world: &World| survey(world).assess(now).expect("readable");
    world.log.configure(with(1_000, i64::MAX, 0));
    assert_eq!(dirt(&world), None, "all of it is younger");
    assert_eq!(survey(&world).glance(now).dirty_bytes, 0, "which is known without a disk");
    assert!(survey(&world).whole().dirty_bytes > 0);
    world.log.configure(with(60, i64::MAX, 0));
    let some = dirt(&world).expect("the older half");
    world.log.configure(with(0, i64::MAX, 0));
    let all = dirt(&world).expect("all but the last segment");
    assert!(some.is_due && 0 < some.dirty_bytes && some.dirty_bytes < all.dirty_bytes);
    world.now = now;
    world.log.configure(with(60, i64::MAX, 0));
    world.compact(1 << 20).expect("sound disk");
    let young = world.records().into_iter().filter(|r| r.timestamp.0 > now.0 - 60).count();
    assert_eq!(young, 180 - 41, "no young record is gone");
    // Half of the log is clean now. It is not dirty enough, but some of it has waited too long.
    world.log.configure(with(0, i64::MAX, 999_000));
    assert!(!dirt(&world).expect("some").is_due);
    world.log.configure(with(0, 10, 999_000));
    assert!(dirt(&world).expect("some").is_due);
}

/// The last segment of a log that nobody appends to is sealed when its records have waited.
#[test]
fn an_idle_segment_is_sealed_when_its_records_are_overdue() {
    let mut world = filled(60);
    let compaction = CompactionConfig { max_lag_ms: 5_000, ..config().compaction.expect("set") };
    world.log.configure(LogConfig { compaction: Some(compaction), ..config() });
    let end = world.log.end_offset();
    world.log.enforce_retention(Millis(1_002_000), end).expect("sound disk");
    assert_ne!(world.log.end().bytes, 0, "it is not overdue yet");
    world.log.enforce_retention(Millis(1_900_000), end).expect("sound disk");
    assert_eq!((world.log.end().bytes, world.log.end_offset()), (0, end));
    world.sync().expect("sound disk");
    world.compact(1 << 20).expect("sound disk");
    assert_eq!(world.records().len(), 7, "one record for each key");
}

/// What an aborted transaction wrote is nobody's newest record, and markers stay with their data.
#[test]
fn aborted_records_go_and_markers_stay_while_they_are_needed() {
    let mut world = world();
    let producer = |sequence: i32| {
        let builder = BatchBuilder::new(Compression::None).transactional();
        builder.producer(ProducerId(5), ProducerEpoch(0), Sequence(sequence))
    };
    let end = |world: &mut World, outcome| {
        let marker = Marker { outcome, coordinator_epoch: 0 };
        let (id, epoch) = (ProducerId(5), ProducerEpoch(0));
        // It takes an offset that no key is at.
        let key = b"marker".to_vec();
        let timestamp = Millis(1_000_000 + world.model.made.len() as i64);
        world.model.made.push(Made { key, value: None, timestamp });
        let batch = BatchBuilder::control(marker, id, epoch, timestamp);
        world.append_batch(batch).expect("room");
    };
    use crate::record::ControlType::{Abort, Commit};
    world.append(Compression::None, &[1, 2]).expect("room");
    world.append_by(producer(0), &[2, 3]).expect("room");
    end(&mut world, Commit);
    world.append_by(producer(2), &[1, 4]).expect("room");
    end(&mut world, Abort);
    // The producer is remembered by later batches than these.
    for round in 0..8 {
        world.append_by(producer(4 + round), &[50]).expect("room");
        end(&mut world, Commit);
    }
    for _ in 0..30 {
        world.append(Compression::None, &[100, 3]).expect("room");
    }
    world.sync().expect("sound disk");
    world.compact(1 << 20).expect("sound disk");
    let newest = |world: &World, key: &[u8]| {
        let records = world.records().into_iter().filter(|r| r.key.as_deref() == Some(key));
        records.map(|record| record.offset.0).collect::<Vec<_>>()
    };
    assert_eq!(newest(&world, b"key-1"), [0], "what replaced it was aborted");
    assert_eq!(newest(&world, b"key-2"), [2], "what replaced it was committed");
    assert_eq!(newest(&world, b"key-4"), [] as [i64; 0]);
    let markers = |world: &World| {
        let batches = batches(&world.log.view()).into_iter();
        let control = batches.filter(|batch| batch.header().is_control());
        control.map(|batch| batch.header().base_offset.0).collect::<Vec<_>>()
    };
    assert!(markers(&world).starts_with(&[4, 7]), "{:?}", markers(&world));
    // In the next pass the aborted data is not there any more, nor is the marker needed, and one
    // day later it goes. The committed record is still there, and so is its marker.
    for _ in 0..2 {
        for _ in 0..30 {
            world.append(Compression::None, &[100, 3]).expect("room");
        }
        world.sync().expect("sound disk");
        world.compact(1 << 20).expect("sound disk");
        world.now = Millis(world.now.0 + 2 * DAY_MS);
    }
    assert!(markers(&world).contains(&4) && !markers(&world).contains(&7), "{:?}", markers(&world));
}

/// Nothing of a pass that the log does not want any more stays behind.
#[test]
fn an_exchange_is_refused_when_retention_was_quicker() {
    let mut world = filled(60);
    let mut pass = world.begin(1 << 20, 1).expect("something to do");
    let exchange = loop {
        match pass.step(1 << 20).expect("sound disk") {
            CompactionStep::Exchange(exchange) => break exchange,
            step => assert!(matches!(step, CompactionStep::More(_)), "{step:?}"),
        }
    };
    world.log.advance_start(Offset(90)).expect("no job is under way");
    let exchange = world.log.begin_exchange(exchange).expect_err("its segments are gone");
    pass.refused(&exchange);
    pass.abandon();
    let names = world.disk.list(Path::new(DIR)).expect("there");
    assert!(names.iter().all(|entry| !entry.name.contains(".cleaned.")));
    world.model.start = 90;
    world.holds();
}

/// A full disk ends a pass; the log is as it was.
#[test]
fn a_full_disk_ends_a_pass_and_nothing_else() {
    let mut world = filled(60);
    let before = world.records();
    world.disk.inject(Fault::always(FaultKind::NoSpace, ".cleaned."));
    assert!(world.compact(1 << 20).is_err());
    world.disk.clear_faults();
    assert_eq!(world.records(), before);
    assert!(world.log.is_poisoned().is_none());
    world.compact(1 << 20).expect("room again");
    world.is_clean();
}

/// Where there is no room to announce an exchange, or to say that it is done, the log serves on.
#[test]
fn a_full_disk_keeps_an_exchange_from_beginning_or_from_being_forgotten() {
    for writes in 0..4 {
        let mut world = filled(60);
        world.compact(1 << 20).expect("sound disk");
        for _ in 0..30 {
            world.append(Compression::None, &[1, 2]).expect("room");
        }
        world.sync().expect("sound disk");
        world.disk.inject(Fault::always(FaultKind::NoSpace, "compaction").after(writes));
        let _ = world.compact(1 << 20);
        assert!(world.log.is_poisoned().is_none(), "{writes}");
        assert!(world.disk.faults_struck() > 0, "{writes}");
        world.disk.clear_faults();
        world.holds();
        let disk = world.disk.snapshot();
        world.compact(1 << 20).expect("room again");
        world.is_clean();
        world.reopen(&disk).expect("opens");
    }
}

/// D14: whatever a crash leaves of a compaction, the log is the old one or the new one.
#[test]
fn a_crash_at_any_operation_leaves_the_newest_of_each_key() {
    let started = MemoryDisk::new();
    let mut world = World::new(&started).expect("sound disk");
    for round in 0..9 {
        world.append(Compression::None, &[round % 3, 3]).expect("room");
    }
    world.sync().expect("sound disk");
    // The journal names a place in a segment that will be gone.
    world.claim().expect("sound disk");
    for round in 0..12 {
        world.append(Compression::None, &[round % 3, -3]).expect("room");
    }
    world.sync().expect("sound disk");
    let model = world.model.clone();
    drop(world);
    let mut crash = 0;
    let coverage = Enumeration::starting_from(&started).random_crashes(4).run(
        |disk| {
            let Ok(mut world) = World::open(disk, model.clone(), config()) else {
                return model.clone();
            };
            let run = |world: &mut World| {
                world.compact(1 << 20)?;
                world.append(Compression::None, &[1])?;
                world.sync()
            };
            let _: Result<(), Over> = run(&mut world);
            world.model
        },
        |disk, model, _| {
            crash += 1;
            let before = world_at(&disk, model);
            // Recovering once more finds the same.
            let again = world_at(&disk.crash_losing_all(), model);
            assert_eq!(before.records(), again.records());
            if crash % 7 == 0 {
                goes_on(&disk, again);
            }
        },
    );
    assert!(coverage.operations > 40 && coverage.crashes > 200, "{coverage:?}");
}

fn world_at(disk: &MemoryDisk, model: &Model) -> World {
    World::open(disk, model.clone(), config()).expect("opens")
}

fn goes_on(disk: &MemoryDisk, mut world: World) {
    for _ in 0..12 {
        world.append(Compression::Zstd, &[1, 2]).expect("room");
    }
    world.sync().expect("sound disk");
    world.compact(1 << 20).expect("sound disk");
    world.holds();
    world.is_clean();
    let _ = disk;
}

/// Whichever operation fails, and without a crash: what was settled is there after a start.
#[test]
fn whatever_operation_fails_the_newest_of_each_key_stays() {
    let started = MemoryDisk::new();
    let world = {
        let mut world = World::new(&started).expect("sound disk");
        for round in 0..20 {
            world.append(Compression::None, &[round % 3, 3]).expect("room");
        }
        world.sync().expect("sound disk");
        world.claim().expect("sound disk");
        world
    };
    let model = world.model.clone();
    drop(world);
    let coverage = Enumeration::starting_from(&started).run_failures(
        |disk| {
            let Ok(mut world) = World::open(disk, model.clone(), config()) else {
                return model.clone();
            };
            let _ = world.compact(1 << 20);
            world.model
        },
        |disk, model, _| drop(world_at(&disk, model)),
    );
    assert!(coverage.operations > 20, "{coverage:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Append(Compression, Vec<i32>),
    Sync,
    Claim,
    Compact { memory_bytes: usize, days: i64 },
    AdvanceStart(u8),
    Close,
    Kill,
    PowerCut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let codec = prop::sample::select(Compression::ALL.to_vec());
    prop_oneof![
        8 => (codec, prop::collection::vec(-9..10_i32, 1..5))
            .prop_map(|(codec, keys)| Step::Append(codec, keys)),
        4 => Just(Step::Sync),
        1 => Just(Step::Claim),
        3 => (0..400usize, 0..2i64)
            .prop_map(|(memory_bytes, days)| Step::Compact { memory_bytes, days }),
        1 => any::<u8>().prop_map(Step::AdvanceStart),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

fn take(world: &mut World, step: &Step) -> Result<(), Over> {
    match step {
        Step::Append(codec, keys) => world.append(*codec, keys)?,
        Step::Sync => world.sync()?,
        Step::Claim => world.claim()?,
        Step::Compact { memory_bytes, days } => {
            world.now = Millis(world.now.0 + days * DAY_MS);
            world.compact(*memory_bytes)?;
        }
        Step::AdvanceStart(part) => {
            let (start, end) = (world.log.start_offset(), world.log.settled_offset());
            let to = start.plus((end.0 - start.0).max(0) * i64::from(*part) / 256);
            world.log.advance_start(to).map_err(over)?;
            world.model.start = to.0 as usize;
        }
        Step::Close => {
            world.log.close().map_err(over)?;
            world.model.settled = world.model.made.len();
            world.claim()?;
            world.reopen(&world.disk.snapshot())?;
        }
        Step::Kill => world.reopen(&world.disk.snapshot())?,
        Step::PowerCut(seed) => {
            let mut random = crate::random::Random::new(*seed);
            world.reopen(&world.disk.crash_randomly(&mut random))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// D13, D14: after any sequence of appends, passes, crashes and starts, the newest record of
    /// each key is what the model says.
    #[test]
    fn the_newest_of_each_key_agrees_with_a_model(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = world();
        for step in &steps {
            take(&mut world, step).expect("sound disk");
            world.holds();
        }
    }
}

#[test]
fn the_frozen_fixture_is_what_we_write_and_read() {
    let fixture = include_bytes!("../../../tests/golden/log/compaction-v1.bin");
    let exchange = [512, 700, 1_000].map(Offset).to_vec();
    let state = CompactionState { gaps_below: Offset(4_096), clean_to: Offset(4_000), exchange };
    assert_eq!(state.encode(), fixture);
    assert_eq!(CompactionState::decode(fixture), Ok(state));
}

#[test]
fn contradictory_numbers_are_refused() {
    let broken: [fn(&mut CompactionState); 4] = [
        |state| state.gaps_below = Offset(-1),
        |state| state.clean_to = Offset(-1),
        |state| state.exchange = vec![Offset(7), Offset(7)],
        |state| state.exchange = vec![Offset(-7)],
    ];
    for breaks in broken {
        let mut state = CompactionState::default();
        breaks(&mut state);
        assert!(CompactionState::decode(&state.encode()).is_err(), "{state:?}");
    }
}
