//! Groups of a whole node on the simulated disk: what is acknowledged outlives a power cut, what
//! can not be written is taken back, and time passes only when the test says so.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::api::Sticky;
use crate::broker::node::{NodeOptions, TopicPolicy};
use crate::broker::{CompactionPolicy, Mode};
use crate::coordinator::{Assigner, CommitOffset, GroupConfig, Leaving, State};
use crate::limits::GROUP_SERIES_MAX;
use crate::metadata::TopicRef;
use crate::metadata::config::BrokerDefaults;
use crate::partition::Append;
use crate::record::{BatchBuilder, Compression, NewRecord};
use crate::storage::memory::{Fault, FaultKind, MemoryDisk};
use crate::telemetry::Telemetry;
use crate::time::Now;
use crate::types::{Millis, Offset};

struct World {
    node: Arc<Node>,
    disk: MemoryDisk,
    passed_ms: Arc<AtomicU64>,
    held: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let (disk, held) = (MemoryDisk::new(), tempfile::tempdir().expect("a directory"));
        let passed_ms = Arc::new(AtomicU64::new(1_000));
        let node = Node::open(options(&disk, held.path(), &passed_ms)).await.expect("it opens");
        let world = World { node, disk, passed_ms, held };
        world.topic("t").await;
        world
    }

    async fn topic(&self, name: &str) {
        let topic = CreateTopic {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: None,
            config: Vec::new(),
            topic_id: TopicId(Uuid::new_v4()),
            internal: false,
        };
        self.node.propose(Command::CreateTopic(topic)).await.expect("created");
    }

    /// The power fails, and everything that was not synced is gone.
    async fn restart(self) -> World {
        let disk = self.disk.crash_losing_all();
        let World { held, passed_ms, node, .. } = self;
        node.stop().await.expect("the old disk is still there");
        // Whatever the node does beside lets go of it, and so of the directory.
        while Arc::strong_count(&node) > 1 {
            tokio::task::yield_now().await;
        }
        drop(node);
        let node = Node::open(options(&disk, held.path(), &passed_ms)).await.expect("it opens");
        World { node, disk, passed_ms, held }
    }

    /// Lets time go by for the coordinators.
    async fn pass(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
        self.node.tell_coordinators(|| GroupCommand::Tick);
    }

    async fn commit(&self, offset: i64) -> Result<CommitOutcome, GroupError> {
        let commit = |above| {
            let commit = Commit {
                group: "g".into(),
                member: None,
                instance: None,
                generation: -1,
                retention_ms: None,
                offsets: vec![CommitOffset {
                    topic: "t".into(),
                    topic_id: None,
                    partition: PartitionId(0),
                    offset: Offset(offset),
                    leader_epoch: -1,
                    metadata: "m".into(),
                }],
            };
            self.node.groups().commit(commit, above)
        };
        loaded(|| commit(AboveWatermark::Accept)).await
    }

    async fn committed(&self) -> Option<i64> {
        let fetch =
            || Fetch { group: "g".into(), partitions: Some(vec![("t".into(), PartitionId(0))]) };
        let mut fetched = loaded(|| self.node.groups().fetch(fetch())).await.expect("fetched");
        fetched.remove(0).committed.map(|committed| committed.offset.0)
    }

    async fn state(&self) -> Option<State> {
        let described = loaded(|| self.node.groups().describe("g".into())).await;
        described.ok().map(|described| described.state)
    }
}

/// Asks until the coordinator has read its log.
async fn loaded<T, F: Future<Output = Result<T, GroupError>>>(
    ask: impl Fn() -> F,
) -> Result<T, GroupError> {
    loop {
        match ask().await {
            Err(GroupError::Loading) => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

fn options(disk: &MemoryDisk, data_dir: &Path, passed_ms: &Arc<AtomicU64>) -> NodeOptions {
    let passed_ms = Arc::clone(passed_ms);
    let clock: crate::shard::driver::Clock = Arc::new(move || {
        let ms = passed_ms.load(Ordering::SeqCst);
        Now { wall: Millis(ms as i64), monotonic_ms: ms }
    });
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
        groups: Arc::new(GroupConfig { initial_delay_ms: 0, ..GroupConfig::default() }),
        compaction: CompactionPolicy {
            memory_bytes: 1 << 20,
            bytes_per_second: None,
            check_interval: Duration::from_secs(3_600),
        },
        clock,
        telemetry: Arc::new(Telemetry::default()),
    }
}

fn join() -> Join {
    Join {
        group: "g".into(),
        member: None,
        instance: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        session_ms: 10_000,
        rebalance_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"x"))],
        reason: None,
        assigner: Assigner::Leader,
        id_required: false,
        skips_assignment: true,
        fresh: Uuid::new_v4(),
    }
}

