//! What a partition remembers of its idempotent producers: epoch and the last five batches of each,
//! so that a retry gets its first answer and a gap or an older incarnation is refused (invariants
//! P1 to P4, P7, P8; Kafka's `ProducerStateManager`). Owns the state, its bound and its snapshots;
//! knows nothing of who asks, and reads no clock.
//!
//! The owner asks [`Producers::check`] before it stamps a batch and tells [`Producers::record`]
//! right after, so that batches of one group see each other. Followers and recovery only record:
//! what is in the log was decided by its leader.
//!
//! # When state goes
//! * By age: [`Producers::expire`], counted from the append on this node, not from record time
//!   stamps. Kafka counts from the latter, so a replay of old records has no protection there.
//! * By number: past the cap the producer that has not written for longest is forgotten.
//! * Not when segments are deleted: a retry may come later than retention (P2).
//! * By truncation. What five-batch windows have pushed out can not be brought back, so a cut into
//!   recorded batches makes the state useless: [`Producers::truncate_to`] then empties it and the
//!   caller rebuilds, with [`restore`] and a replay of the log from the snapshot's offset.
//!
//! # Snapshots
//! `producers-<offset>` holds the state after all batches below the offset. It is disposable (D15):
//! the newest intact one at or below the log end counts, else the whole log is replayed. One above
//! the log end tells of batches that are gone; it must be removed durably before anything else is
//! appended ([`remove_snapshots_above`]), or it would come true by accident.
//!
//! Payload, version 1: count (4), then per producer, least recently used first: producer id (8),
//! epoch (2), last use (8, ms), number of batches (1), then per batch, oldest first: first
//! sequence (4), last sequence (4), base offset (8), max timestamp (8). Version 2 will add the
//! first offset of an ongoing transaction per producer and the idempotency keys of HTTP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, CheckpointError, Fields, Kind, ReadError};
use crate::limits::{PRODUCER_BATCHES, PRODUCERS_PER_PARTITION_MAX};
use crate::planted::{self, Bug};
use crate::record::BatchHeader;
use crate::storage::{Disk, StorageError};
use crate::types::{Millis, Offset, ProducerEpoch, ProducerId, Sequence};

const PRODUCER_BYTES: usize = 8 + 2 + 8 + 1;
const BATCH_BYTES: usize = 4 + 4 + 8 + 8;
pub(super) const KIND: Kind = Kind {
    magic: *b"RVPS",
    name: "producer snapshot",
    version: 1,
    payload_bytes_max: 4 + PRODUCERS_PER_PARTITION_MAX
        * (PRODUCER_BYTES + PRODUCER_BATCHES * BATCH_BYTES),
};
const FILE_PREFIX: &str = "producers-";
const OFFSET_DIGITS: usize = 20;

/// What to do with a batch that wants to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Accept,
    /// It is in the log already: give the answer of the first time.
    Duplicate {
        /// The offset its first record got.
        base_offset: Offset,
        /// Its largest time stamp as stored.
        timestamp: Millis,
    },
    /// Batches before it are missing; OUT_OF_ORDER_SEQUENCE.
    OutOfOrder {
        /// The sequence that the producer's next batch has to begin with.
        expected: Sequence,
    },
    /// A newer incarnation of the producer has written; INVALID_PRODUCER_EPOCH.
    Fenced {
        /// The epoch in force.
        current: ProducerEpoch,
    },
    /// A producer id without a usable epoch or sequence; INVALID_RECORD.
    Invalid(&'static str),
}

/// What truncation did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an emptied state has to be rebuilt before the next check"]
pub enum Truncated {
    /// Nothing recorded lies at or beyond the cut: the state still holds.
    Unchanged,
    /// The state was emptied: restore a snapshot and replay from it.
    Rebuild,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    first: Sequence,
    last: Sequence,
    base_offset: Offset,
    timestamp: Millis,
}

impl Remembered {
    const NOTHING: Remembered = Remembered {
        first: Sequence(0),
        last: Sequence(0),
        base_offset: Offset(0),
        timestamp: Millis(0),
    };
}

/// What is known of one producer, for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// The last sequence of its newest batch, unless that is not remembered.
    pub last_sequence: Option<Sequence>,
    /// When it last wrote.
    pub last_used: Millis,
}

const NOBODY: u32 = u32::MAX;

/// One producer, and its place in the order of use.
#[derive(Clone, Debug)]
struct Slot {
    id: ProducerId,
    epoch: ProducerEpoch,
    last_used: Millis,
    // The first `count` entries count, oldest first.
    batches: [Remembered; PRODUCER_BATCHES],
    count: u8,
    older: u32,
    newer: u32,
}

