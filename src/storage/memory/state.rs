//! The whole state of a simulated disk behind its lock: the tree of files and directories, the
//! count of operations, faults and the switch for the power. Cloning it is cheap, which is what
//! makes it possible to try every crash.
//!
//! Invariant: a node is kept as long as a name on the medium, in the cache or in between can still
//! lead to it, or a handle is open.

use super::content::Content;
use super::fault::{FaultKind, Faults, Moment};
use super::names::{Names, NodeId};
use super::pages::{PAGE_BYTES, touched};
use crate::storage::{Operation, Space, StorageError};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

/// The directory that always exists.
pub(super) const ROOT: NodeId = 0;

/// Size of a disk without a limit.
const BYTES_UNLIMITED: u64 = 1 << 40;

/// Largest position in a file, as on Linux.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Removals after which nodes that nothing leads to any more are looked for.
pub(super) const REMOVALS_PER_SWEEP: usize = 64;

pub(super) type Result<T> = std::result::Result<T, StorageError>;

/// A mutating operation, as the journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its number; the first operation is 1.
    pub number: u64,
    /// What was done.
    pub action: Action,
    /// To what; the new name of a rename.
    pub path: String,
}

/// What a mutating operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Created a file.
    Create,
    /// Created a directory.
    CreateDirectory,
    /// Wrote this many bytes at this position.
    Write {
        /// First byte.
        at: u64,
        /// How many.
        len: u64,
    },
    /// Set a file's length.
    Truncate(u64),
    /// Synced a file.
    Sync,
    /// Synced a directory.
    SyncDirectory,
    /// Renamed to the path.
    Rename,
    /// Removed a file or a directory.
    Remove,
}

impl fmt::Display for JournalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?} {}", self.number, self.action, self.path)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Content),
    Directory(Names),
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) node: Node,
    /// Handles that are open.
    pub(super) handles: u32,
    /// Names in the cache that lead here.
    pub(super) links: u32,
}

impl Inode {
    pub(super) fn new(node: Node, links: u32) -> Inode {
        Inode { node, handles: 0, links }
    }
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeId, Inode>,
    pub(super) node_next: NodeId,
    pub(super) capacity: Option<u64>,
    pub(super) faults: Faults,
    /// Mutating operations so far.
    pub(super) operations: u64,
    /// The operation during which the power fails.
    pub(super) power_cut_at: Option<u64>,
    pub(super) is_off: bool,
    /// The operation that fails, and how.
    pub(super) failure_at: Option<(u64, Errno)>,
    /// Kept only when asked for.
    pub(super) journal: Option<Vec<JournalEntry>>,
    pub(super) pages_used: u64,
    pub(super) removals: usize,
}

impl State {
    /// A disk with these nodes, the root among them, and nothing pending.
    pub(super) fn new(nodes: BTreeMap<NodeId, Node>, capacity: Option<u64>) -> State {
        assert!(nodes.contains_key(&ROOT), "a disk has a root");
        let pages_used = nodes.values().map(allocated).sum();
        let links = links(&nodes);
        let count = |id| links.get(&id).copied().unwrap_or(0);
        let inodes = nodes.into_iter().map(|(id, node)| (id, Inode::new(node, count(id))));
        let nodes: BTreeMap<NodeId, Inode> = inodes.collect();
        State {
            node_next: nodes.keys().next_back().map_or(ROOT, |last| last + 1),
            nodes,
            capacity,
            faults: Faults::default(),
            operations: 0,
            power_cut_at: None,
            is_off: false,
            failure_at: None,
            journal: None,
            pages_used,
            removals: 0,
        }
    }

    pub(super) fn empty() -> State {
        State::new(BTreeMap::from([(ROOT, Node::Directory(Names::default()))]), None)
    }

    /// The same disk seen by nobody: no handles, no journal, numbering from the start.
    pub(super) fn unobserved(&self) -> State {
        let mut copy = self.clone();
        copy.nodes.values_mut().for_each(|inode| inode.handles = 0);
        copy.journal = None;
        copy.operations = 0;
        copy.power_cut_at = None;
        copy.is_off = false;
        copy.failure_at = None;
        let named = copy.nodes.values().filter(|inode| inode.links > 0);
        copy.pages_used = named.map(|inode| allocated(&inode.node)).sum();
        copy.sweep();
        copy
    }

    // Contents. The names that lead there are the business of `tree`.

