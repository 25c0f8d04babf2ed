//! Holds man/rivvend-log.5 against the code: the tables people read files with must be true.

use super::checkpoint::{self, Kind};
use super::frontier::{Frontier, FrontierEntry};
use super::{FileKind, clean, compaction, epochs, producers, repair, retention, sidecar};
use crate::limits;
use crate::record::Compression;
use crate::record::layout::{self, BatchHeader};
use crate::storage::Disk as _;
use crate::storage::memory::MemoryDisk;
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

const MANUAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/man/rivvend-log.5"));

/// The rows of the table whose title begins so, each as its columns.
fn table(title: &str) -> Vec<Vec<&'static str>> {
    let start = MANUAL.find(&format!("\n{title}")).unwrap_or_else(|| panic!("no table {title:?}"));
    let rows = MANUAL[start + 1..].lines().skip(1).take_while(|line| *line != ".TE");
    rows.map(|row| row.split('\t').collect()).collect()
}

/// Rows of a layout: where a field is, how large it is where that is fixed, and what it is called.
fn fields(title: &str) -> Vec<(usize, Option<usize>, &'static str)> {
    let number = |text: &str| text.parse().expect("a number");
    let field = |row: Vec<&'static str>| (number(row[0]), row[1].parse().ok(), row[2]);
    table(title).into_iter().map(field).collect()
}

/// Fields lie back to back, up to `end`.
fn assert_gapless(title: &str, end: usize) {
    let fields = fields(title);
    for pair in fields.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1.expect("a size"), pair[1].0, "{title}: {pair:?}");
    }
    let (at, size, _) = fields.last().expect("some rows");
    assert_eq!(at + size.unwrap_or(0), end, "{title}");
}

#[test]
fn the_header_of_a_batch_is_that_of_the_code() {
    let code = [
        (layout::BASE_OFFSET_AT, "base offset"),
        (layout::LENGTH_AT, "batch length"),
        (layout::LEADER_EPOCH_AT, "partition leader epoch"),
        (layout::MAGIC_AT, "magic"),
        (layout::CRC_AT, "CRC-32C"),
        (layout::ATTRIBUTES_AT, "attributes"),
        (layout::LAST_OFFSET_DELTA_AT, "last offset delta"),
        (layout::BASE_TIMESTAMP_AT, "base timestamp"),
        (layout::MAX_TIMESTAMP_AT, "max timestamp"),
        (layout::PRODUCER_ID_AT, "producer id"),
        (layout::PRODUCER_EPOCH_AT, "producer epoch"),
        (layout::BASE_SEQUENCE_AT, "base sequence"),
        (layout::RECORDS_COUNT_AT, "records count"),
        (layout::HEADER_BYTES, "records"),
    ];
    let title = "at\tsize\tfield\tcovered";
    let manual: Vec<_> = fields(title).into_iter().map(|(at, _, name)| (at, name)).collect();
    assert_eq!(manual, code);
    assert_gapless(title, layout::HEADER_BYTES);
    for row in table(title) {
        let is_covered = row[0].parse::<usize>().expect("a number") >= layout::ATTRIBUTES_AT;
        assert_eq!(row[3], if is_covered { "yes" } else { "no" }, "{row:?}");
    }
    assert!(BatchHeader::parse(&[0; layout::HEADER_BYTES]).is_some());
    for codec in Compression::ALL {
        let named = format!("{} {codec}", codec.codec());
        assert!(MANUAL.contains(&named), "{named}");
    }
    for number in [limits::BATCH_BYTES_MAX, limits::INDEX_INTERVAL_BYTES] {
        assert!(MANUAL.contains(&format!(" {number} bytes")), "{number}");
    }
}

#[test]
fn the_side_files_are_those_of_the_code() {
    let manual: Vec<_> = table("magic\tfile\tword").iter().map(|row| (row[0], row[1])).collect();
    let magic = |magic: &'static [u8; 4]| std::str::from_utf8(magic).expect("letters");
    let code: Vec<_> = sidecar::KINDS.map(|(file, bytes)| (magic(bytes), file)).into();
    assert_eq!(manual, code);
    assert_gapless("at\tsize\tfield of the head", sidecar::HEAD_BYTES);
    assert_gapless("at\tsize\tfield of a frame", sidecar::FRAME_HEAD_BYTES);
    let version = format!("4\t2\tversion, {}\n", sidecar::VERSION);
    assert!(MANUAL.contains(&version), "{version:?}");
}

