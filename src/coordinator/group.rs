//! One group: its members, its state and what can be told of them. What changes them is in
//! `classic` (requests) and `rounds` (rebalances and time).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::assignor::{self, SERVER_PREFIX};
use super::consumer::Subscription;
use super::history::History;
use super::member::Member;
use super::record::{GroupMetadata, Record};
use super::request::{Assigner, GroupError};
use super::store::StoredGroup;
use super::{Rebalance, Step, Text};
use crate::metadata::Image;
use crate::planted::{self, Bug};
use crate::time::Now;
use crate::types::Millis;

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It has no members.
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// The leader works out who gets what.
    CompletingRebalance,
    /// Everybody knows what is theirs.
    Stable,
    /// There is no such group.
    Dead,
}

impl State {
    /// Those that a group which is there can be in.
    pub const LIVE: [State; 4] =
        [State::Empty, State::PreparingRebalance, State::CompletingRebalance, State::Stable];

    /// The name that clients know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = ();

    /// Reads a name in any case, as listings are filtered by.
    fn from_str(text: &str) -> Result<State, ()> {
        use State::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        let states = [Empty, PreparingRebalance, CompletingRebalance, Stable, Dead];
        states.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// What a state has besides its name.
#[derive(Debug)]
pub(super) enum Phase {
    Empty,
    Preparing(Preparing),
    /// With the moment at which those who have not asked for their assignment are left out.
    Completing(SyncDeadline),
    Stable(SyncDeadline),
}

/// When a generation stops waiting for members that joined and then asked for nothing; `None` once
/// all have.
pub(super) type SyncDeadline = Option<u64>;

/// A rebalance that waits for members to join.
#[derive(Debug)]
pub(super) struct Preparing {
    /// When it goes on without those who have not joined.
    pub(super) deadline_ms: u64,
    /// The group was empty: it waits a while whoever has joined, because more will come.
    pub(super) initial: Option<Initial>,
}

/// The first rebalance of a group.
#[derive(Debug)]
pub(super) struct Initial {
    /// How much longer it may be put off, beyond the present deadline.
    pub(super) remaining_ms: u64,
    /// The present delay.
    pub(super) delay_ms: u64,
    /// Somebody came since the last time it was put off.
    pub(super) member_added: bool,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group<W> {
    pub(super) id: Text,
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: Text,
    pub(super) protocol: Option<Text>,
    pub(super) leader: Option<Text>,
    pub(super) members: BTreeMap<Text, Member<W>>,
    /// Members by the names under which they come back.
    pub(super) instances: BTreeMap<Text, Text>,
    /// Ids that were given out and have not joined yet, with the moment each expires.
    pub(super) pending: BTreeMap<Text, u64>,
    pub(super) turns: u64,
    pub(super) history: History,
    /// Partitions of the topics that the server assigned, as it counted them then.
    pub(super) assigned_counts: BTreeMap<Text, i32>,
    /// The moment for which the coordinator has a timer.
    pub(super) armed_ms: Option<u64>,
}

impl<W> Group<W> {
    pub(super) fn new(id: &Text) -> Group<W> {
        Group {
            id: Arc::clone(id),
            phase: Phase::Empty,
            generation: 0,
            protocol_type: Arc::from(""),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            turns: 0,
            history: History::default(),
            assigned_counts: BTreeMap::new(),
            armed_ms: None,
        }
    }

    /// The group as it was recorded.
    pub(super) fn restore(id: &Text, stored: &StoredGroup, now: Now) -> Group<W> {
        let mut group = Group::new(id);
        let Some(metadata) = &stored.metadata else { return group };
        group.generation = metadata.generation;
        group.protocol_type = Arc::clone(&metadata.protocol_type);
        group.leader.clone_from(&metadata.leader);
        if let Some(protocol) = &metadata.protocol {
            for member in &metadata.members {
                let restored = Member::restore(member, protocol, group.next_turn(), now);
                if let Some(instance) = &member.instance {
                    group.instances.insert(Arc::clone(instance), Arc::clone(&member.id));
                }
                group.members.insert(Arc::clone(&member.id), restored);
            }
        }
        if !group.members.is_empty() {
            if !group.leader.as_ref().is_some_and(|leader| group.members.contains_key(leader)) {
                group.leader = group.members.keys().next().cloned();
            }
            group.protocol.clone_from(&metadata.protocol);
            group.phase = Phase::Stable(None);
        }
        group
    }

    pub(super) fn state(&self) -> State {
        match &self.phase {
            Phase::Empty => State::Empty,
            Phase::Preparing(_) => State::PreparingRebalance,
            Phase::Completing(_) => State::CompletingRebalance,
            Phase::Stable(_) => State::Stable,
        }
    }

    /// Whether nothing would be lost if it were forgotten, as far as it is not recorded.
    pub(super) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    pub(super) fn assigner(&self) -> Assigner {
        let by_server = |protocol: &Text| protocol.starts_with(SERVER_PREFIX);
        let is_by_server = match &self.protocol {
            Some(protocol) => by_server(protocol),
            None => self.members.values().any(|m| m.protocols.iter().any(|(p, _)| by_server(p))),
        };
        if is_by_server { Assigner::Server } else { Assigner::Leader }
    }

    pub(super) fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Writes down why the next generation comes about.
    pub(super) fn explain(&mut self, step: &Step<'_, W>, reason: &str) {
        let generation = self.next_generation();
        self.history.push(Rebalance { at: step.now.wall, generation, reason: reason.into() });
    }

    pub(super) fn next_generation(&self) -> i32 {
        self.generation.checked_add(1).unwrap_or(1)
    }

    /// Makes sure that whoever speaks for a member may: the id has to be a member's, and if it
    /// names an instance, the one that has it now.
    pub(super) fn check_member(
        &self,
        member: &str,
        instance: Option<&Text>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(present) if **present != *member && !planted::is(Bug::IgnoreFence) => {
                    return Err(GroupError::FencedInstance);
                }
                Some(_) => {}
            }
        }
        match self.members.contains_key(member) {
            true => Ok(()),
            false => Err(GroupError::UnknownMember),
        }
    }

    pub(super) fn check_generation(&self, given: i32) -> Result<(), GroupError> {
        match given == self.generation {
            true => Ok(()),
            false => Err(GroupError::IllegalGeneration { given, current: self.generation }),
        }
    }

    /// Whether a member with these protocols could be assigned to together with the others.
    pub(super) fn fits<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a Text>,
    ) -> bool {
        if self.members.is_empty() {
            return true;
        }
        *self.protocol_type == *protocol_type
            && protocols.any(|name| self.members.values().all(|member| member.supports(name)))
    }

