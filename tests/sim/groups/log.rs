//! The coordinator beside its log: what is durable of the log is read after every event, the live
//! state is held against what that adds up to, and passes of compaction go over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rivvend::coordinator::{Coordinator, Described, Record, State, Store, Text};
use rivvend::log::{Compaction, CompactionOptions, CompactionStep};
use rivvend::partition::{Answer, Exchanged, Reader, Reply};
use rivvend::record::{Batches, decode_records};
use rivvend::shard::{Command, Waiter, load_groups};
use rivvend::types::Offset;

use super::history::Fact;
use super::member::Member;
use super::world::World;
use crate::history::Broken;
use crate::node::{Node, id_of};

/// A coordinator has read its log after this, where nothing is wrong.
const READY_US: u64 = 5_000_000;

/// What the durable part of the log adds up to.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) next: i64,
    pub(crate) store: Store,
}

/// What was last seen of the live coordinator.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// It may have changed since it was looked at.
    is_due: bool,
    /// When the node started, until the coordinator is ready.
    starting_us: Option<u64>,
    groups: BTreeMap<Text, Seen>,
}

#[derive(Debug)]
struct Seen {
    state: State,
    generation: i32,
    members: BTreeSet<Text>,
    /// Since when it is between two generations.
    unsettled_ms: Option<u64>,
    /// Since when it has a member that is nobody's.
    lingers_ms: Option<u64>,
    /// When something happened that it has to get over.
    disturbed_ms: u64,
}

/// The coordinator before a step.
pub(crate) struct Before {
    store: Store,
    with_members: BTreeSet<Text>,
}

/// What was asked of the coordinator since its last step that may remove offsets.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    pub(crate) groups: Vec<Text>,
    pub(crate) topics: bool,
    pub(crate) joins: bool,
}

/// A pass of compaction that is out, and what it waits for.
pub(crate) struct Pass {
    compaction: Box<Compaction>,
    exchange: Option<Answer<Exchanged>>,
}

impl Watch {
    /// The node has started.
    pub(crate) fn started(&mut self, now_us: u64) {
        self.is_due = true;
        self.starting_us = Some(now_us);
    }

    /// The coordinator as it is, if this shard's next step can change it.
    pub(crate) fn before(&mut self, node: &Node, shard: usize, offsets: usize) -> Option<Before> {
        if node.shard(offsets) != shard {
            return None;
        }
        self.is_due = true;
        let coordinator = node.coordinator(offsets)?;
        Some(Before { store: coordinator.store().clone(), with_members: with_members(coordinator) })
    }

    /// Whether a group is stable with just these members.
    pub(crate) fn is_stable(&self, group: &Text, members: &[Member]) -> bool {
        let of_group = members.iter().filter(|member| member.group == *group);
        let own: BTreeSet<(&Text, i32)> =
            of_group.filter_map(|m| m.id.as_ref().map(|id| (id, m.generation))).collect();
        self.groups.get(group).is_some_and(|seen| {
            let members = seen.members.iter().map(|id| (id, seen.generation));
            seen.state == State::Stable && members.collect::<BTreeSet<_>>() == own
        })
    }

    fn seen(&mut self, group: &Text) -> &mut Seen {
        let nothing = || Seen {
            state: State::Dead,
            generation: 0,
            members: BTreeSet::new(),
            unsettled_ms: None,
            lingers_ms: None,
            disturbed_ms: 0,
        };
        self.groups.entry(Text::clone(group)).or_insert_with(nothing)
    }
}

fn with_members(coordinator: &Coordinator<Waiter>) -> BTreeSet<Text> {
    let groups = coordinator.store().groups().map(|(id, _)| id);
    let described = groups.filter_map(|id| coordinator.describe(id).ok());
    let with = described.filter(|described| !described.members.is_empty());
    with.map(|described| described.group).collect()
}

impl World {
    /// Something happened that a group has to get over before it can be expected to settle.
    pub(crate) fn disturb(&mut self, group: &Text) {
        self.watch.seen(group).disturbed_ms = self.now_us / 1_000;
    }

