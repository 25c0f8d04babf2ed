//! The cases of rskafka, one for each call: `lib/cases` says what the exit codes mean. The client
//! has no groups, no idempotence and no settings of topics, so many cases can only say so.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};
use rskafka::client::error::{Error as ClientError, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};

type Failure = Box<dyn Error + Send + Sync>;
type Outcome = Result<(), Failure>;

const SKIPPED: u8 = 77;
const TIMEOUT_MS: i32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(40);

/// A case, by name. `Err` with the reason where the client lacks what the case is about.
async fn run(case: &str) -> Result<Outcome, &'static str> {
    Ok(match case {
        "produce_consume" => produce_consume().await,
        "keys_headers" => keys_headers().await,
        "codec_none" => codec("none", Compression::NoCompression).await,
        "codec_gzip" => codec("gzip", Compression::Gzip).await,
        "codec_snappy" => codec("snappy", Compression::Snappy).await,
        "codec_lz4" => codec("lz4", Compression::Lz4).await,
        "codec_zstd" => codec("zstd", Compression::Zstd).await,
        "timestamps" => timestamps().await,
        "seek_by_time" => seek_by_time().await,
        "large_message" => large_message().await,
        "many_partitions" => many_partitions().await,
        "admin" => admin().await,
        "fetch_long_poll" => fetch_long_poll().await,
        "restart" if env::var_os("BROKER").is_some() => restart().await,
        "restart" => return Err("nothing here can kill this broker"),
        "acks" => return Err("always waits for all replicas"),
        "idempotent" => return Err("has no idempotent producer"),
        "auto_create" => return Err("never asks for topics to be created"),
        _ => return Err("has no consumer groups"),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let case = env::args().nth(1).unwrap_or_default();
    match run(&case).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => {
            println!("{why}");
            ExitCode::FAILURE
        }
        Err(reason) => {
            println!("{reason}");
            ExitCode::from(SKIPPED)
        }
    }
}

async fn connect() -> Result<Client, Failure> {
    let bootstrap = env::var("BOOTSTRAP")?;
    Ok(ClientBuilder::new(vec![bootstrap]).client_id("rskafka").build().await?)
}

/// A new topic with a name that no other case has.
async fn topic(client: &Client, what: &str, partitions: i32) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let name = format!("rskafka-{what}-{:x}", now.as_nanos());
    client.controller_client()?.create_topic(&name, partitions, 1, TIMEOUT_MS).await?;
    Ok(name)
}

async fn partition(client: &Client, topic: &str, index: i32) -> Result<PartitionClient, Failure> {
    Ok(client.partition_client(topic, index, UnknownTopicHandling::Retry).await?)
}

/// A topic with one partition.
async fn single(what: &str) -> Result<PartitionClient, Failure> {
    let client = connect().await?;
    let name = topic(&client, what, 1).await?;
    partition(&client, &name, 0).await
}

fn record(value: impl Into<Vec<u8>>) -> Record {
    Record { key: None, value: Some(value.into()), headers: BTreeMap::new(), timestamp: long_ago() }
}

/// A time in 2023, so that "now" can not pass for it.
fn long_ago() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time that chrono can hold")
}

/// `count` records whose values are their numbers, a second apart.
fn numbered(count: usize) -> Vec<Record> {
    (0..count)
        .map(|number| Record {
            timestamp: long_ago() + TimeDelta::seconds(number as i64),
            ..record(number.to_string())
        })
        .collect()
}

/// `count` records from an offset on, in as many fetches as it takes.
async fn read(
    partition: &PartitionClient,
    mut offset: i64,
    count: usize,
) -> Result<Vec<RecordAndOffset>, Failure> {
    let mut found = Vec::new();
    let start = Instant::now();
    while found.len() < count {
        check(start.elapsed() < PATIENCE, || format!("{} records of {count}", found.len()))?;
        let (records, _) = partition.fetch_records(offset, 1..10_000_000, 1000).await?;
        if let Some(last) = records.last() {
            offset = last.offset + 1;
        }
        found.extend(records);
    }
    same(count, found.len(), "records read")?;
    Ok(found)
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(why().into()) }
}

fn same<T: PartialEq + std::fmt::Debug>(expected: T, found: T, what: &str) -> Outcome {
    check(expected == found, || format!("{what}: {found:?} instead of {expected:?}"))
}

