//! What of a log a pass could look at: taken by the owner or a reader without touching the disk,
//! then held against the ages of the records by somebody who may wait for one. Changes nothing.

use std::ops::Range;
use std::sync::Arc;

use super::super::read::ReadError;
use super::super::segment::Segment;
use super::{CompactionConfig, Dirt};
use crate::types::{Millis, Offset};

/// What a view has to know to be surveyed.
#[derive(Clone, Copy, Debug)]
pub(in crate::log) struct Outlook {
    pub(super) config: CompactionConfig,
    /// Below this offset every key has one record.
    pub(super) clean_to: Offset,
    /// Below this offset segments are durable, and no other job writes their files.
    pub(super) quiet_to: Offset,
}

/// The segments of a log as compaction sees them.
#[derive(Clone, Debug)]
pub struct Survey {
    config: CompactionConfig,
    segments: Arc<Vec<Arc<Segment>>>,
    clean_to: Offset,
    /// Number of the first segment that holds something dirty.
    first: usize,
    /// Number of the first one that no pass may look at.
    end: usize,
}

impl Survey {
    /// What is below `stable`, of the segments of a log.
    pub(in crate::log) fn of(
        outlook: Outlook,
        segments: &Arc<Vec<Arc<Segment>>>,
        stable: Offset,
    ) -> Survey {
        let Outlook { config, clean_to, quiet_to } = outlook;
        let bound = stable.min(quiet_to);
        let below = |offset: Offset| {
            let next = segments.iter().skip(1).map(|next| next.base());
            next.take_while(|next| *next <= offset).count()
        };
        let end = below(bound);
        let first = below(clean_to).min(end);
        Survey { config, segments: Arc::clone(segments), clean_to, first, end }
    }

    /// How the log is compacted.
    #[must_use]
    pub fn config(&self) -> &CompactionConfig {
        &self.config
    }

    /// Below this offset every key has one record.
    #[must_use]
    pub fn clean_to(&self) -> Offset {
        self.clean_to
    }

    /// Numbers of the segments that are dirty.
    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.end
    }

    /// Whether there is nothing that a pass could look at, however old it is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.first == self.end
    }

    /// How much there is for a pass, without regard to the ages of records.
    #[must_use]
    pub fn whole(&self) -> Dirt {
        self.up_to(self.end)
    }

    /// How much there is for a pass now; `None` when there is nothing. May read side files.
    ///
    /// # Errors
    /// When the age of a segment can not be read.
    pub fn assess(&self, now: Millis) -> Result<Option<Dirt>, ReadError> {
        if self.is_clean() {
            return Ok(None);
        }
        let whole = self.whole();
        let is_bounded = self.config.max_lag_ms < i64::MAX;
        // Ages may have to be read; without enough to do, none of them matters.
        if !whole.is_due && !is_bounded {
            return Ok(Some(whole));
        }
        let until = self.old_enough(now, |segment| Ok(Some(segment.newest()?)))?;
        if until == self.first {
            return Ok(None);
        }
        let dirt = self.up_to(until);
        let is_late = is_bounded && self.is_overdue(now)?;
        Ok(Some(Dirt { is_due: is_late || dirt.is_due, ..dirt }))
    }

    /// The same from what is in memory: a segment whose age is not known counts as old enough.
    #[must_use]
    pub fn glance(&self, now: Millis) -> Dirt {
        let until = self.old_enough(now, |segment| Ok(segment.newest_if_known()));
        self.up_to(until.unwrap_or(self.end))
    }

    /// Number of the first dirty segment that holds a record younger than the minimal lag.
    fn old_enough(
        &self,
        now: Millis,
        newest: impl Fn(&Segment) -> Result<Option<Millis>, ReadError>,
    ) -> Result<usize, ReadError> {
        let lag_ms = self.config.min_lag_ms;
        if lag_ms == 0 {
            return Ok(self.end);
        }
        for i in self.first..self.end {
            let newest = newest(&self.segments[i])?;
            if newest.is_some_and(|newest| newest.0 > now.0.saturating_sub(lag_ms)) {
                return Ok(i);
            }
        }
        Ok(self.end)
    }

    /// Whether a segment holds a record that has been dirty for longer than it may.
    fn is_overdue(&self, now: Millis) -> Result<bool, ReadError> {
        let segment = &self.segments[self.first];
        let oldest = segment.first_timestamp(segment.sealed_len().unwrap_or(0))?;
        let is_late = |at: Millis| now.0.saturating_sub(at.0) > self.config.max_lag_ms;
        Ok(oldest.is_some_and(is_late))
    }

    fn up_to(&self, until: usize) -> Dirt {
        let sizes = |segments: &[Arc<Segment>]| -> u64 {
            segments.iter().filter_map(|segment| segment.sealed_len()).sum()
        };
        let (clean, dirty) = self.segments[..until].split_at(self.first);
        let next = self.segments.get(until).map_or(self.clean_to, |next| next.base());
        let (dirty_bytes, clean_bytes) = (sizes(dirty), sizes(clean));
        let dirt = Dirt { dirty_bytes, clean_bytes, until: next, is_due: false };
        let is_due = dirty_bytes > 0 && dirt.ppm() >= self.config.min_dirty_ppm;
        Dirt { is_due, ..dirt }
    }
}
