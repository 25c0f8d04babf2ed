//! Looking at topics: list, describe, offsets, storage. Changes nothing.

use std::collections::BTreeMap;
use std::io::Write as _;

use clap::Args;
use rivvend::protocol::native::message::{
    ConfigEntry, DescribeTopics, PartitionDescription, TopicDescription,
};
use serde::Serialize;

use super::compaction::{COMPACTION, Compaction};
use super::{Common, Selection, summarize, topic_id};
use crate::failure::{Failure, Outcome};
use crate::fields::Field;
use crate::offsets::{Moment, moment};
use crate::output::{Column, Format, Listing, human_size, print_fields, print_items};
use crate::positions;
use crate::target::{self, Intent, Session};

/// List topics
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rivvend topic list\n  rivvend topic list -r 'orders.*' -o name\n  \
    rivvend topic list --data-dir ./data -o json"
)]
pub(super) struct ListArgs {
    /// Only topics whose whole name matches
    #[arg(short, long, value_name = "REGEX", value_parser = super::whole_name)]
    regex: Option<regex::Regex>,
    /// Include the broker's own topics
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    common: Common,
}

/// Show everything about topics: partitions, replicas, offsets, settings and where those come from
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic describe orders\n  \
    rivvend topic describe -r 'orders.*' -o json")]
pub(super) struct DescribeArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
}

/// Show first and next offsets of partitions
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend topic offsets orders\n  \
    rivvend topic offsets orders --at -1h\n  rivvend topic offsets orders --at 2026-01-31")]
pub(super) struct OffsetsArgs {
    #[command(flatten)]
    selection: Selection,
    /// Also the first offset at or after a time: milliseconds since 1970, a date, or -1h
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    at: Option<Moment>,
    #[command(flatten)]
    common: Common,
}

/// Show how much room partitions take on disk
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rivvend topic storage\n  rivvend topic storage orders -o json"
)]
pub(super) struct StorageArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
    size_bytes: u64,
}

const LIST: &[Column<Listed>] = &[
    Column::text("NAME", |topic| topic.name.clone()),
    Column::number("PARTITIONS", |topic| topic.partitions.to_string()),
    Column::number("REPLICAS", |topic| topic.replication_factor.to_string()),
    Column::number("SIZE", |topic| human_size(topic.size_bytes)),
    Column::wide("ID", |topic| topic.id.clone()),
];

pub(super) const LIST_FIELDS: &[Field] = &[
    Field::text("name", "Name of the topic."),
    TOPIC_ID,
    Field::integer("partitions", "How many partitions it has."),
    Field::integer("replication_factor", "How many replicas each of them has."),
    Field::integer("size_bytes", "What all partitions take on the disk of their leaders.")
        .unit("bytes"),
];

pub(super) const TOPIC_ID: Field = Field::text("id", "Its id, which no other topic ever has.");

/// Shows the selected topics; those that were named in vain fail afterwards.
fn look(
    common: &Common,
    selection: &Selection,
    show: impl AsyncFnOnce(&Session, Vec<TopicDescription>, Format) -> Result<(), Failure>,
) -> Outcome {
    target::run(&common.target, Intent::Read, async |session| {
        let (found, failures) = selection.describe(&session.client).await?;
        let (done, format) = (found.len(), common.output.output);
        let is_for_people = matches!(format, Format::Table | Format::Wide);
        // The failures say it all; an empty table would say that there is nothing.
        if done > 0 || failures.is_empty() || !is_for_people {
            show(session, found, format).await?;
        }
        summarize(done, failures)
    })
}

pub(super) fn list(args: &ListArgs) -> Outcome {
    let (regex, internal) = (args.regex.clone(), args.internal);
    let selection = Selection { names: Vec::new(), regex, internal };
    look(&args.common, &selection, async |_, found, format| {
        let items: Vec<Listed> = found.iter().map(listed).collect();
        Listing { items: &items, columns: LIST, name: |topic| topic.name.clone() }.print(format)
    })
}

