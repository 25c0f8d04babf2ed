//! How sure one can be of a ratio. Pure arithmetic on what runs have measured.
//!
//! Figures of speed differ by factors, so all work is on logarithms: the estimate is the ratio of
//! geometric means, and its noise a confidence interval of 99 %, by Student's t. Of equal builds
//! one figure in a hundred looks different by chance. What varies independently decides the method:
//!
//! * *Pairs*: five runs of each side or more, that alternate in time. The ratios of neighbours are
//!   tested against 1, so that a machine that becomes slower does not matter.
//! * *Runs*: three runs of each side or more. Welch's test, since the sides need not be equally
//!   noisy.
//! * *Intervals*: fewer runs. The seconds within the runs by Welch's test, with fewer degrees of
//!   freedom where seconds resemble their neighbours (autocorrelation of lag 1). How much runs
//!   differ among themselves can not be seen then; half of what seconds do is assumed on top, and
//!   2 % at least. On a machine that others use it may be more: such verdicts are marked.
//!
//! A rank test assumes less, but needs eight runs of a side before it can tell anything at this
//! level with several figures; five is what people have patience for.

use serde::Serialize;

/// Runs of each side that make pairs.
pub(super) const PAIRS_MIN: usize = 5;
/// Runs of each side that show how runs differ.
pub(super) const RUNS_MIN: usize = 3;
/// Seconds of each side that make up for too few runs.
pub(super) const INTERVALS_MIN: usize = 5;
/// What runs are assumed to differ among themselves, where there are too few to see it: so much at
/// least, and this share of what their seconds do.
const BETWEEN_RUNS_MIN: f64 = 0.02;
const BETWEEN_RUNS: f64 = 0.5;
/// Seconds that are even more alike hold as little news as these.
const CORRELATION_MAX: f64 = 0.9;

/// What was compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Basis {
    Pairs,
    Runs,
    Intervals,
}

/// One figure of one run.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Over the whole run.
    pub(super) value: f64,
    /// Second by second, in order; may be empty.
    pub(super) seconds: Vec<f64>,
}

/// A ratio of B to A.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) basis: Basis,
    /// Ends of the interval of confidence.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Standard deviations, as a share, between what the method compares.
    pub(super) noise_a: f64,
    pub(super) noise_b: f64,
}

/// A mean on the logarithmic scale and what it is worth.
#[derive(Clone, Copy, Debug)]
struct Mean {
    value: f64,
    /// Standard deviation of what it is the mean of.
    deviation: f64,
    /// Square of the standard error.
    variance: f64,
    freedom: f64,
}

/// Compares two sides, given in the order of time when `alternate` says that they are pairs. `None`
/// when there is too little to tell how noisy they are.
pub(super) fn compare(a: &[Sample], b: &[Sample], alternate: bool) -> Option<Estimate> {
    if alternate && a.len() == b.len() && a.len() >= PAIRS_MIN {
        return Some(pairs(a, b));
    }
    let enough = |side: &[Sample]| side.len() >= RUNS_MIN;
    let (basis, a, b) = if enough(a) && enough(b) {
        (Basis::Runs, of_runs(a), of_runs(b))
    } else {
        (Basis::Intervals, of_seconds(a)?, of_seconds(b)?)
    };
    let between = match basis {
        Basis::Intervals => assumed(&a) + assumed(&b),
        _ => 0.0,
    };
    let variance = a.mean.variance + b.mean.variance;
    // Welch and Satterthwaite; what is assumed is known exactly.
    let total = variance + between;
    let freedom = total * total
        / [a.mean, b.mean].iter().map(|m| m.variance * m.variance / m.freedom).sum::<f64>();
    Some(estimate(basis, b.mean.value - a.mean.value, total, freedom, (&a.mean, &b.mean)))
}

/// A side and how many runs it is the mean of.
struct Side {
    mean: Mean,
    runs: usize,
}

fn assumed(side: &Side) -> f64 {
    let between = BETWEEN_RUNS_MIN.max(BETWEEN_RUNS * side.mean.deviation);
    between * between / side.runs as f64
}

fn estimate(
    basis: Basis,
    difference: f64,
    variance: f64,
    freedom: f64,
    (a, b): (&Mean, &Mean),
) -> Estimate {
    let reach = variance.sqrt() * student(freedom);
    Estimate {
        basis,
        low: (difference - reach).exp(),
        high: (difference + reach).exp(),
        noise_a: a.deviation,
        noise_b: b.deviation,
    }
}

