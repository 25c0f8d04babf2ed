//! API 11, JoinGroup. Enters a generation of a classic group.

use bytes::Bytes;

use super::wire::Text;

messages! {
    JoinGroup: JoinGroupRequest => JoinGroupResponse;

    /// Wants to become, or stay, a member of the group's next generation.
    struct JoinGroupRequest {
        /// The group.
        group_id: Text => since(0),
        /// A member that is silent for this long is taken for dead.
        session_timeout_ms: i32 => since(0),
        /// How long the coordinator waits for members to join again; -1 for the session timeout.
        rebalance_timeout_ms: i32 = -1 => since(1).ignorable(),
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(5).nullable(5),
        /// Kind of the group's protocols, `consumer` for consumers.
        protocol_type: Text => since(0),
        /// Protocols (assignors) that the member supports, the best first.
        protocols: Vec<JoinGroupRequestProtocol> => since(0),
        /// Why, in the client's words.
        reason: Option<Text> => since(8).nullable(8).ignorable(),
    }

    /// One protocol of a [`JoinGroupRequest`].
    struct JoinGroupRequestProtocol {
        /// Name of the protocol.
        name: Text => since(0),
        /// What the assignor has to know of the member.
        metadata: Bytes => since(0),
    }

    /// The generation, once all members have joined.
    struct JoinGroupResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(2).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The generation; -1 after an error.
        generation_id: i32 = -1 => since(0),
        /// Kind of the group's protocols, `consumer` for consumers; `None` when there is none.
        protocol_type: Option<Text> => since(7).nullable(7).ignorable(),
        /// Protocol (assignor) of the generation; `None` after an error from version 7 on.
        protocol_name: Option<Text> = Some(Text::new()) => since(0).nullable(7),
        /// Member that makes the assignment.
        leader: Text => since(0),
        /// Whether the leader is to leave the assignment as it is.
        skip_assignment: bool => since(9),
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// All members, for the leader; empty for the others.
        members: Vec<JoinGroupResponseMember> => since(0),
    }

    /// One member of a [`JoinGroupResponse`].
    struct JoinGroupResponseMember {
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(5).nullable(5).ignorable(),
        /// What the assignor has to know of the member.
        metadata: Bytes => since(0),
    }
}
