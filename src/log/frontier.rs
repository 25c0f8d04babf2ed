//! The durable frontier: up to where each log of this node is known to have been synced. Damage
//! below it is corruption, damage above it a torn tail; without it the two could not be told apart
//! (storage.md, "Recovery"). Owns the journal `<data-dir>/frontier`; knows nothing of logs.
//!
//! # Order of writes
//! * A claim follows the sync it speaks of: data first, then [`Frontier::record`]. Claims
//!   are synced together, see [`Frontier::sync`]; a lost one only makes the next start scan more.
//! * A change that takes data away is announced: [`Frontier::lower`], synced, then the change. Its
//!   [`FrontierLowered`] is the key that truncation and its like ask for.
//! * A claim may still be on its way here when the log is truncated and would then promise bytes
//!   that are gone. Therefore each claim says how many lowerings its log has seen, and one from
//!   before the latest is dropped.
//!
//! # Format, version 1
//! A head and records of 64 bytes each, all numbers big endian, unused bytes zero:
//!
//! ```text
//! head  at  size                     record  at  size
//!        0     4  magic RVFR                  0    16  topic id
//!        4     2  version                    16     4  partition
//!       60     4  CRC-32C of 0..60           20     4  flags: 1 lowered, 2 forgotten
//!                                            24     8  base offset of the segment
//!                                            32     8  end offset
//!                                            40     8  position in the segment's file
//!                                            48     8  synced: how far the journal was durable
//!                                            60     4  CRC-32C of 0..60
//! ```
//!
//! The last record of a log counts; after one that says `forgotten`, which is the last word on the
//! log of a deleted topic, nothing is claimed any more. 64 divides every sector size, so a record
//! is never torn by a disk that writes whole sectors. What was not yet synced may still be lost in
//! any order when the power goes, so the first bad record normally is the end. But when any intact
//! record, before or behind it, declares that place `synced`, then bytes have rotted that were once
//! durable, and the journal as a whole is not believed. A rewritten journal is synced before it
//! gets its name, so its records declare all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::{FRONTIER_BYTES_MAX, FRONTIER_REWRITE_BYTES};
use crate::record::layout::crc32c;
use crate::storage::{Access, Disk, DiskFile, Operation, StorageError, Synced};
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "frontier";

const MAGIC: [u8; 4] = *b"RVFR";
const VERSION: u16 = 1;
const RECORD_BYTES: usize = 64;
const CRC_AT: usize = 60;
const LOWERED: u32 = 1;
const FORGOTTEN: u32 = 2;

/// How far a log is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontierEntry {
    /// Base offset of the segment that holds the end.
    pub segment_base: Offset,
    /// The offset after the last synced batch.
    pub end_offset: Offset,
    /// The byte after it in the segment's file.
    pub position: u64,
}

/// The entries of all logs of the node.
pub type FrontierEntries = BTreeMap<TopicPartition, FrontierEntry>;

/// A log was synced up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The log.
    pub partition: TopicPartition,
    /// How far it was synced.
    pub entry: FrontierEntry,
    /// [`FrontierLowered::lowerings`] of the log's last lowering, 0 before the first.
    pub lowerings: u32,
}

/// Proof that the journal durably claims no more than this of a log. Only [`Frontier::lower`] makes
/// one.
#[derive(Debug)]
pub struct FrontierLowered {
    partition: TopicPartition,
    end_offset: Offset,
    lowerings: u32,
}

impl FrontierLowered {
    /// Whether the log may now lose what lies at or beyond `end_offset`.
    #[must_use]
    pub fn permits(&self, partition: TopicPartition, end_offset: Offset) -> bool {
        self.partition == partition && self.end_offset <= end_offset
    }

    /// What the log's later claims have to carry.
    #[must_use]
    pub fn lowerings(&self) -> u32 {
        self.lowerings
    }
}

/// What a start finds in place of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontierState {
    /// There is none.
    Missing,
    /// There is one and it can not be believed; why.
    Unreadable(String),
    /// Every byte of it is sound.
    Whole,
    /// Its end was never synced and is not sound; the part before it counts.
    TornTail {
        /// Bytes that count.
        kept_bytes: u64,
        /// Bytes after them.
        dropped_bytes: u64,
    },
}

