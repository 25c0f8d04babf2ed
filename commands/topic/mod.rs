//! `rivvend topic`: what topics there are, and changing them.

mod change;
mod compaction;
mod show;

use clap::{Args, Subcommand};
use regex::Regex;
use rivvend::client::Client;
use rivvend::config::Value as _;
use rivvend::protocol::native::message::{DescribeTopics, TopicDescription};
use rivvend::types::TopicId;

use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Json;
use crate::output::{Format, Listing, OutputArgs};
use crate::target::{TargetArgs, unknown_topic};

/// Create, list, describe and change topics
#[derive(Args, Clone, Debug)]
pub(crate) struct TopicArgs {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum TopicCommand {
    Create(change::CreateArgs),
    #[command(visible_alias = "ls")]
    List(show::ListArgs),
    Describe(show::DescribeArgs),
    Alter(change::AlterArgs),
    AddPartitions(change::AddPartitionsArgs),
    Delete(change::DeleteArgs),
    Trim(change::TrimArgs),
    Offsets(show::OffsetsArgs),
    Storage(show::StorageArgs),
}

pub(crate) fn run(args: &TopicArgs) -> Outcome {
    match &args.command {
        TopicCommand::Create(args) => change::create(args),
        TopicCommand::List(args) => show::list(args),
        TopicCommand::Describe(args) => show::describe(args),
        TopicCommand::Alter(args) => change::alter(args),
        TopicCommand::AddPartitions(args) => change::add_partitions(args),
        TopicCommand::Delete(args) => change::delete(args),
        TopicCommand::Trim(args) => change::trim(args),
        TopicCommand::Offsets(args) => show::offsets(args),
        TopicCommand::Storage(args) => show::storage(args),
    }
}

/// Which topics a command is about.
#[derive(Args, Clone, Debug)]
struct Selection {
    /// Names of topics; none: all of them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only topics whose whole name matches
    #[arg(short, long, value_name = "REGEX", value_parser = whole_name)]
    regex: Option<Regex>,
    /// Include the broker's own topics
    #[arg(long)]
    internal: bool,
}

/// How a command prints, and where it goes.
#[derive(Args, Clone, Debug)]
struct Common {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// A pattern for whole names, so that `orders` does not select `orders-test`.
pub(crate) fn whole_name(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        // The pattern stands in front of it; what the parser draws is that with our own around it.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default();
        format!("is no regular expression: {}", why.strip_prefix("error: ").unwrap_or(why))
    })
}

