//! One node: opening it, and what requests see of it. How it stops is said in `stopping`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use event_listener::Event;
use tokio::sync::watch;

use super::compaction::{self, CompactionPolicy};
use super::directory::{DataDirectory, DirectoryError, Mode};
use super::groups;
use super::housekeeping::{self, Housekeeper, KnownLogs};
use super::space::DiskSpace;
use super::stopping::Stopping;
use crate::api::directory::Directory;
use crate::api::{Context, Sticky, Writes};
use crate::coordinator::GroupConfig;
use crate::limits;
use crate::log::producers::KnownProducer;
use crate::log::{OpenError, TailWindow};
use crate::metadata::config::{BrokerDefaults, BrokerSettings};
use crate::metadata::{self, Command, Image};
use crate::partition::{AppendRefusal, PartitionHandle, Reply};
use crate::quorum::{
    self, Presence, ProposeError, Quorum, QuorumError, RaftQuorum, replay_read_only,
};
use crate::shard::driver::{Clock, Pool, Shards};
use crate::shard::{Command as ShardCommand, shard_count};
use crate::storage::{Disk, StorageError};
use crate::telemetry::Telemetry;
use crate::types::{NodeId, Offset, ProducerEpoch, ProducerId, TopicPartition};

/// Producer ids a node reserves at once; those left over at a stop are never used.
const PRODUCER_ID_BLOCK: u32 = 1_000;

/// Everything a node is opened with.
pub struct NodeOptions {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Whether it may change anything.
    pub mode: Mode,
    /// Its number, when the configuration names one.
    pub node_id: Option<NodeId>,
    /// Where clients reach it; empty when they shall use the address they connected to.
    pub address: String,
    /// What the configuration says about topics at first.
    pub topics: TopicPolicy,
    /// How records without key and partition are spread.
    pub sticky: Sticky,
    /// Newest data that stays in the page cache.
    pub tail_window_bytes: u64,
    /// Free space below which producers are refused, unless derived from the file system.
    pub low_water_bytes: Option<u64>,
    /// Time between two looks for what retention no longer covers.
    pub retention_check_ms: u64,
    /// What the configuration says about consumer groups.
    pub groups: Arc<GroupConfig>,
    /// What compaction may use.
    pub compaction: CompactionPolicy,
    /// The clocks.
    pub clock: Clock,
    /// Where things are counted.
    pub telemetry: Arc<Telemetry>,
}

/// What the configuration says about topics; it may change while the node runs.
#[derive(Clone, Debug)]
pub struct TopicPolicy {
    /// Settings of the broker and of topics that do not have their own.
    pub defaults: BrokerDefaults,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can not be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The metadata can not be read or written.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The metadata failed while the node ran.
    #[error(transparent)]
    Failed(Arc<QuorumError>),
    /// A command of the start itself was refused.
    #[error("the node could not register itself: {0}")]
    Register(#[from] ProposeError),
    /// A partition's log can not be opened.
    #[error("partition {id}: {error}")]
    Log {
        /// The partition.
        id: TopicPartition,
        /// Why.
        error: Box<OpenError>,
    },
    /// The disk refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The system refused threads.
    #[error("threads could not be started: {0}")]
    Threads(std::io::Error),
}

/// A node of the cluster.
pub struct Node {
    options: NodeOptions,
    held: DataDirectory,
    quorum: Option<Arc<dyn Quorum>>,
    /// The newest image whose partitions this node has opened.
    image: ArcSwap<Image>,
    applied: Event,
    topics: watch::Sender<Arc<TopicPolicy>>,
    partitions: Directory,
    shards: Arc<Shards>,
    tail_window: Arc<TailWindow>,
    pool: Mutex<Option<Pool>>,
    space: DiskSpace,
    /// Producer ids that are reserved and not given out yet.
    producer_ids: tokio::sync::Mutex<(ProducerId, u32)>,
    housekeeper: Housekeeper,
    /// Whether the coordinators of groups have been set up.
    keeps_groups: AtomicBool,
    stopping: Stopping,
}

impl Node {
    /// Takes the data directory, recovers what is in it, and serves from then on.
    ///
    /// # Errors
    /// When the directory can not be used or the disk refuses.
    pub async fn open(options: NodeOptions) -> Result<Arc<Node>, StartError> {
        let held = DataDirectory::take(&options)?;
        Node::open_held(options, held).await
    }

    /// The same in a directory that was taken with these options already.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn open_held(
        options: NodeOptions,
        held: DataDirectory,
    ) -> Result<Arc<Node>, StartError> {
        let (housekeeper, known) = Housekeeper::open(&options)?;
        let quorum = match options.mode {
            Mode::Write => Some(open_quorum(&options, &held).await?),
            Mode::Read => None,
        };
        let image = match &quorum {
            Some(quorum) => quorum.image(),
            None => replay_read_only(Arc::clone(&options.disk), &held.metadata_path())?,
        };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let clock = Arc::clone(&options.clock);
        let (shards, pool) =
            Shards::start(shard_count(cores), clock).map_err(StartError::Threads)?;
        let space = DiskSpace::new(&options)?;
        let node = Arc::new(Node {
            held,
            quorum,
            image: ArcSwap::new(Arc::clone(&image)),
            applied: Event::new(),
            topics: watch::Sender::new(Arc::new(options.topics.clone())),
            partitions: Directory::default(),
            shards,
            tail_window: TailWindow::new(options.tail_window_bytes),
            pool: Mutex::new(Some(pool)),
            space,
            producer_ids: tokio::sync::Mutex::new((ProducerId(0), 0)),
            housekeeper,
            keeps_groups: AtomicBool::new(false),
            stopping: Stopping::default(),
            options,
        });
        node.start(image, known).await?;
        Ok(node)
    }

