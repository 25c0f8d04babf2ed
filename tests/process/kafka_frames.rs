//! Bad input in Kafka's protocol against the live broker: each row of the list of bad inputs gets
//! the outcome it must get, the broker goes on serving others, and its memory stays bounded.
//! Requests are made by hand or by an independent codec, so that nothing is held against itself.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest, FetchRequest,
    FetchResponse, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, ProducerId as KafkaProducerId,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use rivvend::client::Client;
use rivvend::limits;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{DeleteTopics, DescribeTopics};
use rivvend::record::{BatchBuilder, Compression, NewRecord};
use rivvend::types::{Millis, ProducerEpoch, ProducerId, Sequence};

use super::batches::{bad_batches, bombs};
use super::broker::wait_until;
use super::frames::{TOPIC, Victim};
use super::kafka_wire::{KafkaWire, framed, framed_bytes, request};
use super::load::{batch, create_topic, now};

const MIB: u64 = 1 << 20;
/// The newest versions of these that name topics rather than give their ids.
const PRODUCE: i16 = 12;
const FETCH: i16 = 12;
const METADATA: i16 = 12;
const CREATE_TOPICS: i16 = 7;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC: i16 = 17;
const INVALID_REQUIRED_ACKS: i16 = 21;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
const POLICY_VIOLATION: i16 = 44;
const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNSUPPORTED_COMPRESSION: i16 = 76;
const INVALID_RECORD: i16 = 87;
const PRODUCER_FENCED: i16 = 90;
const UNKNOWN_TOPIC_ID: i16 = 100;

