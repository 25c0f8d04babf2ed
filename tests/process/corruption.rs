//! Bytes that changed while nobody looked: what was acknowledged is served right or not at all, and
//! the error says where the damage is; what never was acknowledged is cut off, with a copy and a
//! message; what can be rebuilt is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rivvend::client::{Client, ClientError, Offsets};
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{
    AlterTopic, ConfigChange, DeleteTopics, DescribeTopics, ListOffsetsPartition, config_change,
};
use rivvend::record::layout::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, CRC_AT, HEADER_BYTES, LEADER_EPOCH_AT, LENGTH_AT, MAGIC_AT,
    RECORDS_COUNT_AT,
};
use rivvend::record::{BatchBuilder, BatchHeader, Compression, NewRecord};
use rivvend::types::Millis;

use super::broker::{Broker, PATIENCE, Setup, files, rivvend, snapshot, wait_until};
use super::history::Id;
use super::load::{append, batch, create_topic, now, read, read_all};

const TOPIC: &str = "kept";
/// The least there may be, so that few records make many segments.
const SEGMENT_BYTES: u32 = 16 << 10;
const BATCHES: u64 = 80;
const BATCH_RECORDS: u64 = 4;
const STORAGE: i32 = 74;

/// A stopped data directory whose content is known.
struct Stored {
    setup: Setup,
    /// The values of either partition, by offset.
    values: Vec<Bytes>,
    _directory: tempfile::TempDir,
}

/// How the broker that wrote it ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    InOrder,
    Killed,
}

impl Stored {
    async fn new(ended: Ended) -> Stored {
        let directory = tempfile::tempdir().expect("a directory");
        let setup = Setup::new(directory.path().join("data"));
        let broker = setup.start();
        let client = broker.client().await;
        create_topic(&client, TOPIC, 2, &[("segment.bytes", SEGMENT_BYTES.to_string())]).await;
        let mut values = Vec::new();
        for number in 0..BATCHES {
            let ids = (0..BATCH_RECORDS).map(|at| Id { producer: number, number: at });
            let made: Vec<Vec<u8>> = ids.map(Id::value).collect();
            let data = batch(&made.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for partition in [0, 1] {
                let offset = append(&client, TOPIC, partition, data.clone()).await.expect("taken");
                assert_eq!(offset, values.len() as i64);
            }
            values.extend(made.into_iter().map(Bytes::from));
        }
        broker.stop();
        if let Ended::Killed = ended {
            // Without the marker, but with a frontier that knows everything.
            setup.start().kill();
        }
        Stored { setup, values, _directory: directory }
    }

    /// The files of partition 0 with this extension, in order.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut found = files(&self.setup.data, extension);
        found.retain(|path| path.parent().is_some_and(|folder| folder.ends_with("0")));
        found
    }

    async fn assert_whole(&self, client: &Client, partition: i32) {
        let read = read_all(client, TOPIC, partition, 0).await;
        let read: Vec<Bytes> = read.into_iter().map(|(_, value)| value).collect();
        assert!(read == self.values, "partition {partition}: {} values", read.len());
    }

    /// Asks for every offset: whatever comes is right, and the rest is refused as damaged. Returns
    /// what was refused, in order.
    async fn refused(&self, client: &Client, partition: i32) -> Vec<(i64, ClientError)> {
        let mut refused = Vec::new();
        for offset in 0..self.values.len() as i64 {
            match read(client, TOPIC, partition, offset, 0).await {
                Ok((values, _)) => {
                    let first = values.first().map(|(at, _)| *at);
                    assert_eq!(first, Some(offset), "neither the record nor an error");
                    for (at, value) in values {
                        assert!(value == self.values[at as usize], "a wrong value at {at}");
                    }
                }
                Err(error) => {
                    assert_eq!(error.code(), Some(ErrorCode::Corruption), "{offset}: {error}");
                    refused.push((offset, error));
                }
            }
        }
        refused
    }
}

