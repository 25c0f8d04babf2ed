//! Kafka's protocol, executed: finds out what a request asks, has it done by the same handlers that
//! serve the native protocol, and encodes the answer. What the messages of the two protocols have
//! to do with each other is said in `api::kafka`.

mod cluster;
mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod refusal;
mod topics;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::super::rejection;
use super::super::service::{
    Conversation, KafkaAnswer, KafkaPending, Payload, Peer, Piece, Session,
};
use super::Executor;
use crate::api::kafka::{Endpoint, Refused};
use crate::broker::Node;
use crate::protocol::error::ErrorCode as OwnCode;
use crate::protocol::kafka::{
    ApiKey, DecodeError, Encoded, Message, Reader, Request, RequestHeader, response_frame,
};
use crate::protocol::native::message::Error;
use crate::telemetry::Reason;

/// A request while it is executed.
#[derive(Clone)]
struct Asked {
    executor: Arc<Executor>,
    node: Arc<Node>,
    header: RequestHeader,
    /// Where the client has reached this node.
    reached: Option<SocketAddr>,
    /// Who asks.
    peer: Peer,
}

/// Executes one request.
pub(super) fn call(
    executor: &Arc<Executor>,
    session: &Session,
    conversation: &mut Conversation,
    frame: Bytes,
) -> KafkaPending {
    let mut reader = Reader::new(frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(error) => return ready(refusal::of_header(&error)),
    };
    let node = match executor.node() {
        Ok(node) => Arc::clone(node),
        Err(error) => {
            return ready(end(Reason::Malformed, OwnCode::LeaderNotAvailable, error.message));
        }
    };
    let asked = Asked {
        executor: Arc::clone(executor),
        node,
        header,
        reached: session.reached,
        peer: session.peer,
    };
    let header = asked.header.clone();
    match dispatch(asked, conversation, reader) {
        Ok(pending) => pending,
        Err(error) => {
            let (api, version) = (header.api.name(), header.version);
            let text = format!("a request for {api} in version {version}: {error}");
            ready(refusal::of_body(&header, text))
        }
    }
}

/// What a peer that is not served learns.
pub(super) fn refuse(frame: Bytes, reason: Reason, code: OwnCode, message: &str) -> KafkaPending {
    ready(refusal::of_request(frame, reason, code, message))
}

fn dispatch(
    asked: Asked,
    conversation: &mut Conversation,
    reader: Reader,
) -> Result<KafkaPending, DecodeError> {
    let version = asked.header.version;
    Ok(match asked.header.api {
        ApiKey::Produce => produce::call(asked, decode(reader, version)?),
        ApiKey::Fetch => fetch::call(asked, conversation, decode(reader, version)?),
        ApiKey::ApiVersions => metadata::versions(&asked, &decode(reader, version)?),
        ApiKey::Metadata => changing(asked, decode(reader, version)?, metadata::metadata),
        ApiKey::ListOffsets => changing(asked, decode(reader, version)?, offsets::list),
        ApiKey::OffsetForLeaderEpoch => offsets::epochs(&asked, decode(reader, version)?),
        ApiKey::CreateTopics => changing(asked, decode(reader, version)?, topics::create),
        ApiKey::DeleteTopics => changing(asked, decode(reader, version)?, topics::delete),
        ApiKey::DeleteRecords => changing(asked, decode(reader, version)?, topics::delete_records),
        ApiKey::CreatePartitions => {
            changing(asked, decode(reader, version)?, topics::add_partitions)
        }
        ApiKey::DescribeConfigs => configs::describe(&asked, decode(reader, version)?),
        ApiKey::IncrementalAlterConfigs => {
            changing(asked, decode(reader, version)?, configs::alter)
        }
        ApiKey::AlterConfigs => changing(asked, decode(reader, version)?, configs::replace),
        ApiKey::ListConfigResources => configs::resources(&asked, &decode(reader, version)?),
        ApiKey::DescribeCluster => cluster::describe(&asked, &decode(reader, version)?),
        ApiKey::DescribeTopicPartitions => {
            cluster::topic_partitions(&asked, decode(reader, version)?)
        }
        ApiKey::DescribeProducers => changing(asked, decode(reader, version)?, produce::describe),
        ApiKey::DescribeLogDirs => cluster::log_dirs(&asked, &decode(reader, version)?),
        ApiKey::InitProducerId => changing(asked, decode(reader, version)?, produce::init),
        ApiKey::FindCoordinator => {
            changing(asked, decode(reader, version)?, groups::find_coordinator)
        }
        ApiKey::JoinGroup => waiting(asked, decode(reader, version)?, groups::join),
        ApiKey::SyncGroup => waiting(asked, decode(reader, version)?, groups::sync),
        ApiKey::Heartbeat => changing(asked, decode(reader, version)?, groups::heartbeat),
        ApiKey::LeaveGroup => changing(asked, decode(reader, version)?, groups::leave),
        ApiKey::OffsetCommit => changing(asked, decode(reader, version)?, groups::commit),
        ApiKey::OffsetFetch => changing(asked, decode(reader, version)?, groups::fetch),
        ApiKey::ListGroups => changing(asked, decode(reader, version)?, groups::list),
        ApiKey::DescribeGroups => changing(asked, decode(reader, version)?, groups::describe),
        ApiKey::DeleteGroups => changing(asked, decode(reader, version)?, groups::delete),
        ApiKey::OffsetDelete => changing(asked, decode(reader, version)?, groups::delete_offsets),
        _ => ready(refusal::unserved(&asked)),
    })
}

