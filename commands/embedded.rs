//! The engine in this process, for commands that work on a data directory without a server. Owns
//! its start and its end; what commands do with it goes through the same client as everything else.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rivvend::broker::{DirectoryError, Mode, Node, StartError};
use rivvend::config::{Config, Sources};
use rivvend::serve::{self, ServeError};
use rivvend::telemetry;

use crate::failure::{Exit, Failure};
use crate::target::Intent;

/// A data directory, opened.
pub(crate) struct Embedded {
    node: Arc<Node>,
    client: UnixStream,
}

/// Why a directory was not opened.
pub(crate) enum OpenFailure {
    /// Somebody else has it; that may change.
    Held(Failure),
    /// Anything else.
    Other(Failure),
}

impl Embedded {
    /// Opens the directory.
    pub(crate) async fn open(directory: &Path, intent: Intent) -> Result<Embedded, OpenFailure> {
        // What recovery has to say is worth telling; there being a log already is not.
        drop(telemetry::start_log(telemetry::LogFormat::Text, "warn"));
        let environment = std::env::vars().collect();
        let sources = Sources { environment, ..Sources::default() };
        let mut config = Config::load(&sources).map_err(|problems| {
            OpenFailure::Other(Failure::new(Exit::Configuration, problems.to_string()))
        })?;
        config.storage.data_dir = directory.to_path_buf();
        let mode = match intent {
            Intent::Read => Mode::Read,
            Intent::Change => Mode::Write,
        };
        let (node, client) = serve::embed(&config, mode).await.map_err(open_failure)?;
        Ok(Embedded { node, client })
    }

    /// A connection to the engine.
    pub(crate) fn connect(&self) -> Result<UnixStream, Failure> {
        self.client.try_clone().map_err(|e| Failure::failed(format!("no socket pair: {e}")))
    }

    /// Makes everything durable and lets go of the directory.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        drop(self.client);
        self.node.stop().await.map_err(|error| Failure::failed(error.to_string()))
    }
}

fn open_failure(error: ServeError) -> OpenFailure {
    let message = error.to_string();
    match error {
        ServeError::Start(StartError::Directory(DirectoryError::Held { .. })) => {
            OpenFailure::Held(Failure::new(Exit::Unavailable, message))
        }
        ServeError::Start(StartError::Directory(DirectoryError::Missing { .. })) => {
            OpenFailure::Other(Failure::new(Exit::NotFound, message))
        }
        _ => OpenFailure::Other(Failure::failed(message)),
    }
}
