//! Compaction in the real binary: few keys, many updates, small segments, and `kill -9` in the
//! middle of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rivvend::client::Client;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{Fetch, FetchPartition};
use rivvend::random::Random;
use rivvend::record::{BatchBuilder, Batches, Compression, NewRecord, decode_records};

use super::broker::{Broker, Setup, assert_verified, wait_until};
use super::load::{append, batch, create_topic, now};
use super::rounds;

const TOPIC: &str = "latest";
const SEED: u64 = 0x5EED_0C07;
/// What is not compacted yet and what the keys take, in segments.
const SMALL_SEGMENTS: u64 = 9;

/// How much is sent, and how.
#[derive(Clone, Debug)]
struct Scale {
    /// As many kills at least,
    rounds: usize,
    /// and as many updates.
    updates: u64,
    keys: u64,
    batch_records: u64,
    segment_bytes: u64,
    /// Time from a start to the kill.
    life_ms: std::ops::Range<u64>,
}

impl Scale {
    /// A second or two; `RIVVEN_COMPACTION_ROUNDS` makes it longer, and so many updates as
    /// `RIVVEN_COMPACTION_UPDATES` says make it larger: ten million are of a thousand keys.
    fn chosen() -> Scale {
        let updates = rounds("RIVVEN_COMPACTION_UPDATES", 0) as u64;
        let rounds = rounds("RIVVEN_COMPACTION_ROUNDS", 8);
        let (keys, batch_records, segment_bytes, life_ms) = match updates {
            0..1_000_000 => (50, 100, 65_536, 150..450),
            _ => (1_000, 1_000, 1 << 20, 300..4_000),
        };
        Scale { rounds, updates, keys, batch_records, segment_bytes, life_ms }
    }
}

/// A broker that looks often and compacts as quickly as it can.
fn setup(directory: &tempfile::TempDir) -> Setup {
    let config = directory.path().join("rivvend.yaml");
    let text = "compaction: {check_interval: 100ms, bytes_per_second: unlimited}\n";
    std::fs::write(&config, text).expect("written");
    Setup { config: Some(config), ..Setup::new(directory.path().join("data")) }
}

async fn create(client: &Client, policy: &str, segment_bytes: u64) {
    let config = [
        ("cleanup.policy", policy.to_owned()),
        ("segment.bytes", segment_bytes.to_string()),
        ("min.cleanable.dirty.ratio", "0.1".to_owned()),
    ];
    create_topic(client, TOPIC, 1, &config).await;
}

/// What was sent: values count upwards, so the newest of a key is its largest.
struct Sent {
    scale: Scale,
    next: u64,
    /// Offset and number of the newest acknowledged record of each key.
    newest: BTreeMap<u64, (i64, u64)>,
}

impl Sent {
    /// Sends batches until the broker is gone.
    async fn run(mut self, client: Client, seed: u64) -> Sent {
        let mut random = Random::new(seed);
        while self.send(&client, &mut random).await {}
        self
    }

