//! What counts as turning somebody away, and how it is told: finds the refusals in the answers of
//! the broker and their reasons. What a client sent is never logged as it came: errors quote names
//! and numbers, and even those without control characters and at a bounded length.

use std::fmt::{self, Display, Write};

use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{Error, Response, response};
use crate::telemetry::Reason;

/// Characters of an explanation that are logged.
const LOGGED_CHARS_MAX: usize = 300;

/// Shows each error of an answer: that of the whole, or those of its parts.
pub(super) fn for_each_error(response: &Response, mut show: impl FnMut(&Error)) {
    fn all<'a, T: 'a>(
        parts: impl IntoIterator<Item = &'a T>,
        error: impl Fn(&T) -> Option<&Error>,
        show: &mut impl FnMut(&Error),
    ) {
        parts.into_iter().filter_map(error).for_each(show);
    }
    response.error.iter().for_each(&mut show);
    let show = &mut show;
    match &response.result {
        Some(response::Result::Produce(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::Fetch(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::Subscribe(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::Metadata(r)) => all(&r.topics, |t| t.error.as_ref(), show),
        Some(response::Result::ListOffsets(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::CreateTopics(r)) => all(&r.topics, |t| t.error.as_ref(), show),
        Some(response::Result::AlterTopic(r)) => all(&r.topic, |t| t.error.as_ref(), show),
        Some(response::Result::AddPartitions(r)) => all(&r.topic, |t| t.error.as_ref(), show),
        Some(response::Result::DeleteTopics(r)) => all(&r.topics, |t| t.error.as_ref(), show),
        Some(response::Result::DescribeTopics(r)) => all(&r.topics, |t| t.error.as_ref(), show),
        Some(response::Result::DeleteRecords(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::DescribeGroups(r)) => all(&r.groups, |g| g.error.as_ref(), show),
        Some(response::Result::DeleteGroups(r)) => all(&r.groups, |g| g.error.as_ref(), show),
        Some(response::Result::CommitOffsets(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::FetchOffsets(r)) => all(&r.offsets, |o| o.error.as_ref(), show),
        Some(response::Result::DeleteOffsets(r)) => all(&r.partitions, |p| p.error.as_ref(), show),
        Some(response::Result::LeaveGroup(r)) => all(&r.members, |m| m.error.as_ref(), show),
        Some(
            response::Result::ListGroups(_)
            | response::Result::JoinGroup(_)
            | response::Result::GroupHeartbeat(_)
            | response::Result::InitProducer(_)
            | response::Result::Metrics(_)
            | response::Result::ReloadConfig(_)
            | response::Result::DescribeConfig(_)
            | response::Result::AlterConfig(_),
        )
        | None => {}
    }
}

/// Under which reason an error counts as a refusal. Those that only tell of the server's own state,
/// and those that end a connection and are counted where it ends, do not.
pub(super) fn reason_of(code: ErrorCode) -> Option<Reason> {
    Some(match code {
        ErrorCode::InvalidRequest => Reason::InvalidRequest,
        ErrorCode::InvalidRequiredAcks => Reason::InvalidAcks,
        ErrorCode::CorruptMessage => Reason::CorruptMessage,
        ErrorCode::InvalidRecord => Reason::InvalidRecord,
        ErrorCode::MessageTooLarge => Reason::MessageTooLarge,
        ErrorCode::UnsupportedForMessageFormat => Reason::UnsupportedFormat,
        ErrorCode::UnsupportedCompressionType => Reason::UnsupportedCompression,
        ErrorCode::InvalidTimestamp => Reason::InvalidTimestamp,
        ErrorCode::OutOfOrderSequence
        | ErrorCode::DuplicateSequence
        | ErrorCode::UnknownProducerId => Reason::Sequence,
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Reason::Fenced,
        ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch => Reason::LeaderEpoch,
        ErrorCode::UnexpectedOffset => Reason::UnexpectedOffset,
        ErrorCode::OffsetOutOfRange => Reason::OffsetOutOfRange,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InconsistentTopicId => Reason::UnknownTopic,
        ErrorCode::TopicAlreadyExists => Reason::TopicExists,
        ErrorCode::InvalidTopic => Reason::InvalidTopic,
        ErrorCode::InvalidPartitions => Reason::InvalidPartitions,
        ErrorCode::InvalidReplicationFactor | ErrorCode::InvalidReplicaAssignment => {
            Reason::InvalidReplicationFactor
        }
        ErrorCode::InvalidConfig => Reason::InvalidConfig,
        ErrorCode::PolicyViolation => Reason::Policy,
        ErrorCode::ClusterAuthorizationFailed => Reason::Authorization,
        ErrorCode::StorageError => Reason::Storage,
        ErrorCode::DiskFull => Reason::DiskFull,
        ErrorCode::Corruption => Reason::Corruption,
        ErrorCode::Overloaded => Reason::Overloaded,
        ErrorCode::ReadOnly => Reason::ReadOnly,
        ErrorCode::OffsetMetadataTooLarge
        | ErrorCode::InvalidGroupId
        | ErrorCode::InvalidSessionTimeout
        | ErrorCode::InvalidTransactionTimeout
        | ErrorCode::InvalidCommitOffsetSize
        | ErrorCode::InconsistentGroupProtocol => Reason::InvalidRequest,
        ErrorCode::FencedInstanceId => Reason::Fenced,
        ErrorCode::GroupMaxSizeReached => Reason::Policy,
        // What members meet in the course of things is nobody's fault.
        ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::IllegalGeneration
        | ErrorCode::UnknownMemberId
        | ErrorCode::RebalanceInProgress
        | ErrorCode::NonEmptyGroup
        | ErrorCode::GroupIdNotFound
        | ErrorCode::MemberIdRequired
        | ErrorCode::GroupSubscribedToTopic
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::NotLeaderOrFollower
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::OffsetNotAvailable
        | ErrorCode::RequestTimedOut
        | ErrorCode::ShuttingDown
        | ErrorCode::UnsupportedVersion
        | ErrorCode::ProtectedMode
        | ErrorCode::Malformed
        | ErrorCode::FrameTooLarge => return None,
    })
}

/// An explanation as it may stand in a log.
pub(super) struct Logged<T>(pub(super) T);

impl<T: Display> Display for Logged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { f, left: LOGGED_CHARS_MAX };
        write!(line, "{}", self.0)
    }
}

/// Passes on characters that can not make a line look like two, until there are enough.
struct Line<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match self.left {
                0 => return Ok(()),
                1 => self.f.write_char('…')?,
                _ if c.is_control() => write!(self.f, "{}", c.escape_default())?,
                _ => self.f.write_char(c)?,
            }
            self.left -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_one_line_of_bounded_length() {
        let text = Logged("a\nWARN forged\u{1b}[2J").to_string();
        assert_eq!(text, "a\\nWARN forged\\u{1b}[2J");
        let long = Logged("x".repeat(100_000)).to_string();
        assert_eq!(long.chars().count(), LOGGED_CHARS_MAX);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn what_every_kind_of_answer_refuses_is_found() {
        use crate::protocol::native::message as m;
        let error = || Some(Error::new(ErrorCode::InvalidRequest, "no"));
        let topic = || m::TopicResult { error: error(), ..Default::default() };
        let answers: Vec<response::Result> = vec![
            m::ProduceResult {
                partitions: vec![m::ProducePartitionResult {
                    error: error(),
                    ..Default::default()
                }],
            }
            .into(),
            m::FetchResult {
                partitions: vec![m::FetchPartitionResult { error: error(), ..Default::default() }],
            }
            .into(),
            m::MetadataResult {
                topics: vec![m::TopicMetadata { error: error(), ..Default::default() }],
                ..Default::default()
            }
            .into(),
            m::ListOffsetsResult {
                partitions: vec![m::ListOffsetsPartitionResult {
                    error: error(),
                    ..Default::default()
                }],
            }
            .into(),
            m::CreateTopicsResult { topics: vec![topic()] }.into(),
            m::AlterTopicResult { topic: Some(topic()) }.into(),
            m::AddPartitionsResult { topic: Some(topic()) }.into(),
            m::DeleteTopicsResult { topics: vec![topic()] }.into(),
            m::DescribeTopicsResult {
                topics: vec![m::TopicDescription { error: error(), ..Default::default() }],
            }
            .into(),
            m::DeleteRecordsResult {
                partitions: vec![m::DeleteRecordsPartitionResult {
                    error: error(),
                    ..Default::default()
                }],
            }
            .into(),
        ];
        for answer in
            answers.into_iter().map(Response::ok).chain([Response::failed(error().expect("one"))])
        {
            let mut found = 0;
            for_each_error(&answer, |_| found += 1);
            assert_eq!(found, 1, "{answer:?}");
        }
    }
}
