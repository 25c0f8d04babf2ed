//! A partition: its log, its role and everybody who waits for it. The unit of ownership: exactly
//! one shard holds it and nobody else can reach it; what others may hold is a [`PartitionHandle`]
//! with the last published [`PartitionView`]. Knows nothing of sockets, protocols or other
//! partitions.

mod append;
mod compaction;
mod job;
mod outbox;
mod reply;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

pub use append::{Append, AppendRefusal, AppendReply, Appended};
pub use compaction::{CompactionReply, Exchanged, PassEnd, PassRecord, Passes};
pub use job::{Job, JobDone};
pub use outbox::Pending;
pub use reply::{Answer, Reply};
pub use view::{Health, PartitionHandle, PartitionView, Reader};

use crate::log::{AppendError, ChangeError, Damage, Log, LogConfig, Settled, SyncDone};
use crate::planted::{self, Bug};
use crate::record::StampedBatch;
use crate::time::Now;
use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// Where the outcome of a deletion goes: the new log start offset.
pub type DeleteReply = Reply<Result<Offset, AppendRefusal>>;

/// One partition that this node leads.
#[derive(Debug)]
pub struct Partition {
    handle: Arc<PartitionHandle>,
    log: Log,
    epoch: LeaderEpoch,
    high_watermark: Offset,
    pending: Pending,
    /// Batches that are stamped and not written yet, so that one write takes them all.
    staged: Vec<StampedBatch>,
    staged_replies: Vec<append::StagedReply>,
    staged_bytes: usize,
    staged_end: Offset,
    /// Deletions that wait for the jobs that are under way.
    deletions: Vec<(Option<Offset>, DeleteReply)>,
    /// Whether retention is to be enforced as soon as no job is under way.
    retention_due: bool,
    /// Why the partition serves nothing any more.
    offline: Option<Arc<str>>,
    /// Whether a sync of the log is under way.
    syncing: bool,
    /// Whether upkeep of the log is under way.
    upkeeping: bool,
    compacting: compaction::Compacting,
    /// Whether the partition is being given up: it takes nothing and starts nothing any more.
    closing: bool,
    /// Whether something that readers can see has changed since the view was published.
    changed: bool,
}

impl Partition {
    /// Takes over a recovered log as the leader of `epoch`. What recovery kept is durable (it syncs
    /// what lay above the frontier), so all of it is committed on a single replica.
    #[must_use]
    pub fn lead(id: TopicPartition, shard: usize, log: Log, epoch: LeaderEpoch) -> Partition {
        let end = log.end_offset();
        let health = health(None, &log);
        let handle = PartitionHandle::new(id, shard, view_of(&log, epoch, end, health));
        Partition {
            handle,
            log,
            epoch,
            high_watermark: end,
            pending: Pending::default(),
            staged: Vec::new(),
            staged_replies: Vec::new(),
            staged_bytes: 0,
            staged_end: end,
            deletions: Vec::new(),
            retention_due: false,
            offline: None,
            syncing: false,
            upkeeping: false,
            compacting: compaction::Compacting::default(),
            closing: false,
            changed: false,
        }
    }

    /// The shared face of the partition.
    #[must_use]
    pub fn handle(&self) -> &Arc<PartitionHandle> {
        &self.handle
    }

    /// The log, for reading its state.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Ends a step for this partition: writes what is staged unless it gathers, settles what may be
    /// settled without a sync, publishes the view and hands the jobs that are due to `start`. Every
    /// path through a shard ends here.
    pub fn settle(&mut self, now: Now, start: &mut impl FnMut(Job)) {
        if !self.is_gathering() {
            self.write_staged(now);
        }
        // Also what was settled long ago: a repeated batch or a refusal may rest on nothing newer,
        // and then no sync comes that would let its answer out.
        if let Some(settled) = self.log.settled() {
            self.advance(&settled);
        }
        self.make_changes(now);
        if self.changed {
            self.publish();
        }
        if self.closing || self.has_changes() {
            // Those wait until nothing is under way, which has to come about.
            return;
        }
        if self.log.wants_sync() {
            self.begin_sync(start);
        }
        self.begin_exchange(start);
        if let Some(job) = self.log.begin_upkeep() {
            self.upkeeping = true;
            start(Job::Upkeep(Box::new(job)));
        }
    }

