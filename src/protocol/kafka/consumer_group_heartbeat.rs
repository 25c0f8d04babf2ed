//! API 68, ConsumerGroupHeartbeat. The one request of members of the new group protocol (KIP-848).

use super::wire::Text;
use crate::types::TopicId;

messages! {
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse;

    /// Joins, leaves and stays in a group of the new protocol (KIP-848).
    struct ConsumerGroupHeartbeatRequest {
        /// The group.
        group_id: Text => since(0),
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Epoch of the member; 0 to join, -1 to leave, -2 to leave and come back as a static
        /// member.
        member_epoch: i32 => since(0),
        /// Instance id of a static member; `None` when it has none or has told it.
        instance_id: Option<Text> => since(0).nullable(0),
        /// Rack of the consumer; `None` when it has none or has told it.
        rack_id: Option<Text> => since(0).nullable(0),
        /// How long the member may take to give partitions up; -1 when it has told it.
        rebalance_timeout_ms: i32 = -1 => since(0),
        /// Names of the topics it is subscribed to; `None` when they have not changed.
        subscribed_topic_names: Option<Vec<Text>> => since(0).nullable(0),
        /// Regular expression for the topics it is subscribed to; `None` when it has not changed.
        subscribed_topic_regex: Option<Text> => since(1).nullable(1),
        /// Assignor that the member wants the server to use; `None` when it has not changed.
        server_assignor: Option<Text> => since(0).nullable(0),
        /// Partitions that the member has; `None` when they have not changed.
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopic>> => since(0).nullable(0),
    }

    /// One topic of a [`ConsumerGroupHeartbeatRequest`].
    struct ConsumerGroupHeartbeatRequestTopic {
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(0),
        /// The partitions.
        partitions: Vec<i32> => since(0),
    }

    /// What the member has to know.
    struct ConsumerGroupHeartbeatResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(0).nullable(0),
        /// The member; `None` when the client has chosen the id itself.
        member_id: Option<Text> => since(0).nullable(0),
        /// Epoch of the member.
        member_epoch: i32 => since(0),
        /// How long to wait before the next heartbeat.
        heartbeat_interval_ms: i32 => since(0),
        /// What the member gets; `None` when it has not changed.
        assignment: Option<ConsumerGroupHeartbeatResponseAssignment> => since(0).nullable(0),
    }

    /// What a member gets.
    struct ConsumerGroupHeartbeatResponseAssignment {
        /// The partitions, by topic.
        topic_partitions: Vec<ConsumerGroupHeartbeatResponseTopic> => since(0),
    }

    /// One topic of a [`ConsumerGroupHeartbeatResponse`].
    struct ConsumerGroupHeartbeatResponseTopic {
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(0),
        /// The partitions.
        partitions: Vec<i32> => since(0),
    }
}
