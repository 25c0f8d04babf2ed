//! The result of a run against a broker: declared once, for whoever prints and saves it and for
//! whoever reads it again. Field names are stable; what an older version did not write may be
//! missing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drive::{SERVER_FIELDS, ServerUse};
use super::latency::{CURVE_FIELDS, CurvePoint, QUANTILE_FIELDS, Quantiles};
use super::machine::{MACHINE_FIELDS, Machine};
use super::recorder::{Counts, INTERVAL_FIELDS, Interval};
use super::trust::{WARNING_FIELDS, Warning};
use crate::fields::{Field, Json};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) command: String,
    pub(super) version: String,
    /// When counting started, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) command_line: Option<String>,
    pub(super) machine: Machine,
    /// `open` or `closed`.
    pub(super) mode: String,
    /// Everything else that the figures depend on.
    pub(super) settings: Value,
    #[serde(flatten)]
    pub(super) figures: Figures,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ack_latency_ms: Option<Quantiles>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) produce: Option<Figures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) consume: Option<Figures>,
    pub(super) errors: u64,
    pub(super) client_cpu_s: f64,
    pub(super) server: Option<ServerUse>,
    pub(super) intervals: Vec<Interval>,
    /// How many latencies the quantiles are of, and their distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latency_count: Option<u64>,
    #[serde(default)]
    pub(super) latency_curve: Vec<CurvePoint>,
    /// Reasons to doubt the figures.
    #[serde(default)]
    pub(super) warnings: Vec<Warning>,
}

impl Document {
    /// All intervals but a last one that is cut off by more than a little.
    pub(super) fn whole_seconds(&self) -> &[Interval] {
        let whole = ((self.figures.elapsed_s + 0.1) as usize).min(self.intervals.len());
        &self.intervals[..whole]
    }

    /// The distribution of latency, in the order of quantiles; a few points of it for a result that
    /// has no more.
    pub(super) fn curve(&self) -> Vec<CurvePoint> {
        if !self.latency_curve.is_empty() {
            return self.latency_curve.clone();
        }
        let Quantiles { p50, p90, p95, p99, p999, p9999, .. } = self.figures.latency_ms;
        let all =
            [(0.5, p50), (0.9, p90), (0.95, p95), (0.99, p99), (0.999, p999), (0.9999, p9999)];
        all.map(|(quantile, ms)| CurvePoint { quantile, ms }).into()
    }
}

/// What one side of a run did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) elapsed_s: f64,
    pub(super) records_per_s: f64,
    pub(super) mb_per_s: f64,
    pub(super) latency_ms: Quantiles,
}

impl Figures {
    pub(super) fn of(counts: &Counts) -> Figures {
        let elapsed_s = counts.elapsed.as_secs_f64().max(1e-9);
        Figures {
            records: counts.records,
            bytes: counts.bytes,
            elapsed_s,
            records_per_s: counts.records as f64 / elapsed_s,
            mb_per_s: counts.bytes as f64 / 1e6 / elapsed_s,
            latency_ms: counts.latency,
        }
    }
}

const HEAD: &[Field] = &[
    Field::text("command", "What was run: produce, consume, e2e or mixed."),
    Field::text("version", "Version of rivvend."),
    Field::text("started_at", "When counting started, in RFC 3339."),
    Field::text("command_line", "The command line, as a shell takes it."),
    Field::object("machine", "What it ran on.", MACHINE_FIELDS),
    Field::text("mode", "open: at a rate; closed: the next when one is acknowledged."),
];

const FIGURES: &[Field] = &[
    Field::integer("records", "How many were counted."),
    Field::integer("bytes", "Their keys and values.").unit("bytes"),
    Field::number("elapsed_s", "How long that took.").unit("seconds"),
    Field::number("records_per_s", "Records in a second."),
    Field::number("mb_per_s", "Keys and values in a second.").unit("10^6 bytes"),
    Field::object("latency_ms", "How long one took.", QUANTILE_FIELDS),
];