impl Slot {
    fn new(id: ProducerId, epoch: ProducerEpoch) -> Slot {
        Slot {
            id,
            epoch,
            last_used: Millis(0),
            batches: [Remembered::NOTHING; PRODUCER_BATCHES],
            count: 0,
            older: NOBODY,
            newer: NOBODY,
        }
    }

    fn batches(&self) -> &[Remembered] {
        &self.batches[..usize::from(self.count)]
    }

    fn adopt(&mut self, epoch: ProducerEpoch) {
        self.epoch = epoch;
        self.count = 0;
    }

    fn push(&mut self, batch: Remembered) {
        let window = if planted::is(Bug::RememberOneBatch) { 1 } else { PRODUCER_BATCHES };
        if usize::from(self.count) >= window {
            self.batches.copy_within(1.., 0);
            self.count -= 1;
        }
        self.batches[usize::from(self.count)] = batch;
        self.count += 1;
    }

    fn expected(&self) -> Sequence {
        self.batches().last().map_or(Sequence(0), |batch| batch.last.plus(1))
    }
}

/// What of a log tells of its producers: without these batches, their state could not be rebuilt
/// from the log alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Needed {
    /// Base offsets, ascending.
    batches: Vec<Offset>,
    /// Producers of whose newest epoch only markers are in the log.
    markers: BTreeMap<ProducerId, ProducerEpoch>,
}

impl Needed {
    /// The base offsets of batches of records, ascending.
    #[cfg(test)]
    pub(super) fn list(&self) -> &[Offset] {
        &self.batches
    }

    /// Whether the batch has to stay, though its records may go.
    pub(super) fn has(&self, header: &BatchHeader) -> bool {
        match header.producer() {
            None => false,
            Some((id, epoch, _)) if header.is_control() => self.markers.get(&id) == Some(&epoch),
            Some(_) => self.batches.binary_search(&header.base_offset).is_ok(),
        }
    }
}

/// The idempotent producers of one partition.
#[derive(Clone, Debug)]
pub struct Producers {
    by_id: BTreeMap<ProducerId, u32>,
    // Free slots are reused before the vector grows, so it never exceeds `most`.
    slots: Vec<Slot>,
    free: Vec<u32>,
    // The two ends of the list that runs through `slots` by use.
    oldest: u32,
    newest: u32,
    most: usize,
    // Offset after the newest batch of any producer that was recorded.
    recorded_to: Offset,
}

impl Default for Producers {
    fn default() -> Producers {
        Producers::new()
    }
}

impl Producers {
    /// Nobody has written yet.
    #[must_use]
    pub fn new() -> Producers {
        Producers::with_cap(PRODUCERS_PER_PARTITION_MAX)
    }

