//! The task that owns everything a producer has: topics and their queues, requests under way, the
//! producer id. Everything reaches it through channels, so there is nothing to lock.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::batch::{Acknowledge, Batch, Identity, Waiter};
use super::queue::{Accepted, Finished, Queue, Tag, Times};
use super::{Delivery, ProducerConfig, ProducerRecord};
use crate::client::command::{CallId, Command, Outcome, Reply};
use crate::client::{Client, ClientError};
use crate::limits;
use crate::partitioner::{LINGER_MS_DEFAULT, StickyPartitioner, Unplaced};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    InitProducerResult, Produce, ProducePartition, ProducePartitionResult, TopicMetadata, response,
};
use crate::random::Random;
use crate::record::{BatchBuilder, CheckedBatch, NewRecord};
use crate::time::Now;
use crate::types::{Durability, Millis, PartitionId, ProducerEpoch, ProducerId};

/// Inputs that are handled before requests are looked at again.
const INBOX_MAX: usize = 1_024;
/// Room in a request for everything but the batches.
const REQUEST_HEADER_BYTES: usize = 64 * 1024;
/// Age at which the number of a topic's partitions is asked for anew.
const METADATA_AGE_MAX: Duration = Duration::from_secs(300);
/// Pause before the metadata of a topic that is being created is asked for again.
const METADATA_PAUSE: Duration = Duration::from_millis(50);

/// A topic and one of its partitions.
pub(super) type Place = (Arc<str>, i32);

/// Both ends of a queue to the task itself. What may be in it is bounded by what the task started.
type Inbox<T> = (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>);

/// What the handles ask of the task.
pub(super) enum Input {
    Record {
        record: ProducerRecord,
        cost: usize,
        acknowledge: Waiter,
    },
    Batch {
        place: Place,
        batch: CheckedBatch,
        /// The offset that its first record must get.
        expected_offset: Option<i64>,
        cost: usize,
        acknowledge: Acknowledge,
    },
    Flush(oneshot::Sender<()>),
}

/// What calls on the side come back with.
enum News {
    Topic(Arc<str>, Box<Result<TopicMetadata, ClientError>>),
    Identity(Result<Identity, ClientError>),
}

/// A record that waits for its topic's metadata.
struct Unsorted {
    record: ProducerRecord,
    cost: usize,
    acknowledge: Waiter,
}

/// What is known of a topic.
struct Topic {
    /// Zero: not known yet.
    partitions: i32,
    batch_bytes: usize,
    asked: Instant,
    asking: bool,
    sticky: StickyPartitioner,
    unsorted: Vec<Unsorted>,
}

/// A produce request that is not answered yet.
struct Request {
    call: CallId,
    deadline: Instant,
    places: Vec<Place>,
}

/// What one request will carry.
#[derive(Default)]
struct Gathered {
    partitions: Vec<ProducePartition>,
    payload: Vec<Bytes>,
    places: Vec<Place>,
}

/// Everything a producer has.
pub(super) struct Task {
    client: Client,
    config: ProducerConfig,
    buffer: Arc<Semaphore>,
    inputs: mpsc::UnboundedReceiver<Input>,
    answers: Inbox<(Tag, Outcome)>,
    news: Inbox<News>,
    identity: Option<Identity>,
    renewing: bool,
    topics: BTreeMap<Arc<str>, Topic>,
    queues: BTreeMap<Place, Queue>,
    /// The queues that have something to do, and the one served last.
    active: BTreeSet<Place>,
    served: Option<Place>,
    requests: BTreeMap<Tag, Request>,
    next_tag: Tag,
    next_order: u64,
    /// Who waits for a flush, and the order up to which everything must be finished; `None` until
    /// all records before it have found their queue.
    flushes: Vec<(oneshot::Sender<()>, Option<u64>)>,
    /// Everything begun before this is sent without lingering.
    hurry: u64,
    closing: bool,
    random: Random,
    started: Instant,
}

