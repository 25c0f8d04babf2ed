//! `rivvend bench consume`: how fast a broker hands records out. What arrives is walked from batch
//! to batch and counted; a checksum costs the client more than all the rest, so it is asked for.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rivvend::client::{Client, ClientError};
use rivvend::config::Size;
use rivvend::limits::FETCH_BYTES_MAX;
use rivvend::protocol::native::message::{Fetch, FetchPartition, FetchPartitionResult};
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
use crate::failure::Exit;
use crate::progress::{Progress, Unit};
use crate::settings::value;

/// How long a fetch may wait for data that is not there.
const WAIT_MS: u32 = 500;
/// Batches under way while a topic is filled.
const FILL_IN_FLIGHT: usize = 4;
/// Pause after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Measure how fast a broker hands records out
#[derive(Args, Clone, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "Consumers share the partitions out and begin again at the end of them. An \
empty topic is filled first. Latency is that of one fetch.\n\nExamples:\n  \
rivvend bench consume\n  rivvend bench consume --consumers 4 --partitions 4 --fetch-bytes 4MB\n  \
rivvend bench consume --server localhost:9092 --topic orders --records 1000000"
)]
pub(crate) struct ConsumeArgs {
    /// Consumers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    consumers: u16,
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
    let stage = Stage::open(&args.stage, batch.bytes.len(), 1)?;
    let topic = &stage.topic;
    let filled = fill(&stage.client, topic, &batch, args);
    stage.runtime.block_on(stage.session.attended(filled))?;
    let settings = json!({
        "protocol": "native", "plan": args.stage.plan.describe(),
        "durability": topic.durability,
        "partitions": topic.partitions, "consumers": args.consumers,
        "fetch_bytes": args.fetch_bytes.0, "fill_bytes": args.fill.0,
        "record_size": args.record_size, "batch_records": args.batch_records, "verify": args.verify,
    });
    let consuming = Consuming { args, stage: &stage };
    let run = Run { command: "consume", mode: "closed", settings, shown: Shown::Alone };
    stage.measure(&args.stage, &consuming, args.consumers.into(), run)
}

/// Fills the topic evenly, if there is nothing in it.
async fn fill(
    client: &Client,
    topic: &Topic,
    batch: &Batch,
    args: &ConsumeArgs,
) -> anyhow::Result<()> {
    for partition in 0..topic.partitions {
        let (result, _) = fetch(client, topic, partition, 0, 1).await?;
        if result.high_watermark > result.log_start_offset {
            return Ok(());
        }
    }
    let bar = Progress::new(Unit::Bytes, Some(args.fill.0));
    let count = args.fill.0.div_ceil(batch.payload_bytes.max(1)).max(topic.partitions as u64);
    let sends = stream::iter(0..count).map(|number| {
        let partition = (number % topic.partitions as u64) as i32;
        async move {
            stop::check()?;
            anyhow::Ok(topic.append(client, partition, batch.bytes.clone(), -1).await?)
        }
    });
    let sends = sends.buffered(FILL_IN_FLIGHT).inspect_ok(|()| {
        bar.iter().for_each(|bar| bar.advance(batch.payload_bytes));
    });
    let filled = sends.try_collect::<()>().await.context("can not fill the topic");
    drop(bar);
    filled
}

/// One fetch of one partition; waits only where there is nothing.
async fn fetch(
    client: &Client,
    topic: &Topic,
    partition: i32,
    offset: i64,
    max_bytes: u32,
) -> Result<(FetchPartitionResult, Bytes), ClientError> {
    let asked = FetchPartition { topic: topic.name.clone(), partition, offset, max_bytes };
    let max_wait_ms = if max_bytes == 1 { 0 } else { WAIT_MS };
    let fetch = Fetch {
        partitions: vec![asked],
        max_bytes,
        min_bytes: 1,
        max_wait_ms,
        read_committed: false,
    };
    let (result, bytes) = client.fetch(fetch).await?.into_iter().next().unwrap_or_default();
    match result.error {
        Some(error) => Err(ClientError::server(error)),
        None => Ok((result, bytes)),
    }
}

/// The consumers of a run.
struct Consuming<'a> {
    args: &'a ConsumeArgs,
    stage: &'a Stage,
}

/// One consumer.
struct Consumer {
    client: Client,
    /// Its partitions, each with the offset it goes on from.
    places: Vec<(i32, i64)>,
    /// Which share of a batch keys and values are, once it is known.
    payload_share: Option<f64>,
}

impl Load for Consuming<'_> {
    type Client = Consumer;

    async fn connect(&self, number: usize) -> anyhow::Result<Consumer> {
        let own = self.stage.topic.share(number, self.args.consumers.into());
        let places = own.into_iter().map(|partition| (partition, 0)).collect();
        let client = self.stage.session.connect().await?;
        Ok(Consumer { client, places, payload_share: None })
    }

    async fn run(&self, mut consumer: Consumer, plan: &Plan, recorder: &RefCell<Recorder>) {
        let mut at = 0;
        loop {
            let begun = Instant::now();
            let Some(turn) = plan.claim(begun, 0) else { break };
            let place = at % consumer.places.len();
            at += 1;
            match self.read(&mut consumer, place).await {
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
    async fn read(&self, consumer: &mut Consumer, place: usize) -> anyhow::Result<(u64, u64)> {
        let (partition, offset) = consumer.places[place];
        let max_bytes = self.args.fetch_bytes.0 as u32;
        let (result, mut bytes) =
            fetch(&consumer.client, &self.stage.topic, partition, offset, max_bytes).await?;
        let share = match consumer.payload_share {
            Some(share) => share,
            None if bytes.is_empty() => 0.0,
            None => *consumer.payload_share.insert(payload_share(bytes.clone())?),
        };
        let size = (bytes.len() as f64 * share).round() as u64;
        let (mut records, mut next) = (0, offset.max(result.log_start_offset));
        while !bytes.is_empty() {
            let header = take_batch(&mut bytes, self.args.verify)?;
            records += u64::from(header.records_count.unsigned_abs());
            next = header.next_offset().0;
        }
        let is_at_end = next >= result.high_watermark;
        consumer.places[place].1 = if is_at_end { result.log_start_offset } else { next };
        Ok((records, size))
    }
}

/// Goes past the batch at the front.
fn take_batch(bytes: &mut Bytes, verify: bool) -> anyhow::Result<BatchHeader> {
    if verify {
        return Ok(*CheckedBatch::take(bytes, &CheckRules::internal())?.header());
    }
    let header = BatchHeader::parse(bytes).context("the header of a batch is cut off")?;
    let size = header.size_bytes().filter(|size| *size <= bytes.len());
    bytes.advance(size.context("a batch is cut off")?);
    Ok(header)
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
                let header = take_batch(&mut left, verify).expect("sound");
                assert_eq!(header.records_count, 10);
            }
            assert!(left.is_empty());
            for cut in [1, 60, batch.bytes.len() - 1] {
                assert!(take_batch(&mut two.slice(..cut), verify).is_err());
            }
        }
        let mut wrong = two.to_vec();
        wrong[100] ^= 1;
        assert!(take_batch(&mut wrong.clone().into(), true).is_err());
        assert!(take_batch(&mut wrong.into(), false).is_ok());
    }
}
