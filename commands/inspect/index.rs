//! `inspect index`: the entries of the side files of segments, each held against the batches.

use std::path::PathBuf;

use clap::Args;
use rivvend::log::{Comparison, IndexEntry, SideFileState, SideFiles, Verdict};
use rivvend::storage::file::FileDisk;
use rivvend::types::Offset;
use serde::Serialize;

use super::directory::{LogFiles, SegmentFile, locate};
use super::time_column;
use super::walk::{Step, Walk};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::output::{Column, Listing, OutputArgs};

/// Show the index of segments, and whether the batches bear it out
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit code 1 when an entry or a file is wrong. A missing or wrong index is no \
    loss: a broker makes it anew from the batches. A wrong sum is: the headers are not what was \
    written.\n\n\
    Examples:\n  rivvend inspect index ./data orders/0\n  \
    rivvend inspect index data/topics/<topic id>/0\n  \
    rivvend inspect index data/topics/<topic id>/0/00000000000000000000.index -o json"
)]
pub(super) struct IndexArgs {
    /// A data directory, the directory of a partition, or a file of a segment
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Only this topic or partition of a data directory; name or id, or `metadata`
    #[arg(value_name = "TOPIC[/PARTITION]")]
    topic: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// An entry as it is printed; the field names are stable.
#[derive(Serialize)]
struct Entry {
    topic: String,
    partition: i32,
    segment: i64,
    /// From 0 on.
    entry: usize,
    /// Batches before the place have only offsets below this one.
    offset: i64,
    position: u64,
    /// Newest time stamp before the place.
    newest_timestamp: Option<i64>,
    /// Checksum over the headers of the block that ends there.
    sum: Option<u32>,
    /// `agrees`, or what is wrong.
    state: String,
    file: PathBuf,
}

const COLUMNS: &[Column<Entry>] = &[
    Column::text("TOPIC", |e| e.topic.clone()),
    Column::number("PARTITION", |e| e.partition.to_string()),
    Column::number("SEGMENT", |e| e.segment.to_string()),
    Column::number("ENTRY", |e| e.entry.to_string()),
    Column::number("OFFSET", |e| e.offset.to_string()),
    Column::number("POSITION", |e| e.position.to_string()),
    Column::text("NEWEST BEFORE", |e| e.newest_timestamp.map_or_else(String::new, time_column)),
    Column::text("SUM", |e| e.sum.map_or_else(String::new, |sum| format!("{sum:08x}"))),
    Column::text("STATE", |e| e.state.clone()),
    Column::wide("FILE", |e| e.file.display().to_string()),
];

pub(super) const FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic, or its id where nothing tells the name."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("segment", "Offset that the segment begins with."),
    Field::integer("entry", "Number of the entry, from 0 on."),
    Field::integer("offset", "Batches before the place have only offsets below this one."),
    Field::integer("position", "The place in the file that the entry is about.").unit("bytes"),
    Field::integer("newest_timestamp", "Newest time stamp before the place; -1: none is known.")
        .unit("milliseconds since 1970")
        .nullable(),
    Field::integer("sum", "Checksum over the headers of the block that ends there.").nullable(),
    Field::text("state", "`agrees`, or what is wrong."),
    Field::text("file", "The file of the entry."),
];

pub(super) fn run(args: &IndexArgs) -> Outcome {
    let logs = locate(&args.path, args.topic.as_deref())?;
    let mut survey = Survey::default();
    for log in &logs {
        for segment in &log.segments {
            survey.look_at(log, segment)?;
        }
    }
    let name = |e: &Entry| format!("{}@{}", e.file.display(), e.position);
    Listing { items: &survey.entries, columns: COLUMNS, name }.print(args.output.output)?;
    for note in &survey.notes {
        eprintln!("{note}");
    }
    match survey.wrong.as_slice() {
        [] => Ok(Exit::Ok),
        wrong => {
            let failure = Failure::failed(format!("wrong:\n  {}", wrong.join("\n  ")));
            Err(failure.hint("a broker makes an index anew that is missing or wrong"))
        }
    }
}