    fn with_cap(most: usize) -> Producers {
        Producers {
            by_id: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NOBODY,
            newest: NOBODY,
            most,
            recorded_to: Offset::ZERO,
        }
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Judges a batch that a client wants appended. Its base offset does not matter yet.
    #[must_use]
    pub fn check(&self, header: &BatchHeader) -> Verdict {
        let Some((id, epoch, first)) = header.producer() else { return Verdict::Accept };
        if epoch.0 < 0 {
            return Verdict::Invalid("a batch with a producer id needs a producer epoch");
        }
        let known = self.by_id.get(&id).map(|&at| &self.slots[at as usize]);
        if header.is_control() {
            return known.map_or(Verdict::Accept, |slot| fence(slot, epoch));
        }
        if first.0 < 0 || header.last_offset_delta < 0 {
            return Verdict::Invalid("a batch with a producer id needs a base sequence");
        }
        // A producer whose state has expired or was lost may go on wherever it is, as in Kafka.
        let Some(slot) = known else { return Verdict::Accept };
        if first == Sequence(0) && planted::is(Bug::AcceptFencedZero) {
            return Verdict::Accept;
        }
        if epoch != slot.epoch {
            return match fence(slot, epoch) {
                Verdict::Accept if first.0 != 0 => Verdict::OutOfOrder { expected: Sequence(0) },
                verdict => verdict,
            };
        }
        let last = first.plus(header.last_offset_delta);
        let same = |batch: &&Remembered| batch.first == first && batch.last == last;
        if let Some(batch) = slot.batches().iter().find(same) {
            return Verdict::Duplicate {
                base_offset: batch.base_offset,
                timestamp: batch.timestamp,
            };
        }
        match slot.expected() {
            expected if expected == first => Verdict::Accept,
            _ if planted::is(Bug::AcceptGaps) => Verdict::Accept,
            expected => Verdict::OutOfOrder { expected },
        }
    }

    /// Notes a batch that was appended: as a leader after [`Verdict::Accept`], as a follower and in
    /// recovery whatever the log holds. `now` is the time of the append; a replay of old batches
    /// passes the present, which remembers longer and never shorter.
    pub fn record(&mut self, stamped: &BatchHeader, now: Millis) {
        let Some((id, epoch, first)) = stamped.producer() else { return };
        if epoch.0 < 0 {
            return;
        }
        let at = self.touch(id, epoch, now);
        self.recorded_to = self.recorded_to.max(stamped.next_offset());
        let slot = &mut self.slots[at as usize];
        if epoch > slot.epoch {
            slot.adopt(epoch);
        }
        // Epochs never go back. A leader that had forgotten the newer one may have let this in.
        let is_data = !stamped.is_control() && first.0 >= 0 && stamped.last_offset_delta >= 0;
        if epoch == slot.epoch && is_data {
            slot.push(Remembered {
                first,
                last: first.plus(stamped.last_offset_delta),
                base_offset: stamped.base_offset,
                timestamp: Millis(stamped.max_timestamp),
            });
        }
    }

    /// Everybody who is remembered, by their ids.
    pub fn known(&self) -> impl Iterator<Item = KnownProducer> {
        self.by_id.values().map(|&at| {
            let slot = &self.slots[at as usize];
            KnownProducer {
                id: slot.id,
                epoch: slot.epoch,
                last_sequence: slot.batches().last().map(|batch| batch.last),
                last_used: slot.last_used,
            }
        })
    }

    /// Forgets producers that have not written for `expiry_ms`; how many.
    pub fn expire(&mut self, now: Millis, expiry_ms: i64) -> usize {
        let before = self.len();
        while self.oldest != NOBODY {
            let idle_ms = now.0.saturating_sub(self.slots[self.oldest as usize].last_used.0);
            if idle_ms < expiry_ms {
                break;
            }
            self.forget_oldest();
        }
        before - self.len()
    }

    /// When [`Producers::expire`] has something to do at the earliest.
    #[must_use]
    pub fn next_expiry(&self, expiry_ms: i64) -> Option<Millis> {
        let oldest = self.slots.get(self.oldest as usize)?;
        Some(Millis(oldest.last_used.0.saturating_add(expiry_ms)))
    }

    /// Follows a truncation of the log to `end`.
    pub fn truncate_to(&mut self, end: Offset) -> Truncated {
        if self.recorded_to <= end {
            return Truncated::Unchanged;
        }
        *self = Producers::with_cap(self.most);
        Truncated::Rebuild
    }

    /// Which batches of the log have to stay for this state to be rebuilt.
    pub(super) fn needed(&self) -> Needed {
        let mut needed = Needed::default();
        for slot in self.by_id.values().map(|&at| &self.slots[at as usize]) {
            needed.batches.extend(slot.batches().iter().map(|batch| batch.base_offset));
            if slot.count == 0 {
                needed.markers.insert(slot.id, slot.epoch);
            }
        }
        needed.batches.sort_unstable();
        needed
    }

    /// The content of a snapshot file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut payload =
            Vec::with_capacity(4 + self.len() * (PRODUCER_BYTES + PRODUCER_BATCHES * BATCH_BYTES));
        payload.extend_from_slice(&(self.len() as u32).to_be_bytes());
        let mut at = self.oldest;
        while at != NOBODY {
            let slot = &self.slots[at as usize];
            payload.extend_from_slice(&slot.id.0.to_be_bytes());
            payload.extend_from_slice(&slot.epoch.0.to_be_bytes());
            payload.extend_from_slice(&slot.last_used.0.to_be_bytes());
            payload.push(slot.count);
            for batch in slot.batches() {
                payload.extend_from_slice(&batch.first.0.to_be_bytes());
                payload.extend_from_slice(&batch.last.0.to_be_bytes());
                payload.extend_from_slice(&batch.base_offset.0.to_be_bytes());
                payload.extend_from_slice(&batch.timestamp.0.to_be_bytes());
            }
            at = slot.newer;
        }
        checkpoint::encode(&KIND, KIND.version, &payload)
    }

