//! W4: members of consumer groups that join, read, commit, leave, crash, freeze and wake up again,
//! with a coordinator on a simulated disk. Requests and answers get lost, come late or twice; the
//! node is restarted, killed or loses its power; the wall clock jumps; offsets expire; the log of
//! the coordinator is compacted.
//!
//! After every event what the members were told and what is in the log is held against G1 to G8
//! (`invariants`). Then everything is put right: every group has to settle, and what is committed
//! has to be what was accepted last, after another restart as well.
//!
//! # Failures of the field that are looked for here
//! * Two owners, because ownership was keyed by an epoch and not by who it was given to
//!   (KAFKA-16147): G1, planted as `AssignHeld` and `SkipSyncBarrier`.
//! * A zombie whose commit is taken: G2, planted as `CommitAnyGeneration`.
//! * Live state that differs from what its log adds up to: G3, planted as `ForgetTombstones`.

mod chaos;
mod errands;
mod history;
mod invariants;
mod log;
mod member;
mod network;
mod setup;
mod world;

use std::ops::Range;

use crate::history::Broken;
use crate::runner::{self, Workload};
use crate::world::Summary;
use world::World;

/// Seeds of a run without arguments.
pub(crate) const SEEDS: u64 = 120;

const GROUPS: Workload = Workload { name: "groups, ", option: "--groups", run };

/// Runs all seeds, or some.
pub(crate) fn check(seeds: Option<Range<u64>>) -> (u64, u64) {
    match seeds {
        Some(seeds) if seeds.end - seeds.start == 1 => runner::seed(&GROUPS, seeds.start),
        Some(seeds) => runner::seeds(&GROUPS, seeds),
        None => runner::seeds(&GROUPS, 1..SEEDS + 1),
    }
}

/// The outcome of one seed.
pub(crate) fn run(seed: u64) -> Result<Summary, Broken> {
    runner::catch(|| World::new(seed).run())
}
