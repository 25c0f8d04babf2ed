//! Walking through a segment from a batch boundary on and finding where it stops being sound. Reads
//! in bounded pieces and believes no number before it is held against what is there.

use crc_fast::{CrcAlgorithm, Digest};

use super::Found;
use crate::limits::{BATCH_BYTES_MAX, RECOVERY_BUFFER_BYTES};
use crate::log::epochs::LeaderEpochs;
use crate::record::BatchHeader;
use crate::record::layout::{ATTRIBUTES_AT, HEADER_BYTES, MAGIC};
use crate::storage::{DiskFile, StorageError};
use crate::types::{LeaderEpoch, Offset};

/// Whether offsets may be missing between two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Compaction may have removed records, here or on the leader this came from.
    Allowed,
    /// Each batch begins where the one before it ended.
    Refused,
}

/// Where a scan begins and what is known there.
#[derive(Clone, Copy, Debug)]
pub struct ScanFrom {
    /// A batch boundary in the file.
    pub position: u64,
    /// The offset after the last record before it.
    pub next_offset: Offset,
    /// The epoch of the batch before it; -1 when none is known.
    pub leader_epoch: LeaderEpoch,
    /// Whether offsets may be missing.
    pub gaps: Gaps,
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefectKind {
    /// Zeros, from here to the end of the file.
    ZeroTail,
    /// The file ends before the batch does.
    Torn,
    /// The bytes are not those that were written.
    Crc,
    /// The header breaks a rule.
    Header,
}

impl DefectKind {
    /// The fact that the decision table knows it as.
    #[must_use]
    pub fn found(self) -> Found {
        match self {
            DefectKind::ZeroTail => Found::ZeroTail,
            DefectKind::Torn => Found::Torn,
            DefectKind::Crc | DefectKind::Header => Found::Corrupt,
        }
    }
}

/// The first bad batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What is wrong.
    pub kind: DefectKind,
    /// The same in words.
    pub why: String,
}

/// The last sound batch of the range that was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Where it begins in the file.
    pub position: u64,
    /// The CRC-32C it carries.
    pub crc: u32,
    /// The epoch that stamped it.
    pub leader_epoch: LeaderEpoch,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanResult {
    /// Where the last sound batch ends, which is where the first bad one begins.
    pub position: u64,
    /// The offset after the last sound batch.
    pub next_offset: Offset,
    /// The last sound batch, when there was any.
    pub last: Option<LastBatch>,
    /// Sound batches.
    pub batches: u64,
    /// Size of the file when the scan began.
    pub file_bytes: u64,
    /// What ended the scan, unless it was the end of the file.
    pub defect: Option<Defect>,
}

impl ScanResult {
    /// Bytes from the first bad batch to the end of the file.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        self.file_bytes - self.position
    }

    /// The fact that the decision table knows the result as.
    #[must_use]
    pub fn found(&self) -> Found {
        self.defect.as_ref().map_or(Found::Sound, |defect| defect.kind.found())
    }
}

/// Checks batch after batch until the file ends or one is bad, and shows the sound ones, each with
/// its position, to `visit`. `epochs` are the leader epochs of the log where they are known: they
/// are the only witness of a batch's epoch field, as `gaps` is of its base offset.
///
/// # Errors
/// When the file can not be read. That says nothing about its content.
pub fn scan(
    file: &dyn DiskFile,
    from: ScanFrom,
    epochs: Option<&LeaderEpochs>,
    visit: &mut dyn FnMut(u64, &BatchHeader),
) -> Result<ScanResult, StorageError> {
    let mut window = Window::new(file, from.position)?;
    let mut result = ScanResult {
        position: from.position.min(window.end),
        next_offset: from.next_offset,
        last: None,
        batches: 0,
        file_bytes: window.end,
        defect: None,
    };
    let mut latest = from.leader_epoch;
    while result.position < window.end {
        let header = match check_batch(&mut window, &result, from.gaps)? {
            Ok(header) => header,
            Err(defect) => return ended_by(defect, window, result),
        };
        let known = epochs.and_then(|epochs| epochs.epoch_for(header.base_offset));
        if let Err(defect) = check_epoch(&header, latest, known) {
            return ended_by(defect, window, result);
        }
        visit(result.position, &header);
        latest = header.leader_epoch;
        result.last =
            Some(LastBatch { position: result.position, crc: header.crc, leader_epoch: latest });
        result.batches += 1;
        result.next_offset = header.next_offset();
        result.position += header.size_bytes().expect("a sound batch has a size") as u64;
    }
    assert!(result.position <= result.file_bytes, "a sound batch lies within its file");
    Ok(result)
}

fn ended_by(
    mut defect: Defect,
    mut window: Window<'_>,
    mut result: ScanResult,
) -> Result<ScanResult, StorageError> {
    if window.is_zero_from(result.position)? {
        let zeros = result.file_bytes - result.position;
        defect = Defect {
            kind: DefectKind::ZeroTail,
            why: format!("{zeros} zero bytes up to the end of the file"),
        };
    }
    result.defect = Some(defect);
    Ok(result)
}

