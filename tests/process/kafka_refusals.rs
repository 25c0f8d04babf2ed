//! How Kafka's clients are refused by the live broker, and how that is told: to the client, which
//! record was at fault; to the operator, a number for every reason, and in the log what is worth a
//! look.

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, FetchRequest, MetadataRequest, ProduceRequest, TopicName,
};
use rivvend::limits;
use rivvend::protocol::native::message::{Produce, ProducePartition, response};
use rivvend::record::{BatchBuilder, Compression, NewRecord, RecordList};
use rivvend::types::Millis;
use uuid::Uuid;

use super::broker::wait_until;
use super::can_not_run;
use super::frames::{TOPIC, Victim};
use super::kafka_frames::{
    at, create, fetch_of, metadata_of, new_topic, only, produce_of, text, topic_id,
};
use super::kafka_wire::{KafkaWire, framed, framed_bytes, request};
use super::load::{append, batch, create_topic, now};

const MIB: u64 = 1 << 20;
const PRODUCE: i16 = 12;
const FETCH: i16 = 12;
const METADATA: i16 = 12;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const INVALID_TIMESTAMP: i16 = 32;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const INVALID_RECORD: i16 = 87;

/// A batch of records with these keys and time stamps.
fn batch_of(records: &[(Option<&str>, Millis)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (key, timestamp) in records {
        builder.push(&NewRecord {
            timestamp: *timestamp,
            key: key.map(str::as_bytes),
            value: Some(b"v"),
            headers: &[],
        });
    }
    builder.build().bytes().clone()
}

/// What a topic's first partition answers to a batch, in any version.
fn produce(
    wire: &mut KafkaWire,
    version: i16,
    topic: (&str, Uuid),
    data: &Bytes,
) -> PartitionProduceResponse {
    let partition = PartitionProduceData::default().with_records(Some(data.clone()));
    let entry = TopicProduceData::default().with_partition_data(vec![partition]);
    let entry = match version {
        ..13 => entry.with_name(TopicName(text(topic.0))),
        _ => entry.with_topic_id(topic.1),
    };
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000);
    let mut answer = wire.ask(version, &request.with_topic_data(vec![entry]));
    answer.responses.remove(0).partition_responses.remove(0)
}

/// KIP-467. What broke which rule is told from version 8 on, and in older ones the code alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_that_broke_a_rule_is_named() {
    const TOLD_FROM: i16 = 8;
    let victim = Victim::new().await;
    create_topic(&victim.client, "keyed", 1, &[("cleanup.policy", "compact".to_owned())]).await;
    let keyed = topic_id(&victim.client, "keyed").await;
    let kept = topic_id(&victim.client, TOPIC).await;
    let time = now();
    let far = Millis(time.0 + 7 * 86_400_000);
    let keyless = batch_of(&[(Some("a"), time), (Some("b"), time), (None, time), (None, time)]);
    let late = batch_of(&[(None, time), (None, far), (None, time)]);
    let mut wire = victim.kafka();
    for version in 3..=13 {
        for (topic, data, code, record, words) in [
            (("keyed", keyed), &keyless, INVALID_RECORD, 2, "has no key"),
            ((TOPIC, kept), &late, INVALID_TIMESTAMP, 1, "outside what the topic accepts"),
        ] {
            let answer = produce(&mut wire, version, topic, data);
            assert_eq!(answer.error_code, code, "{version}: {answer:?}");
            assert_eq!(answer.base_offset, -1, "{version}: {answer:?}");
            if version < TOLD_FROM {
                assert_eq!((answer.record_errors.len(), &answer.error_message), (0, &None));
                continue;
            }
            let named = &answer.record_errors;
            assert_eq!(named.len(), 1, "{version}: {answer:?}");
            assert_eq!(named[0].batch_index, record, "{version}");
            let told = [&named[0].batch_index_error_message, &answer.error_message];
            for said in told {
                assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{answer:?}");
            }
        }
    }
    // What is wrong with a batch as a whole is no record's fault.
    let answer = produce(&mut wire, PRODUCE, (TOPIC, kept), &batch(&[&vec![7; 1_100_000]]));
    assert!(answer.record_errors.is_empty() && answer.error_message.is_some(), "{answer:?}");
    victim.assert_unharmed(64 * MIB).await;
}

