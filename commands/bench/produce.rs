//! `rivvend bench produce`: how fast a broker takes records, and how long it lets their producers
//! wait. Batches are built once and sent again and again, since the client shares the machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rivvend::client::Client;
use rivvend::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, CONNECTION_IN_FLIGHT_MAX};
use rivvend::record::Compression;
use rivvend::types::{ProducerEpoch, ProducerId, Sequence};
use serde_json::json;

use super::batch::{Batch, Shape};
use super::drive::{Load, drive};
use super::outcome::{OutcomeArgs, Run, conclude, usage};
use super::pacer::Pacer;
use super::plan::{Plan, PlanArgs, Turn};
use super::recorder::Recorder;
use super::session::{Session, SessionArgs, Topic};
use super::stop;
use crate::failure::Exit;

/// Batches of one idempotent producer that a broker tells apart, as in Kafka.
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;
/// Pause after an error, so that a broker that refuses everything is not flooded.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// How long after its end an open loop may still send what it is behind.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Measure how fast a broker takes records, and how long producers wait
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A closed loop (--in-flight) sends the next batch when one is acknowledged; \
its latencies leave out what a stall kept from being sent. An open loop (--rate) sends on a \
schedule and counts latency from the time a batch should have been sent. MB are 10^6 bytes of keys \
and values.\n\nExamples:\n  rivvend bench produce\n  \
rivvend bench produce --producers 4 --partitions 4 --durability os --records 8000000\n  \
rivvend bench produce --producers 16 --batch-records 1\n  \
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
    /// Batches that each producer has under way [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=(CONNECTION_IN_FLIGHT_MAX as i64)))]
    in_flight: Option<u16>,
    /// Records a second, over all producers, whatever the broker answers
    #[arg(long, value_name = "RECORDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,
    /// Threads that run the producers [default: one per core]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// How many different keys; `None` for no keys.
#[derive(Clone, Copy, Debug)]
struct Keys(Option<u64>);

/// As the protocol has it.
#[derive(Clone, Copy, Debug)]
struct Acks(i32);

fn keys(text: &str) -> Result<Keys, String> {
    let count = text.strip_prefix("random:").and_then(|count| count.parse().ok());
    match count {
        Some(count @ 1_u64..) => Ok(Keys(Some(count))),
        _ if text == "none" => Ok(Keys(None)),
        _ => Err("is neither none nor random:N".to_owned()),
    }
}

fn acks(text: &str) -> Result<Acks, String> {
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
    let session = Session::open(&args.session)?;
    let machine = session.machine();
    let batch = Batch::build(&args.shape(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, topic) = runtime.block_on(async {
        let client = session.connect().await?;
        let topic = session.topic(&client, batch.bytes.len()).await?;
        anyhow::Ok((client, topic))
    })?;
    let settings = args.settings(&topic, &batch);
    let producing = Producing { args, session: &session, topic: &topic, batch };
    let producers = usize::from(args.producers);
    let driven = drive(&producing, &args.plan, producers, threads(args.threads), session.pid())?;
    runtime.block_on(session.clean_up(&client, &topic))?;
    let mode = if args.rate.is_some() { "open" } else { "closed" };
    conclude(Run { command: "produce", mode, settings, machine }, driven, &args.outcome)
}

/// As many as asked for, or one for each core.
pub(super) fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, Into::into), Into::into)
}

impl ProduceArgs {
    fn check(&self) -> anyhow::Result<()> {
        let bytes = u64::from(self.batch_records) * (u64::from(self.record_size) + 64);
        if bytes > BATCH_BYTES_MAX as u64 {
            let text = "the batch is larger than 64 MiB: lower --batch-records or --record-size";
            return Err(usage(text));
        }
        if self.idempotent && (self.in_flight() > IDEMPOTENT_IN_FLIGHT_MAX || self.rate.is_some()) {
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

    fn in_flight(&self) -> usize {
        usize::from(self.in_flight.unwrap_or(1))
    }

    fn settings(&self, topic: &Topic, batch: &Batch) -> serde_json::Value {
        json!({
            "protocol": "native", "plan": self.plan.describe(), "durability": topic.durability,
            "partitions": topic.partitions, "producers": self.producers,
            "record_size": self.record_size, "batch_records": self.batch_records,
            "batch_bytes": batch.bytes.len(), "compression": self.compression.to_string(),
            "keys": self.keys.0, "acks": self.acks.0, "idempotent": self.idempotent,
            "in_flight": self.rate.is_none().then(|| self.in_flight()), "rate": self.rate,
        })
    }
}

/// The producers of a run.
struct Producing<'a> {
    args: &'a ProduceArgs,
    session: &'a Session,
    topic: &'a Topic,
    batch: Batch,
}

/// One producer.
struct Producer {
    number: usize,
    client: Client,
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
        let client = self.session.connect().await?;
        let identity = match self.args.idempotent {
            true => {
                let granted = client.init_producer(None).await?;
                let epoch = i16::try_from(granted.producer_epoch)?;
                Some((ProducerId(granted.producer_id), ProducerEpoch(epoch)))
            }
            false => None,
        };
        Ok(Producer { number, client, identity, state: RefCell::default() })
    }

    async fn run(&self, producer: Producer, plan: &Plan, recorder: &RefCell<Recorder>) {
        match self.args.rate {
            Some(rate) => self.open_loop(&producer, plan, recorder, rate).await,
            None => self.closed_loop(&producer, plan, recorder).await,
        }
    }
}

