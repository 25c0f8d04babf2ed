//! What requests mean: one handler per operation, the same for every protocol. Handlers are pure:
//! they decide from the metadata image and the published views what to do, and turn what came of it
//! into an answer; whoever executes them waits, proposes and sends. Knows neither the owners of
//! partitions nor async.

pub mod directory;
pub mod error;
pub mod fetch;
pub mod groups;
pub mod kafka;
pub mod offsets;
pub mod produce;
pub mod topics;

use std::sync::Arc;

use directory::{Directory, TopicPartitions};

use crate::metadata::{Image, Topic};
use crate::partition::PartitionHandle;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::Error;
use crate::time::Now;
use crate::types::PartitionId;

/// What a handler decides from.
#[derive(Debug)]
pub struct Context<'a> {
    /// The cluster's metadata.
    pub image: &'a Image,
    /// The partitions of this node.
    pub directory: &'a Directory,
    /// The moment of the request.
    pub now: Now,
    /// Why no records are taken at the moment, if so.
    pub writes: Writes,
    /// How records without a partition are spread.
    pub sticky: Sticky,
}

/// Whether records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They are.
    Accepted,
    /// The disk has too little room.
    DiskFull {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that have to be.
        needed_bytes: u64,
    },
    /// The data directory is open for reading only.
    ReadOnly,
    /// The broker is stopping.
    Stopping,
}

/// When the sticky partition of a topic turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// After so many bytes.
    pub batch_bytes: u64,
    /// After so many milliseconds.
    pub linger_ms: u64,
}

/// A topic as a handler needs it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the metadata says.
    pub topic: Arc<Topic>,
    /// Its partitions on this node.
    pub partitions: Arc<TopicPartitions>,
}

impl Context<'_> {
    /// The error that tells why records are not taken at the moment.
    ///
    /// # Errors
    /// That error, when they are not.
    pub fn accept_writes(&self) -> Result<(), Error> {
        match self.writes {
            Writes::Accepted => Ok(()),
            Writes::DiskFull { free_bytes, needed_bytes } => {
                Err(error::disk_full(free_bytes, needed_bytes))
            }
            Writes::ReadOnly => Err(error::read_only()),
            Writes::Stopping => {
                Err(Error::new(ErrorCode::ShuttingDown, "the broker is stopping; try again later"))
            }
        }
    }

    /// Finds a topic by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<Found, Error> {
        let topic = self.image.topic(name).ok_or_else(|| error::unknown_topic(name))?;
        let partitions =
            self.directory.topic(topic.id).ok_or_else(|| error::unknown_topic(name))?;
        Ok(Found { topic: Arc::clone(topic), partitions })
    }
}

impl Found {
    /// Finds a partition of the topic.
    ///
    /// # Errors
    /// When it has no such partition.
    pub fn partition(&self, partition: PartitionId) -> Result<&Arc<PartitionHandle>, Error> {
        let handles = self.partitions.handles();
        usize::try_from(partition.0)
            .ok()
            .and_then(|index| handles.get(index))
            .ok_or_else(|| error::unknown_partition(&self.topic.name, partition, handles.len()))
    }
}
