//! openraft's state machine: applies committed entries, publishes the image, makes and installs
//! snapshots.

use std::io::Cursor;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{ErrorSubject, ErrorVerb, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::files::StoredSnapshot;
use super::fold::Fold;
use super::types::{
    Applied, Entry, LogId, RaftStorageError, SnapshotMeta, StoredMembership, TypeConfig,
};
use super::worker::{Worker, raft_error};
use crate::metadata::Image;

/// The image as everybody else sees it.
#[derive(Debug)]
pub(super) struct Published {
    image: ArcSwap<Image>,
    version: watch::Sender<u64>,
}

impl Published {
    pub(super) fn new(image: Image) -> Arc<Published> {
        let version = watch::Sender::new(image.version());
        Arc::new(Published { image: ArcSwap::from_pointee(image), version })
    }

    pub(super) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn publish(&self, image: &Image) {
        self.image.store(Arc::new(image.clone()));
        // After the image, so that whoever is woken finds it.
        self.version.send_replace(image.version());
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct StateMachine {
    fold: Fold,
    published: Arc<Published>,
    worker: Worker,
}

impl StateMachine {
    pub(super) fn new(fold: Fold, worker: Worker) -> StateMachine {
        let published = Published::new(fold.image.clone());
        StateMachine { fold, published, worker }
    }

    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), RaftStorageError> {
        Ok((self.fold.applied, self.fold.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let before = self.fold.image.version();
        let mut results = Vec::new();
        for entry in entries {
            let result = self.fold.apply(&entry);
            let subject = ErrorSubject::Apply(entry.log_id);
            results.push(result.map_err(|error| raft_error(subject, ErrorVerb::Read, &error))?);
        }
        if self.fold.image.version() != before {
            self.published.publish(&self.fold.image);
        }
        Ok(results)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { fold: self.fold.clone(), worker: self.worker.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, RaftStorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), RaftStorageError> {
        let received = StoredSnapshot {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            data: snapshot.into_inner(),
        };
        let subject = ErrorSubject::Snapshot(Some(meta.signature()));
        let fold = Fold::of(&received);
        let fold = fold.map_err(|error| raft_error(subject, ErrorVerb::Read, &error))?;
        self.worker.write_snapshot(received).await?;
        self.fold = fold;
        self.published.publish(&self.fold.image);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<TypeConfig>>, RaftStorageError> {
        Ok(self.worker.read_snapshot().await?.map(to_raft))
    }
}

/// Makes a snapshot of the state at one moment while entries go on being applied.
#[derive(Debug)]
pub(super) struct SnapshotBuilder {
    fold: Fold,
    worker: Worker,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, RaftStorageError> {
        let snapshot = self.fold.snapshot();
        self.worker.write_snapshot(snapshot.clone()).await?;
        Ok(to_raft(snapshot))
    }
}

fn to_raft(snapshot: StoredSnapshot) -> Snapshot<TypeConfig> {
    let meta = snapshot.meta();
    Snapshot { meta, snapshot: Box::new(Cursor::new(snapshot.data)) }
}
