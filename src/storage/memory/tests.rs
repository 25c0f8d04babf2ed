//! What the simulated disk keeps and loses.

use super::enumerate::{CrashInfo, Enumeration, enumerate_crashes};
use super::*;
use crate::random::Random;
use crate::storage::suite;
use proptest::prelude::*;
use std::collections::BTreeSet;

const FILE: &str = "/data/file";

/// A disk with a durable directory `/data`.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk
}

/// A disk on which [`FILE`] durably holds `content`, and its handle.
fn disk_with(content: &[u8]) -> (MemoryDisk, Arc<dyn DiskFile>) {
    let disk = disk();
    disk.replace(Path::new(FILE), content).unwrap();
    let file = disk.open(Path::new(FILE), Access::Write).unwrap();
    (disk, file)
}

fn write(file: &dyn DiskFile, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
    file.write_at(at, &mut [IoSlice::new(bytes)])
}

fn content(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
    disk.read_small(Path::new(path), 1 << 20).ok()
}

#[test]
fn behaves_as_every_disk_does() {
    suite::run(&MemoryDisk::new(), Path::new("/data"));
}

// Names.

#[test]
fn a_synced_file_vanishes_without_a_sync_of_its_directory() {
    let disk = disk();
    let file = disk.create(Path::new(FILE)).unwrap();
    write(&*file, 0, b"content").unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk.crash_losing_all(), FILE), None);
    assert_eq!(content(&disk.crash_keeping_all(), FILE).unwrap(), b"content");
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(content(&disk.crash_losing_all(), FILE).unwrap(), b"content");
}

#[test]
fn a_removed_file_comes_back_without_a_sync_of_its_directory() {
    let (disk, file) = disk_with(b"content");
    drop(file);
    disk.remove(Path::new(FILE)).unwrap();
    assert_eq!(content(&disk.crash_losing_all(), FILE).unwrap(), b"content");
    disk.sync_dir(Path::new("/data")).unwrap();
    assert_eq!(content(&disk.crash_losing_all(), FILE), None);
}

#[test]
fn a_directory_is_durable_when_its_creation_returned() {
    let scenario = |disk: &MemoryDisk| disk.create_dir_all(Path::new("/a/b/c")).is_ok();
    let coverage = enumerate_crashes(scenario, |disk, &promised, info| {
        assert!(!promised || disk.exists(Path::new("/a/b/c")).unwrap(), "{info}");
        // Whatever the crash left, trying again ends well.
        disk.create_dir_all(Path::new("/a/b/c")).unwrap();
        assert!(disk.crash_losing_all().exists(Path::new("/a/b/c")).unwrap(), "{info}");
    });
    assert!(coverage.operations >= 6 && coverage.crashes > coverage.operations);
}

/// A process that was killed between making a directory and syncing its parent left an entry that
/// the next process sees and a power cut takes away.
#[test]
fn a_directory_that_was_only_seen_becomes_durable_too() {
    let disk = MemoryDisk::new();
    disk.cut_power_at(3);
    disk.create_dir_all(Path::new("/a/b")).unwrap_err();
    let killed = disk.crash_keeping_all();
    assert!(killed.exists(Path::new("/a")).unwrap());
    let restarted = disk.snapshot();
    restarted.create_dir_all(Path::new("/a/b")).unwrap();
    assert!(restarted.crash_losing_all().exists(Path::new("/a/b")).unwrap());
}

#[test]
fn a_rename_across_directories_never_loses_the_file() {
    let start = disk();
    for directory in ["/one", "/two"] {
        start.create_dir_all(Path::new(directory)).unwrap();
    }
    start.replace(Path::new("/one/file"), b"content").unwrap();
    let scenario = |disk: &MemoryDisk| -> Result<(), StorageError> {
        disk.rename(Path::new("/one/file"), Path::new("/two/file"))?;
        disk.sync_dir(Path::new("/one"))?;
        disk.sync_dir(Path::new("/two")).map(|_| ())
    };
    let mut both = 0;
    Enumeration::starting_from(&start).run(scenario, |disk, moved, info| {
        let (old, new) = (content(&disk, "/one/file"), content(&disk, "/two/file"));
        assert!(old.is_some() || new.is_some(), "{info}");
        assert!(moved.is_err() || new.is_some(), "{info}");
        both += usize::from(old.is_some() && new.is_some());
    });
    assert!(both > 0, "for a while a crash may leave both names");
}

