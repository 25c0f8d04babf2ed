//! API 3, Metadata. Says which topics there are, who leads their partitions, and where the nodes
//! are.

use super::wire::Text;
use crate::types::TopicId;

messages! {
    Metadata: MetadataRequest => MetadataResponse;

    /// Asks what topics there are and who leads them.
    struct MetadataRequest {
        /// Topics to tell of; `None` for all (and empty for all at version 0).
        topics: Option<Vec<MetadataRequestTopic>> = Some(Vec::new()) => since(0).nullable(1),
        /// Whether topics that are missing may be created.
        allow_auto_topic_creation: bool = true => since(4),
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool => since(8).until(10),
        /// Whether to tell what the client may do to each topic.
        include_topic_authorized_operations: bool => since(8),
    }

    /// One topic of a [`MetadataRequest`].
    struct MetadataRequestTopic {
        /// Id of the topic; all zeros when its name says which.
        topic_id: TopicId => since(10).ignorable(),
        /// Name of the topic; `None` when its id says which.
        name: Option<Text> = Some(Text::new()) => since(0).nullable(10),
    }

    /// The nodes and the topics.
    struct MetadataResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(3).ignorable(),
        /// The nodes of the cluster.
        brokers: Vec<MetadataResponseBroker> => since(0),
        /// Id of the cluster.
        cluster_id: Option<Text> => since(2).nullable(2).ignorable(),
        /// Node to send administration to; -1 for none.
        controller_id: i32 = -1 => since(1).ignorable(),
        /// The topics.
        topics: Vec<MetadataResponseTopic> => since(0),
        /// What the client may do to the cluster, one bit for each; `i32::MIN` when it did not ask.
        cluster_authorized_operations: i32 = i32::MIN => since(8).until(10),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(13).ignorable(),
    }

    /// One node of a [`MetadataResponse`].
    struct MetadataResponseBroker {
        /// The node.
        node_id: i32 => since(0),
        /// Host name or address of the node.
        host: Text => since(0),
        /// Port of the node.
        port: i32 => since(0),
        /// Rack of the node.
        rack: Option<Text> => since(1).nullable(1).ignorable(),
    }

    /// One topic of a [`MetadataResponse`].
    struct MetadataResponseTopic {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Name of the topic; `None` when an id was asked for that no topic has.
        name: Option<Text> = Some(Text::new()) => since(0).nullable(12),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(10).ignorable(),
        /// Whether the topic belongs to the broker itself.
        is_internal: bool => since(1).ignorable(),
        /// The partitions.
        partitions: Vec<MetadataResponsePartition> => since(0),
        /// What the client may do to the topic, one bit for each; `i32::MIN` when it did not ask.
        topic_authorized_operations: i32 = i32::MIN => since(8),
    }

    /// One partition of a [`MetadataResponse`].
    struct MetadataResponsePartition {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode); `LeaderNotAvailable` when nobody
        /// leads the partition.
        error_code: i16 => since(0),
        /// The partition.
        partition_index: i32 => since(0),
        /// Node that leads the partition; -1 for none.
        leader_id: i32 => since(0),
        /// Epoch of the leader; -1 when it is not known.
        leader_epoch: i32 = -1 => since(7).ignorable(),
        /// Nodes that have a replica.
        replica_nodes: Vec<i32> => since(0),
        /// Nodes whose replica is in sync.
        isr_nodes: Vec<i32> => since(0),
        /// Nodes whose replica is offline.
        offline_replicas: Vec<i32> => since(5).ignorable(),
    }
}
