//! CreateTopics, DeleteTopics, CreatePartitions and DeleteRecords.

use std::collections::BTreeMap;

use super::{Refused, code, note, text};
use crate::api::Context;
use crate::metadata::config::effective;
use crate::metadata::{Topic, config::BrokerDefaults};
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::{
    CreatePartitionsRequestAssignment, CreatePartitionsRequestTopic, CreatePartitionsResponseTopic,
    CreateTopicsRequestTopic, CreateTopicsResponseConfig, CreateTopicsResponseTopic,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsResponsePartition,
    DeleteRecordsResponseTopic, DeleteTopicsRequest, DeleteTopicsResponseTopic, Text,
};
use crate::protocol::native::message::{
    AddPartitions, DeleteRecordsPartition, DeleteRecordsPartitionResult, Error, NewTopic,
    TopicResult,
};
use crate::types::{NodeId, TopicId};

/// The topics of a request that it names more than once.
#[must_use]
pub fn repeated<'a>(names: impl Iterator<Item = &'a Text>) -> Vec<Text> {
    let mut counts = BTreeMap::<&Text, usize>::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.clone()).collect()
}

/// Refuses a topic that a request names more than once: nobody can tell which is meant.
///
/// # Errors
/// When it is one.
pub fn refuse_repeated(repeated: &[Text], name: &Text) -> Result<(), Error> {
    if repeated.contains(name) {
        let message = format!("the request names topic {name:?} more than once");
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// What a client wants a new topic to be.
///
/// # Errors
/// When it contradicts itself, or assigns replicas to nodes that there are not.
pub fn new_topic(topic: &CreateTopicsRequestTopic, node: NodeId) -> Result<NewTopic, Error> {
    let mut config = BTreeMap::new();
    for entry in &topic.configs {
        let Some(value) = &entry.value else {
            let message = format!("{} has no value", entry.name);
            return Err(Error::new(ErrorCode::InvalidConfig, message));
        };
        config.insert(entry.name.to_string(), value.to_string());
    }
    let (mut partitions, mut replication_factor) =
        (topic.num_partitions, i32::from(topic.replication_factor));
    if !topic.assignments.is_empty() {
        if partitions != -1 || replication_factor != -1 {
            let message = "replicas are assigned, so the numbers of partitions and replicas must \
                           be -1";
            return Err(Error::new(ErrorCode::InvalidRequest, message));
        }
        let mut indexes: Vec<_> = topic.assignments.iter().map(|a| a.partition_index).collect();
        indexes.sort_unstable();
        if indexes.iter().enumerate().any(|(at, index)| at as i32 != *index) {
            let message = "the assigned partitions are not numbered from 0 without a gap";
            return Err(Error::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        topic.assignments.iter().try_for_each(|a| check_replicas(&a.broker_ids, node))?;
        (partitions, replication_factor) = (indexes.len() as i32, 1);
    }
    Ok(NewTopic { name: topic.name.to_string(), partitions, replication_factor, config })
}

/// A cluster of one node has one place for replicas.
fn check_replicas(nodes: &[i32], node: NodeId) -> Result<(), Error> {
    if nodes == [node.0] {
        return Ok(());
    }
    let message = format!("replicas can be assigned to node {node} only, not to {nodes:?}");
    Err(Error::new(ErrorCode::InvalidReplicaAssignment, message))
}

/// The answer about a topic that was to be created.
#[must_use]
pub fn created(
    name: Text,
    result: TopicResult,
    file: &BrokerDefaults,
    context: &Context<'_>,
    refused: &mut Refused,
) -> CreateTopicsResponseTopic {
    let mut answer = CreateTopicsResponseTopic {
        name,
        error_message: None,
        configs: None,
        ..CreateTopicsResponseTopic::default()
    };
    if let Some(error) = result.error {
        answer.error_message = text(&error);
        answer.error_code = note(refused, error);
        return answer;
    }
    answer.topic_id = topic_id(&result.topic_id);
    answer.num_partitions = result.partitions;
    answer.replication_factor = result.replication_factor as i16;
    answer.configs = Some(match context.image.topic(&result.name) {
        Some(topic) => configs(topic, file, context),
        // It was only to be validated, or is gone again.
        None => Vec::new(),
    });
    answer
}

fn configs(
    topic: &Topic,
    file: &BrokerDefaults,
    context: &Context<'_>,
) -> Vec<CreateTopicsResponseConfig> {
    let entries = effective(&context.image.layers(topic, file)).into_iter();
    entries
        .map(|entry| CreateTopicsResponseConfig {
            name: Text::from_static(entry.key),
            value: Some(Text::from(entry.value)),
            read_only: false,
            config_source: super::configs::source(entry.source),
            is_sensitive: false,
        })
        .collect()
}

fn topic_id(bytes: &[u8]) -> TopicId {
    <[u8; 16]>::try_from(bytes).map(TopicId::from_bytes).unwrap_or_default()
}

/// A topic that is to be deleted: as the client names it, and its name if there is one.
#[derive(Debug)]
pub struct Doomed {
    /// The name the client gives.
    pub name: Option<Text>,
    /// The id the client gives; zero where it gives none.
    pub id: TopicId,
}

/// The topics that a request wants deleted. Older versions name them only.
#[must_use]
pub fn doomed(request: DeleteTopicsRequest) -> Vec<Doomed> {
    let by_name = request.topic_names.into_iter();
    let by_name = by_name.map(|name| Doomed { name: Some(name), id: TopicId::default() });
    let by_either = request.topics.into_iter().map(|t| Doomed { name: t.name, id: t.topic_id });
    by_name.chain(by_either).collect()
}

impl Doomed {
    /// The name that the topic has now.
    ///
    /// # Errors
    /// When there is no such topic, or it is named in two ways.
    pub fn name(&self, context: &Context<'_>) -> Result<String, Error> {
        match (&self.name, self.id == TopicId::default()) {
            (Some(name), true) => Ok(name.to_string()),
            (None, false) => {
                super::find(self.id, "", true, context).map(|found| found.topic.name.to_string())
            }
            _ => {
                let message = "a topic is named or given by its id, and not both";
                Err(Error::new(ErrorCode::InvalidRequest, message))
            }
        }
    }

    /// The answer about this topic.
    #[must_use]
    pub fn answer(
        self,
        outcome: Result<TopicResult, Error>,
        refused: &mut Refused,
    ) -> DeleteTopicsResponseTopic {
        let mut answer = DeleteTopicsResponseTopic {
            name: self.name,
            topic_id: self.id,
            ..DeleteTopicsResponseTopic::default()
        };
        let error = match outcome {
            Ok(TopicResult { error: None, name, topic_id: id, .. }) => {
                answer.name = Some(Text::from(name));
                answer.topic_id = topic_id(&id);
                return answer;
            }
            Ok(TopicResult { error: Some(error), .. }) | Err(error) => error,
        };
        answer.error_message = text(&error);
        answer.error_code = note(refused, error);
        answer
    }
}

/// What a client wants to add to a topic.
///
/// # Errors
/// When it assigns replicas to nodes that there are not.
pub fn add_partitions(
    topic: &CreatePartitionsRequestTopic,
    present: Option<usize>,
    node: NodeId,
    validate_only: bool,
) -> Result<AddPartitions, Error> {
    if let Some(assignments) = topic.assignments.as_deref().filter(|a| !a.is_empty()) {
        let added = usize::try_from(topic.count).unwrap_or(0).saturating_sub(present.unwrap_or(0));
        if assignments.len() != added {
            let message = format!(
                "{added} partitions are to be added, and {} are assigned",
                assignments.len()
            );
            return Err(Error::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        let check = |a: &CreatePartitionsRequestAssignment| check_replicas(&a.broker_ids, node);
        assignments.iter().try_for_each(check)?;
    }
    Ok(AddPartitions { name: topic.name.to_string(), total: topic.count, validate_only })
}

/// The answer about a topic that was to get more partitions.
#[must_use]
pub fn partitions_added(
    name: Text,
    outcome: Result<TopicResult, Error>,
    refused: &mut Refused,
) -> CreatePartitionsResponseTopic {
    let mut answer = CreatePartitionsResponseTopic { name, ..Default::default() };
    let error = match outcome {
        Ok(result) => result.error,
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        answer.error_message = text(&error);
        answer.error_code = note(refused, error);
    }
    answer
}

/// The deletions that a request asks for, in its order.
///
/// # Errors
/// When there are too many.
pub fn deletions(request: &DeleteRecordsRequest) -> Result<Vec<DeleteRecordsPartition>, Error> {
    crate::api::fetch::check_count(request.topics.iter().map(|t| t.partitions.len()).sum())?;
    let all = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| DeleteRecordsPartition {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            before_offset: partition.offset,
        })
    });
    Ok(all.collect())
}

/// The answer to a request for deletions whose outcomes these are, in its order.
#[must_use]
pub fn records_deleted(
    request: DeleteRecordsRequest,
    outcomes: Result<Vec<DeleteRecordsPartitionResult>, Error>,
    refused: &mut Refused,
) -> DeleteRecordsResponse {
    let (whole, outcomes) = match outcomes {
        Ok(outcomes) => (None, outcomes),
        Err(error) => (Some(code(&error)), Vec::new()),
    };
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|entry| {
            let outcome = outcomes.next();
            let low_watermark = outcome.as_ref().map_or(-1, |outcome| outcome.log_start_offset);
            let error = outcome.and_then(|outcome| outcome.error);
            DeleteRecordsResponsePartition {
                partition_index: entry.partition_index,
                low_watermark,
                error_code: error.map_or(whole.unwrap_or(0), |error| note(refused, error)),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsResponseTopic { name: topic.name, partitions }
    });
    DeleteRecordsResponse { topics: topics.collect(), ..DeleteRecordsResponse::default() }
}
