//! Bad record batches against the live broker: each is refused with the code it must get, nothing
//! of it is appended, and the connection goes on.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{Error, Produce, ProducePartition, response};
use rivvend::record::layout::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, CRC_AT, HEADER_BYTES, LAST_OFFSET_DELTA_AT, LENGTH_AT,
    MAGIC_AT, MAX_TIMESTAMP_AT, PRODUCER_ID_AT, RECORDS_COUNT_AT, crc32c,
};

use super::frames::{TOPIC, Victim};
use super::load::{batch, now};
use super::wire::Wire;

const MIB: u64 = 1 << 20;
/// One batch at its cap, once more while the allocator has not returned the last, and the frames.
const BOMB_MEMORY: u64 = 192 * MIB;
const GZIP: u8 = 1;
const ZSTD: u8 = 4;

/// Sends one entry and returns the error that it, or the whole request, got.
fn produce(wire: &mut Wire, data: &[u8], acks: i32) -> Option<Error> {
    let entry = ProducePartition {
        topic: TOPIC.to_owned(),
        partition: 0,
        data_bytes: data.len() as u32,
        expected_offset: None,
    };
    let response = wire.ask(Produce { partitions: vec![entry], acks }, data);
    match response.result {
        Some(response::Result::Produce(mut result)) => {
            assert_eq!(result.partitions.len(), 1, "one entry, one result");
            result.partitions.remove(0).error
        }
        _ => response.error,
    }
}

fn sound() -> Vec<u8> {
    batch(&[b"one", b"two", b"three"]).to_vec()
}

/// Changes bytes of a batch and makes its length and checksum right again.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = sound();
    change(&mut bytes);
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let length = (bytes.len() - LENGTH_AT - 4) as i32;
    put(bytes, LENGTH_AT, &length.to_be_bytes());
    let crc = crc32c(&bytes[ATTRIBUTES_AT..]);
    put(bytes, CRC_AT, &crc.to_be_bytes());
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// A batch that says its body is compressed so.
fn packed(codec: u8, body: &[u8]) -> Vec<u8> {
    forged(|bytes| {
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(body);
        bytes[ATTRIBUTES_AT + 1] = codec;
    })
}

fn with_timestamp(timestamp: i64) -> Vec<u8> {
    forged(|bytes| {
        put(bytes, BASE_TIMESTAMP_AT, &timestamp.to_be_bytes());
        put(bytes, MAX_TIMESTAMP_AT, &timestamp.to_be_bytes());
    })
}

pub(super) fn bad_batches() -> Vec<(&'static str, Vec<u8>, ErrorCode)> {
    let mut bad_crc = sound();
    *bad_crc.last_mut().expect("not empty") ^= 1;
    let mut idempotent = forged(|bytes| put(bytes, PRODUCER_ID_AT, &[0; 14]));
    idempotent.extend(idempotent.clone());
    let mut cases = vec![
        ("15: bad checksum", bad_crc, ErrorCode::CorruptMessage),
        ("15: cut short", sound()[..70].to_vec(), ErrorCode::CorruptMessage),
        ("19: two idempotent batches", idempotent, ErrorCode::InvalidRecord),
    ];
    for magic in [0, 1, 3] {
        let code = ErrorCode::UnsupportedForMessageFormat;
        cases.push(("16: another magic", forged(|b| b[MAGIC_AT] = magic), code));
    }
    let invalid: Vec<(&str, usize, Vec<u8>)> = vec![
        ("17: too many records", RECORDS_COUNT_AT, 4_i32.to_be_bytes().to_vec()),
        ("17: too few records", RECORDS_COUNT_AT, 2_i32.to_be_bytes().to_vec()),
        ("17: negative count", RECORDS_COUNT_AT, (-1_i32).to_be_bytes().to_vec()),
        ("17: huge count", RECORDS_COUNT_AT, i32::MAX.to_be_bytes().to_vec()),
        ("17: wrong last offset", LAST_OFFSET_DELTA_AT, 7_i32.to_be_bytes().to_vec()),
        ("17: negative last offset", LAST_OFFSET_DELTA_AT, (-1_i32).to_be_bytes().to_vec()),
        ("17: huge record", HEADER_BYTES, vec![0xfe, 0x7f]),
        ("17: negative record", HEADER_BYTES, vec![0x01]),
        ("17: offset not in order", HEADER_BYTES + 3, vec![0x08]),
        ("18: control", ATTRIBUTES_AT, vec![0, 1 << 5]),
        ("18: transactional", ATTRIBUTES_AT, vec![0, 1 << 4]),
        ("unknown attributes", ATTRIBUTES_AT, vec![0x40, 0]),
    ];
    for (what, at, field) in invalid {
        cases.push((what, forged(|bytes| put(bytes, at, &field)), ErrorCode::InvalidRecord));
    }
    for codec in [5, 6, 7] {
        let code = ErrorCode::UnsupportedCompressionType;
        cases.push(("21: unknown codec", packed(codec, b"body"), code));
    }
    for timestamp in [i64::MIN, i64::MAX, now().0 + 100 * 365 * 86_400_000] {
        cases.push(("23: time stamp", with_timestamp(timestamp), ErrorCode::InvalidTimestamp));
    }
    for codec in 1..=4 {
        cases.push(("garbage in a codec", packed(codec, &[0xa5; 999]), ErrorCode::InvalidRecord));
        cases.push(("nothing in a codec", packed(codec, &[]), ErrorCode::InvalidRecord));
    }
    cases.push(("no batch at all", Vec::new(), ErrorCode::InvalidRecord));
    cases
}

