//! Repairs: what stays is served, what goes is kept, and a crash at any step loses neither (D14).

use std::path::Path;

use super::super::clean::CleanShutdown;
use super::super::frontier::Frontier;
use super::super::repair::{Lost, Remedy, Repair, RepairError};
use super::world::{batches, dir, next_of};
use super::*;
use crate::storage::Disk;
use crate::storage::memory::enumerate::Enumeration;
use crate::storage::memory::{Fault, FaultKind};
use crate::types::BrokerEpoch;

const DATA: &str = "/data";

/// A stopped log of several segments, with journal and marker, and what it holds.
struct Stopped {
    disk: MemoryDisk,
    batches: Vec<super::world::Stored>,
    end: Offset,
}

fn stopped() -> Stopped {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    for i in 0..45 {
        append(&mut log, 1 + i % 3, 150);
        if i % 9 == 0 {
            sync(&mut log);
        }
    }
    log.close().expect("a sound disk");
    let entries = [(partition(), log.frontier()), (other(), log.frontier())].into();
    Frontier::begin(Arc::new(disk.clone()), Path::new(DATA), entries).expect("a sound disk");
    let clean = log.clean_entry().expect("readable").expect("it is sound");
    let logs = [(partition(), clean), (other(), clean)].into();
    let marker = CleanShutdown { broker_epoch: BrokerEpoch(1), logs };
    marker.write(&disk, Path::new(DATA)).expect("a sound disk");
    Stopped { batches: batches(&log.view()), end: log.end_offset(), disk }
}

/// A log of the same node that is not repaired.
fn other() -> TopicPartition {
    TopicPartition { partition: PartitionId(1), ..partition() }
}

fn known(disk: &MemoryDisk) -> Known {
    let clean = match CleanShutdown::peek(disk, Path::new(DATA)) {
        super::super::clean::Taken::Clean(marker) => marker.logs.get(&partition()).copied(),
        _ => None,
    };
    Known { clean, ..super::world::known(disk) }
}

fn open(disk: &MemoryDisk) -> (Log, Recovery) {
    let disk_of_log = Arc::new(disk.clone());
    Log::open(disk_of_log, dir(), config(), known(disk), OpenMode::Write).expect("opens")
}

fn repair(disk: &MemoryDisk) -> Repair {
    let (data_dir, partition) = (PathBuf::from(DATA), partition());
    Repair { disk: Arc::new(disk.clone()), data_dir, dir: dir(), partition }
}

/// The files of the log's directory whose names end so, with their content.
fn files(disk: &MemoryDisk, ending: &str) -> Vec<(String, Vec<u8>)> {
    let entries = disk.list(&dir()).expect("it exists").into_iter();
    let wanted = entries.filter(|entry| entry.name.ends_with(ending));
    let content = |name: &str| disk.read_small(&dir().join(name), 1 << 20).expect("readable");
    wanted.map(|entry| (entry.name.clone(), content(&entry.name))).collect()
}

/// A damaged batch in the second of the segments: its number among all, and where it is.
struct Damaged {
    batch: usize,
    at: Position,
}

fn damage(stopped: &Stopped) -> Damaged {
    let segments = files(&stopped.disk, ".log");
    assert!(segments.len() > 3, "{} segments", segments.len());
    let base: i64 = segments[1].0[..20].parse().expect("digits");
    let first = stopped.batches.iter().position(|(offset, _)| offset.0 == base).expect("there");
    let batch = first + 2;
    let bytes = stopped.batches[first..batch].iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let path = dir().join(&segments[1].0);
    stopped.disk.flip_bit(&path, bytes + 70, 1).expect("there");
    let offset = stopped.batches[batch].0;
    Damaged { batch, at: Position { offset, segment: Offset(base), bytes } }
}

#[test]
fn what_is_below_the_damage_is_served_and_what_is_lost_is_said_once() {
    let stopped = stopped();
    let Damaged { batch, at } = damage(&stopped);
    let sound: Vec<_> = files(&stopped.disk, ".log");
    let lost = Lost { first: at.offset, end: stopped.end };
    let kept = repair(&stopped.disk).run(Remedy::EndAt(at), lost).expect("a sound disk");
    // Every byte of what was taken out is beside the log.
    let torn = files(&stopped.disk, ".torn");
    assert_eq!(kept.len(), torn.len());
    assert!(torn.iter().any(|(_, bytes)| *bytes == sound[1].1[at.bytes as usize..]));
    for (name, bytes) in &sound[2..] {
        assert!(torn.iter().any(|(_, kept)| kept == bytes), "{name}");
    }
    let (mut log, recovery) = open(&stopped.disk);
    assert_eq!((&recovery.damage, &recovery.torn), (&None, &None), "{recovery:?}");
    assert_eq!(recovery.lost, [lost]);
    assert_eq!(recovery.notes, Vec::<String>::new());
    assert_eq!(batches(&log.view()), stopped.batches[..batch]);
    append(&mut log, 2, 50);
    assert_eq!(sync(&mut log).up_to(), at.offset.plus(2));
    log.close().expect("closes");
    assert_eq!(open(&stopped.disk).1.lost, [], "it is said once");
    // What is known of the other log is as it was.
    let (_, entries) = Frontier::load(&stopped.disk, Path::new(DATA));
    assert_eq!(entries[&other()].end_offset, stopped.end);
    let marker = CleanShutdown::peek(&stopped.disk, Path::new(DATA));
    let super::super::clean::Taken::Clean(marker) = marker else { panic!("{marker:?}") };
    assert_eq!(marker.logs.keys().collect::<Vec<_>>(), [&other()]);
}

