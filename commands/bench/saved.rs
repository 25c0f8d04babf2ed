//! Results that earlier runs have saved, as they are read again. A file may hold anything: whatever
//! is no result is an error that names the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::document::Document;
use super::limits::Found;
use super::printing::Told;
use crate::failure::{Exit, Failure};

/// Far beyond what a run writes, which is some hundred bytes a second.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A result and where it was.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Run(Box<Document>),
    Limits(Found),
}

/// What every result begins with.
#[derive(Deserialize)]
struct Head {
    command: String,
}

/// Reads one result.
pub(super) fn read(path: &Path) -> anyhow::Result<Saved> {
    let failed = |error: io::Error| Told(Failure::file("read", path, &error));
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(path, "it is larger than 64 MiB"));
    }
    let head: Head = parse(path, &text)?;
    let content = match &*head.command {
        "limits" => Content::Limits(parse(path, &text)?),
        "produce" | "consume" | "e2e" | "mixed" => Content::Run(Box::new(parse(path, &text)?)),
        other => return Err(refused(path, &format!("it is of the command {other:?}"))),
    };
    Ok(Saved { path: path.to_owned(), content })
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).map_err(|error| refused(path, &error.to_string()))
}

fn refused(path: &Path, why: &str) -> anyhow::Error {
    let message = format!("{} is no result of a run: {why}", path.display());
    let hint = "`rivvend bench … --save FILE` and `-o json` write results";
    Told(Failure::new(Exit::Failed, message).hint(hint)).into()
}

impl Saved {
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }
}
