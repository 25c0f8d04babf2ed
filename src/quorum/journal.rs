//! The log under the quorum. For now it lives in memory only.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::error::QuorumError;
use crate::record::{CheckRules, CheckedBatch, StampedBatch};
use crate::storage::Disk;
use crate::types::{Millis, Offset};

/// Batches of one record each, from `start` to `end`.
#[derive(Debug)]
pub(super) struct Journal {
    start: Offset,
    end: Offset,
    batches: Vec<Bytes>,
}

impl Journal {
    pub(super) fn open(
        _disk: Arc<dyn Disk>,
        _dir: PathBuf,
        _frontier: Option<(i64, i64, u64)>,
    ) -> Result<Journal, QuorumError> {
        Ok(Journal { start: Offset::ZERO, end: Offset::ZERO, batches: Vec::new() })
    }

    pub(super) fn open_read_only(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        frontier: Option<(i64, i64, u64)>,
    ) -> Result<Journal, QuorumError> {
        Journal::open(disk, dir, frontier)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn start(&self) -> Offset {
        self.start
    }

    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Durable when it returns.
    pub(super) fn append(
        &mut self,
        batches: &[StampedBatch],
        _at: Millis,
    ) -> Result<(), QuorumError> {
        for batch in batches {
            let mut bytes = BytesMut::new();
            batch.slices().iter().for_each(|piece| bytes.extend_from_slice(piece));
            self.batches.push(bytes.freeze());
            self.end = batch.next_offset();
        }
        Ok(())
    }

    pub(super) fn read(
        &self,
        from: Offset,
        to: Offset,
        _bytes: usize,
    ) -> Result<Vec<CheckedBatch>, QuorumError> {
        let (from, to) = ((from.0 - self.start.0) as usize, (to.0 - self.start.0) as usize);
        let parse = |bytes: &Bytes| {
            CheckedBatch::take(&mut bytes.clone(), &CheckRules::internal()).expect("own bytes")
        };
        Ok(self.batches[from..to].iter().map(parse).collect())
    }

    pub(super) fn truncate(&mut self, end: Offset) -> Result<(), QuorumError> {
        self.batches.truncate((end.0 - self.start.0) as usize);
        self.end = end;
        Ok(())
    }

    pub(super) fn advance(&mut self, start: Offset) -> Result<(), QuorumError> {
        self.batches.drain(..(start.0 - self.start.0) as usize);
        self.start = start;
        Ok(())
    }

    pub(super) fn frontier(&self) -> Option<(i64, i64, u64)> {
        None
    }

    pub(super) fn frontier_below(&self, _end: Offset) -> Option<(i64, i64, u64)> {
        None
    }

    pub(super) fn close(&mut self) -> Result<(), QuorumError> {
        Ok(())
    }
}
