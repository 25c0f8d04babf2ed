//! Making, changing and deleting topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::{self, BrokerDefaults, Change, ConfigError, Key, Layers};
use super::names::{self, NameError};
use super::record::{
    BrokerConfigChanged, PartitionsAdded, TopicConfigChanged, TopicCreated, TopicDeleted,
    TopicForgotten,
};
use super::{CreateTopic, Image, Outcome, Record, Refusal, Reply, Topic, TopicRef, placement};
use crate::limits;
use crate::machine::Decision;
use crate::time::Now;
use crate::types::{NodeId, PartitionId, TopicId};

/// What `durability=os` means, for whoever just chose it.
const OS_WARNING: &str = "durability=os: a power cut may lose writes that were acknowledged";

/// Replicas of a topic that does not say how many it wants, if there are as many nodes.
const REPLICATION_FACTOR_DEFAULT: usize = 3;

pub(super) fn create(image: &Image, topic: CreateTopic) -> Result<Outcome, Refusal> {
    check_name(image, &topic)?;
    if !(1..=limits::TOPIC_PARTITIONS_MAX).contains(&topic.partitions) {
        return Err(Refusal::PartitionsOutOfBounds { requested: topic.partitions });
    }
    let nodes: Vec<NodeId> = image.brokers().keys().copied().collect();
    let replicas = replication_factor(&nodes, topic.replication_factor)?;
    check_cluster_limit(image, topic.partitions)?;
    if image.topic_by_id(topic.topic_id).is_some() || image.is_deleted(topic.topic_id) {
        return Err(Refusal::TopicIdTaken { id: topic.topic_id });
    }
    let changes: Vec<Change> =
        topic.config.into_iter().map(|(key, value)| Change::Set { key, value }).collect();
    let config = changed_config(image, &BTreeMap::new(), replicas, &changes)?.set;
    let warnings = warnings(&config);
    let seed = seed_of(topic.topic_id);
    let record = TopicCreated {
        id: topic.topic_id,
        name: topic.name,
        internal: topic.internal,
        partitions: placement::place(&nodes, seed, 0, topic.partitions, replicas),
        config,
    };
    let reply = Reply::TopicCreated {
        id: topic.topic_id,
        partitions: topic.partitions,
        replication_factor: replicas as i16,
        warnings,
    };
    Ok(Decision::one(record.into(), reply))
}

pub(super) fn alter_config(
    image: &Image,
    topic: &TopicRef,
    changes: &[Change],
) -> Result<Outcome, Refusal> {
    let topic = find(image, topic)?;
    let replicas = usize::try_from(topic.replication_factor()).unwrap_or(1);
    let changes = changed_config(image, &topic.config, replicas, changes)?;
    let reply = Reply::ConfigAltered { warnings: warnings(&changes.set) };
    if changes.is_empty() {
        return Ok(Decision::unchanged(reply));
    }
    let record = TopicConfigChanged { id: topic.id, set: changes.set, removed: changes.removed };
    Ok(Decision::one(record.into(), reply))
}

pub(super) fn alter_broker_config(image: &Image, changes: &[Change]) -> Result<Outcome, Refusal> {
    let (topic, file) = (BTreeMap::new(), BrokerDefaults::default());
    let own = image.broker_config();
    let layers = Layers { topic: &topic, dynamic: own, file: &file, replicas: 1 };
    let changes = config::change(own, &layers, Key::find_broker, changes)?;
    let reply = Reply::ConfigAltered { warnings: warnings(&changes.set) };
    if changes.is_empty() {
        return Ok(Decision::unchanged(reply));
    }
    let record = BrokerConfigChanged { set: changes.set, removed: changes.removed };
    Ok(Decision::one(record.into(), reply))
}

pub(super) fn add_partitions(
    image: &Image,
    topic: &TopicRef,
    total: i32,
) -> Result<Outcome, Refusal> {
    let topic = find(image, topic)?;
    // Coordinators find a group by hashing its name over a number of partitions that never changes.
    refuse_internal(topic)?;
    if !(1..=limits::TOPIC_PARTITIONS_MAX).contains(&total) {
        return Err(Refusal::PartitionsOutOfBounds { requested: total });
    }
    let present = topic.partition_count();
    if total <= present {
        let name = topic.name.to_string();
        return Err(Refusal::PartitionsNotMore { name, present, requested: total });
    }
    check_cluster_limit(image, total - present)?;
    let nodes: Vec<NodeId> = image.brokers().keys().copied().collect();
    let replicas = replication_factor(&nodes, Some(topic.replication_factor()))?;
    let partitions =
        placement::place(&nodes, seed_of(topic.id), present, total - present, replicas);
    let record = PartitionsAdded { id: topic.id, first: PartitionId(present), partitions };
    Ok(Decision::one(record.into(), Reply::PartitionsAdded { id: topic.id, total }))
}

