//! Producers and consumers that put a broker under load and note in a [`History`] what they were
//! promised and shown.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rivvend::client::{Client, ClientError, ClientOptions};
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{
    CreateTopics, Fetch, FetchPartition, NewTopic, Produce, ProducePartition,
};
use rivvend::random::Random;
use rivvend::record::{BatchBuilder, Batches, Compression, NewRecord, decode_records};
use rivvend::types::{Millis, ProducerEpoch, ProducerId, Sequence};

use super::broker::Broker;
use super::history::{History, Id};

pub(super) const TOPIC: &str = "load";
/// Small, so that logs roll often.
const SEGMENT_BYTES: u32 = 256 << 10;
/// Batches of one producer and partition under way, as many as a broker remembers.
const WINDOW: usize = 5;
const BATCH_RECORDS_MAX: u64 = 20;
const FETCH_BYTES: u32 = 4 << 20;

/// A topic under load and everything known about it.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) history: Arc<Mutex<History>>,
    pub(super) partitions: i32,
    stop: Arc<AtomicBool>,
}

/// Who sends: it lives as long as the test, over all restarts of the broker.
#[derive(Debug)]
pub(super) struct Producer {
    number: u64,
    identity: Option<(ProducerId, ProducerEpoch)>,
    lanes: BTreeMap<i32, Lane>,
    random: Random,
}

/// What a producer sends to one partition.
#[derive(Debug, Default)]
struct Lane {
    next: u64,
    /// Sent and not acknowledged, in order. Only an idempotent producer sends them again.
    waiting: VecDeque<Batch>,
}

#[derive(Clone, Debug)]
struct Batch {
    first: u64,
    count: u64,
    bytes: Bytes,
}

/// Whether a producer can go on.
enum Sent {
    All,
    /// The connection is gone.
    Broken,
}

impl Load {
    /// Makes the topic, and producers of which the first half is idempotent.
    pub(super) async fn begin(
        client: &Client,
        partitions: i32,
        producers: u64,
        seed: u64,
    ) -> (Load, Vec<Producer>) {
        create_topic(client, TOPIC, partitions, &[("segment.bytes", SEGMENT_BYTES.to_string())])
            .await;
        let mut all = Vec::new();
        for number in 0..producers {
            let identity = if number < producers.div_ceil(2) {
                let given = client.init_producer(None).await.expect("a producer id");
                let epoch = ProducerEpoch(given.producer_epoch as i16);
                Some((ProducerId(given.producer_id), epoch))
            } else {
                None
            };
            let random = Random::new(seed ^ (number << 32));
            all.push(Producer { number, identity, lanes: BTreeMap::new(), random });
        }
        let idempotent = all.iter().filter(|p| p.identity.is_some()).map(|p| p.number);
        let history = Arc::new(Mutex::new(History::new(partitions, idempotent)));
        (Load { history, partitions, stop: Arc::default() }, all)
    }

    /// Lets every producer and one consumer per partition work until the broker is gone or
    /// [`Load::stop`] is called; the producers come back for the next round.
    pub(super) fn run(
        &self,
        broker: &Broker,
        producers: Vec<Producer>,
    ) -> tokio::task::JoinHandle<Vec<Producer>> {
        self.stop.store(false, Ordering::Relaxed);
        let address = broker.native.to_string();
        let load = self.clone();
        tokio::spawn(async move {
            let consumers: Vec<_> = (0..load.partitions)
                .map(|partition| tokio::spawn(load.clone().consume(address.clone(), partition)))
                .collect();
            let tasks: Vec<_> = producers
                .into_iter()
                .map(|producer| tokio::spawn(load.clone().produce(address.clone(), producer)))
                .collect();
            let mut producers = Vec::new();
            for task in tasks {
                producers.push(task.await.expect("a producer does not panic"));
            }
            for consumer in consumers {
                // It would look for the broker for a while. A panic counts all the same.
                consumer.abort();
                let panicked = consumer.await.is_err_and(|error| error.is_panic());
                assert!(!panicked, "a consumer does not panic");
            }
            producers
        })
    }

    /// Runs as [`Load::run`] does, for as long as chance wants. The moment of what comes then is
    /// what is varied, so this waits for nothing in particular.
    pub(super) async fn run_a_while(
        &self,
        broker: &Broker,
        producers: Vec<Producer>,
        random: &mut Random,
    ) -> tokio::task::JoinHandle<Vec<Producer>> {
        let running = self.run(broker, producers);
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        running
    }

