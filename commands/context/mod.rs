//! `rivvend context`: named places that commands go to. Talks to no broker.

mod store;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rivvend::config::Address;
use serde::Serialize;

pub(crate) use self::store::{Context, Contexts, context_name};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::{Field, Json};
use crate::output::{Column, Listing, OutputArgs};
use crate::settings::value;

/// Name the brokers and directories you work with, and choose among them
///
/// A command goes where --server or --data-dir says, else to the context that --context names, else
/// to RIVVEN_SERVER, else to the context that RIVVEN_CONTEXT names, else to the current context,
/// else to localhost:9092. Contexts are kept in ~/.config/rivvend/contexts.yaml.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend context add prod --server broker.example:9092\n  \
    rivvend context use prod\n  rivvend context -            back to the one before\n  \
    rivvend topic list --context prod")]
pub(crate) struct ContextArgs {
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum ContextCommand {
    Add(AddArgs),
    Use(UseArgs),
    List(ListArgs),
    Show(ShowArgs),
    Remove(RemoveArgs),
    Previous(PreviousArgs),
}

/// Add a context; the first one is used from then on
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend context add prod --server broker.example:9092\n  \
    rivvend context add local --data-dir ./data --use")]
struct AddArgs {
    /// Name of the context
    #[arg(value_name = "NAME", value_parser = context_name)]
    name: String,
    /// Broker that its commands talk to
    #[arg(long, value_name = "HOST:PORT", value_parser = value::<Address>)]
    #[arg(required_unless_present = "data_dir", conflicts_with = "data_dir")]
    server: Option<Address>,
    /// Data directory that its commands work on
    #[arg(short, long, value_name = "DIR", value_parser = value::<PathBuf>)]
    data_dir: Option<PathBuf>,
    /// Use it from now on
    #[arg(long = "use")]
    is_used: bool,
    /// Replace a context of the same name
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Use a context from now on
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend context use prod\n  rivvend context use -")]
struct UseArgs {
    /// Name of the context; - is the one that was used before
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// List all contexts
#[derive(Args, Clone, Debug)]
#[command(visible_alias = "ls")]
#[command(after_help = "Examples:\n  rivvend context list\n  rivvend context list -o json")]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Show one context
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend context show\n  rivvend context show prod -o name")]
struct ShowArgs {
    /// Name of the context [default: RIVVEN_CONTEXT, or the current one]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Remove contexts
#[derive(Args, Clone, Debug)]
#[command(visible_alias = "rm", after_help = "Examples:\n  rivvend context remove prod local")]
struct RemoveArgs {
    /// Names of the contexts
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Go back to the context that was used before
#[derive(Args, Clone, Debug)]
#[command(visible_alias = "-", after_help = "Examples:\n  rivvend context -")]
struct PreviousArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// A context as it is printed; the field names are stable.
#[derive(Serialize)]
struct Entry {
    name: String,
    is_current: bool,
    server: Option<String>,
    data_dir: Option<PathBuf>,
}

const COLUMNS: &[Column<Entry>] = &[
    Column::text("CURRENT", |entry| if entry.is_current { "*" } else { "" }.to_owned()),
    Column::text("NAME", |entry| entry.name.clone()),
    Column::filled("SERVER", |entry| entry.server.clone().unwrap_or_default()),
    Column::filled("DATA DIR", |entry| {
        entry.data_dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default()
    }),
];

/// What every verb prints for programs.
pub(crate) const JSON: Json = Json::list(&[
    Field::text("name", "Name of the context."),
    Field::flag("is_current", "Whether it is the one in use."),
    Field::text("server", "The broker that its commands talk to.").nullable(),
    Field::text("data_dir", "The data directory that its commands work on.").nullable(),
]);

pub(crate) fn run(args: &ContextArgs) -> Outcome {
    match &args.command {
        ContextCommand::Add(args) => add(args),
        ContextCommand::Use(args) => select(&args.name, &args.output),
        ContextCommand::List(args) => {
            let contexts = Contexts::load()?;
            print(&contexts, contexts.contexts.keys().map(String::as_str), &args.output)
        }
        ContextCommand::Show(args) => show(args),
        ContextCommand::Remove(args) => remove(args),
        ContextCommand::Previous(args) => select("-", &args.output),
    }
}

fn add(args: &AddArgs) -> Outcome {
    let context = Context {
        server: args.server.as_ref().map(ToString::to_string),
        // It shall mean the same wherever a command is called.
        data_dir: match &args.data_dir {
            Some(dir) => {
                let absolute = std::path::absolute(dir);
                Some(absolute.map_err(|error| Failure::file("find", dir, &error))?)
            }
            None => None,
        },
    };
    let contexts = Contexts::change(|contexts| {
        if contexts.contexts.contains_key(&args.name) && !args.replace {
            let failure = Failure::failed(format!("context {:?} exists", args.name));
            return Err(failure.hint("--replace puts this one in its place"));
        }
        let is_first = contexts.contexts.is_empty();
        contexts.contexts.insert(args.name.clone(), context);
        if args.is_used || is_first {
            contexts.select(&args.name)?;
        }
        Ok(contexts.clone())
    })?;
    print(&contexts, [args.name.as_str()], &args.output)
}

fn select(name: &str, output: &OutputArgs) -> Outcome {
    let contexts = Contexts::change(|contexts| {
        let name = match (name, &contexts.previous) {
            ("-", Some(previous)) => previous.clone(),
            ("-", None) => {
                let failure = Failure::new(Exit::NotFound, "no context was used before this one");
                return Err(failure.hint("name one with `rivvend context use NAME`"));
            }
            (name, _) => name.to_owned(),
        };
        contexts.select(&name)?;
        Ok(contexts.clone())
    })?;
    let current = contexts.current.clone().unwrap_or_default();
    print(&contexts, [current.as_str()], output)
}

fn show(args: &ShowArgs) -> Outcome {
    let contexts = Contexts::load()?;
    let named = args.name.clone().or_else(|| std::env::var("RIVVEN_CONTEXT").ok());
    let Some(name) = named.or_else(|| contexts.current.clone()) else {
        let failure = Failure::new(Exit::NotFound, "no context is used");
        return Err(
            failure.hint("commands go to localhost:9092; choose with `rivvend context use`")
        );
    };
    contexts.get(&name)?;
    print(&contexts, [name.as_str()], &args.output)
}

/// Removes all that are named or, when one does not exist, none.
fn remove(args: &RemoveArgs) -> Outcome {
    let before = Contexts::change(|contexts| {
        let before = contexts.clone();
        for name in &args.names {
            before.get(name)?;
            contexts.contexts.remove(name);
        }
        for used in [&mut contexts.current, &mut contexts.previous] {
            if used.as_ref().is_some_and(|name| args.names.contains(name)) {
                *used = None;
            }
        }
        Ok(before)
    })?;
    if before.current.is_some_and(|current| args.names.contains(&current)) {
        eprintln!("no context is used any more; choose with `rivvend context use NAME`");
    }
    let removed = Contexts { current: None, ..before };
    print(&removed, args.names.iter().map(String::as_str), &args.output)
}

fn print<'a>(
    contexts: &Contexts,
    names: impl IntoIterator<Item = &'a str>,
    output: &OutputArgs,
) -> Outcome {
    let entry = |name: &str| {
        let context = contexts.get(name)?;
        Ok(Entry {
            name: name.to_owned(),
            is_current: contexts.current.as_deref() == Some(name),
            server: context.server.clone(),
            data_dir: context.data_dir.clone(),
        })
    };
    let entries = names.into_iter().map(entry).collect::<Result<Vec<Entry>, Failure>>()?;
    let listing = Listing { items: &entries, columns: COLUMNS, name: |e| e.name.clone() };
    listing.print(output.output)?;
    Ok(Exit::Ok)
}
