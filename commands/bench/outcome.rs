//! The result of a run against a broker, as it is printed and saved; field names are stable.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::drive::{Driven, ServerUse};
use super::latency::Quantiles;
use super::machine::Machine;
use super::recorder::Interval;
use super::report;
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
    pub(super) machine: Machine,
}

#[derive(Debug, Serialize)]
struct Document {
    command: &'static str,
    version: &'static str,
    machine: Machine,
    mode: &'static str,
    settings: Value,
    records: u64,
    bytes: u64,
    elapsed_s: f64,
    records_per_s: f64,
    mb_per_s: f64,
    latency_ms: Quantiles,
    errors: u64,
    client_cpu_s: f64,
    server: Option<ServerUse>,
    intervals: Vec<Interval>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    figure: &'static str,
    value: String,
}

const COLUMNS: &[Column<Row>] = &[
    Column::text("FIGURE", |row| row.figure.to_owned()),
    Column::number("VALUE", |row| row.value.clone()),
];

/// Saves and prints the result; says how the command ends.
pub(super) fn conclude(run: Run, driven: Driven, args: &OutcomeArgs) -> anyhow::Result<Exit> {
    let counts = driven.counts;
    let first_error = counts.first_error.unwrap_or_default();
    if counts.records == 0 {
        let why = if first_error.is_empty() { "there was no time" } else { &first_error };
        anyhow::bail!("not one record was counted: {why}");
    }
    let elapsed_s = counts.elapsed.as_secs_f64().max(1e-9);
    let document = Document {
        command: run.command,
        version: env!("CARGO_PKG_VERSION"),
        machine: run.machine,
        mode: run.mode,
        settings: run.settings,
        records: counts.records,
        bytes: counts.bytes,
        elapsed_s,
        records_per_s: counts.records as f64 / elapsed_s,
        mb_per_s: counts.bytes as f64 / 1e6 / elapsed_s,
        latency_ms: counts.latency,
        errors: counts.errors,
        client_cpu_s: driven.client_cpu_s,
        server: driven.server,
        intervals: counts.intervals,
    };
    report::save(args.save.as_deref(), &document)?;
    let rows = document.rows();
    let format = args.output.output;
    report::print(format, &document, &rows, COLUMNS, |row| row.figure.to_owned())?;
    if counts.errors > 0 {
        eprintln!("warning: {} errors; the first: {first_error}", counts.errors);
        return Ok(Exit::Partly);
    }
    Ok(Exit::Ok)
}

impl Document {
    fn rows(&self) -> Vec<Row> {
        let row = |figure, value: String| Row { figure, value };
        let latency = &self.latency_ms;
        let ms = |ms: f64| format!("{ms:.3}");
        let mut rows = vec![
            row("durability", self.settings["durability"].as_str().unwrap_or("").to_owned()),
            row("records", self.records.to_string()),
            row("elapsed s", ms(self.elapsed_s)),
            row("records/s", format!("{:.0}", self.records_per_s)),
            row("MB/s", format!("{:.1}", self.mb_per_s)),
            row("latency ms mean", ms(latency.mean)),
            row("latency ms p50", ms(latency.p50)),
            row("latency ms p95", ms(latency.p95)),
            row("latency ms p99", ms(latency.p99)),
            row("latency ms p99.9", ms(latency.p999)),
            row("latency ms max", ms(latency.max)),
            row("errors", self.errors.to_string()),
            row("client CPU s", format!("{:.2}", self.client_cpu_s)),
        ];
        if let Some(server) = &self.server {
            rows.push(row("server CPU s", format!("{:.2}", server.cpu_s)));
            rows.push(row("server CPU s/GB", format!("{:.2}", server.cpu_s_per_gb)));
            rows.push(row("server RSS MB", format!("{:.1}", server.rss_bytes as f64 / 1e6)));
            rows.push(row(
                "server RSS peak MB",
                format!("{:.1}", server.rss_peak_bytes as f64 / 1e6),
            ));
        }
        rows
    }
}

/// A mistake in the command line that parsing can not see.
pub(super) fn usage(message: impl Into<String>) -> anyhow::Error {
    report::Told(Failure::usage(message)).into()
}
