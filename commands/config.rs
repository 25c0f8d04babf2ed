//! `rivvend config`: what the configuration is, where each value came from, and whether a file is
//! valid. Talks to no broker.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rivvend::config::{Config, KEYS, Key, Sources, default_file};
use serde::Serialize;

use crate::failure::{Exit, Outcome};
use crate::output::{Column, ErrorArgs, Listing, OutputArgs};
use crate::settings::{SettingsArgs, read_file};

/// Show, check and document the configuration
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum ConfigCommand {
    /// Print the effective value of every key and where it came from
    #[command(after_help = "Examples:\n  rivvend config show\n  \
        rivvend config show -c broker.yaml -o json\n  RIVVEN_BIND=[::]:9092 rivvend config show")]
    Show(ShowArgs),
    /// Check a configuration file; exit code 78 and every mistake when it is not valid
    Check(CheckArgs),
    /// Print config/rivvend.yaml: every key with its documentation, unit and default
    Default(DefaultArgs),
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct CheckArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    errors: ErrorArgs,
}

#[derive(Args, Clone, Debug)]
struct DefaultArgs {
    #[command(flatten)]
    errors: ErrorArgs,
}

/// One key as it is printed; the field names are stable.
#[derive(Serialize)]
struct Entry {
    key: &'static str,
    value: String,
    source: String,
    default: &'static str,
    kind: &'static str,
    dynamic: bool,
    variable: String,
}

const COLUMNS: &[Column<Entry>] = &[
    Column::text("KEY", |entry| entry.key.to_owned()),
    Column::text("VALUE", |entry| entry.value.clone()),
    Column::text("SOURCE", |entry| entry.source.clone()),
    Column::wide("DEFAULT", |entry| entry.default.to_owned()),
    Column::wide("KIND", |entry| entry.kind.to_owned()),
    Column::wide("VARIABLE", |entry| entry.variable.clone()),
];

pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Default(_) => {
            let mut out = std::io::stdout().lock();
            out.write_all(default_file().as_bytes())?;
            out.flush()?;
            Ok(Exit::Ok)
        }
    }
}

fn show(args: &ShowArgs) -> Outcome {
    let config = args.settings.load()?;
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    let entries: Vec<Entry> = KEYS.iter().map(|key| entry(&config, key)).collect();
    let listing = Listing { items: &entries, columns: COLUMNS, name: |e| e.key.to_owned() };
    listing.print(args.output.output)?;
    Ok(Exit::Ok)
}

fn entry(config: &Config, key: &Key) -> Entry {
    Entry {
        key: key.path,
        value: config.show(key),
        source: config.origin(key).to_string(),
        default: key.default,
        kind: key.kind,
        dynamic: key.is_dynamic,
        variable: key.variable(),
    }
}

/// Checks the file alone: the environment of whoever checks is not that of the broker.
fn check(args: &CheckArgs) -> Outcome {
    let text = read_file(&args.file)?;
    Config::load(&Sources { file: Some((args.file.clone(), text)), ..Sources::default() })?;
    eprintln!("{} is valid", args.file.display());
    Ok(Exit::Ok)
}
