//! Damage is found before it is served (D9), torn tails end at the last whole batch (D8), and what
//! is disposable may be missing or wrong (D15).

use std::io::IoSlice;
use std::path::Path;

use super::super::sidecar::KINDS;
use super::world::{Stored, batches, dir, next_of};
use super::*;
use crate::storage::{Access, Disk};

/// A closed log of several segments, its disk, and what it holds.
fn closed() -> (MemoryDisk, Vec<Stored>, Known) {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    for i in 0..40 {
        append(&mut log, 1 + i % 3, 150);
        if i % 9 == 0 {
            sync(&mut log);
        }
    }
    log.close().expect("a sound disk");
    let known = Known {
        frontier: KnownFrontier::At(Some(log.frontier())),
        clean: log.clean_entry().expect("readable"),
    };
    (disk, batches(&log.view()), known)
}

fn open(disk: &MemoryDisk, known: Known) -> (Log, Recovery) {
    Log::open(Arc::new(disk.clone()), dir(), config(), known, OpenMode::Write).expect("opens")
}

fn segments(disk: &MemoryDisk) -> Vec<(PathBuf, u64)> {
    let entries = disk.list(&dir()).expect("it exists").into_iter();
    let logs = entries.filter(|entry| entry.name.ends_with(".log"));
    logs.map(|entry| (dir().join(entry.name), entry.len)).collect()
}

