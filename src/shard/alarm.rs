//! The next moment at which some coordinator has something to do. Lets whoever keeps time sleep
//! until then; costs a step that arms nothing earlier one comparison.

use std::sync::atomic::{AtomicU64, Ordering};

use event_listener::{Event, EventListener};

/// The moment, shared by all shards of a node, in monotonic milliseconds.
#[derive(Debug)]
pub struct Alarm {
    due_ms: AtomicU64,
    earlier: Event,
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm { due_ms: AtomicU64::new(u64::MAX), earlier: Event::new() }
    }
}

impl Alarm {
    /// Something is due at this moment, or was before.
    pub fn set(&self, due_ms: u64) {
        if self.due_ms.fetch_min(due_ms, Ordering::SeqCst) > due_ms {
            self.earlier.notify(usize::MAX);
        }
    }

    /// When something is due; never, if it is `u64::MAX`. Listen before asking, or an earlier
    /// moment that is set in between is missed.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.due_ms.load(Ordering::SeqCst)
    }

    /// Forgets the moment. To be called before the coordinators are asked to do what is due: they
    /// set the next one.
    pub fn clear(&self) {
        self.due_ms.store(u64::MAX, Ordering::SeqCst);
    }

    /// A notice of the next earlier moment.
    #[must_use]
    pub fn listen(&self) -> EventListener {
        self.earlier.listen()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn only_an_earlier_moment_wakes_who_waits() {
        let alarm = Alarm::default();
        alarm.set(100);
        let mut earlier = std::pin::pin!(alarm.listen());
        alarm.set(100);
        alarm.set(200);
        assert!(earlier.as_mut().now_or_never().is_none());
        alarm.set(50);
        assert!(earlier.now_or_never().is_some());
        assert_eq!(alarm.due_ms(), 50);
        alarm.clear();
        assert_eq!(alarm.due_ms(), u64::MAX);
    }
}
