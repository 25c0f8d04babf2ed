//! What a log has to know of its own compaction after a restart: the file `compaction`. Replaced
//! as a whole, so it always tells one consistent story. Owns the format and the exchange of files
//! that the file announces; decides nothing.
//!
//! Payload, version 1: offset below which offsets may be missing (8), offset below which every key
//! has one record (8), count (4), then the base offset (8) of each segment of the exchange under
//! way, if there is one: the first of them is the name that the compacted segment gets.
//!
//! # An exchange
//! A compacted segment lies beside those that it replaces as `<base offset>.cleaned.log`, with side
//! files to match, all of it synced. Then:
//! 1. `compaction` is replaced by one that names the segments that go: from here on the new one
//!    counts, whatever has become of its name;
//! 2. the new side files get their names, which is made durable;
//! 3. the new segment gets its name and the others go, which is made durable;
//! 4. `compaction` is replaced by one without an exchange.
//!
//! Every step may be done again. A start that finds the announcement does so, and a reader that
//! may change nothing takes the files for what they are about to become.
//!
//! # When the file is gone
//! Nothing is lost: all of the log counts as not yet compacted, and a log whose topic is compacted
//! may miss offsets in every segment but the last.

use std::path::{Path, PathBuf};

use super::super::checkpoint::{self, CheckpointError, Fields, Kind, ReadError};
use super::super::frontier::FrontierEntry;
use super::super::{open, sidecar};
use crate::limits::COMPACTION_GROUP_SEGMENTS_MAX;
use crate::storage::{Disk, StorageError};
use crate::types::Offset;

/// Name of the file in a partition's directory.
pub(in crate::log) const FILE_NAME: &str = "compaction";
pub(in crate::log) const KIND: Kind = Kind {
    magic: *b"RVCO",
    name: FILE_NAME,
    version: 1,
    payload_bytes_max: 8 + 8 + 4 + COMPACTION_GROUP_SEGMENTS_MAX * 8,
};

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactionState {
    /// Below this offset, offsets may be missing.
    pub gaps_below: Offset,
    /// Below this offset every key has one record.
    pub clean_to: Offset,
    /// Base offsets of the segments that one compacted segment is taking the place of; the first is
    /// its own. Empty when no exchange is under way.
    pub exchange: Vec<Offset>,
}

/// A segment as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    /// Offset in its name.
    pub base: Offset,
    /// Size of the file.
    pub len: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// Where a compacted segment lies until it gets its name.
pub(in crate::log) fn cleaned_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(open::segment_name(base)).with_extension("cleaned.log")
}

/// Whether a file of this name is part of a compacted segment that has not got its own yet.
pub(in crate::log) fn is_cleaned(name: &str) -> bool {
    name.contains(".cleaned.")
}

impl CompactionState {
    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and can not be read as what it is.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<CompactionState>, ReadError> {
        let bytes = match checkpoint::read(disk, &dir.join(FILE_NAME), &KIND) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        Ok(Some(CompactionState::decode(&bytes)?))
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is damaged, newer, or breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<CompactionState, CheckpointError> {
        let (_, payload) = checkpoint::decode(&KIND, bytes)?;
        let mut fields = Fields::new(&KIND, payload);
        let (gaps_below, clean_to) = (Offset(fields.i64()?), Offset(fields.i64()?));
        let mut exchange = Vec::new();
        for _ in 0..fields.count_of(8)? {
            exchange.push(Offset(fields.i64()?));
        }
        let ascend = exchange.windows(2).all(|pair| pair[0] < pair[1]);
        let first = exchange.first().is_none_or(|first| *first >= Offset::ZERO);
        if gaps_below < Offset::ZERO || clean_to < Offset::ZERO || !ascend || !first {
            return Err(fields.broken("offsets are not negative, base offsets ascend"));
        }
        fields.end()?;
        Ok(CompactionState { gaps_below, clean_to, exchange })
    }

    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        checkpoint::encode(&KIND, KIND.version, &self.payload())
    }

    fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(8 + 8 + 4 + self.exchange.len() * 8);
        payload.extend_from_slice(&self.gaps_below.0.to_be_bytes());
        payload.extend_from_slice(&self.clean_to.0.to_be_bytes());
        payload.extend_from_slice(&(self.exchange.len() as u32).to_be_bytes());
        for base in &self.exchange {
            payload.extend_from_slice(&base.0.to_be_bytes());
        }
        payload
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When the disk refuses; a failed sync is final.
    pub(in crate::log) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        checkpoint::write(disk, &dir.join(FILE_NAME), &KIND, &self.payload())?;
        Ok(())
    }

    /// What it says of a log that is cut at `end`.
    #[must_use]
    pub(in crate::log) fn cut(&self, end: Offset) -> CompactionState {
        let (gaps_below, clean_to) = (self.gaps_below.min(end), self.clean_to.min(end));
        CompactionState { gaps_below, clean_to, exchange: Vec::new() }
    }

    /// Up to where the log was synced for certain: compaction touches nothing else. `None` where no
    /// segment begins there, which is so after the log was cut.
    pub(in crate::log) fn synced(
        &self,
        mut bases: impl Iterator<Item = Offset>,
    ) -> Option<FrontierEntry> {
        let end_offset = self.gaps_below;
        let is_joint = end_offset > Offset::ZERO && bases.any(|base| base == end_offset);
        is_joint.then_some(FrontierEntry { segment_base: end_offset, end_offset, position: 0 })
    }

    /// Carries out the exchange under way, whatever of it is done already.
    ///
    /// # Errors
    /// When the disk refuses; a failed sync is final.
    pub(in crate::log) fn exchange(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        let Some((&base, others)) = self.exchange.split_first() else { return Ok(()) };
        let (from, to) = (cleaned_path(dir, base), dir.join(open::segment_name(base)));
        for (kind, _) in sidecar::KINDS {
            rename_if_there(disk, &from.with_extension(kind), &to.with_extension(kind))?;
        }
        disk.sync_dir(dir)?;
        rename_if_there(disk, &from, &to)?;
        remove_segments(disk, dir, others)?;
        disk.sync_dir(dir)?;
        Ok(())
    }

    /// The segments as they are when the exchange under way is done, without doing it.
    #[must_use]
    pub fn settle(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        found: Vec<SegmentPlace>,
    ) -> Vec<SegmentPlace> {
        let Some((&base, others)) = self.exchange.split_first() else { return found };
        let mut settled: Vec<_> =
            found.into_iter().filter(|segment| !others.contains(&segment.base)).collect();
        let path = cleaned_path(dir, base);
        let len = disk.open(&path, crate::storage::Access::Read).and_then(|file| file.len());
        if let Ok(len) = len {
            settled.retain(|segment| segment.base != base);
            let at = settled.partition_point(|segment| segment.base < base);
            settled.insert(at, SegmentPlace { base, len, path });
        }
        settled
    }
}

/// Carries out an exchange that a crash has interrupted. Of a file that can not be read, nothing is
/// known of one.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub(in crate::log) fn resume(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    let Ok(Some(state)) = CompactionState::load(disk, dir) else { return Ok(()) };
    if state.exchange.is_empty() {
        return Ok(());
    }
    state.exchange(disk, dir)?;
    CompactionState { exchange: Vec::new(), ..state }.save(disk, dir)
}

/// Takes back what the file says beyond a new end of the log, before it is cut there.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub(in crate::log) fn lower(disk: &dyn Disk, dir: &Path, end: Offset) -> Result<(), StorageError> {
    match CompactionState::load(disk, dir) {
        Ok(Some(state)) if state.cut(end) != state => state.cut(end).save(disk, dir),
        _ => Ok(()),
    }
}

/// Removes what is left of compacted segments that never came to count.
pub(in crate::log) fn remove_cleaned(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
) -> Result<(), StorageError> {
    let path = cleaned_path(dir, base);
    remove_if_there(disk, &path)?;
    sidecar::remove(disk, &path)
}

fn remove_segments(disk: &dyn Disk, dir: &Path, bases: &[Offset]) -> Result<(), StorageError> {
    for &base in bases {
        let path = dir.join(open::segment_name(base));
        remove_if_there(disk, &path)?;
        sidecar::remove(disk, &path)?;
    }
    Ok(())
}

fn rename_if_there(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    match disk.rename(from, to) {
        Err(error) if error.is_not_found() => Ok(()),
        renamed => renamed,
    }
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}