    /// Reads the content of the snapshot taken at `offset`.
    ///
    /// # Errors
    /// When it is damaged, newer, or claims what no partition can have seen.
    pub fn decode(bytes: &[u8], offset: Offset) -> Result<Producers, CheckpointError> {
        let (_, payload) = checkpoint::decode(&KIND, bytes)?;
        let mut fields = Fields::new(&KIND, payload);
        let count = fields.u32()? as usize;
        if count > PRODUCERS_PER_PARTITION_MAX {
            return Err(fields.broken("more producers than a partition remembers"));
        }
        let mut producers = Producers::new();
        for _ in 0..count {
            producers.decode_one(&mut fields, offset)?;
        }
        fields.end()?;
        Ok(producers)
    }

    fn decode_one(&mut self, fields: &mut Fields<'_>, end: Offset) -> Result<(), CheckpointError> {
        let id = ProducerId(fields.i64()?);
        let epoch = ProducerEpoch(fields.i16()?);
        let last_used = Millis(fields.i64()?);
        let count = fields.u8()?;
        if id.0 < 0 || epoch.0 < 0 || self.by_id.contains_key(&id) {
            return Err(fields.broken("producer ids and epochs are not negative, ids differ"));
        }
        if usize::from(count) > PRODUCER_BATCHES {
            return Err(fields.broken("more batches than are remembered of a producer"));
        }
        let at = self.touch(id, epoch, last_used);
        for _ in 0..count {
            let batch = Remembered {
                first: Sequence(fields.i32()?),
                last: Sequence(fields.i32()?),
                base_offset: Offset(fields.i64()?),
                timestamp: Millis(fields.i64()?),
            };
            if batch.first.0 < 0 || batch.last.0 < 0 {
                return Err(fields.broken("sequences are not negative"));
            }
            if batch.base_offset < Offset::ZERO || batch.base_offset >= end {
                return Err(fields.broken("a batch lies outside what the snapshot covers"));
            }
            self.slots[at as usize].push(batch);
        }
        self.recorded_to = end;
        Ok(())
    }

    /// The slot of this producer, now the most recently used; made when there is none.
    fn touch(&mut self, id: ProducerId, epoch: ProducerEpoch, now: Millis) -> u32 {
        let at = match self.by_id.get(&id) {
            Some(&at) => {
                self.unlink(at);
                at
            }
            None => self.admit(id, epoch),
        };
        self.link_newest(at);
        self.slots[at as usize].last_used = now;
        at
    }

    fn admit(&mut self, id: ProducerId, epoch: ProducerEpoch) -> u32 {
        if self.by_id.len() == self.most {
            self.forget_oldest();
        }
        let slot = Slot::new(id, epoch);
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_id.insert(id, at);
        assert!(self.slots.len() <= self.most, "the cap bounds the slots");
        at
    }

    fn forget_oldest(&mut self) {
        let at = self.oldest;
        assert!(at != NOBODY, "only a state with producers can forget one");
        self.unlink(at);
        let removed = self.by_id.remove(&self.slots[at as usize].id);
        assert!(removed == Some(at), "every linked slot has its id in the map");
        self.free.push(at);
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = (self.slots[at as usize].older, self.slots[at as usize].newer);
        match older {
            NOBODY => self.oldest = newer,
            _ => self.slots[older as usize].newer = newer,
        }
        match newer {
            NOBODY => self.newest = older,
            _ => self.slots[newer as usize].older = older,
        }
    }

    fn link_newest(&mut self, at: u32) {
        self.slots[at as usize].older = self.newest;
        self.slots[at as usize].newer = NOBODY;
        match self.newest {
            NOBODY => self.oldest = at,
            newest => self.slots[newest as usize].newer = at,
        }
        self.newest = at;
    }
}

fn fence(slot: &Slot, epoch: ProducerEpoch) -> Verdict {
    if epoch < slot.epoch { Verdict::Fenced { current: slot.epoch } } else { Verdict::Accept }
}

/// Where the snapshot taken at `offset` lies.
#[must_use]
pub fn snapshot_path(dir: &Path, offset: Offset) -> PathBuf {
    dir.join(format!("{FILE_PREFIX}{:0width$}", offset.0, width = OFFSET_DIGITS))
}

/// The offset in the name of a snapshot file; `None` for every other name.
#[must_use]
pub fn snapshot_offset(name: &str) -> Option<Offset> {
    let digits = name.strip_prefix(FILE_PREFIX)?;
    let plain = digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(Offset)
}

/// The state that a snapshot gave back.
#[derive(Debug)]
pub struct Restored {
    /// The state after all batches below `from`.
    pub producers: Producers,
    /// Where the replay has to begin; `None` when no snapshot was usable: at the log start.
    pub from: Option<Offset>,
    /// Snapshots that should have been usable and were not, newest first.
    pub skipped: Vec<(PathBuf, ReadError)>,
}

