//! What a person at a terminal sees of a run: how far it is and, every second, how fast. Nothing is
//! written where nobody would see it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::live::{Live, Look};
use super::plan::Plan;
use crate::progress::run_bar;

/// How often the figures change.
const SECOND: Duration = Duration::from_secs(1);

/// The line of one run.
#[derive(Debug)]
pub(super) struct RunBar {
    bar: Option<ProgressBar>,
    /// When the figures were taken last.
    looked: Cell<Option<Instant>>,
}

impl RunBar {
    /// Of a run that begins.
    pub(super) fn new() -> RunBar {
        RunBar { bar: run_bar(), looked: Cell::new(None) }
    }

    /// Shows how it is going. Called much more often than something changes.
    pub(super) fn show(&self, plan: &Plan, live: &Live) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        let (done, all) = plan.progress(now);
        bar.set_length(all);
        bar.set_position(done);
        let since = now.saturating_duration_since(self.looked.get().unwrap_or(plan.begin));
        if since >= SECOND {
            let is_warm = now < plan.start + SECOND;
            bar.set_message(figures(live.look(), since, is_warm));
            self.looked.set(Some(now));
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn figures(look: Look, since: Duration, is_warm: bool) -> String {
    let per_second = |count: u64| count as f64 / since.as_secs_f64().max(1e-3);
    let (mb, records) = (per_second(look.bytes) / 1e6, per_second(look.records));
    let p99 = look.p99.as_secs_f64() * 1_000.0;
    let warm = if is_warm { "warm-up  " } else { "" };
    format!("{warm}{mb:.1} MB/s  {records:.0} records/s  p99 {p99:.2} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_one_second_however_long_it_was() {
        let look = Look { records: 3_000, bytes: 3_000_000, p99: Duration::from_micros(2_340) };
        let shown = figures(look, SECOND * 2, false);
        assert_eq!(shown, "1.5 MB/s  1500 records/s  p99 2.34 ms");
        assert!(figures(look, SECOND, true).starts_with("warm-up  3.0 MB/s"));
    }
}