/// What was found.
#[derive(Default)]
struct Survey {
    entries: Vec<Entry>,
    notes: Vec<String>,
    /// File, byte and reason.
    wrong: Vec<String>,
}

impl Survey {
    fn look_at(&mut self, log: &LogFiles, segment: &SegmentFile) -> Result<(), Failure> {
        let (base, path) = (Offset(segment.base), &segment.path);
        let files = SideFiles::read(&FileDisk::default(), path, base, segment.len);
        if files.are_missing() {
            self.notes.push(format!("{}: there is no index", path.display()));
            return Ok(());
        }
        self.look_at_files(&files);
        let Some(verdicts) = compare(&files.entries, segment)? else { return Ok(()) };
        let judged = verdicts.iter().filter(|verdict| **verdict == Some(Verdict::Agrees)).count();
        self.notes.push(format!(
            "{}: {judged} of {} entries agree, up to byte {} of {}",
            path.display(),
            files.entries.len(),
            files.covered_bytes(),
            segment.len
        ));
        let mut block = (0, segment.base);
        for (number, (entry, verdict)) in files.entries.iter().zip(verdicts).enumerate() {
            let state = describe(verdict);
            if verdict != Some(Verdict::Agrees) {
                self.wrong.push(match verdict {
                    // What is wrong is the segment itself.
                    Some(Verdict::OtherSum(_)) | None => {
                        format!("{}: byte {}, offset {}: {state}", path.display(), block.0, block.1)
                    }
                    _ => format!("{}: entry {number}: {state}", files.files[0].path.display()),
                });
            }
            block = (entry.position, entry.offset.0);
            self.entries.push(Entry {
                topic: log.topic_label(),
                partition: log.id.partition.0,
                segment: segment.base,
                entry: number,
                offset: entry.offset.0,
                position: entry.position,
                newest_timestamp: entry.newest.map(|newest| newest.0),
                sum: entry.sum,
                state,
                file: path.clone(),
            });
        }
        Ok(())
    }

    fn look_at_files(&mut self, files: &SideFiles) {
        for file in &files.files {
            let path = file.path.display();
            match &file.state {
                SideFileState::Sound => {}
                SideFileState::Missing => self.wrong.push(format!("{path}: it is missing")),
                SideFileState::Damaged { byte, why } => {
                    self.wrong.push(format!("{path}: byte {byte}: {why}"));
                }
            }
        }
        if files.differ {
            let path = files.files[0].path.display();
            let covered = files.covered_bytes();
            let why = "the three files do not belong together";
            self.wrong.push(format!("{path}: {why} beyond byte {covered} of the segment"));
        }
    }
}

/// Holds entries against the batches; those behind damage get no verdict. `None` when the segment
/// does not exist any more.
fn compare(
    entries: &[IndexEntry],
    segment: &SegmentFile,
) -> Result<Option<Vec<Option<Verdict>>>, Failure> {
    let unreadable = |error| Failure::file("read", &segment.path, &error);
    let mut walk = match Walk::open(&segment.path) {
        // Retention of a running broker has taken it away.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        walk => walk.map_err(unreadable)?,
    };
    let mut verdicts = vec![None; entries.len()];
    let mut comparison = Comparison::of(entries);
    while let Step::Batch(batch) = walk.next().map_err(unreadable)? {
        let end = walk.position();
        comparison.pass(batch.header(), end, |entry, verdict| verdicts[entry] = Some(verdict));
        if entries.last().is_none_or(|last| last.position <= end) {
            break;
        }
    }
    Ok(Some(verdicts))
}

fn describe(verdict: Option<Verdict>) -> String {
    match verdict {
        Some(Verdict::Agrees) => "agrees".to_owned(),
        Some(Verdict::NoBatchEnds) => "no batch ends there".to_owned(),
        Some(Verdict::OtherOffset(offset)) => format!("offset {offset} follows there"),
        Some(Verdict::OtherTime(time)) => {
            format!("the newest time stamp before it is {}", time_column(time.0))
        }
        Some(Verdict::OtherSum(sum)) => {
            format!("the headers of the block have the checksum {sum:08x}")
        }
        None => "a batch before it is damaged".to_owned(),
    }
}