/// Whatever survives, the sound part is served, nothing more, and nothing of the rest is gone.
#[test]
fn a_crash_leaves_the_old_log_or_the_new_one() {
    let stopped = stopped();
    let Damaged { batch, at } = damage(&stopped);
    let before = files(&stopped.disk, ".log");
    let lost = Lost { first: at.offset, end: stopped.end };
    let coverage = Enumeration::starting_from(&stopped.disk).random_crashes(4).run(
        |disk| repair(disk).run(Remedy::EndAt(at), lost).is_ok(),
        |disk, &done, _| {
            let all: Vec<_> = [files(&disk, ".log"), files(&disk, ".torn")].concat();
            let is_there = |bytes: &[u8]| all.iter().any(|(_, there)| there == bytes);
            for (name, bytes) in &before[2..] {
                assert!(is_there(bytes), "{name} is gone");
            }
            assert!(is_there(&before[1].1) || is_there(&before[1].1[at.bytes as usize..]));
            let (log, recovery) = open(&disk.snapshot());
            assert_eq!(batches_below(&log, at.offset), stopped.batches[..batch]);
            let is_new = log.end_offset() == at.offset;
            assert_eq!(recovery.lost, if is_new { vec![lost] } else { Vec::new() });
            assert!(is_new || log.view().read(at.offset, log.end(), 1).is_err(), "it is refused");
            assert!(is_new || !done);
            // Whoever was interrupted starts over.
            repair(&disk).run(Remedy::EndAt(at), lost).expect("a sound disk");
            let (log, recovery) = open(&disk);
            assert_eq!((recovery.damage, recovery.lost), (None, vec![lost]));
            assert_eq!(batches(&log.view()), stopped.batches[..batch]);
        },
    );
    assert!(coverage.crashes > 50, "{coverage:?}");
}

fn batches_below(log: &Log, end: Offset) -> Vec<super::world::Stored> {
    let view = log.view();
    let (mut served, mut from) = (Vec::new(), view.start());
    while from < end {
        let range = view.read(from, view.end(), 1).expect("it is sound below the damage");
        let bytes = range.copy().expect("bytes");
        served.push((from, bytes));
        from = range.next_offset;
    }
    assert!(served.iter().all(|stored| next_of(stored) <= end));
    served
}

#[test]
fn without_room_for_a_copy_nothing_is_changed() {
    let stopped = stopped();
    let Damaged { at, .. } = damage(&stopped);
    let before = [files(&stopped.disk, ""), Vec::new()].concat();
    stopped.disk.inject(Fault::always(FaultKind::NoSpace, ".unfinished"));
    let lost = Lost { first: at.offset, end: stopped.end };
    let refused = repair(&stopped.disk).run(Remedy::EndAt(at), lost);
    assert!(matches!(refused, Err(RepairError::NoRoom { .. })), "{refused:?}");
    assert_eq!(files(&stopped.disk, ""), before);
}

#[test]
fn a_log_without_its_beginning_begins_with_what_is_there() {
    let stopped = stopped();
    let segments = files(&stopped.disk, ".log");
    stopped.disk.remove(&dir().join(&segments[0].0)).expect("there");
    stopped.disk.sync_dir(&dir()).expect("a sound disk");
    assert!(open(&stopped.disk.snapshot()).1.damage.is_some());
    let first = Offset(segments[1].0[..20].parse().expect("digits"));
    let lost = Lost { first: Offset::ZERO, end: first };
    let run = |disk: &MemoryDisk| repair(disk).run(Remedy::BeginAt(first), lost);
    let coverage = Enumeration::starting_from(&stopped.disk).run(
        |disk| run(disk).is_ok(),
        |disk, &done, _| {
            let (log, recovery) = open(&disk.snapshot());
            assert!(recovery.damage.is_some() || log.start_offset() == first);
            assert!(recovery.damage.is_none() || recovery.lost.is_empty(), "nothing is lost yet");
            assert!(!done || recovery.damage.is_none());
            run(&disk).expect("a sound disk");
            let (log, recovery) = open(&disk);
            assert_eq!((recovery.damage, recovery.lost), (None, vec![lost]));
            let kept = stopped.batches.iter().filter(|(base, _)| *base >= first);
            assert_eq!(batches(&log.view()), kept.cloned().collect::<Vec<_>>());
        },
    );
    assert!(coverage.crashes > 5, "{coverage:?}");
}

#[test]
fn a_log_that_is_gone_is_empty_again() {
    let stopped = stopped();
    stopped.disk.remove_dir_all(&dir()).expect("there");
    assert!(open(&stopped.disk.snapshot()).1.damage.is_some());
    let end = Position { offset: Offset::ZERO, segment: Offset::ZERO, bytes: 0 };
    let lost = Lost { first: Offset::ZERO, end: stopped.end };
    repair(&stopped.disk).run(Remedy::EndAt(end), lost).expect("a sound disk");
    let (mut log, recovery) = open(&stopped.disk);
    assert_eq!((recovery.damage, recovery.lost), (None, vec![lost]));
    append(&mut log, 1, 10);
    assert_eq!(sync(&mut log).up_to(), Offset(1));
}