    /// Judges everything, of which there must be something.
    pub(super) async fn verify_all(&self, broker: &Broker) {
        self.verify(broker, true).await;
        let records = self.acked_records();
        assert!(records > 0, "something was acknowledged");
        eprintln!("{records} acknowledged records are where they were promised to be");
    }

    /// Ends the work under way; what was sent is still answered.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// All promises up to this moment.
    pub(super) fn snapshot(&self) -> History {
        self.history.lock().expect("no checker panicked").clone()
    }

    /// The same topic with older promises, for a copy that was made of it since.
    pub(super) fn with_promises_of(&self, mut promised: History) -> Load {
        promised.learn_sent(&self.history.lock().expect("no checker panicked"));
        Load { history: Arc::new(Mutex::new(promised)), ..self.clone() }
    }

    fn acked_records(&self) -> usize {
        self.history.lock().expect("no checker panicked").acked_records()
    }

    /// Reads what is new, or everything, and judges it.
    pub(super) async fn verify(&self, broker: &Broker, everything: bool) {
        let client = broker.client().await;
        if everything {
            self.history.lock().expect("no checker panicked").forget_verified();
        }
        for partition in 0..self.partitions {
            let from = self.history.lock().expect("no checker panicked").verified(partition);
            let records = read_all(&client, TOPIC, partition, from).await;
            let records: Vec<_> = records.iter().map(|(at, value)| (*at, Id::of(value))).collect();
            let verdict =
                self.history.lock().expect("no checker panicked").verify(partition, &records);
            verdict.unwrap_or_else(|broken| panic!("{broken}"));
        }
    }

    async fn produce(self, address: String, mut producer: Producer) -> Producer {
        let Some(client) = connect(address).await else { return producer };
        while !self.stop.load(Ordering::Relaxed) {
            let partition = producer.random.below(self.partitions as u64) as i32;
            producer.fill(partition, &self.history);
            if let Sent::Broken = producer.send(&client, partition, &self.history).await {
                break;
            }
        }
        producer
    }

    async fn consume(self, address: String, partition: i32) {
        let Some(client) = connect(address).await else { return };
        let mut from = self.history.lock().expect("no checker panicked").verified(partition);
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(records) = read(&client, TOPIC, partition, from, 200).await else { return };
            let mut history = self.history.lock().expect("no checker panicked");
            for (offset, value) in records.0 {
                history.see(partition, offset, Id::of(&value));
                from = offset + 1;
            }
        }
    }
}

impl Producer {
    /// Makes new batches until there are enough under way.
    fn fill(&mut self, partition: i32, history: &Mutex<History>) {
        let lane = self.lanes.entry(partition).or_default();
        let wanted = 1 + self.random.below(WINDOW as u64) as usize;
        while lane.waiting.len() < wanted {
            let count = 1 + self.random.below(BATCH_RECORDS_MAX);
            let mut builder = BatchBuilder::new(Compression::None);
            if let Some((id, epoch)) = self.identity {
                let sequence = i32::try_from(lane.next).expect("a test sends less than that");
                builder = builder.producer(id, epoch, Sequence(sequence));
            }
            for number in lane.next..lane.next + count {
                let value = Id { producer: self.number, number }.value();
                push(&mut builder, &value);
            }
            let bytes = builder.build().bytes().clone();
            lane.waiting.push_back(Batch { first: lane.next, count, bytes });
            lane.next += count;
        }
        history.lock().expect("no checker panicked").send(partition, self.number, lane.next);
    }

    /// Sends what is waiting, all at once and in order, and notes what became of it.
    async fn send(&mut self, client: &Client, partition: i32, history: &Mutex<History>) -> Sent {
        let lane = self.lanes.get_mut(&partition).expect("it was filled");
        let sends =
            lane.waiting.iter().map(|batch| append(client, TOPIC, partition, batch.bytes.clone()));
        let outcomes = futures_util::future::join_all(sends).await;
        let mut history = history.lock().expect("no checker panicked");
        let (mut sent, mut left) = (Sent::All, VecDeque::new());
        for (batch, outcome) in lane.waiting.drain(..).zip(outcomes) {
            let first = Id { producer: self.number, number: batch.first };
            match outcome {
                Ok(base) => history.ack(partition, base, first, batch.count),
                Err(error) => {
                    let follows = !left.is_empty();
                    let is_refusal = check_failure(&error, self.identity.is_some(), follows);
                    if error.code().is_none() {
                        sent = Sent::Broken;
                    }
                    if self.identity.is_some() {
                        left.push_back(batch);
                    } else if is_refusal {
                        history.refuse(partition, first, batch.count);
                    }
                }
            }
        }
        lane.waiting = left;
        sent
    }
}

