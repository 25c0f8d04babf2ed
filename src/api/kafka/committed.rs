//! OffsetCommit and OffsetFetch. Topics go by name, and from version 10 on by id; versions of
//! OffsetFetch for one group and those for many come to the same here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::groups::{code_of, filled, name, native, text};
use super::{Refused, note};
use crate::api::{Context, error};
use crate::coordinator::{Commit, CommitOffset, Fetch, Fetched, GroupError, Text as Name};
use crate::protocol::kafka::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic, OffsetFetchRequest,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponseGroupPartition,
    OffsetFetchResponseGroupTopic, OffsetFetchResponsePartition, OffsetFetchResponseTopic, Text,
};
use crate::protocol::native::message::Error;
use crate::types::{Offset, PartitionId, TopicId};

/// From this version on topics have ids and no names.
const IDS_FROM: i16 = 10;
/// From this version of OffsetFetch on there are many groups.
const MANY_FROM: i16 = 8;
/// From this version on the one group of OffsetFetch has an error of its own.
const GROUP_ERROR_FROM: i16 = 2;

/// What a coordinator is asked to commit: everything of topics that are known.
#[must_use]
pub fn plan_commit(request: &OffsetCommitRequest, version: i16, context: &Context<'_>) -> Commit {
    let mut offsets = Vec::new();
    for topic in &request.topics {
        let Ok(of) = topic_name(topic.topic_id, &topic.name, version, context) else { continue };
        let topic_id = (version >= IDS_FROM).then_some(topic.topic_id);
        offsets.extend(topic.partitions.iter().map(|partition| CommitOffset {
            topic: Arc::clone(&of),
            topic_id,
            partition: PartitionId(partition.partition_index),
            offset: Offset(partition.committed_offset),
            leader_epoch: partition.committed_leader_epoch,
            metadata:
                partition.committed_metadata.as_ref().map_or_else(Name::default, |r| name(&r.0)),
        }));
    }
    Commit {
        group: name(&request.group_id),
        member: filled(&request.member_id),
        instance: request.group_instance_id.as_ref().map(name),
        generation: request.generation_id_or_member_epoch,
        retention_ms: u64::try_from(request.retention_time_ms).ok(),
        offsets,
    }
}

/// The answer to a commit; `outcomes` are of what was planned.
#[must_use]
pub fn committed(
    request: OffsetCommitRequest,
    version: i16,
    outcomes: Result<Vec<Result<(), GroupError>>, GroupError>,
    context: &Context<'_>,
    refused: &mut Refused,
) -> OffsetCommitResponse {
    let mut outcomes = outcomes.map(Vec::into_iter);
    let mut of_topic = |topic: OffsetCommitRequestTopic| {
        let unknown = topic_name(topic.topic_id, &topic.name, version, context).err();
        let partitions = topic.partitions.iter().map(|partition| {
            let error_code = match (&unknown, &mut outcomes) {
                (Some(error), _) => note(refused, error.clone()),
                (None, Err(error)) => code_of(Err(error.clone()), refused),
                (None, Ok(outcomes)) => {
                    code_of(outcomes.next().expect("an outcome for each offset"), refused)
                }
            };
            OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions }
    };
    let topics = request.topics.into_iter().map(&mut of_topic).collect();
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}

/// A question about the offsets of one group, in the words of any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    group: Text,
    /// Topics as they were named, with their partitions; `None` for all that has been committed.
    topics: Option<Vec<AskedTopic>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AskedTopic {
    name: Text,
    id: TopicId,
    partitions: Vec<i32>,
}

/// The questions of a request.
#[must_use]
pub fn questions(request: OffsetFetchRequest, version: i16) -> Vec<Asked> {
    if version < MANY_FROM {
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| AskedTopic {
                name: topic.name,
                id: TopicId::default(),
                partitions: topic.partition_indexes,
            });
            topics.collect()
        });
        return vec![Asked { group: request.group_id, topics }];
    }
    let groups = request.groups.into_iter().map(|group| Asked {
        group: group.group_id,
        topics: group.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| AskedTopic {
                name: topic.name,
                id: topic.topic_id,
                partitions: topic.partition_indexes,
            });
            topics.collect()
        }),
    });
    groups.collect()
}

impl Asked {
    /// How many partitions it names.
    #[must_use]
    pub fn count(&self) -> usize {
        self.topics.iter().flatten().map(|topic| topic.partitions.len()).sum()
    }

    /// What a coordinator is asked.
    #[must_use]
    pub fn plan(&self, version: i16, context: &Context<'_>) -> Fetch {
        let partitions = self.topics.as_ref().map(|topics| {
            let mut partitions = Vec::new();
            for topic in topics {
                let known = topic_name(topic.id, &topic.name, version, context);
                let Ok(known) = known else { continue };
                let named = topic.partitions.iter();
                partitions.extend(named.map(|p| (Arc::clone(&known), PartitionId(*p))));
            }
            partitions
        });
        Fetch { group: name(&self.group), partitions }
    }

