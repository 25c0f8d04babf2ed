//! Reading the batches of a sealed segment one after the other, each verified: a damaged batch must
//! neither be taken over as if it were sound nor be dropped. Owns its buffer; knows no keys.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::super::read::{Damage, ReadError};
use super::super::segment::Segment;
use crate::record::layout::HEADER_BYTES;
use crate::record::{BatchHeader, CheckRules, CheckedBatch};
use crate::types::Offset;

/// What is read at a time; a larger batch is read in one piece.
const CHUNK_BYTES: u64 = 1 << 20;

/// A place in a segment from which batches are read.
pub(super) struct Reader {
    segment: Arc<Segment>,
    at: u64,
    end: u64,
    /// What lies before is known to be what was written.
    verified: u64,
    buffer: Bytes,
    next: Offset,
}

impl Reader {
    /// Reads from a place between batches to a place that is one too.
    pub(super) fn new(segment: &Arc<Segment>, at: u64, end: u64) -> Reader {
        let (segment, next) = (Arc::clone(segment), segment.base());
        Reader { segment, at, end, verified: at, buffer: Bytes::new(), next }
    }

    /// Where the next batch begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether there is none.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<CheckedBatch>, ReadError> {
        if self.is_at_end() {
            return Ok(None);
        }
        self.hold(HEADER_BYTES as u64)?;
        let size = BatchHeader::parse(&self.buffer).and_then(|header| header.size_bytes());
        let size = size.ok_or_else(|| self.damage("the header makes no sense"))?;
        self.hold(size as u64)?;
        match CheckedBatch::take(&mut self.buffer, &CheckRules::internal()) {
            Ok(batch) => {
                self.at += size as u64;
                self.next = batch.header().next_offset();
                Ok(Some(batch))
            }
            Err(error) => Err(self.damage(error.to_string()).into()),
        }
    }

    /// Makes sure that so many bytes are in memory, if the segment has them.
    fn hold(&mut self, wanted: u64) -> Result<(), ReadError> {
        let until = self.end.min(self.at.saturating_add(wanted));
        if self.buffer.remaining() as u64 >= until - self.at {
            return Ok(());
        }
        let until = until.max(self.end.min(self.at + CHUNK_BYTES));
        if until > self.verified {
            if let Some(damage) = self.segment.verify(self.verified, until)?.damage {
                return Err(damage.into());
            }
            self.verified = until;
        }
        let mut bytes = vec![0; (until - self.at) as usize];
        let read = self.segment.file()?.read_at(self.at, &mut bytes)?;
        if read < bytes.len() {
            return Err(self.damage("the file is shorter than it was").into());
        }
        self.buffer = bytes.into();
        Ok(())
    }

    fn damage(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> Damage {
        let (path, byte, offset) = (self.segment.path().clone(), self.at, self.next);
        Damage { path, byte, offset, why: why.into() }
    }
}