/// The journal of a running node.
#[derive(Debug)]
pub struct Frontier {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    logs: BTreeMap<TopicPartition, Known>,
    // Logs whose claim could not be written yet: the disk was full.
    unwritten: BTreeSet<TopicPartition>,
    len: u64,
    synced: u64,
    // After a failed sync nothing is known of the file's content any more.
    failed: bool,
    rewrite_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    // `None`: lowered before anything was claimed.
    entry: Option<FrontierEntry>,
    lowerings: u32,
}

impl Frontier {
    /// Reads the journal and changes nothing. The entries are empty unless the state is
    /// [`FrontierState::Whole`] or [`FrontierState::TornTail`].
    #[must_use]
    pub fn load(disk: &dyn Disk, data_dir: &Path) -> (FrontierState, FrontierEntries) {
        match disk.read_small(&data_dir.join(FILE_NAME), FRONTIER_BYTES_MAX) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.is_not_found() => (FrontierState::Missing, BTreeMap::new()),
            Err(error) => (FrontierState::Unreadable(error.to_string()), BTreeMap::new()),
        }
    }

    /// Begins a new journal with `entries`, atomically in place of what is there. To be called when
    /// the logs are recovered: until then the old journal, whatever its state, is the evidence.
    ///
    /// # Errors
    /// When the disk refuses; a failed sync is final.
    pub fn begin(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        entries: FrontierEntries,
    ) -> Result<Frontier, StorageError> {
        let path = data_dir.join(FILE_NAME);
        let logs: BTreeMap<_, _> = entries
            .into_iter()
            .map(|(name, entry)| (name, Known { entry: Some(entry), lowerings: 0 }))
            .collect();
        let (file, len) = write_whole(&*disk, &path, &logs)?;
        let rewrite_bytes = FRONTIER_REWRITE_BYTES as u64;
        Ok(Frontier {
            disk,
            path,
            file,
            logs,
            unwritten: BTreeSet::new(),
            len,
            synced: len,
            failed: false,
            rewrite_bytes,
        })
    }

    /// What is claimed of a log.
    #[must_use]
    pub fn get(&self, partition: TopicPartition) -> Option<FrontierEntry> {
        self.logs.get(&partition).and_then(|known| known.entry)
    }

    /// Notes syncs that have returned, without waiting for a disk. Claims that say nothing new and
    /// claims from before a lowering are dropped.
    ///
    /// # Errors
    /// When the journal can not be written. After [`StorageError::is_full`] and
    /// [`StorageError::is_out_of_descriptors`] the next call, even one without claims, tries these
    /// again; the logs themselves lose nothing by it.
    pub fn record(&mut self, claims: &[Claim]) -> Result<(), StorageError> {
        self.usable(Operation::Write)?;
        for claim in claims {
            let known = self.logs.get(&claim.partition);
            let lowerings = known.map_or(0, |known| known.lowerings);
            let claimed = known.and_then(|known| known.entry);
            let news = claimed.is_none_or(|claimed| claimed.end_offset < claim.entry.end_offset);
            if news && claim.lowerings == lowerings {
                let known = Known { entry: Some(claim.entry), lowerings };
                self.logs.insert(claim.partition, known);
                self.unwritten.insert(claim.partition);
            }
        }
        let mut records = Vec::with_capacity(self.unwritten.len() * RECORD_BYTES);
        for name in &self.unwritten {
            if let Some(entry) = self.get(*name) {
                records.extend_from_slice(&encode_record(*name, &entry, 0, self.synced));
            }
        }
        self.append(&records)?;
        self.unwritten.clear();
        self.rewrite_if_grown()
    }

    /// Makes what was recorded durable, so that the claims outlive a power cut.
    ///
    /// # Errors
    /// When the sync fails, which is final: the journal takes nothing any more.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.usable(Operation::Sync)?;
        if self.synced < self.len {
            self.sync_file()?;
        }
        Ok(())
    }

    /// Takes back what is claimed of a log beyond `entry`, durably. What the log then removes may
    /// be gone after a crash without being missed.
    ///
    /// # Errors
    /// When the journal can not be written and synced; then nothing may be removed.
    pub fn lower(
        &mut self,
        partition: TopicPartition,
        entry: FrontierEntry,
    ) -> Result<FrontierLowered, StorageError> {
        self.usable(Operation::Write)?;
        let known = self.logs.get(&partition).copied();
        let claimed = known.and_then(|known| known.entry);
        // Claims on their way are void even when nothing that has arrived must be taken back.
        let lowerings = known.map_or(0, |known| known.lowerings).wrapping_add(1);
        let mut left = claimed;
        if claimed.is_some_and(|claimed| claimed.end_offset > entry.end_offset) {
            self.append(&encode_record(partition, &entry, LOWERED, self.synced))?;
            self.sync_file()?;
            left = Some(entry);
        }
        self.logs.insert(partition, Known { entry: left, lowerings });
        Ok(FrontierLowered { partition, end_offset: entry.end_offset, lowerings })
    }

    /// Drops the logs of a deleted topic, durably, so that nobody misses their files.
    ///
    /// # Errors
    /// When the journal can not be written or synced; then the claims stay, for another try.
    pub fn forget(&mut self, topic: TopicId) -> Result<(), StorageError> {
        let gone: Vec<_> = self.logs.keys().copied().filter(|log| log.topic == topic).collect();
        let nowhere =
            FrontierEntry { segment_base: Offset::ZERO, end_offset: Offset::ZERO, position: 0 };
        let mut records = Vec::with_capacity(gone.len() * RECORD_BYTES);
        for &log in gone.iter().filter(|log| self.get(**log).is_some()) {
            records.extend_from_slice(&encode_record(log, &nowhere, FORGOTTEN, self.synced));
        }
        if !records.is_empty() {
            self.usable(Operation::Write)?;
            self.append(&records)?;
            self.sync_file()?;
        }
        for log in gone {
            self.logs.remove(&log);
            self.unwritten.remove(&log);
        }
        self.rewrite_if_grown()
    }

    fn append(&mut self, records: &[u8]) -> Result<(), StorageError> {
        if records.is_empty() {
            return Ok(());
        }
        // A record written in part is overwritten by the next one: `len` has not moved. Without a
        // descriptor nothing was written at all.
        let written = self.file.write_at(self.len, &mut [IoSlice::new(records)]);
        let passes = |error: &StorageError| error.is_full() || error.is_out_of_descriptors();
        written.inspect_err(|error| self.failed |= !passes(error))?;
        self.len += records.len() as u64;
        Ok(())
    }

    fn rewrite_if_grown(&mut self) -> Result<(), StorageError> {
        let in_use = ((self.logs.len() + 1) * RECORD_BYTES) as u64;
        if self.len <= self.rewrite_bytes.max(in_use * 4) {
            return Ok(());
        }
        match write_whole(&*self.disk, &self.path, &self.logs) {
            Ok((file, len)) => {
                (self.file, self.len, self.synced) = (file, len, len);
                Ok(())
            }
            // Without room for a second file the first one serves on.
            Err(error) if error.is_full() && error.operation != Operation::Sync => Ok(()),
            Err(error) => {
                // The name may point to either file now.
                self.failed = true;
                Err(error)
            }
        }
    }

    fn sync_file(&mut self) -> Result<Synced, StorageError> {
        let synced = self.file.sync().inspect_err(|_| self.failed = true)?;
        self.synced = self.len;
        Ok(synced)
    }

    fn usable(&self, operation: Operation) -> Result<(), StorageError> {
        if !self.failed {
            return Ok(());
        }
        let source = io::Error::other("an earlier sync of the frontier journal failed");
        Err(StorageError::new(operation, &self.path, source))
    }
}

