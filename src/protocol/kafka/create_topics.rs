//! API 19, CreateTopics. Creates topics.

use super::wire::Text;
use crate::types::TopicId;

messages! {
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse;

    /// Creates topics.
    struct CreateTopicsRequest {
        /// The topics.
        topics: Vec<CreateTopicsRequestTopic> => since(0),
        /// How long the server may take over it.
        timeout_ms: i32 = 60000 => since(0),
        /// Whether only to check what would happen.
        validate_only: bool => since(1),
    }

    /// One topic of a [`CreateTopicsRequest`].
    struct CreateTopicsRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// How many partitions; -1 for the default.
        num_partitions: i32 => since(0),
        /// How many replicas; -1 for the default.
        replication_factor: i16 => since(0),
        /// Where the replicas go, if the client wants to say; else empty.
        assignments: Vec<CreateTopicsRequestAssignment> => since(0),
        /// The configuration.
        configs: Vec<CreateTopicsRequestConfig> => since(0),
    }

    /// Where the replicas of one partition go.
    struct CreateTopicsRequestAssignment {
        /// The partition.
        partition_index: i32 => since(0),
        /// Nodes that get a replica, the preferred leader first.
        broker_ids: Vec<i32> => since(0),
    }

    /// One key of a topic's configuration.
    struct CreateTopicsRequestConfig {
        /// Name of the key.
        name: Text => since(0),
        /// The value; `None` for the default.
        value: Option<Text> = Some(Text::new()) => since(0).nullable(0),
    }

    /// What became of each topic.
    struct CreateTopicsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(2).ignorable(),
        /// The topics.
        topics: Vec<CreateTopicsResponseTopic> => since(0),
    }

    /// One topic of a [`CreateTopicsResponse`].
    struct CreateTopicsResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(7).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> = Some(Text::new()) => since(1).nullable(0).ignorable(),
        /// Why the configuration is not told: 0, or a number of an [`ErrorCode`](super::ErrorCode).
        topic_config_error_code: i16 => since(5).tag(0).ignorable(),
        /// How many partitions; -1 when the client may not know.
        num_partitions: i32 = -1 => since(5).ignorable(),
        /// How many replicas; -1 when the client may not know.
        replication_factor: i16 = -1 => since(5).ignorable(),
        /// The configuration; `None` when the client may not see it.
        configs: Option<Vec<CreateTopicsResponseConfig>> = Some(Vec::new())
            => since(5).nullable(5).ignorable(),
    }

    /// One key of a topic's configuration.
    struct CreateTopicsResponseConfig {
        /// Name of the key.
        name: Text => since(5),
        /// The value; `None` when it is a secret or there is none.
        value: Option<Text> = Some(Text::new()) => since(5).nullable(5),
        /// Whether it can not be changed.
        read_only: bool => since(5),
        /// Where the value comes from, as Kafka numbers it; -1 when it is not known.
        config_source: i8 = -1 => since(5).ignorable(),
        /// Whether the value is a secret; then it is not told.
        is_sensitive: bool => since(5),
    }
}
