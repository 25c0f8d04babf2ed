//! The signal that the process is stopping, for everything that has to hear it.

use std::sync::OnceLock;

use event_listener::{Event, EventListener};
use tokio::time::Instant;

/// Set once, with the moment at which patience ends.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    deadline: OnceLock<Instant>,
    event: Event,
}

impl Stop {
    /// Sets it. Only the first deadline counts.
    pub(crate) fn set(&self, deadline: Instant) {
        if self.deadline.set(deadline).is_ok() {
            self.event.notify(usize::MAX);
        }
    }

    /// When patience ends, if the process is stopping.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// A future that ends when the signal comes. Look at `deadline` after asking for it: what was
    /// set before does not wake it.
    pub(crate) fn listen(&self) -> EventListener {
        self.event.listen()
    }

    /// Waits for the signal.
    pub(crate) async fn wait(&self) -> Instant {
        loop {
            let signal = self.listen();
            if let Some(deadline) = self.deadline() {
                return deadline;
            }
            signal.await;
        }
    }
}