fn write_whole(
    disk: &dyn Disk,
    path: &Path,
    logs: &BTreeMap<TopicPartition, Known>,
) -> Result<(Arc<dyn DiskFile>, u64), StorageError> {
    let claimed = logs.values().filter(|known| known.entry.is_some()).count();
    let len = (claimed + 1) * RECORD_BYTES;
    let mut content = Vec::with_capacity(len);
    content.extend_from_slice(&encode_head());
    for (&partition, known) in logs {
        if let Some(entry) = known.entry {
            content.extend_from_slice(&encode_record(partition, &entry, 0, len as u64));
        }
    }
    assert!(content.len() == len, "every claimed log has one record");
    disk.replace(path, &content)?;
    Ok((disk.open(path, Access::Write)?, len as u64))
}

fn encode_head() -> [u8; RECORD_BYTES] {
    let mut head = [0; RECORD_BYTES];
    head[..4].copy_from_slice(&MAGIC);
    head[4..6].copy_from_slice(&VERSION.to_be_bytes());
    seal(head)
}

fn encode_record(
    partition: TopicPartition,
    entry: &FrontierEntry,
    flags: u32,
    synced: u64,
) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..16].copy_from_slice(partition.topic.as_bytes());
    record[16..20].copy_from_slice(&partition.partition.0.to_be_bytes());
    record[20..24].copy_from_slice(&flags.to_be_bytes());
    record[24..32].copy_from_slice(&entry.segment_base.0.to_be_bytes());
    record[32..40].copy_from_slice(&entry.end_offset.0.to_be_bytes());
    record[40..48].copy_from_slice(&entry.position.to_be_bytes());
    record[48..56].copy_from_slice(&synced.to_be_bytes());
    seal(record)
}

