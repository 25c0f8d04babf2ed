//! The owner of partitions. A shard is a plain core that takes commands one after another and ends
//! each batch of them with one settle step per touched partition; [`driver`] gives it a mailbox and
//! whoever submits runs it. Knows nothing of protocols, sockets or async.

mod alarm;
mod backlog;
mod command;
pub mod driver;
mod groups;
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use alarm::Alarm;
pub use backlog::Backlog;
pub use command::Command;
pub use groups::{GroupCommand, Waiter, load as load_groups};

use self::groups::Host;
use crate::coordinator::Coordinator;
use crate::limits;
use crate::log::frontier::Claim;
use crate::log::{Log, Survey};
use crate::partition::{AppendRefusal, Job, JobDone, Partition, PartitionHandle, Reply};
use crate::telemetry::RebalanceCause;
use crate::time::Now;
use crate::types::TopicPartition;

/// A set of partitions with one owner.
#[derive(Debug, Default)]
pub struct Shard {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Partitions whose durable end moved since the frontier journal was last told.
    synced: BTreeSet<TopicPartition>,
    /// Bytes that were synced in this step.
    synced_bytes: u64,
    /// Partitions that are being given up, with those who wait for that: a deletion or a stop, or
    /// one after the other.
    closing: BTreeMap<TopicPartition, Vec<Reply<Option<Log>>>>,
    /// Coordinators, each beside the partition that is its log.
    hosts: BTreeMap<TopicPartition, Host>,
}

/// What a step wants done outside the owner.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Jobs to run, each answered with [`Command::Finished`].
    pub jobs: Vec<(TopicPartition, Job)>,
    /// Bytes that became durable, for the [`Backlog`].
    pub synced_bytes: u64,
    /// Logs of coordinators to replay, each answered with [`GroupCommand::Loaded`].
    pub loads: Vec<Arc<PartitionHandle>>,
    /// When a coordinator has something to do next, for the [`Alarm`].
    pub due_ms: Option<u64>,
    /// What began the rebalances of groups that began, to be counted.
    pub rebalances: Vec<RebalanceCause>,
}

impl Shard {
    /// Applies `commands` in their order and settles every partition they touched.
    pub fn step(&mut self, now: Now, commands: impl Iterator<Item = Command>, outbox: &mut Outbox) {
        let mut touched = BTreeSet::new();
        for command in commands {
            match command {
                Command::Groups(command) => {
                    self.apply_to_groups(now, *command, &mut touched, outbox)
                }
                command => touched.extend(self.apply(now, command)),
            }
        }
        for id in touched {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            let host = self.hosts.get_mut(&id);
            let Some(host) = host else {
                partition.settle(now, &mut |job| outbox.jobs.push((id, job)));
                continue;
            };
            host.flush(now, partition);
            partition.settle(now, &mut |job| outbox.jobs.push((id, job)));
            host.release(id, partition, outbox);
            let due_ms = host.next_deadline();
            outbox.due_ms = Some(outbox.due_ms.map_or(due_ms, |before| before.min(due_ms)));
        }
        outbox.synced_bytes += std::mem::take(&mut self.synced_bytes);
    }

    /// The partitions this shard owns.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    /// The coordinator whose log this partition is, while it serves; to be looked at.
    #[must_use]
    pub fn coordinator(&self, id: TopicPartition) -> Option<&Coordinator<Waiter>> {
        self.hosts.get(&id)?.coordinator()
    }