fn decode<M: Request>(reader: Reader, version: i16) -> Result<M, DecodeError> {
    M::decode_whole(reader, version)
}

/// Executes what may change something or take a while.
fn changing<M, F>(
    asked: Asked,
    request: M,
    execute: impl FnOnce(Asked, M) -> F + Send + 'static,
) -> KafkaPending
where
    M: Request,
    F: Future<Output = KafkaAnswer> + Send + 'static,
{
    KafkaPending::Changing(Box::pin(execute(asked, request)))
}

/// Executes what may wait as long as others like: a client that goes away meanwhile leaves nothing
/// behind that holds its connection.
fn waiting<M, F>(
    asked: Asked,
    request: M,
    execute: impl FnOnce(Asked, M) -> F + Send + 'static,
) -> KafkaPending
where
    M: Request,
    F: Future<Output = KafkaAnswer> + Send + 'static,
{
    KafkaPending::Waiting(Box::pin(execute(asked, request)))
}

fn ready(answer: KafkaAnswer) -> KafkaPending {
    KafkaPending::Ready(answer)
}

/// No answer, and nothing more is read from the client.
fn end(reason: Reason, code: OwnCode, text: String) -> KafkaAnswer {
    KafkaAnswer { end: Some((reason, code, text)), ..KafkaAnswer::default() }
}

impl Asked {
    /// The answer that this message is.
    fn answer<M: Message>(&self, message: &M, refused: Refused) -> KafkaAnswer {
        self.answer_with(message, Vec::new(), refused)
    }

    /// The answer that this message is, with ranges of files where it leaves room for them.
    fn answer_with<M: Message>(
        &self,
        message: &M,
        spliced: Vec<Vec<Piece>>,
        refused: Refused,
    ) -> KafkaAnswer {
        let (version, correlation_id) = (self.header.version, self.header.correlation_id);
        match response_frame(message, version, correlation_id) {
            Ok(encoded) => KafkaAnswer {
                frame: payload(encoded, spliced),
                refusals: refusals(refused),
                ..KafkaAnswer::default()
            },
            Err(error) => {
                let text = format!("{} in version {version}: {error}", M::NAME);
                tracing::error!("an answer can not be encoded: {text}");
                end(Reason::Malformed, OwnCode::Malformed, text)
            }
        }
    }

    /// Where clients reach this node, as this client is best told.
    fn endpoint(&self) -> Endpoint {
        let config = self.executor.running().config();
        let bound = &config.server.bind_address;
        match self.reached {
            Some(address) => Endpoint { host: address.ip().to_string(), port: address.port() },
            None => Endpoint { host: "localhost".to_owned(), port: bound.port },
        }
    }
}

fn refusals(refused: Refused) -> Vec<(Reason, String)> {
    let counted = refused.into_iter().filter_map(|error| Some((reason(&error)?, error.message)));
    counted.collect()
}

/// Under which reason an error counts as a refusal, if it does.
fn reason(error: &Error) -> Option<Reason> {
    error.error_code().and_then(rejection::reason_of)
}

/// The frame with the ranges in their places.
fn payload(encoded: Encoded, spliced: Vec<Vec<Piece>>) -> Payload {
    let Encoded { mut bytes, splices } = encoded;
    assert_eq!(splices.len(), spliced.len(), "every gap of a frame has its bytes");
    let (mut payload, mut at) = (Payload::default(), 0);
    for (splice, pieces) in splices.iter().zip(spliced) {
        payload.push(Piece::Memory(bytes.split_to(splice.at - at)));
        at = splice.at;
        let before = payload.len();
        pieces.into_iter().for_each(|piece| payload.push(piece));
        assert_eq!(payload.len() - before, splice.len, "a gap is filled exactly");
    }
    payload.push(Piece::Memory(bytes));
    payload
}