async fn produce_consume() -> Outcome {
    let partition = single("produce").await?;
    let records = numbered(1000);
    let offsets = partition.produce(records.clone(), Compression::NoCompression).await?;
    same((0..1000).collect(), offsets, "offsets")?;
    let found = read(&partition, 0, 1000).await?;
    for (index, (sent, found)) in records.iter().zip(found).enumerate() {
        same(index as i64, found.offset, "offset")?;
        same(sent, &found.record, "record")?;
    }
    // An offset in the middle of that batch.
    same(500, read(&partition, 500, 500).await?[0].offset, "first offset")
}

async fn keys_headers() -> Outcome {
    let partition = single("headers").await?;
    let binary = vec![0, 255, 10, 13, 128];
    let headers = [("a", binary.clone()), ("b", b"text".to_vec()), ("empty", Vec::new())];
    let headers = headers.map(|(name, value)| (name.to_owned(), value)).into();
    let records = vec![
        Record { headers, ..record("v") },
        Record { key: Some(Vec::new()), ..record("") },
        Record { key: Some(binary), value: None, ..record("") },
    ];
    partition.produce(records.clone(), Compression::NoCompression).await?;
    let found = read(&partition, 0, 3).await?;
    same(records, found.into_iter().map(|found| found.record).collect(), "records")
}

async fn codec(name: &str, compression: Compression) -> Outcome {
    let partition = single(&format!("codec-{name}")).await?;
    let text = |number| format!("{number} can be compressed very well. ").repeat(20);
    let records: Vec<_> = (0..1000).map(|number| record(text(number))).collect();
    partition.produce(records.clone(), compression).await?;
    let found = read(&partition, 0, 1000).await?;
    same(records, found.into_iter().map(|found| found.record).collect(), "records")
}

async fn timestamps() -> Outcome {
    let partition = single("times").await?;
    partition.produce(numbered(3), Compression::NoCompression).await?;
    for found in read(&partition, 0, 3).await? {
        let expected = long_ago() + TimeDelta::seconds(found.offset);
        same(expected, found.record.timestamp, "timestamp")?;
    }
    let at =
        |ms| partition.get_offset(OffsetAt::Timestamp(long_ago() + TimeDelta::milliseconds(ms)));
    same(1, at(1000).await?, "offset of a record's own time")?;
    same(2, at(1001).await?, "offset of a time between two records")?;
    same(-1, at(2001).await?, "offset of a time after the last")
}

async fn seek_by_time() -> Outcome {
    let partition = single("seek").await?;
    partition.produce(numbered(4), Compression::NoCompression).await?;
    let when = OffsetAt::Timestamp(long_ago() + TimeDelta::milliseconds(1500));
    let offset = partition.get_offset(when).await?;
    same(2, read(&partition, offset, 2).await?[0].offset, "first offset read")
}

async fn large_message() -> Outcome {
    let partition = single("large").await?;
    let fits = record(vec![7; 900_000]);
    partition.produce(vec![fits.clone()], Compression::NoCompression).await?;
    let large = vec![record(vec![7; 2_000_000])];
    match partition.produce(large, Compression::NoCompression).await {
        Err(ClientError::ServerError {
            protocol_error: ProtocolError::MessageTooLarge, ..
        }) => {}
        other => return Err(format!("2 MB: {other:?} instead of MessageTooLarge").into()),
    }
    partition.produce(vec![record("after")], Compression::NoCompression).await?;
    let found = read(&partition, 0, 2).await?;
    same(fits, found[0].record.clone(), "the large record")
}

async fn many_partitions() -> Outcome {
    let client = connect().await?;
    let name = topic(&client, "many", 100).await?;
    for index in 0..100 {
        let partition = partition(&client, &name, index).await?;
        partition.produce(numbered(10), Compression::NoCompression).await?;
        read(&partition, 0, 10).await?;
    }
    Ok(())
}

async fn listed(client: &Client, name: &str) -> Result<Option<usize>, Failure> {
    let topics = client.list_topics().await?;
    Ok(topics.iter().find(|topic| topic.name == name).map(|topic| topic.partitions.len()))
}

