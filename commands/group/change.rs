//! Changing groups: delete, delete-offsets, remove-member. What destroys something asks on a
//! terminal and needs `--yes` without one.

use clap::Args;
use rivvend::protocol::native::message::{
    DeleteGroups, DeleteOffsets, GroupPartitionResult, LeaveGroup, LeavingMember, TopicPartitions,
};
use serde::Serialize;

use super::{Common, describe_one, explain, in_use, note_dry_run, summarize, topic_partitions};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::output::{Column, Listing};
use crate::prompt::confirm;
use crate::target::{self, Intent};

/// Delete groups that have no members, with the offsets they have committed
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend group delete billing\n  \
    rivvend group delete billing reports --yes")]
pub(super) struct DeleteArgs {
    /// Names of the groups
    #[arg(value_name = "GROUP", required = true)]
    groups: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only check whether they could be deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Forget committed offsets of topics that no member of the group reads
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend group delete-offsets billing --topic orders\n  \
    rivvend group delete-offsets billing --topic orders:0,1 --yes")]
pub(super) struct DeleteOffsetsArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    group: String,
    /// A topic, or some of its partitions; may be repeated
    #[arg(short, long, value_name = "TOPIC[:P,P]", value_parser = topic_partitions)]
    #[arg(required = true)]
    topic: Vec<(String, Vec<i32>)>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be forgotten
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Take members out of a group; those that still run join again
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend group remove-member billing --instance host-1\n  \
    rivvend group remove-member billing consumer-1-5f0c… --reason 'stuck'\n  \
    rivvend group remove-member billing --all")]
pub(super) struct RemoveMemberArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Ids of members
    #[arg(value_name = "MEMBER")]
    #[arg(required_unless_present_any = ["instance", "all"])]
    members: Vec<String>,
    /// Whoever has this instance id; may be repeated
    #[arg(long, value_name = "INSTANCE")]
    instance: Vec<String>,
    /// Every member
    #[arg(long, conflicts_with_all = ["members", "instance"])]
    all: bool,
    /// Why, as the group's history shall tell
    #[arg(long, value_name = "TEXT", default_value = "removed by an administrator")]
    reason: String,
    /// Only say who would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Deleted {
    group: String,
}

const DELETED: &[Column<Deleted>] = &[Column::text("GROUP", |group| group.group.clone())];

pub(super) const DELETED_FIELDS: &[Field] =
    &[Field::text("group", "Name of a group that is gone.")];

pub(super) fn delete(args: &DeleteArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let client = &session.client;
        if !args.dry_run {
            let names = args.groups.join(", ");
            confirm(args.yes, &format!("Delete {names} and the committed offsets?")).await?;
        }
        let request = DeleteGroups { groups: args.groups.clone(), validate_only: args.dry_run };
        let (mut items, mut failures) = (Vec::new(), Vec::new());
        for result in client.delete_groups(request).await? {
            match result.error {
                None => items.push(Deleted { group: result.group }),
                Some(error) => failures.push(explain(client, &result.group, error).await),
            }
        }
        note_dry_run(args.dry_run);
        if !items.is_empty() {
            let name = |group: &Deleted| group.group.clone();
            Listing { items: &items, columns: DELETED, name }.print(args.common.output.output)?;
        }
        summarize(items.len(), failures)
    })
}

#[derive(Serialize)]
struct Forgotten {
    topic: String,
    partition: i32,
    committed: i64,
}

const FORGOTTEN: &[Column<Forgotten>] = &[
    Column::text("TOPIC", |offset| offset.topic.clone()),
    Column::number("PARTITION", |offset| offset.partition.to_string()),
    Column::number("COMMITTED", |offset| offset.committed.to_string()),
];

pub(super) const FORGOTTEN_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("committed", "The offset that is forgotten."),
];

