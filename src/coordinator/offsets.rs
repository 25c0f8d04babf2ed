//! Committed offsets: who may commit, how long they are kept, and what becomes of those whose topic
//! or group is gone.

use std::sync::Arc;

use super::group::{Group, Phase};
use super::record::{Committed, Record};
use super::request::{
    Commit, CommitOffset, DeleteOffsets, Fetch, Fetched, GroupError, check_group, check_size,
};
use super::{Coordinator, Outbox, Text};
use crate::limits;
use crate::planted::{self, Bug};
use crate::time::Now;
use crate::types::{Millis, Offset, PartitionId};

impl<W> Coordinator<W> {
    /// Commits, all that can be committed of what the request has.
    pub(super) fn commit(
        &mut self,
        now: Now,
        commit: &Commit,
        out: &mut Outbox<W>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_group(&commit.group)?;
        let id = match self.groups.get_key_value(&*commit.group) {
            Some((id, _)) => Arc::clone(id),
            None if commit.generation < 0 && commit.member.is_none() => {
                self.make_group(&commit.group)?
            }
            None => {
                return Err(GroupError::IllegalGeneration { given: commit.generation, current: 0 });
            }
        };
        let group = self.groups.get_mut(&id).expect("it was just found");
        if let Err(error) = group.admit_commit(now, commit) {
            self.forget_if_idle(&id);
            return Err(error);
        }
        let mut outcomes = Vec::with_capacity(commit.offsets.len());
        self.with_group(now, &id, out, |group, step| {
            let mut room = limits::GROUP_OFFSETS_MAX
                .saturating_sub(step.store.group(&group.id).map_or(0, |g| g.offset_count()));
            for offset in &commit.offsets {
                let known = step.store.group(&group.id).is_some_and(|stored| {
                    let topic = stored.offsets.get(&offset.topic);
                    topic.is_some_and(|topic| topic.contains_key(&offset.partition))
                });
                let outcome = check_offset(offset, step.config.metadata_bytes_max, known, room);
                if outcome.is_ok() {
                    room = room.saturating_sub(usize::from(!known));
                    step.append(record_of(&group.id, offset, now.wall, commit.retention_ms));
                }
                outcomes.push(outcome);
            }
        });
        Ok(outcomes)
    }

    /// What is committed. A group that is not known has committed nothing.
    pub(super) fn fetch(&self, fetch: &Fetch) -> Vec<Fetched> {
        let stored = self.store.group(&fetch.group);
        let find = |topic: &Text, partition: &PartitionId| {
            stored.and_then(|stored| stored.offsets.get(topic)?.get(partition)).cloned()
        };
        if let Some(partitions) = &fetch.partitions {
            let found = partitions.iter().map(|(topic, partition)| Fetched {
                topic: Arc::clone(topic),
                partition: *partition,
                committed: find(topic, partition),
            });
            return found.collect();
        }
        let topics = stored.into_iter().flat_map(|stored| &stored.offsets);
        let all = topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, committed)| Fetched {
                topic: Arc::clone(topic),
                partition: *partition,
                committed: Some(committed.clone()),
            })
        });
        all.collect()
    }

    /// Removes offsets that nobody in the group may still be using.
    pub(super) fn delete_offsets(
        &mut self,
        now: Now,
        delete: &DeleteOffsets,
        out: &mut Outbox<W>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let Some((id, group)) = self.groups.get_key_value(&*delete.group) else {
            return Err(GroupError::NotFound);
        };
        let (id, has_members) = (Arc::clone(id), !group.members.is_empty());
        if has_members && *group.protocol_type != *super::consumer::PROTOCOL_TYPE {
            return Err(GroupError::NotEmpty);
        }
        let mut outcomes = Vec::with_capacity(delete.partitions.len());
        self.with_group(now, &id, out, |group, step| {
            for (topic, partition) in &delete.partitions {
                if has_members && group.subscribes_to(topic) {
                    outcomes.push(Err(GroupError::Subscribed));
                    continue;
                }
                let has = step.store.group(&group.id).is_some_and(|stored| {
                    stored.offsets.get(topic).is_some_and(|topic| topic.contains_key(partition))
                });
                if has {
                    step.append(tombstone(&group.id, topic, *partition));
                }
                outcomes.push(Ok(()));
            }
        });
        Ok(outcomes)
    }

    /// Removes what is kept no longer: offsets of groups without members, some time after they lost
    /// the last one or committed last; and such groups themselves once nothing is left (G6).
    pub(super) fn expire_offsets(&mut self, now: Now, out: &mut Outbox<W>) {
        let retention_ms = i64::try_from(self.config.retention_ms).unwrap_or(i64::MAX);
        let ids: Vec<Text> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with_group(now, &id, out, |group, step| {
                if !group.may_lose_offsets() {
                    return;
                }
                let Some(stored) = step.store.group(&group.id) else { return };
                let since = group.since(step);
                let is_due = |committed: &Committed| {
                    let due = committed.expires.unwrap_or_else(|| {
                        Millis(committed.at.0.max(since.0).saturating_add(retention_ms))
                    });
                    due <= now.wall
                };
                let due = expired(&group.id, &stored.offsets, is_due);
                let is_all = due.len() == stored.offset_count();
                let is_old = since.0.saturating_add(retention_ms) <= now.wall.0;
                let ends = is_all && is_old && stored.metadata.is_some();
                due.into_iter().for_each(|record| step.append(record));
                if ends {
                    step.append(Record::Group { group: Arc::clone(&group.id), value: None });
                }
            });
        }
    }

    /// Removes the offsets of topics that are gone, or that another one of the same name replaced.
    pub(super) fn drop_offsets_of_gone_topics(&mut self, now: Now, out: &mut Outbox<W>) {
        let image = Arc::clone(&self.image);
        let gone = |topic: &Text, committed: &Committed| match image.topic(topic) {
            None => true,
            Some(present) => committed.topic_id.is_some_and(|id| id != present.id),
        };
        let mut records = Vec::new();
        for (id, stored) in self.store.groups() {
            for (topic, partitions) in &stored.offsets {
                let due = partitions.iter().filter(|(_, committed)| gone(topic, committed));
                records.extend(due.map(|(partition, _)| tombstone(id, topic, *partition)));
            }
        }
        for record in records {
            let id = Arc::clone(record.group());
            self.with_group(now, &id, out, |_, step| step.append(record));
        }
    }
}

