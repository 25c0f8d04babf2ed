//! How far a partition is compacted, as `topic describe` prints it.

use rivvend::protocol::native::message;
use serde::Serialize;

use crate::fields::Field;

/// Field names are stable.
#[derive(Serialize)]
pub(super) struct Compaction {
    state: String,
    held_back: Option<String>,
    dirty_ratio: f64,
    dirty_bytes: u64,
    clean_bytes: u64,
    clean_to: i64,
    last: Option<Pass>,
}

#[derive(Serialize)]
struct Pass {
    at: String,
    took_ms: u64,
    outcome: String,
    reason: Option<String>,
    removed_records: u64,
    removed_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
}

pub(super) const COMPACTION: &[Field] = &[
    Field::text(
        "state",
        "clean: a pass would find nothing new; waiting: there is too little, or it is too young; \
         due: a pass comes when it is its turn; running; failed: until there is more, no pass \
         comes.",
    ),
    Field::text("held_back", "Why there is no pass now; null: nothing keeps it.").nullable(),
    Field::number("dirty_ratio", "Share of what a pass could look at that is dirty, from 0 to 1."),
    Field::integer("dirty_bytes", "What of its whole segments no pass has seen yet.").unit("bytes"),
    Field::integer("clean_bytes", "What of them passes have been over.").unit("bytes"),
    Field::integer("clean_to", "Offset below which each key has one record."),
    Field::object(
        "last",
        "The last pass since the broker started; null: none, or no broker runs.",
        PASS,
    )
    .nullable(),
];

const PASS: &[Field] = &[
    Field::text("at", "When it ended."),
    Field::integer("took_ms", "How long it took.").unit("milliseconds"),
    Field::text("outcome", "done, put off or failed."),
    Field::text("reason", "Why it was not done; null: it was.").nullable(),
    Field::integer("removed_records", "Records that it removed."),
    Field::integer("removed_bytes", "Bytes that the partition is smaller by.").unit("bytes"),
    Field::integer("read_bytes", "Bytes that it read.").unit("bytes"),
    Field::integer("written_bytes", "Bytes that it wrote.").unit("bytes"),
];

impl Compaction {
    pub(super) fn of(told: message::Compaction) -> Compaction {
        let (dirty, clean) = (told.dirty_bytes, told.clean_bytes);
        let whole = (dirty as f64 + clean as f64).max(1.0);
        Compaction {
            state: told.state,
            held_back: filled(told.held_back),
            dirty_ratio: (dirty as f64 / whole * 1e3).round() / 1e3,
            dirty_bytes: dirty,
            clean_bytes: clean,
            clean_to: told.clean_to,
            last: told.last.map(Pass::of),
        }
    }

    /// The state in a table, with how much is dirty if anything is.
    pub(super) fn cell(&self) -> String {
        if self.dirty_bytes == 0 {
            return self.state.clone();
        }
        format!("{}, {:.0} % dirty", self.state, self.dirty_ratio * 100.0)
    }
}

impl Pass {
    fn of(told: message::CompactionPass) -> Pass {
        let at = jiff::Timestamp::from_millisecond(told.ended_ms);
        Pass {
            at: at.map_or_else(|_| told.ended_ms.to_string(), |at| at.to_string()),
            took_ms: told.took_ms,
            outcome: told.outcome,
            reason: filled(told.reason),
            removed_records: told.removed_records,
            removed_bytes: told.removed_bytes,
            read_bytes: told.read_bytes,
            written_bytes: told.written_bytes,
        }
    }
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