/// Waits until the topic is listed with so many partitions, or no longer.
async fn await_listed(client: &Client, name: &str, partitions: Option<usize>) -> Outcome {
    let start = Instant::now();
    while listed(client, name).await? != partitions {
        check(start.elapsed() < PATIENCE, || format!("{name} is not listed as {partitions:?}"))?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn admin() -> Outcome {
    let client = connect().await?;
    let controller = client.controller_client()?;
    let name = topic(&client, "admin", 3).await?;
    await_listed(&client, &name, Some(3)).await?;
    match controller.create_topic(&name, 3, 1, TIMEOUT_MS).await {
        Err(ClientError::ServerError {
            protocol_error: ProtocolError::TopicAlreadyExists, ..
        }) => {}
        other => return Err(format!("a second one: {other:?}").into()),
    }
    let first = partition(&client, &name, 0).await?;
    first.produce(numbered(10), Compression::NoCompression).await?;
    first.delete_records(4, TIMEOUT_MS).await?;
    same(4, first.get_offset(OffsetAt::Earliest).await?, "earliest offset")?;
    same(10, first.get_offset(OffsetAt::Latest).await?, "latest offset")?;
    controller.delete_topic(&name, TIMEOUT_MS).await?;
    await_listed(&client, &name, None).await?;
    controller.create_topic(&name, 1, 1, TIMEOUT_MS).await?;
    await_listed(&client, &name, Some(1)).await?;
    let anew = partition(&client, &name, 0).await?;
    let offsets = anew.produce(numbered(3), Compression::NoCompression).await?;
    same(vec![0, 1, 2], offsets, "offsets in the new topic")
}

/// A reader that may wait 20 s gets each record at once: thirty of them in less than 10 s.
async fn fetch_long_poll() -> Outcome {
    let reader = Arc::new(single("long-poll").await?);
    let client = connect().await?;
    let writer = partition(&client, reader.topic(), 0).await?;
    let start = Instant::now();
    for offset in 0..30 {
        let waiting = Arc::clone(&reader);
        let fetch = async move { waiting.fetch_records(offset, 1..1_000_000, 20_000).await };
        let produce = async {
            // The fetch is on its way, and waits, before its record is sent.
            tokio::time::sleep(Duration::from_millis(20)).await;
            writer.produce(numbered(1), Compression::NoCompression).await
        };
        let (found, sent) = tokio::join!(fetch, produce);
        sent?;
        same(1, found?.0.len(), "records")?;
    }
    check(start.elapsed() < Duration::from_secs(10), || format!("{:?}", start.elapsed()))
}

async fn control(verb: &'static str) -> Outcome {
    let program = env::var("BROKER")?;
    let run = move || Command::new(program).arg(verb).stdout(std::process::Stdio::null()).status();
    let status = tokio::task::spawn_blocking(run).await??;
    check(status.success(), || format!("broker {verb}: {status}"))
}

/// The broker is killed three times. Without idempotence a record may be there twice, but none that
/// was acknowledged is lost, and the first of each are in order.
async fn restart() -> Outcome {
    let partition = Arc::new(single("restart").await?);
    let (done, stopped) = tokio::sync::watch::channel(false);
    let writer = Arc::clone(&partition);
    let sending = tokio::spawn(async move {
        let mut number = 0_u64;
        while !*stopped.borrow() {
            // Not of long ago: a start looks for what has outlived its retention.
            let sent = Record { timestamp: Utc::now(), ..record(number.to_string()) };
            writer.produce(vec![sent], Compression::NoCompression).await?;
            number += 1;
        }
        Ok::<u64, ClientError>(number)
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        control("kill").await?;
        control("start").await?;
    }
    // What is sent last was sent after the last start.
    tokio::time::sleep(Duration::from_millis(500)).await;
    done.send(true)?;
    let sent = sending.await??;
    let end = partition.get_offset(OffsetAt::Latest).await?;
    check(sent > 100 && end >= sent as i64, || format!("{end} records there of {sent}"))?;
    let mut next = 0;
    for found in read(&partition, 0, end as usize).await? {
        let number: u64 = String::from_utf8(found.record.value.unwrap_or_default())?.parse()?;
        check(number <= next, || format!("{number} follows {next} at {}", found.offset))?;
        next = next.max(number + 1);
    }
    same(sent, next, "distinct records")
}
