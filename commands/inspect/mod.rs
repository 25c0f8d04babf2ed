//! `rivvend inspect`: looks into files of a data directory without a broker. Nothing but `repair`
//! changes anything.

mod batch;
mod check;
mod directory;
mod frontier;
mod index;
mod log;
mod repair;
mod verify;
mod walk;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::failure::Outcome;
use crate::fields::Json;

/// What the verbs that look at many logs look at.
#[derive(Args, Clone, Debug)]
struct PlaceArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this topic or partition; name or id, or `metadata`
    #[arg(value_name = "TOPIC[/PARTITION]")]
    topic: Option<String>,
}

/// Look into a data directory without a broker; only `repair` changes it
#[derive(Args, Clone, Debug)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    command: InspectCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum InspectCommand {
    Verify(verify::VerifyArgs),
    Log(log::LogArgs),
    Batch(batch::BatchArgs),
    Index(index::IndexArgs),
    Frontier(frontier::FrontierArgs),
    Repair(repair::RepairArgs),
}

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    match &args.command {
        InspectCommand::Verify(args) => verify::run(args),
        InspectCommand::Log(args) => log::run(args),
        InspectCommand::Batch(args) => batch::run(args),
        InspectCommand::Index(args) => index::run(args),
        InspectCommand::Frontier(args) => frontier::run(args),
        InspectCommand::Repair(args) => repair::run(args),
    }
}

/// What a verb prints for programs.
pub(crate) fn json_of(verb: &str) -> Option<Json> {
    let fields = match verb {
        "verify" => verify::FIELDS,
        "log" => log::FIELDS,
        "batch" => batch::FIELDS,
        "index" => index::FIELDS,
        "frontier" => frontier::FIELDS,
        "repair" => repair::FIELDS,
        _ => return None,
    };
    Some(Json::list(fields))
}

/// A time as a table shows it; nothing for -1, where nobody knows it. Nobody vouches for the number
/// in a file.
fn time_column(timestamp_ms: i64) -> String {
    if timestamp_ms == -1 {
        return String::new();
    }
    match jiff::Timestamp::from_millisecond(timestamp_ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => timestamp_ms.to_string(),
    }
}
