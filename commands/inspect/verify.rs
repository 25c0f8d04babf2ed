//! `inspect verify`: reads every batch of every partition and says whether all that was durable is
//! sound.

use clap::Args;
use serde::Serialize;

use super::PlaceArgs;
use super::check::{self, DAMAGE_FIELD, LOG_FIELDS, LogCheck, Spot, TAIL_FIELD, Until, check_log};
use super::directory::{DataDir, LogFiles};
use crate::failure::Outcome;
use crate::fields::Field;
use crate::output::{Column, Listing, OutputArgs, human_size};
use crate::progress::{Progress, Unit};

/// Check every batch of a data directory. Exit code 1 when anything that was durable is damaged.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Works with and without a broker on the directory, and on one that has not \
    been recovered.\nBytes above what is known to be durable are reported and are no error.\n\n\
    Examples:\n  rivvend inspect verify ./data\n  rivvend inspect verify ./data orders/0 -o json"
)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was found in one partition; the field names are stable.
#[derive(Debug, Serialize)]
struct Verified {
    topic: Option<String>,
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

/// The topic's name, or its id where the name is not known.
fn topic_column(found: &Verified) -> String {
    found.topic.clone().unwrap_or_else(|| found.topic_id.clone())
}

const COLUMNS: &[Column<Verified>] = &[
    Column::text("TOPIC", topic_column),
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
    Column::wide("TOPIC ID", |v| v.topic_id.clone()),
];

pub(super) const FIELDS: &[Field] = &[
    Field::shared(LOG_FIELDS),
    Field::integer("segments", "How many files there are."),
    Field::integer("batches", "Sound batches, up to damage or the tail."),
    Field::integer("records", "Records in them."),
    Field::integer("bytes", "What they take.").unit("bytes"),
    Field::integer("start_offset", "First offset that the log keeps."),
    Field::integer("end_offset", "Offset after the last sound batch."),
    Field::integer("durable_offset", "Offset up to which it is durable; null: nothing says.")
        .nullable(),
    TAIL_FIELD,
    DAMAGE_FIELD,
];

pub(super) fn run(args: &VerifyArgs) -> Outcome {
    let dir = DataDir::open(&args.place.dir)?;
    let logs = dir.select(args.place.topic.as_deref())?;
    let total = logs.iter().flat_map(|log| &log.segments).map(|s| s.len).sum();
    let bar = Progress::new(Unit::Bytes, Some(total));
    let mut checks = Vec::new();
    for log in &logs {
        checks.push(check_log(log, Until::FirstSpot, bar.as_ref())?);
    }
    drop(bar);
    let items: Vec<Verified> =
        logs.iter().zip(&checks).map(|(log, check)| Verified::of(log, check)).collect();
    let name = |v: &Verified| format!("{}/{}", topic_column(v), v.partition);
    Listing { items: &items, columns: COLUMNS, name }.print(args.output.output)?;
    check::conclude(checks.iter())
}

impl Verified {
    fn of(log: &LogFiles, check: &LogCheck) -> Verified {
        Verified {
            topic: log.topic.clone(),
            topic_id: log.id.topic.to_string(),
            partition: log.id.partition.0,
            segments: check.files,
            batches: check.sum(|segment| segment.batches),
            records: check.sum(|segment| segment.records),
            bytes: check.sum(|segment| segment.bytes),
            start_offset: check.start_offset,
            end_offset: check.end_offset,
            durable_offset: check.durable_offset,
            tail: check.tail.clone(),
            damage: check.damage.clone(),
        }
    }
}