fn listed(topic: &TopicDescription) -> Listed {
    Listed {
        name: topic.name.clone(),
        id: topic_id(&topic.topic_id),
        partitions: topic.partitions.len(),
        replication_factor: topic.partitions.first().map_or(0, |p| p.replicas.len()),
        size_bytes: topic.partitions.iter().map(|partition| partition.size_bytes).sum(),
    }
}

/// A topic as `describe -o json` prints it; the field names are stable.
#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    partitions: Vec<DescribedPartition>,
    config: BTreeMap<String, Setting>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    elr: Vec<i32>,
    log_start_offset: i64,
    high_watermark: i64,
    last_stable_offset: i64,
    size_bytes: u64,
    compaction: Option<Compaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Setting {
    value: String,
    source: String,
    default: String,
}

const PARTITIONS: &[Column<DescribedPartition>] = &[
    Column::number("PARTITION", |p| p.partition.to_string()),
    Column::number("LEADER", |p| p.leader.to_string()),
    Column::number("EPOCH", |p| p.leader_epoch.to_string()),
    Column::text("REPLICAS", |p| join(&p.replicas)),
    Column::text("ISR", |p| join(&p.isr)),
    Column::number("START", |p| p.log_start_offset.to_string()),
    Column::number("END", |p| p.high_watermark.to_string()),
    Column::number("SIZE", |p| human_size(p.size_bytes)),
    Column::filled("COMPACTION", |p| {
        p.compaction.as_ref().map_or_else(String::new, Compaction::cell)
    }),
    Column::wide("STABLE", |p| p.last_stable_offset.to_string()),
    Column::wide("ELR", |p| join(&p.elr)),
    Column::filled("ERROR", |p| p.error.clone().unwrap_or_default()),
];

const SETTINGS: &[Column<(String, Setting)>] = &[
    Column::text("SETTING", |(key, _)| key.clone()),
    Column::text("VALUE", |(_, setting)| setting.value.clone()),
    Column::text("SOURCE", |(_, setting)| setting.source.clone()),
    Column::wide("DEFAULT", |(_, setting)| setting.default.clone()),
];

pub(super) const DESCRIBE_FIELDS: &[Field] = &[
    Field::text("name", "Name of the topic."),
    TOPIC_ID,
    Field::list("partitions", "Its partitions, in order.", PARTITION_FIELDS),
    Field::map("config", "setting", "Its settings, all of them.", SETTING_FIELDS),
];

const PARTITION_FIELDS: &[Field] = &[
    Field::integer("partition", "Number of the partition."),
    Field::integer("leader", "Node that leads it; -1: none."),
    Field::integer("leader_epoch", "How many leaders it had before this one."),
    Field::integers("replicas", "Nodes that keep it."),
    Field::integers("isr", "Those of them that are in sync."),
    Field::integers("elr", "Those that are not, but may be elected without a loss."),
    Field::integer("log_start_offset", "First offset that is kept."),
    Field::integer("high_watermark", "Offset after the last record that can be read."),
    Field::integer("last_stable_offset", "Offset from which on transactions may be open."),
    Field::integer("size_bytes", "What it takes on the disk of its leader.").unit("bytes"),
    Field::object("compaction", "How far it is compacted; null: its topic is not.", COMPACTION)
        .nullable(),
    Field::text("error", "What is wrong with it.").optional(),
];

const SETTING_FIELDS: &[Field] = &[
    Field::text("value", "The value that holds."),
    Field::text("source", "Where that comes from: topic, broker or default."),
    Field::text("default", "What it is when nobody says otherwise."),
];

pub(super) fn describe(args: &DescribeArgs) -> Outcome {
    look(&args.common, &args.selection, async |_, found, format| {
        let topics: Vec<Described> = found.into_iter().map(described).collect();
        match format {
            Format::Table | Format::Wide => print_described(topics, format),
            Format::Name => {
                let mut out = std::io::stdout().lock();
                Ok(topics.iter().try_for_each(|topic| writeln!(out, "{}", topic.name))?)
            }
            format => print_items(format, &topics),
        }
    })
}