/// Where the batches of a segment file begin.
fn batches_of(file: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(header) = BatchHeader::parse(&file[at..]) {
        starts.push(at);
        at += header.size_bytes().expect("a sound file");
    }
    starts
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

/// The error names the file, a byte in the batch that was damaged, and its offset.
fn assert_says_where(error: &str, file: &Path, batch: std::ops::Range<usize>, offset: i64) {
    assert!(error.contains(&file.display().to_string()), "the file: {error}");
    let number = |name: &str| -> i64 {
        let rest = error.split(name).nth(1).unwrap_or_else(|| panic!("{name}: {error}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("{name}: {error}"))
    };
    assert!(batch.contains(&(number("at byte ") as usize)), "{batch:?}: {error}");
    assert_eq!(number("offset "), offset, "{error}");
}

/// Bad input 76: every field of a batch, those included that the checksum of a batch leaves out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_an_old_segment_is_never_served_and_named() {
    let fields = [
        ("base offset", BASE_OFFSET_AT + 7),
        ("length", LENGTH_AT + 3),
        ("leader epoch", LEADER_EPOCH_AT + 3),
        ("magic", MAGIC_AT),
        ("checksum", CRC_AT),
        ("attributes", ATTRIBUTES_AT),
        ("count", RECORDS_COUNT_AT + 3),
        ("record", HEADER_BYTES + 40),
    ];
    for ended in [Ended::InOrder, Ended::Killed] {
        let stored = Stored::new(ended).await;
        let victim = stored.files("log")[1].clone();
        let sound = fs::read(&victim).expect("readable");
        let starts = batches_of(&sound);
        let (from, to) = (starts[3], starts[4]);
        let offset = BatchHeader::parse(&sound[from..]).expect("a batch").base_offset.0;
        for (field, at) in fields {
            flip(&victim, from + at);
            let broker = stored.setup.start();
            let client = broker.client().await;
            let refused = stored.refused(&client, 0).await;
            let (first, error) = refused.first().unwrap_or_else(|| panic!("{field} passed"));
            if at < MAGIC_AT {
                // Only the sum over a block covers these, so the damage is known to the block.
                assert!(*first <= offset, "{field}: {error}");
                assert_says_where(&error.to_string(), &victim, 0..to, *first);
            } else {
                assert_eq!(*first, offset, "{field}: what lies before is served: {error}");
                assert_says_where(&error.to_string(), &victim, from..to, offset);
            }
            stored.assert_whole(&client, 1).await;
            broker.stop();
            // It checks each batch for itself, and nothing in a batch covers its leader epoch.
            if field != "leader epoch" {
                assert_verify_fails(&stored, &victim, field);
            }
            fs::write(&victim, &sound).expect("restored");
        }
        let broker = stored.setup.start();
        stored.assert_whole(&broker.client().await, 0).await;
    }
}

fn assert_verify_fails(stored: &Stored, victim: &Path, what: &str) {
    let before = snapshot(&stored.setup.data.join("topics"));
    let output =
        rivvend().args(["inspect", "verify"]).arg(&stored.setup.data).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(said.contains(&victim.display().to_string()) && said.contains("byte"), "{said}");
    assert!(snapshot(&stored.setup.data.join("topics")) == before, "it changes nothing");
}

/// The same in the segment that is appended to, after a stop that made all of it durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_last_segment_is_not_taken_for_a_torn_tail() {
    let stored = Stored::new(Ended::InOrder).await;
    let last = stored.files("log").pop().expect("a segment");
    let sound = fs::read(&last).expect("readable");
    let starts = batches_of(&sound);
    assert!(starts.len() > 2, "there is something before and after");
    let (from, to) = (starts[1], starts[2]);
    let offset = BatchHeader::parse(&sound[from..]).expect("a batch").base_offset.0;
    for at in [BASE_OFFSET_AT + 7, LENGTH_AT + 3, CRC_AT, HEADER_BYTES + 40] {
        flip(&last, from + at);
        let broker = stored.setup.start();
        let client = broker.client().await;
        let refused = stored.refused(&client, 0).await;
        let (first, error) = refused.first().unwrap_or_else(|| panic!("byte {at} passed"));
        assert!(*first <= offset, "{error}");
        // Between headers that do not fit together, it may be the one before that is wrong.
        let from = if at < MAGIC_AT { 0 } else { from };
        assert_says_where(&error.to_string(), &last, from..to, *first);
        broker.stop();
        assert_eq!(fs::read(&last).expect("readable").len(), sound.len(), "nothing was cut");
        fs::write(&last, &sound).expect("restored");
    }
    // A file that ends before what was durable: the records are missed, not forgotten.
    fs::write(&last, &sound[..sound.len() - 10]).expect("cut");
    let broker = stored.setup.start();
    let refused = stored.refused(&broker.client().await, 0).await;
    assert_eq!(refused.len() as u64, BATCH_RECORDS, "the last batch is refused");
    let end = sound.len();
    let offset = stored.values.len() as i64 - BATCH_RECORDS as i64;
    let batch = starts[starts.len() - 1]..end;
    assert_says_where(&refused[0].1.to_string(), &last, batch, offset);
    broker.stop();
    // Another start, however the last one ended, does not take it for a tail either.
    for ended in [Ended::Killed, Ended::InOrder, Ended::Killed] {
        let broker = stored.setup.start();
        let refused = stored.refused(&broker.client().await, 0).await;
        assert_eq!(refused.len() as u64, BATCH_RECORDS, "the last batch is still missed");
        stop(broker, ended);
    }
    assert!(stored.files("torn").is_empty(), "nothing was cut off");
}

/// Files that are gone altogether are missed as well: the last segment, all, their folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_end_is_gone_is_not_a_shorter_log() {
    for ended in [Ended::InOrder, Ended::Killed] {
        for gone in ["the last segment", "every segment", "the folder"] {
            let stored = Stored::new(ended).await;
            let segments = stored.files("log");
            let folder = segments[0].parent().expect("a folder").to_path_buf();
            match gone {
                "the last segment" => fs::remove_file(&segments[segments.len() - 1]),
                "every segment" => segments.iter().try_for_each(fs::remove_file),
                _ => fs::remove_dir_all(&folder),
            }
            .expect("removed");
            for _ in 0..2 {
                let broker = stored.setup.start();
                let client = broker.client().await;
                let described = client
                    .describe_topics(DescribeTopics {
                        names: vec![TOPIC.to_owned()],
                        internal: false,
                    })
                    .await
                    .expect("an answer");
                let error = described[0].partitions[0].error.as_ref().and_then(|e| e.error_code());
                assert_eq!(error, Some(ErrorCode::Corruption), "{gone}, {ended:?}");
                let appended = append(&client, TOPIC, 0, batch(&[b"more"])).await;
                assert_eq!(appended.expect_err(gone).code(), Some(ErrorCode::Corruption));
                stored.assert_whole(&client, 1).await;
                broker.stop();
            }
        }
    }
}