/// Reads the newest intact snapshot at or below `log_end`.
///
/// # Errors
/// When the directory can not be listed. Damaged snapshots are skipped, not errors.
pub fn restore(disk: &dyn Disk, dir: &Path, log_end: Offset) -> Result<Restored, StorageError> {
    let mut offsets = snapshots(disk, dir)?;
    offsets.retain(|&offset| offset <= log_end);
    let mut skipped = Vec::new();
    for offset in offsets.into_iter().rev() {
        let path = snapshot_path(dir, offset);
        match read_snapshot(disk, &path, offset) {
            Ok(producers) => return Ok(Restored { producers, from: Some(offset), skipped }),
            Err(error) => skipped.push((path, error)),
        }
    }
    Ok(Restored { producers: Producers::new(), from: None, skipped })
}

/// Offset of the newest snapshot that is there.
///
/// # Errors
/// When the directory can not be listed.
pub fn newest_snapshot(disk: &dyn Disk, dir: &Path) -> Result<Option<Offset>, StorageError> {
    Ok(snapshots(disk, dir)?.last().copied())
}

/// Removes the snapshots above `log_end`, durably. To be called when a log is opened and before it
/// is truncated.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn remove_snapshots_above(
    disk: &dyn Disk,
    dir: &Path,
    log_end: Offset,
) -> Result<(), StorageError> {
    remove_snapshots(disk, dir, |offset, _| offset > log_end)
}

/// Removes all but the newest `keep` snapshots.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn remove_old_snapshots(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<(), StorageError> {
    remove_snapshots(disk, dir, |_, newer| newer >= keep)
}

