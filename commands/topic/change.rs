//! Changing topics: create, alter, add-partitions, delete, trim. What destroys something asks on a
//! terminal and needs `--yes` without one.

use std::collections::BTreeMap;

use clap::Args;
use rivvend::client::{Client, ClientError};
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::config_change::Kind;
use rivvend::protocol::native::message::{
    AddPartitions, AlterTopic, ConfigChange, CreateTopics, DeleteRecords, DeleteRecordsPartition,
    DeleteTopics, NewTopic, TopicDescription, TopicResult,
};
use serde::Serialize;

use super::show::describe_one;
use super::{Common, Selection, explain, setting, summarize, topic_id, whole_name};
use crate::failure::{Exit, Failure, Outcome};
use crate::offsets::{Position, position};
use crate::output::{Column, Format, Listing};
use crate::positions::{self, Bounds};
use crate::prompt::confirm;
use crate::target::{self, Intent};

/// Create topics
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Settings are those of Kafka where it has them; .ms and .bytes take units.\n\n\
    Examples:\n  rivvend topic create orders\n  \
    rivvend topic create orders payments -p 6 -c retention.ms=30d\n  \
    rivvend topic create scratch -c durability=os --if-not-exists"
)]
pub(super) struct CreateArgs {
    /// Names of the topics
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Partitions of each topic [default: the broker's topic.default_partitions]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition [default: the broker's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    replication_factor: Option<i32>,
    /// A setting of the topics; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = setting)]
    config: Vec<(String, String)>,
    /// A topic that exists already is no error
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether they could be created
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Change settings of a topic
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic alter orders --set retention.ms=7d\n  \
    rivvend topic alter orders --delete retention.ms --dry-run")]
pub(super) struct AlterArgs {
    /// Name of the topic
    #[arg(value_name = "NAME")]
    name: String,
    /// Give a setting a value; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Go back to the default; may be repeated
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    /// Add values to a setting that is a list; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    append: Vec<(String, String)>,
    /// Take values out of a setting that is a list; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    subtract: Vec<(String, String)>,
    /// Only check whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Give a topic more partitions. Keys may go to other partitions from then on.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic add-partitions orders --num 3\n  \
    rivvend topic add-partitions orders --total 12")]
pub(super) struct AddPartitionsArgs {
    /// Name of the topic
    #[arg(value_name = "NAME")]
    name: String,
    /// How many partitions to add
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    #[arg(required_unless_present = "total")]
    num: Option<i32>,
    /// How many partitions the topic shall have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    #[arg(conflicts_with = "num")]
    total: Option<i32>,
    /// Only check whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Delete topics with all their records
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic delete orders\n  \
    rivvend topic delete -r 'test-.*' --yes")]
pub(super) struct DeleteArgs {
    /// Names of the topics
    #[arg(value_name = "NAME", required_unless_present = "regex")]
    names: Vec<String>,
    /// Also every topic whose whole name matches
    #[arg(short, long, value_name = "REGEX", value_parser = whole_name)]
    regex: Option<regex::Regex>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only check whether they could be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Delete the records of a topic below an offset or a time
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic trim orders --to end\n  \
    rivvend topic trim orders --to @-7d -p 0,1 --yes")]
pub(super) struct TrimArgs {
    /// Name of the topic
    #[arg(value_name = "NAME")]
    name: String,
    /// First record that stays: an offset, end, -N (the last N), @TIME or @-1h
    #[arg(long, value_name = "OFFSET", value_parser = position, allow_hyphen_values = true)]
    to: Position,
    /// Only these partitions [default: all]
    #[arg(short, long, value_name = "P", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// What became of a topic.
#[derive(Serialize)]
struct Changed {
    name: String,
    id: String,
    partitions: i32,
    replication_factor: i32,
    warnings: Vec<String>,
}

const CHANGED: &[Column<Changed>] = &[
    Column::text("NAME", |topic| topic.name.clone()),
    Column::number("PARTITIONS", |topic| topic.partitions.to_string()),
    Column::number("REPLICAS", |topic| topic.replication_factor.to_string()),
    Column::wide("ID", |topic| topic.id.clone()),
];

fn warn(result: &TopicResult) {
    for warning in &result.warnings {
        eprintln!("warning: {}: {warning}", result.name);
    }
}

fn changed(result: TopicResult) -> Changed {
    warn(&result);
    Changed {
        id: topic_id(&result.topic_id),
        name: result.name,
        partitions: result.partitions,
        replication_factor: result.replication_factor,
        warnings: result.warnings,
    }
}

fn print_changed(items: &[Changed], format: Format) -> Result<(), Failure> {
    Listing { items, columns: CHANGED, name: |topic| topic.name.clone() }.print(format)
}

pub(super) fn create(args: &CreateArgs) -> Outcome {
    let mut config = BTreeMap::new();
    for (key, value) in &args.config {
        if config.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("-c {key}=… stands twice")));
        }
    }
    let topic = |name: &String| NewTopic {
        name: name.clone(),
        partitions: args.partitions.unwrap_or(-1),
        replication_factor: args.replication_factor.unwrap_or(-1),
        config: config.clone(),
    };
    let topics: Vec<NewTopic> = args.names.iter().map(topic).collect();
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let request = CreateTopics { topics, validate_only: args.dry_run };
        let mut results = session.client.create_topics(request).await?;
        if args.if_not_exists {
            keep_existing(&session.client, &mut results).await?;
        }
        let (done, failures) = sort_out(&session.client, results).await;
        let done: Vec<Changed> = done.into_iter().map(changed).collect();
        if !done.is_empty() {
            print_changed(&done, args.common.output.output)?;
        }
        summarize(done.len(), failures)
    })
}

/// Topics that existed before count as created; what is shown of them is what they are.
async fn keep_existing(client: &Client, results: &mut [TopicResult]) -> Result<(), Failure> {
    for result in results {
        let exists = |error: &rivvend::protocol::native::message::Error| {
            error.error_code() == Some(ErrorCode::TopicAlreadyExists)
        };
        if result.error.as_ref().is_some_and(exists) {
            let topic = describe_one(client, &result.name).await?;
            result.error = None;
            describe_result(result, topic);
        }
    }
    Ok(())
}

/// Fills a result in with what the topic is.
fn describe_result(result: &mut TopicResult, topic: TopicDescription) {
    let replicas = topic.partitions.first().map_or(0, |p| p.replicas.len());
    result.topic_id = topic.topic_id;
    result.partitions = topic.partitions.len() as i32;
    result.replication_factor = replicas as i32;
}

/// The results that succeeded, and the failures of the others.
async fn sort_out(client: &Client, results: Vec<TopicResult>) -> (Vec<TopicResult>, Vec<Failure>) {
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result.error.clone() {
            None => done.push(result),
            Some(error) => failures.push(explain(client, &result.name, error).await),
        }
    }
    (done, failures)
}