fn seal(mut block: [u8; RECORD_BYTES]) -> [u8; RECORD_BYTES] {
    let crc = crc32c(&block[..CRC_AT]);
    block[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    block
}

fn is_sealed(block: &[u8; RECORD_BYTES]) -> bool {
    crc32c(&block[..CRC_AT]).to_be_bytes() == block[CRC_AT..]
}

struct Record {
    partition: TopicPartition,
    entry: FrontierEntry,
    lowered: bool,
    forgotten: bool,
    synced: u64,
}

fn decode_record(block: &[u8; RECORD_BYTES]) -> Option<Record> {
    if !is_sealed(block) {
        return None;
    }
    let flags = u32::from_be_bytes(field(block, 20));
    let record = Record {
        partition: TopicPartition {
            topic: TopicId::from_bytes(field(block, 0)),
            partition: PartitionId(i32::from_be_bytes(field(block, 16))),
        },
        entry: FrontierEntry {
            segment_base: Offset(i64::from_be_bytes(field(block, 24))),
            end_offset: Offset(i64::from_be_bytes(field(block, 32))),
            position: u64::from_be_bytes(field(block, 40)),
        },
        lowered: flags & LOWERED != 0,
        forgotten: flags & FORGOTTEN != 0,
        synced: u64::from_be_bytes(field(block, 48)),
    };
    let entry = &record.entry;
    let ordered = Offset::ZERO <= entry.segment_base && entry.segment_base <= entry.end_offset;
    (ordered && record.partition.partition.0 >= 0).then_some(record)
}

fn field<const N: usize>(block: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&block[at..at + N]);
    field
}

fn parse(bytes: &[u8]) -> (FrontierState, FrontierEntries) {
    let (blocks, partial) = bytes.as_chunks::<RECORD_BYTES>();
    let unreadable = |why: String| (FrontierState::Unreadable(why), BTreeMap::new());
    let Some((head, blocks)) = blocks.split_first() else {
        return unreadable(format!("{} bytes are too few for a frontier journal", bytes.len()));
    };
    if let Err(why) = check_head(head) {
        return unreadable(why);
    }
    let mut entries = BTreeMap::new();
    let mut intact = 0;
    for record in blocks.iter().map_while(decode_record) {
        intact += 1;
        apply(&mut entries, &record);
    }
    let kept = (intact + 1) * RECORD_BYTES;
    let synced = blocks.iter().filter_map(decode_record).map(|record| record.synced).max();
    if synced.is_some_and(|synced| synced > kept as u64) {
        return unreadable(format!("damage at byte {kept}, which was durable"));
    }
    if intact == blocks.len() && partial.is_empty() {
        return (FrontierState::Whole, entries);
    }
    let dropped_bytes = (bytes.len() - kept) as u64;
    (FrontierState::TornTail { kept_bytes: kept as u64, dropped_bytes }, entries)
}

fn check_head(head: &[u8; RECORD_BYTES]) -> Result<(), String> {
    if !head.starts_with(&MAGIC) {
        return Err(format!("not a frontier journal: it starts with {:02x?}", &head[..4]));
    }
    if !is_sealed(head) {
        return Err("the head of the frontier journal is damaged".to_owned());
    }
    match u16::from_be_bytes(field(head, 4)) {
        VERSION => Ok(()),
        found => Err(format!("frontier format version {found}, this rivvend reads {VERSION}")),
    }
}

