//! The types that openraft is instantiated with, and their bytes. openraft's own serialisation is
//! never used: what lies on disks must not change with a library.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use bytes::Bytes;

use crate::metadata::DecodeError;
use crate::metadata::record::{Field, Reader};
use crate::types::Millis;

openraft::declare_raft_types!(
    /// What the metadata's Raft is made of.
    pub(super) TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = Member,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, Member>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(super) type RaftStorageError = openraft::StorageError<u64>;

/// What a leader proposes: records that it decided on one image of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    /// When, by the leader's clock.
    pub(super) at: Millis,
    /// Version of the image that the decision is about. On any other the records mean nothing.
    pub(super) base: u64,
    /// The records.
    pub(super) records: Bytes,
}

/// What became of an entry when it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// Its records are in the image.
    Changed,
    /// The image had changed since the decision, so the entry counts for nothing.
    Stale,
    /// It held no records.
    Nothing,
}

/// A voter or learner of the metadata's Raft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    /// Where its cluster listener is, `host:port`; empty while there is no cluster.
    pub(super) address: String,
}

impl Field for LogId {
    fn put(&self, into: &mut Vec<u8>) {
        self.leader_id.term.put(into);
        self.leader_id.node_id.put(into);
        self.index.put(into);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let leader_id = openraft::CommittedLeaderId::new(u64::get(from)?, u64::get(from)?);
        Ok(LogId { leader_id, index: u64::get(from)? })
    }
}

impl Field for Vote {
    fn put(&self, into: &mut Vec<u8>) {
        self.leader_id.term.put(into);
        self.leader_id.node_id.put(into);
        self.committed.put(into);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut vote = Vote::new(u64::get(from)?, u64::get(from)?);
        vote.committed = bool::get(from)?;
        Ok(vote)
    }
}

impl Field for Membership {
    fn put(&self, into: &mut Vec<u8>) {
        let configs = self.get_joint_config();
        let lists: Vec<Vec<u64>> = configs.iter().map(|c| c.iter().copied().collect()).collect();
        lists.put(into);
        let nodes: Vec<(u64, &Member)> = self.nodes().map(|(id, node)| (*id, node)).collect();
        (nodes.len() as u32).put(into);
        for (id, node) in nodes {
            id.put(into);
            node.address.put(into);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let lists = Vec::<Vec<u64>>::get(from)?;
        let configs = lists.into_iter().map(|list| list.into_iter().collect::<BTreeSet<_>>());
        let mut nodes = BTreeMap::new();
        for _ in 0..from.count()? {
            nodes.insert(u64::get(from)?, Member { address: String::get(from)? });
        }
        Ok(Membership::new(configs.collect(), nodes))
    }
}

impl Field for StoredMembership {
    fn put(&self, into: &mut Vec<u8>) {
        self.log_id().put(into);
        self.membership().put(into);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(StoredMembership::new(Field::get(from)?, Field::get(from)?))
    }
}
