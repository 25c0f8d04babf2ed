//! Bounds, round trips, and the frozen bytes of every kind in tests/golden/native/.

use proptest::prelude::*;

use super::*;
use crate::protocol::native::message::{self, Request, Response, ServerHello};

const LIMITS: FrameLimits = FrameLimits::OF_CLIENTS;

/// A frame of every kind with everything in it that the kind can carry.
fn frame_of(kind: Kind) -> Vec<u8> {
    let mut out = BytesMut::new();
    match kind {
        Kind::Hello => put_frame(&mut out, kind, StreamId::CONNECTION, &hello(), 0),
        Kind::Request => {
            put_frame(&mut out, kind, StreamId(1), &produce(), 3);
            out.put_slice(b"abc");
        }
        Kind::Response => put_frame(&mut out, kind, StreamId(1), &produced(), 0),
        Kind::Data => {
            put_frame(&mut out, kind, StreamId(2), &fetched(), 3);
            out.put_slice(b"abc");
        }
        Kind::Credit => put_credit(&mut out, StreamId(2), 65_536),
        Kind::Cancel => put_cancel(&mut out, StreamId(2)),
        Kind::Ping => put_ping(&mut out, *b"01234567"),
        Kind::Pong => put_pong(&mut out, *b"01234567"),
        Kind::GoAway => {
            let error = message::Error::new(ErrorCode::ShuttingDown, "the broker is stopping");
            put_frame(&mut out, kind, StreamId::CONNECTION, &error, 0);
        }
        Kind::Error => {
            let refusal = Preface { minor_min: 7, minor_max: 9 }.negotiate().expect_err("too new");
            let error = message::Error::new(refusal.code(), refusal.to_string());
            put_frame(&mut out, kind, StreamId::CONNECTION, &error, 0);
        }
        Kind::End => put_frame(&mut out, kind, StreamId(2), &Response::default(), 0),
    }
    out.to_vec()
}

fn hello() -> ServerHello {
    ServerHello {
        minor_min: 0,
        minor_max: 0,
        version: "0.1.0".to_owned(),
        cluster_id: "c".to_owned(),
        node_id: 1,
        frame_bytes_max: 104_857_600,
        credit_bytes: 1_048_576,
        mechanisms: vec!["SCRAM-SHA-512".to_owned()],
    }
}

fn produce() -> Request {
    let partition = message::ProducePartition {
        topic: "t".to_owned(),
        partition: 0,
        data_bytes: 3,
        expected_offset: Some(5),
    };
    let produce = message::Produce { partitions: vec![partition], acks: -1 };
    Request { timeout_ms: 1_000, client_id: "me".to_owned(), ..Request::new(produce) }
}

fn produced() -> Response {
    let result = message::ProducePartitionResult {
        topic: "t".to_owned(),
        base_offset: 5,
        next_offset: 6,
        durability: "fsync".to_owned(),
        ..Default::default()
    };
    Response::ok(message::ProduceResult { partitions: vec![result] })
}

fn fetched() -> Response {
    let result = message::FetchPartitionResult {
        topic: "t".to_owned(),
        data_bytes: 3,
        high_watermark: 6,
        last_stable_offset: 6,
        ..Default::default()
    };
    Response::ok(message::SubscribeData { partitions: vec![result] })
}

fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ") + "\n"
    };
    bytes.chunks(16).map(line).collect()
}

/// Compares with the file that is checked in; `UPDATE=1` rewrites it, which breaks every client
/// there is unless the change only adds.
fn check_golden(name: &str, bytes: &[u8]) {
    let path = format!("{}/tests/golden/native/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, hex(bytes)).expect("the golden file can be written");
    }
    let frozen = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(hex(bytes), frozen, "{path}");
}

#[test]
fn the_bytes_of_the_preface_and_of_every_kind_are_frozen() {
    check_golden("preface", &Preface::OWN.encode());
    for &kind in Kind::ALL {
        check_golden(&kind.name().to_lowercase(), &frame_of(kind));
    }
}