    /// Starts a sync of what is written even though nobody waits for it, unless one is under way or
    /// the files are about to change.
    pub fn begin_sync(&mut self, start: &mut impl FnMut(Job)) {
        if self.has_changes() {
            return;
        }
        if let Some(job) = self.log.begin_sync() {
            self.syncing = true;
            start(Job::Sync(Box::new(job)));
        }
    }

    /// Takes the outcome of a job.
    pub fn finish(&mut self, done: JobDone) {
        match done {
            JobDone::Sync(done) => self.finish_sync(done),
            JobDone::Upkeep(done) => {
                assert!(self.upkeeping, "upkeep that ends was started here");
                self.upkeeping = false;
                self.log.finish_upkeep(done);
                // Compaction may look at more segments now, and readers are told how many.
                self.changed |= self.log.config().compaction.is_some();
            }
            JobDone::Exchange(done) => self.finish_exchange(done),
        }
    }

    /// A failed sync takes the partition offline for good.
    fn finish_sync(&mut self, done: SyncDone) {
        assert!(self.syncing, "a sync that ends was started here");
        self.syncing = false;
        match self.log.finish_sync(done) {
            Ok(settled) => self.advance(&settled),
            Err(poisoned) => _ = self.go_offline(&poisoned.to_string()),
        }
    }

    /// Removes the records below `before` (`None`: below the high watermark), which may not lie
    /// above the high watermark. Done by [`Partition::settle`], when no job is under way.
    pub fn delete_records(&mut self, before: Option<Offset>, reply: DeleteReply) {
        self.deletions.push((before, reply));
    }