    /// Applies one command; the partition it touched, if it is still there.
    fn apply(&mut self, now: Now, command: Command) -> Option<TopicPartition> {
        match command {
            Command::Append(id, append) => {
                match self.partitions.get_mut(&id) {
                    Some(partition) => partition.append(now, append),
                    None => append.reply.send(Err(AppendRefusal::UnknownPartition)),
                }
                Some(id)
            }
            Command::Finished(id, done) => {
                self.finish(id, *done);
                Some(id)
            }
            Command::DeleteRecords(id, before, reply) => {
                match self.partitions.get_mut(&id) {
                    Some(partition) => partition.delete_records(before, reply),
                    None => reply.send(Err(AppendRefusal::UnknownPartition)),
                }
                Some(id)
            }
            Command::Producers(id, reply) => {
                let partition = self.partitions.get(&id);
                reply
                    .send(partition.map(|partition| partition.log().producers().known().collect()));
                None
            }
            Command::Open(partition) => {
                let id = partition.handle().id();
                let before = self.partitions.insert(id, *partition);
                assert!(before.is_none(), "a partition is opened once");
                // What recovery kept is durable, and the journal does not know it yet.
                self.synced.insert(id);
                Some(id)
            }
            Command::Close(id, reply) => {
                match self.partitions.get_mut(&id) {
                    Some(partition) => {
                        partition.begin_close(now);
                        self.closing.entry(id).or_default().push(reply);
                        self.finish_close(id);
                    }
                    None => reply.send(None),
                }
                Some(id)
            }
            Command::Configure(id, config) => {
                self.partitions.get_mut(&id)?.configure(*config);
                Some(id)
            }
            command @ (Command::Survey(..)
            | Command::Compact(..)
            | Command::Exchange(..)
            | Command::EndCompaction(..)) => self.compact(now, command),
            Command::Maintain(reply) => {
                reply.send(self.maintain(now));
                None
            }
            Command::Frontier(reply) => {
                reply.send(self.take_frontier());
                None
            }
            Command::Groups(_) => unreachable!("a step gives these to the coordinators"),
        }
    }

    fn apply_to_groups(
        &mut self,
        now: Now,
        command: GroupCommand,
        touched: &mut BTreeSet<TopicPartition>,
        outbox: &mut Outbox,
    ) {
        match command {
            GroupCommand::Host { id, config, image, may_write } => {
                let partition = self.partitions.get(&id);
                let partition = partition.expect("a log is opened before groups are kept on it");
                outbox.loads.push(Arc::clone(partition.handle()));
                let before = self.hosts.insert(id, Host::new(config, image, may_write));
                assert!(before.is_none(), "a log has one coordinator");
            }
            GroupCommand::Ask(id, request, to) => match self.hosts.get_mut(&id) {
                Some(host) => {
                    host.ask(now, request, to);
                    touched.insert(id);
                }
                // The place for the answer goes, which says that there will be none.
                None => drop(to),
            },
            GroupCommand::Loaded(id, outcome) => {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.loaded(now, outcome);
                    touched.insert(id);
                }
            }
            GroupCommand::Topics(image) => {
                self.hosts.values_mut().for_each(|host| host.set_topics(now, &image));
                touched.extend(self.hosts.keys());
            }
            GroupCommand::Tick => {
                self.hosts.values_mut().for_each(|host| host.tick(now));
                touched.extend(self.hosts.keys());
            }
            GroupCommand::Close => self.hosts.values_mut().for_each(Host::close),
        }
    }

    /// Applies a command that has to do with compaction.
    fn compact(&mut self, now: Now, command: Command) -> Option<TopicPartition> {
        match command {
            Command::Survey(reply) => {
                reply.send(self.survey());
                None
            }
            Command::Compact(id, options, reply) => {
                match self.partitions.get_mut(&id) {
                    Some(partition) => partition.begin_compaction(now, *options, reply),
                    None => reply.send(None),
                }
                Some(id)
            }
            Command::Exchange(id, exchange, reply) => {
                self.compacted(id).exchange(*exchange, reply);
                Some(id)
            }
            Command::EndCompaction(id, failed) => {
                self.compacted(id).end_compaction(failed.map(|error| *error));
                self.finish_close(id);
                Some(id)
            }
            _ => unreachable!("only commands of compaction come here"),
        }
    }

    fn compacted(&mut self, id: TopicPartition) -> &mut Partition {
        let partition = self.partitions.get_mut(&id);
        partition.expect("a partition stays while a pass over it is out")
    }

    fn survey(&self) -> Vec<(TopicPartition, Survey)> {
        let survey = |(id, partition): (&TopicPartition, &Partition)| {
            partition.survey().map(|survey| (*id, survey))
        };
        self.partitions.iter().filter_map(survey).collect()
    }

    fn finish(&mut self, id: TopicPartition, done: JobDone) {
        let partition = self.partitions.get_mut(&id);
        let partition = partition.expect("a partition stays while a job of it is under way");
        let is_sync = matches!(done, JobDone::Sync(_));
        let before = partition.log().synced();
        partition.finish(done);
        if is_sync {
            self.synced.insert(id);
            self.synced_bytes += partition.log().synced_bytes_since(before);
        }
        self.finish_close(id);
    }

    /// Hands the log of a closing partition back once no job of it is under way.
    fn finish_close(&mut self, id: TopicPartition) {
        let quiet = self.partitions.get(&id).is_some_and(Partition::is_idle);
        if quiet && let Some(waiting) = self.closing.remove(&id) {
            let partition = self.partitions.remove(&id).expect("it was found above");
            self.synced.remove(&id);
            self.hosts.remove(&id);
            // Who asked first gets it. To the others the partition is gone, and not before it is.
            let mut log = Some(partition.into_log());
            waiting.into_iter().for_each(|reply| reply.send(log.take()));
        }
    }

    fn maintain(&mut self, now: Now) -> Vec<(TopicPartition, Job)> {
        let mut jobs = Vec::new();
        for (id, partition) in &mut self.partitions {
            let mut start = |job| jobs.push((*id, job));
            partition.request_retention();
            partition.settle(now, &mut start);
            // Logs that do not sync for their producers do so here, so that the frontier moves.
            partition.begin_sync(&mut start);
        }
        jobs
    }

    fn take_frontier(&mut self) -> Vec<Claim> {
        let synced = std::mem::take(&mut self.synced);
        let partitions = synced.iter().filter_map(|id| self.partitions.get(id));
        // The end of a damaged log is not a place where bytes are.
        partitions.filter(|partition| partition.log().damage().is_none()).map(claim).collect()
    }
}