    async fn start(
        self: &Arc<Self>,
        image: Arc<Image>,
        known: KnownLogs,
    ) -> Result<(), StartError> {
        let node = Arc::clone(self);
        let open = move || {
            node.open_all(&image, &known)?;
            node.keep_groups(&image);
            if node.is_read_only() {
                return Ok(());
            }
            // Until every log is recovered the old journal is the evidence.
            let recovered = housekeeping::all_claims(&node);
            node.housekeeper.begin(&known, &recovered).map_err(StartError::from)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        opened.expect("a panic while opening logs ends the start")?;
        if let Some(quorum) = &self.quorum {
            let (node, quorum) = (Arc::downgrade(self), Arc::clone(quorum));
            let policies = self.topics.subscribe();
            tokio::spawn(housekeeping::follow_metadata(node.clone(), quorum, policies));
            tokio::spawn(housekeeping::keep_house(node.clone()));
            tokio::spawn(groups::keep_time(node.clone()));
            tokio::spawn(compaction::keep_compact(node));
        }
        Ok(())
    }

    /// What requests are decided from.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { node: self, image: self.image.load_full() }
    }

    /// Changes the metadata; done when this node serves accordingly.
    ///
    /// # Errors
    /// When the command is refused or the quorum is not reachable.
    pub async fn propose(&self, command: Command) -> Result<metadata::Reply, ProposeError> {
        let quorum = self.quorum.as_ref().ok_or(ProposeError::NotLeader { leader: None })?;
        let now = (self.options.clock)();
        let (reply, position) = quorum.propose(now, command).await?;
        let version = u64::try_from(position.0).unwrap_or(0);
        loop {
            let applied = self.applied.listen();
            if self.image.load().version() >= version {
                return Ok(reply);
            }
            applied.await;
        }
    }

