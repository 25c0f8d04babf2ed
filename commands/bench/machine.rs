//! What the figures were measured on: a result without it says nothing.

use std::path::Path;

use rivvend::storage::platform::filesystem_kind;
use serde::{Deserialize, Serialize};

/// The machine, as results name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    /// Of the directory that was written to; none when the broker is elsewhere.
    pub(super) filesystem: Option<String>,
    /// Processes that wanted to run, over the minute before: noise, if it is much above 0.
    pub(super) load_average: f64,
}

impl Machine {
    /// This machine, and the file system at `directory`.
    pub(super) fn describe(directory: Option<&Path>) -> Machine {
        let first_word = |text: &str| text.split_ascii_whitespace().next().map(str::to_owned);
        Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            memory_bytes: field("/proc/meminfo", "MemTotal")
                .and_then(|text| first_word(&text)?.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            filesystem: directory
                .and_then(|path| filesystem_kind(path).ok())
                .map(|k| k.to_string()),
            load_average: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| first_word(&text)?.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// The value behind `name:` in a file of `/proc`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().strip_prefix(':')?.trim().to_owned())
}