impl Victim {
    pub(super) fn kafka(&self) -> KafkaWire {
        KafkaWire::connect(self.broker.native)
    }
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn produce_of(data: &[u8], acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(Bytes::copy_from_slice(data)));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

/// What the only partition of a produce request was answered.
fn produce(wire: &mut KafkaWire, data: &[u8], acks: i16) -> PartitionProduceResponse {
    let mut response = wire.ask(PRODUCE, &produce_of(data, acks));
    assert_eq!(response.responses.len(), 1, "one topic, one result");
    response.responses.remove(0).partition_responses.remove(0)
}

pub(super) fn fetch_of(partition: FetchPartition) -> FetchRequest {
    let topic = FetchTopic::default()
        .with_topic(TopicName(text(TOPIC)))
        .with_partitions(vec![partition.with_partition_max_bytes(1 << 20)]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub(super) fn at(offset: i64) -> FetchPartition {
    FetchPartition::default().with_fetch_offset(offset).with_current_leader_epoch(-1)
}

pub(super) fn only(response: FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, 0, "{response:?}");
    let mut topics = response.responses;
    assert_eq!(topics.len(), 1, "one topic, one result");
    topics.remove(0).partitions.remove(0)
}

pub(super) fn metadata_of(names: &[&str]) -> MetadataRequest {
    let topic =
        |name: &&str| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    MetadataRequest::default()
        .with_topics(Some(names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_impossible_lengths_close_at_once() {
    let victim = Victim::new().await;
    let lengths = [-1, 0, 7, i32::MAX, limits::FRAME_BYTES_MAX as i32 + 1];
    for (count, length) in lengths.into_iter().enumerate() {
        let mut wire = victim.kafka();
        wire.send(&length.to_be_bytes());
        wire.send(&[0; 8]);
        wire.assert_closed();
        assert_eq!(victim.rejections("frame_size").await, count as u64 + 1, "{length}");
    }
    // Only what produces may be as large as a frame can be.
    let mut wire = victim.kafka();
    wire.send(&(limits::KAFKA_REQUEST_BYTES_MAX as i32 + 1).to_be_bytes());
    wire.send(&(ApiKey::Metadata as i16).to_be_bytes());
    wire.assert_closed();
    // The largest that is allowed costs nothing before it comes.
    let waiting: Vec<KafkaWire> = (0..4)
        .map(|_| {
            let mut wire = victim.kafka();
            wire.send(&(limits::FRAME_BYTES_MAX as i32).to_be_bytes());
            wire.send(&(ApiKey::Produce as i16).to_be_bytes());
            wire
        })
        .collect();
    victim.assert_unharmed(64 * MIB).await;
    drop(waiting);
}

/// Rows 2 and 3; the deadlines are real, so it waits for all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_2_and_3_bodies_that_do_not_come_end_at_their_deadline() {
    let victim = Victim::new().await;
    let address = victim.broker.native;
    let whole = request(1, METADATA, &MetadataRequest::default());
    let begun = Instant::now();
    let stalled = [5, whole.len() - 1].map(|sent| {
        let bytes = whole[..sent].to_vec();
        std::thread::spawn(move || {
            let mut wire = KafkaWire::connect(address);
            wire.send(&bytes);
            wire.assert_closed();
            begun.elapsed()
        })
    });
    let dripping = std::thread::spawn(move || {
        let mut wire = KafkaWire::connect(address);
        for byte in &whole[..whole.len() - 1] {
            wire.send(&[*byte]);
            std::thread::sleep(Duration::from_secs(1));
        }
        wire.assert_closed();
        begun.elapsed()
    });
    let limit = Duration::from_millis(limits::FRAME_ARRIVAL_MS_MAX);
    for thread in stalled {
        let waited = thread.join().expect("no panic");
        assert!(waited >= limit && waited < limit * 2, "{waited:?}");
    }
    assert!(dripping.join().expect("no panic") >= limit);
    assert_eq!(victim.rejections("slow_body").await, 3);
    victim.assert_unharmed(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_5_what_is_not_served_is_answered_and_closed() {
    let victim = Victim::new().await;
    let api = |key: ApiKey| key as i16;
    // No such API; one that only brokers use; one that is spoken in other versions.
    let cases =
        [(999, 0), (-1, 0), (i16::MAX, 7), (api(ApiKey::Vote), 0), (api(ApiKey::Fetch), 99)];
    for (count, (key, version)) in cases.into_iter().enumerate() {
        let mut wire = victim.kafka();
        wire.send(&framed(key, version, 77, 1, b"whatever it is"));
        assert_eq!(wire.refused(), (77, UNSUPPORTED_VERSION), "{key} {version}");
        assert_eq!(victim.rejections("unsupported_version").await, count as u64 + 1);
    }
    // Too short for an id: there is nobody to answer.
    let mut wire = victim.kafka();
    wire.send(&framed_bytes(&[0, 3, 0, 12, 0, 0, 0, 9]));
    assert_eq!(wire.refused(), (9, INVALID_REQUEST), "the client id is missing");
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_6_a_client_of_the_future_learns_the_versions() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    for version in [99, 6, i16::MAX, -1] {
        wire.send(&framed(ApiKey::ApiVersions as i16, version, 5, 2, b"\x01\x01\x00"));
        let frame = wire.frame().expect("an answer");
        let (id, mut body) = (&frame[..4], Bytes::copy_from_slice(&frame[4..]));
        assert_eq!(id, 5_i32.to_be_bytes());
        let answer = ApiVersionsResponse::decode(&mut body, 0).expect("the oldest form");
        assert!(body.is_empty());
        assert_eq!(answer.error_code, UNSUPPORTED_VERSION);
        let own = answer.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions as i16);
        assert_eq!(own.map(|api| api.max_version), Some(5), "{answer:?}");
    }
    // The connection goes on.
    let answer = wire.ask(3, &ApiVersionsRequest::default());
    assert_eq!(answer.error_code, 0);
    victim.assert_unharmed(32 * MIB).await;
}

/// What each of these declares would take far more than was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_9_and_10_lengths_that_lie_reserve_nothing() {
    let victim = Victim::new().await;
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let metadata = ApiKey::Metadata as i16;
    let fetch = ApiKey::Fetch as i16;
    let old = |count: i32| count.to_be_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a compact list of 2^32-2", framed(metadata, 12, 1, 2, &huge)),
        ("a compact list that needs six bytes", framed(metadata, 12, 1, 2, &[0xff; 6])),
        ("an old list of 2^31-1", framed(metadata, 1, 1, 1, &old(i32::MAX))),
        ("an old list of -2", framed(metadata, 1, 1, 1, &old(-2))),
        ("a text of 2^32-2", framed(metadata, 12, 1, 2, &[&[2][..], &[0; 16], &huge].concat())),
        ("a list within a list", {
            let body = [&(-1_i32).to_be_bytes()[..], &[0; 21], &[2, 2, b't'], &huge].concat();
            framed(fetch, 12, 1, 2, &body)
        }),
        ("20 million tagged fields", framed(metadata, 12, 1, 2, &[1, 1, 0, 0xff, 0xad, 0xe2, 9])),
        ("65 tagged fields", {
            let fields: Vec<u8> = (0..65).flat_map(|tag| [tag + 10, 0]).collect();
            framed(metadata, 12, 1, 2, &[&[1, 1, 0, 65][..], &fields].concat())
        }),
        ("20 million tagged fields in the header", header_with(&[0x80, 0xda, 0xc4, 0x09])),
        ("1 KiB of tagged fields in the header", {
            header_with(&[&[1, 9, 0x81, 0x08][..], &[0; 1_025]].concat())
        }),
    ];
    let count = cases.len() as u64;
    for (what, bytes) in cases {
        let mut wire = victim.kafka();
        wire.send(&bytes);
        assert_eq!(wire.refused(), (1, INVALID_REQUEST), "{what}");
    }
    assert_eq!(victim.rejections("malformed").await, count);
    // Very many entries that are there and next to nothing on the wire.
    let many: Vec<u8> = (0..300_000).flat_map(|_| [0; 16].into_iter().chain([1, 0])).collect();
    let body = [&[0xe1, 0xa7, 0x12][..], &many, &[1, 0, 0]].concat();
    let mut wire = victim.kafka();
    wire.send(&framed(metadata, 12, 1, 2, &body));
    assert!(wire.frame().is_some(), "an answer");
    victim.assert_unharmed(256 * MIB).await;
}

/// A request for metadata whose header has these tagged fields.
fn header_with(tags: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, ApiKey::Metadata as u8, 0, 12, 0, 0, 0, 1, 0, 1, b'c'];
    bytes.extend_from_slice(tags);
    bytes.extend_from_slice(&[1, 1, 0, 0]);
    framed_bytes(&bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_text_that_is_none_or_too_long() {
    let victim = Victim::new().await;
    let named = |client_id: &[u8]| {
        let mut bytes = vec![0, ApiKey::Metadata as u8, 0, 1, 0, 0, 0, 1];
        bytes.extend((client_id.len() as i16).to_be_bytes());
        bytes.extend_from_slice(client_id);
        bytes.extend(0_i32.to_be_bytes());
        framed_bytes(&bytes)
    };
    let mut wire = victim.kafka();
    for sound in [vec![b'x'; 32_767], vec![b'x'; 256], b"a\nWARN forged".to_vec(), vec![]] {
        wire.send(&named(&sound));
        assert_eq!(wire.answer::<MetadataRequest>(1).0, 1, "the connection goes on");
    }
    wire.send(&named(&[0xc3, 0x28]));
    assert_eq!(wire.refused(), (1, INVALID_REQUEST));
    let mut wire = victim.kafka();
    wire.send(&request(2, METADATA, &metadata_of(&["a\0b"])));
    assert_eq!(wire.refused(), (2, INVALID_REQUEST));
    let forged = "x\n2026-01-01T00:00:00Z  WARN forged\u{1b}[2J";
    let answer = victim.kafka().ask(METADATA, &metadata_of(&[forged]));
    assert_eq!(answer.topics[0].error_code, INVALID_TOPIC);
    victim.broker.wait_log("reason=\"invalid_topic\"");
    let log = victim.broker.log_text();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01") || line.starts_with("WARN")));
    assert!(!log.contains("\u{1b}[2J"), "{log}");
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_and_13_trailing_bytes_and_ten_thousand_requests() {
    let victim = Victim::new().await;
    let mut bytes = request(3, METADATA, &MetadataRequest::default());
    bytes.extend_from_slice(b"trailing");
    let length = bytes.len() as i32 - 4;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    let mut wire = victim.kafka();
    wire.send(&bytes);
    assert_eq!(wire.refused(), (3, INVALID_REQUEST));

    let mut wire = victim.kafka();
    // Ids are the client's matter: it may use one again and again.
    let ids = |number: i32| if number % 2 == 0 { 7 } else { number };
    let pipelined: Vec<u8> =
        (0..10_000).flat_map(|number| request(ids(number), METADATA, &metadata_of(&[]))).collect();
    std::thread::scope(|scope| {
        let mut sender = wire.twin();
        scope.spawn(move || sender.send(&pipelined));
        for number in 0..10_000 {
            assert_eq!(wire.answer::<MetadataRequest>(METADATA).0, ids(number), "in order");
        }
    });
    victim.assert_unharmed(64 * MIB).await;
}

/// The codes that Kafka has for what our own are called.
fn number(code: ErrorCode) -> i16 {
    match code {
        ErrorCode::CorruptMessage => CORRUPT_MESSAGE,
        ErrorCode::InvalidRecord => INVALID_RECORD,
        ErrorCode::UnsupportedForMessageFormat => UNSUPPORTED_FOR_MESSAGE_FORMAT,
        ErrorCode::UnsupportedCompressionType => UNSUPPORTED_COMPRESSION,
        ErrorCode::InvalidTimestamp => INVALID_TIMESTAMP,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_14_to_23_bad_batches_are_refused_and_nothing_is_appended() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    for (what, bytes, expected) in bad_batches() {
        let answer = produce(&mut wire, &bytes, -1);
        assert_eq!(answer.error_code, number(expected), "{what}: {answer:?}");
        assert_eq!(answer.base_offset, -1, "{what}");
        assert!(answer.error_message.is_some(), "{what}: a person is told why");
    }
    let sound = batch(&[b"three"]);
    for acks in [2, -2, i16::MAX] {
        let answer = produce(&mut wire, &sound, acks);
        assert_eq!(answer.error_code, INVALID_REQUIRED_ACKS, "{acks}");
    }
    let answer = produce(&mut wire, &batch(&[&vec![7; 1_100_000]]), -1);
    assert_eq!(answer.error_code, MESSAGE_TOO_LARGE);
    for (reason, count) in [
        ("corrupt_message", 2),
        ("invalid_record", 20),
        ("unsupported_format", 3),
        ("unsupported_compression", 3),
        ("invalid_timestamp", 3),
        ("invalid_acks", 3),
        ("message_too_large", 1),
    ] {
        assert!(victim.rejections(reason).await >= count, "{reason}");
        assert!(victim.broker.wait_log(&format!("reason=\"{reason}\"")).contains("peer=127.0.0.1"));
    }
    // Nobody is answered with acks 0, so the end of the connection is what tells.
    wire.send(&request(9, PRODUCE, &produce_of(b"no batch", 0)));
    wire.assert_closed();
    assert!(!victim.broker.log_text().contains("three"), "a payload is never logged");
    victim.assert_unharmed(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_bombs_are_stopped_at_the_cap() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    for (what, bytes) in bombs() {
        assert_eq!(produce(&mut wire, &bytes, -1).error_code, INVALID_RECORD, "{what}");
    }
    victim.assert_unharmed(192 * MIB).await;
}

fn create_of(topic: CreatableTopic) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

/// The code and the message that a new topic gets.
pub(super) fn create(wire: &mut KafkaWire, topic: CreatableTopic) -> (i16, String) {
    let mut answer = wire.ask(CREATE_TOPICS, &create_of(topic));
    let result = answer.topics.remove(0);
    (result.error_code, result.error_message.map(|text| text.to_string()).unwrap_or_default())
}

pub(super) fn new_topic(name: &str) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(1)
        .with_replication_factor(-1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_24_25_and_37_topics_that_can_not_be() {
    let victim = Victim::new().await;
    create_topic(&victim.client, "a.b", 1, &[]).await;
    let mut wire = victim.kafka();
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "../up", "a b", "ümlaut", &long, "a_b", "__rivven_x"] {
        let (code, _) = create(&mut wire, new_topic(name));
        assert_eq!(code, INVALID_TOPIC, "{name:?}");
        let answer = wire.ask(METADATA, &metadata_of(&[name]));
        assert!(answer.topics[0].error_code != 0, "{name:?} is not created on the way");
    }
    for (partitions, expected) in
        [(0, INVALID_PARTITIONS), (-5, INVALID_PARTITIONS), (i32::MIN, INVALID_PARTITIONS)]
    {
        let (code, _) = create(&mut wire, new_topic("n").with_num_partitions(partitions));
        assert_eq!(code, expected, "{partitions}");
    }
    let (code, _) = create(&mut wire, new_topic("n").with_num_partitions(1_000_000_000));
    assert!([INVALID_PARTITIONS, POLICY_VIOLATION].contains(&code), "{code}");
    for replicas in [0, 2, i16::MAX] {
        let (code, _) = create(&mut wire, new_topic("n").with_replication_factor(replicas));
        assert_eq!(code, INVALID_REPLICATION_FACTOR, "{replicas}");
    }
    for (key, value) in [("no.such.key", "1"), ("retention.ms", "soon"), ("cleanup.policy", "?")] {
        let config =
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)));
        let (code, told) = create(&mut wire, new_topic("n").with_configs(vec![config]));
        assert_eq!(code, INVALID_CONFIG, "{key}");
        assert!(told.contains(key), "{key}: {told}");
    }
    let topics = victim.client.metadata(&[], false).await.expect("an answer").topics;
    assert_eq!(topics.len(), 2, "{topics:?}");
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_26_to_28_fetches_outside_what_there_is() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    for offset in [-1, 2, i64::MIN, i64::MAX] {
        let answer = only(wire.ask(FETCH, &fetch_of(at(offset))));
        assert_eq!(answer.error_code, OFFSET_OUT_OF_RANGE, "{offset}");
        assert_eq!(answer.records.map_or(0, |records| records.len()), 0);
    }
    for (max_bytes, min_bytes) in [(0, 0), (-1, -1), (i32::MAX, i32::MAX), (i32::MIN, 1)] {
        let sized = fetch_of(at(0)).with_max_bytes(max_bytes).with_min_bytes(min_bytes);
        let sized = sized.with_max_wait_ms(100);
        let answer = only(wire.ask(FETCH, &sized));
        assert_eq!(answer.error_code, 0, "{max_bytes}");
        assert!(answer.records.is_some_and(|records| !records.is_empty()), "{max_bytes}");
    }
    // Whoever waits for an age is let go when the server has to stop, and holds up nobody.
    wire.send(&request(8, FETCH, &fetch_of(at(1)).with_min_bytes(1).with_max_wait_ms(i32::MAX)));
    for replica in [1, 0, 7] {
        let as_replica = fetch_of(at(0)).with_replica_id(BrokerId(replica));
        let answer = victim.kafka().ask(FETCH, &as_replica);
        let told = match answer.responses.first() {
            Some(topic) => topic.partitions[0].error_code,
            None => answer.error_code,
        };
        assert_eq!(told, CLUSTER_AUTHORIZATION_FAILED, "{replica}: {answer:?}");
    }
    victim.assert_unharmed(32 * MIB).await;
    drop(wire);
}

/// The id of a topic.
pub(super) async fn topic_id(client: &Client, name: &str) -> uuid::Uuid {
    let ask = DescribeTopics { names: vec![name.to_owned()], internal: false };
    let found = client.describe_topics(ask).await.expect("an answer");
    uuid::Uuid::from_slice(&found[0].topic_id).expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_ids_of_topics_that_are_gone() {
    /// The oldest version with ids.
    const FETCH_BY_ID: i16 = 13;
    let victim = Victim::new().await;
    create_topic(&victim.client, "again", 1, &[]).await;
    let old = topic_id(&victim.client, "again").await;
    let delete = DeleteTopics { names: vec!["again".to_owned()], validate_only: false };
    victim.client.delete_topics(delete).await.expect("deleted");
    create_topic(&victim.client, "again", 1, &[]).await;
    let new = topic_id(&victim.client, "again").await;
    assert_ne!(old, new);
    let mut wire = victim.kafka();
    let by_id = |id: uuid::Uuid| {
        let partition = at(0).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
        fetch_of(at(0)).with_topics(vec![topic])
    };
    for (id, expected) in [
        (new, 0),
        (old, UNKNOWN_TOPIC_ID),
        (uuid::Uuid::nil(), UNKNOWN_TOPIC_ID),
        (uuid::Uuid::max(), UNKNOWN_TOPIC_ID),
    ] {
        let answer = only(wire.ask(FETCH_BY_ID, &by_id(id)));
        assert_eq!(answer.error_code, expected, "{id}");
    }
    // Before there were ids, no name is a name that no topic has.
    for name in ["nowhere", ""] {
        let unknown = fetch_of(at(0));
        let topic = unknown.topics[0].clone().with_topic(TopicName(text(name)));
        let answer = only(wire.ask(FETCH, &unknown.with_topics(vec![topic])));
        assert_eq!(answer.error_code, UNKNOWN_TOPIC_OR_PARTITION, "{name:?}");
    }
    let sound = batch(&[b"two"]);
    let nameless = |version| {
        let mut request = produce_of(&sound, -1);
        request.topic_data[0].name = TopicName(text(""));
        (version, request)
    };
    for (version, expected) in
        [(3, UNKNOWN_TOPIC_OR_PARTITION), (12, UNKNOWN_TOPIC_OR_PARTITION), (13, UNKNOWN_TOPIC_ID)]
    {
        let (version, request) = nameless(version);
        let answer = wire.ask(version, &request);
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, expected, "version {version}");
    }
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_30_epochs_of_other_leaders() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    let name = || TopicName(text(TOPIC));
    // The broker has led since it started, so it is the epoch before that is stale.
    let current = only(wire.ask(FETCH, &fetch_of(at(0)))).current_leader.leader_epoch.max(0);
    let led = {
        let ask = DescribeTopics { names: vec![TOPIC.to_owned()], internal: false };
        let found = victim.client.describe_topics(ask).await.expect("an answer");
        found[0].partitions[0].leader_epoch
    };
    let mut cases =
        vec![(led + 1, UNKNOWN_LEADER_EPOCH), (i32::MAX, UNKNOWN_LEADER_EPOCH), (led, 0)];
    if led > 0 {
        cases.push((led - 1, FENCED_LEADER_EPOCH));
    }
    assert!(current <= led, "{current} {led}");
    for (epoch, expected) in cases {
        let fetched = fetch_of(at(0).with_current_leader_epoch(epoch));
        assert_eq!(only(wire.ask(FETCH, &fetched)).error_code, expected, "fetch in {epoch}");
        let partition =
            ListOffsetsPartition::default().with_current_leader_epoch(epoch).with_timestamp(-1);
        let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
        let list =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = wire.ask(7, &list);
        assert_eq!(answer.topics[0].partitions[0].error_code, expected, "list in {epoch}");
        let partition = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(epoch)
            .with_leader_epoch(0);
        let topic =
            OffsetForLeaderTopic::default().with_topic(name()).with_partitions(vec![partition]);
        let ends = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-2))
            .with_topics(vec![topic]);
        let answer = wire.ask(4, &ends);
        assert_eq!(answer.topics[0].partitions[0].error_code, expected, "ends in {epoch}");
    }
    victim.assert_unharmed(32 * MIB).await;
}

/// A batch of one record in a producer's sequence.
fn sequenced(id: i64, epoch: i16, sequence: i32) -> Bytes {
    let (id, epoch) = (ProducerId(id), ProducerEpoch(epoch));
    let mut builder = BatchBuilder::new(Compression::None).producer(id, epoch, Sequence(sequence));
    builder.push(&NewRecord {
        timestamp: Millis(now().0),
        key: None,
        value: Some(b"x"),
        headers: &[],
    });
    builder.build().bytes().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_31_sequences_with_gaps_and_old_epochs() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    let init = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(KafkaProducerId(-1));
    let given = wire.ask(4, &init.with_producer_epoch(-1));
    assert_eq!(given.error_code, 0);
    let id = given.producer_id.0;
    for (what, epoch, sequence, expected) in [
        ("the first", 1, 0, 0),
        ("a gap", 1, 5, OUT_OF_ORDER_SEQUENCE),
        ("the next", 1, 1, 0),
        ("the next once more", 1, 1, 0),
        ("a new epoch", 2, 0, 0),
    ] {
        let answer = produce(&mut wire, &sequenced(id, epoch, sequence), -1);
        assert_eq!(answer.error_code, expected, "{what}");
    }
    let old = produce(&mut wire, &sequenced(id, 1, 2), -1).error_code;
    assert!([INVALID_PRODUCER_EPOCH, PRODUCER_FENCED].contains(&old), "{old}");
    // Of a producer whose state is gone, any sequence may be the next.
    let unknown = produce(&mut wire, &sequenced(id + 1_000_000, 0, 42), -1);
    assert_eq!(unknown.error_code, 0, "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_32_transactional_ids_and_timeouts_that_are_none() {
    /// Transactions are not served: what else could be right about a request ends so.
    const SOUND: i16 = UNSUPPORTED_VERSION;
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    for version in 0..=5 {
        for (id, timeout_ms, expected) in [
            (Some(""), 60_000, INVALID_REQUEST),
            (Some(""), 0, INVALID_REQUEST),
            (Some("t"), 0, INVALID_TRANSACTION_TIMEOUT),
            (Some("t"), -1, INVALID_TRANSACTION_TIMEOUT),
            (Some("t"), i32::MIN, INVALID_TRANSACTION_TIMEOUT),
            (Some("t"), 900_001, INVALID_TRANSACTION_TIMEOUT),
            (Some("t"), i32::MAX, INVALID_TRANSACTION_TIMEOUT),
            (Some("t"), 1, SOUND),
            (Some("t"), 900_000, SOUND),
            // Without transactions it means nothing; Java's client sends the largest.
            (None, i32::MAX, 0),
            (None, 0, 0),
        ] {
            let init = InitProducerIdRequest::default()
                .with_producer_id(KafkaProducerId(-1))
                .with_producer_epoch(-1)
                .with_transaction_timeout_ms(timeout_ms)
                .with_transactional_id(id.map(|id| TransactionalId(text(id))));
            let answer = wire.ask(version, &init);
            assert_eq!(answer.error_code, expected, "{version} {id:?} {timeout_ms}: {answer:?}");
            assert_eq!(answer.producer_id.0 >= 0, expected == 0, "{answer:?}");
        }
    }
    // Clients ask for the coordinator first, and give up at once with what they are told.
    let find = FindCoordinatorRequest::default().with_key_type(1);
    let answer = wire.ask(3, &find.clone().with_key(text("t")));
    assert_eq!(answer.error_code, INVALID_REQUEST);
    assert!(answer.error_message.is_some_and(|said| said.contains("transactions")));
    let answer = wire.ask(6, &find.with_coordinator_keys(vec![text("t")]));
    assert_eq!(answer.coordinators[0].error_code, INVALID_REQUEST);
    victim.assert_unharmed(32 * MIB).await;
}

/// Nothing behind a request that waits is read, so the end of the stream is not read either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_closes_behind_a_wait_is_not_waited_for() {
    const WAIT: Duration = Duration::from_secs(120);
    let victim = Victim::new().await;
    let waiting = fetch_of(at(1)).with_min_bytes(1).with_max_wait_ms(WAIT.as_millis() as i32);
    let mut wire = victim.kafka();
    for id in 0..3 {
        wire.send(&request(2 * id, FETCH, &waiting));
        wire.send(&request(2 * id + 1, METADATA, &metadata_of(&[TOPIC])));
    }
    wire.finish();
    for id in 0..3 {
        assert_eq!(wire.answer::<MetadataRequest>(METADATA).0, 2 * id + 1);
    }
    wire.assert_closed();
}

/// What the list says of floods holds before a protocol is spoken; see frames.rs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_40_idle_connections_are_closed_and_their_descriptors_returned() {
    const IDLE: Duration = Duration::from_millis(400);
    let victim =
        Victim::with(|setup| setup.env("RIVVEN_SERVER_IDLE_TIMEOUT", IDLE.as_millis())).await;
    let before = victim.broker.descriptors();
    let begun = Instant::now();
    let mut idle: Vec<KafkaWire> = (0..20)
        .map(|_| {
            let mut wire = victim.kafka();
            wire.ask(METADATA, &metadata_of(&[]));
            wire
        })
        .collect();
    idle.iter_mut().for_each(KafkaWire::assert_closed);
    assert!(begun.elapsed() >= IDLE, "not before it is over");
    // They are returned although the peer keeps its side.
    wait_until("the descriptors are returned", || victim.broker.descriptors() <= before);
    assert!(victim.rejections("idle").await >= 20);
    let mut busy = victim.kafka();
    while begun.elapsed() < 5 * IDLE {
        busy.ask(METADATA, &metadata_of(&[]));
        std::thread::sleep(IDLE / 8);
    }
    drop(idle);
}
