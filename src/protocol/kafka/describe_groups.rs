//! API 15, DescribeGroups. Tells the state of classic groups.

use bytes::Bytes;

use super::wire::Text;

messages! {
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse;

    /// Asks for the state of classic groups.
    struct DescribeGroupsRequest {
        /// The groups.
        groups: Vec<Text> => since(0),
        /// Whether to tell what the client may do to each group.
        include_authorized_operations: bool => since(3),
    }

    /// The groups and their members.
    struct DescribeGroupsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// The groups.
        groups: Vec<DescribeGroupsResponseGroup> => since(0),
    }

    /// One group of a [`DescribeGroupsResponse`].
    struct DescribeGroupsResponseGroup {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(6).nullable(6),
        /// The group.
        group_id: Text => since(0),
        /// State of the group, as Kafka's tools spell it.
        group_state: Text => since(0),
        /// Kind of the group's protocols, `consumer` for consumers.
        protocol_type: Text => since(0),
        /// Protocol (assignor) of the group.
        protocol_data: Text => since(0),
        /// The members.
        members: Vec<DescribeGroupsResponseMember> => since(0),
        /// What the client may do to the group, one bit for each; `i32::MIN` when it did not ask.
        authorized_operations: i32 = i32::MIN => since(3),
    }

    /// One member of a [`DescribeGroupsResponse`].
    struct DescribeGroupsResponseMember {
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(4).nullable(4).ignorable(),
        /// What the client calls itself.
        client_id: Text => since(0),
        /// Where the client is.
        client_host: Text => since(0),
        /// What the member said when it joined.
        member_metadata: Bytes => since(0),
        /// What the member was given.
        member_assignment: Bytes => since(0),
    }
}
