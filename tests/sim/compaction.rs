//! W7: a compacted partition behind its owner, with passes that take their steps between appends,
//! syncs, deletions, kills and power cuts. Whatever happens, an acknowledged record that is the
//! newest of its key is there, and no record is another than was sent (D13, D14).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rivvend::log::frontier::{Frontier, FrontierState};
use rivvend::log::{
    Compaction, CompactionConfig, CompactionOptions, CompactionStep, Exchange, Known,
    KnownFrontier, Log, LogConfig, OpenMode,
};
use rivvend::partition::{
    Answer, Append, AppendRefusal, Appended, Exchanged, Health, Job, Partition, PartitionHandle,
    Reader, Reply,
};
use rivvend::random::Random;
use rivvend::record::{BatchBuilder, Batches, Compression, NewRecord, decode_records};
use rivvend::shard::{Command, Outbox, Shard};
use rivvend::storage::Disk;
use rivvend::storage::memory::MemoryDisk;
use rivvend::time::Now;
use rivvend::types::{LeaderEpoch, Millis, Offset};

use crate::history::Broken;
use crate::node::{DATA_DIR, directory_of, id_of};

/// Seeds of a run without arguments.
const SEEDS: u64 = 60;
const ACTIONS: u64 = 600;
const KEYS: u64 = 12;
const DAY_MS: i64 = 86_400_000;

/// Runs all seeds, or one.
pub(crate) fn check(only: Option<u64>) -> (u64, u64) {
    let seeds = only.map_or(1..=SEEDS, |seed| seed..=seed);
    let (mut passed, mut failed) = (0, 0);
    for seed in seeds {
        match run(seed) {
            Ok(()) => passed += 1,
            Err(why) => {
                failed += 1;
                println!("compaction, seed {seed} failed: {why}");
                println!("    cargo test --features planted --test sim -- --compaction {seed}");
            }
        }
    }
    println!("compaction: {passed} seeds");
    (passed, failed)
}

/// The outcome of one seed.
pub(crate) fn run(seed: u64) -> Result<(), Broken> {
    crate::runner::catch(|| {
        let mut world = World::new(seed)?;
        for _ in 0..ACTIONS {
            world.act()?;
        }
        world.restart(Stop::Power)?;
        world.look(true)
    })
}

/// What was sent: key, and the text of the value unless it was a tombstone.
type Sent = (u64, Option<String>);

enum Stop {
    Kill,
    Power,
}

/// A pass that is out, and what it waits for.
struct Pass {
    compaction: Box<Compaction>,
    exchange: Option<Answer<Exchanged>>,
}

/// What becomes of an append.
type Outcome = Answer<Result<Appended, AppendRefusal>>;

struct World {
    random: Random,
    disk: MemoryDisk,
    shard: Shard,
    handle: Arc<PartitionHandle>,
    journal: Frontier,
    jobs: Vec<Job>,
    pass: Option<Pass>,
    open: Vec<(Vec<Sent>, Outcome)>,
    /// What is known to be at an offset, by what was acknowledged or read.
    at: BTreeMap<i64, Sent>,
    /// All that was ever sent.
    sent: BTreeSet<Sent>,
    /// The offset of the newest acknowledged record of each key.
    newest: BTreeMap<u64, i64>,
    start: i64,
    number: u64,
    now_ms: i64,
}