/// A setting that was changed.
#[derive(Serialize)]
struct Altered {
    topic: String,
    key: String,
    operation: &'static str,
    /// The value that holds now; in a dry run, the one that was given.
    value: String,
}

const ALTERED: &[Column<Altered>] = &[
    Column::text("SETTING", |altered| altered.key.clone()),
    Column::text("OPERATION", |altered| altered.operation.to_owned()),
    Column::text("VALUE", |altered| altered.value.clone()),
    Column::wide("TOPIC", |altered| altered.topic.clone()),
];

pub(super) fn alter(args: &AlterArgs) -> Outcome {
    let changes = config_changes(args);
    if changes.is_empty() {
        let failure = Failure::usage("nothing to change");
        return Err(failure.hint("give --set, --delete, --append or --subtract"));
    }
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let (client, name) = (&session.client, args.name.clone());
        let request = AlterTopic { name, changes: changes.clone(), validate_only: args.dry_run };
        let result = client.alter_topic(request).await;
        warn(&succeeded(client, &args.name, result).await?);
        let topic = describe_one(client, &args.name).await?;
        let items: Vec<Altered> = changes
            .iter()
            .map(|change| {
                let now = topic.config.iter().find(|entry| entry.key == change.key);
                let now = now.filter(|_| !args.dry_run).map(|entry| entry.value.clone());
                Altered {
                    topic: args.name.clone(),
                    key: change.key.clone(),
                    operation: operation(change.kind()),
                    value: now.unwrap_or_else(|| change.value.clone()),
                }
            })
            .collect();
        let name = |altered: &Altered| altered.key.clone();
        Listing { items: &items, columns: ALTERED, name }.print(args.common.output.output)?;
        Ok(Exit::Ok)
    })
}

fn operation(kind: Kind) -> &'static str {
    match kind {
        Kind::Set => "set",
        Kind::Delete => "delete",
        Kind::Append => "append",
        Kind::Subtract => "subtract",
    }
}