#[test]
fn files_that_nothing_leads_to_are_forgotten() {
    let disk = disk();
    for _ in 0..1_000 {
        disk.replace(Path::new(FILE), &[7; 5_000]).unwrap();
    }
    assert!(disk.lock().nodes.len() < 200);
    let space = disk.space(Path::new("/")).unwrap();
    assert_eq!(space.total_bytes - space.free_bytes, 8_192);
}

// Replacement, and that enumeration finds what is wrong with others.

type Replace = fn(&MemoryDisk, &Path, &[u8]) -> Result<(), StorageError>;

/// Replaces old by new content with `replace`; how many crashes break the promise of atomicity, and
/// how many were tried.
fn broken_replacements(replace: Replace) -> (u64, u64) {
    let (old, new) = ([b'o'; 3_000], [b'n'; 2_000]);
    let (start, _file) = disk_with(&old);
    let mut broken = 0;
    let scenario = |disk: &MemoryDisk| replace(disk, Path::new(FILE), &new).is_ok();
    let verify = |disk: MemoryDisk, &promised: &bool, _: &CrashInfo| {
        let left = content(&disk, FILE);
        let is_new = left.as_deref() == Some(&new);
        let is_old = left.as_deref() == Some(&old);
        broken += u64::from(if promised { !is_new } else { !is_new && !is_old });
    };
    let coverage = Enumeration::starting_from(&start).run(scenario, verify);
    (broken, coverage.crashes)
}

fn write_temporary(disk: &MemoryDisk, path: &Path, new: &[u8]) -> Result<PathBuf, StorageError> {
    let temporary = path.with_extension("new");
    write(&*disk.create(&temporary)?, 0, new)?;
    Ok(temporary)
}

#[test]
fn replace_is_atomic_at_every_crash() {
    let (broken, tried) =
        broken_replacements(|disk, path, new| disk.replace(path, new).map(|_| ()));
    assert_eq!(broken, 0);
    assert!(tried > 50, "{tried}");
}

#[test]
fn a_replacement_without_a_directory_sync_is_caught() {
    let (broken, _) = broken_replacements(|disk, path, new| {
        let temporary = write_temporary(disk, path, new)?;
        disk.open(&temporary, Access::Write)?.sync()?;
        disk.rename(&temporary, path)
    });
    assert!(broken > 0);
}

#[test]
fn a_replacement_without_a_file_sync_is_caught() {
    let (broken, _) = broken_replacements(|disk, path, new| {
        let temporary = write_temporary(disk, path, new)?;
        disk.rename(&temporary, path)?;
        disk.sync_dir(Path::new("/data")).map(|_| ())
    });
    assert!(broken > 0);
}

#[test]
fn a_replacement_in_place_is_caught() {
    let (broken, _) = broken_replacements(|disk, path, new| {
        let file = disk.open(path, Access::Write)?;
        write(&*file, 0, new)?;
        file.truncate(new.len() as u64)?;
        file.sync().map(|_| ())
    });
    assert!(broken > 0);
}

#[test]
fn replace_keeps_the_old_content_whichever_operation_fails() {
    let (start, _file) = disk_with(b"old");
    let scenario = |disk: &MemoryDisk| disk.replace(Path::new(FILE), b"new").is_ok();
    let mut outcomes = BTreeSet::new();
    let enumeration = Enumeration::starting_from(&start);
    let coverage = enumeration.run_failures(scenario, |disk, &promised, info| {
        let left = content(&disk, FILE).unwrap_or_default();
        assert!(left == b"new" || (left == b"old" && !promised), "{info}");
        disk.replace(Path::new(FILE), b"again").unwrap();
        outcomes.insert(left);
    });
    assert_eq!(coverage.operations, 5);
    // Create, write and rename fail in two ways, the syncs in one; each is left in two ways.
    assert_eq!(coverage.crashes, 16);
    assert_eq!(outcomes.len(), 2);
}

// Bytes.

#[test]
fn any_sectors_of_a_write_survive_and_not_only_the_first() {
    let (disk, file) = disk_with(&[b'o'; 2_048]);
    write(&*file, 0, &[b'n'; 2_048]).unwrap();
    let mut random = Random::new(1);
    let mut seen = BTreeSet::new();
    for _ in 0..400 {
        let left = content(&disk.crash_randomly(&mut random), FILE).unwrap();
        assert_eq!(left.len(), 2_048);
        let sectors = left.chunks(512).map(|sector| {
            assert!(sector.iter().all(|&byte| byte == sector[0]), "a sector is never torn");
            sector[0]
        });
        seen.insert(sectors.collect::<Vec<u8>>());
    }
    assert_eq!(seen.len(), 16, "every subset of four sectors");
}

