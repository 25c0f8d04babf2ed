//! Producers and live consumers on one topic, which `bench e2e` and `bench mixed` share. Every
//! record carries the time it was meant to be sent, so that a consumer knows how old it is; all of
//! them live in this process and read the same clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use rivvend::limits::BATCH_BYTES_MAX;
use serde_json::json;
use tokio::time::sleep_until;
use uuid::Uuid;

use super::delivery::{Inbox, Ledger};
use super::drive::{Load, Side};
use super::inflow::{Arrived, Inflow};
use super::loops::{Pace, Part};
use super::outcome::{Run, Shown, usage};
use super::plan::{Plan, Turn};
use super::produce::{Acks, acks, check_batch};
use super::recorder::Recorder;
use super::stage::{Stage, StageArgs};
use super::stamp::{STAMP_BYTES, Stamp, Template};
use super::wire::Connection;
use crate::failure::Exit;

/// How long nothing may come that is still due, once the producers are done.
const DUE_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of batches under way, over all producers; each is a copy with stamps of its own.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;

/// What both commands ask for.
#[derive(Args, Clone, Debug)]
pub(super) struct ExchangeArgs {
    /// Producers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    producers: u16,
    /// Consumers, each with a connection of its own [default: as many as producers]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    consumers: Option<u16>,
    /// Bytes of a value, of which a time stamp takes 32
    #[arg(long, value_name = "BYTES", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32)
        .range(STAMP_BYTES as i64..=(BATCH_BYTES_MAX as i64 / 2)))]
    record_size: u32,
    /// Acknowledgements to wait for: all, 1 or 0
    #[arg(long, value_name = "ACKS", default_value = "all", value_parser = acks)]
    acks: Acks,
    #[command(flatten)]
    stage: StageArgs,
}

impl ExchangeArgs {
    fn consumers(&self) -> u16 {
        self.consumers.unwrap_or(self.producers)
    }
}

/// Measures and prints.
pub(super) fn run(
    command: &'static str,
    args: &ExchangeArgs,
    batch_records: u32,
    pace: Pace,
    shown: Shown,
) -> anyhow::Result<Exit> {
    check_batch(batch_records, args.record_size)?;
    let template = Template::build(batch_records, args.record_size as usize);
    let batch_bytes = template.batch.bytes.len();
    let in_flight_max = IN_FLIGHT_BYTES_MAX / batch_bytes / usize::from(args.producers);
    if in_flight_max < pace.in_flight().unwrap_or(1) {
        return Err(usage("more than 1 GiB would be under way: send less at a time"));
    }
    let stage = Stage::open(&args.stage, batch_bytes, args.producers.into())?;
    let partitions = stage.topic.partitions;
    let settings = json!({
        "protocol": args.stage.protocol().name(), "plan": args.stage.plan.describe(),
        "durability": stage.topic.durability, "partitions": partitions,
        "producers": args.producers, "consumers": args.consumers(),
        "record_size": args.record_size, "batch_records": batch_records,
        "batch_bytes": batch_bytes, "acks": args.acks.0,
        "in_flight": pace.in_flight(), "rate": pace.rate(),
    });
    let ledger = Ledger::new(partitions, args.producers);
    let run = Uuid::new_v4().as_u64_pair().0;
    let exchange = Exchange { args, stage: &stage, template, pace, in_flight_max, run, ledger };
    let clients = usize::from(args.producers) + usize::from(args.consumers());
    let run = Run { command, mode: pace.mode(), settings, shown };
    stage.measure(&args.stage, &exchange, clients, run)
}

/// The clients of a run: first the producers, then the consumers.
struct Exchange<'a> {
    args: &'a ExchangeArgs,
    stage: &'a Stage,
    template: Template,
    pace: Pace,
    /// Batches that one producer may have under way.
    in_flight_max: usize,
    /// Tells its records from all others.
    run: u64,
    ledger: Ledger,
}

enum Party {
    Sends(Sender),
    Receives(Receiver),
}

/// One producer.
struct Sender {
    number: usize,
    connection: Connection,
    /// Where it appends, in turn.
    partitions: Vec<i32>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Batches so far, which chooses the partition.
    batches: usize,
    /// The next record's number in each partition.
    numbers: BTreeMap<i32, u64>,
}

/// One consumer.
struct Receiver {
    inflow: Inflow,
    inbox: Inbox,
}

impl Load for Exchange<'_> {
    type Client = Party;

    fn side(&self, number: usize) -> Side {
        if number < usize::from(self.args.producers) { Side::Producers } else { Side::Main }
    }

    async fn connect(&self, number: usize) -> anyhow::Result<Party> {
        let connection = self.stage.session.connect().await?;
        let producers = usize::from(self.args.producers);
        let topic = &self.stage.topic;
        if number < producers {
            let partitions = topic.share(number, producers);
            return Ok(Party::Sends(Sender {
                number,
                connection,
                partitions,
                state: RefCell::default(),
            }));
        }
        let partitions = topic.share(number - producers, self.args.consumers().into());
        let inbox = Inbox::new(self.run, self.args.producers, &partitions);
        let inflow = Inflow::open(connection, &topic.name, &partitions).await?;
        Ok(Party::Receives(Receiver { inflow, inbox }))
    }

    async fn run(&self, party: Party, plan: &Plan, recorder: &RefCell<Recorder>) {
        match party {
            Party::Sends(sender) => self.send_all(&sender, plan, recorder).await,
            Party::Receives(receiver) => self.receive_all(receiver, plan, recorder).await,
        }
    }
}

