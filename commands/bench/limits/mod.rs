//! `rivvend bench limits`: what this machine can do, so that other results can be given as a share
//! of it. Needs no broker and knows none.

mod appender;
mod disk;
mod measurement;
mod memory;
mod raw;
mod server;
mod socket;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use clap::{Args, ValueEnum};
use rivvend::config::Size;
use rivvend::record::Compression;
use serde::{Deserialize, Serialize};

pub(crate) use server::{ServerArgs, serve};

use super::batch::{Batch, Shape};
use super::directory::Directory;
use super::machine::{MACHINE_FIELDS, Machine};
use super::printing;
use crate::failure::Exit;
use crate::fields::{Field, Json};
use crate::output::OutputArgs;
use crate::progress::Status;
use crate::settings::value;
use measurement::{COLUMNS, Measurement, medians};

/// How many times `--bytes` a long run writes.
const LONG_FACTOR: u64 = 8;

/// Measure what this machine can do: memory, loopback, disk, and a produce path without a broker
#[derive(Args, Clone, Debug)]
#[command(after_help = "raw.plain is a simple server: 1 MB over loopback, write, fdatasync where \
durability says fsync, reply. raw.best adds a checksum, early writeback and a bounded page cache; \
it is what a broker can reach at most. MB are 10^6 bytes.\n\nExamples:\n  rivvend bench limits\n  \
rivvend bench limits --only raw --long --rounds 5\n  \
rivvend bench limits --only disk,sync --dir /var/lib -o json")]
pub(crate) struct LimitsArgs {
    /// Parts to measure [default: all of them]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Bytes that each measurement of the disk and of the raw path writes
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = value::<Size>)]
    bytes: Size,
    /// Measure the raw path over 8 times as many bytes, too
    #[arg(long)]
    long: bool,
    /// Bytes that stay in the page cache where the rest is dropped, over all files
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = value::<Size>)]
    window: Size,
    /// Measure everything so often and give the medians
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Directory in which a new one is made; its disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Write the result as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Speed of CRC-32C
    Crc,
    /// Round trip and bandwidth over loopback
    Loopback,
    /// Ranges of a warm file over loopback, on request
    Sendfile,
    /// Latency of append + fdatasync, by size
    Sync,
    /// Bandwidth of write + sync, by threads
    Disk,
    /// A produce path without a broker
    Raw,
}

/// What every measurement gets.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    directory: &'a Directory,
    /// What is sent and written: the same batch as `bench produce` uses by default.
    block: Batch,
    bytes: u64,
    window_bytes: u64,
}

/// The result as it is saved; the field names are stable.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) command: String,
    pub(super) version: String,
    pub(super) machine: Machine,
    rounds: u16,
    pub(super) results: Vec<Measurement>,
}

/// The same as programs read it.
pub(super) const JSON: Json = Json::object(FOUND_FIELDS);

const FOUND_FIELDS: &[Field] = &[
    Field::text("command", "limits."),
    Field::text("version", "Version of rivvend."),
    Field::object("machine", "What it ran on.", MACHINE_FIELDS),
    Field::integer("rounds", "How often everything was measured; figures are medians."),
    Field::list("results", "What was found.", measurement::FIELDS),
];

/// Measures and prints.
pub(super) fn run(args: &LimitsArgs) -> anyhow::Result<Exit> {
    let directory = Directory::create(&args.dir, false)?;
    let machine = Machine::describe(Some(directory.path()));
    let shape =
        Shape { records: 1_000, record_size: 1_000, keys: None, compression: Compression::None };
    let block = Batch::build(&shape, 1);
    let (bytes, window_bytes) = (args.bytes.0, args.window.0);
    anyhow::ensure!(bytes >= block.payload_bytes, "--bytes must be one block of 1 MB at least");
    let limits = Limits { directory: &directory, block, bytes, window_bytes };
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        rounds.push(measure(args, &limits, round)?);
    }
    let results = medians(&rounds);
    let (command, version) = ("limits".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let found = Found { command, version, machine, rounds: args.rounds, results };
    printing::save(args.save.as_deref(), &found)?;
    printing::print(args.output.output, &found, &found.results, COLUMNS, |m| m.name.to_string())?;
    Ok(Exit::Ok)
}

fn measure(args: &LimitsArgs, limits: &Limits<'_>, round: u16) -> anyhow::Result<Vec<Measurement>> {
    let mut found = Vec::new();
    let status = Status::new();
    for part in Part::value_variants() {
        if args.only.is_empty() || args.only.contains(part) {
            status.say(format!("round {round} of {}: {part:?}", args.rounds));
            found.extend(measure_part(*part, args.long, limits)?);
        }
    }
    Ok(found)
}

fn measure_part(part: Part, long: bool, limits: &Limits<'_>) -> anyhow::Result<Vec<Measurement>> {
    let mut found = match part {
        Part::Crc => memory::checksum(),
        Part::Loopback => socket::round_trip()?,
        Part::Sendfile => socket::sendfile(limits)?,
        Part::Sync => disk::latency(limits)?,
        Part::Disk => disk::bandwidth(limits)?,
        Part::Raw => raw::produce(limits, limits.bytes)?,
    };
    match part {
        Part::Loopback => found.extend(socket::bandwidth(limits)?),
        Part::Raw if long => found.extend(raw::produce(limits, limits.bytes * LONG_FACTOR)?),
        _ => {}
    }
    Ok(found)
}

/// Takes one of what is left.
fn claim(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// What a thread returned.
fn joined<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a measuring thread panicked")))
}