impl<W> Group<W> {
    /// Whether whoever commits may. A commit of a member is a sign of life of it.
    fn admit_commit(&mut self, now: Now, commit: &Commit) -> Result<(), GroupError> {
        let is_member = commit.generation >= 0 || commit.member.is_some();
        if !is_member && commit.instance.is_none() {
            // A consumer that assigns to itself, or an administrator.
            return match self.members.is_empty() {
                true => Ok(()),
                false => Err(GroupError::UnknownMember),
            };
        }
        let member = commit.member.as_ref().ok_or(GroupError::UnknownMember)?;
        self.check_member(member, commit.instance.as_ref())?;
        if !planted::is(Bug::CommitAnyGeneration) {
            self.check_generation(commit.generation)?;
        }
        if let Phase::Completing(_) = &self.phase {
            return Err(GroupError::RebalanceInProgress);
        }
        self.members.get_mut(member).expect("it was checked").is_alive(now);
        Ok(())
    }

    fn may_lose_offsets(&self) -> bool {
        self.is_idle() || planted::is(Bug::ExpireActiveOffsets)
    }
}

fn check_offset(
    offset: &CommitOffset,
    bytes_max: usize,
    is_known: bool,
    room: usize,
) -> Result<(), GroupError> {
    if offset.offset < Offset::ZERO {
        return Err(GroupError::InvalidOffset(offset.offset));
    }
    let bytes = offset.metadata.len();
    if bytes > bytes_max {
        return Err(GroupError::MetadataTooLarge { bytes, limit: bytes_max });
    }
    check_size("a topic's name", offset.topic.len(), limits::TOPIC_NAME_BYTES_MAX)?;
    if !is_known && room == 0 {
        let limit = limits::GROUP_OFFSETS_MAX;
        return Err(GroupError::TooLarge { what: "a group's offsets", given: limit + 1, limit });
    }
    Ok(())
}

fn record_of(
    group: &Text,
    offset: &CommitOffset,
    now: Millis,
    retention_ms: Option<u64>,
) -> Record {
    let kept_ms = retention_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    Record::Offset {
        group: Arc::clone(group),
        topic: Arc::clone(&offset.topic),
        partition: offset.partition,
        value: Some(Committed {
            offset: offset.offset,
            // The record of an offset that expires has no room for these.
            leader_epoch: if kept_ms.is_some() { -1 } else { offset.leader_epoch },
            metadata: Arc::clone(&offset.metadata),
            at: now,
            expires: kept_ms.map(|ms| Millis(now.0.saturating_add(ms))),
            topic_id: offset.topic_id.filter(|_| kept_ms.is_none()),
        }),
    }
}

fn tombstone(group: &Text, topic: &Text, partition: PartitionId) -> Record {
    Record::Offset { group: Arc::clone(group), topic: Arc::clone(topic), partition, value: None }
}

fn expired(
    group: &Text,
    offsets: &super::store::Offsets,
    is_due: impl Fn(&Committed) -> bool,
) -> Vec<Record> {
    let all = offsets.iter().flat_map(|(topic, partitions)| {
        partitions.iter().map(move |(partition, committed)| (topic, partition, committed))
    });
    let due = all.filter(|(_, _, committed)| is_due(committed));
    due.map(|(topic, partition, _)| tombstone(group, topic, *partition)).collect()
}