impl World {
    fn new(seed: u64) -> Result<World, Broken> {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(DATA_DIR)).map_err(|error| error.to_string())?;
        let mut random = Random::new(seed);
        let (shard, handle, journal) = open(&disk, &mut random)?;
        Ok(World {
            random,
            disk,
            shard,
            handle,
            journal,
            jobs: Vec::new(),
            pass: None,
            open: Vec::new(),
            at: BTreeMap::new(),
            sent: BTreeSet::new(),
            newest: BTreeMap::new(),
            start: 0,
            number: 0,
            now_ms: 1_000,
        })
    }

    fn act(&mut self) -> Result<(), Broken> {
        self.now_ms += 1;
        match self.random.below(100) {
            0..=39 => self.append(),
            40..=59 => self.run_job(),
            60..=84 => self.compact()?,
            85..=89 => self.claim()?,
            90..=91 => self.maintain(),
            92 => self.delete(),
            93 => self.now_ms += DAY_MS,
            94..=96 => self.look(false)?,
            97 | 98 => self.restart(Stop::Kill)?,
            _ => self.restart(Stop::Power)?,
        }
        self.collect()
    }

    fn step(&mut self, commands: Vec<Command>) {
        let now = Now { wall: Millis(self.now_ms), monotonic_ms: self.now_ms as u64 };
        let mut outbox = Outbox::default();
        self.shard.step(now, commands.into_iter(), &mut outbox);
        self.jobs.extend(outbox.jobs.into_iter().map(|(_, job)| job));
    }

    fn append(&mut self) {
        let codec = Compression::ALL[self.random.below(5) as usize];
        let mut builder = BatchBuilder::new(codec);
        let mut sent = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            self.number += 1;
            let key = self.random.below(KEYS);
            let value = self.random.chance(9, 10).then(|| format!("{:>40}", self.number));
            builder.push(&NewRecord {
                timestamp: Millis(self.now_ms),
                key: Some(key.to_string().as_bytes()),
                value: value.as_deref().map(str::as_bytes),
                headers: &[],
            });
            sent.push((key, value));
        }
        self.sent.extend(sent.iter().cloned());
        let (reply, answer) = Reply::channel();
        let append = Append { batches: vec![builder.build()], expected_offset: None, reply };
        self.step(vec![Command::Append(id_of(0), append)]);
        self.open.push((sent, answer));
    }

    fn run_job(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let chosen = self.random.below(self.jobs.len() as u64) as usize;
        let done = Box::new(self.jobs.swap_remove(chosen).run());
        self.step(vec![Command::Finished(id_of(0), done)]);
    }

    fn maintain(&mut self) {
        let (reply, jobs) = Reply::channel();
        self.step(vec![Command::Maintain(reply)]);
        let jobs = jobs.try_recv().unwrap_or_default();
        self.jobs.extend(jobs.into_iter().map(|(_, job)| job));
    }

    fn claim(&mut self) -> Result<(), Broken> {
        let (reply, claims) = Reply::channel();
        self.step(vec![Command::Frontier(reply)]);
        let claims = claims.try_recv().unwrap_or_default();
        let recorded = self.journal.record(&claims).and_then(|()| self.journal.sync());
        recorded.map_err(|error| error.to_string())
    }

    fn delete(&mut self) {
        let (start, end) = (self.start, self.handle.view().high_watermark.offset.0);
        let before = start + (end - start).max(0) / 4;
        self.start = before;
        self.step(vec![Command::DeleteRecords(id_of(0), Some(Offset(before)), Reply::ignored())]);
    }

    /// Begins a pass, or takes the next step of the one that is out.
    fn compact(&mut self) -> Result<(), Broken> {
        let Some(mut pass) = self.pass.take() else {
            let memory_bytes = [200, 1 << 16][self.random.below(2) as usize];
            let until = Offset(i64::MAX);
            let options = Box::new(CompactionOptions { memory_bytes, seed: 7, until });
            let (reply, pass) = Reply::channel();
            self.step(vec![Command::Compact(id_of(0), options, reply)]);
            let compaction = pass.try_recv().ok().flatten();
            self.pass = compaction.map(|compaction| Pass { compaction, exchange: None });
            return Ok(());
        };
        if let Some(answer) = pass.exchange.take() {
            match answer.try_recv() {
                Ok(Exchanged::Done) => {}
                Ok(Exchanged::Refused(exchange)) => {
                    pass.compaction.refused(&exchange);
                    self.end_pass(pass);
                    return Ok(());
                }
                Ok(Exchanged::Failed) => return Err("an exchange failed on a sound disk".into()),
                Err(_) => {
                    pass.exchange = Some(answer);
                    self.pass = Some(pass);
                    return Ok(());
                }
            }
        }
        match pass.compaction.step(500) {
            Ok(CompactionStep::More(_)) => self.pass = Some(pass),
            Ok(CompactionStep::Exchange(exchange)) => {
                pass.exchange = Some(self.exchange(exchange));
                self.pass = Some(pass);
            }
            Ok(CompactionStep::Done { .. }) => self.end_pass(pass),
            // Segments that were deleted meanwhile can not be read any more.
            Err(_) if self.start > 0 => self.end_pass(pass),
            Err(error) => return Err(format!("a pass failed on a sound disk: {error}")),
        }
        Ok(())
    }

    fn exchange(&mut self, exchange: Exchange) -> Answer<Exchanged> {
        let (reply, answer) = Reply::channel();
        self.step(vec![Command::Exchange(id_of(0), Box::new(exchange), reply)]);
        answer
    }

    fn end_pass(&mut self, pass: Pass) {
        pass.compaction.abandon();
        self.step(vec![Command::EndCompaction(id_of(0), None)]);
    }

    /// Takes the answers that have come.
    fn collect(&mut self) -> Result<(), Broken> {
        let open = std::mem::take(&mut self.open);
        for (sent, answer) in open {
            match answer.try_recv() {
                Ok(Ok(appended)) => {
                    for (offset, sent) in (appended.base_offset.0..).zip(sent) {
                        self.newest.insert(sent.0, offset);
                        self.at.insert(offset, sent);
                    }
                }
                Ok(Err(refusal)) => return Err(format!("refused on a sound disk: {refusal}")),
                Err(_) => self.open.push((sent, answer)),
            }
        }
        Ok(())
    }

    fn restart(&mut self, stop: Stop) -> Result<(), Broken> {
        // Nobody hears of what was under way.
        (self.pass, self.jobs, self.open) = (None, Vec::new(), Vec::new());
        self.disk = match stop {
            Stop::Kill => self.disk.snapshot(),
            Stop::Power => self.disk.crash_randomly(&mut self.random),
        };
        (self.shard, self.handle, self.journal) = open(&self.disk, &mut self.random)?;
        self.look(true)
    }

    /// Reads everything. What is there after a start is there for good.
    fn look(&mut self, after_start: bool) -> Result<(), Broken> {
        let view = self.handle.view();
        if !matches!(view.health, Health::Good) {
            return Err(format!("D16: {:?}", view.health));
        }
        let found = read(&view)?;
        for (offset, sent) in &found {
            let known = self.at.get(offset).is_none_or(|known| known == sent);
            if !known || !self.sent.contains(sent) {
                return Err(format!(
                    "D4: {sent:?} at {offset}, where {:?} was",
                    self.at.get(offset)
                ));
            }
        }
        let mut newest: BTreeMap<u64, i64> = BTreeMap::new();
        for (offset, (key, _)) in &found {
            newest.insert(*key, *offset);
        }
        for (key, offset) in &self.newest {
            let is_gone = newest.get(key).is_none_or(|found| found < offset);
            let may_go = *offset < view.start().0 || self.at[offset].1.is_none();
            let is_back = newest.contains_key(key) && *offset >= view.start().0;
            if is_gone && (!may_go || is_back) {
                return Err(format!("D13: key {key} is gone, its newest was at {offset}"));
            }
        }
        if after_start {
            // A record that was sent and never acknowledged may have become the newest.
            self.at.retain(|offset, _| *offset < view.high_watermark.offset.0);
            for (offset, sent) in found {
                self.newest.entry(sent.0).and_modify(|at| *at = offset.max(*at)).or_insert(offset);
                self.at.insert(offset, sent);
            }
            self.start = view.start().0;
        }
        Ok(())
    }
}

