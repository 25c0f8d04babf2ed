//! What one thread of a run counts, and how the threads' counts become one. Intervals are seconds
//! since counting started.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::latency::{CurvePoint, Latencies, QUANTILE_FIELDS, Quantiles};
use super::live::Live;
use super::plan::Turn;
use crate::fields::Field;

/// Length of an interval.
const INTERVAL: Duration = Duration::from_secs(1);
/// Intervals that are kept apart; what comes later goes into the last.
const INTERVALS_MAX: usize = 3_600;

/// Counts of one thread.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    last: Instant,
    total: Count,
    intervals: Vec<Count>,
    errors: u64,
    first_error: Option<String>,
    /// For whoever watches; warm-up counts, too.
    live: Option<Arc<Live>>,
}

#[derive(Clone, Debug)]
struct Count {
    records: u64,
    bytes: u64,
    latencies: Latencies,
}

/// One second, as results give it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Interval {
    pub(super) start_s: f64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) mb_per_s: f64,
    pub(super) latency_ms: Quantiles,
    /// Of the broker, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerSecond>,
}

/// What the broker spent in one second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerSecond {
    pub(super) cpu_s: f64,
    /// Resident at its end.
    pub(super) rss_bytes: u64,
}

/// A second of the run as programs read it.
pub(super) const INTERVAL_FIELDS: &[Field] = &[
    Field::number("start_s", "When it began, from when counting started.").unit("seconds"),
    Field::integer("records", "Records in it."),
    Field::integer("bytes", "Their keys and values.").unit("bytes"),
    Field::number("mb_per_s", "The same as a rate.").unit("10^6 bytes a second"),
    Field::object("latency_ms", "Latencies in it.", QUANTILE_FIELDS),
    Field::object("server", "What the broker spent, if that is known.", SECOND_FIELDS).optional(),
];

const SECOND_FIELDS: &[Field] = &[
    Field::number("cpu_s", "CPU time.").unit("seconds"),
    Field::integer("rss_bytes", "Resident memory at the end of the second.").unit("bytes"),
];

/// What all threads counted together.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) latency: Quantiles,
    /// How many latencies there are, and their distribution.
    pub(super) latencies: u64,
    pub(super) curve: Vec<CurvePoint>,
    pub(super) intervals: Vec<Interval>,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl Count {
    fn new(latencies: Latencies) -> Count {
        Count { records: 0, bytes: 0, latencies }
    }

    fn add(&mut self, records: u64, bytes: u64, latency: Duration) {
        self.records += records;
        self.bytes += bytes;
        self.latencies.record(latency);
    }

    fn merge(&mut self, other: &Count) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.latencies.merge(&other.latencies);
    }
}

impl Recorder {
    /// Nothing counted; counting starts at this time. Whoever watches is told at once.
    pub(super) fn new(start: Instant, live: Option<Arc<Live>>) -> Recorder {
        Recorder {
            start,
            last: start,
            total: Count::new(Latencies::new()),
            intervals: Vec::new(),
            errors: 0,
            first_error: None,
            live,
        }
    }

    /// Something was done.
    pub(super) fn done(
        &mut self,
        turn: Turn,
        now: Instant,
        latency: Duration,
        (records, bytes): (u64, u64),
    ) {
        if let Some(live) = &self.live {
            live.add(records, bytes, latency);
        }
        if turn == Turn::Warm {
            return;
        }
        self.last = self.last.max(now);
        self.total.add(records, bytes, latency);
        let since = now.saturating_duration_since(self.start);
        let at = (since.as_secs() / INTERVAL.as_secs()) as usize;
        self.interval(at.min(INTERVALS_MAX - 1)).add(records, bytes, latency);
    }

    /// Something was done or failed, as `ended` says. Whether it went well.
    pub(super) fn ended(
        &mut self,
        turn: Turn,
        now: Instant,
        latency: Duration,
        amount: (u64, u64),
        ended: &Result<(), impl Display>,
    ) -> bool {
        match ended {
            Ok(()) => self.done(turn, now, latency, amount),
            Err(error) => self.failed(1, || format!("{error:#}")),
        }
        ended.is_ok()
    }

    /// Something failed, warm-up or not.
    pub(super) fn failed(&mut self, count: u64, error: impl FnOnce() -> String) {
        self.errors += count;
        self.first_error.get_or_insert_with(error);
    }

    fn interval(&mut self, at: usize) -> &mut Count {
        if at >= self.intervals.len() {
            self.intervals.resize(at + 1, Count::new(Latencies::coarse()));
        }
        &mut self.intervals[at]
    }

    /// Adds what another thread of the same run counted.
    pub(super) fn merge(&mut self, other: Recorder) {
        self.last = self.last.max(other.last);
        self.total.merge(&other.total);
        for (at, count) in other.intervals.iter().enumerate() {
            self.interval(at).merge(count);
        }
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// The sums.
    pub(super) fn finish(self) -> Counts {
        let elapsed = self.last - self.start;
        let interval = |(at, count): (usize, &Count)| {
            let start = INTERVAL * at as u32;
            let length = elapsed.saturating_sub(start).min(INTERVAL).as_secs_f64();
            Interval {
                start_s: start.as_secs_f64(),
                records: count.records,
                bytes: count.bytes,
                mb_per_s: count.bytes as f64 / 1e6 / length.max(1e-3),
                latency_ms: count.latencies.quantiles(),
                server: None,
            }
        };
        Counts {
            records: self.total.records,
            bytes: self.total.bytes,
            elapsed,
            latency: self.total.latencies.quantiles(),
            latencies: self.total.latencies.count(),
            curve: self.total.latencies.curve(),
            intervals: self.intervals.iter().enumerate().map(interval).collect(),
            errors: self.errors,
            first_error: self.first_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_adds_up_and_warm_up_does_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let latency = Duration::from_millis(3);
        let (mut one, mut two) = (Recorder::new(start, None), Recorder::new(start, None));
        one.done(Turn::Warm, at(0), latency, (1, 1));
        one.done(Turn::Counted, at(500), latency, (10, 1_000_000));
        two.done(Turn::Counted, at(1_500), latency, (20, 2_000_000));
        two.failed(1, || "refused".to_owned());
        one.merge(two);
        let counts = one.finish();
        assert_eq!((counts.records, counts.bytes, counts.errors), (30, 3_000_000, 1));
        assert_eq!(counts.elapsed, Duration::from_millis(1_500));
        let rates: Vec<f64> = counts.intervals.iter().map(|i| i.mb_per_s).collect();
        assert_eq!(rates, [1.0, 4.0], "the last interval is only half a second long");
        assert_eq!(counts.first_error.as_deref(), Some("refused"));
    }
}
