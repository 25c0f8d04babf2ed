//! A data directory as a heap of files: which logs are in it, what their topics are called, and up
//! to where they are known to be durable. Takes no lock and changes nothing, so that it works on
//! what nobody has recovered and beside a running broker; what is durable is therefore read before
//! the files are listed, which only grow behind it, and whoever finds a fault [looks
//! again](LogFiles::look_again) before believing it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rivvend::config::did_you_mean;
use rivvend::log::clean::{self, CleanShutdown};
use rivvend::log::frontier::{Frontier, FrontierEntries, FrontierEntry, FrontierState};
use rivvend::log::repair;
use rivvend::log::{CompactionState, FileKind, SegmentPlace};
use rivvend::storage::file::FileDisk;
use rivvend::types::{Offset, PartitionId, TopicId, TopicPartition};

use crate::failure::{Exit, Failure};

/// Where the cluster's metadata is, and what its log is called.
pub(super) const METADATA_DIR: &str = "metadata";
/// What journals and programs call that log.
pub(super) const METADATA_ID: TopicId = TopicId(uuid::Uuid::nil());
/// Largest clean-shutdown marker that is read.
const MARKER_BYTES_MAX: u64 = 64 << 20;

/// A data directory.
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    /// What is known of the logs of topics.
    pub(super) floors: Floors,
    /// What is known of the log of the metadata.
    pub(super) metadata_floors: Floors,
    /// The metadata's log first, then those of topics by name. One that was durable and is gone is
    /// among them, without segments.
    pub(super) logs: Vec<LogFiles>,
    /// The topics there are, whether they have files or not.
    names: BTreeMap<TopicId, String>,
}

/// The files of a partition.
#[derive(Clone)]
pub(super) struct LogFiles {
    pub(super) id: TopicPartition,
    /// Name of the topic, where the metadata tells.
    pub(super) topic: Option<String>,
    pub(super) dir: PathBuf,
    /// Offset up to which it is known to be durable. None: nothing says so.
    pub(super) durable: Option<i64>,
    /// In order.
    pub(super) segments: Vec<SegmentFile>,
    /// Offset below which compaction may have left gaps.
    pub(super) gaps_below: Offset,
    /// Names that are no file of ours.
    pub(super) unknown: Vec<PathBuf>,
    /// By what others in their place would be noticed.
    pub(super) seen: Seen,
}

/// What tells whether somebody has put other files in the place of those that were seen. No two
/// passes of compaction leave the same behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Base offset and inode of each segment.
    segments: Vec<(i64, u64)>,
    compaction: Option<CompactionState>,
}

#[derive(Clone)]
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    pub(super) base: i64,
    pub(super) len: u64,
}

impl DataDir {
    /// Looks at a directory.
    pub(super) fn open(path: &Path) -> Result<DataDir, Failure> {
        if !is_data_dir(path) {
            let message = format!("{} is not a rivvend data directory", path.display());
            let hint = "name the directory that the broker has as --data-dir";
            return Err(Failure::new(Exit::NotFound, message).hint(hint));
        }
        let metadata_dir = path.join(METADATA_DIR);
        let floors = Floors { journal: Journal::load(path), clean: read_marker(path) };
        let metadata_floors = Floors { journal: Journal::load(&metadata_dir), clean: None };
        let names = topic_names(&metadata_dir);
        let mut logs = find_logs(path)?;
        logs.extend(floors.vanished(path, &logs));
        for log in &mut logs {
            log.topic = names.get(&log.id.topic).cloned();
            log.durable = floors.of(log.id);
        }
        logs.sort_by(|a, b| a.order().cmp(&b.order()));
        if let Some(mut log) = find_metadata(path)? {
            log.durable = metadata_floors.of(log.id);
            logs.insert(0, log);
        }
        for unknown in logs.iter().flat_map(|log| &log.unknown) {
            eprintln!("warning: {} is no file of a log and is left alone", unknown.display());
        }
        Ok(DataDir { path: path.to_owned(), floors, metadata_floors, logs, names })
    }