fn pairs(a: &[Sample], b: &[Sample]) -> Estimate {
    let logs = |side: &[Sample]| -> Vec<f64> { side.iter().map(|s| s.value.ln()).collect() };
    let (a, b) = (logs(a), logs(b));
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let mean = Mean::of(&differences);
    let sides = (&Mean::of(&a), &Mean::of(&b));
    estimate(Basis::Pairs, mean.value, mean.variance, mean.freedom, sides)
}

fn of_runs(side: &[Sample]) -> Side {
    let logs: Vec<f64> = side.iter().map(|sample| sample.value.ln()).collect();
    Side { mean: Mean::of(&logs), runs: side.len() }
}

/// The runs of a side, each as noisy as its seconds say.
fn of_seconds(side: &[Sample]) -> Option<Side> {
    if side.iter().map(|sample| sample.seconds.len()).sum::<usize>() < INTERVALS_MIN {
        return None;
    }
    let runs = side.len() as f64;
    let each: Vec<Mean> =
        side.iter().filter_map(|sample| Mean::of_series(&sample.seconds)).collect();
    if each.len() < side.len() {
        return None;
    }
    let mean = |of: fn(&Mean) -> f64| each.iter().map(of).sum::<f64>() / runs;
    let mean = Mean {
        value: side.iter().map(|sample| sample.value.ln()).sum::<f64>() / runs,
        deviation: mean(|m| m.deviation),
        variance: mean(|m| m.variance) / runs,
        freedom: each.iter().map(|m| m.freedom).sum(),
    };
    Some(Side { mean, runs: side.len() })
}

impl Mean {
    /// Of values that do not depend on each other; at least two.
    fn of(values: &[f64]) -> Mean {
        let count = values.len() as f64;
        let value = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|v| (v - value).powi(2)).sum();
        let freedom = count - 1.0;
        let variance = squares / freedom;
        Mean { value, deviation: variance.sqrt(), variance: variance / count, freedom }
    }

    /// Of seconds that follow each other, as shares of their mean: a second in which nothing went
    /// has no logarithm. `None` for a series that is too short or all zero.
    fn of_series(values: &[f64]) -> Option<Mean> {
        let plain = Mean::of(values);
        if values.len() < 2 || plain.value <= 0.0 {
            return None;
        }
        let shares: Vec<f64> = values.iter().map(|v| v / plain.value).collect();
        let mean = Mean::of(&shares);
        let correlation = correlation(&shares).clamp(0.0, CORRELATION_MAX);
        let count = values.len() as f64 * (1.0 - correlation) / (1.0 + correlation);
        let (variance, freedom) = (mean.deviation.powi(2) / count, (count - 1.0).max(1.0));
        Some(Mean { variance, freedom, ..mean })
    }
}

/// Autocorrelation of lag 1; 0 where nothing varies.
fn correlation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let products: f64 = values.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
    if squares > 0.0 { products / squares } else { 0.0 }
}

/// Student's t for an interval of 99 % on both sides. Between whole degrees of freedom, of which
/// Welch's are no multiple, it is nearly linear in their reciprocals.
fn student(freedom: f64) -> f64 {
    const TABLE: [f64; 30] = [
        63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012,
        2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787, 2.779,
        2.771, 2.763, 2.756, 2.750,
    ];
    const NORMAL: f64 = 2.575_829;
    if !freedom.is_finite() {
        return NORMAL;
    }
    let whole = freedom.max(1.0).floor();
    if let Some([low, high]) = TABLE.get(whole as usize - 1..=whole as usize) {
        let way = (1.0 / whole - 1.0 / freedom.max(1.0)) / (1.0 / whole - 1.0 / (whole + 1.0));
        return low + (high - low) * way;
    }
    // The first terms of Cornish and Fisher; three digits are right from here on.
    let [z, z3, z5] = [1, 3, 5].map(|power| NORMAL.powi(power));
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * freedom * freedom);
    z + (z3 + z) / (4.0 * freedom) + second
}

#[cfg(test)]
mod tests {
    use super::*;
    use rivvend::random::Random;

    /// Normally distributed, near enough: the sum of twelve uniform numbers.
    fn normal(random: &mut Random) -> f64 {
        (0..12).map(|_| random.below(1 << 32) as f64 / (1_u64 << 32) as f64).sum::<f64>() - 6.0
    }

    /// Runs of 20 s around `level`, which differ by `between` and their seconds by `within`.
    fn runs(
        random: &mut Random,
        count: usize,
        level: f64,
        between: f64,
        within: f64,
    ) -> Vec<Sample> {
        let run = |_| {
            let level = level * (between * normal(random)).exp();
            let second = |random: &mut Random| level * (1.0 + within * normal(random));
            let seconds: Vec<f64> = (0..20).map(|_| second(random)).collect();
            Sample { value: seconds.iter().sum::<f64>() / 20.0, seconds }
        };
        (0..count).map(run).collect()
    }