impl Task {
    pub(super) async fn new(
        client: Client,
        config: ProducerConfig,
        buffer: Arc<Semaphore>,
        inputs: mpsc::UnboundedReceiver<Input>,
    ) -> Result<Task, ClientError> {
        let identity = match config.idempotent {
            true => Some(identity(&client.init_producer(None).await?)?),
            false => None,
        };
        // Producers must not all begin with the same partition; nothing else hangs on the seed.
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Ok(Task {
            client,
            config,
            buffer,
            inputs,
            answers: mpsc::unbounded_channel(),
            news: mpsc::unbounded_channel(),
            identity,
            renewing: false,
            topics: BTreeMap::new(),
            queues: BTreeMap::new(),
            active: BTreeSet::new(),
            served: None,
            requests: BTreeMap::new(),
            next_tag: 0,
            next_order: 0,
            flushes: Vec::new(),
            hurry: 0,
            closing: false,
            random: Random::new(seed),
            started: Instant::now(),
        })
    }

    /// Runs until every handle is gone and everything accepted is finished.
    pub(super) async fn run(mut self) {
        let mut inbox = Vec::new();
        loop {
            let wake = self.next_deadline(Instant::now());
            let sleep = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now));
            tokio::select! {
                Some((tag, outcome)) = self.answers.1.recv() => self.answered(tag, outcome),
                Some(news) = self.news.1.recv() => self.learned(news),
                count = self.inputs.recv_many(&mut inbox, INBOX_MAX), if !self.closing => {
                    self.closing = count == 0;
                }
                () = sleep, if wake.is_some() => {}
            }
            while let Ok((tag, outcome)) = self.answers.1.try_recv() {
                self.answered(tag, outcome);
            }
            let now = self.now();
            for input in inbox.drain(..) {
                self.accept(input, now);
            }
            self.begin_flushes();
            self.expire(Instant::now());
            if let Err(error) = self.send_ready().await {
                self.fail_all(&error);
            }
            self.renew_identity();
            self.finish_flushes();
            if self.closing && self.is_done() {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.active.is_empty() && self.topics.values().all(|topic| topic.unsorted.is_empty())
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let requests = self.requests.values().map(|request| request.deadline);
        let queues = self.active.iter().filter_map(|place| self.queues[place].next_deadline(now));
        requests.chain(queues).min()
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            wall: Millis(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
            monotonic_ms: self.started.elapsed().as_millis() as u64,
        }
    }

    fn accept(&mut self, input: Input, now: Now) {
        match input {
            Input::Record { mut record, cost, acknowledge } => {
                record.timestamp.get_or_insert(now.wall.0);
                self.sort(Unsorted { record, cost, acknowledge }, now);
            }
            Input::Batch { place, batch, expected_offset, cost, acknowledge } => {
                let deadline = Instant::now() + self.config.delivery_timeout;
                let mut batch = Batch::new(self.order(), &batch, deadline, cost, acknowledge);
                batch.expected_offset = expected_offset;
                self.queue(place).push_batch(batch);
            }
            Input::Flush(done) => self.flushes.push((done, None)),
        }
    }