    /// The protocol that all members support and most of them like best.
    pub(super) fn elect_protocol(&self) -> Option<Text> {
        let common = |name: &&Text| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&Text, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().map(|(name, _)| name).find(common)?;
            *votes.entry(choice).or_default() += 1;
        }
        // Among equals the first by name, so that every replay elects the same.
        let best = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        best.map(|(name, _)| Arc::clone(name))
    }

    /// Longest time a member may take to join again.
    pub(super) fn rebalance_ms(&self) -> u64 {
        self.members.values().map(|member| u64::from(member.rebalance_ms)).max().unwrap_or(0)
    }

    pub(super) fn joining_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    pub(super) fn have_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    pub(super) fn have_all_synced(&self) -> bool {
        self.members.values().all(|member| member.has_synced)
    }

    /// When time alone changes something.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let phase = match &self.phase {
            Phase::Empty => None,
            Phase::Preparing(preparing) => Some(preparing.deadline_ms),
            Phase::Completing(deadline) | Phase::Stable(deadline) => *deadline,
        };
        let pending = self.pending.values().copied();
        pending.chain(phase).chain(self.members.values().filter_map(Member::deadline)).min()
    }

    /// Records the generation as it is.
    pub(super) fn record(&self, step: &mut Step<'_, W>) {
        let members = self.members.iter();
        let value = GroupMetadata {
            protocol_type: Arc::clone(&self.protocol_type),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since: step.now.wall,
            members: members.map(|(id, m)| m.store(id, self.protocol.as_ref())).collect(),
        };
        step.append(Record::Group { group: Arc::clone(&self.id), value: Some(value) });
    }

    /// The topics that members read, as far as that can be told.
    pub(super) fn subscribes_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| {
            let protocol = self.protocol.as_ref().or(member.protocols.first().map(|(p, _)| p));
            let metadata = protocol.map(|name| member.metadata(name)).unwrap_or_default();
            let subscription = Subscription::decode(metadata).unwrap_or_default();
            subscription.topics.iter().any(|name| **name == *topic)
        })
    }

    /// Whether a topic that the server assigned has another number of partitions now.
    pub(super) fn has_changed_topics(&self, image: &Image) -> bool {
        matches!(self.phase, Phase::Stable(_))
            && self.assigned_counts.iter().any(|(t, count)| partition_count(image, t) != *count)
    }

    /// Works out who gets what, where the server does.
    pub(super) fn assign(&mut self, step: &Step<'_, W>) {
        let protocol = self.protocol.as_deref().expect("a new generation has a protocol");
        let Some(kind) = assignor::Assignor::from_protocol(protocol) else {
            unreachable!("members may not name what the server can not do: {protocol}")
        };
        let subscribers: Vec<assignor::Subscriber> = self
            .members
            .iter()
            .map(|(id, member)| {
                assignor::Subscriber::of(
                    id,
                    member.instance.as_ref(),
                    member.metadata(protocol),
                    member.assignment.clone(),
                )
            })
            .collect();
        let topics = subscribers.iter().flat_map(|s| &s.subscription.topics);
        let counts: BTreeMap<Text, i32> =
            topics.map(|topic| (Arc::clone(topic), partition_count(step.image, topic))).collect();
        let assignments = kind.assign(&subscribers, &counts);
        self.assigned_counts = counts;
        for (member, partitions) in self.members.values_mut().zip(&assignments) {
            member.assignment = super::consumer::encode_assignment(partitions);
        }
    }

    /// How many bytes subscriptions and assignments take.
    pub(super) fn size_bytes(&self) -> usize {
        self.members.values().map(Member::size_bytes).sum()
    }

    pub(super) fn since(&self, step: &Step<'_, W>) -> Millis {
        let stored = step.store.group(&self.id).and_then(|stored| stored.metadata.as_ref());
        stored.map_or(Millis(-1), |metadata| metadata.since)
    }
}

fn partition_count(image: &Image, topic: &str) -> i32 {
    image.topic(topic).map_or(0, |topic| topic.partition_count())
}
