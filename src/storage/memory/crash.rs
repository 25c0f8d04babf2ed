//! What a power cut leaves behind: a disk on which every pending change has survived or not.
//! Which, a caller decides, choice by choice; here is what may be chosen.

use super::MemoryDisk;
use super::content::{Change, Content, What};
use super::names::{NameChange, Names, NodeId};
use super::pages::{PAGE_BYTES, Pages};
use super::state::{Node, ROOT, State};
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// What a disk writes at once: never torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 512 bytes.
    Sector,
    /// 4096 bytes.
    Page,
}

impl Unit {
    /// Size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Unit::Sector => 512,
            Unit::Page => PAGE_BYTES,
        }
    }
}

/// One thing that a power cut decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// Whether one change of directory entries survived.
    Name,
    /// Which length a file has.
    Length,
    /// Which version a unit of a file has.
    Unit {
        /// Position of its first byte.
        at: u64,
    },
    /// Whether units that nobody wrote, of a file that grew, show bytes of former files instead of
    /// zeros.
    Stale,
}

/// A question to whoever plays the power cut: how many of these operations, which were pending in
/// this order, did this part of the disk live to see? None leaves it as it was durable, all as
/// programs saw it last.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Which part of the disk.
    pub what: Undecided,
    /// Numbers of the operations that changed it since it was last durable.
    pub operations: &'a [u64],
}

impl MemoryDisk {
    /// The disk as a power cut would leave it now, decided by `choose`. This disk and its handles
    /// stay as they are. Faults that wait are not taken over, damage is.
    #[must_use]
    pub fn crash(&self, unit: Unit, choose: &mut dyn FnMut(&Choice<'_>) -> usize) -> MemoryDisk {
        MemoryDisk::with_state(after_crash(&self.lock(), unit, choose))
    }

    /// The disk after a power cut at which nothing pending survived.
    #[must_use]
    pub fn crash_losing_all(&self) -> MemoryDisk {
        self.crash(Unit::Page, &mut |_| 0)
    }

    /// The disk after a power cut at which everything pending survived. What a killed process
    /// leaves behind looks the same and is still pending: that is a [`MemoryDisk::snapshot`].
    #[must_use]
    pub fn crash_keeping_all(&self) -> MemoryDisk {
        self.crash(Unit::Page, &mut |choice| choice.operations.len())
    }

    /// The disk after a power cut at which exactly the operations up to this number survived.
    #[must_use]
    pub fn crash_keeping_through(&self, operation: u64) -> MemoryDisk {
        self.crash(Unit::Page, &mut |choice| through(choice, operation))
    }

    /// The disk after some power cut. How much survives differs from one to the next, and in half
    /// of them entries survive in order, as they do on a file system with a journal.
    #[must_use]
    pub fn crash_randomly(&self, random: &mut Random) -> MemoryDisk {
        let unit = if random.chance(1, 2) { Unit::Sector } else { Unit::Page };
        let survivors_in_eight = random.below(9);
        let operations = self.operations();
        let names_through = random.chance(1, 2).then(|| random.below(operations + 1));
        self.crash(unit, &mut |choice| match (choice.what, names_through) {
            (Undecided::Name, Some(last)) => through(choice, last),
            (Undecided::Stale, _) => usize::from(random.chance(1, 4)),
            _ if random.chance(survivors_in_eight, 8) => choice.operations.len(),
            _ => random.below(choice.operations.len() as u64) as usize,
        })
    }

    /// A number that two disks share when a program could read the same from both.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut mixer = Mixer(0);
        fingerprint_below(&self.lock(), ROOT, &mut mixer);
        mixer.0
    }
}

/// How many of a choice's operations came no later than `operation`.
pub(super) fn through(choice: &Choice<'_>, operation: u64) -> usize {
    choice.operations.partition_point(|&number| number <= operation)
}

