//! How far a partition is compacted, from what is in memory: its view, and what is known of the
//! passes over it. Decides nothing; when a pass begins is the broker's business.

use super::{Context, PartitionHandle};
use crate::api::Writes;
use crate::log::{Dirt, Survey};
use crate::partition::{Health, PartitionView, PassEnd, PassRecord, Passes};
use crate::protocol::native::message::{Compaction, CompactionPass};

/// What a partition is found in, and why there is no pass over it now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    name: &'static str,
    held_back: String,
}

impl State {
    fn new(name: &'static str, held_back: impl Into<String>) -> State {
        State { name, held_back: held_back.into() }
    }
}

/// What there is to tell; `None` when the topic is not compacted.
pub(super) fn describe(
    handle: &PartitionHandle,
    view: &PartitionView,
    context: &Context<'_>,
) -> Option<Compaction> {
    let survey = view.log.survey(view.last_stable.offset)?;
    let dirt = survey.whole();
    let passes = handle.passes();
    let State { name, held_back } = match &view.health {
        Health::Good => {
            let old = survey.glance(context.now.wall);
            state(&survey, old, passes.as_deref(), context.writes)
        }
        Health::Damaged(_) | Health::Offline(_) => {
            State::new("failed", "the partition is damaged or offline")
        }
    };
    Some(Compaction {
        state: name.to_owned(),
        held_back,
        dirty_bytes: dirt.dirty_bytes,
        clean_bytes: dirt.clean_bytes,
        clean_to: survey.clean_to().0,
        last: passes.as_deref().and_then(|passes| passes.last.as_deref()).map(describe_pass),
    })
}

/// `old` is what of the log is old enough for a pass.
fn state(survey: &Survey, old: Dirt, passes: Option<&Passes>, writes: Writes) -> State {
    let last = passes.and_then(|passes| passes.last.as_deref());
    let config = survey.config();
    match last.map(|last| &last.end) {
        _ if passes.is_some_and(|passes| passes.is_running) => State::new("running", ""),
        _ if survey.is_clean() => State::new("clean", ""),
        Some(PassEnd::Failed(why)) => State::new("failed", &**why),
        _ if old.dirty_bytes == 0 => {
            State::new("waiting", "what is dirty is younger than min.compaction.lag.ms")
        }
        _ if !old.is_due && config.max_lag_ms == i64::MAX => {
            State::new("waiting", "less is dirty than min.cleanable.dirty.ratio")
        }
        _ if !old.is_due => {
            let why = "less is dirty than min.cleanable.dirty.ratio, and not for as long as \
                       max.compaction.lag.ms";
            State::new("waiting", why)
        }
        _ => State::new("due", kept_from(writes)),
    }
}

/// Why nobody compacts at the moment.
fn kept_from(writes: Writes) -> &'static str {
    match writes {
        Writes::Accepted => "",
        Writes::DiskFull { .. } => "the disk is full",
        Writes::ReadOnly => "no broker runs",
        Writes::Stopping => "the broker is stopping",
    }
}

fn describe_pass(pass: &PassRecord) -> CompactionPass {
    let (outcome, reason) = match &pass.end {
        PassEnd::Done => ("done", ""),
        PassEnd::PutOff(why) => ("put off", *why),
        PassEnd::Failed(why) => ("failed", &**why),
    };
    CompactionPass {
        ended_ms: pass.at.0,
        took_ms: pass.took_ms,
        outcome: outcome.to_owned(),
        reason: reason.to_owned(),
        removed_records: pass.report.removed_records,
        removed_bytes: pass.report.removed_bytes,
        read_bytes: pass.report.read_bytes,
        written_bytes: pass.report.written_bytes,
    }
}
