//! Looking at groups: list and describe. Changes nothing.

use std::io::Write as _;

use clap::Args;
use rivvend::protocol::native::message::{
    GroupDescription, GroupListing, GroupMember, GroupOffset, GroupRebalance, TopicPartitions,
};
use serde::Serialize;

use super::{Common, explain, summarize};
use crate::failure::{Failure, Outcome};
use crate::fields::Field;
use crate::output::{Column, Format, Listing, print_fields, print_items, print_one};
use crate::target::{self, Intent};

/// List consumer groups
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend group list\n  \
    rivvend group list --state Empty -o name\n  rivvend group list --data-dir ./data -o json")]
pub(super) struct ListArgs {
    /// Only groups in this state: Empty, PreparingRebalance, CompletingRebalance or Stable; may be
    /// repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Show everything about groups: members, offsets, lag, and why they rebalanced
#[derive(Args, Clone, Debug)]
#[command(after_help = "Several groups are printed as a list of them.\n\nExamples:\n  \
    rivvend group describe billing\n  rivvend group describe billing -o json")]
pub(super) struct DescribeArgs {
    /// Names of the groups
    #[arg(value_name = "GROUP", required = true)]
    groups: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Listed {
    group: String,
    protocol_type: String,
    state: String,
}

const LIST: &[Column<Listed>] = &[
    Column::text("GROUP", |group| group.group.clone()),
    Column::text("STATE", |group| group.state.clone()),
    Column::text("TYPE", |group| group.protocol_type.clone()),
];

pub(super) const LIST_FIELDS: &[Field] = &[
    Field::text("group", "Name of the group."),
    Field::text("protocol_type", "What kind of group it is; empty: it only has offsets."),
    Field::text("state", "Empty, PreparingRebalance, CompletingRebalance or Stable."),
];

pub(super) fn list(args: &ListArgs) -> Outcome {
    target::run(&args.common.target, Intent::Read, async |session| {
        let listed = session.client.list_groups(args.state.clone()).await?;
        let items: Vec<Listed> = listed.into_iter().map(listed_group).collect();
        let name = |group: &Listed| group.group.clone();
        Listing { items: &items, columns: LIST, name }.print(args.common.output.output)?;
        summarize(items.len(), Vec::new())
    })
}

fn listed_group(group: GroupListing) -> Listed {
    Listed { group: group.group, protocol_type: group.protocol_type, state: group.state }
}

/// A group as `describe -o json` prints it; the field names are stable.
#[derive(Serialize)]
struct Described {
    group: String,
    protocol: String,
    protocol_type: String,
    server_assigned: bool,
    state: String,
    generation: i32,
    coordinator: i32,
    members: Vec<DescribedMember>,
    offsets: Vec<DescribedOffset>,
    rebalances: Vec<DescribedRebalance>,
}

#[derive(Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    client_id: String,
    client_host: String,
    leader: bool,
    assignment: Vec<Assigned>,
}

#[derive(Serialize)]
struct Assigned {
    topic: String,
    partitions: Vec<i32>,
}

#[derive(Serialize)]
struct DescribedOffset {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    high_watermark: Option<i64>,
    /// How much is left to read; of a partition without an offset, all there is.
    lag: Option<i64>,
    metadata: String,
    member: Option<String>,
}

#[derive(Serialize)]
struct DescribedRebalance {
    at: String,
    generation: i32,
    reason: String,
}

const MEMBERS: &[Column<DescribedMember>] = &[
    Column::text("MEMBER", |m| m.member.clone()),
    Column::filled("INSTANCE", |m| m.instance.clone().unwrap_or_default()),
    Column::text("HOST", |m| m.client_host.clone()),
    Column::text("ASSIGNMENT", |m| assignment(&m.assignment)),
    Column::wide("CLIENT", |m| m.client_id.clone()),
    Column::wide("LEADER", |m| if m.leader { "yes".to_owned() } else { String::new() }),
];

const OFFSETS: &[Column<DescribedOffset>] = &[
    Column::text("TOPIC", |o| o.topic.clone()),
    Column::number("PARTITION", |o| o.partition.to_string()),
    Column::number("COMMITTED", |o| number(o.committed)),
    Column::number("END", |o| number(o.high_watermark)),
    Column::number("LAG", |o| number(o.lag)),
    Column::text("MEMBER", |o| o.member.clone().unwrap_or_default()),
    Column::filled("METADATA", |o| o.metadata.clone()),
];

const REBALANCES: &[Column<DescribedRebalance>] = &[
    Column::text("AT", |r| r.at.clone()),
    Column::number("GENERATION", |r| r.generation.to_string()),
    Column::text("REASON", |r| r.reason.clone()),
];

pub(super) const DESCRIBE_FIELDS: &[Field] = &[
    Field::text("group", "Name of the group."),
    Field::text("protocol", "How partitions are assigned; empty: nothing is assigned now."),
    Field::text("protocol_type", "What kind of group it is; empty: it only has offsets."),
    Field::flag("server_assigned", "Whether the server assigns, and not one of the members."),
    Field::text("state", "Empty, PreparingRebalance, CompletingRebalance or Stable."),
    Field::integer("generation", "How often it has rebalanced."),
    Field::integer("coordinator", "Node that coordinates it."),
    Field::list("members", "Its members, by their ids.", MEMBER_FIELDS),
    Field::list("offsets", "What it has committed or reads, by partition.", OFFSET_FIELDS),
    Field::list("rebalances", "Why it rebalanced, oldest first.", REBALANCE_FIELDS),
];

const MEMBER_FIELDS: &[Field] = &[
    Field::text("member", "Id of the member."),
    Field::text("instance", "Name under which it comes back after a restart.").nullable(),
    Field::text("client_id", "What the client calls itself."),
    Field::text("client_host", "Where it connected from."),
    Field::flag("leader", "Whether it leads the group."),
    Field::list("assignment", "What it reads.", ASSIGNED_FIELDS),
];

const ASSIGNED_FIELDS: &[Field] = &[
    Field::text("topic", "Name of a topic."),
    Field::integers("partitions", "Numbers of its partitions."),
];

const OFFSET_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("committed", "Offset of the next record to read.").nullable(),
    Field::integer("high_watermark", "Offset after the last record that can be read.").nullable(),
    Field::integer("lag", "How many offsets are left to read.").nullable(),
    Field::text("metadata", "What the consumer added."),
    Field::text("member", "Id of the member that reads it.").nullable(),
];

