//! The log against a list of batches, under any order of operations.

use proptest::prelude::*;

use super::world::{Stored, World, batches, next_of};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { batches: usize, records: usize, size: usize },
    Sync,
    Claim,
    Truncate(u8),
    AdvanceStart(u8),
    Retain { bytes: u64 },
    Close,
    Kill,
    PowerCut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4usize, 1..4usize, 1..400usize)
            .prop_map(|(batches, records, size)| Step::Append { batches, records, size }),
        4 => Just(Step::Sync),
        2 => Just(Step::Claim),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::AdvanceStart),
        1 => (0..4_000u64).prop_map(|bytes| Step::Retain { bytes }),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

/// An offset that is `part` 256ths of the way from the start to the end.
fn between(log: &Log, part: u8) -> Offset {
    let (start, end) = (log.start_offset(), log.end_offset());
    start.plus((end.0 - start.0) * i64::from(part) / 256)
}

fn take(world: &mut World, disk: &mut MemoryDisk, step: &Step) {
    match *step {
        Step::Append { batches, records, size } => {
            world.append(batches, records, size).expect("room");
        }
        Step::Sync => world.sync().expect("sound disk"),
        Step::Claim => world.claim().expect("sound disk"),
        Step::Truncate(part) => {
            let to = between(&world.log, part);
            world.truncate(to).expect("sound disk");
        }
        Step::AdvanceStart(part) => {
            world.advance_start(between(&world.log, part)).expect("sound disk");
        }
        Step::Retain { bytes } => {
            let retention_bytes = Some(bytes);
            let kept = LogConfig { retention_bytes, ..world.log.config().clone() };
            world.log.configure(kept);
            let watermark = world.log.settled_offset();
            world.log.enforce_retention(now().wall, watermark).expect("sound disk");
            let start = world.log.start_offset();
            assert!(start <= watermark.max(world.promise.starts.0), "D13");
            world.promise.starts = (start, start);
        }
        Step::Close => {
            world.close().expect("sound disk");
            *world = World::open(disk, world.promise.clone()).expect("opens");
        }
        Step::Kill => {
            let promise = world.promise.clone();
            *disk = disk.snapshot();
            *world = World::open(disk, promise).expect("opens");
        }
        Step::PowerCut(seed) => {
            let promise = world.promise.clone();
            *disk = disk.crash_randomly(&mut crate::random::Random::new(seed));
            *world = World::open(disk, promise).expect("opens");
        }
    }
}

fn holds(world: &World) {
    let log = &world.log;
    let above = |stored: &&Stored| next_of(stored) > log.start_offset();
    let expected: Vec<_> = world.promise.may.iter().filter(above).cloned().collect();
    let view = log.view();
    assert_eq!(batches(&view), expected);
    for stored in &expected {
        let end = next_of(stored);
        assert_eq!(log.position_of(end).offset, end, "a batch end is a place");
        let from = stored.0.max(log.start_offset());
        let range = view.read(from, log.position_of(end), 1).expect("sound");
        assert_eq!(range.copy().expect("bytes"), stored.1);
        assert_eq!(range.next_offset, end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// D4, D8, D13, D14: whatever happens in whatever order, the log holds what it was given, and
    /// after a crash all of that which was settled.
    #[test]
    fn the_log_agrees_with_a_list(steps in prop::collection::vec(step(), 1..40)) {
        let mut disk = MemoryDisk::new();
        let mut world = World::new(&disk).expect("sound disk");
        for step in &steps {
            take(&mut world, &mut disk, step);
            holds(&world);
        }
    }
}