fn after_crash(state: &State, unit: Unit, choose: &mut dyn FnMut(&Choice<'_>) -> usize) -> State {
    let names = surviving_names(state, choose);
    let mut nodes = BTreeMap::new();
    let mut left = vec![ROOT];
    while let Some(id) = left.pop() {
        if nodes.contains_key(&id) {
            continue;
        }
        let node = match &state.nodes[&id].node {
            Node::File(content) => Node::File(Content::settled(survivor(content, unit, choose))),
            Node::Directory(_) => {
                left.extend(names[&id].values().rev());
                Node::Directory(Names::settled(names[&id].clone()))
            }
        };
        nodes.insert(id, node);
    }
    State::new(nodes, state.capacity)
}

/// The entries of every directory after the crash. A name that a rename across directories takes
/// away survives the rename only where the new name does.
fn surviving_names(
    state: &State,
    choose: &mut dyn FnMut(&Choice<'_>) -> usize,
) -> BTreeMap<NodeId, BTreeMap<String, NodeId>> {
    let mut ask = |change: &NameChange| {
        choose(&Choice { what: Undecided::Name, operations: &[change.operation] }) > 0
    };
    let directories = || {
        state.nodes.iter().filter_map(|(&id, inode)| match &inode.node {
            Node::Directory(names) => Some((id, names)),
            Node::File(_) => None,
        })
    };
    let mut lost = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for (id, names) in directories() {
        for change in names.pending.iter().filter(|change| change.after.is_none()) {
            let outcome = if ask(change) { &mut taken } else { &mut lost };
            outcome.insert((id, change.operation));
        }
    }
    for (id, names) in directories() {
        for change in &names.pending {
            if let Some(other) = change.after
                && !lost.contains(&(other, change.operation))
                && ask(change)
            {
                taken.insert((id, change.operation));
            }
        }
    }
    let survive = |(id, names): (NodeId, &Names)| {
        let mut surviving = names.durable.clone();
        let kept = names.pending.iter().filter(|change| taken.contains(&(id, change.operation)));
        kept.for_each(|change| change.apply(&mut surviving));
        (id, surviving)
    };
    directories().map(survive).collect()
}

/// A file's bytes after the crash.
fn survivor(content: &Content, unit: Unit, choose: &mut dyn FnMut(&Choice<'_>) -> usize) -> Pages {
    let pending = &content.pending;
    if pending.is_empty() {
        return content.durable.clone();
    }
    let mut survivor = content.durable.clone();
    let versions = versions_of_units(&content.durable, pending, unit);
    let mut unseen = Vec::new();
    for (&index, versions) in &versions {
        let operations: Vec<u64> = versions.iter().map(|&at| pending[at].operation).collect();
        let at = index * unit.bytes();
        let choice = Choice { what: Undecided::Unit { at }, operations: &operations };
        let kept = choose(&choice).min(versions.len());
        for &change in &versions[..kept] {
            apply_to_unit(&mut survivor, &pending[change], at, unit);
        }
        if kept == 0 && at + unit.bytes() > content.durable.len() {
            unseen.push(at);
        }
    }
    let len = surviving_length(content, choose);
    let grown = unseen.iter().any(|&at| at.max(content.durable.len()) < len);
    if grown {
        let operations = [pending[pending.len() - 1].operation];
        if choose(&Choice { what: Undecided::Stale, operations: &operations }) > 0 {
            unseen.iter().for_each(|&at| fill_stale(&mut survivor, content, at, unit));
        }
    }
    survivor.set_len(len);
    survivor
}

/// For each unit that pending changes touch, which changes those are, in order.
fn versions_of_units(durable: &Pages, pending: &[Change], unit: Unit) -> BTreeMap<u64, Vec<usize>> {
    let writes = pending.iter().filter(|change| matches!(change.what, What::Write { .. }));
    let written_end = writes.map(|change| change.end()).max().unwrap_or(0);
    let bytes_end = written_end.max(durable.end_of_pages());
    let mut versions: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (position, change) in pending.iter().enumerate() {
        let (at, _) = change.what.range();
        // A cut may reach far over nothing.
        let end = change.end().min(bytes_end).div_ceil(unit.bytes());
        for index in at / unit.bytes()..end {
            versions.entry(index).or_default().push(position);
        }
    }
    versions
}

fn apply_to_unit(survivor: &mut Pages, change: &Change, unit_at: u64, unit: Unit) {
    let (at, len) = change.what.range();
    let start = at.max(unit_at);
    let end = (at + len).min(unit_at + unit.bytes());
    match &change.what {
        What::Write { bytes, .. } => {
            survivor.write(start, &bytes[(start - at) as usize..(end - at) as usize]);
        }
        What::Cut { .. } => survivor.zero(start, end - start),
        What::Grow => unreachable!("growing touches no unit"),
    }
}

fn surviving_length(content: &Content, choose: &mut dyn FnMut(&Choice<'_>) -> usize) -> u64 {
    let mut lengths = vec![content.durable.len()];
    let mut operations = Vec::new();
    for change in &content.pending {
        if lengths.last() != Some(&change.len_after) {
            lengths.push(change.len_after);
            operations.push(change.operation);
        }
    }
    if operations.is_empty() {
        return content.durable.len();
    }
    let choice = Choice { what: Undecided::Length, operations: &operations };
    lengths[choose(&choice).min(operations.len())]
}

/// Bytes that no program wrote there, in place of the zeros of a unit that was never written.
fn fill_stale(survivor: &mut Pages, content: &Content, unit_at: u64, unit: Unit) {
    let start = unit_at.max(content.durable.len());
    let mut random = Random::new(unit_at);
    let len = (unit_at + unit.bytes() - start) as usize;
    let bytes: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
    survivor.write(start, &bytes);
}

/// A hash that is quick without optimisation, because enumerations take it of every disk.
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
}

fn fingerprint_below(state: &State, node: NodeId, mixer: &mut Mixer) {
    match &state.nodes[&node].node {
        Node::File(content) => {
            mixer.mix(content.cached.len());
            for (index, page) in content.cached.occupied() {
                mixer.mix(index);
                mixer.mix_bytes(&page[..]);
            }
        }
        Node::Directory(names) => {
            mixer.mix(names.cached.len() as u64);
            for (name, &below) in &names.cached {
                mixer.mix_bytes(name.as_bytes());
                fingerprint_below(state, below, mixer);
            }
        }
    }
}
