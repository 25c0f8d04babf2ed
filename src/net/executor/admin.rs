//! Administration, executed: commands go to the quorum, lookups to the views.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use super::super::service::{Answer, Pending};
use super::{Running, config, failed, timed_out};
use crate::api::{error, offsets, topics};
use crate::broker::Node;
use crate::limits;
use crate::metadata::{Command, Reply, Topic, decide};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{
    AddPartitions, AddPartitionsResult, AlterTopic, AlterTopicResult, CreateTopics,
    CreateTopicsResult, DeleteRecords, DeleteRecordsPartition, DeleteRecordsResult, DeleteTopics,
    DeleteTopicsResult, DescribeTopics, DescribeTopicsResult, Error, InitProducer,
    InitProducerResult, ListOffsets, ListOffsetsResult, Metadata, MetadataResult, NewTopic,
    Response, TopicMetadata,
};
use crate::quorum::ProposeError;
use crate::types::TopicId;

pub(super) fn call(
    node: &Arc<Node>,
    running: &Arc<Running>,
    operation: Operation,
    timeout: Duration,
) -> Pending {
    if let Err(error) = refuse_many(&operation) {
        return Pending::Ready(failed(error));
    }
    let (node, running) = (Arc::clone(node), Arc::clone(running));
    Pending::Later(Box::pin(async move {
        match tokio::time::timeout(timeout, execute(node, &running, operation)).await {
            Ok(Ok(response)) => Answer::of(refuse_large(response)),
            Ok(Err(error)) => failed(error),
            Err(_elapsed) => failed(timed_out(timeout)),
        }
    }))
}

/// Entries cost next to nothing on the wire and much more here, so they are counted first.
fn refuse_many(operation: &Operation) -> Result<(), Error> {
    let (what, count) = match operation {
        Operation::Metadata(request) => ("topics", request.topics.len()),
        Operation::DescribeTopics(request) => ("topics", request.names.len()),
        Operation::CreateTopics(request) => ("topics", request.topics.len()),
        Operation::DeleteTopics(request) => ("topics", request.names.len()),
        Operation::AlterTopic(request) => ("changes", request.changes.len()),
        Operation::ListOffsets(request) => ("partitions", request.partitions.len()),
        Operation::DeleteRecords(request) => ("partitions", request.partitions.len()),
        Operation::DescribeConfig(request) => ("keys", request.keys.len()),
        Operation::AlterConfig(request) => ("changes", request.changes.len()),
        _ => return Ok(()),
    };
    let limit = limits::REQUEST_PARTITIONS_MAX;
    if count > limit {
        let message = format!("a request may name {limit} {what}, this one names {count}");
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// An answer that no frame can carry becomes an error that says so.
pub(super) fn refuse_large(response: Response) -> Response {
    let (bytes, limit) = (response.encoded_len(), limits::FRAME_BYTES_MAX / 2);
    if bytes <= limit {
        return response;
    }
    let message =
        format!("the answer has {bytes} bytes, at most {limit} are sent; name fewer topics");
    Response { error: Some(Error::new(ErrorCode::MessageTooLarge, message)), ..Response::default() }
}

async fn execute(
    node: Arc<Node>,
    running: &Running,
    operation: Operation,
) -> Result<Response, Error> {
    Ok(match operation {
        Operation::Metadata(request) => Response::ok(metadata(&node, request).await),
        Operation::ListOffsets(request) => Response::ok(list_offsets(node, request).await),
        Operation::CreateTopics(request) => Response::ok(create_topics(&node, request).await),
        Operation::AlterTopic(request) => Response::ok(alter_topic(&node, request).await?),
        Operation::AddPartitions(request) => Response::ok(add_partitions(&node, request).await),
        Operation::DeleteTopics(request) => Response::ok(delete_topics(&node, request).await),
        Operation::DescribeTopics(request) => Response::ok(describe_topics(&node, request)),
        Operation::DeleteRecords(request) => Response::ok(delete_records(&node, request).await),
        Operation::InitProducer(request) => Response::ok(init_producer(&node, &request).await?),
        Operation::DescribeConfig(request) => {
            Response::ok(config::describe(&node, running, &request)?)
        }
        Operation::AlterConfig(request) => {
            Response::ok(config::alter(&node, running, &request).await?)
        }
        Operation::Produce(_)
        | Operation::Fetch(_)
        | Operation::Subscribe(_)
        | Operation::Metrics(_)
        | Operation::ReloadConfig(_)
        | Operation::ListGroups(_)
        | Operation::DescribeGroups(_)
        | Operation::DeleteGroups(_)
        | Operation::CommitOffsets(_)
        | Operation::FetchOffsets(_)
        | Operation::DeleteOffsets(_)
        | Operation::JoinGroup(_)
        | Operation::GroupHeartbeat(_)
        | Operation::LeaveGroup(_) => unreachable!("the executor answers these itself"),
    })
}

/// Changes the metadata, or only says what would come of it.
pub(super) async fn change(
    node: &Node,
    command: Command,
    validate_only: bool,
) -> Result<Reply, Error> {
    if validate_only {
        let view = node.view();
        let outcome = decide(view.image(), view.context().now, command);
        return outcome.map(|decision| decision.reply).map_err(|r| topics::refused(&r));
    }
    if node.is_read_only() {
        return Err(error::read_only());
    }
    node.propose(command).await.map_err(|e| propose_error(&e))
}

fn propose_error(failure: &ProposeError) -> Error {
    match failure {
        ProposeError::Refused(refusal) => topics::refused(refusal),
        other => {
            let message = format!("the metadata can not change: {other}");
            Error::new(ErrorCode::LeaderNotAvailable, message)
        }
    }
}

async fn metadata(node: &Node, request: Metadata) -> MetadataResult {
    let named = topics::named(request.topics, false, &node.view().context());
    let mut found = Vec::with_capacity(named.len());
    for name in named {
        found.push(topic_metadata(node, &name, request.auto_create).await);
    }
    let view = node.view();
    MetadataResult {
        cluster_id: node.cluster_id().to_owned(),
        controller: node.node_id().0,
        nodes: topics::nodes(&view.context()),
        topics: found,
    }
}

pub(super) async fn topic_metadata(node: &Node, name: &str, auto_create: bool) -> TopicMetadata {
    let missing = node.view().image().topic(name).is_none();
    if missing && auto_create && node.broker_settings().auto_create_topics && !node.is_read_only() {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            ..NewTopic::default()
        };
        match create(node, topic, false).await {
            // Somebody else was faster: just as well.
            Ok(_) => {}
            Err(error) if error.error_code() == Some(ErrorCode::TopicAlreadyExists) => {}
            Err(error) => {
                let error = Some(error);
                return TopicMetadata { error, name: name.to_owned(), ..Default::default() };
            }
        }
    }
    topics::metadata(name, &node.view().context())
}

pub(super) async fn create(
    node: &Node,
    topic: NewTopic,
    validate_only: bool,
) -> Result<Reply, Error> {
    let id = TopicId(uuid::Uuid::new_v4());
    let command = topics::plan_create(topic, id, node.broker_settings().default_partitions)?;
    change(node, command, validate_only).await
}

/// What a topic is at the moment.
fn topic(node: &Node, name: &str) -> Option<Arc<Topic>> {
    node.view().image().topic(name).map(Arc::clone)
}

async fn create_topics(node: &Node, request: CreateTopics) -> CreateTopicsResult {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = topic.name.clone();
        let outcome = create(node, topic, request.validate_only).await;
        results.push(topics::changed(name, None, outcome));
    }
    CreateTopicsResult { topics: results }
}

