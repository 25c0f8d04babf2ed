//! What an administrator asks: which groups there are, what they are, and that they go.

use std::sync::Arc;

use bytes::Bytes;

use super::group::{Group, State};
use super::record::Record;
use super::request::{
    CommittedTopic, Described, DescribedMember, Filter, GroupError, Listed, Survey,
};
use super::{Coordinator, Outbox, Text};
use crate::limits;
use crate::time::Now;

impl<W> Coordinator<W> {
    pub(super) fn list(&self, filter: &Filter) -> Vec<Listed> {
        let groups = self.groups.iter().map(|(id, group)| Listed {
            group: Arc::clone(id),
            protocol_type: Arc::clone(&group.protocol_type),
            state: group.state(),
        });
        let wanted = |state| filter.states.is_empty() || filter.states.contains(&state);
        groups.filter(|listed| wanted(listed.state)).collect()
    }

    /// What there is to know of a group.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn describe(&self, id: &str) -> Result<Described, GroupError> {
        self.groups.get(id).map(Group::describe).ok_or(GroupError::NotFound)
    }

    pub(super) fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for group in self.groups.values() {
            *survey.states.entry(group.state()).or_default() += 1;
            survey.members += group.members.len();
        }
        let mut room = limits::GROUP_SURVEY_OFFSETS_MAX;
        for (group, stored) in self.store.groups() {
            for (topic, partitions) in &stored.offsets {
                let Some(left) = room.checked_sub(partitions.len()) else {
                    survey.left_out += 1;
                    continue;
                };
                room = left;
                let offsets = partitions.iter().map(|(id, committed)| (*id, committed.offset));
                survey.committed.push(CommittedTopic {
                    group: Arc::clone(group),
                    topic: Arc::clone(topic),
                    offsets: offsets.collect(),
                });
            }
        }
        survey
    }

    /// Deletes a group that has no members, with its offsets.
    pub(super) fn delete_group(
        &mut self,
        now: Now,
        id: &Text,
        out: &mut Outbox<W>,
    ) -> Result<(), GroupError> {
        let group = self.groups.get(id).ok_or(GroupError::NotFound)?;
        if !group.members.is_empty() {
            return Err(GroupError::NotEmpty);
        }
        self.with_group(now, id, out, |group, step| {
            group.pending.clear();
            let Some(stored) = step.store.group(&group.id) else { return };
            let had_metadata = stored.metadata.is_some();
            let offsets: Vec<Record> = stored
                .offsets
                .iter()
                .flat_map(|(topic, partitions)| {
                    partitions.keys().map(|partition| Record::Offset {
                        group: Arc::clone(&group.id),
                        topic: Arc::clone(topic),
                        partition: *partition,
                        value: None,
                    })
                })
                .collect();
            offsets.into_iter().for_each(|record| step.append(record));
            if had_metadata {
                step.append(Record::Group { group: Arc::clone(&group.id), value: None });
            }
        });
        Ok(())
    }
}

impl<W> Group<W> {
    fn describe(&self) -> Described {
        let is_stable = self.state() == State::Stable;
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member: Arc::clone(id),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: match &self.protocol {
                Some(protocol) if is_stable => member.metadata(protocol),
                _ => Bytes::new(),
            },
            assignment: if is_stable { member.assignment.clone() } else { Bytes::new() },
            since: member.since,
        });
        Described {
            group: Arc::clone(&self.id),
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: self.protocol.clone().filter(|_| is_stable),
            assigner: self.assigner(),
            state: self.state(),
            generation: self.generation,
            leader: self.leader.clone(),
            members: members.collect(),
            rebalances: self.history.entries().cloned().collect(),
        }
    }
}