    /// Sends a batch; whether it was acknowledged.
    async fn send(&mut self, client: &Client, random: &mut Random) -> bool {
        let codec = Compression::ALL[random.below(5) as usize];
        let mut builder = BatchBuilder::new(codec);
        let mut keys = Vec::new();
        for _ in 0..self.scale.batch_records {
            let key = random.below(self.scale.keys);
            let value = format!("{:>60}", self.next);
            builder.push(&NewRecord {
                timestamp: now(),
                key: Some(key.to_string().as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            });
            keys.push((key, self.next));
            self.next += 1;
        }
        let data = builder.build().bytes().clone();
        let Ok(base) = append(client, TOPIC, 0, data).await else { return false };
        for (offset, (key, number)) in (base..).zip(keys) {
            self.newest.insert(key, (offset, number));
        }
        true
    }
}

/// Every record from the start on, as offset, key and number.
async fn read(client: &Client) -> Vec<(i64, u64, u64)> {
    let (mut records, mut next) = (Vec::new(), 0);
    loop {
        let topic = TOPIC.to_owned();
        let entry = FetchPartition { topic, partition: 0, offset: next, max_bytes: 1 << 20 };
        let (partitions, max_bytes) = (vec![entry], 1 << 20);
        let fetch =
            Fetch { partitions, max_bytes, min_bytes: 1, max_wait_ms: 0, read_committed: false };
        let (result, bytes) = client.fetch(fetch).await.expect("an answer").remove(0);
        assert_eq!(result.error, None);
        for batch in Batches::new(bytes) {
            let batch = batch.expect("sound");
            let number = |bytes: Option<Bytes>| -> u64 {
                let text = String::from_utf8(bytes.expect("not null").to_vec()).expect("text");
                text.trim().parse().expect("a number")
            };
            let decoded = decode_records(&batch).expect("sound").into_iter();
            records.extend(decoded.map(|r| (r.offset.0, number(r.key), number(r.value))));
            next = batch.header().next_offset().0;
        }
        if next >= result.high_watermark {
            return records;
        }
    }
}

/// The newest of each key is there, at the offset that was acknowledged.
async fn verify(broker: &Broker, sent: &Sent) {
    let mut newest = BTreeMap::new();
    for (offset, key, number) in read(&broker.client().await).await {
        let before = newest.insert(key, (offset, number));
        assert!(before.is_none_or(|(_, earlier)| earlier < number), "values of a key count up");
    }
    for (key, (offset, number)) in &sent.newest {
        let found = newest.get(key).unwrap_or_else(|| panic!("key {key} is gone"));
        // What was under way at a kill may be there and newer.
        assert!(found.1 >= *number, "key {key}: {found:?} is older than {number} at {offset}");
        assert!(found.1 > *number || found.0 == *offset, "an offset has moved: {found:?}");
    }
}

/// Size of all segments, of which some may go while it is looked.
fn log_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |path: PathBuf| match path.metadata() {
        Ok(metadata) if metadata.is_dir() => log_bytes(&path),
        Ok(metadata) if path.extension().is_some_and(|kind| kind == "log") => metadata.len(),
        _ => 0,
    };
    entries.map(|entry| size(entry.path())).sum()
}

/// D13, D14, D16.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_of_each_key_survives_kills_in_the_middle_of_compaction() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&directory);
    let mut broker = setup.start();
    let scale = Scale::chosen();
    create(&broker.client().await, "compact", scale.segment_bytes).await;
    let (newest, topics) = (BTreeMap::new(), setup.data.join("topics"));
    let sent = Sent { scale: scale.clone(), next: 0, newest };
    let (mut sent, mut random) = (sent, Random::new(SEED));
    let (mut round, mut largest) = (0, 0);
    while round < scale.rounds || sent.next < scale.updates {
        let running = tokio::spawn(sent.run(broker.client().await, SEED + round as u64));
        // The moment of what comes then is what is varied, so this waits for nothing in particular.
        let life_ms = scale.life_ms.start + random.below(scale.life_ms.end - scale.life_ms.start);
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        broker.kill();
        sent = running.await.expect("the producer ends with the broker");
        largest = log_bytes(&topics).max(largest);
        if round % 3 == 0 {
            assert_verified(&setup.data);
        }
        broker = setup.start();
        verify(&broker, &sent).await;
        round += 1;
    }
    let client = broker.client().await;
    for _ in 0..100 {
        assert!(sent.send(&client, &mut random).await, "nobody ends this broker");
    }
    broker.wait_log("compacted");
    let small = SMALL_SEGMENTS * scale.segment_bytes;
    wait_until("the log is small again", || log_bytes(&topics) < small);
    verify(&broker, &sent).await;
    let (updates, keys, size) = (sent.next, sent.newest.len(), log_bytes(&topics));
    eprintln!(
        "{updates} updates of {keys} keys, {round} kills, {largest} bytes at most, {size} now"
    );
    assert!(updates > 10_000, "{updates} records are not many");
    broker.stop();
    assert_verified(&setup.data);
}

/// Bad inputs: a record without a key could never be compacted, so none gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_without_a_key_is_refused_on_a_compacted_topic() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = setup(&directory).start();
    let client = broker.client().await;
    create(&client, "compact,delete", 65_536).await;
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord { timestamp: now(), key: Some(b"7"), value: Some(b"1"), headers: &[] };
    builder.push(&record);
    append(&client, TOPIC, 0, builder.clone().build().bytes().clone()).await.expect("taken");
    builder.push(&NewRecord { key: None, ..record });
    let refused = append(&client, TOPIC, 0, builder.build().bytes().clone()).await;
    let refused = refused.expect_err("one of its records has no key");
    assert_eq!(refused.code(), Some(ErrorCode::InvalidRecord));
    assert!(refused.to_string().contains("record 1 has no key"), "{refused}");
    let refused = append(&client, TOPIC, 0, batch(&[b"1"])).await.expect_err("no key");
    assert!(refused.to_string().contains("record 0 has no key"), "{refused}");
    assert_eq!(read(&client).await, [(0, 7, 1)], "nothing of the refused batches is there");
    broker.stop();
}