/// Bad inputs 75 and 77: what was written after the last sync may be anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut_off_with_a_copy_and_a_message() {
    let mut stored = Stored::new(Ended::Killed).await;
    let last = stored.files("log").pop().expect("a segment");
    for tail in ["part of a header", "a part of a batch", "a damaged batch", "zeros"] {
        let sound = fs::read(&last).expect("readable");
        let torn = tail_of(tail, &sound, stored.values.len() as i64);
        fs::write(&last, [&sound[..], &torn].concat()).expect("written");
        let broker = stored.setup.start();
        let client = broker.client().await;
        stored.assert_whole(&client, 0).await;
        let log = broker.log_text();
        let kept = last.with_extension(format!("log.{}.torn", sound.len()));
        if tail == "zeros" {
            assert!(stored.files("torn").is_empty(), "zeros are worth no copy");
        } else {
            assert!(log.contains("cut off") && log.contains(&torn.len().to_string()), "{log}");
            let copies = stored.files("torn");
            assert_eq!(copies.len(), 1, "{kept:?}: {copies:?}");
            assert_eq!(fs::read(&copies[0]).expect("kept"), torn, "{tail}");
            fs::remove_file(&copies[0]).expect("removed");
        }
        let value = tail.as_bytes();
        let offset = append(&client, TOPIC, 0, batch(&[value])).await.expect("writing goes on");
        assert_eq!(offset, stored.values.len() as i64, "{tail}");
        append(&client, TOPIC, 1, batch(&[value])).await.expect("here too");
        stored.values.push(Bytes::copy_from_slice(value));
        stored.assert_whole(&client, 0).await;
        broker.kill();
    }
}

