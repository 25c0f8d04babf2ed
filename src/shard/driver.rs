//! Threads, mailboxes and the baton: the only place in the engine that starts threads.
//!
//! A shard is run by whoever submits to it (flat combining): a submitter puts its command into the
//! mailbox and takes the baton if it is free; else the holder finds the command there. In the
//! common case a request costs no thread hop, and still one thread at a time owns the partitions.
//! What one holder drains is capped; what is left over goes to the pool, so nobody's latency pays
//! for everybody's work.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;

use super::groups::{self, GroupCommand};
use super::queue::Queue;
use super::{Alarm, Backlog, Command, Outbox, Shard};
use crate::limits;
use crate::partition::{Job, PartitionHandle};
use crate::telemetry::GroupMetrics;
use crate::time::Now;
use crate::types::TopicPartition;

/// Reads the clock; given by the edge, since nothing here may.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// A shard with its mailbox.
struct Seat {
    /// The baton. Never waited for: it is taken if free and left alone if not.
    shard: Mutex<Shard>,
    mailbox: ArrayQueue<Command>,
}

enum Work {
    Job(usize, TopicPartition, Job),
    Load(Arc<PartitionHandle>),
    Drain(usize),
}

/// The mailbox of a shard is full; the command comes back.
#[derive(Debug)]
pub struct Full(pub Command);

/// All shards of a node and the pool that syncs for them.
pub struct Shards {
    seats: Vec<Seat>,
    clock: Clock,
    /// Bounded by what can be in it: two jobs and a load per partition and one drain per shard's
    /// holder.
    work: Arc<Queue<Work>>,
    backlog: Arc<Backlog>,
    alarm: Arc<Alarm>,
    groups: Arc<GroupMetrics>,
}

/// The threads behind [`Shards`]; they end when the last `Shards` is dropped.
#[derive(Debug)]
pub struct Pool(Vec<JoinHandle<()>>);

impl Shards {
    /// Makes `count` empty shards and starts the pool.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(count: usize, clock: Clock) -> std::io::Result<(Arc<Shards>, Pool)> {
        assert!(count > 0, "there is at least one shard");
        let work = Arc::new(Queue::default());
        let seats = (0..count)
            .map(|_| Seat {
                shard: Mutex::new(Shard::default()),
                mailbox: ArrayQueue::new(limits::MAILBOX_COMMANDS_MAX),
            })
            .collect();
        let shards = Arc::new(Shards {
            seats,
            clock,
            work: Arc::clone(&work),
            backlog: Arc::default(),
            alarm: Arc::default(),
            groups: Arc::default(),
        });
        let mut threads = Vec::with_capacity(limits::FLUSHERS);
        for number in 0..limits::FLUSHERS {
            let shards = Arc::downgrade(&shards);
            let work = Arc::clone(&work);
            let thread = std::thread::Builder::new().name(format!("flusher-{number}"));
            threads.push(thread.spawn(move || {
                while let Some(work) = work.take() {
                    let Some(shards) = shards.upgrade() else { break };
                    shards.perform(work);
                }
            })?);
        }
        Ok((shards, Pool(threads)))
    }

    /// How many shards there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// What was synced since the frontier journal was last told.
    #[must_use]
    pub fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// When a coordinator has something to do next.
    #[must_use]
    pub fn alarm(&self) -> &Arc<Alarm> {
        &self.alarm
    }

    /// Numbers of the groups that the shards keep.
    #[must_use]
    pub fn group_metrics(&self) -> &Arc<GroupMetrics> {
        &self.groups
    }

    /// Hands a command to a shard and runs the shard if nobody else does.
    ///
    /// # Errors
    /// When the mailbox is full, which is back-pressure: the caller tells its client to try again.
    pub fn submit(&self, shard: usize, command: Command) -> Result<(), Full> {
        self.seats[shard].mailbox.push(command).map_err(Full)?;
        self.run(shard);
        Ok(())
    }

    /// Hands over a command that may not be refused, waiting for room. For the pool and for
    /// housekeeping, never for a network thread.
    pub fn submit_waiting(&self, shard: usize, command: Command) {
        let mut command = command;
        while let Err(Full(refused)) = self.submit(shard, command) {
            command = refused;
            self.drain_waiting(shard);
        }
    }

    /// Starts jobs that were handed out as an answer.
    pub fn start_jobs(&self, shard: usize, jobs: Vec<(TopicPartition, Job)>) {
        for (id, job) in jobs {
            self.enqueue(Work::Job(shard, id, job));
        }
    }

    fn perform(&self, work: Work) {
        match work {
            Work::Job(shard, id, job) => {
                let done = Box::new(job.run());
                self.submit_waiting(shard, Command::Finished(id, done));
            }
            Work::Load(handle) => {
                let (store, took) = groups::load_and_tell(&handle, &self.clock);
                self.groups.load_seconds.observe(took);
                let loaded = GroupCommand::Loaded(handle.id(), store);
                self.submit_waiting(handle.shard(), Command::Groups(Box::new(loaded)));
            }
            Work::Drain(shard) => self.run(shard),
        }
    }

    /// Takes the baton if it is free and drains the mailbox, up to the cap.
    fn run(&self, number: usize) {
        let seat = &self.seats[number];
        let mut drained = 0;
        loop {
            // Pairs with the fence below: either the holder sees our command after it let go, or we
            // find the baton free.
            fence(Ordering::SeqCst);
            match seat.shard.try_lock() {
                Ok(mut shard) => drained += self.drain(number, seat, &mut shard),
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => panic!("a shard's owner panicked"),
            }
            fence(Ordering::SeqCst);
            if seat.mailbox.is_empty() {
                return;
            }
            if drained >= limits::SHARD_DRAIN_MAX {
                self.enqueue(Work::Drain(number));
                return;
            }
        }
    }

    fn drain_waiting(&self, number: usize) {
        let seat = &self.seats[number];
        let mut shard = seat.shard.lock().expect("a shard's owner panicked");
        self.drain(number, seat, &mut shard);
        drop(shard);
        self.run(number);
    }

    fn drain(&self, number: usize, seat: &Seat, shard: &mut Shard) -> usize {
        let mut drained = 0;
        let mut outbox = Outbox::default();
        let commands = std::iter::from_fn(|| seat.mailbox.pop())
            .take(limits::SHARD_DRAIN_MAX)
            .inspect(|_| drained += 1);
        shard.step((self.clock)(), commands, &mut outbox);
        if outbox.synced_bytes > 0 {
            self.backlog.add(outbox.synced_bytes);
        }
        if let Some(due_ms) = outbox.due_ms {
            self.alarm.set(due_ms);
        }
        outbox.rebalances.into_iter().for_each(|cause| self.groups.rebalanced(cause));
        outbox.loads.into_iter().for_each(|handle| self.enqueue(Work::Load(handle)));
        self.start_jobs(number, outbox.jobs);
        drained
    }

    fn enqueue(&self, work: Work) {
        self.work.put(work);
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.work.close();
    }
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shards({})", self.seats.len())
    }
}

impl Pool {
    /// Waits for the threads, after the last [`Shards`] is dropped.
    pub fn join(self) {
        for thread in self.0 {
            // A panic there has already ended or poisoned what it touched.
            drop(thread.join());
        }
    }
}
