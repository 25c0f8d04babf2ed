//! `inspect repair`: takes damage out of logs, after a person has decided so. What can not be
//! served goes and is kept beside the log; partitions that are sound stay untouched.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rivvend::log::Position;
use rivvend::log::repair::{Lost, Remedy, Repair};
use rivvend::storage::file::FileDisk;
use rivvend::storage::lock::{DirectoryLock, LockError};
use rivvend::types::Offset;
use serde::Serialize;

use super::check::{LOG_FIELDS, LogCheck, SPOT_FIELDS, Spot, Until, check_log};
use super::directory::{DataDir, LogFiles};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::output::{Column, Listing, OutputArgs, human_size};
use crate::progress::{Progress, Unit};
use crate::prompt::confirm;

/// Take damage out of logs, with everything behind it
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "For a node that has no replica to fetch from. A damaged batch ends its log: \
    records at and beyond it are lost, and their offsets are given again. What is taken out stays \
    beside the log in files that end in .torn and that nothing reads. Partitions that are sound \
    are not touched. The broker must not run; --dry-run works beside it.\n\n\
    Examples:\n  rivvend inspect repair ./data --dry-run\n  \
    rivvend inspect repair ./data orders/0 --yes"
)]
pub(super) struct RepairArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this topic or partition; name or id
    #[arg(value_name = "TOPIC[/PARTITION]")]
    topic: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A repair as it is printed; the field names are stable.
#[derive(Serialize)]
struct Repaired {
    topic: Option<String>,
    topic_id: String,
    partition: i32,
    damage: Spot,
    /// `end`: the log ends at `offset`; `begin`: it begins there.
    remedy: &'static str,
    offset: i64,
    /// The records that are lost: the first offset, and the one after the last.
    lost_from: i64,
    lost_to: i64,
    /// Bytes that leave the log, and how many of their records are sound.
    removed_bytes: u64,
    removed_sound_records: u64,
    /// Where they are kept.
    kept: Vec<PathBuf>,
    /// Not so with --dry-run, and when it failed.
    done: bool,
}

const COLUMNS: &[Column<Repaired>] = &[
    Column::text("TOPIC", topic_column),
    Column::number("PARTITION", |r| r.partition.to_string()),
    Column::text("REMEDY", |r| format!("{} at {}", r.remedy, r.offset)),
    Column::text("LOST", |r| match r.lost_to - r.lost_from {
        0 => "nothing".to_owned(),
        count => format!("{count} from {}", r.lost_from),
    }),
    Column::number("REMOVED", |r| human_size(r.removed_bytes)),
    Column::text("DONE", |r| if r.done { "yes" } else { "no" }.to_owned()),
    Column::wide("DAMAGE", |r| r.damage.to_string()),
    Column::wide("KEPT", |r| {
        r.kept.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }),
    Column::wide("TOPIC ID", |r| r.topic_id.clone()),
];

pub(super) const FIELDS: &[Field] = &[
    Field::shared(LOG_FIELDS),
    Field::object("damage", "What is taken out.", SPOT_FIELDS),
    Field::text("remedy", "`end`: the log ends at `offset`; `begin`: it begins there."),
    Field::integer("offset", "Where it ends or begins."),
    Field::integer("lost_from", "First offset that is lost."),
    Field::integer("lost_to", "The one after the last that is; the same when nothing is."),
    Field::integer("removed_bytes", "What leaves the log.").unit("bytes"),
    Field::integer("removed_sound_records", "How many of the records in it are sound."),
    Field::texts("kept", "Files in which it is kept."),
    Field::flag("done", "Whether it is done: not so with --dry-run, and when it failed."),
];

fn topic_column(repaired: &Repaired) -> String {
    repaired.topic.clone().unwrap_or_else(|| repaired.topic_id.clone())
}