impl Exchange<'_> {
    async fn send_all(&self, sender: &Sender, plan: &Plan, recorder: &RefCell<Recorder>) {
        let _at_work = self.ledger.at_work();
        let batch = &self.template.batch;
        let send = async |turn, intended| self.send(sender, plan, recorder, turn, intended).await;
        let part = Part {
            number: sender.number,
            producers: self.args.producers,
            records: batch.records as u32,
            in_flight_max: self.in_flight_max,
        };
        self.pace.run(plan, recorder, part, send).await;
    }

    /// Sends one batch and counts how long its acknowledgement took. Whether it went well.
    async fn send(
        &self,
        sender: &Sender,
        plan: &Plan,
        recorder: &RefCell<Recorder>,
        turn: Turn,
        intended: Instant,
    ) -> bool {
        let (partition, bytes) = self.next(sender, intended.duration_since(plan.begin));
        let acks = self.args.acks.0;
        let sent = self.stage.topic.append(&sender.connection, partition, bytes, acks).await;
        let now = Instant::now();
        let batch = &self.template.batch;
        if sent.is_ok() {
            self.ledger.acknowledge(partition, batch.records);
        }
        let amount = (batch.records, batch.payload_bytes);
        recorder.borrow_mut().ended(turn, now, now.duration_since(intended), amount, &sent)
    }

    /// The next partition and what is appended there.
    fn next(&self, sender: &Sender, intended: Duration) -> (i32, Bytes) {
        let mut state = sender.state.borrow_mut();
        let partition = sender.partitions[state.batches % sender.partitions.len()];
        state.batches += 1;
        let next = state.numbers.entry(partition).or_insert(0);
        let number = *next;
        *next += self.template.batch.records;
        let producer = sender.number as u64;
        let stamp = Stamp { run: self.run, producer, number, intended };
        (partition, self.template.stamped(stamp))
    }

    /// Receives until all is there that was acknowledged, or what is due does not come.
    async fn receive_all(&self, mut receiver: Receiver, plan: &Plan, recorder: &RefCell<Recorder>) {
        let mut finished = std::pin::pin!(self.ledger.finished());
        // Set once the producers are done.
        let mut deadline: Option<Instant> = None;
        while deadline.is_none() || receiver.inbox.missing(&self.ledger) > 0 {
            let late = async || match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            };
            let arrived = tokio::select! {
                biased;
                arrived = receiver.inflow.next() => arrived,
                () = &mut finished, if deadline.is_none() => {
                    deadline = Some(Instant::now() + DUE_PATIENCE);
                    continue;
                }
                () = late() => break,
            };
            match arrived {
                Ok(records) => {
                    let is_ours = receiver.count(&records, plan, recorder);
                    if let (true, Some(deadline)) = (is_ours, &mut deadline) {
                        *deadline = Instant::now() + DUE_PATIENCE;
                    }
                }
                Err(error) => {
                    recorder.borrow_mut().failed(1, || format!("a consumer stopped: {error:#}"));
                    return;
                }
            }
        }
        let lost = receiver.inbox.missing(&self.ledger);
        if lost > 0 {
            let why = || format!("{lost} acknowledged records did not come to a consumer");
            recorder.borrow_mut().failed(lost, why);
        }
    }
}

impl Receiver {
    /// Counts what came, each send of it as one. Whether anything of this run was among it.
    fn count(&mut self, records: &[Arrived], plan: &Plan, recorder: &RefCell<Recorder>) -> bool {
        let now = Instant::now();
        let since = now.saturating_duration_since(plan.begin);
        let mut recorder = recorder.borrow_mut();
        let mut arrived: Vec<(Duration, u64)> = Vec::with_capacity(records.len());
        for record in records {
            match self.inbox.take(record.partition, &record.value, since) {
                Ok(Some(intended)) => arrived.push((intended, record.value.len() as u64)),
                Ok(None) => {}
                Err(wrong) => recorder.failed(1, || wrong.to_string()),
            }
        }
        for send in arrived.chunk_by(|one, other| one.0 == other.0) {
            let intended = send[0].0;
            let is_warm = plan.begin + intended < plan.start;
            let turn = if is_warm { Turn::Warm } else { Turn::Counted };
            let bytes = send.iter().map(|(_, bytes)| bytes).sum();
            recorder.done(turn, now, since - intended, (send.len() as u64, bytes));
        }
        !arrived.is_empty()
    }
}