    /// The answer to it.
    #[must_use]
    pub fn answer(
        self,
        version: i16,
        outcome: Result<Vec<Fetched>, GroupError>,
        context: &Context<'_>,
        refused: &mut Refused,
    ) -> OffsetFetchResponseGroup {
        let fetched = match outcome {
            Ok(fetched) => fetched,
            Err(error) => return self.failed(version, note(refused, native(&error))),
        };
        let topics = match self.topics {
            None => all(fetched, version, context),
            Some(topics) => {
                let mut fetched = fetched.into_iter();
                let answer = |topic| named(topic, version, &mut fetched, context, refused);
                topics.into_iter().map(answer).collect()
            }
        };
        OffsetFetchResponseGroup { group_id: self.group, topics, error_code: 0 }
    }

    /// The answer when the whole group fails. The oldest versions tell it of each partition.
    fn failed(self, version: i16, error_code: i16) -> OffsetFetchResponseGroup {
        let topics =
            self.topics.unwrap_or_default().into_iter().filter(|_| version < GROUP_ERROR_FROM);
        let topics = topics.map(|topic| OffsetFetchResponseGroupTopic {
            name: topic.name,
            topic_id: topic.id,
            partitions: topic.partitions.into_iter().map(|p| nothing(p, error_code)).collect(),
        });
        OffsetFetchResponseGroup { group_id: self.group, topics: topics.collect(), error_code }
    }
}

/// The answers as one message.
#[must_use]
pub fn fetched(answers: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= MANY_FROM {
        return OffsetFetchResponse { groups: answers, ..OffsetFetchResponse::default() };
    }
    let Some(answer) = answers.into_iter().next() else { return OffsetFetchResponse::default() };
    let topics = answer.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: answer.error_code,
        ..OffsetFetchResponse::default()
    }
}

fn named(
    topic: AskedTopic,
    version: i16,
    fetched: &mut impl Iterator<Item = Fetched>,
    context: &Context<'_>,
    refused: &mut Refused,
) -> OffsetFetchResponseGroupTopic {
    let unknown = topic_name(topic.id, &topic.name, version, context).err();
    let partitions = topic.partitions.iter().map(|partition| match &unknown {
        Some(error) => nothing(*partition, note(refused, error.clone())),
        None => offset(fetched.next().expect("an answer for each partition")),
    });
    let partitions = partitions.collect();
    OffsetFetchResponseGroupTopic { name: topic.name, topic_id: topic.id, partitions }
}

/// Everything that is committed. Where topics go by id, those that have none any more are left out.
fn all(
    fetched: Vec<Fetched>,
    version: i16,
    context: &Context<'_>,
) -> Vec<OffsetFetchResponseGroupTopic> {
    let mut topics: BTreeMap<Name, Vec<OffsetFetchResponseGroupPartition>> = BTreeMap::new();
    for fetched in fetched {
        topics.entry(Arc::clone(&fetched.topic)).or_default().push(offset(fetched));
    }
    let topics = topics.into_iter().filter_map(|(topic, partitions)| {
        let id = context.image.topic(&topic).map(|topic| topic.id);
        if version >= IDS_FROM && id.is_none() {
            return None;
        }
        let topic_id = id.unwrap_or_default();
        Some(OffsetFetchResponseGroupTopic { name: text(&topic), topic_id, partitions })
    });
    topics.collect()
}

fn offset(fetched: Fetched) -> OffsetFetchResponseGroupPartition {
    let Some(committed) = fetched.committed else { return nothing(fetched.partition.0, 0) };
    OffsetFetchResponseGroupPartition {
        partition_index: fetched.partition.0,
        committed_offset: committed.offset.0,
        committed_leader_epoch: committed.leader_epoch,
        metadata: Some(text(&committed.metadata)),
        error_code: 0,
    }
}

/// A partition without a committed offset.
fn nothing(partition: i32, error_code: i16) -> OffsetFetchResponseGroupPartition {
    OffsetFetchResponseGroupPartition {
        partition_index: partition,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Text::new()),
        error_code,
    }
}

/// The name of a topic that a version names or gives the id of.
fn topic_name(
    id: TopicId,
    given: &Text,
    version: i16,
    context: &Context<'_>,
) -> Result<Name, Error> {
    if version < IDS_FROM {
        return Ok(name(given));
    }
    let topic = context.image.topic_by_id(id);
    topic.map(|topic| Arc::clone(&topic.name)).ok_or_else(|| error::unknown_topic_id(id))
}
