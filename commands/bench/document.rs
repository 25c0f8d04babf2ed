//! The result of a run against a broker: declared once, for whoever prints and saves it and for
//! whoever reads it again. Field names are stable; what an older version did not write may be
//! missing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drive::ServerUse;
use super::latency::{CurvePoint, Quantiles};
use super::machine::Machine;
use super::recorder::{Counts, Interval};
use super::trust::Warning;

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
