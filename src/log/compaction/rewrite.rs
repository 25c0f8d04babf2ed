//! Which records of a batch stay. A record stays when it is the newest of its key, as far as the
//! pass knows, and no tombstone whose time has come; those of aborted transactions go. Knows no
//! files.
//!
//! A tombstone has to outlive the values that it ends, and then long enough for every consumer to
//! have seen it. The first pass that meets one notes when that is over in its batch (KIP-534): in
//! place of the base time stamp, so it stays with the batch wherever that is copied. A marker whose
//! transaction has no batch left gets such a time as well.

use super::map::OffsetMap;
use super::transactions::{Aborted, Open};
use super::{CompactionError, CompactionReport};
use crate::log::producers::Needed;
use crate::record::layout::attributes;
use crate::record::{BatchError, BatchHeader, CheckedBatch, Record, Scratch};
use crate::types::{Millis, Offset};

/// What becomes of a batch.
pub(super) enum Fate {
    /// It stays, byte for byte.
    Stays,
    /// This one takes its place.
    Changes(CheckedBatch),
    /// Nothing of it is needed.
    Goes,
}

/// What a pass knows when it rewrites the log.
pub(super) struct Judge {
    pub(super) map: OffsetMap,
    /// Offsets from here on are none of this pass.
    pub(super) map_end: Offset,
    pub(super) now: Millis,
    pub(super) delete_retention_ms: i64,
    pub(super) needed: Needed,
    pub(super) aborted: Option<Aborted>,
    pub(super) open: Open,
    pub(super) scratch: Scratch,
    /// Which records of the batch in hand stay.
    stays: Vec<bool>,
}

impl Judge {
    pub(super) fn new(
        map: OffsetMap,
        now: Millis,
        delete_retention_ms: i64,
        needed: Needed,
    ) -> Judge {
        let (map_end, aborted, open) = (Offset::ZERO, None, Open::default());
        let (scratch, stays) = (Scratch::default(), Vec::new());
        Judge { map, map_end, now, delete_retention_ms, needed, aborted, open, scratch, stays }
    }

    /// Decides about the next batch of the log.
    pub(super) fn judge(
        &mut self,
        batch: &CheckedBatch,
        report: &mut CompactionReport,
    ) -> Result<Fate, CompactionError> {
        let header = batch.header();
        if header.base_offset >= self.map_end {
            return Ok(Fate::Stays);
        }
        if header.is_control() {
            return self.judge_marker(batch);
        }
        self.open.note(header);
        let is_aborted = self.aborted.as_ref().is_some_and(|aborted| aborted.has(header));
        let has_tombstone = match self.look(batch, is_aborted, report) {
            Err(BatchError::Crowded) => return Err(CompactionError::Crowded),
            // Its checksum holds, so it is what its producer sent: it stays, for whoever can read
            // it.
            Err(_) => return Ok(Fate::Stays),
            Ok(has_tombstone) => has_tombstone,
        };
        let wants_horizon =
            has_tombstone && !has_horizon(header) && header.next_offset() <= self.map_end;
        let horizon = wants_horizon.then(|| self.horizon());
        let stay = self.stays.iter().filter(|stays| **stays).count();
        report.removed_records += (self.stays.len() - stay) as u64;
        match stay {
            0 if !self.needed.has(header) => Ok(Fate::Goes),
            0 if self.stays.is_empty() => Ok(Fate::Stays),
            _ if stay == self.stays.len() && horizon.is_none() => Ok(Fate::Stays),
            _ => self.rewrite(batch, horizon),
        }
    }

    /// The batch without records.
    pub(super) fn emptied(
        &mut self,
        batch: &CheckedBatch,
    ) -> Result<CheckedBatch, CompactionError> {
        if batch.header().records_count == 0 {
            return Ok(batch.clone());
        }
        let emptied = batch.rewrite(None, &mut self.scratch, |_| false);
        emptied.map_err(|_| CompactionError::Crowded)
    }

    /// Notes which records stay; whether a tombstone is among them.
    fn look(
        &mut self,
        batch: &CheckedBatch,
        is_aborted: bool,
        report: &mut CompactionReport,
    ) -> Result<bool, BatchError> {
        let header = batch.header();
        let tombstones_stay = !has_horizon(header) || self.now.0 < header.base_timestamp;
        self.stays.clear();
        let mut has_tombstone = false;
        for record in batch.records(&mut self.scratch)? {
            let record = record?;
            let offset = header.base_offset.plus(i64::from(record.offset_delta));
            let stays = match record.key {
                _ if offset >= self.map_end => true,
                _ if is_aborted => false,
                // It came before the topic was compacted, and nothing can ever replace it.
                None => {
                    report.keyless_records += 1;
                    false
                }
                Some(key) => {
                    let is_newest = self.map.get(key).is_none_or(|newest| newest <= offset);
                    is_newest && (record.value.is_some() || tombstones_stay)
                }
            };
            has_tombstone |= stays && record.value.is_none();
            self.stays.push(stays);
        }
        Ok(has_tombstone)
    }

    fn judge_marker(&mut self, batch: &CheckedBatch) -> Result<Fate, CompactionError> {
        let header = batch.header();
        if self.open.end(header) || self.needed.has(header) {
            return Ok(Fate::Stays);
        }
        if header.records_count == 0 {
            return Ok(Fate::Goes);
        }
        if has_horizon(header) {
            let is_over = self.now.0 >= header.base_timestamp;
            return Ok(if is_over { Fate::Goes } else { Fate::Stays });
        }
        self.stays.clear();
        self.stays.resize(header.records_count.max(0) as usize, true);
        let horizon = self.horizon();
        self.rewrite(batch, Some(horizon))
    }

    fn rewrite(
        &mut self,
        batch: &CheckedBatch,
        horizon: Option<Millis>,
    ) -> Result<Fate, CompactionError> {
        let mut stays = self.stays.iter();
        let keep = |_: &Record<'_>| stays.next().copied().unwrap_or(true);
        match batch.rewrite(horizon, &mut self.scratch, keep) {
            Ok(rewritten) => Ok(Fate::Changes(rewritten)),
            Err(BatchError::Crowded) => Err(CompactionError::Crowded),
            // Our codec packs it so much worse that it is no batch any more.
            Err(_) => Ok(Fate::Stays),
        }
    }

    fn horizon(&self) -> Millis {
        Millis(self.now.0.saturating_add(self.delete_retention_ms))
    }
}

fn has_horizon(header: &BatchHeader) -> bool {
    header.attributes & attributes::DELETE_HORIZON != 0
}
