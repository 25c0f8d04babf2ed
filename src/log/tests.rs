//! The log as a whole, held against what its callers are promised.

use std::path::PathBuf;
use std::sync::Arc;

use super::producers::Verdict;
use super::*;
use crate::record::{BatchBuilder, Compression, NewRecord, StampedBatch};
use crate::storage::memory::MemoryDisk;
use crate::time::Now;
use crate::types::{PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicPartition};

mod crash;
mod damage;
mod model;
mod repair;
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
    let settled = log.finish_sync(job.run()).expect("a sound disk");
    if let Some(job) = log.begin_upkeep() {
        log.finish_upkeep(job.run());
    }
    settled
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
    assert_eq!((recovery.torn, recovery.damage), (None, None));
    assert_eq!(recovery.report.scanned_bytes, 0);
    assert_eq!((again.end(), again.start_offset()), (log.end(), log.start_offset()));
    assert_eq!(read_all(&again.view()), expected);
    append(&mut again, 2, 50);
    sync(&mut again);
    assert!(read_all(&again.view()).starts_with(&expected));
}

/// Bad inputs row 82: nothing of a batch stays when the disk is full, and it goes on when it is
/// not.
#[test]
fn a_full_disk_is_a_state() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    append(&mut log, 1, 100);
    sync(&mut log);
    disk.set_capacity(Some(16 << 10));
    let base = log.end_offset();
    let refused = log.append(&[batch(base, 1, 20_000, 1)], now());
    assert!(matches!(refused, Err(AppendError::Full(_))), "{refused:?}");
    assert_eq!((log.end_offset(), log.is_poisoned().is_some()), (base, false));
    disk.set_capacity(None);
    append(&mut log, 1, 20_000);
    assert_eq!(sync(&mut log).up_to(), log.end_offset());
    assert_eq!(read_all(&log.view()).len() as u64, log.size_bytes());
}

/// Bad inputs row 86: a segment that can not be created for want of descriptors is refused, and
/// nothing is lost or offline by it.
#[test]
fn a_want_of_descriptors_is_a_state() {
    use crate::storage::memory::{Fault, FaultKind};
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    let refused = |log: &mut Log| {
        let end = log.end();
        disk.inject(Fault::once(FaultKind::NoDescriptor, ".log"));
        let filling = batch(end.offset, 1, config().segment_bytes as usize, 1);
        let refused = log.append(&[filling], now());
        assert!(matches!(refused, Err(AppendError::NoDescriptors(_))), "{refused:?}");
        assert_eq!((log.end(), log.is_poisoned().is_some()), (end, false));
    };
    refused(&mut log);
    append(&mut log, 1, 100);
    refused(&mut log);
    append(&mut log, 1, 100);
    sync(&mut log);
    disk.inject(Fault::once(FaultKind::NoDescriptor, "log-start"));
    let kept = log.advance_start(Offset(1));
    assert!(matches!(kept, Err(ChangeError::Refused(AppendError::NoDescriptors(_)))), "{kept:?}");
    assert_eq!((log.start_offset(), log.is_poisoned().is_some()), (Offset(0), false));
    log.advance_start(Offset(1)).expect("it can be now");
    assert_eq!(read_all(&log.view()).len() as u64 * 2, log.size_bytes());
    // Not even the first sync of a log fails: what it opens besides can be waited for.
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    append(&mut log, 1, 100);
    disk.inject(Fault { times: 2, ..Fault::once(FaultKind::NoDescriptor, "leader-epochs") });
    assert_eq!(sync(&mut log).up_to(), log.end_offset());
    assert_eq!(disk.faults_struck(), 2);
}

/// Bad inputs row 86: the name of a closed segment may be another file's by the time it is read.
#[test]
fn a_reader_of_a_segment_whose_name_is_another_files_takes_a_new_view() {
    use crate::storage::file::FileDisk;
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(FileDisk::with_open_max(1));
    let dir = directory.path().join("log");
    let mut log = Log::create(disk.clone(), dir.clone(), config());
    append(&mut log, 1, 100);
    sync(&mut log);
    let view = log.view();
    let others: Vec<_> = (0..3)
        .map(|number| disk.create(&directory.path().join(number.to_string())).expect("new"))
        .collect();
    let segment = dir.join(format!("{:020}.log", 0));
    std::fs::rename(&segment, directory.path().join("away")).expect("renamed");
    std::fs::write(&segment, b"another").expect("written");
    let range = view.read(Offset(0), view.end(), 1_000);
    let read = range.and_then(|range| range.copy());
    assert!(matches!(read, Err(ReadError::Stale)), "{read:?}");
    drop(others);
}

