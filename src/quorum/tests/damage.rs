//! Damage is found when a store is opened, with path and place, and never taken for less (M7).

use std::path::PathBuf;

use super::super::files::{Saved, read_saved, write_saved};
use super::super::types::{LogId, Vote};
use super::*;
use crate::storage::Access;

/// What must not change: vote, last entry, image.
type Remembered = (Option<Vote>, Option<LogId>, Vec<u8>);

/// A disk with a store on it that was stopped cleanly, and what is in it. Of the entries in the
/// snapshot this many are in the log as well; the others are purged.
fn stopped(kept_entries: u64) -> (MemoryDisk, Remembered) {
    let disk = MemoryDisk::new();
    run(async {
        let mut options = options(&disk, Presence::MayBeNew);
        (options.snapshot_entries, options.kept_entries) = (4, kept_entries);
        let quorum = RaftQuorum::start(options, NOW).await.expect("a new cluster");
        quorum.propose(NOW, register(1)).await.expect("registered");
        for number in 0..6 {
            let command = create(&format!("t{number}"), number + 1);
            quorum.propose(NOW, command).await.expect("created");
        }
        quorum.shutdown().await.expect("a clean stop");
    });
    let remembered = reopen(&disk.snapshot()).expect("sound");
    (disk, remembered)
}

fn files(disk: &MemoryDisk) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut dirs = vec![PathBuf::from(DIR)];
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).expect("a directory") {
            let path = dir.join(&entry.name);
            if entry.is_dir { dirs.push(path) } else { files.push((path, entry.len)) }
        }
    }
    files
}

fn reopen(disk: &MemoryDisk) -> Result<Remembered, QuorumError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Store::open(disk, Path::new(DIR), Presence::Expected)?;
    Ok((store.vote(), store.last(), store.replay_committed()?.image.to_bytes()))
}

/// Either everything is still there, or opening fails and names a file.
fn check(damaged: &MemoryDisk, remembered: &Remembered, what: &str) -> bool {
    match reopen(damaged) {
        Ok(found) => {
            assert!(found == *remembered, "{what}: something else is remembered now");
            false
        }
        Err(QuorumError::Damaged { path, .. } | QuorumError::Newer { path, .. }) => {
            assert!(path.starts_with(DIR), "{what}: {}", path.display());
            true
        }
        Err(error) => panic!("{what}: {error:?}"),
    }
}

fn must_be_sound(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    ["vote", "snapshot"].contains(&name) || name.ends_with(".log")
}

#[test]
fn no_flipped_bit_changes_what_is_remembered() {
    // What is purged may rot unnoticed, so only where nothing is must every flip be found.
    for (kept, is_all_needed) in [(100, true), (2, false)] {
        let (disk, remembered) = stopped(kept);
        let mut seen = 0;
        for (path, len) in files(&disk) {
            for at in 0..len {
                let damaged = disk.snapshot();
                damaged.flip_bit(&path, at, (at % 8) as u8).expect("a file");
                let what = format!("{} byte {at}", path.display());
                let found = check(&damaged, &remembered, &what);
                assert!(found || !is_all_needed || !must_be_sound(&path), "{what}: not found");
                seen += 1;
            }
        }
        assert!(seen > 1_000, "there was something to damage: {seen} bytes");
    }
}

#[test]
fn a_file_that_is_cut_short_or_missing_is_found() {
    for kept in [100, 2] {
        let (disk, remembered) = stopped(kept);
        for (path, len) in files(&disk) {
            let missing = disk.snapshot();
            missing.remove(&path).expect("a file");
            let what = format!("{} missing", path.display());
            let found = check(&missing, &remembered, &what);
            // While nothing is purged, the log says again what the snapshot said.
            let is_spare = kept == 100 && path.ends_with("snapshot");
            assert!(found || is_spare || !must_be_sound(&path), "{what}: not found");
            for end in 0..len {
                let cut = disk.snapshot();
                let file = cut.open(&path, Access::Write).expect("a file");
                file.truncate(end).expect("the disk works");
                let what = format!("{} cut to {end} of {len}", path.display());
                let found = check(&cut, &remembered, &what);
                assert!(found || !must_be_sound(&path), "{what}: not found");
            }
        }
    }
}

#[test]
fn a_node_without_its_files_does_not_start_empty() {
    let empty: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let open = |disk: &Arc<dyn Disk>, presence| Store::open(disk.clone(), Path::new(DIR), presence);
    let error = open(&empty, Presence::Expected).expect_err("nothing is there");
    assert!(error.to_string().contains("/data/metadata/vote at byte 0: the file is missing"));
    assert!(replay_read_only(empty.clone(), Path::new(DIR)).is_err());
    let (disk, _) = stopped(2);
    disk.remove(&Path::new(DIR).join("vote")).expect("a file");
    let disk: Arc<dyn Disk> = Arc::new(disk);
    assert!(open(&disk, Presence::MayBeNew).is_err(), "there is more than a new node has");
}

#[test]
fn what_is_known_to_be_committed_has_to_be_there() {
    let (disk, _) = stopped(2);
    let dir = Path::new(DIR);
    let saved = read_saved(&disk, dir).expect("sound").expect("there");
    let last = saved.committed.expect("something is committed");
    let later = LogId { index: last.index + 9, ..last };
    let ahead = Saved { committed: Some(later), ..saved };
    write_saved(&disk, dir, &ahead).expect("the disk works");
    let error = reopen(&disk).expect_err("entries are missing");
    assert!(error.to_string().contains("committed entries are missing"), "{error}");
}

/// bad-inputs 70.
#[test]
fn the_files_of_another_node_or_cluster_are_refused() {
    let (disk, _) = stopped(2);
    run(async {
        let mut other = options(&disk, Presence::Expected);
        other.node = NodeId(2);
        let error = RaftQuorum::start(other, NOW).await.expect_err("another node");
        assert!(matches!(error, QuorumError::OtherNode { .. }), "{error}");
        let mut other = options(&disk, Presence::Expected);
        other.cluster_id = "other".to_owned();
        let error = RaftQuorum::start(other, NOW).await.expect_err("another cluster");
        assert!(matches!(error, QuorumError::OtherCluster { .. }), "{error}");
    });
}
