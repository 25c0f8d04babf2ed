//! The thread that owns the [`Store`], and the handle through which openraft reaches it. One thread
//! and one queue: votes and entries reach the disk strictly in the order in which Raft asked, a
//! read sees every write before it, and no disk ever blocks the runtime.
//!
//! After the first failure nothing is written any more; every later request gets the same error.

use std::fmt::{Debug, Display};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, ErrorSubject, ErrorVerb, RaftLogReader, StorageIOError};
use tokio::sync::{oneshot, watch};

use super::error::QuorumError;
use super::files::StoredSnapshot;
use super::store::Store;
use super::types::{Entry, LogId, RaftStorageError, TypeConfig, Vote};

/// Requests that may wait for the thread. openraft awaits nearly all of them one by one.
const QUEUE: usize = 256;

/// How long after the last write what need not be durable at once is written down.
const SAVE_AFTER: Duration = Duration::from_secs(1);

type Shared<T> = Result<T, Arc<QuorumError>>;
type Work = Box<dyn FnOnce(Shared<&mut Store>) -> Option<Arc<QuorumError>> + Send>;

/// The first failure, once there is one.
pub(super) type Failure = watch::Receiver<Option<Arc<QuorumError>>>;

/// A handle to the store's thread. The thread ends when the last handle is gone.
#[derive(Clone)]
pub(super) struct Worker {
    queue: mpsc::SyncSender<Work>,
    failure: Failure,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(store: Store) -> Result<Worker, QuorumError> {
        let (queue, requests) = mpsc::sync_channel(QUEUE);
        let (failed, failure) = watch::channel(None);
        std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || serve(store, &requests, &failed))
            .map_err(|error| {
                QuorumError::Stopped(format!("no thread for the metadata: {error}"))
            })?;
        Ok(Worker { queue, failure })
    }

    /// The first failure of the store.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// Does something on the store's thread.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, QuorumError> + Send + 'static,
    ) -> Shared<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(work, move |result| _ = reply.send(result));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn submit<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, QuorumError> + Send + 'static,
        done: impl FnOnce(Shared<T>) + Send + 'static,
    ) {
        let work: Work = Box::new(move |store| {
            let result = store.and_then(|store| work(store).map_err(Arc::new));
            let failure = result.as_ref().err().cloned();
            done(result);
            failure
        });
        // When the thread is gone, `done` is dropped with the work, and whoever waits learns of it.
        _ = self.queue.send(work);
    }
}

impl Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

fn serve(
    mut store: Store,
    requests: &mpsc::Receiver<Work>,
    failed: &watch::Sender<Option<Arc<QuorumError>>>,
) {
    loop {
        let work: Work = match next(requests, &store) {
            Next::Work(work) => work,
            Next::Save => Box::new(|store| store.map(Store::save).err()),
            Next::Stop => break,
        };
        let usable = match &*failed.borrow() {
            None => Ok(&mut store),
            Some(failure) => Err(Arc::clone(failure)),
        };
        let failure = work(usable);
        if let Some(failure) = failure
            && failed.borrow().is_none()
        {
            tracing::error!("{failure}");
            failed.send_replace(Some(failure));
        }
    }
}

enum Next {
    Work(Work),
    Save,
    Stop,
}

fn next(requests: &mpsc::Receiver<Work>, store: &Store) -> Next {
    if !store.is_behind() {
        return requests.recv().map_or(Next::Stop, Next::Work);
    }
    match requests.recv_timeout(SAVE_AFTER) {
        Ok(work) => Next::Work(work),
        Err(RecvTimeoutError::Timeout) => Next::Save,
        Err(RecvTimeoutError::Disconnected) => Next::Stop,
    }
}

fn gone() -> Arc<QuorumError> {
    Arc::new(QuorumError::Stopped("its storage thread is gone".to_owned()))
}

/// A failure as openraft takes it: it stops for good.
pub(super) fn raft_error(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &impl Display,
) -> RaftStorageError {
    StorageIOError::new(subject, verb, AnyError::error(error)).into()
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for Worker {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        let (from, to) = bounds(&range);
        let read = self.call(move |store| store.read(from, to)).await;
        read.map_err(|error| raft_error(ErrorSubject::Logs, ErrorVerb::Read, &error))
    }
}

impl RaftLogStorage<TypeConfig> for Worker {
    type LogReader = Worker;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, RaftStorageError> {
        let state = self.call(|store| Ok((store.purged(), store.last()))).await;
        let (last_purged_log_id, last_log_id) =
            state.map_err(|error| raft_error(ErrorSubject::Logs, ErrorVerb::Read, &error))?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Worker {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        let vote = *vote;
        let saved = self.call(move |store| store.save_vote(vote)).await;
        saved.map_err(|error| raft_error(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        let vote = self.call(|store| Ok(store.vote())).await;
        vote.map_err(|error| raft_error(ErrorSubject::Vote, ErrorVerb::Read, &error))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), RaftStorageError> {
        let noted = self.call(move |store| {
            store.note_committed(committed);
            Ok(())
        });
        noted.await.map_err(|error| raft_error(ErrorSubject::Store, ErrorVerb::Write, &error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        let committed = self.call(|store| Ok(store.committed())).await;
        committed.map_err(|error| raft_error(ErrorSubject::Store, ErrorVerb::Read, &error))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        // Returns at once: whoever reads next stands behind this in the queue.
        self.submit(
            move |store| store.append(&entries),
            move |result| callback.log_io_completed(result.map_err(std::io::Error::other)),
        );
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), RaftStorageError> {
        let truncated = self.call(move |store| store.truncate(from)).await;
        truncated.map_err(|error| raft_error(ErrorSubject::Logs, ErrorVerb::Delete, &error))
    }

    async fn purge(&mut self, up_to: LogId) -> Result<(), RaftStorageError> {
        let purged = self.call(move |store| store.purge(up_to)).await;
        purged.map_err(|error| raft_error(ErrorSubject::Logs, ErrorVerb::Delete, &error))
    }
}

impl Worker {
    /// Makes a snapshot the current one.
    pub(super) async fn write_snapshot(
        &self,
        snapshot: StoredSnapshot,
    ) -> Result<(), RaftStorageError> {
        let subject = ErrorSubject::Snapshot(Some(snapshot.meta().signature()));
        let written = self.call(move |store| store.write_snapshot(&snapshot)).await;
        written.map_err(|error| raft_error(subject, ErrorVerb::Write, &error))
    }

    /// The current snapshot.
    pub(super) async fn read_snapshot(&self) -> Result<Option<StoredSnapshot>, RaftStorageError> {
        let read = self.call(|store| store.read_snapshot()).await;
        read.map_err(|error| raft_error(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error))
    }
}