/// Rows 14 to 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_batches_are_refused_by_name_and_nothing_is_appended() {
    let victim = Victim::new().await;
    let mut wire = victim.wire();
    for (what, bytes, expected) in bad_batches() {
        let error = produce(&mut wire, &bytes, -1).unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.error_code(), Some(expected), "{what}: {error:?}");
        assert!(!error.message.is_empty(), "{what}: {error:?}");
    }
    for acks in [2, -2, i32::MAX] {
        let error = produce(&mut wire, &sound(), acks).expect("refused");
        assert_eq!(error.error_code(), Some(ErrorCode::InvalidRequiredAcks), "row 14: {acks}");
    }
    let large = batch(&[&vec![7; 1_100_000]]);
    let error = produce(&mut wire, &large, -1).expect("refused");
    assert_eq!(error.error_code(), Some(ErrorCode::MessageTooLarge), "row 20");
    let details = error.details.expect("numbers");
    assert_eq!(details.limit, Some(1_048_588));
    assert_eq!(details.actual, Some(large.len() as u64));
    let counts = [
        ("corrupt_message", 2),
        ("invalid_record", 20),
        ("unsupported_format", 3),
        ("unsupported_compression", 3),
        ("invalid_timestamp", 3),
        ("invalid_acks", 3),
        ("message_too_large", 1),
    ];
    // The last of them; the others come before it.
    victim.broker.wait_log("reason=\"message_too_large\"");
    let log = victim.broker.log_text();
    for (reason, count) in counts {
        assert!(victim.rejections(reason).await >= count, "{reason}");
        let told = log.lines().filter(|line| line.contains(&format!("reason=\"{reason}\"")));
        let told: Vec<_> = told.collect();
        // Once in ten seconds; the test may take longer than that on a slow machine.
        assert!((1..=3).contains(&told.len()), "{reason}: {told:?}");
        assert!(told[0].contains("peer=127.0.0.1:"), "{told:?}");
    }
    assert!(!log.contains("three"), "a payload is never logged: {log}");
    victim.assert_unharmed(64 * MIB).await;
}

/// Row 22: what is small on the wire and huge in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_stopped_at_the_cap() {
    let victim = Victim::new().await;
    let mut wire = victim.wire();
    for (what, bytes) in bombs() {
        let error = produce(&mut wire, &bytes, -1).unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.error_code(), Some(ErrorCode::InvalidRecord), "{what}: {error:?}");
    }
    victim.assert_unharmed(BOMB_MEMORY).await;
}

/// Row 22 over many connections and threads at once: each is capped, and so are all together. A
/// batch that finds no room any more is one that may come again; a small one always finds room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_of_many_connections_are_bounded_together() {
    let victim = Victim::with(|setup| setup.env("TOKIO_WORKER_THREADS", 16)).await;
    let bombs = bombs();
    let crowded = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut wire = victim.wire();
                for (what, bytes) in &bombs {
                    let error = produce(&mut wire, bytes, -1).expect(what);
                    let refused = [Some(ErrorCode::InvalidRecord), Some(ErrorCode::Overloaded)];
                    assert!(refused.contains(&error.error_code()), "{what}: {error:?}");
                    let is_crowded = error.error_code() == Some(ErrorCode::Overloaded);
                    crowded.fetch_add(usize::from(is_crowded), Ordering::Relaxed);
                }
                let small = zstd::bulk::compress(&[0; 1_000], 3).expect("to memory");
                let error = produce(&mut wire, &packed(ZSTD, &small), -1).expect("no records");
                assert_eq!(error.error_code(), Some(ErrorCode::InvalidRecord), "{error:?}");
            });
        }
    });
    assert!(crowded.into_inner() > 0, "sixteen threads together never met their common bound");
    // The allocator returns what was freed only after a while, each thread its own, so that this
    // says no more than that the bombs did not add up.
    let bound = 24 * 64 * MIB;
    victim.assert_unharmed(bound).await;
}

pub(super) fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; 32 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).expect("to memory");
    let gzip = gzip.finish().expect("to memory");
    let zstd = zstd::bulk::compress(&zeros, 3).expect("to memory");
    // A frame that declares a window of 2 GiB, and one byte.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x09, 0x00, 0x00, b'x'];
    // A frame that declares 8 GiB of content.
    let mut declared = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    declared.extend((8_u64 << 30).to_le_bytes());
    declared.extend([0x09, 0x00, 0x00, b'x']);
    vec![
        ("gzip", packed(GZIP, &gzip.repeat(20))),
        ("zstd", packed(ZSTD, &zstd.repeat(100))),
        ("zstd window", packed(ZSTD, &window)),
        ("zstd size", packed(ZSTD, &declared)),
    ]
}
