//! Consumer groups: who is a member, who gets which partition, and which offsets are committed.
//!
//! One [`Coordinator`] keeps the groups of one partition of `__consumer_offsets`. What must survive
//! is in its [`Store`], and [`Store::replay`] of a [`Record`] is the only thing that changes it,
//! live and at the start alike. Members that join, wait and send heartbeats are not in the log:
//! they are soft state, made anew from the store after a restart, as in Kafka.
//!
//! Pure: no clock, no chance, no files. Requests come in with a place for the answer (`W`, whatever
//! the caller likes); records and answers go out through an [`Outbox`]. Time comes in with every
//! call, and [`Coordinator::next_deadline`] says when [`Coordinator::tick`] has something to do.
//! Knows nothing of partitions' logs or of protocols' messages; what groups write is in the schemas
//! of Kafka's own `__consumer_offsets`, so that Kafka's tools can read it.
//!
//! # States of a group (Kafka's classic protocol)
//! ```text
//! Empty               -- a member joins --> PreparingRebalance
//! PreparingRebalance  -- all joined, or time is up --> CompletingRebalance
//! PreparingRebalance  -- nobody joined --> Empty
//! CompletingRebalance -- the leader's assignment came --> Stable
//! CompletingRebalance,
//! Stable              -- a member joins, leaves, expires or changes --> PreparingRebalance
//! ```
//! A group whose members leave the assignment to the server (see [`assignor`]) goes from
//! PreparingRebalance to Stable at once. A group without members, offsets and records is forgotten.

mod admin;
pub mod assignor;
mod classic;
mod codec;
pub mod consumer;
mod group;
mod history;
mod member;
mod offsets;
mod record;
mod request;
mod rounds;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use group::State;
pub use history::Rebalance;
pub use record::{Committed, DecodeError, GroupMetadata, Record, StoredMember};
pub use request::*;
pub use store::{Store, StoredGroup};

use crate::limits;
use crate::metadata::Image;
use crate::planted::{self, Bug};
use crate::telemetry::RebalanceCause;
use crate::time::Now;
use group::Group;

/// The name of the topic that groups are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How many partitions it is made with. Fixed for ever: a group is found by hashing its name.
pub const OFFSETS_PARTITIONS: i32 = 16;

/// A short text that is shared.
pub type Text = Arc<str>;

/// The partition of [`OFFSETS_TOPIC`] that keeps a group, as in Kafka: Java's hash of the group's
/// name over the number of partitions.
///
/// # Panics
/// When there are no partitions.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has partitions");
    let hash = group
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions
}

/// What an operator decides about groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Members a group may have.
    pub size_max: usize,
    /// Shortest session timeout a member may ask for.
    pub session_ms_min: u32,
    /// Longest.
    pub session_ms_max: u32,
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_delay_ms: u32,
    /// How long offsets of a group without members are kept after it lost the last one.
    pub retention_ms: u64,
    /// Time between two looks for offsets that are kept no longer.
    pub retention_check_ms: u64,
    /// Largest metadata a commit may carry.
    pub metadata_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            size_max: 1_000,
            session_ms_min: 6_000,
            session_ms_max: 1_800_000,
            initial_delay_ms: 3_000,
            retention_ms: 7 * 86_400_000,
            retention_check_ms: 600_000,
            metadata_bytes_max: 4_096,
        }
    }
}

/// What a step of a coordinator asks of its owner.
#[derive(Debug)]
pub struct Outbox<W> {
    /// To be appended, in this order, as one batch: all or none. The store has them already; an
    /// owner that can not append them drops the coordinator and loads it again.
    pub records: Vec<Record>,
    /// Answers that may leave once everything appended so far is durable.
    pub answers: Vec<(W, Reply)>,
    /// Answers that rest on nothing in the log.
    pub at_once: Vec<(W, Reply)>,
    /// What began the rebalances that began, to be counted.
    pub rebalances: Vec<RebalanceCause>,
}

impl<W> Default for Outbox<W> {
    fn default() -> Outbox<W> {
        Outbox {
            records: Vec::new(),
            answers: Vec::new(),
            at_once: Vec::new(),
            rebalances: Vec::new(),
        }
    }
}

