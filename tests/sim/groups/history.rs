//! What is known from outside: what members were told, what they committed, and what is durable in
//! the log of the coordinator, in its order. The invariants are checked against it and never
//! against the coordinator's own idea of itself.

use std::collections::{BTreeMap, BTreeSet};

use rivvend::coordinator::consumer::Partitions;
use rivvend::coordinator::{
    Committed, Described, GroupError, GroupMetadata, Record, Request, Text,
};
use rivvend::types::PartitionId;

use super::invariants;
use crate::history::Broken;

/// Group, topic and partition of a committed offset.
pub(crate) type Key = (Text, Text, PartitionId);

/// A commit that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) key: Key,
    pub(crate) offset: i64,
    pub(crate) member: Option<Text>,
    pub(crate) instance: Option<Text>,
    pub(crate) generation: i32,
    /// How often it reached the coordinator.
    pub(crate) arrived: u32,
    /// How often it was refused for good.
    pub(crate) refused: u32,
    pub(crate) acknowledged: u32,
    /// How often it is in the log.
    pub(crate) logged: u32,
    /// It reached the coordinator while its member had been told of that generation and nobody of
    /// a later one.
    pub(crate) was_current: bool,
}

/// The life of a group between two deletions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// Its last recorded generation.
    pub(crate) recorded: Option<GroupMetadata>,
    /// Who was told to own a partition in a generation: the instance if there is one, else the
    /// member.
    pub(crate) owners: BTreeMap<(i32, Text, PartitionId), Text>,
}

/// The ids that an instance has had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance {
    /// When the last request for a new id arrived.
    pub(crate) asked: u64,
    /// Of each id, when the request arrived that it was given for, and when that was answered.
    pub(crate) ids: BTreeMap<Text, (u64, u64)>,
}

/// A request at the moment of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    /// Counts arrivals and answers.
    pub(crate) arrived: u64,
    /// Whether the node has no reason to refuse: its disk works and its coordinator has its log.
    pub(crate) sound: bool,
    /// The coordinator serves, and did before the request came.
    pub(crate) ready: bool,
    /// Nothing has gone wrong for long.
    pub(crate) calm: bool,
    /// The instance that it names had another id all the time.
    pub(crate) fenced: bool,
}

