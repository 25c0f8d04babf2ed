//! API 10, FindCoordinator. Finds the node of a group or transactional id, of one key up to version
//! 3 and of many after it.

use super::wire::Text;

messages! {
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse;

    /// Asks which node coordinates a group or a transactional id.
    struct FindCoordinatorRequest {
        /// What to find the coordinator of: a group or a transactional id.
        key: Text => since(0).until(3),
        /// What kind of thing that is: 0 group, 1 transactional id, 2 share group's partition.
        key_type: i8 => since(1),
        /// What to find the coordinators of.
        coordinator_keys: Vec<Text> => since(4),
    }

    /// The coordinators. Versions for one key have theirs in the message itself.
    struct FindCoordinatorResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0).until(3),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> = Some(Text::new())
            => since(1).until(3).nullable(1).ignorable(),
        /// The coordinator; -1 after an error.
        node_id: i32 => since(0).until(3),
        /// Host name or address of the coordinator.
        host: Text => since(0).until(3),
        /// Port of the coordinator.
        port: i32 => since(0).until(3),
        /// One answer for each key.
        coordinators: Vec<FindCoordinatorResponseCoordinator> => since(4),
    }

    /// One coordinator of a [`FindCoordinatorResponse`].
    struct FindCoordinatorResponseCoordinator {
        /// What this is the coordinator of.
        key: Text => since(4),
        /// The coordinator; -1 after an error.
        node_id: i32 => since(4),
        /// Host name or address of the node.
        host: Text => since(4),
        /// Port of the node.
        port: i32 => since(4),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(4),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> = Some(Text::new()) => since(4).nullable(4).ignorable(),
    }
}
