//! `rivvend bench consume`: how fast a broker hands records out. What arrives is walked from batch
//! to batch and counted; a checksum costs the client more than all the rest, so it is asked for.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rivvend::client::{Client, ClientError, Subscription};
use rivvend::config::Size;
use rivvend::limits::FETCH_BYTES_MAX;
use rivvend::protocol::native::message::{FetchPartition, Subscribe};
use rivvend::record::{BatchHeader, CheckRules, CheckedBatch, Compression, Scratch};
use serde_json::json;

use super::batch::{Batch, Shape};
use super::drive::Load;
use super::outcome::{Run, Shown, usage};
use super::plan::Plan;
use super::recorder::Recorder;
use super::session::Topic;
use super::stage::{Stage, StageArgs};
use super::stop;
use super::wire::{Connection, Fetched, Place, Portion, Protocol};
use crate::failure::Exit;
use crate::progress::{Progress, Unit};
use crate::settings::value;

/// How long a fetch may wait for data that is not there.
const WAIT_MS: u32 = 500;
/// Fetches that a subscribed consumer lets the broker send ahead.
const FRAMES_AHEAD: u32 = 8;
/// Batches under way while a topic is filled.
const FILL_IN_FLIGHT: usize = 4;
/// Pause after an error,
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// and how many in a row end a consumer, which would wait for its records for ever otherwise.
const ERRORS_IN_ROW_MAX: u32 = 200;

/// Measure how fast a broker hands records out
#[derive(Args, Clone, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "Consumers share the partitions out and begin again at the end of them. An \
empty topic is filled first. Latency is that of one fetch, or with --subscribe how long a \
consumer waited for what came next.\n\nExamples:\n  \
rivvend bench consume\n  rivvend bench consume --subscribe\n  \
rivvend bench consume --consumers 4 --partitions 4 --fetch-bytes 4MB\n  \
rivvend bench consume --server localhost:9092 --topic orders --records 1000000"
)]
pub(crate) struct ConsumeArgs {
    /// Consumers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    consumers: u16,
    /// Let the broker send ahead, as the consumers of the library do, instead of one fetch after
    /// the other
    #[arg(long)]
    subscribe: bool,
    /// Most bytes that a fetch asks for
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = value::<Size>)]
    fetch_bytes: Size,
    /// Bytes of keys and values that an empty topic is filled with
    #[arg(long, value_name = "SIZE", default_value = "400MB", value_parser = value::<Size>)]
    fill: Size,
    /// Bytes of a value that it is filled with
    #[arg(long, value_name = "BYTES", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    record_size: u32,
    /// Records in a batch that it is filled with
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_records: u32,
    /// Verify the checksum of every batch
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    stage: StageArgs,
}

/// Measures and prints.
pub(super) fn run(args: &ConsumeArgs) -> anyhow::Result<Exit> {
    if args.fetch_bytes.0 == 0 || args.fetch_bytes.0 > FETCH_BYTES_MAX as u64 {
        return Err(usage("--fetch-bytes is between 1 and 64 MiB"));
    }
    let shape = Shape {
        records: args.batch_records,
        record_size: args.record_size as usize,
        keys: None,
        compression: Compression::None,
    };
    let batch = Batch::build(&shape, 1);
    if args.subscribe && args.stage.protocol() != Protocol::Native {
        return Err(usage("--subscribe is of the native protocol: in Kafka's, consumers fetch"));
    }
    let stage = Stage::open(&args.stage, batch.bytes.len(), 1)?;
    let topic = &stage.topic;
    let filled = fill(&stage.connection, topic, &batch, args);
    stage.runtime.block_on(stage.session.attended(filled))?;
    let settings = json!({
        "protocol": args.stage.protocol().name(), "plan": args.stage.plan.describe(),
        "durability": topic.durability,
        "partitions": topic.partitions, "consumers": args.consumers, "subscribe": args.subscribe,
        "fetch_bytes": args.fetch_bytes.0, "fill_bytes": args.fill.0,
        "record_size": args.record_size, "batch_records": args.batch_records, "verify": args.verify,
    });
    let consuming = Consuming { args, stage: &stage };
    let run = Run { command: "consume", mode: "closed", settings, shown: Shown::Alone };
    stage.measure(&args.stage, &consuming, args.consumers.into(), run)
}

