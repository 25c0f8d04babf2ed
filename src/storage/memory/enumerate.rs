//! Every crash of a scenario: the scenario runs once for each of its disk operations and loses
//! power during that one; of each run, many disks that could be left behind are checked. Knows
//! nothing of what the scenario does.

use super::crash::through;
use super::{Action, Choice, JournalEntry, MemoryDisk, Undecided, Unit};
use crate::random::Random;
use std::collections::BTreeSet;
use std::fmt;

/// As long as a crash leaves at most this many disks, all of them are tried.
const EXHAUSTIVE_MAX: u64 = 64;

/// A write of more units than this is torn at a sample of them.
const TEARS_MAX: u64 = 64;

/// How thoroughly to enumerate. The default suits a scenario of some hundred operations.
#[derive(Debug, Clone)]
pub struct Enumeration {
    start: MemoryDisk,
    random_crashes: u32,
    seed: u64,
}

impl Default for Enumeration {
    fn default() -> Enumeration {
        Enumeration::starting_from(&MemoryDisk::new())
    }
}

/// How many operations and crashes an enumeration tried, so that a test can tell that it tried any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Mutating operations of the scenario.
    pub operations: u64,
    /// Different disks that were checked.
    pub crashes: u64,
}

/// Which crash it is.
#[derive(Debug, Clone)]
pub struct CrashInfo {
    /// During which operation the power failed; `None` after the last one.
    pub during: Option<JournalEntry>,
    /// What survived.
    pub survived: String,
}

impl fmt::Display for CrashInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.during {
            Some(operation) => write!(f, "during {operation}: {}", self.survived),
            None => write!(f, "after the last operation: {}", self.survived),
        }
    }
}

/// Names the crash when the check of it panics.
struct Announce<'a>(&'a CrashInfo);

impl Drop for Announce<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the crash that failed: {}", self.0);
        }
    }
}

/// Runs `scenario` on an empty disk for every crash of it, with the default thoroughness.
/// `scenario` stops at the first error and returns what it was promised until then; `verify` gets
/// the disk that the crash left, that promise, and which crash it was.
pub fn enumerate_crashes<T>(
    scenario: impl Fn(&MemoryDisk) -> T,
    verify: impl FnMut(MemoryDisk, &T, &CrashInfo),
) -> Coverage {
    Enumeration::default().run(scenario, verify)
}

impl Enumeration {
    /// Scenarios that begin with a copy of this disk.
    #[must_use]
    pub fn starting_from(disk: &MemoryDisk) -> Enumeration {
        Enumeration { start: disk.snapshot(), random_crashes: 8, seed: 0 }
    }

    /// Tries this many random crashes per operation where there are too many to try all.
    #[must_use]
    pub fn random_crashes(self, count: u32) -> Enumeration {
        Enumeration { random_crashes: count, ..self }
    }

    /// Draws other random crashes.
    #[must_use]
    pub fn seed(self, seed: u64) -> Enumeration {
        Enumeration { seed, ..self }
    }

    /// Runs `scenario` for every crash of it; see [`enumerate_crashes`].
    ///
    /// # Panics
    /// When the scenario does not repeat itself, and when `verify` does.
    pub fn run<T>(
        &self,
        scenario: impl Fn(&MemoryDisk) -> T,
        mut verify: impl FnMut(MemoryDisk, &T, &CrashInfo),
    ) -> Coverage {
        let whole = self.start.snapshot();
        whole.record_journal();
        let promised = scenario(&whole);
        let journal = whole.journal();
        let mut coverage = Coverage { operations: whole.operations(), crashes: 0 };
        coverage.crashes += self.check(&whole, None, &promised, &mut verify);
        for entry in journal {
            let disk = self.start.snapshot();
            disk.cut_power_at(entry.number);
            disk.record_journal();
            let promised = scenario(&disk);
            assert_eq!(disk.journal().last(), Some(&entry), "the scenario must repeat itself");
            coverage.crashes += self.check(&disk, Some(entry), &promised, &mut verify);
        }
        coverage
    }