fn config_changes(args: &AlterArgs) -> Vec<ConfigChange> {
    let change = |kind: Kind, key: &str, value: &str| ConfigChange {
        kind: kind as i32,
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let pairs = |kind: Kind, pairs: &[(String, String)]| -> Vec<ConfigChange> {
        pairs.iter().map(|(key, value)| change(kind, key, value)).collect()
    };
    let deleted = args.delete.iter().map(|key| change(Kind::Delete, key, ""));
    let mut all = pairs(Kind::Set, &args.set);
    all.extend(deleted);
    all.extend(pairs(Kind::Append, &args.append));
    all.extend(pairs(Kind::Subtract, &args.subtract));
    all
}

/// The result of a request about one topic, or its failure with a suggestion.
async fn succeeded(
    client: &Client,
    name: &str,
    result: Result<TopicResult, ClientError>,
) -> Result<TopicResult, Failure> {
    match result {
        Ok(result) => Ok(result),
        Err(ClientError::Server(error)) => Err(explain(client, name, *error).await),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn add_partitions(args: &AddPartitionsArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let client = &session.client;
        let before = describe_one(client, &args.name).await?;
        let present = i32::try_from(before.partitions.len()).unwrap_or(i32::MAX);
        let added = present.saturating_add(args.num.unwrap_or(0));
        let total = args.total.unwrap_or(added);
        let name = args.name.clone();
        let request = AddPartitions { name, total, validate_only: args.dry_run };
        let result = client.add_partitions(request).await;
        let result = succeeded(client, &args.name, result).await?;
        print_changed(&[changed(result)], args.common.output.output)?;
        Ok(Exit::Ok)
    })
}

pub(super) fn delete(args: &DeleteArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let mut names = args.names.clone();
        if let Some(regex) = &args.regex {
            let (names_of_all, internal) = (Vec::new(), false);
            let all = Selection { names: names_of_all, regex: Some(regex.clone()), internal };
            let (matching, _) = all.describe(&session.client).await?;
            names.extend(matching.into_iter().map(|topic| topic.name));
        }
        names.sort();
        names.dedup();
        if names.is_empty() {
            eprintln!("no topic matches");
            return Ok(Exit::Ok);
        }
        if !args.dry_run {
            let what = format!("Delete {} with all records?", names.join(", "));
            confirm(args.yes, &what).await?;
        }
        let request = DeleteTopics { names, validate_only: args.dry_run };
        let results = session.client.delete_topics(request).await?;
        let (done, failures) = sort_out(&session.client, results).await;
        let items: Vec<Deleted> =
            done.into_iter().map(|topic| Deleted { name: topic.name }).collect();
        if !items.is_empty() {
            let name = |topic: &Deleted| topic.name.clone();
            Listing { items: &items, columns: DELETED, name }.print(args.common.output.output)?;
        }
        summarize(items.len(), failures)
    })
}

/// A topic that is gone, or would be.
#[derive(Serialize)]
struct Deleted {
    name: String,
}

const DELETED: &[Column<Deleted>] = &[Column::text("DELETED", |topic| topic.name.clone())];

/// What a trim does to a partition.
#[derive(Serialize)]
struct Trimmed {
    topic: String,
    partition: i32,
    log_start_offset: i64,
    records_deleted: i64,
}

const TRIMMED: &[Column<Trimmed>] = &[
    Column::text("TOPIC", |p| p.topic.clone()),
    Column::number("PARTITION", |p| p.partition.to_string()),
    Column::number("START", |p| p.log_start_offset.to_string()),
    Column::number("DELETED", |p| p.records_deleted.to_string()),
];

pub(super) fn trim(args: &TrimArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let client = &session.client;
        let topic = describe_one(client, &args.name).await?;
        let all = topic.partitions.iter().map(|p| p.partition);
        let chosen = |p: &i32| args.partitions.is_empty() || args.partitions.contains(p);
        let partitions: Vec<i32> = all.filter(chosen).collect();
        if let Some(missing) = args.partitions.iter().find(|p| !partitions.contains(p)) {
            let message = format!("topic {:?} has no partition {missing}", args.name);
            return Err(Failure::new(Exit::NotFound, message));
        }
        let bounds = positions::bounds(client, &args.name, &partitions).await?;
        let offsets = positions::resolve(client, &args.name, &partitions, &bounds, args.to).await?;
        let plan: Vec<(i32, i64, Bounds)> = partitions
            .into_iter()
            .zip(offsets)
            .zip(bounds)
            .map(|((partition, offset), bounds)| (partition, offset, bounds))
            .collect();
        let count: i64 = plan.iter().map(|(_, offset, bounds)| offset - bounds.start).sum();
        if !args.dry_run {
            confirm(args.yes, &format!("Delete {count} records of {}?", args.name)).await?;
        }
        trim_partitions(client, args, &plan).await
    })
}

async fn trim_partitions(client: &Client, args: &TrimArgs, plan: &[(i32, i64, Bounds)]) -> Outcome {
    let ask = |(partition, before_offset, _): &(i32, i64, Bounds)| DeleteRecordsPartition {
        topic: args.name.clone(),
        partition: *partition,
        before_offset: *before_offset,
    };
    let partitions = plan.iter().map(ask).collect();
    let request = DeleteRecords { partitions, validate_only: args.dry_run };
    let (mut items, mut failures) = (Vec::new(), Vec::new());
    for result in client.delete_records(request).await? {
        if let Some(error) = result.error {
            failures.push(explain(client, &args.name, error).await);
            continue;
        }
        let planned = plan.iter().find(|(partition, _, _)| *partition == result.partition);
        let before = planned.map_or(result.log_start_offset, |(_, _, bounds)| bounds.start);
        // A dry run changes nothing, so the answer is the plan's.
        let after = match planned {
            Some((_, offset, _)) if args.dry_run => *offset,
            _ => result.log_start_offset,
        };
        items.push(Trimmed {
            topic: result.topic,
            partition: result.partition,
            log_start_offset: after,
            records_deleted: after - before,
        });
    }
    let name = |p: &Trimmed| format!("{}/{}", p.topic, p.partition);
    Listing { items: &items, columns: TRIMMED, name }.print(args.common.output.output)?;
    summarize(items.len(), failures)
}