/// Bytes that a crash may leave behind the last sound batch of a file.
fn tail_of(kind: &str, sound: &[u8], next_offset: i64) -> Vec<u8> {
    let last = *batches_of(sound).last().expect("a batch");
    let mut next = sound[last..].to_vec();
    next[BASE_OFFSET_AT..BASE_OFFSET_AT + 8].copy_from_slice(&next_offset.to_be_bytes());
    match kind {
        "part of a header" => next.truncate(30),
        "a part of a batch" => next.truncate(next.len() - 1),
        "a damaged batch" => *next.last_mut().expect("not empty") ^= 1,
        _ => next = vec![0; 4_096],
    }
    next
}

/// Bad input 78.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_segment_stops_its_partition_and_no_other() {
    for ended in [Ended::InOrder, Ended::Killed] {
        let stored = Stored::new(ended).await;
        let gone = stored.files("log")[2].clone();
        let bytes = fs::read(&gone).expect("readable");
        fs::remove_file(&gone).expect("removed");
        let broker = stored.setup.start();
        let client = broker.client().await;
        let missing = BatchHeader::parse(&bytes).expect("a batch").base_offset.0;
        let refused = stored.refused(&client, 0).await;
        assert_eq!(refused.first().map(|(offset, _)| *offset), Some(missing));
        let said = refused[0].1.to_string();
        let named = gone.file_stem().expect("a name").to_string_lossy().into_owned();
        let folder = gone.parent().expect("a folder").display().to_string();
        assert!(said.contains(&folder) && said.contains(&missing.to_string()), "{named}: {said}");
        let appended = append(&client, TOPIC, 0, batch(&[b"more"])).await;
        assert_eq!(appended.expect_err("refused").code(), Some(ErrorCode::Corruption));
        stored.assert_whole(&client, 1).await;
        append(&client, TOPIC, 1, batch(&[b"more"])).await.expect("the other goes on");
        broker.stop();
        fs::write(&gone, bytes).expect("restored");
        let broker = stored.setup.start();
        stored.assert_whole(&broker.client().await, 0).await;
    }
}

/// Bad input 78: what is not ours stays as it is, wherever it lies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_files_are_left_alone() {
    let stored = Stored::new(Ended::Killed).await;
    let partition = stored.files("log")[0].parent().expect("a folder").to_path_buf();
    let topic = partition.parent().expect("a topic").to_path_buf();
    let data = &stored.setup.data;
    let strange = [
        partition.join("notes.txt"),
        partition.join("00000000000000000007.log.bak"),
        partition.join("7.log"),
        topic.join("README"),
        topic.join("x/y"),
        data.join("topics/not-a-topic/0/00000000000000000000.log"),
        data.join("metadata.old/vote"),
        data.join("my file"),
    ];
    for path in &strange {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "somebody's").expect("written");
    }
    for _ in 0..2 {
        let broker = stored.setup.start();
        let client = broker.client().await;
        stored.assert_whole(&client, 0).await;
        broker.stop();
    }
    for path in &strange {
        assert_eq!(fs::read(path).expect("still there"), b"somebody's", "{}", path.display());
    }
}

/// Bad input 79 (D15): indexes can be thrown away or lie, and nothing comes out differently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_are_gone_or_wrong_change_no_answer() {
    for ended in [Ended::InOrder, Ended::Killed] {
        let stored = Stored::new(ended).await;
        let broker = stored.setup.start();
        let expected = answers(&broker).await;
        stop(broker, ended);
        for wrong in ["gone", "empty", "garbage", "flipped", "another's"] {
            for extension in ["index", "timeindex", "txnindex", "sum"] {
                let all = stored.files(extension);
                let first = all.first().map(|path| fs::read(path).expect("readable"));
                for path in all {
                    spoil(&path, wrong, first.as_deref().unwrap_or_default());
                }
            }
            let broker = stored.setup.start();
            let client = broker.client().await;
            stored.assert_whole(&client, 0).await;
            assert_eq!(answers(&broker).await, expected, "{wrong}");
            if wrong == "gone" {
                let told = broker.wait_log("rebuilt");
                assert!(told.contains("WARN") && told.contains(".index was missing"), "{told}");
            }
            stop(broker, ended);
        }
    }
}

