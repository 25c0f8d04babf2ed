//! Latencies as histograms, and the quantiles that results give of them. Counted in microseconds;
//! no clock is read here.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::fields::Field;

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

/// Quantiles as programs read them.
pub(super) const QUANTILE_FIELDS: &[Field] = &[
    Field::number("mean", "The mean.").unit("milliseconds"),
    Field::number("p50", "The median.").unit("milliseconds"),
    Field::number("p90", "What 90 % do not exceed.").unit("milliseconds"),
    Field::number("p95", "What 95 % do not exceed.").unit("milliseconds"),
    Field::number("p99", "What 99 % do not exceed.").unit("milliseconds"),
    Field::number("p999", "What 99.9 % do not exceed.").unit("milliseconds"),
    Field::number("p9999", "What 99.99 % do not exceed.").unit("milliseconds"),
    Field::number("max", "The longest.").unit("milliseconds"),
];

/// A point of the distribution as programs read it.
pub(super) const CURVE_FIELDS: &[Field] = &[
    Field::number("quantile", "Share of the latencies, from 0 to 1."),
    Field::number("ms", "What they do not exceed.").unit("milliseconds"),
];

/// One point of the distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CurvePoint {
    /// From 0 to 1.
    pub(super) quantile: f64,
    pub(super) ms: f64,
}

/// Points of the distribution for each factor of ten by which fewer latencies are beyond.
const CURVE_STEPS: i32 = 8;

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

    /// How many were counted.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The distribution up to the quantile that a single one is beyond, and the highest; empty when
    /// nothing was counted.
    pub(super) fn curve(&self) -> Vec<CurvePoint> {
        let count = self.0.len() as f64;
        let quantiles =
            (0..).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / f64::from(CURVE_STEPS)));
        let quantiles = quantiles.take_while(|quantile| (1.0 - quantile) * count >= 1.0);
        let highest = (count > 0.0).then_some(1.0);
        let point = |quantile| {
            let micros = self.0.value_at_quantile(quantile).min(self.0.max());
            CurvePoint { quantile, ms: micros as f64 / 1_000.0 }
        };
        quantiles.chain(highest).map(point).collect()
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
        let curve = all.curve();
        assert_eq!(curve.len(), 2 * CURVE_STEPS as usize + 2, "up to 99 %, and the highest");
        let ends = (curve[0], curve[curve.len() - 1]);
        assert_eq!((ends.0.quantile, ends.1.quantile), (0.0, 1.0));
        assert!((ends.0.ms - 1.0).abs() < 0.1 && (ends.1.ms - 100.0).abs() < 0.1, "{ends:?}");
        assert!(curve.is_sorted_by(|a, b| a.quantile < b.quantile && a.ms <= b.ms), "{curve:?}");
        assert!(Latencies::new().curve().is_empty());
        all.record(Duration::MAX);
        assert!(all.quantiles().max > 3_500_000.0);
    }
}
