//! `rivvend bench produce`: how fast a broker takes records, and how long it lets their producers
//! wait. Batches are built once and sent again and again, since the client shares the machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use rivvend::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, CONNECTION_IN_FLIGHT_MAX};
use rivvend::record::Compression;
use rivvend::types::{ProducerEpoch, ProducerId, Sequence};
use serde_json::json;

use super::batch::{Batch, Shape};
use super::drive::Load;
use super::loops::{PaceArgs, Part};
use super::outcome::{Run, Shown, usage};
use super::plan::{Plan, Turn};
use super::recorder::Recorder;
use super::session::Topic;
use super::stage::{Stage, StageArgs};
use super::stop;
use super::wire::Connection;
use crate::failure::Exit;

/// Batches of one idempotent producer that a broker tells apart, as in Kafka.
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

/// Measure how fast a broker takes records, and how long producers wait
#[derive(Args, Clone, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "A closed loop (--in-flight) sends the next batch when one is acknowledged; \
its latencies leave out what a stall kept from being sent. An open loop (--rate) sends on a \
schedule and counts latency from the time a batch should have been sent. MB are 10^6 bytes of keys \
and values.\n\nExamples:\n  rivvend bench produce\n  \
rivvend bench produce --producers 4 --partitions 4 --durability os --records 8000000\n  \
rivvend bench produce --producers 16 --batch-records 1\n  \
rivvend bench produce --protocol kafka --server localhost:9092\n  \
rivvend bench produce --rate 50000 --batch-records 10 --duration 60s -o json --save run.json"
)]
pub(crate) struct ProduceArgs {
    /// Producers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    producers: u16,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=(BATCH_BYTES_MAX as i64 / 2)))]
    record_size: u32,
    /// Records in a batch; a request holds one batch
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=(BATCH_RECORDS_MAX as i64)))]
    batch_records: u32,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", default_value = "none", value_parser = compression)]
    compression: Compression,
    /// Keys: none, or random:N for N different ones
    #[arg(long, value_name = "KEYS", default_value = "none", value_parser = keys)]
    keys: Keys,
    /// Acknowledgements to wait for: all, 1 or 0
    #[arg(long, value_name = "ACKS", default_value = "all", value_parser = acks)]
    acks: Acks,
    /// Number the batches, so that none is appended twice
    #[arg(long)]
    idempotent: bool,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    stage: StageArgs,
}

/// How many different keys; `None` for no keys.
#[derive(Clone, Copy, Debug)]
struct Keys(Option<u64>);

/// As the protocol has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acks(pub(super) i32);

fn keys(text: &str) -> Result<Keys, String> {
    let count = text.strip_prefix("random:").and_then(|count| count.parse().ok());
    match count {
        Some(count @ 1_u64..) => Ok(Keys(Some(count))),
        _ if text == "none" => Ok(Keys(None)),
        _ => Err("is neither none nor random:N".to_owned()),
    }
}

pub(super) fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "all" | "-1" => Ok(Acks(-1)),
        "1" => Ok(Acks(1)),
        "0" => Ok(Acks(0)),
        _ => Err("is none of all, 1 and 0".to_owned()),
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|_| "is none of none, gzip, snappy, lz4 and zstd".to_owned())
}

/// Measures and prints.
pub(super) fn run(args: &ProduceArgs) -> anyhow::Result<Exit> {
    args.check()?;
    let batch = Batch::build(&args.shape(), 1);
    let stage = Stage::open(&args.stage, batch.bytes.len(), 1)?;
    let settings = args.settings(&stage.topic, &batch);
    let producing = Producing { args, stage: &stage, batch };
    let mode = args.pace.pace().mode();
    let run = Run { command: "produce", mode, settings, shown: Shown::Alone };
    stage.measure(&args.stage, &producing, args.producers.into(), run)
}

/// Refuses a batch that no broker takes.
pub(super) fn check_batch(records: u32, record_size: u32) -> anyhow::Result<()> {
    let bytes = u64::from(records) * (u64::from(record_size) + 64);
    if bytes > BATCH_BYTES_MAX as u64 {
        let text = "the batch is larger than 64 MiB: lower --batch-records or --record-size";
        return Err(usage(text));
    }
    Ok(())
}

impl ProduceArgs {
    fn check(&self) -> anyhow::Result<()> {
        check_batch(self.batch_records, self.record_size)?;
        if self.record_size == 0 && self.keys.0.is_none() {
            return Err(usage("--record-size 0 goes with --keys: there would be nothing to count"));
        }
        let in_flight = self.pace.pace().in_flight();
        if self.idempotent && in_flight.is_none_or(|batches| batches > IDEMPOTENT_IN_FLIGHT_MAX) {
            return Err(usage("--idempotent goes with --in-flight 5 at most, and not with --rate"));
        }
        Ok(())
    }