/// Fills the topic evenly, if there is nothing in it.
async fn fill(
    connection: &Connection,
    topic: &Topic,
    batch: &Batch,
    args: &ConsumeArgs,
) -> anyhow::Result<()> {
    for partition in 0..topic.partitions {
        let (place, portion) = (Place { partition, offset: 0 }, Portion::PROBE);
        let found = connection.fetch(&topic.name, place, portion).await?;
        if found.high_watermark > found.log_start_offset {
            return Ok(());
        }
    }
    let bar = Progress::new(Unit::Bytes, Some(args.fill.0));
    let count = args.fill.0.div_ceil(batch.payload_bytes.max(1)).max(topic.partitions as u64);
    let sends = stream::iter(0..count).map(|number| {
        let partition = (number % topic.partitions as u64) as i32;
        async move {
            stop::check()?;
            topic.append(connection, partition, batch.bytes.clone(), -1).await
        }
    });
    let sends = sends.buffered(FILL_IN_FLIGHT).inspect_ok(|()| {
        bar.iter().for_each(|bar| bar.advance(batch.payload_bytes));
    });
    let filled = sends.try_collect::<()>().await.context("can not fill the topic");
    drop(bar);
    filled
}

/// The consumers of a run.
struct Consuming<'a> {
    args: &'a ConsumeArgs,
    stage: &'a Stage,
}

/// Where a consumer is in one partition.
struct Reading {
    place: Place,
    is_at_end: bool,
}

/// One consumer.
struct Consumer {
    connection: Connection,
    /// Its partitions, each with where it goes on.
    readings: Vec<Reading>,
    /// What the broker sends ahead, where it does.
    subscription: Option<Subscription>,
    /// Which share of a batch keys and values are, once it is known.
    payload_share: Option<f64>,
}

