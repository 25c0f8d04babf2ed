//! Topics: creating, changing, deleting, describing, and the metadata clients need to find them.

mod compaction;

use std::collections::BTreeSet;

use super::{Context, Found, error};
use crate::metadata::config::{BrokerDefaults, Change, effective};
use crate::metadata::{Command, CreateTopic, Refusal, Reply, Topic, TopicRef};
use crate::partition::{Health, PartitionHandle};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::config_change::Kind;
use crate::protocol::native::message::{
    AddPartitions, AlterTopic, ConfigChange, ConfigEntry, Error, NewTopic, Node,
    PartitionDescription, PartitionMetadata, TopicDescription, TopicMetadata, TopicResult,
};
use crate::types::TopicId;

/// The command that creates a topic.
///
/// # Errors
/// When numbers of the request have no meaning.
pub fn plan_create(
    topic: NewTopic,
    topic_id: TopicId,
    default_partitions: i32,
) -> Result<Command, Error> {
    let replication_factor = match topic.replication_factor {
        -1 => None,
        factor => Some(i16::try_from(factor).map_err(|_| {
            let message = format!("replication factor {factor} is not possible");
            Error::new(ErrorCode::InvalidReplicationFactor, message)
        })?),
    };
    Ok(Command::CreateTopic(CreateTopic {
        name: topic.name,
        partitions: if topic.partitions == -1 { default_partitions } else { topic.partitions },
        replication_factor,
        config: topic.config.into_iter().collect(),
        topic_id,
        internal: false,
    }))
}

/// The command that changes a topic's settings.
///
/// # Errors
/// When a change is of an unknown kind.
pub fn plan_alter(request: &AlterTopic) -> Result<Command, Error> {
    let changes = request.changes.iter().map(plan_change);
    Ok(Command::AlterTopicConfig {
        topic: TopicRef::Name(request.name.clone()),
        changes: changes.collect::<Result<_, _>>()?,
    })
}