fn claim(partition: &Partition) -> Claim {
    let log = partition.log();
    Claim { partition: partition.handle().id(), entry: log.frontier(), lowerings: log.lowerings() }
}

/// The shard that owns a partition: the same for ever on one node, spread evenly.
#[must_use]
pub fn shard_of(id: TopicPartition, shards: usize) -> usize {
    let mut hash = u64::from_be_bytes(*id.topic.as_bytes().first_chunk().expect("16 bytes"));
    hash = hash.wrapping_add(id.partition.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((u128::from(hash) * shards as u128) >> 64) as usize
}

/// How many shards a node with so many cores runs.
#[must_use]
pub fn shard_count(cores: usize) -> usize {
    cores.max(1) * limits::SHARDS_PER_CORE
}

// A mailbox takes room for all it may hold.
const _: () = assert!(size_of::<Command>() <= 80);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::log::LogConfig;
    use crate::partition::Append;
    use crate::record::{BatchBuilder, Compression, NewRecord};
    use crate::storage::memory::MemoryDisk;
    use crate::types::{LeaderEpoch, Millis, PartitionId, TopicId};

    /// As when a topic is deleted while the node stops.
    #[test]
    fn whoever_closes_a_partition_that_is_being_closed_hears_when_it_is() {
        let id = TopicPartition { topic: TopicId::from_bytes([7; 16]), partition: PartitionId(0) };
        let disk = Arc::new(MemoryDisk::new());
        let log = Log::create(disk, PathBuf::from("/p"), LogConfig::default());
        let partition = Box::new(Partition::lead(id, 0, log, LeaderEpoch(1)));
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() });
        let batches = vec![builder.build()];
        let append = Append { batches, expected_offset: None, reply: Reply::ignored() };
        let (mut shard, mut outbox) = (Shard::default(), Outbox::default());
        let mut step = |commands: Vec<Command>, outbox: &mut Outbox| {
            let now = Now { wall: Millis(0), monotonic_ms: 0 };
            shard.step(now, commands.into_iter(), outbox);
        };
        step(vec![Command::Open(partition), Command::Append(id, append)], &mut outbox);
        let (_, sync) = outbox.jobs.pop().expect("a sync begins");

        let [(first, log), (second, gone)] = [Reply::channel(), Reply::channel()];
        step(vec![Command::Close(id, first), Command::Close(id, second)], &mut outbox);
        assert!(log.try_recv().is_err() && gone.try_recv().is_err(), "a sync is under way");
        step(vec![Command::Finished(id, Box::new(sync.run()))], &mut outbox);
        assert!(log.try_recv().expect("an answer").is_some());
        assert!(gone.try_recv().expect("an answer").is_none());
    }

    #[test]
    fn partitions_of_a_topic_spread_over_the_shards() {
        let topic = TopicId::from_bytes([7; 16]);
        let mut seen = [0; 8];
        for partition in 0..64 {
            let id = TopicPartition { topic, partition: PartitionId(partition) };
            seen[shard_of(id, 8)] += 1;
        }
        assert!(seen.iter().all(|&count| (4..=12).contains(&count)), "{seen:?}");
    }
}