#[test]
fn the_checkpoints_are_those_of_the_code() {
    let row = |kind: &Kind| {
        let magic = String::from_utf8(kind.magic.to_vec()).expect("letters");
        (magic, kind.version.to_string(), kind.name.to_owned())
    };
    let logs = [clean::KIND, epochs::KIND, retention::LOG_START, producers::KIND, repair::KIND];
    let kinds = logs.iter().chain([&compaction::KIND]);
    let code: Vec<_> = kinds.map(row).collect();
    let manual = table("magic\tversion\tfile").into_iter();
    let manual: Vec<_> =
        manual.map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned())).collect();
    assert_eq!(manual[..code.len()], code, "those of the quorum come behind");
    let payload = checkpoint::HEAD_BYTES;
    assert!(MANUAL.contains(&format!("\n{payload}\t\tpayload, then CRC-32C")));
    assert!(MANUAL.contains(&format!("({} bytes)\n.TE", checkpoint::CRC_BYTES)));
}

/// A record of the journal, read as the manual says.
#[test]
fn the_frontier_is_read_as_the_manual_says() {
    let disk = MemoryDisk::new();
    let topic = TopicId::from_bytes(*b"0123456789abcdef");
    let partition = TopicPartition { topic, partition: PartitionId(3) };
    let (segment_base, end_offset, position) = (Offset(512), Offset(1_000), 4_096);
    let entry = FrontierEntry { segment_base, end_offset, position };
    let here = std::path::Path::new("");
    let shared = std::sync::Arc::new(disk.clone());
    Frontier::begin(shared, here, [(partition, entry)].into()).expect("a sound disk");
    let journal = disk.read_small(std::path::Path::new("frontier"), 1_000).expect("there");
    assert!(journal.starts_with(b"RVFR") && MANUAL.contains("the magic RVFR, version 1"));
    let (head, record) = journal.split_at(64);
    assert_eq!(head[4..6], 1_u16.to_be_bytes());
    let field = |name: &str| {
        let rows = fields("at\tsize\tfield of a record");
        let named = rows.iter().find(|(_, _, field)| field.starts_with(name));
        let (at, size, _) = named.unwrap_or_else(|| panic!("{name} is not in the manual"));
        record[*at..at + size.expect("a size")].to_vec()
    };
    assert_eq!(field("topic id"), b"0123456789abcdef");
    assert_eq!(field("partition"), 3_i32.to_be_bytes());
    assert_eq!(field("flags"), [0; 4]);
    assert_eq!(field("base offset"), 512_i64.to_be_bytes());
    assert_eq!(field("end offset"), 1_000_i64.to_be_bytes());
    assert_eq!(field("position"), 4_096_u64.to_be_bytes());
    assert_eq!(field("bytes of the journal"), 128_u64.to_be_bytes());
    assert_eq!(field("CRC-32C"), layout::crc32c(&record[..60]).to_be_bytes());
}

/// Every name that the manual gives a file of a partition is one that the code knows.
#[test]
fn the_names_of_files_are_known_to_the_code() {
    let partition = MANUAL.split("\n.SH PARTITION\n").nth(1).expect("has the section");
    let partition = partition.split("\n.SH ").next().expect("has an end");
    for name in [epochs::FILE_NAME, "log-start", repair::FILE_NAME, "sync-failed", "compaction"] {
        assert_eq!(FileKind::of(name), FileKind::State);
        assert!(partition.contains(&format!("\n.I {name}\n")), "{name}");
    }
    for ending in [".torn", ".deleted", ".tmp", ".unfinished", ".cleaned.log"] {
        assert_ne!(FileKind::of(&format!("x{ending}")), FileKind::Unknown);
        let ending = ending.trim_end_matches("log");
        assert!(partition.contains(ending), "{ending}");
    }
    for (extension, _) in sidecar::KINDS {
        assert!(partition.contains(&format!(".{extension}")), "{extension}");
    }
}