fn remove_snapshots(
    disk: &dyn Disk,
    dir: &Path,
    goes: impl Fn(Offset, usize) -> bool,
) -> Result<(), StorageError> {
    let mut removed = false;
    for (newer, offset) in snapshots(disk, dir)?.into_iter().rev().enumerate() {
        if goes(offset, newer) {
            disk.remove(&snapshot_path(dir, offset))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir(dir)?;
    }
    Ok(())
}

fn snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<Offset>, StorageError> {
    // Sorted by name is sorted by offset, the digits being of one width.
    let entries = disk.list(dir)?;
    Ok(entries.iter().filter_map(|entry| snapshot_offset(&entry.name)).collect())
}

fn read_snapshot(disk: &dyn Disk, path: &Path, offset: Offset) -> Result<Producers, ReadError> {
    let bytes = checkpoint::read(disk, path, &KIND)?;
    Ok(Producers::decode(&bytes, offset)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::layout::attributes;
    use crate::storage::memory::MemoryDisk;
    use crate::types::LeaderEpoch;

    fn batch(id: i64, epoch: i16, first: i32, records: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(0),
            batch_length: 100,
            leader_epoch: LeaderEpoch(0),
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: records - 1,
            base_timestamp: 0,
            max_timestamp: 1_000 + i64::from(first),
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(first),
            records_count: records,
        }
    }

    fn at(header: BatchHeader, offset: i64) -> BatchHeader {
        BatchHeader { base_offset: Offset(offset), ..header }
    }

    fn duplicate(offset: i64, first: i32) -> Verdict {
        Verdict::Duplicate {
            base_offset: Offset(offset),
            timestamp: Millis(1_000 + i64::from(first)),
        }
    }

    fn out_of_order(expected: i32) -> Verdict {
        Verdict::OutOfOrder { expected: Sequence(expected) }
    }

    const NOW: Millis = Millis(50_000);

    /// Producer 7 in epoch 2 wrote sequences 0..60 in six batches of ten at offsets 100..160.
    fn six_batches() -> Producers {
        let mut producers = Producers::new();
        for step in 0..6 {
            let header = batch(7, 2, step * 10, 10);
            assert_eq!(producers.check(&header), Verdict::Accept);
            producers.record(&at(header, 100 + i64::from(step) * 10), NOW);
        }
        producers
    }

    // P1 to P4: producer, epoch, first sequence, records, verdict.
    #[test]
    fn each_batch_gets_its_verdict() {
        let producers = six_batches();
        let fenced = Verdict::Fenced { current: ProducerEpoch(2) };
        let table = [
            (7, 2, 60, 10, Verdict::Accept),
            (7, 2, 60, 1, Verdict::Accept),
            (7, 2, 50, 10, duplicate(150, 50)),
            (7, 2, 10, 10, duplicate(110, 10)),
            (7, 2, 0, 10, out_of_order(60)), // older than five batches
            (7, 2, 50, 9, out_of_order(60)), // same start, other end
            (7, 2, 55, 5, out_of_order(60)), // overlaps the tail of a batch
            (7, 2, 61, 10, out_of_order(60)), // a gap
            (7, 3, 0, 10, Verdict::Accept),
            (7, 3, 60, 10, out_of_order(0)),
            (7, 1, 0, 10, fenced),
            (7, 1, 60, 10, fenced),
            (8, 0, 0, 10, Verdict::Accept),
            (8, 5, 4_711, 10, Verdict::Accept), // unknown: any sequence, any epoch
        ];
        for (id, epoch, first, records, expected) in table {
            let verdict = producers.check(&batch(id, epoch, first, records));
            assert_eq!(verdict, expected, "{id} {epoch} {first} {records}");
        }
    }

    #[test]
    fn a_batch_without_producer_passes_and_leaves_nothing() {
        let mut producers = Producers::new();
        let header = batch(-1, -1, -1, 10);
        assert_eq!(producers.check(&header), Verdict::Accept);
        producers.record(&at(header, 100), NOW);
        assert!(producers.is_empty());
        assert_eq!(producers.truncate_to(Offset(0)), Truncated::Unchanged);
    }

    #[test]
    fn a_producer_id_without_epoch_or_sequence_is_refused() {
        let producers = Producers::new();
        assert!(matches!(producers.check(&batch(7, -1, 0, 1)), Verdict::Invalid(_)));
        assert!(matches!(producers.check(&batch(7, 0, -1, 1)), Verdict::Invalid(_)));
        assert!(matches!(producers.check(&batch(7, 0, 0, 0)), Verdict::Invalid(_)));
    }

    // P7
    #[test]
    fn sequences_wrap_between_batches_and_inside_one() {
        let mut producers = Producers::new();
        producers.record(&at(batch(7, 0, i32::MAX - 9, 10), 0), NOW);
        assert_eq!(producers.check(&batch(7, 0, 1, 1)), out_of_order(0));
        assert_eq!(producers.check(&batch(7, 0, 0, 1)), Verdict::Accept);

        let mut producers = Producers::new();
        let across = batch(7, 0, i32::MAX - 4, 10);
        producers.record(&at(across, 0), NOW);
        assert!(matches!(producers.check(&across), Verdict::Duplicate { .. }));
        assert_eq!(producers.check(&batch(7, 0, 5, 1)), Verdict::Accept);
        assert_eq!(producers.check(&batch(7, 0, 6, 1)), out_of_order(5));
    }

    #[test]
    fn a_new_epoch_forgets_the_batches_of_the_old_one_and_never_goes_back() {
        let mut producers = six_batches();
        producers.record(&at(batch(7, 3, 0, 10), 160), NOW);
        assert_eq!(producers.check(&batch(7, 3, 0, 10)), duplicate(160, 0));
        assert_eq!(producers.check(&batch(7, 3, 10, 1)), Verdict::Accept);
        let fenced = Verdict::Fenced { current: ProducerEpoch(3) };
        assert_eq!(producers.check(&batch(7, 2, 50, 10)), fenced);
        producers.record(&at(batch(7, 2, 60, 10), 170), NOW);
        assert_eq!(producers.check(&batch(7, 2, 70, 10)), fenced);
        assert_eq!(producers.check(&batch(7, 3, 10, 1)), Verdict::Accept);
    }

    #[test]
    fn a_marker_raises_the_epoch_and_is_no_batch_of_the_producer() {
        let mut producers = six_batches();
        let marker = |epoch| BatchHeader {
            attributes: attributes::CONTROL | attributes::TRANSACTIONAL,
            ..batch(7, epoch, -1, 1)
        };
        producers.record(&at(marker(2), 160), NOW);
        assert_eq!(producers.check(&batch(7, 2, 60, 1)), Verdict::Accept);
        producers.record(&at(marker(3), 161), NOW);
        assert_eq!(producers.check(&marker(2)), Verdict::Fenced { current: ProducerEpoch(3) });
        assert_eq!(producers.check(&batch(7, 3, 60, 1)), out_of_order(0));
        assert_eq!(producers.check(&batch(7, 3, 0, 1)), Verdict::Accept);
    }

    // P8
    #[test]
    fn the_least_recently_used_producer_is_forgotten_first() {
        let mut producers = Producers::with_cap(3);
        for id in 1..=3 {
            producers.record(&at(batch(id, 0, 0, 1), id), NOW);
        }
        producers.record(&at(batch(1, 0, 1, 1), 4), NOW);
        producers.record(&at(batch(4, 0, 0, 1), 5), NOW);
        assert_eq!(producers.len(), 3);
        assert_eq!(producers.check(&batch(2, 0, 9, 1)), Verdict::Accept, "2 is forgotten");
        for (id, expected) in [(1, 2), (3, 1), (4, 1)] {
            assert_eq!(producers.check(&batch(id, 0, 9, 1)), out_of_order(expected));
        }
        assert!(producers.slots.len() <= 3);
    }

    #[test]
    fn expiry_counts_from_the_last_append_and_survives_a_clock_that_goes_back() {
        let mut producers = Producers::new();
        producers.record(&at(batch(1, 0, 0, 1), 0), Millis(1_000));
        producers.record(&at(batch(2, 0, 0, 1), 1), Millis(2_000));
        producers.record(&at(batch(1, 0, 1, 1), 2), Millis(3_000));
        assert_eq!(producers.next_expiry(500), Some(Millis(2_500)));
        assert_eq!(producers.expire(Millis(2_499), 500), 0);
        assert_eq!(producers.expire(Millis(2_500), 500), 1);
        assert_eq!(producers.expire(Millis(0), 500), 0);
        assert_eq!(producers.check(&batch(1, 0, 5, 1)), out_of_order(2));
        assert_eq!(producers.expire(Millis(i64::MAX), 500), 1);
        assert_eq!(producers.next_expiry(500), None);
    }

    #[test]
    fn a_cut_into_recorded_batches_asks_for_a_rebuild() {
        let mut producers = six_batches();
        assert_eq!(producers.truncate_to(Offset(160)), Truncated::Unchanged);
        assert_eq!(producers.len(), 1);
        assert_eq!(producers.truncate_to(Offset(159)), Truncated::Rebuild);
        assert!(producers.is_empty());
    }

    #[test]
    fn the_frozen_fixture_is_what_we_write_and_read() {
        let fixture = include_bytes!("../../tests/golden/log/producers-v1.bin");
        let mut sample = Producers::new();
        sample.record(&at(batch(9, 0, 0, 1), 3), Millis(10));
        sample.record(&at(batch(7, 2, 0, 10), 100), Millis(20));
        sample.record(&at(batch(7, 2, 10, 5), 110), Millis(30));
        assert_eq!(sample.encode(), fixture);
        let read = Producers::decode(fixture, Offset(115)).expect("frozen");
        assert_eq!(read.encode(), fixture);
        assert_eq!(read.check(&batch(7, 2, 10, 5)), duplicate(110, 10));
        assert!(Producers::decode(fixture, Offset(110)).is_err(), "110 is not below 110");
    }

    #[test]
    fn snapshot_names_sort_by_offset_and_foreign_names_are_left_alone() {
        let path = snapshot_path(Path::new("d"), Offset(4_711));
        assert_eq!(path, Path::new("d/producers-00000000000000004711"));
        assert_eq!(snapshot_offset("producers-00000000000000004711"), Some(Offset(4_711)));
        for foreign in [
            "producers-4711",
            "producers-0000000000000000471x",
            "producers-+0000000000000004711",
            "producers-99999999999999999999",
            "producers-00000000000000004711.tmp",
            "leader-epochs",
        ] {
            assert_eq!(snapshot_offset(foreign), None, "{foreign}");
        }
    }

    // D15
    #[test]
    fn the_newest_intact_snapshot_at_or_below_the_log_end_counts() {
        let disk = MemoryDisk::new();
        let here = Path::new("");
        let restored = |end| restore(&disk, here, Offset(end)).expect("sound disk");
        assert_eq!(restored(1_000).from, None);
        let mut producers = Producers::new();
        for step in 0..3_i64 {
            producers.record(&at(batch(7, 0, step as i32, 1), step * 100), NOW);
            let path = snapshot_path(here, Offset(step * 100 + 1));
            disk.replace(&path, &producers.encode()).expect("sound disk");
        }
        disk.replace(Path::new("producers-odd"), b"?").expect("sound disk");
        for (end, from) in [(0, None), (1, Some(1)), (200, Some(101)), (201, Some(201))] {
            assert_eq!(restored(end).from, from.map(Offset), "log end {end}");
        }

        disk.flip_bit(&snapshot_path(here, Offset(201)), 30, 1).expect("it exists");
        let older = restored(1_000);
        assert_eq!((older.from, older.skipped.len()), (Some(Offset(101)), 1));
        assert_eq!(older.producers.check(&batch(7, 0, 1, 1)), duplicate(100, 1));

        remove_snapshots_above(&disk, here, Offset(101)).expect("sound disk");
        let survivor = disk.crash_losing_all();
        assert!(!survivor.exists(&snapshot_path(here, Offset(201))).expect("sound disk"));
        assert!(restored(1_000).skipped.is_empty());
        remove_old_snapshots(&disk, here, 1).expect("sound disk");
        assert_eq!((restored(1_000).from, restored(100).from), (Some(Offset(101)), None));
        assert!(disk.exists(Path::new("producers-odd")).expect("sound disk"), "not ours");
    }

    /// What the rules say, without any cleverness: every batch ever accepted, in order.
    #[derive(Default)]
    struct Model {
        // Producer, epoch, first, last, base offset; least recently used producers first.
        accepted: Vec<(i64, i16, i32, i32, i64)>,
        used: Vec<(i64, i16)>,
    }

    impl Model {
        fn epoch(&self, id: i64) -> Option<i16> {
            self.used.iter().find(|(known, _)| *known == id).map(|(_, epoch)| *epoch)
        }

        fn check(&self, id: i64, epoch: i16, first: i32, last: i32) -> Verdict {
            let Some(current) = self.epoch(id) else { return Verdict::Accept };
            if epoch < current {
                return Verdict::Fenced { current: ProducerEpoch(current) };
            }
            let own: Vec<_> =
                self.accepted.iter().rev().filter(|b| b.0 == id && b.1 == epoch).collect();
            if let Some(found) = own.iter().take(5).find(|b| b.2 == first && b.3 == last) {
                return duplicate(found.4, first);
            }
            let expected = match own.first() {
                None => 0,
                Some(newest) if newest.3 == i32::MAX => 0,
                Some(newest) => newest.3 + 1,
            };
            if first == expected { Verdict::Accept } else { out_of_order(expected) }
        }

        fn record(&mut self, id: i64, epoch: i16, first: i32, last: i32, offset: i64, cap: usize) {
            self.used.retain(|(known, _)| *known != id);
            if self.used.len() == cap {
                let (forgotten, _) = self.used.remove(0);
                self.accepted.retain(|b| b.0 != forgotten);
            }
            self.used.push((id, epoch));
            self.accepted.push((id, epoch, first, last, offset));
        }
    }

    /// What a client does next: (producer, epoch step, where to aim, records).
    fn moves() -> impl Strategy<Value = Vec<(i64, i16, i32, i32)>> {
        let aim = prop_oneof![6 => Just(0), 2 => -25..25_i32];
        prop::collection::vec(
            (0..6_i64, prop_oneof![8 => Just(0_i16), 1 => -1..2_i16], aim, 1..4),
            1..120,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        // P1 to P4, P7, P8 against the naive model; snapshots at any point change nothing.
        #[test]
        fn verdicts_agree_with_the_naive_model(
            moves in moves(),
            start in prop_oneof![Just(0), Just(i32::MAX - 20)],
            snapshot_every in 1..40_usize,
        ) {
            let cap = 4;
            let mut producers = Producers::with_cap(cap);
            let mut model = Model::default();
            let mut next: BTreeMap<i64, (i16, i32)> = BTreeMap::new();
            let mut offset = 0;
            for (step, (id, epoch_step, aim, records)) in moves.into_iter().enumerate() {
                let (epoch, sequence) = *next.entry(id).or_insert((0, start));
                let epoch = (epoch + epoch_step).max(0);
                let wrapped = i64::from(sequence) + i64::from(aim);
                let first = wrapped.rem_euclid(i64::from(i32::MAX) + 1) as i32;
                let first = if epoch_step > 0 && aim == 0 { 0 } else { first };
                let header = batch(id, epoch, first, records);
                let last = Sequence(first).plus(records - 1).0;
                let verdict = producers.check(&header);
                prop_assert_eq!(verdict, model.check(id, epoch, first, last));
                if verdict == Verdict::Accept {
                    producers.record(&at(header, offset), Millis(step as i64));
                    model.record(id, epoch, first, last, offset, cap);
                    offset += i64::from(records);
                    next.insert(id, (epoch, Sequence(last).plus(1).0));
                }
                if step % snapshot_every == 0 {
                    let file = producers.encode();
                    producers = Producers::decode(&file, Offset(offset)).expect("own snapshot");
                    prop_assert_eq!(producers.encode(), file);
                    producers.most = cap;
                }
            }
        }

        #[test]
        fn arbitrary_payloads_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Producers::decode(&checkpoint::encode(&KIND, 1, &payload), Offset(1_000));
        }
    }
}
