//! What a run asks of a broker, in either protocol: find, make and delete its topic, append and
//! fetch batches. Over Kafka's protocol nothing is used that only rivvend has, so that other
//! brokers can be measured in the same way.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use rivvend::client::{Client, ClientError, ClientOptions, Target};
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::kafka::{
    CreateTopicsRequest, CreateTopicsRequestConfig, CreateTopicsRequestTopic, DeleteTopicsRequest,
    DescribeConfigsRequest, DescribeConfigsRequestResource, ErrorCode as KafkaCode, FetchRequest,
    FetchRequestPartition, FetchRequestTopic, InitProducerIdRequest, ListOffsetsRequest,
    ListOffsetsRequestPartition, ListOffsetsRequestTopic, MetadataRequest, MetadataRequestTopic,
    ProduceRequest, ProduceRequestPartition, ProduceRequestTopic, Records, Text,
};
use rivvend::protocol::native::message::{
    CreateTopics, DeleteTopics, Fetch, FetchPartition, NewTopic, Produce, ProducePartition,
};
use rivvend::types::{Durability, ProducerEpoch, ProducerId};

use super::kafka::{Kafka, Refusal, accepted};

/// How long a broker may take over a request, as the request says, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;
/// How often, and how long apart, a broker is asked that is not ready yet.
const TRIES: u32 = 100;
const TRY_PAUSE: Duration = Duration::from_millis(100);
/// What [`ListOffsetsRequest`] calls the end of a partition.
const LATEST: i64 = -1;
/// What [`DescribeConfigsRequest`] calls a topic.
const TOPIC_RESOURCE: i8 = 2;

/// Versions that brokers of Kafka since 2.8 have as well as those of 4.4.
mod version {
    pub(super) const PRODUCE: i16 = 9;
    pub(super) const FETCH: i16 = 12;
    pub(super) const LIST_OFFSETS: i16 = 6;
    pub(super) const METADATA: i16 = 9;
    pub(super) const CREATE_TOPICS: i16 = 5;
    pub(super) const DELETE_TOPICS: i16 = 4;
    pub(super) const INIT_PRODUCER_ID: i16 = 4;
    pub(super) const DESCRIBE_CONFIGS: i16 = 4;
}

/// What a run speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// rivvend's own
    Native,
    /// That of Apache Kafka, also to brokers that are none of rivvend
    Kafka,
}

impl Protocol {
    /// As results name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Native => "native",
            Protocol::Kafka => "kafka",
        }
    }
}

/// A connection in one of the protocols.
#[derive(Debug)]
pub(super) enum Connection {
    Native(Client),
    Kafka(Kafka),
}

/// What a broker knows of a topic.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) partitions: i32,
    /// What an acknowledgement means: fsync or os.
    pub(super) durability: String,
}

/// A topic that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) partitions: i32,
    pub(super) durability: Durability,
    /// Where batches are larger than brokers take by default.
    pub(super) batch_bytes_max: Option<usize>,
}

/// A place in a topic from which batches are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// What came of one partition.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) partition: i32,
    pub(super) log_start_offset: i64,
    pub(super) high_watermark: i64,
    /// Whole batches, but perhaps for the last.
    pub(super) batches: Bytes,
}

/// How much is wanted, and for how long it is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    pub(super) max_bytes: u32,
    pub(super) max_wait_ms: u32,
}

impl Portion {
    /// As little as there is, at once.
    pub(super) const PROBE: Portion = Portion { max_bytes: 1, max_wait_ms: 0 };
}

impl Connection {
    /// Connects to a broker at `HOST:PORT`.
    pub(super) async fn open(
        protocol: Protocol,
        address: &str,
        options: ClientOptions,
    ) -> Result<Connection, ClientError> {
        Ok(match protocol {
            Protocol::Native => {
                let target = Target::Tcp(address.to_owned());
                Connection::Native(Client::connect(target, options).await?)
            }
            Protocol::Kafka => Connection::Kafka(Kafka::connect(address).await?),
        })
    }

    /// The client, where the native protocol is spoken.
    pub(super) fn native(&self) -> Option<&Client> {
        match self {
            Connection::Native(client) => Some(client),
            Connection::Kafka(_) => None,
        }
    }

