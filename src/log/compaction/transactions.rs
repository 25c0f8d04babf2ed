//! Which transactions of a log were aborted, and which markers are needed still. Transactions are
//! read from the log itself: all that is asked of lies below the last stable offset, so each has
//! its marker somewhere below the end of what is committed. Knows no keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::read::{Position, ReadError};
use super::super::scan::size_of;
use super::super::segment::Segment;
use super::reader::Reader;
use crate::limits::COMPACTION_ABORTED_MAX;
use crate::record::{BatchHeader, ControlType, Marker};
use crate::types::{Offset, ProducerId};

/// The aborted transactions of a stretch of the log.
#[derive(Debug)]
pub(super) struct Aborted {
    /// First offset and offset of the marker of each, in order.
    ranges: BTreeMap<ProducerId, Vec<(Offset, Offset)>>,
    count: usize,
    /// Below this offset every transaction is known.
    pub(super) known_to: Offset,
}

impl Aborted {
    /// Reads the stretch from `from` to `until`, in the segments that hold it.
    pub(super) fn read(
        segments: &[Arc<Segment>],
        from: Offset,
        until: Position,
    ) -> Result<Aborted, ReadError> {
        let (ranges, count, known_to) = (BTreeMap::new(), 0, until.offset);
        let mut aborted = Aborted { ranges, count, known_to };
        let mut open = BTreeMap::new();
        let first = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        let behind = segments.partition_point(|segment| segment.base() <= until.segment);
        for segment in &segments[first..behind] {
            let is_last = segment.base() == until.segment;
            let len = segment.sealed_len().filter(|_| !is_last).unwrap_or(until.bytes);
            let start = segment.position_below(from.max(segment.base()), len)?;
            segment.try_for_each_header(start, len, |at, header| {
                if header.is_control() {
                    return aborted.end(segment, at, header, &mut open);
                }
                if header.is_transactional() {
                    open.entry(header.producer_id).or_insert(header.base_offset);
                }
                Ok(())
            })?;
        }
        Ok(aborted)
    }

    /// Takes the marker at a place.
    fn end(
        &mut self,
        segment: &Arc<Segment>,
        at: u64,
        header: &BatchHeader,
        open: &mut BTreeMap<ProducerId, Offset>,
    ) -> Result<(), ReadError> {
        let marker = match Reader::new(segment, at, at + size_of(header)).next()? {
            Some(batch) => Marker::read(&batch).ok().flatten(),
            None => None,
        };
        let Some(marker) = marker else { return Ok(()) };
        let first = open.remove(&header.producer_id);
        if let (ControlType::Abort, Some(first)) = (marker.outcome, first) {
            if self.count < COMPACTION_ABORTED_MAX {
                let of_producer = self.ranges.entry(header.producer_id).or_default();
                of_producer.push((first, header.base_offset));
                self.count += 1;
            } else {
                self.known_to = self.known_to.min(first);
            }
        }
        Ok(())
    }

    /// Whether a batch belongs to one of them.
    pub(super) fn has(&self, header: &BatchHeader) -> bool {
        let Some(ranges) = self.ranges.get(&header.producer_id) else { return false };
        let after = ranges.partition_point(|(first, _)| *first <= header.base_offset);
        let range = after.checked_sub(1).map(|i| ranges[i]);
        header.is_transactional() && range.is_some_and(|(_, end)| header.base_offset < end)
    }
}

/// The transactions that are open at some place on the way through a log: their markers stay as
/// long as any batch of theirs does.
#[derive(Debug, Default)]
pub(super) struct Open(BTreeSet<ProducerId>);

impl Open {
    /// A batch of records stays, or stayed until now.
    pub(super) fn note(&mut self, header: &BatchHeader) {
        if header.is_transactional() && !header.is_control() {
            self.0.insert(header.producer_id);
        }
    }

    /// Whether the transaction that a marker ends has a batch in the log.
    pub(super) fn end(&mut self, marker: &BatchHeader) -> bool {
        self.0.remove(&marker.producer_id)
    }
}