/// Bad inputs row 85: a failed sync is final, leaves a marker, and the next start writes again what
/// the page cache may only pretend to have written.
#[test]
fn a_failed_sync_poisons_the_log() {
    use crate::storage::memory::{Fault, FaultKind};
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    append(&mut log, 1, 100);
    sync(&mut log);
    let known = Known { frontier: KnownFrontier::At(Some(log.frontier())), clean: None };
    append(&mut log, 1, 200);
    disk.inject(Fault::once(FaultKind::SyncFails, ".log"));
    let job = log.begin_sync().expect("something to sync");
    assert!(log.finish_sync(job.run()).is_err());
    assert!(log.is_poisoned().is_some() && log.begin_sync().is_none());
    assert_eq!(log.settled_offset(), Offset(1));
    let refused = log.append(&[batch(log.end_offset(), 1, 1, 1)], now());
    assert!(matches!(refused, Err(AppendError::Poisoned(_))));

    let config = config();
    let dir = PathBuf::from(DIR);
    let opened = Log::open(Arc::new(disk.clone()), dir, config, known, OpenMode::Write);
    let (again, recovery) = opened.expect("opens");
    assert!(recovery.report.rewritten_bytes > 0);
    let expected = read_all(&again.view());
    drop(again);
    let survivor = Arc::new(disk.crash_losing_all());
    let opened =
        Log::open(survivor, PathBuf::from(DIR), LogConfig::default(), known, OpenMode::Write);
    assert_eq!(read_all(&opened.expect("opens").0.view()), expected);
}

#[test]
fn a_time_stamp_leads_to_the_first_batch_that_is_not_older() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    for _ in 0..60 {
        append(&mut log, 2, 150);
    }
    let view = log.view();
    for timestamp in 900..1_130 {
        let found = view.batch_for_timestamp(Millis(timestamp), view.end()).expect("sound");
        let base = found.map(|range| {
            let header = crate::record::BatchHeader::parse(&range.copy().expect("bytes"));
            header.expect("a batch").base_offset
        });
        // The batch at offset n carries the time stamp 1000 + n.
        let first = (timestamp - 1_000).max(0);
        let expected = Some(Offset(first + first % 2)).filter(|base| *base < log.end_offset());
        assert_eq!(base, expected, "{timestamp}");
    }
}

/// What durability `os` promises: settled as soon as it is written, synced in the background.
#[test]
fn a_log_may_settle_for_the_page_cache() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    append(&mut log, 1, 100);
    assert_eq!(log.settled().map(|settled| settled.up_to()), Some(Offset::ZERO));
    log.configure(LogConfig { durability: Durability::Os, ..config() });
    append(&mut log, 1, 100);
    let settled = log.settled().expect("page cache counts");
    assert_eq!((settled.up_to(), settled.synced()), (Offset(2), None));
    assert!(!log.wants_sync());
    append(&mut log, 1, 9 << 20);
    assert!(log.wants_sync());
    assert!(sync(&mut log).synced().is_some());
    assert_eq!(log.synced(), log.end());
}

/// Records are aged by their own time stamps, and the newest segment can go too.
#[test]
fn retention_removes_what_is_old_and_below_the_high_watermark() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    log.configure(LogConfig { retention_ms: Some(1_000), ..config() });
    for _ in 0..60 {
        append(&mut log, 2, 150);
    }
    sync(&mut log);
    let end = log.end_offset();
    assert!(!log.enforce_retention(Millis(1_900), end).expect("sound disk"), "nothing is old");
    assert!(log.enforce_retention(Millis(2_060), Offset(40)).expect("sound disk"));
    assert!(log.start_offset() > Offset::ZERO && log.start_offset() <= Offset(40));
    assert!(log.enforce_retention(Millis(90_000), end).expect("sound disk"));
    assert_eq!((log.start_offset(), log.size_bytes()), (end, 0));
    append(&mut log, 1, 10);
    assert_eq!(sync(&mut log).up_to(), log.end_offset());
}

/// What is still to be done for a segment when it goes is not done any more.
#[test]
fn side_files_of_removed_segments_do_not_come_back() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    for _ in 0..60 {
        append(&mut log, 2, 150);
    }
    let job = log.begin_sync().expect("something to sync");
    let _ = log.finish_sync(job.run()).expect("a sound disk");
    log.advance_start(log.end_offset()).expect("no job is under way");
    if let Some(job) = log.begin_upkeep() {
        log.finish_upkeep(job.run());
    }
    let names = disk.list(log.dir()).expect("it is there").into_iter().map(|entry| entry.name);
    let names: Vec<_> = names.filter(|name| name.starts_with("0000")).collect();
    let logs: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".log")).collect();
    let orphan = |name: &&String| !logs.iter().any(|log| name.starts_with(log));
    assert_eq!(names.iter().find(orphan), None, "{names:?}");
}