    /// Appends one batch, once.
    pub(super) async fn append(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
        acks: i32,
    ) -> anyhow::Result<()> {
        match self {
            Connection::Native(client) => {
                let target = ProducePartition {
                    topic: topic.to_owned(),
                    partition,
                    data_bytes: batch.len() as u32,
                    expected_offset: None,
                };
                let produce = Produce { partitions: vec![target], acks };
                let results = client.produce(produce, batch).await?;
                let refused = results.into_iter().find_map(|result| result.error);
                Ok(refused.map_or(Ok(()), |error| Err(ClientError::server(error)))?)
            }
            Connection::Kafka(kafka) => append(kafka, topic, partition, batch, acks).await,
        }
    }

    /// An identity for a producer that numbers its batches.
    pub(super) async fn init_producer(&self) -> anyhow::Result<(ProducerId, ProducerEpoch)> {
        match self {
            Connection::Native(client) => {
                let granted = client.init_producer(None).await?;
                let epoch = i16::try_from(granted.producer_epoch)?;
                Ok((ProducerId(granted.producer_id), ProducerEpoch(epoch)))
            }
            Connection::Kafka(kafka) => init_producer(kafka).await,
        }
    }

    /// One fetch of one partition.
    pub(super) async fn fetch(
        &self,
        topic: &str,
        place: Place,
        portion: Portion,
    ) -> anyhow::Result<Fetched> {
        let fetched = match self {
            Connection::Native(client) => fetch_natively(client, topic, place, portion).await?,
            Connection::Kafka(kafka) => fetch_all(kafka, topic, &[place], portion).await?.pop(),
        };
        fetched.context("the broker sent nothing of the partition that was asked for")
    }

    /// What the broker knows of the topic; `None` when there is none of that name.
    pub(super) async fn find(&self, name: &str) -> anyhow::Result<Option<Found>> {
        match self {
            Connection::Native(client) => find_natively(client, name).await,
            Connection::Kafka(kafka) => find(kafka, name).await,
        }
    }

    /// Makes a topic.
    pub(super) async fn create(&self, wanted: Wanted<'_>) -> anyhow::Result<()> {
        match self {
            Connection::Native(client) => create_natively(client, wanted).await,
            Connection::Kafka(kafka) => create(kafka, wanted).await,
        }
    }

    /// Deletes a topic.
    pub(super) async fn delete(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Connection::Native(client) => {
                let delete = DeleteTopics { names: vec![name.to_owned()], validate_only: false };
                client.delete_topics(delete).await?;
            }
            Connection::Kafka(kafka) => {
                let request = DeleteTopicsRequest {
                    topic_names: vec![Text::from(name)],
                    timeout_ms: TIMEOUT_MS,
                    ..Default::default()
                };
                let deleted = kafka.ask(version::DELETE_TOPICS, &request, Bytes::new()).await?;
                for topic in deleted.responses {
                    accepted(topic.error_code, topic.error_message.as_ref())?;
                }
            }
        }
        Ok(())
    }
}

async fn append(
    kafka: &Kafka,
    topic: &str,
    partition: i32,
    batch: Bytes,
    acks: i32,
) -> anyhow::Result<()> {
    let records = Some(Records::Foreign { len: batch.len() as u64 });
    let request = ProduceRequest {
        transactional_id: None,
        acks: i16::try_from(acks)?,
        timeout_ms: TIMEOUT_MS,
        topic_data: vec![ProduceRequestTopic {
            name: Text::from(topic),
            partition_data: vec![ProduceRequestPartition { index: partition, records }],
            ..Default::default()
        }],
    };
    if acks == 0 {
        return kafka.tell(version::PRODUCE, &request, batch).await;
    }
    let answer = kafka.ask(version::PRODUCE, &request, batch).await?;
    for partition in answer.responses.into_iter().flat_map(|topic| topic.partition_responses) {
        accepted(partition.error_code, partition.error_message.as_ref())?;
    }
    Ok(())
}

