//! What the processes of a run, and the machine, spend while it counts: in all, and second by
//! second for the broker.

use std::time::{Duration, Instant};

use super::process::{Usage, cpu_s};
use super::recorder::{Interval, ServerSecond};
use super::trust::Processors;

const SECOND: Duration = Duration::from_secs(1);
/// What may be missing of the last second.
const ALMOST: Duration = Duration::from_millis(50);
/// Seconds that are kept, as many as intervals.
const SECONDS_MAX: usize = 3_600;

/// Reads what is spent from its start on.
#[derive(Debug)]
pub(super) struct Meter {
    pid: Option<u32>,
    begun: Instant,
    processors: Processors,
    client: Usage,
    server: Option<Usage>,
    /// The reading at the end of the last second.
    last: Option<Usage>,
    seconds: Vec<ServerSecond>,
}

/// What was spent.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) client_cpu_s: f64,
    /// CPU seconds of the broker and its resident bytes at the end.
    pub(super) server: Option<(f64, u64)>,
    pub(super) seconds: Vec<ServerSecond>,
    pub(super) processors: Processors,
    pub(super) watched: Duration,
}

impl Meter {
    /// Starts with what was spent so far, by this process and the broker of this id.
    pub(super) fn start(pid: Option<u32>) -> Meter {
        let server = pid.and_then(Usage::of);
        Meter {
            pid,
            begun: Instant::now(),
            processors: Processors::now(),
            client: Usage::own(),
            server,
            last: server,
            seconds: Vec::new(),
        }
    }

    /// Reads what the broker spent when a second has ended since counting started. Called more
    /// often than that.
    pub(super) fn look(&mut self, start: Instant) {
        let ended = (self.seconds.len() + 1) as u32;
        if start.elapsed() < SECOND * ended || self.seconds.len() == SECONDS_MAX {
            return;
        }
        let Some((last, now)) = self.last.zip(self.pid.and_then(Usage::of)) else { return };
        self.seconds.push(ServerSecond { cpu_s: cpu_s(last, now), rss_bytes: now.rss_bytes });
        self.last = Some(now);
    }

    /// Reads for the last time.
    pub(super) fn stop(mut self, start: Instant) -> Spent {
        // A run that ends with a second may be a little ahead of it.
        self.look(start.checked_sub(ALMOST).unwrap_or(start));
        let server = self.server.zip(self.pid.and_then(Usage::of));
        Spent {
            client_cpu_s: cpu_s(self.client, Usage::own()),
            server: server.map(|(before, after)| (cpu_s(before, after), after.rss_bytes)),
            seconds: self.seconds,
            processors: Processors::now().since(self.processors),
            watched: self.begun.elapsed(),
        }
    }
}

impl Spent {
    /// Says of each interval what the broker spent in it.
    pub(super) fn attach(&self, intervals: &mut [Interval]) {
        for (interval, second) in intervals.iter_mut().zip(&self.seconds) {
            interval.server = Some(*second);
        }
    }
}
