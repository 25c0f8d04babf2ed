//! One broker without its edges: shards, journal and logs put together as `broker` does it, but
//! stepped one event at a time on a simulated disk. Knows nothing of clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rivvend::coordinator::{Coordinator, Store};
use rivvend::log::clean::{CleanLog, CleanShutdown, Taken};
use rivvend::log::frontier::{Claim, Frontier, FrontierState};
use rivvend::log::{Known, KnownFrontier, Log, OpenMode, Recovery};
use rivvend::partition::{Job, JobDone, Partition, PartitionHandle, Reply};
use rivvend::shard::{Command, GroupCommand, Outbox, Shard, Waiter, load_groups, shard_of};
use rivvend::storage::Disk;
use rivvend::storage::memory::MemoryDisk;
use rivvend::time::Now;
use rivvend::types::{BrokerEpoch, LeaderEpoch, PartitionId, TopicId, TopicPartition};

use crate::history::Before;
use crate::setup::Setup;

/// Where everything is.
pub(crate) const DATA_DIR: &str = "/data";

/// A job that the shard asked for.
#[derive(Debug)]
pub(crate) enum Work {
    Todo(Job),
    Done(JobDone),
    /// The log of a coordinator is to be replayed.
    Load(Arc<PartitionHandle>),
    Loaded(Result<Store, Arc<str>>),
}

/// What opening a partition found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) recovery: Recovery,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// A running broker.
pub(crate) struct Node {
    pub(crate) disk: MemoryDisk,
    shards: Vec<Shard>,
    mailboxes: Vec<Vec<Command>>,
    journal: Frontier,
    pub(crate) handles: Vec<Arc<PartitionHandle>>,
    pub(crate) jobs: BTreeMap<u64, (TopicPartition, Work)>,
    jobs_begun: u64,
    /// When a coordinator wants to be looked at.
    due_ms: Option<u64>,
}

/// The partition with this number.
pub(crate) fn id_of(partition: usize) -> TopicPartition {
    let topic = TopicId::from_bytes(*b"simulated topic!");
    TopicPartition { topic, partition: PartitionId(partition as i32) }
}

/// Where the files of a partition are.
pub(crate) fn directory_of(partition: usize) -> PathBuf {
    let id = id_of(partition);
    Path::new(DATA_DIR).join("topics").join(id.topic.to_string()).join(id.partition.to_string())
}