    /// In how many of 1,000 trials a difference was seen.
    fn seen(count: usize, factor: f64, between: f64, within: f64, alternate: bool) -> usize {
        let mut random = Random::new(7);
        let trial = |_| {
            let a = runs(&mut random, count, 500.0, between, within);
            let b = runs(&mut random, count, 500.0 * factor, between, within);
            let found = compare(&a, &b, alternate).expect("enough");
            found.low > 1.0 || found.high < 1.0
        };
        (0..1_000).map(trial).filter(|seen| *seen).count()
    }

    /// A run compared with itself.
    fn same(sample: &Sample) -> Option<Estimate> {
        let one = std::slice::from_ref(sample);
        compare(one, one, false)
    }

    #[test]
    fn equal_builds_look_different_once_in_a_hundred_times_at_most() {
        for (count, alternate) in [(1, false), (2, false), (3, false), (5, false), (5, true)] {
            let seen = seen(count, 1.0, 0.02, 0.05, alternate);
            assert!(seen <= 20, "{count} runs, alternating {alternate}: {seen} of 1000");
        }
    }

    #[test]
    fn a_slowdown_of_ten_percent_is_seen_where_the_noise_allows() {
        assert!(seen(1, 0.9, 0.005, 0.03, false) > 950, "one run of each");
        assert!(seen(3, 0.9, 0.01, 0.05, false) > 750, "three runs of each");
        assert!(seen(5, 0.9, 0.02, 0.05, false) > 950, "five runs of each");
        assert!(seen(5, 0.9, 0.02, 0.05, true) > 900, "five pairs");
        assert!(seen(5, 0.9, 0.3, 0.05, false) < 50, "noise hides it");
    }

    /// Both sides become slower by a tenth with each run, as on a disk that fills up.
    #[test]
    fn pairs_see_through_a_machine_that_drifts() {
        let side = |factor: f64| -> Vec<Sample> {
            let value =
                |at: i32| 500.0 * factor * 0.9_f64.powi(at) * (1.0 + 0.002 * f64::from(at % 3));
            let sample = |at| Sample { value: value(at), seconds: Vec::new() };
            (0..6).map(sample).collect()
        };
        let other: Vec<Sample> = side(0.9).into_iter().rev().collect::<Vec<_>>();
        let found = compare(&side(1.0), &side(0.9), true).expect("enough");
        assert_eq!(found.basis, Basis::Pairs);
        assert!(found.high < 0.95, "{found:?}");
        let blind = compare(&side(1.0), &other, false).expect("enough");
        assert!(blind.high > 1.0, "without pairs it is not seen: {blind:?}");
    }

    #[test]
    fn seconds_that_resemble_their_neighbours_count_for_less() {
        let wave = |period: usize| -> Sample {
            let second = |at: usize| if (at / period).is_multiple_of(2) { 110.0 } else { 90.0 };
            Sample { value: 100.0, seconds: (0..60).map(second).collect() }
        };
        let width = |sample: Sample| {
            let found = same(&sample).expect("enough");
            found.high / found.low
        };
        assert!(width(wave(15)) > 1.2 * width(wave(1)));
    }

    #[test]
    fn too_few_seconds_tell_nothing_and_a_standstill_is_no_error() {
        let sample = |seconds: &[f64]| Sample { value: 100.0, seconds: seconds.to_vec() };
        let few = sample(&[100.0; 4]);
        assert!(same(&few).is_none());
        let none = sample(&[]);
        assert!(compare(&[none.clone(), few], &[none.clone(), none], false).is_none());
        let still = sample(&[0.0, 200.0, 0.0, 200.0, 100.0]);
        let found = same(&still);
        let found = found.expect("enough");
        assert!(found.low < 0.5 && found.high.is_finite(), "{found:?}");
        let constant = sample(&[100.0; 9]);
        let found = same(&constant);
        assert!(found.is_some_and(|found| found.low > 0.9 && found.low < 0.96), "2 % are assumed");
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, t) in [(0.5, 63.657), (4.0, 4.604), (30.0, 2.750), (60.0, 2.660)] {
            assert!((student(freedom) - t).abs() < 0.001, "{freedom}: {}", student(freedom));
        }
        assert!((student(4.5) - 4.29).abs() < 0.01, "between 4.604 and 4.032");
        assert!((student(f64::INFINITY) - 2.576).abs() < 0.001);
        assert!((student(f64::NAN) - 2.576).abs() < 0.001, "0 of 0, where nothing varies");
    }
}
