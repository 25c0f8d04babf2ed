//! `inspect log`: the segments of each partition, with what every batch and the side files say of
//! them.

use std::path::PathBuf;

use clap::Args;
use rivvend::log::SideFiles;
use rivvend::storage::file::FileDisk;
use rivvend::types::Offset;
use serde::Serialize;

use super::check::{
    self, DAMAGE_FIELD, LOG_FIELDS, LogCheck, SegmentCheck, Spot, TAIL_FIELD, Until, check_log,
};
use super::directory::{DataDir, LogFiles, SegmentFile};
use super::{PlaceArgs, time_column};
use crate::failure::Outcome;
use crate::fields::Field;
use crate::output::{Column, Listing, OutputArgs, human_size};
use crate::progress::{Progress, Unit};

/// List the segments of partitions. Exit code 1 when anything that was durable is damaged.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Reads every batch, behind damage as well, and changes nothing. Works with and \
    without a broker on the directory.\n\n\
    Examples:\n  rivvend inspect log ./data\n  rivvend inspect log ./data orders/0 -o wide\n  \
    rivvend inspect log ./data orders -o json"
)]
pub(super) struct LogArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A segment as it is printed; the field names are stable.
#[derive(Debug, Serialize)]
struct Segment {
    topic: Option<String>,
    topic_id: String,
    partition: i32,
    base_offset: i64,
    /// The offset after the last sound batch.
    end_offset: i64,
    size_bytes: u64,
    batches: u64,
    records: u64,
    /// Oldest and newest time stamp, in milliseconds since 1970.
    first_timestamp: Option<i64>,
    last_timestamp: Option<i64>,
    index: IndexState,
    /// Bytes of the file up to which the index goes.
    indexed_bytes: u64,
    /// Checksums over the headers of blocks that there are.
    sums: usize,
    tail: Option<Spot>,
    damage: Option<Spot>,
    file: PathBuf,
}

/// What the side files of a segment are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum IndexState {
    /// They go to the end of the segment, which proves that it was synced whole.
    Complete,
    /// They end earlier, as those of the last segment do.
    Partial,
    /// There are none; a broker makes them anew.
    Missing,
    /// Some are missing, damaged or do not belong together; a broker makes them anew.
    Wrong,
}

impl IndexState {
    fn name(self) -> &'static str {
        match self {
            IndexState::Complete => "complete",
            IndexState::Partial => "partial",
            IndexState::Missing => "missing",
            IndexState::Wrong => "wrong",
        }
    }

    fn of(files: &SideFiles, len: u64) -> IndexState {
        if files.are_missing() {
            IndexState::Missing
        } else if !files.are_whole() {
            IndexState::Wrong
        } else if len > 0 && files.covered_bytes() == len {
            IndexState::Complete
        } else {
            IndexState::Partial
        }
    }
}

const COLUMNS: &[Column<Segment>] = &[
    Column::text("TOPIC", topic_column),
    Column::number("PARTITION", |s| s.partition.to_string()),
    Column::number("BASE", |s| s.base_offset.to_string()),
    Column::number("END", |s| s.end_offset.to_string()),
    Column::number("RECORDS", |s| s.records.to_string()),
    Column::number("SIZE", |s| human_size(s.size_bytes)),
    Column::text("FROM", |s| s.first_timestamp.map_or_else(String::new, time_column)),
    Column::text("TO", |s| s.last_timestamp.map_or_else(String::new, time_column)),
    Column::text("INDEX", |s| s.index.name().to_owned()),
    Column::number("SUMS", |s| s.sums.to_string()),
    Column::text("STATE", |s| match (&s.damage, &s.tail) {
        (Some(damage), _) => format!("damaged at byte {}", damage.byte),
        (None, Some(tail)) => format!("unsynced tail of {} bytes", tail.bytes),
        (None, None) => "sound".to_owned(),
    }),
    Column::wide("BATCHES", |s| s.batches.to_string()),
    Column::wide("TOPIC ID", |s| s.topic_id.clone()),
    Column::wide("FILE", |s| s.file.display().to_string()),
];