/// One change of a setting.
///
/// # Errors
/// When it is of an unknown kind.
pub fn plan_change(change: &ConfigChange) -> Result<Change, Error> {
    let (key, value) = (change.key.clone(), change.value.clone());
    match Kind::try_from(change.kind) {
        Ok(Kind::Set) => Ok(Change::Set { key, value }),
        Ok(Kind::Delete) => Ok(Change::Delete { key }),
        Ok(Kind::Append) => Ok(Change::Append { key, value }),
        Ok(Kind::Subtract) => Ok(Change::Subtract { key, value }),
        Err(_) => {
            let message = format!("{} is no kind of change", change.kind);
            Err(Error::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// The command that gives a topic more partitions.
#[must_use]
pub fn plan_add_partitions(request: &AddPartitions) -> Command {
    Command::AddPartitions { topic: TopicRef::Name(request.name.clone()), total: request.total }
}

/// The command that deletes a topic.
#[must_use]
pub fn plan_delete(name: String) -> Command {
    Command::DeleteTopic { topic: TopicRef::Name(name) }
}

/// Turns the outcome of a change into the client's answer: what the topic is then, or was before it
/// was deleted. `before` is what it was when the change was asked for, if it was there.
#[must_use]
pub fn changed(name: String, before: Option<&Topic>, outcome: Result<Reply, Error>) -> TopicResult {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(error) => return TopicResult { error: Some(error), name, ..TopicResult::default() },
    };
    let mut result = TopicResult { name, ..TopicResult::default() };
    if let Some(topic) = before {
        result.topic_id = topic.id.as_bytes().to_vec();
        result.partitions = topic.partitions.len() as i32;
        result.replication_factor = i32::from(topic.replication_factor());
    }
    match reply {
        Reply::TopicCreated { id, partitions, replication_factor, warnings } => {
            result.topic_id = id.as_bytes().to_vec();
            result.partitions = partitions;
            result.replication_factor = i32::from(replication_factor);
            result.warnings = warnings;
        }
        Reply::ConfigAltered { warnings } => result.warnings = warnings,
        Reply::PartitionsAdded { id, total } => {
            result.topic_id = id.as_bytes().to_vec();
            result.partitions = total;
        }
        Reply::TopicDeleted { id, .. } => result.topic_id = id.as_bytes().to_vec(),
        Reply::Formed
        | Reply::BrokerRegistered { .. }
        | Reply::TopicsForgotten
        | Reply::ProducerIds { .. } => unreachable!("no command about a topic is answered so"),
    }
    result
}

/// What a client learns of a change that was refused.
#[must_use]
pub fn refused(refusal: &Refusal) -> Error {
    let code = match refusal {
        Refusal::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
        Refusal::InvalidName { .. } => ErrorCode::InvalidTopic,
        Refusal::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        Refusal::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
        Refusal::PartitionsOutOfBounds { .. } | Refusal::PartitionsNotMore { .. } => {
            ErrorCode::InvalidPartitions
        }
        Refusal::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        Refusal::ClusterPartitions { .. }
        | Refusal::DeletedTopics
        | Refusal::InternalTopic { .. } => ErrorCode::PolicyViolation,
        Refusal::Config(_) => ErrorCode::InvalidConfig,
        Refusal::TopicIdTaken { .. } | Refusal::ProducerIdCount | Refusal::OtherCluster { .. } => {
            ErrorCode::InvalidRequest
        }
    };
    Error::new(code, refusal.to_string())
}

/// What clients need to find the leaders.
#[must_use]
pub fn nodes(context: &Context<'_>) -> Vec<Node> {
    let brokers = context.image.brokers().iter();
    brokers
        .map(|(id, broker)| Node {
            id: id.0,
            address: broker.address.clone(),
            rack: broker.rack.clone().unwrap_or_default(),
        })
        .collect()
}

/// What clients need to produce to a topic and consume from it.
#[must_use]
pub fn metadata(name: &str, context: &Context<'_>) -> TopicMetadata {
    match context.find(name) {
        Ok(found) => topic_metadata(&found),
        Err(error) => {
            let error = Some(error);
            TopicMetadata { error, name: name.to_owned(), ..TopicMetadata::default() }
        }
    }
}

/// The topics that a request with these names means: all but the internal ones if it names none.
#[must_use]
pub fn named(names: Vec<String>, internal: bool, context: &Context<'_>) -> Vec<String> {
    if !names.is_empty() {
        // Each once, however often it is named: the answer is much larger than the question.
        let mut seen = BTreeSet::new();
        return names.into_iter().filter(|name| seen.insert(name.clone())).collect();
    }
    let topics = context.image.topics().filter(|topic| internal || !topic.internal);
    topics.map(|topic| topic.name.to_string()).collect()
}

/// Everything there is to know about a topic.
#[must_use]
pub fn describe(name: &str, file: &BrokerDefaults, context: &Context<'_>) -> TopicDescription {
    let found = match context.find(name) {
        Ok(found) => found,
        Err(error) => {
            let error = Some(error);
            return TopicDescription { error, name: name.to_owned(), ..Default::default() };
        }
    };
    TopicDescription {
        error: None,
        name: name.to_owned(),
        topic_id: found.topic.id.as_bytes().to_vec(),
        partitions: found
            .partitions
            .handles()
            .iter()
            .map(|handle| describe_partition(&found.topic, handle, context))
            .collect(),
        config: describe_config(&found.topic, file, context),
    }
}

fn topic_metadata(found: &Found) -> TopicMetadata {
    let settings = found.partitions.settings();
    let partitions = found.topic.partitions.iter().enumerate();
    TopicMetadata {
        error: None,
        name: found.topic.name.to_string(),
        topic_id: found.topic.id.as_bytes().to_vec(),
        partitions: partitions
            .map(|(index, partition)| PartitionMetadata {
                partition: index as i32,
                leader: partition.leader.map_or(-1, |node| node.0),
                leader_epoch: partition.leader_epoch.0,
                replicas: partition.replicas.iter().map(|node| node.0).collect(),
                isr: partition.isr.iter().map(|node| node.0).collect(),
            })
            .collect(),
        max_message_bytes: settings.max_message_bytes as u32,
        durability: settings.durability.as_str().to_owned(),
    }
}

fn describe_partition(
    topic: &Topic,
    handle: &PartitionHandle,
    context: &Context<'_>,
) -> PartitionDescription {
    let (index, view) = (handle.id().partition.0, handle.view());
    let state = topic.partitions.get(index as usize);
    PartitionDescription {
        partition: index,
        leader: state.and_then(|s| s.leader).map_or(-1, |node| node.0),
        leader_epoch: view.epoch.0,
        replicas: state.map_or_else(Vec::new, |s| s.replicas.iter().map(|n| n.0).collect()),
        isr: state.map_or_else(Vec::new, |s| s.isr.iter().map(|n| n.0).collect()),
        elr: Vec::new(),
        log_start_offset: view.start().0,
        high_watermark: view.high_watermark.offset.0,
        last_stable_offset: view.last_stable.offset.0,
        size_bytes: view.size_bytes,
        segments: view.log.segment_count() as u32,
        error: match &view.health {
            Health::Good => None,
            Health::Damaged(damage) => Some(Error::new(ErrorCode::Corruption, damage.to_string())),
            Health::Offline(reason) => {
                let partition = crate::types::PartitionId(index);
                Some(error::offline(&topic.name, partition, reason))
            }
        },
        compaction: compaction::describe(handle, &view, context),
    }
}

fn describe_config(
    topic: &Topic,
    file: &BrokerDefaults,
    context: &Context<'_>,
) -> Vec<ConfigEntry> {
    let entries = effective(&context.image.layers(topic, file)).into_iter();
    entries
        .map(|entry| ConfigEntry {
            key: entry.key.to_owned(),
            value: entry.value,
            source: entry.source.as_str().to_owned(),
            default_value: entry.default,
            documentation: entry.documentation.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Image, decide};
    use crate::time::Now;
    use crate::types::{Millis, NodeId, TopicId};

    const NOW: Now = Now { wall: Millis(1_700_000_000_000), monotonic_ms: 0 };

    fn apply(image: &mut Image, command: Command) -> Result<Reply, Error> {
        let decision = decide(image, NOW, command).map_err(|refusal| refused(&refusal))?;
        decision.records.iter().for_each(|record| image.replay(record));
        Ok(decision.reply)
    }

    fn cluster() -> Image {
        let mut image = Image::default();
        apply(&mut image, Command::FormCluster { cluster_id: "test".to_owned() }).expect("new");
        let register = Command::RegisterBroker {
            node: NodeId(1),
            incarnation: uuid::Uuid::from_u128(1),
            address: String::new(),
            rack: None,
        };
        apply(&mut image, register).expect("registered");
        image
    }

    fn create(image: &mut Image, name: &str, partitions: i32) -> Result<Reply, Error> {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: -1,
            ..NewTopic::default()
        };
        let command =
            plan_create(topic, TopicId(uuid::Uuid::new_v4()), 1).expect("a sound request");
        apply(image, command)
    }

    /// bad-inputs 25: more than the cluster may have is a question of policy, and the numbers are
    /// named.
    #[test]
    fn more_partitions_than_the_cluster_may_have_are_refused_by_policy() {
        let mut image = cluster();
        create(&mut image, "one", 100_000).expect("within");
        create(&mut image, "two", 99_999).expect("within");
        let error = create(&mut image, "three", 2).expect_err("one too many");
        assert_eq!(error.error_code(), Some(ErrorCode::PolicyViolation));
        assert!(error.message.contains("200000"), "{}", error.message);
        create(&mut image, "three", 1).expect("the last one there is room for");
        let more = AddPartitions { name: "two".to_owned(), total: 100_000, validate_only: false };
        let error = apply(&mut image, plan_add_partitions(&more)).expect_err("one too many");
        assert_eq!(error.error_code(), Some(ErrorCode::PolicyViolation));
    }

    #[test]
    fn an_answer_says_what_the_topic_is_now_or_was_before_it_went() {
        let mut image = cluster();
        let created = create(&mut image, "one", 3).expect("created");
        let id = image.topic("one").expect("there").id.as_bytes().to_vec();
        let commands: [(Command, i32); 3] = [
            (
                plan_alter(&AlterTopic { name: "one".into(), ..Default::default() }).expect("none"),
                3,
            ),
            (
                plan_add_partitions(&AddPartitions {
                    name: "one".into(),
                    total: 5,
                    ..Default::default()
                }),
                5,
            ),
            (plan_delete("one".to_owned()), 5),
        ];
        let check = |result: TopicResult, partitions| {
            assert_eq!((result.error, &result.topic_id), (None, &id));
            assert_eq!((result.partitions, result.replication_factor), (partitions, 1));
        };
        check(changed("one".to_owned(), None, Ok(created)), 3);
        for (command, partitions) in commands {
            let before = image.topic("one").cloned();
            let reply = apply(&mut image, command);
            check(changed("one".to_owned(), before.as_deref(), reply), partitions);
        }
        let failed = changed("one".to_owned(), None, apply(&mut image, plan_delete("one".into())));
        assert!(failed.error.is_some() && failed.topic_id.is_empty());
    }
}
