//! Produce: which batches go to which partition, and what the client learns.

use std::sync::Arc;

use bytes::Bytes;

use super::directory::TopicPartitions;
use super::{Context, Found, error};
use crate::limits;
use crate::metadata::config::TopicSettings;
use crate::partition::{Append, AppendRefusal, AppendReply, Appended, PartitionHandle};
use crate::partitioner;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    Error, Produce, ProducePartition, ProducePartitionResult, ProduceResult,
};
use crate::record::{BatchBuilder, BatchError, CheckRules, CheckedBatch, Compression, Timestamps};
use crate::types::{Millis, Offset, PartitionId};

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
    /// Where it is counted once it is done.
    pub counted: Counted,
    /// The time that its records bear, where that is the broker's.
    pub append_time: Option<Millis>,
}

/// Where an append is counted, and how many bytes it is.
#[derive(Clone, Debug)]
pub struct Counted {
    partitions: Arc<TopicPartitions>,
    bytes: usize,
}

impl Counted {
    /// Counts what was appended.
    pub fn count(&self, appended: &Appended) {
        let records = appended.next_offset.0 - appended.base_offset.0;
        let metrics = self.partitions.metrics();
        metrics.messages_received.add(u64::try_from(records).unwrap_or(0));
        metrics.bytes_received.add(self.bytes as u64);
    }
}

/// Which part of a request an answer belongs to.
#[derive(Clone, Debug)]
pub struct Label {
    request_index: u32,
    topic: String,
    partition: i32,
}

/// What to do for a produce request.
#[derive(Debug, Default)]
pub struct Plan {
    /// Appends, in the order in which the client sent them.
    pub asks: Vec<(Label, Ask)>,
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
    check_acks(request.acks)?;
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
        Ok(appended) => label.done(&appended),
        Err(refusal) => {
            let error = error::of_append(&refusal, &label.topic, label.partition);
            refused(label, error)
        }
    }
}

impl Label {
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
) -> Result<Vec<(Label, Ask)>, Error> {
    let found = accept(context.find(&entry.topic)?, context)?;
    if entry.partition == -1 {
        return plan_records(entry, &data, label, &found, context);
    }
    let partition = PartitionId(entry.partition);
    let expected_offset = entry.expected_offset.map(Offset);
    let ask = plan_batches(&found, partition, data, expected_offset, context)?;
    Ok(vec![(label.clone(), ask)])
}

/// Refuses acknowledgements that do not exist.
///
/// # Errors
/// When `acks` is none of those that do.
pub fn check_acks(acks: i32) -> Result<(), Error> {
    if (-1..=1).contains(&acks) {
        return Ok(());
    }
    let message = format!("acks is {acks}; it may be -1 (all), 1 or 0");
    Err(Error::new(ErrorCode::InvalidRequiredAcks, message))
}

/// Lets a topic through that clients may write to at the moment.
///
/// # Errors
/// When nothing is written now, or the topic is not for clients.
pub fn accept(found: Found, context: &Context<'_>) -> Result<Found, Error> {
    context.accept_writes()?;
    if found.topic.internal {
        let message = format!("{} is the broker's own topic", found.topic.name);
        return Err(Error::new(ErrorCode::InvalidTopic, message));
    }
    Ok(found)
}

/// Checks batches and makes one append of them.
///
/// # Errors
/// When there is no such partition or a batch breaks a rule.
pub fn plan_batches(
    found: &Found,
    partition: PartitionId,
    data: Bytes,
    expected_offset: Option<Offset>,
    context: &Context<'_>,
) -> Result<Ask, Error> {
    let handle = Arc::clone(found.partition(partition)?);
    let batches = check(data, found, context)?;
    Ok(ask(found, handle, batches, expected_offset, context))
}

fn ask(
    found: &Found,
    handle: Arc<PartitionHandle>,
    batches: Vec<CheckedBatch>,
    expected_offset: Option<Offset>,
    context: &Context<'_>,
) -> Ask {
    let bytes = batches.iter().map(|batch| batch.bytes().len()).sum();
    let counted = Counted { partitions: Arc::clone(&found.partitions), bytes };
    let (reply, outcome) = AppendReply::channel();
    let append_time = found.partitions.settings().append_time.then_some(context.now.wall);
    let append = Append { batches, expected_offset, reply };
    Ask { handle, append, outcome, counted, append_time }
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
            .and_then(|batch| store_as(batch, found.partitions.settings(), context.now.wall))
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

/// The batch as the topic wants it stored, which nearly always is as it came.
fn store_as(
    batch: CheckedBatch,
    settings: &TopicSettings,
    now: Millis,
) -> Result<CheckedBatch, BatchError> {
    let batch = match settings.compression {
        Some(compression) => batch.recompress(compression, settings.max_message_bytes)?,
        None => batch,
    };
    Ok(if settings.append_time { batch.with_append_time(now) } else { batch })
}

fn rules(found: &Found, context: &Context<'_>) -> CheckRules {
    let settings = found.partitions.settings();
    let wall = context.now.wall.0;
    CheckRules {
        bytes_max: settings.max_message_bytes,
        keys_required: settings.compaction.is_some(),
        // Where the broker's clock counts, it does not matter what the producer's says.
        timestamps: (!settings.append_time).then(|| Timestamps {
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
) -> Result<Vec<(Label, Ask)>, Error> {
    if entry.expected_offset.is_some() {
        let message = "an expected offset needs a partition: name one";
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    }
    let rules = rules(found, context);
    let refused = |e: BatchError| error::of_batch(&e, &found.topic.name, rules.bytes_max);
    let records = crate::record::parse_record_list(data, limits::BATCH_RECORDS_MAX);
    let records = records.map_err(refused)?;
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
    for (index, record) in (0..).zip(&records) {
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
        // The client knows places in its list, and not those in batches that it does not see.
        let mut stamped = record.clone();
        stamped.timestamp = timestamp;
        rules.check_record(index, &stamped).map_err(refused)?;
        builder.push_record(record, timestamp);
    }
    let mut asks = Vec::with_capacity(builders.len());
    for (partition, builder) in builders {
        let handle = Arc::clone(found.partition(partition)?);
        // Batches made here keep the same rules as those that clients make.
        let batches = check(builder.build().bytes().clone(), found, context)?;
        let label = Label { partition: partition.0, ..label.clone() };
        asks.push((label, ask(found, handle, batches, None, context)));
    }
    Ok(asks)
}
