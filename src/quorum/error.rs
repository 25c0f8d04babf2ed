//! What can go wrong with the metadata's storage, and with proposing.

use std::path::PathBuf;

use crate::log::checkpoint::CheckpointError;
use crate::storage::StorageError;
use crate::types::NodeId;

/// The metadata of this node can not be used or went offline. The process ends with exit code 74:
/// going on, or starting empty, would forget what was promised to others.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file is not what was written.
    #[error(
        "metadata is damaged: {} at byte {at}: {what}; restore the file, or replace this node by \
         one with a new id",
        path.display()
    )]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// Where in it, in bytes.
        at: u64,
        /// What was found.
        what: String,
    },
    /// A newer build wrote this.
    #[error("{}: {what}; start this data directory with the newer rivvend", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The data directory is another node's.
    #[error("the metadata belongs to {present}, not to node {requested}")]
    OtherNode {
        /// Whose it is.
        present: String,
        /// Who asked.
        requested: NodeId,
    },
    /// The data directory is another cluster's.
    #[error("the metadata belongs to cluster {present:?}, not {requested:?}")]
    OtherCluster {
        /// Whose it is.
        present: String,
        /// Who asked.
        requested: String,
    },
    /// The log takes nothing any more after a failure of the disk.
    #[error("metadata log: {0}")]
    Offline(String),
    /// Raft itself stopped.
    #[error("the metadata quorum stopped: {0}")]
    Stopped(String),
}

impl QuorumError {
    pub(super) fn damaged(
        path: impl Into<PathBuf>,
        at: u64,
        what: impl Into<String>,
    ) -> QuorumError {
        QuorumError::Damaged { path: path.into(), at, what: what.into() }
    }

    pub(super) fn in_checkpoint(path: impl Into<PathBuf>, error: &CheckpointError) -> QuorumError {
        match error {
            CheckpointError::Newer { .. } => {
                QuorumError::Newer { path: path.into(), what: error.to_string() }
            }
            _ => QuorumError::damaged(path, 0, error.to_string()),
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// The command was refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] crate::metadata::Refusal),
    /// Another node leads, or nobody does; nothing changed here.
    #[error("this node does not lead the metadata quorum")]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<NodeId>,
    },
    /// Too many commands wait; nothing changed.
    #[error("too many metadata changes are waiting")]
    Overloaded,
    /// The quorum is stopping or has failed. The command may or may not take effect.
    #[error("the metadata quorum has stopped")]
    Stopped,
}