/// Whether a failure says that the batch is not in the log. Failures that a sound broker never
/// answers with end the test.
fn check_failure(error: &ClientError, is_idempotent: bool, follows_failure: bool) -> bool {
    match error.code() {
        None => false,
        // A batch behind one that failed leaves a gap until both are sent again.
        Some(ErrorCode::OutOfOrderSequence) if is_idempotent && follows_failure => true,
        Some(ErrorCode::RequestTimedOut) => false,
        Some(_) if error.is_retriable() => true,
        Some(code) => panic!("the broker refused a right batch: {}: {error}", code.name()),
    }
}

async fn connect(address: String) -> Option<Client> {
    let options = ClientOptions {
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(10),
        ..ClientOptions::default()
    };
    Client::connect(rivvend::client::Target::Tcp(address), options).await.ok()
}

pub(super) fn push(builder: &mut BatchBuilder, value: &[u8]) {
    builder.push(&NewRecord { timestamp: now(), key: None, value: Some(value), headers: &[] });
}

pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Millis(since.as_millis() as i64)
}

/// A batch of these values.
pub(super) fn batch(values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        push(&mut builder, value);
    }
    builder.build().bytes().clone()
}

/// Creates a topic that must not exist yet.
pub(super) async fn create_topic(
    client: &Client,
    name: &str,
    partitions: i32,
    config: &[(&str, String)],
) {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let topic = NewTopic { name: name.to_owned(), partitions, replication_factor: -1, config };
    let create = CreateTopics { topics: vec![topic], validate_only: false };
    let created = client.create_topics(create).await.expect("an answer");
    assert_eq!(created[0].error, None, "{name} can be created");
}

/// Appends batches to a partition; the offset of the first record.
pub(super) async fn append(
    client: &Client,
    topic: &str,
    partition: i32,
    data: Bytes,
) -> Result<i64, ClientError> {
    let entry = ProducePartition {
        topic: topic.to_owned(),
        partition,
        data_bytes: data.len() as u32,
        expected_offset: None,
    };
    let mut results = client.produce(Produce { partitions: vec![entry], acks: -1 }, data).await?;
    assert_eq!(results.len(), 1, "one entry, one result");
    let result = results.remove(0);
    match result.error {
        Some(error) => Err(ClientError::server(error)),
        None => Ok(result.base_offset),
    }
}

/// Records with their offsets.
pub(super) type Values = Vec<(i64, Bytes)>;

/// Reads once from an offset on: the records, and the high watermark.
pub(super) async fn read(
    client: &Client,
    topic: &str,
    partition: i32,
    offset: i64,
    wait_ms: u32,
) -> Result<(Values, i64), ClientError> {
    let entry =
        FetchPartition { topic: topic.to_owned(), partition, offset, max_bytes: FETCH_BYTES };
    let fetch = Fetch {
        partitions: vec![entry],
        max_bytes: FETCH_BYTES,
        min_bytes: 1,
        max_wait_ms: wait_ms,
        read_committed: false,
    };
    let (result, bytes) = client.fetch(fetch).await?.remove(0);
    if let Some(error) = result.error {
        return Err(ClientError::server(error));
    }
    let mut values = Vec::new();
    for batch in Batches::new(bytes) {
        for record in decode_records(&batch.expect("a sound batch")).expect("sound records") {
            if record.offset.0 >= offset {
                values.push((record.offset.0, record.value.unwrap_or_default()));
            }
        }
    }
    Ok((values, result.high_watermark))
}

/// Reads everything from an offset on, up to the high watermark of the moment it began.
pub(super) async fn read_all(client: &Client, topic: &str, partition: i32, from: i64) -> Values {
    let mut values = Values::new();
    let mut next = from;
    loop {
        let (more, high_watermark) =
            read(client, topic, partition, next, 0).await.expect("a readable partition");
        if next >= high_watermark {
            assert_eq!(next, high_watermark, "nothing that was there is gone");
            return values;
        }
        assert!(!more.is_empty(), "{topic}/{partition}: nothing at {next} of {high_watermark}");
        values.extend(more);
        next = values.last().expect("not empty").0 + 1;
    }
}
