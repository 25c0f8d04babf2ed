//! One simulated file: what programs see (the page cache), what the medium holds, and the changes
//! between the two. Knows nothing of names, faults' triggers or crashes' choices.
//!
//! As on Linux, dirtiness belongs to pages: a write that follows a failed sync in the same page
//! takes along the earlier bytes that the failed sync had marked clean.

use super::pages::{PAGE_BYTES, Page, Pages, touched};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One change that no sync has made durable yet.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Number of the disk operation that made it.
    pub(super) operation: u64,
    pub(super) what: What,
    /// Length of the file after it.
    pub(super) len_after: u64,
}

impl Change {
    /// The end of the bytes it changes.
    pub(super) fn end(&self) -> u64 {
        let (at, len) = self.what.range();
        at + len
    }
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Bytes written at a position; on a defective disk not the position that was asked for.
    Write { at: u64, bytes: Arc<[u8]>, misdirected: bool },
    /// Bytes that reach from here to the former end were cut off.
    Cut { at: u64, len: u64 },
    /// Only the length changed.
    Grow,
}

impl What {
    /// Where it changes bytes, and how many.
    pub(super) fn range(&self) -> (u64, u64) {
        match self {
            What::Write { at, bytes, .. } => (*at, bytes.len() as u64),
            What::Cut { at, len } => (*at, *len),
            What::Grow => (0, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) cached: Pages,
    pub(super) durable: Pages,
    pub(super) pending: Vec<Change>,
    /// Whether some cached page is marked clean and differs from the medium.
    is_cache_ahead: bool,
    /// Pages that the last sync replaced, as they were before: what a stale read returns.
    replaced: BTreeMap<u64, Option<Page>>,
    /// Pages that were dropped from the cache and not read since.
    evicted: BTreeSet<u64>,
}

impl Content {
    /// A file that is the same on the medium and in the cache.
    pub(super) fn settled(durable: Pages) -> Content {
        Content { cached: durable.clone(), durable, ..Content::default() }
    }

    /// Writes to the cache. A `shift` other than zero makes the medium receive the bytes elsewhere.
    pub(super) fn write(&mut self, operation: u64, at: u64, bytes: &[u8], shift: i64) {
        self.cached.write(at, bytes);
        let mut written = (at, Arc::from(bytes));
        if shift != 0 {
            written.0 = at.saturating_add_signed(shift);
            self.is_cache_ahead = true;
        } else if self.is_cache_ahead {
            written = self.whole_pages(at, bytes.len() as u64);
        }
        self.pending.push(Change {
            operation,
            what: What::Write { at: written.0, bytes: written.1, misdirected: shift != 0 },
            len_after: self.cached.len(),
        });
    }

    fn whole_pages(&self, at: u64, len: u64) -> (u64, Arc<[u8]>) {
        let pages = touched(at, len);
        let start = pages.start * PAGE_BYTES;
        let bytes = self.cached.copy(start, (pages.end * PAGE_BYTES - start) as usize);
        (start, Arc::from(bytes))
    }

    pub(super) fn set_len(&mut self, operation: u64, len: u64) {
        let before = self.cached.len();
        self.cached.set_len(len);
        let what = if len < before { What::Cut { at: len, len: before - len } } else { What::Grow };
        self.pending.push(Change { operation, what, len_after: len });
    }

    /// Brings every pending change to the medium.
    pub(super) fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.replaced.clear();
        for change in std::mem::take(&mut self.pending) {
            match change.what {
                What::Write { at, bytes, misdirected: true } => self.durable.write(at, &bytes),
                What::Write { at, bytes, .. } => self.store(touched(at, bytes.len() as u64)),
                // What was written there later follows later, whole pages of it.
                What::Cut { at, len } => self.durable.zero(at, len),
                What::Grow => {}
            }
        }
        self.durable.set_len(self.cached.len());
    }

    fn store(&mut self, pages: std::ops::Range<u64>) {
        for index in pages {
            let before = self.durable.page(index).cloned();
            self.replaced.entry(index).or_insert(before);
            self.durable.set_page(index, self.cached.page(index).cloned());
        }
    }

    /// What a failed sync does on Linux: the pages stay readable, are marked clean, and no later
    /// sync will write them.
    pub(super) fn lose_pending(&mut self) {
        self.is_cache_ahead |= !self.pending.is_empty();
        self.pending.clear();
    }

    pub(super) fn read(&mut self, at: u64, into: &mut [u8]) -> usize {
        let read = self.cached.read(at, into);
        if !self.evicted.is_empty() {
            let pages = touched(at, read as u64);
            self.evicted.retain(|index| !pages.contains(index));
        }
        read
    }

    /// Reads what was on the medium before the last sync, with today's length.
    pub(super) fn read_stale(&self, at: u64, into: &mut [u8]) -> usize {
        let mut stale = self.cached.clone();
        for (&index, page) in &self.replaced {
            stale.set_page(index, page.clone());
        }
        stale.set_len(self.cached.len());
        stale.read(at, into)
    }

    /// Drops clean pages from the cache: the next read gets what the medium holds.
    pub(super) fn evict(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len).min(self.cached.len());
        for index in touched(at, end.saturating_sub(at)) {
            if !self.is_dirty(index) {
                self.cached.set_page(index, self.durable.page(index).cloned());
                self.evicted.insert(index);
            }
        }
        // The medium may hold bytes beyond the length that the cache knows.
        self.cached.set_len(self.cached.len());
    }

    pub(super) fn is_cached(&self, at: u64, len: u64) -> bool {
        let last = at.saturating_add(len.saturating_sub(1));
        [at, last].iter().all(|byte| !self.evicted.contains(&(byte / PAGE_BYTES)))
    }

    /// Damages the medium, and the cache where it would have to read the medium again.
    pub(super) fn damage(&mut self, at: u64, change: impl Fn(&mut Pages)) {
        change(&mut self.durable);
        if !self.is_dirty(at / PAGE_BYTES) {
            change(&mut self.cached);
        }
    }

    fn is_dirty(&self, page: u64) -> bool {
        self.pending.iter().any(|change| {
            let (at, len) = change.what.range();
            touched(at, len).contains(&page)
        })
    }
}
