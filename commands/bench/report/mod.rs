//! `rivvend bench report`: results as one page of HTML, for those who were not there. The page
//! needs no script, no other file and no network; what it was written from is not trusted.

mod chart;
mod facts;
mod lines;
mod page;
mod scale;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::document::Document;
use super::limits::Found;
use super::outcome::usage;
use super::printing;
use super::saved::{self, Content};
use crate::failure::Exit;
use crate::fields::{Field, Json};
use crate::output::{Column, OutputArgs};

/// Colours that are told apart.
const RUNS_MAX: usize = 6;

/// Write results as a page of HTML
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The first result is what the page is about; runs after it are drawn besides, as \
what it is compared with. Where a result of `bench limits` is among the files, the page says which \
share of the machine's limit was reached. The page is one file without scripts, which loads \
nothing else.\n\nExamples:\n  rivvend bench produce --save run.json\n  \
rivvend bench report run.json --html run.html\n  \
rivvend bench limits --save limits.json\n  \
rivvend bench report run.json earlier.json limits.json --html run.html"
)]
pub(crate) struct ReportArgs {
    /// Results of runs, at most 6, and of `bench limits`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// File to write the page to; - for standard output
    #[arg(long, value_name = "OUT")]
    html: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What the page is about.
struct Material {
    /// Runs and the names of their files; the first one first.
    runs: Vec<(String, Document)>,
    limits: Option<Found>,
}

/// What was written, for programs.
#[derive(Debug, Serialize)]
struct Written {
    html: String,
    bytes: usize,
    runs: usize,
}

const COLUMNS: &[Column<Written>] = &[
    Column::text("HTML", |w| w.html.clone()),
    Column::number("BYTES", |w| w.bytes.to_string()),
    Column::number("RUNS", |w| w.runs.to_string()),
];

/// What it prints for programs.
pub(super) const JSON: Json = Json::object(WRITTEN_FIELDS);

const WRITTEN_FIELDS: &[Field] = &[
    Field::text("html", "The file with the page."),
    Field::integer("bytes", "Its size.").unit("bytes"),
    Field::integer("runs", "How many runs are on it."),
];

/// Writes the page.
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    let mut material = Material { runs: Vec::new(), limits: None };
    for path in &args.files {
        let saved = saved::read(path)?;
        let name = saved.shown();
        match saved.content {
            Content::Run(document) => material.runs.push((name, *document)),
            Content::Limits(found) if material.limits.is_none() => material.limits = Some(found),
            Content::Limits(_) => return Err(usage("one result of `bench limits` is enough")),
        }
    }
    match material.runs.len() {
        0 => return Err(usage("none of the files is the result of a run")),
        1..=RUNS_MAX => {}
        _ => return Err(usage(format!("a page holds {RUNS_MAX} runs at most"))),
    }
    let page = page::write(&material);
    if args.html.as_os_str() == "-" {
        let written = std::io::stdout().lock().write_all(page.as_bytes());
        written.map_err(|error| printing::Told(error.into()))?;
        return Ok(Exit::Ok);
    }
    let shown = args.html.display().to_string();
    std::fs::write(&args.html, &page).with_context(|| format!("can not write {shown}"))?;
    let written = Written { html: shown, bytes: page.len(), runs: material.runs.len() };
    let rows = std::slice::from_ref(&written);
    printing::print(args.output.output, &written, rows, COLUMNS, |w| w.html.clone())?;
    Ok(Exit::Ok)
}
