//! Consumer groups of the Kafka protocol: what its messages ask of a coordinator, and its answers
//! as messages. The versions for one group or member and those for many come to the same here.

use std::sync::Arc;

use bytes::Bytes;

use super::{Refused, note};
use crate::api::groups;
use crate::coordinator::{
    Assigner, DeleteOffsets, Described, Filter, GroupError, Heartbeat, Join, JoinRefused, Joined,
    Leave, Leaving, Left, Listed, State, Sync, Synced, Text as Name,
};
use crate::protocol::error::ErrorCode as OwnCode;
use crate::protocol::kafka::{
    DeleteGroupsResponse, DeleteGroupsResponseGroup, DescribeGroupsResponseGroup,
    DescribeGroupsResponseMember, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    JoinGroupResponseMember, LeaveGroupRequest, LeaveGroupResponse, LeaveGroupResponseMember,
    ListGroupsRequest, ListGroupsResponse, ListGroupsResponseGroup, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
    SyncGroupRequest, SyncGroupResponse, Text,
};
use crate::protocol::native::message::Error;
use crate::types::PartitionId;

/// What Kafka's tools call the type of groups that members join with JoinGroup.
const TYPE: &str = "classic";

/// From this version on a new member is given an id first.
const ID_REQUIRED_FROM: i16 = 4;
/// From this version on an error leaves the protocol's name out.
const NAME_NULL_FROM: i16 = 7;
/// From this version on a leader can be told that it has nothing to assign.
const SKIP_FROM: i16 = 9;

/// What a refusal is called here. What is only true for a moment has to be an error that Kafka's
/// clients try again after.
#[must_use]
pub fn native(refusal: &GroupError) -> Error {
    match refusal {
        GroupError::NotWritable(why) => {
            Error::new(OwnCode::CoordinatorNotAvailable, why.to_string())
        }
        other => groups::refused(other),
    }
}

/// What a coordinator is asked by a member that joins. `fresh` is for the id of a new one.
#[must_use]
pub fn plan_join(
    request: &JoinGroupRequest,
    version: i16,
    client_id: &str,
    client_host: &str,
    fresh: uuid::Uuid,
) -> Join {
    // What is negative is shorter than any bound.
    let ms = |ms: i32| u32::try_from(ms).unwrap_or(0);
    let rebalance_ms = match request.rebalance_timeout_ms {
        ..0 => request.session_timeout_ms,
        given => given,
    };
    let protocols = request.protocols.iter();
    Join {
        group: name(&request.group_id),
        member: filled(&request.member_id),
        instance: request.group_instance_id.as_ref().map(name),
        client_id: client_id.into(),
        client_host: client_host.into(),
        session_ms: ms(request.session_timeout_ms),
        rebalance_ms: ms(rebalance_ms),
        protocol_type: name(&request.protocol_type),
        protocols: protocols.map(|p| (name(&p.name), kept(&p.metadata))).collect(),
        reason: request.reason.as_ref().and_then(filled),
        assigner: Assigner::Leader,
        id_required: version >= ID_REQUIRED_FROM,
        skips_assignment: version >= SKIP_FROM,
        fresh,
    }
}