pub(super) fn run(args: &RepairArgs) -> Outcome {
    let mut dir = DataDir::open(&args.dir)?;
    let _lock = match args.dry_run {
        true => None,
        false => {
            let lock = lock(&args.dir)?;
            // A broker may have stopped between the look and the lock.
            dir = DataDir::open(&args.dir)?;
            Some(lock)
        }
    };
    let (plans, left) = plan(&dir, args.topic.as_deref())?;
    for plan in &plans {
        eprintln!("{plan}");
    }
    if plans.is_empty() && left.is_empty() {
        eprintln!("nothing is damaged");
    } else if !plans.is_empty() && !args.dry_run {
        ask(args, &plans)?;
    }
    let (mut items, mut failures) = (Vec::new(), left);
    for plan in plans {
        let kept = match args.dry_run {
            true => None,
            false => match plan.carry_out(&args.dir) {
                Ok((kept, more)) => {
                    failures.extend(more.map(|more| format!("there is more damage in {more}")));
                    Some(kept)
                }
                Err(failure) => {
                    failures.push(format!("{}: {}", plan.log.label(), failure.message));
                    None
                }
            },
        };
        items.push(plan.into_item(kept));
    }
    let name = |r: &Repaired| format!("{}/{}", topic_column(r), r.partition);
    Listing { items: &items, columns: COLUMNS, name }.print(args.output.output)?;
    match failures.as_slice() {
        [] => Ok(Exit::Ok),
        failures => {
            let any_done = items.iter().any(|item| item.done);
            let exit = if any_done { Exit::Partly } else { Exit::Failed };
            let failure = Failure::new(exit, failures.join("\n  "));
            Err(failure.hint("look with --dry-run at what would be lost, and repair it again"))
        }
    }
}

fn lock(dir: &Path) -> Result<DirectoryLock, Failure> {
    DirectoryLock::exclusive(dir).map_err(|error| match error {
        LockError::Held { pid } => {
            let holder = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let dir = dir.display();
            let message = format!("data directory {dir} is held by another rivvend{holder}");
            let hint = "stop it first; `inspect verify` and --dry-run work beside it";
            Failure::new(Exit::Unavailable, message).hint(hint)
        }
        LockError::Storage(error) => Failure::file("lock", &error.path, &error.source),
    })
}

fn ask(args: &RepairArgs, plans: &[Plan<'_>]) -> Result<(), Failure> {
    let lost: i64 = plans.iter().map(|plan| plan.lost.end.0 - plan.lost.first.0).sum();
    let question = format!("Repair {} partitions and give {lost} records up?", plans.len());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    runtime.block_on(confirm(args.yes, &question))
}

/// What is to be done to one log.
struct Plan<'a> {
    log: &'a LogFiles,
    damage: Spot,
    remedy: Remedy,
    lost: Lost,
    removed_bytes: u64,
    removed_sound_records: u64,
}

/// What is to be done, and what is left alone and why.
fn plan<'a>(
    dir: &'a DataDir,
    selector: Option<&str>,
) -> Result<(Vec<Plan<'a>>, Vec<String>), Failure> {
    let logs = dir.select(selector)?;
    let total = logs.iter().flat_map(|log| &log.segments).map(|s| s.len).sum();
    let bar = Progress::new(Unit::Bytes, Some(total));
    let (mut plans, mut left) = (Vec::new(), Vec::new());
    for log in logs {
        let check = check_log(log, Until::End, bar.as_ref())?;
        let Some(damage) = check.damage.clone() else { continue };
        if log.is_metadata() {
            let message = format!("the metadata is damaged: {damage}");
            let hint = "what was decided can not be cut out: restore metadata/ from a copy of the \
                        directory, or name a topic to repair that alone";
            return Err(Failure::failed(message).hint(hint));
        }
        let plan = Plan::of(log, &check, damage);
        match plan.is_below_start(&check) {
            true => left.push(plan.why_left(&check)),
            false => plans.push(plan),
        }
    }
    Ok((plans, left))
}

