//! Closing and reopening at every point: whatever a power cut or a failing disk leaves of a store
//! is a state that Raft allows (M1, M3), and the metadata in it is the fold over snapshot and log
//! (M4).

use std::collections::BTreeSet;

use openraft::EntryPayload;

use super::super::files::StoredSnapshot;
use super::super::types::{Entry, LogId, Member, Membership, Proposal, Vote};
use super::*;
use crate::metadata::record::encode_all;
use crate::metadata::{Image, decide};
use crate::storage::memory::enumerate::Enumeration;

/// One thing that Raft may ask of a store.
#[derive(Clone, Debug)]
enum Step {
    Vote(Vote),
    Append(Vec<Entry>),
    Truncate(LogId),
    Snapshot(StoredSnapshot),
    Purge(LogId),
    Save,
    Close,
}

/// What a store holds, as far as anybody may rely on it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Contents {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
    snapshot: Option<StoredSnapshot>,
}

impl Contents {
    fn of(store: &Store) -> Contents {
        Contents {
            vote: store.vote(),
            purged: store.purged(),
            entries: store.read(0, u64::MAX).expect("readable"),
            snapshot: store.read_snapshot().expect("readable"),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Vote(vote) => self.vote = Some(*vote),
            Step::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Step::Truncate(from) => self.entries.retain(|entry| entry.log_id < *from),
            Step::Snapshot(snapshot) => self.snapshot = Some(snapshot.clone()),
            Step::Purge(up_to) => {
                self.purged = Some(*up_to);
                self.entries.retain(|entry| entry.log_id > *up_to);
            }
            Step::Save | Step::Close => {}
        }
    }

    /// The metadata, as a node that never restarted has it.
    fn image(&self) -> Image {
        let mut fold = match &self.snapshot {
            Some(snapshot) => Fold::of(snapshot).expect("own bytes"),
            None => Fold::default(),
        };
        for entry in &self.entries {
            if Some(entry.log_id) > fold.applied {
                fold.apply(entry).expect("own records");
            }
        }
        fold.image
    }
}

fn perform(store: &mut Store, step: &Step) -> Result<(), QuorumError> {
    match step {
        Step::Vote(vote) => store.save_vote(*vote),
        Step::Append(entries) => store.append(entries),
        Step::Truncate(from) => store.truncate(*from),
        Step::Snapshot(snapshot) => store.write_snapshot(snapshot),
        Step::Purge(up_to) => store.purge(*up_to),
        Step::Save => store.save(),
        Step::Close => store.close(),
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: openraft::CommittedLeaderId::new(term, 1), index }
}

fn vote(term: u64, committed: bool) -> Vote {
    Vote { committed, ..Vote::new(term, 1) }
}

/// Makes entries that mean something, and snapshots of what they add up to.
#[derive(Default)]
struct Author(Fold);

impl Author {
    fn entry(&mut self, term: u64, index: u64, payload: EntryPayload<TypeConfig>) -> Entry {
        let entry = Entry { log_id: log_id(term, index), payload };
        self.0.apply(&entry).expect("own records");
        entry
    }

    fn founding(&mut self) -> Entry {
        let members = std::collections::BTreeMap::from([(1, Member::default())]);
        let membership = Membership::new(vec![BTreeSet::from([1])], members);
        let entry =
            Entry { log_id: LogId::default(), payload: EntryPayload::Membership(membership) };
        self.0.apply(&entry).expect("own records");
        entry
    }

    fn command(&mut self, term: u64, index: u64, command: Command) -> Entry {
        let outcome = decide(&self.0.image, NOW, command).expect("accepted");
        let proposal = Proposal {
            at: NOW.wall,
            base: self.0.image.version(),
            records: encode_all(&outcome.records).into(),
        };
        self.entry(term, index, EntryPayload::Normal(proposal))
    }
}

/// A life with everything in it: founding, elections, entries, a snapshot, purging, entries that
/// another leader overrules, a snapshot from another node that is far ahead.
fn life() -> Vec<Step> {
    let mut author = Author::default();
    let mut steps = vec![
        Step::Append(vec![author.founding()]),
        Step::Vote(vote(1, false)),
        Step::Vote(vote(1, true)),
        Step::Append(vec![author.entry(1, 1, EntryPayload::Blank)]),
    ];
    let form = Command::FormCluster { cluster_id: "test".to_owned() };
    let both = vec![author.command(1, 2, form), author.command(1, 3, register(1))];
    let snapshot = Step::Snapshot(author.0.snapshot());
    steps.extend([
        Step::Append(both),
        Step::Append(vec![author.command(1, 4, create("a", 1))]),
        Step::Save,
        snapshot,
        Step::Purge(log_id(1, 2)),
    ]);
    let more = vec![author.command(1, 5, create("b", 2)), author.command(1, 6, create("c", 3))];
    let mut other = Author::default();
    let Step::Append(founding) = &steps[0] else { unreachable!("the first step appends") };
    let before = [&steps[3], &steps[4], &steps[5]].into_iter().flat_map(|step| match step {
        Step::Append(entries) => entries.clone(),
        _ => unreachable!("these steps append"),
    });
    for entry in founding.clone().into_iter().chain(before).chain(more[..1].iter().cloned()) {
        other.0.apply(&entry).expect("own records");
    }
    steps.push(Step::Append(more));
    steps.extend([
        Step::Vote(vote(2, false)),
        Step::Truncate(log_id(1, 6)),
        Step::Append(vec![other.command(2, 6, create("d", 4))]),
    ]);
    other.0.applied = Some(log_id(2, 20));
    steps.extend([
        Step::Snapshot(other.0.snapshot()),
        Step::Purge(log_id(2, 20)),
        Step::Append(vec![other.command(2, 21, create("e", 5))]),
        Step::Close,
    ]);
    steps
}