    fn order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order - 1
    }

    /// The queue of a place, which from now on has something to do.
    fn queue(&mut self, place: Place) -> &mut Queue {
        self.active.insert(place.clone());
        let times = Times { linger: self.config.linger, delivery: self.config.delivery_timeout };
        let identity = self.identity;
        self.queues.entry(place).or_insert_with(|| Queue::new(times, identity))
    }

    /// Puts a record into its queue, or aside until its topic is known.
    fn sort(&mut self, unsorted: Unsorted, now: Now) {
        let topic = self.topic(&unsorted.record.topic);
        if topic.partitions == 0 {
            topic.unsorted.push(unsorted);
            return;
        }
        let Unsorted { record, cost, acknowledge } = unsorted;
        let partitions = topic.partitions;
        let unplaced = Unplaced {
            partition: record.partition.map(PartitionId),
            key: record.key.as_deref(),
            bytes: cost,
        };
        let batch_bytes = topic.batch_bytes;
        // Taken out for a moment, since the generator is the task's.
        let mut sticky = std::mem::take(&mut topic.sticky);
        let placed = sticky.place(&unplaced, partitions, now, &mut self.random);
        self.topic(&record.topic).sticky = sticky;
        let Some(partition) = placed else {
            let error = no_such_partition(&record, partitions);
            self.give_back(cost);
            drop(acknowledge.send(Err(error)));
            return;
        };
        self.fill(partition.0, record, batch_bytes, Accepted { waiter: acknowledge, cost });
    }

    fn fill(
        &mut self,
        partition: i32,
        record: ProducerRecord,
        batch_bytes: usize,
        accepted: Accepted,
    ) {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let new = NewRecord {
            timestamp: Millis(record.timestamp.unwrap_or(-1)),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        let (order, compression) = (self.next_order, self.config.compression);
        let level = self.config.compression_level;
        let queue = self.queue((record.topic, partition));
        if queue.fits(&new, batch_bytes) {
            queue.push(&new, accepted);
            return;
        }
        let builder = BatchBuilder::new(compression).level(level);
        // Alone in its batch a record may exceed what batches aim at, but not what there can be.
        if builder.fits(&new, limits::BATCH_BYTES_MAX) {
            queue.begin(order, builder, Instant::now());
            queue.push(&new, accepted);
            self.next_order += 1;
            return;
        }
        let (bytes, limit) = (accepted.cost, limits::BATCH_BYTES_MAX);
        self.give_back(accepted.cost);
        drop(accepted.waiter.send(Err(ClientError::TooLarge { bytes, limit })));
    }

    /// What is known of a topic; asks for it when that is nothing, or old.
    fn topic(&mut self, name: &Arc<str>) -> &mut Topic {
        let now = Instant::now();
        if !self.topics.contains_key(name) {
            let linger = (self.config.linger.as_millis() as u64).max(LINGER_MS_DEFAULT);
            let topic = Topic {
                partitions: 0,
                batch_bytes: self.config.batch_bytes,
                asked: now,
                asking: false,
                sticky: StickyPartitioner::new(self.config.batch_bytes, linger),
                unsorted: Vec::new(),
            };
            self.topics.insert(Arc::clone(name), topic);
        }
        let topic = self.topics.get_mut(name).expect("was inserted if it was not there");
        let stale = topic.partitions == 0 || now >= topic.asked + METADATA_AGE_MAX;
        if stale && !topic.asking {
            topic.asking = true;
            topic.asked = now;
            let (client, news) = (self.client.clone(), self.news.0.clone());
            let (name, create) = (Arc::clone(name), self.config.auto_create);
            tokio::spawn(async move {
                let found = find_topic(&client, &name, create).await;
                drop(news.send(News::Topic(name, Box::new(found))));
            });
        }
        topic
    }

    fn learned(&mut self, news: News) {
        match news {
            News::Topic(name, found) => self.learned_topic(&name, *found),
            News::Identity(Ok(identity)) => {
                self.renewing = false;
                self.identity = Some(identity);
            }
            // Without a new epoch the numbers can not go on; those who wait learn why.
            News::Identity(Err(error)) => {
                self.renewing = false;
                self.fail_all(&error);
            }
        }
    }

    fn learned_topic(&mut self, name: &Arc<str>, found: Result<TopicMetadata, ClientError>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.asking = false;
        match found {
            Ok(metadata) => {
                topic.partitions = i32::try_from(metadata.partitions.len()).unwrap_or(i32::MAX);
                let max = metadata.max_message_bytes as usize;
                let wanted = self.config.batch_bytes;
                topic.batch_bytes = if max == 0 { wanted } else { wanted.min(max) };
                let unsorted = std::mem::take(&mut topic.unsorted);
                let now = self.now();
                unsorted.into_iter().for_each(|unsorted| self.sort(unsorted, now));
            }
            // What was known stays good enough; the next record asks again.
            Err(_) if topic.partitions > 0 => {}
            Err(error) => {
                for unsorted in std::mem::take(&mut topic.unsorted) {
                    self.give_back(unsorted.cost);
                    drop(unsorted.acknowledge.send(Err(error.clone())));
                }
            }
        }
    }

    /// Sends requests while there are batches that may go and the limit allows it.
    async fn send_ready(&mut self) -> Result<(), ClientError> {
        while self.requests.len() < self.config.in_flight {
            let tag = self.next_tag;
            let Some(gathered) = self.gather(tag) else { return Ok(()) };
            let Gathered { partitions, payload, places } = gathered;
            self.next_tag += 1;
            let deadline = Instant::now() + self.client.options().request_timeout;
            let produce = Produce { partitions, acks: self.config.acks.code() };
            let reply = Reply::Tagged(tag, self.answers.0.clone());
            let call = self.client.start(produce.into(), payload, reply, deadline).await?;
            self.requests.insert(tag, Request { call, deadline, places });
        }
        Ok(())
    }

    /// Takes a batch from each queue that has one ready, as many as fit in a request, beginning
    /// after the one that was served last.
    fn gather(&mut self, tag: Tag) -> Option<Gathered> {
        let now = Instant::now();
        let limit = self.client.server().frame_bytes_max as usize;
        let limit = limit.min(limits::FRAME_BYTES_MAX).saturating_sub(REQUEST_HEADER_BYTES);
        let mut gathered = Gathered::default();
        let mut bytes = 0;
        for place in self.turn() {
            let queue = self.queues.get_mut(&place).expect("active places have queues");
            let hurry = self.closing || queue.oldest().is_some_and(|order| order < self.hurry);
            let Some(size) = queue.ready(now, self.identity, hurry) else { continue };
            if bytes > 0 && bytes + size > limit {
                break;
            }
            bytes += size;
            let batch = queue.take(tag);
            batch.put(&mut gathered.payload);
            gathered.partitions.push(ProducePartition {
                topic: place.0.to_string(),
                partition: place.1,
                data_bytes: size as u32,
                expected_offset: batch.expected_offset,
            });
            self.served = Some(place.clone());
            gathered.places.push(place);
            if gathered.places.len() == limits::REQUEST_PARTITIONS_MAX {
                break;
            }
        }
        (!gathered.places.is_empty()).then_some(gathered)
    }

    /// The active places, beginning after the one that was served last.
    fn turn(&self) -> Vec<Place> {
        let Some(served) = &self.served else { return self.active.iter().cloned().collect() };
        let after = self.active.range((Bound::Excluded(served), Bound::Unbounded));
        let before = self.active.range::<Place, _>(..=served);
        after.chain(before).cloned().collect()
    }

    fn answered(&mut self, tag: Tag, outcome: Outcome) {
        // After a time-out an answer may still come, and is too late.
        let Some(request) = self.requests.remove(&tag) else { return };
        let results = outcome.and_then(|(response, _)| match response.result {
            Some(response::Result::Produce(produced)) => Ok(produced.partitions),
            _ => Err(self.client.unexpected("Produce")),
        });
        match results {
            Err(error) => {
                for place in &request.places {
                    self.settle(place, tag, Err(error.clone()));
                }
            }
            Ok(results) => {
                for result in results {
                    if let Some(place) = request.places.get(result.request_index as usize) {
                        self.settle(place, tag, delivery(place.1, result));
                    }
                }
                for place in &request.places {
                    if self.queues[place].is_under_way(tag) {
                        self.settle(place, tag, Err(self.client.unexpected("Produce")));
                    }
                }
            }
        }
    }

    /// Ends one batch of a request, for good or until it is sent again.
    fn settle(&mut self, place: &Place, tag: Tag, outcome: Result<Delivery, ClientError>) {
        let failed = outcome.is_err();
        let Some(queue) = self.queues.get_mut(place) else { return };
        let finished = queue.answer(tag, outcome, Instant::now());
        if queue.is_idle() {
            self.active.remove(place);
        }
        if failed && let Some(topic) = self.topics.get_mut(&place.0) {
            topic.sticky.turn();
        }
        self.finish(finished);
    }

    fn finish(&self, finished: impl IntoIterator<Item = Finished>) {
        for Finished { batch, outcome } in finished {
            self.give_back(batch.cost);
            batch.finish(outcome);
        }
    }

    fn give_back(&self, cost: usize) {
        self.buffer.add_permits(cost);
    }

    /// Gives up requests and batches whose time is over.
    fn expire(&mut self, now: Instant) {
        let late = self.requests.iter().filter(|(_, request)| request.deadline <= now);
        let late: Vec<Tag> = late.map(|(&tag, _)| tag).collect();
        for tag in late {
            let Some(request) = self.requests.get(&tag) else { continue };
            // A full queue only means that the answer will come and be thrown away.
            drop(self.client.commands.try_send(Command::Cancel(request.call)));
            let error = self.client.late("Produce", self.client.options().request_timeout);
            self.answered(tag, Err(error));
        }
        let mut expired = Vec::new();
        let queues = &mut self.queues;
        self.active.retain(|place| {
            let queue = queues.get_mut(place).expect("active places have queues");
            expired.extend(queue.expire(now));
            !queue.is_idle()
        });
        self.finish(expired);
    }

    /// Asks for a new epoch when a queue can not go on without one.
    fn renew_identity(&mut self) {
        let Some(present) = self.identity else { return };
        let wants = |place: &Place| self.queues[place].wants_identity(present);
        if self.renewing || !self.active.iter().any(wants) {
            return;
        }
        self.renewing = true;
        let (client, news) = (self.client.clone(), self.news.0.clone());
        tokio::spawn(async move {
            drop(news.send(News::Identity(next_identity(&client, present).await)));
        });
    }

    /// Fixes what a flush waits for, once every record before it has found its queue.
    fn begin_flushes(&mut self) {
        let settled = self.topics.values().all(|topic| topic.unsorted.is_empty());
        for (_, target) in &mut self.flushes {
            if settled && target.is_none() {
                *target = Some(self.next_order);
                self.hurry = self.next_order;
            }
        }
    }

    fn finish_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let oldest = self.active.iter().filter_map(|place| self.queues[place].oldest()).min();
        let is_over = |target: Option<u64>| match (target, oldest) {
            (Some(target), Some(oldest)) => oldest >= target,
            (Some(_), None) => true,
            (None, _) => false,
        };
        for (done, target) in std::mem::take(&mut self.flushes) {
            if is_over(target) {
                let _ = done.send(());
            } else {
                self.flushes.push((done, target));
            }
        }
    }

    fn fail_all(&mut self, error: &ClientError) {
        let mut finished = Vec::new();
        for place in std::mem::take(&mut self.active) {
            let queue = self.queues.get_mut(&place).expect("active places have queues");
            finished.extend(queue.fail_all(error));
        }
        self.requests.clear();
        self.finish(finished);
    }
}

