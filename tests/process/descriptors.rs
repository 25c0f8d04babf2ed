//! Bad input 86: a broker that may open no more files. What is idle makes room for what is needed,
//! and what can not be opened all the same is refused as something that passes; nothing goes
//! offline and no journal is given up.

use std::time::{Duration, Instant};

use rivvend::client::Client;
use rivvend::log::frontier::Frontier;
use rivvend::protocol::error::ErrorCode;
use rivvend::storage::file::FileDisk;

use super::broker::{Broker, PATIENCE, Setup, wait_until};
use super::load::{append, batch, create_topic, read_all};
use super::wire::Wire;

const MIB: usize = 1 << 20;

/// The descriptors of a broker once it holds none of them for a moment only.
async fn settled_descriptors(broker: &Broker) -> Vec<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = Vec::new();
    loop {
        let now = broker.descriptor_numbers();
        if now == before {
            return now;
        }
        assert!(Instant::now() < deadline, "it never comes to rest: {now:?}");
        before = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_idle_make_room_for_those_that_are_needed() {
    const PARTITIONS: i32 = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Setup::new(directory.path().join("data")).start();
    let client = broker.client().await;
    create_topic(&client, "idle", PARTITIONS, &[]).await;
    for partition in 0..PARTITIONS {
        append(&client, "idle", partition, batch(&[b"one"])).await.expect("taken");
    }
    // Connections take what is left below the limit, so that there is nothing else to give.
    let limit = settled_descriptors(&broker).await.last().expect("it has some") + 3;
    broker.limit_descriptors(Some(limit));
    let below = |numbers: Vec<u64>| numbers.into_iter().filter(|number| *number < limit).count();
    let mut others = Vec::new();
    while (below(broker.descriptor_numbers()) as u64) < limit {
        // None is taken while the broker needs what is left for a moment.
        others.extend(Wire::admitted(broker.native));
    }
    create_topic(&client, "needed", 4, &[]).await;
    for partition in 0..4 {
        append(&client, "needed", partition, batch(&[b"two"])).await.expect("it gets its files");
    }
    for partition in 0..PARTITIONS {
        assert_eq!(read_all(&client, "idle", partition, 0).await.len(), 1, "opened again");
    }
    drop(others);
    broker.limit_descriptors(None);
    broker.stop();
}

/// Megabytes after which a log that nobody waits for is synced for certain.
const SYNCED: i64 = 12;

/// Appends what begins a new segment.
async fn refuse_roll(client: &Client) {
    let error = append(client, "rolls", 0, batch(&[&[2; MIB / 2]])).await.expect_err("no room");
    assert_eq!(error.code(), Some(ErrorCode::Overloaded), "{error}");
    assert!(error.is_retriable() && error.to_string().contains("open files"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_opened_is_refused_and_nothing_goes_offline() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(directory.path().join("data"));
    let broker = setup.start();
    let client = broker.client().await;
    create_topic(&client, "rolls", 1, &[("segment.bytes", MIB.to_string())]).await;
    create_topic(&client, "open", 1, &[("durability", "os".to_owned())]).await;
    // So much that it is synced although nobody waits for that: from then on the topic needs no
    // file but the one that is open.
    append(&client, "rolls", 0, batch(&[&[1; MIB * 3 / 4]])).await.expect("taken");
    for _ in 0..SYNCED {
        append(&client, "open", 0, batch(&[&[7; MIB - 1_000]])).await.expect("taken");
    }
    wait_until("it is synced", || {
        let (_, claims) = Frontier::load(&FileDisk::default(), &setup.data);
        claims.values().any(|claim| claim.end_offset.0 > SYNCED / 2)
    });
    append(&client, "open", 0, batch(&[b"last"])).await.expect("taken");

    broker.limit_descriptors(Some(1));
    // Each of them closes some of what is idle, the journals among it.
    for _ in 0..30 {
        refuse_roll(&client).await;
    }
    // A file with bytes that are not synced stays open. So much is synced again, which can not be
    // written down now.
    for _ in 0..SYNCED {
        append(&client, "open", 0, batch(&[&[7; MIB - 1_000]])).await.expect("its file is open");
    }
    broker.wait_log("the frontier journal could not be written");

    broker.limit_descriptors(None);
    append(&client, "rolls", 0, batch(&[&[3; MIB / 2]])).await.expect("the next segment");
    broker.wait_log("the frontier journal is written again");
    for (topic, count) in [("rolls", 2), ("open", 1 + 2 * SYNCED as usize)] {
        assert_eq!(read_all(&client, topic, 0, 0).await.len(), count, "{topic}");
    }
    create_topic(&client, "another", 1, &[]).await;
    broker.stop();
}
