//! `rivvend serve`: configuration in, broker up. The start sequence itself belongs to the library.

use clap::Args;
use rivvend::config::Config;

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
    start(&config)
}

fn start(config: &Config) -> Outcome {
    let message = format!("this build can not serve {} yet", config.storage.data_dir.display());
    Err(Failure::failed(message))
}
