//! The engine in this process, for commands that work on a data directory without a server. Owns
//! its start and its end; what commands do with it goes through the same client as everything else.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rivvend::broker::{DirectoryError, Mode, Node, StartError};
use rivvend::serve::{ServeError, embed};
use rivvend::telemetry::{LogFormat, start_log};

use crate::failure::{Exit, Failure};
use crate::settings::SettingsArgs;
use crate::target::Intent;

/// A data directory, opened.
pub(crate) struct Embedded {
    node: Arc<Node>,
}

/// Why a directory was not opened.
pub(crate) enum OpenFailure {
    /// Somebody else has it; that may change.
    Held(Failure),
    /// Anything else.
    Other(Failure),
}

impl Embedded {
    /// Opens the directory and connects to the engine. Defaults for new topics come from the
    /// environment and from the file that it names, as they would for a server.
    pub(crate) async fn open(
        directory: &Path,
        intent: Intent,
    ) -> Result<(Embedded, UnixStream), OpenFailure> {
        let mode = match intent {
            Intent::Read => Mode::Read,
            Intent::Change => Mode::Write,
        };
        let settings = SettingsArgs::for_directory(directory).map_err(OpenFailure::Other)?;
        let config = settings.load().map_err(OpenFailure::Other)?;
        // What recovery finds must not go unsaid; how a lone voter elects itself may. The second
        // directory of a process has a log already.
        let _ = start_log(LogFormat::Text, "warn,openraft=error");
        match embed(&config, mode).await {
            Ok((node, stream)) => Ok((Embedded { node }, stream)),
            Err(error) => Err(explain(&error)),
        }
    }

    /// Makes everything durable and lets go of the directory.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        let stopped = self.node.stop().await;
        stopped.map_err(|error| Failure::failed(format!("the stop was not clean: {error}")))
    }
}

fn explain(error: &ServeError) -> OpenFailure {
    let message = error.to_string();
    let ServeError::Start(StartError::Directory(cause)) = error else {
        return OpenFailure::Other(Failure::failed(message));
    };
    match cause {
        DirectoryError::Held { .. } => OpenFailure::Held(Failure::new(Exit::Unavailable, message)),
        DirectoryError::Missing { .. } => OpenFailure::Other(Failure::new(Exit::NotFound, message)),
        _ => OpenFailure::Other(Failure::failed(message)),
    }
}