/// The groups of one partition of [`OFFSETS_TOPIC`].
#[derive(Debug)]
pub struct Coordinator<W> {
    config: Arc<GroupConfig>,
    image: Arc<Image>,
    store: Store,
    groups: BTreeMap<Text, Group<W>>,
    /// When each group has to be looked at, at the latest. Heartbeats do not move an entry: a look
    /// that comes too early finds out when the next one is due.
    timers: BTreeSet<(u64, Text)>,
    sweep_ms: u64,
}

/// What the work on one group may use.
struct Step<'a, W> {
    now: Now,
    config: &'a GroupConfig,
    image: &'a Image,
    store: &'a mut Store,
    out: &'a mut Outbox<W>,
    /// The earliest moment that was made due.
    armed_ms: u64,
}

impl<W> Step<'_, W> {
    /// Writes a record, which changes the store here and nowhere else.
    fn append(&mut self, record: Record) {
        self.store.replay(&record);
        self.out.records.push(record);
    }

    fn answer(&mut self, to: W, reply: Reply) {
        self.out.answers.push((to, reply));
    }

    /// Asks for a look at the group at this moment.
    fn arm(&mut self, at_ms: u64) {
        self.armed_ms = self.armed_ms.min(at_ms);
    }
}

impl<W> Coordinator<W> {
    /// A coordinator of what is in `store`: its members get a full session to be heard of.
    #[must_use]
    pub fn new(config: Arc<GroupConfig>, image: Arc<Image>, store: Store, now: Now) -> Self {
        let sweep_ms = now.monotonic_ms.saturating_add(config.retention_check_ms);
        let mut coordinator = Coordinator {
            config,
            image,
            store,
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            sweep_ms,
        };
        for (id, stored) in coordinator.store.groups() {
            let group = Group::restore(id, stored, now);
            let due = group.next_deadline().filter(|_| !planted::is(Bug::ForgetTimers));
            if let Some(due) = due {
                coordinator.timers.insert((due, Arc::clone(id)));
            }
            coordinator.groups.insert(Arc::clone(id), group);
        }
        for (due, id) in &coordinator.timers {
            coordinator.groups.get_mut(id).expect("it was just made").armed_ms = Some(*due);
        }
        coordinator
    }

