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

use super::show::{describe_one, records_of};
use super::{
    Common, Selection, explain, note_dry_run, print_done, setting, summarize, topic_id, whole_name,
};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::offsets::{Position, position};
use crate::output::{Column, Listing};
use crate::positions::{self, Bounds};
use crate::prompt::confirm;
use crate::target::{self, Intent};

/// Create topics
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Settings are those of Kafka where it has them; .ms and .bytes take units. \
    `rivvend topic describe TOPIC -o wide` lists all of them.\n\n\
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

/// Change settings of topics
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic alter orders --set retention.ms=7d\n  \
    rivvend topic alter orders payments --append cleanup.policy=compact\n  \
    rivvend topic alter orders --delete retention.ms --dry-run")]
pub(super) struct AlterArgs {
    /// Names of the topics
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
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

/// Give topics more partitions. Keys may go to other partitions from then on.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic add-partitions orders --num 3\n  \
    rivvend topic add-partitions orders payments --total 12")]
pub(super) struct AddPartitionsArgs {
    /// Names of the topics
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
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
    /// Only these partitions, such as 0,1 [default: all]
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

pub(super) const CHANGED_FIELDS: &[Field] = &[
    Field::text("name", "Name of the topic."),
    Field::text("id", "Its id, which no other topic ever has."),
    Field::integer("partitions", "How many partitions it has."),
    Field::integer("replication_factor", "How many replicas each of them has."),
    Field::texts("warnings", "What the broker has to say about it."),
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

/// Prints what became of topics; says how the command ends.
fn conclude(done: Vec<TopicResult>, failures: Vec<Failure>, common: &Common) -> Outcome {
    let items: Vec<Changed> = done.into_iter().map(changed).collect();
    let name = |topic: &Changed| topic.name.clone();
    let listing = Listing { items: &items, columns: CHANGED, name };
    print_done(&listing, common.output.output, &failures)?;
    summarize(items.len(), failures)
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
            keep_existing(&session.client, args, &mut results).await?;
        }
        note_dry_run(args.dry_run);
        let (done, failures) = sort_out(&session.client, results).await;
        conclude(done, failures, &args.common)
    })
}

/// Topics that existed before count as created; what is shown of them is what they are, and where
/// that is not what was asked for, it is said.
async fn keep_existing(
    client: &Client,
    args: &CreateArgs,
    results: &mut [TopicResult],
) -> Result<(), Failure> {
    for result in results {
        let exists = |error: &rivvend::protocol::native::message::Error| {
            error.error_code() == Some(ErrorCode::TopicAlreadyExists)
        };
        if result.error.as_ref().is_some_and(exists) {
            let topic = describe_one(client, &result.name).await?;
            result.error = None;
            describe_result(result, topic);
            let differs = |asked: Option<i32>, is: i32| asked.is_some_and(|asked| asked != is);
            if differs(args.partitions, result.partitions)
                || differs(args.replication_factor, result.replication_factor)
            {
                let (partitions, replicas) = (result.partitions, result.replication_factor);
                let is = format!("it exists, with -p {partitions} -r {replicas}");
                result.warnings.push(is);
            }
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
    Column::text("TOPIC", |altered| altered.topic.clone()),
    Column::text("SETTING", |altered| altered.key.clone()),
    Column::text("OPERATION", |altered| altered.operation.to_owned()),
    Column::text("VALUE", |altered| altered.value.clone()),
];

pub(super) const ALTERED_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::text("key", "The setting."),
    Field::text("operation", "What was done to it: set, delete, append or subtract."),
    Field::text("value", "The value that holds now; with --dry-run, the one that was given."),
];

pub(super) fn alter(args: &AlterArgs) -> Outcome {
    let changes = config_changes(args);
    if changes.is_empty() {
        let failure = Failure::usage("nothing to change");
        return Err(failure.hint("give --set, --delete, --append or --subtract"));
    }
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let (mut items, mut failures, mut done) = (Vec::new(), Vec::new(), 0);
        for name in &args.names {
            match alter_one(&session.client, name, &changes, args.dry_run).await {
                Ok(altered) => {
                    items.extend(altered);
                    done += 1;
                }
                Err(failure) => failures.push(failure),
            }
        }
        note_dry_run(args.dry_run);
        let name = |altered: &Altered| altered.key.clone();
        let listing = Listing { items: &items, columns: ALTERED, name };
        print_done(&listing, args.common.output.output, &failures)?;
        summarize(done, failures)
    })
}