const REBALANCE_FIELDS: &[Field] = &[
    Field::text("at", "When, in UTC."),
    Field::integer("generation", "The generation that came of it."),
    Field::text("reason", "What happened, with the client's own reason if it gave one."),
];

/// A dash where there is no number.
fn number(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn assignment(assigned: &[Assigned]) -> String {
    let topic = |assigned: &Assigned| {
        let numbers: Vec<String> = assigned.partitions.iter().map(i32::to_string).collect();
        format!("{}:{}", assigned.topic, numbers.join(","))
    };
    assigned.iter().map(topic).collect::<Vec<_>>().join(" ")
}

pub(super) fn describe(args: &DescribeArgs) -> Outcome {
    target::run(&args.common.target, Intent::Read, async |session| {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for group in session.client.describe_groups(args.groups.clone()).await? {
            match group.error.clone() {
                None => found.push(described(group)),
                Some(error) => {
                    failures.push(explain(&session.client, &group.group, error).await);
                }
            }
        }
        print(&found, args.groups.len() == 1, args.common.output.output)?;
        summarize(found.len(), failures)
    })
}

/// One group that was asked for is an object, several are a list.
fn print(found: &[Described], is_one: bool, format: Format) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => print_tables(found, format),
        Format::Name => {
            let mut out = std::io::stdout().lock();
            Ok(found.iter().try_for_each(|group| writeln!(out, "{}", group.group))?)
        }
        format if is_one => found.iter().try_for_each(|group| print_one(format, group)),
        format => print_items(format, found),
    }
}

