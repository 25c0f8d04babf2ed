//! One simulated directory: the entries that programs see, those that the medium holds, and the
//! changes between the two. A file system with a journal keeps a rename whole; which of several
//! changes survive a crash is open until the directory is synced.

use std::collections::BTreeMap;

/// Identity of a file or directory, whatever its name; an inode number.
pub(super) type NodeId = u64;

/// One change of entries that no directory sync has made durable yet.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    /// Number of the disk operation that made it.
    pub(super) operation: u64,
    /// The entry that appears or is replaced.
    pub(super) set: Option<(String, NodeId)>,
    /// The entry that goes.
    pub(super) clear: Option<String>,
    /// The directory in which the same operation sets an entry: a rename across directories may not
    /// lose its file, so this half can not survive without that one.
    pub(super) after: Option<NodeId>,
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, NodeId>) {
        if let Some(name) = &self.clear {
            names.remove(name);
        }
        if let Some((name, node)) = &self.set {
            names.insert(name.clone(), *node);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) cached: BTreeMap<String, NodeId>,
    pub(super) durable: BTreeMap<String, NodeId>,
    pub(super) pending: Vec<NameChange>,
}

impl Names {
    /// A directory that is the same on the medium and in the cache.
    pub(super) fn settled(durable: BTreeMap<String, NodeId>) -> Names {
        Names { cached: durable.clone(), durable, pending: Vec::new() }
    }

    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Brings the pending changes to the medium, except those that `must_wait`.
    pub(super) fn sync(&mut self, must_wait: impl Fn(&NameChange) -> bool) {
        for change in std::mem::take(&mut self.pending) {
            if must_wait(&change) {
                self.pending.push(change);
            } else {
                change.apply(&mut self.durable);
            }
        }
    }

    /// Every node that this directory can still lead to, now or after a crash.
    pub(super) fn reachable(&self) -> impl Iterator<Item = NodeId> + '_ {
        let pending = self.pending.iter().filter_map(|change| change.set.as_ref());
        let held = self.cached.values().chain(self.durable.values()).copied();
        held.chain(pending.map(|(_, node)| *node))
    }
}
