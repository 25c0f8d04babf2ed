//! Agreement on the cluster's metadata: openraft behind [`Quorum`], used from a single node on, so
//! that one node becomes many without migration. Its log is a log like any other, its vote and
//! snapshots are checkpoints.
//!
//! The only async code below the edges, because openraft is. Knows nothing of protocols, and of
//! metadata only that commands are decided and records replayed.

mod entry;
mod error;
mod files;
mod fold;
mod journal;
mod machine;
mod network;
mod proposer;
mod raft;
mod store;
mod types;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

pub use error::{ProposeError, QuorumError};
pub use raft::{Options, RaftQuorum};
pub use store::Presence;

use crate::metadata::{Command, Image, Reply};
use crate::storage::Disk;
use crate::time::Now;
use crate::types::{NodeId, Offset};

/// A future behind a pointer, so that a quorum can be one as well.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a node is in the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads: commands are decided here.
    Leader {
        /// Of this term.
        term: u64,
    },
    /// It follows.
    Follower {
        /// Whom, if it is known.
        leader: Option<NodeId>,
    },
    /// It takes no part any more.
    Stopped,
}

/// Agreement on the metadata among the nodes of a cluster.
pub trait Quorum: Send + Sync + Debug {
    /// Has a command decided, and waits until everything that the reply depends on is committed and
    /// in [`Quorum::image`]. The offset is that of the newest metadata entry it depends on.
    ///
    /// Waits as long as the quorum takes: callers put a deadline on it. A command whose caller has
    /// stopped waiting before it was decided is dropped.
    ///
    /// # Errors
    /// When it was refused, or is not certain to take effect.
    fn propose(
        &self,
        now: Now,
        command: Command,
    ) -> Pending<'_, Result<(Reply, Offset), ProposeError>>;

    /// The metadata as this node knows it; may be behind.
    fn image(&self) -> Arc<Image>;

    /// Says when the image changes, by its version. The image is there before the version.
    fn versions(&self) -> watch::Receiver<u64>;

    /// The metadata with everything that was committed before the call.
    ///
    /// # Errors
    /// When this node does not lead, or has stopped.
    fn linearizable(&self) -> Pending<'_, Result<Arc<Image>, ProposeError>>;

    /// What this node is.
    fn role(&self) -> Role;

    /// Ends when the quorum has failed on this node; then the process has to end with exit code 74.
    fn failure(&self) -> Pending<'_, Arc<QuorumError>>;

    /// Stops, with everything written down. Commands that still wait fail.
    ///
    /// # Errors
    /// When that could not be written down.
    fn shutdown(&self) -> Pending<'_, Result<(), Arc<QuorumError>>>;
}

/// The metadata that lies in `dir`, for commands that look at the data directory of a node that
/// does not run. Changes nothing.
///
/// # Errors
/// When there is no metadata, or it is damaged.
pub fn replay_read_only(disk: Arc<dyn Disk>, dir: &Path) -> Result<Arc<Image>, QuorumError> {
    let store = store::Store::open_read_only(disk, dir)?;
    Ok(Arc::new(store.replay_committed()?.image))
}
