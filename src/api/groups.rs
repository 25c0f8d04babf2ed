//! Consumer groups of the native protocol: from its requests to what a coordinator is asked, and
//! from its answers back. What a group is, the coordinator knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::Context;
use super::error;
use crate::coordinator::assignor::{Assignor, SERVER_PREFIX};
use crate::coordinator::consumer::{self, Partitions, Subscription, decode_assignment};
use crate::coordinator::{
    Assigner, Commit, CommitOffset, DeleteOffsets as Delete, Described, DescribedMember, Fetch,
    Fetched, Filter, GroupError, Heartbeat, Join, Joined, Leave, Leaving, Left, Listed, State,
    Text,
};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    CommitOffsets, DeleteOffsets, Error, ErrorDetails, FetchOffsets, GroupDescription,
    GroupHeartbeat, GroupListing, GroupMember, GroupOffset, GroupPartitionResult, GroupRebalance,
    JoinGroup, JoinGroupResult, LeaveGroup, LeftMember, TopicPartitions,
};
use crate::types::{NodeId, Offset, PartitionId, TopicPartition};

const SESSION_MS_DEFAULT: u32 = 45_000;
const REBALANCE_MS_DEFAULT: u32 = 300_000;
/// Members are heard of at least so often, and three times in a session.
const HEARTBEAT_MS_MAX: u32 = 3_000;

/// What a client learns of a request that a coordinator refused.
#[must_use]
pub fn refused(refusal: &GroupError) -> Error {
    let code = match refusal {
        GroupError::MetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
        GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
        GroupError::NotAvailable(_) | GroupError::Overloaded => ErrorCode::CoordinatorNotAvailable,
        GroupError::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InvalidOffset(_) => ErrorCode::InvalidCommitOffsetSize,
        GroupError::TooLarge { .. } | GroupError::Malformed(_) => ErrorCode::InvalidRequest,
        GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
        GroupError::NotFound => ErrorCode::GroupIdNotFound,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::Full => ErrorCode::GroupMaxSizeReached,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::Subscribed => ErrorCode::GroupSubscribedToTopic,
        GroupError::TooManyGroups => ErrorCode::PolicyViolation,
        GroupError::ReadOnly => return error::read_only(),
        GroupError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        GroupError::AboveHighWatermark { .. } => ErrorCode::OffsetOutOfRange,
        GroupError::NotWritable(_) => ErrorCode::DiskFull,
    };
    let details = match refusal {
        GroupError::MetadataTooLarge { bytes, limit } => {
            details(*limit as u64, Some(*bytes as u64), None)
        }
        GroupError::TooLarge { given, limit, .. } => {
            details(*limit as u64, Some(*given as u64), None)
        }
        GroupError::AboveHighWatermark { high_watermark, .. } => {
            Some(ErrorDetails { offset: Some(high_watermark.0), ..ErrorDetails::default() })
        }
        _ => None,
    };
    Error { details, ..Error::new(code, refusal.to_string()) }
}

fn details(limit: u64, actual: Option<u64>, offset: Option<i64>) -> Option<ErrorDetails> {
    Some(ErrorDetails { limit: Some(limit), actual, offset, ..ErrorDetails::default() })
}

/// What the coordinator is asked when a member joins. `fresh` is for the id of a new one.
///
/// # Errors
/// When the request names assignors or numbers that mean nothing.
pub fn plan_join(
    request: JoinGroup,
    client_id: &str,
    client_host: &str,
    fresh: Uuid,
) -> Result<Join, Error> {
    if request.topics.iter().any(|topic| topic.len() > limits::TOPIC_NAME_BYTES_MAX) {
        return Err(Error::new(ErrorCode::InvalidTopic, "a topic's name is too long"));
    }
    let subscription = Subscription {
        topics: request.topics.iter().map(|topic| Text::from(topic.as_str())).collect(),
        owned: partitions(&request.owned),
        generation: request.generation.unwrap_or(-1),
        rack: None,
    };
    let metadata = subscription.encode();
    let named = match request.assignors.as_slice() {
        [] => vec![Assignor::default()],
        names => names.iter().map(|name| assignor(name)).collect::<Result<_, _>>()?,
    };
    Ok(Join {
        group: request.group.into(),
        member: optional(&request.member),
        instance: optional(&request.instance),
        client_id: client_id.into(),
        client_host: client_host.into(),
        session_ms: or_default(request.session_timeout_ms, SESSION_MS_DEFAULT),
        rebalance_ms: or_default(request.rebalance_timeout_ms, REBALANCE_MS_DEFAULT),
        protocol_type: consumer::PROTOCOL_TYPE.into(),
        protocols: named.iter().map(|kind| (kind.protocol(), metadata.clone())).collect(),
        reason: optional(&request.reason),
        assigner: Assigner::Server,
        id_required: true,
        skips_assignment: true,
        fresh,
    })
}

