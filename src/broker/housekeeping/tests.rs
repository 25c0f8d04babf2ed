//! How far the frontier journal of a running node may lag behind its syncs (storage.md,
//! "Recovery"), on the simulated disk and in simulated time.

use std::path::Path;

use uuid::Uuid;

use super::*;
use crate::api::Sticky;
use crate::broker::CompactionPolicy;
use crate::broker::node::TopicPolicy;
use crate::limits::FRONTIER_BACKLOG_BYTES;
use crate::metadata::CreateTopic;
use crate::metadata::config::BrokerDefaults;
use crate::partition::Append;
use crate::record::{BatchBuilder, CheckedBatch, Compression, NewRecord};
use crate::storage::memory::MemoryDisk;
use crate::telemetry::Telemetry;
use crate::time::Now;
use crate::types::{Millis, Offset, PartitionId};

/// What the journal may lag behind.
const LAG_MAX: Duration = Duration::from_secs(1);

/// A node with one topic on a disk that forgets what is not synced.
struct World {
    disk: MemoryDisk,
    node: Arc<Node>,
    id: TopicPartition,
    /// Where the lock of the directory is: that is the system's, on a simulated disk too.
    _held: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let disk = MemoryDisk::new();
        let held = tempfile::tempdir().expect("a directory");
        let node = Node::open(options(&disk, held.path())).await.expect("it opens");
        let topic_id = TopicId::from_bytes(*Uuid::new_v4().as_bytes());
        let create = CreateTopic {
            name: "orders".to_owned(),
            partitions: 1,
            replication_factor: None,
            config: Vec::new(),
            topic_id,
            internal: false,
        };
        node.propose(Command::CreateTopic(create)).await.expect("created");
        let id = TopicPartition { topic: topic_id, partition: PartitionId(0) };
        let world = World { disk, node, id, _held: held };
        // A round may be due; the next is not before its time.
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.journal();
        world
    }

    /// Appends a record and waits until it is acknowledged. Real time passes, simulated does not.
    fn append(&self) -> Offset {
        let handles = self.node.directory().all();
        let handle = handles.iter().find(|handle| handle.id() == self.id).expect("it is open");
        let (reply, answer) = Reply::channel();
        let append = Append { batches: vec![batch()], expected_offset: None, reply };
        self.node.shards().submit_waiting(handle.shard(), ShardCommand::Append(self.id, append));
        answer.recv().expect("an answer").expect("appended").next_offset
    }

    /// Up to where the journal claims the log after a power cut that takes all it may.
    fn journal(&self) -> Option<Offset> {
        let disk = self.disk.crash_losing_all();
        let (_, entries) = Frontier::load(&disk, self.node.data_dir());
        entries.get(&self.id).map(|entry| entry.end_offset)
    }

    /// Lets the keeper do what is due now, without simulated time passing.
    async fn until_claimed(&self, end: Offset) {
        for _ in 0..100_000 {
            if self.journal() == Some(end) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the journal claims {:?}, not {end:?}", self.journal());
    }
}

fn batch() -> CheckedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord { timestamp: Millis(1), value: Some(b"v"), ..NewRecord::default() });
    builder.build()
}

fn options(disk: &MemoryDisk, data_dir: &Path) -> NodeOptions {
    NodeOptions {
        disk: Arc::new(disk.clone()),
        data_dir: data_dir.to_owned(),
        mode: Mode::Write,
        node_id: None,
        address: String::new(),
        topics: TopicPolicy { defaults: BrokerDefaults::default() },
        sticky: Sticky { batch_bytes: 1, linger_ms: 1 },
        tail_window_bytes: 1 << 20,
        low_water_bytes: Some(0),
        retention_check_ms: u64::MAX / 2,
        groups: Arc::default(),
        compaction: CompactionPolicy {
            memory_bytes: 1 << 20,
            bytes_per_second: None,
            check_interval: Duration::from_secs(3_600),
        },
        clock: Arc::new(|| Now { wall: Millis(1), monotonic_ms: 1 }),
        telemetry: Arc::new(Telemetry::default()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_synced_record_is_durably_in_the_journal_within_a_second() {
    let world = World::new().await;
    for _ in 0..3 {
        let end = world.append();
        assert!(world.journal() < Some(end), "acknowledgements do not wait for it");
        tokio::time::sleep(LAG_MAX).await;
        assert_eq!(world.journal(), Some(end));
    }
}

#[tokio::test(start_paused = true)]
async fn much_that_was_synced_is_in_the_journal_before_its_time() {
    let world = World::new().await;
    let begun = tokio::time::Instant::now();
    let end = world.append();
    // The answer comes a little before the count.
    let counted = (0..1_000_000).find_map(|_| {
        std::thread::yield_now();
        Some(world.node.shards().backlog().take()).filter(|&bytes| bytes > 0)
    });
    assert_eq!(counted, Some(batch().bytes().len() as u64), "synced bytes are counted");
    world.node.shards().backlog().add(FRONTIER_BACKLOG_BYTES);
    world.until_claimed(end).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "no time has passed");
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_leaves_the_disk_alone() {
    let world = World::new().await;
    world.append();
    tokio::time::sleep(LAG_MAX).await;
    let before = world.disk.operations();
    tokio::time::sleep(100 * LAG_MAX).await;
    assert_eq!(world.disk.operations(), before);
}
