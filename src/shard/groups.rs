//! Coordinators of consumer groups on the partitions that keep their logs: loaded by replay, fed
//! with requests and time, their records appended and their answers held back until those records
//! are durable. Knows nothing of what a group is.
//!
//! # Life of a host
//! ```text
//! Loading ── the log is replayed ──▶ Ready ── an append failed ──▶ Draining
//!   ▲                                                                 │
//!   └── nothing is on its way to the log any more ────────────────────┘
//! any ── the log can not be read ──▶ Broken       any ── the node stops ──▶ Closed
//! ```
//! There is no rollback: a coordinator whose records could not be appended is dropped and made
//! anew from what the log holds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Outbox as ShardOutbox;
use super::driver::Clock;
use crate::coordinator::{
    Coordinator, GroupConfig, GroupError, JoinRefused, Outbox, Record, Reply as GroupReply,
    Request, Store,
};
use crate::limits;
use crate::log::ReadError;
use crate::metadata::Image;
use crate::partition::{
    Answer, Append, AppendRefusal, Appended, Partition, PartitionHandle, Reader, Reply,
};
use crate::planted::{self, Bug};
use crate::record::{BatchBuilder, Batches, CheckedBatch, Compression, NewRecord, Scratch};
use crate::time::Now;
use crate::types::TopicPartition;

/// Bytes of one read while a log is replayed.
const LOAD_BYTES: usize = 4 << 20;

/// Times that the files of a log may change while it is replayed.
const STALE_MAX: u32 = 100;

/// Where the answer to a request goes.
pub type Waiter = Reply<GroupReply>;

/// What a shard may be told about groups.
pub enum GroupCommand {
    /// Keep groups on this partition from now on.
    Host {
        /// Which partition.
        id: TopicPartition,
        /// What an operator decided.
        config: Arc<GroupConfig>,
        /// The topics there are.
        image: Arc<Image>,
        /// Whether the log may be written to.
        may_write: bool,
    },
    /// A request of a group that this partition keeps.
    Ask(TopicPartition, Request, Waiter),
    /// The log of a partition has been replayed.
    Loaded(TopicPartition, Result<Store, Arc<str>>),
    /// Topics have come, changed or gone.
    Topics(Arc<Image>),
    /// Do what is due.
    Tick,
    /// Answer whoever waits, and take nothing more.
    Close,
}

impl fmt::Debug for GroupCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id) = match self {
            GroupCommand::Host { id, .. } => ("Host", Some(id)),
            GroupCommand::Ask(id, ..) => ("Ask", Some(id)),
            GroupCommand::Loaded(id, _) => ("Loaded", Some(id)),
            GroupCommand::Topics(_) => ("Topics", None),
            GroupCommand::Tick => ("Tick", None),
            GroupCommand::Close => ("Close", None),
        };
        f.debug_tuple(name).field(&id).finish()
    }
}

#[derive(Debug)]
enum State {
    Loading,
    Ready(Box<Coordinator<Waiter>>),
    Draining,
    Broken(Arc<str>),
    Closed,
}

/// The groups of one partition.
#[derive(Debug)]
pub(super) struct Host {
    config: Arc<GroupConfig>,
    image: Arc<Image>,
    may_write: bool,
    state: State,
    outbox: Outbox<Waiter>,
    /// What is on its way to the disk, with the answers that wait for it; in the order of the log.
    appends: VecDeque<Parked>,
}

#[derive(Debug)]
struct Parked {
    outcome: Answer<Result<Appended, AppendRefusal>>,
    answers: Vec<(Waiter, GroupReply)>,
}

impl Host {
    pub(super) fn new(config: Arc<GroupConfig>, image: Arc<Image>, may_write: bool) -> Host {
        Host {
            config,
            image,
            may_write,
            state: State::Loading,
            outbox: Outbox::default(),
            appends: VecDeque::new(),
        }
    }

    pub(super) fn ask(&mut self, now: Now, request: Request, to: Waiter) {
        let error = match &mut self.state {
            State::Ready(coordinator) => {
                return coordinator.handle(now, to, request, &mut self.outbox);
            }
            State::Loading if planted::is(Bug::AnswerWhileLoading) => {
                let (config, image) = (Arc::clone(&self.config), Arc::clone(&self.image));
                let mut coordinator = Coordinator::new(config, image, Store::default(), now);
                return coordinator.handle(now, to, request, &mut self.outbox);
            }
            State::Loading | State::Draining => GroupError::Loading,
            State::Broken(why) => GroupError::NotAvailable(Arc::clone(why)),
            State::Closed => stopping(),
        };
        to.send(refused(&request, error));
    }