#[test]
fn enumeration_tears_a_large_write_at_every_sector() {
    let (start, _file) = disk_with(b"");
    let scenario = |disk: &MemoryDisk| {
        let file = disk.open(Path::new(FILE), Access::Write)?;
        write(&*file, 0, &[b'n'; 20 * 512])
    };
    let mut prefixes = BTreeSet::new();
    let mut suffixes = BTreeSet::new();
    Enumeration::starting_from(&start).run(scenario, |disk, _, _| {
        let left = content(&disk, FILE).unwrap();
        let is_new = |sector: &&[u8]| sector.iter().all(|&byte| byte == b'n');
        prefixes.insert(left.chunks(512).take_while(is_new).count());
        suffixes.insert(left.rchunks(512).take_while(is_new).count());
    });
    assert_eq!(prefixes.len(), 21);
    assert_eq!(suffixes.len(), 21);
}

#[test]
fn a_grown_file_may_show_zeros_or_bytes_that_nobody_wrote() {
    let (disk, file) = disk_with(b"durable");
    write(&*file, 7, &[b'n'; 3_000]).unwrap();
    let keep = |kept: &[Undecided]| {
        let kept = kept.to_vec();
        let crashed = disk.crash(Unit::Sector, &mut move |choice| {
            if kept.contains(&choice.what) { choice.operations.len() } else { 0 }
        });
        content(&crashed, FILE).unwrap()
    };
    assert_eq!(keep(&[]), b"durable");
    let zeros = keep(&[Undecided::Length]);
    assert_eq!((&zeros[..7], zeros.len()), (b"durable".as_slice(), 3_007));
    assert!(zeros[7..].iter().all(|&byte| byte == 0));
    let stale = keep(&[Undecided::Length, Undecided::Stale]);
    assert_eq!((&stale[..7], stale.len()), (b"durable".as_slice(), 3_007));
    assert!(stale[7..].iter().any(|&byte| byte != 0 && byte != b'n'));
    assert_eq!(keep(&[Undecided::Unit { at: 0 }]), b"durable", "bytes beyond the length are gone");
}

#[test]
fn a_failed_sync_drops_its_pages_and_the_next_one_lies() {
    let (disk, file) = disk_with(&[b'o'; 8_192]);
    disk.inject(Fault::once(FaultKind::SyncFails, "file"));
    write(&*file, 100, b"lost").unwrap();
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(content(&disk, FILE).unwrap()[100..104], *b"lost", "still in the page cache");
    assert_eq!(content(&disk.crash_keeping_all(), FILE).unwrap()[100..104], *b"oooo");

    // A later write takes the whole page along, also what was thought lost, and no other page.
    let revived = disk.snapshot();
    let again = revived.open(Path::new(FILE), Access::Write).unwrap();
    write(&*again, 300, b"new").unwrap();
    again.sync().unwrap();
    let left = content(&revived.crash_losing_all(), FILE).unwrap();
    assert_eq!((&left[100..104], &left[300..303]), (b"lost".as_slice(), b"new".as_slice()));

    file.drop_cached(0, 8_192);
    assert_eq!(content(&disk, FILE).unwrap()[100..104], *b"oooo", "read again from the medium");
    assert_eq!(disk.faults_struck(), 1);
}