/// The native protocol says it too: where the client partitions, the place in its batch; where the
/// server does, the place in the client's list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_that_broke_a_rule_is_named_in_the_native_protocol() {
    let victim = Victim::new().await;
    create_topic(&victim.client, "keyed", 4, &[("cleanup.policy", "compact".to_owned())]).await;
    let keys = [Some("a"), Some("b"), Some("c"), Some("d"), None];
    let records: Vec<_> = keys.iter().map(|key| (*key, now())).collect();
    let mut list = RecordList::new();
    for key in keys {
        let key = key.map(str::as_bytes);
        list.push(&NewRecord { timestamp: Millis(-1), key, value: Some(b"v"), headers: &[] });
    }
    for (partition, data) in [(0, batch_of(&records)), (-1, list.finish())] {
        let entry = ProducePartition {
            topic: "keyed".to_owned(),
            partition,
            data_bytes: data.len() as u32,
            expected_offset: None,
        };
        let answer = victim.wire().ask(Produce { partitions: vec![entry], acks: -1 }, &data);
        let Some(response::Result::Produce(result)) = answer.result else { panic!("{answer:?}") };
        let error = result.partitions[0].error.clone().expect("refused");
        let record = error.details.as_ref().and_then(|details| details.record);
        assert_eq!(record, Some(4), "{error:?}");
        assert!(error.message.contains("record 4 has no key"), "{error:?}");
    }
    victim.assert_unharmed(32 * MIB).await;
}

/// What a sound client meets when something has changed that it could not know of.
fn ordinary(wire: &mut KafkaWire) {
    assert_eq!(create(wire, new_topic(TOPIC)).0, TOPIC_ALREADY_EXISTS);
    assert_eq!(only(wire.ask(FETCH, &fetch_of(at(9)))).error_code, OFFSET_OUT_OF_RANGE);
    let other = at(0).with_current_leader_epoch(i32::MAX);
    assert_eq!(only(wire.ask(FETCH, &fetch_of(other))).error_code, UNKNOWN_LEADER_EPOCH);
    let mut unknown = fetch_of(at(0));
    unknown.topics[0].topic = TopicName(text("nowhere"));
    assert_eq!(only(wire.ask(FETCH, &unknown)).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

const ORDINARY: [&str; 4] =
    ["topic_exists", "offset_out_of_range", "leader_epoch", "unknown_topic"];

/// The lines of the log about a reason.
fn told(victim: &Victim, reason: &str) -> Vec<String> {
    let log = victim.broker.log_text();
    let about = |line: &&str| line.contains(&format!("reason=\"{reason}\""));
    log.lines().filter(about).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_refusals_are_counted_and_no_noise_in_the_log() {
    let victim = Victim::new().await;
    let mut wire = victim.kafka();
    ordinary(&mut wire);
    for reason in ORDINARY {
        assert_eq!(victim.rejections(reason).await, 1, "{reason}");
    }
    // The same reason is worth a line when it ends a connection, and one a moment ago that was not
    // does not keep it back.
    let mut request_of = produce_of(&batch(&[b"lost"]), 0);
    request_of.topic_data[0].name = TopicName(text("nowhere"));
    wire.send(&request(9, PRODUCE, &request_of));
    wire.assert_closed();
    let line = victim.broker.wait_log("reason=\"unknown_topic\"");
    assert!(line.contains("WARN"), "{line}");
    for reason in ORDINARY {
        let lines = usize::from(reason == "unknown_topic");
        assert_eq!(told(&victim, reason).len(), lines, "{reason}: {:?}", told(&victim, reason));
    }
    victim.assert_unharmed(32 * MIB).await;

    let curious = Victim::with(|setup| setup.env("RIVVEN_LOG_LEVEL", "debug")).await;
    ordinary(&mut curious.kafka());
    for reason in ORDINARY {
        let line = curious.broker.wait_log(&format!("reason=\"{reason}\""));
        assert!(line.contains("DEBUG"), "{line}");
    }
}

/// What makes the broker close a connection at once, with the reason under which it is counted.
fn deadly() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let metadata = ApiKey::Metadata as i16;
    let trailing = {
        let frame = request(1, METADATA, &MetadataRequest::default());
        framed_bytes(&[&frame[4..], b"more"].concat())
    };
    let huge = {
        let length = (limits::KAFKA_REQUEST_BYTES_MAX as i32 + 1).to_be_bytes();
        [&length[..], &metadata.to_be_bytes()].concat()
    };
    let end_transaction = framed(ApiKey::EndTxn as i16, 3, 1, 2, &[]);
    let unasked = |data: &[u8]| request(1, PRODUCE, &produce_of(data, 0));
    let mut torn = batch(&[b"torn"]).to_vec();
    torn[70] ^= 1;
    let mut old = batch(&[b"old"]).to_vec();
    old[16] = 1;
    let mut elsewhere = produce_of(&batch(&[b"x"]), 0);
    elsewhere.topic_data[0].name = TopicName(text("nowhere"));
    vec![
        ("a negative length", (-1_i32).to_be_bytes().to_vec(), "frame_size"),
        ("more than a request may have", huge, "frame_size"),
        ("no header", framed_bytes(&[0, 3, 0, 12, 0, 0, 0, 9]), "malformed"),
        ("no body", framed(metadata, METADATA, 1, 2, &[0xff]), "malformed"),
        ("trailing bytes", trailing, "malformed"),
        ("no such API", framed(999, 0, 1, 1, &[]), "unsupported_version"),
        ("no such version", framed(metadata, 99, 1, 2, &[]), "unsupported_version"),
        ("an API that is not served", end_transaction, "unsupported_version"),
        ("acks 0 and no batch", unasked(b"none"), "corrupt_message"),
        ("acks 0 and a torn batch", unasked(&torn), "corrupt_message"),
        ("acks 0 and an old batch", unasked(&old), "unsupported_format"),
        ("acks 0 and too much", unasked(&batch(&[&vec![7; 1_100_000]])), "message_too_large"),
        ("acks 0 and no such topic", request(1, PRODUCE, &elsewhere), "unknown_topic"),
        ("TLS", vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01], "tls"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "http"),
    ]
}

/// Bad inputs, general rule (c). The ends that take their time are below, in kafka_frames.rs (a
/// body that does not come, silence) and in frames.rs (floods).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_close_has_its_reason_in_the_log_and_among_the_metrics() {
    let victim = Victim::new().await;
    let count = |reason: &str| {
        let series = format!("rivven_rejected_total{{listener=\"client\",reason=\"{reason}\"}}");
        victim.broker.scraped(&series).unwrap_or(0.0)
    };
    let open = || victim.broker.scraped("rivven_connections{listener=\"client\"}");
    let before = open();
    for (what, bytes, reason) in deadly() {
        let counted = count(reason);
        let mut wire = victim.kafka();
        wire.send(&bytes);
        let rest = wire.rest(super::broker::PATIENCE);
        assert!(rest.is_some(), "{what}: it is closed");
        assert_eq!(count(reason), counted + 1.0, "{what}: {reason}");
        let line = victim.broker.wait_log(&format!("reason=\"{reason}\""));
        assert!(line.contains("WARN") && line.contains("peer=127.0.0.1"), "{what}: {line}");
    }
    wait_until("all of them are gone", || open() == before);
    victim.assert_unharmed(64 * MIB).await;
}

