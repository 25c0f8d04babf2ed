//! What goes on the wire and what the handles learn, against servers that fail in every way. Cites
//! invariants D2, D5, P1 and P3 (invariants.md).

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::*;
use crate::client::fake::{FakeListener, FakeServer, connected};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::frame::{Kind, StreamId};
use crate::protocol::native::message::{
    self, InitProducerResult, MetadataResult, PartitionMetadata, ProducePartitionResult,
    ProduceResult, TopicMetadata, request::Operation,
};
use crate::random::Random;
use crate::record::{BatchBuilder, Batches, NewRecord, decode_records};

/// A produce request with its batches taken apart.
struct Produced {
    stream: StreamId,
    entries: Vec<(String, i32, CheckedBatch)>,
}

impl Produced {
    /// Epoch and first sequence of the only batch.
    fn number(&self) -> (i16, i32) {
        assert_eq!(self.entries.len(), 1);
        let (_, epoch, sequence) = self.entries[0].2.header().producer().expect("is numbered");
        (epoch.0, sequence.0)
    }

    fn values(&self) -> Vec<String> {
        let batches = self.entries.iter();
        batches.flat_map(|(_, _, batch)| values(batch)).collect()
    }
}

fn values(batch: &CheckedBatch) -> Vec<String> {
    let records = decode_records(batch).expect("sound records");
    let text =
        |value: Option<Bytes>| String::from_utf8(value.unwrap_or_default().to_vec()).expect("text");
    records.into_iter().map(|record| text(record.value)).collect()
}

/// Answers what producers ask on the side, until they produce.
async fn try_produced(server: &mut FakeServer, partitions: i32) -> Option<Produced> {
    loop {
        let asked = server.try_asked().await?;
        match asked.operation {
            Operation::InitProducer(init) => {
                let result =
                    InitProducerResult { producer_id: 7, producer_epoch: init.producer_epoch + 1 };
                server.answer(asked.stream, result).await;
            }
            Operation::Metadata(metadata) => {
                server.answer(asked.stream, topic(&metadata.topics[0], partitions)).await;
            }
            Operation::Produce(produce) => {
                let mut payload = asked.payload;
                let entries = produce.partitions.into_iter().map(|entry| {
                    let share = payload.split_to(entry.data_bytes as usize);
                    let mut batches = Batches::new(share);
                    let batch = batches.next().expect("a batch").expect("a sound batch");
                    assert!(batches.next().is_none(), "one batch for each partition");
                    (entry.topic, entry.partition, batch)
                });
                return Some(Produced { stream: asked.stream, entries: entries.collect() });
            }
            other => panic!("a producer asked for {}", other.name()),
        }
    }
}

async fn produced(server: &mut FakeServer) -> Produced {
    try_produced(server, 1).await.expect("the client is there")
}

