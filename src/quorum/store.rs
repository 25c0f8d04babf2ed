//! Everything the metadata quorum keeps on this node's disk, synchronous and with one owner: the
//! log of entries, `vote`, `snapshot`. Every change is durable when its function returns; changes
//! happen in the order they are asked for. Knows nothing of tokio or of what Raft makes of it.
//!
//! # Opening
//! Damage is an error, and so is a missing file that should be there: starting with less than was
//! promised could elect two leaders or forget a topic. `vote` is the first file of a node, so it is
//! missing only where nothing is. Held on opening (M1): the log begins right after what is purged;
//! the snapshot has everything that is purged; what is known to be committed is there.
//!
//! # Purging
//! `vote` says up to where entries are purged before the log lets go of them; a crash in between is
//! made up for at the next opening. When a snapshot from another node is ahead of the whole log,
//! purging up to it empties the log, which then begins after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry;
use super::error::QuorumError;
use super::files::{self, SNAPSHOT_FILE, Saved, StoredSnapshot, VOTE_FILE};
use super::fold::Fold;
use super::journal::Journal;
use super::types::{Entry, LogId, Vote};
use crate::storage::Disk;
use crate::types::{Millis, Offset};

/// Bytes of entries that are read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Whether there may be nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The node is new, or may have been stopped while it was being made.
    MayBeNew,
    /// The node has been a member: without its files it must not start.
    Expected,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    saved: Saved,
    /// Whether `saved` holds something that its file does not. Nothing of that must survive.
    behind: bool,
    journal: Journal,
    last: Option<LogId>,
}