    /// The same for the group of a member.
    pub(crate) fn disturb_of(&mut self, member: usize) {
        let group = Text::clone(&self.members[member].group);
        self.disturb(&group);
    }

    /// The same for every group.
    pub(crate) fn disturb_all(&mut self) {
        for group in self.setup.groups.clone() {
            self.disturb(&group.name);
        }
    }

    /// Takes in what has become durable of the coordinator's log.
    pub(crate) fn read_log(&mut self) -> Result<(), Broken> {
        let Some(node) = &self.node else { return Ok(()) };
        let view = node.handles[self.setup.offsets_partition()].view();
        while self.mirror.next < view.high_watermark.offset.0 {
            let range = view.read(Offset(self.mirror.next), Reader::Uncommitted, 1 << 20);
            let read = range.and_then(|range| Ok((range.copy()?, range.next_offset)));
            let (bytes, next) = match read {
                Ok(read) => read,
                Err(_) if self.trouble.is_faulty => return Ok(()),
                Err(error) => return Err(format!("G3: the log can not be read: {error}")),
            };
            self.read_batches(Bytes::from(bytes))?;
            self.mirror.next = next.0;
            self.watch.is_due = true;
        }
        Ok(())
    }

    fn read_batches(&mut self, bytes: Bytes) -> Result<(), Broken> {
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| format!("G3: {error}"))?;
            for record in decode_records(&batch).map_err(|error| format!("G3: {error}"))? {
                if record.offset.0 < self.mirror.next {
                    continue;
                }
                let key = record.key.ok_or("G3: a record has no key")?;
                let read = Record::decode(key, record.value);
                let read = read.map_err(|error| format!("G3: {error}"))?;
                self.mirror.store.replay(&read);
                self.history.record(record.offset.0, &read)?;
                self.note(record.offset.0 as u64);
            }
        }
        Ok(())
    }

    /// Holds the live coordinator against the log, if either may have changed.
    pub(crate) fn look_at_coordinator(&mut self) -> Result<(), Broken> {
        if !std::mem::take(&mut self.watch.is_due) {
            return Ok(());
        }
        let (now, offsets) = (self.now(), self.setup.offsets_partition());
        let Some(node) = &self.node else { return Ok(()) };
        let Some(coordinator) = node.coordinator(offsets) else {
            self.disturb_all();
            return Ok(());
        };
        self.watch.starting_us = None;
        let is_all_durable =
            node.is_quiet(offsets) && node.ends()[offsets].written == self.mirror.next;
        let live: Vec<Option<Described>> =
            self.setup.groups.iter().map(|group| coordinator.describe(&group.name).ok()).collect();
        if is_all_durable {
            let same = *coordinator.store() == self.mirror.store;
            self.history.observe(&Fact::Replayed { what: "the log", same })?;
            let (config, image) = (Arc::clone(&self.setup.config), Arc::new(self.image.clone()));
            let store = self.mirror.store.clone();
            let rebuilt: Coordinator<Waiter> = Coordinator::new(config, image, store, now);
            let stable = live.iter().flatten().filter(|group| group.state == State::Stable);
            for live in stable {
                let rebuilt = rebuilt.describe(&live.group).ok();
                let fact = Fact::Rebuilt { live, rebuilt: rebuilt.as_ref() };
                self.history.observe(&fact)?;
            }
        }
        for (group, live) in self.setup.groups.iter().zip(live) {
            let seen = self.watch.seen(&group.name);
            seen.state = live.as_ref().map_or(State::Dead, |live| live.state);
            seen.generation = live.as_ref().map_or(0, |live| live.generation);
            let members = live.into_iter().flat_map(|live| live.members);
            seen.members = members.map(|member| member.member).collect();
            seen.unsettled_ms = match seen.state {
                State::PreparingRebalance | State::CompletingRebalance => {
                    seen.unsettled_ms.or(Some(now.monotonic_ms))
                }
                State::Empty | State::Stable | State::Dead => None,
            };
        }
        Ok(())
    }

    /// Whether two members read the same, and whether a rebalance takes too long.
    pub(crate) fn look_at_members(&mut self) -> Result<(), Broken> {
        if self.setup.reorders {
            return Ok(());
        }
        for group in self.setup.groups.iter().filter(|group| group.kind.is_cooperative()) {
            let Some(seen) = self.watch.groups.get(&group.name) else { continue };
            // A static member has its place in generations that it knows nothing of. What it did
            // not say that it holds may have been given away; it is told so when it wakes up.
            let knows = |m: &&Member| m.instance.is_none() || m.generation == seen.generation;
            let present = self.members.iter().filter(|member| member.group == group.name);
            let present = present
                .filter(knows)
                .filter_map(|member| Some((member.id.as_ref()?, &member.holds)));
            let members: Vec<_> = present.filter(|(id, _)| seen.members.contains(*id)).collect();
            self.history.observe(&Fact::Reading { group: &group.name, members: &members })?;
        }
        Ok(())
    }

    /// Whether a rebalance takes too long, or the start of the coordinator.
    pub(crate) fn look_at_rebalances(&mut self) -> Result<(), Broken> {
        if self.trouble.is_faulty {
            self.disturb_all();
            return Ok(());
        }
        let late = self.watch.starting_us.is_some_and(|since| self.now_us > since + READY_US);
        if late {
            return Err("G5: the coordinator does not come to an end with its log".into());
        }
        let (now_ms, bound_ms) = (self.now().monotonic_ms, self.setup.rebalance_bound_ms());
        let session_ms = u64::from(self.setup.session_ms);
        for (group, seen) in &mut self.watch.groups {
            let is_nobodys = |id: &Text| !self.members.iter().any(|m| m.id.as_ref() == Some(id));
            let lingers = seen.state == State::Stable && seen.members.iter().any(is_nobodys);
            seen.lingers_ms = lingers.then(|| seen.lingers_ms.unwrap_or(now_ms));
            if let Some(since) = seen.lingers_ms {
                let for_ms = now_ms.saturating_sub(since.max(seen.disturbed_ms));
                let bound_ms = session_ms + 2_000;
                self.history.observe(&Fact::Lingering { group, for_ms, bound_ms })?;
            }
            let Some(since) = seen.unsettled_ms else { continue };
            let for_ms = now_ms.saturating_sub(since.max(seen.disturbed_ms));
            self.history.observe(&Fact::Rebalancing { group, for_ms, bound_ms })?;
        }
        Ok(())
    }

    /// Holds what the coordinator removed in a step against what it may remove.
    pub(crate) fn look_for_removals(&mut self, before: &Before) -> Result<(), Broken> {
        let removals = std::mem::take(&mut self.removals);
        let now = self.now().wall.0;
        let retention_ms = self.setup.config.retention_ms as i64;
        let offsets = self.setup.offsets_partition();
        let after = self.node.as_ref().and_then(|node| node.coordinator(offsets));
        let Some(after) = after else { return Ok(()) };
        let now_with_members = with_members(after);
        for (group, stored) in before.store.groups() {
            if removals.groups.contains(group) {
                continue;
            }
            let left = after.store().group(group);
            let was = stored.metadata.as_ref();
            let is = left.and_then(|left| left.metadata.as_ref()).or(was);
            // Whoever comes back in the same step finds it gone.
            let witness = if was.is_some_and(|was| !was.members.is_empty()) { is } else { was };
            let empty_since = match witness {
                None => Some(-1),
                Some(found) if found.members.is_empty() => Some(found.since.0),
                Some(_) => None,
            };
            let had = before.with_members.contains(group) && now_with_members.contains(group);
            for (topic, partitions) in &stored.offsets {
                for (partition, committed) in partitions {
                    let kept = left.and_then(|left| left.offsets.get(topic)?.get(partition));
                    let present = self.image.topic(topic);
                    let gone = present.is_none_or(|topic| {
                        committed.topic_id.is_some_and(|given| given != topic.id)
                    });
                    let may_be_gone = gone && (removals.topics || present.is_none());
                    if kept.is_some() || may_be_gone {
                        continue;
                    }
                    let key = (Text::clone(group), Text::clone(topic), *partition);
                    self.history.observe(&Fact::Expired {
                        key: &key,
                        committed,
                        empty_since,
                        awaited: had && !removals.joins,
                        now,
                        retention_ms,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Begins a pass over the log, or takes the next step of the one that is out.
    pub(crate) fn compact(&mut self) -> Result<(), Broken> {
        let id = id_of(self.setup.offsets_partition());
        let Some(mut pass) = self.pass.take() else {
            let memory_bytes = [400, 1 << 16][self.random.below(2) as usize];
            let until = Offset(i64::MAX);
            let options = Box::new(CompactionOptions { memory_bytes, seed: 7, until });
            let (reply, pass) = Reply::channel();
            self.run_command(Command::Compact(id, options, reply))?;
            let compaction = pass.try_recv().ok().flatten();
            self.pass = compaction.map(|compaction| Pass { compaction, exchange: None });
            return Ok(());
        };
        if let Some(answer) = pass.exchange.take() {
            match answer.try_recv() {
                Ok(Exchanged::Done) => self.replay_all()?,
                Ok(Exchanged::Refused(exchange)) => {
                    pass.compaction.refused(&exchange);
                    self.pass = Some(pass);
                    self.end_pass();
                    return Ok(());
                }
                Ok(Exchanged::Failed) if !self.trouble.is_faulty => {
                    return Err("D14: an exchange failed on a sound disk".into());
                }
                Ok(Exchanged::Failed) => {
                    self.pass = Some(pass);
                    self.end_pass();
                    return Ok(());
                }
                Err(_) => {
                    pass.exchange = Some(answer);
                    self.pass = Some(pass);
                    return Ok(());
                }
            }
        }
        let step = pass.compaction.step(2_000);
        match step {
            Ok(CompactionStep::More(_)) => self.pass = Some(pass),
            Ok(CompactionStep::Exchange(exchange)) => {
                let (reply, answer) = Reply::channel();
                self.run_command(Command::Exchange(id, Box::new(exchange), reply))?;
                pass.exchange = Some(answer);
                self.pass = Some(pass);
            }
            Ok(CompactionStep::Done { .. }) => {
                self.pass = Some(pass);
                self.end_pass();
            }
            Err(_) if self.trouble.is_faulty || self.disk.is_off() => {
                self.pass = Some(pass);
                self.end_pass();
            }
            Err(error) => return Err(format!("D14: a pass failed on a sound disk: {error}")),
        }
        Ok(())
    }

    /// Takes a pass back that is out.
    pub(crate) fn end_pass(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        pass.compaction.abandon();
        let now = self.now();
        let offsets = self.setup.offsets_partition();
        let Some(node) = &mut self.node else { return };
        let shard = node.shard(offsets);
        node.submit(shard, Command::EndCompaction(id_of(offsets), None));
        let begun = node.step(shard, now);
        self.schedule(begun);
        self.arm();
    }

    /// Has the owner of the log do something at once.
    fn run_command(&mut self, command: Command) -> Result<(), Broken> {
        let now = self.now();
        let offsets = self.setup.offsets_partition();
        let Some(node) = &mut self.node else { return Ok(()) };
        let shard = node.shard(offsets);
        let before = self.watch.before(node, shard, offsets);
        node.submit(shard, command);
        let begun = node.step(shard, now);
        self.schedule(begun);
        self.arm();
        match before {
            Some(before) => self.look_for_removals(&before),
            None => Ok(()),
        }
    }

    /// G3: the log as compaction left it adds up to the same as before.
    fn replay_all(&mut self) -> Result<(), Broken> {
        let Some(node) = &self.node else { return Ok(()) };
        let handle = &node.handles[self.setup.offsets_partition()];
        if handle.view().high_watermark.offset.0 != self.mirror.next || self.disk.is_off() {
            return Ok(());
        }
        match load_groups(handle) {
            Ok((store, _)) => {
                let same = store == self.mirror.store;
                self.history.observe(&Fact::Replayed { what: "the compacted log", same })
            }
            Err(_) if self.trouble.is_faulty => Ok(()),
            Err(why) => Err(format!("G3: the compacted log can not be read: {why}")),
        }
    }
}
