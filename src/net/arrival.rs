//! How long the frame at the front of a connection takes to arrive. Only the time counts in which
//! this side was reading: what a peer has to wait for is not its fault, and buys it no more time
//! either. Knows moments and bytes, not why reading pauses.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// The frame that is arriving.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    frame: Watch,
    /// Since it holds the room that others wait for, which gives it less time.
    reserve: Watch,
}

/// Time that is waited for bytes, in pieces.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes that were there when it was first waited for more; `None` before.
    before: Option<usize>,
    /// Since when it is waited without a pause, while it is.
    since: Option<Instant>,
    /// What was waited before that.
    waited: Duration,
}

impl Arrival {
    /// More of the frame could be read and is not there; `received` is.
    pub(super) fn wait(&mut self, now: Instant, received: usize, holds_reserve: bool) {
        self.frame.wait(now, received);
        if holds_reserve {
            self.reserve.wait(now, received);
        }
    }

    /// Nothing is read for now.
    pub(super) fn pause(&mut self, now: Instant) {
        self.frame.pause(now);
        self.reserve.pause(now);
    }

    /// When more of the frame must be there, as long as it is waited for. Who announces much and
    /// sends little gets no more time for it.
    pub(super) fn deadline(&self, received: usize) -> Option<Instant> {
        let frame = self.frame.deadline(received, limits::FRAME_ARRIVAL_MS_MAX);
        let reserve = self.reserve.deadline(received, limits::FRAME_ARRIVAL_RESERVE_MS_MAX);
        frame.into_iter().chain(reserve).min()
    }
}

impl Watch {
    fn wait(&mut self, now: Instant, received: usize) {
        self.before.get_or_insert(received);
        self.since.get_or_insert(now);
    }

    fn pause(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.duration_since(since);
        }
    }

    fn deadline(&self, received: usize, patience_ms: u64) -> Option<Instant> {
        let came = received.saturating_sub(self.before?) as u64;
        let earned_ms = 1_000 * came / limits::FRAME_ARRIVAL_BYTES_PER_SECOND_MIN as u64;
        let allowed = Duration::from_millis(patience_ms + earned_ms);
        Some(self.since? + allowed.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_millis(limits::FRAME_ARRIVAL_MS_MAX);
    const RESERVE: Duration = Duration::from_millis(limits::FRAME_ARRIVAL_RESERVE_MS_MAX);
    const PER_SECOND: usize = limits::FRAME_ARRIVAL_BYTES_PER_SECOND_MIN;

    #[test]
    fn a_pause_costs_the_peer_no_time_and_gives_it_none() {
        let start = Instant::now();
        let mut arrival = Arrival::default();
        assert_eq!(arrival.deadline(0), None, "nothing is waited for");
        arrival.wait(start, 100, false);
        assert_eq!(arrival.deadline(100), Some(start + PATIENCE));
        arrival.pause(start + 20 * SECOND);
        arrival.pause(start + 100 * SECOND);
        assert_eq!(arrival.deadline(100), None, "it is not the peer that is waited for");
        arrival.wait(start + 500 * SECOND, 200, false);
        arrival.wait(start + 503 * SECOND, 200, false);
        assert_eq!(arrival.deadline(200), Some(start + 480 * SECOND + PATIENCE));
        let earned = arrival.deadline(100 + 7 * PER_SECOND);
        assert_eq!(earned, Some(start + 487 * SECOND + PATIENCE));
    }

    #[test]
    fn the_time_with_the_reserve_is_counted_from_when_it_was_given() {
        let start = Instant::now();
        let mut arrival = Arrival::default();
        arrival.wait(start, 100, false);
        arrival.pause(start + 20 * SECOND);
        arrival.wait(start + 20 * SECOND, 100, true);
        assert_eq!(arrival.deadline(100), Some(start + 20 * SECOND + RESERVE));
        arrival.wait(start + 24 * SECOND, 100 + 2 * PER_SECOND, true);
        let earned = arrival.deadline(100 + 2 * PER_SECOND);
        assert_eq!(earned, Some(start + 22 * SECOND + RESERVE));
        let sooner = arrival.deadline(100 + 20 * PER_SECOND).expect("waited for");
        assert_eq!(sooner, start + 40 * SECOND + RESERVE, "the reserve ends first");
    }
}
