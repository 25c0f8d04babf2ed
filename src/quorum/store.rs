//! Everything the metadata quorum keeps on this node's disk, synchronous and with one owner: the
//! log of entries, `vote`, `snapshot`. Every change is durable when its function returns; changes
//! happen in the order they are asked for. Knows nothing of tokio or of what Raft makes of it.
//!
//! # Opening
//! Damage is an error, and so is a missing file that should be there: starting with less than was
//! promised could elect two leaders or forget a topic. Invariants (M1): the snapshot holds everything
//! that is purged; the log begins no later than after it; what is known to be committed is there.
//!
//! # Purging and starting over
//! `vote` says up to where entries are purged before the log lets go of them. When a snapshot from
//! another node is ahead of the log, entries in between never come, so the log starts over in a new
//! directory: writing its base into `vote` is what makes the change, and what is left of the old
//! directory goes at the next opening.

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
    /// Whether `saved` holds something that its file does not, nothing of which must not be lost.
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
        remove_remains(&*disk, dir, &saved)?;
        let journal = Journal::open(Arc::clone(&disk), log_dir(dir, saved.base), saved.frontier)?;
        let mut store =
            Store { disk, dir: dir.to_owned(), saved, behind: false, journal, last: None };
        store.finish_purge()?;
        store.check()?;
        Ok(store)
    }

    /// Opens what is in `dir` without changing anything.
    pub(super) fn open_read_only(disk: Arc<dyn Disk>, dir: &Path) -> Result<Store, QuorumError> {
        let saved = files::read_saved(&*disk, dir)?.ok_or_else(|| missing(dir))?;
        let at = log_dir(dir, saved.base);
        let journal = Journal::open_read_only(Arc::clone(&disk), at, saved.frontier)?;
        let mut store =
            Store { disk, dir: dir.to_owned(), saved, behind: false, journal, last: None };
        store.check()?;
        Ok(store)
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
        let entries = self.read(next, self.next_index())?;
        for entry in &entries {
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
        self.behind
    }

    pub(super) fn save_vote(&mut self, vote: Vote) -> Result<(), QuorumError> {
        self.saved.vote = Some(vote);
        self.save()
    }

    /// Notes what is committed. Not durable before [`Store::save`]: a restart that knows less only
    /// has to find it out again.
    pub(super) fn note_committed(&mut self, committed: Option<LogId>) {
        if committed > self.saved.committed {
            self.saved.committed = committed;
            self.behind = true;
        }
    }

    /// Brings the vote file up to date.
    pub(super) fn save(&mut self) -> Result<(), QuorumError> {
        self.saved.frontier = self.journal.frontier();
        files::write_saved(&*self.disk, &self.dir, &self.saved)?;
        self.behind = false;
        Ok(())
    }

    /// Appends entries, each with the index after the one before.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), QuorumError> {
        // What the snapshot has already is not written again.
        let purged = self.saved.purged.map_or(0, |purged| purged.index + 1);
        let known = entries.iter().take_while(|entry| entry.log_id.index < purged).count();
        let entries = &entries[known..];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        if self.journal.is_empty() && first.log_id.index != self.next_index() {
            self.start_over(first.log_id.index, self.saved.purged)?;
        }
        assert_eq!(first.log_id.index, self.next_index(), "the log has no holes");
        let batches: Vec<_> =
            entries.iter().map(|entry| entry::encode(entry, self.saved.base)).collect();
        let at = batches.iter().map(|batch| batch.max_timestamp()).max().unwrap_or(Millis(-1));
        self.journal.append(&batches, at)?;
        self.last = Some(last.log_id);
        // Only the frontier: entries are durable, and the vote file did not change.
        self.behind = true;
        Ok(())
    }

    /// Removes the entries from this one on.
    pub(super) fn truncate(&mut self, from: LogId) -> Result<(), QuorumError> {
        assert!(Some(from) > self.saved.committed, "what is committed stays");
        if from.index >= self.next_index() {
            return Ok(());
        }
        let end = self.offset(from.index.max(self.first_index()));
        // What the vote file says of the log's durable end comes true again before it goes back.
        self.saved.frontier = self.journal.frontier_below(end);
        files::write_saved(&*self.disk, &self.dir, &self.saved)?;
        self.journal.truncate(end)?;
        self.last = self.read_last()?;
        Ok(())
    }

    /// Lets go of the entries up to this one, which the snapshot has.
    pub(super) fn purge(&mut self, up_to: LogId) -> Result<(), QuorumError> {
        if Some(up_to) <= self.saved.purged {
            return Ok(());
        }
        if up_to.index >= self.next_index() {
            return self.start_over(up_to.index + 1, Some(up_to));
        }
        self.saved.purged = Some(up_to);
        self.save()?;
        self.finish_purge()?;
        self.last = self.read_last()?;
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

    /// Writes down what makes the next opening exact.
    pub(super) fn close(&mut self) -> Result<(), QuorumError> {
        self.journal.close()?;
        if self.behind { self.save() } else { Ok(()) }
    }

    fn first_index(&self) -> u64 {
        let purged = self.saved.purged.map_or(0, |purged| purged.index + 1);
        purged.max(self.index(self.journal.start()))
    }

    fn next_index(&self) -> u64 {
        let purged = self.saved.purged.map_or(0, |purged| purged.index + 1);
        purged.max(self.index(self.journal.end()))
    }

    fn index(&self, offset: Offset) -> u64 {
        self.saved.base + u64::try_from(offset.0).expect("offsets of our log are not negative")
    }

    fn offset(&self, index: u64) -> Offset {
        Offset(i64::try_from(index - self.saved.base).expect("2^63 entries are never written"))
    }

    /// Some entries from `from` on, at least one.
    fn read_some(&self, from: u64, to: u64) -> Result<Vec<Entry>, QuorumError> {
        let batches = self.journal.read(self.offset(from), self.offset(to), READ_BYTES)?;
        let mut entries = Vec::with_capacity(batches.len());
        for (batch, index) in batches.iter().zip(from..) {
            let entry =
                entry::decode(batch, self.saved.base).map_err(|what| self.bad(index, &what))?;
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

    /// Makes the log let go of what is purged already. Again after a crash that came in between.
    fn finish_purge(&mut self) -> Result<(), QuorumError> {
        let Some(purged) = self.saved.purged else { return Ok(()) };
        let next = purged.index + 1;
        if self.index(self.journal.end()) < next {
            return Err(self.bad(next, "the log ends below what was purged"));
        }
        if self.index(self.journal.start()) < next {
            self.journal.advance(self.offset(next))?;
        }
        Ok(())
    }

    /// Begins an empty log whose first entry has this index.
    fn start_over(&mut self, base: u64, purged: Option<LogId>) -> Result<(), QuorumError> {
        assert!(
            purged.is_none_or(|purged| purged.index < base),
            "purged entries do not come again"
        );
        let old = log_dir(&self.dir, self.saved.base);
        let new = log_dir(&self.dir, base);
        if new != old {
            self.saved = Saved { base, purged, frontier: None, ..self.saved.clone() };
            files::write_saved(&*self.disk, &self.dir, &self.saved)?;
            self.journal = Journal::open(Arc::clone(&self.disk), new, None)?;
            remove_dir(&*self.disk, &self.dir, &old)?;
        }
        self.last = purged;
        Ok(())
    }

    /// Holds what the module promises of opening, and reads every entry once: an entry that can not
    /// be read is found now and not when it is needed.
    fn check(&mut self) -> Result<(), QuorumError> {
        self.last = self.read_last()?;
        let (mut from, to) = (self.first_index(), self.next_index());
        while from < to {
            from += self.read_some(from, to)?.len() as u64;
        }
        let vote = self.dir.join(VOTE_FILE);
        let expected = self.saved.purged.map_or(0, |purged| purged.index + 1);
        if self.index(self.journal.start()) > expected.max(self.saved.base) {
            return Err(self.bad(self.first_index(), "entries before it are missing"));
        }
        let snapshot = self.read_snapshot()?.and_then(|snapshot| snapshot.last);
        if self.saved.purged > snapshot {
            let what = "there is no snapshot with the entries that were purged";
            return Err(QuorumError::damaged(self.dir.join(SNAPSHOT_FILE), 0, what));
        }
        let known = self.last.max(snapshot);
        if self.saved.committed > known {
            return Err(self.bad(self.next_index(), "committed entries are missing"));
        }
        if self.last.is_some() && self.saved.vote.is_none() && !self.is_first_entry_only() {
            return Err(QuorumError::damaged(vote, 0, "there are entries but no vote"));
        }
        Ok(())
    }

    /// A new cluster's first entry is written before any vote.
    fn is_first_entry_only(&self) -> bool {
        self.last.is_some_and(|last| last.index == 0)
    }

    fn bad(&self, index: u64, what: &str) -> QuorumError {
        let path = log_dir(&self.dir, self.saved.base);
        QuorumError::damaged(path, 0, format!("entry {index}: {what}"))
    }
}

fn log_dir(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{LOG_PREFIX}{base:020}"))
}

const LOG_PREFIX: &str = "log-";

/// The first thing that a new node writes, so that nothing else can be there without it.
fn begin(disk: &dyn Disk, dir: &Path, presence: Presence) -> Result<Saved, QuorumError> {
    let exists = disk.exists(dir)?;
    let entries = if exists { disk.list(dir)? } else { Vec::new() };
    let temporary = temporary_of(Path::new(VOTE_FILE));
    let remains = |name: &str| temporary.to_str() == Some(name);
    if presence == Presence::Expected || entries.iter().any(|entry| !remains(&entry.name)) {
        return Err(missing(dir));
    }
    disk.create_dir_all(dir)?;
    let saved = Saved::default();
    files::write_saved(disk, dir, &saved)?;
    Ok(saved)
}

/// Where [`Disk::replace`] writes before it renames.
fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn missing(dir: &Path) -> QuorumError {
    QuorumError::damaged(dir.join(VOTE_FILE), 0, "the file is missing")
}

/// Removes what a crash may leave: temporary files (bad-inputs 88) and logs that were given up.
fn remove_remains(disk: &dyn Disk, dir: &Path, saved: &Saved) -> Result<(), QuorumError> {
    for file in [VOTE_FILE, SNAPSHOT_FILE] {
        let temporary = temporary_of(&dir.join(file));
        if disk.exists(&temporary)? {
            disk.remove(&temporary)?;
        }
    }
    let current = log_dir(dir, saved.base);
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir && entry.name.starts_with(LOG_PREFIX) && path != current {
            remove_dir(disk, dir, &path)?;
        }
    }
    Ok(())
}

fn remove_dir(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<(), QuorumError> {
    if disk.exists(path)? {
        disk.remove_dir_all(path)?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}