    /// The logs that `TOPIC` or `TOPIC/PARTITION` names; all without it.
    pub(super) fn select(&self, selector: Option<&str>) -> Result<Vec<&LogFiles>, Failure> {
        let Some(selector) = selector else { return Ok(self.logs.iter().collect()) };
        let (topic, partition) = match selector.split_once('/') {
            Some((topic, partition)) => (topic, Some(partition_number(partition)?)),
            None => (selector, None),
        };
        let id = self.topic_id(topic)?;
        let of_topic = self.logs.iter().filter(|log| log.id.topic == id);
        let wanted = |log: &&LogFiles| partition.is_none_or(|wanted| log.id.partition == wanted);
        let found: Vec<_> = of_topic.filter(wanted).collect();
        if let (Some(partition), true) = (partition, found.is_empty()) {
            let message = format!("{topic} has no files for a partition {partition}");
            let hint = "a partition gets its directory with the first append";
            return Err(Failure::new(Exit::NotFound, message).hint(hint));
        }
        Ok(found)
    }

    /// The same for those who need nothing else of the directory.
    fn into_logs(mut self, selector: Option<&str>) -> Result<Vec<LogFiles>, Failure> {
        let wanted: Vec<_> = self.select(selector)?.into_iter().map(|log| log.id).collect();
        self.logs.retain(|log| wanted.contains(&log.id));
        Ok(self.logs)
    }

    fn topic_id(&self, topic: &str) -> Result<TopicId, Failure> {
        if topic == METADATA_DIR {
            return Ok(METADATA_ID);
        }
        if let Some((id, _)) = self.names.iter().find(|(_, name)| *name == topic) {
            return Ok(*id);
        }
        let by_id = topic.parse::<TopicId>().ok();
        let is_there = |id: &TopicId| {
            self.names.contains_key(id) || self.logs.iter().any(|log| log.id.topic == *id)
        };
        if let Some(id) = by_id.filter(is_there) {
            return Ok(id);
        }
        let message = format!("{} has no topic {topic:?}", self.path.display());
        let failure = Failure::new(Exit::NotFound, message);
        Err(match did_you_mean(topic, self.names.values().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean {near:?}?")),
            None => failure.hint("`rivvend inspect log DIR` lists what is there"),
        })
    }
}

/// Whether a directory holds the data of a broker.
fn is_data_dir(path: &Path) -> bool {
    path.join("topics").is_dir() || path.join("meta.yaml").is_file()
}

/// The logs at a path, which may be a data directory, then of one topic or partition if it is
/// named, the directory of a partition, or a file of a segment.
pub(super) fn locate(path: &Path, selector: Option<&str>) -> Result<Vec<LogFiles>, Failure> {
    if is_data_dir(path) {
        return DataDir::open(path)?.into_logs(selector);
    }
    let metadata = fs::metadata(path).map_err(|error| Failure::file("look at", path, &error))?;
    if let Some(selector) = selector {
        let path = path.display();
        let message = format!("{selector:?} names a topic, and {path} is no data directory");
        return Err(Failure::usage(message));
    }
    let log = if metadata.is_dir() { partition_at(path)? } else { segment_at(path)? };
    Ok(vec![log])
}

/// The directory of a partition by itself.
fn partition_at(dir: &Path) -> Result<LogFiles, Failure> {
    let mut log = LogFiles::new(id_of(dir), dir.to_owned());
    find_segments(&mut log)?;
    if log.segments.is_empty() {
        let message = format!("{} is neither a data directory nor a partition's", dir.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    Ok(log)
}

/// The segment that a file belongs to, by itself.
fn segment_at(path: &Path) -> Result<LogFiles, Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (FileKind::Segment(base) | FileKind::SideFile(base)) = FileKind::of(name) else {
        let message = format!("{} has not the name of a file of a segment", path.display());
        let hint = "such a name is the base offset in 20 digits and .log, .index, .timeindex or \
                    .sum";
        return Err(Failure::usage(message).hint(hint));
    };
    let path = path.with_extension("log");
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let mut log = LogFiles::new(id_of(dir), dir.to_owned());
    find_segments(&mut log)?;
    // What another segment follows was written to its end.
    let next = log.segments.iter().find(|segment| segment.base > base.0);
    log.durable = next.map(|next| next.base);
    log.segments.retain(|segment| segment.base == base.0);
    if log.segments.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("there is no {}", path.display())));
    }
    Ok(log)
}