fn no_such_partition(record: &ProducerRecord, partitions: i32) -> ClientError {
    let (topic, partition) = (&record.topic, record.partition.unwrap_or(-1));
    ClientError::Record(format!(
        "topic {topic} has partitions 0 to {}, none is {partition}",
        partitions - 1
    ))
}

/// What the server says of one partition, as the outcome of its batch.
fn delivery(partition: i32, result: ProducePartitionResult) -> Result<Delivery, ClientError> {
    let durability = result.durability.parse::<Durability>().ok();
    match result.error {
        None => Ok(Delivery { partition, offset: result.base_offset, durability }),
        // The broker has it for so long that it forgot where.
        Some(error) if error.error_code() == Some(ErrorCode::DuplicateSequence) => {
            Ok(Delivery { partition, offset: -1, durability })
        }
        Some(error) => Err(ClientError::server(error)),
    }
}

fn identity(result: &InitProducerResult) -> Result<Identity, ClientError> {
    let epoch = i16::try_from(result.producer_epoch);
    match (result.producer_id, epoch) {
        (id @ 0.., Ok(epoch @ 0..)) => {
            Ok(Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) })
        }
        (id, _) => Err(ClientError::Protocol {
            target: "the server".to_owned(),
            reason: format!("producer {id} with epoch {} can not be", result.producer_epoch),
        }),
    }
}

