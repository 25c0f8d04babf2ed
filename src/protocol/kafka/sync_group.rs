//! API 14, SyncGroup. Hands out the assignment of a classic group's generation.

use bytes::Bytes;

use super::wire::Text;

messages! {
    SyncGroup: SyncGroupRequest => SyncGroupResponse;

    /// Brings the leader's assignment, and asks for the member's part of it.
    struct SyncGroupRequest {
        /// The group.
        group_id: Text => since(0),
        /// The generation.
        generation_id: i32 => since(0),
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(3).nullable(3),
        /// Kind of the group's protocols, `consumer` for consumers; `None` when there is none.
        protocol_type: Option<Text> => since(5).nullable(5).ignorable(),
        /// Protocol (assignor) of the generation; `None` when there is none.
        protocol_name: Option<Text> => since(5).nullable(5).ignorable(),
        /// One assignment for each member, from the leader; empty from the others.
        assignments: Vec<SyncGroupRequestAssignment> => since(0),
    }

    /// One assignment of a [`SyncGroupRequest`].
    struct SyncGroupRequestAssignment {
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// What the member gets.
        assignment: Bytes => since(0),
    }

    /// The member's part of the assignment.
    struct SyncGroupResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Kind of the group's protocols, `consumer` for consumers; `None` when there is none.
        protocol_type: Option<Text> => since(5).nullable(5).ignorable(),
        /// Protocol (assignor) of the generation; `None` when there is none.
        protocol_name: Option<Text> => since(5).nullable(5).ignorable(),
        /// What the member gets.
        assignment: Bytes => since(0),
    }
}
