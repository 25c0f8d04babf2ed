//! `rivvend config`: what the configuration is, where each value came from, and whether a file is
//! valid. Talks to no broker.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rivvend::config::{Config, KEYS, Key, Sources, default_file};
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Column, ErrorArgs, Format, Listing, OutputArgs};
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
    #[command(after_help = "Examples:\n  rivvend config check /etc/rivvend.yaml\n  \
        rivvend config check broker.yaml -o jsonl")]
    Check(CheckArgs),
    /// Print config/rivvend.yaml: every key with its documentation, unit and default
    #[command(after_help = "Examples:\n  rivvend config default > rivvend.yaml\n  \
        rivvend config default -o name")]
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
    /// Form in which mistakes are listed on standard output [default: only the error]
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<Format>,
    #[command(flatten)]
    errors: ErrorArgs,
}

#[derive(Args, Clone, Debug)]
struct DefaultArgs {
    /// Form of a list of the keys [default: the commented file]
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<Format>,
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

/// One mistake in a file as it is printed; the field names are stable.
#[derive(Serialize)]
struct Mistake {
    place: String,
    message: String,
}

const MISTAKES: &[Column<Mistake>] = &[
    Column::text("PLACE", |mistake| mistake.place.clone()),
    Column::text("MISTAKE", |mistake| mistake.message.clone()),
];

pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Default(args) => default(args),
    }
}

fn default(args: &DefaultArgs) -> Outcome {
    match args.output {
        Some(format) => print_entries(&Config::default(), format)?,
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(default_file().as_bytes())?;
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}

fn show(args: &ShowArgs) -> Outcome {
    let config = args.settings.load()?;
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    print_entries(&config, args.output.output)?;
    Ok(Exit::Ok)
}

fn print_entries(config: &Config, format: Format) -> Result<(), Failure> {
    let entries: Vec<Entry> = KEYS.iter().map(|key| entry(config, key)).collect();
    let listing = Listing { items: &entries, columns: COLUMNS, name: |e| e.key.to_owned() };
    listing.print(format)
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
    let file = Some((args.file.clone(), text));
    let problems = Config::load(&Sources { file, ..Sources::default() }).err();
    if let Some(format) = args.output {
        let mistakes = problems.iter().flat_map(|problems| &problems.0);
        let mistakes: Vec<Mistake> = mistakes
            .map(|problem| Mistake {
                place: problem.place.clone(),
                message: problem.message.clone(),
            })
            .collect();
        let listing = Listing { items: &mistakes, columns: MISTAKES, name: |m| m.place.clone() };
        listing.print(format)?;
    }
    match problems {
        Some(problems) => Err(problems.into()),
        None => {
            eprintln!("{} is valid", args.file.display());
            Ok(Exit::Ok)
        }
    }
}