    /// A producer id that nobody else ever gets.
    ///
    /// # Errors
    /// When the quorum is not reachable.
    pub async fn next_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), ProposeError> {
        let mut block = self.producer_ids.lock().await;
        if block.1 == 0 {
            let command = Command::AllocateProducerIds { count: PRODUCER_ID_BLOCK };
            match self.propose(command).await? {
                metadata::Reply::ProducerIds { first, count } => *block = (first, count),
                other => unreachable!("a block was asked for, not {other:?}"),
            }
        }
        let id = block.0;
        *block = (ProducerId(id.0 + 1), block.1 - 1);
        Ok((id, ProducerEpoch(0)))
    }

    /// Removes the records of a partition below an offset, or below its high watermark.
    ///
    /// # Errors
    /// When the offset is out of range or the disk refuses.
    pub async fn delete_records(
        &self,
        handle: &PartitionHandle,
        before: Option<Offset>,
    ) -> Result<Offset, AppendRefusal> {
        let (reply, outcome) = Reply::channel();
        let command = ShardCommand::DeleteRecords(handle.id(), before, reply);
        if self.shards.submit(handle.shard(), command).is_err() {
            let limit = limits::MAILBOX_COMMANDS_MAX;
            return Err(AppendRefusal::Overloaded { pending: limit, limit });
        }
        outcome.await.unwrap_or(Err(AppendRefusal::ShuttingDown))
    }

    /// The producers that a partition remembers.
    ///
    /// # Errors
    /// When it can not be asked now.
    pub async fn producers(
        &self,
        handle: &PartitionHandle,
    ) -> Result<Vec<KnownProducer>, AppendRefusal> {
        let (reply, outcome) = Reply::channel();
        let command = ShardCommand::Producers(handle.id(), reply);
        if self.shards.submit(handle.shard(), command).is_err() {
            let limit = limits::MAILBOX_COMMANDS_MAX;
            return Err(AppendRefusal::Overloaded { pending: limit, limit });
        }
        match outcome.await {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Err(AppendRefusal::UnknownPartition),
            Err(_) => Err(AppendRefusal::ShuttingDown),
        }
    }

    /// Ends when the metadata of this node has failed for good; then the process has to end.
    pub async fn failure(&self) -> Arc<QuorumError> {
        match &self.quorum {
            Some(quorum) => quorum.failure().await,
            None => std::future::pending().await,
        }
    }

    /// Everything there is to measure, in the Prometheus text format.
    pub async fn metrics(&self) -> String {
        for topic in self.image.load().topics() {
            let Some(partitions) = self.partitions.topic(topic.id) else { continue };
            let sizes = partitions.handles().iter().map(|handle| handle.view().size_bytes);
            let bytes = i64::try_from(sizes.sum::<u64>()).unwrap_or(i64::MAX);
            partitions.metrics().storage_bytes.set(bytes);
        }
        let mut page = self.options.telemetry.exposition();
        page.family("rivven_disk_full", "gauge", "1 while records are refused for want of room.")
            .sample(&[], u8::from(self.space.refusal().is_some()));
        page.family("rivven_disk_free_bytes", "gauge", "Free bytes of the data directory's disk.")
            .sample(&[], self.space.free_bytes());
        self.groups().render(&mut page).await;
        page.into_text()
    }

    /// Takes note of what an append met: a disk found full is full for everybody.
    pub fn note(&self, refusal: &AppendRefusal) {
        if let AppendRefusal::DiskFull(_) = refusal {
            self.space.report_full();
        }
    }

    /// Bytes of the file system that the data are on, and how many of them were free when it was
    /// last looked.
    #[must_use]
    pub fn space_bytes(&self) -> (u64, u64) {
        (self.space.total_bytes(), self.space.free_bytes())
    }

    /// Whether the node is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_under_way()
    }

    /// Whether the node may change nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.mode == Mode::Read
    }

    /// Which cluster the data are of.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.held.meta.cluster_id
    }

    /// Which node of it this is.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.held.meta.node_id)
    }

    /// What the node was opened with.
    #[must_use]
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// What the configuration says about topics now.
    #[must_use]
    pub fn topic_policy(&self) -> Arc<TopicPolicy> {
        Arc::clone(&self.topics.borrow())
    }

    /// The settings of the broker itself that hold now.
    #[must_use]
    pub fn broker_settings(&self) -> BrokerSettings {
        BrokerSettings::of(self.image.load().broker_config(), &self.topics.borrow().defaults)
    }

    /// Lets topics follow another policy, soon.
    pub fn set_topic_policy(&self, policy: TopicPolicy) {
        self.topics.send_replace(Arc::new(policy));
    }

    /// The owners of partitions.
    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The partitions.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.partitions
    }

    pub(super) fn stopping(&self) -> &Stopping {
        &self.stopping
    }

    pub(super) fn quorum(&self) -> Option<&Arc<dyn Quorum>> {
        self.quorum.as_ref()
    }

    pub(super) fn space(&self) -> &DiskSpace {
        &self.space
    }

    pub(super) fn housekeeper(&self) -> &Housekeeper {
        &self.housekeeper
    }

    pub(super) fn keeps_groups(&self) -> &AtomicBool {
        &self.keeps_groups
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.held.path
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.options.disk
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.options.telemetry
    }

    pub(super) fn tail_window(&self) -> &Arc<TailWindow> {
        &self.tail_window
    }

    /// Lets go of the threads behind the owners of partitions.
    pub(super) fn drop_pool(&self) {
        drop(self.pool.lock().expect("nothing panics while it holds the pool").take());
    }

    /// Wakes whoever waits for a newer image.
    pub(super) fn notify_applied(&self) {
        self.applied.notify(usize::MAX);
    }

    /// Publishes an image whose partitions are open now.
    pub(super) fn publish(&self, image: Arc<Image>) {
        self.image.store(image);
        self.applied.notify(usize::MAX);
    }

    /// Takes note of bytes that somebody wants to append, before it is asked whether he may.
    pub fn expect_bytes(&self, bytes: usize) {
        self.space.spend(bytes);
    }

    fn writes(&self) -> Writes {
        if self.is_read_only() {
            return Writes::ReadOnly;
        }
        if self.is_stopping() {
            return Writes::Stopping;
        }
        match self.space.refusal() {
            Some((free_bytes, needed_bytes)) => Writes::DiskFull { free_bytes, needed_bytes },
            None => Writes::Accepted,
        }
    }
}

/// Starts the quorum and registers this process with it.
async fn open_quorum(
    options: &NodeOptions,
    held: &DataDirectory,
) -> Result<Arc<dyn Quorum>, StartError> {
    let node = NodeId(held.meta.node_id);
    let presence = if held.was_in_use { Presence::Expected } else { Presence::MayBeNew };
    let quorum = RaftQuorum::start(
        quorum::Options::new(
            Arc::clone(&options.disk),
            held.metadata_path(),
            node,
            held.meta.cluster_id.clone(),
            presence,
        ),
        (options.clock)(),
    )
    .await?;
    let register = Command::RegisterBroker {
        node,
        incarnation: uuid::Uuid::new_v4(),
        address: options.address.clone(),
        rack: None,
    };
    quorum.propose((options.clock)(), register).await?;
    Ok(Arc::new(quorum))
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.held.path.display())
    }
}

/// The node as one request sees it.
#[derive(Debug)]
pub struct View<'a> {
    node: &'a Node,
    image: Arc<Image>,
}

impl View<'_> {
    /// What handlers decide from.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        Context {
            image: &self.image,
            directory: &self.node.partitions,
            now: (self.node.options.clock)(),
            writes: self.node.writes(),
            sticky: self.node.options.sticky,
        }
    }

    /// The metadata.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }
}
