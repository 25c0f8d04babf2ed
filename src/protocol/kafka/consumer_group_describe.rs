//! API 69, ConsumerGroupDescribe. Tells the state of groups of the new protocol.

use super::wire::Text;
use crate::types::TopicId;

messages! {
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse;

    /// Asks for the state of groups of the new protocol.
    struct ConsumerGroupDescribeRequest {
        /// The groups.
        group_ids: Vec<Text> => since(0),
        /// Whether to tell what the client may do to each group.
        include_authorized_operations: bool => since(0),
    }

    /// The groups and their members.
    struct ConsumerGroupDescribeResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The groups.
        groups: Vec<ConsumerGroupDescribeResponseGroup> => since(0),
    }

    /// One group of a [`ConsumerGroupDescribeResponse`].
    struct ConsumerGroupDescribeResponseGroup {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(0).nullable(0),
        /// The group.
        group_id: Text => since(0),
        /// State of the group, as Kafka's tools spell it.
        group_state: Text => since(0),
        /// Epoch of the group.
        group_epoch: i32 => since(0),
        /// Epoch of the assignment that the group is moving to.
        assignment_epoch: i32 => since(0),
        /// Assignor of the group.
        assignor_name: Text => since(0),
        /// The members.
        members: Vec<ConsumerGroupDescribeResponseMember> => since(0),
        /// What the client may do to the group, one bit for each; `i32::MIN` when it did not ask.
        authorized_operations: i32 = i32::MIN => since(0),
    }

    /// One member of a [`ConsumerGroupDescribeResponse`].
    struct ConsumerGroupDescribeResponseMember {
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Instance id of a static member; `None` when there is none.
        instance_id: Option<Text> => since(0).nullable(0),
        /// Rack of the consumer.
        rack_id: Option<Text> => since(0).nullable(0),
        /// Epoch of the member.
        member_epoch: i32 => since(0),
        /// What the client calls itself.
        client_id: Text => since(0),
        /// Where the client is.
        client_host: Text => since(0),
        /// Names of the topics it is subscribed to.
        subscribed_topic_names: Vec<Text> => since(0),
        /// Regular expression for the topics it is subscribed to; `None` when there is none.
        subscribed_topic_regex: Option<Text> => since(0).nullable(0),
        /// What the member gets.
        assignment: ConsumerGroupDescribeResponseAssignment => since(0),
        /// What the member is to have in the end.
        target_assignment: ConsumerGroupDescribeResponseAssignment => since(0),
        /// 0 classic, 1 of the new protocol, -1 not known.
        member_type: i8 = -1 => since(1).ignorable(),
    }

    /// Partitions of a member.
    struct ConsumerGroupDescribeResponseAssignment {
        /// The partitions, by topic.
        topic_partitions: Vec<ConsumerGroupDescribeResponseTopic> => since(0),
    }

    /// One topic of a [`ConsumerGroupDescribeResponse`].
    struct ConsumerGroupDescribeResponseTopic {
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(0),
        /// Name of the topic.
        topic_name: Text => since(0),
        /// The partitions.
        partitions: Vec<i32> => since(0),
    }
}