/// The operations about the configuration of brokers, with everything in them that they can carry:
/// what is asked, and what is answered.
fn configuration() -> [(&'static str, Request, Response); 3] {
    let reloaded = message::ReloadConfigResult {
        changed: vec!["topic.retention_ms".to_owned()],
        later: vec!["server.bind_address".to_owned()],
    };
    let entry = message::ConfigEntry {
        key: "topic.retention_ms".to_owned(),
        value: "3d".to_owned(),
        source: "dynamic".to_owned(),
        default_value: "7d".to_owned(),
        documentation: "How long.".to_owned(),
    };
    let described = message::DescribeConfigResult { config: vec![entry.clone()] };
    let altered = message::AlterConfigResult {
        config: vec![entry],
        warnings: vec!["not on node 2".to_owned()],
    };
    let describe = message::DescribeConfig { keys: vec!["topic.retention_ms".to_owned()] };
    let alter = message::AlterConfig { changes: changes().into(), validate_only: true };
    let reload = message::ReloadConfig {};
    [
        ("reload_config", Request::new(reload), Response::ok(reloaded)),
        ("describe_config", Request::new(describe), Response::ok(described)),
        ("alter_config", Request::new(alter), Response::ok(altered)),
    ]
}

/// A change of every kind.
fn changes() -> [message::ConfigChange; 4] {
    use message::config_change::Kind::{Append, Delete, Set, Subtract};
    [(Set, "3d"), (Delete, ""), (Append, "a"), (Subtract, "b")].map(|(kind, value)| {
        let (key, value) = ("topic.retention_ms".to_owned(), value.to_owned());
        message::ConfigChange { kind: kind.into(), key, value }
    })
}

#[test]
fn the_bytes_of_the_operations_about_configuration_are_frozen() {
    for (name, request, response) in configuration() {
        let mut bytes = BytesMut::new();
        put_frame(&mut bytes, Kind::Request, StreamId(3), &request, 0);
        let request_bytes = bytes.len();
        put_frame(&mut bytes, Kind::Response, StreamId(3), &response, 0);
        check_golden(name, &bytes);
        let body = |frame: &[u8]| {
            let header = FrameHeader::parse(frame, LIMITS).expect("sound").expect("whole");
            assert_eq!((header.frame_bytes(), header.payload_bytes), (frame.len(), 0));
            frame[FRAME_PREFIX_BYTES..].to_vec()
        };
        let (asked, answered) = bytes.split_at(request_bytes);
        assert_eq!(Request::decode(&*body(asked)), Ok(request), "{name}");
        assert_eq!(Response::decode(&*body(answered)), Ok(response), "{name}");
    }
}

#[test]
fn every_kind_reads_back_and_its_number_is_its_own() {
    for &kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind as u8), Some(kind));
        let bytes = frame_of(kind);
        let header = FrameHeader::parse(&bytes, LIMITS).expect("sound").expect("whole");
        assert_eq!(header.kind, kind);
        assert_eq!(header.frame_bytes(), bytes.len());
    }
    assert_eq!(Kind::from_number(0), None);
    assert_eq!(Kind::from_number(12), None);
}

#[test]
fn a_frame_that_has_not_arrived_is_waited_for() {
    let bytes = frame_of(Kind::Request);
    for arrived in 0..FRAME_PREFIX_BYTES {
        assert_eq!(FrameHeader::parse(&bytes[..arrived], LIMITS), Ok(None), "{arrived} bytes");
    }
}

/// bad-inputs 1: an impossible length is refused from the four bytes that say it.
#[test]
fn impossible_lengths_are_refused_before_anything_else_arrives() {
    let parse = |length: u32, limits| FrameHeader::parse(&length.to_be_bytes(), limits);
    for length in [u32::MAX, 1 << 31, FrameLimits::OF_CLIENTS.frame_bytes as u32 + 1] {
        let error = parse(length, LIMITS).expect_err("too large");
        assert_eq!(error.code(), ErrorCode::FrameTooLarge);
    }
    assert_eq!(parse(0, LIMITS), Err(FrameError::TooShort(0)));
    assert_eq!(parse(11, LIMITS), Err(FrameError::TooShort(11)));
    assert_eq!(parse(12, LIMITS), Ok(None));
    assert_eq!(parse(65_536, FrameLimits::BEFORE_ADMISSION), Ok(None));
    assert!(parse(65_537, FrameLimits::BEFORE_ADMISSION).is_err());
}