impl Node {
    /// Opens what is on the disk, in the order in which the broker does it.
    pub(crate) fn start(
        disk: MemoryDisk,
        setup: &Setup,
        epoch: LeaderEpoch,
        now: Now,
    ) -> Result<(Node, Vec<Opened>), String> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let data_dir = Path::new(DATA_DIR);
        let (state, mut entries) = Frontier::load(&disk, data_dir);
        let known = match &state {
            FrontierState::Missing | FrontierState::Unreadable(_) => None,
            FrontierState::Whole | FrontierState::TornTail { .. } => Some(&entries),
        };
        let taken = CleanShutdown::take(&disk, data_dir).map_err(|e| e.to_string())?;
        let clean = match taken {
            Taken::Clean(marker) => marker.logs,
            Taken::Absent | Taken::Unreadable(_) => BTreeMap::new(),
        };
        let mut shards: Vec<Shard> = (0..setup.shards).map(|_| Shard::default()).collect();
        let mut opened = Vec::new();
        let mut handles = Vec::new();
        for partition in 0..setup.partitions {
            let id = id_of(partition);
            let frontier = match known {
                None => KnownFrontier::Missing,
                Some(entries) => KnownFrontier::At(entries.get(&id).copied()),
            };
            let known = Known { frontier, clean: clean.get(&id).copied() };
            let (log, recovery) = open(&shared, partition, setup, known)?;
            let (start, end) = (log.start_offset().0, log.end_offset().0);
            opened.push(Opened { recovery, start, end });
            let shard = shard_of(id, setup.shards);
            let partition = Partition::lead(id, shard, log, epoch);
            handles.push(Arc::clone(partition.handle()));
            let command = Command::Open(Box::new(partition));
            shards[shard].step(now, std::iter::once(command), &mut Outbox::default());
        }
        for shard in &mut shards {
            let (reply, claims) = Reply::channel();
            shard.step(now, std::iter::once(Command::Frontier(reply)), &mut Outbox::default());
            for claim in claims.try_recv().unwrap_or_default() {
                let entry = entries.entry(claim.partition).or_insert(claim.entry);
                if entry.end_offset < claim.entry.end_offset {
                    *entry = claim.entry;
                }
            }
        }
        // Until every log is recovered the old journal is the evidence.
        let journal = Frontier::begin(shared, data_dir, entries).map_err(|e| e.to_string())?;
        let mailboxes = (0..setup.shards).map(|_| Vec::new()).collect();
        let jobs = BTreeMap::new();
        let (jobs_begun, due_ms) = (0, None);
        let node = Node { disk, shards, mailboxes, journal, handles, jobs, jobs_begun, due_ms };
        Ok((node, opened))
    }

    /// The shard that owns a partition.
    pub(crate) fn shard(&self, partition: usize) -> usize {
        shard_of(id_of(partition), self.shards.len())
    }

    /// Puts a command into a mailbox.
    pub(crate) fn submit(&mut self, shard: usize, command: Command) {
        self.mailboxes[shard].push(command);
    }

    /// Where each partition's log starts for readers, and whether that may be about to change.
    pub(crate) fn starts(&self) -> Vec<(i64, bool)> {
        let mut starts: Vec<_> =
            self.handles.iter().map(|handle| (handle.view().start().0, false)).collect();
        for partition in self.shards.iter().flat_map(Shard::partitions) {
            starts[partition.handle().id().partition.0 as usize].1 = partition.has_changes();
        }
        starts
    }

    /// Lets a shard work off its mailbox; the numbers of the jobs that this began.
    pub(crate) fn step(&mut self, shard: usize, now: Now) -> Vec<u64> {
        let commands = std::mem::take(&mut self.mailboxes[shard]);
        let mut outbox = Outbox::default();
        self.shards[shard].step(now, commands.into_iter(), &mut outbox);
        if let Some(due_ms) = outbox.due_ms {
            self.due_ms = Some(self.due_ms.map_or(due_ms, |before| before.min(due_ms)));
        }
        let loads = outbox.loads.into_iter().map(|handle| (handle.id(), Work::Load(handle)));
        let jobs = outbox.jobs.into_iter().map(|(id, job)| (id, Work::Todo(job)));
        self.begin(jobs.chain(loads))
    }

    fn begin(&mut self, jobs: impl Iterator<Item = (TopicPartition, Work)>) -> Vec<u64> {
        let mut begun = Vec::new();
        for (id, work) in jobs {
            self.jobs_begun += 1;
            self.jobs.insert(self.jobs_begun, (id, work));
            begun.push(self.jobs_begun);
        }
        begun
    }

    /// When a coordinator wants to be looked at, since this was asked last.
    pub(crate) fn take_due(&mut self) -> Option<u64> {
        self.due_ms.take()
    }

    /// Whether nothing of a partition is under way. What is staged meanwhile is not in its log.
    pub(crate) fn is_quiet(&self, partition: usize) -> bool {
        !self.jobs.values().any(|(id, _)| *id == id_of(partition))
    }

    /// The coordinator on a partition, while it serves.
    pub(crate) fn coordinator(&self, partition: usize) -> Option<&Coordinator<Waiter>> {
        self.shards[self.shard(partition)].coordinator(id_of(partition))
    }

    /// Does the work of a job. Its shard is told later.
    pub(crate) fn run(&mut self, job: u64) {
        if let Some((id, work)) = self.jobs.remove(&job) {
            let done = match work {
                Work::Todo(job) => Work::Done(job.run()),
                Work::Load(handle) => Work::Loaded(load_groups(&handle).map(|(store, _)| store)),
                done => done,
            };
            self.jobs.insert(job, (id, done));
        }
    }

    /// Tells the shard of a job that has ended; which shard that is.
    pub(crate) fn tell(&mut self, job: u64) -> Option<usize> {
        match self.jobs.remove(&job) {
            Some((id, Work::Done(done))) => {
                let shard = shard_of(id, self.shards.len());
                self.submit(shard, Command::Finished(id, Box::new(done)));
                Some(shard)
            }
            Some((id, Work::Loaded(outcome))) => {
                let shard = shard_of(id, self.shards.len());
                let loaded = GroupCommand::Loaded(id, outcome);
                self.submit(shard, Command::Groups(Box::new(loaded)));
                Some(shard)
            }
            _ => None,
        }
    }

    /// One round of housekeeping: the frontier, and retention where `enforce` says so.
    pub(crate) fn keep_house(&mut self, enforce: bool, now: Now) -> Vec<u64> {
        let mut begun = Vec::new();
        let mut claims = Vec::new();
        for shard in 0..self.shards.len() {
            if enforce {
                let (reply, jobs) = Reply::channel();
                self.submit(shard, Command::Maintain(reply));
                begun.extend(self.step(shard, now));
                let jobs = jobs.try_recv().unwrap_or_default();
                begun.extend(self.begin(jobs.into_iter().map(|(id, job)| (id, Work::Todo(job)))));
            }
            let (reply, entries) = Reply::channel();
            self.submit(shard, Command::Frontier(reply));
            begun.extend(self.step(shard, now));
            claims.extend(entries.try_recv().unwrap_or_default());
        }
        // When it fails, only the next recovery takes longer.
        drop(self.journal.record(&claims));
        begun
    }

    /// Stops as the broker does on request: finishes what is under way, closes every log and leaves
    /// the marker.
    pub(crate) fn stop(&mut self, now: Now) -> Result<(), String> {
        let mut clean: BTreeMap<TopicPartition, CleanLog> = BTreeMap::new();
        let (mut closing, mut claims) = (Vec::new(), Vec::new());
        for shard in 0..self.shards.len() {
            self.submit(shard, Command::Groups(Box::new(GroupCommand::Close)));
        }
        for partition in 0..self.handles.len() {
            let (reply, log) = Reply::channel();
            let shard = self.shard(partition);
            self.submit(shard, Command::Close(id_of(partition), reply));
            let begun = self.step(shard, now);
            assert!(begun.iter().all(|job| self.jobs[job].0 != id_of(partition)));
            closing.push((id_of(partition), log));
        }
        for job in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.run(job);
            if let Some(shard) = self.tell(job) {
                self.step(shard, now);
            }
        }
        for (id, log) in closing {
            let mut log = log.try_recv().map_err(|_| "a log was not handed back")?;
            let Some(log) = log.as_mut() else { continue };
            if log.close().is_ok()
                && let Some(entry) = log.clean_entry().ok().flatten()
            {
                clean.insert(id, entry);
                let (entry, lowerings) = (log.frontier(), log.lowerings());
                claims.push(Claim { partition: id, entry, lowerings });
            }
        }
        self.journal.record(&claims).map_err(|error| error.to_string())?;
        self.journal.sync().map_err(|error| error.to_string())?;
        let marker = CleanShutdown { broker_epoch: BrokerEpoch(1), logs: clean };
        marker.write(&self.disk, Path::new(DATA_DIR)).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// What each log holds, to hold it against what it holds after a restart.
    pub(crate) fn ends(&self) -> Vec<Before> {
        let mut ends = vec![None; self.handles.len()];
        for partition in self.shards.iter().flat_map(Shard::partitions) {
            let log = partition.log();
            ends[partition.handle().id().partition.0 as usize] = Some(Before {
                written: log.end_offset().0,
                synced: log.synced().offset.0,
                failed: log.is_poisoned().is_some(),
            });
        }
        ends.into_iter().map(|end| end.expect("every partition has an owner")).collect()
    }
}

fn open(
    disk: &Arc<dyn Disk>,
    partition: usize,
    setup: &Setup,
    known: Known,
) -> Result<(Log, Recovery), String> {
    let (disk, directory) = (Arc::clone(disk), directory_of(partition));
    if !disk.exists(&directory).map_err(|error| error.to_string())? {
        let config = setup.log_of(partition).clone();
        return Ok((Log::create(disk, directory, config), Recovery::default()));
    }
    let config = setup.log_of(partition).clone();
    let opened = Log::open(disk, directory, config, known, OpenMode::Write);
    opened.map_err(|error| error.to_string())
}
