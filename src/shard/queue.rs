//! What the pool has to do. Threads sleep until there is something: a channel that spins first
//! takes the processor from those it waits for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

/// A queue that many threads put into and take from. Its users bound what is in it.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// Threads that sleep and were not woken yet.
    sleeping: usize,
    is_closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let state = State { items: VecDeque::new(), sleeping: 0, is_closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }
}

impl<T> Queue<T> {
    /// Adds an item and wakes a thread for it if one sleeps.
    pub(super) fn put(&self, item: T) {
        let mut state = self.state();
        state.items.push_back(item);
        let wakes = state.sleeping > 0;
        state.sleeping -= usize::from(wakes);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Takes the oldest item, waiting until there is one; `None` once the queue is closed and
    /// empty.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.is_closed {
                return None;
            }
            state.sleeping += 1;
            state = self.filled.wait(state).expect("nothing panics while it holds the queue");
        }
    }

    /// Lets the threads that wait end when the queue is empty.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.filled.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nothing panics while it holds the queue")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_put_is_taken_once_and_closing_ends_the_takers() {
        let queue = Queue::default();
        let (taken, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(item) = queue.take() {
                        taken.fetch_add(1, Ordering::Relaxed);
                        sum.fetch_add(item, Ordering::Relaxed);
                    }
                });
            }
            (1..=10_000).for_each(|item| queue.put(item));
            queue.close();
        });
        assert_eq!(taken.into_inner(), 10_000);
        assert_eq!(sum.into_inner(), 10_000 * 10_001 / 2);
    }
}
