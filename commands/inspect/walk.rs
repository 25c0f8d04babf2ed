//! Walks over the batches of a segment file, checking each, with bounded memory whatever the file
//! holds.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use rivvend::record::{BatchError, BatchHeader, CheckRules, CheckedBatch};

/// How much is read at once. A larger batch is read whole, up to the size that a batch may have.
const READ_BYTES: usize = 4 << 20;

/// What stands at a place of a file.
pub(super) enum Step {
    /// A sound batch.
    Batch(CheckedBatch),
    /// Nothing: the file is over.
    End,
    /// Something that is no sound batch.
    Bad(String),
}

/// The last offset of a batch. The header's own arithmetic trusts its numbers; a file may hold any.
pub(super) fn last_offset(header: &BatchHeader) -> i64 {
    header.base_offset.0.saturating_add(i64::from(header.last_offset_delta))
}

/// A place in a segment file.
pub(super) struct Walk {
    file: File,
    rules: CheckRules,
    ahead: Bytes,
    position: u64,
    is_at_end: bool,
}

impl Walk {
    pub(super) fn open(path: &Path) -> io::Result<Walk> {
        Walk::open_at(path, 0)
    }

    /// Begins at a place between batches.
    pub(super) fn open_at(path: &Path, position: u64) -> io::Result<Walk> {
        let rules = CheckRules::internal();
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(position))?;
        Ok(Walk { file, rules, ahead: Bytes::new(), position, is_at_end: false })
    }

    /// Byte of the file that is looked at next.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The batch at the present place. After anything else the place stays.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        loop {
            if self.ahead.is_empty() && self.is_at_end {
                return Ok(Step::End);
            }
            let before = self.ahead.len();
            match CheckedBatch::take(&mut self.ahead, &self.rules) {
                Ok(batch) => {
                    self.position += (before - self.ahead.len()) as u64;
                    return Ok(Step::Batch(batch));
                }
                Err(BatchError::Truncated { .. }) if !self.is_at_end => self.fill()?,
                Err(error) => return Ok(Step::Bad(error.to_string())),
            }
        }
    }

    /// What stands where the header of a batch should be, after [`Step::Bad`]. Nothing vouches for
    /// it.
    pub(super) fn header_here(&self) -> Option<BatchHeader> {
        BatchHeader::parse(&self.ahead)
    }

    /// Whether there is nothing but zeros from the present place on, as a crash may leave them.
    pub(super) fn is_zero_from_here(&mut self) -> io::Result<bool> {
        let mut zeros = self.ahead.iter().all(|byte| *byte == 0);
        let mut block = vec![0; READ_BYTES];
        while zeros {
            match self.file.read(&mut block)? {
                0 => break,
                read => zeros = block[..read].iter().all(|byte| *byte == 0),
            }
        }
        Ok(zeros)
    }

    fn fill(&mut self) -> io::Result<()> {
        let have = self.ahead.len();
        let mut next = BytesMut::with_capacity(have + READ_BYTES);
        next.extend_from_slice(&self.ahead);
        next.resize(have + READ_BYTES, 0);
        let read = self.file.read(&mut next[have..])?;
        next.truncate(have + read);
        self.is_at_end = read == 0;
        self.ahead = next.freeze();
        Ok(())
    }
}
