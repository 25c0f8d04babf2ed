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
use crate::storage::memory::MemoryDisk;
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
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("a runtime").block_on(future)
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
