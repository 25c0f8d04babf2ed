//! `rivvend inspect`: looks into files of a data directory without a broker and without changing
//! anything.

mod verify;
mod walk;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rivvend::record::CheckedBatch;
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Column, Listing, OutputArgs};
use walk::Walk;

/// Look into a data directory without a broker and without changing it
#[derive(Args, Clone, Debug)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    command: InspectCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum InspectCommand {
    Verify(verify::VerifyArgs),
    Log(LogArgs),
}

/// List the batches of a segment file
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    rivvend inspect log data/topics/<topic id>/0/00000000000000000000.log -o wide")]
struct LogArgs {
    /// A .log file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    match &args.command {
        InspectCommand::Verify(args) => verify::run(args),
        InspectCommand::Log(args) => list_batches(args),
    }
}

/// A batch as it is printed.
#[derive(Serialize)]
struct Batch {
    base_offset: i64,
    last_offset: i64,
    position: u64,
    size_bytes: usize,
    records: i32,
    codec: i16,
    leader_epoch: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    control: bool,
    transactional: bool,
}

const BATCHES: &[Column<Batch>] = &[
    Column::number("POSITION", |b| b.position.to_string()),
    Column::number("BASE", |b| b.base_offset.to_string()),
    Column::number("LAST", |b| b.last_offset.to_string()),
    Column::number("RECORDS", |b| b.records.to_string()),
    Column::number("BYTES", |b| b.size_bytes.to_string()),
    Column::number("EPOCH", |b| b.leader_epoch.to_string()),
    Column::number("CODEC", |b| b.codec.to_string()),
    Column::number("MAX TIMESTAMP", |b| b.max_timestamp.to_string()),
    Column::wide("PRODUCER", |b| b.producer_id.to_string()),
    Column::wide("PRODUCER EPOCH", |b| b.producer_epoch.to_string()),
    Column::wide("SEQUENCE", |b| b.base_sequence.to_string()),
    Column::wide("CONTROL", |b| b.control.to_string()),
    Column::wide("TRANSACTIONAL", |b| b.transactional.to_string()),
];

fn list_batches(args: &LogArgs) -> Outcome {
    let mut walk = open(&args.file)?;
    let mut batches = Vec::new();
    let end = loop {
        let position = walk.position();
        match walk.next().map_err(|error| Failure::file("read", &args.file, &error))? {
            walk::Step::Batch(batch) => batches.push(summary(&batch, position)),
            end => break end,
        }
    };
    let name = |batch: &Batch| batch.base_offset.to_string();
    Listing { items: &batches, columns: BATCHES, name }.print(args.output.output)?;
    match end {
        walk::Step::Bad(why) => {
            let (path, at) = (args.file.display(), walk.position());
            Err(Failure::failed(format!("{path}: byte {at}: {why}")))
        }
        _ => Ok(Exit::Ok),
    }
}

fn summary(batch: &CheckedBatch, position: u64) -> Batch {
    let header = batch.header();
    Batch {
        base_offset: header.base_offset.0,
        last_offset: walk::last_offset(batch),
        position,
        size_bytes: header.size_bytes().unwrap_or(0),
        records: header.records_count,
        codec: header.attributes & rivvend::record::layout::attributes::CODEC,
        leader_epoch: header.leader_epoch.0,
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        producer_id: header.producer_id.0,
        producer_epoch: header.producer_epoch.0,
        base_sequence: header.base_sequence.0,
        control: header.is_control(),
        transactional: header.is_transactional(),
    }
}

fn open(path: &Path) -> Result<Walk, Failure> {
    Walk::open(path).map_err(|error| Failure::file("read", path, &error))
}