impl Store {
    /// Opens what is in `dir`, or begins it.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        presence: Presence,
    ) -> Result<Store, QuorumError> {
        let saved = match files::read_saved(&*disk, dir)? {
            Some(saved) => saved,
            None => begin(&*disk, dir, presence)?,
        };
        remove_remains(&*disk, dir)?;
        let journal = Journal::open(&disk, dir)?;
        let mut store = Store::new(disk, dir, saved, journal);
        store.finish_purge()?;
        store.check()?;
        Ok(store)
    }

    /// Opens what is in `dir` without changing anything.
    pub(super) fn open_read_only(disk: Arc<dyn Disk>, dir: &Path) -> Result<Store, QuorumError> {
        let saved = files::read_saved(&*disk, dir)?.ok_or_else(|| missing(dir))?;
        let journal = Journal::open_read_only(&disk, dir)?;
        let mut store = Store::new(disk, dir, saved, journal);
        store.check()?;
        Ok(store)
    }

    fn new(disk: Arc<dyn Disk>, dir: &Path, saved: Saved, journal: Journal) -> Store {
        Store { disk, dir: dir.to_owned(), saved, behind: false, journal, last: None }
    }

    /// The state that the snapshot holds, or that of a new cluster.
    pub(super) fn fold(&self) -> Result<Fold, QuorumError> {
        let Some(snapshot) = self.read_snapshot()? else { return Ok(Fold::default()) };
        let path = self.dir.join(SNAPSHOT_FILE);
        Fold::of(&snapshot).map_err(|error| QuorumError::damaged(path, 0, error.to_string()))
    }

    /// The state after every entry that is known to be committed. With one voter that is each one
    /// in the log; with more it is what was written down.
    pub(super) fn replay_committed(&self) -> Result<Fold, QuorumError> {
        let mut fold = self.fold()?;
        let next = fold.applied.map_or(0, |applied| applied.index + 1);
        for entry in &self.read(next, self.next_index())? {
            let alone = fold.membership.voter_ids().count() <= 1;
            if !alone && Some(entry.log_id) > self.saved.committed {
                break;
            }
            let applied = fold.apply(entry);
            applied.map_err(|error| self.bad(entry.log_id.index, &error.to_string()))?;
        }
        Ok(fold)
    }

    /// Whether this node has never taken part in anything.
    pub(super) fn is_blank(&self) -> bool {
        self.last.is_none() && self.saved.vote.is_none()
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.saved.vote
    }

    pub(super) fn committed(&self) -> Option<LogId> {
        self.saved.committed
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.saved.purged
    }

    /// The newest entry, or the newest that is purged when there is none.
    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Whether [`Store::save`] would write something.
    pub(super) fn is_behind(&self) -> bool {
        self.behind || self.journal.is_frontier_behind()
    }

    pub(super) fn save_vote(&mut self, vote: Vote) -> Result<(), QuorumError> {
        self.saved.vote = Some(vote);
        self.write_saved()
    }

    /// Notes what is committed. Not durable before [`Store::save`]: a restart that knows less only
    /// has to find it out again.
    pub(super) fn note_committed(&mut self, committed: Option<LogId>) {
        if committed > self.saved.committed {
            self.saved.committed = committed;
            self.behind = true;
        }
    }

    /// Writes down everything that was only noted.
    pub(super) fn save(&mut self) -> Result<(), QuorumError> {
        self.journal.sync_frontier()?;
        if self.behind { self.write_saved() } else { Ok(()) }
    }

    /// Appends entries, each with the index after the one before.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), QuorumError> {
        // What the snapshot has already is not written again.
        let purged = self.after_purged();
        let known = entries.iter().take_while(|entry| entry.log_id.index < purged).count();
        let entries = &entries[known..];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        if self.journal.is_empty() && first.log_id.index != self.next_index() {
            self.journal.restart(offset(first.log_id.index))?;
        }
        assert_eq!(first.log_id.index, self.next_index(), "the log has no holes");
        let batches: Vec<_> = entries.iter().map(entry::encode).collect();
        let at = batches.iter().map(|batch| batch.max_timestamp()).max().unwrap_or(Millis(-1));
        self.journal.append(&batches, at)?;
        self.last = Some(last.log_id);
        Ok(())
    }

    /// Removes the entries from this one on.
    pub(super) fn truncate(&mut self, from: LogId) -> Result<(), QuorumError> {
        assert!(Some(from) > self.saved.committed, "what is committed stays");
        if from.index < self.next_index() {
            self.journal.truncate(offset(from.index.max(self.first_index())))?;
            self.last = self.read_last()?;
        }
        Ok(())
    }

    /// Lets go of the entries up to this one, which the snapshot has.
    pub(super) fn purge(&mut self, up_to: LogId) -> Result<(), QuorumError> {
        if Some(up_to) > self.saved.purged {
            self.saved.purged = Some(up_to);
            self.write_saved()?;
            self.finish_purge()?;
            self.last = self.read_last()?;
        }
        Ok(())
    }

    /// The entries with indexes in `from .. to`, as far as there are any, from the first on.
    pub(super) fn read(&self, from: u64, to: u64) -> Result<Vec<Entry>, QuorumError> {
        let mut entries = Vec::new();
        let (mut from, to) = (from.max(self.first_index()), to.min(self.next_index()));
        while from < to {
            let some = self.read_some(from, to)?;
            from += some.len() as u64;
            entries.extend(some);
        }
        Ok(entries)
    }

    pub(super) fn write_snapshot(&mut self, snapshot: &StoredSnapshot) -> Result<(), QuorumError> {
        files::write_snapshot(&*self.disk, &self.dir, snapshot)
    }

    pub(super) fn read_snapshot(&self) -> Result<Option<StoredSnapshot>, QuorumError> {
        files::read_snapshot(&*self.disk, &self.dir)
    }

    /// Writes down everything, and what makes the next opening cheap.
    pub(super) fn close(&mut self) -> Result<(), QuorumError> {
        self.journal.close()?;
        self.save()
    }

    fn write_saved(&mut self) -> Result<(), QuorumError> {
        files::write_saved(&*self.disk, &self.dir, &self.saved)?;
        self.behind = false;
        Ok(())
    }

    fn after_purged(&self) -> u64 {
        self.saved.purged.map_or(0, |purged| purged.index + 1)
    }

    fn first_index(&self) -> u64 {
        self.after_purged().max(index(self.journal.start()))
    }

    fn next_index(&self) -> u64 {
        self.after_purged().max(index(self.journal.end()))
    }

    /// Some entries from `from` on, at least one.
    fn read_some(&self, from: u64, to: u64) -> Result<Vec<Entry>, QuorumError> {
        let batches = self.journal.read(offset(from), offset(to), READ_BYTES)?;
        let mut entries = Vec::with_capacity(batches.len());
        for (batch, index) in batches.iter().zip(from..) {
            let entry = entry::decode(batch).map_err(|what| self.bad(index, &what))?;
            if entry.log_id.index != index {
                return Err(self.bad(index, "another entry stands in its place"));
            }
            entries.push(entry);
        }
        if entries.is_empty() { Err(self.bad(from, "the entry is missing")) } else { Ok(entries) }
    }

    fn read_last(&self) -> Result<Option<LogId>, QuorumError> {
        let (first, next) = (self.first_index(), self.next_index());
        if first == next {
            return Ok(self.saved.purged);
        }
        Ok(self.read_some(next - 1, next)?.first().map(|entry| entry.log_id))
    }

    /// Makes the log let go of what is purged.
    fn finish_purge(&mut self) -> Result<(), QuorumError> {
        let start = offset(self.after_purged());
        if self.journal.end() < start {
            self.journal.restart(start)
        } else if self.journal.start() < start {
            self.journal.advance(start)
        } else {
            Ok(())
        }
    }

    /// Holds what the module promises of opening, and reads every entry once: one that can not be
    /// read is found now and not when it is needed.
    fn check(&mut self) -> Result<(), QuorumError> {
        let snapshot = self.read_snapshot()?.and_then(|snapshot| snapshot.last);
        if self.saved.purged > snapshot {
            let what = "there is no snapshot with the entries that were purged";
            return Err(QuorumError::damaged(self.dir.join(SNAPSHOT_FILE), 0, what));
        }
        if self.first_index() > self.after_purged() {
            return Err(self.bad(self.after_purged(), "it and some that follow are missing"));
        }
        let (mut from, to) = (self.first_index(), self.next_index());
        self.last = self.saved.purged;
        while from < to {
            let some = self.read_some(from, to)?;
            from += some.len() as u64;
            self.last = some.last().map(|entry| entry.log_id);
        }
        if self.saved.committed > self.last.max(snapshot) {
            return Err(self.bad(self.next_index(), "committed entries are missing"));
        }
        // A new cluster's first entry is written before any vote.
        if self.saved.vote.is_none() && self.last.is_some_and(|last| last.index > 0) {
            let what = "there are entries but no vote";
            return Err(QuorumError::damaged(self.dir.join(VOTE_FILE), 0, what));
        }
        Ok(())
    }

    fn bad(&self, index: u64, what: &str) -> QuorumError {
        QuorumError::damaged(self.journal.dir(), 0, format!("entry {index}: {what}"))
    }
}