fn topic(name: &str, partitions: i32) -> MetadataResult {
    let partition = |partition| PartitionMetadata { partition, ..Default::default() };
    let topic = TopicMetadata {
        name: name.to_owned(),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    MetadataResult { topics: vec![topic], ..Default::default() }
}

fn appended(offsets: &[i64]) -> ProduceResult {
    let result = |(index, &base_offset)| ProducePartitionResult {
        request_index: index as u32,
        base_offset,
        durability: "fsync".to_owned(),
        ..Default::default()
    };
    ProduceResult { partitions: offsets.iter().enumerate().map(result).collect() }
}

fn refused(code: ErrorCode) -> ProduceResult {
    let error = Some(message::Error::new(code, "no"));
    let result = ProducePartitionResult { error, ..Default::default() };
    ProduceResult { partitions: vec![result] }
}

/// A producer that has its id, over `client`.
async fn start(client: Client, config: ProducerConfig, server: &mut FakeServer) -> Producer {
    let script = async {
        let asked = server.asked().await;
        assert!(matches!(asked.operation, Operation::InitProducer(_)));
        let result = InitProducerResult { producer_id: 7, producer_epoch: 0 };
        server.answer(asked.stream, result).await;
    };
    let (producer, ()) = tokio::join!(Producer::new(client, config), script);
    producer.expect("starts")
}

/// Every record its own batch.
fn single() -> ProducerConfig {
    ProducerConfig { batch_bytes: 1, ..ProducerConfig::default() }
}

async fn enqueue(producer: &Producer, value: &str) -> DeliveryHandle {
    let record = ProducerRecord::new("t", value.to_owned());
    producer.enqueue(record).await.expect("accepted")
}

fn offset(delivery: Result<Delivery, ClientError>) -> i64 {
    delivery.expect("delivered").offset
}

#[tokio::test(start_paused = true)]
async fn records_gather_into_one_batch_and_each_learns_its_offset() {
    let (client, mut server) = connected().await;
    let config = ProducerConfig { linger: Duration::from_millis(5), ..Default::default() };
    let producer = start(client, config, &mut server).await;
    let handles = [
        enqueue(&producer, "a").await,
        enqueue(&producer, "b").await,
        enqueue(&producer, "c").await,
    ];
    let batch = produced(&mut server).await;
    assert_eq!(batch.number(), (0, 0));
    assert_eq!(batch.values(), ["a", "b", "c"]);
    server.answer(batch.stream, appended(&[40])).await;
    for (handle, expected) in handles.into_iter().zip(40..) {
        let delivery = handle.await.expect("delivered");
        let durability = Some(Durability::Fsync);
        assert_eq!(delivery, Delivery { partition: 0, offset: expected, durability });
    }
}

#[tokio::test(start_paused = true)]
async fn keys_choose_partitions_and_one_request_carries_several() {
    let (client, mut server) = connected().await;
    let config = ProducerConfig { linger: Duration::from_millis(5), ..Default::default() };
    let producer = start(client, config, &mut server).await;
    let mut handles = Vec::new();
    for partition in [2, 0, 1] {
        let record = ProducerRecord {
            partition: Some(partition),
            ..ProducerRecord::new("t", format!("to {partition}"))
        };
        handles.push(producer.enqueue(record).await.expect("accepted"));
    }
    let key = Some(Bytes::from_static(b"foobar"));
    let keyed = ProducerRecord { key, ..ProducerRecord::new("t", "keyed") };
    handles.push(producer.enqueue(keyed).await.expect("accepted"));
    let nowhere = ProducerRecord { partition: Some(3), ..ProducerRecord::new("t", "nowhere") };
    let nowhere = producer.enqueue(nowhere).await.expect("accepted");

    let request = try_produced(&mut server, 3).await.expect("produced");
    let places: Vec<_> = request.entries.iter().map(|(_, partition, _)| *partition).collect();
    assert_eq!(places, [0, 1, 2]);
    server.answer(request.stream, appended(&[10, 20, 30])).await;
    let mut deliveries = Vec::new();
    for handle in handles {
        let delivery = handle.await.expect("delivered");
        deliveries.push((delivery.partition, delivery.offset));
    }
    let partition = crate::partitioner::partition_for_key(b"foobar", 3).0;
    let second = i64::from(partition) * 10 + 11;
    assert_eq!(deliveries, [(2, 30), (0, 10), (1, 20), (partition, second)]);
    assert!(matches!(nowhere.await, Err(ClientError::Record(_))));
}

/// P1, D5: what was under way goes out again in the same order under the same numbers.
#[tokio::test(start_paused = true)]
async fn after_a_disconnect_batches_are_repeated_in_order_under_their_numbers() {
    let listener = FakeListener::new();
    let (client, mut server) = listener.connected().await;
    let producer = start(client, single(), &mut server).await;
    let handles = [
        enqueue(&producer, "a").await,
        enqueue(&producer, "b").await,
        enqueue(&producer, "c").await,
    ];
    for sequence in 0..3 {
        assert_eq!(produced(&mut server).await.number(), (0, sequence));
    }
    drop(server);
    let mut server = listener.accept().await;
    for (sequence, value) in ["a", "b", "c"].into_iter().enumerate() {
        let request = produced(&mut server).await;
        assert_eq!(request.number(), (0, sequence as i32));
        assert_eq!(request.values(), [value]);
        server.answer(request.stream, appended(&[sequence as i64])).await;
    }
    for (handle, expected) in handles.into_iter().zip(0..) {
        assert_eq!(offset(handle.await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_holds_back_what_is_behind_it() {
    let (client, mut server) = connected().await;
    let producer = start(client, single(), &mut server).await;
    let first = enqueue(&producer, "a").await;
    let second = enqueue(&producer, "b").await;
    let requests = [produced(&mut server).await, produced(&mut server).await];
    server.answer(requests[0].stream, refused(ErrorCode::NotLeaderOrFollower)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let third = enqueue(&producer, "c").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The gap that the first left makes the second fail, and only then all go out again.
    server.answer(requests[1].stream, refused(ErrorCode::OutOfOrderSequence)).await;
    for sequence in 0..3 {
        let request = produced(&mut server).await;
        assert_eq!(request.number(), (0, sequence));
        server.answer(request.stream, appended(&[i64::from(sequence)])).await;
    }
    let offsets = [offset(first.await), offset(second.await), offset(third.await)];
    assert_eq!(offsets, [0, 1, 2]);
}

/// P3: the gap of a batch that failed for good is closed by a new epoch, and nothing behind it is
/// lost.
#[tokio::test(start_paused = true)]
async fn after_a_batch_fails_for_good_those_behind_it_get_a_new_epoch() {
    let (client, mut server) = connected().await;
    let producer = start(client, single(), &mut server).await;
    let bad = enqueue(&producer, "bad").await;
    let behind = [enqueue(&producer, "b").await, enqueue(&producer, "c").await];
    let requests =
        [produced(&mut server).await, produced(&mut server).await, produced(&mut server).await];
    server.answer(requests[0].stream, refused(ErrorCode::InvalidRecord)).await;
    for request in &requests[1..] {
        server.answer(request.stream, refused(ErrorCode::OutOfOrderSequence)).await;
    }
    assert_eq!(bad.await.expect_err("refused").code(), Some(ErrorCode::InvalidRecord));
    for sequence in 0..2 {
        let request = produced(&mut server).await;
        assert_eq!(request.number(), (1, sequence), "the next epoch begins at zero");
        server.answer(request.stream, appended(&[i64::from(sequence)])).await;
    }
    for (handle, expected) in behind.into_iter().zip(0..) {
        assert_eq!(offset(handle.await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_alone_leaves_no_gap() {
    let (client, mut server) = connected().await;
    let producer = start(client, single(), &mut server).await;
    let bad = enqueue(&producer, "bad").await;
    let request = produced(&mut server).await;
    server.answer(request.stream, refused(ErrorCode::MessageTooLarge)).await;
    assert_eq!(bad.await.expect_err("refused").code(), Some(ErrorCode::MessageTooLarge));
    let good = enqueue(&producer, "good").await;
    let request = produced(&mut server).await;
    assert_eq!(request.number(), (0, 0));
    server.answer(request.stream, appended(&[0])).await;
    assert_eq!(offset(good.await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_too_old_to_be_placed_counts_as_delivered() {
    let (client, mut server) = connected().await;
    let producer = start(client, single(), &mut server).await;
    let handle = enqueue(&producer, "a").await;
    let request = produced(&mut server).await;
    server.answer(request.stream, refused(ErrorCode::DuplicateSequence)).await;
    assert_eq!(offset(handle.await), -1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_answer_is_cancelled_and_repeated_until_delivery_is_given_up() {
    let (client, mut server) = connected().await;
    let config = ProducerConfig { delivery_timeout: Duration::from_secs(50), ..single() };
    let producer = start(client, config, &mut server).await;
    let began = Instant::now();
    let handle = enqueue(&producer, "a").await;
    let script = async {
        for _ in 0..2 {
            let request = produced(&mut server).await;
            assert_eq!(request.number(), (0, 0));
            // The connection itself is well: it answers pings.
            loop {
                let (fixed, _, payload) = server.frame().await;
                match fixed.kind {
                    Kind::Cancel => break,
                    _ => server.pong(&payload).await,
                }
            }
            server.refuse(request.stream, message::Error::default()).await;
        }
    };
    let (outcome, ()) = tokio::join!(handle, script);
    let error = outcome.expect_err("given up");
    let waited = began.elapsed();
    assert!(matches!(error, ClientError::Timeout { operation: "Produce", .. }), "{error}");
    assert!(error.is_uncertain());
    assert!(waited >= Duration::from_secs(50) && waited < Duration::from_secs(61), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_and_bytes_waiting_are_bounded() {
    let (client, mut server) = connected().await;
    let config = ProducerConfig { in_flight: 2, buffer_bytes: 4 * 129, ..single() };
    let producer = start(client, config, &mut server).await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(enqueue(&producer, "x").await);
    }
    let fifth = enqueue(&producer, "x");
    tokio::pin!(fifth);
    let first = produced(&mut server).await;
    produced(&mut server).await;
    let wait = Duration::from_secs(1);
    assert!(tokio::time::timeout(wait, &mut fifth).await.is_err(), "the buffer is full");
    assert!(tokio::time::timeout(wait, produced(&mut server)).await.is_err(), "two are under way");
    server.answer(first.stream, appended(&[0])).await;
    handles.push(tokio::time::timeout(wait, fifth).await.expect("there is room again"));
    assert_eq!(produced(&mut server).await.number(), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_lingering_and_waits_for_what_was_accepted_before_it() {
    let (client, mut server) = connected().await;
    let config = ProducerConfig { linger: Duration::from_secs(90), ..Default::default() };
    let producer = start(client, config, &mut server).await;
    let began = Instant::now();
    let handle = enqueue(&producer, "a").await;
    let script = async {
        let request = produced(&mut server).await;
        server.answer(request.stream, appended(&[0])).await;
    };
    let (flushed, ()) = tokio::join!(producer.flush(), script);
    flushed.expect("flushed");
    assert_eq!(offset(handle.await), 0);
    assert!(began.elapsed() < Duration::from_secs(1));
    producer.flush().await.expect("nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_sent_after_the_last_handle_is_gone() {
    let (client, mut server) = connected().await;
    let config = ProducerConfig { linger: Duration::from_secs(90), ..Default::default() };
    let producer = start(client, config, &mut server).await;
    let handle = enqueue(&producer, "a").await;
    drop(producer);
    let request = produced(&mut server).await;
    server.answer(request.stream, appended(&[0])).await;
    assert_eq!(offset(handle.await), 0);
    assert!(server.try_frame().await.is_none(), "then the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn whole_batches_are_numbered_without_idempotence_they_are_not() {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in [b"a", b"b"] {
        builder.push(&NewRecord { value: Some(value), ..NewRecord::default() });
    }
    let batch = builder.build();
    let topic: Arc<str> = "t".into();
    let (client, mut server) = connected().await;
    let producer = start(client, single(), &mut server).await;
    for sequence in [0, 2] {
        let handle = producer.send_batch(&topic, 5, batch.clone()).await.expect("accepted");
        let request = produced(&mut server).await;
        assert_eq!(request.number(), (0, sequence));
        server.answer(request.stream, appended(&[30])).await;
        assert_eq!(handle.await.expect("delivered").partition, 5);
    }
    let (client, mut server) = connected().await;
    let config = ProducerConfig { idempotent: false, acks: Acks::Leader, ..single() };
    let producer = Producer::new(client, config).await.expect("needs no id");
    let _handle = producer.send_batch(&topic, 0, batch.clone()).await.expect("accepted");
    let request = produced(&mut server).await;
    assert_eq!(request.entries[0].2.bytes(), batch.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_fails_its_records_at_once() {
    let (client, mut server) = connected().await;
    let producer = start(client, single(), &mut server).await;
    let handle = enqueue(&producer, "a").await;
    let asked = server.asked().await;
    let error = Some(message::Error::new(ErrorCode::UnknownTopicOrPartition, "no topic t"));
    let missing = TopicMetadata { error, name: "t".to_owned(), ..Default::default() };
    let result = MetadataResult { topics: vec![missing], ..Default::default() };
    server.answer(asked.stream, result).await;
    let error = handle.await.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let (client, _server) = connected().await;
    for config in [
        ProducerConfig { acks: Acks::Leader, ..Default::default() },
        ProducerConfig { in_flight: 6, ..Default::default() },
        ProducerConfig { batch_bytes: 0, ..Default::default() },
        ProducerConfig { batch_bytes: limits::BATCH_BYTES_MAX + 1, ..Default::default() },
    ] {
        let error = Producer::new(client.clone(), config).await.expect_err("refused");
        assert!(matches!(error, ClientError::Config(_)), "{error}");
    }
}

/// One partition as a broker keeps it: appends in sequence, knows the last five batches again,
/// refuses gaps.
#[derive(Default)]
struct Partition {
    log: Vec<String>,
    epoch: i16,
    next: i32,
    recent: Vec<(i16, i32, i64)>,
}

impl Partition {
    fn append(&mut self, batch: &CheckedBatch) -> ProduceResult {
        let (_, epoch, sequence) = batch.header().producer().expect("is numbered");
        let known = |&&(e, s, _): &&(i16, i32, i64)| (e, s) == (epoch.0, sequence.0);
        if let Some((_, _, base)) = self.recent.iter().find(known) {
            return appended(&[*base]);
        }
        if epoch.0 < self.epoch {
            return refused(ErrorCode::InvalidProducerEpoch);
        }
        let expected = if epoch.0 > self.epoch { 0 } else { self.next };
        if sequence.0 != expected {
            return refused(ErrorCode::OutOfOrderSequence);
        }
        let base = self.log.len() as i64;
        self.log.extend(values(batch));
        (self.epoch, self.next) = (epoch.0, sequence.plus(batch.header().records_count).0);
        self.recent.push((epoch.0, sequence.0, base));
        if self.recent.len() > limits::PRODUCER_BATCHES {
            self.recent.remove(0);
        }
        appended(&[base])
    }
}

/// Serves connections until the client is gone; disturbs every few requests.
async fn disturbed_broker(listener: FakeListener, first: FakeServer, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut partition = Partition::default();
    let mut server = first;
    loop {
        let Some(request) = try_produced(&mut server, 1).await else { return partition.log };
        let (_, _, batch) = &request.entries[0];
        match random.below(20) {
            // Lost before the append, after it, and an answer that got lost.
            0 => server = listener.accept_after(server).await,
            1 => {
                partition.append(batch);
                server = listener.accept_after(server).await;
            }
            2 => server.answer(request.stream, refused(ErrorCode::NotLeaderOrFollower)).await,
            3 => {
                partition.append(batch);
                server.answer(request.stream, refused(ErrorCode::RequestTimedOut)).await;
            }
            4 => server.answer(request.stream, refused(ErrorCode::InvalidRecord)).await,
            5 => {
                server.refuse(request.stream, message::Error::new(ErrorCode::Overloaded, "")).await
            }
            _ => server.answer(request.stream, partition.append(batch)).await,
        }
    }
}

/// D2, D5, P1: whatever happens on the way, what was acknowledged is there once, at its offset, in
/// the order of sending; what was refused is not there.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_doubled_or_reordered_whatever_happens() {
    for seed in 0..16 {
        let listener = FakeListener::new();
        let (client, mut server) = listener.connected().await;
        let config = ProducerConfig { batch_bytes: 100, ..Default::default() };
        let producer = start(client, config, &mut server).await;
        let broker = tokio::spawn(disturbed_broker(listener, server, seed));
        let mut handles = Vec::new();
        for number in 0..300 {
            handles.push(enqueue(&producer, &format!("{number:04}")).await);
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut outcomes = BTreeMap::new();
        for (number, handle) in handles.into_iter().enumerate() {
            outcomes.insert(format!("{number:04}"), handle.await);
        }
        drop(producer);
        let log = broker.await.expect("the broker runs");
        assert!(
            log.is_sorted() && log.windows(2).all(|pair| pair[0] != pair[1]),
            "{seed}: {log:?}"
        );
        for (value, outcome) in outcomes {
            match outcome {
                Ok(delivery) => assert_eq!(log[delivery.offset as usize], value, "seed {seed}"),
                Err(error) => {
                    assert_eq!(error.code(), Some(ErrorCode::InvalidRecord), "{seed}: {error}");
                    let there = log.contains(&value);
                    assert!(!there || error.is_uncertain(), "seed {seed}: {value} was refused");
                }
            }
        }
    }
}
