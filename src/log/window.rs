//! How much of what a process appends stays in the page cache: one budget for all its logs, shared
//! evenly by those that hold enough of it to matter. Memory that is used again is quick; a copy
//! into pages that were never touched, or had to be taken from elsewhere first, costs a multiple.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Page cache is given back in steps of at least this much, and a log with less holds no share.
pub(super) const STEP_BYTES: u64 = 8 << 20;

/// The budget of a data directory.
#[derive(Debug)]
pub struct TailWindow {
    bytes: u64,
    holders: AtomicU64,
}

impl TailWindow {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<TailWindow> {
        Arc::new(TailWindow { bytes, holders: AtomicU64::new(0) })
    }

    /// What one of the present holders may keep.
    pub(super) fn share_bytes(&self) -> u64 {
        let holders = self.holders.load(Ordering::Relaxed).max(1);
        (self.bytes / holders).max(self.bytes.min(STEP_BYTES))
    }
}

impl PartialEq for TailWindow {
    fn eq(&self, other: &TailWindow) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for TailWindow {}

/// One share, until it is dropped.
#[derive(Debug)]
pub(super) struct Share(Arc<TailWindow>);

impl Share {
    pub(super) fn of(window: &Arc<TailWindow>) -> Share {
        window.holders.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(window))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_by_those_who_hold_some_of_it() {
        let window = TailWindow::new(64 << 20);
        assert_eq!(window.share_bytes(), 64 << 20);
        let mut shares: Vec<_> = (0..4).map(|_| Share::of(&window)).collect();
        assert_eq!(window.share_bytes(), 16 << 20);
        shares.truncate(2);
        assert_eq!(window.share_bytes(), 32 << 20);
        let many: Vec<_> = (0..1000).map(|_| Share::of(&window)).collect();
        assert_eq!(window.share_bytes(), STEP_BYTES, "less is not worth the calls");
        drop(many);
        assert_eq!(TailWindow::new(0).share_bytes(), 0, "nothing stays nothing");
    }
}