fn assignor(name: &str) -> Result<Assignor, Error> {
    Assignor::from_name(name).ok_or_else(|| {
        let names = Assignor::ALL.map(Assignor::as_str).join(", ");
        let shown: String = name.chars().take(limits::GROUP_REASON_CHARS_MAX).collect();
        let message = format!("{shown:?} is no assignor; there are {names}");
        Error::new(ErrorCode::InconsistentGroupProtocol, message)
    })
}

/// The answer to a member that joined.
#[must_use]
pub fn joined(joined: &Joined, session_ms: u32) -> JoinGroupResult {
    let assigned = decode_assignment(joined.assignment.clone().unwrap_or_default());
    let name = joined.protocol.strip_prefix(SERVER_PREFIX).unwrap_or(&joined.protocol);
    JoinGroupResult {
        member: joined.member.to_string(),
        generation: joined.generation,
        assignor: name.to_owned(),
        assignment: topic_partitions(&assigned.unwrap_or_default()),
        heartbeat_interval_ms: (session_ms / 3).min(HEARTBEAT_MS_MAX),
    }
}

/// What the coordinator is asked when a member says that it is alive.
#[must_use]
pub fn plan_heartbeat(request: &GroupHeartbeat) -> Heartbeat {
    Heartbeat {
        group: request.group.as_str().into(),
        member: request.member.as_str().into(),
        instance: optional(&request.instance),
        generation: request.generation,
    }
}

/// What the coordinator is asked when members leave.
#[must_use]
pub fn plan_leave(request: LeaveGroup) -> Leave {
    let reason = optional(&request.reason);
    let members = request.members.iter().map(|leaving| Leaving {
        member: optional(&leaving.member),
        instance: optional(&leaving.instance),
        reason: reason.clone(),
    });
    Leave { members: members.collect(), group: request.group.into() }
}

/// The answer about members that left.
#[must_use]
pub fn left(left: Vec<Left>) -> Vec<LeftMember> {
    let members = left.into_iter().map(|left| LeftMember {
        error: left.outcome.err().map(|error| refused(&error)),
        member: left.member.as_deref().unwrap_or_default().to_owned(),
        instance: left.instance.as_deref().unwrap_or_default().to_owned(),
    });
    members.collect()
}

/// What the coordinator is asked to commit.
#[must_use]
pub fn plan_commit(request: &CommitOffsets) -> Commit {
    let offsets = request.offsets.iter().map(|offset| CommitOffset {
        topic: offset.topic.as_str().into(),
        topic_id: None,
        partition: PartitionId(offset.partition),
        offset: Offset(offset.offset),
        leader_epoch: offset.leader_epoch.unwrap_or(-1),
        metadata: offset.metadata.as_str().into(),
    });
    Commit {
        group: request.group.as_str().into(),
        member: optional(&request.member),
        instance: optional(&request.instance),
        generation: request.generation,
        retention_ms: None,
        offsets: offsets.collect(),
    }
}

/// What became of single partitions, in the order in which they were named.
#[must_use]
pub fn partition_results(
    named: impl Iterator<Item = (String, i32)>,
    outcomes: Vec<Result<(), GroupError>>,
) -> Vec<GroupPartitionResult> {
    let results = named.zip(outcomes).map(|((topic, partition), outcome)| GroupPartitionResult {
        error: outcome.err().map(|error| refused(&error)),
        topic,
        partition,
    });
    results.collect()
}

/// What the coordinator is asked about committed offsets.
#[must_use]
pub fn plan_fetch(request: &FetchOffsets) -> Fetch {
    let named = (!request.partitions.is_empty()).then(|| named(&request.partitions));
    Fetch { group: request.group.as_str().into(), partitions: named }
}

/// Which committed offsets the coordinator is asked to remove.
#[must_use]
pub fn plan_delete_offsets(request: &DeleteOffsets) -> Delete {
    Delete { group: request.group.as_str().into(), partitions: named(&request.partitions) }
}

/// Committed offsets as they are told, each with the partition's own ends.
#[must_use]
pub fn offsets(fetched: Vec<Fetched>, context: &Context<'_>) -> Vec<GroupOffset> {
    fetched.into_iter().map(|fetched| offset(fetched, "", context)).collect()
}

fn offset(fetched: Fetched, member: &str, context: &Context<'_>) -> GroupOffset {
    let handle = context.image.topic(&fetched.topic).and_then(|topic| {
        let id = TopicPartition { topic: topic.id, partition: fetched.partition };
        context.directory.partition(id)
    });
    let view = handle.map(|handle| handle.view());
    let committed = fetched.committed.as_ref();
    GroupOffset {
        error: None,
        topic: fetched.topic.to_string(),
        partition: fetched.partition.0,
        committed: committed.map_or(-1, |committed| committed.offset.0),
        leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: committed.map_or_else(String::new, |committed| committed.metadata.to_string()),
        high_watermark: view.as_ref().map_or(-1, |view| view.high_watermark.offset.0),
        log_start_offset: view.as_ref().map_or(-1, |view| view.start().0),
        member: member.to_owned(),
    }
}

