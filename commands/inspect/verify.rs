//! `inspect verify`: reads every batch of every partition and tells damage from an unsynced tail.
//! What lies below the durable frontier must be sound; what lies at or above it was never promised.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rivvend::log::Seals;
use rivvend::log::clean::{self, CleanShutdown};
use rivvend::log::epochs::LeaderEpochs;
use rivvend::log::frontier::{Frontier, FrontierEntries, FrontierState};
use rivvend::log::witness::{Gaps, Witness};
use rivvend::record::BatchHeader;
use rivvend::storage::file::FileDisk;
use rivvend::types::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use serde::Serialize;

use super::walk::{self, Step, Walk};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Column, Listing, OutputArgs, human_size};
use crate::progress::{Progress, Unit};

/// Where the cluster's metadata is, and what tables call its log.
const METADATA_DIR: &str = "metadata";
/// What journals and programs call that log.
const METADATA_ID: TopicId = TopicId(uuid::Uuid::nil());
/// Largest clean-shutdown marker that is read.
const MARKER_BYTES_MAX: u64 = 64 << 20;

/// Check every batch of a data directory. Exit code 1 when anything that was durable is damaged.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Works with and without a broker on the directory, and on one that has not \
    been recovered.\nBytes above what is known to be durable are reported and are no error.\n\n\
    Examples:\n  rivvend inspect verify ./data\n  rivvend inspect verify ./data -o json"
)]
pub(super) struct VerifyArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was found in one partition; the field names are stable.
#[derive(Debug, Serialize)]
struct Verified {
    topic_id: String,
    partition: i32,
    segments: usize,
    batches: u64,
    records: u64,
    bytes: u64,
    start_offset: i64,
    end_offset: i64,
    /// Offset up to which the log is known to be durable; absent when nothing says so.
    durable_offset: Option<i64>,
    tail: Option<Spot>,
    damage: Option<Spot>,
}

/// A place that is no sound batch.
#[derive(Debug, Serialize)]
struct Spot {
    file: PathBuf,
    byte: u64,
    offset: i64,
    bytes: u64,
    reason: String,
}

/// The id of the topic. Zeros, which are the id of none, stand for the log of the metadata.
fn topic_column(found: &Verified) -> String {
    let is_metadata = found.topic_id == METADATA_ID.to_string();
    if is_metadata { METADATA_DIR.to_owned() } else { found.topic_id.clone() }
}

const COLUMNS: &[Column<Verified>] = &[
    Column::text("TOPIC ID", topic_column),
    Column::number("PARTITION", |v| v.partition.to_string()),
    Column::number("START", |v| v.start_offset.to_string()),
    Column::number("END", |v| v.end_offset.to_string()),
    Column::number("BATCHES", |v| v.batches.to_string()),
    Column::number("RECORDS", |v| v.records.to_string()),
    Column::number("SIZE", |v| human_size(v.bytes)),
    Column::text("STATE", |v| match (&v.damage, &v.tail) {
        (Some(_), _) => "damaged".to_owned(),
        (None, Some(tail)) => format!("sound, unsynced tail of {} bytes", tail.bytes),
        (None, None) => "sound".to_owned(),
    }),
    Column::wide("DURABLE", |v| v.durable_offset.map_or_else(String::new, |d| d.to_string())),
    Column::wide("SEGMENTS", |v| v.segments.to_string()),
];

pub(super) fn run(args: &VerifyArgs) -> Outcome {
    let floors = Floors::load(&args.dir)?;
    let logs = find_logs(&args.dir)?;
    let metadata = find_metadata(&args.dir)?;
    let all = logs.iter().chain(&metadata);
    let total = all.flat_map(|log| &log.segments).map(|segment| segment.len).sum();
    let bar = Progress::new(Unit::Bytes, Some(total));
    let mut found = Vec::new();
    if let Some(log) = &metadata {
        let floors = Floors { entries: journal_of(&args.dir.join(METADATA_DIR)), clean: None };
        found.push(verify_log(log, &floors, bar.as_ref())?);
    }
    for log in &logs {
        found.push(verify_log(log, &floors, bar.as_ref())?);
    }
    found.extend(floors.missing(&args.dir, &logs));
    drop(bar);
    let name = |v: &Verified| format!("{}/{}", v.topic_id, v.partition);
    Listing { items: &found, columns: COLUMNS, name }.print(args.output.output)?;
    conclude(&found)
}

