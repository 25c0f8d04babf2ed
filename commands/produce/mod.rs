//! `rivvend produce`: standard input or a file into a topic. A thread reads and cuts the input,
//! this task builds batches, the client's producer sends them. Each stage is bounded and holds back
//! the one before it, so memory stays small however large the file is.

mod batcher;
mod report;
mod source;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rivvend::client::{
    Acks, Client, ClientError, Delivery, DeliveryHandle, Producer, ProducerConfig,
};
use rivvend::config::{Size, Value as _};
use rivvend::limits::{BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX};
use rivvend::partitioner::StickyPartitioner;
use rivvend::protocol::error::ErrorCode;
use rivvend::record::Compression;
use tokio::time::Instant;

use crate::failure::{Exit, Failure, Outcome};
use crate::input::{INPUT_HELP, InputFormat, InputRecord};
use crate::output::{Format, OutputArgs};
use crate::settings::value;
use crate::target::{self, Intent, Session, TargetArgs, unknown_topic};
use batcher::{Batcher, Built, Rules};
pub(crate) use report::JSON;
use report::Report;
use source::Source;

/// How long an open batch waits for more input.
const LINGER: Duration = Duration::from_millis(5);

const EXAMPLES: &str = "\
Examples:
  echo hello | rivvend produce orders
  rivvend produce orders --file orders.txt -z zstd
  rivvend produce orders -f '%k\\t%v\\n' < pairs.tsv
  rivvend produce ledger -p 0 --expect-offset 42 < next.txt
  rivvend produce blobs --chunk 1MB --file image.iso --output json";

/// Write records to a topic, from standard input or a file
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{INPUT_HELP}\n\n{EXAMPLES}"))]
pub(crate) struct ProduceArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Read from a file instead of standard input; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How input is cut into records [default: '%v\n', one a line]
    #[arg(short, long, value_name = "FORMAT", value_parser = InputFormat::parse)]
    format: Option<InputFormat>,
    /// Cut input into records of this size, such as 64KiB or 1MB
    #[arg(long, value_name = "SIZE", value_parser = chunk_size, conflicts_with = "format")]
    chunk: Option<usize>,
    /// Key of every record that brings none
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, Bytes)>,
    /// Partition of every record that brings none [default: by key, else spread]
    #[arg(short, long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Write only if the first record gets exactly this offset, and all others the ones after it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    expect_offset: Option<i64>,
    /// Compression: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none")]
    compression: Compression,
    /// Who must have a record before it counts as written: all, 1 (the leader), 0 (nobody)
    #[arg(long, value_name = "ACKS", default_value = "all", value_parser = acks)]
    #[arg(allow_hyphen_values = true)]
    acks: Acks,
    /// Write an empty value as a tombstone
    #[arg(long)]
    tombstone: bool,
    /// Leave out records with an empty value
    #[arg(long, conflicts_with = "tombstone")]
    skip_empty: bool,
    /// Longest time until a record is acknowledged, retries included, such as 500ms or 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::<Duration>)]
    delivery_timeout: Duration,
    /// Do not create a missing topic
    #[arg(long)]
    no_auto_create: bool,
    /// Bytes without a key that go to one partition before the next is chosen
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = value::<Size>)]
    #[arg(hide_short_help = true)]
    partitioner_batch_size: Size,
    /// Longest time one partition is used for records without a key
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = value::<Duration>)]
    #[arg(hide_short_help = true)]
    partitioner_linger_ms: Duration,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

fn chunk_size(text: &str) -> Result<usize, String> {
    let size = Size::read(text)?.0;
    match usize::try_from(size) {
        Ok(size) if (1..=BATCH_BYTES_MAX).contains(&size) => Ok(size),
        _ => Err(format!("is out of range: 1 to {BATCH_BYTES_MAX}")),
    }
}

fn header(text: &str) -> Result<(String, Bytes), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| "is not NAME:VALUE".to_owned())?;
    Ok((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
}

fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::None),
        _ => Err("is none of all, 1 and 0".to_owned()),
    }
}

impl ProduceArgs {
    fn input_format(&self) -> InputFormat {
        match (self.chunk, &self.format) {
            (Some(size), _) => InputFormat::Chunks(size),
            (None, Some(format)) => format.clone(),
            (None, None) => InputFormat::Lines,
        }
    }

    /// What only all the flags together show to make no sense.
    fn check(&self) -> Result<(), Failure> {
        if self.expect_offset.is_none() {
            return Ok(());
        }
        if self.acks == Acks::None {
            let failure = Failure::usage("--expect-offset can not be kept with --acks 0");
            return Err(failure.hint("with --acks 0 nobody says at which offset a record is"));
        }
        if self.format.as_ref().is_some_and(InputFormat::names_partitions) {
            let failure = Failure::usage("--expect-offset is about one partition");
            return Err(failure.hint("leave %p out of the format and name one with -p"));
        }
        Ok(())
    }