pub(super) async fn alter_topic(
    node: &Node,
    request: AlterTopic,
) -> Result<AlterTopicResult, Error> {
    let command = topics::plan_alter(&request)?;
    let before = topic(node, &request.name);
    let outcome = change(node, command, request.validate_only).await;
    Ok(AlterTopicResult { topic: Some(topics::changed(request.name, before.as_deref(), outcome)) })
}

pub(super) async fn add_partitions(node: &Node, request: AddPartitions) -> AddPartitionsResult {
    let command = topics::plan_add_partitions(&request);
    let before = topic(node, &request.name);
    let outcome = change(node, command, request.validate_only).await;
    AddPartitionsResult { topic: Some(topics::changed(request.name, before.as_deref(), outcome)) }
}

pub(super) async fn delete_topics(node: &Node, request: DeleteTopics) -> DeleteTopicsResult {
    let mut results = Vec::with_capacity(request.names.len());
    for name in request.names {
        let command = topics::plan_delete(name.clone());
        let before = topic(node, &name);
        let outcome = change(node, command, request.validate_only).await;
        results.push(topics::changed(name, before.as_deref(), outcome));
    }
    DeleteTopicsResult { topics: results }
}

fn describe_topics(node: &Node, request: DescribeTopics) -> DescribeTopicsResult {
    let view = node.view();
    let context = view.context();
    let names = topics::named(request.names, request.internal, &context);
    let policy = node.topic_policy();
    let describe = |name: &String| topics::describe(name, &policy.defaults, &context);
    DescribeTopicsResult { topics: names.iter().map(describe).collect() }
}

async fn list_offsets(node: Arc<Node>, request: ListOffsets) -> ListOffsetsResult {
    // Looking up a time may read from the disk.
    let list = move || {
        let view = node.view();
        let context = view.context();
        let results = request.partitions.into_iter().map(|e| offsets::list(e, &context));
        ListOffsetsResult { partitions: results.collect() }
    };
    tokio::task::spawn_blocking(list).await.expect("a panic in a lookup ends the process")
}

pub(super) async fn delete_records(node: &Node, request: DeleteRecords) -> DeleteRecordsResult {
    let mut results = Vec::with_capacity(request.partitions.len());
    for entry in request.partitions {
        let outcome = delete_from(node, &entry, request.validate_only).await;
        results.push(offsets::deleted(entry, outcome));
    }
    DeleteRecordsResult { partitions: results }
}

async fn delete_from(
    node: &Node,
    entry: &DeleteRecordsPartition,
    validate_only: bool,
) -> Result<crate::types::Offset, Error> {
    let told = |r| error::of_append(&r, &entry.topic, entry.partition);
    let view = node.view();
    let deletion = offsets::plan_delete(entry, &view.context())?;
    if validate_only {
        return offsets::validate_delete(&deletion).map_err(told);
    }
    offsets::accept_deletions(&view.context())?;
    drop(view);
    node.delete_records(&deletion.handle, deletion.before).await.map_err(told)
}

pub(super) async fn init_producer(
    node: &Node,
    request: &InitProducer,
) -> Result<InitProducerResult, Error> {
    // A producer that comes again gets the next epoch, which fences what it sent before. An id that
    // was never given out is not continued, or it would be given to somebody else one day.
    let known = (0..node.view().image().next_producer_id().0).contains(&request.producer_id);
    if known && (0..i32::from(i16::MAX)).contains(&request.producer_epoch) {
        return Ok(InitProducerResult {
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch + 1,
        });
    }
    let (id, epoch) = node.next_producer_id().await.map_err(|e| propose_error(&e))?;
    Ok(InitProducerResult { producer_id: id.0, producer_epoch: i32::from(epoch.0) })
}
