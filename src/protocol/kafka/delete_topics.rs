//! API 20, DeleteTopics. Deletes topics, by name up to version 5 and by name or id after it.

use super::wire::Text;
use crate::types::TopicId;

messages! {
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse;

    /// Deletes topics.
    struct DeleteTopicsRequest {
        /// The topics.
        topics: Vec<DeleteTopicsRequestTopic> => since(6),
        /// Names of the topics.
        topic_names: Vec<Text> => since(0).until(5).ignorable(),
        /// How long the server may take over it.
        timeout_ms: i32 => since(0),
    }

    /// One topic of a [`DeleteTopicsRequest`].
    struct DeleteTopicsRequestTopic {
        /// Name of the topic; `None` when its id says which.
        name: Option<Text> => since(6).nullable(6),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(6),
    }

    /// What became of each topic.
    struct DeleteTopicsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// One answer for each topic.
        responses: Vec<DeleteTopicsResponseTopic> => since(0),
    }

    /// One topic of a [`DeleteTopicsResponse`].
    struct DeleteTopicsResponseTopic {
        /// Name of the topic; `None` when an id was given that no topic has.
        name: Option<Text> = Some(Text::new()) => since(0).nullable(6),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(6).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(5).nullable(5).ignorable(),
    }
}
