//! Produce: which batches go to which partition, and what the client learns.

use std::sync::Arc;

use bytes::Bytes;

use super::directory::TopicPartitions;
use super::{Context, Found, error};
use crate::limits;
use crate::partition::{Append, AppendRefusal, AppendReply, Appended, PartitionHandle};
use crate::partitioner;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    Error, Produce, ProducePartition, ProducePartitionResult, ProduceResult,
};
use crate::record::{BatchBuilder, CheckRules, CheckedBatch, Compression, Timestamps};
use crate::types::{Millis, PartitionId};

/// The outcome of one append, when it comes.
pub type Outcome = crate::partition::Answer<Result<Appended, AppendRefusal>>;

/// One append to submit to its partition's owner.
#[derive(Debug)]
pub struct Ask {
    /// The partition.
    pub handle: Arc<PartitionHandle>,
    /// What to append.
    pub append: Append,
    /// Where its outcome arrives.
    pub outcome: Outcome,
    /// What it answers.
    pub label: Label,
}

/// Which part of a request an answer belongs to.
#[derive(Clone, Debug)]
pub struct Label {
    request_index: u32,
    topic: String,
    partition: i32,
    /// Where it is counted, and how many bytes it is.
    counted: Option<(Arc<TopicPartitions>, usize)>,
}

/// What to do for a produce request.
#[derive(Debug, Default)]
pub struct Plan {
    /// Appends, in the order in which the client sent them.
    pub asks: Vec<Ask>,
    /// Entries that are refused already.
    pub refused: Vec<ProducePartitionResult>,
    /// Whether the client wants no answer.
    pub silent: bool,
}

