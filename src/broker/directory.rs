//! The data directory as a whole: who holds it, whom it belongs to, whether it is ours at all.
//!
//! `meta.yaml` says which cluster and node the data are of; it is written once, when the directory
//! becomes ours, and never overwritten.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::node::NodeOptions;
use crate::log::frontier;
use crate::storage::lock::{DirectoryLock, LOCK_FILE, LockError};
use crate::storage::{Disk, StorageError};
use crate::types::NodeId;

const META_FILE: &str = "meta.yaml";
const META_BYTES_MAX: usize = 64 << 10;
/// Grows when an older program could not read the directory any more.
const FORMAT: u32 = 1;

/// How a data directory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Alone, with changes; an empty or missing directory becomes a new single-node cluster.
    Write,
    /// Beside other readers, without changing anything.
    Read,
}

/// Why a data directory can not be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error("data directory {} is held by another rivvend{}; stop it, or talk to it",
        path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process, when the lock file says.
        pid: Option<u32>,
    },
    /// A reader found nothing.
    #[error("{} is not a rivvend data directory: it has no {META_FILE}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else's files.
    #[error(
        "{} is not empty and has no {META_FILE}, so it is not a rivvend data directory (found \
         {found:?}); nothing in it was touched. Name an empty or a new directory",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// Made by a newer program.
    #[error(
        "{} has format {found}, this program reads up to {FORMAT}; use the newer rivvend that \
         wrote it",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Another node's data.
    #[error(
        "data dir {} is node {found} of cluster {cluster_id}, config says node {configured}; \
         mend cluster.node_id or name another directory", path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The node it belongs to.
        found: NodeId,
        /// The cluster it belongs to.
        cluster_id: String,
        /// What the configuration says.
        configured: NodeId,
    },
    /// `meta.yaml` is not what we write.
    #[error("{} is damaged: {reason}; restore it from a copy of the directory", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Whom the data belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    pub format: u32,
    pub cluster_id: String,
    pub node_id: i32,
}

/// A data directory that is held as long as this lives.
#[derive(Debug)]
pub struct DataDirectory {
    pub(super) path: PathBuf,
    pub(super) meta: Meta,
    /// Whether a node has run here before, so that its metadata must be there.
    pub(super) was_in_use: bool,
    _lock: DirectoryLock,
}

impl DataDirectory {
    /// Takes the directory that a node is to be opened with, making it ours when it is new. Reads
    /// no log, so it is quickly known who holds it.
    ///
    /// # Errors
    /// When somebody else has it, it is not ours or the disk refuses.
    pub fn take(options: &NodeOptions) -> Result<DataDirectory, DirectoryError> {
        let NodeOptions { disk, data_dir: path, mode, node_id, .. } = options;
        let (mode, node_id) = (*mode, *node_id);
        let meta_path = path.join(META_FILE);
        let ours = disk.exists(&meta_path)?;
        if mode == Mode::Read && !ours {
            return Err(DirectoryError::Missing { path: path.clone() });
        }
        if !ours {
            refuse_foreign(disk.as_ref(), path)?;
            disk.create_dir_all(path)?;
        }
        let lock = match mode {
            Mode::Write => DirectoryLock::exclusive(path),
            Mode::Read => DirectoryLock::shared(path),
        }
        .map_err(|error| held(path, error))?;
        // Somebody may have made it theirs between the look and the lock.
        let meta = if disk.exists(&meta_path)? {
            read_meta(disk.as_ref(), &meta_path)?
        } else {
            let node_id = node_id.unwrap_or(NodeId(1)).0;
            let cluster_id = uuid::Uuid::new_v4().to_string();
            let meta = Meta { format: FORMAT, cluster_id, node_id };
            write_meta(disk.as_ref(), &meta_path, &meta)?;
            meta
        };
        if let Some(configured) = node_id
            && configured.0 != meta.node_id
        {
            return Err(DirectoryError::OtherNode {
                path: path.clone(),
                found: NodeId(meta.node_id),
                cluster_id: meta.cluster_id,
                configured,
            });
        }
        let was_in_use = disk.exists(&path.join(frontier::FILE_NAME))?;
        Ok(DataDirectory { path: path.clone(), meta, was_in_use, _lock: lock })
    }

    /// Where the metadata quorum keeps its files.
    pub(super) fn metadata_path(&self) -> PathBuf {
        self.path.join("metadata")
    }
}

fn held(path: &Path, error: LockError) -> DirectoryError {
    match error {
        LockError::Held { pid } => DirectoryError::Held { path: path.to_path_buf(), pid },
        LockError::Storage(error) => DirectoryError::Storage(error),
    }
}

/// Refuses a directory with anything in it that a fresh file system or a start of ours that was cut
/// short does not leave there.
fn refuse_foreign(disk: &dyn Disk, path: &Path) -> Result<(), DirectoryError> {
    if !disk.exists(path)? {
        return Ok(());
    }
    let harmless = |name: &str| {
        name == "lost+found" || name == LOCK_FILE || name == format!("{META_FILE}.tmp")
    };
    match disk.list(path)?.into_iter().find(|entry| !harmless(&entry.name)) {
        Some(entry) => Err(DirectoryError::Foreign { path: path.to_path_buf(), found: entry.name }),
        None => Ok(()),
    }
}

fn read_meta(disk: &dyn Disk, path: &Path) -> Result<Meta, DirectoryError> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let damaged = |reason: String| DirectoryError::Damaged { path: path.to_path_buf(), reason };
    let bytes = disk.read_small(path, META_BYTES_MAX)?;
    // The format is read on its own first: a newer one may have fields this program does not know.
    let FormatOnly { format } =
        serde_yaml::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if format > FORMAT {
        let path = path.parent().unwrap_or(path).to_path_buf();
        return Err(DirectoryError::Newer { path, found: format });
    }
    serde_yaml::from_slice(&bytes).map_err(|e| damaged(e.to_string()))
}

fn write_meta(disk: &dyn Disk, path: &Path, meta: &Meta) -> Result<(), DirectoryError> {
    let text = serde_yaml::to_string(meta).expect("three plain fields are always YAML");
    disk.replace(path, text.as_bytes())?;
    Ok(())
}
