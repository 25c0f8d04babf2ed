//! Work on a partition's log that some other thread does, and what comes back of it.

use crate::log::{ExchangeDone, ExchangeJob, SyncDone, SyncJob, UpkeepDone, UpkeepJob};

/// Something to be done outside the owner. At most one of each kind is under way.
#[derive(Debug)]
pub enum Job {
    /// Makes appended records durable; acknowledgements wait for it.
    Sync(Box<SyncJob>),
    /// Nobody waits for it.
    Upkeep(Box<UpkeepJob>),
    /// Puts a compacted segment in place.
    Exchange(Box<ExchangeJob>),
}

/// The outcome of a [`Job`], for [`Partition::finish`](super::Partition::finish).
#[derive(Debug)]
pub enum JobDone {
    /// Of a sync.
    Sync(SyncDone),
    /// Of upkeep.
    Upkeep(UpkeepDone),
    /// Of an exchange of segments.
    Exchange(ExchangeDone),
}

impl Job {
    /// Does the work. Blocks for as long as the disk takes.
    pub fn run(self) -> JobDone {
        match self {
            Job::Sync(job) => JobDone::Sync(job.run()),
            Job::Upkeep(job) => JobDone::Upkeep(job.run()),
            Job::Exchange(job) => JobDone::Exchange(job.run()),
        }
    }
}
