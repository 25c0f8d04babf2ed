//! How many bytes were synced since the frontier journal was last told. Lets its keeper sleep until
//! there is enough to tell; costs each sync one addition.

use std::sync::atomic::{AtomicU64, Ordering};

use event_listener::Event;

use crate::limits::FRONTIER_BACKLOG_BYTES;

/// The count, shared by all shards of a node.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicU64,
    due: Event,
}

impl Backlog {
    /// So many more bytes were synced.
    pub fn add(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        if before < FRONTIER_BACKLOG_BYTES && before + bytes >= FRONTIER_BACKLOG_BYTES {
            self.due.notify(usize::MAX);
        }
    }

    /// Starts over and returns what there was. To be called before the shards are asked for their
    /// claims: what is synced in between counts twice rather than not at all.
    pub fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }

    /// Ends when so much has gathered that the journal has to be told at once.
    pub async fn due(&self) {
        loop {
            let due = self.due.listen();
            if self.bytes.load(Ordering::SeqCst) >= FRONTIER_BACKLOG_BYTES {
                return;
            }
            due.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_keeper_is_woken_by_enough_bytes_and_not_before() {
        let backlog = Backlog::default();
        let mut due = std::pin::pin!(backlog.due());
        backlog.add(FRONTIER_BACKLOG_BYTES - 1);
        assert!(due.as_mut().now_or_never().is_none());
        backlog.add(1);
        assert!(due.now_or_never().is_some(), "woken");
        assert!(backlog.due().now_or_never().is_some(), "nor is it missed by who comes late");
        assert_eq!(backlog.take(), FRONTIER_BACKLOG_BYTES);
        assert!(backlog.due().now_or_never().is_none(), "until there is enough again");
    }
}
