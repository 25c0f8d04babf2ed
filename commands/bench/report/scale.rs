//! From values to places along an axis, and the values that are worth a mark. Pure arithmetic.

use super::text::number;

/// One axis of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub(super) is_logarithmic: bool,
    /// Values with their labels.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Marks that an axis has room for.
const TICKS_MAX: f64 = 6.0;
/// Decades of a logarithmic axis between which there is room for 2 and 5.
const FINE_DECADES: i32 = 3;

impl Axis {
    /// From 0 to a little above the highest value.
    pub(super) fn linear(highest: f64) -> Axis {
        let highest = if highest > 0.0 && highest.is_finite() { highest } else { 1.0 };
        let step = nice_step(highest / TICKS_MAX);
        let high = (highest / step - 1e-9).ceil() * step;
        let count = (high / step).round() as u32;
        let label = |tick: f64| if tick == 0.0 { "0".to_owned() } else { plain(tick, step) };
        let ticks = (0..=count).map(|at| f64::from(at) * step).map(|t| (t, label(t))).collect();
        Axis { low: 0.0, high, is_logarithmic: false, ticks }
    }

    /// Time from the start to the end of the longest run, in seconds.
    pub(super) fn time(end_s: f64) -> Axis {
        let mut axis = Axis::linear(end_s);
        axis.high = within(end_s, 1.0, 1e9);
        axis.ticks.retain(|(tick, _)| *tick <= axis.high);
        axis
    }

    /// All values, which are above 0, by their logarithms.
    pub(super) fn logarithmic(lowest: f64, highest: f64) -> Axis {
        let lowest = within(lowest, 1e-4, 1e9);
        let highest = within(highest, lowest * 1.01, 1e10);
        let (first, last) = (lowest.log10().floor() as i32, highest.log10().ceil() as i32);
        let steps: &[f64] = if last - first <= FINE_DECADES { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = (first..=last).flat_map(|d| steps.iter().map(move |s| s * 10_f64.powi(d)));
        let all: Vec<f64> = all.collect();
        // The nearest marks around the values are the ends.
        let low = all.iter().copied().rfind(|tick| *tick <= lowest * 1.000_1).unwrap_or(lowest);
        let high = all.iter().copied().find(|tick| *tick >= highest * 0.999_9);
        let high = high.unwrap_or(highest).max(low * 2.0);
        let ticks = all.into_iter().filter(|tick| (low..=high).contains(tick));
        let ticks = ticks.map(|tick| (tick, short(tick))).collect();
        Axis { low, high, is_logarithmic: true, ticks }
    }

    /// Quantiles by how many of so many are beyond: 90 %, 99 %, 99.9 % are equally far apart.
    pub(super) fn quantiles(beyond_max: f64) -> Axis {
        let high = beyond_max.max(100.0).log10().min(9.0);
        let label = |nines: usize| match nines {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            more => format!("99.{} %", "9".repeat(more - 2)),
        };
        let ticks = (0..=high as usize).map(|nines| (10_f64.powi(nines as i32), label(nines)));
        Axis { low: 1.0, high: 10_f64.powf(high), is_logarithmic: true, ticks: ticks.collect() }
    }

    /// Where a value is, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.is_logarithmic {
            let value = value.max(f64::MIN_POSITIVE);
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.clamp(0.0, 1.0)
    }
}

/// The nearest value between the two; the lower one for what is no number.
fn within(value: f64, low: f64, high: f64) -> f64 {
    if value > low { value.min(high) } else { low }
}

/// The next of 1, 2, 5, 10, 20 …
fn nice_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * decade >= least * 0.999_999);
    step.unwrap_or(10.0) * decade
}

/// A tick, as exact as its step.
fn plain(tick: f64, step: f64) -> String {
    if step >= 1.0 {
        return if tick >= 1_000.0 { number(tick) } else { format!("{tick:.0}") };
    }
    let digits = (-step.log10().floor()) as usize;
    format!("{tick:.digits$}")
}

/// 1, 0.05, 20: without zeros that say nothing.
fn short(tick: f64) -> String {
    if tick >= 1_000.0 { number(tick) } else { format!("{}", (tick * 1e6).round() / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| &**label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        assert_eq!(labels(&Axis::linear(487.0)), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(labels(&Axis::linear(0.9)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::linear(0.0)).len(), 6, "nothing at all has an axis, too");
        assert_eq!(labels(&Axis::time(10.0)), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::logarithmic(0.3, 7.0)), ["0.2", "0.5", "1", "2", "5", "10"]);
        assert_eq!(
            labels(&Axis::logarithmic(0.03, 700.0)),
            ["0.01", "0.1", "1", "10", "100", "1\u{202F}000"]
        );
        assert_eq!(
            labels(&Axis::quantiles(20_000.0)),
            ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
    }

    #[test]
    fn a_value_has_its_place_between_the_ends() {
        assert!((Axis::linear(10.0).place(5.0) - 0.5).abs() < 1e-9);
        let quantiles = Axis::quantiles(10_000.0);
        assert!((quantiles.place(100.0) - 0.5).abs() < 1e-9, "99 % of 99.99 %");
        let logarithmic = Axis::logarithmic(1.0, 100.0);
        assert!((logarithmic.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!((logarithmic.place(0.0), logarithmic.place(1e9)), (0.0, 1.0));
    }

    #[test]
    fn extreme_values_do_no_harm() {
        for value in [0.0, 1e-300, 1e300, f64::INFINITY, f64::NAN] {
            for axis in [Axis::linear(value), Axis::logarithmic(value, value), Axis::time(value)] {
                assert!(axis.ticks.len() < 40, "{value}: {axis:?}");
            }
        }
    }
}