/// Who asks for much and reads nothing is let go when the time for it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_closed_and_counted() {
    let victim = Victim::new().await;
    create_topic(&victim.client, "large", 1, &[]).await;
    for _ in 0..8 {
        append(&victim.client, "large", 0, batch(&[&vec![7; 1_000_000]])).await.expect("taken");
    }
    let mut wire = victim.kafka();
    let mut ask: FetchRequest = fetch_of(at(0).with_partition_max_bytes(16 << 20));
    ask = ask.with_max_bytes(16 << 20).with_replica_id(BrokerId(-1));
    ask.topics[0].topic = TopicName(text("large"));
    ask.topics[0].partitions[0].partition_max_bytes = 16 << 20;
    let asks: Vec<u8> = (0..8).flat_map(|id| request(id, FETCH, &ask)).collect();
    wire.send(&asks);
    let series = "rivven_rejected_total{listener=\"client\",reason=\"slow_reader\"}";
    wait_until("it is closed", || victim.broker.scraped(series) == Some(1.0));
    let line = victim.broker.wait_log("reason=\"slow_reader\"");
    assert!(line.contains("WARN"), "{line}");
    victim.assert_unharmed(64 * MIB).await;
}

/// An address of this machine that others could use too.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the system only says from where it would be.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Row 65 for Kafka's clients: they learn the versions, and then that they are not served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_other_machines_are_refused_in_their_own_words_and_counted() {
    let Some(address) = own_address() else {
        can_not_run("this machine has no address but loopback");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut setup = super::broker::Setup::new(directory.path().join("data"));
    setup.bind = "0.0.0.0:0".to_owned();
    let broker = setup.start();
    let reached = std::net::SocketAddr::new(address, broker.native.port());
    let mut wire = KafkaWire::connect(reached);
    assert_eq!(wire.ask(3, &ApiVersionsRequest::default()).error_code, 0);
    let answer = wire.ask(METADATA, &metadata_of(&[TOPIC]));
    assert_eq!(answer.topics[0].error_code, CLUSTER_AUTHORIZATION_FAILED);
    wire.assert_closed();
    let series = "rivven_rejected_total{listener=\"client\",reason=\"protected_mode\"}";
    assert_eq!(broker.scraped(series), Some(1.0));
    let line = broker.wait_log("reason=\"protected_mode\"");
    assert!(line.contains("WARN") && line.contains(&format!("peer={address}")), "{line}");
}