#[test]
fn a_lying_sync_makes_nothing_durable() {
    let (disk, file) = disk_with(b"old");
    disk.inject(Fault::always(FaultKind::SyncLies, "file"));
    disk.inject(Fault::once(FaultKind::DirectorySyncLies, "/data"));
    write(&*file, 0, b"new").unwrap();
    file.sync().unwrap();
    disk.create(Path::new("/data/other")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    let crashed = disk.crash_losing_all();
    assert_eq!(content(&crashed, FILE).unwrap(), b"old");
    assert_eq!(content(&crashed, "/data/other"), None);
    assert_eq!(content(&disk.crash_keeping_all(), FILE).unwrap(), b"new");
}

#[test]
fn writes_fail_whole_or_in_part() {
    let (disk, file) = disk_with(b"");
    disk.inject(Fault::once(FaultKind::WriteFails, "file"));
    assert!(!write(&*file, 0, b"content").unwrap_err().is_full());
    assert!(file.is_empty().unwrap());
    disk.inject(Fault::once(FaultKind::ShortWrite(3), "file"));
    assert!(write(&*file, 0, b"content").is_err());
    assert_eq!(content(&disk, FILE).unwrap(), b"con");
    disk.inject(Fault::once(FaultKind::NoSpace, "file").after(1));
    write(&*file, 0, b"content").unwrap();
    assert!(write(&*file, 7, b"more").unwrap_err().is_full());
    assert_eq!(content(&disk, FILE).unwrap(), b"content");
}

#[test]
fn names_fail_too() {
    let (disk, _file) = disk_with(b"old");
    for fault in [FaultKind::CreateFails, FaultKind::RenameFails, FaultKind::DirectorySyncFails] {
        disk.inject(Fault::once(fault, "/data"));
        disk.replace(Path::new(FILE), b"new").unwrap_err();
    }
    assert_eq!(content(&disk.crash_losing_all(), FILE).unwrap(), b"old");
    disk.inject(Fault::once(FaultKind::CreateFails, "/data"));
    disk.clear_faults();
    disk.replace(Path::new(FILE), b"new").unwrap();
    assert_eq!(disk.faults_struck(), 3);
}

#[test]
fn damage_shows_where_it_was_done_and_nowhere_else() {
    let (disk, file) = disk_with(&[0xFF; 10_000]);
    disk.flip_bit(Path::new(FILE), 5_000, 0).unwrap();
    let mut expected = vec![0xFF; 10_000];
    expected[5_000] = 0xFE;
    assert_eq!(content(&disk, FILE).unwrap(), expected);
    disk.zero_page(Path::new(FILE), 100).unwrap();
    expected[..4_096].fill(0);
    assert_eq!(content(&disk, FILE).unwrap(), expected);
    assert_eq!(content(&disk.crash_losing_all(), FILE).unwrap(), expected);
    // A page that is to be written anyway hides the damage and then repairs it.
    write(&*file, 9_000, b"dirty").unwrap();
    disk.flip_bit(Path::new(FILE), 9_500, 0).unwrap();
    assert_eq!(content(&disk, FILE).unwrap()[9_500], 0xFF);
    assert_eq!(content(&disk.crash_losing_all(), FILE).unwrap()[9_500], 0xFE);
    disk.flip_bit(Path::new("/data/other"), 0, 0).unwrap_err();
}

#[test]
fn a_misdirected_write_is_seen_only_after_the_cache_is_gone() {
    let (disk, file) = disk_with(&[b'o'; 12_288]);
    disk.inject(Fault::once(FaultKind::MisdirectedWrite(8_192), "file"));
    write(&*file, 0, &[b'n'; 4_096]).unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk, FILE).unwrap()[0], b'n');
    for left in [disk.crash_losing_all(), {
        file.drop_cached(0, 12_288);
        disk.snapshot()
    }] {
        let left = content(&left, FILE).unwrap();
        assert_eq!((left[0], left[4_096], left[8_192]), (b'o', b'o', b'n'));
    }
}

#[test]
fn a_stale_read_returns_what_was_there_before_the_last_sync() {
    let (disk, file) = disk_with(b"old");
    write(&*file, 0, b"newer").unwrap();
    file.sync().unwrap();
    disk.inject(Fault::once(FaultKind::StaleRead, "file"));
    disk.inject(Fault::once(FaultKind::ReadFails, "file").after(1));
    assert_eq!(content(&disk, FILE).unwrap(), b"old\0\0");
    assert_eq!(content(&disk, FILE), None);
    assert_eq!(content(&disk, FILE).unwrap(), b"newer");
}

#[test]
fn what_left_the_cache_is_not_cached_until_it_is_read() {
    let (_disk, file) = disk_with(&[7; 20_000]);
    write(&*file, 9_000, b"dirty").unwrap();
    file.drop_cached(0, 20_000);
    assert!(!file.is_cached(0, 10) && !file.is_cached(9_000, 5_000));
    assert!(file.is_cached(9_000, 5), "what is to be written stays");
    file.read_at(0, &mut [0; 10]).unwrap();
    assert!(file.is_cached(0, 4_096) && !file.is_cached(0, 4_097));
}

