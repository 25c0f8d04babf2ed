//! `rivvend bench`: measures a broker, a private one unless told otherwise, and the machine that it
//! runs on. Each subcommand has a file; what they share is about processes, time and numbers.

mod batch;
mod broker;
mod consume;
mod directory;
mod drive;
mod latency;
mod limits;
mod machine;
mod outcome;
mod pacer;
mod plan;
mod process;
mod produce;
mod recorder;
mod report;
mod session;
mod stop;

use clap::{Args, Subcommand};

use rivvend::client::ClientError;

use crate::failure::{Exit, Failure, Outcome, exit_of};

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
    Limits(limits::LimitsArgs),
    /// The raw server of `limits`
    #[command(hide = true)]
    RawServer(limits::ServerArgs),
}

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    if let BenchCommand::RawServer(args) = &args.command {
        return limits::serve(args).map(|()| Exit::Ok).map_err(failure);
    }
    let done = stop::listen().and_then(|()| match &args.command {
        BenchCommand::Produce(args) => produce::run(args),
        BenchCommand::Consume(args) => consume::run(args),
        BenchCommand::Limits(args) => limits::run(args),
        BenchCommand::RawServer(_) => Ok(Exit::Ok),
    });
    done.map_err(failure)
}

/// What a run fails with, as every command reports it.
fn failure(error: anyhow::Error) -> Failure {
    let error = match error.downcast::<report::Told>() {
        Ok(report::Told(failure)) => return failure,
        Err(error) => error,
    };
    let client = error.downcast_ref::<ClientError>();
    let message = match client {
        // It repeats its cause already, but not what it stood in the way of.
        Some(client) if error.to_string() != client.to_string() => format!("{error}: {client}"),
        Some(client) => client.to_string(),
        None => format!("{error:#}"),
    };
    match client {
        Some(client) if client.code().is_some() => {
            Failure { code: client.code(), ..Failure::new(exit_of(client.code()), message) }
        }
        Some(client) if client.is_retriable() => Failure::new(Exit::Unavailable, message),
        _ => Failure::failed(message),
    }
}
