//! The engine in this process, for commands that work on a data directory without a server. Owns
//! its start and its end; what commands do with it goes through the same client as everything else.

use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::target::Intent;

/// A data directory, opened.
pub(crate) struct Embedded {}

/// Why a directory was not opened.
pub(crate) enum OpenFailure {
    /// Somebody else has it; that may change.
    Held(Failure),
    /// Anything else.
    Other(Failure),
}

impl Embedded {
    /// Opens the directory.
    pub(crate) async fn open(directory: &Path, _intent: Intent) -> Result<Embedded, OpenFailure> {
        let message = format!("no broker holds {}", directory.display());
        let failure = Failure::new(Exit::Unavailable, message);
        Err(OpenFailure::Other(failure.hint("this build can not open it in-process yet")))
    }

    /// A connection to the engine.
    pub(crate) fn connect(&self) -> Result<UnixStream, Failure> {
        let pair = UnixStream::pair();
        let (client, _) = pair.map_err(|e| Failure::failed(format!("no socket pair: {e}")))?;
        Ok(client)
    }

    /// Makes everything durable and lets go of the directory.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(())
    }
}
