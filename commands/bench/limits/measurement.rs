//! One figure of the machine, as it is printed and saved; field names are stable.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bench::latency::{QUANTILE_FIELDS, Quantiles};
use crate::fields::Field;
use crate::output::Column;

/// Bytes of a megabyte, as results count them.
const MB: f64 = 1e6;

/// What one measurement found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::bench) struct Measurement {
    /// What was measured: `part.kind`.
    pub(in crate::bench) name: Cow<'static, str>,
    /// Connections or threads that worked at once.
    pub(in crate::bench) parallel: usize,
    /// What an acknowledgement, or the return of a write, meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::bench) durability: Option<Cow<'static, str>>,
    /// Bytes of one operation.
    pub(super) block_bytes: usize,
    /// Bytes of all, without framing.
    pub(in crate::bench) bytes: u64,
    pub(super) elapsed_s: f64,
    pub(in crate::bench) mb_per_s: f64,
    pub(super) per_s: f64,
    /// Of one operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::bench) latency_ms: Option<Quantiles>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_cpu_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server_cpu_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server_cpu_s_per_gb: Option<f64>,
}

/// What a measurement is for programs.
pub(super) const FIELDS: &[Field] = &[
    Field::text("name", "What was measured: `part.kind`."),
    Field::integer("parallel", "Connections or threads that worked at once."),
    Field::text("durability", "What an acknowledgement, or the return of a write, meant.")
        .optional(),
    Field::integer("block_bytes", "Size of one operation.").unit("bytes"),
    Field::integer("bytes", "All of them, without framing.").unit("bytes"),
    Field::number("elapsed_s", "How long they took.").unit("seconds"),
    Field::number("mb_per_s", "The same as a rate.").unit("10^6 bytes a second"),
    Field::number("per_s", "Operations in a second."),
    Field::object("latency_ms", "How long one operation took.", QUANTILE_FIELDS).optional(),
    Field::number("client_cpu_s", "CPU time of this process.").unit("seconds").optional(),
    Field::number("server_cpu_s", "CPU time of the raw server.").unit("seconds").optional(),
    Field::number("server_cpu_s_per_gb", "The same for 10^9 bytes.").unit("seconds").optional(),
];

impl Measurement {
    /// `count` operations of `block_bytes` each took `elapsed` together.
    pub(super) fn new(
        name: &'static str,
        parallel: usize,
        block_bytes: usize,
        count: u64,
        elapsed: Duration,
    ) -> Measurement {
        let bytes = count * block_bytes as u64;
        let elapsed_s = elapsed.as_secs_f64().max(1e-9);
        Measurement {
            name: name.into(),
            parallel,
            block_bytes,
            bytes,
            elapsed_s,
            mb_per_s: bytes as f64 / MB / elapsed_s,
            per_s: count as f64 / elapsed_s,
            ..Measurement::default()
        }
    }

    /// Adds what the two processes spent.
    pub(super) fn with_cpu(self, client_s: f64, server_s: f64) -> Measurement {
        let gigabytes = (self.bytes as f64 / 1e9).max(1e-9);
        Measurement {
            client_cpu_s: Some(client_s),
            server_cpu_s: Some(server_s),
            server_cpu_s_per_gb: Some(server_s / gigabytes),
            ..self
        }
    }

    /// Whether both are the same measurement, made at different times.
    pub(super) fn is_repetition_of(&self, other: &Measurement) -> bool {
        let key = |m: &Measurement| (m.parallel, m.block_bytes, m.volume());
        (&self.name, &self.durability) == (&other.name, &other.durability)
            && key(self) == key(other)
    }

    /// What tells it from the others of a result, for people.
    pub(in crate::bench) fn title(&self) -> String {
        let durability = self.durability.as_deref().map(|d| format!(" {d}")).unwrap_or_default();
        let size = match self.volume() {
            Some(bytes) => format!("{:.0} MB", bytes as f64 / MB),
            None => format!("{} B", self.block_bytes),
        };
        format!("{}{durability} x{} {size}", self.name, self.parallel)
    }

    /// Which of the volumes that are measured this belongs to, for measurements that have several.
    fn volume(&self) -> Option<u64> {
        self.name.starts_with("raw.").then_some(self.bytes)
    }
}

/// The middle one of all repetitions of each, in the order of the first round.
pub(super) fn medians(rounds: &[Vec<Measurement>]) -> Vec<Measurement> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let middle = |one: &Measurement| {
        let mut all: Vec<&Measurement> =
            rounds.iter().flatten().filter(|other| one.is_repetition_of(other)).collect();
        all.sort_by(|a, b| a.mb_per_s.total_cmp(&b.mb_per_s));
        all[all.len() / 2].clone()
    };
    first.iter().map(middle).collect()
}

/// How a table shows measurements.
pub(super) const COLUMNS: &[Column<Measurement>] = &[
    Column::text("MEASUREMENT", |m| m.name.to_string()),
    Column::text("DURABILITY", |m| m.durability.as_deref().unwrap_or("").to_owned()),
    Column::number("PARALLEL", |m| m.parallel.to_string()),
    Column::number("BLOCK", |m| m.block_bytes.to_string()),
    Column::number("MB", |m| format!("{:.0}", m.bytes as f64 / MB)),
    Column::number("MB/S", |m| format!("{:.0}", m.mb_per_s)),
    Column::number("PER S", |m| format!("{:.0}", m.per_s)),
    Column::number("P50 MS", |m| quantile(m, |q| q.p50)),
    Column::number("P99 MS", |m| quantile(m, |q| q.p99)),
    Column::number("MAX MS", |m| quantile(m, |q| q.max)),
    Column::number("SERVER CPU S/GB", |m| seconds(m.server_cpu_s_per_gb)),
];

fn quantile(measurement: &Measurement, pick: fn(&Quantiles) -> f64) -> String {
    measurement.latency_ms.as_ref().map(pick).map(|ms| format!("{ms:.3}")).unwrap_or_default()
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map(|seconds| format!("{seconds:.2}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabyte_is_a_million_bytes_and_the_median_is_of_the_same_measurement() {
        let of =
            |name, seconds| Measurement::new(name, 1, 1_000_000, 10, Duration::from_secs(seconds));
        assert!((of("raw.plain", 2).mb_per_s - 5.0).abs() < 1e-9);
        let rounds = [[1, 9], [5, 8], [2, 7]].map(|[a, b]| vec![of("crc", a), of("disk", b)]);
        let middle: Vec<f64> = medians(&rounds).iter().map(|m| m.elapsed_s).collect();
        assert_eq!(middle, [2.0, 8.0]);
    }
}
