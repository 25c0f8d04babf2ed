//! What the figures were measured on: a result without it says nothing.

use std::path::Path;

use rivvend::storage::platform::{FilesystemKind, filesystem_kind};
use serde::{Deserialize, Serialize};

use crate::fields::Field;

/// The machine, as results name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    /// Of the directory that was written to; none when the broker is elsewhere.
    pub(super) filesystem: Option<String>,
    /// What that file system is on, as the kernel names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<String>,
    /// Whether it is memory rather than a disk.
    #[serde(skip)]
    pub(super) is_volatile: bool,
    /// Processes that wanted to run, over the minute before: noise, if it is much above 0.
    pub(super) load_average: f64,
}

/// The machine as programs read it.
pub(super) const MACHINE_FIELDS: &[Field] = &[
    Field::text("cpu", "Its processor."),
    Field::integer("cores", "How many of them this process may use."),
    Field::integer("memory_bytes", "Its memory.").unit("bytes"),
    Field::text("kernel", "Release of its kernel."),
    Field::text("filesystem", "File system of the directory; null: the broker is elsewhere.")
        .nullable(),
    Field::text("disk", "What that is on, as far as the kernel tells.").optional(),
    Field::number("load_average", "Processes that wanted to run, over the minute before."),
];

impl Machine {
    /// This machine, and the file system at `directory`.
    pub(super) fn describe(directory: Option<&Path>) -> Machine {
        let kind = directory.and_then(|path| filesystem_kind(path).ok());
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
            filesystem: kind.map(|kind| kind.to_string()),
            disk: directory.and_then(disk),
            is_volatile: kind.is_some_and(FilesystemKind::is_volatile),
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

/// The disk below a directory: its name, its model if it tells one, and its kind. `None` where
/// there is no single one, as on a network or in memory.
fn disk(directory: &Path) -> Option<String> {
    let device = rustix::fs::stat(directory).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let node = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // A partition is a folder of its disk.
    let disk = if node.join("queue").is_dir() { &*node } else { node.parent()? };
    let read = |name: &str| {
        let text = std::fs::read_to_string(disk.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    // What a virtual disk says of rotation means nothing.
    let is_virtual = disk.iter().any(|part| part.to_string_lossy().starts_with("virtio"));
    let kind = match read("queue/rotational")?.as_str() {
        _ if is_virtual => "virtual",
        "0" => "does not rotate",
        _ => "rotates",
    };
    let name = disk.file_name()?.to_string_lossy();
    let model = read("device/model").map(|model| format!("{model}, ")).unwrap_or_default();
    Some(format!("{name}, {model}{kind}"))
}
