//! The cluster as it is: what records add up to. An image is published whole and never changed
//! afterwards; a changed clone shares everything that is the same. Replay is the only mutator.
//! Knows nothing of where records come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::config::{BrokerDefaults, Layers, TopicSettings};
use super::map::SharedMap;
use super::names;
use super::record::{self, DecodeError, Record, TopicCreated, TopicDeleted};
use crate::types::{
    BrokerEpoch, LeaderEpoch, Millis, NodeId, PartitionId, ProducerId, TopicId, TopicPartition,
};

/// Everything that all nodes agree on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    version: u64,
    cluster_id: Option<Arc<str>>,
    brokers: Arc<BTreeMap<NodeId, Broker>>,
    broker_epoch: BrokerEpoch,
    by_id: SharedMap<TopicId, Arc<Topic>>,
    by_name: SharedMap<Arc<str>, Arc<Topic>>,
    by_collision_key: SharedMap<Arc<str>, Arc<str>>,
    partitions: usize,
    deleted: SharedMap<TopicId, DeletedTopic>,
    broker_config: Arc<BTreeMap<String, String>>,
    next_producer_id: ProducerId,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its present registration.
    pub epoch: BrokerEpoch,
    /// The process that registered.
    pub incarnation: Uuid,
    /// Where clients reach it; empty when they shall use the address they already connected to.
    pub address: String,
    /// Its failure domain.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its identity: a topic created again under the same name has another one.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it is one of the broker's own.
    pub internal: bool,
    /// Its partitions in the order of their ids, which start at 0. Never empty.
    pub partitions: Vec<Partition>,
    /// What is set on the topic itself, in canonical spelling; see [`super::config`].
    pub config: BTreeMap<String, String>,
}

/// Who keeps a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Who leads it, if anybody can.
    pub leader: Option<NodeId>,
    /// Grows with every leader.
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change of this partition's state.
    pub partition_epoch: i32,
    /// The nodes that shall have it, the preferred leader first.
    pub replicas: Arc<[NodeId]>,
    /// Those of them that have everything that is committed.
    pub isr: Arc<[NodeId]>,
}

/// What is remembered of a deleted topic until its files are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// The name it had.
    pub name: Arc<str>,
    /// When it was deleted.
    pub at: Millis,
}

impl Topic {
    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }

    /// The state of one partition.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }

    /// How many replicas each partition has.
    #[must_use]
    pub fn replication_factor(&self) -> i16 {
        self.partitions.first().map_or(0, |partition| partition.replicas.len() as i16)
    }
}

