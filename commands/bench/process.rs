//! What a process has used, as `/proc` tells it. CPU time comes in steps of a clock tick, usually
//! 10 ms: a run should last a second at least.

use std::time::Duration;

/// CPU time and memory of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// CPU time of all its threads since it started, in user and kernel mode.
    pub(super) cpu: Duration,
    /// Memory that is resident now.
    pub(super) rss_bytes: u64,
}

impl Usage {
    /// Of the process with this id; `None` when it is gone.
    pub(super) fn of(pid: u32) -> Option<Usage> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let tick = Duration::from_secs(1) / rustix::param::clock_ticks_per_second() as u32;
        Usage::parse(&stat, tick, rustix::param::page_size() as u64)
    }

    /// Of this process.
    pub(super) fn own() -> Usage {
        Usage::of(std::process::id()).unwrap_or(Usage { cpu: Duration::ZERO, rss_bytes: 0 })
    }

    fn parse(stat: &str, tick: Duration, page_bytes: u64) -> Option<Usage> {
        // The second field is the program's name, which may hold anything, parentheses included.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let ticks = u32::try_from(number(11)? + number(12)?).ok()?;
        Some(Usage { cpu: tick * ticks, rss_bytes: number(21)? * page_bytes })
    }
}

/// The most memory the process ever had resident; `None` when it is gone.
pub(super) fn rss_peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// CPU seconds between two readings.
pub(super) fn cpu_s(before: Usage, after: Usage) -> f64 {
    after.cpu.saturating_sub(before.cpu).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "77 (a) S (b) R 1 77 77 0 -1 4194304 500 0 0 0 250 50 0 0 20 0 3 0 1234 99999 \
                    321 18446744073709551615";
        let usage = Usage::parse(stat, Duration::from_millis(10), 4096).expect("parsed");
        assert_eq!(usage, Usage { cpu: Duration::from_secs(3), rss_bytes: 321 * 4096 });
        assert_eq!(Usage::parse("77 (short) R 1 2", Duration::from_millis(10), 4096), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let pid = std::process::id();
        let (now, peak) = (Usage::own().rss_bytes, rss_peak_bytes(pid).expect("it runs"));
        assert!(now > 0 && peak > 0);
    }
}