impl Producing<'_> {
    async fn closed_loop(&self, producer: &Producer, plan: &Plan, recorder: &RefCell<Recorder>) {
        let lane = async || {
            loop {
                let now = Instant::now();
                let Some(turn) = plan.claim(now, self.batch.records) else { break };
                if !self.send(producer, plan, recorder, turn, now).await {
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        };
        let lanes: FuturesUnordered<_> = (0..self.args.in_flight()).map(|_| lane()).collect();
        lanes.collect::<()>().await;
    }

    async fn open_loop(
        &self,
        producer: &Producer,
        plan: &Plan,
        recorder: &RefCell<Recorder>,
        rate: u64,
    ) {
        let pacer = match Pacer::new() {
            Ok(pacer) => pacer,
            Err(error) => return recorder.borrow_mut().failed(1, || error.to_string()),
        };
        let mut schedule = Schedule::new(self.args, producer.number, plan.begin, rate);
        let mut under_way = FuturesUnordered::new();
        while let Some(turn) = plan.claim(schedule.next, self.batch.records) {
            if schedule.is_hopeless(plan.end) {
                recorder.borrow_mut().failed(1, || "the broker can not take so many".to_owned());
                break;
            }
            let intended = schedule.advance();
            // First what is under way, which also starts what was added last.
            let waited = async {
                loop {
                    tokio::select! {
                        biased;
                        Some(_) = under_way.next(), if !under_way.is_empty() => {}
                        waited = pacer.until(intended) => break waited,
                    }
                }
            };
            if let Err(error) = waited.await {
                return recorder.borrow_mut().failed(1, || error.to_string());
            }
            while under_way.len() >= CONNECTION_IN_FLIGHT_MAX {
                under_way.next().await;
            }
            under_way.push(self.send(producer, plan, recorder, turn, intended));
        }
        under_way.collect::<Vec<bool>>().await;
    }

    /// Sends one batch and counts it, from the time it was meant to be sent. Whether it went well.
    async fn send(
        &self,
        producer: &Producer,
        plan: &Plan,
        recorder: &RefCell<Recorder>,
        turn: Turn,
        intended: Instant,
    ) -> bool {
        let (partition, bytes) = self.next(producer);
        let acks = self.args.acks.0;
        let sent = self.topic.append(&producer.client, partition, bytes, acks).await;
        let now = Instant::now();
        plan.add_bytes(self.batch.payload_bytes);
        match sent {
            Ok(()) => {
                let amount = (self.batch.records, self.batch.payload_bytes);
                recorder.borrow_mut().done(turn, now, now.duration_since(intended), amount);
                true
            }
            Err(error) => {
                recorder.borrow_mut().failed(1, || error.to_string());
                // A gap in the numbers is refused for ever.
                if producer.identity.is_some() {
                    stop::request();
                }
                false
            }
        }
    }

    /// The next partition and what is appended there. Producers share the partitions out; those
    /// that are too many share theirs.
    fn next(&self, producer: &Producer) -> (i32, Bytes) {
        let (partitions, producers) =
            (self.topic.partitions as usize, usize::from(self.args.producers));
        let mut state = producer.state.borrow_mut();
        let own = partitions.saturating_sub(producer.number).div_ceil(producers).max(1);
        let turn = state.batches % own;
        state.batches += 1;
        let partition = ((producer.number + turn * producers) % partitions) as i32;
        let Some((id, epoch)) = producer.identity else {
            return (partition, self.batch.bytes.clone());
        };
        let sequence = state.sequences.entry(partition).or_insert(Sequence(0));
        let bytes = self.batch.sequenced(id, epoch, *sequence);
        *sequence = sequence.plus(self.batch.records as i32);
        (partition, bytes)
    }
}

/// When an open loop sends.
#[derive(Debug)]
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// Producers take turns, so that their batches are spread evenly.
    fn new(args: &ProduceArgs, number: usize, begin: Instant, rate: u64) -> Schedule {
        let one = Duration::from_secs_f64(f64::from(args.batch_records) / rate as f64);
        let interval = one * u32::from(args.producers);
        Schedule { next: begin + one * number as u32, interval }
    }

    /// The time of the next batch.
    fn advance(&mut self) -> Instant {
        let intended = self.next;
        self.next += self.interval;
        intended
    }

    /// Whether it is so late that there is no use in catching up.
    fn is_hopeless(&self, end: Option<Instant>) -> bool {
        let limit = end.unwrap_or(self.next) + CATCH_UP;
        Instant::now() > limit
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
        let large = parsed("--batch-records 1000 --record-size 100000").expect("syntax");
        assert!(large.check().is_err());
        assert!(keys("random:0").is_err() && keys("random:3").is_ok());
    }

    #[test]
    fn an_open_loop_spreads_the_rate_over_its_producers() {
        let args = parsed("--producers 4 --batch-records 10 --rate 1000").expect("valid");
        let begin = Instant::now();
        let mut times: Vec<Instant> = (0..4)
            .flat_map(|number| {
                let mut schedule = Schedule::new(&args, number, begin, 1_000);
                (0..25).map(move |_| schedule.advance())
            })
            .collect();
        times.sort();
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap == Duration::from_millis(10)), "{gaps:?}");
    }
}
