//! The whole state of a simulated disk behind its lock: the tree of files and directories, the
//! count of operations, faults and the switch for the power. Cloning it is cheap, which is what
//! makes it possible to try every crash.
//!
//! Invariant: a node is kept as long as a name on the medium, in the cache or in between can still
//! lead to it, or a handle is open.

use super::content::Content;
use super::fault::{FaultKind, Faults, Moment};
use super::names::{NameChange, Names, NodeId};
use super::pages::{PAGE_BYTES, touched};
use crate::storage::{Entry, Operation, Space, StorageError};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Component, Path};

/// The directory that always exists.
pub(super) const ROOT: NodeId = 0;

/// Size of a disk without a limit.
const BYTES_UNLIMITED: u64 = 1 << 40;

/// Largest position in a file, as on Linux.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Removals after which nodes that nothing leads to any more are looked for.
const REMOVALS_PER_SWEEP: usize = 64;

type Result<T> = std::result::Result<T, StorageError>;

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
    handles: u32,
    /// Names in the cache that lead here.
    links: u32,
}

impl Inode {
    fn new(node: Node, links: u32) -> Inode {
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
    /// Kept only when asked for.
    pub(super) journal: Option<Vec<JournalEntry>>,
    pages_used: u64,
    removals: usize,
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
        let named = copy.nodes.values().filter(|inode| inode.links > 0);
        copy.pages_used = named.map(|inode| allocated(&inode.node)).sum();
        copy.sweep();
        copy
    }

    // Names.

