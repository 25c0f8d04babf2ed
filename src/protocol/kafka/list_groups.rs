//! API 16, ListGroups. Tells which groups there are.

use super::wire::Text;

messages! {
    ListGroups: ListGroupsRequest => ListGroupsResponse;

    /// Asks which groups there are.
    struct ListGroupsRequest {
        /// States to list; empty for all.
        states_filter: Vec<Text> => since(4),
        /// Types to list; empty for all.
        types_filter: Vec<Text> => since(5),
    }

    /// The groups.
    struct ListGroupsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The groups.
        groups: Vec<ListGroupsResponseGroup> => since(0),
    }

    /// One group of a [`ListGroupsResponse`].
    struct ListGroupsResponseGroup {
        /// The group.
        group_id: Text => since(0),
        /// Kind of the group's protocols; empty when there is none yet.
        protocol_type: Text => since(0),
        /// State of the group, as Kafka's tools spell it.
        group_state: Text => since(4).ignorable(),
        /// Type of the group, as Kafka's tools spell it.
        group_type: Text => since(5).ignorable(),
    }
}