impl Selection {
    /// The descriptions of the selected topics, and the failures of those that were named in vain.
    async fn describe(
        &self,
        client: &Client,
    ) -> Result<(Vec<TopicDescription>, Vec<Failure>), Failure> {
        let ask = DescribeTopics { names: self.names.clone(), internal: self.internal };
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for topic in client.describe_topics(ask).await? {
            match topic.error.clone() {
                None => found.push(topic),
                Some(error) => failures.push(explain(client, &topic.name, error).await),
            }
        }
        if let Some(regex) = &self.regex {
            found.retain(|topic| regex.is_match(&topic.name));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((found, failures))
    }
}

/// The failure of one topic; an unknown one gets a suggestion.
async fn explain(
    client: &Client,
    name: &str,
    error: rivvend::protocol::native::message::Error,
) -> Failure {
    let failure = Failure::from(error);
    match failure.exit {
        Exit::NotFound => unknown_topic(client, name).await,
        _ => failure,
    }
}

/// Prints what was done. When nothing was because everything failed, people need no empty table.
fn print_done<T: serde::Serialize>(
    listing: &Listing<'_, T>,
    format: Format,
    failures: &[Failure],
) -> Result<(), Failure> {
    let is_for_people = matches!(format, Format::Table | Format::Wide);
    if is_for_people && listing.items.is_empty() && !failures.is_empty() {
        return Ok(());
    }
    listing.print(format)
}

/// Tells people that what they read did not happen.
fn note_dry_run(is_dry_run: bool) {
    if is_dry_run {
        eprintln!("dry run: nothing was changed");
    }
}

/// How a command over several topics ends: the one failure there is, or all of them together.
fn summarize(done: usize, mut failures: Vec<Failure>) -> Outcome {
    match failures.len() {
        0 => Ok(Exit::Ok),
        1 if done == 0 => Err(failures.remove(0)),
        count => {
            let messages: Vec<&str> = failures.iter().map(|f| f.message.as_str()).collect();
            let message = format!("{count} of {} failed: {}", done + count, messages.join("; "));
            let first = failures.remove(0);
            let exit = match failures.iter().all(|failure| failure.exit == first.exit) {
                _ if done > 0 => Exit::Partly,
                true => first.exit,
                false => Exit::Failed,
            };
            let is_shared = failures.iter().all(|failure| failure.code == first.code);
            let code = first.code.filter(|_| is_shared);
            let hint = first.hint.filter(|_| failures.is_empty());
            Err(Failure { exit, message, hint, code })
        }
    }
}

/// What a verb prints for programs.
pub(crate) fn json_of(verb: &str) -> Option<Json> {
    let fields = match verb {
        "create" | "add-partitions" => change::CHANGED_FIELDS,
        "alter" => change::ALTERED_FIELDS,
        "delete" => change::DELETED_FIELDS,
        "trim" => change::TRIMMED_FIELDS,
        "list" => show::LIST_FIELDS,
        "describe" => show::DESCRIBE_FIELDS,
        "offsets" => show::OFFSETS_FIELDS,
        "storage" => show::STORAGE_FIELDS,
        _ => return None,
    };
    Some(Json::list(fields))
}

/// The id as text, or nothing when the broker sent none.
fn topic_id(bytes: &[u8]) -> String {
    bytes.try_into().map(|id| TopicId::from_bytes(id).to_string()).unwrap_or_default()
}

/// Splits `key=value` and lets people write sizes and durations with units: settings themselves are
/// plain numbers, as in Kafka.
fn setting(text: &str) -> Result<(String, String), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("is not KEY=VALUE".to_owned());
    };
    let number = if key.ends_with(".ms") {
        std::time::Duration::read(value).ok().and_then(|span| span.amount())
    } else if key.ends_with(".bytes") {
        rivvend::config::Size::read(value).ok().map(|size| size.0)
    } else {
        None
    };
    let value = number.map_or_else(|| value.to_owned(), |number| number.to_string());
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_may_have_units() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(setting("retention.ms=7d"), pair("retention.ms", "604800000"));
        assert_eq!(setting("segment.bytes=1MiB"), pair("segment.bytes", "1048576"));
        assert_eq!(setting("retention.ms=-1"), pair("retention.ms", "-1"));
        assert_eq!(setting("durability=os"), pair("durability", "os"));
        assert_eq!(setting("a=b=c"), pair("a", "b=c"));
        assert!(setting("durability").is_err());
    }

    #[test]
    fn a_pattern_stands_for_whole_names() {
        let regex = whole_name("a|b.*").expect("valid");
        assert!(regex.is_match("a") && regex.is_match("bcd"));
        assert!(!regex.is_match("ab") && !regex.is_match("xb"));
        assert!(whole_name("(").is_err());
    }

    #[test]
    fn several_failures_end_partly_or_in_what_they_share() {
        let missing = || Failure::new(Exit::NotFound, "missing");
        let exit = |outcome: Outcome| outcome.unwrap_or_else(|failure| failure.exit);
        assert_eq!(exit(summarize(2, Vec::new())), Exit::Ok);
        assert_eq!(exit(summarize(0, vec![missing()])), Exit::NotFound);
        assert_eq!(exit(summarize(0, vec![missing(), missing()])), Exit::NotFound);
        assert_eq!(exit(summarize(0, vec![missing(), Failure::failed("x")])), Exit::Failed);
        assert_eq!(exit(summarize(1, vec![missing()])), Exit::Partly);
    }
}
