//! The quorum through restarts, damage and the suite of its library.

mod damage;
mod formats;
mod restart;

use std::path::Path;
use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use uuid::Uuid;

use super::fold::Fold;
use super::machine::StateMachine;
use super::store::Store;
use super::types::{RaftStorageError, TypeConfig};
use super::worker::Worker;
use super::*;
use crate::metadata::{CreateTopic, Refusal, TopicRef};
use crate::storage::memory::{Fault, FaultKind, MemoryDisk};
use crate::types::{BrokerEpoch, Millis, TopicId};

const NOW: Now = Now { wall: Millis(1_700_000_000_000), monotonic_ms: 0 };
const DIR: &str = "/data/metadata";

struct Builder;

impl StoreBuilder<TypeConfig, Worker, StateMachine> for Builder {
    async fn build(&self) -> Result<((), Worker, StateMachine), RaftStorageError> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let store = Store::open(disk, Path::new(DIR), Presence::MayBeNew).expect("a new store");
        let worker = Worker::start(store).expect("a thread");
        Ok(((), worker.clone(), StateMachine::new(Fold::default(), worker)))
    }
}

#[test]
fn the_store_passes_openrafts_own_suite() {
    Suite::test_all(Builder).expect("openraft's suite");
}

fn options(disk: &MemoryDisk, presence: Presence) -> Options {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Options::new(disk, DIR.into(), NodeId(1), "test".to_owned(), presence)
}

fn register(incarnation: u128) -> Command {
    Command::RegisterBroker {
        node: NodeId(1),
        incarnation: Uuid::from_u128(incarnation),
        address: String::new(),
        rack: None,
    }
}

fn create(name: &str, number: u128) -> Command {
    Command::CreateTopic(CreateTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: None,
        config: Vec::new(),
        topic_id: TopicId(Uuid::from_u128(number)),
        internal: false,
    })
}

fn run<F: Future>(future: F) -> F::Output {
    // One thread: what runs when is the same every time, but for the store's own thread.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(future)
}

/// Bad input 86: metadata that need a descriptor wait for one.
#[test]
fn a_want_of_descriptors_that_passes_ends_nothing() {
    run(async {
        let disk = MemoryDisk::new();
        disk.inject(Fault { times: 3, ..Fault::once(FaultKind::NoDescriptor, "/log/0000") });
        let quorum = RaftQuorum::start(options(&disk, Presence::MayBeNew), NOW).await;
        let quorum = quorum.expect("a new cluster");
        quorum.propose(NOW, register(1)).await.expect("registered");
        assert_eq!(disk.faults_struck(), 3);
        quorum.shutdown().await.expect("a clean stop");
    });
}

#[test]
fn a_sole_voter_leads_at_once_and_what_it_promises_is_in_its_image() {
    run(async {
        let disk = MemoryDisk::new();
        let quorum = RaftQuorum::start(options(&disk, Presence::MayBeNew), NOW).await;
        let quorum = quorum.expect("a new cluster");
        assert!(matches!(quorum.role(), Role::Leader { .. }));
        assert_eq!(quorum.image().cluster_id(), Some("test"));
        let (reply, _) = quorum.propose(NOW, register(1)).await.expect("registered");
        assert_eq!(reply, Reply::BrokerRegistered { epoch: BrokerEpoch(1) });
        let (_, position) = quorum.propose(NOW, create("orders", 1)).await.expect("created");
        assert_eq!(quorum.image().version(), position.0 as u64);
        assert!(quorum.image().topic("orders").is_some());
        let again = quorum.propose(NOW, create("orders", 2)).await;
        assert!(matches!(again, Err(ProposeError::Refused(Refusal::TopicExists { .. }))));
        quorum.shutdown().await.expect("a clean stop");
        assert_eq!(quorum.role(), Role::Stopped);
        let late = quorum.propose(NOW, create("late", 3)).await;
        assert!(matches!(late, Err(ProposeError::Stopped)));
    });
}

#[test]
fn commands_that_wait_together_see_each_other_and_share_an_entry() {
    run(async {
        let disk = MemoryDisk::new();
        let quorum = RaftQuorum::start(options(&disk, Presence::MayBeNew), NOW).await;
        let quorum = quorum.expect("a new cluster");
        quorum.propose(NOW, register(1)).await.expect("registered");
        let commands = vec![
            create("a", 1),
            create("a", 2),
            Command::DeleteTopic { topic: TopicRef::Name("a".to_owned()) },
            create("a", 3),
        ];
        // All are queued before the first is awaited.
        let pending: Vec<_> = commands.into_iter().map(|c| quorum.propose(NOW, c)).collect();
        let mut answers = Vec::new();
        for answer in pending {
            answers.push(answer.await);
        }
        assert!(matches!(answers[0], Ok((Reply::TopicCreated { .. }, _))));
        assert!(matches!(answers[1], Err(ProposeError::Refused(Refusal::TopicExists { .. }))));
        assert!(matches!(answers[2], Ok((Reply::TopicDeleted { .. }, _))));
        assert!(matches!(answers[3], Ok((Reply::TopicCreated { .. }, _))));
        let id = quorum.image().topic("a").map(|topic| topic.id);
        assert_eq!(id, Some(TopicId(Uuid::from_u128(3))));
        quorum.shutdown().await.expect("a clean stop");
    });
}