impl Image {
    /// Index of the last log entry whose records are in the image.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The cluster's identity, once it has been formed.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The nodes by id.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<NodeId, Broker> {
        &self.brokers
    }

    /// The newest registration of any node.
    #[must_use]
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.broker_epoch
    }

    /// A topic by its name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// A topic by its id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.iter().map(|(_, topic)| topic)
    }

    /// The topics from this name on, in order: the next page of a listing.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.starting_at(name).map(|(_, topic)| topic)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The state of one partition.
    #[must_use]
    pub fn partition(&self, partition: TopicPartition) -> Option<&Partition> {
        self.by_id.get(&partition.topic)?.partition(partition.partition)
    }

    /// Deleted topics whose files may still be there. Files of a topic that is neither here nor
    /// among the topics must be kept: their deletion was never committed.
    pub fn deleted_topics(&self) -> impl Iterator<Item = (TopicId, &DeletedTopic)> {
        self.deleted.iter().map(|(id, topic)| (*id, topic))
    }

    /// How many deleted topics are remembered.
    #[must_use]
    pub fn deleted_count(&self) -> usize {
        self.deleted.len()
    }

    /// Whether this topic was deleted and is not forgotten yet.
    #[must_use]
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains_key(&id)
    }

    /// Defaults for all topics that were set at run time, by the names of topic settings.
    #[must_use]
    pub fn broker_config(&self) -> &BTreeMap<String, String> {
        &self.broker_config
    }

    /// Every place that may have a value for a setting of this topic.
    #[must_use]
    pub fn layers<'a>(&'a self, topic: &'a Topic, file: &'a BrokerDefaults) -> Layers<'a> {
        Layers {
            topic: &topic.config,
            dynamic: &self.broker_config,
            file,
            replicas: topic.replication_factor() as usize,
        }
    }

    /// The settings that hold for this topic on a node with these defaults.
    #[must_use]
    pub fn settings(&self, topic: &Topic, file: &BrokerDefaults) -> TopicSettings {
        TopicSettings::of(&self.layers(topic, file))
    }

    /// The first producer id that nobody was given.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// The topic that a new one of this name could not be told from in metrics.
    pub(super) fn collision(&self, name: &str) -> Option<&Arc<str>> {
        self.by_collision_key.get(names::collision_key(name).as_str())
    }

    /// Says that everything up to this entry of the log is in the image.
    ///
    /// # Panics
    /// When the version would go back.
    pub fn set_version(&mut self, version: u64) {
        assert!(version >= self.version, "an image never goes back in the log");
        self.version = version;
    }

    /// Applies one record.
    ///
    /// # Panics
    /// When the record contradicts the image.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::ClusterFormed(formed) => {
                assert!(self.cluster_id.is_none(), "a cluster is formed once");
                self.cluster_id = Some(formed.cluster_id.as_str().into());
            }
            Record::BrokerRegistered(registered) => self.register(registered),
            Record::TopicCreated(created) => self.create_topic(created),
            Record::TopicConfigChanged(changed) => self.change_topic(changed.id, |topic| {
                change_config(&mut topic.config, &changed.set, &changed.removed);
            }),
            Record::PartitionsAdded(added) => {
                self.change_topic(added.id, |topic| {
                    assert_eq!(added.first.0, topic.partition_count(), "partitions have no gap");
                    topic.partitions.extend_from_slice(&added.partitions);
                });
                self.partitions += added.partitions.len();
            }
            Record::TopicDeleted(deleted) => self.delete_topic(deleted),
            Record::TopicForgotten(forgotten) => {
                let known = self.deleted.remove(&forgotten.id);
                assert!(known.is_some(), "only a deleted topic is forgotten");
            }
            Record::ProducerIdsAllocated(allocated) => {
                assert!(allocated.next > self.next_producer_id, "producer ids are never reused");
                self.next_producer_id = allocated.next;
            }
            Record::BrokerConfigChanged(changed) => {
                let config = Arc::make_mut(&mut self.broker_config);
                change_config(config, &changed.set, &changed.removed);
            }
        }
    }

    /// Records that lead from nothing to this image: what a snapshot holds. The version is not
    /// among them.
    #[must_use]
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.by_id.len() + self.deleted.len() + 8);
        if let Some(cluster_id) = &self.cluster_id {
            records.push(record::ClusterFormed { cluster_id: cluster_id.to_string() }.into());
        }
        // In the order of their epochs, as they were written; and before the topics, whose leader
        // epochs already count these registrations.
        let mut brokers: Vec<_> = self.brokers.iter().collect();
        brokers.sort_by_key(|(_, broker)| broker.epoch);
        records.extend(brokers.into_iter().map(|(&node, broker)| broker.to_record(node)));
        records.extend(self.by_id.iter().map(|(_, topic)| topic.to_record()));
        records.extend(self.deleted.iter().map(|(&id, topic)| {
            TopicDeleted { id, name: topic.name.to_string(), at: topic.at }.into()
        }));
        if self.next_producer_id > ProducerId(0) {
            records.push(record::ProducerIdsAllocated { next: self.next_producer_id }.into());
        }
        if !self.broker_config.is_empty() {
            let set = BTreeMap::clone(&self.broker_config);
            records.push(record::BrokerConfigChanged { set, removed: Vec::new() }.into());
        }
        records
    }

    /// The image that these bytes of records add up to.
    ///
    /// # Errors
    /// When the bytes are not records that this build knows.
    pub fn from_bytes(version: u64, bytes: &[u8]) -> Result<Image, DecodeError> {
        let mut image = Image::default();
        for record in record::decode_all(bytes)? {
            image.replay(&record);
        }
        image.set_version(version);
        Ok(image)
    }

    /// The records of the image as bytes: equal images have equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        record::encode_all(&self.to_records())
    }

    fn register(&mut self, registered: &record::BrokerRegistered) {
        assert!(registered.epoch > self.broker_epoch, "broker epochs only grow");
        self.broker_epoch = registered.epoch;
        let broker = Broker {
            epoch: registered.epoch,
            incarnation: registered.incarnation,
            address: registered.address.clone(),
            rack: registered.rack.clone(),
        };
        Arc::make_mut(&mut self.brokers).insert(registered.node, broker);
        self.start_leader_epochs(registered.node);
    }

    fn start_leader_epochs(&mut self, node: NodeId) {
        let led: Vec<TopicId> = self
            .by_id
            .iter()
            .filter(|(_, topic)| topic.partitions.iter().any(|p| p.leader == Some(node)))
            .map(|(id, _)| *id)
            .collect();
        for id in led {
            self.change_topic(id, |topic| {
                for partition in topic.partitions.iter_mut().filter(|p| p.leader == Some(node)) {
                    partition.leader_epoch.0 += 1;
                    partition.partition_epoch += 1;
                }
            });
        }
    }

    fn create_topic(&mut self, created: &TopicCreated) {
        assert!(!created.partitions.is_empty(), "a topic has partitions");
        let topic = Arc::new(Topic {
            id: created.id,
            name: created.name.as_str().into(),
            internal: created.internal,
            partitions: created.partitions.clone(),
            config: created.config.clone(),
        });
        let key = names::collision_key(&topic.name).into();
        self.by_collision_key.insert(key, Arc::clone(&topic.name));
        self.partitions += topic.partitions.len();
        let same_name = self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        let same_id = self.by_id.insert(topic.id, topic);
        assert!(same_name.is_none() && same_id.is_none(), "names and ids of topics are unique");
    }

    fn change_topic(&mut self, id: TopicId, change: impl FnOnce(&mut Topic)) {
        let topic = self.by_id.get(&id).expect("records change only topics that exist");
        let mut topic = Topic::clone(topic);
        change(&mut topic);
        let topic = Arc::new(topic);
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        self.by_id.insert(id, topic);
    }

    fn delete_topic(&mut self, deleted: &TopicDeleted) {
        // In a snapshot the topic is gone already and only the memory of it is left.
        if let Some(topic) = self.by_id.remove(&deleted.id) {
            self.by_name.remove(&*topic.name);
            self.by_collision_key.remove(names::collision_key(&topic.name).as_str());
            self.partitions -= topic.partitions.len();
        }
        let name = deleted.name.as_str().into();
        let twice = self.deleted.insert(deleted.id, DeletedTopic { name, at: deleted.at });
        assert!(twice.is_none(), "a topic is deleted once");
    }
}

impl Topic {
    fn to_record(&self) -> Record {
        TopicCreated {
            id: self.id,
            name: self.name.to_string(),
            internal: self.internal,
            partitions: self.partitions.clone(),
            config: self.config.clone(),
        }
        .into()
    }
}

impl Broker {
    fn to_record(&self, node: NodeId) -> Record {
        record::BrokerRegistered {
            node,
            epoch: self.epoch,
            incarnation: self.incarnation,
            address: self.address.clone(),
            rack: self.rack.clone(),
        }
        .into()
    }
}

fn change_config(
    config: &mut BTreeMap<String, String>,
    set: &BTreeMap<String, String>,
    removed: &[String],
) {
    for key in removed {
        config.remove(key);
    }
    config.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
}
