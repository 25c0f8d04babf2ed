//! `config get`, `set` and `unset`: settings that the cluster keeps, above the file of every node.

use clap::Args;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::config_change::Kind;
use rivvend::protocol::native::message::{AlterConfig, ConfigChange, ConfigEntry};

use super::{Entry, print_entries};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::OutputArgs;
use crate::target::{self, Intent, Session, TargetArgs};

/// Print what a broker runs with, and where each value came from
///
/// A key of the configuration file, or a setting of the cluster under the name that Kafka has for
/// it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend config get topic.retention_ms\n  \
    rivvend config get -o json --data-dir /var/lib/rivvend")]
pub(super) struct GetArgs {
    /// Keys; none: all of them
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Change a setting of the whole cluster, at once and for good
///
/// It holds above flags, environment and file of every broker, until `config unset`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend config set topic.retention_ms 3d\n  \
    rivvend config set min.insync.replicas 2 --dry-run")]
pub(super) struct SetArgs {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// Its value, as in the configuration file
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    common: ChangeArgs,
}

/// Let settings fall back to what the configuration of each broker says
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rivvend config unset topic.retention_ms")]
pub(super) struct UnsetArgs {
    /// The keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    common: ChangeArgs,
}

#[derive(Args, Clone, Debug)]
struct ChangeArgs {
    /// Only say what would come of it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn get(args: &GetArgs) -> Outcome {
    target::run(&args.target, Intent::Read, async |session| {
        let entries = described(session, args.keys.clone()).await?;
        print_entries(&entries, args.output.output)?;
        Ok(Exit::Ok)
    })
}

pub(super) fn set(args: &SetArgs) -> Outcome {
    let (key, value) = (args.key.clone(), args.value.clone());
    change(vec![ConfigChange { kind: Kind::Set.into(), key, value }], &args.common)
}

pub(super) fn unset(args: &UnsetArgs) -> Outcome {
    let delete = |key: &String| ConfigChange {
        kind: Kind::Delete.into(),
        key: key.clone(),
        value: String::new(),
    };
    change(args.keys.iter().map(delete).collect(), &args.common)
}

fn change(changes: Vec<ConfigChange>, args: &ChangeArgs) -> Outcome {
    target::run(&args.target, Intent::of(args.dry_run), async |session| {
        let alter = AlterConfig { changes, validate_only: args.dry_run };
        let result = session.client.alter_config(alter).await.map_err(refused)?;
        for warning in &result.warnings {
            eprintln!("warning: {warning}");
        }
        let entries: Vec<Entry> = result.config.into_iter().map(entry).collect();
        print_entries(&entries, args.output.output)?;
        Ok(Exit::Ok)
    })
}

/// What the broker runs with.
pub(super) async fn described(session: &Session, keys: Vec<String>) -> Result<Vec<Entry>, Failure> {
    let found = session.client.describe_config(keys).await.map_err(refused)?;
    Ok(found.into_iter().map(entry).collect())
}

/// A key or a value that makes no sense is the mistake of the command line.
fn refused(error: rivvend::client::ClientError) -> Failure {
    let failure = Failure::from(error);
    match failure.code {
        Some(ErrorCode::InvalidConfig) => Failure { exit: Exit::Usage, ..failure }
            .hint("`rivvend config get` lists every key with its value"),
        _ => failure,
    }
}

/// The line of a key that a broker told; what only the declaration knows is added.
fn entry(told: ConfigEntry) -> Entry {
    let declared = rivvend::config::KEYS.iter().find(|key| key.path == told.key);
    Entry {
        key: told.key,
        value: told.value,
        source: told.source,
        default: told.default_value,
        kind: declared.map_or("setting of the cluster", |key| key.kind),
        dynamic: declared.is_none_or(|key| key.is_dynamic),
        variable: declared.map(rivvend::config::Key::variable).unwrap_or_default(),
    }
}