#[test]
fn every_field_that_makes_no_sense_is_refused() {
    let good = frame_of(Kind::Request);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        FrameHeader::parse(&bad, LIMITS).expect_err("refused")
    };
    assert_eq!(with(KIND_AT, &[0]), FrameError::UnknownKind(0));
    assert_eq!(with(KIND_AT, &[200]), FrameError::UnknownKind(200));
    assert_eq!(with(FLAGS_AT, &[1]), FrameError::Reserved { flags: 1, reserved: 0 });
    assert_eq!(with(RESERVED_AT + 1, &[9]), FrameError::Reserved { flags: 0, reserved: 9 });
    let (kind, stream) = (Kind::Request, StreamId::CONNECTION);
    assert_eq!(with(STREAM_AT, &[0; 4]), FrameError::WrongStream { kind, stream });
    let (kind, stream) = (Kind::Ping, StreamId(1));
    assert_eq!(with(KIND_AT, &[7]), FrameError::WrongStream { kind, stream });
    assert!(matches!(with(KIND_AT, &[5]), FrameError::WrongSize { kind: Kind::Credit, .. }));
    let room = good.len() - FRAME_PREFIX_BYTES;
    let header = room + 1;
    let length = (header as u32).to_be_bytes();
    assert_eq!(with(HEADER_LENGTH_AT, &length), FrameError::HeaderBeyondFrame { header, room });
    assert!(matches!(with(HEADER_LENGTH_AT, &[0xff; 4]), FrameError::HeaderTooLarge { .. }));
}

/// bad-inputs 38.
#[test]
fn a_preface_of_another_version_is_told_what_is_spoken() {
    assert_eq!(Preface::parse(&Preface::OWN.encode()), Ok(Some(Preface::OWN)));
    assert_eq!(Preface::OWN.negotiate(), Ok(MINOR_MAX));
    assert_eq!(Preface { minor_min: 0, minor_max: 200 }.negotiate(), Ok(MINOR_MAX));
    let newer = Preface { minor_min: 3, minor_max: 4 }.negotiate().expect_err("too new");
    assert_eq!(newer.to_string(), "unsupported protocol version 1.3–1.4; server speaks 1.0–1.0");
    assert_eq!(newer.code(), ErrorCode::UnsupportedVersion);
    let major = Preface::parse(b"RVN2").expect_err("another major version");
    assert_eq!(major.to_string(), "unsupported protocol version 2; server speaks 1.0–1.0");
    assert_eq!(Preface::parse(b"GET / HT"), Err(PrefaceError::NotNative));
    assert_eq!(Preface::parse(b"RVN1\0\0\0"), Ok(None));
    assert!(matches!(Preface::parse(b"RVN1\0\0\0\x01"), Err(PrefaceError::Malformed(_))));
    assert!(matches!(Preface::parse(b"RVN1\x02\x01\0\0"), Err(PrefaceError::Malformed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// L7: whatever arrives, there is an answer; and what is accepted is within the limits and
    /// encodes to the same bytes.
    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_accepted_reads_back(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..32),
        tame in any::<bool>(),
    ) {
        if tame {
            for at in [0, 1, 2, 5, 6, 7, 12, 13, 14] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 0;
                }
            }
            if let Some(kind) = bytes.get_mut(KIND_AT) {
                *kind = *kind % 11 + 1;
            }
        }
        let _ = Preface::parse(&bytes);
        if let Ok(Some(header)) = FrameHeader::parse(&bytes, FrameLimits::BEFORE_ADMISSION) {
            prop_assert!(header.header_bytes <= FrameLimits::BEFORE_ADMISSION.header_bytes);
            prop_assert!(header.frame_bytes() <= FrameLimits::BEFORE_ADMISSION.frame_bytes + 4);
            let encoded = header.encode();
            prop_assert_eq!(&encoded[..], &bytes[..FRAME_PREFIX_BYTES]);
        }
    }
}
