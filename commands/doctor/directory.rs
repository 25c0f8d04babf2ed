//! The data directory: who has it, whether it is ours, and what lies there that nobody needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rivvend::config::Config;
use rivvend::protocol::native::message::DescribeTopics;
use rivvend::storage::lock::{DirectoryLock, LockError};
use rivvend::types::TopicId;

use super::Finding;
use crate::failure::Exit;
use crate::output::human_size;
use crate::target::{self, Intent, TargetArgs};

/// Levels below a partition's directory that are looked into. Ours has none.
const DEPTH_MAX: usize = 4;

/// The directory whose file system counts, the one above where it has to be made first, and whether
/// a broker holds it.
pub(super) fn place(config: &Config, findings: &mut Vec<Finding>) -> (Option<PathBuf>, bool) {
    let name = "data directory";
    let directory = &config.storage.data_dir;
    let shown = directory.display();
    if !directory.exists() {
        let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        let above = absolute.ancestors().find(|above| above.is_dir()).map(Path::to_path_buf);
        findings.push(Finding::ok(name, format!("{shown} is not there: the first start makes it")));
        return (above, false);
    }
    if !directory.join("meta.yaml").exists() {
        findings.push(Finding::ok(name, format!("{shown} holds nothing of ours yet")));
        return (Some(directory.clone()), false);
    }
    match DirectoryLock::shared(directory) {
        Ok(_lock) => {
            findings.push(Finding::ok(name, format!("{shown}, which nobody uses now")));
            (Some(directory.clone()), false)
        }
        Err(LockError::Held { pid }) => {
            let holder = pid.map_or_else(|| "somebody".to_owned(), |pid| format!("process {pid}"));
            findings.push(Finding::ok(name, format!("{shown}, in use by {holder}")));
            (Some(directory.clone()), true)
        }
        Err(LockError::Storage(error)) => {
            let advice = "run this, and the broker, as the user who owns the directory";
            findings.push(Finding::critical(name, error.to_string(), advice));
            (None, false)
        }
    }
}

/// Directories of topics that the metadata do not know, and tails that recovery set aside.
pub(super) fn leftovers(directory: &Path) -> Vec<Finding> {
    let topics = directory.join("topics");
    let there = topic_directories(&topics);
    if there.is_empty() {
        return vec![Finding::ok("orphaned directories", "none")];
    }
    vec![orphans(directory, &topics, &there), set_aside(&topics)]
}

fn orphans(directory: &Path, topics: &Path, there: &BTreeSet<TopicId>) -> Finding {
    let name = "orphaned directories";
    let mut known = BTreeSet::new();
    let target = TargetArgs::of_directory(directory);
    let asked = target::run(&target, Intent::Read, async |session| {
        let ask = DescribeTopics { names: Vec::new(), internal: true };
        let found = session.client.describe_topics(ask).await?;
        known.extend(found.iter().filter_map(|topic| {
            let id = topic.topic_id.as_slice().try_into().ok()?;
            Some(TopicId::from_bytes(id))
        }));
        Ok(Exit::Ok)
    });
    if let Err(failure) = asked {
        let advice = "start the broker and see what it says";
        return Finding::warning(name, format!("not looked for: {}", failure.message), advice);
    }
    let orphans: Vec<_> = there.difference(&known).collect();
    let Some(first) = orphans.first() else { return Finding::ok(name, "none") };
    let bytes: u64 = orphans.iter().map(|id| size(&topics.join(id.to_string()), DEPTH_MAX)).sum();
    let detail = format!(
        "{} with {}, among them {}: the metadata know no such topic",
        orphans.len(),
        human_size(bytes),
        topics.join(first.to_string()).display()
    );
    let advice = "they are kept in case the metadata were lost; move them away when they were not";
    Finding::warning(name, detail, advice)
}

/// What recovery and repair cut off and kept.
fn set_aside(topics: &Path) -> Finding {
    let name = "set aside";
    let mut found = (0, 0);
    count_set_aside(topics, DEPTH_MAX, &mut found);
    match found {
        (0, _) => Finding::ok(name, "nothing"),
        (files, bytes) => {
            let detail = format!("{files} files with {} below topics", human_size(bytes));
            let advice = "nothing reads them; remove them when nobody wants to look into them";
            Finding::ok(name, format!("{detail}: {advice}"))
        }
    }
}

fn topic_directories(topics: &Path) -> BTreeSet<TopicId> {
    let entries = fs::read_dir(topics).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn count_set_aside(directory: &Path, depth: usize, found: &mut (u64, u64)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && depth > 0 {
            count_set_aside(&entry.path(), depth - 1, found);
        } else if entry.file_name().to_str().is_some_and(|name| name.ends_with(".torn")) {
            found.0 += 1;
            found.1 += metadata.len();
        }
    }
}

/// Bytes of the files below a directory. Symbolic links are not followed.
fn size(directory: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => size(&entry.path(), depth - 1),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}