    fn shape(&self) -> Shape {
        Shape {
            records: self.batch_records,
            record_size: self.record_size as usize,
            keys: self.keys.0,
            compression: self.compression,
        }
    }

    fn settings(&self, topic: &Topic, batch: &Batch) -> serde_json::Value {
        let pace = self.pace.pace();
        json!({
            "protocol": self.stage.protocol().name(), "plan": self.stage.plan.describe(),
            "durability": topic.durability, "partitions": topic.partitions,
            "producers": self.producers,
            "record_size": self.record_size, "batch_records": self.batch_records,
            "batch_bytes": batch.bytes.len(), "compression": self.compression.to_string(),
            "keys": self.keys.0, "acks": self.acks.0, "idempotent": self.idempotent,
            "in_flight": pace.in_flight(), "rate": pace.rate(),
        })
    }
}

/// The producers of a run.
struct Producing<'a> {
    args: &'a ProduceArgs,
    stage: &'a Stage,
    batch: Batch,
}

/// One producer.
struct Producer {
    number: usize,
    connection: Connection,
    /// Where it appends, in turn.
    partitions: Vec<i32>,
    /// Who it is, if it numbers its batches …
    identity: Option<(ProducerId, ProducerEpoch)>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Batches so far, which chooses the partition.
    batches: usize,
    /// … and the next number in each partition.
    sequences: BTreeMap<i32, Sequence>,
}

impl Load for Producing<'_> {
    type Client = Producer;

    async fn connect(&self, number: usize) -> anyhow::Result<Producer> {
        let connection = self.stage.session.connect().await?;
        let identity = match self.args.idempotent {
            true => Some(connection.init_producer().await?),
            false => None,
        };
        let partitions = self.stage.topic.share(number, self.args.producers.into());
        Ok(Producer { number, connection, partitions, identity, state: RefCell::default() })
    }

    async fn run(&self, producer: Producer, plan: &Plan, recorder: &RefCell<Recorder>) {
        let send = async |turn, intended| self.send(&producer, recorder, turn, intended).await;
        let part = Part {
            number: producer.number,
            producers: self.args.producers,
            records: self.args.batch_records,
            in_flight_max: CONNECTION_IN_FLIGHT_MAX,
        };
        self.args.pace.pace().run(plan, recorder, part, send).await;
    }
}

impl Producing<'_> {
    /// Sends one batch and counts it, from the time it was meant to be sent. Whether it went well.
    async fn send(
        &self,
        producer: &Producer,
        recorder: &RefCell<Recorder>,
        turn: Turn,
        intended: Instant,
    ) -> bool {
        let (partition, bytes) = self.next(producer);
        let acks = self.args.acks.0;
        let sent = self.stage.topic.append(&producer.connection, partition, bytes, acks).await;
        let now = Instant::now();
        // A gap in the numbers is refused for ever.
        if sent.is_err() && producer.identity.is_some() {
            stop::request();
        }
        let amount = (self.batch.records, self.batch.payload_bytes);
        recorder.borrow_mut().ended(turn, now, now.duration_since(intended), amount, &sent)
    }

    /// The next partition and what is appended there.
    fn next(&self, producer: &Producer) -> (i32, Bytes) {
        let mut state = producer.state.borrow_mut();
        let partition = producer.partitions[state.batches % producer.partitions.len()];
        state.batches += 1;
        let Some((id, epoch)) = producer.identity else {
            return (partition, self.batch.bytes.clone());
        };
        let sequence = state.sequences.entry(partition).or_insert(Sequence(0));
        let bytes = self.batch.sequenced(id, epoch, *sequence);
        *sequence = sequence.plus(self.batch.records as i32);
        (partition, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn parsed(line: &str) -> Result<ProduceArgs, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        assert!(parsed("--rate 5 --in-flight 2").is_err());
        assert!(parsed("--records 5 --duration 2s").is_err());
        assert!(parsed("--server-pid 5").is_err());
        for line in ["--idempotent --in-flight 6", "--idempotent --rate 5"] {
            assert!(parsed(line).expect("syntax").check().is_err(), "{line}");
        }
        let nothing = parsed("--record-size 0").expect("syntax");
        assert!(nothing.check().is_err());
        let keys_only = parsed("--record-size 0 --keys random:5").expect("syntax");
        assert!(keys_only.check().is_ok(), "keys are something to count");
        let large = parsed("--batch-records 1000 --record-size 100000").expect("syntax");
        assert!(large.check().is_err());
        assert!(keys("random:0").is_err() && keys("random:3").is_ok());
    }
}
