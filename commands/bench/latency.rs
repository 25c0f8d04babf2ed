//! Latencies as histograms, and the quantiles that results give of them. Counted in microseconds;
//! no clock is read here.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const LONGEST: Duration = Duration::from_secs(3_600);

/// Latencies with three significant digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Quantiles {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) p9999: f64,
    pub(super) max: f64,
}

impl Latencies {
    /// None yet, to be kept with three digits.
    pub(super) fn new() -> Latencies {
        Latencies::with_digits(3)
    }

    /// None yet, to be kept with two digits, which take an eighth of the memory.
    pub(super) fn coarse() -> Latencies {
        Latencies::with_digits(2)
    }

    fn with_digits(digits: u8) -> Latencies {
        Latencies(Histogram::new(digits).expect("two and three digits are possible"))
    }

    /// Counts one; what is longer than an hour counts as an hour.
    pub(super) fn record(&mut self, latency: Duration) {
        let micros = latency.min(LONGEST).as_micros() as u64;
        self.0.record(micros).expect("a histogram that resizes takes an hour");
    }

    /// Counts all of `other`.
    pub(super) fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("a histogram that resizes takes any other");
    }

    /// The quantiles; all zero when nothing was counted.
    pub(super) fn quantiles(&self) -> Quantiles {
        if self.0.is_empty() {
            return Quantiles::default();
        }
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile).min(self.0.max()));
        Quantiles {
            mean: self.0.mean().round() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.999_9),
            max: ms(self.0.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_milliseconds_and_survive_merging() {
        let (mut low, mut all) = (Latencies::new(), Latencies::new());
        assert_eq!(all.quantiles(), Quantiles::default());
        (1..=50).for_each(|ms| low.record(Duration::from_millis(ms)));
        (51..=100).for_each(|ms| all.record(Duration::from_millis(ms)));
        all.merge(&low);
        let quantiles = all.quantiles();
        assert!((quantiles.p50 - 50.0).abs() < 0.1, "{quantiles:?}");
        assert!((quantiles.p99 - 99.0).abs() < 0.1, "{quantiles:?}");
        assert!((quantiles.mean - 50.5).abs() < 0.1, "{quantiles:?}");
        assert!((quantiles.max - 100.0).abs() < 0.1, "{quantiles:?}");
        all.record(Duration::MAX);
        assert!(all.quantiles().max > 3_500_000.0);
    }
}
