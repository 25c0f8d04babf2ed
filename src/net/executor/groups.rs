//! Operations on consumer groups, executed: each is one question to the coordinator of its group.

use std::sync::Arc;
use std::time::Duration;

use super::super::service::{Answer, Pending, Session};
use super::{failed, timed_out};
use crate::api::groups;
use crate::broker::{AboveWatermark, Node};
use crate::coordinator::{GroupError, Join, JoinRefused, Joined, Leave, Leaving, Text};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{
    CommitOffsets, CommitOffsetsResult, DeleteGroups, DeleteGroupsResult, DeleteOffsets,
    DeleteOffsetsResult, DescribeGroups, DescribeGroupsResult, Error, FetchOffsets,
    FetchOffsetsResult, GroupDescription, GroupHeartbeatResult, GroupResult, JoinGroup,
    JoinGroupResult, LeaveGroupResult, ListGroups, ListGroupsResult, Response, TopicPartitions,
};

/// Whether an operation is for this file.
pub(super) fn is_of_groups(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::ListGroups(_)
            | Operation::DescribeGroups(_)
            | Operation::DeleteGroups(_)
            | Operation::CommitOffsets(_)
            | Operation::FetchOffsets(_)
            | Operation::DeleteOffsets(_)
            | Operation::JoinGroup(_)
            | Operation::GroupHeartbeat(_)
            | Operation::LeaveGroup(_)
    )
}

pub(super) fn call(
    node: &Arc<Node>,
    session: &Session,
    client_id: String,
    operation: Operation,
    timeout: Duration,
) -> Pending {
    if let Err(error) = refuse_many(&operation) {
        return Pending::Ready(failed(error));
    }
    let (node, host) = (Arc::clone(node), session.peer.to_string());
    Pending::Later(Box::pin(async move {
        match tokio::time::timeout(timeout, execute(node, client_id, host, operation)).await {
            Ok(Ok(response)) => Answer::of(super::admin::refuse_large(response)),
            Ok(Err(error)) => failed(error),
            Err(_elapsed) => failed(timed_out(timeout)),
        }
    }))
}

fn refuse_many(operation: &Operation) -> Result<(), Error> {
    let count_of = |topics: &[TopicPartitions]| {
        topics.len() + topics.iter().map(|topic| topic.partitions.len()).sum::<usize>()
    };
    let (what, count) = match operation {
        Operation::ListGroups(request) => ("states", request.states.len()),
        Operation::DescribeGroups(request) => ("groups", request.groups.len()),
        Operation::DeleteGroups(request) => ("groups", request.groups.len()),
        Operation::CommitOffsets(request) => ("offsets", request.offsets.len()),
        Operation::FetchOffsets(request) => ("partitions", count_of(&request.partitions)),
        Operation::DeleteOffsets(request) => ("partitions", count_of(&request.partitions)),
        Operation::JoinGroup(request) => {
            ("topics and partitions", request.topics.len() + count_of(&request.owned))
        }
        Operation::LeaveGroup(request) => ("members", request.members.len()),
        _ => return Ok(()),
    };
    let limit = limits::REQUEST_PARTITIONS_MAX;
    if count > limit {
        let message = format!("a request may name {limit} {what}, this one names {count}");
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

async fn execute(
    node: Arc<Node>,
    client_id: String,
    host: String,
    operation: Operation,
) -> Result<Response, Error> {
    let refused = |error: GroupError| groups::refused(&error);
    Ok(match operation {
        Operation::ListGroups(request) => Response::ok(list(&node, &request).await?),
        Operation::DescribeGroups(request) => Response::ok(describe(&node, request).await),
        Operation::DeleteGroups(request) => Response::ok(delete(&node, request).await),
        Operation::CommitOffsets(request) => Response::ok(commit(&node, &request).await?),
        Operation::FetchOffsets(request) => Response::ok(fetch(&node, &request).await?),
        Operation::DeleteOffsets(request) => Response::ok(delete_offsets(&node, &request).await?),
        Operation::JoinGroup(request) => {
            Response::ok(join(&node, &client_id, &host, request).await?)
        }
        Operation::GroupHeartbeat(request) => {
            let heartbeat = groups::plan_heartbeat(&request);
            node.groups().heartbeat(heartbeat).await.map_err(refused)?;
            Response::ok(GroupHeartbeatResult {})
        }
        Operation::LeaveGroup(request) => {
            let left = node.groups().leave(groups::plan_leave(request)).await.map_err(refused)?;
            Response::ok(LeaveGroupResult { members: groups::left(left) })
        }
        other => unreachable!("the executor sends no {} here", other.name()),
    })
}

async fn list(node: &Node, request: &ListGroups) -> Result<ListGroupsResult, Error> {
    let filter = groups::plan_list(&request.states)?;
    let listed = node.groups().list(&filter).await.map_err(|error| groups::refused(&error))?;
    Ok(ListGroupsResult { groups: groups::listed(listed) })
}

async fn describe(node: &Node, request: DescribeGroups) -> DescribeGroupsResult {
    let mut described = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let description = describe_one(node, &group).await;
        described.push(description.unwrap_or_else(|error| groups::undescribed(group, &error)));
    }
    DescribeGroupsResult { groups: described }
}

async fn describe_one(node: &Node, group: &str) -> Result<GroupDescription, GroupError> {
    let described = node.groups().describe(group.into()).await?;
    let fetch = crate::coordinator::Fetch { group: group.into(), partitions: None };
    let fetched = node.groups().fetch(fetch).await?;
    let view = node.view();
    Ok(groups::describe(described, fetched, node.node_id(), &view.context()))
}

async fn delete(node: &Node, request: DeleteGroups) -> DeleteGroupsResult {
    let mut results = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let outcome = match request.validate_only {
            true => may_delete(node, &group).await,
            false => node.groups().delete(group.as_str().into()).await,
        };
        let error = outcome.err().map(|error| groups::refused(&error));
        results.push(GroupResult { error, group });
    }
    DeleteGroupsResult { groups: results }
}

