//! `inspect frontier`: up to where each log is known to be durable, what is on the disk of it, and
//! what its checkpoints say.

use std::path::Path;

use clap::Args;
use rivvend::log::epochs::{self, LeaderEpochs};
use rivvend::log::frontier::{FILE_NAME, FrontierEntry, FrontierState};
use rivvend::log::producers::{Producers, snapshot_path};
use rivvend::log::{FileKind, load_log_start};
use rivvend::storage::Disk as _;
use rivvend::storage::file::FileDisk;
use serde::Serialize;

use super::PlaceArgs;
use super::check::LOG_FIELDS;
use super::directory::{DataDir, Floors, LogFiles, METADATA_DIR};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::output::{Column, Listing, OutputArgs};

/// Largest snapshot of producers that is read.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// Show up to where each log is known to be durable, and its checkpoints
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Reads no batches; `rivvend inspect verify` does. Exit code 1 when the journal or \
    a checkpoint is damaged, or a log is shorter than it was durable.\n\n\
    Examples:\n  rivvend inspect frontier ./data\n  rivvend inspect frontier ./data orders -o json"
)]
pub(super) struct FrontierArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A log as it is printed; the field names are stable.
#[derive(Serialize)]
struct Row {
    topic: Option<String>,
    topic_id: String,
    partition: i32,
    /// What the journal says: the end, the segment it is in, and the byte of its file.
    durable_offset: Option<i64>,
    segment: Option<i64>,
    position: Option<u64>,
    /// Where the marker of a clean stop says that the log ended.
    clean_offset: Option<i64>,
    /// Bytes on the disk above the frontier; negative: so many are missing.
    bytes_above: Option<i64>,
    log_start_offset: i64,
    leader_epochs: Vec<Epoch>,
    producer_snapshots: Vec<i64>,
    damage: Option<String>,
}

#[derive(Serialize)]
struct Epoch {
    epoch: i32,
    start_offset: i64,
}

const COLUMNS: &[Column<Row>] = &[
    Column::text("TOPIC", topic_column),
    Column::number("PARTITION", |row| row.partition.to_string()),
    Column::number("DURABLE", |row| text(row.durable_offset)),
    Column::number("SEGMENT", |row| text(row.segment)),
    Column::number("POSITION", |row| text(row.position)),
    Column::number("ABOVE", |row| text(row.bytes_above)),
    Column::number("START", |row| row.log_start_offset.to_string()),
    Column::number("EPOCH", |row| text(row.leader_epochs.last().map(|last| last.epoch))),
    Column::filled("STOPPED AT", |row| text(row.clean_offset)),
    Column::filled("DAMAGE", |row| row.damage.clone().unwrap_or_default()),
    Column::wide("EPOCHS", |row| {
        let entries = row.leader_epochs.iter().map(|e| format!("{}@{}", e.epoch, e.start_offset));
        entries.collect::<Vec<_>>().join(" ")
    }),
    Column::wide("PRODUCER SNAPSHOTS", |row| {
        row.producer_snapshots.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
    }),
    Column::wide("TOPIC ID", |row| row.topic_id.clone()),
];

pub(super) const FIELDS: &[Field] = &[
    Field::shared(LOG_FIELDS),
    Field::integer("durable_offset", "Offset up to which the journal says that it is durable.")
        .nullable(),
    Field::integer("segment", "Offset that the segment with that place begins with.").nullable(),
    Field::integer("position", "The place in that file.").unit("bytes").nullable(),
    Field::integer("clean_offset", "Where the log ended when its broker stopped in order.")
        .nullable(),
    Field::integer("bytes_above", "Bytes of the file above it; negative: so many are missing.")
        .unit("bytes")
        .nullable(),
    Field::integer("log_start_offset", "First offset that the log keeps."),
    Field::list("leader_epochs", "The leaders it had, oldest first.", EPOCH_FIELDS),
    Field::integers("producer_snapshots", "Offsets of the snapshots of its producers."),
    Field::text("damage", "What is wrong with its checkpoints.").nullable(),
];

const EPOCH_FIELDS: &[Field] = &[
    Field::integer("epoch", "The leader epoch."),
    Field::integer("start_offset", "First offset that its leader wrote."),
];

