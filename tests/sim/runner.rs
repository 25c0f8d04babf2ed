//! Runs seeds and tells what came of them. Each simulation is one thread's; several of them run
//! side by side.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::history::Broken;
use crate::world::{Summary, World};

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// One seed of so many is run twice to see that nothing but the seed decides.
const TWICE_EVERY: u64 = 8;

/// Panics become results of their seeds instead of noise.
pub(crate) fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with_borrow_mut(|panic| *panic = Some(info.to_string()));
    }));
}

/// What a seed decides.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// What stands before its results.
    pub(crate) name: &'static str,
    /// How one seed of it is asked for.
    pub(crate) option: &'static str,
    pub(crate) run: fn(u64) -> Result<Summary, Broken>,
}

/// W1, W2 and W7: producers, consumers and a node.
pub(crate) const LOGS: Workload = Workload { name: "", option: "--seed", run };

/// The outcome of one seed; a panic of the engine is a broken invariant like any other.
pub(crate) fn run(seed: u64) -> Result<Summary, Broken> {
    catch(|| World::new(seed).run())
}

/// What comes of some work that may panic.
pub(crate) fn catch<T>(work: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    let run = catch_unwind(AssertUnwindSafe(work));
    run.unwrap_or_else(|_| {
        let panic = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        Err(format!("panic: {panic}"))
    })
}

fn run_twice(workload: &Workload, seed: u64) -> Result<Summary, Broken> {
    let first = (workload.run)(seed)?;
    match (workload.run)(seed)? {
        second if second == first => Ok(first),
        second => Err(format!("the same seed gave {first:?} and then {second:?}")),
    }
}

/// Runs one seed and says what it did.
pub(crate) fn seed(workload: &Workload, seed: u64) -> (u64, u64) {
    match run_twice(workload, seed) {
        Ok(summary) => {
            println!("{}seed {seed}: {summary:?}", workload.name);
            (1, 0)
        }
        Err(why) => {
            tell(workload, seed, &why);
            (0, 1)
        }
    }
}

/// Runs seeds on all cores.
pub(crate) fn seeds(workload: &Workload, seeds: impl Iterator<Item = u64> + Send) -> (u64, u64) {
    let seeds = Mutex::new(seeds);
    let total = Mutex::new((0, 0, Summary::default()));
    let work = || {
        while let Some(seed) = seeds.lock().ok().and_then(|mut seeds| seeds.next()) {
            let outcome = match seed % TWICE_EVERY {
                0 => run_twice(workload, seed),
                _ => (workload.run)(seed),
            };
            let mut total = total.lock().expect("nothing panics while it holds the total");
            match outcome {
                Ok(summary) => {
                    total.0 += 1;
                    total.2.events += summary.events;
                    total.2.acknowledged += summary.acknowledged;
                    total.2.starts += summary.starts;
                }
                Err(why) => {
                    total.1 += 1;
                    tell(workload, seed, &why);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (passed, failed, sum) = *total.lock().expect("every thread has ended");
    let Summary { events, acknowledged, starts, .. } = sum;
    let name = workload.name;
    println!("{name}{passed} seeds: {events} events, {acknowledged} acknowledged, {starts} starts");
    (passed, failed)
}

fn tell(workload: &Workload, seed: u64, why: &str) {
    let Workload { name, option, .. } = workload;
    println!("{name}seed {seed} failed: {why}");
    println!("    cargo test --features planted --test sim -- {option} {seed}");
}
