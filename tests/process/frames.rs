//! Bad input over TCP against the live broker: each row of the list of bad inputs gets the outcome
//! it must get, the broker goes on serving others, and its memory stays bounded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rivvend::client::Client;
use rivvend::limits;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::frame::{FRAME_PREFIX_BYTES, Kind, Preface};
use rivvend::protocol::native::message::request::Operation;
use rivvend::protocol::native::message::{
    CreateTopics, DeleteRecords, DeleteRecordsPartition, DeleteTopics, DescribeTopics, Fetch,
    FetchPartition, ListOffsets, ListOffsetsPartition, Metadata, Metrics, NewTopic, Produce,
    ProducePartition, Request, response,
};

use super::broker::{Broker, Setup, wait_until};
use super::is_installed;
use super::load::{append, batch, create_topic, read_all};
use super::wire::{Wire, frame, frame_around, request};

pub(super) const TOPIC: &str = "kept";
const MIB: u64 = 1 << 20;

/// A broker with one topic of one record.
pub(super) struct Victim {
    pub(super) broker: Broker,
    pub(super) client: Client,
    memory: u64,
    _directory: tempfile::TempDir,
}

impl Victim {
    pub(super) async fn new() -> Victim {
        Victim::with(|setup| setup).await
    }

    /// With a broker that is started differently.
    pub(super) async fn with(change: impl FnOnce(Setup) -> Setup) -> Victim {
        let directory = tempfile::tempdir().expect("a directory");
        let broker = change(Setup::new(directory.path().join("data"))).start();
        let client = broker.client().await;
        create_topic(&client, TOPIC, 1, &[]).await;
        append(&client, TOPIC, 0, batch(&[b"one"])).await.expect("taken");
        let (memory, _) = broker.memory();
        Victim { broker, client, memory, _directory: directory }
    }

    pub(super) fn wire(&self) -> Wire {
        Wire::connect(self.broker.native)
    }

    /// Whether a new connection gets the greeting.
    fn is_greeted(&self) -> bool {
        let mut wire = Wire::raw(self.broker.native);
        wire.send(&Preface::OWN.encode());
        wire.finish();
        let greeting = wire.rest(Duration::from_secs(5)).unwrap_or_default();
        greeting.get(4) == Some(&(Kind::Hello as u8))
    }

    /// How often something was turned away for this reason.
    pub(super) async fn rejections(&self, reason: &str) -> u64 {
        let metrics = self.client.metrics().await.expect("it answers others");
        let line = metrics.lines().find(|line| {
            line.starts_with("rivven_rejected_total{listener=\"client\"")
                && line.contains(&format!("reason=\"{reason}\""))
        });
        line.and_then(|line| line.rsplit(' ').next()).map_or(0, |n| n.parse().expect("a number"))
    }

    /// The broker still serves, nothing was added, nothing panicked and memory grew by less.
    pub(super) async fn assert_unharmed(&self, grown_max: u64) {
        let values = read_all(&self.client, TOPIC, 0, 0).await;
        assert_eq!(values.len(), 1, "nothing was appended");
        let (_, peak) = self.broker.memory();
        let grown = peak.saturating_sub(self.memory) / MIB;
        assert!(grown <= grown_max / MIB, "memory grew by {grown} MiB");
        assert!(!self.broker.log_text().contains("panicked"));
    }
}