fn apply(entries: &mut FrontierEntries, record: &Record) {
    if record.forgotten {
        entries.remove(&record.partition);
        return;
    }
    let claimed = entries.entry(record.partition).or_insert(record.entry);
    if record.lowered || claimed.end_offset < record.entry.end_offset {
        *claimed = record.entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::enumerate::enumerate_crashes;
    use crate::storage::memory::{Fault, FaultKind, MemoryDisk};

    fn name(partition: i32) -> TopicPartition {
        let topic = TopicId::from_bytes(*b"0123456789abcdef");
        TopicPartition { topic, partition: PartitionId(partition) }
    }

    fn entry(segment_base: i64, end_offset: i64, position: u64) -> FrontierEntry {
        FrontierEntry {
            segment_base: Offset(segment_base),
            end_offset: Offset(end_offset),
            position,
        }
    }

    /// A journal whose record `at` was written when the first `synced[at]` records were durable.
    fn journal(synced: &[usize]) -> Vec<u8> {
        let mut bytes = encode_head().to_vec();
        for (at, durable) in synced.iter().enumerate() {
            let synced = ((durable + 1) * RECORD_BYTES) as u64;
            let claimed = entry(0, at as i64 + 1, 10);
            bytes.extend_from_slice(&encode_record(name(at as i32), &claimed, 0, synced));
        }
        bytes
    }

    #[test]
    fn the_frozen_fixture_is_what_we_write_and_read() {
        let fixture = include_bytes!("../../tests/golden/log/frontier-v1.bin");
        let mut written = encode_head().to_vec();
        written.extend_from_slice(&encode_record(name(3), &entry(512, 1_000, 4_096), 0, 64));
        written.extend_from_slice(&encode_record(name(3), &entry(512, 900, 2_048), LOWERED, 64));
        assert_eq!(written, fixture);
        let (state, entries) = parse(fixture);
        assert_eq!(state, FrontierState::Whole);
        assert_eq!(entries, BTreeMap::from([(name(3), entry(512, 900, 2_048))]));
    }

    #[test]
    fn the_newest_claim_counts_and_only_a_lowering_goes_back() {
        let mut bytes = encode_head().to_vec();
        for (end, flags) in [(10, 0), (30, 0), (20, 0)] {
            bytes.extend_from_slice(&encode_record(name(0), &entry(0, end, 1), flags, 64));
        }
        assert_eq!(parse(&bytes).1[&name(0)].end_offset, Offset(30));
        bytes.extend_from_slice(&encode_record(name(0), &entry(0, 5, 1), LOWERED, 64));
        assert_eq!(parse(&bytes).1[&name(0)].end_offset, Offset(5));
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_its_whole_records() {
        let bytes = journal(&[0, 0, 0, 0]);
        for len in RECORD_BYTES..bytes.len() {
            let (state, entries) = parse(&bytes[..len]);
            let kept = len / RECORD_BYTES * RECORD_BYTES;
            assert_eq!(entries.len(), kept / RECORD_BYTES - 1);
            if kept == len {
                assert_eq!(state, FrontierState::Whole);
            } else {
                let (kept_bytes, dropped_bytes) = (kept as u64, (len - kept) as u64);
                assert_eq!(state, FrontierState::TornTail { kept_bytes, dropped_bytes });
            }
        }
        for len in 0..RECORD_BYTES {
            assert!(matches!(parse(&bytes[..len]).0, FrontierState::Unreadable(_)));
        }
    }

    #[test]
    fn damage_in_what_was_durable_makes_the_journal_unreadable() {
        // The fourth record says that the first two were durable when it was written.
        let bytes = journal(&[0, 0, 0, 2]);
        for damaged in 0..5 {
            for byte in 0..RECORD_BYTES {
                let mut bytes = bytes.clone();
                bytes[damaged * RECORD_BYTES + byte] ^= 0x10;
                let (state, entries) = parse(&bytes);
                if damaged <= 2 {
                    assert!(matches!(state, FrontierState::Unreadable(_)), "record {damaged}");
                    assert!(entries.is_empty());
                } else {
                    assert!(matches!(state, FrontierState::TornTail { .. }), "record {damaged}");
                    assert_eq!(entries.len(), damaged - 1);
                }
            }
        }
    }

    #[test]
    fn a_journal_shorter_than_it_declares_is_unreadable() {
        let bytes = journal(&[3, 3, 3]);
        assert_eq!(parse(&bytes).0, FrontierState::Whole);
        let shorter = &bytes[..3 * RECORD_BYTES];
        assert!(matches!(parse(shorter).0, FrontierState::Unreadable(_)));
    }

    #[test]
    fn a_newer_journal_is_not_guessed_at() {
        let mut head = encode_head();
        head[5] = 2;
        let (state, _) = parse(&seal(head));
        let FrontierState::Unreadable(why) = state else { panic!("{state:?}") };
        assert!(why.contains("version 2"), "{why}");
    }

    fn claim(partition: i32, end_offset: i64, lowerings: u32) -> Claim {
        Claim { partition: name(partition), entry: entry(0, end_offset, 10), lowerings }
    }

    fn begun(disk: &MemoryDisk) -> Frontier {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Frontier::begin(disk, Path::new(""), BTreeMap::new()).expect("sound disk")
    }

    fn loaded(disk: &MemoryDisk) -> (FrontierState, FrontierEntries) {
        Frontier::load(disk, Path::new(""))
    }

    fn end(entries: &FrontierEntries, partition: i32) -> Option<i64> {
        entries.get(&name(partition)).map(|entry| entry.end_offset.0)
    }

    #[test]
    fn a_journal_that_never_was_is_missing() {
        assert_eq!(loaded(&MemoryDisk::new()), (FrontierState::Missing, BTreeMap::new()));
    }

    #[test]
    fn a_claim_from_before_a_lowering_is_dropped() {
        let disk = MemoryDisk::new();
        let mut frontier = begun(&disk);
        // Nothing has arrived of the log yet, and still the claim on its way must not count.
        let lowered = frontier.lower(name(0), entry(0, 300, 3)).expect("sound disk");
        assert!(lowered.permits(name(0), Offset(300)) && lowered.permits(name(0), Offset(301)));
        assert!(!lowered.permits(name(0), Offset(299)) && !lowered.permits(name(1), Offset(300)));
        frontier.record(&[claim(0, 500, 0)]).expect("sound disk");
        assert_eq!(frontier.get(name(0)), None);
        frontier.record(&[claim(0, 320, lowered.lowerings())]).expect("sound disk");
        frontier.record(&[claim(0, 310, lowered.lowerings())]).expect("sound disk");
        assert_eq!(end(&loaded(&disk).1, 0), Some(320));
    }

    #[test]
    fn a_lowering_takes_back_only_what_was_claimed_beyond_it() {
        let disk = MemoryDisk::new();
        let mut frontier = begun(&disk);
        frontier.record(&[claim(0, 100, 0), claim(1, 100, 0)]).expect("sound disk");
        frontier.lower(name(0), entry(0, 200, 20)).expect("sound disk");
        frontier.lower(name(1), entry(0, 50, 5)).expect("sound disk");
        // A log without claims must not get one by being truncated: that much was never synced.
        frontier.lower(name(2), entry(0, 50, 5)).expect("sound disk");
        let entries = loaded(&disk.crash_losing_all()).1;
        assert_eq!(
            (end(&entries, 0), end(&entries, 1), end(&entries, 2)),
            (Some(100), Some(50), None)
        );
    }

    #[test]
    fn a_journal_that_has_grown_is_rewritten_without_deleted_topics() {
        let disk = MemoryDisk::new();
        let mut frontier = begun(&disk);
        frontier.rewrite_bytes = 20 * RECORD_BYTES as u64;
        let other = TopicPartition { topic: TopicId::from_bytes([9; 16]), ..name(0) };
        frontier
            .record(&[Claim { partition: other, entry: entry(0, 5, 1), lowerings: 0 }])
            .expect("sound disk");
        frontier.lower(name(1), entry(0, 0, 0)).expect("sound disk");
        frontier.forget(other.topic).expect("sound disk");
        for step in 1..=100 {
            frontier.record(&[claim(0, step, 0)]).expect("sound disk");
            assert!(frontier.len <= 21 * RECORD_BYTES as u64);
            assert_eq!(end(&loaded(&disk).1, 0), Some(step));
        }
        let (state, entries) = loaded(&disk);
        assert_eq!((state, entries.len()), (FrontierState::Whole, 1));
    }

    #[test]
    fn nothing_is_claimed_of_a_deleted_topic_even_after_a_power_cut() {
        let disk = MemoryDisk::new();
        let mut frontier = begun(&disk);
        let other = TopicPartition { topic: TopicId::from_bytes([9; 16]), ..name(0) };
        let claims = [name(0), other, TopicPartition { partition: PartitionId(1), ..other }];
        let claims = claims.map(|partition| Claim { partition, ..claim(0, 100, 0) });
        frontier.record(&claims).expect("sound disk");
        frontier.forget(other.topic).expect("sound disk");
        let claimed = |entries: &FrontierEntries| entries.keys().copied().collect::<Vec<_>>();
        let (state, entries) = loaded(&disk.crash_losing_all());
        assert_eq!((state, claimed(&entries)), (FrontierState::Whole, vec![name(0)]));
        // Where there is no room, it is done when there is some again.
        frontier.record(&claims).expect("sound disk");
        disk.inject(Fault::always(FaultKind::NoSpace, FILE_NAME));
        assert!(frontier.forget(other.topic).expect_err("no room").is_full());
        disk.clear_faults();
        frontier.forget(other.topic).expect("room again");
        assert_eq!(claimed(&loaded(&disk).1), [name(0)]);
    }

    #[test]
    fn a_failed_sync_ends_the_journal_and_permits_nothing() {
        let disk = MemoryDisk::new();
        let mut frontier = begun(&disk);
        frontier.record(&[claim(0, 100, 0)]).expect("sound disk");
        disk.inject(Fault::once(FaultKind::SyncFails, FILE_NAME));
        assert!(frontier.lower(name(0), entry(0, 50, 5)).is_err());
        assert!(frontier.lower(name(0), entry(0, 50, 5)).is_err(), "never tried again");
        assert!(frontier.sync().is_err());
        assert!(frontier.record(&[claim(0, 200, 0)]).is_err());
    }

    #[test]
    fn a_full_disk_is_a_state_that_passes() {
        let disk = MemoryDisk::new();
        let mut frontier = begun(&disk);
        frontier.record(&[claim(0, 100, 0)]).expect("sound disk");
        disk.inject(Fault::always(FaultKind::NoSpace, FILE_NAME));
        assert!(frontier.record(&[claim(0, 200, 0)]).is_err());
        assert!(frontier.lower(name(0), entry(0, 50, 5)).is_err());
        disk.clear_faults();
        frontier.record(&[]).expect("room again");
        let claimed = [(name(0), entry(0, 200, 10))].into();
        assert_eq!(loaded(&disk), (FrontierState::Whole, claimed), "made up for");
    }

    /// What a scenario of two logs was promised before the power failed.
    #[derive(Default)]
    struct Promise {
        begun: bool,
        // Per log: durable claim, largest claim since it was last lowered, and what a lowering
        // under way will leave.
        synced: [i64; 2],
        claimed: [i64; 2],
        lowering: [Option<i64>; 2],
    }

    fn scenario(disk: &MemoryDisk) -> Promise {
        let mut promise = Promise::default();
        let _ = run(disk, &mut promise);
        promise
    }

    fn run(disk: &MemoryDisk, promise: &mut Promise) -> Result<(), StorageError> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut frontier = Frontier::begin(shared, Path::new(""), BTreeMap::new())?;
        frontier.rewrite_bytes = 8 * RECORD_BYTES as u64;
        promise.begun = true;
        let mut lowerings = 0;
        for round in 1..=4_i64 {
            for (log, step) in [(0, 10), (1, 7)] {
                let seen = if log == 0 { lowerings } else { 0 };
                promise.claimed[log] += step;
                frontier.record(&[claim(log as i32, promise.claimed[log], seen)])?;
            }
            if round % 2 == 0 {
                frontier.sync()?;
                promise.synced = promise.claimed;
            }
            if round == 3 {
                promise.lowering[0] = Some(5);
                lowerings = frontier.lower(name(0), entry(0, 5, 1))?.lowerings();
                promise.lowering[0] = None;
                // The same sync covers the other log.
                promise.synced = [5, promise.claimed[1]];
                promise.claimed[0] = 5;
            }
        }
        Ok(())
    }

    // D9: after any crash the journal is readable, claims nothing that was taken back, and still
    // claims what was synced.
    #[test]
    fn a_crash_never_leaves_a_claim_too_high_nor_loses_a_synced_one() {
        let coverage = enumerate_crashes(scenario, |disk, promise, _| {
            let (state, entries) = loaded(&disk);
            if !promise.begun {
                assert!(matches!(state, FrontierState::Missing | FrontierState::Whole));
                return;
            }
            assert!(
                matches!(state, FrontierState::Whole | FrontierState::TornTail { .. }),
                "{state:?}"
            );
            for log in 0..2 {
                let found = end(&entries, log as i32).unwrap_or(0);
                let least = promise.lowering[log].unwrap_or(i64::MAX).min(promise.synced[log]);
                assert!((least..=promise.claimed[log]).contains(&found), "log {log}: {found}");
            }
        });
        assert!(coverage.operations > 15 && coverage.crashes > 50, "{coverage:?}");
    }
}
