//! The charts of a report: what of the results is drawn in which of them. A chart that no run has
//! anything for is left out.

use super::chart::{Chart, Line, Point, thinned};
use super::scale::Axis;
use crate::bench::document::Document;
use crate::bench::latency::CurvePoint;
use crate::bench::recorder::Interval;

/// A run as the report names it.
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) document: &'a Document,
}

/// The charts in the order in which they are shown.
pub(super) fn charts(runs: &[Named<'_>]) -> Vec<Chart> {
    let has_bytes = runs.iter().any(|run| run.document.figures.bytes > 0);
    let throughput = match has_bytes {
        true => Seconds::of("throughput", "Throughput", "MB/s", |second| Some(second.mb_per_s)),
        false => Seconds::of("throughput", "Throughput", "records/s", |s| Some(s.records as f64)),
    };
    let waiting = Seconds::of("latency", "99th percentile of latency by second", "ms", |second| {
        (second.records > 0).then_some(second.latency_ms.p99)
    });
    let highest = Seconds::of("stalls", "Highest latency by second", "ms", |second| {
        (second.records > 0).then_some(second.latency_ms.max)
    });
    let cpu = Seconds::of("cpu", "Processor time of the broker", "cores", |second| {
        second.server.map(|server| server.cpu_s)
    });
    let memory = Seconds::of("memory", "Resident memory of the broker", "MB", |second| {
        second.server.map(|server| server.rss_bytes as f64 / 1e6)
    });
    let charts = [
        throughput.chart(runs),
        percentiles(runs),
        Seconds { keeps_highest: true, ..waiting }.chart(runs),
        Seconds { keeps_highest: true, ..highest }.chart(runs),
        cpu.chart(runs),
        memory.chart(runs),
    ];
    charts.into_iter().flatten().collect()
}

/// A chart of something that was measured every second.
struct Seconds {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    value: fn(&Interval) -> Option<f64>,
    /// Whether the highest of seconds that share a point is theirs, rather than their mean.
    keeps_highest: bool,
}

impl Seconds {
    fn of(
        id: &'static str,
        title: &'static str,
        unit: &'static str,
        value: fn(&Interval) -> Option<f64>,
    ) -> Seconds {
        Seconds { id, title, unit, value, keeps_highest: false }
    }

    fn chart(&self, runs: &[Named<'_>]) -> Option<Chart> {
        let lines = lines(runs, |document| {
            // What is left of a second at the end is not comparable with the others.
            let whole = document.whole_seconds().iter();
            let point = |second: &Interval| {
                let at = format!("second {:.0}", second.start_s + 1.0);
                (self.value)(second).map(|y| Point { x: second.start_s + 0.5, y, at })
            };
            thinned(whole.filter_map(point).collect(), self.keeps_highest)
        })?;
        let end = runs.iter().map(|run| run.document.figures.elapsed_s).fold(0.0, f64::max);
        let highest = highest(&lines);
        Some(Chart {
            id: self.id,
            title: self.title,
            unit: self.unit,
            x_unit: "seconds",
            x: Axis::time(end),
            y: Axis::linear(highest),
            lines,
        })
    }
}

/// Latency by percentile, as HDR histograms are plotted.
fn percentiles(runs: &[Named<'_>]) -> Option<Chart> {
    let lines = lines(runs, |document| {
        // The highest of all has none beyond it; it is drawn where one of them would be.
        let all = document.latency_count.map_or(f64::INFINITY, |count| count.max(1) as f64);
        let point = |CurvePoint { quantile, ms }: CurvePoint| {
            let percent = format!("{:.6}", quantile * 100.0);
            let percent = percent.trim_end_matches('0').trim_end_matches('.');
            let x = (1.0 / (1.0 - quantile).max(1e-9)).min(all);
            Point { x, y: ms, at: format!("{percent} % took at most") }
        };
        let curve = document.curve().into_iter().filter(|point| point.ms > 0.0);
        curve.map(point).collect()
    })?;
    let values = || lines.iter().flat_map(|line| &line.points);
    let lowest = values().map(|point| point.y).fold(f64::INFINITY, f64::min);
    let beyond = values().map(|point| point.x).fold(1.0, f64::max);
    let highest = highest(&lines);
    Some(Chart {
        id: "percentiles",
        title: "Latency by percentile",
        unit: "ms",
        x_unit: "percentile",
        x: Axis::quantiles(beyond),
        y: Axis::logarithmic(lowest, highest),
        lines,
    })
}

/// The lines of the runs that have any; `None` when there are none.
fn lines(runs: &[Named<'_>], points: impl Fn(&Document) -> Vec<Point>) -> Option<Vec<Line>> {
    let line = |(run, named): (usize, &Named<'_>)| Line {
        run,
        name: named.name.to_owned(),
        points: points(named.document),
    };
    let mut lines: Vec<Line> = runs.iter().enumerate().map(line).collect();
    lines.retain(|line| !line.points.is_empty());
    (!lines.is_empty()).then_some(lines)
}

fn highest(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| &line.points).map(|point| point.y).fold(0.0, f64::max)
}