const TAIL: &[Field] = &[
    Field::integer("errors", "What failed."),
    Field::number("client_cpu_s", "CPU time of this process.").unit("seconds"),
    Field::object("server", "What the broker spent; null: nothing tells.", SERVER_FIELDS)
        .nullable(),
    Field::list("intervals", "The run, second by second.", INTERVAL_FIELDS),
    Field::integer("latency_count", "How many latencies the quantiles are of."),
    Field::list("latency_curve", "Their distribution.", CURVE_FIELDS),
    Field::list("warnings", "Reasons to doubt the figures.", WARNING_FIELDS),
];

/// What every run has to do with.
const SETTINGS: &[Field] = &[
    Field::text("protocol", "Protocol that was spoken."),
    Field::text("plan", "How long to count, or how many records."),
    Field::text("durability", "What an acknowledgement means: fsync or os."),
    Field::integer("partitions", "Partitions of the topic."),
    Field::integer("record_size", "Size of a value.").unit("bytes"),
    Field::integer("batch_records", "Records in a batch."),
];

/// What runs with producers have to do with.
const PRODUCERS: &[Field] = &[
    Field::integer("producers", "How many producers there were."),
    Field::integer("batch_bytes", "A batch as it is sent.").unit("bytes"),
    Field::integer("acks", "Acknowledgements that were waited for; -1: all."),
    Field::integer("in_flight", "Batches that each producer had under way; null: at a rate.")
        .nullable(),
    Field::number("rate", "Rate of all producers; null: none was kept.")
        .unit("records a second")
        .nullable(),
];

const CONSUMERS: Field = Field::integer("consumers", "How many consumers there were.");

const PRODUCE_SETTINGS: &[Field] = &[
    Field::shared(SETTINGS),
    Field::shared(PRODUCERS),
    Field::text("compression", "How batches were compressed."),
    Field::integer("keys", "How many different keys there were; null: none.").nullable(),
    Field::flag("idempotent", "Whether batches were numbered."),
];

const CONSUME_SETTINGS: &[Field] = &[
    Field::shared(SETTINGS),
    CONSUMERS,
    Field::flag("subscribe", "Whether the broker sent ahead."),
    Field::integer("fetch_bytes", "What one fetch asks for.").unit("bytes"),
    Field::integer("fill_bytes", "What an empty topic was filled with.").unit("bytes"),
    Field::flag("verify", "Whether checksums were verified."),
];

const EXCHANGE_SETTINGS: &[Field] = &[Field::shared(SETTINGS), Field::shared(PRODUCERS), CONSUMERS];

const PRODUCE: &[Field] = &[Field::shared(HEAD), settings(PRODUCE_SETTINGS), RUN, END];
const CONSUME: &[Field] = &[Field::shared(HEAD), settings(CONSUME_SETTINGS), RUN, END];
const END_TO_END: &[Field] = &[
    Field::shared(HEAD),
    settings(EXCHANGE_SETTINGS),
    RUN,
    Field::object("ack_latency_ms", "How long acknowledgements took.", QUANTILE_FIELDS),
    END,
];
const MIXED: &[Field] = &[
    Field::shared(HEAD),
    settings(EXCHANGE_SETTINGS),
    RUN,
    Field::object("produce", "What the producers did.", FIGURES),
    Field::object("consume", "What the consumers did; the same as above.", FIGURES),
    END,
];
const RUN: Field = Field::shared(FIGURES);
const END: Field = Field::shared(TAIL);

const fn settings(fields: &'static [Field]) -> Field {
    Field::object("settings", "Everything else that the figures depend on.", fields)
}

/// What the run of a subcommand is for programs.
pub(super) fn json_of(verb: &str) -> Option<Json> {
    let fields = match verb {
        "produce" => PRODUCE,
        "consume" => CONSUME,
        "e2e" => END_TO_END,
        "mixed" => MIXED,
        _ => return None,
    };
    Some(Json::object(fields))
}
