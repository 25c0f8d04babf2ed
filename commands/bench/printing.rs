//! How results are printed and kept. One document for programs, a table for people.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Column, Format, Listing, print_one};

/// Writes `document` as JSON to a file, if there is one.
pub(super) fn save(path: Option<&Path>, document: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("can not write {}", path.display()))
}

/// Prints the document for programs, or its rows for people.
pub(super) fn print<T: Serialize>(
    format: Format,
    document: &impl Serialize,
    rows: &[T],
    columns: &[Column<T>],
    name: fn(&T) -> String,
) -> anyhow::Result<()> {
    let printed = match format {
        Format::Json | Format::Jsonl | Format::Yaml => print_one(format, document),
        _ => Listing { items: rows, columns, name }.print(format),
    };
    printed.map_err(Told).map_err(Into::into)
}

/// A failure that knows how the command ends, on its way through `anyhow`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Told(pub(super) Failure);