/// What partition a directory is of, if its name and that of the one above tell.
fn id_of(dir: &Path) -> TopicPartition {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let partition =
        name(dir).and_then(|name| name.parse().ok()).map_or(PartitionId(0), PartitionId);
    let topic = dir.parent().and_then(name).and_then(|name| name.parse().ok());
    TopicPartition { topic: topic.unwrap_or(METADATA_ID), partition }
}

fn partition_number(text: &str) -> Result<PartitionId, Failure> {
    let number = text.parse().ok().filter(|number| *number >= 0).map(PartitionId);
    number.ok_or_else(|| Failure::usage(format!("{text:?} is not the number of a partition")))
}

impl LogFiles {
    fn new(id: TopicPartition, dir: PathBuf) -> LogFiles {
        let (segments, unknown) = (Vec::new(), Vec::new());
        let (topic, durable, gaps_below, seen) = (None, None, Offset::ZERO, Seen::default());
        LogFiles { id, topic, dir, durable, segments, gaps_below, unknown, seen }
    }

    /// The files that are there now, if a running broker has changed which those are: by
    /// retention, by compaction, or by going on in another segment.
    pub(super) fn look_again(&self) -> Result<Option<LogFiles>, Failure> {
        if !self.dir.is_dir() {
            return Ok(None);
        }
        let mut newer = LogFiles::new(self.id, self.dir.clone());
        (newer.topic, newer.durable) = (self.topic.clone(), self.durable);
        find_segments(&mut newer)?;
        Ok((newer.seen != self.seen).then_some(newer))
    }

    /// What a person calls it: the topic's name, or its id where the name is not known.
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.topic_label(), self.id.partition)
    }

    pub(super) fn topic_label(&self) -> String {
        self.topic.clone().unwrap_or_else(|| self.id.topic.to_string())
    }

    pub(super) fn is_metadata(&self) -> bool {
        self.id.topic == METADATA_ID
    }

    /// Whether a repair of the log was begun that no start of a broker has seen.
    pub(super) fn is_under_repair(&self) -> bool {
        self.dir.join(repair::FILE_NAME).exists()
    }

    /// Whether an offset had been promised. `is_last`: no segment follows the one it is in.
    pub(super) fn is_durable(&self, offset: i64, is_last: bool) -> bool {
        match self.durable {
            Some(durable) => offset < durable,
            // Without the journal only the last segment can have been written when it stopped.
            None => !is_last,
        }
    }

    /// By name, those without one last.
    fn order(&self) -> (bool, Option<&str>, TopicPartition) {
        (self.topic.is_none(), self.topic.as_deref(), self.id)
    }
}

/// The frontier journal of a directory.
pub(super) struct Journal {
    pub(super) state: FrontierState,
    entries: FrontierEntries,
}

impl Journal {
    fn load(dir: &Path) -> Journal {
        let (state, entries) = Frontier::load(&FileDisk::default(), dir);
        if let FrontierState::Unreadable(why) = &state {
            let dir = dir.display();
            eprintln!("warning: the frontier journal in {dir} can not be believed: {why}");
        }
        Journal { state, entries }
    }

    /// What it claims; none when it is missing or can not be believed.
    pub(super) fn entries(&self) -> Option<&FrontierEntries> {
        let is_sound = matches!(self.state, FrontierState::Whole | FrontierState::TornTail { .. });
        is_sound.then_some(&self.entries)
    }
}

/// Up to where logs are known to be durable.
pub(super) struct Floors {
    pub(super) journal: Journal,
    pub(super) clean: Option<CleanShutdown>,
}

impl Floors {
    /// The offset below which a log was durable. None: nothing says so.
    pub(super) fn of(&self, partition: TopicPartition) -> Option<i64> {
        let journal = self.journal.entries();
        let journal = journal.map(|e| e.get(&partition).map_or(0, |entry| entry.end_offset.0));
        let clean = self.clean.as_ref().and_then(|clean| clean.logs.get(&partition));
        journal.max(clean.map(|log| log.end_offset.0))
    }