    pub(super) fn loaded(&mut self, now: Now, outcome: Result<Store, Arc<str>>) {
        if !matches!(self.state, State::Loading) {
            return;
        }
        self.state = match outcome {
            Ok(store) => {
                let (config, image) = (Arc::clone(&self.config), Arc::clone(&self.image));
                let mut coordinator = Coordinator::new(config, Arc::clone(&image), store, now);
                // Topics may have gone after the last record was written.
                if self.may_write {
                    coordinator.set_topics(now, image, &mut self.outbox);
                }
                State::Ready(Box::new(coordinator))
            }
            Err(why) => State::Broken(why),
        };
    }

    pub(super) fn set_topics(&mut self, now: Now, image: &Arc<Image>) {
        self.image = Arc::clone(image);
        if let State::Ready(coordinator) = &mut self.state {
            coordinator.set_topics(now, Arc::clone(image), &mut self.outbox);
        }
    }

    pub(super) fn tick(&mut self, now: Now) {
        if let State::Ready(coordinator) = &mut self.state {
            coordinator.tick(now, &mut self.outbox);
        }
    }

    /// Whoever waits is told that nothing comes any more, as their places go with the coordinator.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// The coordinator, while it serves.
    pub(super) fn coordinator(&self) -> Option<&Coordinator<Waiter>> {
        match &self.state {
            State::Ready(coordinator) => Some(coordinator),
            _ => None,
        }
    }

    /// When there is something to do without being asked.
    pub(super) fn next_deadline(&self) -> u64 {
        match &self.state {
            State::Ready(coordinator) => coordinator.next_deadline(),
            _ => u64::MAX,
        }
    }

    /// Hands what the last requests wrote to the log. Before the partition settles.
    pub(super) fn flush(&mut self, now: Now, partition: &mut Partition) {
        let records = std::mem::take(&mut self.outbox.records);
        if !records.is_empty() {
            let (reply, outcome) = Reply::channel();
            let batches = batches(now, &records);
            partition.append(now, Append { batches, expected_offset: None, reply });
            self.appends.push_back(Parked { outcome, answers: Vec::new() });
        }
        for (to, reply) in self.outbox.at_once.drain(..) {
            to.send(reply);
        }
        // An answer may rest on anything that was written before it.
        let answers = std::mem::take(&mut self.outbox.answers);
        match self.appends.back_mut().filter(|_| !planted::is(Bug::AnswerBeforeDurable)) {
            Some(last) => last.answers.extend(answers),
            None => answers.into_iter().for_each(|(to, reply)| to.send(reply)),
        }
    }

    /// Lets answers out whose records are durable. After the partition has settled.
    pub(super) fn release(
        &mut self,
        id: TopicPartition,
        partition: &Partition,
        out: &mut ShardOutbox,
    ) {
        out.rebalances.append(&mut self.outbox.rebalances);
        while let Some(first) = self.appends.front() {
            let outcome = match first.outcome.try_recv() {
                Ok(outcome) => outcome,
                Err(oneshot::TryRecvError::Empty) => break,
                Err(oneshot::TryRecvError::Disconnected) => Err(AppendRefusal::ShuttingDown),
            };
            let parked = self.appends.pop_front().expect("there is a first one");
            match outcome {
                Ok(_) => parked.answers.into_iter().for_each(|(to, reply)| to.send(reply)),
                Err(refusal) => self.fail(id, &refusal, parked),
            }
        }
        if let State::Draining = self.state
            && self.appends.is_empty()
        {
            self.state = State::Loading;
            out.loads.push(Arc::clone(partition.handle()));
        }
    }

    /// The coordinator knows of records that the log does not have: it goes, and so do the answers
    /// that rest on them.
    fn fail(&mut self, id: TopicPartition, refusal: &AppendRefusal, parked: Parked) {
        let why: Arc<str> = refusal.to_string().into();
        for (to, reply) in parked.answers {
            to.send(failed(reply, &why));
        }
        if let State::Ready(_) = &self.state {
            tracing::warn!(partition = %id, %refusal, "groups are loaded again: a write failed");
            self.state = State::Draining;
        }
    }
}

/// Reads the log of a coordinator from its start, and how long that took; says so, too.
pub(super) fn load_and_tell(
    handle: &PartitionHandle,
    clock: &Clock,
) -> (Result<Store, Arc<str>>, Duration) {
    let begun_ms = clock().monotonic_ms;
    let loaded = load(handle);
    let took_ms = clock().monotonic_ms.saturating_sub(begun_ms);
    let store = loaded.map(|(store, records)| {
        let (groups, offsets) = (store.groups().count(), store.offset_count());
        let partition = handle.id();
        if records > 0 {
            tracing::info!(%partition, records, groups, offsets, took_ms, "groups are loaded");
        }
        store
    });
    (store, Duration::from_millis(took_ms))
}