/// M4: a node that restarts again and again ends with the image of one that never did, and its log
/// stays short.
#[test]
fn restarts_snapshots_and_purging_change_nothing_that_can_be_seen() {
    run(async {
        let (disk, steady) = (MemoryDisk::new(), MemoryDisk::new());
        let start = |disk: &MemoryDisk| {
            let mut options = options(disk, Presence::MayBeNew);
            (options.snapshot_entries, options.kept_entries) = (8, 4);
            async move { RaftQuorum::start(options, NOW).await.expect("a start") }
        };
        let never_stopped = start(&steady).await;
        for round in 0..6u128 {
            let quorum = start(&disk).await;
            for number in 0..7u128 {
                let command = match number {
                    0 => register(round + 1),
                    _ => create(&format!("t{round}-{number}"), round * 100 + number),
                };
                for quorum in [&quorum, &never_stopped] {
                    quorum.propose(NOW, command.clone()).await.expect("accepted");
                }
            }
            assert_eq!(quorum.image().to_bytes(), never_stopped.image().to_bytes());
            // Every other time the process is killed.
            if round % 2 == 0 {
                quorum.shutdown().await.expect("a clean stop");
            }
            drop(quorum);
        }
        let disk: Arc<dyn Disk> = Arc::new(disk.snapshot());
        let read = replay_read_only(Arc::clone(&disk), Path::new(DIR)).expect("readable");
        assert_eq!(read.to_bytes(), never_stopped.image().to_bytes());
        let store = Store::open(disk, Path::new(DIR), Presence::Expected).expect("sound");
        let entries = store.read(0, u64::MAX).expect("readable").len();
        assert!(entries <= 8 + 4 + 4, "{entries} entries are kept");
        never_stopped.shutdown().await.expect("a clean stop");
    });
}

#[test]
fn a_thousand_topics_that_wait_together_cost_a_handful_of_entries() {
    run(async {
        let disk = MemoryDisk::new();
        let quorum = RaftQuorum::start(options(&disk, Presence::MayBeNew), NOW).await;
        let quorum = quorum.expect("a new cluster");
        let (_, before) = quorum.propose(NOW, register(1)).await.expect("registered");
        let pending: Vec<_> =
            (0..1_000).map(|n| quorum.propose(NOW, create(&format!("t{n}"), n + 1))).collect();
        let mut last = before;
        for answer in pending {
            last = answer.await.expect("created").1;
        }
        assert!(last.0 - before.0 < 20, "{} entries", last.0 - before.0);
        assert_eq!(quorum.image().topic_count(), 1_000);
        quorum.shutdown().await.expect("a clean stop");
    });
}

#[test]
fn a_command_that_nobody_waits_for_any_more_is_not_carried_out() {
    run(async {
        let disk = MemoryDisk::new();
        let quorum = RaftQuorum::start(options(&disk, Presence::MayBeNew), NOW).await;
        let quorum = quorum.expect("a new cluster");
        quorum.propose(NOW, register(1)).await.expect("registered");
        // On one thread nothing runs between these lines.
        let first = quorum.propose(NOW, create("a", 1));
        drop(quorum.propose(NOW, create("b", 2)));
        first.await.expect("created");
        assert!(quorum.image().topic("b").is_none());
        quorum.shutdown().await.expect("a clean stop");
    });
}

/// bad-inputs 85: a failed sync of metadata ends the process, with the reason.
#[test]
fn a_failing_disk_stops_the_quorum_and_says_why() {
    run(async {
        let disk = MemoryDisk::new();
        let quorum = RaftQuorum::start(options(&disk, Presence::MayBeNew), NOW).await;
        let quorum = quorum.expect("a new cluster");
        quorum.propose(NOW, register(1)).await.expect("registered");
        disk.inject(Fault::always(FaultKind::SyncFails, ".log"));
        let lost = quorum.propose(NOW, create("a", 1)).await;
        assert!(matches!(lost, Err(ProposeError::Stopped)), "{lost:?}");
        let failure = quorum.failure().await;
        assert!(failure.to_string().contains("/data/metadata/log/"), "{failure}");
        assert!(quorum.image().topic("a").is_none(), "what was not promised is not shown");
        let late = quorum.propose(NOW, create("b", 2)).await;
        assert!(matches!(late, Err(ProposeError::Stopped)), "{late:?}");
        assert_eq!(quorum.role(), Role::Stopped);
        assert!(quorum.shutdown().await.is_err());
    });
}