/// Something that happened and that an invariant may have an opinion on. Checked before it becomes
/// part of the history.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// A member was told what it owns in a generation.
    Given {
        group: &'a Text,
        generation: i32,
        member: &'a Text,
        instance: Option<&'a Text>,
        partitions: &'a Partitions,
    },
    /// What each member of a cooperative group reads at this moment.
    Reading { group: &'a Text, members: &'a [(&'a Text, &'a Partitions)] },
    /// A generation is in the log.
    Recorded { group: &'a Text, generation: &'a GroupMetadata },
    /// A commit is in the log.
    Logged { commit: usize, committed: &'a Committed },
    /// A commit was acknowledged.
    Acknowledged { commit: usize, watermark: Option<i64> },
    /// Somebody was told what is committed, after so much of the log was durable and before more
    /// than that was.
    Fetched {
        key: &'a Key,
        found: Option<&'a Committed>,
        from: i64,
        to: i64,
        watermark: Option<i64>,
    },
    /// An offset is no longer kept, although nobody asked for that.
    Expired {
        key: &'a Key,
        committed: &'a Committed,
        /// When the group lost its last member; `None` when it has one.
        empty_since: Option<i64>,
        /// A member waits to be let in.
        awaited: bool,
        now: i64,
        retention_ms: i64,
    },
    /// The coordinator's live state beside what its log adds up to.
    Replayed { what: &'a str, same: bool },
    /// A stable group as it is, beside what it would be after a restart.
    Rebuilt { live: &'a Described, rebuilt: Option<&'a Described> },
    /// A group is between two generations for so long.
    Rebalancing { group: &'a Text, for_ms: u64, bound_ms: u64 },
    /// A group has a member that is nobody's for so long, and nothing else happens.
    Lingering { group: &'a Text, for_ms: u64, bound_ms: u64 },
    /// A request was refused.
    Refused { asked: Asked<'a>, error: &'a GroupError },
    /// A member was treated as one.
    Accepted { asked: Asked<'a> },
    /// A request that waits for nobody got no answer.
    Unanswered { request: &'a Request },
    /// What the members read after everything was healed.
    Settled { group: &'a Text, members: &'a [(&'a Text, &'a Partitions)], partitions: i32 },
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) commits: Vec<Commit>,
    /// What each key stood for, from which offset of the log on.
    pub(crate) offsets: BTreeMap<Key, Vec<(i64, Option<usize>)>>,
    pub(crate) groups: BTreeMap<Text, Life>,
    pub(crate) instances: BTreeMap<(Text, Text), Instance>,
    /// The last generation that members were told of by the present process of the node, and who.
    pub(crate) told: BTreeMap<Text, (u64, i32, BTreeSet<Text>)>,
    /// Members that left, with the process of the node that said so.
    pub(crate) left: BTreeMap<(Text, Text), u64>,
    /// The present process of the node.
    pub(crate) process: u64,
}

impl History {
    /// Notes a commit that is about to be sent.
    pub(crate) fn commit(&mut self, commit: Commit) -> usize {
        self.commits.push(commit);
        self.commits.len() - 1
    }

    /// Which commit this is.
    pub(crate) fn commit_of(committed: &Committed) -> Option<usize> {
        committed.metadata.parse().ok()
    }

    /// A new commit of this member, or of nobody.
    pub(crate) fn unsent(
        key: Key,
        offset: i64,
        (member, instance, generation): (Option<Text>, Option<Text>, i32),
    ) -> Commit {
        Commit {
            key,
            offset,
            member,
            instance,
            generation,
            arrived: 0,
            refused: 0,
            acknowledged: 0,
            logged: 0,
            was_current: false,
        }
    }

    /// Notes that a commit has reached the coordinator.
    pub(crate) fn arrived(&mut self, commit: usize) {
        let commit = &mut self.commits[commit];
        commit.arrived += 1;
        let told = self.told.get(&commit.key.0);
        commit.was_current |= told.zip(commit.member.as_ref()).is_some_and(|(told, member)| {
            let (process, generation, members) = told;
            *process == self.process && *generation == commit.generation && members.contains(member)
        });
    }

    /// Notes that a member was told that it is one of this generation.
    pub(crate) fn joined(&mut self, group: &Text, generation: i32, member: &Text) {
        let told = self.told.entry(Text::clone(group)).or_default();
        if (told.0, told.1) != (self.process, generation) {
            *told = (self.process, generation, BTreeSet::new());
        }
        told.2.insert(Text::clone(member));
    }

    /// Holds a fact against every invariant, then takes it into the history.
    pub(crate) fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Broken> {
        invariants::check(fact, self)?;
        match fact {
            Fact::Given { group, generation, member, instance, partitions } => {
                let life = self.groups.entry(Text::clone(group)).or_default();
                let owner = instance.unwrap_or(member);
                for (topic, list) in *partitions {
                    let keys = list.iter().map(|p| (*generation, Text::clone(topic), *p));
                    life.owners.extend(keys.map(|key| (key, Text::clone(owner))));
                }
            }
            Fact::Recorded { group, generation } => {
                let life = self.groups.entry(Text::clone(group)).or_default();
                life.recorded = Some((*generation).clone());
            }
            Fact::Logged { commit, .. } => self.commits[*commit].logged += 1,
            Fact::Acknowledged { commit, .. } => self.commits[*commit].acknowledged += 1,
            _ => {}
        }
        Ok(())
    }

    /// Takes in a record that is durable.
    pub(crate) fn record(&mut self, at: i64, record: &Record) -> Result<(), Broken> {
        match record {
            Record::Group { group, value: Some(generation) } => {
                self.observe(&Fact::Recorded { group, generation })?;
            }
            Record::Group { group, value: None } => _ = self.groups.remove(group),
            Record::Offset { group, topic, partition, value } => {
                let commit = value.as_ref().map(|committed| {
                    let commit = History::commit_of(committed);
                    commit.filter(|commit| *commit < self.commits.len()).ok_or_else(|| {
                        format!("G3: nobody sent what is in the log at {at}: {committed:?}")
                    })
                });
                let commit = commit.transpose()?;
                if let (Some(commit), Some(committed)) = (commit, value) {
                    self.observe(&Fact::Logged { commit, committed })?;
                }
                let key = (Text::clone(group), Text::clone(topic), *partition);
                self.offsets.entry(key).or_default().push((at, commit));
            }
        }
        Ok(())
    }
}