/// The answer to a member that joins.
#[must_use]
pub fn joined(
    outcome: Result<Joined, JoinRefused>,
    version: i16,
    refused: &mut Refused,
) -> JoinGroupResponse {
    let joined = match outcome {
        Ok(joined) => joined,
        Err(refusal) => {
            return JoinGroupResponse {
                error_code: note(refused, native(&refusal.error)),
                protocol_name: (version < NAME_NULL_FROM).then(Text::new),
                member_id: refusal.member.as_ref().map(text).unwrap_or_default(),
                ..JoinGroupResponse::default()
            };
        }
    };
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: text(&member.member),
        group_instance_id: member.instance.as_ref().map(text),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(text(&joined.protocol_type)),
        protocol_name: Some(text(&joined.protocol)),
        leader: text(&joined.leader),
        skip_assignment: joined.skip_assignment && version >= SKIP_FROM,
        member_id: text(&joined.member),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

/// What a coordinator is asked by a member that wants its assignment.
///
/// # Errors
/// When the version has places for the group's protocol and they are empty.
pub fn plan_sync(request: &SyncGroupRequest, version: i16) -> Result<Sync, GroupError> {
    const NAMED_FROM: i16 = 5;
    let is_named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= NAMED_FROM && !is_named {
        return Err(GroupError::InconsistentProtocol);
    }
    let assignments = request.assignments.iter();
    Ok(Sync {
        group: name(&request.group_id),
        member: name(&request.member_id),
        instance: request.group_instance_id.as_ref().map(name),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(name),
        protocol: request.protocol_name.as_ref().map(name),
        assignments: assignments.map(|a| (name(&a.member_id), kept(&a.assignment))).collect(),
    })
}

/// The answer to a member that wants its assignment.
#[must_use]
pub fn synced(outcome: Result<Synced, GroupError>, refused: &mut Refused) -> SyncGroupResponse {
    match outcome {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some(text(&synced.protocol_type)),
            protocol_name: Some(text(&synced.protocol)),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
        Err(error) => SyncGroupResponse {
            error_code: note(refused, native(&error)),
            ..SyncGroupResponse::default()
        },
    }
}

/// What a coordinator is asked by a member that is alive.
#[must_use]
pub fn plan_heartbeat(request: &HeartbeatRequest) -> Heartbeat {
    Heartbeat {
        group: name(&request.group_id),
        member: name(&request.member_id),
        instance: request.group_instance_id.as_ref().map(name),
        generation: request.generation_id,
    }
}

/// From this version on a request names many members.
const MANY_LEAVE_FROM: i16 = 3;

/// What a coordinator is asked when members leave.
#[must_use]
pub fn plan_leave(request: &LeaveGroupRequest, version: i16) -> Leave {
    let members = match version {
        ..MANY_LEAVE_FROM => {
            vec![Leaving { member: filled(&request.member_id), instance: None, reason: None }]
        }
        _ => request
            .members
            .iter()
            .map(|leaving| Leaving {
                member: filled(&leaving.member_id),
                instance: leaving.group_instance_id.as_ref().map(name),
                reason: leaving.reason.as_ref().and_then(filled),
            })
            .collect(),
    };
    Leave { group: name(&request.group_id), members }
}

/// The answer about members that left.
#[must_use]
pub fn left(
    outcome: Result<Vec<Left>, GroupError>,
    version: i16,
    refused: &mut Refused,
) -> LeaveGroupResponse {
    let left = match outcome {
        Ok(left) => left,
        Err(error) => {
            let error_code = note(refused, native(&error));
            return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
        }
    };
    let mut members = left.into_iter().map(|left| LeaveGroupResponseMember {
        member_id: left.member.as_ref().map(text).unwrap_or_default(),
        group_instance_id: left.instance.as_ref().map(text),
        error_code: code_of(left.outcome, refused),
    });
    if version < MANY_LEAVE_FROM {
        let error_code = members.next().map_or(0, |member| member.error_code);
        return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
    }
    LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
}

/// Which groups a listing names; `None` when no group is of a type that was asked for.
#[must_use]
pub fn plan_list(request: &ListGroupsRequest) -> Option<Filter> {
    let types = &request.types_filter;
    if !types.is_empty() && !types.iter().any(|wanted| wanted.eq_ignore_ascii_case(TYPE)) {
        return None;
    }
    let states = request.states_filter.iter();
    let known: Vec<State> = states.filter_map(|state| state.parse().ok()).collect();
    let names_nothing = known.is_empty() && !request.states_filter.is_empty();
    (!names_nothing).then_some(Filter { states: known })
}

/// A listing.
#[must_use]
pub fn listed(
    outcome: Result<Vec<Listed>, GroupError>,
    refused: &mut Refused,
) -> ListGroupsResponse {
    let listed = match outcome {
        Ok(listed) => listed,
        Err(error) => {
            let error_code = note(refused, native(&error));
            return ListGroupsResponse { error_code, ..ListGroupsResponse::default() };
        }
    };
    let groups = listed.into_iter().map(|listed| ListGroupsResponseGroup {
        group_id: text(&listed.group),
        protocol_type: text(&listed.protocol_type),
        group_state: listed.state.as_str().into(),
        group_type: TYPE.into(),
    });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}

/// The description of one group.
#[must_use]
pub fn described(
    group: Text,
    outcome: Result<Described, GroupError>,
    version: i16,
    refused: &mut Refused,
) -> DescribeGroupsResponseGroup {
    const NOT_FOUND_FROM: i16 = 6;
    let described = match outcome {
        Ok(described) => described,
        // Before clients could be told so, a group that is not there was a dead one.
        Err(GroupError::NotFound) if version < NOT_FOUND_FROM => {
            return DescribeGroupsResponseGroup {
                group_id: group,
                group_state: State::Dead.as_str().into(),
                ..DescribeGroupsResponseGroup::default()
            };
        }
        Err(error) => {
            let error = native(&error);
            return DescribeGroupsResponseGroup {
                error_message: (version >= NOT_FOUND_FROM).then(|| error.message.as_str().into()),
                error_code: note(refused, error),
                group_id: group,
                group_state: State::Dead.as_str().into(),
                ..DescribeGroupsResponseGroup::default()
            };
        }
    };
    let members = described.members.into_iter().map(|member| DescribeGroupsResponseMember {
        member_id: text(&member.member),
        group_instance_id: member.instance.as_ref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribeGroupsResponseGroup {
        group_id: group,
        group_state: described.state.as_str().into(),
        protocol_type: text(&described.protocol_type),
        protocol_data: described.protocol.as_ref().map(text).unwrap_or_default(),
        members: members.collect(),
        ..DescribeGroupsResponseGroup::default()
    }
}

/// What became of groups that were to be deleted.
#[must_use]
pub fn deleted(
    outcomes: Vec<(Text, Result<(), GroupError>)>,
    refused: &mut Refused,
) -> DeleteGroupsResponse {
    let results = outcomes.into_iter().map(|(group_id, outcome)| {
        let error = outcome.err().map(|error| native(&error));
        DeleteGroupsResponseGroup {
            group_id,
            error_message: error.as_ref().map(|error| error.message.as_str().into()),
            error_code: error.map_or(0, |error| note(refused, error)),
        }
    });
    DeleteGroupsResponse { results: results.collect(), ..DeleteGroupsResponse::default() }
}

/// Which committed offsets a coordinator is asked to remove.
#[must_use]
pub fn plan_offset_delete(request: &OffsetDeleteRequest) -> DeleteOffsets {
    let partitions = request.topics.iter().flat_map(|topic| {
        let of = name(&topic.name);
        topic.partitions.iter().map(move |p| (Arc::clone(&of), PartitionId(p.partition_index)))
    });
    DeleteOffsets { group: name(&request.group_id), partitions: partitions.collect() }
}

/// What became of offsets that were to be removed.
#[must_use]
pub fn offsets_deleted(
    request: OffsetDeleteRequest,
    outcome: Result<Vec<Result<(), GroupError>>, GroupError>,
    refused: &mut Refused,
) -> OffsetDeleteResponse {
    let mut outcomes = match outcome {
        Ok(outcomes) => outcomes.into_iter(),
        Err(error) => {
            let error_code = note(refused, native(&error));
            return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
        }
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let partitions = topic.partitions.iter().map(|partition| {
            let outcome = outcomes.next().expect("an outcome for each partition");
            OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: code_of(outcome, refused),
            }
        });
        let partitions = partitions.collect();
        topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }
}

pub(super) fn code_of(outcome: Result<(), GroupError>, refused: &mut Refused) -> i16 {
    outcome.map_or_else(|error| note(refused, native(&error)), |()| 0)
}

/// Bytes that stay for as long as a member does: on their own, since those of a request keep all of
/// the buffer that it came in.
fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn name(text: &Text) -> Name {
    Name::from(&**text)
}

pub(super) fn filled(text: &Text) -> Option<Name> {
    (!text.is_empty()).then(|| name(text))
}

pub(super) fn text(name: &Name) -> Text {
    Text::from(&**name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::{
        JoinGroupRequestProtocol, LeaveGroupRequestMember, Message, SyncGroupRequestAssignment,
        response_frame,
    };

    fn encodes<M: Message>(message: &M, version: i16) {
        response_frame(message, version, 0).expect("the version has room for the answer");
    }

    /// KIP-394, KIP-345: what a version can say decides what is asked.
    #[test]
    fn a_join_asks_what_its_version_can_understand() {
        let request = JoinGroupRequest {
            session_timeout_ms: 10_000,
            member_id: Text::from("m"),
            ..JoinGroupRequest::default()
        };
        let plan = |version| plan_join(&request, version, "c", "/h", uuid::Uuid::nil());
        assert_eq!(plan(0).rebalance_ms, 10_000, "version 0 has one timeout for both");
        assert!(!plan(3).id_required && plan(4).id_required);
        assert!(!plan(8).skips_assignment && plan(9).skips_assignment);
        assert_eq!(plan(9).member.as_deref(), Some("m"));
        let negative = JoinGroupRequest { session_timeout_ms: -1, ..request };
        assert_eq!(plan_join(&negative, 9, "c", "/h", uuid::Uuid::nil()).session_ms, 0);
    }

    #[test]
    fn answers_to_a_join_can_be_said_in_every_version() {
        let mut refused = Refused::new();
        for version in 0..=9 {
            let error = GroupError::MemberIdRequired;
            let refusal = JoinRefused { error, member: Some("m".into()) };
            let answer = joined(Err(refusal), version, &mut refused);
            assert_eq!((answer.error_code, &*answer.member_id), (79, "m"));
            encodes(&answer, version);
            let outcome = Joined {
                member: "m".into(),
                generation: 3,
                protocol_type: "consumer".into(),
                protocol: "range".into(),
                leader: "m".into(),
                skip_assignment: version >= SKIP_FROM,
                members: Vec::new(),
                assignment: None,
            };
            encodes(&joined(Ok(outcome), version, &mut refused), version);
        }
    }

    #[test]
    fn a_sync_names_its_protocol_from_version_five_on() {
        let request = SyncGroupRequest::default();
        assert!(plan_sync(&request, 4).is_ok());
        assert_eq!(plan_sync(&request, 5), Err(GroupError::InconsistentProtocol));
    }

    /// L4: a member that says little holds little, whatever its connection has received.
    #[test]
    fn what_is_kept_of_a_member_does_not_keep_its_request() {
        let received = Bytes::from(vec![0; 1 << 20]);
        let protocol = JoinGroupRequestProtocol {
            metadata: received.slice(..10),
            ..JoinGroupRequestProtocol::default()
        };
        let join = JoinGroupRequest { protocols: vec![protocol], ..JoinGroupRequest::default() };
        let assignment = SyncGroupRequestAssignment {
            assignment: received.slice(..20),
            ..SyncGroupRequestAssignment::default()
        };
        let sync = SyncGroupRequest { assignments: vec![assignment], ..Default::default() };
        let joins = plan_join(&join, 0, "c", "/h", uuid::Uuid::nil());
        let syncs = plan_sync(&sync, 0).expect("a sound request");
        drop((join, sync));
        assert!(received.is_unique(), "nothing else holds on to it");
        assert_eq!((joins.protocols[0].1.len(), syncs.assignments[0].1.len()), (10, 20));
    }

    #[test]
    fn one_member_leaves_or_many_do() {
        let mut refused = Refused::new();
        let outcome = |member: &str| Left {
            member: Some(member.into()),
            instance: None,
            outcome: Err(GroupError::UnknownMember),
        };
        let one = LeaveGroupRequest { member_id: Text::from("m"), ..Default::default() };
        assert_eq!(plan_leave(&one, 2).members[0].member.as_deref(), Some("m"));
        let answer = left(Ok(vec![outcome("m")]), 2, &mut refused);
        assert_eq!((answer.error_code, answer.members.len()), (25, 0));
        encodes(&answer, 2);
        let member = LeaveGroupRequestMember {
            group_instance_id: Some(Text::from("i")),
            ..LeaveGroupRequestMember::default()
        };
        let many = LeaveGroupRequest { members: vec![member], ..Default::default() };
        let plan = plan_leave(&many, 5);
        assert_eq!(
            (&plan.members[0].member, plan.members[0].instance.as_deref()),
            (&None, Some("i"))
        );
        let answer = left(Ok(vec![outcome("m"), outcome("n")]), 5, &mut refused);
        assert_eq!((answer.error_code, answer.members.len()), (0, 2));
        encodes(&answer, 5);
    }

    #[test]
    fn a_group_that_is_not_there_is_dead_to_older_clients() {
        let mut refused = Refused::new();
        let group = |version, refused: &mut Refused| {
            described(Text::from("g"), Err(GroupError::NotFound), version, refused)
        };
        let old = group(5, &mut refused);
        assert_eq!((old.error_code, &*old.group_state), (0, "Dead"));
        let new = group(6, &mut refused);
        assert_eq!((new.error_code, &*new.group_state), (69, "Dead"));
    }

    #[test]
    fn filters_that_nothing_fits_list_nothing() {
        let list = |states: &[&str], types: &[&str]| {
            plan_list(&ListGroupsRequest {
                states_filter: states.iter().map(|state| Text::from(*state)).collect(),
                types_filter: types.iter().map(|kind| Text::from(*kind)).collect(),
            })
        };
        assert_eq!(list(&[], &[]), Some(Filter::default()));
        assert_eq!(list(&["stable"], &["Classic"]).map(|f| f.states), Some(vec![State::Stable]));
        assert_eq!(list(&["Sleeping"], &[]), None);
        assert_eq!(list(&[], &["share"]), None);
    }

    /// What passes has to be an error that Kafka's clients try again after.
    #[test]
    fn a_full_disk_is_a_coordinator_that_is_not_available() {
        let mut refused = Refused::new();
        assert_eq!(code_of(Err(GroupError::NotWritable("full".into())), &mut refused), 15);
        assert_eq!(code_of(Err(GroupError::Overloaded), &mut refused), 15);
        assert_eq!(code_of(Err(GroupError::Loading), &mut refused), 14);
        assert_eq!(code_of(Ok(()), &mut refused), 0);
        assert_eq!(refused.len(), 3);
    }
}
