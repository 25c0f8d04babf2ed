//! The two small files beside the log: `vote`, with everything that has to survive besides entries,
//! and `snapshot`. Both are checkpoints: replaced whole, with magic, version and checksum.

use std::path::{Path, PathBuf};

use super::error::QuorumError;
use super::types::{LogId, SnapshotMeta, StoredMembership, Vote};
use crate::log::checkpoint::{self, Kind};
use crate::metadata::record::{Field, Reader};
use crate::metadata::{DecodeError, Image};
use crate::storage::Disk;

/// What the vote file is called.
pub(super) const VOTE_FILE: &str = "vote";
/// What the snapshot file is called.
pub(super) const SNAPSHOT_FILE: &str = "snapshot";

pub(super) const VOTE_KIND: Kind =
    Kind { magic: *b"RVVT", name: "vote", version: 1, payload_bytes_max: 4 * 1024 };
pub(super) const SNAPSHOT_KIND: Kind = Kind {
    magic: *b"RVMS",
    name: "metadata snapshot",
    version: 1,
    payload_bytes_max: crate::limits::METADATA_SNAPSHOT_BYTES_MAX,
};

/// What the vote file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// The term, whom this node voted for in it, and whether that node leads.
    pub(super) vote: Option<Vote>,
    /// Some entry that is known to be committed. Usually not the newest: it is written down when
    /// the file is written anyway.
    pub(super) committed: Option<LogId>,
    /// Entries up to this one are only in the snapshot.
    pub(super) purged: Option<LogId>,
}

/// A snapshot as it lies on disk and goes to followers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredSnapshot {
    pub(super) last: Option<LogId>,
    pub(super) membership: StoredMembership,
    /// See [`image_bytes`].
    pub(super) data: Vec<u8>,
}

impl Field for Saved {
    fn put(&self, into: &mut Vec<u8>) {
        self.vote.put(into);
        self.committed.put(into);
        self.purged.put(into);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (vote, committed) = (Field::get(from)?, Field::get(from)?);
        Ok(Saved { vote, committed, purged: Field::get(from)? })
    }
}

impl StoredSnapshot {
    /// openraft's description of the snapshot. The name follows from what it holds: two snapshots
    /// up to the same entry are the same bytes.
    pub(super) fn meta(&self) -> SnapshotMeta {
        let name = self.last.map_or("empty".to_owned(), |last| last.to_string());
        SnapshotMeta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
            snapshot_id: name,
        }
    }

    /// The image in the snapshot.
    pub(super) fn image(&self) -> Result<Image, DecodeError> {
        let mut from = Reader::new(&self.data);
        let version = u64::get(&mut from)?;
        Image::from_bytes(version, from.rest())
    }
}

/// An image as a snapshot's data: its version, then the records that lead to it.
pub(super) fn image_bytes(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.version().put(&mut bytes);
    bytes.extend(image.to_bytes());
    bytes
}

/// Reads the vote file; `None` when there is none.
pub(super) fn read_saved(disk: &dyn Disk, dir: &Path) -> Result<Option<Saved>, QuorumError> {
    let path = dir.join(VOTE_FILE);
    let Some(payload) = read(disk, &path, &VOTE_KIND)? else { return Ok(None) };
    let mut from = Reader::new(&payload);
    let saved = Saved::get(&mut from).map_err(|error| in_payload(&path, &error))?;
    if !from.is_empty() {
        return Err(QuorumError::damaged(path, 0, "the vote file is longer than its content"));
    }
    Ok(Some(saved))
}

/// Replaces the vote file. Durable when it returns.
pub(super) fn write_saved(disk: &dyn Disk, dir: &Path, saved: &Saved) -> Result<(), QuorumError> {
    let mut payload = Vec::new();
    saved.put(&mut payload);
    checkpoint::write(disk, &dir.join(VOTE_FILE), &VOTE_KIND, &payload)?;
    Ok(())
}

/// Reads the snapshot; `None` when there is none.
pub(super) fn read_snapshot(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<StoredSnapshot>, QuorumError> {
    let path = dir.join(SNAPSHOT_FILE);
    let Some(payload) = read(disk, &path, &SNAPSHOT_KIND)? else { return Ok(None) };
    let mut from = Reader::new(&payload);
    let head = Field::get(&mut from).and_then(|last| Ok((last, Field::get(&mut from)?)));
    let (last, membership) = head.map_err(|error| in_payload(&path, &error))?;
    let snapshot = StoredSnapshot { last, membership, data: from.rest().to_vec() };
    snapshot.image().map_err(|error| in_payload(&path, &error))?;
    Ok(Some(snapshot))
}

/// Replaces the snapshot. Durable when it returns.
pub(super) fn write_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    snapshot: &StoredSnapshot,
) -> Result<(), QuorumError> {
    let mut payload = Vec::new();
    snapshot.last.put(&mut payload);
    snapshot.membership.put(&mut payload);
    payload.extend_from_slice(&snapshot.data);
    checkpoint::write(disk, &dir.join(SNAPSHOT_FILE), &SNAPSHOT_KIND, &payload)?;
    Ok(())
}

fn read(disk: &dyn Disk, path: &Path, kind: &Kind) -> Result<Option<Vec<u8>>, QuorumError> {
    let bytes = match checkpoint::read(disk, path, kind) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match checkpoint::decode(kind, &bytes) {
        Ok((_, payload)) => Ok(Some(payload.to_vec())),
        Err(error) => Err(QuorumError::in_checkpoint(path, &error)),
    }
}

fn in_payload(path: &Path, error: &DecodeError) -> QuorumError {
    let path = PathBuf::from(path);
    match error {
        DecodeError::Unknown { .. } => QuorumError::Newer { path, what: error.to_string() },
        _ => QuorumError::damaged(path, checkpoint::HEAD_BYTES as u64, error.to_string()),
    }
}
