//! API 37, CreatePartitions. Adds partitions to topics.

use super::wire::Text;

messages! {
    CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse;

    /// Adds partitions to topics.
    struct CreatePartitionsRequest {
        /// The topics.
        topics: Vec<CreatePartitionsRequestTopic> => since(0),
        /// How long the server may take over it.
        timeout_ms: i32 => since(0),
        /// Whether only to check what would happen.
        validate_only: bool => since(0),
    }

    /// One topic of a [`CreatePartitionsRequest`].
    struct CreatePartitionsRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// How many partitions there are to be.
        count: i32 => since(0),
        /// Where the new replicas go; `None` when the server is to choose.
        assignments: Option<Vec<CreatePartitionsRequestAssignment>> = Some(Vec::new())
            => since(0).nullable(0),
    }

    /// Where the replicas of one new partition go.
    struct CreatePartitionsRequestAssignment {
        /// Nodes that get a replica, the preferred leader first.
        broker_ids: Vec<i32> => since(0),
    }

    /// What became of each topic.
    struct CreatePartitionsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The answers.
        results: Vec<CreatePartitionsResponseTopic> => since(0),
    }

    /// One topic of a [`CreatePartitionsResponse`].
    struct CreatePartitionsResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(0).nullable(0),
    }
}
