//! Line charts as SVG. They take their colours from the page, so that they are right in light and
//! dark; a line's points tell their values when they are pointed at.

use std::fmt::{self, Write as _};

use super::scale::Axis;
use super::text::{Text, number};

/// Units of the drawing, which the page scales to the room there is.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 268.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 38.0;
/// Points that a line is drawn through at most.
pub(super) const POINTS_MAX: usize = 240;

/// A chart; all texts are plain.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Names it in the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the vertical axis counts, and in what.
    pub(super) unit: &'static str,
    pub(super) x_unit: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// What one run has.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Which of the runs, which chooses its colour.
    pub(super) run: usize,
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Where it is, in words.
    pub(super) at: String,
}

impl Chart {
    fn place(&self, point: &Point) -> (f64, f64) {
        (self.right_of(point.x), self.above(point.y))
    }

    fn right_of(&self, x: f64) -> f64 {
        LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn above(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn write_grid(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (tick, label) in &self.y.ticks {
            let y = self.above(*tick);
            write!(f, r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#)?;
            let (x, y) = (LEFT - 6.0, y + 4.0);
            write!(f, r#"<text class="y" x="{x}" y="{y:.1}">{}</text>"#, Text(label))?;
        }
        for (tick, label) in &self.x.ticks {
            let x = self.right_of(*tick);
            write!(
                f,
                r#"<line class="tick" x1="{x:.1}" x2="{x:.1}" y1="{bottom}" y2="{}"/>"#,
                bottom + 4.0
            )?;
            write!(
                f,
                r#"<text class="x" x="{x:.1}" y="{}">{}</text>"#,
                bottom + 17.0,
                Text(label)
            )?;
        }
        write!(f, r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>"#)?;
        write!(f, r#"<text class="unit" x="4" y="13">{}</text>"#, Text(self.unit))?;
        let (x, y) = (right, HEIGHT - 5.0);
        write!(f, r#"<text class="unit end" x="{x}" y="{y}">{}</text>"#, Text(self.x_unit))
    }

    fn write_line(&self, line: &Line, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = String::new();
        for (at, point) in line.points.iter().enumerate() {
            let (x, y) = self.place(point);
            let step = if at == 0 { 'M' } else { 'L' };
            write!(path, "{step}{x:.1} {y:.1}")?;
        }
        write!(f, r#"<g class="run{}">"#, line.run)?;
        // An area begins at 0, which logarithms do not have.
        let has_area = line.run == 0 && !self.y.is_logarithmic;
        if let (true, Some(first), Some(last)) = (has_area, line.points.first(), line.points.last())
        {
            let (bottom, first, last) = (HEIGHT - BOTTOM, self.place(first).0, self.place(last).0);
            write!(
                f,
                r#"<path class="area" d="{path}L{last:.1} {bottom}L{first:.1} {bottom}Z"/>"#
            )?;
        }
        write!(f, r#"<path class="line" d="{path}"/>"#)?;
        for point in &line.points {
            let (x, y) = self.place(point);
            let (name, at, value) = (Text(&line.name), Text(&point.at), number(point.y));
            write!(f, r#"<circle cx="{x:.1}" cy="{y:.1}" r="5"><title>{name}, {at}: "#)?;
            write!(f, "{value} {}</title></circle>", Text(self.unit))?;
        }
        f.write_str("</g>")
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, title) = (self.id, Text(self.title));
        write!(f, r#"<figure id="{id}"><figcaption>{title}</figcaption>"#)?;
        write!(f, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#)?;
        self.write_grid(f)?;
        // The first run is drawn last, above the others.
        self.lines.iter().rev().try_for_each(|line| self.write_line(line, f))?;
        f.write_str("</svg></figure>\n")
    }
}

/// As many points as a chart shows: of neighbours together, the mean, or the highest where an
/// outlier must not get lost.
pub(super) fn thinned(points: Vec<Point>, keeps_highest: bool) -> Vec<Point> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    if group == 1 {
        return points;
    }
    let one = |points: &[Point]| {
        let y = match keeps_highest {
            true => points.iter().map(|point| point.y).fold(0.0, f64::max),
            false => points.iter().map(|point| point.y).sum::<f64>() / points.len() as f64,
        };
        Point { y, ..points[0].clone() }
    };
    points.chunks(group).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64) -> Point {
        Point { x, y, at: format!("{x} s") }
    }

    #[test]
    fn a_chart_holds_its_lines_and_escapes_their_names() {
        let line = |run, y| Line {
            run,
            name: "<b>".to_owned(),
            points: vec![point(0.0, y), point(10.0, y)],
        };
        let chart = Chart {
            id: "throughput",
            title: "Throughput",
            unit: "MB/s",
            x_unit: "s",
            x: Axis::time(10.0),
            y: Axis::linear(500.0),
            lines: vec![line(0, 500.0), line(1, 0.0)],
        };
        let drawn = chart.to_string();
        assert!(drawn.contains(r#"<path class="line" d="M46.0 24.0L426.0 24.0"/>"#), "{drawn}");
        assert!(drawn.contains(r#"<path class="line" d="M46.0 230.0L426.0 230.0"/>"#), "{drawn}");
        assert!(drawn.contains("<title>&lt;b&gt;, 10 s: 500 MB/s</title>"), "{drawn}");
        assert!(!drawn.contains("<b>"));
    }

    #[test]
    fn an_hour_of_seconds_is_thinned_without_losing_an_outlier() {
        let hour = |outlier| {
            (0..3_600).map(move |at| point(f64::from(at), if at == 1_000 { outlier } else { 1.0 }))
        };
        let highest = thinned(hour(99.0).collect(), true);
        assert!(highest.len() <= POINTS_MAX && highest.iter().any(|point| point.y == 99.0));
        assert!(
            thinned(hour(16.0).collect(), false).iter().any(|point| point.y == 2.0),
            "15 s each"
        );
        assert_eq!(thinned(vec![point(0.0, 1.0)], false).len(), 1);
    }
}