fn read(view: &rivvend::partition::PartitionView) -> Result<BTreeMap<i64, Sent>, Broken> {
    let (mut found, mut from) = (BTreeMap::new(), view.start());
    while from < view.high_watermark.offset {
        let range = view.read(from, Reader::Uncommitted, 2_000);
        let range = range.map_err(|error| format!("D4: {error}"))?;
        if range.next_offset <= from {
            return Err(format!("D4: reading stops at {from}"));
        }
        let bytes = Bytes::from(range.copy().map_err(|error| error.to_string())?);
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            for record in decode_records(&batch).map_err(|error| error.to_string())? {
                let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
                let key = record.key.map(text).and_then(|key| key.parse().ok());
                let key = key.ok_or_else(|| "a key is none of ours".to_owned())?;
                if record.offset >= view.start() {
                    found.insert(record.offset.0, (key, record.value.map(text)));
                }
            }
        }
        from = range.next_offset;
    }
    Ok(found)
}

fn open(
    disk: &MemoryDisk,
    random: &mut Random,
) -> Result<(Shard, Arc<PartitionHandle>, Frontier), Broken> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (state, mut entries) = Frontier::load(disk, Path::new(DATA_DIR));
    let frontier = match state {
        FrontierState::Missing | FrontierState::Unreadable(_) => KnownFrontier::Missing,
        _ => KnownFrontier::At(entries.get(&id_of(0)).copied()),
    };
    let known = Known { frontier, clean: None };
    let compaction = CompactionConfig {
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: DAY_MS,
        min_dirty_ppm: 0,
    };
    let config = LogConfig {
        segment_bytes: [500, 1_000, 4_000][random.below(3) as usize],
        index_interval_bytes: 128,
        retention_ms: None,
        compaction: Some(compaction),
        ..LogConfig::default()
    };
    let opened = Log::open(shared.clone(), directory_of(0), config, known, OpenMode::Write);
    let (log, recovery) = opened.map_err(|error| error.to_string())?;
    if let Some(damage) = recovery.damage {
        return Err(format!("D9: nothing was damaged, only lost: {damage}"));
    }
    entries.insert(id_of(0), log.frontier());
    let journal = Frontier::begin(shared, Path::new(DATA_DIR), entries);
    let partition = Partition::lead(id_of(0), 0, log, LeaderEpoch(1));
    let (mut shard, handle) = (Shard::default(), Arc::clone(partition.handle()));
    let now = Now { wall: Millis(0), monotonic_ms: 0 };
    let open = std::iter::once(Command::Open(Box::new(partition)));
    shard.step(now, open, &mut Outbox::default());
    Ok((shard, handle, journal.map_err(|error| error.to_string())?))
}
