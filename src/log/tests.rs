//! The log as a whole, held against what its callers are promised.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::record::{BatchBuilder, Compression, NewRecord, StampedBatch};
use crate::storage::memory::MemoryDisk;
use crate::time::Now;
use crate::types::{PartitionId, TopicId, TopicPartition};

mod crash;
mod world;

const DIR: &str = "/data/topics/t/0";

fn now() -> Now {
    Now { wall: Millis(1_000_000), monotonic_ms: 0 }
}

fn partition() -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([7; 16]), partition: PartitionId(0) }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 4_096, index_interval_bytes: 256, ..LogConfig::default() }
}

/// A batch of `count` records of `size` bytes each, all of them `fill`.
fn batch(base: Offset, count: usize, size: usize, fill: u8) -> StampedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..count {
        let value = vec![fill; size];
        builder.push(&NewRecord {
            timestamp: Millis(1_000 + base.0),
            key: None,
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build().stamp(base, LeaderEpoch(3))
}

fn append(log: &mut Log, count: usize, size: usize) -> Appended {
    let base = log.end_offset();
    log.append(&[batch(base, count, size, base.0 as u8)], now()).expect("room")
}

fn sync(log: &mut Log) -> Settled {
    let job = log.begin_sync().expect("something to sync");
    log.finish_sync(job.run()).expect("a sound disk")
}

fn empty(disk: &MemoryDisk) -> Log {
    Log::create(Arc::new(disk.clone()), PathBuf::from(DIR), config())
}

/// Everything a view holds, as bytes.
fn read_all(view: &LogView) -> Vec<u8> {
    let mut all = Vec::new();
    let mut from = view.start();
    while from < view.end().offset {
        let range = view.read(from, view.end(), 1_000).expect("sound data");
        assert!(range.next_offset > from, "reading goes forward");
        all.extend(range.copy().expect("bytes"));
        from = range.next_offset;
    }
    all
}

#[test]
fn what_was_appended_is_read_back_across_segments() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    let mut expected = Vec::new();
    for i in 0..60 {
        let base = log.end_offset();
        let made = batch(base, 1 + i % 4, 100, i as u8);
        expected.extend(made.to_bytes());
        log.append(&[made], now()).expect("room");
        if i % 7 == 0 {
            assert_eq!(sync(&mut log).up_to(), log.end_offset());
        }
    }
    assert!(log.view().segments.len() > 3);
    assert_eq!(read_all(&log.view()), expected);
    assert_eq!(log.size_bytes(), expected.len() as u64);
}

#[test]
fn a_log_is_found_again_as_it_was() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    for i in 0..40 {
        append(&mut log, 1 + i % 3, 90);
    }
    sync(&mut log);
    let known = Known { frontier: KnownFrontier::At(Some(log.frontier())), clean: None };
    let expected = read_all(&log.view());
    let dir = PathBuf::from(DIR);
    let open = || Log::open(Arc::new(disk.clone()), dir.clone(), config(), known, OpenMode::Write);
    let (mut again, recovery) = open().expect("opens");
    assert_eq!(recovery, Recovery::default());
    assert_eq!((again.end(), again.start_offset()), (log.end(), log.start_offset()));
    assert_eq!(read_all(&again.view()), expected);
    append(&mut again, 2, 50);
    sync(&mut again);
    assert!(read_all(&again.view()).starts_with(&expected));
}
