//! When a run warms up, when it counts and when it ends. Reads no clock: whoever asks brings the
//! time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use rivvend::config::Value as _;

use super::stop;
use crate::settings::value;

const DURATION_DEFAULT: Duration = Duration::from_secs(10);
const WARM_UP_DEFAULT: Duration = Duration::from_secs(1);
/// Nobody waits for longer, and sums of such times are still times.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How long a run lasts.
#[derive(Args, Clone, Debug)]
pub(super) struct PlanArgs {
    /// Records to count, over all clients [default: as many as --duration allows]
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// How long to count [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = counted_time, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// How long to run before counting [default: 1s; 0s with --records]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    warmup: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = value::<Duration>(text)?;
    if time > TIME_MAX { Err("is longer than 365d".to_owned()) } else { Ok(time) }
}

fn counted_time(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.is_zero() { Err("is no time to count anything".to_owned()) } else { Ok(time) }
}

impl PlanArgs {
    /// The plan of a run that begins now.
    pub(super) fn plan(&self, begin: Instant) -> Plan {
        let warmup = match self.records {
            Some(_) => self.warmup.unwrap_or_default(),
            None => self.warmup.unwrap_or(WARM_UP_DEFAULT),
        };
        let start = begin + warmup;
        let end = match self.records {
            Some(_) => None,
            None => Some(start + self.duration.unwrap_or(DURATION_DEFAULT)),
        };
        let left = self.records.map(|records| i64::try_from(records).unwrap_or(i64::MAX));
        let left = left.map(AtomicI64::new);
        Plan { begin, start, end, records: self.records.unwrap_or(0), left }
    }

    /// The plan in words, for the result.
    pub(super) fn describe(&self) -> String {
        match self.records {
            Some(records) => format!("{records} records"),
            None => self.duration.unwrap_or(DURATION_DEFAULT).write(),
        }
    }
}

/// Whether what a client does next is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It only warms up.
    Warm,
    /// It counts.
    Counted,
}

/// The plan of one run, shared by all its clients.
#[derive(Debug)]
pub(super) struct Plan {
    /// When clients begin to send.
    pub(super) begin: Instant,
    /// When counting starts.
    pub(super) start: Instant,
    /// When it ends, if that is a matter of time.
    pub(super) end: Option<Instant>,
    /// Records to count …
    records: u64,
    /// … and those that are still to be counted, if it is a matter of those.
    left: Option<AtomicI64>,
}

impl Plan {
    /// Whether a client goes on at this time, with so many records.
    pub(super) fn claim(&self, now: Instant, records: u64) -> Option<Turn> {
        if stop::requested() {
            return None;
        }
        if now < self.start {
            return Some(Turn::Warm);
        }
        if self.end.is_some_and(|end| now >= end) {
            return None;
        }
        match &self.left {
            Some(left) if left.fetch_sub(records as i64, Ordering::Relaxed) <= 0 => None,
            _ => Some(Turn::Counted),
        }
    }

    /// Takes off records of which nobody knew beforehand that they would come.
    pub(super) fn spend(&self, turn: Turn, records: u64) {
        if let (Turn::Counted, Some(left)) = (turn, &self.left) {
            left.fetch_sub(records as i64, Ordering::Relaxed);
        }
    }

    /// How much of it is done, of how much: milliseconds, or records where it is a matter of those.
    pub(super) fn progress(&self, now: Instant) -> (u64, u64) {
        if let Some(left) = &self.left {
            let left = left.load(Ordering::Relaxed).max(0) as u64;
            return (self.records.saturating_sub(left), self.records);
        }
        let ms = |time: Instant| time.saturating_duration_since(self.begin).as_millis() as u64;
        let end = self.end.map_or(0, ms);
        (ms(now).min(end), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(records: Option<u64>, warmup: Duration) -> PlanArgs {
        PlanArgs { records, duration: Some(Duration::from_secs(5)), warmup: Some(warmup) }
    }

    #[test]
    fn warm_up_counts_nothing_and_the_end_is_in_time_or_in_records() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let plan = args(None, second).plan(begin);
        assert_eq!(plan.claim(begin, 1), Some(Turn::Warm));
        assert_eq!(plan.claim(begin + second, 1), Some(Turn::Counted));
        assert_eq!(plan.claim(begin + second * 6, 1), None);
        let plan = args(Some(25), second).plan(begin);
        assert_eq!(plan.claim(begin, 10), Some(Turn::Warm));
        let turns = std::iter::from_fn(|| plan.claim(begin + second * 100, 10));
        assert_eq!(plan.progress(begin), (0, 25));
        assert_eq!(turns.count(), 3, "the last batch may go beyond");
        assert_eq!(plan.progress(begin), (25, 25));
        let plan = args(None, second).plan(begin);
        assert_eq!(plan.progress(begin + second * 2), (2_000, 6_000));
        assert_eq!(plan.progress(begin + second * 9), (6_000, 6_000));
    }
}
