//! What the log of a coordinator adds up to: the last recorded generation of each group and its
//! committed offsets. [`Store::replay`] is the only thing that changes it, so a store is always the
//! fold of the records that were appended.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::Text;
use super::record::{Committed, GroupMetadata, Record};
use crate::types::PartitionId;

/// The offsets of a group, by topic and partition.
pub(super) type Offsets = BTreeMap<Text, BTreeMap<PartitionId, Committed>>;

/// Groups by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    groups: BTreeMap<Text, StoredGroup>,
}

/// What is recorded of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoredGroup {
    /// Its last generation; none when it only has offsets.
    pub metadata: Option<GroupMetadata>,
    /// Its offsets.
    pub offsets: BTreeMap<Text, BTreeMap<PartitionId, Committed>>,
}

impl Store {
    /// Applies one record.
    pub fn replay(&mut self, record: &Record) {
        let id = record.group();
        if !self.groups.contains_key(id) {
            self.groups.insert(Arc::clone(id), StoredGroup::default());
        }
        let group = self.groups.get_mut(id).expect("it is there now");
        match record {
            Record::Group { value, .. } => group.metadata.clone_from(value),
            Record::Offset { topic, partition, value: Some(committed), .. } => {
                if !group.offsets.contains_key(topic) {
                    group.offsets.insert(Arc::clone(topic), BTreeMap::new());
                }
                let topic = group.offsets.get_mut(topic).expect("it is there now");
                topic.insert(*partition, committed.clone());
            }
            Record::Offset { topic, partition, value: None, .. } => {
                if let Some(partitions) = group.offsets.get_mut(topic) {
                    partitions.remove(partition);
                    if partitions.is_empty() {
                        group.offsets.remove(topic);
                    }
                }
            }
        }
        if group.metadata.is_none() && group.offsets.is_empty() {
            self.groups.remove(id);
        }
    }

    /// What is recorded of a group.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&StoredGroup> {
        self.groups.get(id)
    }

    /// All of them, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Text, &StoredGroup)> {
        self.groups.iter()
    }

    /// How many offsets there are.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.groups.values().map(StoredGroup::offset_count).sum()
    }

    /// A number that two stores share when they are the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl StoredGroup {
    /// How many offsets there are.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.offsets.values().map(BTreeMap::len).sum()
    }
}