    pub(super) fn write(&mut self, node: NodeId, path: &Path, at: u64, bytes: &[u8]) -> Result<()> {
        self.check_power(Operation::Write, path)?;
        let len = bytes.len() as u64;
        if at.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(refused(Operation::Write, path, Errno::FBIG));
        }
        let number = self.begin(Action::Write { at, len }, Operation::Write, path)?;
        let fits = self.fitting(node, at, bytes.len());
        let (mut take, mut shift) = (fits, 0);
        let mut error = (fits < bytes.len()).then_some(Errno::NOSPC);
        match self.faults.strike(Moment::Write, &text(path)) {
            Some(FaultKind::ShortWrite(len)) => (take, error) = (len.min(fits), Some(Errno::IO)),
            Some(FaultKind::NoSpace) => (take, error) = (0, Some(Errno::NOSPC)),
            Some(FaultKind::MisdirectedWrite(by)) => shift = by,
            Some(_) => (take, error) = (0, Some(Errno::IO)),
            None => {}
        }
        if take > 0 {
            self.change_content(node, |file| file.write(number, at, &bytes[..take], shift));
        }
        match error {
            Some(error) => Err(refused(Operation::Write, path, error)),
            None => self.finish(Operation::Write, path),
        }
    }

    pub(super) fn truncate(&mut self, node: NodeId, path: &Path, len: u64) -> Result<()> {
        self.check_power(Operation::Write, path)?;
        if len > FILE_BYTES_MAX {
            return Err(refused(Operation::Write, path, Errno::FBIG));
        }
        let number = self.begin(Action::Truncate(len), Operation::Write, path)?;
        self.change_content(node, |file| file.set_len(number, len));
        self.finish(Operation::Write, path)
    }

    pub(super) fn sync(&mut self, node: NodeId, path: &Path) -> Result<()> {
        self.check_power(Operation::Sync, path)?;
        if let Err(error) = self.begin(Action::Sync, Operation::Sync, path) {
            if !self.is_off {
                self.content(node).lose_pending();
            }
            return Err(error);
        }
        match self.faults.strike(Moment::Sync, &text(path)) {
            Some(FaultKind::SyncFails) => {
                self.content(node).lose_pending();
                Err(refused(Operation::Sync, path, Errno::IO))
            }
            Some(_) => Ok(()),
            None => {
                self.content(node).sync();
                Ok(())
            }
        }
    }

    pub(super) fn read(
        &mut self,
        node: NodeId,
        path: &Path,
        at: u64,
        into: &mut [u8],
    ) -> Result<usize> {
        self.check_power(Operation::Read, path)?;
        match self.faults.strike(Moment::Read, &text(path)) {
            Some(FaultKind::StaleRead) => Ok(self.content(node).read_stale(at, into)),
            Some(_) => Err(refused(Operation::Read, path, Errno::IO)),
            None => Ok(self.content(node).read(at, into)),
        }
    }

    pub(super) fn len(&mut self, node: NodeId, path: &Path) -> Result<u64> {
        self.check_power(Operation::Read, path)?;
        Ok(self.content(node).cached.len())
    }

    /// Changes the content of a file and keeps account of the room it takes.
    pub(super) fn change_content(&mut self, node: NodeId, change: impl FnOnce(&mut Content)) {
        let content = self.content(node);
        let before = content.cached.allocated();
        change(content);
        let after = content.cached.allocated();
        self.pages_used = self.pages_used - before + after;
    }

    pub(super) fn content(&mut self, node: NodeId) -> &mut Content {
        match &mut self.inode(node).node {
            Node::File(content) => content,
            Node::Directory(_) => unreachable!("handles are of files"),
        }
    }

    /// The content of the file at a path.
    pub(super) fn file_at(&self, path: &Path) -> Result<NodeId> {
        let node = self.find(Operation::Open, path)?;
        match self.nodes[&node].node {
            Node::File(_) => Ok(node),
            Node::Directory(_) => Err(refused(Operation::Open, path, Errno::ISDIR)),
        }
    }

    // Room.

    pub(super) fn space(&self, path: &Path) -> Result<Space> {
        self.check_power(Operation::Directory, path)?;
        let total_bytes = self.capacity.unwrap_or(BYTES_UNLIMITED);
        let free_bytes = total_bytes.saturating_sub(self.pages_used * PAGE_BYTES);
        Ok(Space { free_bytes, total_bytes })
    }

    /// How many of `len` bytes at `at` find room.
    fn fitting(&mut self, node: NodeId, at: u64, len: usize) -> usize {
        let Some(capacity) = self.capacity else { return len };
        let mut pages_free = (capacity / PAGE_BYTES).saturating_sub(self.pages_used);
        let cached = &self.content(node).cached;
        for index in touched(at, len as u64) {
            if cached.page(index).is_none() {
                if pages_free == 0 {
                    return (index * PAGE_BYTES).saturating_sub(at) as usize;
                }
                pages_free -= 1;
            }
        }
        len
    }

    // Power and the count of operations.

    pub(super) fn check_power(&self, operation: Operation, path: &Path) -> Result<()> {
        if self.is_off { Err(power_is_off(operation, path)) } else { Ok(()) }
    }

    /// Counts an operation. A sync during which the power fails has done nothing yet; any other
    /// operation goes on, so that its effect is pending when the crash decides.
    pub(super) fn begin(
        &mut self,
        action: Action,
        operation: Operation,
        path: &Path,
    ) -> Result<u64> {
        self.operations += 1;
        let number = self.operations;
        if let Some(journal) = &mut self.journal {
            journal.push(JournalEntry { number, action, path: text(path) });
        }
        if self.power_cut_at == Some(number) {
            self.is_off = true;
            if matches!(action, Action::Sync | Action::SyncDirectory) {
                return Err(power_is_off(operation, path));
            }
        }
        match self.failure_at {
            Some((failing, error)) if failing == number => Err(refused(operation, path, error)),
            _ => Ok(number),
        }
    }

    /// Whoever asked for an operation during which the power failed never hears of its success.
    pub(super) fn finish(&self, operation: Operation, path: &Path) -> Result<()> {
        self.check_power(operation, path)
    }
}

/// How many names lead to each node.
fn links(nodes: &BTreeMap<NodeId, Node>) -> BTreeMap<NodeId, u32> {
    let mut links = BTreeMap::new();
    for node in nodes.values() {
        if let Node::Directory(names) = node {
            names.cached.values().for_each(|&to| *links.entry(to).or_default() += 1);
        }
    }
    links
}

pub(super) fn allocated(node: &Node) -> u64 {
    match node {
        Node::File(content) => content.cached.allocated(),
        Node::Directory(_) => 0,
    }
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn refused(operation: Operation, path: &Path, error: Errno) -> StorageError {
    StorageError::new(operation, path, error.into())
}

fn power_is_off(operation: Operation, path: &Path) -> StorageError {
    StorageError::new(operation, path, io::Error::other("the power is off"))
}
