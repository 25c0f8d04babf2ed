//! Decoders allocate by what they received, never by what it declares. Measured as the growth of a
//! process's address space, in a process of its own since that never shrinks.

use std::process::{Command, ExitCode};

use bytes::Bytes;
use rivvend::log::clean::CleanShutdown;
use rivvend::log::producers::Producers;
use rivvend::protocol::kafka::{FetchRequest, Message};
use rivvend::record::{
    BatchBuilder, BatchHeader, CheckRules, CheckedBatch, Compression, decode_records, layout,
    parse_record_list,
};
use rivvend::types::{Millis, Offset};

/// Address space a decoder may take beyond what its input explains: the codecs' windows.
const SLACK_KIB: u64 = 24 * 1024;
const BOMB_BYTES: usize = 4 << 20;
const BOMB_CAP: usize = 64 << 10;
const KAFKA_TOPICS: usize = 1 << 20;

/// Measures all decoders in another process, which has `bug` if one is named.
pub(crate) fn check(bug: Option<&str>) -> (u64, u64) {
    let own = std::env::current_exe().expect("a running program has a path");
    let output = Command::new(own).arg("--decoders").args(bug).output();
    let output = output.expect("a program can start itself");
    let text = String::from_utf8_lossy(&output.stdout);
    if bug.is_none() {
        print!("{text}");
    }
    let failed = text.lines().filter(|line| line.contains("FAILED")).count() as u64;
    let passed = text.lines().filter(|line| line.ends_with("ok")).count() as u64;
    let crashed = u64::from(!output.status.success() && failed == 0);
    (passed, failed + crashed)
}

/// Measures all decoders in this process.
pub(crate) fn measure(bug: Option<&str>) -> ExitCode {
    plant(bug);
    let mut failed = false;
    for (name, work) in CASES {
        let before = peak_kib();
        let received = work();
        let grown = peak_kib() - before;
        let bound = SLACK_KIB + (16 * received as u64) / 1024;
        if grown > bound {
            println!("decoder {name}: FAILED, {grown} KiB for {received} bytes");
            failed = true;
        } else {
            println!("decoder {name}: ok");
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

type Case = (&'static str, fn() -> usize);

/// Each gives a decoder something malicious and says how many bytes that was.
const CASES: &[Case] = &[
    ("batch that declares a million records", declared_records),
    ("batch of zeros in zstd", || bomb(Compression::Zstd)),
    ("batch of zeros in gzip", || bomb(Compression::Gzip)),
    ("batch of zeros in lz4", || bomb(Compression::Lz4)),
    ("Kafka request that declares a million topics", || kafka_topics(&[0; KAFKA_TOPICS])),
    ("Kafka request of a million topics without a name", || {
        kafka_topics(&[1, 1, 0].repeat(KAFKA_TOPICS))
    }),
    ("list of records", || {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0];
        drop(parse_record_list(&bytes, 1 << 20));
        bytes.len()
    }),
    ("snapshot of producers", || {
        let mut bytes = Producers::new().encode();
        bytes[10..14].copy_from_slice(&[0x7f; 4]);
        drop(Producers::decode(&bytes, Offset(1 << 40)));
        bytes.len()
    }),
    ("marker of a clean stop", || {
        let bytes = [0x7f; 64];
        drop(CleanShutdown::decode(&bytes));
        bytes.len()
    }),
];

fn declared_records() -> usize {
    let batch = BatchBuilder::single(Millis(1), None, Some(b"value"));
    let header =
        BatchHeader { records_count: 1 << 20, last_offset_delta: (1 << 20) - 1, ..*batch.header() };
    let mut bytes = batch.bytes().to_vec();
    bytes[..layout::HEADER_BYTES].copy_from_slice(&header.encode());
    let crc = layout::crc32c(&bytes[layout::ATTRIBUTES_AT..]);
    bytes[layout::CRC_AT..layout::ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    let received = bytes.len();
    let batch = CheckedBatch::take(&mut Bytes::from(bytes), &CheckRules::internal());
    let batch = batch.expect("header and checksum are right");
    assert!(decode_records(&batch).is_err(), "there is one record and not a million");
    received
}

/// A Fetch request whose array of topics has these bytes. Panics, so fails, when it is taken: its
/// topics are twenty-four times larger in memory than on the wire.
fn kafka_topics(topics: &[u8]) -> usize {
    // Replica, waits and limits, session; then how many topics there are, plus one.
    let mut body = vec![0; 4 + 4 + 4 + 4 + 1 + 8];
    body.extend_from_slice(&[0x81, 0x80, 0x40]);
    body.extend_from_slice(topics);
    let received = body.len();
    let read = FetchRequest::from_bytes(Bytes::from(body), 12);
    assert!(read.is_err(), "no honest request is like this");
    received
}

/// Zeros that expand to far more than the cap. Panics, so fails, when they may.
fn bomb(compression: Compression) -> usize {
    let packed = compression.compress(None, &vec![0; BOMB_BYTES]);
    let mut out = Vec::new();
    let expanded = compression.decompress_into(&packed, BOMB_CAP, &mut out);
    if expanded.is_ok() || out.capacity() > 4 * BOMB_CAP {
        println!("{compression}: FAILED, {} bytes with a cap of {BOMB_CAP}", out.capacity());
    }
    packed.len()
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmPeak:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(feature = "planted")]
fn plant(bug: Option<&str>) {
    use rivvend::planted::{Bug, plant};
    plant(Bug::ALL.into_iter().find(|found| Some(format!("{found:?}").as_str()) == bug));
}

#[cfg(not(feature = "planted"))]
fn plant(_: Option<&str>) {}