async fn member(world: &World) -> Joined {
    loop {
        match world.node.groups().join(join()).await {
            Ok(joined) => {
                let sync = Sync {
                    group: "g".into(),
                    member: Arc::clone(&joined.member),
                    instance: None,
                    generation: joined.generation,
                    protocol_type: None,
                    protocol: None,
                    assignments: vec![(Arc::clone(&joined.member), Bytes::from_static(b"all"))],
                };
                let synced = world.node.groups().sync(sync).await.expect("synced");
                assert_eq!(synced.assignment, b"all".as_slice());
                return joined;
            }
            Err(refused) if refused.error == GroupError::Loading => {
                tokio::task::yield_now().await;
            }
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// G3, G5: durable when acknowledged.
#[tokio::test]
async fn what_is_committed_outlives_a_power_cut() {
    let world = World::new().await;
    assert_eq!(world.committed().await, None, "nobody has asked for a coordinator yet");
    assert_eq!(world.node.groups().list(&Filter::default()).await, Ok(Vec::new()));
    let outcome = world.commit(0).await.expect("committed");
    assert_eq!((outcome.offsets, outcome.above_watermark), (vec![Ok(())], 0));
    assert_eq!(world.commit(41).await.expect("committed").above_watermark, 1);
    let world = world.restart().await;
    assert_eq!(world.committed().await, Some(41));
    let topic = world.node.view().image().topic(OFFSETS_TOPIC).cloned().expect("it was made");
    assert!(topic.internal && topic.partition_count() == OFFSETS_PARTITIONS);
    world.node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_member_is_still_one_after_a_power_cut_and_expires_when_its_session_ends() {
    let world = World::new().await;
    let joined = member(&world).await;
    let world = world.restart().await;
    assert_eq!(world.state().await, Some(State::Stable));
    let beat = || Heartbeat {
        group: "g".into(),
        member: Arc::clone(&joined.member),
        instance: None,
        generation: joined.generation,
    };
    assert_eq!(world.node.groups().heartbeat(beat()).await, Ok(()));
    world.pass(9_999).await;
    assert_eq!(world.state().await, Some(State::Stable));
    world.pass(1).await;
    assert_eq!(world.state().await, Some(State::Empty));
    assert_eq!(world.node.groups().heartbeat(beat()).await, Err(GroupError::UnknownMember));
    // As whoever keeps time does it.
    world.node.shards().alarm().clear();
    world.pass(0).await;
    assert_eq!(world.state().await, Some(State::Empty));
    let due_ms = world.node.shards().alarm().due_ms();
    assert!(due_ms > world.passed_ms.load(Ordering::SeqCst), "nothing is due that was done");
    world.node.stop().await.expect("stopped");
}

/// No rollback: what the log does not have, the coordinator forgets.
#[tokio::test]
async fn a_commit_that_can_not_be_written_is_refused_and_taken_back() {
    let world = World::new().await;
    world.commit(7).await.expect("committed");
    world.disk.inject(Fault::always(FaultKind::NoSpace, "/topics/"));
    let refused = world.commit(8).await;
    assert!(matches!(refused, Err(GroupError::NotAvailable(_))), "{refused:?}");
    assert_eq!(world.committed().await, Some(7));
    world.disk.clear_faults();
    world.commit(9).await.expect("there is room again");
    let world = world.restart().await;
    assert_eq!(world.committed().await, Some(9));
    world.node.stop().await.expect("stopped");
}

#[tokio::test]
async fn offsets_of_a_deleted_topic_go_with_it() {
    let world = World::new().await;
    world.commit(7).await.expect("committed");
    let delete = Command::DeleteTopic { topic: TopicRef::Name("t".to_owned()) };
    world.node.propose(delete).await.expect("deleted");
    world.topic("t").await;
    for _ in 0..1_000_000 {
        if world.committed().await.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.committed().await, None);
    world.node.stop().await.expect("stopped");
}

/// A stop does not wait for a rebalance to end.
#[tokio::test]
async fn whoever_waits_for_a_group_hears_that_the_node_stops() {
    let world = World::new().await;
    member(&world).await;
    let node = Arc::clone(&world.node);
    let waiting = tokio::spawn(async move { node.groups().join(join()).await });
    while world.state().await != Some(State::PreparingRebalance) {
        tokio::task::yield_now().await;
    }
    world.node.release_groups();
    let refused = waiting.await.expect("no panic").expect_err("nothing comes any more");
    assert!(matches!(refused.error, GroupError::NotAvailable(_)));
    let leave = Leave {
        group: "g".into(),
        members: vec![Leaving { member: None, instance: None, reason: None }],
    };
    let refused = world.node.groups().leave(leave).await.expect_err("nor does anything else");
    assert!(matches!(refused, GroupError::NotAvailable(_)));
    world.node.stop().await.expect("stopped");
}

/// bad-inputs 34.
#[tokio::test]
async fn offsets_that_can_not_be_are_told_one_by_one() {
    let world = World::new().await;
    let offset = |topic: &str, partition, offset| CommitOffset {
        topic: topic.into(),
        topic_id: None,
        partition: PartitionId(partition),
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: "".into(),
    };
    let commit = || Commit {
        group: "g".into(),
        member: None,
        instance: None,
        generation: -1,
        retention_ms: None,
        offsets: vec![
            offset("nowhere", 0, 0),
            offset("t", 0, 0),
            offset("t", 1, 0),
            offset("t", 0, i64::MAX),
            offset("t", 0, -2),
        ],
    };
    let answer = loaded(|| world.node.groups().commit(commit(), AboveWatermark::Refuse)).await;
    let outcome = answer.expect("each has an answer of its own");
    let unknown = || Err(GroupError::UnknownTopicOrPartition);
    let (above, high_watermark) = (Offset(i64::MAX), Offset(0));
    let above = Err(GroupError::AboveHighWatermark { offset: above, high_watermark });
    let negative = Err(GroupError::InvalidOffset(Offset(-2)));
    assert_eq!(outcome.offsets, [unknown(), Ok(()), unknown(), above, negative]);
    world.node.stop().await.expect("stopped");
}

/// L4: groups beyond the bound share a series, and none is lost.
#[tokio::test]
async fn the_lag_of_groups_beyond_the_bound_is_told_as_one() {
    const BEYOND: usize = 3;
    let world = World::new().await;
    let topic = world.node.view().image().topic("t").expect("it was made").id;
    let id = TopicPartition { topic, partition: PartitionId(0) };
    let handle = world.node.directory().partition(id).expect("it is open");
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() });
    let (reply, answer) = Answer::channel();
    let append = Append { batches: vec![builder.build()], expected_offset: None, reply };
    world.node.shards().submit_waiting(handle.shard(), ShardCommand::Append(id, append));
    answer.await.expect("an answer").expect("appended");

    for number in 0..GROUP_SERIES_MAX + BEYOND {
        let commit = || Commit {
            group: format!("g{number:05}").into(),
            member: None,
            instance: None,
            generation: -1,
            retention_ms: None,
            offsets: vec![CommitOffset {
                topic: "t".into(),
                topic_id: None,
                partition: PartitionId(0),
                offset: Offset::ZERO,
                leader_epoch: -1,
                metadata: "".into(),
            }],
        };
        let commit = || world.node.groups().commit(commit(), AboveWatermark::Refuse);
        assert_eq!(loaded(commit).await.expect("committed").offsets, [Ok(())]);
    }
    let page = world.node.metrics().await;
    let lags: Vec<&str> =
        page.lines().filter(|line| line.starts_with("rivven_group_lag_records{")).collect();
    assert_eq!(lags.len(), GROUP_SERIES_MAX + 1);
    assert_eq!(lags[0], "rivven_group_lag_records{group=\"g00000\",topic=\"t\"} 1");
    let others = "rivven_group_lag_records{group=\"(other)\",topic=\"(other)\"} 3";
    assert_eq!(lags[GROUP_SERIES_MAX], others);
}