/// A segment that was idle for long may have no descriptor any more, and it may go in the same
/// round of retention that seals it: the next sync is not to look for it.
#[test]
fn retention_of_an_idle_log_does_not_take_it_offline() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(crate::storage::file::FileDisk::with_open_max(1));
    let idle = LogConfig { retention_ms: Some(1_000), ..config() };
    let mut log = Log::create(disk.clone(), directory.path().join("log"), idle);
    append(&mut log, 2, 150);
    sync(&mut log);
    for number in 0..8 {
        disk.create(&directory.path().join(number.to_string())).expect("room");
    }
    let end = log.end_offset();
    assert!(log.enforce_retention(Millis(90_000), end).expect("sound disk"));
    sync(&mut log);
    append(&mut log, 1, 10);
    assert_eq!(sync(&mut log).up_to(), log.end_offset());
}

/// P2: retention does not take the last that is known of a producer. Segments go only when a
/// snapshot tells as much, whether or not an earlier one could be written.
#[test]
fn retention_forgets_no_producer() {
    use crate::storage::memory::{Fault, FaultKind};
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    log.configure(LogConfig { retention_bytes: Some(1), retention_ms: None, ..config() });
    let own =
        BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
    let own = {
        let mut builder = own;
        let (timestamp, value) = (Millis(1), Some(b"once".as_slice()));
        builder.push(&NewRecord { timestamp, key: None, value, headers: &[] });
        builder.build().stamp(Offset::ZERO, LeaderEpoch(3))
    };
    let header = *own.header();
    log.append(&[own], now()).expect("room");
    while log.view().segments.len() < 4 {
        append(&mut log, 1, 900);
    }
    disk.inject(Fault::once(FaultKind::NoSpace, "producers-"));
    sync(&mut log);
    let end = log.end_offset();
    let retain = |log: &mut Log| log.enforce_retention(Millis(1), end).expect("sound disk");
    assert!(!retain(&mut log), "nothing else tells of the producer");
    assert_eq!((log.start_offset(), log.view().segments.len()), (Offset::ZERO, 4));
    sync(&mut log);
    assert!(retain(&mut log), "the sync has written it down");
    assert!(log.view().segments.len() < 4);
    let known = Known { frontier: KnownFrontier::At(Some(log.frontier())), clean: None };
    let dir = PathBuf::from(DIR);
    let survivor = Arc::new(disk.crash_losing_all());
    let (again, _) = Log::open(survivor, dir, config(), known, OpenMode::Write).expect("opens");
    let again = again.producers().check(&header);
    assert!(matches!(again, Verdict::Duplicate { base_offset: Offset::ZERO, .. }), "{again:?}");
}

/// D9: what recovery takes over is stamped by epochs that are written down before anybody can claim
/// that it is durable; on a full disk, by none that could be wrong.
#[test]
fn the_epochs_of_a_recovered_tail_are_written_down() {
    for is_full in [false, true] {
        let disk = MemoryDisk::new();
        let mut log = empty(&disk);
        append(&mut log, 1, 100);
        sync(&mut log);
        let known = Known { frontier: KnownFrontier::At(Some(log.frontier())), clean: None };
        let later = batch(log.end_offset(), 1, 100, 9).header().leader_epoch.0 + 1;
        let made = BatchBuilder::single(Millis(2_000), None, Some(b"x"));
        log.append(&[made.stamp(log.end_offset(), LeaderEpoch(later))], now()).expect("room");
        let open = |disk: &MemoryDisk, known| {
            let (disk, dir) = (Arc::new(disk.clone()), PathBuf::from(DIR));
            Log::open(disk, dir, config(), known, OpenMode::Write).expect("opens").0
        };
        let killed = disk.snapshot();
        let used = killed.space(std::path::Path::new("/")).expect("a disk");
        let used = used.total_bytes - used.free_bytes;
        killed.set_capacity(is_full.then_some(used));
        let recovered = open(&killed, known);
        killed.set_capacity(None);
        let known = Known { frontier: KnownFrontier::At(Some(recovered.frontier())), clean: None };
        let again = open(&killed.snapshot(), known);
        assert_eq!(again.damage(), None);
        assert_eq!(read_all(&again.view()), read_all(&log.view()));
        assert_eq!(again.last_epoch(), LeaderEpoch(later));
    }
}

/// Between two rolls the producers are written down every 64 MiB, not with every append behind the
/// first of these: each time is a file of its own with two syncs.
#[test]
fn producers_are_written_down_once_in_64_mib() {
    let config = LogConfig { segment_bytes: 1 << 30, ..config() };
    let disk = Arc::new(MemoryDisk::new());
    let mut log = Log::create(disk, PathBuf::from(DIR), config);
    let mut snapshots = 0;
    for _ in 0..140 {
        append(&mut log, 1, 1 << 20);
        snapshots += usize::from(log.pending.after.snapshot.is_some());
        sync(&mut log);
    }
    assert_eq!(snapshots, 2);
}