    /// Whether something waits that changes which files there are: retention or a deletion.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.retention_due || !self.deletions.is_empty()
    }

    fn make_changes(&mut self, now: Now) {
        if !self.is_quiet() {
            return;
        }
        if std::mem::take(&mut self.retention_due) {
            self.enforce_retention(now);
        }
        for (before, reply) in std::mem::take(&mut self.deletions) {
            reply.send(self.delete_before(before));
        }
    }

    fn delete_before(&mut self, before: Option<Offset>) -> Result<Offset, AppendRefusal> {
        let (start, end) = (self.log.start_offset(), self.high_watermark);
        let before = before.unwrap_or(end);
        if before > end || before < Offset::ZERO {
            return Err(AppendRefusal::OutOfRange { wanted: before, start, end });
        }
        self.refuse_offline()?;
        if before > start {
            self.log.advance_start(before).map_err(|e| self.change_failed(&e))?;
            self.changed = true;
        }
        Ok(self.log.start_offset())
    }

    fn change_failed(&mut self, error: &ChangeError) -> AppendRefusal {
        match error {
            ChangeError::Refused(AppendError::Full(error)) => {
                AppendRefusal::DiskFull(error.to_string().into())
            }
            ChangeError::Refused(AppendError::NoDescriptors(error)) => {
                AppendRefusal::NoDescriptors(error.to_string().into())
            }
            ChangeError::Refused(AppendError::Poisoned(reason)) => self.go_offline(reason),
            other => AppendRefusal::Damaged(other.to_string().into()),
        }
    }

    /// Asks for the segments to be removed that retention no longer covers. Done by
    /// [`Partition::settle`], when no job is under way.
    pub fn request_retention(&mut self) {
        self.retention_due = !self.closing;
        self.log.rest();
    }

    fn enforce_retention(&mut self, now: Now) {
        if self.offline.is_some() {
            return;
        }
        let start = self.log.start_offset();
        match self.log.enforce_retention(now.wall, self.high_watermark) {
            Ok(_) => {}
            Err(ChangeError::Refused(AppendError::Poisoned(reason))) => {
                self.go_offline(&reason);
            }
            // Retention that fails loses nothing; the next round tries again.
            Err(error) => {
                let partition = self.handle.id();
                tracing::warn!(%partition, %error, "retention could not remove data");
            }
        }
        self.changed |= self.log.start_offset() != start;
    }

    /// Changes the log's configuration.
    pub fn configure(&mut self, config: LogConfig) {
        self.changed |= self.log.config().compaction != config.compaction;
        self.log.configure(config);
    }

    /// Bytes that were accepted and are not durable yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.bytes()
    }

    /// Begins to give the partition up: what is staged is written, nothing new is taken.
    pub fn begin_close(&mut self, now: Now) {
        self.write_staged(now);
        self.closing = true;
        self.cancel_compaction();
    }

    /// Whether nothing is under way any more, so that the log can be handed back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && !self.compacting.is_under_way()
    }

    /// Whether no job is under way that files must not change under.
    fn is_quiet(&self) -> bool {
        !self.syncing && !self.upkeeping && !self.compacting.is_exchanging()
    }

    /// Ends the partition: everybody who still waits is told so, and the log is handed back.
    #[must_use]
    pub fn into_log(mut self) -> Log {
        assert!(self.closing && self.is_idle(), "a log is handed back when nothing uses it");
        self.pending.refuse_all(&AppendRefusal::ShuttingDown);
        for (_, reply) in self.deletions {
            reply.send(Err(AppendRefusal::ShuttingDown));
        }
        self.log
    }

    fn advance(&mut self, settled: &Settled) {
        assert!(settled.up_to() >= self.high_watermark, "the high watermark never goes back");
        assert!(settled.up_to() <= self.log.end_offset(), "nothing settles that is not written");
        if settled.up_to() > self.high_watermark {
            self.high_watermark = settled.up_to();
            // Before anybody is told: whoever has an acknowledgement can read what it is for.
            self.publish();
        }
        self.pending.release(settled);
    }

    fn go_offline(&mut self, reason: &str) -> AppendRefusal {
        let reason: Arc<str> = reason.into();
        let refusal = AppendRefusal::Offline(Arc::clone(&reason));
        self.pending.refuse_all(&refusal);
        if self.offline.is_some() {
            return refusal;
        }
        tracing::error!(
            partition = %self.handle.id(),
            %reason,
            "this partition is offline until the broker is restarted"
        );
        self.offline = Some(reason);
        self.changed = true;
        refusal
    }

    fn refuse_offline(&self) -> Result<(), AppendRefusal> {
        if self.closing {
            return Err(AppendRefusal::ShuttingDown);
        }
        match &self.offline {
            Some(reason) => Err(AppendRefusal::Offline(Arc::clone(reason))),
            None => match self.log.damage() {
                Some(damage) => Err(AppendRefusal::Damaged(damage.to_string().into())),
                None => Ok(()),
            },
        }
    }

    fn publish(&mut self) {
        self.changed = false;
        let health = health(self.offline.as_ref(), &self.log);
        self.handle.publish(view_of(&self.log, self.epoch, self.high_watermark, health));
    }
}

fn view_of(log: &Log, epoch: LeaderEpoch, high_watermark: Offset, health: Health) -> PartitionView {
    let unsettled = planted::is(Bug::ServeAboveWatermark).then(|| log.end_offset());
    let high_watermark = log.position_of(unsettled.unwrap_or(high_watermark));
    PartitionView {
        epoch,
        high_watermark,
        last_stable: high_watermark,
        health,
        size_bytes: log.size_bytes(),
        log: log.view(),
    }
}

fn health(offline: Option<&Arc<str>>, log: &Log) -> Health {
    match (offline, log.damage()) {
        (Some(reason), _) => Health::Offline(Arc::clone(reason)),
        (None, Some(damage)) => Health::Damaged(Arc::new(Damage::clone(damage))),
        (None, None) => Health::Good,
    }
}
