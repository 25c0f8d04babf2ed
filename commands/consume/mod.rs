//! `rivvend consume`: records of topics to standard output. Without `--follow` and `-n` it reads up
//! to the high watermark of the moment it began and ends. Fetching and checking run beside
//! formatting; writing happens in large pieces.

mod fetcher;
mod group;
mod printer;

use std::io::IsTerminal as _;

use clap::Args;
use regex::Regex;
use rivvend::client::Client;
use rivvend::record::{CheckedBatch, Scratch};

use crate::failure::{Exit, Failure, Outcome};
use crate::format::{FORMAT_HELP, Format, View};
use crate::offsets::{Position, Span, span};
use crate::output::{self, ErrorArgs};
use crate::positions;
use crate::progress::{Progress, Unit};
use crate::target::{self, Intent, Session, TargetArgs, unknown_topic};
use fetcher::{Fetched, Fetcher, Reading};
use printer::{Form, Printer};

const EXAMPLES: &str = "\
Examples:
  rivvend consume orders
  rivvend consume orders -f '%v\\n' > orders.txt
  rivvend consume orders -o -10 --follow
  rivvend consume orders -o @-1h --output json
  rivvend consume -r 'orders.*' -n 5
  rivvend consume orders -g billing --follow";

/// Read records from topics
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{FORMAT_HELP}\n\n{EXAMPLES}"))]
pub(crate) struct ConsumeArgs {
    /// The topics
    #[arg(value_name = "TOPIC", required_unless_present = "regex")]
    topics: Vec<String>,
    /// Every topic whose whole name matches
    #[arg(short, long, value_name = "REGEX", value_parser = crate::topic::whole_name)]
    #[arg(conflicts_with = "topics")]
    regex: Option<Regex>,
    /// Where to start: start, end, N, +N (after the start), -N (before the end), N:M (M excluded),
    /// @TIME or @-1h, @TIME:@TIME
    #[arg(short, long, value_name = "OFFSET", default_value = "start")]
    #[arg(value_parser = span, allow_hyphen_values = true)]
    offset: Span,
    /// Only these partitions, such as 0,1 [default: all]
    #[arg(short, long, value_name = "P", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Read as a member of this consumer group, from what it has committed on (else from --offset)
    #[arg(short, long, value_name = "GROUP", conflicts_with = "partitions")]
    group: Option<String>,
    /// Stop after so many records, waiting for them when needed
    #[arg(short, long, value_name = "N")]
    num: Option<u64>,
    /// Go on with new records until interrupted
    #[arg(long)]
    follow: bool,
    /// Leave out records of transactions that are open or aborted
    #[arg(long)]
    read_committed: bool,
    /// How a record is written [default: a readable line on a terminal, else '%v\n']
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::parse)]
    format: Option<Format>,
    /// Form of each record
    #[arg(long, value_enum, value_name = "FORM", conflicts_with = "format")]
    output: Option<output::Format>,
    #[command(flatten)]
    errors: ErrorArgs,
    #[command(flatten)]
    target: TargetArgs,
}

impl ConsumeArgs {
    fn form(&self) -> Form {
        match (&self.format, self.output) {
            (Some(format), _) => Form::Format(format.clone()),
            (None, Some(output)) => Form::of(output),
            (None, None) if std::io::stdout().is_terminal() => Form::of(output::Format::Table),
            (None, None) => Form::values(),
        }
    }

    /// Whether reading ends at what was there when it began.
    fn is_bounded(&self) -> bool {
        !self.follow && self.num.is_none()
    }
}

pub(crate) fn run(args: &ConsumeArgs) -> Outcome {
    // A group commits what was read.
    let intent = if args.group.is_some() { Intent::Change } else { Intent::Read };
    target::run_until_done(&args.target, intent, async |session| {
        if args.num == Some(0) {
            return Ok(Exit::Ok);
        }
        if let Some(group) = &args.group {
            if args.offset.to.is_some() {
                let failure = Failure::usage("a group has no place where it stops reading");
                return Err(failure.hint("give --offset a start only, or --num"));
            }
            return group::run(session, args, group).await;
        }
        let mut readings = Vec::new();
        for topic in topics(&session.client, args).await? {
            readings.extend(plan(&session.client, args, &topic).await?);
        }
        let progress = progress(&readings, args.num);
        let fetcher =
            Fetcher::start(&session.client, readings, args.read_committed, args.target.timeout);
        print_all(session, args, fetcher, progress).await
    })
}

/// How far it is, where the records themselves do not show it.
fn progress(readings: &[Reading], num: Option<u64>) -> Option<Progress> {
    if std::io::stdout().is_terminal() {
        return None;
    }
    let offsets = readings.iter().map(|reading| Some(reading.stop? - reading.next));
    let total: Option<i64> = offsets.sum();
    Progress::new(Unit::Records, num.or(total.and_then(|total| u64::try_from(total).ok())))
}

