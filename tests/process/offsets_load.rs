//! What many offset commits leave behind: compaction keeps the newest of each partition, and a
//! start reads little more than those.

use std::collections::BTreeMap;

use rivvend::client::Client;
use rivvend::protocol::native::message::{CommitOffsets, FetchOffsets, OffsetToCommit};
use rivvend::random::Random;
use serde_json::Value;

use super::broker::{Broker, Setup, wait_until};
use super::command::Place;
use super::load::{append, batch, create_topic};
use super::rounds;

const TOPIC: &str = "orders";
const OFFSETS: &str = "__consumer_offsets";
const PARTITIONS: i32 = 100;
/// Records of each partition: the highest offset that may be committed.
const RECORDS: u64 = 1_000;
/// Commits under way at once.
const AT_ONCE: usize = 250;
/// From here on the segments are what they are by default.
const MANY: usize = 1_000_000;
const SEGMENT_BYTES: u64 = 4 << 20;

type Committed = BTreeMap<(String, i32), i64>;

fn setup(directory: &tempfile::TempDir) -> Setup {
    let config = directory.path().join("rivvend.yaml");
    let text = "compaction: {check_interval: 100ms, bytes_per_second: unlimited}\n";
    std::fs::write(&config, text).expect("written");
    Setup { config: Some(config), ..Setup::new(directory.path().join("data")) }
}

/// Commits offsets at random, one each; what holds in the end.
async fn commit(client: &Client, commits: usize, groups: u64, committed: &mut Committed) {
    let mut random = Random::new(commits as u64);
    let mut left = commits;
    while left > 0 {
        let mut sent = BTreeMap::new();
        while sent.len() < AT_ONCE.min(left).min((groups * PARTITIONS as u64) as usize) {
            let group = format!("group-{}", random.below(groups));
            let partition = random.below(PARTITIONS as u64) as i32;
            sent.insert((group, partition), random.below(RECORDS + 1) as i64);
        }
        let commits = sent.iter().map(|((group, partition), offset)| {
            let (topic, metadata) = (TOPIC.to_owned(), String::new());
            let (partition, offset, leader_epoch) = (*partition, *offset, None);
            let offset = OffsetToCommit { topic, partition, offset, leader_epoch, metadata };
            let (group, generation, offsets) = (group.clone(), -1, vec![offset]);
            client.commit_offsets(CommitOffsets {
                group,
                generation,
                offsets,
                ..Default::default()
            })
        });
        for outcome in futures_util::future::join_all(commits).await {
            assert_eq!(outcome.expect("an answer")[0].error, None);
        }
        left -= sent.len();
        committed.append(&mut sent);
    }
}

async fn fetched(client: &Client, groups: u64) -> Committed {
    let mut all = Committed::new();
    for number in 0..groups {
        let group = format!("group-{number}");
        let fetch = FetchOffsets { group: group.clone(), partitions: Vec::new() };
        let offsets = client.fetch_offsets(fetch).await.expect("an answer");
        all.extend(offsets.into_iter().map(|o| ((group.clone(), o.partition), o.committed)));
    }
    all
}

/// Waits until nothing of the coordinators' logs is left to compact, and none is larger.
fn wait_until_clean(place: &Place, bytes_max: u64) {
    let is_clean = |partition: &Value| {
        let bytes = partition["size_bytes"].as_u64().expect("a size");
        partition["compaction"]["state"] == "clean" && bytes <= bytes_max
    };
    wait_until("all is compacted", || {
        let text = place.done(&format!("topic describe {OFFSETS} -o json"), "");
        let topics: Value = serde_json::from_str(&text).expect("JSON");
        let partitions = topics[0]["partitions"].as_array().expect("a list");
        partitions.iter().all(is_clean)
    });
}

/// What a start has read: records, groups, offsets, milliseconds.
fn loaded(broker: &Broker) -> [u64; 4] {
    let log = broker.log_text();
    let lines = log.lines().filter(|line| line.contains("groups are loaded"));
    let number = |line: &str, name: &str| -> u64 {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name)).expect("named");
        value.parse().expect("a number")
    };
    lines.fold([0; 4], |sum, line| {
        let line = ["records=", "groups=", "offsets=", "took_ms="].map(|name| number(line, name));
        std::array::from_fn(|i| sum[i] + line[i])
    })
}

/// G3: what is committed is there after a kill, and what was committed before it is not read again.
/// `RIVVEN_OFFSET_COMMITS` and `RIVVEN_OFFSET_GROUPS` make it larger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commits_leave_little_to_load() {
    let directory = tempfile::tempdir().expect("a directory");
    let commits = rounds("RIVVEN_OFFSET_COMMITS", 20_000);
    let groups = rounds("RIVVEN_OFFSET_GROUPS", 4) as u64;
    let setup = setup(&directory);
    let broker = setup.start();
    let (client, place) = (broker.client().await, Place::wire(&broker));
    create_topic(&client, TOPIC, PARTITIONS, &[]).await;
    let records = vec![&b"x"[..]; RECORDS as usize];
    for partition in 0..PARTITIONS {
        append(&client, TOPIC, partition, batch(&records)).await.expect("taken");
    }
    let mut committed = Committed::new();
    commit(&client, groups as usize, groups, &mut committed).await;
    let mut segment_bytes = SEGMENT_BYTES;
    if commits < MANY {
        segment_bytes = 65_536;
        place.done(&format!("topic alter {OFFSETS} --set segment.bytes={segment_bytes}"), "");
    }
    commit(&client, commits, groups, &mut committed).await;
    // What is not compacted is less than a segment, and what is has no more than that.
    wait_until_clean(&place, 2 * segment_bytes);
    broker.kill();
    let broker = setup.start();
    assert_eq!(fetched(&broker.client().await, groups).await, committed);
    let [records, found, offsets, took_ms] = loaded(&broker);
    eprintln!("{commits} commits: {records} records of {offsets} offsets loaded in {took_ms} ms");
    assert_eq!((found, offsets), (groups, committed.len() as u64));
    assert!(records * 2 < commits as u64, "{records} records are left of {commits}");
}
