//! Which figures of a result are compared, and what it means when one of them is higher.

use std::collections::BTreeMap;

use super::statistics::Sample;
use crate::bench::document::{Document, Figures};
use crate::bench::latency::Quantiles;
use crate::bench::limits::Found;
use crate::bench::recorder::Interval;
use crate::bench::saved::{Content, Saved};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Work in a time: more is better.
    Rate,
    /// Waiting: less is better.
    Latency,
    /// Processor time for work: less is better.
    Cost,
}

impl Kind {
    /// By which share B does worse, where B has `ratio` times as much as A; below 0 for better.
    pub(super) fn loss(self, ratio: f64) -> f64 {
        match self {
            Kind::Rate => 1.0 - ratio,
            Kind::Latency | Kind::Cost => ratio - 1.0,
        }
    }
}

/// One figure as one run has it.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) sample: Sample,
}

/// A quantile by its name.
type Named = (&'static str, fn(&Quantiles) -> f64);

const QUANTILES: [Named; 4] =
    [("p50", |q| q.p50), ("p95", |q| q.p95), ("p99", |q| q.p99), ("p99.9", |q| q.p999)];

/// The figures of a result, in the order in which they are shown. What is 0 has no ratio to
/// anything and is left out.
pub(super) fn of(saved: &Saved) -> Vec<Figure> {
    match &saved.content {
        Content::Run(document) => of_run(document),
        Content::Limits(found) => with_values(of_limits(found)),
    }
}

fn with_values(mut figures: Vec<Figure>) -> Vec<Figure> {
    figures.retain(|figure| figure.sample.value > 0.0 && figure.sample.value.is_finite());
    figures
}

/// The same figure of every run of a side; none when a run lacks it.
pub(super) fn gather(side: &[Vec<Figure>], name: &str) -> Option<Vec<Sample>> {
    let find = |run: &Vec<Figure>| {
        run.iter().find(|figure| figure.name == name).map(|figure| figure.sample.clone())
    };
    side.iter().map(find).collect()
}

/// Figures that every run of A has and some run of B lacks, as one that did nothing lacks its
/// speed.
pub(super) fn missing(a: &[Saved], b: &[Saved]) -> Vec<String> {
    let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(of).collect(), b.iter().map(of).collect());
    let names = a.first().into_iter().flatten().map(|figure| figure.name.clone());
    names.filter(|name| gather(&a, name).is_some() && gather(&b, name).is_none()).collect()
}

/// The figures of a run.
pub(super) fn of_run(document: &Document) -> Vec<Figure> {
    let whole = document.whole_seconds();
    let mut figures = match (&document.produce, &document.consume) {
        (Some(produce), Some(consume)) => {
            let mut figures = of_side("produce ", produce, &[]);
            figures.extend(of_side("consume ", consume, whole));
            figures
        }
        _ => of_side("", &document.figures, whole),
    };
    if let Some(latency) = &document.ack_latency_ms {
        figures.extend(latencies("ack ", latency, &[]));
    }
    if let Some(value) = document.server.and_then(|server| server.cpu_s_per_gb) {
        let cost = |second: &Interval| {
            let gigabytes = second.bytes as f64 / 1e9;
            second.server.filter(|_| second.bytes > 0).map(|server| server.cpu_s / gigabytes)
        };
        let seconds = whole.iter().filter_map(cost).collect();
        let sample = Sample { value, seconds };
        figures.push(Figure { name: "server CPU s/GB".to_owned(), kind: Kind::Cost, sample });
    }
    with_values(figures)
}

fn of_side(side: &str, figures: &Figures, seconds: &[Interval]) -> Vec<Figure> {
    let rate = |name: &str, value, pick: fn(&Interval) -> f64| Figure {
        name: format!("{side}{name}"),
        kind: Kind::Rate,
        sample: Sample { value, seconds: seconds.iter().map(pick).collect() },
    };
    let mut all = vec![
        rate("records/s", figures.records_per_s, |second| second.records as f64),
        rate("MB/s", figures.mb_per_s, |second| second.mb_per_s),
    ];
    all.extend(latencies(side, &figures.latency_ms, seconds));
    all
}

fn latencies(side: &str, latency: &Quantiles, seconds: &[Interval]) -> Vec<Figure> {
    let figure = |(name, pick): Named| {
        // A second in which nothing ended has no latency.
        let seconds = seconds.iter().filter(|second| second.records > 0);
        let seconds = seconds.map(|second| pick(&second.latency_ms)).collect();
        let sample = Sample { value: pick(latency), seconds };
        Figure { name: format!("{side}latency ms {name}"), kind: Kind::Latency, sample }
    };
    QUANTILES.map(figure).into()
}

fn of_limits(found: &Found) -> Vec<Figure> {
    // Repetitions of a measurement are told apart by what they wrote.
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    let mut figures = Vec::new();
    for measurement in &found.results {
        let title = measurement.title();
        let count = names.entry(title.clone()).or_default();
        *count += 1;
        let title = if *count > 1 { format!("{title} #{count}") } else { title };
        let figure = |name: &str, kind, value| Figure {
            name: format!("{title} {name}"),
            kind,
            sample: Sample { value, seconds: Vec::new() },
        };
        figures.push(figure("MB/s", Kind::Rate, measurement.mb_per_s));
        if let Some(latency) = &measurement.latency_ms {
            figures.push(figure("ms p50", Kind::Latency, latency.p50));
            figures.push(figure("ms p99", Kind::Latency, latency.p99));
        }
    }
    figures
}