    /// Runs `scenario` once for each of its operations, which fails: every one with EIO, all but
    /// syncs with ENOSPC too. `verify` gets the disk as a killed process leaves it and as a power
    /// cut does that saves nothing, and the number of the operation.
    ///
    /// # Panics
    /// When the scenario does not repeat itself, and when `verify` does.
    pub fn run_failures<T>(
        &self,
        scenario: impl Fn(&MemoryDisk) -> T,
        mut verify: impl FnMut(MemoryDisk, &T, &CrashInfo),
    ) -> Coverage {
        let whole = self.start.snapshot();
        whole.record_journal();
        scenario(&whole);
        let mut coverage = Coverage { operations: whole.operations(), crashes: 0 };
        for entry in whole.journal() {
            let is_sync = matches!(entry.action, Action::Sync | Action::SyncDirectory);
            for is_full in [false, true].into_iter().filter(|full| !(*full && is_sync)) {
                let disk = self.start.snapshot();
                disk.fail_at(entry.number, is_full);
                disk.record_journal();
                let promised = scenario(&disk);
                let place = entry.number as usize - 1;
                assert_eq!(disk.journal().get(place), Some(&entry), "it must repeat itself");
                let left = [("killed", disk.snapshot()), ("power cut", disk.crash_losing_all())];
                for (how, left) in left {
                    let error = if is_full { "ENOSPC" } else { "EIO" };
                    let survived = format!("it failed with {error}, then {how}");
                    let info = CrashInfo { during: Some(entry.clone()), survived };
                    let announce = Announce(&info);
                    verify(left, &promised, announce.0);
                    coverage.crashes += 1;
                }
            }
        }
        coverage
    }

    fn check<T>(
        &self,
        disk: &MemoryDisk,
        during: Option<JournalEntry>,
        promised: &T,
        verify: &mut impl FnMut(MemoryDisk, &T, &CrashInfo),
    ) -> u64 {
        let mut info = CrashInfo { during, survived: String::new() };
        let mut seen = BTreeSet::new();
        for (survived, crashed) in self.crashes(disk, info.during.as_ref()) {
            if seen.insert(crashed.fingerprint()) {
                info.survived = survived;
                let announce = Announce(&info);
                verify(crashed, promised, announce.0);
            }
        }
        seen.len() as u64
    }