pub(super) const FIELDS: &[Field] = &[
    Field::shared(LOG_FIELDS),
    Field::integer("base_offset", "Offset that the segment begins with."),
    Field::integer("end_offset", "Offset after its last sound batch."),
    Field::integer("size_bytes", "Size of the file.").unit("bytes"),
    Field::integer("batches", "Sound batches in it."),
    Field::integer("records", "Records in them."),
    Field::integer("first_timestamp", "Oldest time stamp in it.")
        .unit("milliseconds since 1970")
        .nullable(),
    Field::integer("last_timestamp", "Newest time stamp in it.")
        .unit("milliseconds since 1970")
        .nullable(),
    Field::text("index", "What its index is like: complete, partial, missing or wrong."),
    Field::integer("indexed_bytes", "Bytes of the file up to which the index goes.").unit("bytes"),
    Field::integer("sums", "How many checksums over headers the index has."),
    TAIL_FIELD,
    DAMAGE_FIELD,
    Field::text("file", "The file."),
];

fn topic_column(segment: &Segment) -> String {
    segment.topic.clone().unwrap_or_else(|| segment.topic_id.clone())
}

pub(super) fn run(args: &LogArgs) -> Outcome {
    let dir = DataDir::open(&args.place.dir)?;
    let logs = dir.select(args.place.topic.as_deref())?;
    let total = logs.iter().flat_map(|log| &log.segments).map(|s| s.len).sum();
    let bar = Progress::new(Unit::Bytes, Some(total));
    let (mut checks, mut items) = (Vec::new(), Vec::new());
    for log in &logs {
        let check = check_log(log, Until::End, bar.as_ref())?;
        items.extend(rows(log, &check));
        checks.push(check);
    }
    drop(bar);
    let name = |s: &Segment| s.file.display().to_string();
    Listing { items: &items, columns: COLUMNS, name }.print(args.output.output)?;
    check::conclude(checks.iter())
}

/// The segments of a log. What is missing where the log should begin is a row of its own, so that
/// the damage is in every form of output.
fn rows(log: &LogFiles, check: &LogCheck) -> Vec<Segment> {
    let named = |file: &PathBuf| check.segments.iter().any(|segment| segment.file == *file);
    let missing = check.damage.iter().filter(|damage| !named(&damage.file)).map(|damage| {
        let (path, base) = (damage.file.clone(), damage.offset);
        let segment = SegmentCheck::of(&SegmentFile { path, base, len: 0 });
        let damaged = SegmentCheck { damage: Some(damage.clone()), ..segment };
        Segment::of(log, &damaged, &SideFiles::none())
    });
    let there = check.segments.iter().map(|segment| {
        let (base, len) = (Offset(segment.base), segment.file_bytes);
        let files = SideFiles::read(&FileDisk::default(), &segment.file, base, len);
        Segment::of(log, segment, &files)
    });
    missing.chain(there).collect()
}

impl Segment {
    fn of(log: &LogFiles, check: &SegmentCheck, files: &SideFiles) -> Segment {
        Segment {
            topic: log.topic.clone(),
            topic_id: log.id.topic.to_string(),
            partition: log.id.partition.0,
            base_offset: check.base,
            end_offset: check.end_offset,
            size_bytes: check.file_bytes,
            batches: check.batches,
            records: check.records,
            first_timestamp: check.times.map(|(first, _)| first),
            last_timestamp: check.times.map(|(_, last)| last),
            index: IndexState::of(files, check.file_bytes),
            indexed_bytes: files.covered_bytes(),
            sums: files.entries.iter().filter(|entry| entry.sum.is_some()).count(),
            tail: check.tail.clone(),
            damage: check.damage.clone(),
            file: check.file.clone(),
        }
    }
}