impl Load for Consuming<'_> {
    type Client = Consumer;

    async fn connect(&self, number: usize) -> anyhow::Result<Consumer> {
        let own = self.stage.topic.share(number, self.args.consumers.into());
        let reading =
            |partition| Reading { place: Place { partition, offset: 0 }, is_at_end: false };
        let readings = own.into_iter().map(reading).collect();
        let connection = self.stage.session.connect().await?;
        Ok(Consumer { connection, readings, subscription: None, payload_share: None })
    }

    async fn run(&self, mut consumer: Consumer, plan: &Plan, recorder: &RefCell<Recorder>) {
        let (mut at, mut errors_in_row) = (0, 0);
        while errors_in_row < ERRORS_IN_ROW_MAX {
            let begun = Instant::now();
            let Some(turn) = plan.claim(begun, 0) else { break };
            let which = at % consumer.readings.len();
            at += 1;
            let read = if self.args.subscribe {
                self.receive(&mut consumer).await
            } else {
                self.read(&mut consumer, which).await
            };
            errors_in_row = if read.is_ok() { 0 } else { errors_in_row + 1 };
            match read {
                Ok((0, _)) => {}
                Ok((records, bytes)) => {
                    let now = Instant::now();
                    plan.spend(turn, records);
                    recorder.borrow_mut().done(turn, now, now - begun, (records, bytes));
                }
                Err(error) => {
                    recorder.borrow_mut().failed(1, || format!("{error:#}"));
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
}

impl Consuming<'_> {
    /// Reads on in one partition, from its start again at its end. Returns how many records came
    /// and the bytes of their keys and values.
    async fn read(&self, consumer: &mut Consumer, which: usize) -> anyhow::Result<(u64, u64)> {
        let portion = Portion { max_bytes: self.args.fetch_bytes.0 as u32, max_wait_ms: WAIT_MS };
        let place = consumer.readings[which].place;
        let fetched = consumer.connection.fetch(&self.stage.topic.name, place, portion).await?;
        self.walk(consumer, which, fetched)
    }

    /// Takes what the broker has sent ahead, from the start of all partitions again once all were
    /// read. Returns the same as [`Consuming::read`].
    async fn receive(&self, consumer: &mut Consumer) -> anyhow::Result<(u64, u64)> {
        if consumer.subscription.is_none() {
            let client = consumer.connection.native().expect("checked at the start");
            consumer.subscription = Some(self.subscribe(client, &consumer.readings).await?);
        }
        let subscription = consumer.subscription.as_mut().expect("made above");
        let wait = Duration::from_millis(WAIT_MS.into());
        let Ok(next) = tokio::time::timeout(wait, subscription.next()).await else {
            return Ok((0, 0));
        };
        let next = next.context("the broker ended the subscription").and_then(|next| {
            let (result, batches) = next?;
            result.error.map_or(Ok(()), |error| Err(ClientError::server(error)))?;
            Ok(Fetched {
                partition: result.partition,
                log_start_offset: result.log_start_offset,
                high_watermark: result.high_watermark,
                batches,
            })
        });
        let fetched = next.inspect_err(|_| consumer.subscription = None)?;
        let readings = &mut consumer.readings;
        let which = readings.iter().position(|one| one.place.partition == fetched.partition);
        let which = which.context("the broker sent a partition that nobody subscribed to")?;
        let counted = self.walk(consumer, which, fetched)?;
        if consumer.readings.iter().all(|reading| reading.is_at_end) {
            consumer.subscription = None;
            consumer.readings.iter_mut().for_each(|reading| reading.is_at_end = false);
        }
        Ok(counted)
    }

    async fn subscribe(
        &self,
        client: &Client,
        readings: &[Reading],
    ) -> Result<Subscription, ClientError> {
        let frame_bytes = self.args.fetch_bytes.0 as u32;
        let partitions = readings.iter().map(|reading| FetchPartition {
            topic: self.stage.topic.name.clone(),
            partition: reading.place.partition,
            offset: reading.place.offset,
            max_bytes: frame_bytes,
        });
        let subscribe =
            Subscribe { partitions: partitions.collect(), read_committed: false, frame_bytes };
        client.subscribe(subscribe, frame_bytes.saturating_mul(FRAMES_AHEAD)).await
    }

    /// Counts the records of what came and the bytes of their keys and values, and moves on, to
    /// the start again at the end.
    fn walk(
        &self,
        consumer: &mut Consumer,
        which: usize,
        fetched: Fetched,
    ) -> anyhow::Result<(u64, u64)> {
        let Fetched { log_start_offset, high_watermark, mut batches, .. } = fetched;
        let share = match consumer.payload_share {
            Some(share) => share,
            None if batches.is_empty() => 0.0,
            None => *consumer.payload_share.insert(payload_share(batches.clone())?),
        };
        let came = batches.len();
        let reading = &mut consumer.readings[which];
        let (mut records, mut next) = (0, reading.place.offset.max(log_start_offset));
        while let Some(header) = take_batch(&mut batches, self.args.verify)? {
            records += u64::from(header.records_count.unsigned_abs());
            next = header.next_offset().0;
        }
        let taken = came - batches.len();
        anyhow::ensure!(taken > 0 || came == 0, "the first batch is cut off");
        let size = (taken as f64 * share).round() as u64;
        reading.is_at_end = next >= high_watermark;
        reading.place.offset = if reading.is_at_end { log_start_offset } else { next };
        Ok((records, size))
    }
}

/// Goes past the batch at the front, if all of it is there: Kafka cuts off the last one.
fn take_batch(bytes: &mut Bytes, verify: bool) -> anyhow::Result<Option<BatchHeader>> {
    let Some(header) = BatchHeader::parse(bytes) else { return Ok(None) };
    let Some(size) = header.size_bytes().filter(|size| *size <= bytes.len()) else {
        return Ok(None);
    };
    if verify {
        CheckedBatch::take(bytes, &CheckRules::internal())?;
    } else {
        bytes.advance(size);
    }
    Ok(Some(header))
}

/// Which share of the first batch keys and values are. Taken for all of them, since those of a
/// benchmark are alike and reading every record would measure the client.
fn payload_share(mut bytes: Bytes) -> anyhow::Result<f64> {
    let batch = CheckedBatch::take(&mut bytes, &CheckRules::internal())?;
    let mut scratch = Scratch::default();
    let mut payload = 0;
    for record in batch.records(&mut scratch)? {
        let record = record?;
        payload += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    }
    Ok(payload as f64 / batch.bytes().len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_walked_with_and_without_verifying_and_only_whole_ones_count() {
        let shape =
            Shape { records: 10, record_size: 100, keys: None, compression: Compression::None };
        let batch = Batch::build(&shape, 1);
        let two = Bytes::from([&batch.bytes[..], &batch.bytes[..]].concat());
        let share = payload_share(two.clone()).expect("sound");
        assert!((share * two.len() as f64 - 2_000.0).abs() < 1e-6);
        for verify in [false, true] {
            let mut left = two.clone();
            for _ in 0..2 {
                let header = take_batch(&mut left, verify).expect("sound").expect("whole");
                assert_eq!(header.records_count, 10);
            }
            assert!(left.is_empty());
            for cut in [1, 60, batch.bytes.len() - 1] {
                let mut part = two.slice(..cut);
                assert!(matches!(take_batch(&mut part, verify), Ok(None)));
                assert_eq!(part.len(), cut, "nothing of it is gone past");
            }
        }
        let mut wrong = two.to_vec();
        wrong[100] ^= 1;
        assert!(take_batch(&mut wrong.clone().into(), true).is_err());
        assert!(take_batch(&mut wrong.into(), false).is_ok());
    }
}