fn index(offset: Offset) -> u64 {
    u64::try_from(offset.0).expect("offsets of our own log are not negative")
}

fn offset(index: u64) -> Offset {
    Offset(i64::try_from(index).expect("2^63 entries are never written"))
}

/// The first thing that a new node writes, so that nothing else can be there without it.
fn begin(disk: &dyn Disk, dir: &Path, presence: Presence) -> Result<Saved, QuorumError> {
    let entries = if disk.exists(dir)? { disk.list(dir)? } else { Vec::new() };
    let remains = temporary_of(Path::new(VOTE_FILE));
    let is_new = entries.iter().all(|entry| remains.to_str() == Some(&entry.name));
    if presence == Presence::Expected || !is_new {
        return Err(missing(dir));
    }
    disk.create_dir_all(dir)?;
    let saved = Saved::default();
    files::write_saved(disk, dir, &saved)?;
    Ok(saved)
}

fn missing(dir: &Path) -> QuorumError {
    QuorumError::damaged(dir.join(VOTE_FILE), 0, "the file is missing")
}

/// Removes what a crash may leave of a file that was being replaced (bad-inputs 88).
fn remove_remains(disk: &dyn Disk, dir: &Path) -> Result<(), QuorumError> {
    for file in [VOTE_FILE, SNAPSHOT_FILE] {
        let remains = temporary_of(&dir.join(file));
        if disk.exists(&remains)? {
            disk.remove(&remains)?;
        }
    }
    Ok(())
}

/// Where [`Disk::replace`] writes before it renames.
fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}
