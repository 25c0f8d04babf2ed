//! Walking through a segment from a batch boundary on and finding where it stops being sound. Reads
//! in bounded pieces and believes no number before it is held against what is there.

use crc_fast::{CrcAlgorithm, Digest};

use super::Found;
use crate::limits::{BATCH_BYTES_MAX, RECOVERY_BUFFER_BYTES};
use crate::log::witness::{Contradiction, Witness};
use crate::record::BatchHeader;
use crate::record::layout::{ATTRIBUTES_AT, HEADER_BYTES, MAGIC};
use crate::storage::{DiskFile, StorageError};
use crate::types::{LeaderEpoch, Offset};

/// Where a scan begins and what is known there.
#[derive(Clone, Copy, Debug)]
pub struct ScanFrom {
    /// A batch boundary in the file.
    pub position: u64,
    /// The offset after the last record before it.
    pub next_offset: Offset,
    /// The epoch of the batch before it; -1 when none is known.
    pub leader_epoch: LeaderEpoch,
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
/// its position, to `visit`. What no checksum of a batch covers is held against `witness`.
///
/// # Errors
/// When the file can not be read. That says nothing about its content.
pub fn scan(
    file: &dyn DiskFile,
    from: ScanFrom,
    witness: &Witness,
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
        let header = match check_batch(&mut window, result.position)? {
            Ok(header) => header,
            Err(defect) => return ended_by(defect, window, result),
        };
        if let Err(contradiction) = witness.check(&header, result.next_offset, latest) {
            let defect = contradicted(&header, contradiction, result.next_offset, latest);
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
    at: u64,
) -> Result<Result<BatchHeader, Defect>, StorageError> {
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
    Ok(Ok(header))
}

fn contradicted(
    header: &BatchHeader,
    contradiction: Contradiction,
    expected: Offset,
    latest: LeaderEpoch,
) -> Defect {
    let BatchHeader { base_offset: base, leader_epoch: epoch, last_offset_delta: delta, .. } =
        header;
    let numbers = match contradiction {
        Contradiction::GoesBack | Contradiction::DoesNotFollow => {
            format!("base offset {base} where {expected} is expected")
        }
        Contradiction::Impossible => format!("last offset delta {delta} at offset {base}"),
        Contradiction::OlderEpoch => format!("leader epoch {epoch} follows epoch {latest}"),
        Contradiction::OtherEpoch => format!("leader epoch {epoch} at offset {base}"),
    };
    Defect { kind: DefectKind::Header, why: format!("{numbers}: {}", contradiction.why()) }
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

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::log::epochs::LeaderEpochs;
    use crate::log::witness::Gaps;
    use crate::record::BatchBuilder;
    use crate::storage::Disk;
    use crate::storage::memory::MemoryDisk;
    use crate::types::Millis;

    const START: ScanFrom =
        ScanFrom { position: 0, next_offset: Offset(0), leader_epoch: LeaderEpoch(-1) };

    fn batch(offset: i64, epoch: i32, value: &[u8]) -> Vec<u8> {
        let batch = BatchBuilder::single(Millis(1_000 + offset), None, Some(value));
        let stamped = batch.stamp(Offset(offset), LeaderEpoch(epoch));
        stamped.slices().iter().flat_map(|piece| piece.to_vec()).collect()
    }

    /// Five batches of one record each, the last two in a later epoch.
    fn log() -> (Vec<u8>, Vec<u64>, LeaderEpochs) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        let mut epochs = LeaderEpochs::default();
        for offset in 0..5 {
            let epoch = if offset < 3 { 2 } else { 5 };
            epochs.assign(LeaderEpoch(epoch), Offset(offset)).expect("increasing");
            starts.push(bytes.len() as u64);
            bytes.extend(batch(offset, epoch, format!("value {offset}").as_bytes()));
        }
        (bytes, starts, epochs)
    }

    fn file(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = MemoryDisk::new().create(Path::new("log")).expect("new disk");
        file.write_at(0, &mut [IoSlice::new(bytes)]).expect("sound disk");
        file
    }

    fn witness(epochs: Option<&LeaderEpochs>) -> Witness {
        let durable = Offset(i64::MAX);
        epochs.map_or(Witness::new(Gaps::Refused), |epochs| {
            Witness::with_epochs(Gaps::Refused, Arc::new(epochs.clone()), durable)
        })
    }

    fn scanned(bytes: &[u8], from: ScanFrom, epochs: Option<&LeaderEpochs>) -> ScanResult {
        scan(&*file(bytes), from, &witness(epochs), &mut |_, _| ()).expect("sound disk")
    }

    fn scanned_with_gaps(bytes: &[u8], from: ScanFrom) -> ScanResult {
        let witness = Witness::new(Gaps::Allowed);
        scan(&*file(bytes), from, &witness, &mut |_, _| ()).expect("sound disk")
    }

    #[test]
    fn a_sound_log_is_shown_batch_by_batch_from_any_boundary_on() {
        let (bytes, starts, epochs) = log();
        for first in 0..starts.len() {
            let from =
                ScanFrom { position: starts[first], next_offset: Offset(first as i64), ..START };
            let mut seen = Vec::new();
            let mut visit =
                |position, header: &BatchHeader| seen.push((position, header.base_offset));
            let witness = witness(Some(&epochs));
            let result = scan(&*file(&bytes), from, &witness, &mut visit).expect("sound disk");
            let expected: Vec<_> = (first..5).map(|at| (starts[at], Offset(at as i64))).collect();
            assert_eq!(seen, expected);
            assert_eq!(result.found(), Found::Sound);
            assert_eq!((result.position, result.bytes_left()), (bytes.len() as u64, 0));
            assert_eq!((result.next_offset, result.batches), (Offset(5), 5 - first as u64));
            assert_eq!(result.last.map(|last| last.position), starts.last().copied());
        }
    }

    // D8: a cut at every byte of the last three batches.
    #[test]
    fn a_log_cut_at_any_byte_ends_at_a_batch_boundary() {
        let (bytes, starts, epochs) = log();
        for len in starts[2] as usize..bytes.len() {
            let whole = starts.iter().rposition(|&start| start <= len as u64).expect("first is 0");
            let result = scanned(&bytes[..len], START, Some(&epochs));
            assert_eq!((result.position, result.next_offset.0), (starts[whole], whole as i64));
            let expected = match &bytes[starts[whole] as usize..len] {
                [] => Found::Sound,
                // The first bytes of a small offset.
                left if left.iter().all(|&byte| byte == 0) => Found::ZeroTail,
                _ => Found::Torn,
            };
            assert_eq!(result.found(), expected, "{len}");
        }
    }

    #[test]
    fn zeros_up_to_the_end_are_a_zero_tail_and_zeros_before_data_are_not() {
        let (mut bytes, starts, epochs) = log();
        let end = bytes.len() as u64;
        for zeros in [1, 60, 61, 62, 5_000] {
            bytes.truncate(end as usize);
            bytes.resize(end as usize + zeros, 0);
            let result = scanned(&bytes, START, Some(&epochs));
            assert_eq!((result.found(), result.position), (Found::ZeroTail, end));
            assert_eq!(result.bytes_left(), zeros as u64);
        }
        bytes.push(1);
        assert_eq!(scanned(&bytes, START, None).found(), Found::Corrupt);
        bytes.truncate(end as usize);
        bytes[starts[4] as usize..].fill(0);
        assert_eq!(scanned(&bytes, START, None).found(), Found::ZeroTail);
    }

    // D9: no flipped bit is passed over, and the batch that has it is the one found.
    #[test]
    fn every_flipped_bit_is_found_in_its_batch() {
        let (bytes, starts, epochs) = log();
        for bit in starts[2] as usize * 8..starts[4] as usize * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damaged = starts.iter().rposition(|&start| start <= bit as u64 / 8);
            let result = scanned(&bytes, START, Some(&epochs));
            assert_eq!(Some(result.batches as usize), damaged, "bit {bit}");
            assert!(matches!(result.found(), Found::Corrupt | Found::Torn), "bit {bit}");
        }
    }

