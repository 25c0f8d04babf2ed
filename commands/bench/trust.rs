//! What makes the figures of a run doubtful. A benchmark always prints a number; these are the
//! reasons, known from what the machine did meanwhile, not to believe it. Pure but for the reading
//! of `/proc/stat`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fields::Field;

/// Shorter runs say little.
const SHORT: Duration = Duration::from_secs(5);
/// Shares of the processors: what the client may use before it is what limits the run, what others
/// may use, and what the host may take.
const CLIENT_MAX: f64 = 0.9;
const OTHERS_MAX: f64 = 0.1;
const STEAL_MAX: f64 = 0.02;
/// Latencies of which one is beyond the 99.9th percentile.
const LATENCIES_MIN: u64 = 1_000;

/// The code of data that is in memory.
pub(super) const TMPFS: &str = "tmpfs";

/// One reason to doubt; the codes are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Warning {
    pub(super) code: String,
    pub(super) text: String,
}

/// The same as programs read it.
pub(super) const WARNING_FIELDS: &[Field] = &[
    Field::text("code", "client-limited, other-load, steal, short, few-latencies or tmpfs."),
    Field::text("text", "The same in a sentence."),
];

/// What the processors of the machine have done since it started, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Processors {
    /// Worked, for whomever.
    pub(super) busy_s: f64,
    /// Would have worked, but the host gave them to another machine.
    pub(super) steal_s: f64,
}

impl Processors {
    /// As `/proc/stat` tells it; nothing where there is none.
    pub(super) fn now() -> Processors {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Processors::parse(&stat, rustix::param::clock_ticks_per_second()).unwrap_or_default()
    }

    fn parse(stat: &str, ticks_per_second: u64) -> Option<Processors> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        let [user, nice, system, _idle, _wait, irq, soft_irq, steal] = *ticks.get(..8)? else {
            return None;
        };
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
        let busy_s = seconds(user + nice + system + irq + soft_irq);
        Some(Processors { busy_s, steal_s: seconds(steal) })
    }

    /// What was done since an earlier reading.
    pub(super) fn since(self, earlier: Processors) -> Processors {
        Processors {
            busy_s: (self.busy_s - earlier.busy_s).max(0.0),
            steal_s: (self.steal_s - earlier.steal_s).max(0.0),
        }
    }
}

/// What is known of a run when it is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// How long it counted …
    pub(super) elapsed_s: f64,
    /// … and how long its processes were watched.
    pub(super) watched_s: f64,
    pub(super) latencies: u64,
    pub(super) cores: usize,
    pub(super) threads: usize,
    pub(super) client_cpu_s: f64,
    /// Of the broker, if that is known.
    pub(super) server_cpu_s: Option<f64>,
    pub(super) processors: Processors,
    /// Whether what is synced goes to memory.
    pub(super) is_volatile: bool,
}