// Room.

#[test]
fn a_full_disk_takes_what_fits_and_more_once_something_is_gone() {
    let disk = disk();
    disk.set_capacity(Some(4 * 4_096));
    let file = disk.create(Path::new(FILE)).unwrap();
    write(&*file, 100, &[7; 8_000]).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 8_192);
    assert!(write(&*file, 8_100, &[7; 10_000]).unwrap_err().is_full());
    assert_eq!(file.len().unwrap(), 4 * 4_096, "a full disk takes a part");
    write(&*file, 0, &[8; 4 * 4_096]).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 0);
    file.truncate(4_097).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 8_192);
    disk.remove(Path::new(FILE)).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 8_192, "it is still open");
    drop(file);
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 4 * 4_096);
}

// Power.

#[test]
fn after_the_power_failed_nothing_works_and_what_was_under_way_is_undecided() {
    let (disk, file) = disk_with(b"old");
    disk.cut_power_at(disk.operations() + 1);
    write(&*file, 0, b"new").unwrap_err();
    assert!(disk.is_off());
    file.sync().unwrap_err();
    file.read_at(0, &mut [0; 1]).unwrap_err();
    disk.list(Path::new("/")).unwrap_err();
    drop(file);
    assert_eq!(content(&disk.crash_losing_all(), FILE).unwrap(), b"old");
    assert_eq!(content(&disk.crash_keeping_all(), FILE).unwrap(), b"new");
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let (disk, file) = disk_with(&[b'o'; 20_000]);
    for at in 0..20 {
        write(&*file, at * 1_111, &[at as u8; 700]).unwrap();
    }
    let crash = |seed| disk.crash_randomly(&mut Random::new(seed)).fingerprint();
    assert_eq!(crash(1), crash(1));
    let different: BTreeSet<u64> = (0..20).map(crash).collect();
    assert!(different.len() > 10);
    let snapshot = disk.snapshot();
    write(&*file, 0, b"later").unwrap();
    assert_ne!(snapshot.fingerprint(), disk.fingerprint(), "a snapshot stays as it was");
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Truncate(u64),
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_000_u64, any::<u8>(), 1..3_000_usize)
            .prop_map(|(at, byte, len)| Step::Write(at, vec![byte | 1; len])),
        1 => (0..6_000_u64).prop_map(Step::Truncate),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After a crash every sector is one that the file had since its last sync, or was never
    /// durable and is zero; the two extreme crashes are the durable and the last state.
    #[test]
    fn a_crash_leaves_only_what_the_file_was_at_some_time(
        steps in prop::collection::vec(step(), 1..12),
        seed in any::<u64>(),
    ) {
        let (disk, file) = disk_with(b"");
        let mut model: Vec<u8> = Vec::new();
        let mut since_sync = vec![model.clone()];
        for step in steps {
            match step {
                Step::Write(at, bytes) => {
                    write(&*file, at, &bytes).unwrap();
                    let end = at as usize + bytes.len();
                    model.resize(model.len().max(end), 0);
                    model[at as usize..end].copy_from_slice(&bytes);
                }
                Step::Truncate(len) => {
                    file.truncate(len).unwrap();
                    model.resize(len as usize, 0);
                }
                Step::Sync => {
                    file.sync().unwrap();
                    since_sync.clear();
                }
            }
            since_sync.push(model.clone());
        }
        prop_assert_eq!(content(&disk, FILE).unwrap(), model.clone());
        prop_assert_eq!(content(&disk.crash_keeping_all(), FILE).unwrap(), model);
        prop_assert_eq!(&content(&disk.crash_losing_all(), FILE).unwrap(), &since_sync[0]);
        let mut random = Random::new(seed);
        for _ in 0..8 {
            let crashed = disk.crash(Unit::Sector, &mut |choice| match choice.what {
                Undecided::Stale => 0,
                _ => random.below(choice.operations.len() as u64 + 1) as usize,
            });
            let left = content(&crashed, FILE).unwrap();
            prop_assert!(since_sync.iter().any(|version| version.len() == left.len()));
            for start in (0..left.len()).step_by(512) {
                let sector = start..(start + 512).min(left.len());
                let was = |version: &Vec<u8>| {
                    sector.clone().all(|at| left[at] == version.get(at).copied().unwrap_or(0))
                };
                prop_assert!(since_sync.iter().any(was), "sector at {start}");
            }
        }
    }
}
