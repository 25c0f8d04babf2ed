//! What a node does by itself: keeps the frontier journal, watches the disk, enforces retention,
//! follows the metadata, and removes the files of deleted topics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::directory::Mode;
use super::node::{Node, NodeOptions, StartError, TopicPolicy};
use super::partitions::topic_directory;
use crate::log::clean::{CleanLog, CleanShutdown, Taken};
use crate::log::frontier::{Claim, Frontier, FrontierEntries, FrontierState};
use crate::log::{Known, KnownFrontier};
use crate::metadata::Command;
use crate::partition::Reply;
use crate::quorum::Quorum;
use crate::shard::Command as ShardCommand;
use crate::storage::{Disk, StorageError};
use crate::types::{BrokerEpoch, TopicId, TopicPartition};

/// Time between two rounds. The frontier journal may lag a second behind the syncs, and a round
/// itself takes a while.
const ROUND_INTERVAL: Duration = Duration::from_millis(750);

/// What is known of the logs before they are opened: the frontier journal and the clean marker.
pub(super) struct KnownLogs {
    state: FrontierState,
    entries: FrontierEntries,
    clean: BTreeMap<TopicPartition, CleanLog>,
}

impl KnownLogs {
    /// What a log that is opened while the node runs has: its files, if any, were never claimed.
    pub(super) fn none() -> KnownLogs {
        KnownLogs {
            state: FrontierState::Missing,
            entries: FrontierEntries::new(),
            clean: BTreeMap::new(),
        }
    }

    /// What is known of one log.
    pub(super) fn of(&self, id: TopicPartition) -> Known {
        let frontier = match self.state {
            FrontierState::Missing | FrontierState::Unreadable(_) => KnownFrontier::Missing,
            FrontierState::Whole | FrontierState::TornTail { .. } => {
                KnownFrontier::At(self.entries.get(&id).copied())
            }
        };
        Known { frontier, clean: self.clean.get(&id).copied() }
    }
}

/// Keeper of the files that speak of all logs together.
pub(super) struct Housekeeper {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    /// `None` while the directory is open for reading only. Held for a small append and a sync;
    /// never by a network thread.
    frontier: Mutex<Option<Frontier>>,
    /// The journal could not be written when that was last tried.
    is_behind: AtomicBool,
}

impl Housekeeper {
    /// Reads what the last process left behind and takes the clean marker away.
    pub(super) fn open(options: &NodeOptions) -> Result<(Housekeeper, KnownLogs), StartError> {
        let (disk, data_dir) = (Arc::clone(&options.disk), options.data_dir.clone());
        let (state, entries) = Frontier::load(disk.as_ref(), &data_dir);
        if let FrontierState::Unreadable(reason) = &state {
            tracing::error!(reason, "the frontier journal is damaged: every log is read in full");
        }
        let clean = match options.mode {
            Mode::Write => CleanShutdown::take(disk.as_ref(), &data_dir)?,
            Mode::Read => CleanShutdown::peek(disk.as_ref(), &data_dir),
        };
        let clean = match clean {
            Taken::Clean(marker) => marker.logs,
            Taken::Absent => BTreeMap::new(),
            Taken::Unreadable(reason) => {
                tracing::warn!(reason, "the marker of the last stop can not be believed");
                BTreeMap::new()
            }
        };
        let known = KnownLogs { state, entries, clean };
        let (frontier, is_behind) = (Mutex::new(None), AtomicBool::new(false));
        Ok((Housekeeper { disk, data_dir, frontier, is_behind }, known))
    }

    /// Begins the journal of this process. Not before the metadata is there: a journal says that
    /// the directory has been in use. `recovered` is what is known of the logs now that they are
    /// open: what is about to be served must not be taken for a torn tail later.
    pub(super) fn begin(&self, known: &KnownLogs, recovered: &[Claim]) -> Result<(), StorageError> {
        let mut entries = known.entries.clone();
        for claim in recovered {
            let entry = entries.entry(claim.partition).or_insert(claim.entry);
            if entry.end_offset < claim.entry.end_offset {
                *entry = claim.entry;
            }
        }
        let journal = Frontier::begin(Arc::clone(&self.disk), &self.data_dir, entries)?;
        *self.frontier() = Some(journal);
        Ok(())
    }

