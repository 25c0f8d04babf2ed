//! Produce and InitProducerId.

use super::{Refused, code, find, note, text};
use crate::api::produce::{Ask, accept, check_acks, plan_batches};
use crate::api::{Context, Found, error, fetch};
use crate::limits;
use crate::log::producers::KnownProducer;
use crate::partition::{AppendRefusal, Appended};
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::InitProducerIdRequest;
use crate::protocol::kafka::Records;
use crate::protocol::kafka::{
    DescribeProducersResponsePartition, DescribeProducersResponseProducer, ProduceRequest,
    ProduceRequestPartition, ProduceRequestTopic, ProduceResponse, ProduceResponsePartition,
    ProduceResponseRecordError, ProduceResponseTopic,
};
use crate::protocol::native::message::Error;
use crate::types::PartitionId;

/// From this version on topics have ids and no names.
const IDS_FROM: i16 = 13;

/// Which part of an answer an append is about: the topic's place in it, and the partition's in the
/// topic.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    topic: usize,
    partition: usize,
}

/// What to do for a produce request.
#[derive(Debug)]
pub struct Plan {
    /// Appends, in the order in which the client sent them.
    pub asks: Vec<(Label, Ask)>,
    /// The answer as far as it is known.
    pub answer: Answer,
}

/// An answer that is filled in as appends settle.
#[derive(Debug, Default)]
pub struct Answer {
    /// The message.
    pub response: ProduceResponse,
    /// What it refuses.
    pub refused: Refused,
    /// Names for explanations, since newer messages carry none.
    names: Vec<String>,
}

/// Decides what a produce request means.
#[must_use]
pub fn plan(request: ProduceRequest, version: i16, context: &Context<'_>) -> Plan {
    let mut plan = Plan { asks: Vec::new(), answer: Answer::default() };
    let whole = check_whole(&request);
    for (index, topic) in request.topic_data.into_iter().enumerate() {
        let found = match &whole {
            Err(error) => Err(error.clone()),
            Ok(()) => find(topic.topic_id, &topic.name, version >= IDS_FROM, context)
                .and_then(|found| accept(found, context)),
        };
        plan.topic(index, topic, &found, context);
    }
    plan
}

/// Refuses what makes no sense whatever the partitions.
fn check_whole(request: &ProduceRequest) -> Result<(), Error> {
    check_acks(i32::from(request.acks))?;
    if let Some(id) = &request.transactional_id {
        let message = format!("transactions are not served, so not those of {id:?}");
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    fetch::check_count(request.topic_data.iter().map(|topic| topic.partition_data.len()).sum())
}

impl Plan {
    fn topic(
        &mut self,
        index: usize,
        topic: ProduceRequestTopic,
        found: &Result<Found, Error>,
        context: &Context<'_>,
    ) {
        let name =
            found.as_ref().map_or_else(|_| topic.name.to_string(), |f| f.topic.name.to_string());
        let mut responses = Vec::with_capacity(topic.partition_data.len());
        for (partition, entry) in topic.partition_data.into_iter().enumerate() {
            let index_of = entry.index;
            let outcome = found.as_ref().map_err(Error::clone).and_then(|found| {
                let data = records(entry)?;
                plan_batches(found, PartitionId(index_of), data, None, context)
            });
            let mut response = ProduceResponsePartition {
                index: index_of,
                base_offset: -1,
                ..ProduceResponsePartition::default()
            };
            match outcome {
                Ok(ask) => {
                    response.log_append_time_ms = ask.append_time.map_or(-1, |time| time.0);
                    self.asks.push((Label { topic: index, partition }, ask));
                }
                Err(error) => refuse(&mut response, error, &mut self.answer.refused),
            }
            responses.push(response);
        }
        self.answer.names.push(name);
        self.answer.response.responses.push(ProduceResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: responses,
        });
    }
}

fn records(entry: ProduceRequestPartition) -> Result<bytes::Bytes, Error> {
    match entry.records {
        Some(Records::Bytes(bytes)) => Ok(bytes),
        Some(Records::Foreign { .. }) => unreachable!("what is received is in memory"),
        None => Err(Error::new(ErrorCode::InvalidRecord, "the entry carries no record batch")),
    }
}

fn refuse(response: &mut ProduceResponsePartition, error: Error, refused: &mut Refused) {
    response.log_append_time_ms = -1;
    response.error_message = text(&error);
    // One record is named (KIP-467), the first that breaks a rule: the others were not looked at.
    let record = error.details.as_ref().and_then(|details| details.record);
    let named = record.map(|batch_index| ProduceResponseRecordError {
        batch_index,
        batch_index_error_message: text(&error),
    });
    response.record_errors = named.into_iter().collect();
    response.error_code = note(refused, error);
}

impl Answer {
    /// Fills in what came of an append.
    pub fn settle(&mut self, label: Label, outcome: Result<Appended, AppendRefusal>) {
        let topic = &mut self.response.responses[label.topic];
        let response = &mut topic.partition_responses[label.partition];
        match outcome {
            Ok(appended) => {
                response.base_offset = appended.base_offset.0;
                response.log_start_offset = appended.log_start_offset.0;
            }
            Err(refusal) => {
                let error = error::of_append(&refusal, &self.names[label.topic], response.index);
                refuse(response, error, &mut self.refused);
            }
        }
    }

    /// Tells of an append that was not done in time.
    pub fn time_out(&mut self, label: Label, error: &Error) {
        let topic = &mut self.response.responses[label.topic];
        let response = &mut topic.partition_responses[label.partition];
        response.error_code = code(error);
        response.error_message = text(error);
    }
}

/// The answer about the producers of one partition.
#[must_use]
pub fn described(
    partition_index: i32,
    found: Result<Vec<KnownProducer>, Error>,
    refused: &mut Refused,
) -> DescribeProducersResponsePartition {
    let mut answer = DescribeProducersResponsePartition { partition_index, ..Default::default() };
    match found {
        Ok(known) => {
            let producer = |known: KnownProducer| DescribeProducersResponseProducer {
                producer_id: known.id.0,
                producer_epoch: i32::from(known.epoch.0),
                last_sequence: known.last_sequence.map_or(-1, |sequence| sequence.0),
                last_timestamp: known.last_used.0,
                coordinator_epoch: -1,
                current_txn_start_offset: -1,
            };
            answer.active_producers = known.into_iter().map(producer).collect();
        }
        Err(error) => {
            answer.error_message = text(&error);
            answer.error_code = note(refused, error);
        }
    }
    answer
}

/// Refuses a producer that wants transactions, which are not served: first for what would be wrong
/// with its request anywhere, in the order in which Kafka looks at it. The timeout of a producer
/// without transactions means nothing, and clients send any.
///
/// # Errors
/// When it does.
pub fn refuse_transactions(request: &InitProducerIdRequest) -> Result<(), Error> {
    let Some(id) = &request.transactional_id else { return Ok(()) };
    let (timeout_ms, limit_ms) = (request.transaction_timeout_ms, limits::TRANSACTION_MS_MAX);
    let (code, message) = if id.is_empty() {
        (ErrorCode::InvalidRequest, "a transactional id may not be empty".to_owned())
    } else if !(1..=limit_ms).contains(&timeout_ms) {
        let message =
            format!("a transaction's timeout is between 1 and {limit_ms} ms, not {timeout_ms}");
        (ErrorCode::InvalidTransactionTimeout, message)
    } else {
        let message = format!("transactions are not served, so not those of {id:?}");
        (ErrorCode::UnsupportedVersion, message)
    };
    Err(Error::new(code, message))
}