fn code_of(response: &rivvend::protocol::native::message::Response) -> Option<ErrorCode> {
    response.error.as_ref().and_then(|error| error.error_code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_impossible_lengths_close_at_once() {
    let victim = Victim::new().await;
    let lengths = [u32::MAX, i32::MAX as u32, limits::FRAME_BYTES_MAX as u32 + 1, 0, 11];
    for (count, length) in lengths.into_iter().enumerate() {
        let mut wire = victim.wire();
        wire.send(&length.to_be_bytes());
        let expected = if length < 12 { ErrorCode::Malformed } else { ErrorCode::FrameTooLarge };
        assert_eq!(wire.refused(), expected, "{length}");
        assert_eq!(victim.rejections("frame_size").await, count as u64 + 1);
    }
    // The largest that is allowed costs nothing before it comes.
    let waiting: Vec<Wire> = (0..4)
        .map(|_| {
            let mut wire = victim.wire();
            let mut head = frame(1, &Request::default(), &[]);
            head[..4].copy_from_slice(&(limits::FRAME_BYTES_MAX as u32).to_be_bytes());
            wire.send(&head);
            wire
        })
        .collect();
    victim.assert_unharmed(64 * MIB).await;
    drop(waiting);
}

/// Row 2: five that announce the largest frame and send nothing, or only its beginning, together
/// want all the memory there is for requests; a sixth does not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_2_stalled_giants_hold_up_nobody() {
    let victim = Victim::new().await;
    let produce = Request {
        timeout_ms: 1_000,
        client_id: String::new(),
        operation: Some(Produce { partitions: Vec::new(), acks: -1 }.into()),
    };
    let mut head = frame(1, &produce, &[]);
    head[..4].copy_from_slice(&(limits::FRAME_BYTES_MAX as u32).to_be_bytes());
    let giants: Vec<Wire> = [0, 0, 0, 0, 0, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20]
        .map(|sent| {
            let mut wire = victim.wire();
            wire.send(&head);
            wire.send(&vec![7; sent]);
            wire
        })
        .into();
    let begun = Instant::now();
    let honest = victim.broker.client().await;
    create_topic(&honest, "honest", 1, &[("max.message.bytes", (40 << 20).to_string())]).await;
    for bytes in [10, 1 << 20, 30 << 20] {
        append(&honest, "honest", 0, batch(&[&vec![1; bytes]])).await.expect("taken");
    }
    let giant = limits::FRAME_ARRIVAL_MS_MAX;
    assert!(begun.elapsed() < Duration::from_millis(giant), "it waited for them");
    victim.assert_unharmed(256 * MIB).await;
    drop(giants);
}

/// The slowest test there is, because the deadlines are real; it waits for all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_2_and_3_silence_and_drips_end_at_their_deadlines() {
    let victim = Victim::new().await;
    let address = victim.broker.native;
    let begun = Instant::now();
    let silent = std::thread::spawn(move || {
        let rest = Wire::raw(address).rest(Duration::from_secs(20));
        (rest.map(|bytes| bytes.len()), begun.elapsed())
    });
    let dripping = std::thread::spawn(move || {
        let mut wire = Wire::raw(address);
        for byte in &Preface::OWN.encode()[..7] {
            wire.send(&[*byte]);
            std::thread::sleep(Duration::from_secs(1));
        }
        (wire.rest(Duration::from_secs(20)).map(|bytes| bytes.len()), begun.elapsed())
    });
    let body = std::thread::spawn(move || {
        let mut wire = Wire::connect(address);
        wire.send(&request(1, Metadata::default(), &[])[..20]);
        (wire.refused(), begun.elapsed())
    });
    let handshake = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
    for thread in [silent, dripping] {
        let (rest, waited) = thread.join().expect("no panic");
        assert_eq!(rest, Some(0), "closed without a word");
        assert!(waited >= handshake && waited < handshake * 2, "{waited:?}");
    }
    assert_eq!(victim.rejections("handshake_timeout").await, 2);
    let arrival = Duration::from_millis(limits::FRAME_ARRIVAL_MS_MAX);
    let (code, waited) = body.join().expect("no panic");
    assert_eq!(code, ErrorCode::RequestTimedOut);
    assert!(waited >= arrival && waited < arrival * 2, "{waited:?}");
    assert_eq!(victim.rejections("slow_body").await, 1);
    victim.assert_unharmed(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_4_other_protocols_are_told_where_to_go() {
    let victim = Victim::new().await;
    let hint = format!("HTTP is on port {}", victim.broker.http.port());
    let cases: [(&[u8], &str, &str); 4] = [
        (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], "tls", ""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http", &hint),
        (b"POST /api HTTP/1.1\r\n\r\n", "http", &hint),
        (&[0xff; 64], "frame_size", ""),
    ];
    for (bytes, reason, answer) in cases {
        let before = victim.rejections(reason).await;
        let mut wire = Wire::raw(victim.broker.native);
        wire.send(bytes);
        let rest = wire.rest(Duration::from_secs(5)).expect("closed");
        let text = String::from_utf8(rest).expect("text");
        assert!(text.contains(answer) && text.is_empty() == answer.is_empty(), "{text}");
        assert_eq!(victim.rejections(reason).await, before + 1, "{reason}");
    }
    victim.assert_unharmed(32 * MIB).await;
}

/// Row 9: lists of very many entries that are each next to nothing on the wire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_lists_of_hundreds_of_thousands_are_refused() {
    const MANY: usize = 300_000;
    let victim = Victim::new().await;
    let topics = || vec![String::new(); MANY];
    let cases: Vec<Operation> = vec![
        Metadata { topics: topics(), auto_create: true }.into(),
        DescribeTopics { names: topics(), internal: false }.into(),
        DeleteTopics { names: topics(), validate_only: true }.into(),
        CreateTopics { topics: vec![NewTopic::default(); MANY], validate_only: true }.into(),
        ListOffsets { partitions: vec![ListOffsetsPartition::default(); MANY] }.into(),
        DeleteRecords {
            partitions: vec![DeleteRecordsPartition::default(); MANY],
            validate_only: true,
        }
        .into(),
        Fetch { partitions: vec![FetchPartition::default(); MANY], ..Fetch::default() }.into(),
        Produce { partitions: vec![ProducePartition::default(); MANY], acks: -1 }.into(),
    ];
    for operation in cases {
        let name = operation.name();
        let response = victim.wire().ask(operation, &[]);
        assert_eq!(code_of(&response), Some(ErrorCode::InvalidRequest), "{name}");
    }
    // The same topic over and over: a small question with a large answer.
    let names = vec![TOPIC.to_owned(); limits::REQUEST_PARTITIONS_MAX];
    let response = victim.wire().ask(DescribeTopics { names: names.clone(), internal: false }, &[]);
    assert_eq!(response.error, None);
    let described = match response.result {
        Some(response::Result::DescribeTopics(result)) => result.topics.len(),
        other => panic!("{other:?}"),
    };
    assert!(described == 1, "a topic is described once, not {described} times");
    let response = victim.wire().ask(Metadata { topics: names, auto_create: false }, &[]);
    assert_eq!(response.error, None);
    victim.assert_unharmed(256 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_and_10_deep_unknown_and_oversized_headers_end_well() {
    let victim = Victim::new().await;
    // Groups within groups, as old encoders nested them.
    let nested = [0x9b, 0x06].repeat(100_000);
    let mut wire = victim.wire();
    wire.send(&frame_around(1, &nested));
    assert_eq!(wire.refused(), ErrorCode::Malformed);
    // A field that says it goes on far beyond the header.
    let mut wire = victim.wire();
    wire.send(&frame_around(1, &[0x12, 0xff, 0xff, 0xff, 0xff, 0x07]));
    assert_eq!(wire.refused(), ErrorCode::Malformed);
    // Unknown fields without number, and then no operation at all.
    let unknown = [0xf8, 0x07, 0x01].repeat(300_000);
    let mut wire = victim.wire();
    wire.send(&frame_around(1, &unknown));
    let answer = wire.frame().expect("an answer").response();
    assert_eq!(code_of(&answer), Some(ErrorCode::InvalidRequest));
    // A header above the limit is refused as soon as its length is there.
    let mut wire = victim.wire();
    let oversized = frame_around(1, &vec![0; limits::FRAME_HEADER_BYTES_MAX + 1]);
    wire.send(&oversized[..FRAME_PREFIX_BYTES]);
    assert_eq!(wire.refused(), ErrorCode::FrameTooLarge);
    victim.assert_unharmed(128 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_text_that_is_none_or_too_long() {
    let victim = Victim::new().await;
    let named = |client_id: &str| Request {
        timeout_ms: 1_000,
        client_id: client_id.to_owned(),
        operation: Some(Metrics {}.into()),
    };
    let mut wire = victim.wire();
    for bad in ["x".repeat(256), "x".repeat(32_767), "a\0b".into(), "a\nWARN forged".into()] {
        wire.send(&frame(1, &named(&bad), &[]));
        let answer = wire.frame().expect("an answer").response();
        assert_eq!(code_of(&answer), Some(ErrorCode::InvalidRequest));
    }
    assert_eq!(wire.ask(Metrics {}, &[]).error, None, "the connection goes on");

    let mut bytes = frame(1, &named("abcd"), &[]);
    let at = bytes.windows(4).position(|window| window == b"abcd").expect("the id");
    bytes[at..at + 2].copy_from_slice(&[0xc3, 0x28]);
    let mut wire = victim.wire();
    wire.send(&bytes);
    assert_eq!(wire.refused(), ErrorCode::Malformed);
    // Names that turn up in errors can not forge lines of the log.
    let forged = "x\n2026-01-01T00:00:00Z  WARN forged\u{1b}[2J".to_owned();
    let answer = victim.wire().ask(Metadata { topics: vec![forged], auto_create: true }, &[]);
    assert!(answer.error.is_some() || answer.result.is_some());
    assert!(victim.rejections("invalid_topic").await > 0);
    victim.broker.wait_log("reason=\"invalid_topic\"");
    let log = victim.broker.log_text();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "{log}");
    assert!(!log.contains("\u{1b}[2J"), "{log}");
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_and_13_trailing_bytes_reused_streams_and_ten_thousand_requests() {
    let victim = Victim::new().await;
    let mut wire = victim.wire();
    wire.request(1, Metadata::default(), b"trailing");
    assert_eq!(wire.refused(), ErrorCode::Malformed);

    let wait = Fetch {
        partitions: vec![FetchPartition {
            topic: TOPIC.to_owned(),
            partition: 0,
            offset: 1,
            max_bytes: 1,
        }],
        max_bytes: 1,
        min_bytes: 1,
        max_wait_ms: 60_000,
        read_committed: false,
    };
    let mut wire = victim.wire();
    wire.request(7, wait.clone(), &[]);
    wire.request(7, wait, &[]);
    assert_eq!(wire.refused(), ErrorCode::Malformed);

    let mut wire = victim.wire();
    let pipelined: Vec<u8> =
        (1..=10_000).flat_map(|stream| request(stream, Metadata::default(), &[])).collect();
    wire.send(&pipelined);
    let mut answered = BTreeSet::new();
    while answered.len() < 10_000 {
        let frame = wire.frame().expect("an answer");
        assert_eq!(frame.response().error, None);
        assert!(answered.insert(frame.stream), "each request is answered once");
    }
    victim.assert_unharmed(64 * MIB).await;
}

/// Row 24.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_names_that_no_topic_may_have() {
    let victim = Victim::new().await;
    let long = "x".repeat(250);
    create_topic(&victim.client, "a.b", 1, &[]).await;
    let names =
        ["", ".", "..", "a/b", "../up", "a b", "a\0b", "ümlaut", &long, "a_b", "__rivven_x"];
    for name in names.iter().chain(&["__consumer_offsets"]) {
        let new = NewTopic {
            name: (*name).to_owned(),
            partitions: 1,
            replication_factor: -1,
            ..NewTopic::default()
        };
        let create = CreateTopics { topics: vec![new], validate_only: false };
        let created = victim.client.create_topics(create).await.expect("an answer");
        let code = created[0].error.as_ref().and_then(|error| error.error_code());
        assert_eq!(code, Some(ErrorCode::InvalidTopic), "{name:?}");
        let metadata = victim.client.metadata(&[name], true).await.expect("an answer");
        let code = metadata.topics[0].error.as_ref().and_then(|error| error.error_code());
        assert!(code.is_some(), "{name:?} is not created on the way");
    }
    let topics = victim.client.metadata(&[], false).await.expect("an answer").topics;
    assert_eq!(topics.len(), 2, "{topics:?}");
    victim.assert_unharmed(32 * MIB).await;
}

/// Row 25.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_numbers_that_no_topic_may_have() {
    let victim = Victim::new().await;
    let partitions = ErrorCode::InvalidPartitions;
    let replication = ErrorCode::InvalidReplicationFactor;
    let cases = [
        (0, -1, partitions),
        (-5, -1, partitions),
        (1_000_000_000, -1, partitions),
        (i32::MIN, -1, partitions),
        (1, 0, replication),
        (1, 2, replication),
        (1, i32::MAX, replication),
    ];
    for (partitions, replication_factor, expected) in cases {
        let new = NewTopic {
            name: "n".to_owned(),
            partitions,
            replication_factor,
            ..NewTopic::default()
        };
        let create = CreateTopics { topics: vec![new], validate_only: false };
        let created = victim.client.create_topics(create).await.expect("an answer");
        let code = created[0].error.as_ref().and_then(|error| error.error_code());
        assert_eq!(code, Some(expected), "{partitions} × {replication_factor}");
    }
    victim.assert_unharmed(32 * MIB).await;
}

/// Row 26, and row 27 as far as a fetch answers at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_and_27_fetches_outside_what_there_is() {
    let victim = Victim::new().await;
    let fetch = |offset, max_bytes, min_bytes, max_wait_ms| Fetch {
        partitions: vec![FetchPartition {
            topic: TOPIC.to_owned(),
            partition: 0,
            offset,
            max_bytes,
        }],
        max_bytes,
        min_bytes,
        max_wait_ms,
        read_committed: false,
    };
    for offset in [-1, 2, i64::MIN, i64::MAX] {
        let (result, _) = victim.client.fetch(fetch(offset, 1, 0, 0)).await.expect("one").remove(0);
        let code = result.error.as_ref().and_then(|error| error.error_code());
        assert_eq!(code, Some(ErrorCode::OffsetOutOfRange), "{offset}");
    }
    for (max_bytes, min_bytes, max_wait_ms) in [(0, 0, 0), (u32::MAX, u32::MAX, 100), (1, 1, 0)] {
        let fetched = victim.client.fetch(fetch(0, max_bytes, min_bytes, max_wait_ms)).await;
        let (result, bytes) = fetched.expect("one").remove(0);
        assert_eq!(result.error, None);
        assert!(!bytes.is_empty(), "the first batch always comes");
    }
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_38_other_versions_learn_what_is_spoken() {
    let victim = Victim::new().await;
    let prefaces: [&[u8]; 3] = [b"RVN2\0\0\0\0", b"RVN1\x05\x09\0\0", b"RVNx\0\0\0\0"];
    for preface in prefaces {
        let mut wire = Wire::raw(victim.broker.native);
        wire.send(preface);
        assert_eq!(wire.refused(), ErrorCode::UnsupportedVersion);
    }
    assert_eq!(victim.rejections("unsupported_version").await, 3);
    for preface in [b"RVN1\x05\x01\0\0", b"RVN1\0\0\0\x01"] {
        let mut wire = Wire::raw(victim.broker.native);
        wire.send(preface);
        assert_eq!(wire.refused(), ErrorCode::Malformed);
    }
    victim.assert_unharmed(32 * MIB).await;
}

/// Row 39: the flood of one address stays its own problem.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_39_a_flood_of_connections_is_turned_away_at_the_door() {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let needed = limits::CONNECTIONS_PER_ADDRESS_MAX as u64 + 1_000;
    let raised = rustix::process::Rlimit { current: open_files.maximum, ..open_files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("up to the hard");
    if open_files.maximum.is_some_and(|maximum| maximum < needed) {
        assert!(std::env::var_os("RIVVEN_TESTS_ALL").is_none(), "too few open files are allowed");
        eprintln!("skipped: too few open files are allowed");
        return;
    }
    let victim = Victim::new().await;
    let flood: Vec<_> = (0..limits::CONNECTIONS_PER_ADDRESS_MAX + 200)
        .map(|_| std::net::TcpStream::connect(victim.broker.native).expect("the queue takes it"))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while victim.rejections("connections_per_address").await < 200 {
        assert!(Instant::now() < deadline, "the flood is turned away");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    victim.assert_unharmed(256 * MIB).await;
    drop(flood);
    wait_until("the address is served again", || victim.is_greeted());
}

/// Row 40: a peer that is gone or has nothing to say costs nothing for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_40_idle_connections_are_closed_and_their_descriptors_returned() {
    const IDLE: Duration = Duration::from_millis(400);
    let victim =
        Victim::with(|setup| setup.env("RIVVEN_SERVER_IDLE_TIMEOUT", IDLE.as_millis())).await;
    let before = victim.broker.descriptors();
    let begun = Instant::now();
    let mut silent: Vec<Wire> = (0..20).map(|_| victim.wire()).collect();
    assert!(victim.broker.descriptors() >= before + 20);
    for wire in &mut silent {
        assert_eq!(wire.refused(), ErrorCode::RequestTimedOut);
    }
    assert!(begun.elapsed() >= IDLE, "not before it is over");
    // They are returned although the peer keeps its side.
    wait_until("the descriptors are returned", || victim.broker.descriptors() <= before);
    let client = victim.broker.client().await;
    let metrics = client.metrics().await.expect("it answers others");
    let idle = "rivven_rejected_total{listener=\"client\",reason=\"idle\"}";
    let line = metrics.lines().find_map(|line| line.strip_prefix(idle)).expect("it is counted");
    assert!(line.trim().parse::<u64>().expect("a number") >= 20, "{line}");
    // A connection that is used is not idle, however long it lasts.
    let mut busy = victim.wire();
    while begun.elapsed() < 5 * IDLE {
        assert_eq!(busy.ask(Metadata::default(), &[]).error, None);
        std::thread::sleep(IDLE / 8);
    }
    drop(silent);
}

/// Row 86: without a descriptor for one connection more, what is there goes on, and the broker
/// can still make files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_86_connections_leave_descriptors_for_the_broker_itself() {
    const OPEN_FILES: u64 = 400;
    if !is_installed("prlimit") {
        assert!(std::env::var_os("RIVVEN_TESTS_ALL").is_none(), "can not run: no prlimit");
        eprintln!("skipped: no prlimit");
        return;
    }
    let victim = Victim::with(|setup| Setup { open_files: Some(OPEN_FILES), ..setup }).await;
    // Some are turned away before they know that they are connected.
    let connect = |_| match std::net::TcpStream::connect(victim.broker.native) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
        connected => Some(connected.expect("the queue takes it")),
    };
    let flood: Vec<_> = (0..OPEN_FILES).filter_map(connect).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while victim.rejections("file_descriptors").await < OPEN_FILES / 4 {
        assert!(Instant::now() < deadline, "the flood is turned away");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wait_until("half is left", || victim.broker.descriptors() as u64 <= OPEN_FILES / 2 + 1);
    let config = [("segment.bytes", (16 << 10).to_string())];
    create_topic(&victim.client, "rolling", 8, &config).await;
    for partition in 0..8 {
        for _ in 0..10 {
            let data = batch(&[&[7; 8_000]]);
            append(&victim.client, "rolling", partition, data).await.expect("segments are made");
        }
    }
    victim.assert_unharmed(128 * MIB).await;
    drop(flood);
    wait_until("the address is served again", || victim.is_greeted());
}