fn open(disk: &MemoryDisk) -> Result<Store, QuorumError> {
    Store::open(Arc::new(disk.clone()), Path::new(DIR), Presence::MayBeNew)
}

/// How many steps were done when the disk said no.
fn live(disk: &MemoryDisk, steps: &[Step]) -> usize {
    let Ok(mut store) = open(disk) else { return 0 };
    steps.iter().take_while(|step| perform(&mut store, step).is_ok()).count()
}

/// Everything that may be left when the power fails after `done` steps: what they made, what the
/// next one makes, and of an append any part from the front.
fn allowed(steps: &[Step], done: usize) -> Vec<Contents> {
    let mut contents = Contents::default();
    steps[..done].iter().for_each(|step| contents.take(step));
    let mut allowed = vec![contents.clone()];
    match steps.get(done) {
        Some(Step::Append(entries)) => {
            allowed.extend((1..=entries.len()).map(|count| {
                let mut more = contents.clone();
                more.take(&Step::Append(entries[..count].to_vec()));
                more
            }));
        }
        Some(step) => {
            contents.take(step);
            allowed.push(contents);
        }
        None => {}
    }
    allowed
}

fn verify(disk: MemoryDisk, steps: &[Step], done: usize) {
    let allowed = allowed(steps, done);
    let store = open(&disk).expect("a power cut is not damage");
    let found = Contents::of(&store);
    assert!(allowed.contains(&found), "after {done} steps: {found:#?}, allowed: {allowed:#?}");
    let last = found.entries.last().map(|entry| entry.log_id).or(found.purged);
    assert_eq!(store.last(), last, "M1: the log ends with its last entry");
    assert!(found.purged <= found.snapshot.as_ref().and_then(|s| s.last), "M1");
    let image = store.replay_committed().expect("readable").image;
    assert_eq!(image.to_bytes(), found.image().to_bytes(), "M4");
    drop(store);
    for file in ["vote.tmp", "snapshot.tmp"] {
        let path = Path::new(DIR).join(file);
        assert!(!disk.exists(&path).expect("the disk works"), "bad-inputs 88: {file}");
    }
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let reader = replay_read_only(disk.clone(), Path::new(DIR)).expect("readable");
    assert_eq!(reader.to_bytes(), image.to_bytes(), "an embedded reader sees the same");
    // And life goes on from there.
    let mut store = Store::open(disk, Path::new(DIR), Presence::Expected).expect("open again");
    let next = last.map_or(LogId::default(), |last| log_id(9, last.index + 1));
    store.save_vote(vote(9, true)).expect("the disk works");
    let entry = Entry { log_id: next, payload: EntryPayload::Blank };
    store.append(&[entry]).expect("the disk works");
    assert_eq!(store.last(), Some(next));
}

#[test]
fn a_power_cut_at_any_point_leaves_a_state_that_raft_allows() {
    let steps = life();
    let enumeration = Enumeration::starting_from(&MemoryDisk::new()).random_crashes(4);
    let coverage = enumeration.run(
        |disk| live(disk, &steps),
        |disk, &done, _| {
            verify(disk, &steps, done);
        },
    );
    assert!(coverage.operations > 100 && coverage.crashes > 500, "{coverage:?}");
}

#[test]
fn a_disk_that_fails_at_any_point_leaves_a_state_that_raft_allows() {
    let steps = life();
    let enumeration = Enumeration::starting_from(&MemoryDisk::new());
    let coverage = enumeration.run_failures(
        |disk| live(disk, &steps),
        |disk, &done, _| {
            verify(disk, &steps, done);
        },
    );
    assert!(coverage.operations > 100, "{coverage:?}");
}

#[test]
fn a_whole_life_leaves_what_it_made() {
    let (disk, steps) = (MemoryDisk::new(), life());
    assert_eq!(live(&disk, &steps), steps.len());
    verify(disk, &steps, steps.len());
}
