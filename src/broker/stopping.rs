//! How a node stops: the metadata, then all logs side by side, then the marker that lets the next
//! start trust them. A disk may keep any of that for ever, so it can be asked what is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::node::Node;
use crate::limits;
use crate::log::Log;
use crate::log::clean::CleanLog;
use crate::log::frontier::Claim;
use crate::partition::{Answer, PartitionHandle, Reply};
use crate::shard::Command;
use crate::storage::StorageError;
use crate::types::TopicPartition;

/// Partitions that are named where many are waited for.
const NAMED_MAX: usize = 10;

/// How far the stop of a node is.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    is_under_way: AtomicBool,
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Connections,
    Metadata,
    Logs(BTreeSet<TopicPartition>),
    Marker,
}

impl Stopping {
    /// Whether the node is stopping.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Relaxed)
    }

    fn set(&self, stage: Stage) {
        *self.stage() = stage;
    }

    fn closed(&self, id: TopicPartition) {
        if let Stage::Logs(open) = &mut *self.stage() {
            open.remove(&id);
        }
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().expect("nothing panics while it holds the stage")
    }
}

/// What a stop waits for, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Connections finish what they began.
    Connections,
    /// The metadata are written.
    Metadata,
    /// These partitions, by their names, are made durable.
    Partitions(Vec<String>),
    /// The files that speak of all logs together are written.
    Marker,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::Connections => f.write_str("connections to finish"),
            Awaited::Metadata => f.write_str("the disk to take the metadata"),
            Awaited::Partitions(names) => {
                let named = names.len().min(NAMED_MAX);
                let (count, list) = (names.len(), names[..named].join(", "));
                let partitions = if count == 1 { "partition" } else { "partitions" };
                write!(f, "the disk to take {count} {partitions}: {list}")?;
                if count > named { write!(f, " and {} more", count - named) } else { Ok(()) }
            }
            Awaited::Marker => f.write_str("the disk to take the marker of a clean stop"),
        }
    }
}

impl Node {
    /// Stops: nothing is accepted any more, everything accepted is made durable, and a marker says
    /// that the next start need not look.
    ///
    /// # Errors
    /// When the disk refuses; nothing acknowledged is lost then either, the next start recovers.
    pub async fn stop(self: &Arc<Self>) -> Result<(), StorageError> {
        if self.stopping().is_under_way.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.stopping().set(Stage::Metadata);
        self.notify_applied();
        if let Some(quorum) = self.quorum()
            && let Err(error) = quorum.shutdown().await
        {
            tracing::error!(%error, "the metadata did not stop cleanly");
        }
        let node = Arc::clone(self);
        tokio::task::spawn_blocking(move || node.close_logs())
            .await
            .expect("a panic while closing logs ends the process")
    }

    /// What the stop of this node is waiting for now.
    #[must_use]
    pub fn awaited_by_stop(&self) -> Awaited {
        let open = match &*self.stopping().stage() {
            Stage::Connections => return Awaited::Connections,
            Stage::Metadata => return Awaited::Metadata,
            Stage::Marker => return Awaited::Marker,
            Stage::Logs(open) => open.clone(),
        };
        Awaited::Partitions(open.into_iter().map(|id| self.name_of(id)).collect())
    }

    fn name_of(&self, id: TopicPartition) -> String {
        match self.view().image().topic_by_id(id.topic) {
            Some(topic) => format!("{}/{}", topic.name, id.partition),
            None => id.to_string(),
        }
    }

    fn close_logs(&self) -> Result<(), StorageError> {
        let handles = self.directory().all();
        self.stopping().set(Stage::Logs(handles.iter().map(|handle| handle.id()).collect()));
        // All owners first, so that the syncs under way end side by side.
        let closing: Vec<_> = handles.iter().map(|handle| self.begin_close(handle)).collect();
        let clean = Mutex::new(BTreeMap::new());
        let closing = Mutex::new(closing.into_iter());
        // What a log has left to write is a few small files, each of which waits for the disk.
        let closer = || {
            loop {
                // A statement of its own: as a part of the condition the lock would be held until
                // the log is closed, and the others would wait.
                let next = closing.lock().expect("nobody panics here").next();
                let Some((id, log)) = next else { break };
                if let Ok(Some(log)) = log.recv()
                    && let Some(closed) = close(id, log)
                {
                    clean.lock().expect("nobody panics here").insert(id, closed);
                }
                self.stopping().closed(id);
            }
        };
        std::thread::scope(|scope| {
            (0..limits::FLUSHERS).for_each(|_| _ = scope.spawn(closer));
        });
        self.stopping().set(Stage::Marker);
        let clean = clean.into_inner().expect("nobody panics here");
        self.directory().replace(BTreeMap::new());
        self.drop_pool();
        if self.is_read_only() {
            return Ok(());
        }
        // Whoever removes the files of a deleted topic may have forgotten it meanwhile.
        let view = self.view();
        let clean =
            clean.into_iter().filter(|(id, _)| view.image().topic_by_id(id.topic).is_some());
        let (clean, claims): (BTreeMap<_, _>, Vec<_>) =
            clean.map(|(id, (entry, claim))| ((id, entry), claim)).unzip();
        self.housekeeper().record(|| claims)?;
        self.housekeeper().finish(self.view().image().broker_epoch(), clean)
    }

    fn begin_close(&self, handle: &PartitionHandle) -> (TopicPartition, Answer<Option<Log>>) {
        let (reply, log) = Reply::channel();
        self.shards().submit_waiting(handle.shard(), Command::Close(handle.id(), reply));
        (handle.id(), log)
    }
}

/// Closes a log; what the marker of a clean stop and the frontier journal say of it.
fn close(id: TopicPartition, mut log: Log) -> Option<(CleanLog, Claim)> {
    // What was acknowledged is durable all the same: the next start recovers the log.
    if let Err(error) = log.close() {
        tracing::error!(partition = %id, %error, "not closed cleanly");
        return None;
    }
    let entry = clean_entry(&log)?;
    let claim = Claim { partition: id, entry: log.frontier(), lowerings: log.lowerings() };
    Some((entry, claim))
}

fn clean_entry(log: &Log) -> Option<CleanLog> {
    log.clean_entry().unwrap_or_else(|error| {
        tracing::warn!(%error, "the next start reads this log's tail");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_partitions_are_named_and_the_others_counted() {
        let names = |count: usize| (0..count).map(|number| format!("t/{number}")).collect();
        let few = Awaited::Partitions(names(2)).to_string();
        assert_eq!(few, "the disk to take 2 partitions: t/0, t/1");
        let many = Awaited::Partitions(names(10_000)).to_string();
        assert!(many.contains("10000 partitions: t/0, ") && many.ends_with("t/9 and 9990 more"));
    }
}
