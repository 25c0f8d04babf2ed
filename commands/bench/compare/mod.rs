//! `rivvend bench compare`: whether one build, setting or machine is faster than another, as far as
//! the noise of their runs lets one tell. Reads results; runs nothing.

mod figures;
mod settings;
mod statistics;

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::document::Document;
use super::outcome::usage;
use super::printing::{self, Told};
use super::saved::{self, Content, Saved};
use crate::failure::{Exit, Failure};
use crate::fields::{Field, Json};
use crate::output::{Column, OutputArgs};
use figures::{Figure, Kind};
use settings::{DIFFERENCE_FIELDS as DIFFERENCES, Difference};
use statistics::{Basis, Estimate, INTERVALS_MIN, PAIRS_MIN, RUNS_MIN, Sample};

/// Percent below which there is no difference, unless told otherwise.
const MARGIN_PERCENT: f64 = 2.0;

/// Compare results of earlier runs
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "B/A is the ratio of the sides, each the geometric mean of its runs. It is given \
with the interval that holds the true ratio in 99 of 100 comparisons; a difference is told when 1 \
is outside of it and the change is not below --margin. From 5 runs a side that alternate in time \
(A B A B …), neighbours are compared, so that a drift of the machine cancels out; from 3 runs a \
side, their means are (Welch's t-test); of fewer runs, the seconds within them, with an assumption \
of how such runs differ anyway, and the verdict says so. Alternating five times is the way to be \
sure.\n\nExit codes: 0 compared; 1, with --fail-above only, B is worse by more than that, or \
nothing can be told of a figure that was asked for; 2 the runs had different settings.\n\n\
Examples:\n  rivvend bench produce --save a.json\n  rivvend bench compare a.json b.json\n  \
rivvend bench compare a1.json a2.json a3.json -- b1.json b2.json b3.json\n  rivvend \
bench compare --base a1.json --base a2.json b1.json b2.json --only p50,p99 --fail-above 5"
)]
pub(crate) struct CompareArgs {
    /// Results of A and of B; where there are more than two, those of B follow `--`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Results of B
    #[arg(value_name = "FILE_OF_B", last = true, conflicts_with = "base")]
    others: Vec<PathBuf>,
    /// A result of A; all others are then of B
    #[arg(long, value_name = "FILE")]
    base: Vec<PathBuf>,
    /// Compare only figures with one of these in their names, such as records/s or p99
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
    /// Change in percent below which there is no difference, whatever the noise
    #[arg(long, value_name = "PERCENT", default_value_t = MARGIN_PERCENT, value_parser = percent)]
    margin: f64,
    /// End with exit code 1 when B is worse by more in any figure, or a verdict is unknown
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fail_above: Option<f64>,
    /// Compare runs that had different settings
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok();
    let percent = percent.filter(|percent| (0.0..=1e6).contains(percent));
    percent.ok_or_else(|| "is no percentage, such as 5".to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Same,
    Better,
    Worse,
    /// There were too few runs, or they were too short.
    Unknown,
}

/// One figure of both sides.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) figure: String,
    pub(super) a: f64,
    pub(super) b: f64,
    /// B/A.
    pub(super) ratio: f64,
    /// By how much B does worse; below 0 where it does better.
    loss_percent: f64,
    /// Ends of the interval of confidence.
    low: Option<f64>,
    high: Option<f64>,
    basis: Option<Basis>,
    noise_a_percent: Option<f64>,
    noise_b_percent: Option<f64>,
    verdict: Verdict,
    pub(super) text: String,
}

/// One side, for the document.
#[derive(Debug, Serialize)]
struct Side {
    files: Vec<String>,
    versions: Vec<String>,
}

/// The result as programs read it; field names are stable.
#[derive(Debug, Serialize)]
struct Comparison {
    command: &'static str,
    a: Side,
    b: Side,
    confidence: f64,
    margin_percent: f64,
    settings_differ: Vec<Difference>,
    machines_differ: Vec<Difference>,
    figures: Vec<Compared>,
}

const COLUMNS: &[Column<Compared>] = &[
    Column::text("FIGURE", |c| c.figure.clone()),
    Column::number("A", |c| number(c.a)),
    Column::number("B", |c| number(c.b)),
    Column::number("B/A", |c| format!("{:.3}", c.ratio)),
    Column::filled("99 % INTERVAL", |c| interval(c).unwrap_or_default()),
    Column::text("VERDICT", |c| c.text.clone()),
    Column::wide("NOISE OF A", |c| noise(c.noise_a_percent)),
    Column::wide("NOISE OF B", |c| noise(c.noise_b_percent)),
    Column::wide("BETWEEN", |c| basis(c.basis).to_owned()),
];