/// Which groups a listing names.
///
/// # Errors
/// When there is no state of that name.
pub fn plan_list(states: &[String]) -> Result<Filter, Error> {
    let state = |name: &String| {
        name.parse::<State>().map_err(|()| {
            let shown: String = name.chars().take(limits::GROUP_REASON_CHARS_MAX).collect();
            let message = format!("{shown:?} is no state of a group");
            Error::new(ErrorCode::InvalidRequest, message)
        })
    };
    Ok(Filter { states: states.iter().map(state).collect::<Result<_, _>>()? })
}

/// A listing.
#[must_use]
pub fn listed(listed: Vec<Listed>) -> Vec<GroupListing> {
    let groups = listed.into_iter().map(|listed| GroupListing {
        group: listed.group.to_string(),
        protocol_type: listed.protocol_type.to_string(),
        state: listed.state.to_string(),
    });
    groups.collect()
}

/// Everything about a group: what it is, and what it has committed beside what it was given.
#[must_use]
pub fn describe(
    described: Described,
    fetched: Vec<Fetched>,
    node: NodeId,
    context: &Context<'_>,
) -> GroupDescription {
    let by_server = described.assigner == Assigner::Server;
    let protocol = described.protocol.as_deref().unwrap_or_default();
    let name = protocol.strip_prefix(SERVER_PREFIX).unwrap_or(protocol);
    GroupDescription {
        error: None,
        protocol_type: described.protocol_type.to_string(),
        protocol: name.to_owned(),
        server_assigned: by_server,
        state: described.state.to_string(),
        generation: described.generation,
        coordinator: node.0,
        leader: described.leader.as_deref().unwrap_or_default().to_owned(),
        members: described.members.iter().map(member).collect(),
        offsets: offsets_and_assignments(&described, fetched, context),
        rebalances: described
            .rebalances
            .iter()
            .map(|rebalance| GroupRebalance {
                at_ms: rebalance.at.0,
                generation: rebalance.generation,
                reason: rebalance.reason.to_string(),
            })
            .collect(),
        group: described.group.to_string(),
    }
}

/// A group that there is nothing to tell of.
#[must_use]
pub fn undescribed(group: String, refusal: &GroupError) -> GroupDescription {
    GroupDescription { error: Some(refused(refusal)), group, ..GroupDescription::default() }
}

fn member(member: &DescribedMember) -> GroupMember {
    GroupMember {
        member: member.member.to_string(),
        instance: member.instance.as_deref().unwrap_or_default().to_owned(),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        assignment: topic_partitions(&assigned(&member.assignment)),
    }
}

/// Every partition that has a committed offset or a member, by topic and number.
fn offsets_and_assignments(
    described: &Described,
    fetched: Vec<Fetched>,
    context: &Context<'_>,
) -> Vec<GroupOffset> {
    let mut rows: BTreeMap<(Text, PartitionId), (Option<Fetched>, &str)> = BTreeMap::new();
    for fetched in fetched {
        let key = (Arc::clone(&fetched.topic), fetched.partition);
        rows.insert(key, (Some(fetched), ""));
    }
    for member in &described.members {
        for (topic, partitions) in assigned(&member.assignment) {
            for partition in partitions {
                let row = rows.entry((Arc::clone(&topic), partition)).or_default();
                row.1 = &member.member;
            }
        }
    }
    let rows = rows.into_iter().map(|((topic, partition), (fetched, member))| {
        let nothing = Fetched { topic, partition, committed: None };
        offset(fetched.unwrap_or(nothing), member, context)
    });
    rows.collect()
}

/// What other kinds of groups assign can not be read, and is nothing here.
fn assigned(assignment: &Bytes) -> Partitions {
    decode_assignment(assignment.clone()).unwrap_or_default()
}

fn partitions(named: &[TopicPartitions]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in named {
        let list = topic.partitions.iter().map(|partition| PartitionId(*partition));
        partitions.entry(topic.topic.as_str().into()).or_default().extend(list);
    }
    partitions
}

fn topic_partitions(partitions: &Partitions) -> Vec<TopicPartitions> {
    let topics = partitions.iter().map(|(topic, list)| TopicPartitions {
        topic: topic.to_string(),
        partitions: list.iter().map(|partition| partition.0).collect(),
    });
    topics.collect()
}

fn named(topics: &[TopicPartitions]) -> Vec<(Text, PartitionId)> {
    let mut named = Vec::new();
    for topic in topics {
        let name = Text::from(topic.topic.as_str());
        let list = topic.partitions.iter().map(|p| (Arc::clone(&name), PartitionId(*p)));
        named.extend(list);
    }
    named
}

fn optional(text: &str) -> Option<Text> {
    (!text.is_empty()).then(|| Text::from(text))
}

fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}