    #[test]
    fn offsets_may_be_missing_only_where_compaction_is_allowed() {
        let mut bytes = batch(3, 0, b"a");
        bytes.extend(batch(9, 0, b"b"));
        assert_eq!(scanned_with_gaps(&bytes, START).next_offset, Offset(10));
        assert_eq!(scanned(&bytes, START, None).found(), Found::Corrupt);
        let from_three = ScanFrom { next_offset: Offset(3), ..START };
        assert_eq!(scanned(&bytes, from_three, None).batches, 1);
        bytes.extend(batch(9, 0, b"again"));
        assert_eq!(scanned_with_gaps(&bytes, START).batches, 2, "offsets never go back");
    }

    #[test]
    fn an_epoch_never_goes_back_even_when_no_list_is_known() {
        let mut bytes = batch(0, 5, b"a");
        bytes.extend(batch(1, 4, b"b"));
        assert_eq!(scanned(&bytes, START, None).batches, 1);
        let later = ScanFrom { leader_epoch: LeaderEpoch(6), ..START };
        assert_eq!(scanned(&bytes, later, None).batches, 0);
    }

    #[test]
    fn a_batch_larger_than_the_buffer_is_checked_whole() {
        let mut bytes = batch(0, 0, &vec![7; RECOVERY_BUFFER_BYTES + 100]);
        bytes.extend(batch(1, 0, b"after it"));
        assert_eq!(scanned(&bytes, START, None).batches, 2);
        bytes[RECOVERY_BUFFER_BYTES + 50] ^= 1;
        assert_eq!(scanned(&bytes, START, None).batches, 0);
    }

    #[test]
    fn a_scan_from_the_end_or_beyond_finds_nothing() {
        let (bytes, _, _) = log();
        for position in [bytes.len() as u64, bytes.len() as u64 + 10] {
            let from = ScanFrom { position, next_offset: Offset(5), ..START };
            let result = scanned(&bytes, from, None);
            assert_eq!((result.found(), result.batches, result.bytes_left()), (Found::Sound, 0, 0));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            offset in any::<[u8; 8]>(),
        ) {
            scanned(&bytes, START, None);
            // Sound batches with any stamp, the one part that no checksum covers.
            let mut stamped = batch(0, 0, b"value");
            stamped[..8].copy_from_slice(&offset);
            stamped.extend_from_slice(&bytes);
            scanned_with_gaps(&stamped, START);
        }
    }
}
