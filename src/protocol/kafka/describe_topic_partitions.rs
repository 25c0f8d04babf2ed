//! API 75, DescribeTopicPartitions. Tells topics and their partitions, page by page.

use super::wire::Text;
use crate::types::TopicId;

messages! {
    DescribeTopicPartitions: DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse;

    /// Asks for topics and their partitions, page by page.
    struct DescribeTopicPartitionsRequest {
        /// The topics.
        topics: Vec<DescribeTopicPartitionsRequestTopic> => since(0),
        /// Most partitions to answer with; the server has a limit of its own.
        response_partition_limit: i32 = 2000 => since(0),
        /// Where to go on; `None` for the beginning.
        cursor: Option<DescribeTopicPartitionsRequestCursor> => since(0).nullable(0),
    }

    /// One topic of a [`DescribeTopicPartitionsRequest`].
    struct DescribeTopicPartitionsRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
    }

    /// Where a page begins.
    struct DescribeTopicPartitionsRequestCursor {
        /// Name of the topic.
        topic_name: Text => since(0),
        /// The partition.
        partition_index: i32 => since(0),
    }

    /// One page.
    struct DescribeTopicPartitionsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0).ignorable(),
        /// The topics.
        topics: Vec<DescribeTopicPartitionsResponseTopic> => since(0),
        /// Where the next request has to go on; `None` when this is everything.
        next_cursor: Option<DescribeTopicPartitionsResponseCursor> => since(0).nullable(0),
    }

    /// One topic of a [`DescribeTopicPartitionsResponse`].
    struct DescribeTopicPartitionsResponseTopic {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Name of the topic; `None` when it is not known.
        name: Option<Text> = Some(Text::new()) => since(0).nullable(0),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(0).ignorable(),
        /// Whether the topic belongs to the broker itself.
        is_internal: bool => since(0).ignorable(),
        /// The partitions.
        partitions: Vec<DescribeTopicPartitionsResponsePartition> => since(0),
        /// What the client may do to the topic, one bit for each; `i32::MIN` when it did not ask.
        topic_authorized_operations: i32 = i32::MIN => since(0),
    }

    /// One partition of a [`DescribeTopicPartitionsResponse`].
    struct DescribeTopicPartitionsResponsePartition {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The partition.
        partition_index: i32 => since(0),
        /// Node that leads the partition; -1 for none.
        leader_id: i32 => since(0),
        /// Epoch of the leader; -1 when it is not known.
        leader_epoch: i32 = -1 => since(0).ignorable(),
        /// Nodes that have a replica.
        replica_nodes: Vec<i32> => since(0),
        /// Nodes whose replica is in sync.
        isr_nodes: Vec<i32> => since(0),
        /// Nodes that may lead though they are not in sync (KIP-966); `None` when there is none.
        eligible_leader_replicas: Option<Vec<i32>> => since(0).nullable(0),
        /// Nodes that could be a leader of last resort (KIP-966); `None` when there is none.
        last_known_elr: Option<Vec<i32>> => since(0).nullable(0),
        /// Nodes whose replica is offline.
        offline_replicas: Vec<i32> => since(0).ignorable(),
    }

    /// Where the next page begins.
    struct DescribeTopicPartitionsResponseCursor {
        /// Name of the topic.
        topic_name: Text => since(0),
        /// The partition.
        partition_index: i32 => since(0),
    }
}
