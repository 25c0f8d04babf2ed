//! API 12, Heartbeat. Keeps a member of a classic group alive.

use super::wire::Text;

messages! {
    Heartbeat: HeartbeatRequest => HeartbeatResponse;

    /// Says that the member is alive.
    struct HeartbeatRequest {
        /// The group.
        group_id: Text => since(0),
        /// The generation.
        generation_id: i32 => since(0),
        /// The member; empty when it has no id yet.
        member_id: Text => since(0),
        /// Instance id of a static member; `None` when there is none.
        group_instance_id: Option<Text> => since(3).nullable(3),
    }

    /// Whether the member has to join again.
    struct HeartbeatResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