fn conclude(found: &[Verified]) -> Outcome {
    let place = |spot: &Spot| {
        format!(
            "{}: byte {}, offset {}: {}",
            spot.file.display(),
            spot.byte,
            spot.offset,
            spot.reason
        )
    };
    for tail in found.iter().filter_map(|v| v.tail.as_ref()) {
        eprintln!("unsynced tail of {} bytes: {}", tail.bytes, place(tail));
    }
    let damaged: Vec<String> = found.iter().filter_map(|v| v.damage.as_ref()).map(place).collect();
    let records: u64 = found.iter().map(|v| v.records).sum();
    let batches: u64 = found.iter().map(|v| v.batches).sum();
    eprintln!("{} partitions, {batches} sound batches, {records} records", found.len());
    match damaged.as_slice() {
        [] => Ok(Exit::Ok),
        [only] => Err(Failure::failed(format!("damage in {only}"))),
        several => {
            let list = several.join("\n  ");
            Err(Failure::failed(format!("damage in {} places:\n  {list}", several.len())))
        }
    }
}

/// Up to where logs are known to be durable.
struct Floors {
    /// None: the journal is missing or can not be believed.
    entries: Option<FrontierEntries>,
    clean: Option<CleanShutdown>,
}

impl Floors {
    fn load(dir: &Path) -> Result<Floors, Failure> {
        if !dir.join("topics").is_dir() && !dir.join("meta.yaml").is_file() {
            let message = format!("{} is not a rivvend data directory", dir.display());
            return Err(Failure::new(Exit::NotFound, message));
        }
        Ok(Floors { entries: journal_of(dir), clean: read_marker(dir) })
    }

    fn of(&self, partition: TopicPartition) -> Option<i64> {
        let journal = self.entries.as_ref();
        let journal = journal.map(|e| e.get(&partition).map_or(0, |entry| entry.end_offset.0));
        let clean = self.clean.as_ref().and_then(|clean| clean.logs.get(&partition));
        journal.max(clean.map(|log| log.end_offset.0))
    }

    /// Partitions that were durable and have no directory any more, deleted topics left out.
    fn missing(&self, dir: &Path, logs: &[LogFiles]) -> Vec<Verified> {
        let entries = self.entries.iter().flatten();
        let gone = entries.filter(|(id, entry)| {
            entry.end_offset > entry.segment_base && !logs.iter().any(|log| log.id == **id)
        });
        let topics = dir.join("topics");
        let gone = gone.filter(|(id, _)| !is_being_deleted(&topics, id.topic));
        let spot = |id: &TopicPartition, end: i64| Spot {
            file: topics.join(id.topic.to_string()).join(id.partition.to_string()),
            byte: 0,
            offset: 0,
            bytes: 0,
            reason: format!("the directory is missing, and the log was durable up to offset {end}"),
        };
        gone.map(|(id, entry)| {
            let damage = Some(spot(id, entry.end_offset.0));
            let durable_offset = Some(entry.end_offset.0);
            Verified { damage, durable_offset, ..Verified::empty(*id) }
        })
        .collect()
    }
}

/// What a frontier journal claims; none when it is missing or can not be believed.
fn journal_of(dir: &Path) -> Option<FrontierEntries> {
    let (state, entries) = Frontier::load(&FileDisk::default(), dir);
    match state {
        FrontierState::Missing => None,
        FrontierState::Unreadable(why) => {
            let dir = dir.display();
            eprintln!("warning: the frontier journal in {dir} can not be believed: {why}");
            None
        }
        FrontierState::Whole | FrontierState::TornTail { .. } => Some(entries),
    }
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

/// The segment files of a partition, in order.
struct LogFiles {
    id: TopicPartition,
    dir: PathBuf,
    segments: Vec<SegmentFile>,
}

struct SegmentFile {
    path: PathBuf,
    base: i64,
    len: u64,
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
            let segments = find_segments(&dir)?;
            logs.push(LogFiles { id: TopicPartition { topic, partition }, dir, segments });
        }
    }
    logs.sort_by_key(|log| log.id);
    Ok(logs)
}

/// The log of the cluster's metadata, which is named as no topic is.
fn find_metadata(dir: &Path) -> Result<Option<LogFiles>, Failure> {
    let dir = dir.join(METADATA_DIR).join("log");
    if !dir.is_dir() {
        return Ok(None);
    }
    let (topic, partition) = (METADATA_ID, PartitionId(0));
    let segments = find_segments(&dir)?;
    Ok(Some(LogFiles { id: TopicPartition { topic, partition }, dir, segments }))
}