fn check_batch(
    window: &mut Window<'_>,
    sound: &ScanResult,
    gaps: Gaps,
) -> Result<Result<BatchHeader, Defect>, StorageError> {
    let at = sound.position;
    let left = window.end - at;
    let Some(header) = BatchHeader::parse(window.header(at)?) else {
        return Ok(torn(left, HEADER_BYTES as u64));
    };
    if header.magic != MAGIC {
        return Ok(broken(format!("magic {} where {MAGIC} belongs", header.magic)));
    }
    let size = match header.size_bytes() {
        Some(size) if size <= BATCH_BYTES_MAX => size as u64,
        _ => return Ok(broken(format!("impossible batch length {}", header.batch_length))),
    };
    if size > left {
        return Ok(torn(left, size));
    }
    let computed = window.crc(at + ATTRIBUTES_AT as u64, at + size)?;
    if computed != header.crc {
        let why = format!("CRC-32C is {computed:#010x}, the batch says {:#010x}", header.crc);
        return Ok(Err(Defect { kind: DefectKind::Crc, why }));
    }
    Ok(check_offsets(&header, sound.next_offset, gaps).map(|()| header))
}

fn check_offsets(header: &BatchHeader, expected: Offset, gaps: Gaps) -> Result<(), Defect> {
    let base = header.base_offset;
    let follows = match gaps {
        Gaps::Allowed => base >= expected,
        Gaps::Refused => base == expected,
    };
    if !follows {
        return broken(format!("base offset {base} where {expected} is expected"));
    }
    let fits =
        base.0.checked_add(i64::from(header.last_offset_delta)).is_some_and(|o| o < i64::MAX);
    if header.last_offset_delta < 0 || !fits {
        return broken(format!("last offset delta {} at offset {base}", header.last_offset_delta));
    }
    Ok(())
}

fn check_epoch(
    header: &BatchHeader,
    latest: LeaderEpoch,
    known: Option<LeaderEpoch>,
) -> Result<(), Defect> {
    let epoch = header.leader_epoch;
    match known {
        Some(known) if known != epoch => {
            broken(format!("leader epoch {epoch}, {known} stamped offset {}", header.base_offset))
        }
        None if epoch < latest => broken(format!("leader epoch {epoch} follows epoch {latest}")),
        _ => Ok(()),
    }
}

fn torn<T>(left: u64, needed: u64) -> Result<T, Defect> {
    let why = format!("the batch ends after {left} of {needed} bytes");
    Err(Defect { kind: DefectKind::Torn, why })
}

fn broken<T>(why: String) -> Result<T, Defect> {
    Err(Defect { kind: DefectKind::Header, why })
}

/// A piece of the file in memory, moved forward as it is read.
struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    start: u64,
    filled: usize,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile, from: u64) -> Result<Window<'a>, StorageError> {
        let end = file.len()?;
        let left = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let buffer = vec![0; left.min(RECOVERY_BUFFER_BYTES)];
        Ok(Window { file, end, start: from, filled: 0, buffer })
    }

    /// The header at `at`, or the fewer bytes that the file has there.
    fn header(&mut self, at: u64) -> Result<&[u8], StorageError> {
        let wanted = (self.end - at).min(HEADER_BYTES as u64) as usize;
        if self.held(at).len() < wanted {
            self.fill(at)?;
        }
        let held = self.held(at);
        Ok(&held[..held.len().min(wanted)])
    }

    fn crc(&mut self, mut at: u64, end: u64) -> Result<u32, StorageError> {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        while at < end {
            let piece = self.piece(at)?;
            let piece = &piece[..piece.len().min((end - at) as usize)];
            if piece.is_empty() {
                break;
            }
            digest.update(piece);
            at += piece.len() as u64;
        }
        Ok(digest.finalize() as u32)
    }

    fn is_zero_from(&mut self, mut at: u64) -> Result<bool, StorageError> {
        while at < self.end {
            let piece = self.piece(at)?;
            if piece.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
        }
        Ok(true)
    }

    /// Some bytes from `at` on; none when the file has become shorter than it was.
    fn piece(&mut self, at: u64) -> Result<&[u8], StorageError> {
        if self.held(at).is_empty() {
            self.fill(at)?;
        }
        Ok(self.held(at))
    }

    fn held(&self, at: u64) -> &[u8] {
        let held = &self.buffer[..self.filled];
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| held.get(skip..)).unwrap_or_default()
    }

    fn fill(&mut self, at: u64) -> Result<(), StorageError> {
        self.start = at;
        self.filled = 0;
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        let wanted = left.min(self.buffer.len());
        self.filled = self.file.read_at(at, &mut self.buffer[..wanted])?;
        Ok(())
    }
}