/// Changes one topic, all of it or nothing.
async fn alter_one(
    client: &Client,
    name: &str,
    changes: &[ConfigChange],
    validate_only: bool,
) -> Result<Vec<Altered>, Failure> {
    let changes = changes.to_vec();
    let request = AlterTopic { name: name.to_owned(), changes: changes.clone(), validate_only };
    let result = client.alter_topic(request).await;
    warn(&succeeded(client, name, result).await?);
    let topic = describe_one(client, name).await?;
    let altered = changes.into_iter().map(|change| {
        let now = topic.config.iter().find(|entry| entry.key == change.key);
        let now = now.filter(|_| !validate_only).map(|entry| entry.value.clone());
        Altered {
            topic: name.to_owned(),
            operation: operation(change.kind()),
            value: now.unwrap_or(change.value),
            key: change.key,
        }
    });
    Ok(altered.collect())
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
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        for name in &args.names {
            match add_to_one(&session.client, name, args).await {
                Ok(result) => done.push(result),
                Err(failure) => failures.push(failure),
            }
        }
        note_dry_run(args.dry_run);
        conclude(done, failures, &args.common)
    })
}

async fn add_to_one(
    client: &Client,
    name: &str,
    args: &AddPartitionsArgs,
) -> Result<TopicResult, Failure> {
    let before = describe_one(client, name).await?;
    let present = i32::try_from(before.partitions.len()).unwrap_or(i32::MAX);
    let total = args.total.unwrap_or_else(|| present.saturating_add(args.num.unwrap_or(0)));
    let request = AddPartitions { name: name.to_owned(), total, validate_only: args.dry_run };
    let result = client.add_partitions(request).await;
    succeeded(client, name, result).await
}

pub(super) fn delete(args: &DeleteArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let client = &session.client;
        let (found, mut failures) = to_delete(client, args).await?;
        let names: Vec<String> = found.iter().map(|topic| topic.name.clone()).collect();
        if names.is_empty() && failures.is_empty() {
            eprintln!("no topic matches");
        }
        if !args.dry_run && !names.is_empty() {
            let records: i64 = found.iter().map(records_of).sum();
            let what = format!("Delete {} with {records} records?", names.join(", "));
            confirm(args.yes, &what).await?;
        }
        let mut items: Vec<Deleted> = Vec::new();
        if !names.is_empty() {
            let request = DeleteTopics { names, validate_only: args.dry_run };
            let (done, refused) = sort_out(client, client.delete_topics(request).await?).await;
            items.extend(done.into_iter().map(|topic| Deleted { name: topic.name }));
            failures.extend(refused);
        }
        note_dry_run(args.dry_run);
        let name = |topic: &Deleted| topic.name.clone();
        let listing = Listing { items: &items, columns: DELETED, name };
        print_done(&listing, args.common.output.output, &failures)?;
        summarize(items.len(), failures)
    })
}

/// The topics that are meant, and the failures of those that do not exist: nobody shall be asked
/// about them.
async fn to_delete(
    client: &Client,
    args: &DeleteArgs,
) -> Result<(Vec<TopicDescription>, Vec<Failure>), Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    if !args.names.is_empty() {
        let names = args.names.clone();
        let named = Selection { names, regex: None, internal: true };
        (found, failures) = named.describe(client).await?;
    }
    if args.regex.is_some() {
        let regex = args.regex.clone();
        let matching = Selection { names: Vec::new(), regex, internal: false };
        found.extend(matching.describe(client).await?.0);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    Ok((found, failures))
}

/// A topic that is gone, or would be.
#[derive(Serialize)]
struct Deleted {
    name: String,
}

pub(super) const DELETED_FIELDS: &[Field] =
    &[Field::text("name", "Name of a topic that is gone or, with --dry-run, would be.")];

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

pub(super) const TRIMMED_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("log_start_offset", "First offset that is kept from now on."),
    Field::integer("records_deleted", "How many offsets went."),
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
        let offsets = match args.to {
            // Beyond the end it is a mistake, which the broker refuses; it must not become `end`.
            Position::At(offset) => bounds.iter().map(|bounds| offset.max(bounds.start)).collect(),
            to => positions::resolve(client, &args.name, &partitions, &bounds, to).await?,
        };
        let plan: Vec<(i32, i64, Bounds)> = partitions
            .into_iter()
            .zip(offsets)
            .zip(bounds)
            .map(|((partition, offset), bounds)| (partition, offset, bounds))
            .collect();
        let below =
            |(_, offset, bounds): &(i32, i64, Bounds)| offset.min(&bounds.end) - bounds.start;
        let count: i64 = plan.iter().map(below).sum();
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
    note_dry_run(args.dry_run);
    let name = |p: &Trimmed| format!("{}/{}", p.topic, p.partition);
    let listing = Listing { items: &items, columns: TRIMMED, name };
    print_done(&listing, args.common.output.output, &failures)?;
    summarize(items.len(), failures)
}