/// The next epoch, or a new id where the old one is not known any more.
async fn next_identity(client: &Client, present: Identity) -> Result<Identity, ClientError> {
    let named = Some((present.id.0, i32::from(present.epoch.0)));
    let result = match client.init_producer(named).await {
        Err(ClientError::Server(_)) => client.init_producer(None).await,
        other => other,
    };
    identity(&result?)
}

/// Asks for a topic until it exists, if it ever will.
async fn find_topic(
    client: &Client,
    name: &str,
    create: bool,
) -> Result<TopicMetadata, ClientError> {
    let deadline = Instant::now() + client.options().request_timeout;
    loop {
        let found = client.metadata(&[name], create).await?.topics;
        let topic = found.into_iter().find(|topic| topic.name == name);
        let topic = topic.ok_or_else(|| client.unexpected("Metadata"))?;
        let error = match topic.error {
            None if !topic.partitions.is_empty() => return Ok(topic),
            None => return Err(client.unexpected("Metadata")),
            Some(error) => error,
        };
        // A topic that is not there will not come by itself, though Kafka calls that retriable.
        let missing = error.error_code() == Some(ErrorCode::UnknownTopicOrPartition);
        if missing || !error.retriable || Instant::now() + METADATA_PAUSE >= deadline {
            return Err(ClientError::server(error));
        }
        tokio::time::sleep(METADATA_PAUSE).await;
    }
}