fn find_segments(dir: &Path) -> Result<Vec<SegmentFile>, Failure> {
    let mut segments = Vec::new();
    for (name, path) in entries(dir)? {
        let base = name.strip_suffix(".log").filter(|digits| digits.len() == 20);
        let Some(Ok(base)) = base.map(str::parse) else { continue };
        let metadata = fs::metadata(&path);
        let len = metadata.map_err(|e| Failure::file("look at", &path, &e))?.len();
        segments.push(SegmentFile { path, base, len });
    }
    Ok(segments)
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

impl Verified {
    fn empty(id: TopicPartition) -> Verified {
        Verified {
            topic_id: id.topic.to_string(),
            partition: id.partition.0,
            segments: 0,
            batches: 0,
            records: 0,
            bytes: 0,
            start_offset: 0,
            end_offset: 0,
            durable_offset: None,
            tail: None,
            damage: None,
        }
    }

    /// Notes the first place that is no sound batch. `is_last`: no segment follows.
    fn stop(&mut self, spot: Spot, is_last: bool) {
        let is_durable = match self.durable_offset {
            Some(durable) => spot.offset < durable,
            // Without the journal only the last segment can have been written when it stopped.
            None => !is_last,
        };
        if is_durable {
            self.damage = Some(spot);
        } else {
            self.tail = Some(spot);
        }
    }
}

fn verify_log(
    log: &LogFiles,
    floors: &Floors,
    bar: Option<&Progress>,
) -> Result<Verified, Failure> {
    let mut found = Verified::empty(log.id);
    found.segments = log.segments.len();
    found.durable_offset = floors.of(log.id);
    let first = log.segments.first().map_or(0, |segment| segment.base);
    (found.start_offset, found.end_offset) = (first, first);
    let mut order = Order::of(log, found.durable_offset);
    for (index, segment) in log.segments.iter().enumerate() {
        let is_last = index + 1 == log.segments.len();
        if let Some(spot) = verify_segment(segment, &mut found, &mut order, bar)? {
            found.stop(spot, is_last);
            return Ok(found);
        }
    }
    let end = found.end_offset;
    if let Some(durable) = found.durable_offset.filter(|durable| *durable > end) {
        let last = log.segments.last();
        found.damage = Some(Spot {
            file: last.map_or_else(|| log.dir.clone(), |segment| segment.path.clone()),
            byte: last.map_or(0, |segment| segment.len),
            offset: end,
            bytes: 0,
            reason: format!("the log ends here, and it was durable up to offset {durable}"),
        });
    }
    Ok(found)
}

/// What batches are held against besides their checksums, which leave out where a batch belongs
/// and which leader epoch stamped it.
struct Order {
    witness: Witness,
    epoch: LeaderEpoch,
}

impl Order {
    fn of(log: &LogFiles, durable: Option<i64>) -> Order {
        let durable = Offset(durable.unwrap_or(0));
        let witness = match LeaderEpochs::load(&FileDisk::default(), &log.dir) {
            Ok(Some(epochs)) => Witness::with_epochs(Gaps::Refused, Arc::new(epochs), durable),
            Ok(None) => Witness::new(Gaps::Refused),
            Err(error) => {
                eprintln!("warning: {}: {error}", log.dir.display());
                Witness::new(Gaps::Refused)
            }
        };
        Order { witness, epoch: LeaderEpoch(-1) }
    }

    fn pass(&mut self, header: &BatchHeader, expected: i64) -> Result<(), String> {
        let (base, epoch) = (header.base_offset, header.leader_epoch);
        self.witness.check(header, Offset(expected), self.epoch).map_err(|contradiction| {
            let why = contradiction.why();
            format!("{why} (offset {base}, epoch {epoch} where offset {expected} comes next)")
        })?;
        self.epoch = epoch;
        Ok(())
    }
}

/// Checks a segment whose first offset has to be the end of what is before it. Returns the first
/// place that is not sound.
fn verify_segment(
    segment: &SegmentFile,
    found: &mut Verified,
    order: &mut Order,
    bar: Option<&Progress>,
) -> Result<Option<Spot>, Failure> {
    let mut seals =
        Seals::load(&FileDisk::default(), &segment.path, Offset(segment.base), segment.len);
    let unreadable = |error| Failure::file("read", &segment.path, &error);
    let spot = |walk: &Walk, offset: i64, reason: String| Spot {
        file: segment.path.clone(),
        byte: walk.position(),
        offset,
        bytes: segment.len.saturating_sub(walk.position()),
        reason,
    };
    let mut walk = Walk::open(&segment.path).map_err(unreadable)?;
    if segment.base != found.end_offset {
        let reason =
            format!("it should begin at offset {}: a segment is missing", found.end_offset);
        return Ok(Some(spot(&walk, found.end_offset, reason)));
    }
    loop {
        let at = walk.position();
        let batch = match walk.next().map_err(unreadable)? {
            Step::Batch(batch) => batch,
            Step::End => return Ok(None),
            Step::Bad(why) => {
                let mut here = spot(&walk, found.end_offset, why);
                if walk.is_zero_from_here().map_err(unreadable)? {
                    "zeros to the end of the file".clone_into(&mut here.reason);
                }
                return Ok(Some(here));
            }
        };
        let header = batch.header();
        if let Err(reason) = order.pass(header, found.end_offset) {
            return Ok(Some(Spot { byte: at, ..spot(&walk, found.end_offset, reason) }));
        }
        if let Err(block) = seals.pass(header, walk.position()) {
            let reason = "the checksum over the headers of the block does not match".to_owned();
            let bytes = segment.len.saturating_sub(block.bytes);
            let offset = block.offset.0;
            return Ok(Some(Spot { byte: block.bytes, bytes, ..spot(&walk, offset, reason) }));
        }
        found.end_offset = walk::last_offset(&batch).saturating_add(1);
        found.batches += 1;
        found.records += u64::try_from(header.records_count).unwrap_or(0);
        found.bytes += walk.position() - at;
        if let Some(bar) = bar {
            bar.advance(walk.position() - at);
        }
    }
}

#[cfg(test)]
mod tests {
    use rivvend::log::frontier::FrontierEntry;
    use rivvend::record::BatchBuilder;
    use rivvend::types::{LeaderEpoch, Millis, Offset};

    use super::*;

    const SEGMENTS: [i64; 2] = [0, 2];

    struct Case {
        root: tempfile::TempDir,
        log: LogFiles,
    }

    /// Two segments with two batches of one record each.
    fn case() -> Case {
        let root = tempfile::tempdir().expect("a directory");
        let id = TopicPartition {
            topic: TopicId::from_bytes(*b"0123456789abcdef"),
            partition: PartitionId(0),
        };
        let dir = root.path().join("topics").join(id.topic.to_string()).join("0");
        fs::create_dir_all(&dir).expect("created");
        for base in SEGMENTS {
            let mut bytes = Vec::new();
            for offset in [base, base + 1] {
                let batch = BatchBuilder::single(Millis(offset), None, Some(b"value"));
                let stamped = batch.stamp(Offset(offset), LeaderEpoch(0));
                stamped.slices().iter().for_each(|slice| bytes.extend_from_slice(slice));
            }
            fs::write(dir.join(format!("{base:020}.log")), bytes).expect("written");
        }
        let log = find_logs(root.path()).expect("found").remove(0);
        Case { root, log }
    }

    fn check(case: &Case, durable: Option<i64>) -> Verified {
        let log = find_logs(case.root.path()).expect("found").remove(0);
        let entries = durable.map(|end| {
            let segment_base = Offset(if end > 2 { 2 } else { 0 });
            let entry = FrontierEntry { segment_base, end_offset: Offset(end), position: 0 };
            FrontierEntries::from([(log.id, entry)])
        });
        verify_log(&log, &Floors { entries, clean: None }, None).expect("readable")
    }

    fn change(case: &Case, segment: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = &case.log.segments[segment].path;
        let mut bytes = fs::read(path).expect("read");
        change(&mut bytes);
        fs::write(path, bytes).expect("written");
    }

    #[test]
    fn a_sound_log_is_counted() {
        let found = check(&case(), Some(4));
        assert_eq!((found.batches, found.records, found.end_offset), (4, 4, 4));
        assert!(found.damage.is_none() && found.tail.is_none());
    }

    /// The same flipped byte is damage below the frontier and a tail above it.
    #[test]
    fn the_frontier_tells_damage_from_a_tail() {
        let case = case();
        change(&case, 1, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
        let found = check(&case, Some(4));
        let damage = found.damage.expect("it was durable");
        assert_eq!(damage.offset, 3);
        assert_eq!(damage.byte * 2, case.log.segments[1].len);
        let found = check(&case, Some(3));
        assert!(found.damage.is_none() && found.tail.is_some_and(|tail| tail.offset == 3));
        assert!(
            check(&case, None).tail.is_some(),
            "without a journal the last segment may be torn"
        );
    }

    /// D9: no checksum of a batch covers its leader epoch. On a sealed segment the side files do.
    #[test]
    fn a_flipped_epoch_is_damage_where_something_tells_of_it() {
        use rivvend::log::{Known, KnownFrontier, Log, LogConfig, OpenMode};
        let case = case();
        let path = case.log.segments[0].path.clone();
        let epoch = |bytes: &mut Vec<u8>| bytes[15] ^= 1;
        // Opened and closed once, the sealed segment has its side files, and the log its epochs.
        let known = Known { frontier: KnownFrontier::Missing, clean: None };
        let (disk, dir) = (Arc::new(FileDisk::default()), case.log.dir.clone());
        let opened = Log::open(disk, dir, LogConfig::default(), known, OpenMode::Write);
        opened.expect("opens").0.close().expect("closes");
        assert!(check(&case, Some(4)).damage.is_none());
        change(&case, 0, epoch);
        let damage = check(&case, Some(4)).damage.expect("the file of epochs tells");
        assert_eq!((damage.byte, damage.offset), (0, 0));
        change(&case, 0, epoch);
        fs::remove_file(case.log.dir.join("leader-epochs")).expect("removed");
        // The order of epochs alone would find fault with the segment behind.
        change(&case, 0, |bytes| {
            let second = bytes.len() / 2;
            bytes[second + 15] ^= 1;
        });
        let damage = check(&case, Some(4)).damage.expect("the checksum over headers tells");
        assert!(damage.file == path && damage.reason.contains("headers"), "{damage:?}");
    }

    /// The metadata is a log like any other.
    #[test]
    fn damaged_metadata_is_damage() {
        let case = case();
        let dir = case.root.path().join(METADATA_DIR).join("log");
        fs::create_dir_all(&dir).expect("created");
        for segment in &case.log.segments {
            let name = segment.path.file_name().expect("a name");
            fs::copy(&segment.path, dir.join(name)).expect("copied");
        }
        let verified = |floor| {
            let log = find_metadata(case.root.path()).expect("readable").expect("there");
            let entry =
                FrontierEntry { segment_base: Offset(2), end_offset: Offset(floor), position: 0 };
            let entries = Some(FrontierEntries::from([(log.id, entry)]));
            verify_log(&log, &Floors { entries, clean: None }, None).expect("readable")
        };
        assert!(verified(4).damage.is_none());
        assert_eq!(topic_column(&verified(4)), "metadata", "people read a name");
        let json = serde_json::to_value(verified(4)).expect("plain fields");
        assert_eq!(json["topic_id"], "00000000-0000-0000-0000-000000000000");
        let path = dir.join(format!("{:020}.log", 2));
        let mut bytes = fs::read(&path).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, bytes).expect("written");
        assert!(verified(4).damage.is_some_and(|damage| damage.offset == 3));
        assert!(verified(3).tail.is_some());
    }

    #[test]
    fn lost_bytes_and_segments_are_damage() {
        let short = case();
        change(&short, 1, |bytes| bytes.truncate(bytes.len() / 2));
        assert!(check(&short, Some(4)).damage.is_some_and(|d| d.reason.contains("durable up to")));
        assert!(check(&short, Some(3)).damage.is_none());
        let gap = case();
        change(&gap, 0, |bytes| bytes.truncate(bytes.len() / 2));
        assert!(check(&gap, Some(4)).damage.is_some_and(|d| d.reason.contains("is missing")));
        let early = case();
        change(&early, 0, |bytes| bytes[20] ^= 1);
        assert!(check(&early, None).damage.is_some(), "only the last segment may be torn");
    }

    #[test]
    fn zeros_behind_the_frontier_are_a_tail() {
        let case = case();
        change(&case, 1, |bytes| bytes.resize(bytes.len() + 100, 0));
        let tail = check(&case, Some(4)).tail.expect("there are bytes behind the end");
        assert_eq!((tail.bytes, tail.reason.as_str()), (100, "zeros to the end of the file"));
    }

    #[test]
    fn a_directory_that_vanished_is_damage() {
        let case = case();
        let id = TopicPartition { partition: PartitionId(7), ..case.log.id };
        let entry = FrontierEntry { segment_base: Offset(0), end_offset: Offset(9), position: 1 };
        let entries = Some(FrontierEntries::from([(id, entry)]));
        let missing = Floors { entries, clean: None }.missing(case.root.path(), &[]);
        assert_eq!(missing.len(), 1);
        assert!(conclude(&missing).is_err());
    }
}
