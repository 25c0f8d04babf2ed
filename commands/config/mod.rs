//! `rivvend config`: what the configuration is, where each value came from, and whether a file is
//! valid; what a running broker has,
//! and letting it read its file again.

mod cluster;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use rivvend::config::{Address, Config, KEYS, Key, Sources, default_file};
use rivvend::protocol::error::ErrorCode;
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::fields::{Field, Json};
use crate::output::{Column, ErrorArgs, Format, Listing, OutputArgs};
use crate::settings::{SettingsArgs, read_file, value};
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
    ///
    /// Without --server and --context it is what `serve` would run with, given the same flags; with
    /// the --data-dir of a broker that runs, or of a cluster, it is what that has.
    #[command(after_help = "Examples:\n  rivvend config show\n  \
        rivvend config show -c broker.yaml -o json\n  RIVVEN_BIND=[::]:9092 rivvend config show")]
    Show(ShowArgs),
    /// Check a configuration file; exit code 78 and every mistake when it is not valid
    #[command(after_help = "Examples:\n  rivvend config check /etc/rivvend.yaml\n  \
        rivvend config check broker.yaml -o jsonl")]
    Check(CheckArgs),
    Get(cluster::GetArgs),
    Set(cluster::SetArgs),
    Unset(cluster::UnsetArgs),
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
    /// Broker whose configuration it is
    #[arg(long, value_name = "HOST:PORT", value_parser = value::<Address>)]
    #[arg(conflicts_with = "data_dir")]
    server: Option<Address>,
    /// Context that names the broker
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server", "data_dir"])]
    context: Option<String>,
    /// Longest time to wait for a broker, such as 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::<Duration>)]
    timeout: Duration,
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
    key: String,
    value: String,
    source: String,
    default: String,
    kind: &'static str,
    dynamic: bool,
    variable: String,
}

const COLUMNS: &[Column<Entry>] = &[
    Column::text("KEY", |entry| entry.key.clone()),
    Column::text("VALUE", |entry| entry.value.clone()),
    Column::text("SOURCE", |entry| entry.source.clone()),
    Column::wide("DEFAULT", |entry| entry.default.clone()),
    Column::wide("KIND", |entry| entry.kind.to_owned()),
    Column::wide("VARIABLE", |entry| entry.variable.clone()),
];

const ENTRY_FIELDS: &[Field] = &[
    Field::text("key", "The key, or the setting of the cluster."),
    Field::text("value", "The value that holds; of a secret, only that there is one."),
    Field::text("source", "The flag, variable or file it is from; dynamic: the cluster keeps it."),
    Field::text("default", "What it is when nobody says otherwise."),
    Field::text("kind", "What a value looks like, such as size, duration or port."),
    Field::flag("dynamic", "Whether it may change while a broker runs."),
    Field::text("variable", "The variable that sets it; empty for what only the cluster keeps."),
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

const MISTAKE_FIELDS: &[Field] = &[
    Field::text("place", "File, line and column, or the key."),
    Field::text("message", "What is wrong there."),
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

const RELOADED_FIELDS: &[Field] = &[
    Field::text("key", "A key that has another value than before."),
    Field::flag("is_applied", "Whether the new value holds; if not, it needs a restart."),
];

/// What a verb prints for programs.
pub(crate) fn json_of(verb: &str) -> Option<Json> {
    match verb {
        "show" | "get" | "set" | "unset" | "default" => Some(Json::list(ENTRY_FIELDS)),
        "check" => Some(Json::list(MISTAKE_FIELDS)),
        "reload" => Some(Json::list(RELOADED_FIELDS)),
        _ => None,
    }
}

pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Get(args) => cluster::get(args),
        ConfigCommand::Set(args) => cluster::set(args),
        ConfigCommand::Unset(args) => cluster::unset(args),
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
        Some(format) => print_entries(&local(&Config::default()), format)?,
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(default_file().as_bytes())?;
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}

fn show(args: &ShowArgs) -> Outcome {
    let directory = args.settings.data_dir.as_ref().map(PathBuf::from);
    let directory = directory.filter(|dir| is_data_directory(dir));
    if args.server.is_some() || args.context.is_some() || directory.is_some() {
        let target =
            TargetArgs::to(args.server.clone(), args.context.clone(), directory, args.timeout);
        return show_running(args, &target);
    }
    let config = args.settings.load()?;
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    print_entries(&local(&config), args.output.output)?;
    Ok(Exit::Ok)
}

/// What the broker says that serves there. Where none does, it is what one would be started with,
/// and above that what the cluster keeps in the directory.
fn show_running(args: &ShowArgs, target: &TargetArgs) -> Outcome {
    target::run(target, Intent::Read, async |session| {
        let mut entries = cluster::described(session, Vec::new()).await?;
        if session.is_embedded {
            let local = local(&args.settings.load()?);
            for (entry, own) in entries.iter_mut().zip(local) {
                assert_eq!(entry.key, own.key, "this very program lists the keys in this order");
                if entry.source != "dynamic" {
                    *entry = own;
                }
            }
        }
        print_entries(&entries, args.output.output)?;
        Ok(Exit::Ok)
    })
}

/// Whether somebody has served from there. A directory that is yet to become one says nothing.
fn is_data_directory(directory: &Path) -> bool {
    directory.join("meta.yaml").is_file()
}

/// Every key with what this configuration says.
fn local(config: &Config) -> Vec<Entry> {
    KEYS.iter().map(|key| entry(config, key)).collect()
}

fn print_entries(entries: &[Entry], format: Format) -> Result<(), Failure> {
    let listing = Listing { items: entries, columns: COLUMNS, name: |e| e.key.clone() };
    listing.print(format)
}

fn entry(config: &Config, key: &Key) -> Entry {
    Entry {
        key: key.path.to_owned(),
        value: config.show(key),
        source: config.origin(key).to_string(),
        default: key.default.to_owned(),
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
