//! Consumer groups, executed: each request is a question to the coordinator of its group.

use super::super::super::service::Peer;
use super::{Asked, KafkaAnswer};
use crate::api::kafka::groups::{self as translate, native};
use crate::api::kafka::{Endpoint, Refused, committed, note, text};
use crate::broker::AboveWatermark;
use crate::coordinator::{GroupError, JoinRefused};
use crate::limits;
use crate::protocol::error::ErrorCode as OwnCode;
use crate::protocol::kafka::{
    DeleteGroupsRequest, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, FindCoordinatorResponseCoordinator, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, Text,
};
use crate::protocol::native::message::Error;

/// From this version on FindCoordinator names many keys.
const MANY_KEYS_FROM: i16 = 4;
const KEY_OF_GROUP: i8 = 0;
const KEY_OF_TRANSACTION: i8 = 1;

pub(super) async fn find_coordinator(asked: Asked, request: FindCoordinatorRequest) -> KafkaAnswer {
    let (mut refused, endpoint) = (Refused::new(), asked.endpoint());
    let is_one = asked.header.version < MANY_KEYS_FROM;
    let keys = if is_one { vec![request.key] } else { request.coordinator_keys };
    let mut found = Vec::with_capacity(keys.len());
    if let Err(error) = refuse_many("keys", keys.len()) {
        found.push(coordinator(Text::new(), Err(error), &asked, &endpoint, &mut refused));
    } else {
        for key in keys {
            let outcome = find_one(&asked, request.key_type, &key).await;
            found.push(coordinator(key, outcome, &asked, &endpoint, &mut refused));
        }
    }
    asked.answer(&located(found, is_one), refused)
}

/// The answer for one key has its coordinator in the message itself.
fn located(
    mut found: Vec<FindCoordinatorResponseCoordinator>,
    is_one: bool,
) -> FindCoordinatorResponse {
    if is_one && let Some(one) = found.pop() {
        return FindCoordinatorResponse {
            error_code: one.error_code,
            error_message: one.error_message,
            node_id: one.node_id,
            host: one.host,
            port: one.port,
            ..FindCoordinatorResponse::default()
        };
    }
    FindCoordinatorResponse { coordinators: found, ..FindCoordinatorResponse::default() }
}

async fn find_one(asked: &Asked, kind: i8, key: &Text) -> Result<(), Error> {
    if kind != KEY_OF_GROUP {
        // Clients give up at once after this code, and show the text.
        let message = match kind {
            KEY_OF_TRANSACTION => "transactions are not served, so nobody coordinates them",
            _ => "this node coordinates consumer groups and nothing else",
        };
        return Err(Error::new(OwnCode::InvalidRequest, message));
    }
    asked.node.groups().find(key).await.map_err(|error| native(&error))
}

fn coordinator(
    key: Text,
    outcome: Result<(), Error>,
    asked: &Asked,
    endpoint: &Endpoint,
    refused: &mut Refused,
) -> FindCoordinatorResponseCoordinator {
    match outcome {
        Ok(()) => FindCoordinatorResponseCoordinator {
            key,
            node_id: asked.node.node_id().0,
            host: endpoint.host.as_str().into(),
            port: i32::from(endpoint.port),
            ..FindCoordinatorResponseCoordinator::default()
        },
        Err(error) => FindCoordinatorResponseCoordinator {
            key,
            node_id: -1,
            port: -1,
            error_message: text(&error),
            error_code: note(refused, error),
            ..FindCoordinatorResponseCoordinator::default()
        },
    }
}

pub(super) async fn join(asked: Asked, request: JoinGroupRequest) -> KafkaAnswer {
    let (version, mut refused) = (asked.header.version, Refused::new());
    let client_id = asked.header.client_id.as_deref().unwrap_or_default();
    let fresh = uuid::Uuid::new_v4();
    let join = translate::plan_join(&request, version, client_id, &host(asked.peer), fresh);
    let outcome: Result<_, JoinRefused> = asked.node.groups().join(join).await;
    let response = translate::joined(outcome, version, &mut refused);
    asked.answer(&response, refused)
}

/// Where a member is, as Kafka writes it.
fn host(peer: Peer) -> String {
    match peer.ip() {
        Some(address) => format!("/{address}"),
        None => peer.to_string(),
    }
}

pub(super) async fn sync(asked: Asked, request: SyncGroupRequest) -> KafkaAnswer {
    let mut refused = Refused::new();
    let outcome = match translate::plan_sync(&request, asked.header.version) {
        Ok(sync) => asked.node.groups().sync(sync).await,
        Err(error) => Err(error),
    };
    let response = translate::synced(outcome, &mut refused);
    asked.answer(&response, refused)
}