/// Asks again for as long as the broker is not ready to answer: a new one takes its time.
async fn init_producer(kafka: &Kafka) -> anyhow::Result<(ProducerId, ProducerEpoch)> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: TIMEOUT_MS,
        ..Default::default()
    };
    let mut tries = 1;
    loop {
        let granted = kafka.ask(version::INIT_PRODUCER_ID, &request, Bytes::new()).await?;
        match accepted(granted.error_code, None) {
            Ok(()) => {
                let epoch = ProducerEpoch(granted.producer_epoch);
                return Ok((ProducerId(granted.producer_id), epoch));
            }
            Err(refusal) if refusal.code.retriable() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(TRY_PAUSE).await;
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

async fn fetch_natively(
    client: &Client,
    topic: &str,
    place: Place,
    portion: Portion,
) -> Result<Option<Fetched>, ClientError> {
    let Portion { max_bytes, max_wait_ms } = portion;
    let Place { partition, offset } = place;
    let asked = FetchPartition { topic: topic.to_owned(), partition, offset, max_bytes };
    let fetch = Fetch {
        partitions: vec![asked],
        max_bytes,
        min_bytes: 1,
        max_wait_ms,
        read_committed: false,
    };
    let Some((result, batches)) = client.fetch(fetch).await?.into_iter().next() else {
        return Ok(None);
    };
    if let Some(error) = result.error {
        return Err(ClientError::server(error));
    }
    Ok(Some(Fetched {
        partition,
        log_start_offset: result.log_start_offset,
        high_watermark: result.high_watermark,
        batches,
    }))
}

/// One fetch of several partitions over Kafka's protocol, without a session.
pub(super) async fn fetch_all(
    kafka: &Kafka,
    topic: &str,
    places: &[Place],
    portion: Portion,
) -> anyhow::Result<Vec<Fetched>> {
    let max_bytes = i32::try_from(portion.max_bytes)?;
    let partitions = places.iter().map(|place| FetchRequestPartition {
        partition: place.partition,
        fetch_offset: place.offset,
        partition_max_bytes: max_bytes,
        ..Default::default()
    });
    let topics = vec![FetchRequestTopic {
        topic: Text::from(topic),
        partitions: partitions.collect(),
        ..Default::default()
    }];
    let request = FetchRequest {
        max_wait_ms: i32::try_from(portion.max_wait_ms)?,
        min_bytes: 1,
        max_bytes,
        topics,
        ..Default::default()
    };
    let answer = kafka.ask(version::FETCH, &request, Bytes::new()).await?;
    accepted(answer.error_code, None)?;
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    let fetched = partitions.map(|partition| {
        accepted(partition.error_code, None)?;
        Ok(Fetched {
            partition: partition.partition_index,
            log_start_offset: partition.log_start_offset,
            high_watermark: partition.high_watermark,
            batches: match partition.records {
                Some(Records::Bytes(batches)) => batches,
                _ => Bytes::new(),
            },
        })
    });
    fetched.collect()
}

/// Where each of the partitions ends.
pub(super) async fn ends(
    kafka: &Kafka,
    topic: &str,
    partitions: &[i32],
) -> anyhow::Result<Vec<Place>> {
    let partitions = partitions.iter().map(|&partition_index| ListOffsetsRequestPartition {
        partition_index,
        timestamp: LATEST,
        ..Default::default()
    });
    let topics =
        vec![ListOffsetsRequestTopic { name: Text::from(topic), partitions: partitions.collect() }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let answer = kafka.ask(version::LIST_OFFSETS, &request, Bytes::new()).await?;
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let ends = partitions.map(|partition| {
        accepted(partition.error_code, None)?;
        Ok(Place { partition: partition.partition_index, offset: partition.offset })
    });
    ends.collect()
}

async fn find_natively(client: &Client, name: &str) -> anyhow::Result<Option<Found>> {
    let found = client.metadata(&[name], false).await?.topics.into_iter().next();
    let Some(topic) = found else { return Ok(None) };
    match &topic.error {
        None => {
            let partitions = i32::try_from(topic.partitions.len())?;
            Ok(Some(Found { partitions, durability: topic.durability }))
        }
        Some(error) if error.error_code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(None),
        Some(error) => Err(ClientError::server(error.clone()).into()),
    }
}

async fn find(kafka: &Kafka, name: &str) -> anyhow::Result<Option<Found>> {
    let topic = MetadataRequestTopic { name: Some(Text::from(name)), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = kafka.ask(version::METADATA, &request, Bytes::new()).await?;
    let Some(topic) = answer.topics.into_iter().next() else { return Ok(None) };
    match accepted(topic.error_code, None) {
        Err(Refusal { code: KafkaCode::UnknownTopicOrPartition, .. }) => return Ok(None),
        accepted => accepted?,
    }
    for partition in &topic.partitions {
        accepted(partition.error_code, None)?;
    }
    let leader = topic.partitions.first().map(|partition| partition.leader_id);
    anyhow::ensure!(
        topic.partitions.iter().all(|partition| Some(partition.leader_id) == leader),
        "the partitions of {name} have leaders on several nodes: bench speaks to one, so use a \
         topic with one partition and the address of its leader"
    );
    let partitions = i32::try_from(topic.partitions.len())?;
    Ok(Some(Found { partitions, durability: durability(kafka, name).await? }))
}

/// What an acknowledgement means there. Kafka, which has no such setting, syncs before it answers
/// when it has to flush after every message.
async fn durability(kafka: &Kafka, name: &str) -> anyhow::Result<String> {
    let resource = DescribeConfigsRequestResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: Text::from(name),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = kafka.ask(version::DESCRIBE_CONFIGS, &request, Bytes::new()).await?;
    let mut durability = "os".to_owned();
    for resource in answer.results {
        accepted(resource.error_code, resource.error_message.as_ref())?;
        for config in resource.configs {
            match (&*config.name, config.value.as_deref()) {
                ("durability", Some(value)) => return Ok(value.to_owned()),
                ("flush.messages", Some("1")) => "fsync".clone_into(&mut durability),
                _ => {}
            }
        }
    }
    Ok(durability)
}

async fn create_natively(client: &Client, wanted: Wanted<'_>) -> anyhow::Result<()> {
    let mut config = vec![("durability", wanted.durability.as_str().to_owned())];
    config.extend(wanted.batch_bytes_max.map(|bytes| ("max.message.bytes", bytes.to_string())));
    let topic = NewTopic {
        name: wanted.name.to_owned(),
        partitions: wanted.partitions,
        replication_factor: -1,
        config: config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    let create = CreateTopics { topics: vec![topic], validate_only: false };
    for result in client.create_topics(create).await? {
        if let Some(error) = result.error {
            return Err(ClientError::server(error).into());
        }
    }
    Ok(())
}

async fn create(kafka: &Kafka, wanted: Wanted<'_>) -> anyhow::Result<()> {
    let ours = ("durability", wanted.durability.as_str());
    match create_with(kafka, wanted, Some(ours)).await? {
        // A broker that does not know the word is none of rivvend.
        Err(Refusal { code: KafkaCode::InvalidConfig, .. }) => {}
        created => return Ok(created?),
    }
    let theirs = match wanted.durability {
        Durability::Fsync => Some(("flush.messages", "1")),
        Durability::Os => None,
    };
    Ok(create_with(kafka, wanted, theirs).await??)
}

async fn create_with(
    kafka: &Kafka,
    wanted: Wanted<'_>,
    durability: Option<(&str, &str)>,
) -> anyhow::Result<Result<(), Refusal>> {
    let bytes = wanted.batch_bytes_max.map(|bytes| bytes.to_string());
    let size = bytes.as_deref().map(|bytes| ("max.message.bytes", bytes));
    let configs = durability.into_iter().chain(size).map(|(name, value)| {
        let value = Some(Text::from(value));
        CreateTopicsRequestConfig { name: Text::from(name), value }
    });
    let topic = CreateTopicsRequestTopic {
        name: Text::from(wanted.name),
        num_partitions: wanted.partitions,
        replication_factor: -1,
        configs: configs.collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer = kafka.ask(version::CREATE_TOPICS, &request, Bytes::new()).await?;
    let refused = answer.topics.iter().map(|t| accepted(t.error_code, t.error_message.as_ref()));
    Ok(refused.collect())
}