/// The topics that are read: name and partitions.
async fn topics(client: &Client, args: &ConsumeArgs) -> Result<Vec<(String, Vec<i32>)>, Failure> {
    let mut names: Vec<&str> = args.topics.iter().map(String::as_str).collect();
    // A topic that is named twice is read once.
    names.sort_unstable();
    names.dedup();
    let metadata = client.metadata(&names, false).await?;
    let mut found = Vec::new();
    for topic in metadata.topics {
        if let Some(error) = topic.error {
            let failure = Failure::from(error);
            return Err(match failure.exit {
                Exit::NotFound => unknown_topic(client, &topic.name).await,
                _ => failure,
            });
        }
        if args.regex.as_ref().is_some_and(|regex| !regex.is_match(&topic.name)) {
            continue;
        }
        let mut partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition).collect();
        partitions.sort_unstable();
        found.push((topic.name, partitions));
    }
    if found.is_empty() {
        return Err(Failure::new(Exit::NotFound, "no topic matches"));
    }
    Ok(found)
}

/// From where to where each partition of a topic is read.
async fn plan(
    client: &Client,
    args: &ConsumeArgs,
    topic: &(String, Vec<i32>),
) -> Result<Vec<Reading>, Failure> {
    let (name, all) = topic;
    let mut partitions = all.clone();
    if !args.partitions.is_empty() {
        if let Some(missing) = args.partitions.iter().find(|p| !all.contains(p)) {
            let message = format!("topic {name:?} has no partition {missing}");
            let hint = format!("it has {}, numbered from 0", all.len());
            return Err(Failure::new(Exit::NotFound, message).hint(hint));
        }
        partitions.retain(|partition| args.partitions.contains(partition));
    }
    let bounds = positions::bounds(client, name, &partitions).await?;
    let from = positions::resolve(client, name, &partitions, &bounds, args.offset.from).await?;
    let to = match args.offset.to {
        // A named end may lie ahead of what is there; it is waited for when following.
        Some(Position::At(end)) => vec![Some(end); partitions.len()],
        Some(end) => {
            let ends = positions::resolve(client, name, &partitions, &bounds, end).await?;
            ends.into_iter().map(Some).collect()
        }
        None => vec![None; partitions.len()],
    };
    let each = partitions.into_iter().zip(bounds).zip(from.into_iter().zip(to));
    let reading = |((partition, bounds), (next, to)): ((i32, positions::Bounds), (i64, _))| {
        let watermark = args.is_bounded().then_some(bounds.end);
        let stop = match (to, watermark) {
            (Some(to), Some(watermark)) => Some(i64::min(to, watermark)),
            (to, watermark) => to.or(watermark),
        };
        Reading { topic: name.clone(), partition, next, stop }
    };
    Ok(each.map(reading).collect())
}

/// Prints until everything is read, enough was printed, or somebody interrupts.
async fn print_all(
    session: &Session,
    args: &ConsumeArgs,
    mut fetcher: Fetcher,
    progress: Option<Progress>,
) -> Outcome {
    let mut printer = Printer::new(args.form());
    let mut interrupt = session.interrupt.clone();
    let mut scratch = Scratch::default();
    while !session.interrupt.is_asked() {
        let fetched = match fetcher.ready() {
            Some(fetched) => fetched,
            // About to wait: what has been printed so far shall be seen.
            None => {
                printer.flush()?;
                tokio::select! {
                    fetched = fetcher.next() => fetched,
                    () = interrupt.wait() => break,
                }
            }
        };
        let Some(fetched) = fetched else { break };
        let fetched = fetched?;
        for batch in &fetched.batches {
            print_batch(&mut printer, &fetched, batch, args.num, &mut scratch)?;
            if let Some(progress) = &progress {
                progress.reach(printer.count);
            }
            if args.num.is_some_and(|num| printer.count >= num) {
                printer.flush()?;
                return Ok(Exit::Ok);
            }
        }
    }
    printer.flush()?;
    Ok(Exit::Ok)
}

fn print_batch(
    printer: &mut Printer,
    fetched: &Fetched,
    batch: &CheckedBatch,
    num: Option<u64>,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let base = batch.header().base_offset.0;
    let damaged = |error| {
        let (topic, partition) = (&fetched.topic, fetched.partition);
        Failure::failed(format!("{topic}/{partition}: the batch at offset {base}: {error}"))
    };
    let mut headers = Vec::new();
    for record in batch.records(scratch).map_err(damaged)? {
        let record = record.map_err(damaged)?;
        let offset = base.saturating_add(i64::from(record.offset_delta));
        if offset < fetched.from {
            continue;
        }
        if fetched.stop.is_some_and(|stop| offset >= stop)
            || num.is_some_and(|num| printer.count >= num)
        {
            break;
        }
        headers.clear();
        headers.extend(record.headers());
        printer.print(&View {
            topic: &fetched.topic,
            partition: fetched.partition,
            offset,
            timestamp_ms: record.timestamp.0,
            key: record.key,
            value: record.value,
            headers: &headers,
            count: 0,
        })?;
    }
    Ok(())
}
