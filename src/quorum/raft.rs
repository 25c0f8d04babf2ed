//! [`RaftQuorum`]: starting openraft on a store, and [`Quorum`] on top of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, Raft, ServerState, SnapshotPolicy};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{ProposeError, QuorumError};
use super::machine::{Published, StateMachine};
use super::network::NoNetwork;
use super::proposer::{self, Proposer, Waiting};
use super::store::{Presence, Store};
use super::types::{Member, TypeConfig};
use super::worker::{Failure, Worker};
use super::{Pending, Quorum, Role};
use crate::limits;
use crate::metadata::{Command, Image, Refusal, Reply};
use crate::storage::Disk;
use crate::time::Now;
use crate::types::{NodeId, Offset};

/// How long a sole voter may take to lead and to apply what is in its log. It takes milliseconds;
/// this only keeps a bug from looking like patience.
const LEAD_WITHIN: Duration = Duration::from_secs(60);

type Metrics = openraft::RaftMetrics<u64, Member>;

/// What a quorum of one is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// The directory of the metadata, `<data-dir>/metadata`.
    pub dir: PathBuf,
    /// This node.
    pub node: NodeId,
    /// The cluster's identity: given to a new one, compared with that of an old one.
    pub cluster_id: String,
    /// Whether there may be nothing yet.
    pub presence: Presence,
    /// A snapshot is made after this many entries.
    pub snapshot_entries: u64,
    /// Entries that are kept although the snapshot has them, for followers that are a little
    /// behind.
    pub kept_entries: u64,
}

impl Options {
    /// Options with the defaults for how the log is kept short.
    #[must_use]
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        node: NodeId,
        cluster_id: String,
        presence: Presence,
    ) -> Options {
        let (snapshot_entries, kept_entries) = (4_096, 1_024);
        Options { disk, dir, node, cluster_id, presence, snapshot_entries, kept_entries }
    }
}

/// The metadata quorum on openraft.
pub struct RaftQuorum {
    raft: Raft<TypeConfig>,
    worker: Worker,
    published: Arc<Published>,
    commands: mpsc::Sender<Waiting>,
    failure: Failure,
}

impl fmt::Debug for RaftQuorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftQuorum").field("role", &self.role()).finish_non_exhaustive()
    }
}

impl RaftQuorum {
    /// Starts the quorum of a single node and returns when it leads with everything in its log
    /// applied. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When what is on the disk is damaged, missing, or another node's or cluster's.
    pub async fn start(options: Options, now: Now) -> Result<RaftQuorum, QuorumError> {
        let (store, fold) = open(&options).await?;
        let blank = store.is_blank();
        let worker = Worker::start(store)?;
        let machine = StateMachine::new(fold, worker.clone());
        let published = machine.published();
        let raft =
            Raft::new(raft_id(options.node), config(&options)?, NoNetwork, worker.clone(), machine);
        let raft = raft.await.map_err(|error| stopped(&worker, &error))?;
        let (commands, waiting) = mpsc::channel(limits::METADATA_COMMANDS_MAX);
        let failure = worker.failure();
        let quorum = RaftQuorum { raft, worker, published, commands, failure };
        quorum.lead(&options, blank).await?;
        let proposer = Proposer::new(quorum.raft.clone(), Arc::clone(&quorum.published), waiting);
        tokio::spawn(proposer.run());
        quorum.form(now, options.cluster_id).await?;
        Ok(quorum)
    }

    /// Becomes leader at once: a sole voter need not wait for anybody. After a restart openraft
    /// goes on leading in the old term. That is right only alone: with others, entries that they
    /// got and this node lost before they were durable could come again as other ones in the same
    /// term.
    async fn lead(&self, options: &Options, blank: bool) -> Result<(), QuorumError> {
        let id = raft_id(options.node);
        let stopped = |error: &dyn fmt::Display| stopped(&self.worker, error);
        let uninitialized = !self.raft.is_initialized().await.map_err(|e| stopped(&e))?;
        if blank || uninitialized {
            let members = BTreeMap::from([(id, Member::default())]);
            self.raft.initialize(members).await.map_err(|e| stopped(&e))?;
        }
        self.check_membership(options.node).await?;
        self.raft.trigger().elect().await.map_err(|e| stopped(&e))?;
        let leads = |metrics: &Metrics| {
            let applied = metrics.last_applied.map(|applied| applied.index);
            metrics.state == ServerState::Leader && applied == metrics.last_log_index
        };
        let wait = self.raft.wait(Some(LEAD_WITHIN));
        let led = wait.metrics(leads, "a sole voter leads").await;
        led.map(|_| ()).map_err(|e| stopped(&e))
    }