fn described(group: GroupDescription) -> Described {
    let leader = group.leader;
    Described {
        group: group.group,
        protocol: group.protocol,
        protocol_type: group.protocol_type,
        server_assigned: group.server_assigned,
        state: group.state,
        generation: group.generation,
        coordinator: group.coordinator,
        members: group.members.into_iter().map(|m| described_member(m, &leader)).collect(),
        offsets: group.offsets.into_iter().map(described_offset).collect(),
        rebalances: group.rebalances.into_iter().map(described_rebalance).collect(),
    }
}

fn described_member(member: GroupMember, leader: &str) -> DescribedMember {
    let assigned =
        |topic: TopicPartitions| Assigned { topic: topic.topic, partitions: topic.partitions };
    DescribedMember {
        leader: member.member == leader,
        member: member.member,
        instance: filled(member.instance),
        client_id: member.client_id,
        client_host: member.client_host,
        assignment: member.assignment.into_iter().map(assigned).collect(),
    }
}

fn described_offset(offset: GroupOffset) -> DescribedOffset {
    let known = |offset: i64| (offset >= 0).then_some(offset);
    let (committed, end) = (known(offset.committed), known(offset.high_watermark));
    let from = committed.or(known(offset.log_start_offset));
    DescribedOffset {
        topic: offset.topic,
        partition: offset.partition,
        committed,
        high_watermark: end,
        lag: end.zip(from).map(|(end, from)| (end - from).max(0)),
        metadata: offset.metadata,
        member: filled(offset.member),
    }
}

fn described_rebalance(rebalance: GroupRebalance) -> DescribedRebalance {
    let at = jiff::Timestamp::from_millisecond(rebalance.at_ms);
    DescribedRebalance {
        at: at.map_or_else(|_| rebalance.at_ms.to_string(), |at| at.to_string()),
        generation: rebalance.generation,
        reason: rebalance.reason,
    }
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The table form: per group a summary, its members, its offsets and why it rebalanced.
fn print_tables(groups: &[Described], format: Format) -> Result<(), Failure> {
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            writeln!(std::io::stdout())?;
        }
        print_fields(&group.summary())?;
        print_part(&group.members, MEMBERS, format)?;
        print_part(&group.offsets, OFFSETS, format)?;
        print_part(&group.rebalances, REBALANCES, format)?;
    }
    Ok(())
}

/// A part of a description, unless it is empty.
fn print_part<T: Serialize>(
    items: &[T],
    columns: &[Column<T>],
    format: Format,
) -> Result<(), Failure> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(std::io::stdout())?;
    Listing { items, columns, name: |_| String::new() }.print(format)
}

impl Described {
    fn summary(&self) -> Vec<(&'static str, String)> {
        let assigned_by = if self.server_assigned { "the server" } else { "a member" };
        let lag: i64 = self.offsets.iter().filter_map(|offset| offset.lag).sum();
        let mut fields = vec![
            ("GROUP", self.group.clone()),
            ("STATE", self.state.clone()),
            ("GENERATION", self.generation.to_string()),
            ("COORDINATOR", self.coordinator.to_string()),
            ("MEMBERS", self.members.len().to_string()),
            ("LAG", lag.to_string()),
        ];
        if !self.protocol.is_empty() {
            fields.insert(2, ("ASSIGNOR", format!("{}, by {assigned_by}", self.protocol)));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_is_left_and_unknown_where_there_is_no_partition() {
        let lag = |committed, log_start_offset, high_watermark| {
            let offset = GroupOffset {
                committed,
                log_start_offset,
                high_watermark,
                ..GroupOffset::default()
            };
            described_offset(offset).lag
        };
        assert_eq!(lag(3, 0, 10), Some(7));
        assert_eq!(lag(-1, 4, 10), Some(6), "nothing is committed, so all there is is left");
        assert_eq!(lag(12, 0, 10), Some(0), "a trimmed log may have been shorter");
        assert_eq!(lag(3, -1, -1), None);
    }
}