    fn crashes(
        &self,
        disk: &MemoryDisk,
        during: Option<&JournalEntry>,
    ) -> Vec<(String, MemoryDisk)> {
        if possibilities(disk) <= EXHAUSTIVE_MAX {
            return all_crashes(disk);
        }
        let mut crashes = extreme_crashes(disk);
        crashes.extend(prefix_crashes(disk));
        if let Some(JournalEntry { number, action: Action::Write { at, len }, .. }) = during {
            crashes.extend(torn_crashes(disk, *number, *at, *len));
        }
        let number = during.map_or(0, |entry| entry.number);
        let mut random = Random::new(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for count in 0..self.random_crashes {
            crashes.push((format!("random crash {count}"), disk.crash_randomly(&mut random)));
        }
        crashes
    }
}

/// How many disks a crash could leave behind, about.
fn possibilities(disk: &MemoryDisk) -> u64 {
    let mut product = 1_u64;
    let _ = disk.crash(Unit::Sector, &mut |choice| {
        product = product.saturating_mul(choice.operations.len() as u64 + 1);
        0
    });
    product
}

/// Every sequence of choices, counted up like the digits of a number whose last digit turns first.
fn all_crashes(disk: &MemoryDisk) -> Vec<(String, MemoryDisk)> {
    let mut crashes = Vec::new();
    let mut prefix: Vec<usize> = Vec::new();
    loop {
        let mut digits: Vec<(usize, usize)> = Vec::new();
        let crashed = disk.crash(Unit::Sector, &mut |choice| {
            let chosen = prefix.get(digits.len()).copied().unwrap_or(0);
            digits.push((chosen, choice.operations.len()));
            chosen
        });
        let chosen: Vec<usize> = digits.iter().map(|&(chosen, _)| chosen).collect();
        crashes.push((format!("choices {chosen:?}"), crashed));
        while digits.last().is_some_and(|&(chosen, most)| chosen == most) {
            digits.pop();
        }
        let Some(turning) = digits.last_mut() else { return crashes };
        turning.0 += 1;
        prefix = digits.into_iter().map(|(chosen, _)| chosen).collect();
    }
}

/// Crashes in which one kind of thing survives wholly and another not at all.
fn extreme_crashes(disk: &MemoryDisk) -> Vec<(String, MemoryDisk)> {
    let keeping = |what: &str, unit, keep: fn(Undecided) -> bool| {
        let crashed = disk.crash(unit, &mut |choice| {
            if keep(choice.what) { choice.operations.len() } else { 0 }
        });
        (format!("survived: {what}"), crashed)
    };
    vec![
        keeping("nothing", Unit::Sector, |_| false),
        keeping("everything", Unit::Sector, |_| true),
        keeping("names without bytes", Unit::Sector, |what| what == Undecided::Name),
        keeping("bytes without names", Unit::Sector, |what| what != Undecided::Name),
        keeping("names and lengths, zeros for bytes", Unit::Sector, |what| {
            matches!(what, Undecided::Name | Undecided::Length)
        }),
        keeping("names and lengths, stale bytes", Unit::Sector, |what| {
            !matches!(what, Undecided::Unit { .. })
        }),
        keeping("everything but lengths", Unit::Sector, |what| what != Undecided::Length),
        keeping("every other sector", Unit::Sector, |what| match what {
            Undecided::Unit { at } => at / Unit::Sector.bytes() % 2 == 1,
            _ => true,
        }),
        keeping("every other page", Unit::Page, |what| match what {
            Undecided::Unit { at } => at / Unit::Page.bytes() % 2 == 1,
            _ => true,
        }),
    ]
}

/// Crashes in which operations survived in order, up to each that is pending.
fn prefix_crashes(disk: &MemoryDisk) -> Vec<(String, MemoryDisk)> {
    let mut pending = BTreeSet::new();
    let _ = disk.crash(Unit::Page, &mut |choice| {
        pending.extend(choice.operations);
        0
    });
    let survived = |&number: &u64| {
        (format!("survived: operations up to #{number}"), disk.crash_keeping_through(number))
    };
    pending.iter().map(survived).collect()
}

/// Crashes in which the write that was under way is torn: everything else survived, and of this
/// write the units before the tear or those after it, with the new length or the old one.
fn torn_crashes(disk: &MemoryDisk, number: u64, at: u64, len: u64) -> Vec<(String, MemoryDisk)> {
    let unit = Unit::Sector.bytes();
    let (first, last) = (at / unit, (at + len).div_ceil(unit));
    let step = (last - first).div_ceil(TEARS_MAX).max(1);
    let mut crashes = Vec::new();
    for tear in (first..=last).step_by(step as usize).map(|index| index * unit) {
        for (keeps_start, keeps_length) in [(true, true), (true, false), (false, true)] {
            let crashed = disk.crash(Unit::Sector, &mut |choice: &Choice<'_>| {
                let survives = match choice.what {
                    Undecided::Unit { at } => (at < tear) == keeps_start,
                    Undecided::Length => keeps_length,
                    Undecided::Name => true,
                    Undecided::Stale => false,
                };
                through(choice, if survives { number } else { number - 1 })
            });
            let part = if keeps_start { "before" } else { "from" };
            let length = if keeps_length { "new" } else { "old" };
            crashes.push((format!("torn: sectors {part} {tear}, {length} length"), crashed));
        }
    }
    crashes
}