    async fn check_membership(&self, node: NodeId) -> Result<(), QuorumError> {
        let voters = self.raft.with_raft_state(|state| {
            state.membership_state.effective().voter_ids().collect::<Vec<u64>>()
        });
        let voters = voters.await.map_err(|error| stopped(&self.worker, &error))?;
        if voters == [raft_id(node)] {
            return Ok(());
        }
        let present = format!("node(s) {voters:?}");
        Err(QuorumError::OtherNode { present, requested: node })
    }

    async fn form(&self, now: Now, cluster_id: String) -> Result<(), QuorumError> {
        match self.propose(now, Command::FormCluster { cluster_id }).await {
            Ok(_) => Ok(()),
            Err(ProposeError::Refused(Refusal::OtherCluster { present, requested })) => {
                Err(QuorumError::OtherCluster { present, requested })
            }
            Err(error) => Err(stopped(&self.worker, &error)),
        }
    }
}

impl Quorum for RaftQuorum {
    fn propose(
        &self,
        now: Now,
        command: Command,
    ) -> Pending<'_, Result<(Reply, Offset), ProposeError>> {
        let (reply, answer) = oneshot::channel();
        let queued = self.commands.try_send(Waiting { now, command, reply });
        Box::pin(async move {
            match queued {
                Ok(()) => answer.await.unwrap_or(Err(ProposeError::Stopped)),
                Err(mpsc::error::TrySendError::Full(_)) => Err(ProposeError::Overloaded),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(ProposeError::Stopped),
            }
        })
    }

    fn image(&self) -> Arc<Image> {
        self.published.image()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.published.versions()
    }

    fn linearizable(&self) -> Pending<'_, Result<Arc<Image>, ProposeError>> {
        Box::pin(async move {
            proposer::confirm(&self.raft).await?;
            Ok(self.image())
        })
    }

    fn role(&self) -> Role {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match metrics.state {
            _ if metrics.running_state.is_err() => Role::Stopped,
            ServerState::Leader => Role::Leader { term: metrics.current_term },
            ServerState::Shutdown => Role::Stopped,
            _ => Role::Follower { leader: metrics.current_leader.and_then(proposer::node_id) },
        }
    }

    fn failure(&self) -> Pending<'_, Arc<QuorumError>> {
        let mut failure = self.failure.clone();
        Box::pin(async move {
            // The sender lives as long as the worker, which this quorum holds.
            let found = match failure.wait_for(Option::is_some).await {
                Ok(failure) => failure.clone(),
                Err(_) => None,
            };
            match found {
                Some(failure) => failure,
                None => std::future::pending().await,
            }
        })
    }

    fn shutdown(&self) -> Pending<'_, Result<(), Arc<QuorumError>>> {
        Box::pin(async move {
            let stopped = self.raft.shutdown().await;
            let closed = self.worker.call(Store::close).await;
            stopped.map_err(|error| Arc::new(QuorumError::Stopped(error.to_string())))?;
            closed
        })
    }
}

async fn open(options: &Options) -> Result<(Store, super::fold::Fold), QuorumError> {
    let Options { disk, dir, presence, .. } = options.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let store = Store::open(disk, &dir, presence)?;
        let fold = store.fold()?;
        Ok((store, fold))
    });
    opening.await.map_err(|error| QuorumError::Stopped(error.to_string()))?
}

fn config(options: &Options) -> Result<Arc<Config>, QuorumError> {
    let config = Config {
        cluster_name: "metadata".to_owned(),
        // Alone there is nobody to hear from and nobody to tell, so nothing ticks: an idle node
        // does not wake up.
        enable_tick: false,
        heartbeat_interval: 500,
        election_timeout_min: 1_500,
        election_timeout_max: 3_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        max_in_snapshot_log_to_keep: options.kept_entries,
        replication_lag_threshold: options.snapshot_entries + options.kept_entries,
        ..Config::default()
    };
    let config = config.validate().map_err(|error| QuorumError::Stopped(error.to_string()))?;
    Ok(Arc::new(config))
}

/// Why openraft stopped: what the disk said, if it was the disk.
fn stopped(worker: &Worker, error: &(impl fmt::Display + ?Sized)) -> QuorumError {
    match &*worker.failure().borrow() {
        Some(failure) => QuorumError::Stopped(failure.to_string()),
        None => QuorumError::Stopped(error.to_string()),
    }
}

fn raft_id(node: NodeId) -> u64 {
    u64::try_from(node.0).expect("node ids are not negative")
}