    /// Partitions that were durable and have no directory any more, deleted topics left out.
    fn vanished(&self, dir: &Path, logs: &[LogFiles]) -> Vec<LogFiles> {
        let topics = dir.join("topics");
        let was_there = |entry: &FrontierEntry| entry.end_offset > entry.segment_base;
        let entries = self.journal.entries().into_iter().flatten();
        let claimed = entries.filter(|(_, entry)| was_there(entry)).map(|(id, _)| *id);
        let stopped = self.clean.iter().flat_map(|clean| &clean.logs);
        let stopped = stopped.filter(|(_, log)| log.end_offset > Offset::ZERO).map(|(id, _)| *id);
        let mut gone: Vec<TopicPartition> = claimed
            .chain(stopped)
            .filter(|id| !logs.iter().any(|log| log.id == *id))
            .filter(|id| !is_being_deleted(&topics, id.topic))
            .collect();
        gone.sort();
        gone.dedup();
        gone.into_iter().map(|id| LogFiles::new(id, partition_dir(dir, id))).collect()
    }
}

/// Where the files of a partition of a topic are.
pub(super) fn partition_dir(data: &Path, id: TopicPartition) -> PathBuf {
    data.join("topics").join(id.topic.to_string()).join(id.partition.to_string())
}

fn is_being_deleted(topics: &Path, id: TopicId) -> bool {
    let name = id.to_string();
    let mut entries = fs::read_dir(topics).into_iter().flatten().flatten();
    entries
        .any(|entry| entry.file_name().to_str().is_some_and(|n| n != name && n.starts_with(&name)))
}

/// The marker of a clean stop, read without taking it away.
fn read_marker(dir: &Path) -> Option<CleanShutdown> {
    let path = dir.join(clean::FILE_NAME);
    let len = fs::metadata(&path).ok()?.len();
    let bytes = (len <= MARKER_BYTES_MAX).then(|| fs::read(&path).ok()).flatten()?;
    match CleanShutdown::decode(&bytes) {
        Ok(marker) => Some(marker),
        Err(error) => {
            eprintln!("warning: {}: {error}", path.display());
            None
        }
    }
}

/// The names of the topics. Without metadata that can be read there are only ids.
fn topic_names(metadata_dir: &Path) -> BTreeMap<TopicId, String> {
    if !metadata_dir.is_dir() {
        return BTreeMap::new();
    }
    match rivvend::quorum::replay_read_only(Arc::new(FileDisk::default()), metadata_dir) {
        Ok(image) => image.topics().map(|topic| (topic.id, topic.name.to_string())).collect(),
        Err(error) => {
            eprintln!("warning: topics are called by their ids: {error}");
            BTreeMap::new()
        }
    }
}

fn find_logs(dir: &Path) -> Result<Vec<LogFiles>, Failure> {
    let mut logs = Vec::new();
    let topics = dir.join("topics");
    if !topics.exists() {
        return Ok(logs);
    }
    for (name, topic_dir) in entries(&topics)? {
        let Ok(topic) = name.parse::<TopicId>() else { continue };
        for (name, dir) in entries(&topic_dir)? {
            let Ok(partition) = name.parse().map(PartitionId) else { continue };
            let mut log = LogFiles::new(TopicPartition { topic, partition }, dir);
            find_segments(&mut log)?;
            logs.push(log);
        }
    }
    Ok(logs)
}

/// The log of the cluster's metadata, which is named as no topic is.
fn find_metadata(dir: &Path) -> Result<Option<LogFiles>, Failure> {
    let dir = dir.join(METADATA_DIR).join("log");
    if !dir.is_dir() {
        return Ok(None);
    }
    let (topic, partition) = (METADATA_ID, PartitionId(0));
    let mut log = LogFiles::new(TopicPartition { topic, partition }, dir);
    log.topic = Some(METADATA_DIR.to_owned());
    find_segments(&mut log)?;
    Ok(Some(log))
}

fn find_segments(log: &mut LogFiles) -> Result<(), Failure> {
    for (name, path) in entries(&log.dir)? {
        match FileKind::of(&name) {
            FileKind::Segment(base) => match fs::metadata(&path) {
                Ok(metadata) => {
                    log.seen.segments.push((base.0, metadata.ino()));
                    log.segments.push(SegmentFile { path, base: base.0, len: metadata.len() });
                }
                // Retention of a running broker has taken it away.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::file("look at", &path, &error)),
            },
            FileKind::Unknown => log.unknown.push(path),
            _ => {}
        }
    }
    settle_compaction(log);
    Ok(())
}