    /// Whether a line about each record goes to a terminal, where a progress bar would be between
    /// them.
    fn writes_lines_to_terminal(&self) -> bool {
        matches!(self.output.output, Format::Jsonl | Format::Name) && io::stdout().is_terminal()
    }

    fn producer_config(&self) -> ProducerConfig {
        ProducerConfig {
            acks: self.acks,
            idempotent: self.acks == Acks::All,
            delivery_timeout: self.delivery_timeout,
            auto_create: !self.no_auto_create,
            ..ProducerConfig::default()
        }
    }
}

pub(crate) fn run(args: &ProduceArgs) -> Outcome {
    // Before anything is opened or created: a file that is not there changes nothing.
    args.check()?;
    let has_progress = !args.writes_lines_to_terminal();
    let source = Source::open(args.file.as_deref(), args.input_format(), has_progress)?;
    target::run_until_done(&args.target, Intent::Change, async |session| {
        let rules = rules(&session.client, args).await?;
        let producer = Producer::new(session.client.clone(), args.producer_config()).await?;
        let defaults = InputRecord {
            key: args.key.clone().map(Bytes::from),
            partition: args.partition,
            headers: args.header.clone(),
            ..InputRecord::default()
        };
        let run = Run {
            topic: Arc::from(args.topic.as_str()),
            producer,
            batcher: Batcher::new(rules),
            report: Report::new(&args.topic, args.output.output),
            defaults,
            skip_empty: args.skip_empty,
            expected: args.expect_offset,
            under_way: VecDeque::new(),
        };
        run.run(session, source).await
    })
}

/// What the topic demands of batches. Creates it when it is missing, unless told not to.
async fn rules(client: &Client, args: &ProduceArgs) -> Result<Rules, Failure> {
    let found = client.metadata(&[&args.topic], !args.no_auto_create).await?;
    let Some(topic) = found.topics.into_iter().find(|topic| topic.name == args.topic) else {
        return Err(unknown_topic(client, &args.topic).await);
    };
    if let Some(error) = topic.error {
        let failure = Failure::from(error);
        return Err(match failure.exit {
            Exit::NotFound => unknown_topic(client, &args.topic).await,
            _ => failure,
        });
    }
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if partitions == 0 {
        let message = format!("topic {:?} has no partitions yet", args.topic);
        return Err(Failure::new(Exit::Unavailable, message));
    }
    if let Some(asked) = args.partition.filter(|asked| *asked >= partitions) {
        let message = format!("topic {:?} has no partition {asked}", args.topic);
        let hint = format!("it has {partitions}, numbered from 0");
        return Err(Failure::new(Exit::NotFound, message).hint(hint));
    }
    if args.expect_offset.is_some() && args.partition.is_none() && partitions > 1 {
        let failure = Failure::usage("--expect-offset is about one partition");
        return Err(failure.hint(format!("name one of the {partitions} with -p")));
    }
    let bytes_max = match topic.max_message_bytes as usize {
        0 => BATCH_BYTES_DEFAULT,
        bytes => bytes.min(BATCH_BYTES_MAX),
    };
    let linger_ms = args.partitioner_linger_ms.amount().unwrap_or(u64::MAX);
    let sticky_bytes = usize::try_from(args.partitioner_batch_size.0).unwrap_or(usize::MAX);
    Ok(Rules {
        partitions,
        bytes_max,
        compression: args.compression,
        sticky: StickyPartitioner::new(sticky_bytes, linger_ms),
        tombstone: args.tombstone,
    })
}

/// A batch that was handed to the producer.
struct UnderWay {
    number: u64,
    records: u32,
    bytes: u64,
    handle: DeliveryHandle,
}

struct Run {
    topic: Arc<str>,
    producer: Producer,
    batcher: Batcher,
    report: Report,
    /// What records get that the input does not say.
    defaults: InputRecord,
    skip_empty: bool,
    /// Offset that the next batch must get, where it must get one.
    expected: Option<i64>,
    under_way: VecDeque<UnderWay>,
}

impl Run {
    async fn run(mut self, session: &Session, mut source: Source) -> Outcome {
        let read = self.read(session, &mut source).await;
        drop(source);
        for built in self.batcher.seal_all() {
            self.send(built).await?;
        }
        while let Some(outcome) = next_outcome(&mut self.under_way).await {
            self.settle(outcome)?;
        }
        let (written, failed, reason) = self.report.finish()?;
        match (reason, read) {
            (Some(reason), _) => Err(given_up(written, failed, reason)),
            (None, Err(failure)) if written > 0 => Err(broken_off(written, failure)),
            (None, read) => read.map(|()| Exit::Ok),
        }
    }

