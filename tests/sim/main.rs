//! The simulator: a node with its clients, its disk and everything that can go wrong, in one thread
//! on a virtual clock. A seed decides all of it, so that a failure can be looked at again.
//!
//! ```text
//! cargo test --features planted --test sim                       seeds 1 to 240, then planted bugs
//! cargo test --features planted --test sim -- --seed N           one seed, twice
//! cargo test --features planted --test sim -- --seeds N          seeds 1 to N
//! cargo test --features planted --test sim -- --seeds N..M       seeds N to M - 1
//! cargo test --features planted --test sim -- --hours H          as many seeds as fit
//! cargo test --features planted --test sim -- --compaction [N]   compaction only, all seeds or one
//! cargo test --features planted --test sim -- --groups [N|N..M]  groups only, all seeds or some
//! cargo test --features planted --test sim -- --planted [NAME]   planted bugs only
//! ```
//!
//! Phase one has faults, and the invariants are checked after every event. Then everything is put
//! right: the node has to start, acknowledge what is open, and hold every acknowledged record.
//!
//! # Failures of the field that are looked for here
//! * A failed `fsync` that is tried again and believed (the kernel has dropped the pages): the disk
//!   does so at `SyncFails`, D1 and D6 would see it, planted as `RetryFailedSync`.
//! * Recovery that takes damage for a torn tail and cuts acknowledged records off: D9, planted as
//!   `TruncateBelowFrontier`.
//! * Zombie producers and sequences that are forgotten over a restart: P1 to P4.
//! * A name that a power cut takes away because only the file was synced: D1, planted as
//!   `SkipDirectorySync`.

mod chaos;
mod clients;
mod compaction;
mod decoders;
mod finale;
mod groups;
mod history;
mod invariants;
mod node;
mod planted;
mod runner;
mod setup;
mod world;

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use runner::LOGS;

/// Seeds of a run without arguments.
const SEEDS: u64 = 240;

/// What the command line asks for.
enum Plan {
    Everything,
    Seed(u64),
    Seeds(Range<u64>),
    Hours(f64),
    Compaction(Option<u64>),
    Groups(Option<Range<u64>>),
    Planted(Option<String>),
    /// The decoders, in a process of their own so that its memory can be measured.
    Decoders(Option<String>),
}

fn main() -> ExitCode {
    runner::keep_panics_quiet();
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let (passed, failed) = match plan {
        Plan::Everything => {
            let parts = [
                runner::seeds(&LOGS, 1..SEEDS + 1),
                decoders::check(None),
                compaction::check(None),
                groups::check(None),
                planted::find_all(None),
            ];
            let sum = |of: fn(&(u64, u64)) -> u64| parts.iter().map(of).sum::<u64>();
            (sum(|part| part.0), sum(|part| part.1))
        }
        Plan::Seed(seed) => runner::seed(&LOGS, seed),
        Plan::Seeds(seeds) => runner::seeds(&LOGS, seeds),
        Plan::Hours(hours) => {
            let end = Instant::now() + Duration::from_secs_f64(hours * 3_600.0);
            runner::seeds(&LOGS, (SEEDS + 1..).take_while(move |_| Instant::now() < end))
        }
        Plan::Compaction(seed) => compaction::check(seed),
        Plan::Groups(seeds) => groups::check(seeds),
        Plan::Planted(name) => planted::find_all(name.as_deref()),
        Plan::Decoders(bug) => return decoders::measure(bug.as_deref()),
    };
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no seed"))
}

/// One seed or those from one to before another.
fn some_seeds(text: &str) -> Result<Range<u64>, String> {
    match text.split_once("..") {
        Some((from, to)) => Ok(seed(from)?..seed(to)?),
        None => seed(text).map(|seed| seed..seed + 1),
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let Some(option) = arguments.next() else { return Ok(Plan::Everything) };
    let value = arguments.next();
    let number = || -> Result<f64, String> {
        let text = value.clone().ok_or(format!("{option} needs a number"))?;
        text.parse().map_err(|_| format!("{option}: {text} is no number"))
    };
    match option.as_str() {
        "--seed" => Ok(Plan::Seed(number()? as u64)),
        "--seeds" => match value.as_deref().and_then(|value| value.split_once("..")) {
            Some((from, to)) => Ok(Plan::Seeds(seed(from)?..seed(to)?)),
            None => Ok(Plan::Seeds(1..number()? as u64 + 1)),
        },
        "--groups" => Ok(Plan::Groups(value.as_deref().map(some_seeds).transpose()?)),
        "--hours" => Ok(Plan::Hours(number()?)),
        "--compaction" => Ok(Plan::Compaction(value.as_deref().map(seed).transpose()?)),
        "--planted" => Ok(Plan::Planted(value)),
        "--decoders" => Ok(Plan::Decoders(value)),
        _ => Err(format!(
            "{option}: only --seed, --seeds, --hours, --compaction, --groups and --planted are \
             known"
        )),
    }
}
