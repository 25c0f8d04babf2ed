//! `rivvend serve`: configuration in, broker up. The start sequence itself belongs to the library.

use clap::Args;
use std::io::ErrorKind;

use rivvend::broker::{DirectoryError, StartError};
use rivvend::config::Config;
use rivvend::serve::{self, Reload, ServeError};
use rivvend::storage::StorageError;
use rivvend::telemetry;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::ErrorArgs;
use crate::settings::SettingsArgs;

/// Run the broker
#[derive(Args, Clone, Debug)]
#[command(after_help = "Everything else is set in the configuration file or the environment; \
`rivvend config default` prints every key.\n\nExamples:\n  rivvend serve\n  \
rivvend serve --data-dir /var/lib/rivvend --bind 127.0.0.1:9092\n  \
rivvend serve -c /etc/rivvend.yaml")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Serve the web dashboard on the HTTP port
    #[arg(long)]
    dashboard: bool,
    #[command(flatten)]
    errors: ErrorArgs,
}

pub(crate) fn run(args: &ServeArgs) -> Outcome {
    if args.dashboard {
        let message = "--dashboard: this build does not have the dashboard yet";
        return Err(Failure::new(Exit::Configuration, message));
    }
    let config = args.settings.load()?;
    let load = || args.settings.load().map_err(|failure| failure.message);
    start(&config, &load)
}

fn start(config: &Config, load: &(dyn Fn() -> Result<Config, String> + Sync)) -> Outcome {
    let log = telemetry::start_log(config.log.format, config.log.level.as_str())
        .map_err(|error| Failure::new(Exit::Configuration, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Storage, format!("no threads: {error}")))?;
    let served = runtime.block_on(serve::serve(config, Reload { load, log: &log }));
    // Whatever a second signal left behind must not hold up the exit.
    runtime.shutdown_background();
    served.map(|()| Exit::Ok).map_err(|error| Failure::new(exit_of(&error), error.to_string()))
}

/// Which exit code tells a service manager what to do about it.
fn exit_of(error: &ServeError) -> Exit {
    match error {
        ServeError::Start(StartError::Directory(error)) => match error {
            DirectoryError::Held { .. } => Exit::Busy,
            DirectoryError::Storage(error) => exit_of_storage(error),
            DirectoryError::Damaged { .. } => Exit::Storage,
            DirectoryError::Missing { .. }
            | DirectoryError::Foreign { .. }
            | DirectoryError::Newer { .. }
            | DirectoryError::OtherNode { .. } => Exit::Configuration,
        },
        ServeError::Start(StartError::Storage(error)) | ServeError::Stop(error) => {
            exit_of_storage(error)
        }
        ServeError::Start(_) | ServeError::System(_) => Exit::Storage,
        ServeError::Listen { error, .. } => match error.kind() {
            ErrorKind::AddrInUse => Exit::Busy,
            ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Configuration,
        },
        ServeError::Defaults(_) | ServeError::Advertised { .. } => Exit::Configuration,
    }
}

fn exit_of_storage(error: &StorageError) -> Exit {
    match error.source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::Permission,
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Exit::Configuration,
        _ => Exit::Storage,
    }
}