/// Decides what a produce request means.
///
/// # Errors
/// When the request as a whole makes no sense.
pub fn plan(request: Produce, mut payload: Bytes, context: &Context<'_>) -> Result<Plan, Error> {
    if !(-1..=1).contains(&request.acks) {
        let message = format!("acks is {}; it may be -1 (all), 1 or 0", request.acks);
        return Err(Error::new(ErrorCode::InvalidRequiredAcks, message));
    }
    let declared: u64 = request.partitions.iter().map(|p| u64::from(p.data_bytes)).sum();
    if declared != payload.len() as u64 {
        let message = format!(
            "the partitions declare {declared} bytes of data, the frame carries {}",
            payload.len()
        );
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    if request.partitions.len() > limits::REQUEST_PARTITIONS_MAX {
        let message = format!(
            "a request may name {} partitions, this one names {}",
            limits::REQUEST_PARTITIONS_MAX,
            request.partitions.len()
        );
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    let mut plan = Plan { silent: request.acks == 0, ..Plan::default() };
    for (index, entry) in request.partitions.into_iter().enumerate() {
        let data = payload.split_to(entry.data_bytes as usize);
        let label = Label {
            request_index: index as u32,
            topic: entry.topic.clone(),
            partition: entry.partition,
            counted: None,
        };
        match plan_entry(&entry, data, &label, context) {
            Ok(asks) => plan.asks.extend(asks),
            Err(error) => plan.refused.push(refused(label, error)),
        }
    }
    Ok(plan)
}

/// Turns an outcome into the client's answer.
#[must_use]
pub fn answer(label: Label, outcome: Result<Appended, AppendRefusal>) -> ProducePartitionResult {
    match outcome {
        Ok(appended) => {
            label.count(&appended);
            label.done(&appended)
        }
        Err(refusal) => {
            let error = error::of_append(&refusal, &label.topic, label.partition);
            refused(label, error)
        }
    }
}

impl Label {
    fn count(&self, appended: &Appended) {
        let Some((partitions, bytes)) = &self.counted else { return };
        let records = appended.next_offset.0 - appended.base_offset.0;
        partitions.metrics().messages_received.add(u64::try_from(records).unwrap_or(0));
        partitions.metrics().bytes_received.add(*bytes as u64);
    }

    fn done(self, appended: &Appended) -> ProducePartitionResult {
        ProducePartitionResult {
            error: None,
            topic: self.topic,
            partition: self.partition,
            base_offset: appended.base_offset.0,
            next_offset: appended.next_offset.0,
            log_start_offset: appended.log_start_offset.0,
            durability: appended.durability.as_str().to_owned(),
            request_index: self.request_index,
        }
    }
}

/// The answer to a client that waits for no acknowledgement: the entry was taken, its offsets are
/// not known yet.
#[must_use]
pub fn unacknowledged(label: Label) -> ProducePartitionResult {
    ProducePartitionResult {
        error: None,
        topic: label.topic,
        partition: label.partition,
        base_offset: -1,
        next_offset: -1,
        log_start_offset: -1,
        durability: String::new(),
        request_index: label.request_index,
    }
}

/// The whole answer, in the order of the request.
#[must_use]
pub fn gather(mut results: Vec<ProducePartitionResult>) -> ProduceResult {
    results.sort_by_key(|r| (r.request_index, r.partition));
    ProduceResult { partitions: results }
}

fn refused(label: Label, error: Error) -> ProducePartitionResult {
    ProducePartitionResult { error: Some(error), ..unacknowledged(label) }
}

fn plan_entry(
    entry: &ProducePartition,
    data: Bytes,
    label: &Label,
    context: &Context<'_>,
) -> Result<Vec<Ask>, Error> {
    context.accept_writes()?;
    let found = context.find(&entry.topic)?;
    if found.topic.internal {
        let message = format!("{} is the broker's own topic", entry.topic);
        return Err(Error::new(ErrorCode::InvalidTopic, message));
    }
    if entry.partition == -1 {
        return plan_records(entry, &data, label, &found, context);
    }
    let handle = found.partition(PartitionId(entry.partition))?;
    let batches = check(data, &found, context)?;
    let handle = Arc::clone(handle);
    Ok(vec![ask(&found, handle, batches, entry.expected_offset, label.clone())])
}

fn ask(
    found: &Found,
    handle: Arc<PartitionHandle>,
    batches: Vec<CheckedBatch>,
    expected_offset: Option<i64>,
    label: Label,
) -> Ask {
    let bytes = batches.iter().map(|batch| batch.bytes().len()).sum();
    let label = Label { counted: Some((Arc::clone(&found.partitions), bytes)), ..label };
    let (reply, outcome) = AppendReply::channel();
    let expected_offset = expected_offset.map(crate::types::Offset);
    Ask { handle, append: Append { batches, expected_offset, reply }, outcome, label }
}

/// Work in proportion to the bytes happens here, before any ownership is taken.
fn check(
    mut data: Bytes,
    found: &Found,
    context: &Context<'_>,
) -> Result<Vec<CheckedBatch>, Error> {
    let rules = rules(found, context);
    let mut batches = Vec::with_capacity(1);
    while !data.is_empty() {
        let batch = CheckedBatch::take(&mut data, &rules)
            .map_err(|e| error::of_batch(&e, &found.topic.name, rules.bytes_max))?;
        batches.push(batch);
    }
    if batches.is_empty() {
        let message = "the entry carries no record batch";
        return Err(Error::new(ErrorCode::InvalidRecord, message));
    }
    if batches.len() > 1 && batches.iter().any(|b| b.header().producer().is_some()) {
        let message = "an idempotent producer sends one batch per partition and request";
        return Err(Error::new(ErrorCode::InvalidRecord, message));
    }
    Ok(batches)
}

fn rules(found: &Found, context: &Context<'_>) -> CheckRules {
    let settings = found.partitions.settings();
    let wall = context.now.wall.0;
    CheckRules {
        bytes_max: settings.max_message_bytes,
        timestamps: Some(Timestamps {
            earliest: Millis(wall.saturating_sub(settings.timestamp_before_max_ms).max(0)),
            latest: Millis(wall.saturating_add(settings.timestamp_after_max_ms)),
        }),
        ..CheckRules::default()
    }
}

/// Partitions plain records and builds the batches that their producer did not.
fn plan_records(
    entry: &ProducePartition,
    data: &Bytes,
    label: &Label,
    found: &Found,
    context: &Context<'_>,
) -> Result<Vec<Ask>, Error> {
    if entry.expected_offset.is_some() {
        let message = "an expected offset needs a partition: name one";
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    let bytes_max = rules(found, context).bytes_max;
    let records = crate::record::parse_record_list(data, limits::BATCH_RECORDS_MAX)
        .map_err(|e| error::of_batch(&e, &found.topic.name, bytes_max))?;
    if records.is_empty() {
        return Err(Error::new(ErrorCode::InvalidRecord, "the entry carries no record"));
    }
    let partitions = found.partitions.handles().len() as i32;
    let sticky = found.partitions.sticky(
        context.now,
        data.len(),
        context.sticky.batch_bytes,
        context.sticky.linger_ms,
    );
    let mut builders = std::collections::BTreeMap::new();
    for record in &records {
        let partition = match record.key {
            Some(key) => partitioner::partition_for_key(key, partitions),
            None => sticky,
        };
        let builder =
            builders.entry(partition).or_insert_with(|| BatchBuilder::new(Compression::None));
        let timestamp = match record.timestamp {
            Millis(..=0) => context.now.wall,
            given => given,
        };
        builder.push_record(record, timestamp);
    }
    let mut asks = Vec::with_capacity(builders.len());
    for (partition, builder) in builders {
        let handle = Arc::clone(found.partition(partition)?);
        // Batches made here keep the same rules as those that clients make.
        let batches = check(builder.build().bytes().clone(), found, context)?;
        let label = Label { partition: partition.0, ..label.clone() };
        asks.push(ask(found, handle, batches, None, label));
    }
    Ok(asks)
}
