//! Crashes at every operation (D8, D11, D14), and failing disks.

use super::world::{Over, World};
use super::*;
use crate::storage::Disk;
use crate::storage::memory::enumerate::Enumeration;

/// One crash in so many is checked, or every one where the environment has `CRASHES=all`.
fn sample() -> u64 {
    if std::env::var_os("CRASHES").is_some() { 1 } else { 8 }
}

fn holds(scenario: impl Fn(&mut World) -> Result<(), Over>) {
    holds_in(sample(), scenario);
}

/// Checks one crash in `sample`.
fn holds_in(sample: u64, scenario: impl Fn(&mut World) -> Result<(), Over>) {
    // A node that has started is not part of any scenario.
    let started = MemoryDisk::new();
    drop(World::new(&started).expect("sound disk"));
    let mut crash = 0;
    let coverage = Enumeration::starting_from(&started).random_crashes(2).run(
        |disk| {
            let Ok(mut world) = World::new(disk) else { return Default::default() };
            let _ = scenario(&mut world);
            world.promise
        },
        |disk, promise, _| {
            crash += 1;
            if crash % sample == 0 {
                let world = World::open(&disk, promise.clone()).expect("opens");
                if crash % (5 * sample) == 0 {
                    goes_on(&disk, world);
                }
            }
        },
    );
    assert!(coverage.crashes > 100, "{coverage:?}");
}

/// The recovered log takes appends, and opens again with them.
fn goes_on(disk: &MemoryDisk, mut world: World) {
    world.append(1, 2, 30).expect("takes appends");
    world.sync().expect("syncs");
    let promise = world.promise.clone();
    drop(world);
    World::open(&disk.crash_losing_all(), promise).expect("opens again");
}

#[test]
fn appending_rolling_and_syncing_survive_every_crash() {
    holds(|world| {
        world.append(2, 1, 200)?;
        world.sync()?;
        world.append(1, 2, 180)?;
        world.sync()?;
        world.claim()?;
        world.append(3, 1, 90)?;
        world.append(1, 1, 340)?;
        world.sync()
    });
}

/// Every crash is checked, up to the end of the sync. Of the side files, which come after it, each
/// segment reads its own: those of two make fifteen thousand disks and prove no more than those of
/// one, which others see to.
#[test]
fn two_rolls_in_one_group_survive_every_crash() {
    holds_in(1, |world| {
        world.append(1, 1, 40)?;
        world.sync_alone()?;
        world.append(1, 1, 340)?;
        world.append(1, 1, 340)?;
        world.append(1, 1, 340)?;
        world.sync_alone()
    });
}

#[test]
fn truncating_survives_every_crash() {
    holds(|world| {
        for _ in 0..3 {
            world.append(2, 2, 230)?;
            world.sync()?;
        }
        world.claim()?;
        world.truncate(Offset(3))?;
        world.append(1, 1, 77)?;
        world.sync()?;
        world.claim()?;
        world.truncate(Offset(0))?;
        world.append(1, 1, 78)
    });
}

#[test]
fn moving_the_start_survives_every_crash() {
    holds(|world| {
        for _ in 0..3 {
            world.append(2, 2, 230)?;
            world.sync()?;
        }
        world.claim()?;
        world.advance_start(Offset(1))?;
        world.advance_start(Offset(9))?;
        world.append(1, 1, 100)?;
        world.sync()?;
        world.restart_at(Offset(40))?;
        world.append(1, 1, 100)?;
        world.sync()
    });
}

#[test]
fn closing_survives_every_crash() {
    holds(|world| {
        world.append(2, 2, 230)?;
        world.append(2, 2, 230)?;
        world.close()?;
        world.append(1, 1, 10)?;
        world.close()
    });
}

/// A killed process leaves what it wrote in the page cache; the disk fails at every operation in
/// turn.
#[test]
fn whatever_operation_fails_what_was_settled_survives() {
    let coverage = Enumeration::default().run_failures(
        |disk| {
            let Ok(mut world) = World::new(disk) else { return Default::default() };
            let run = |world: &mut World| {
                world.append(2, 2, 230)?;
                world.sync()?;
                world.append(1, 2, 480)?;
                world.sync()?;
                world.claim()?;
                world.truncate(Offset(4))?;
                world.append(1, 1, 77)?;
                world.sync()?;
                world.advance_start(Offset(2))
            };
            let _: Result<(), Over> = run(&mut world);
            world.promise
        },
        |disk, promise, _| {
            let world = World::open(&disk, promise.clone()).expect("opens");
            goes_on(&disk, world);
        },
    );
    assert!(coverage.operations > 20, "{coverage:?}");
}

/// D2: what was refused because the disk is full does not turn up after a crash, even where some
/// batches of the group were written whole.
#[test]
fn what_a_full_disk_refused_survives_no_crash() {
    let started = MemoryDisk::new();
    drop(World::new(&started).expect("sound disk"));
    let mut refusals = 0;
    Enumeration::starting_from(&started).random_crashes(2).run(
        |disk| {
            let Ok(mut world) = World::new(disk) else { return Default::default() };
            let run = |world: &mut World| {
                world.append(1, 1, 300)?;
                world.sync()?;
                let before = world.promise.clone();
                // One page is left, which takes the first batch.
                let space = disk.space(std::path::Path::new("/")).map_err(|_| Over)?;
                disk.set_capacity(Some(space.total_bytes - space.free_bytes + 4_096));
                let refused = world.append(2, 1, 3_000);
                disk.set_capacity(None);
                if refused.is_err() && world.log.is_poisoned().is_none() {
                    world.promise = before;
                    world.append(1, 1, 40)?;
                    world.sync()?;
                }
                Ok(())
            };
            let _: Result<(), Over> = run(&mut world);
            world.promise
        },
        |disk, promise, _| {
            refusals += u64::from(promise.may.len() == 2);
            disk.set_capacity(None);
            drop(World::open(&disk, promise.clone()).expect("opens"));
        },
    );
    assert!(refusals > 0);
}