    /// Reads until the input ends, somebody interrupts or a record fails.
    async fn read(&mut self, session: &Session, source: &mut Source) -> Result<(), Failure> {
        let mut interrupt = session.interrupt.clone();
        let mut seal_at = Instant::now();
        while !self.report.has_failed() {
            tokio::select! {
                biased;
                Some(outcome) = next_outcome(&mut self.under_way) => {
                    self.settle(outcome)?;
                    if self.under_way.is_empty() {
                        self.report.flush()?;
                    }
                }
                block = source.next() => {
                    let Some(block) = block else { return Ok(()) };
                    self.add(block?).await?;
                    seal_at = Instant::now() + LINGER;
                }
                () = tokio::time::sleep_until(seal_at), if !self.batcher.is_empty() => {
                    for built in self.batcher.seal_all() {
                        self.send(built).await?;
                    }
                }
                () = interrupt.wait() => return Err(Failure::failed("interrupted")),
            }
        }
        Ok(())
    }

    async fn add(&mut self, block: Vec<InputRecord>) -> Result<(), Failure> {
        self.batcher.tick();
        let mut full = Vec::new();
        for mut record in block {
            if self.skip_empty && record.value.is_empty() {
                continue;
            }
            if record.key.is_none() {
                record.key.clone_from(&self.defaults.key);
            }
            record.partition = record.partition.or(self.defaults.partition);
            record.headers.extend_from_slice(&self.defaults.headers);
            let slot = self.batcher.add(&record, &mut full)?;
            self.report.sent(slot);
            for built in full.drain(..) {
                self.send(built).await?;
            }
        }
        Ok(())
    }

    /// Hands a batch over; waits while the producer has as much as it may hold.
    async fn send(&mut self, built: Built) -> Result<(), Failure> {
        let Built { number, partition, records, bytes, batch } = built;
        let handle = match self.expected {
            None => self.producer.send_batch(&self.topic, partition, batch).await?,
            Some(expected) => {
                // What is behind a batch that was refused must not be written without it.
                while let Some(outcome) = next_outcome(&mut self.under_way).await {
                    self.settle(outcome)?;
                }
                if self.report.has_failed() {
                    let reason = "not sent, since a record before it was not written";
                    return self.report.failed(number, records, Failure::failed(reason));
                }
                self.expected = Some(expected.saturating_add(i64::from(records)));
                self.producer.send_batch_at(&self.topic, partition, expected, batch).await?
            }
        };
        self.under_way.push_back(UnderWay { number, records, bytes, handle });
        Ok(())
    }

    fn settle(&mut self, (batch, outcome): Settled) -> Result<(), Failure> {
        match outcome {
            Ok(delivery) => self.report.written(
                batch.number,
                delivery.partition,
                delivery.offset,
                batch.records,
                batch.bytes,
            ),
            Err(error) => self.report.failed(batch.number, batch.records, explain(error)),
        }
    }
}

/// The failure of a batch; of one that came too late, with what would be right now.
fn explain(error: ClientError) -> Failure {
    let actual = match &error {
        ClientError::Server(error) if error.error_code() == Some(ErrorCode::UnexpectedOffset) => {
            error.details.as_ref().and_then(|details| details.offset)
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match actual {
        Some(offset) => failure.hint(format!(
            "somebody else has written: read on, then try again with --expect-offset {offset}"
        )),
        None => failure,
    }
}

type Settled = (UnderWay, Result<Delivery, ClientError>);

/// The outcome of the oldest batch under way; `None` when there is none. May be dropped at any
/// point: the batch stays where it is until its outcome is known.
async fn next_outcome(under_way: &mut VecDeque<UnderWay>) -> Option<Settled> {
    let outcome = (&mut under_way.front_mut()?.handle).await;
    under_way.pop_front().map(|batch| (batch, outcome))
}

fn given_up(written: u64, failed: u64, reason: Failure) -> Failure {
    let exit = if written > 0 { Exit::Partly } else { reason.exit };
    let (total, why) = (written + failed, &reason.message);
    let message = format!("not acknowledged: {failed} of {total} records read: {why}");
    Failure { exit, message, ..reason }
}

/// The input ended too early, after some of it had been written.
fn broken_off(written: u64, reason: Failure) -> Failure {
    let message = format!("{}; records written before that: {written}", reason.message);
    Failure { exit: Exit::Partly, message, ..reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_documented() {
        assert_eq!(chunk_size("1MB"), Ok(1_000_000));
        assert!(chunk_size("0").is_err() && chunk_size("1GiB").is_err());
        assert_eq!(header("a:b:c"), Ok(("a".to_owned(), Bytes::from("b:c"))));
        assert!(header("ab").is_err());
        assert_eq!(
            (acks("all"), acks("-1"), acks("1")),
            (Ok(Acks::All), Ok(Acks::All), Ok(Acks::Leader))
        );
        assert!(acks("2").is_err());
    }

    #[test]
    fn a_failure_after_successes_is_partial() {
        let reason = || Failure::new(Exit::Unavailable, "gone");
        assert_eq!(given_up(0, 3, reason()).exit, Exit::Unavailable);
        assert_eq!(given_up(2, 3, reason()).exit, Exit::Partly);
    }
}
