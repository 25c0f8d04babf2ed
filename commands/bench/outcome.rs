//! The result of a run against a broker, as it is printed and saved; field names are stable.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::document::{Document, Figures};
use super::drive::Driven;
use super::latency::Quantiles;
use super::machine::Machine;
use super::printing;
use super::trust::{Evidence, TMPFS};
use crate::failure::{Exit, Failure};
use crate::output::{Column, OutputArgs};

/// Where the result goes.
#[derive(Args, Clone, Debug)]
pub(super) struct OutcomeArgs {
    /// Write the result as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) command: &'static str,
    /// `open` or `closed`.
    pub(super) mode: &'static str,
    /// Everything else that the figures depend on.
    pub(super) settings: Value,
    pub(super) shown: Shown,
}

/// What is shown besides the figures of [`Side::Main`].
///
/// [`Side::Main`]: super::drive::Side::Main
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing: there is one side only.
    Alone,
    /// How long acknowledgements took, where the figures are those of receipts.
    Delivery,
    /// Producers and consumers side by side.
    BothSides,
}

/// A line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) figure: String,
    pub(super) value: String,
}

const COLUMNS: &[Column<Row>] = &[
    Column::text("FIGURE", |row| row.figure.clone()),
    Column::number("VALUE", |row| row.value.clone()),
];

/// Saves and prints the result; says how the command ends.
pub(super) fn conclude(
    run: Run,
    machine: Machine,
    driven: Driven,
    args: &OutcomeArgs,
) -> anyhow::Result<Exit> {
    let (counts, produced) = (driven.counts, driven.produced);
    // What went wrong at a producer is the reason rather than the consequence.
    let first_error = produced.first_error.as_ref().or(counts.first_error.as_ref());
    let first_error = first_error.cloned().unwrap_or_default();
    if counts.records == 0 {
        let why = if first_error.is_empty() { "there was no time" } else { &first_error };
        anyhow::bail!("not one record was counted: {why}");
    }
    let figures = Figures::of(&counts);
    let evidence = Evidence {
        elapsed_s: figures.elapsed_s,
        watched_s: driven.watched.as_secs_f64(),
        latencies: counts.latencies,
        cores: machine.cores,
        threads: driven.threads,
        client_cpu_s: driven.client_cpu_s,
        server_cpu_s: driven.server.map(|server| server.cpu_s),
        processors: driven.processors,
        is_volatile: machine.is_volatile,
    };
    let is_both = run.shown == Shown::BothSides;
    let document = Document {
        command: run.command.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Some(driven.started_at.to_string()),
        command_line: Some(command_line()),
        machine,
        mode: run.mode.to_owned(),
        settings: run.settings,
        figures,
        ack_latency_ms: (run.shown == Shown::Delivery).then_some(produced.latency),
        produce: is_both.then(|| Figures::of(&produced)),
        consume: is_both.then_some(figures),
        errors: counts.errors + produced.errors,
        client_cpu_s: driven.client_cpu_s,
        server: driven.server,
        intervals: counts.intervals,
        latency_count: Some(counts.latencies),
        latency_curve: counts.curve,
        warnings: evidence.warnings(),
    };
    printing::save(args.save.as_deref(), &document)?;
    let rows = document.rows();
    let format = args.output.output;
    printing::print(format, &document, &rows, COLUMNS, |row| row.figure.clone())?;
    // That of the directory was told when that was made.
    for warning in document.warnings.iter().filter(|warning| warning.code != TMPFS) {
        eprintln!("warning: {}", warning.text);
    }
    if document.errors > 0 {
        eprintln!("warning: {} errors; the first: {first_error}", document.errors);
    }
    Ok(match (counts.errors, document.errors) {
        (_, 0) => Exit::Ok,
        // What a producer was told has arrived has not, or not as it was sent.
        (1.., _) if run.shown != Shown::Alone => Exit::Failed,
        _ => Exit::Partly,
    })
}

/// The command line, as a shell takes it. Holds no secrets: those are refused there.
fn command_line() -> String {
    let arguments = std::env::args_os().skip(1);
    let words = arguments.map(|argument| quoted(&argument.to_string_lossy()));
    std::iter::once("rivvend".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,%@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl Document {
    /// All figures, for people.
    pub(super) fn rows(&self) -> Vec<Row> {
        let durability = self.settings["durability"].as_str().unwrap_or("");
        let mut rows = vec![Row { figure: "durability".to_owned(), value: durability.to_owned() }];
        match (&self.produce, &self.consume) {
            (Some(produce), Some(consume)) => {
                rows.extend(produce.rows("produce "));
                rows.extend(consume.rows("consume "));
            }
            _ => rows.extend(self.figures.rows("")),
        }
        rows.extend(self.ack_latency_ms.iter().flat_map(|latency| latency_rows("ack ", latency)));
        let mut row = |figure: &str, value: String| {
            rows.push(Row { figure: figure.to_owned(), value });
        };
        row("errors", self.errors.to_string());
        row("client CPU s", format!("{:.2}", self.client_cpu_s));
        if let Some(server) = &self.server {
            row("server CPU s", format!("{:.2}", server.cpu_s));
            let per_gb = server.cpu_s_per_gb.map(|cpu_s| format!("{cpu_s:.2}"));
            row("server CPU s/GB", per_gb.unwrap_or_else(|| "-".to_owned()));
            row("server RSS MB", format!("{:.1}", server.rss_bytes as f64 / 1e6));
            row("server RSS peak MB", format!("{:.1}", server.rss_peak_bytes as f64 / 1e6));
        }
        rows
    }
}

impl Figures {
    fn rows(&self, side: &str) -> Vec<Row> {
        let row = |figure: &str, value| Row { figure: format!("{side}{figure}"), value };
        let mut rows = vec![
            row("records", self.records.to_string()),
            row("elapsed s", format!("{:.3}", self.elapsed_s)),
            row("records/s", format!("{:.0}", self.records_per_s)),
            row("MB/s", format!("{:.1}", self.mb_per_s)),
        ];
        rows.extend(latency_rows(side, &self.latency_ms));
        rows
    }
}

fn latency_rows(side: &str, latency: &Quantiles) -> Vec<Row> {
    let quantiles = [
        ("mean", latency.mean),
        ("p50", latency.p50),
        ("p95", latency.p95),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ];
    let row =
        |(name, ms)| Row { figure: format!("{side}latency ms {name}"), value: format!("{ms:.3}") };
    quantiles.map(row).into()
}

/// A mistake in the command line that parsing can not see.
pub(super) fn usage(message: impl Into<String>) -> anyhow::Error {
    printing::Told(Failure::usage(message)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_given_to_a_shell_again() {
        assert_eq!(quoted("--dir=/tmp/x-1.0"), "--dir=/tmp/x-1.0");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