fn described(topic: TopicDescription) -> Described {
    Described {
        name: topic.name,
        id: topic_id(&topic.topic_id),
        partitions: topic.partitions.into_iter().map(described_partition).collect(),
        config: topic.config.into_iter().map(described_setting).collect(),
    }
}

fn described_partition(partition: PartitionDescription) -> DescribedPartition {
    DescribedPartition {
        partition: partition.partition,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas,
        isr: partition.isr,
        elr: partition.elr,
        log_start_offset: partition.log_start_offset,
        high_watermark: partition.high_watermark,
        last_stable_offset: partition.last_stable_offset,
        size_bytes: partition.size_bytes,
        compaction: partition.compaction.map(Compaction::of),
        error: partition.error.map(|error| error.to_string()),
    }
}

fn described_setting(entry: ConfigEntry) -> (String, Setting) {
    let setting =
        Setting { value: entry.value, source: entry.source, default: entry.default_value };
    (entry.key, setting)
}

/// The table form: per topic a summary, its partitions, and the settings that are not the default
/// (all of them in the wide form).
fn print_described(topics: Vec<Described>, format: Format) -> Result<(), Failure> {
    for (index, topic) in topics.into_iter().enumerate() {
        if index > 0 {
            writeln!(std::io::stdout())?;
        }
        print_fields(&topic.summary())?;
        writeln!(std::io::stdout())?;
        let listing = Listing {
            items: &topic.partitions,
            columns: PARTITIONS,
            name: |partition| partition.partition.to_string(),
        };
        listing.print(format)?;
        let mut settings: Vec<(String, Setting)> = topic.config.into_iter().collect();
        settings.retain(|(_, setting)| format == Format::Wide || setting.source != "default");
        if !settings.is_empty() {
            writeln!(std::io::stdout())?;
            let columns = SETTINGS;
            Listing { items: &settings, columns, name: |(key, _)| key.clone() }.print(format)?;
        }
    }
    Ok(())
}

impl Described {
    fn summary(&self) -> Vec<(&'static str, String)> {
        let partitions = &self.partitions;
        let records = partitions.iter().map(|p| p.high_watermark - p.log_start_offset).sum::<i64>();
        let size = partitions.iter().map(|p| p.size_bytes).sum();
        let replicas = partitions.first().map_or(0, |p| p.replicas.len());
        vec![
            ("NAME", self.name.clone()),
            ("ID", self.id.clone()),
            ("PARTITIONS", partitions.len().to_string()),
            ("REPLICAS", replicas.to_string()),
            ("RECORDS", records.to_string()),
            ("SIZE", human_size(size)),
            ("STATE", state(partitions)),
        ]
    }
}

/// What somebody has to know who looks at a topic because something is wrong.
fn state(partitions: &[DescribedPartition]) -> String {
    let count = |is: fn(&DescribedPartition) -> bool| partitions.iter().filter(|p| is(p)).count();
    let troubles = [
        (count(|p| p.error.is_some()), "in trouble (see ERROR)"),
        (count(|p| p.leader < 0), "without a leader"),
        (count(|p| p.isr.len() < p.replicas.len()), "with replicas out of sync"),
    ];
    let told = troubles.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> =
        told.map(|(count, what)| format!("{count} of {} {what}", partitions.len())).collect();
    if told.is_empty() { "healthy".to_owned() } else { told.join(", ") }
}

/// How many records the topic keeps; a few fewer where it is compacted.
pub(super) fn records_of(topic: &TopicDescription) -> i64 {
    topic.partitions.iter().map(|p| p.high_watermark - p.log_start_offset).sum()
}