/// What it prints for programs.
pub(super) const JSON: Json = Json::object(COMPARISON_FIELDS);

const COMPARISON_FIELDS: &[Field] = &[
    Field::text("command", "compare."),
    Field::object("a", "The runs of A.", SIDE_FIELDS),
    Field::object("b", "The runs of B.", SIDE_FIELDS),
    Field::number("confidence", "Share of the intervals that hold the true ratio."),
    Field::number("margin_percent", "Change below which there is no difference.").unit("percent"),
    Field::list("settings_differ", "What was run otherwise than in the first file.", DIFFERENCES),
    Field::list("machines_differ", "What it ran on otherwise than the first.", DIFFERENCES),
    Field::list("figures", "What was compared.", FIGURE_FIELDS),
];

const SIDE_FIELDS: &[Field] = &[
    Field::texts("files", "Their files."),
    Field::texts("versions", "Versions of rivvend that wrote them."),
];

const FIGURE_FIELDS: &[Field] = &[
    Field::text("figure", "Name of the figure."),
    Field::number("a", "The geometric mean of A."),
    Field::number("b", "The geometric mean of B."),
    Field::number("ratio", "B/A."),
    Field::number("loss_percent", "By how much B does worse; below 0 where it does better.")
        .unit("percent"),
    Field::number("low", "Lower end of the interval that holds the true ratio.").nullable(),
    Field::number("high", "Its upper end.").nullable(),
    Field::text("basis", "What was compared: pairs, runs or intervals.").nullable(),
    Field::number("noise_a_percent", "How much the samples of A differ.")
        .unit("percent")
        .nullable(),
    Field::number("noise_b_percent", "How much the samples of B differ.")
        .unit("percent")
        .nullable(),
    Field::text("verdict", "same, better, worse, or unknown where nothing can be told."),
    Field::text("text", "The same in words."),
];

/// Compares and prints.
pub(super) fn run(args: &CompareArgs) -> anyhow::Result<Exit> {
    let (mut a, mut b) = args.sides()?;
    let all: Vec<&Saved> = a.iter().chain(&b).collect();
    let (settings_differ, machines_differ) = (settings::settings(&all), settings::machines(&all));
    tell_differences(args, &all, &settings_differ, &machines_differ)?;
    all.into_iter().for_each(tell_doubts);
    let alternate = order(&mut a, &mut b);
    let figures = args.compare(&a, &b, alternate)?;
    let missing = figures::missing(&a, &b);
    tell_what_is_missing(&figures, &a, &b, alternate);
    let worst = figures.iter().filter(|c| c.verdict == Verdict::Worse);
    let worst = worst.map(|c| c.loss_percent).fold(0.0, f64::max);
    let unknown = figures.iter().filter(|c| c.verdict == Verdict::Unknown);
    let unknown: Vec<String> = unknown.map(|c| c.figure.clone()).collect();
    let comparison = Comparison {
        command: "compare",
        a: Side::of(&a),
        b: Side::of(&b),
        confidence: 0.99,
        margin_percent: args.margin,
        settings_differ,
        machines_differ,
        figures,
    };
    let (format, rows) = (args.output.output, &comparison.figures);
    printing::print(format, &comparison, rows, COLUMNS, |c| c.figure.clone())?;
    match args.fail_above {
        Some(_) if !missing.is_empty() => {
            eprintln!("B has nothing to compare for {}: it did less than A", missing.join(", "));
            Ok(Exit::Failed)
        }
        Some(limit) if worst > limit => {
            eprintln!("B is worse than A by {worst:.1} %, which is more than {limit} %");
            Ok(Exit::Failed)
        }
        // A gate that can not tell must not look as if it had.
        Some(_) if !unknown.is_empty() => {
            let unknown = unknown.join(", ");
            eprintln!("nothing can be told of {unknown}: compare more or longer runs, or --only");
            Ok(Exit::Failed)
        }
        _ => Ok(Exit::Ok),
    }
}

impl CompareArgs {
    /// The results of A and of B.
    fn sides(&self) -> anyhow::Result<(Vec<Saved>, Vec<Saved>)> {
        let (a, b) = match (&*self.base, &*self.files, &*self.others) {
            ([], [a, b], []) => (std::slice::from_ref(a), std::slice::from_ref(b)),
            ([], _, []) => {
                let text = "which files are of A and which of B? Write A A A -- B B B";
                return Err(usage(text));
            }
            ([], a, b) => (a, b),
            (a, b, _) => (a, b),
        };
        let read = |files: &[PathBuf]| files.iter().map(|path| saved::read(path)).collect();
        let (a, b): (anyhow::Result<_>, anyhow::Result<_>) = (read(a), read(b));
        Ok((a?, b?))
    }