    /// Writes what became durable into the journal, durably too. Without news there is no I/O. The
    /// claims are gathered while the journal is held: those of a topic must not arrive after it was
    /// forgotten.
    pub(super) fn record(&self, claims: impl FnOnce() -> Vec<Claim>) -> Result<(), StorageError> {
        let mut frontier = self.frontier();
        let Some(frontier) = frontier.as_mut() else { return Ok(()) };
        frontier.record(&claims())?;
        frontier.sync()
    }

    /// The same while the node runs, where failing ends nothing and is said once: the next recovery
    /// takes longer, since it scans from where the journal ends.
    fn keep_record(&self, claims: impl FnOnce() -> Vec<Claim>) {
        let recorded = self.record(claims);
        let was_behind = self.is_behind.swap(recorded.is_err(), Ordering::Relaxed);
        match recorded {
            Err(error) if !was_behind => {
                tracing::warn!(%error, "the frontier journal could not be written");
            }
            Ok(()) if was_behind => tracing::info!("the frontier journal is written again"),
            _ => {}
        }
    }

    /// Ends the journal and leaves the marker of a clean stop.
    pub(super) fn finish(
        &self,
        broker_epoch: BrokerEpoch,
        logs: BTreeMap<TopicPartition, CleanLog>,
    ) -> Result<(), StorageError> {
        if let Some(frontier) = self.frontier().as_mut() {
            frontier.sync()?;
        }
        let clean = CleanShutdown { broker_epoch, logs };
        clean.write(self.disk.as_ref(), &self.data_dir)?;
        Ok(())
    }

    /// Forgets the logs of a deleted topic.
    fn forget(&self, topic: TopicId) -> Result<(), StorageError> {
        self.frontier().as_mut().map_or(Ok(()), |frontier| frontier.forget(topic))
    }

    fn frontier(&self) -> std::sync::MutexGuard<'_, Option<Frontier>> {
        self.frontier.lock().expect("nothing panics while it holds the journal")
    }
}

/// Brings the node in line with the metadata, or with another policy, whenever those change.
pub(super) async fn follow_metadata(
    node: Weak<Node>,
    quorum: Arc<dyn Quorum>,
    mut policies: watch::Receiver<Arc<TopicPolicy>>,
) {
    let mut versions = quorum.versions();
    // What the last process had left to remove.
    if let Some(node) = node.upgrade() {
        clean_up(&node).await;
    }
    let mut is_policy_new = false;
    loop {
        {
            let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else { return };
            let image = quorum.image();
            if is_policy_new || image.version() > node.view().image().version() {
                follow(node, image).await;
            }
        }
        let (changed, is_policy) = tokio::select! {
            changed = versions.changed() => (changed.is_ok(), false),
            changed = policies.changed() => (changed.is_ok(), true),
        };
        if !changed {
            return;
        }
        is_policy_new = is_policy;
    }
}

async fn follow(node: Arc<Node>, image: Arc<crate::metadata::Image>) {
    let follower = Arc::clone(&node);
    let work = move || match follower.follow(&image) {
        Ok(()) => {
            follower.keep_groups(&image);
            follower.publish(Arc::clone(&image));
            follower.tell_topics(&image);
        }
        // The node goes on with the metadata it had; whoever waits for the change times out.
        Err(error) => tracing::error!(%error, "a metadata change could not be carried out"),
    };
    tokio::task::spawn_blocking(work).await.expect("a panic while following ends the process");
    clean_up(&node).await;
}

async fn clean_up(node: &Arc<Node>) {
    if let Err(error) = remove_deleted(node).await {
        tracing::warn!(%error, "files of deleted topics are left; the next start tries again");
    }
}