fn stop(broker: Broker, ended: Ended) {
    match ended {
        Ended::InOrder => broker.stop(),
        Ended::Killed => broker.kill(),
    }
}

fn spoil(path: &Path, wrong: &str, anothers: &[u8]) {
    let bytes = fs::read(path).expect("readable");
    let spoiled = match wrong {
        "gone" => return fs::remove_file(path).expect("removed"),
        "empty" => Vec::new(),
        "garbage" => vec![0xa5; bytes.len().max(100)],
        "flipped" => bytes.iter().map(|byte| byte ^ 1).collect(),
        _ => anothers.to_vec(),
    };
    fs::write(path, spoiled).expect("written");
}

/// What a broker answers when it is asked for offsets by time.
async fn answers(broker: &Broker) -> Vec<(i64, i64)> {
    let client = broker.client().await;
    let mut times = vec![Offsets::EARLIEST, Offsets::LATEST, Offsets::MAX_TIMESTAMP, 0];
    times.push(i64::MAX);
    let ask =
        |timestamp_ms| ListOffsetsPartition { topic: TOPIC.to_owned(), partition: 0, timestamp_ms };
    let newest = client.list_offsets(vec![ask(Offsets::MAX_TIMESTAMP)]).await.expect("answered");
    let newest = newest[0].timestamp_ms;
    times.extend((0..10).map(|step| newest - 20 * step));
    let found = client.list_offsets(times.into_iter().map(ask).collect()).await.expect("answered");
    found.iter().map(|one| (one.offset, one.timestamp_ms)).collect()
}

/// Bad input 80: metadata that are not what was written stop the start, by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_metadata_stop_the_start_and_name_the_file() {
    let stored = Stored::new(Ended::InOrder).await;
    let metadata = stored.setup.data.join("metadata");
    let before: BTreeMap<PathBuf, Vec<u8>> = snapshot(&metadata);
    let victims: Vec<_> = before
        .keys()
        .filter(|path| path.ends_with("vote") || path.extension().is_some_and(|e| e == "log"))
        .collect();
    assert!(victims.len() >= 2, "a vote and a log: {victims:?}");
    for victim in victims {
        let length = before[victim].len();
        for at in [0, length / 3, length / 2, length - 1] {
            flip(victim, at);
            let (code, said) = stored.setup.refused();
            assert_eq!(code, STORAGE, "{} byte {at}: {said}", victim.display());
            // Damage that only shows between entries is of the log as a whole.
            let log = victim.parent().expect("a folder").display().to_string();
            assert!(said.contains(&log), "byte {at}: {said}");
            assert!(said.contains("restore the file"), "byte {at}: {said}");
            assert!(said.contains("with a new id"), "byte {at}: {said}");
            restore(&metadata, &before);
        }
    }
    let broker = stored.setup.start();
    stored.assert_whole(&broker.client().await, 0).await;
}

/// Puts back what was there, and takes away what was not.
fn restore(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in snapshot(folder).keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(path).expect("removed");
    }
    for (path, bytes) in files {
        fs::write(path, bytes).expect("restored");
    }
}

