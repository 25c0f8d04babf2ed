//! What everybody but the owner may see of a partition: an immutable view, replaced as a whole
//! after each step. A consumer can not see past the high watermark, because the range it may read
//! is the only one the view gives it.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use event_listener::{Event, EventListener};

use super::compaction::Passes;
use crate::log::{Damage, LogView, Position, ReadError, ReadRange};
use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// Who reads, which decides how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A consumer that wants committed transactions only: up to the last stable offset.
    Committed,
    /// A consumer: up to the high watermark.
    Uncommitted,
}

/// Whether the partition serves.
#[derive(Clone, Debug)]
pub enum Health {
    /// All of it.
    Good,
    /// What lies below the damage; it takes no more records.
    Damaged(Arc<Damage>),
    /// Nothing, until the broker is restarted.
    Offline(Arc<str>),
}

/// A partition as it was after its owner's last step.
#[derive(Clone, Debug)]
pub struct PartitionView {
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// Where what is committed ends.
    pub high_watermark: Position,
    /// Where what is committed and of no open transaction ends.
    pub last_stable: Position,
    /// Whether it serves.
    pub health: Health,
    /// Bytes of all segments.
    pub size_bytes: u64,
    /// The segments.
    pub log: LogView,
}

impl PartitionView {
    /// Where reading ends for `reader`.
    #[must_use]
    pub fn end(&self, reader: Reader) -> Position {
        match reader {
            Reader::Committed => self.last_stable,
            Reader::Uncommitted => self.high_watermark,
        }
    }

    /// Offset of the first record that can be read.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.log.start()
    }

    /// Whole batches from the one that holds `from` on, at most `bytes_max` of them but always one.
    ///
    /// # Errors
    /// When `from` is out of range or the bytes there are damaged.
    pub fn read(
        &self,
        from: Offset,
        reader: Reader,
        bytes_max: usize,
    ) -> Result<ReadRange, ReadError> {
        self.log.read(from, self.end(reader), bytes_max)
    }
}

/// The shared face of a partition.
pub struct PartitionHandle {
    id: TopicPartition,
    shard: usize,
    view: ArcSwap<PartitionView>,
    changed: Event,
    /// Told by whoever runs the passes of compaction.
    passes: ArcSwapOption<Passes>,
}

impl PartitionHandle {
    /// A handle whose partition's owner is shard number `shard`.
    #[must_use]
    pub fn new(id: TopicPartition, shard: usize, view: PartitionView) -> Arc<PartitionHandle> {
        let view = ArcSwap::from_pointee(view);
        let passes = ArcSwapOption::empty();
        Arc::new(PartitionHandle { id, shard, view, changed: Event::new(), passes })
    }

    /// Which partition it is.
    #[must_use]
    pub fn id(&self) -> TopicPartition {
        self.id
    }

    /// Number of the shard that owns it.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The newest view.
    #[must_use]
    pub fn view(&self) -> Arc<PartitionView> {
        self.view.load_full()
    }

    /// A notice of the next change. Register before loading the view, or the change in between is
    /// missed.
    #[must_use]
    pub fn listen(&self) -> EventListener {
        self.changed.listen()
    }

    /// What is known of passes of compaction over it; `None` when there was none.
    #[must_use]
    pub fn passes(&self) -> Option<Arc<Passes>> {
        self.passes.load_full()
    }

    /// Takes what is known of passes of compaction from now on, from whoever runs them.
    pub fn note_passes(&self, passes: Passes) {
        self.passes.store(Some(Arc::new(passes)));
    }

    pub(super) fn publish(&self, view: PartitionView) {
        self.view.store(Arc::new(view));
        self.changed.notify(usize::MAX);
    }
}

impl fmt::Debug for PartitionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionHandle({})", self.id)
    }
}