fn join(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[derive(Serialize)]
struct PartitionOffsets {
    topic: String,
    partition: i32,
    start: i64,
    end: i64,
    records: i64,
    /// At the time that was asked for; -1: no record is that young.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
}

const OFFSETS: &[Column<PartitionOffsets>] = &[
    Column::text("TOPIC", |p| p.topic.clone()),
    Column::number("PARTITION", |p| p.partition.to_string()),
    Column::number("START", |p| p.start.to_string()),
    Column::number("END", |p| p.end.to_string()),
    Column::number("RECORDS", |p| p.records.to_string()),
    Column::filled("AT", |p| p.at.map(|at| at.to_string()).unwrap_or_default()),
];

pub(super) const OFFSETS_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("start", "First offset that is kept."),
    Field::integer("end", "Offset after the last record that can be read."),
    Field::integer("records", "How many offsets there are between the two."),
    Field::integer("at", "With --at, the first offset at or after that time; -1: none.").optional(),
];

pub(super) fn offsets(args: &OffsetsArgs) -> Outcome {
    look(&args.common, &args.selection, async |session, found, format| {
        let mut items = Vec::new();
        for topic in &found {
            let partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition).collect();
            let at = match args.at {
                Some(moment) => {
                    let timestamp = moment.resolve(positions::now_ms());
                    positions::list(&session.client, &topic.name, &partitions, timestamp).await?
                }
                None => Vec::new(),
            };
            items.extend(topic.partitions.iter().enumerate().map(|(index, partition)| {
                PartitionOffsets {
                    topic: topic.name.clone(),
                    partition: partition.partition,
                    start: partition.log_start_offset,
                    end: partition.high_watermark,
                    records: partition.high_watermark - partition.log_start_offset,
                    at: at.get(index).copied(),
                }
            }));
        }
        let name = |p: &PartitionOffsets| format!("{}/{}", p.topic, p.partition);
        Listing { items: &items, columns: OFFSETS, name }.print(format)
    })
}

#[derive(Serialize)]
struct PartitionStorage {
    topic: String,
    id: String,
    partition: i32,
    size_bytes: u64,
    segments: u32,
    records: i64,
}

const STORAGE: &[Column<PartitionStorage>] = &[
    Column::text("TOPIC", |p| p.topic.clone()),
    Column::number("PARTITION", |p| p.partition.to_string()),
    Column::number("SIZE", |p| human_size(p.size_bytes)),
    Column::number("SEGMENTS", |p| p.segments.to_string()),
    Column::number("RECORDS", |p| p.records.to_string()),
    Column::wide("BYTES", |p| p.size_bytes.to_string()),
    Column::wide("DIRECTORY", |p| format!("topics/{}/{}", p.id, p.partition)),
];

pub(super) const STORAGE_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    TOPIC_ID,
    Field::integer("partition", "Number of the partition."),
    Field::integer("size_bytes", "What it takes on the disk of its leader.").unit("bytes"),
    Field::integer("segments", "How many files that is."),
    Field::integer("records", "How many offsets it keeps."),
];

pub(super) fn storage(args: &StorageArgs) -> Outcome {
    look(&args.common, &args.selection, async |_, found, format| {
        let per_topic = found.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| PartitionStorage {
                topic: topic.name.clone(),
                id: topic_id(&topic.topic_id),
                partition: partition.partition,
                size_bytes: partition.size_bytes,
                segments: partition.segments,
                records: partition.high_watermark - partition.log_start_offset,
            })
        });
        let items: Vec<PartitionStorage> = per_topic.collect();
        let name = |p: &PartitionStorage| format!("{}/{}", p.topic, p.partition);
        Listing { items: &items, columns: STORAGE, name }.print(format)
    })
}

/// The description of one topic that must exist.
pub(super) async fn describe_one(
    client: &rivvend::client::Client,
    name: &str,
) -> Result<TopicDescription, Failure> {
    let ask = DescribeTopics { names: vec![name.to_owned()], internal: true };
    let mut found = client.describe_topics(ask).await?;
    match found.pop() {
        Some(TopicDescription { error: None, .. }) if !found.is_empty() => {
            Err(Failure::failed("the broker described more than was asked"))
        }
        Some(topic) => match topic.error.clone() {
            None => Ok(topic),
            Some(error) => Err(super::explain(client, name, error).await),
        },
        None => Err(crate::target::unknown_topic(client, name).await),
    }
}
