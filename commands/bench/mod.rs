//! `rivvend bench`: measures a broker, a private one unless told otherwise, and the machine that it
//! runs on. Each subcommand has a file; what they share is about processes, time and numbers.

mod batch;
mod broker;
mod compare;
mod consume;
mod delivery;
mod directory;
mod document;
mod drive;
mod e2e;
mod exchange;
mod inflow;
mod kafka;
mod latency;
mod limits;
mod live;
mod loops;
mod machine;
mod meter;
mod mixed;
mod outcome;
mod pacer;
mod plan;
mod printing;
mod process;
mod produce;
mod recorder;
mod report;
mod saved;
mod session;
mod stage;
mod stamp;
mod stop;
mod trust;
mod watcher;
mod wire;

use clap::{Args, Subcommand};

use rivvend::client::ClientError;

use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Json;

/// Measure a broker, and what this machine can do
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum BenchCommand {
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    #[command(name = "e2e")]
    EndToEnd(e2e::EndToEndArgs),
    Mixed(mixed::MixedArgs),
    Limits(limits::LimitsArgs),
    Compare(compare::CompareArgs),
    Report(report::ReportArgs),
    /// The raw server of `limits`
    #[command(hide = true)]
    RawServer(limits::ServerArgs),
}

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let done = match &args.command {
        BenchCommand::Compare(args) => compare::run(args),
        BenchCommand::Report(args) => report::run(args),
        BenchCommand::RawServer(args) => limits::serve(args).map(|()| Exit::Ok),
        measuring => stop::listen().and_then(|()| measure(measuring)),
    };
    done.map_err(failure)
}

fn measure(command: &BenchCommand) -> anyhow::Result<Exit> {
    match command {
        BenchCommand::Produce(args) => produce::run(args),
        BenchCommand::Consume(args) => consume::run(args),
        BenchCommand::EndToEnd(args) => e2e::run(args),
        BenchCommand::Mixed(args) => mixed::run(args),
        BenchCommand::Limits(args) => limits::run(args),
        BenchCommand::Compare(_) | BenchCommand::Report(_) | BenchCommand::RawServer(_) => {
            Ok(Exit::Ok)
        }
    }
}

/// What a subcommand prints for programs.
pub(crate) fn json_of(verb: &str) -> Option<Json> {
    match verb {
        "limits" => Some(limits::JSON),
        "compare" => Some(compare::JSON),
        "report" => Some(report::JSON),
        measuring => document::json_of(measuring),
    }
}

/// What a run fails with, as every command reports it.
fn failure(error: anyhow::Error) -> Failure {
    let error = match error.downcast::<printing::Told>() {
        Ok(printing::Told(failure)) => return failure,
        Err(error) => error,
    };
    let context = error.to_string();
    match error.downcast::<ClientError>() {
        Ok(client) if context == client.to_string() => client.into(),
        // What it stood in the way of; it tells its own cause already.
        Ok(client) => {
            let failure = Failure::from(client);
            Failure { message: format!("{context}: {}", failure.message), ..failure }
        }
        Err(error) => Failure::failed(format!("{error:#}")),
    }
}