    /// The figures that were asked for.
    fn compare(&self, a: &[Saved], b: &[Saved], alternate: bool) -> anyhow::Result<Vec<Compared>> {
        let of = |side: &[Saved]| -> Vec<Vec<Figure>> { side.iter().map(figures::of).collect() };
        let mut compared = compare(&of(a), &of(b), alternate, self.margin);
        let is_asked = |c: &Compared| self.only.iter().any(|text| c.figure.contains(text));
        compared.retain(|c| self.only.is_empty() || is_asked(c));
        if compared.is_empty() {
            return Err(usage("there is no such figure in all of the results"));
        }
        Ok(compared)
    }
}

/// One run compared with an earlier one, for a report.
pub(super) fn verdicts(earlier: &Document, now: &Document) -> Vec<Compared> {
    compare(&[figures::of_run(earlier)], &[figures::of_run(now)], false, MARGIN_PERCENT)
}

/// Every figure that all runs have.
fn compare(a: &[Vec<Figure>], b: &[Vec<Figure>], alternate: bool, margin: f64) -> Vec<Compared> {
    let one = |figure: &Figure| {
        let (a, b) = (figures::gather(a, &figure.name)?, figures::gather(b, &figure.name)?);
        Some(Compared::of(figure, &a, &b, alternate, margin))
    };
    a.first().into_iter().flatten().filter_map(one).collect()
}

impl Compared {
    fn of(figure: &Figure, a: &[Sample], b: &[Sample], alternate: bool, margin: f64) -> Compared {
        let mean = |side: &[Sample]| {
            let logs: f64 = side.iter().map(|sample| sample.value.ln()).sum();
            (logs / side.len() as f64).exp()
        };
        let (a_mean, b_mean) = (mean(a), mean(b));
        let ratio = b_mean / a_mean;
        let estimate = statistics::compare(a, b, alternate);
        let loss_percent = figure.kind.loss(ratio) * 100.0;
        let verdict = match &estimate {
            None => Verdict::Unknown,
            Some(e) if e.low <= 1.0 && e.high >= 1.0 => Verdict::Same,
            Some(_) if loss_percent.abs() < margin => Verdict::Same,
            Some(_) if loss_percent > 0.0 => Verdict::Worse,
            Some(_) => Verdict::Better,
        };
        Compared {
            figure: figure.name.clone(),
            a: a_mean,
            b: b_mean,
            ratio,
            loss_percent,
            low: estimate.map(|e| e.low),
            high: estimate.map(|e| e.high),
            basis: estimate.map(|e| e.basis),
            noise_a_percent: estimate.map(|e| e.noise_a * 100.0),
            noise_b_percent: estimate.map(|e| e.noise_b * 100.0),
            verdict,
            text: words(figure.kind, verdict, ratio) + reservation(verdict, estimate.as_ref()),
        }
    }

    /// The verdict in one word.
    pub(super) fn class(&self) -> &'static str {
        match self.verdict {
            Verdict::Same => "same",
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Unknown => "unknown",
        }
    }
}

impl Side {
    fn of(saved: &[Saved]) -> Side {
        let version = |saved: &Saved| match &saved.content {
            Content::Run(document) => document.version.clone(),
            Content::Limits(found) => found.version.to_string(),
        };
        let mut versions: Vec<String> = saved.iter().map(version).collect();
        versions.sort();
        versions.dedup();
        Side { files: saved.iter().map(Saved::shown).collect(), versions }
    }
}

/// The verdict as people read it.
fn words(kind: Kind, verdict: Verdict, ratio: f64) -> String {
    let percent = match kind.loss(ratio).abs() * 100.0 {
        percent if percent < 9.95 => format!("{percent:.1}"),
        percent => format!("{percent:.0}"),
    };
    match (verdict, kind) {
        (Verdict::Same, _) => "no difference".to_owned(),
        (Verdict::Unknown, _) => "unknown".to_owned(),
        (Verdict::Worse, Kind::Cost) => format!("B costs {percent} % more"),
        (Verdict::Better, Kind::Cost) => format!("B costs {percent} % less"),
        (Verdict::Worse, _) => format!("B is {percent} % slower"),
        (Verdict::Better, _) => format!("B is {percent} % faster"),
    }
}