    pub(super) fn create(&mut self, path: &Path) -> Result<NodeId> {
        self.check_power(Operation::Open, path)?;
        let (directory, name) = self.parent(Operation::Open, path)?;
        if self.names(directory).cached.contains_key(name) {
            return Err(refused(Operation::Open, path, Errno::EXIST));
        }
        let number = self.begin(Action::Create, Operation::Open, path)?;
        if self.faults.strike(Moment::Create, &text(path)).is_some() {
            return Err(refused(Operation::Open, path, Errno::NOSPC));
        }
        let node = self.add(directory, name, Node::File(Content::default()), number);
        self.finish(Operation::Open, path)?;
        self.inode(node).handles += 1;
        Ok(node)
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<NodeId> {
        self.check_power(Operation::Open, path)?;
        let node = self.find(Operation::Open, path)?;
        if matches!(self.nodes[&node].node, Node::Directory(_)) {
            return Err(refused(Operation::Open, path, Errno::ISDIR));
        }
        self.inode(node).handles += 1;
        Ok(node)
    }

    /// A handle is gone.
    pub(super) fn close(&mut self, node: NodeId) {
        let inode = self.inode(node);
        assert!(inode.handles > 0, "only what is open is closed");
        inode.handles -= 1;
        self.reclaim(node);
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> Result<()> {
        self.check_power(Operation::Directory, path)?;
        let (directory, name) = self.parent(Operation::Directory, path)?;
        if self.names(directory).cached.contains_key(name) {
            return Err(refused(Operation::Directory, path, Errno::EXIST));
        }
        let number = self.begin(Action::CreateDirectory, Operation::Directory, path)?;
        self.add(directory, name, Node::Directory(Names::default()), number);
        self.finish(Operation::Directory, path)
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> Result<()> {
        self.check_power(Operation::Sync, path)?;
        let directory = self.find(Operation::Sync, path)?;
        if matches!(self.nodes[&directory].node, Node::File(_)) {
            return Err(refused(Operation::Open, path, Errno::NOTDIR));
        }
        self.begin(Action::SyncDirectory, Operation::Sync, path)?;
        match self.faults.strike(Moment::DirectorySync, &text(path)) {
            Some(FaultKind::DirectorySyncFails) => {
                return Err(refused(Operation::Sync, path, Errno::IO));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let waiting = self.renames_waiting_elsewhere(directory);
        self.names_mut(directory).sync(|change| waiting.contains(&change.operation));
        if self.removals >= REMOVALS_PER_SWEEP {
            self.sweep();
        }
        Ok(())
    }

    /// Operations whose other half, the new name, is still pending in another directory.
    fn renames_waiting_elsewhere(&self, directory: NodeId) -> BTreeSet<u64> {
        let halves = self
            .names(directory)
            .pending
            .iter()
            .filter_map(|change| change.after.map(|other| (other, change.operation)));
        halves
            .filter(|(other, operation)| {
                let Some(Node::Directory(names)) = self.nodes.get(other).map(|inode| &inode.node)
                else {
                    return false;
                };
                names.pending.iter().any(|change| change.operation == *operation)
            })
            .map(|(_, operation)| operation)
            .collect()
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.check_power(Operation::Directory, from)?;
        let node = self.find(Operation::Directory, from)?;
        let (from_directory, from_name) = self.parent(Operation::Directory, from)?;
        let (to_directory, to_name) = self.parent(Operation::Directory, to)?;
        let replaced = self.names(to_directory).cached.get(to_name).copied();
        if replaced == Some(node) {
            return Ok(());
        }
        if let Some(error) = self.rename_refusal(node, replaced) {
            return Err(refused(Operation::Directory, from, error));
        }
        let number = self.begin(Action::Rename, Operation::Directory, to)?;
        if self.faults.strike(Moment::Rename, &text(to)).is_some() {
            return Err(refused(Operation::Directory, from, Errno::IO));
        }
        let is_same = from_directory == to_directory;
        self.names_mut(to_directory).change(NameChange {
            operation: number,
            set: Some((to_name.to_owned(), node)),
            clear: is_same.then(|| from_name.to_owned()),
            after: None,
        });
        if !is_same {
            self.names_mut(from_directory).change(NameChange {
                operation: number,
                set: None,
                clear: Some(from_name.to_owned()),
                after: Some(to_directory),
            });
        }
        if let Some(replaced) = replaced {
            self.unlink(replaced);
        }
        self.finish(Operation::Directory, from)
    }

    fn rename_refusal(&self, node: NodeId, replaced: Option<NodeId>) -> Option<Errno> {
        let replaced = &self.nodes[&replaced?].node;
        match (&self.nodes[&node].node, replaced) {
            (Node::File(_), Node::File(_)) => None,
            (Node::File(_), Node::Directory(_)) => Some(Errno::ISDIR),
            (Node::Directory(_), Node::File(_)) => Some(Errno::NOTDIR),
            (Node::Directory(_), Node::Directory(names)) => {
                (!names.cached.is_empty()).then_some(Errno::NOTEMPTY)
            }
        }
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        self.check_power(Operation::Directory, path)?;
        let node = self.find(Operation::Directory, path)?;
        if matches!(self.nodes[&node].node, Node::Directory(_)) {
            return Err(refused(Operation::Directory, path, Errno::ISDIR));
        }
        self.remove_entry(path, node)
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> Result<()> {
        self.check_power(Operation::Directory, path)?;
        let node = self.find(Operation::Directory, path)?;
        let Node::Directory(names) = &self.nodes[&node].node else {
            return Err(refused(Operation::Directory, path, Errno::NOTDIR));
        };
        for (name, below) in names.cached.clone() {
            let below_path = path.join(name);
            match self.nodes[&below].node {
                Node::Directory(_) => self.remove_dir_all(&below_path)?,
                Node::File(_) => self.remove_entry(&below_path, below)?,
            }
        }
        self.remove_entry(path, node)
    }

    fn remove_entry(&mut self, path: &Path, node: NodeId) -> Result<()> {
        let (directory, name) = self.parent(Operation::Directory, path)?;
        let number = self.begin(Action::Remove, Operation::Directory, path)?;
        let clear = Some(name.to_owned());
        let change = NameChange { operation: number, set: None, clear, after: None };
        self.names_mut(directory).change(change);
        self.unlink(node);
        self.finish(Operation::Directory, path)
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<Entry>> {
        self.check_power(Operation::Directory, path)?;
        let node = self.find(Operation::Directory, path)?;
        let Node::Directory(names) = &self.nodes[&node].node else {
            return Err(refused(Operation::Directory, path, Errno::NOTDIR));
        };
        let entry = |(name, node): (&String, &NodeId)| match &self.nodes[node].node {
            Node::File(file) => Entry { name: name.clone(), len: file.cached.len(), is_dir: false },
            Node::Directory(_) => Entry { name: name.clone(), len: 0, is_dir: true },
        };
        Ok(names.cached.iter().map(entry).collect())
    }

    pub(super) fn is_dir(&self, path: &Path) -> Result<Option<bool>> {
        self.check_power(Operation::Directory, path)?;
        match self.find(Operation::Directory, path) {
            Ok(node) => Ok(Some(matches!(self.nodes[&node].node, Node::Directory(_)))),
            Err(error) if error.is_not_found() => Ok(None),
            // As on Linux: something below a file does not exist.
            Err(error) if error.source.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(error) => Err(error),
        }
    }

    // Contents.

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
        self.begin(Action::Sync, Operation::Sync, path)?;
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
    fn begin(&mut self, action: Action, operation: Operation, path: &Path) -> Result<u64> {
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
        Ok(number)
    }

    /// Whoever asked for an operation during which the power failed never hears of its success.
    fn finish(&self, operation: Operation, path: &Path) -> Result<()> {
        self.check_power(operation, path)
    }

    // The tree.

    pub(super) fn inode(&mut self, node: NodeId) -> &mut Inode {
        self.nodes.get_mut(&node).expect("nodes outlive the names and handles that lead to them")
    }

    fn names(&self, node: NodeId) -> &Names {
        match &self.nodes[&node].node {
            Node::Directory(names) => names,
            Node::File(_) => unreachable!("find() leads only through directories"),
        }
    }

    fn names_mut(&mut self, node: NodeId) -> &mut Names {
        match &mut self.inode(node).node {
            Node::Directory(names) => names,
            Node::File(_) => unreachable!("find() leads only through directories"),
        }
    }

    fn add(&mut self, directory: NodeId, name: &str, node: Node, operation: u64) -> NodeId {
        let id = self.node_next;
        self.node_next += 1;
        self.nodes.insert(id, Inode::new(node, 1));
        let set = Some((name.to_owned(), id));
        self.names_mut(directory).change(NameChange { operation, set, clear: None, after: None });
        id
    }

    fn find(&self, operation: Operation, path: &Path) -> Result<NodeId> {
        let mut node = ROOT;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name.to_str(),
                Component::ParentDir | Component::Prefix(_) => None,
            };
            let name = name.ok_or_else(|| refused(operation, path, Errno::INVAL))?;
            let Node::Directory(names) = &self.nodes[&node].node else {
                return Err(refused(operation, path, Errno::NOTDIR));
            };
            let found = names.cached.get(name).copied();
            node = found.ok_or_else(|| refused(operation, path, Errno::NOENT))?;
        }
        Ok(node)
    }

    /// The directory of a path's last name, and that name.
    fn parent<'p>(&self, operation: Operation, path: &'p Path) -> Result<(NodeId, &'p str)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| refused(operation, path, Errno::INVAL))?;
        let directory = self.find(operation, path.parent().unwrap_or(Path::new("")))?;
        match self.nodes[&directory].node {
            Node::Directory(_) => Ok((directory, name)),
            Node::File(_) => Err(refused(operation, path, Errno::NOTDIR)),
        }
    }

    /// A name in the cache no longer leads to the node.
    fn unlink(&mut self, node: NodeId) {
        let inode = self.inode(node);
        assert!(inode.links > 0, "only what has a name loses one");
        inode.links -= 1;
        self.removals += 1;
        self.reclaim(node);
    }

    /// Room is free again once neither a name nor a handle leads to a file.
    fn reclaim(&mut self, node: NodeId) {
        let inode = &self.nodes[&node];
        if inode.links == 0 && inode.handles == 0 {
            self.pages_used -= allocated(&inode.node);
        }
    }

    fn sweep(&mut self) {
        let open = self.nodes.iter().filter(|(_, inode)| inode.handles > 0).map(|(&id, _)| id);
        let mut left: Vec<NodeId> = open.chain([ROOT]).collect();
        let mut kept = BTreeSet::new();
        while let Some(node) = left.pop() {
            if kept.insert(node)
                && let Node::Directory(names) = &self.nodes[&node].node
            {
                left.extend(names.reachable());
            }
        }
        self.nodes.retain(|id, _| kept.contains(id));
        self.removals = 0;
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

fn allocated(node: &Node) -> u64 {
    match node {
        Node::File(content) => content.cached.allocated(),
        Node::Directory(_) => 0,
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn refused(operation: Operation, path: &Path, error: Errno) -> StorageError {
    StorageError::new(operation, path, error.into())
}

fn power_is_off(operation: Operation, path: &Path) -> StorageError {
    StorageError::new(operation, path, io::Error::other("the power is off"))
}