/// Takes the segments for what they are once an exchange that was cut short is done.
fn settle_compaction(log: &mut LogFiles) {
    let disk = FileDisk::default();
    match CompactionState::load(&disk, &log.dir) {
        Ok(None) => {}
        Ok(Some(state)) => {
            let place = |segment: SegmentFile| {
                let SegmentFile { path, base, len } = segment;
                SegmentPlace { base: Offset(base), len, path }
            };
            let found = std::mem::take(&mut log.segments).into_iter().map(place).collect();
            let settled = state.settle(&disk, &log.dir, found).into_iter();
            let file = |SegmentPlace { base, len, path }| SegmentFile { path, base: base.0, len };
            log.segments = settled.map(file).collect();
            log.gaps_below = state.gaps_below;
            log.seen.compaction = Some(state);
        }
        Err(error) => {
            eprintln!("warning: {}: compaction: {error}", log.dir.display());
            // The last segment is never compacted.
            let last = log.segments.iter().map(|segment| segment.base).max();
            log.gaps_below = Offset(last.unwrap_or(0));
        }
    }
}

/// The names in a directory, sorted.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let failed = |error| Failure::file("list", dir, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claiming(entries: FrontierEntries) -> Floors {
        let journal = Journal { state: FrontierState::Whole, entries };
        Floors { journal, clean: None }
    }

    fn directory() -> (tempfile::TempDir, TopicId) {
        let root = tempfile::tempdir().expect("a directory");
        let topic = TopicId::from_bytes(*b"0123456789abcdef");
        for partition in ["0", "1"] {
            let dir = root.path().join("topics").join(topic.to_string()).join(partition);
            fs::create_dir_all(&dir).expect("created");
            for name in ["00000000000000000000.log", "00000000000000000007.log", "7.log"] {
                fs::write(dir.join(name), b"").expect("written");
            }
        }
        (root, topic)
    }

    #[test]
    fn logs_are_found_and_selected_by_id() {
        let (root, topic) = directory();
        let dir = DataDir::open(root.path()).expect("ours");
        let bases = |log: &LogFiles| log.segments.iter().map(|s| s.base).collect::<Vec<_>>();
        assert_eq!(dir.logs.iter().map(bases).collect::<Vec<_>>(), [[0, 7], [0, 7]]);
        assert!(dir.logs[0].unknown[0].ends_with("7.log"), "a wrong name is noted");
        let one = dir.select(Some(&format!("{topic}/1"))).expect("there");
        assert_eq!(one.iter().map(|log| log.id.partition.0).collect::<Vec<_>>(), [1]);
        assert_eq!(dir.select(Some(&topic.to_string())).expect("there").len(), 2);
    }

    #[test]
    fn what_is_not_there_is_told_from_what_makes_no_sense() {
        let (root, topic) = directory();
        let dir = DataDir::open(root.path()).expect("ours");
        let exit = |selector: &str| dir.select(Some(selector)).err().expect("refused").exit;
        assert_eq!(exit("orders"), Exit::NotFound);
        assert_eq!(exit(&format!("{topic}/9")), Exit::NotFound);
        assert_eq!(exit(&format!("{topic}/x")), Exit::Usage);
        assert_eq!(exit(&format!("{topic}/-1")), Exit::Usage);
        let foreign = tempfile::tempdir().expect("a directory");
        let refused = DataDir::open(foreign.path()).err().expect("not ours");
        assert_eq!(refused.exit, Exit::NotFound);
    }

    #[test]
    fn a_directory_that_vanished_is_still_a_log() {
        let (root, topic) = directory();
        let id = TopicPartition { topic, partition: PartitionId(7) };
        let entry = FrontierEntry { segment_base: Offset(0), end_offset: Offset(9), position: 1 };
        let floors = claiming(FrontierEntries::from([(id, entry)]));
        let gone = floors.vanished(root.path(), &[]);
        assert_eq!(gone.len(), 1);
        assert!(gone[0].dir.ends_with("7") && gone[0].segments.is_empty());
        fs::create_dir(root.path().join("topics").join(format!("{topic}.deleted"))).expect("made");
        assert!(floors.vanished(root.path(), &[]).is_empty(), "its topic is being deleted");
    }
}