/// Removes the files of topics whose deletion is committed, then forgets the topics.
async fn remove_deleted(node: &Arc<Node>) -> Result<(), StorageError> {
    let view = node.view();
    let mut deleted = Vec::new();
    for (id, topic) in view.image().deleted_topics() {
        node.telemetry().forget_topic(&topic.name);
        deleted.push(id);
    }
    drop(view);
    if deleted.is_empty() {
        return Ok(());
    }
    let remover = Arc::clone(node);
    let topics = deleted.clone();
    let remove = move || topics.iter().try_for_each(|&topic| remove_topic(&remover, topic));
    tokio::task::spawn_blocking(remove).await.expect("a panic while removing ends the process")?;
    let node = Arc::clone(node);
    // Not awaited here: the change comes back to the loop that called this.
    tokio::spawn(async move {
        if let Err(error) = node.propose(Command::ForgetTopics { topics: deleted }).await {
            tracing::debug!(%error, "deleted topics stay remembered until the next start");
        }
    });
    Ok(())
}

/// Renames first, so that a crash in between leaves no half of a topic that could be taken for one.
/// What the journal claims goes while the renamed directory still says why.
fn remove_topic(node: &Node, topic: TopicId) -> Result<(), StorageError> {
    let disk = node.disk();
    let directory = topic_directory(node.data_dir(), topic);
    let parent = directory.parent().expect("topics have a directory of their own").to_path_buf();
    let doomed = parent.join(format!("{topic}.deleted"));
    if disk.exists(&directory)? {
        disk.rename(&directory, &doomed)?;
        disk.sync_dir(&parent)?;
    }
    let forgotten = node.housekeeper().forget(topic);
    if disk.exists(&doomed)? {
        disk.remove_dir_all(&doomed)?;
        disk.sync_dir(&parent)?;
    }
    match forgotten {
        // There is room now.
        Err(error) if error.is_full() => node.housekeeper().forget(topic),
        forgotten => forgotten,
    }
}

/// Does what is due from time to time, until the node stops: at the end of each interval, and at
/// once when so much was synced that the journal may not wait for that.
pub(super) async fn keep_house(node: Weak<Node>) {
    let Some(backlog) = node.upgrade().map(|node| Arc::clone(node.shards().backlog())) else {
        return;
    };
    let mut interval = tokio::time::interval(ROUND_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retention_due_ms = 0;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = backlog.due() => interval.reset(),
        }
        let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else { return };
        let now_ms = (node.options().clock)().monotonic_ms;
        let enforce = now_ms >= retention_due_ms;
        if enforce {
            retention_due_ms = now_ms + node.options().retention_check_ms;
        }
        let round = move || tidy_up(&node, enforce);
        tokio::task::spawn_blocking(round).await.expect("a panic ends the process");
    }
}

/// What became durable in all shards since they were last asked.
pub(super) fn all_claims(node: &Node) -> Vec<Claim> {
    (0..node.shards().count()).flat_map(|number| claims_of(node, number)).collect()
}

fn claims_of(node: &Node, shard: usize) -> Vec<Claim> {
    let (reply, claims) = Reply::channel();
    node.shards().submit_waiting(shard, ShardCommand::Frontier(reply));
    claims.recv().unwrap_or_default()
}

/// One round. What costs nothing in an idle node comes first: the journal has a date to keep.
fn tidy_up(node: &Node, enforce_retention: bool) {
    node.shards().backlog().take();
    node.housekeeper().keep_record(|| all_claims(node));
    if let Err(error) = node.space().refresh() {
        tracing::warn!(%error, "the free space can not be told");
    }
    if !enforce_retention {
        return;
    }
    for number in 0..node.shards().count() {
        let (reply, jobs) = Reply::channel();
        node.shards().submit_waiting(number, ShardCommand::Maintain(reply));
        node.shards().start_jobs(number, jobs.recv().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