pub(super) async fn heartbeat(asked: Asked, request: HeartbeatRequest) -> KafkaAnswer {
    let mut refused = Refused::new();
    let outcome = asked.node.groups().heartbeat(translate::plan_heartbeat(&request)).await;
    let error_code = outcome.map_or_else(|error| note(&mut refused, native(&error)), |()| 0);
    asked.answer(&HeartbeatResponse { error_code, ..HeartbeatResponse::default() }, refused)
}

pub(super) async fn leave(asked: Asked, request: LeaveGroupRequest) -> KafkaAnswer {
    let (version, mut refused) = (asked.header.version, Refused::new());
    let leave = translate::plan_leave(&request, version);
    let outcome = asked.node.groups().leave(leave).await;
    let response = translate::left(outcome, version, &mut refused);
    asked.answer(&response, refused)
}

pub(super) async fn commit(asked: Asked, request: OffsetCommitRequest) -> KafkaAnswer {
    let (version, mut refused) = (asked.header.version, Refused::new());
    let plan = committed::plan_commit(&request, version, &asked.node.view().context());
    let outcome = asked.node.groups().commit(plan, AboveWatermark::Accept).await;
    let view = asked.node.view();
    let outcomes = outcome.map(|outcome| {
        if outcome.above_watermark > 0 {
            let count = outcome.above_watermark;
            let text = format!("{count} offsets above the high watermark, committed all the same");
            refused.push(Error::new(OwnCode::OffsetOutOfRange, text));
        }
        outcome.offsets
    });
    let response = committed::committed(request, version, outcomes, &view.context(), &mut refused);
    drop(view);
    asked.answer(&response, refused)
}

pub(super) async fn fetch(asked: Asked, request: OffsetFetchRequest) -> KafkaAnswer {
    let (version, mut refused) = (asked.header.version, Refused::new());
    let questions = committed::questions(request, version);
    let count = questions.len() + questions.iter().map(committed::Asked::count).sum::<usize>();
    let too_many = refuse_many("groups and partitions", count).err();
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let plan = question.plan(version, &asked.node.view().context());
        let outcome = match &too_many {
            Some(_) => Err(GroupError::Malformed("the request names too much at once")),
            None => asked.node.groups().fetch(plan).await,
        };
        let view = asked.node.view();
        answers.push(question.answer(version, outcome, &view.context(), &mut refused));
    }
    asked.answer(&committed::fetched(answers, version), refused)
}

pub(super) async fn list(asked: Asked, request: ListGroupsRequest) -> KafkaAnswer {
    let mut refused = Refused::new();
    let outcome = match translate::plan_list(&request) {
        Some(filter) => asked.node.groups().list(&filter).await,
        None => Ok(Vec::new()),
    };
    let response = translate::listed(outcome, &mut refused);
    asked.answer(&response, refused)
}

pub(super) async fn describe(asked: Asked, request: DescribeGroupsRequest) -> KafkaAnswer {
    let (version, mut refused) = (asked.header.version, Refused::new());
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let outcome = asked.node.groups().describe((&*group).into()).await;
        groups.push(translate::described(group, outcome, version, &mut refused));
    }
    asked.answer(&DescribeGroupsResponse { groups, ..Default::default() }, refused)
}

pub(super) async fn delete(asked: Asked, request: DeleteGroupsRequest) -> KafkaAnswer {
    let mut outcomes = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let outcome = asked.node.groups().delete((&*group).into()).await;
        outcomes.push((group, outcome));
    }
    let mut refused = Refused::new();
    let response = translate::deleted(outcomes, &mut refused);
    asked.answer(&response, refused)
}

pub(super) async fn delete_offsets(asked: Asked, request: OffsetDeleteRequest) -> KafkaAnswer {
    let mut refused = Refused::new();
    let delete = translate::plan_offset_delete(&request);
    let outcome = asked.node.groups().delete_offsets(delete).await;
    let response = translate::offsets_deleted(request, outcome, &mut refused);
    asked.answer(&response, refused)
}

fn refuse_many(what: &str, count: usize) -> Result<(), Error> {
    let limit = limits::REQUEST_PARTITIONS_MAX;
    if count > limit {
        let message = format!("a request may name {limit} {what}, this one names {count}");
        return Err(Error::new(OwnCode::InvalidRequest, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that asks for many coordinators gets each of them, the last one too.
    #[test]
    fn every_coordinator_that_was_asked_for_is_told() {
        let of = |key: &'static str| FindCoordinatorResponseCoordinator {
            key: Text::from_static(key),
            node_id: 7,
            ..FindCoordinatorResponseCoordinator::default()
        };
        let many = located(vec![of("one"), of("two")], false);
        assert_eq!(many.coordinators, [of("one"), of("two")]);
        let single = located(vec![of("one")], true);
        assert_eq!((single.node_id, single.coordinators), (7, Vec::new()));
    }
}