/// What a reader has to know of a difference that few runs show.
fn reservation(verdict: Verdict, estimate: Option<&Estimate>) -> &'static str {
    let is_difference = matches!(verdict, Verdict::Better | Verdict::Worse);
    let is_of_few = estimate.is_some_and(|estimate| estimate.basis == Basis::Intervals);
    if is_difference && is_of_few { " (few runs)" } else { "" }
}

/// Refuses to compare what is not comparable, unless told; says where the machines differ.
fn tell_differences(
    args: &CompareArgs,
    all: &[&Saved],
    settings: &[Difference],
    machines: &[Difference],
) -> anyhow::Result<()> {
    let first = all[0].shown();
    let lines = |differences: &[Difference]| -> Vec<String> {
        differences.iter().map(|difference| settings::line(difference, &first)).collect()
    };
    if !settings.is_empty() && !args.force {
        let message =
            format!("the runs had different settings:\n  {}", lines(settings).join("\n  "));
        let hint = "--force compares them all the same";
        return Err(Told(Failure::usage(message).hint(hint)).into());
    }
    for (what, differences) in [("setting", settings), ("machine", machines)] {
        for line in lines(differences) {
            eprintln!("warning: another {what}: {line}");
        }
    }
    Ok(())
}

/// Repeats why a run says itself that it means little.
fn tell_doubts(saved: &Saved) {
    if let Content::Run(document) = &saved.content {
        for warning in &document.warnings {
            eprintln!("warning: {}: {}", saved.shown(), warning.text);
        }
    }
}

/// Sorts the runs by time. Whether they alternate, each of A next to one of B.
fn order(a: &mut [Saved], b: &mut [Saved]) -> bool {
    let key = |saved: &Saved| started(saved);
    if a.len() != b.len() || a.iter().chain(&*b).any(|saved| key(saved).is_none()) {
        return false;
    }
    a.sort_by_key(key);
    b.sort_by_key(key);
    let pairs: Vec<_> = a.iter().zip(&*b).map(|(a, b)| (key(a), key(b))).collect();
    pairs.windows(2).all(|two| two[0].0.max(two[0].1) < two[1].0.min(two[1].1))
}

fn started(saved: &Saved) -> Option<Timestamp> {
    match &saved.content {
        Content::Run(document) => document.started_at.as_deref()?.parse().ok(),
        Content::Limits(_) => None,
    }
}

/// What would make the verdicts surer.
fn tell_what_is_missing(figures: &[Compared], a: &[Saved], b: &[Saved], alternate: bool) {
    let runs = a.len().min(b.len());
    if figures.iter().any(|c| c.verdict == Verdict::Unknown) {
        eprintln!(
            "note: \"unknown\" needs {RUNS_MIN} runs of each side, or {INTERVALS_MIN} seconds \
             where a figure is kept by the second"
        );
    } else if runs < RUNS_MIN {
        eprintln!("note: few runs do not show how runs differ; {PAIRS_MIN} of each are better");
    } else if runs >= PAIRS_MIN && !alternate {
        eprintln!("note: the runs do not alternate: a drift of the machine counts as a difference");
    }
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

fn interval(compared: &Compared) -> Option<String> {
    Some(format!("{:.3} - {:.3}", compared.low?, compared.high?))
}

fn noise(percent: Option<f64>) -> String {
    percent.map(|percent| format!("{percent:.1} %")).unwrap_or_default()
}

fn basis(basis: Option<Basis>) -> &'static str {
    match basis {
        Some(Basis::Pairs) => "pairs of runs",
        Some(Basis::Runs) => "runs",
        Some(Basis::Intervals) => "seconds",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_which_way_and_by_how_much() {
        let worse = |kind, ratio| words(kind, Verdict::Worse, ratio);
        assert_eq!(worse(Kind::Rate, 0.9), "B is 10 % slower");
        assert_eq!(worse(Kind::Latency, 1.1), "B is 10 % slower");
        assert_eq!(worse(Kind::Cost, 3.0), "B costs 200 % more");
        assert_eq!(words(Kind::Rate, Verdict::Better, 1.031), "B is 3.1 % faster");
        assert_eq!(words(Kind::Latency, Verdict::Better, 0.5), "B is 50 % faster");
        assert_eq!(words(Kind::Cost, Verdict::Better, 0.5), "B costs 50 % less");
        assert_eq!(words(Kind::Rate, Verdict::Same, 0.9), "no difference");
    }

    #[test]
    fn a_percentage_is_a_number_that_makes_sense() {
        assert_eq!((percent("5"), percent("2.5%")), (Ok(5.0), Ok(2.5)));
        for text in ["", "-1", "nan", "inf", "1e9", "five"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
