//! API 13, LeaveGroup. Leaves a classic group, one member up to version 2 and many after it.

use super::wire::Text;

messages! {
    LeaveGroup: LeaveGroupRequest => LeaveGroupResponse;

    /// Takes members out of a group.
    struct LeaveGroupRequest {
        /// The group.
        group_id: Text => since(0),
        /// The member, in versions for one only.
        member_id: Text => since(0).until(2),
        /// The members.
        members: Vec<LeaveGroupRequestMember> => since(3),
    }

    /// One member of a [`LeaveGroupRequest`].
    struct LeaveGroupRequestMember {
        /// The member; empty when it has no id yet.
        member_id: Text => since(3),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(3).nullable(3),
        /// Why, in the client's words.
        reason: Option<Text> => since(5).nullable(5).ignorable(),
    }

    /// What became of each member.
    struct LeaveGroupResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The members.
        members: Vec<LeaveGroupResponseMember> => since(3),
    }

    /// One member of a [`LeaveGroupResponse`].
    struct LeaveGroupResponseMember {
        /// The member; empty when it has no id yet.
        member_id: Text => since(3),
        /// Instance id of a static member.
        group_instance_id: Option<Text> = Some(Text::new()) => since(3).nullable(3),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(3),
    }
}
