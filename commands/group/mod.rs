//! `rivvend group`: what consumer groups there are, and changing what they have committed.

mod change;
mod reset;
mod show;

use clap::{Args, Subcommand};
use rivvend::client::Client;
use rivvend::config::did_you_mean;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{Error, GroupDescription};

use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Json;
use crate::output::OutputArgs;
use crate::target::TargetArgs;

/// List and describe consumer groups, and change what they have committed
#[derive(Args, Clone, Debug)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum GroupCommand {
    #[command(visible_alias = "ls")]
    List(show::ListArgs),
    Describe(show::DescribeArgs),
    ResetOffsets(reset::ResetOffsetsArgs),
    Delete(change::DeleteArgs),
    DeleteOffsets(change::DeleteOffsetsArgs),
    RemoveMember(change::RemoveMemberArgs),
}

pub(crate) fn run(args: &GroupArgs) -> Outcome {
    match &args.command {
        GroupCommand::List(args) => show::list(args),
        GroupCommand::Describe(args) => show::describe(args),
        GroupCommand::ResetOffsets(args) => reset::reset_offsets(args),
        GroupCommand::Delete(args) => change::delete(args),
        GroupCommand::DeleteOffsets(args) => change::delete_offsets(args),
        GroupCommand::RemoveMember(args) => change::remove_member(args),
    }
}

/// What a verb prints for programs.
pub(crate) fn json_of(verb: &str) -> Option<Json> {
    match verb {
        "list" => Some(Json::list(show::LIST_FIELDS)),
        "describe" => Some(Json::object(show::DESCRIBE_FIELDS)),
        "reset-offsets" => Some(Json::list(reset::CHANGE_FIELDS)),
        "delete" => Some(Json::list(change::DELETED_FIELDS)),
        "delete-offsets" => Some(Json::list(change::FORGOTTEN_FIELDS)),
        "remove-member" => Some(Json::list(change::REMOVED_FIELDS)),
        _ => None,
    }
}

/// How a command prints, and where it goes.
#[derive(Args, Clone, Debug)]
struct Common {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// The description of one group, and why there is none.
async fn describe_one(client: &Client, group: &str) -> Result<GroupDescription, Failure> {
    let described = client.describe_groups(vec![group.to_owned()]).await?;
    let Some(described) = described.into_iter().next() else {
        return Err(Failure::failed("the broker described nothing"));
    };
    match described.error.clone() {
        None => Ok(described),
        Some(error) => Err(explain(client, group, error).await),
    }
}

/// The failure of one group; an unknown one gets a suggestion, one that is in use advice.
async fn explain(client: &Client, group: &str, error: Error) -> Failure {
    match error.error_code() {
        Some(ErrorCode::GroupIdNotFound) => unknown_group(client, group).await,
        Some(ErrorCode::NonEmptyGroup) => in_use(group),
        _ => Failure::from(error),
    }
}

fn in_use(group: &str) -> Failure {
    let failure = Failure::failed(format!("group {group:?} has members"));
    Failure { code: Some(ErrorCode::NonEmptyGroup), ..failure }
        .hint("stop its consumers first; `rivvend group describe` names them")
}

async fn unknown_group(client: &Client, group: &str) -> Failure {
    let failure = Failure::new(Exit::NotFound, format!("there is no group {group:?}"));
    let failure = Failure { code: Some(ErrorCode::GroupIdNotFound), ..failure };
    // Without a suggestion it is still true that the group is not there.
    let listed = client.list_groups(Vec::new()).await.unwrap_or_default();
    match did_you_mean(group, listed.iter().map(|listed| listed.group.as_str())) {
        Some(similar) => failure.hint(format!("did you mean {similar:?}?")),
        None => failure.hint("`rivvend group list` names those there are"),
    }
}

/// How a command over several things ends: the one failure there is, or all of them together.
fn summarize(done: usize, mut failures: Vec<Failure>) -> Outcome {
    if failures.is_empty() {
        return Ok(Exit::Ok);
    }
    if failures.len() == 1 && done == 0 {
        return Err(failures.remove(0));
    }
    let messages: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
    let total = done + failures.len();
    let message = format!("{} of {total} failed: {}", failures.len(), messages.join("; "));
    let first = failures[0].exit;
    let exit = match failures.iter().all(|failure| failure.exit == first) {
        _ if done > 0 => Exit::Partly,
        true => first,
        false => Exit::Failed,
    };
    Err(Failure::new(exit, message))
}

/// Tells people that what they read did not happen.
fn note_dry_run(is_dry_run: bool) {
    if is_dry_run {
        eprintln!("dry run: nothing was changed");
    }
}

/// A topic with, where only some of its partitions are meant, their numbers: `orders` or
/// `orders:0,1`.
fn topic_partitions(text: &str) -> Result<(String, Vec<i32>), String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok((text.to_owned(), Vec::new()));
    };
    let number = |digits: &str| match digits.parse::<i32>() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(format!("{digits:?} is no partition; write TOPIC or TOPIC:0,1")),
    };
    let partitions = partitions.split(',').map(number).collect::<Result<_, _>>()?;
    Ok((topic.to_owned(), partitions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_come_with_some_of_its_partitions() {
        assert_eq!(topic_partitions("t"), Ok(("t".to_owned(), Vec::new())));
        assert_eq!(topic_partitions("t:0,12"), Ok(("t".to_owned(), vec![0, 12])));
        for text in ["t:", "t:x", "t:-1", "t:0,", "t:0:1"] {
            assert!(topic_partitions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn several_failures_end_partly_or_in_what_they_share() {
        let missing = || Failure::new(Exit::NotFound, "missing");
        let exit = |outcome: Outcome| outcome.unwrap_or_else(|failure| failure.exit);
        assert_eq!(exit(summarize(2, Vec::new())), Exit::Ok);
        assert_eq!(exit(summarize(0, vec![missing()])), Exit::NotFound);
        assert_eq!(exit(summarize(0, vec![missing(), Failure::failed("x")])), Exit::Failed);
        assert_eq!(exit(summarize(1, vec![missing()])), Exit::Partly);
    }
}
