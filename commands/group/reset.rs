//! `rivvend group reset-offsets`: where a group goes on reading. The plan can be looked at, written
//! as CSV and read back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use rivvend::client::Client;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{CommitOffsets, GroupDescription, OffsetToCommit};
use serde::Serialize;

use super::change::refuse_in_use;
use super::{Common, note_dry_run, summarize, topic_partitions, unknown_group};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::offsets::{Position, position};
use crate::output::{Column, Listing};
use crate::positions;
use crate::target::{self, Intent, unknown_topic};

/// Largest plan that is read from a file.
const PLAN_BYTES_MAX: u64 = 64 << 20;

/// Choose where a group goes on reading; it may have no members meanwhile
#[derive(Args, Clone, Debug)]
#[command(after_help = "A plan is lines of TOPIC,PARTITION,OFFSET.\n\nExamples:\n  \
    rivvend group reset-offsets billing --to start --dry-run\n  \
    rivvend group reset-offsets billing --to @-1h --topic orders\n  \
    rivvend group reset-offsets billing --export > now.csv\n  \
    rivvend group reset-offsets billing --from-file now.csv")]
pub(super) struct ResetOffsetsArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Next record to read: start, end, N, +N (after the start), -N (before the end), @TIME, @-1h
    #[arg(long, value_name = "OFFSET", value_parser = position, allow_hyphen_values = true)]
    #[arg(required_unless_present_any = ["from_file", "export"])]
    to: Option<Position>,
    /// A topic, or some of its partitions; may be repeated [default: all that the group has
    /// committed]
    #[arg(short, long, value_name = "TOPIC[:P,P]", value_parser = topic_partitions)]
    topic: Vec<(String, Vec<i32>)>,
    /// Take the offsets from a plan
    #[arg(long, value_name = "CSV", conflicts_with_all = ["to", "topic", "export"])]
    from_file: Option<PathBuf>,
    /// Print a plan and change nothing: of what --to would do, or of what is committed now
    #[arg(long)]
    export: bool,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// An offset that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    topic: String,
    partition: i32,
    before: Option<i64>,
    offset: i64,
}

const CHANGES: &[Column<Change>] = &[
    Column::text("TOPIC", |change| change.topic.clone()),
    Column::number("PARTITION", |change| change.partition.to_string()),
    Column::number("BEFORE", |c| c.before.map_or_else(|| "-".to_owned(), |b| b.to_string())),
    Column::number("OFFSET", |change| change.offset.to_string()),
];

pub(super) const CHANGE_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("before", "The offset that was committed before.").nullable(),
    Field::integer("offset", "Offset of the next record to read."),
];

pub(super) fn reset_offsets(args: &ResetOffsetsArgs) -> Outcome {
    let is_look = args.dry_run || args.export;
    let plan = args.from_file.as_ref().map(|path| read_plan(path)).transpose()?;
    target::run(&args.common.target, Intent::of(is_look), async |session| {
        let client = &session.client;
        let group = present(client, args).await?;
        if !is_look {
            refuse_in_use(&args.group, group.members.len())?;
        }
        let mut changes = match (&plan, args.to) {
            (Some(plan), _) => plan.clone(),
            (None, Some(to)) => resolve(client, &group, args, to).await?,
            (None, None) => committed(&group, args),
        };
        fill_in(&mut changes, &group);
        if args.export {
            export(&changes)?;
            return Ok(Exit::Ok);
        }
        let mut failures = Vec::new();
        if !args.dry_run {
            failures = commit(client, &args.group, &mut changes).await?;
        }
        note_dry_run(args.dry_run);
        let name = |change: &Change| format!("{}/{}", change.topic, change.partition);
        if !changes.is_empty() {
            let listing = Listing { items: &changes, columns: CHANGES, name };
            listing.print(args.common.output.output)?;
        }
        summarize(changes.len(), failures)
    })
}

/// The group as it is. One that is not there can be given offsets when it is said which.
async fn present(client: &Client, args: &ResetOffsetsArgs) -> Result<GroupDescription, Failure> {
    let described = client.describe_groups(vec![args.group.clone()]).await?;
    let described = described.into_iter().next().unwrap_or_default();
    match &described.error {
        None => Ok(described),
        Some(error) if error.error_code() == Some(ErrorCode::GroupIdNotFound) => {
            let is_named = !args.topic.is_empty() || args.from_file.is_some();
            if is_named && !args.export {
                return Ok(GroupDescription::default());
            }
            let failure = unknown_group(client, &args.group).await;
            Err(failure.hint("--topic makes one that begins there"))
        }
        Some(error) => Err(Failure::from(error.clone())),
    }
}

/// What is committed now, as far as it was asked for.
fn committed(group: &GroupDescription, args: &ResetOffsetsArgs) -> Vec<Change> {
    let is_meant = |topic: &str, partition| {
        args.topic.is_empty()
            || args.topic.iter().any(|(name, partitions)| {
                name == topic && (partitions.is_empty() || partitions.contains(&partition))
            })
    };
    let offsets = group.offsets.iter().filter(|offset| offset.committed >= 0);
    let meant = offsets.filter(|offset| is_meant(&offset.topic, offset.partition));
    let change = meant.map(|offset| Change {
        topic: offset.topic.clone(),
        partition: offset.partition,
        before: None,
        offset: offset.committed,
    });
    change.collect()
}

