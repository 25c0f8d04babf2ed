//! Progress of long work, only on a terminal and only on standard error. What is over within a
//! second shows none.

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// Work that takes less shows nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Between two drawings of what does not move by itself.
const TICK: Duration = Duration::from_millis(200);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Records,
}

impl Unit {
    fn template(self, is_bounded: bool) -> &'static str {
        match (self, is_bounded) {
            (Unit::Bytes, true) => {
                "{bar:30} {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} \
                 {eta}"
            }
            (Unit::Bytes, false) => "{spinner} {binary_bytes} {binary_bytes_per_sec}",
            (Unit::Records, true) => {
                "{bar:30} {percent}% {human_pos}/{human_len} records {per_sec} {eta}"
            }
            (Unit::Records, false) => "{spinner} {human_pos} records {per_sec}",
        }
    }
}

/// A bar, or a spinner where the end is not known. Cleared when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When it is shown, until it is.
    due: Cell<Option<Instant>>,
}

impl Progress {
    /// Progress towards `total`, or nothing when nobody would see it.
    pub(crate) fn new(unit: Unit, total: Option<u64>) -> Option<Progress> {
        if !io::stderr().is_terminal() || terminal::is_dumb() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(unit.template(total.is_some())) {
            bar.set_style(style);
        }
        Some(Progress { bar, due: Cell::new(Some(Instant::now() + QUIET)) })
    }

    /// Goes on by so much.
    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
        self.show_when_due();
    }

    /// Has come so far.
    pub(crate) fn reach(&self, position: u64) {
        self.bar.set_position(position);
        self.show_when_due();
    }

    fn show_when_due(&self) {
        if self.due.get().is_some_and(|due| Instant::now() >= due) {
            self.due.set(None);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(TICK);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar for a run of which the figures are the message; its length is set later.
pub(crate) fn run_bar() -> Option<ProgressBar> {
    visible(ProgressBar::new(1), "{bar:16} {percent:>3}%  {msg}")
}

/// A line that says what is being done, taken away when this is dropped.
#[derive(Debug)]
pub(crate) struct Status(Option<ProgressBar>);

impl Status {
    pub(crate) fn new() -> Status {
        Status(visible(ProgressBar::new_spinner(), "{spinner} {msg}"))
    }

    /// Replaces what it says.
    pub(crate) fn say(&self, text: String) {
        if let Some(bar) = &self.0 {
            bar.set_message(text);
            bar.tick();
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn visible(bar: ProgressBar, style: &str) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() || terminal::is_dumb() {
        return None;
    }
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    Some(bar)
}
