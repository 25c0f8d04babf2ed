//! Records of some partitions, in order, from an offset on and over whatever happens to the
//! connection. Owns positions; group membership is none of its business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::link::{BACKOFF_MAX, BACKOFF_MIN};
use super::subscription::Subscription;
use super::{Client, ClientError, Offsets};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    FetchPartition, FetchPartitionResult, ListOffsetsPartition, ListOffsetsPartitionResult,
    Subscribe,
};
use crate::record::{Batches, CheckedBatch, OwnedRecord, decode_records};

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOffset {
    /// At the first record that is still there.
    Earliest,
    /// After the last committed record.
    Latest,
    /// At this offset.
    At(i64),
    /// At the first record of this time or later, in milliseconds since 1970; at the end when there
    /// is none.
    Time(i64),
    /// This many offsets before the end.
    Last(u64),
}

/// What to do when the records at the position are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutOfRange {
    /// Say so.
    #[default]
    Fail,
    /// Go on at the first record that is still there.
    Earliest,
    /// Go on after the last committed record.
    Latest,
}

/// How a consumer behaves.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Leave out what open and aborted transactions wrote.
    pub read_committed: bool,
    /// Bytes the server may send ahead of what was taken.
    pub window_bytes: u32,
    /// Aim of one message of the server, in bytes; 0 leaves it to the server.
    pub frame_bytes: u32,
    /// What to do when the records at the position are gone.
    pub on_out_of_range: OnOutOfRange,
    /// How long in a row things may go wrong before the consumer says so.
    pub retry_timeout: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            read_committed: false,
            window_bytes: 8 * 1024 * 1024,
            frame_bytes: 0,
            on_out_of_range: OnOutOfRange::default(),
            retry_timeout: Duration::from_secs(30),
        }
    }
}

/// A record with its place. Key, value and headers share the memory of the batch they came in:
/// copy what is kept for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// Position in the partition.
    pub offset: i64,
    /// When it was made or appended, as the topic says; milliseconds since 1970, -1: unknown.
    pub timestamp: i64,
    /// What partitioning and compaction go by.
    pub key: Option<Bytes>,
    /// The content; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// Names and values that travel with the record, in their order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// How far one partition has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// Offset of the next record that is wanted.
    pub offset: i64,
    /// Offset after the last committed record, as far as it was heard of; -1: not yet.
    pub high_watermark: i64,
}

/// Reads partitions.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    positions: Vec<Position>,
    subscription: Option<Subscription>,
    /// Since when nothing but errors came, and the pause before the next try.
    trouble: Option<(Instant, Duration)>,
}

impl Consumer {
    /// A consumer of these partitions; looks up where to begin.
    ///
    /// # Errors
    /// When the offsets can not be had.
    pub async fn new(
        client: Client,
        config: ConsumerConfig,
        partitions: Vec<(String, i32, StartOffset)>,
    ) -> Result<Consumer, ClientError> {
        let positions = resolve(&client, config.retry_timeout, partitions).await?;
        Ok(Consumer { client, config, positions, subscription: None, trouble: None })
    }