/// Reads on until something is refused; what was read and the refusal.
fn read_until_refused(view: &LogView, max_bytes: usize) -> (Vec<u8>, Option<ReadError>) {
    let mut read = Vec::new();
    let mut from = view.start();
    while from < view.end().offset {
        match view.read(from, view.end(), max_bytes) {
            Ok(range) => {
                assert!(range.next_offset > from, "reading goes forward");
                read.extend(range.copy().expect("bytes"));
                from = range.next_offset;
            }
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

fn bytes_of(batches: &[Stored]) -> Vec<u8> {
    batches.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// D9: a flipped bit anywhere in any segment, done while the log was closed, is refused with file,
/// byte and offset, and what lies below it is served.
#[test]
fn a_flipped_bit_is_found_before_it_is_served() {
    let (disk, expected, known) = closed();
    let expected = bytes_of(&expected);
    let mut below = 0;
    for (path, len) in segments(&disk) {
        for at in (0..len).step_by(53) {
            assert_found(&disk, known, &expected, &Flip { path: &path, at, below });
        }
        below += len;
    }
}

/// D9: nor does it pass where no side file tells of the headers: in the segment that was being
/// written when the process was killed. No checksum of a batch covers its base offset and its
/// leader epoch, and a wrong length leads to where no batch begins.
#[test]
fn a_flipped_bit_of_a_header_is_found_in_the_segment_that_was_being_written() {
    let disk = MemoryDisk::new();
    let mut log = empty(&disk);
    log.configure(LogConfig { segment_bytes: 1 << 20, ..config() });
    for i in 0..90 {
        append(&mut log, 1 + i % 3, 150);
    }
    sync(&mut log);
    let known = Known { frontier: KnownFrontier::At(Some(log.frontier())), clean: None };
    let stored = batches(&log.view());
    let expected = bytes_of(&stored);
    let (path, len) = segments(&disk).pop().expect("one segment");
    assert!(len > 4 * limits::INDEX_INTERVAL_BYTES as u64, "several blocks");
    let mut start = 0;
    for (i, (_, bytes)) in stored.iter().enumerate() {
        // Each of the bytes that the batch's checksum leaves out, and that checksum.
        for at in (0..21).filter(|at| (at + i as u64).is_multiple_of(3)) {
            let flip = Flip { path: &path, at: start + at, below: 0 };
            assert_found(&disk, known, &expected, &flip);
        }
        start += bytes.len() as u64;
    }
}

struct Flip<'a> {
    path: &'a PathBuf,
    at: u64,
    /// Bytes of the segments before.
    below: u64,
}

fn assert_found(disk: &MemoryDisk, known: Known, expected: &[u8], flip: &Flip<'_>) {
    let &Flip { path, at, below } = flip;
    let disk = disk.snapshot();
    disk.flip_bit(path, at, (at % 8) as u8).expect("it exists");
    let (mut log, _) = open(&disk, known);
    for max_bytes in [1, 700, 1 << 20] {
        let (read, error) = read_until_refused(&log.view(), max_bytes);
        assert!(expected.starts_with(&read), "byte {at}: nothing wrong is served");
        let Some(ReadError::Corrupt(damage)) = error else { panic!("{at}: {error:?}") };
        assert_eq!(damage.path.as_ref(), path);
        assert!(damage.byte <= at && at - damage.byte < 1_024, "{at}: {damage:?}");
        assert!(read.len() as u64 <= below + at);
        assert!(read.len() as u64 + 1_024 > below + at, "byte {at}: what is below is served");
    }
    // Nor is anything put behind it if it is in the segment that would be written to.
    if segments(&disk).pop().is_some_and(|(last, _)| last == *path) {
        let end = log.end_offset();
        let appended = log.append(&[batch(end, 1, 1, 1)], now());
        let is_whole = log.view().segments.last().is_some_and(|last| last.inherited() == 0);
        assert!(appended.is_err() || is_whole || known.clean.is_some(), "byte {at}");
    }
}

/// D9, D15: side files that are made from damaged batches do not testify to the damage: when the
/// bytes are put right, by hand or from a replica, they are served again.
#[test]
fn side_files_rebuilt_over_damage_do_not_outlive_it() {
    let (disk, expected, known) = closed();
    let (path, _) = segments(&disk).remove(0);
    for at in [1, 9, 14, 16, 18, 20, 25, 70] {
        let disk = disk.snapshot();
        sidecar::remove(&disk, &path).expect("removed");
        disk.flip_bit(&path, at, 5).expect("it exists");
        let (mut log, _) = open(&disk, known);
        let refused = log.view().read(Offset::ZERO, log.end(), 100);
        assert!(matches!(refused, Err(ReadError::Corrupt(_))), "byte {at}: {refused:?}");
        let _ = log.close();
        disk.flip_bit(&path, at, 5).expect("it exists");
        assert_same(&disk, known, &expected);
    }
}

/// D9: what a truncation leaves of a block that nobody has verified is not taken for sound.
#[test]
fn a_cut_block_is_still_verified() {
    let (disk, expected, known) = closed();
    let (path, len) = segments(&disk).pop().expect("a last segment");
    let [.., first, second, last] = expected.as_slice() else { panic!("several batches") };
    let sizes = [first, second, last].map(|(_, bytes)| bytes.len() as u64);
    disk.flip_bit(&path, len - sizes.iter().sum::<u64>() + 70, 1).expect("it exists");
    let (mut log, _) = open(&disk, known);
    let data = PathBuf::from("/data");
    let mut frontier =
        frontier::Frontier::begin(Arc::new(disk), &data, Default::default()).expect("begins");
    let entry = log.plan_truncation(last.0).expect("headers are sound");
    let lowered = frontier.lower(partition(), entry).expect("lowered");
    log.truncate_to(last.0, partition(), &lowered).expect("cut");
    let read = log.view().read(first.0, log.end(), 10_000);
    assert!(matches!(read, Err(ReadError::Corrupt(_))), "{read:?}");
}

/// D14: a segment that begins again where one was cut off does not meet its side files.
#[test]
fn side_files_of_a_cut_segment_do_not_come_back() {
    let (disk, _, known) = closed();
    let (mut log, _) = open(&disk, known);
    let data = PathBuf::from("/data");
    let mut frontier =
        frontier::Frontier::begin(Arc::new(disk.clone()), &data, Default::default()).expect("new");
    let entry = log.plan_truncation(Offset(3)).expect("sound");
    let lowered = frontier.lower(partition(), entry).expect("lowered");
    log.truncate_to(Offset(3), partition(), &lowered).expect("cut");
    let side_files = |disk: &MemoryDisk| {
        let names = disk.list(&dir()).expect("it exists").into_iter().map(|entry| entry.name);
        names.filter(|name| KINDS.iter().any(|(kind, _)| name.ends_with(kind))).count()
    };
    assert_eq!(side_files(&disk.crash_losing_all()), 0);
    // What an earlier crash left without its segment goes when the log is opened.
    let orphan = dir().join("00000000000000000900.sum");
    disk.replace(&orphan, b"of another life").expect("written");
    drop(open(&disk, Known { clean: None, frontier: KnownFrontier::Missing }));
    assert_eq!(side_files(&disk.crash_losing_all()), 0);
}

/// D9, with pages instead of bits, and none of the side files to help.
#[test]
fn a_zeroed_page_is_found_without_side_files() {
    let (disk, expected, known) = closed();
    let expected = bytes_of(&expected);
    for (path, _) in segments(&disk) {
        sidecar::remove(&disk, &path).expect("removed");
    }
    for (path, len) in segments(&disk) {
        for at in (0..len).step_by(4_096) {
            let disk = disk.snapshot();
            disk.zero_page(&path, at).expect("it exists");
            let (log, _) = open(&disk, known);
            let (read, error) = read_until_refused(&log.view(), 700);
            assert!(expected.starts_with(&read) && read.len() < expected.len());
            let last_byte = log.view().end() == log.end();
            assert!(error.is_some() || log.end_offset() < known_end(known) && last_byte);
        }
    }
}

/// Changes a byte of a file that may not have been synced.
fn spoil_byte(disk: &MemoryDisk, path: &Path, at: u64) {
    let file = disk.open(path, Access::Write).expect("it exists");
    let mut byte = [0];
    assert_eq!(file.read_at(at, &mut byte).expect("readable"), 1);
    file.write_at(at, &mut [IoSlice::new(&[byte[0] ^ 8])]).expect("writable");
}

fn known_end(known: Known) -> Offset {
    match known.frontier {
        KnownFrontier::At(Some(entry)) => entry.end_offset,
        _ => Offset::ZERO,
    }
}

/// D15: side files and snapshots may be absent, cut short or damaged.
#[test]
fn what_is_disposable_may_be_missing_or_wrong() {
    let (disk, expected, known) = closed();
    let unclean = Known { clean: None, ..known };
    let entries = disk.list(&dir()).expect("it exists");
    let disposable =
        entries.iter().filter(|entry| !entry.name.ends_with(".log") && entry.name != "log-start");
    for entry in disposable {
        let path = dir().join(&entry.name);
        for at in (0..entry.len).step_by(7) {
            let wrong = disk.snapshot();
            spoil_byte(&wrong, &path, at);
            assert_same(&wrong, known, &expected);
            let short = disk.snapshot();
            let file = short.open(&path, Access::Write).expect("it exists");
            file.truncate(at).expect("cut");
            assert_same(&short, unclean, &expected);
        }
        let without = disk.snapshot();
        without.remove(&path).expect("removed");
        assert_same(&without, known, &expected);
    }
}

fn assert_same(disk: &MemoryDisk, known: Known, expected: &[Stored]) {
    let (log, recovery) = open(disk, known);
    assert_eq!(recovery.report.quarantines, []);
    assert_eq!(log.last_epoch(), LeaderEpoch(3));
    let view = log.view();
    for (base, bytes) in expected {
        let range = view.read(*base, view.end(), 1).expect("sound data");
        assert_eq!(
            (range.copy().expect("bytes"), range.len()),
            (bytes.clone(), bytes.len() as u64)
        );
    }
}

/// D8: a file cut at any byte of its last batches, none of them known to be durable, ends with the
/// last whole batch; one cut below the frontier is damaged.
#[test]
fn a_cut_file_ends_at_a_batch_or_is_refused() {
    let (disk, expected, known) = closed();
    let (path, len) = segments(&disk).pop().expect("a last segment");
    let last = expected.last().expect("a batch");
    let early = FrontierEntry {
        segment_base: known.clean.expect("closed").segment_base,
        end_offset: last.0,
        position: len - last.1.len() as u64,
    };
    let unclean = Known { frontier: KnownFrontier::At(Some(early)), clean: None };
    for cut in (len - 1_000..len).step_by(9).chain([early.position, early.position - 1]) {
        let disk = disk.snapshot();
        disk.open(&path, Access::Write).expect("it exists").truncate(cut).expect("cut");
        let (mut log, recovery) = open(&disk, unclean);
        let has = batches_below_damage(&log);
        assert_eq!(has, expected[..has.len()]);
        if cut < early.position {
            assert_eq!(recovery.report.quarantines.len(), 1, "{cut}");
            assert_eq!(log.end_offset(), early.end_offset);
            let next = has.last().map_or(Offset::ZERO, next_of);
            let read = log.view().read(next, log.end(), 100);
            assert!(matches!(read, Err(ReadError::Corrupt(_))), "{read:?}");
            let refused = log.append(&[batch(log.end_offset(), 1, 1, 1)], now());
            assert!(matches!(refused, Err(AppendError::Damaged(_))));
        } else {
            assert_eq!(has.len(), expected.len() - 1);
            // The first bytes of a batch are zeros, which are no loss.
            let cuts =
                recovery.report.truncations.len() + usize::from(recovery.report.zero_bytes_cut > 0);
            assert_eq!(cuts, usize::from(cut > early.position));
            append(&mut log, 1, 10);
            assert_eq!(sync(&mut log).up_to(), log.end_offset());
        }
    }
}

fn batches_below_damage(log: &Log) -> Vec<Stored> {
    let mut view = log.view();
    if let Some(damage) = log.damage() {
        view.end = view.sound(Position { offset: log.end_offset(), ..view.end() });
        assert_eq!(view.end.offset, damage.offset);
    }
    batches(&view)
}

/// Bad inputs row 78: a segment missing in the middle is refused and what lies below is served,
/// whatever else is missing.
#[test]
fn a_missing_segment_is_refused() {
    let (disk, expected, known) = closed();
    let unclean = Known { clean: None, ..known };
    let missing = Known { frontier: KnownFrontier::Missing, clean: None };
    // Claims may be lost when the disk is full; the marker of a clean stop tells all the same.
    let unclaimed = Known { frontier: KnownFrontier::At(None), ..known };
    let all = segments(&disk);
    assert!(all.len() > 3);
    for (i, (path, _)) in all.iter().enumerate() {
        let alone = disk.snapshot();
        alone.remove(path).expect("removed");
        let without_index = alone.snapshot();
        if let Some(before) = i.checked_sub(1) {
            sidecar::remove(&without_index, &all[before].0).expect("removed");
        }
        let without_indexes = alone.snapshot();
        all.iter().for_each(|(log, _)| sidecar::remove(&without_indexes, log).expect("removed"));
        for disk in [alone, without_index, without_indexes] {
            for known in [known, unclean, missing, unclaimed] {
                if i + 1 == all.len() && known == missing {
                    continue; // Nothing tells that there was another segment.
                }
                assert_refused_at(&disk.snapshot(), known, path, &expected);
            }
        }
    }
}

fn assert_refused_at(disk: &MemoryDisk, known: Known, path: &Path, expected: &[Stored]) {
    for mode in [OpenMode::ReadOnly, OpenMode::Write] {
        let (log, recovery) =
            Log::open(Arc::new(disk.clone()), dir(), config(), known, mode).expect("opens");
        assert_eq!(recovery.report.quarantines.len(), 1, "{path:?}, {known:?}: {recovery:?}");
        assert_eq!(recovery.report.truncations, []);
        let has = batches_below_damage(&log);
        assert_eq!(has, expected[..has.len()]);
        let base = log.damage().expect("damaged").offset;
        let name = super::super::open::segment_name(base);
        assert_eq!(name, path.file_name().unwrap().to_str().unwrap());
    }
}

/// Bad inputs row 79: an index that is missing or ends wrong is rebuilt, which is said.
#[test]
fn a_rebuilt_index_is_named() {
    let (disk, expected, known) = closed();
    let (path, _) = segments(&disk).remove(1);
    let index = path.with_extension("index");
    let len = disk.open(&index, Access::Read).and_then(|file| file.len()).expect("it exists");
    for spoil in 0..3 {
        let disk = disk.snapshot();
        match spoil {
            0 => disk.remove(&index).expect("removed"),
            1 => spoil_byte(&disk, &index, len - 1),
            _ => disk.open(&index, Access::Write).and_then(|file| file.truncate(9)).expect("cut"),
        }
        let (_, recovery) = open(&disk, known);
        let named = |note: &String| note.contains(&index.display().to_string());
        assert!(recovery.notes.iter().any(named), "{spoil}: {recovery:?}");
        assert_same(&disk, known, &expected);
        assert_eq!(open(&disk, known).1.notes, Vec::<String>::new(), "once is enough");
    }
}

/// Bad inputs row 77: zeros behind the last batch are its end.
#[test]
fn a_tail_of_zeros_is_the_end() {
    let (disk, expected, known) = closed();
    let (path, len) = segments(&disk).pop().expect("a last segment");
    let file = disk.open(&path, Access::Write).expect("it exists");
    file.write_at(len, &mut [IoSlice::new(&[0; 5_000])]).expect("written");
    let (log, recovery) = open(&disk, Known { clean: None, ..known });
    assert_eq!((recovery.report.zero_bytes_cut, recovery.report.truncations.len()), (5_000, 0));
    assert_eq!(batches(&log.view()), expected);
    assert_eq!(segments(&disk).pop(), Some((path, len)));
}

/// What is opened for reading stays as it is.
#[test]
fn opening_for_reading_changes_nothing() {
    let (disk, expected, known) = closed();
    let (path, len) = segments(&disk).pop().expect("a last segment");
    let file = disk.open(&path, Access::Write).expect("it exists");
    file.write_at(len, &mut [IoSlice::new(&[9; 100])]).expect("written");
    let before = disk.operations();
    let unclean = Known { clean: None, ..known };
    let opened = Log::open(Arc::new(disk.clone()), dir(), config(), unclean, OpenMode::ReadOnly);
    let (mut log, recovery) = opened.expect("opens");
    assert_eq!(recovery.report.truncations.len(), 1);
    assert_eq!(batches(&log.view()), expected);
    let refused = log.append(&[batch(log.end_offset(), 1, 1, 1)], now());
    assert!(matches!(refused, Err(AppendError::ReadOnly)));
    assert_eq!(disk.operations(), before);
}
