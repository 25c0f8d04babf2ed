//! The closed set of things one may ask a shard.

use super::groups::GroupCommand;
use crate::log::frontier::Claim;
use crate::log::producers::KnownProducer;
use crate::log::{CompactionOptions, Exchange, Log, LogConfig, Survey};
use crate::partition::{Append, CompactionReply, DeleteReply, Exchanged};
use crate::partition::{Job, JobDone, Partition, Reply};
use crate::storage::StorageError;
use crate::types::{Offset, TopicPartition};

/// One thing to do for the owner of partitions.
#[derive(Debug)]
pub enum Command {
    /// Append batches.
    Append(TopicPartition, Append),
    /// A job that the shard asked for has ended.
    Finished(TopicPartition, Box<JobDone>),
    /// Remove the records below an offset (`None`: below the high watermark); the answer is the new
    /// log start offset.
    DeleteRecords(TopicPartition, Option<Offset>, DeleteReply),
    /// Tell which producers are remembered; `None` where there is no such partition.
    Producers(TopicPartition, Reply<Option<Vec<KnownProducer>>>),
    /// Own this partition from now on.
    Open(Box<Partition>),
    /// Give the partition up; the answer is its log. `None` where there is no such partition, or
    /// when it is gone if somebody else has asked before.
    Close(TopicPartition, Reply<Option<Log>>),
    /// Change the configuration of a partition's log.
    Configure(TopicPartition, Box<LogConfig>),
    /// Enforce retention everywhere; the answer is the jobs that became due.
    Maintain(Reply<Vec<(TopicPartition, Job)>>),
    /// What a pass of compaction could look at, of each partition.
    Survey(Reply<Vec<(TopicPartition, Survey)>>),
    /// Hand out a pass of compaction.
    Compact(TopicPartition, Box<CompactionOptions>, CompactionReply),
    /// Carry out an exchange of segments for a pass that is out.
    Exchange(TopicPartition, Box<Exchange>, Reply<Exchanged>),
    /// Take a pass back, with the sync that failed if it was one that ended it.
    EndCompaction(TopicPartition, Option<Box<StorageError>>),
    /// Which partitions are durable up to where, as far as that changed since the last such
    /// command.
    Frontier(Reply<Vec<Claim>>),
    /// Something for the coordinators of consumer groups.
    Groups(Box<GroupCommand>),
}
