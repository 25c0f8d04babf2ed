//! What may be asked of the metadata, the answers, and the reasons for refusing.

use uuid::Uuid;

use super::config::{Change, ConfigError};
use super::names::NameError;
use crate::limits;
use crate::types::{BrokerEpoch, NodeId, ProducerId, TopicId};

/// What may be asked: a closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives a new cluster its identity. Asking again with the same one changes nothing.
    FormCluster {
        /// The identity.
        cluster_id: String,
    },
    /// A node has started. The same incarnation asking again gets the same epoch.
    RegisterBroker {
        /// The node.
        node: NodeId,
        /// Drawn by the process when it starts.
        incarnation: Uuid,
        /// Where clients reach it, `host:port`; empty when they shall use the address they already
        /// connected to.
        address: String,
        /// Its failure domain.
        rack: Option<String>,
    },
    /// Makes a topic.
    CreateTopic(CreateTopic),
    /// Changes settings of a topic, all or none.
    AlterTopicConfig {
        /// Which.
        topic: TopicRef,
        /// What.
        changes: Vec<Change>,
    },
    /// Changes cluster-wide defaults of topic settings, all or none.
    AlterBrokerConfig {
        /// What; keys under the broker's or the topic's name.
        changes: Vec<Change>,
    },
    /// Gives a topic more partitions.
    AddPartitions {
        /// Which.
        topic: TopicRef,
        /// How many it shall have then.
        total: i32,
    },
    /// Deletes a topic. Its files go later.
    DeleteTopic {
        /// Which.
        topic: TopicRef,
    },
    /// Forgets deleted topics whose files are gone. Unknown ones are skipped.
    ForgetTopics {
        /// Which.
        topics: Vec<TopicId>,
    },
    /// Reserves a block of producer ids for the caller.
    AllocateProducerIds {
        /// How many.
        count: u32,
    },
}

/// The topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// How many partitions. Defaults are the caller's business.
    pub partitions: i32,
    /// How many replicas of each; `None`: three, or as many as there are nodes if they are fewer.
    pub replication_factor: Option<i16>,
    /// Settings as the client gave them: keys with values.
    pub config: Vec<(String, String)>,
    /// A random id. Chance is an input, so the caller draws it.
    pub topic_id: TopicId,
    /// Whether the broker makes one of its own topics.
    pub internal: bool,
}

/// Names a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// Whatever has this name now.
    Name(String),
    /// This one and no other.
    Id(TopicId),
}

/// The answer to a command that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The cluster has its identity.
    Formed,
    /// The node is registered.
    BrokerRegistered {
        /// Under this epoch.
        epoch: BrokerEpoch,
    },
    /// The topic exists.
    TopicCreated {
        /// Its id.
        id: TopicId,
        /// How many partitions it has.
        partitions: i32,
        /// How many replicas each has.
        replication_factor: i16,
        /// What whoever created it should know.
        warnings: Vec<String>,
    },
    /// The settings hold.
    ConfigAltered {
        /// What whoever changed them should know.
        warnings: Vec<String>,
    },
    /// The topic has this many partitions.
    PartitionsAdded {
        /// The topic.
        id: TopicId,
        /// How many it has now.
        total: i32,
    },
    /// The topic is gone.
    TopicDeleted {
        /// The id it had.
        id: TopicId,
        /// The name it had.
        name: String,
    },
    /// The topics are forgotten.
    TopicsForgotten,
    /// `first .. first + count` are the caller's.
    ProducerIds {
        /// The first.
        first: ProducerId,
        /// How many.
        count: u32,
    },
}

/// Why a command is refused. The doc comment names the error that clients get (protocol/error.rs).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `TopicAlreadyExists`.
    #[error("topic {name:?} exists")]
    TopicExists {
        /// The name.
        name: String,
    },
    /// `InvalidTopic`.
    #[error("topic name {name:?} is not valid: {reason}")]
    InvalidName {
        /// The name, shortened.
        name: String,
        /// The rule it breaks.
        reason: NameError,
    },
    /// `UnknownTopicOrPartition`.
    #[error("there is no topic {name:?}")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// `UnknownTopicId`.
    #[error("there is no topic with id {id}")]
    UnknownTopicId {
        /// The id.
        id: TopicId,
    },
    /// `InvalidPartitions`.
    #[error(
        "a topic has between 1 and {} partitions, not {requested}",
        limits::TOPIC_PARTITIONS_MAX
    )]
    PartitionsOutOfBounds {
        /// What was asked for.
        requested: i32,
    },
    /// `InvalidPartitions`.
    #[error("topic {name:?} has {present} partitions already; {requested} are not more")]
    PartitionsNotMore {
        /// The topic.
        name: String,
        /// How many it has.
        present: i32,
        /// How many were asked for.
        requested: i32,
    },
    /// `InvalidReplicationFactor`.
    #[error("replication factor {requested} is not possible with {nodes} node(s)")]
    ReplicationFactor {
        /// What was asked for.
        requested: i16,
        /// How many nodes there are.
        nodes: usize,
    },
    /// `PolicyViolation`.
    #[error(
        "the cluster has {present} partitions and may have {}; {requested} more are too many",
        limits::CLUSTER_PARTITIONS_MAX
    )]
    ClusterPartitions {
        /// How many there are.
        present: usize,
        /// How many more were asked for.
        requested: i32,
    },
    /// `PolicyViolation`.
    #[error(
        "{} deleted topics are still being cleaned up; try again later",
        limits::DELETED_TOPICS_MAX
    )]
    DeletedTopics,
    /// `PolicyViolation`.
    #[error("topic {name:?} belongs to the broker and can not be changed so")]
    InternalTopic {
        /// The name.
        name: String,
    },
    /// `InvalidConfig`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `InvalidRequest`: the caller must draw another one.
    #[error("topic id {id} is taken")]
    TopicIdTaken {
        /// The id.
        id: TopicId,
    },
    /// `InvalidRequest`.
    #[error("between 1 and {} producer ids are allocated at once", limits::PRODUCER_ID_BLOCK_MAX)]
    ProducerIdCount,
    /// Never reaches a client: the data belongs to another cluster.
    #[error("the metadata belongs to cluster {present:?}, not {requested:?}")]
    OtherCluster {
        /// As it is stored.
        present: String,
        /// As it was asked for.
        requested: String,
    },
}