    /// How far each partition has been read.
    #[must_use]
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// The next records of one partition, in order. Empty when the position moved over something
    /// that holds no records, such as the markers of transactions. Waits for as long as there is
    /// nothing. May be dropped at any point without losing records.
    ///
    /// # Errors
    /// What the server says of a partition when trying again can not help, records that can not be
    /// decoded, and trouble that lasts longer than the configuration allows.
    pub async fn next_batch(&mut self) -> Result<Vec<ConsumerRecord>, ClientError> {
        loop {
            match self.step().await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) => {}
                Err(error) => self.give_up_or_wait(error).await?,
            }
        }
    }

    /// One piece of the stream; `None` when it brought nothing and the next may.
    async fn step(&mut self) -> Result<Option<Vec<ConsumerRecord>>, ClientError> {
        if self.subscription.is_none() {
            self.subscription = Some(self.subscribe().await?);
        }
        // Borrowed anew at each step, so that a caller who stops waiting loses nothing.
        let Some(subscription) = &mut self.subscription else { return Ok(None) };
        let Some(piece) = subscription.next().await else {
            self.subscription = None;
            let error = self.client.lost("the server ended the subscription");
            return Err(error);
        };
        let (result, data) = piece?;
        let at = self.find(&result)?;
        if let Some(error) = result.error {
            return self.partition_failed(at, ClientError::server(error)).await;
        }
        let position = &mut self.positions[at];
        position.high_watermark = result.high_watermark;
        let before = position.offset;
        let records = read(position, data)?;
        self.trouble = None;
        Ok((position.offset != before).then_some(records))
    }

    async fn subscribe(&self) -> Result<Subscription, ClientError> {
        let partitions = self.positions.iter().map(|position| FetchPartition {
            topic: position.topic.to_string(),
            partition: position.partition,
            offset: position.offset,
            max_bytes: 0,
        });
        let subscribe = Subscribe {
            partitions: partitions.collect(),
            read_committed: self.config.read_committed,
            frame_bytes: self.config.frame_bytes,
        };
        self.client.subscribe(subscribe, self.config.window_bytes).await
    }

    fn find(&self, result: &FetchPartitionResult) -> Result<usize, ClientError> {
        let is_it = |position: &Position| {
            position.partition == result.partition && *position.topic == *result.topic
        };
        self.positions.iter().position(is_it).ok_or_else(|| self.client.unexpected("Subscribe"))
    }

    async fn partition_failed(
        &mut self,
        at: usize,
        error: ClientError,
    ) -> Result<Option<Vec<ConsumerRecord>>, ClientError> {
        let start = match self.config.on_out_of_range {
            _ if error.code() != Some(ErrorCode::OffsetOutOfRange) => return Err(error),
            OnOutOfRange::Fail => return Err(error),
            OnOutOfRange::Earliest => StartOffset::Earliest,
            OnOutOfRange::Latest => StartOffset::Latest,
        };
        // The stream goes on at the old place, so it is left before anything is awaited.
        self.subscription = None;
        let position = &self.positions[at];
        let wanted = vec![(position.topic.to_string(), position.partition, start)];
        let found = resolve(&self.client, self.config.retry_timeout, wanted).await?;
        self.positions[at].offset = found[0].offset;
        Ok(None)
    }

    /// Errors that pass are waited out, from the same positions on, for a while.
    async fn give_up_or_wait(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.subscription = None;
        let now = Instant::now();
        let (since, pause) = self.trouble.unwrap_or((now, BACKOFF_MIN));
        if !error.is_retriable() || now + pause >= since + self.config.retry_timeout {
            self.trouble = None;
            return Err(error);
        }
        self.trouble = Some((since, (pause * 2).min(BACKOFF_MAX)));
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Decodes the batches and moves the position behind them.
fn read(position: &mut Position, data: Bytes) -> Result<Vec<ConsumerRecord>, ClientError> {
    let place = format!("{}/{} at offset {}", position.topic, position.partition, position.offset);
    let bad = |error: &dyn std::fmt::Display| ClientError::Record(format!("{place}: {error}"));
    let mut records = Vec::new();
    for batch in Batches::new(data) {
        let batch = batch.map_err(|error| bad(&error))?;
        let next = next_offset(&batch).ok_or_else(|| bad(&"the batch has an impossible offset"))?;
        if !batch.header().is_control() {
            let decoded = decode_records(&batch).map_err(|error| bad(&error))?;
            // A batch can not be cut, so the first may begin before what was asked for.
            let wanted = decoded.into_iter().filter(|one| one.offset.0 >= position.offset);
            records.extend(wanted.map(|record| place_record(position, record)));
        }
        position.offset = position.offset.max(next);
    }
    Ok(records)
}

/// As the header's own arithmetic, but for numbers that a stranger sent.
fn next_offset(batch: &CheckedBatch) -> Option<i64> {
    let header = batch.header();
    let base = (header.base_offset.0 >= 0).then_some(header.base_offset.0)?;
    base.checked_add(i64::from(header.last_offset_delta))?.checked_add(1)
}

fn place_record(position: &Position, record: OwnedRecord) -> ConsumerRecord {
    ConsumerRecord {
        topic: Arc::clone(&position.topic),
        partition: position.partition,
        offset: record.offset.0,
        timestamp: record.timestamp.0,
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

/// Asks the server for the offsets that are not numbers yet.
async fn resolve(
    client: &Client,
    patience: Duration,
    partitions: Vec<(String, i32, StartOffset)>,
) -> Result<Vec<Position>, ClientError> {
    let mut asked = Vec::new();
    for (topic, partition, start) in &partitions {
        for &timestamp_ms in timestamps(*start) {
            let timestamp_ms = timestamp_ms.unwrap_or_else(|| match start {
                StartOffset::Time(time) => (*time).max(0),
                _ => Offsets::LATEST,
            });
            let (topic, partition) = (topic.clone(), *partition);
            asked.push(ListOffsetsPartition { topic, partition, timestamp_ms });
        }
    }
    let mut found = list(client, patience, asked).await?.into_iter();
    let mut next = || found.next().map_or(0, |result| result.offset);
    let place = |(topic, partition, start): (String, i32, StartOffset)| {
        let offset = match start {
            StartOffset::At(offset) => offset,
            StartOffset::Earliest | StartOffset::Latest => next(),
            StartOffset::Time(_) => match (next(), next()) {
                (-1, end) => end,
                (offset, _) => offset,
            },
            StartOffset::Last(count) => {
                let (first, end) = (next(), next());
                end.saturating_sub_unsigned(count).max(first)
            }
        };
        Position { topic: topic.into(), partition, offset, high_watermark: -1 }
    };
    Ok(partitions.into_iter().map(place).collect())
}

/// What has to be asked for, `None` standing for the start's own time.
fn timestamps(start: StartOffset) -> &'static [Option<i64>] {
    match start {
        StartOffset::At(_) => &[],
        StartOffset::Earliest => &[Some(Offsets::EARLIEST)],
        StartOffset::Latest => &[Some(Offsets::LATEST)],
        StartOffset::Time(_) => &[None, Some(Offsets::LATEST)],
        StartOffset::Last(_) => &[Some(Offsets::EARLIEST), Some(Offsets::LATEST)],
    }
}

/// As [`Client::list_offsets`], but with one result for each question or an error.
async fn list(
    client: &Client,
    patience: Duration,
    asked: Vec<ListOffsetsPartition>,
) -> Result<Vec<ListOffsetsPartitionResult>, ClientError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + patience;
    let mut pause = BACKOFF_MIN;
    loop {
        let found = client.list_offsets(asked.clone()).await?;
        let answers = |(one, to): (&ListOffsetsPartitionResult, &ListOffsetsPartition)| {
            one.topic == to.topic && one.partition == to.partition
        };
        if found.len() != asked.len() || !found.iter().zip(&asked).all(answers) {
            return Err(client.unexpected("ListOffsets"));
        }
        let Some(error) = found.iter().find_map(|one| one.error.clone()) else {
            return Ok(found);
        };
        // A topic that is not there is not worth waiting for, though Kafka calls that retriable.
        let missing = error.error_code() == Some(ErrorCode::UnknownTopicOrPartition);
        if missing || !error.retriable || Instant::now() + pause >= deadline {
            return Err(ClientError::server(error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

#[cfg(test)]
mod tests;
