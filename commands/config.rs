//! `rivvend config`: what the configuration is, where each value came from, and whether a file is
//! valid; what a running broker has,
//! and letting it read its file again.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rivvend::config::{Config, KEYS, Key, Sources, default_file};
use rivvend::protocol::error::ErrorCode;
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Column, ErrorArgs, Format, Listing, OutputArgs};
use crate::settings::{SettingsArgs, read_file};
use crate::target::{self, Intent, TargetArgs};

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
    Reload(ReloadArgs),
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

/// Let a running broker read its configuration again, as on SIGHUP
///
/// What may change while it runs does; what needs a restart is named. A configuration with anything
/// wrong in it changes nothing and ends the command with 78.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend config reload\n  \
    rivvend config reload --data-dir /var/lib/rivvend")]
struct ReloadArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
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

/// One key that has another value than before; the field names are stable.
#[derive(Serialize)]
struct ReloadedKey {
    key: String,
    /// Whether the new value holds, or needs a restart.
    is_applied: bool,
}

const RELOADED: &[Column<ReloadedKey>] = &[
    Column::text("KEY", |key| key.key.clone()),
    Column::text("NOW", |key| {
        if key.is_applied { "applied" } else { "after a restart" }.to_owned()
    }),
];

pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Reload(args) => reload(args),
        ConfigCommand::Default(args) => default(args),
    }
}

fn reload(args: &ReloadArgs) -> Outcome {
    target::run(&args.target, Intent::Read, async |session| {
        if session.is_embedded {
            let failure = Failure::new(Exit::Unavailable, "no broker serves this directory");
            return Err(failure.hint("there is nothing to reload: its next start reads the file"));
        }
        let reloaded = session.client.reload_config().await.map_err(|error| {
            let failure = Failure::from(error);
            match failure.code {
                Some(ErrorCode::InvalidConfig) => Failure { exit: Exit::Configuration, ..failure },
                _ => failure,
            }
        })?;
        if !reloaded.later.is_empty() {
            eprintln!("these need a restart of the broker: {}", reloaded.later.join(", "));
        }
        let key = |is_applied| move |key: String| ReloadedKey { key, is_applied };
        let mut keys: Vec<ReloadedKey> = reloaded.changed.into_iter().map(key(true)).collect();
        keys.extend(reloaded.later.into_iter().map(key(false)));
        let listing = Listing { items: &keys, columns: RELOADED, name: |k| k.key.clone() };
        listing.print(args.output.output)?;
        Ok(Exit::Ok)
    })
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
