//! What a run does at the moment, for whoever watches it. All threads add to it without waiting for
//! each other; a look takes what was added since the last one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of each power of two: a latency is known to 6 %.
const STEPS_BITS: u32 = 4;
const STEPS: u64 = 1 << STEPS_BITS;
/// Up to an hour, in microseconds; what takes longer is in the last one.
const BUCKETS: usize = 29 * STEPS as usize;

/// Counts since the last look.
#[derive(Debug)]
pub(super) struct Live {
    records: AtomicU64,
    bytes: AtomicU64,
    latencies: Vec<AtomicU64>,
}

/// What was seen in one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// The 99th percentile; zero when nothing ended.
    pub(super) p99: Duration,
}

impl Live {
    pub(super) fn new() -> Live {
        let latencies = std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        Live { records: AtomicU64::new(0), bytes: AtomicU64::new(0), latencies }
    }

    /// Something was done.
    pub(super) fn add(&self, records: u64, bytes: u64, latency: Duration) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.latencies[bucket(latency)].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was added since the last look.
    pub(super) fn look(&self) -> Look {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let counts: Vec<u64> = self.latencies.iter().map(take).collect();
        let beyond = counts.iter().sum::<u64>() / 100;
        let mut above = 0;
        let p99 = counts.iter().enumerate().rev().find(|(_, count)| {
            above += **count;
            above > beyond
        });
        let p99 = p99.map_or(Duration::ZERO, |(bucket, _)| highest(bucket));
        Look { records: take(&self.records), bytes: take(&self.bytes), p99 }
    }
}

/// Where a latency is counted. The first buckets are microseconds; from there on each power of two
/// has its steps.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    let at = u64::from(shift) * STEPS + (micros >> shift);
    (at as usize).min(BUCKETS - 1)
}

/// The longest latency of a bucket.
fn highest(bucket: usize) -> Duration {
    let at = bucket as u64;
    let shift = (at / STEPS).saturating_sub(1);
    let step = at - shift * STEPS;
    Duration::from_micros(((step + 1) << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_known_to_six_percent_and_never_too_low() {
        for micros in (0..100_000).chain([1 << 20, 987_654_321, 3_599_999_999]) {
            let latency = Duration::from_micros(micros);
            let shown = highest(bucket(latency)).as_micros() as f64;
            let micros = micros as f64;
            assert!(shown >= micros && shown <= micros * 1.07, "{micros}: {shown}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_look_takes_what_was_added_since_the_last() {
        let live = Live::new();
        assert_eq!(live.look(), Look { records: 0, bytes: 0, p99: Duration::ZERO });
        (0..98).for_each(|_| live.add(10, 100, Duration::from_micros(3)));
        (0..2).for_each(|_| live.add(10, 100, Duration::from_micros(9)));
        let look = live.look();
        assert_eq!(look, Look { records: 1_000, bytes: 10_000, p99: Duration::from_micros(9) });
        assert_eq!(live.look().records, 0);
    }
}
