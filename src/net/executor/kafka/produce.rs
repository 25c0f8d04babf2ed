//! Produce and InitProducerId, executed.

use std::sync::Arc;
use std::time::Duration;

use super::super::appends::Appends;
use super::super::{admin, timed_out};
use super::{Asked, KafkaAnswer, KafkaPending, end, ready};
use crate::api::error;
use crate::api::fetch::check_count;
use crate::api::kafka::produce::{self as translate, Answer, Label, Plan};
use crate::api::kafka::{Refused, code};
use crate::log::producers::KnownProducer;
use crate::net::executor::{TIMEOUT_DEFAULT, TIMEOUT_MAX};
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeProducersResponseTopic,
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, Records,
};
use crate::protocol::native::message::{Error, InitProducer, InitProducerResult};
use crate::telemetry::Reason;
use crate::types::PartitionId;

pub(super) fn call(asked: Asked, request: ProduceRequest) -> KafkaPending {
    let timeout = timeout(request.timeout_ms);
    let (silent, bytes) = (request.acks == 0, bytes(&request));
    asked.node.expect_bytes(bytes);
    let view = asked.node.view();
    let Plan { asks, answer } = translate::plan(request, asked.header.version, &view.context());
    let appends = Appends::submit(&asked.node, asks);
    drop(view);
    if silent {
        return ready(unanswered(answer, appends));
    }
    match appends.settled() {
        Ok(settled) => ready(settle(&asked, answer, settled)),
        Err(appends) => KafkaPending::Changing(Box::pin(wait(asked, answer, appends, timeout))),
    }
}

fn bytes(request: &ProduceRequest) -> usize {
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let bytes = partitions.map(|entry| match &entry.records {
        Some(Records::Bytes(bytes)) => bytes.len(),
        Some(Records::Foreign { .. }) | None => 0,
    });
    bytes.sum()
}

async fn wait(
    asked: Asked,
    mut answer: Answer,
    mut appends: Appends<Label>,
    timeout: Duration,
) -> KafkaAnswer {
    let node = Arc::clone(&asked.node);
    if tokio::time::timeout(timeout, appends.wait(&node)).await.is_err() {
        let error = timed_out(timeout);
        appends.unsettled().for_each(|label| answer.time_out(*label, &error));
    }
    settle(&asked, answer, appends.into_done())
}

fn settle(
    asked: &Asked,
    mut answer: Answer,
    settled: Vec<super::super::appends::Settled<Label>>,
) -> KafkaAnswer {
    for (label, outcome) in settled {
        answer.settle(label, outcome);
    }
    asked.answer(&answer.response, answer.refused)
}

/// A client that wants no answer learns of an error by the end of the connection.
fn unanswered(mut answer: Answer, appends: Appends<Label>) -> KafkaAnswer {
    for (label, outcome) in appends.into_done() {
        answer.settle(label, outcome);
    }
    match answer.refused.into_iter().next() {
        None => KafkaAnswer::default(),
        Some(error) => {
            let code = error.error_code().unwrap_or(ErrorCode::InvalidRequest);
            let reason = super::reason(&error).unwrap_or(Reason::InvalidRequest);
            end(reason, code, error.message)
        }
    }
}

/// How long a request may take that says so in milliseconds.
pub(super) fn timeout(ms: i32) -> Duration {
    match u64::try_from(ms) {
        Ok(ms @ 1..) => Duration::from_millis(ms).min(TIMEOUT_MAX),
        _ => TIMEOUT_DEFAULT,
    }
}

/// Gives a producer its id: always a new one, since a producer without transactions counts its
/// epochs by itself (KIP-360).
pub(super) async fn init(asked: Asked, request: InitProducerIdRequest) -> KafkaAnswer {
    let mut response = InitProducerIdResponse { producer_epoch: -1, ..Default::default() };
    let mut refused = Vec::new();
    match give_id(&asked, &request).await {
        Ok(given) => {
            response.producer_id = given.producer_id;
            response.producer_epoch = given.producer_epoch as i16;
        }
        Err(error) => {
            response.error_code = code(&error);
            refused.push(error);
        }
    }
    asked.answer(&response, refused)
}

async fn give_id(
    asked: &Asked,
    request: &InitProducerIdRequest,
) -> Result<InitProducerResult, Error> {
    translate::refuse_transactions(request)?;
    let init = InitProducer { producer_id: -1, producer_epoch: -1 };
    admin::init_producer(&asked.node, &init).await
}

/// Tells which producers partitions remember.
pub(super) async fn describe(asked: Asked, request: DescribeProducersRequest) -> KafkaAnswer {
    let named = request.topics.iter().map(|topic| topic.partition_indexes.len()).sum();
    let whole = check_count(named);
    let (mut refused, mut topics) = (Refused::new(), Vec::with_capacity(request.topics.len()));
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for partition in topic.partition_indexes {
            let found = match &whole {
                Ok(()) => known(&asked, &topic.name, partition).await,
                Err(error) => Err(error.clone()),
            };
            partitions.push(translate::described(partition, found, &mut refused));
        }
        topics.push(DescribeProducersResponseTopic { name: topic.name, partitions });
    }
    asked.answer(&DescribeProducersResponse { topics, ..Default::default() }, refused)
}

async fn known(asked: &Asked, topic: &str, partition: i32) -> Result<Vec<KnownProducer>, Error> {
    let handle = {
        let view = asked.node.view();
        let found = view.context().find(topic)?;
        Arc::clone(found.partition(PartitionId(partition))?)
    };
    let known = asked.node.producers(&handle).await;
    known.map_err(|refusal| error::of_append(&refusal, topic, partition))
}