/// Where a named position lies in each partition that is meant.
async fn resolve(
    client: &Client,
    group: &GroupDescription,
    args: &ResetOffsetsArgs,
    to: Position,
) -> Result<Vec<Change>, Failure> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    if args.topic.is_empty() {
        for change in committed(group, args) {
            topics.entry(change.topic).or_default().push(change.partition);
        }
        if topics.is_empty() {
            let message = format!("group {:?} has committed nothing", args.group);
            return Err(Failure::new(Exit::NotFound, message).hint("name topics with --topic"));
        }
    }
    for (topic, partitions) in &args.topic {
        topics.entry(topic.clone()).or_default().extend(partitions);
    }
    let mut changes = Vec::new();
    for (topic, wanted) in topics {
        let partitions = partitions_of(client, &topic, wanted).await?;
        let bounds = positions::bounds(client, &topic, &partitions).await?;
        let offsets = positions::resolve(client, &topic, &partitions, &bounds, to).await?;
        changes.extend(partitions.into_iter().zip(offsets).map(|(partition, offset)| Change {
            topic: topic.clone(),
            partition,
            before: None,
            offset,
        }));
    }
    Ok(changes)
}

/// The partitions that are meant: all of the topic's when none are named.
async fn partitions_of(
    client: &Client,
    topic: &str,
    mut wanted: Vec<i32>,
) -> Result<Vec<i32>, Failure> {
    let metadata = client.metadata(&[topic], false).await?;
    let Some(found) = metadata.topics.into_iter().find(|found| found.error.is_none()) else {
        return Err(unknown_topic(client, topic).await);
    };
    let all: Vec<i32> = found.partitions.iter().map(|partition| partition.partition).collect();
    if let Some(missing) = wanted.iter().find(|partition| !all.contains(partition)) {
        let message = format!("topic {topic:?} has no partition {missing}");
        let hint = format!("it has {}, numbered from 0", all.len());
        return Err(Failure::new(Exit::NotFound, message).hint(hint));
    }
    let mut partitions = if wanted.is_empty() { all } else { std::mem::take(&mut wanted) };
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

/// Says of each change what there was before.
fn fill_in(changes: &mut [Change], group: &GroupDescription) {
    for change in changes {
        let present = group
            .offsets
            .iter()
            .find(|offset| offset.topic == change.topic && offset.partition == change.partition);
        change.before = present.map(|offset| offset.committed).filter(|offset| *offset >= 0);
    }
}

/// Commits, and keeps what was done.
async fn commit(
    client: &Client,
    group: &str,
    changes: &mut Vec<Change>,
) -> Result<Vec<Failure>, Failure> {
    let offsets = changes.iter().map(|change| OffsetToCommit {
        topic: change.topic.clone(),
        partition: change.partition,
        offset: change.offset,
        ..OffsetToCommit::default()
    });
    let request = CommitOffsets {
        group: group.to_owned(),
        generation: -1,
        offsets: offsets.collect(),
        ..CommitOffsets::default()
    };
    let mut failures = Vec::new();
    for result in client.commit_offsets(request).await? {
        let Some(error) = result.error else { continue };
        changes.retain(|c| (&c.topic, c.partition) != (&result.topic, result.partition));
        let failure = Failure::from(error);
        let place = format!("{}/{}", result.topic, result.partition);
        failures.push(Failure { message: format!("{place}: {}", failure.message), ..failure });
    }
    Ok(failures)
}

fn export(changes: &[Change]) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for change in changes {
        writeln!(out, "{},{},{}", change.topic, change.partition, change.offset)?;
    }
    Ok(out.flush()?)
}

fn read_plan(path: &std::path::Path) -> Result<Vec<Change>, Failure> {
    let failed = |error: std::io::Error| Failure::file("read", path, &error);
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > PLAN_BYTES_MAX {
        let message = format!("{} has {bytes} bytes, a plan has fewer", path.display());
        return Err(Failure::usage(message));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse_plan(&text).map_err(|wrong| Failure::usage(format!("{}:{wrong}", path.display())))
}

/// Reads a plan; empty lines and those that begin with # say nothing.
fn parse_plan(text: &str) -> Result<Vec<Change>, String> {
    let mut changes: Vec<Change> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("{}: {what}: {line:?}", index + 1);
        let fields: Vec<&str> =
            line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let [topic, partition, offset] = fields.as_slice() else {
            return Err(wrong("is not TOPIC,PARTITION,OFFSET"));
        };
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        let partition = number(partition).and_then(|number| i32::try_from(number).ok());
        let (Some(partition), Some(offset)) = (partition, number(offset)) else {
            return Err(wrong("partition and offset are numbers from 0 on"));
        };
        if changes.iter().any(|c| c.topic == *topic && c.partition == partition) {
            return Err(wrong("the partition stands twice"));
        }
        changes.push(Change { topic: (*topic).to_owned(), partition, before: None, offset });
    }
    if changes.is_empty() { Err("1: the plan is empty".to_owned()) } else { Ok(changes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_is_written_and_anything_else_is_refused_with_its_line() {
        let change = |topic: &str, partition, offset| Change {
            topic: topic.to_owned(),
            partition,
            before: None,
            offset,
        };
        let plan = parse_plan("# what\norders,0,5\n\n\"orders\",1, 7\r\n").expect("a plan");
        assert_eq!(plan, [change("orders", 0, 5), change("orders", 1, 7)]);
        for text in ["", "orders,0", "orders,0,-1", "orders,x,1", "a,0,1\na,0,2", "a,4294967296,1"]
        {
            assert!(parse_plan(text).is_err(), "{text}");
        }
        assert!(parse_plan("a,0,1\nb").expect_err("short").starts_with("2: "));
    }
}