pub(super) fn delete_offsets(args: &DeleteOffsetsArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let client = &session.client;
        let group = describe_one(client, &args.group).await?;
        let is_meant = |topic: &str, partition| {
            args.topic.iter().any(|(name, partitions)| {
                name == topic && (partitions.is_empty() || partitions.contains(&partition))
            })
        };
        let offsets = group.offsets.into_iter().filter(|offset| offset.committed >= 0);
        let meant = offsets.filter(|offset| is_meant(&offset.topic, offset.partition));
        let mut items: Vec<Forgotten> = meant
            .map(|offset| Forgotten {
                topic: offset.topic,
                partition: offset.partition,
                committed: offset.committed,
            })
            .collect();
        if items.is_empty() {
            let message = format!("group {:?} has committed nothing there", args.group);
            return Err(Failure::new(Exit::NotFound, message));
        }
        let mut failures = Vec::new();
        if !args.dry_run {
            let question = format!("Forget {} offsets of {}?", items.len(), args.group);
            confirm(args.yes, &question).await?;
            let partitions = items.iter().map(|item| TopicPartitions {
                topic: item.topic.clone(),
                partitions: vec![item.partition],
            });
            let partitions = partitions.collect();
            let request = DeleteOffsets { group: args.group.clone(), partitions };
            let results = client.delete_offsets(request).await?;
            failures = refused(&mut items, results);
        }
        note_dry_run(args.dry_run);
        let name = |offset: &Forgotten| format!("{}/{}", offset.topic, offset.partition);
        if !items.is_empty() {
            let listing = Listing { items: &items, columns: FORGOTTEN, name };
            listing.print(args.common.output.output)?;
        }
        summarize(items.len(), failures)
    })
}

/// Takes out of the list what was refused.
fn refused(items: &mut Vec<Forgotten>, results: Vec<GroupPartitionResult>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for result in results {
        if let Some(error) = result.error {
            items.retain(|item| (&item.topic, item.partition) != (&result.topic, result.partition));
            let failure = Failure::from(error);
            let place = format!("{}/{}", result.topic, result.partition);
            failures.push(Failure { message: format!("{place}: {}", failure.message), ..failure });
        }
    }
    failures
}

#[derive(Serialize)]
struct Removed {
    member: String,
    instance: String,
}

const REMOVED: &[Column<Removed>] = &[
    Column::text("MEMBER", |removed| removed.member.clone()),
    Column::filled("INSTANCE", |removed| removed.instance.clone()),
];

pub(super) const REMOVED_FIELDS: &[Field] = &[
    Field::text("member", "Id of a member that is gone."),
    Field::text("instance", "Its instance id; empty: it had none."),
];

pub(super) fn remove_member(args: &RemoveMemberArgs) -> Outcome {
    target::run(&args.common.target, Intent::of(args.dry_run), async |session| {
        let client = &session.client;
        let present = describe_one(client, &args.group).await?.members;
        let is_meant = |member: &rivvend::protocol::native::message::GroupMember| {
            args.all
                || args.members.contains(&member.member)
                || (!member.instance.is_empty() && args.instance.contains(&member.instance))
        };
        let members: Vec<LeavingMember> = present
            .into_iter()
            .filter(is_meant)
            .map(|member| LeavingMember { member: member.member, instance: member.instance })
            .collect();
        if let Some(missing) = missing(args, &members) {
            let message = format!("group {:?} has no member {missing:?}", args.group);
            let hint = format!("`rivvend group describe {}` names them", args.group);
            return Err(Failure::new(Exit::NotFound, message).hint(hint));
        }
        let mut items: Vec<Removed> = members
            .iter()
            .map(|m| Removed { member: m.member.clone(), instance: m.instance.clone() })
            .collect();
        let mut failures = Vec::new();
        if !args.dry_run && !members.is_empty() {
            let (group, reason) = (args.group.clone(), args.reason.clone());
            for left in client.leave_group(LeaveGroup { group, members, reason }).await? {
                if let Some(error) = left.error {
                    items.retain(|item| item.member != left.member);
                    failures.push(Failure::from(error));
                }
            }
        }
        note_dry_run(args.dry_run);
        let name = |removed: &Removed| removed.member.clone();
        Listing { items: &items, columns: REMOVED, name }.print(args.common.output.output)?;
        summarize(items.len(), failures)
    })
}

/// What was named and is not there.
fn missing(args: &RemoveMemberArgs, found: &[LeavingMember]) -> Option<String> {
    let no_member = |id: &&String| !found.iter().any(|member| member.member == **id);
    let no_instance = |id: &&String| !found.iter().any(|member| member.instance == **id);
    let member = args.members.iter().find(no_member);
    member.or_else(|| args.instance.iter().find(no_instance)).cloned()
}

/// The failure of a commit to a group that has members.
pub(super) fn refuse_in_use(group: &str, members: usize) -> Result<(), Failure> {
    if members > 0 { Err(in_use(group)) } else { Ok(()) }
}
