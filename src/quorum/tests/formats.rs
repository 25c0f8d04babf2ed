//! The bytes on disk are frozen: they may get new versions, never other meanings.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;

use super::super::entry;
use super::super::files::{
    SNAPSHOT_FILE, SNAPSHOT_KIND, Saved, StoredSnapshot, VOTE_FILE, VOTE_KIND, read_saved,
    read_snapshot, write_saved, write_snapshot,
};
use super::super::types::{Entry, LogId, Member, Membership, Proposal, StoredMembership, Vote};
use super::*;
use crate::metadata::record::{self, encode_all};
use crate::record::{CheckRules, CheckedBatch};
use crate::types::ProducerId;

fn log_id(index: u64) -> LogId {
    LogId { leader_id: openraft::CommittedLeaderId::new(3, 1), index }
}

fn membership() -> Membership {
    let member = |address: &str| Member { address: address.to_owned() };
    let members = BTreeMap::from([(1, member("one:9093")), (2, member("two:9093"))]);
    Membership::new(vec![BTreeSet::from([1])], members)
}

fn saved() -> Saved {
    let vote = Vote { committed: true, ..Vote::new(3, 1) };
    Saved { vote: Some(vote), committed: Some(log_id(7)), purged: None }
}

fn snapshot() -> StoredSnapshot {
    let mut fold = Fold {
        applied: Some(log_id(5)),
        membership: StoredMembership::new(Some(log_id(0)), membership()),
        ..Fold::default()
    };
    fold.image.replay(&record::ProducerIdsAllocated { next: ProducerId(9) }.into());
    fold.image.set_version(5);
    fold.snapshot()
}

fn entries() -> Vec<Entry> {
    let records = encode_all([&record::ProducerIdsAllocated { next: ProducerId(10) }.into()]);
    let proposal = Proposal { at: NOW.wall, base: 5, records: records.into() };
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(proposal),
        EntryPayload::Membership(membership()),
    ];
    let entries = payloads.into_iter().zip(6..);
    entries.map(|(payload, index)| Entry { log_id: log_id(index), payload }).collect()
}

fn encoded(entry: &Entry) -> Vec<u8> {
    entry::encode(entry).slices().iter().flat_map(|piece| piece.to_vec()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines: vote, snapshot, then a batch for each kind of entry.
#[test]
fn the_bytes_of_every_file_are_frozen() {
    let (disk, dir) = (MemoryDisk::new(), Path::new(DIR));
    disk.create_dir_all(dir).expect("the disk works");
    write_saved(&disk, dir, &saved()).expect("the disk works");
    write_snapshot(&disk, dir, &snapshot()).expect("the disk works");
    assert_eq!(read_saved(&disk, dir).expect("sound"), Some(saved()));
    assert_eq!(read_snapshot(&disk, dir).expect("sound"), Some(snapshot()));
    let file = |name| disk.read_small(&dir.join(name), 4_096).expect("a small file");
    let mut lines = vec![hex(&file(VOTE_FILE)), hex(&file(SNAPSHOT_FILE))];
    lines.extend(entries().iter().map(|entry| hex(&encoded(entry))));
    let fixture = include_str!("../../../tests/golden/metadata/quorum.hex");
    assert_eq!(fixture.lines().collect::<Vec<_>>(), lines, "\n{}\n", lines.join("\n"));
}

#[test]
fn entries_read_back_and_a_changed_term_is_noticed() {
    for expected in entries() {
        let bytes = encoded(&expected);
        let parse = |bytes: Vec<u8>| {
            CheckedBatch::take(&mut bytes.into(), &CheckRules::internal()).expect("a batch")
        };
        let found = entry::decode(&parse(bytes.clone())).expect("an entry");
        assert_eq!(found, expected);
        let mut other_term = bytes;
        other_term[15] ^= 1;
        assert!(entry::decode(&parse(other_term)).is_err(), "no checksum covers these bytes");
    }
}

#[test]
fn the_manual_has_the_checkpoints() {
    let manual = include_str!("../../../man/rivvend-log.5");
    for kind in [VOTE_KIND, SNAPSHOT_KIND] {
        let magic = std::str::from_utf8(&kind.magic).expect("letters");
        let row = format!("\n{magic}\t{}\t{}\n", kind.version, kind.name);
        assert!(manual.contains(&row), "{row:?}");
    }
}