    /// What is in the log.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// When [`Coordinator::tick`] has something to do, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> u64 {
        self.timers.first().map_or(self.sweep_ms, |(due, _)| self.sweep_ms.min(*due))
    }

    /// Takes a request. Its answer comes out now or after other requests or time have come in.
    pub fn handle(&mut self, now: Now, to: W, request: Request, out: &mut Outbox<W>) {
        match request {
            Request::Heartbeat(heartbeat) => {
                let reply = match self.groups.get_mut(&*heartbeat.group) {
                    Some(group) => group.heartbeat(now, &heartbeat),
                    None => Err(GroupError::UnknownMember),
                };
                out.at_once.push((to, Reply::Done(reply)));
            }
            Request::Join(join) => match self.admit(&join) {
                Ok(id) => self.with_group(now, &id, out, |group, step| group.join(step, join, to)),
                Err(error) => out.answers.push((to, Reply::Joined(Err(error)))),
            },
            Request::Sync(sync) => {
                let id = Arc::clone(&sync.group);
                if self.groups.contains_key(&id) {
                    self.with_group(now, &id, out, |group, step| group.sync(step, sync, to));
                } else {
                    out.answers.push((to, Reply::Synced(Err(GroupError::UnknownMember))));
                }
            }
            Request::Leave(leave) => {
                let id = Arc::clone(&leave.group);
                let mut reply = Err(GroupError::UnknownMember);
                if self.groups.contains_key(&id) {
                    let reply = &mut reply;
                    self.with_group(now, &id, out, |group, step| {
                        *reply = Ok(group.leave(step, &leave));
                    });
                }
                out.answers.push((to, Reply::Left(reply)));
            }
            Request::Commit(commit) => {
                let reply = self.commit(now, &commit, out);
                out.answers.push((to, Reply::Committed(reply)));
            }
            Request::Fetch(fetch) => {
                let reply = self.fetch(&fetch);
                out.answers.push((to, Reply::Fetched(Ok(reply))));
            }
            Request::DeleteOffsets(delete) => {
                let reply = self.delete_offsets(now, &delete, out);
                out.answers.push((to, Reply::OffsetsDeleted(reply)));
            }
            Request::DeleteGroup(id) => {
                let reply = self.delete_group(now, &id, out);
                out.answers.push((to, Reply::Done(reply)));
            }
            Request::List(filter) => {
                out.answers.push((to, Reply::Listed(Ok(self.list(&filter)))));
            }
            Request::Describe(id) => {
                out.answers.push((to, Reply::Described(self.describe(&id).map(Box::new))));
            }
            // Numbers for people need not wait for the disk.
            Request::Survey => {
                out.at_once.push((to, Reply::Surveyed(Ok(Box::new(self.survey())))));
            }
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now, out: &mut Outbox<W>) {
        while let Some((due, _)) = self.timers.first()
            && *due <= now.monotonic_ms
        {
            let (_, id) = self.timers.pop_first().expect("there is a first one");
            self.groups.get_mut(&id).expect("a timer is of a group").armed_ms = None;
            self.with_group(now, &id, out, |group, step| group.tick(step));
        }
        if self.sweep_ms <= now.monotonic_ms {
            self.sweep_ms = now.monotonic_ms.saturating_add(self.config.retention_check_ms);
            self.expire_offsets(now, out);
        }
    }

    /// Takes a newer image: offsets of topics that are gone go too, and groups that the server
    /// assigns see new partitions.
    pub fn set_topics(&mut self, now: Now, image: Arc<Image>, out: &mut Outbox<W>) {
        self.image = image;
        self.drop_offsets_of_gone_topics(now, out);
        let changed: Vec<Text> = self
            .groups
            .iter()
            .filter(|(_, group)| group.has_changed_topics(&self.image))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in changed {
            self.with_group(now, &id, out, |group, step| group.topics_changed(step));
        }
    }

    /// Takes other bounds, for requests from now on.
    pub fn configure(&mut self, config: Arc<GroupConfig>) {
        self.config = config;
    }

    /// The group that a join is for, made if there is none and it is a new member's.
    fn admit(&mut self, join: &Join) -> Result<Text, JoinRefused> {
        join.check(&self.config).map_err(|error| JoinRefused::of(join, error))?;
        if let Some((id, _)) = self.groups.get_key_value(&*join.group) {
            return Ok(Arc::clone(id));
        }
        if join.member.is_some() {
            return Err(JoinRefused::of(join, GroupError::UnknownMember));
        }
        self.make_group(&join.group).map_err(|error| JoinRefused::of(join, error))
    }

    fn make_group(&mut self, id: &Text) -> Result<Text, GroupError> {
        if self.groups.len() >= limits::GROUPS_PER_PARTITION_MAX {
            return Err(GroupError::TooManyGroups);
        }
        self.groups.insert(Arc::clone(id), Group::new(id));
        Ok(Arc::clone(id))
    }

    /// Works on a group that is there, and sees afterwards to its timer and whether it is still
    /// needed.
    fn with_group(
        &mut self,
        now: Now,
        id: &Text,
        out: &mut Outbox<W>,
        work: impl FnOnce(&mut Group<W>, &mut Step<'_, W>),
    ) {
        let group = self.groups.get_mut(id).expect("the caller found it");
        let mut step = Step {
            now,
            config: &self.config,
            image: &self.image,
            store: &mut self.store,
            out,
            armed_ms: u64::MAX,
        };
        work(group, &mut step);
        let due = step.armed_ms;
        if due < group.armed_ms.unwrap_or(u64::MAX) {
            if let Some(before) = group.armed_ms.replace(due) {
                self.timers.remove(&(before, Arc::clone(id)));
            }
            self.timers.insert((due, Arc::clone(id)));
        }
        self.forget_if_idle(id);
    }

    fn forget_if_idle(&mut self, id: &Text) {
        let group = self.groups.get(id).expect("the caller found it");
        if !group.is_idle() || self.store.group(id).is_some() {
            return;
        }
        if let Some(due) = group.armed_ms {
            self.timers.remove(&(due, Arc::clone(id)));
        }
        self.groups.remove(id);
    }
}