/// What the log of a coordinator adds up to, and of how many records.
///
/// # Errors
/// Why it can not be read.
pub fn load(handle: &PartitionHandle) -> Result<(Store, u64), Arc<str>> {
    let why = |error: &dyn fmt::Display| Arc::from(error.to_string());
    let view = handle.view();
    let end = view.end(Reader::Uncommitted).offset;
    let (mut store, mut scratch, mut next) = (Store::default(), Scratch::default(), view.start());
    let mut records = 0;
    let (mut view, mut stale) = (view, 0);
    while next < end {
        let read = view.read(next, Reader::Uncommitted, LOAD_BYTES);
        let read = read.and_then(|range| Ok((range.copy()?, range.next_offset)));
        let (bytes, next_offset) = match read {
            Ok(read) => read,
            // Compaction has put other files in the place of those that the view knows.
            Err(ReadError::Stale) if stale < STALE_MAX => {
                stale += 1;
                view = handle.view();
                continue;
            }
            Err(error) => return Err(why(&error)),
        };
        // A gap at the end of a segment has no bytes.
        assert!(next_offset > next, "reading goes on until the end that the view promised");
        next = next_offset;
        for batch in Batches::new(bytes.into()) {
            let batch = batch.map_err(|e| why(&e))?;
            replay(&mut store, &batch, &mut scratch).map_err(|e| why(&e))?;
            records += u64::from(batch.header().records_count.unsigned_abs());
        }
    }
    Ok((store, records))
}

fn replay(
    store: &mut Store,
    batch: &CheckedBatch,
    scratch: &mut Scratch,
) -> Result<(), Box<dyn std::error::Error>> {
    if batch.header().is_control() {
        return Ok(());
    }
    for record in batch.records(scratch)? {
        let record = record?;
        if record.value.is_none() && planted::is(Bug::ForgetTombstones) {
            continue;
        }
        // Copied, so that what is kept does not hold the whole read in memory.
        let copy = bytes::Bytes::copy_from_slice;
        let key = record.key.map(copy).ok_or("a record has no key")?;
        store.replay(&Record::decode(key, record.value.map(copy))?);
    }
    Ok(())
}

fn batches(now: Now, records: &[Record]) -> Vec<CheckedBatch> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let (key, value) = (record.key(), record.value());
        let record = NewRecord {
            timestamp: now.wall,
            key: Some(&key),
            value: value.as_deref(),
            headers: &[],
        };
        if !builder.is_empty() && !builder.fits(&record, limits::BATCH_BYTES_DEFAULT) {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(Compression::None));
            batches.push(full.build());
        }
        builder.push(&record);
    }
    batches.push(builder.build());
    batches
}

fn stopping() -> GroupError {
    GroupError::NotAvailable("the broker is stopping".into())
}

/// The answer of the right kind that refuses a request.
fn refused(request: &Request, error: GroupError) -> GroupReply {
    match request {
        Request::Join(join) => {
            GroupReply::Joined(Err(JoinRefused { error, member: join.member.clone() }))
        }
        Request::Sync(_) => GroupReply::Synced(Err(error)),
        Request::Leave(_) => GroupReply::Left(Err(error)),
        Request::Commit(_) => GroupReply::Committed(Err(error)),
        Request::Fetch(_) => GroupReply::Fetched(Err(error)),
        Request::DeleteOffsets(_) => GroupReply::OffsetsDeleted(Err(error)),
        Request::List(_) => GroupReply::Listed(Err(error)),
        Request::Describe(_) => GroupReply::Described(Err(error)),
        Request::Survey => GroupReply::Surveyed(Err(error)),
        Request::Heartbeat(_) | Request::DeleteGroup(_) => GroupReply::Done(Err(error)),
    }
}

/// What an answer becomes whose records did not reach the log.
fn failed(reply: GroupReply, why: &Arc<str>) -> GroupReply {
    let error = GroupError::NotAvailable(Arc::clone(why));
    match reply {
        GroupReply::Joined(outcome) => {
            let member =
                outcome.map_or_else(|refused| refused.member, |joined| Some(joined.member));
            GroupReply::Joined(Err(JoinRefused { error, member }))
        }
        GroupReply::Synced(_) => GroupReply::Synced(Err(error)),
        GroupReply::Left(_) => GroupReply::Left(Err(error)),
        GroupReply::Committed(_) => GroupReply::Committed(Err(error)),
        GroupReply::Fetched(_) => GroupReply::Fetched(Err(error)),
        GroupReply::OffsetsDeleted(_) => GroupReply::OffsetsDeleted(Err(error)),
        GroupReply::Listed(_) => GroupReply::Listed(Err(error)),
        GroupReply::Described(_) => GroupReply::Described(Err(error)),
        GroupReply::Surveyed(_) => GroupReply::Surveyed(Err(error)),
        GroupReply::Done(_) => GroupReply::Done(Err(error)),
    }
}
