//! API 42, DeleteGroups. Deletes groups.

use super::wire::Text;

messages! {
    DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse;

    /// Deletes groups that have no members.
    struct DeleteGroupsRequest {
        /// The groups.
        groups_names: Vec<Text> => since(0),
    }

    /// What became of each group.
    struct DeleteGroupsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The answers.
        results: Vec<DeleteGroupsResponseGroup> => since(0),
    }

    /// What became of one group.
    struct DeleteGroupsResponseGroup {
        /// The group.
        group_id: Text => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(3).nullable(3).ignorable(),
    }
}