fn topic_column(row: &Row) -> String {
    row.topic.clone().unwrap_or_else(|| row.topic_id.clone())
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

pub(super) fn run(args: &FrontierArgs) -> Outcome {
    let dir = DataDir::open(&args.place.dir)?;
    let logs = dir.select(args.place.topic.as_deref())?;
    let mut rows = Vec::new();
    for log in logs {
        let floors = if log.is_metadata() { &dir.metadata_floors } else { &dir.floors };
        rows.push(Row::of(log, floors)?);
    }
    let name = |row: &Row| format!("{}/{}", topic_column(row), row.partition);
    Listing { items: &rows, columns: COLUMNS, name }.print(args.output.output)?;
    let mut damaged: Vec<String> = rows.iter().filter_map(|row| row.damage.clone()).collect();
    damaged.extend(say_state(&dir.floors, &dir.path));
    if dir.path.join(METADATA_DIR).is_dir() {
        damaged.extend(say_state(&dir.metadata_floors, &dir.path.join(METADATA_DIR)));
    }
    match &dir.floors.clean {
        Some(clean) => eprintln!(
            "stopped cleanly in broker epoch {}, with {} logs",
            clean.broker_epoch.0,
            clean.logs.len()
        ),
        None => eprintln!("no clean stop: what lies above the frontier is checked at start"),
    }
    match damaged.as_slice() {
        [] => Ok(Exit::Ok),
        damaged => Err(Failure::failed(format!("damage in {}", damaged.join("\n  ")))),
    }
}

/// Says what a journal is like, and returns what is wrong with it.
fn say_state(floors: &Floors, dir: &Path) -> Option<String> {
    let path = dir.join(FILE_NAME);
    let entries = floors.journal.entries().map_or(0, |entries| entries.len());
    let path = path.display();
    match &floors.journal.state {
        FrontierState::Missing => eprintln!("{path}: there is none: every log is read in full"),
        FrontierState::Whole => eprintln!("{path}: sound, {entries} logs"),
        FrontierState::TornTail { kept_bytes, dropped_bytes } => eprintln!(
            "{path}: {entries} logs; {dropped_bytes} bytes from byte {kept_bytes} on were never \
             synced and do not count"
        ),
        FrontierState::Unreadable(why) => return Some(format!("{path}: {why}")),
    }
    None
}

impl Row {
    fn of(log: &LogFiles, floors: &Floors) -> Result<Row, Failure> {
        let disk = FileDisk::default();
        let entry = floors.journal.entries().and_then(|entries| entries.get(&log.id)).copied();
        let clean = floors.clean.as_ref().and_then(|clean| clean.logs.get(&log.id));
        let mut damage = None;
        let bytes_above = entry.map(|entry| bytes_above(log, &entry));
        if let Some((entry, bytes)) = entry.zip(bytes_above).filter(|(_, bytes)| *bytes < 0) {
            let path = log.dir.join(rivvend::log::segment_name(entry.segment_base));
            let (path, missing) = (path.display(), -bytes);
            let FrontierEntry { position, end_offset, .. } = entry;
            damage = Some(format!(
                "{path}: byte {position}, offset {end_offset}: the last {missing} bytes before it \
                 are missing"
            ));
        }
        let start = load_log_start(&disk, &log.dir).unwrap_or_else(|error| {
            damage = Some(format!("{}: {error}", log.dir.join("log-start").display()));
            None
        });
        let epochs = LeaderEpochs::load(&disk, &log.dir).unwrap_or_else(|error| {
            damage = Some(format!("{}: {error}", log.dir.join(epochs::FILE_NAME).display()));
            None
        });
        let epochs = epochs.unwrap_or_default();
        let epoch = |at: &epochs::EpochStart| Epoch { epoch: at.epoch.0, start_offset: at.start.0 };
        Ok(Row {
            topic: log.topic.clone(),
            topic_id: log.id.topic.to_string(),
            partition: log.id.partition.0,
            durable_offset: entry.map(|entry| entry.end_offset.0),
            segment: entry.map(|entry| entry.segment_base.0),
            position: entry.map(|entry| entry.position),
            clean_offset: clean.map(|clean| clean.end_offset.0),
            bytes_above,
            log_start_offset: start.map_or(0, |start| start.0),
            leader_epochs: epochs.entries().iter().map(epoch).collect(),
            producer_snapshots: snapshots(&disk, &log.dir, &mut damage)?,
            damage,
        })
    }
}

/// Bytes of the log behind the frontier, or how many are missing before it.
fn bytes_above(log: &LogFiles, entry: &FrontierEntry) -> i64 {
    let base = entry.segment_base.0;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let there = log.segments.iter().find(|segment| segment.base == base);
    let is_behind = log.segments.last().is_some_and(|last| last.base > base);
    let len = there.map_or(0, |segment| segment.len);
    if there.is_none() && is_behind {
        // Its segment has been removed since, as old ones are.
        return 0;
    }
    let behind = log.segments.iter().filter(|segment| segment.base > base);
    let later: u64 = behind.map(|segment| segment.len).sum();
    match len.checked_sub(entry.position) {
        Some(above) => signed(above.saturating_add(later)),
        None => -signed(entry.position - len),
    }
}

/// The offsets of the snapshots of the producers that can be read.
fn snapshots(
    disk: &FileDisk,
    dir: &Path,
    damage: &mut Option<String>,
) -> Result<Vec<i64>, Failure> {
    let entries = match disk.list(dir) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        entries => entries.map_err(|error| Failure::failed(error.to_string()))?,
    };
    let mut sound = Vec::new();
    for entry in entries {
        let FileKind::ProducerSnapshot(offset) = FileKind::of(&entry.name) else { continue };
        let path = snapshot_path(dir, offset);
        let bytes = match disk.read_small(&path, SNAPSHOT_BYTES_MAX) {
            // The broker has replaced it by a newer one.
            Err(error) if error.is_not_found() => continue,
            bytes => bytes.map_err(|error| Failure::failed(error.to_string()))?,
        };
        match Producers::decode(&bytes, offset) {
            Ok(_) => sound.push(offset.0),
            Err(error) => *damage = Some(format!("{}: {error}", path.display())),
        }
    }
    Ok(sound)
}