impl<'a> Plan<'a> {
    fn of(log: &'a LogFiles, check: &LogCheck, damage: Spot) -> Plan<'a> {
        let known_end = check.segments.iter().map(|segment| segment.end_offset).max();
        let known_end = known_end.max(check.durable_offset).unwrap_or(0);
        let at = log.segments.iter().position(|segment| segment.path == damage.file);
        let first = log.segments.first();
        let (remedy, lost_to) = match (at, first) {
            // Its beginning is missing, or nothing says where that is.
            (None, Some(first)) => (Remedy::BeginAt(Offset(first.base)), first.base),
            (None, None) => {
                let end = start_of(damage.offset.max(check.start_offset));
                (Remedy::EndAt(end), known_end)
            }
            (Some(at), _) => (Remedy::EndAt(end_before(log, at, &damage)), known_end),
        };
        // What lies below the start was given up before.
        let lost_from = damage.offset.max(check.start_offset);
        let lost = Lost { first: Offset(lost_from), end: Offset(lost_to.max(lost_from)) };
        let mut plan =
            Plan { log, damage, remedy, lost, removed_bytes: 0, removed_sound_records: 0 };
        plan.count_removed(check);
        plan
    }

    /// Whether cutting the damage out would take sound records with it that the log begins with.
    fn is_below_start(&self, check: &LogCheck) -> bool {
        let Remedy::EndAt(end) = self.remedy else { return false };
        end.offset.0 < check.start_offset
    }

    fn why_left(&self, check: &LogCheck) -> String {
        let start = check.start_offset;
        let behind = check.segments.iter().find(|segment| segment.base > start);
        let to = behind.map_or(check.end_offset, |segment| segment.base);
        format!(
            "{}: left alone: the damage in {} lies below the log start offset {start}, and would \
             take the sound records behind it along; `topic trim --to {to}` is rid of the segment",
            self.log.label(),
            self.damage
        )
    }

    fn count_removed(&mut self, check: &LogCheck) {
        let Remedy::EndAt(end) = self.remedy else { return };
        for segment in &check.segments {
            if segment.base > end.segment.0 || segment.base == end.segment.0 && end.bytes == 0 {
                self.removed_bytes += segment.file_bytes;
                self.removed_sound_records += segment.records;
            } else if segment.base == end.segment.0 {
                self.removed_bytes += segment.file_bytes.saturating_sub(end.bytes);
            }
        }
    }

    /// Does it; returns what was set aside, and the damage that is there still. It may lie behind
    /// what nobody had agreed to lose yet.
    fn carry_out(&self, data_dir: &Path) -> Result<(Vec<PathBuf>, Option<Spot>), Failure> {
        let repair = Repair {
            disk: Arc::new(FileDisk::new(data_dir)),
            data_dir: data_dir.to_owned(),
            dir: self.log.dir.clone(),
            partition: self.log.id,
        };
        let kept = repair.run(self.remedy, self.lost);
        let kept = kept.map_err(|error| Failure::failed(error.to_string()))?;
        let after = DataDir::open(data_dir)?;
        let log = after.logs.iter().find(|log| log.id == self.log.id);
        let checked = log.map(|log| check_log(log, Until::FirstSpot, None)).transpose()?;
        Ok((kept, checked.and_then(|checked| checked.damage)))
    }

    /// What is printed of it; without files that were kept, it was not done.
    fn into_item(self, kept: Option<Vec<PathBuf>>) -> Repaired {
        let (remedy, offset) = match self.remedy {
            Remedy::EndAt(end) => ("end", end.offset.0),
            Remedy::BeginAt(start) => ("begin", start.0),
        };
        Repaired {
            topic: self.log.topic.clone(),
            topic_id: self.log.id.topic.to_string(),
            partition: self.log.id.partition.0,
            damage: self.damage,
            remedy,
            offset,
            lost_from: self.lost.first.0,
            lost_to: self.lost.end.0,
            removed_bytes: self.removed_bytes,
            removed_sound_records: self.removed_sound_records,
            done: kept.is_some(),
            kept: kept.unwrap_or_default(),
        }
    }
}

/// The place before damage that begins in a segment, between batches. When that is the whole
/// segment, it is the end of the one before.
fn end_before(log: &LogFiles, at: usize, damage: &Spot) -> Position {
    let (offset, segment) = (Offset(damage.offset), &log.segments[at]);
    match at.checked_sub(1).map(|before| &log.segments[before]) {
        _ if damage.byte > 0 => {
            Position { offset, segment: Offset(segment.base), bytes: damage.byte }
        }
        Some(before) => Position { offset, segment: Offset(before.base), bytes: before.len },
        None => start_of(segment.base),
    }
}

/// The end of a log that keeps nothing.
fn start_of(offset: i64) -> Position {
    Position { offset: Offset(offset), segment: Offset(offset), bytes: 0 }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, Lost { first, end }) = (self.log.label(), self.lost);
        writeln!(f, "{label}: damage in {}", self.damage)?;
        match self.remedy {
            Remedy::BeginAt(start) if self.damage.file.ends_with("log-start") => {
                let begin = format!("  the log will begin at offset {start}");
                write!(f, "{begin}, and records that were deleted from there on may be back")?;
            }
            Remedy::BeginAt(start) => write!(f, "  the log will begin at offset {start}")?,
            Remedy::EndAt(at) => write!(f, "  the log will end at offset {}", at.offset)?,
        }
        if first < end {
            write!(f, "; offsets {first} up to, but not, {end} are lost")?;
        }
        if self.removed_bytes > 0 {
            let (bytes, records) = (self.removed_bytes, self.removed_sound_records);
            write!(
                f,
                "\n  {bytes} bytes leave the log, with {records} sound records of later segments, \
                 and are kept in {}",
                self.log.dir.join("*.torn").display()
            )?;
        }
        Ok(())
    }
}
