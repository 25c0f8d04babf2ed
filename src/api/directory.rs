//! From names and ids to partitions: the table that every request starts with, replaced as a whole
//! when topics come, change and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::metadata::config::TopicSettings;
use crate::partition::PartitionHandle;
use crate::telemetry::TopicMetrics;
use crate::time::Now;
use crate::types::{PartitionId, TopicId, TopicPartition};

/// The partitions of one topic, by their number, and what its configuration means for them.
#[derive(Debug)]
pub struct TopicPartitions {
    settings: TopicSettings,
    metrics: Arc<TopicMetrics>,
    handles: Vec<Arc<PartitionHandle>>,
    /// Bytes of records without a key that the server partitioned; turns the sticky partition.
    sticky_bytes: AtomicU64,
}

/// All partitions of this node.
#[derive(Debug, Default)]
pub struct Directory {
    topics: ArcSwap<BTreeMap<TopicId, Arc<TopicPartitions>>>,
}

impl Directory {
    /// The partitions of a topic, when this node has any.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<Arc<TopicPartitions>> {
        self.topics.load().get(&id).cloned()
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, id: TopicPartition) -> Option<Arc<PartitionHandle>> {
        let index = usize::try_from(id.partition.0).ok()?;
        self.topics.load().get(&id.topic)?.handles.get(index).cloned()
    }

    /// Every partition of this node.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<PartitionHandle>> {
        let topics = self.topics.load();
        topics.values().flat_map(|topic| topic.handles.iter().cloned()).collect()
    }

    /// Replaces the table.
    pub fn replace(&self, topics: BTreeMap<TopicId, Arc<TopicPartitions>>) {
        self.topics.store(Arc::new(topics));
    }

    /// The table as it is, to make the next one from.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<TopicId, Arc<TopicPartitions>> {
        BTreeMap::clone(&self.topics.load())
    }
}

impl TopicPartitions {
    /// The partitions of a topic, in the order of their numbers.
    #[must_use]
    pub fn new(
        settings: TopicSettings,
        metrics: Arc<TopicMetrics>,
        handles: Vec<Arc<PartitionHandle>>,
    ) -> TopicPartitions {
        TopicPartitions { settings, metrics, handles, sticky_bytes: AtomicU64::new(0) }
    }

    /// What the topic's configuration says.
    #[must_use]
    pub fn settings(&self) -> &TopicSettings {
        &self.settings
    }

    /// Where the topic's traffic is counted.
    #[must_use]
    pub fn metrics(&self) -> &TopicMetrics {
        &self.metrics
    }

    /// The handles, in the order of the partitions' numbers.
    #[must_use]
    pub fn handles(&self) -> &[Arc<PartitionHandle>] {
        &self.handles
    }

    /// Where records without a key go now: the same partition for a while, so that they share
    /// batches, and another after `batch_bytes` bytes or `linger_ms` milliseconds (KIP-480).
    #[must_use]
    pub fn sticky(&self, now: Now, bytes: usize, batch_bytes: u64, linger_ms: u64) -> PartitionId {
        let before = self.sticky_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let turn = before / batch_bytes.max(1) + now.monotonic_ms / linger_ms.max(1);
        let count = self.handles.len().max(1) as u64;
        PartitionId((turn % count) as i32)
    }
}