async fn may_delete(node: &Node, group: &str) -> Result<(), GroupError> {
    let described = node.groups().describe(group.into()).await?;
    if described.members.is_empty() { Ok(()) } else { Err(GroupError::NotEmpty) }
}

async fn commit(node: &Node, request: &CommitOffsets) -> Result<CommitOffsetsResult, Error> {
    let commit = groups::plan_commit(request);
    let outcome = node.groups().commit(commit, AboveWatermark::Refuse).await;
    let outcome = outcome.map_err(|error| groups::refused(&error))?;
    let named = request.offsets.iter().map(|offset| (offset.topic.clone(), offset.partition));
    Ok(CommitOffsetsResult { partitions: groups::partition_results(named, outcome.offsets) })
}

async fn fetch(node: &Node, request: &FetchOffsets) -> Result<FetchOffsetsResult, Error> {
    let fetched = node.groups().fetch(groups::plan_fetch(request)).await;
    let fetched = fetched.map_err(|error| groups::refused(&error))?;
    let view = node.view();
    Ok(FetchOffsetsResult { offsets: groups::offsets(fetched, &view.context()) })
}

async fn delete_offsets(
    node: &Node,
    request: &DeleteOffsets,
) -> Result<DeleteOffsetsResult, Error> {
    let delete = groups::plan_delete_offsets(request);
    let named: Vec<_> = delete.partitions.iter().map(|(t, p)| (t.to_string(), p.0)).collect();
    let outcomes = node.groups().delete_offsets(delete).await;
    let outcomes = outcomes.map_err(|error| groups::refused(&error))?;
    let partitions = groups::partition_results(named.into_iter(), outcomes);
    Ok(DeleteOffsetsResult { partitions })
}

async fn join(
    node: &Arc<Node>,
    client_id: &str,
    host: &str,
    request: JoinGroup,
) -> Result<JoinGroupResult, Error> {
    let mut join = groups::plan_join(request, client_id, host, uuid::Uuid::new_v4())?;
    let session_ms = join.session_ms;
    let refused = |refused: JoinRefused| groups::refused(&refused.error);
    if join.member.is_some() {
        let joined = node.groups().join(join).await.map_err(refused)?;
        return Ok(groups::joined(&joined, session_ms));
    }
    join.member = match node.groups().join(join.clone()).await {
        // A static member is let in at once.
        Ok(joined) => return Ok(groups::joined(&joined, session_ms)),
        Err(JoinRefused { error: GroupError::MemberIdRequired, member }) => member,
        Err(refusal) => return Err(refused(refusal)),
    };
    let joined = join_new(node, join).await.map_err(refused)?;
    Ok(groups::joined(&joined, session_ms))
}

/// Joins with an id that the client has not heard of yet. If it never will, because it is gone or
/// has waited long enough, the member goes too.
async fn join_new(node: &Arc<Node>, join: Join) -> Result<Joined, JoinRefused> {
    let member = join.member.clone().expect("the coordinator has given it an id");
    let group = Arc::clone(&join.group);
    let mut abandoned = Abandoned { node: Arc::clone(node), member: Some((group, member)) };
    let outcome = node.groups().join(join).await;
    abandoned.member = None;
    outcome
}

/// A member whose client does not know it.
struct Abandoned {
    node: Arc<Node>,
    /// Its group and id, until the client is told.
    member: Option<(Text, Text)>,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some((group, member)) = self.member.take() else { return };
        let node = Arc::clone(&self.node);
        tokio::spawn(async move {
            let reason = Some("its client went away while it joined".into());
            let members = vec![Leaving { member: Some(member), instance: None, reason }];
            // If that fails, it expires all the same.
            drop(node.groups().leave(Leave { group, members }).await);
        });
    }
}
