//! What comes from others than the members: consumers without a group protocol, processes that are
//! no members any more and do not know it, and administrators.

use rivvend::coordinator::{DeleteOffsets, Fetch, Heartbeat, Request, Text};
use rivvend::types::PartitionId;

use super::history::{self, History};
use super::member::commit_request;
use super::setup::{FLEETING, LONE, TOPIC};
use super::world::World;

/// Former selves that are remembered.
const GHOSTS_MAX: usize = 12;

/// What a process took itself for when it was last heard of.
#[derive(Clone, Debug)]
pub(crate) struct Ghost {
    group: Text,
    member: Text,
    instance: Option<Text>,
    generation: i32,
}

impl World {
    /// Remembers what a member is at this moment.
    pub(crate) fn remember(&mut self, member: usize) {
        let member = &self.members[member];
        let Some(id) = &member.id else { return };
        let ghost = Ghost {
            group: Text::clone(&member.group),
            member: Text::clone(id),
            instance: member.instance.clone(),
            generation: member.generation,
        };
        if self.ghosts.len() == GHOSTS_MAX {
            self.ghosts.remove(0);
        }
        self.ghosts.push(ghost);
    }

    /// Lets somebody from outside do something.
    pub(crate) fn run_errand(&mut self) {
        match self.random.below(20) {
            0..=7 => self.commit_alone(),
            8..=12 => self.fetch(),
            13..=17 => self.haunt(),
            18 => self.delete_group(),
            _ => self.delete_offsets(),
        }
    }

    fn commit_alone(&mut self) {
        let group = if self.random.chance(3, 4) { LONE.into() } else { self.some_group() };
        let (topic, partition) = self.some_partition();
        let watermark = self.watermark(&topic, partition);
        let bound = watermark.map_or(1_000, |watermark| watermark as u64 + 1);
        let offset = self.random.below(bound) as i64;
        let commit = History::unsent((group, topic, partition), offset, (None, None, -1));
        let retention_ms = self.random.chance(1, 4).then(|| 200 + self.random.below(4_000));
        self.send_commit(commit, retention_ms);
    }

    fn send_commit(&mut self, commit: history::Commit, retention_ms: Option<u64>) {
        let number = self.history.commits.len();
        let mut request = commit_request(&commit, number, retention_ms);
        if let Request::Commit(request) = &mut request {
            for offset in &mut request.offsets {
                offset.topic_id = self.image.topic(&offset.topic).map(|topic| topic.id);
                if offset.topic_id.is_none() {
                    return;
                }
            }
        }
        self.history.commit(commit);
        self.ask(None, request, Some(number));
    }

    fn fetch(&mut self) {
        let group = if self.random.chance(1, 3) { LONE.into() } else { self.some_group() };
        let some = (0..2).map(|_| self.some_partition()).collect();
        self.ask(None, Request::Fetch(Fetch { group, partitions: Some(some) }), None);
    }

    /// A former member goes on as if it still were one.
    fn haunt(&mut self) {
        if self.ghosts.is_empty() {
            return;
        }
        let chosen = self.random.below(self.ghosts.len() as u64) as usize;
        let Ghost { group, member, instance, generation } = self.ghosts[chosen].clone();
        if self.random.chance(1, 4) {
            self.disturb(&group);
            let beat = Heartbeat { group, member, instance, generation };
            self.ask(None, Request::Heartbeat(beat), None);
            return;
        }
        let partition = PartitionId(self.random.below(self.setup.partitions() as u64) as i32);
        let watermark = self.watermark(&TOPIC.into(), partition).unwrap_or_default();
        let offset = self.random.below(watermark as u64 + 1) as i64;
        let own = (Some(member), instance, generation);
        let commit = History::unsent((group, TOPIC.into(), partition), offset, own);
        self.send_commit(commit, None);
    }

    fn delete_group(&mut self) {
        let group = if self.random.chance(1, 2) { LONE.into() } else { self.some_group() };
        self.disturb(&group);
        self.ask(None, Request::DeleteGroup(group), None);
    }

    fn delete_offsets(&mut self) {
        let group = if self.random.chance(1, 2) { LONE.into() } else { self.some_group() };
        let partitions = vec![self.some_partition()];
        let delete = DeleteOffsets { group, partitions };
        self.ask(None, Request::DeleteOffsets(delete), None);
    }

    fn some_group(&mut self) -> Text {
        let chosen = self.random.below(self.setup.groups.len() as u64) as usize;
        Text::clone(&self.setup.groups[chosen].name)
    }

    fn some_partition(&mut self) -> (Text, PartitionId) {
        let topic = if self.random.chance(1, 4) { FLEETING } else { TOPIC };
        let partition = self.random.below(self.setup.partitions() as u64) as i32;
        (topic.into(), PartitionId(partition))
    }
}
