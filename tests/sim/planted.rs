//! The net must have teeth: with each bug planted, some seed of its budget has to fail.

#[cfg(feature = "planted")]
pub(crate) use with_bugs::find_all;

/// Without the feature there is nothing to find.
#[cfg(not(feature = "planted"))]
pub(crate) fn find_all(_: Option<&str>) -> (u64, u64) {
    println!("no planted bugs in this build: use --features planted");
    (0, 0)
}

#[cfg(feature = "planted")]
mod with_bugs {
    use std::sync::Mutex;

    use rivvend::planted::{Bug, plant};

    use crate::{compaction, decoders, groups, runner};

    /// Seeds within which every bug has to be found.
    const BUDGET: u64 = 240;

    /// Bugs of consumer groups, which W4 finds, within as many seeds as run without a bug.
    const OF_GROUPS: [Bug; 9] = [
        Bug::AssignHeld,
        Bug::CommitAnyGeneration,
        Bug::ExpireActiveOffsets,
        Bug::AnswerBeforeDurable,
        Bug::AnswerWhileLoading,
        Bug::ForgetTombstones,
        Bug::SkipSyncBarrier,
        Bug::ForgetTimers,
        Bug::IgnoreFence,
    ];

    /// Looks for every bug, or for those whose name contains `name`.
    pub(crate) fn find_all(name: Option<&str>) -> (u64, u64) {
        let wanted = |bug: &Bug| name.is_none_or(|name| format!("{bug:?}").contains(name));
        let bugs: Vec<Bug> = Bug::ALL.into_iter().filter(wanted).collect();
        let bugs = Mutex::new(bugs.into_iter());
        let total = Mutex::new((0, 0));
        let work = || {
            while let Some(bug) = bugs.lock().ok().and_then(|mut bugs| bugs.next()) {
                let found = find(bug);
                let mut total = total.lock().expect("nothing panics while it holds the total");
                match found {
                    Some(how) => {
                        println!("planted {bug:?}: found by {how}");
                        total.0 += 1;
                    }
                    None => {
                        println!("planted {bug:?}: NOT found within its seeds");
                        total.1 += 1;
                    }
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        *total.lock().expect("every thread has ended")
    }

    fn find(bug: Bug) -> Option<String> {
        if let Bug::AllocateDeclared | Bug::DecompressWithoutCap = bug {
            let name = format!("{bug:?}");
            return (decoders::check(Some(&name)).1 > 0).then(|| "the decoders' bound".to_owned());
        }
        plant(Some(bug));
        let run = |seed| match bug {
            Bug::CompactionDeletesFirst => compaction::run(seed).err(),
            _ if OF_GROUPS.contains(&bug) => groups::run(seed).err(),
            _ => runner::run(seed).err(),
        };
        let budget = if OF_GROUPS.contains(&bug) { groups::SEEDS } else { BUDGET };
        let found = (1..=budget).find_map(|seed| run(seed).map(|why| (seed, why)));
        // The line that a failing seed prints is of use only if it fails again, in the same way.
        let found = found.filter(|(seed, why)| run(*seed).as_ref() == Some(why));
        plant(None);
        found.map(|(seed, why)| format!("seed {seed}: {why}"))
    }
}