/// Bad input 81: files of a topic that the metadata do not know are somebody's data until a
/// deletion says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_topic_that_nobody_deleted_are_kept() {
    let stored = Stored::new(Ended::Killed).await;
    let topics = stored.setup.data.join("topics");
    let topic = stored.files("log")[0].ancestors().nth(2).expect("a topic").to_path_buf();
    // The same files under an id that was never given out.
    let orphan = topics.join("11111111-2222-4333-8444-555555555555");
    copy(&topic, &orphan);
    let before = snapshot(&orphan);
    for ended in [Ended::InOrder, Ended::Killed, Ended::InOrder] {
        let broker = stored.setup.start();
        let client = broker.client().await;
        stored.assert_whole(&client, 0).await;
        assert_eq!(client.metadata(&[], false).await.expect("an answer").topics.len(), 1);
        stop(broker, ended);
        assert!(snapshot(&orphan) == before, "they stay as they are");
    }
    // Deleting another topic does not take them along, and what comes back after its deletion is
    // done is as unknown as they are.
    let away = stored.setup.data.with_file_name("away");
    copy(&topic, &away);
    let broker = stored.setup.start();
    let client = broker.client().await;
    let delete = DeleteTopics { names: vec![TOPIC.to_owned()], validate_only: false };
    assert_eq!(client.delete_topics(delete).await.expect("an answer")[0].error, None);
    wait_until("the deleted topic's files go", || {
        fs::read_dir(&topics).expect("readable").count() == 1
    });
    broker.stop();
    // That the files are gone may not have been noted before the stop; the next starts do it.
    for _ in 0..2 {
        stop(stored.setup.start(), Ended::InOrder);
    }
    copy(&away, &topic);
    let returned = snapshot(&topic);
    for ended in [Ended::InOrder, Ended::Killed] {
        stop(stored.setup.start(), ended);
        assert!(snapshot(&orphan) == before && snapshot(&topic) == returned);
    }
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in snapshot(from) {
        let copy = to.join(path.strip_prefix(from).expect("below it"));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
        fs::write(copy, bytes).expect("written");
    }
}

/// Bad input 88.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_half_written_is_removed_at_the_start() {
    let stored = Stored::new(Ended::Killed).await;
    let partition = stored.files("log")[0].parent().expect("a folder").to_path_buf();
    let remains = [
        stored.setup.data.join("metadata/vote.tmp"),
        stored.setup.data.join("metadata/snapshot.tmp"),
        partition.join("producers-00000000000000000040.tmp"),
    ];
    for path in &remains {
        fs::write(path, "half of somethi").expect("written");
    }
    let broker = stored.setup.start();
    stored.assert_whole(&broker.client().await, 0).await;
    broker.stop();
    for path in remains {
        assert!(!path.exists(), "{}", path.display());
    }
}

/// Bad input 89: retention goes by the records' times, whatever the files' say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_files_mean_nothing() {
    const HOUR_MS: i64 = 3_600_000;
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(directory.path().join("data"))
        .env("RIVVEN_STORAGE_RETENTION_CHECK_INTERVAL", "100ms");
    let broker = setup.start();
    let client = broker.client().await;
    let config =
        [("segment.bytes", SEGMENT_BYTES.to_string()), ("retention.ms", HOUR_MS.to_string())];
    for (name, age_ms) in [("new", 0), ("old", 2 * HOUR_MS)] {
        // The old records are due as soon as they are there, so they come while nobody looks.
        let config = if age_ms > 0 { &config[..1] } else { &config[..] };
        create_topic(&client, name, 1, config).await;
        for _ in 0..20 {
            append(&client, name, 0, aged(&[7; 4_000], age_ms)).await.expect("taken");
        }
    }
    broker.stop();
    let day = Duration::from_secs(86_400);
    for path in snapshot(&setup.data.join("topics")).into_keys() {
        let file = fs::File::options().write(true).open(&path).expect("ours");
        let name = path.display().to_string();
        let wrong = if name.len() % 2 == 0 { SystemTime::UNIX_EPOCH } else { SystemTime::now() };
        file.set_modified(wrong + day).expect("a file's time can be set");
    }
    let broker = setup.start();
    let client = broker.client().await;
    let change = ConfigChange {
        kind: config_change::Kind::Set as i32,
        key: "retention.ms".to_owned(),
        value: HOUR_MS.to_string(),
    };
    let alter = AlterTopic { name: "old".to_owned(), changes: vec![change], ..Default::default() };
    client.alter_topic(alter).await.expect("changed");
    let deadline = Instant::now() + PATIENCE;
    while read(&client, "old", 0, 0, 0).await.is_ok() {
        assert!(Instant::now() < deadline, "old records go, however new their files look");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(read_all(&client, "new", 0, 0).await.len(), 20, "new records stay");
    broker.stop();
}

/// A batch of one record of that age.
fn aged(value: &[u8], age_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let timestamp = Millis(now().0 - age_ms);
    builder.push(&NewRecord { timestamp, key: None, value: Some(value), headers: &[] });
    builder.build().bytes().clone()
}