pub(super) fn delete(image: &Image, now: Now, topic: &TopicRef) -> Result<Outcome, Refusal> {
    let topic = find(image, topic)?;
    refuse_internal(topic)?;
    if image.deleted_count() >= limits::DELETED_TOPICS_MAX {
        return Err(Refusal::DeletedTopics);
    }
    let name = topic.name.to_string();
    let record = TopicDeleted { id: topic.id, name: name.clone(), at: now.wall };
    Ok(Decision::one(record.into(), Reply::TopicDeleted { id: topic.id, name }))
}

pub(super) fn forget(image: &Image, topics: &[TopicId]) -> Outcome {
    let known: BTreeSet<TopicId> =
        topics.iter().copied().filter(|id| image.is_deleted(*id)).collect();
    let records: Vec<Record> = known.into_iter().map(|id| TopicForgotten { id }.into()).collect();
    Decision { records, reply: Reply::TopicsForgotten }
}

fn check_name(image: &Image, topic: &CreateTopic) -> Result<(), Refusal> {
    let invalid = |reason| {
        let name = topic.name.chars().take(limits::TOPIC_NAME_BYTES_MAX).collect();
        Err(Refusal::InvalidName { name, reason })
    };
    if let Err(reason) = names::check(&topic.name) {
        return invalid(reason);
    }
    if image.topic(&topic.name).is_some() {
        return Err(Refusal::TopicExists { name: topic.name.clone() });
    }
    if names::is_internal(&topic.name) != topic.internal {
        return invalid(NameError::Internal);
    }
    match image.collision(&topic.name) {
        Some(other) => invalid(NameError::Collides(other.to_string())),
        None => Ok(()),
    }
}

fn check_cluster_limit(image: &Image, more: i32) -> Result<(), Refusal> {
    let present = image.partition_count();
    let wanted = present.saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
    if wanted > limits::CLUSTER_PARTITIONS_MAX {
        return Err(Refusal::ClusterPartitions { present, requested: more });
    }
    Ok(())
}

fn replication_factor(nodes: &[NodeId], requested: Option<i16>) -> Result<usize, Refusal> {
    let refusal = |requested| Refusal::ReplicationFactor { requested, nodes: nodes.len() };
    let Some(requested) = requested else {
        let most = nodes.len().min(REPLICATION_FACTOR_DEFAULT);
        return if most == 0 { Err(refusal(1)) } else { Ok(most) };
    };
    match usize::try_from(requested) {
        Ok(factor) if (1..=nodes.len()).contains(&factor) => Ok(factor),
        _ => Err(refusal(requested)),
    }
}

fn changed_config(
    image: &Image,
    own: &BTreeMap<String, String>,
    replicas: usize,
    changes: &[Change],
) -> Result<config::Changes, Refusal> {
    // The defaults of a node's file stay out of it: a decision must not depend on which node made
    // it.
    let file = BrokerDefaults::default();
    let layers = Layers { topic: own, dynamic: image.broker_config(), file: &file, replicas };
    let changes = config::change(own, &layers, Key::find, changes)?;
    if let Some(min) = changes.set.get("min.insync.replicas") {
        let min: i64 = min.parse().expect("a canonical number");
        if usize::try_from(min).is_ok_and(|min| min > replicas) {
            return Err(ConfigError::MinInSyncAboveReplicas { min, replicas }.into());
        }
    }
    check_lags(&layers, &changes)?;
    Ok(changes)
}

/// Refuses lags of which the smallest is larger than the largest.
fn check_lags(layers: &Layers<'_>, changes: &config::Changes) -> Result<(), Refusal> {
    let names = ["min.compaction.lag.ms", "max.compaction.lag.ms"];
    if !names.iter().any(|name| changes.set.contains_key(*name)) {
        return Ok(());
    }
    let [min, max] = names.map(|name| {
        let set = changes.set.get(name).cloned();
        let value = set.or_else(|| Some(Key::find(name).ok()?.effective(layers).0));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    });
    if min > max { Err(ConfigError::CompactionLags { min, max }.into()) } else { Ok(()) }
}

fn warnings(set: &BTreeMap<String, String>) -> Vec<String> {
    let os = set.get("durability").is_some_and(|value| value == "os");
    os.then(|| OS_WARNING.to_owned()).into_iter().collect()
}

fn refuse_internal(topic: &Topic) -> Result<(), Refusal> {
    if topic.internal {
        return Err(Refusal::InternalTopic { name: topic.name.to_string() });
    }
    Ok(())
}

fn find<'a>(image: &'a Image, topic: &TopicRef) -> Result<&'a Arc<Topic>, Refusal> {
    match topic {
        TopicRef::Name(name) => image.topic(name).ok_or_else(|| Refusal::UnknownTopic {
            name: name.chars().take(limits::TOPIC_NAME_BYTES_MAX).collect(),
        }),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(Refusal::UnknownTopicId { id: *id }),
    }
}

/// Where placement starts: topic ids are random, so this spreads topics over the nodes.
fn seed_of(id: TopicId) -> u64 {
    let (high, low) = id.0.as_u64_pair();
    high ^ low
}
