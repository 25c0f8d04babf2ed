//! CreateTopics, DeleteTopics, CreatePartitions and DeleteRecords, executed.

use super::super::{admin, timed_out};
use super::produce::timeout;
use super::{Asked, KafkaAnswer};
use crate::api::fetch::check_count;
use crate::api::kafka::{Refused, topics as translate};
use crate::protocol::kafka::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsRequestTopic, CreateTopicsResponse, DeleteRecordsRequest, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use crate::protocol::native::message::{DeleteRecords, DeleteTopics, Error, NewTopic, TopicResult};

pub(super) async fn create(asked: Asked, request: CreateTopicsRequest) -> KafkaAnswer {
    let CreateTopicsRequest { topics, timeout_ms, validate_only } = request;
    let repeated = translate::repeated(topics.iter().map(|topic| &topic.name));
    let whole = check_count(topics.len());
    let (mut refused, mut answers) = (Refused::new(), Vec::with_capacity(topics.len()));
    for topic in topics {
        let wanted = whole
            .clone()
            .and_then(|()| translate::refuse_repeated(&repeated, &topic.name))
            .and_then(|()| translate::new_topic(&topic, asked.node.node_id()));
        let result = create_one(&asked, &topic, wanted, validate_only, timeout_ms).await;
        let view = asked.node.view();
        let policy = asked.node.topic_policy();
        answers.push(translate::created(
            topic.name,
            result,
            &policy.defaults,
            &view.context(),
            &mut refused,
        ));
    }
    asked.answer(&CreateTopicsResponse { topics: answers, ..Default::default() }, refused)
}

async fn create_one(
    asked: &Asked,
    topic: &CreateTopicsRequestTopic,
    wanted: Result<NewTopic, Error>,
    validate_only: bool,
    timeout_ms: i32,
) -> TopicResult {
    let name = topic.name.to_string();
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return TopicResult { error: Some(error), name, ..Default::default() },
    };
    let limit = timeout(timeout_ms);
    let created = admin::create(&asked.node, wanted, validate_only);
    let outcome = match tokio::time::timeout(limit, created).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(timed_out(limit)),
    };
    crate::api::topics::changed(name, None, outcome)
}

pub(super) async fn delete(asked: Asked, request: DeleteTopicsRequest) -> KafkaAnswer {
    let limit = timeout(request.timeout_ms);
    let doomed = translate::doomed(request);
    let whole = check_count(doomed.len());
    let (mut refused, mut responses) = (Refused::new(), Vec::with_capacity(doomed.len()));
    for topic in doomed {
        let name = whole.clone().and_then(|()| topic.name(&asked.node.view().context()));
        let outcome = match name {
            Ok(name) => {
                let delete = DeleteTopics { names: vec![name], validate_only: false };
                let deleted = admin::delete_topics(&asked.node, delete);
                match tokio::time::timeout(limit, deleted).await {
                    Ok(result) => Ok(result.topics.into_iter().next().unwrap_or_default()),
                    Err(_elapsed) => Err(timed_out(limit)),
                }
            }
            Err(error) => Err(error),
        };
        responses.push(topic.answer(outcome, &mut refused));
    }
    asked.answer(&DeleteTopicsResponse { responses, ..Default::default() }, refused)
}

pub(super) async fn add_partitions(asked: Asked, request: CreatePartitionsRequest) -> KafkaAnswer {
    let CreatePartitionsRequest { topics, timeout_ms, validate_only } = request;
    let limit = timeout(timeout_ms);
    let repeated = translate::repeated(topics.iter().map(|topic| &topic.name));
    let whole = check_count(topics.len());
    let (mut refused, mut results) = (Refused::new(), Vec::with_capacity(topics.len()));
    for topic in topics {
        let present = asked.node.view().image().topic(&topic.name).map(|t| t.partitions.len());
        let node = asked.node.node_id();
        let wanted = whole
            .clone()
            .and_then(|()| translate::refuse_repeated(&repeated, &topic.name))
            .and_then(|()| translate::add_partitions(&topic, present, node, validate_only));
        let outcome = match wanted {
            Ok(wanted) => {
                let added = admin::add_partitions(&asked.node, wanted);
                match tokio::time::timeout(limit, added).await {
                    Ok(result) => Ok(result.topic.unwrap_or_default()),
                    Err(_elapsed) => Err(timed_out(limit)),
                }
            }
            Err(error) => Err(error),
        };
        results.push(translate::partitions_added(topic.name, outcome, &mut refused));
    }
    asked.answer(&CreatePartitionsResponse { results, ..Default::default() }, refused)
}

pub(super) async fn delete_records(asked: Asked, request: DeleteRecordsRequest) -> KafkaAnswer {
    let limit = timeout(request.timeout_ms);
    let mut refused = Refused::new();
    let outcomes = match translate::deletions(&request) {
        Ok(partitions) => {
            let delete = DeleteRecords { partitions, validate_only: false };
            match tokio::time::timeout(limit, admin::delete_records(&asked.node, delete)).await {
                Ok(result) => Ok(result.partitions),
                Err(_elapsed) => Err(timed_out(limit)),
            }
        }
        Err(error) => Err(error),
    };
    let response = translate::records_deleted(request, outcomes, &mut refused);
    asked.answer(&response, refused)
}
