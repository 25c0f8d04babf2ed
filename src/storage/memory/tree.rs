//! The tree of a simulated disk: finding a node by its path, and the operations that change names.
//! What the files hold is the business of `state`.

use super::content::Content;
use super::fault::{FaultKind, Moment};
use super::names::{NameChange, Names, NodeId};
use super::state::{Action, Inode, Node, REMOVALS_PER_SWEEP, ROOT, Result, State};
use super::state::{allocated, refused, text};
use crate::storage::{Entry, Operation};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path};

impl State {
    pub(super) fn create(&mut self, path: &Path) -> Result<NodeId> {
        self.check_power(Operation::Open, path)?;
        let (directory, name) = self.parent(Operation::Open, path)?;
        if self.names(directory).cached.contains_key(name) {
            return Err(refused(Operation::Open, path, Errno::EXIST));
        }
        let number = self.begin(Action::Create, Operation::Open, path)?;
        if let Some(fault) = self.faults.strike(Moment::Create, &text(path)) {
            let is_full = fault == FaultKind::CreateFails;
            let error = if is_full { Errno::NOSPC } else { Errno::MFILE };
            return Err(refused(Operation::Open, path, error));
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

    pub(super) fn find(&self, operation: Operation, path: &Path) -> Result<NodeId> {
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

    pub(super) fn sweep(&mut self) {
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
