//! Numbers of compaction, as whoever runs the passes adds them up.

use super::{Counter, Exposition};

/// Numbers of compaction.
#[derive(Debug, Default)]
pub struct CompactionMetrics {
    /// Passes over a partition, those that did not come to their end included.
    pub passes: Counter,
    /// Passes that ended with an error.
    pub failures: Counter,
    /// Bytes that were read.
    pub read_bytes: Counter,
    /// Bytes that were written.
    pub written_bytes: Counter,
    /// Bytes that partitions were made smaller by.
    pub removed_bytes: Counter,
    /// Records that were removed.
    pub removed_records: Counter,
    /// Milliseconds that passes took, their rests included.
    pub busy_ms: Counter,
}

impl CompactionMetrics {
    pub(super) fn render(&self, page: &mut Exposition) {
        let rows: [(&'static str, &Counter, &str); 6] = [
            ("rivven_compaction_passes_total", &self.passes, "Passes over a partition."),
            ("rivven_compaction_failures_total", &self.failures, "Passes that failed."),
            ("rivven_compaction_read_bytes_total", &self.read_bytes, "Bytes that passes read."),
            (
                "rivven_compaction_written_bytes_total",
                &self.written_bytes,
                "Bytes that passes wrote.",
            ),
            (
                "rivven_compaction_removed_bytes_total",
                &self.removed_bytes,
                "Bytes that partitions are smaller by.",
            ),
            (
                "rivven_compaction_removed_records_total",
                &self.removed_records,
                "Records that compaction removed.",
            ),
        ];
        for (name, counter, help) in rows {
            page.family(name, "counter", help).sample(&[], counter.get());
        }
        page.family("rivven_compaction_seconds_total", "counter", "Time that passes took.")
            .sample(&[], self.busy_ms.get() as f64 / 1e3);
    }
}