impl Evidence {
    /// All reasons to doubt.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let all = [
            self.client_limited(),
            self.others(),
            self.steal(),
            self.volatile(),
            self.short(),
            self.few_latencies(),
        ];
        all.into_iter().flatten().collect()
    }

    fn share(&self, cpu_s: f64, cores: usize) -> f64 {
        cpu_s / (self.watched_s.max(1e-3) * cores as f64)
    }

    /// Its threads had nothing left, or it had the greater part of processors that had none left.
    fn client_limited(&self) -> Option<Warning> {
        let own = self.share(self.client_cpu_s, self.threads.min(self.cores));
        if own >= CLIENT_MAX {
            let text = format!(
                "the client used {:.0} % of the processors that its threads can use: it may be \
                 what limits the run, rather than the broker",
                own * 100.0
            );
            return Some(warning("client-limited", text));
        }
        let server_cpu_s = self.server_cpu_s.filter(|server| *server < self.client_cpu_s)?;
        let both = self.share(self.client_cpu_s + server_cpu_s, self.cores);
        (both >= CLIENT_MAX).then(|| {
            let text = format!(
                "no processor was idle, and the client used more of them ({:.1} s) than the broker \
                 ({server_cpu_s:.1} s): the broker may be faster with a client elsewhere",
                self.client_cpu_s
            );
            warning("client-limited", text)
        })
    }

    fn others(&self) -> Option<Warning> {
        let known = self.client_cpu_s + self.server_cpu_s?;
        let share = self.share(self.processors.busy_s - known, self.cores);
        (share > OTHERS_MAX).then(|| {
            let text = format!(
                "others used {:.0} % of the processors during the run: it was not alone",
                share * 100.0
            );
            warning("other-load", text)
        })
    }

    fn steal(&self) -> Option<Warning> {
        let share = self.share(self.processors.steal_s, self.cores);
        (share > STEAL_MAX).then(|| {
            let text = format!(
                "the host took {:.0} % of the processors away during the run (steal)",
                share * 100.0
            );
            warning("steal", text)
        })
    }

    fn volatile(&self) -> Option<Warning> {
        let text =
            "the data was in memory (tmpfs), where syncs are free: --dir names another place";
        self.is_volatile.then(|| warning(TMPFS, text.to_owned()))
    }

    fn short(&self) -> Option<Warning> {
        (self.elapsed_s < SHORT.as_secs_f64()).then(|| {
            let text = format!(
                "the run counted for {:.1} s only: shorter than {} s says little",
                self.elapsed_s,
                SHORT.as_secs()
            );
            warning("short", text)
        })
    }

    fn few_latencies(&self) -> Option<Warning> {
        (self.latencies < LATENCIES_MIN).then(|| {
            let text = format!(
                "{} latencies were counted: quantiles above {:.1} % are those of single ones",
                self.latencies,
                100.0 - 100.0 / self.latencies.max(1) as f64
            );
            warning("few-latencies", text)
        })
    }
}

fn warning(code: &str, text: String) -> Warning {
    Warning { code: code.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of ten seconds on two cores about which there is nothing to say.
    const SOUND: Evidence = Evidence {
        elapsed_s: 10.0,
        watched_s: 10.0,
        latencies: 5_000,
        cores: 2,
        threads: 2,
        client_cpu_s: 5.0,
        server_cpu_s: Some(9.0),
        processors: Processors { busy_s: 15.0, steal_s: 0.1 },
        is_volatile: false,
    };

    fn codes(evidence: Evidence) -> Vec<String> {
        evidence.warnings().into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn each_reason_is_told_and_a_sound_run_has_none() {
        assert_eq!(codes(SOUND), [""; 0]);
        let busy = Processors { busy_s: 17.0, ..SOUND.processors };
        let stolen = Processors { steal_s: 1.0, ..SOUND.processors };
        for (evidence, code) in [
            (Evidence { elapsed_s: 4.9, ..SOUND }, "short"),
            (Evidence { latencies: 999, ..SOUND }, "few-latencies"),
            (Evidence { is_volatile: true, ..SOUND }, "tmpfs"),
            (Evidence { processors: busy, ..SOUND }, "other-load"),
            (Evidence { processors: stolen, ..SOUND }, "steal"),
            (
                Evidence { threads: 1, client_cpu_s: 9.5, server_cpu_s: None, ..SOUND },
                "client-limited",
            ),
            (Evidence { client_cpu_s: 10.0, server_cpu_s: Some(8.5), ..SOUND }, "client-limited"),
        ] {
            assert_eq!(codes(evidence), [code], "{evidence:?}");
        }
        let elsewhere = Evidence { server_cpu_s: None, processors: busy, ..SOUND };
        assert_eq!(codes(elsewhere), [""; 0], "the others may be the broker");
    }

    #[test]
    fn the_first_line_of_the_statistics_is_read() {
        let stat = "cpu  100 10 50 900 30 5 15 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let read = Processors::parse(stat, 100).expect("read");
        assert_eq!(read, Processors { busy_s: 1.8, steal_s: 0.2 });
        assert_eq!(Processors::parse("intr 5\n", 100), None);
        assert!(Processors::now().busy_s > 0.0);
    }
}
