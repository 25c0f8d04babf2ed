//! The envelope around every small binary file that is written whole: leader epochs, producer
//! snapshots, the clean-shutdown marker and their like. Owns magic, version, length and checksum;
//! knows nothing of what a payload means.
//!
//! ```text
//!  at  size  field
//!   0     4  magic             one per kind of file
//!   4     2  version           of the payload, from 1 on
//!   6     4  payload length
//!  10     n  payload
//! 10+n    4  CRC-32C           of everything before it
//! ```
//!
//! All numbers are big endian. The envelope itself never changes, which is why the checksum is
//! verified before the version is believed: a flipped bit in the version is damage, and only an
//! intact file can claim to be newer than this program. The file ends with the checksum; bytes
//! after it are damage as well.

use std::path::Path;

use crate::record::layout::crc32c;
use crate::storage::{Disk, StorageError, Synced};

/// Bytes before the payload.
pub const HEAD_BYTES: usize = 10;
/// Bytes after the payload.
pub const CRC_BYTES: usize = 4;

/// One kind of small file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The first four bytes of the file.
    pub magic: [u8; 4],
    /// What messages call the file.
    pub name: &'static str,
    /// The newest payload version this program reads, and the one it writes.
    pub version: u16,
    /// Largest payload that is written or read.
    pub payload_bytes_max: usize,
}

/// Why the content of a small file is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Fewer bytes than an envelope has.
    #[error("{kind}: {available} bytes are too few, an intact file has {needed}")]
    Short {
        /// The kind that was expected.
        kind: &'static str,
        /// Bytes that are there.
        available: usize,
        /// Bytes that there should be.
        needed: usize,
    },
    /// More bytes than the envelope says, or than this kind may have.
    #[error("{kind}: {available} bytes are too many, {limit} are expected")]
    Long {
        /// The kind that was expected.
        kind: &'static str,
        /// Bytes that are there.
        available: usize,
        /// Bytes that there should be at most.
        limit: usize,
    },
    /// Some other kind of file.
    #[error("not a {kind} file: it starts with {found:02x?}")]
    Magic {
        /// The kind that was expected.
        kind: &'static str,
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The bytes are not those that were written.
    #[error("{kind}: CRC-32C is {computed:#010x}, the file says {stored:#010x}")]
    Crc {
        /// The kind that was expected.
        kind: &'static str,
        /// As the file says.
        stored: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// Written by a newer program, whose meaning this one would only guess.
    #[error("{kind}: format version {found} is newer than {known}, the newest this rivvend reads")]
    Newer {
        /// The kind that was expected.
        kind: &'static str,
        /// The version of the file.
        found: u16,
        /// The newest this program reads.
        known: u16,
    },
    /// The envelope is intact and the payload breaks a rule of its kind.
    #[error("{kind}: {rule}")]
    Payload {
        /// The kind that was expected.
        kind: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

/// Why a small file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk did not give it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The disk gave something else.
    #[error(transparent)]
    Damaged(#[from] CheckpointError),
}

impl ReadError {
    /// Whether there simply is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, ReadError::Storage(error) if error.is_not_found())
    }
}

/// Wraps a payload.
///
/// # Panics
/// When the payload exceeds the bound of its kind or the version is unknown: payloads are our own.
#[must_use]
pub fn encode(kind: &Kind, version: u16, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= kind.payload_bytes_max, "a {} stays within its bound", kind.name);
    assert!((1..=kind.version).contains(&version), "a {} has a known version", kind.name);
    let length = u32::try_from(payload.len()).expect("every kind's bound is below 4 GiB");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len() + CRC_BYTES);
    bytes.extend_from_slice(&kind.magic);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Unwraps a payload and says which version it has.
///
/// # Errors
/// What is wrong with the bytes, magic first, version last.
pub fn decode<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<(u16, &'a [u8]), CheckpointError> {
    let name = kind.name;
    let short = |needed| CheckpointError::Short { kind: name, available: bytes.len(), needed };
    let head: &[u8; HEAD_BYTES] =
        bytes.first_chunk().ok_or_else(|| short(HEAD_BYTES + CRC_BYTES))?;
    let [m0, m1, m2, m3, v0, v1, l0, l1, l2, l3] = *head;
    let magic = [m0, m1, m2, m3];
    if magic != kind.magic {
        return Err(CheckpointError::Magic { kind: name, found: magic });
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let needed = HEAD_BYTES.saturating_add(length).saturating_add(CRC_BYTES);
    if bytes.len() < needed {
        return Err(short(needed));
    }
    let limit = needed.min(kind.payload_bytes_max.saturating_add(HEAD_BYTES + CRC_BYTES));
    if bytes.len() > limit {
        return Err(CheckpointError::Long { kind: name, available: bytes.len(), limit });
    }
    let (covered, crc) = bytes.split_last_chunk().ok_or_else(|| short(needed))?;
    let (stored, computed) = (u32::from_be_bytes(*crc), crc32c(covered));
    if stored != computed {
        return Err(CheckpointError::Crc { kind: name, stored, computed });
    }
    let version = u16::from_be_bytes([v0, v1]);
    match version {
        0 => Err(CheckpointError::Payload { kind: name, rule: "there is no format version 0" }),
        found if found > kind.version => {
            Err(CheckpointError::Newer { kind: name, found, known: kind.version })
        }
        _ => Ok((version, &covered[HEAD_BYTES..])),
    }
}

/// Reads a small file whole; [`decode`] then says whether it is intact.
///
/// # Errors
/// When it does not exist, can not be read or is larger than its kind may be.
pub fn read(disk: &dyn Disk, path: &Path, kind: &Kind) -> Result<Vec<u8>, StorageError> {
    disk.read_small(path, kind.payload_bytes_max + HEAD_BYTES + CRC_BYTES)
}

/// Replaces a small file atomically with this payload in the newest version of its kind.
///
/// # Errors
/// When the disk refuses; a failed sync is final.
pub fn write(
    disk: &dyn Disk,
    path: &Path,
    kind: &Kind,
    payload: &[u8],
) -> Result<Synced, StorageError> {
    disk.replace(path, &encode(kind, kind.version, payload))
}

/// Takes fixed-size numbers off the front of a payload. Running out is an error of the payload,
/// never a panic.
pub struct Fields<'a> {
    kind: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads from the start of `payload`.
    #[must_use]
    pub fn new(kind: &Kind, payload: &'a [u8]) -> Fields<'a> {
        Fields { kind: kind.name, rest: payload }
    }

    /// Bytes not yet taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The error for a payload that breaks `rule`.
    #[must_use]
    pub fn broken(&self, rule: &'static str) -> CheckpointError {
        CheckpointError::Payload { kind: self.kind, rule }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (first, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.broken("the payload ends inside a field"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn u8(&mut self) -> Result<u8, CheckpointError> {
        Ok(u8::from_be_bytes(self.bytes()?))
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn i16(&mut self) -> Result<i16, CheckpointError> {
        Ok(i16::from_be_bytes(self.bytes()?))
    }

    /// The next four bytes as a number.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn i32(&mut self) -> Result<i32, CheckpointError> {
        Ok(i32::from_be_bytes(self.bytes()?))
    }

    /// The next four bytes as a number without sign.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(u32::from_be_bytes(self.bytes()?))
    }

    /// The next eight bytes as a number.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn i64(&mut self) -> Result<i64, CheckpointError> {
        Ok(i64::from_be_bytes(self.bytes()?))
    }

    /// The next eight bytes as a number without sign.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u64(&mut self) -> Result<u64, CheckpointError> {
        Ok(u64::from_be_bytes(self.bytes()?))
    }

    /// How many entries of `size` bytes follow, which must fill the payload exactly. So a count is
    /// never believed before the bytes for it are there.
    ///
    /// # Errors
    /// When the count and the bytes that are left disagree.
    pub fn count_of(&mut self, size: usize) -> Result<usize, CheckpointError> {
        let count = self.u32()? as usize;
        match count.checked_mul(size) {
            Some(bytes) if bytes == self.rest.len() => Ok(count),
            _ => Err(self.broken("the number of entries and the payload length disagree")),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left over.
    pub fn end(self) -> Result<(), CheckpointError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.broken("the payload goes on after its last field"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind { magic: *b"TEST", name: "test", version: 2, payload_bytes_max: 64 };

    #[test]
    fn the_frozen_fixture_is_what_we_write_and_read() {
        let fixture = include_bytes!("../../tests/golden/log/envelope.bin");
        assert_eq!(encode(&KIND, 2, b"payload"), fixture);
        assert_eq!(decode(&KIND, fixture), Ok((2, &b"payload"[..])));
    }

    #[test]
    fn each_defect_has_its_own_error() {
        let good = encode(&KIND, 1, b"some payload");
        assert_eq!(decode(&KIND, &good), Ok((1, &b"some payload"[..])));

        let mut other = good.clone();
        other[0] ^= 1;
        assert!(matches!(decode(&KIND, &other), Err(CheckpointError::Magic { .. })));
        let mut flipped = good.clone();
        flipped[12] ^= 1;
        assert!(matches!(decode(&KIND, &flipped), Err(CheckpointError::Crc { .. })));
        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(decode(&KIND, &longer), Err(CheckpointError::Long { .. })));
        for len in 0..good.len() {
            assert!(matches!(decode(&KIND, &good[..len]), Err(CheckpointError::Short { .. })));
        }
    }

    #[test]
    fn a_newer_version_is_refused_and_a_flipped_version_is_damage() {
        let newer = Kind { version: 3, ..KIND };
        let file = encode(&newer, 3, b"");
        let error = decode(&KIND, &file).expect_err("too new");
        assert_eq!(error, CheckpointError::Newer { kind: "test", found: 3, known: 2 });
        assert!(error.to_string().contains("version 3 is newer than 2"));

        let mut flipped = encode(&KIND, 2, b"");
        flipped[4] ^= 0x40;
        assert!(matches!(decode(&KIND, &flipped), Err(CheckpointError::Crc { .. })));
    }

    #[test]
    fn an_envelope_beyond_the_bound_of_its_kind_is_refused() {
        let roomy = Kind { payload_bytes_max: 65, ..KIND };
        let file = encode(&roomy, 1, &[7; 65]);
        assert!(matches!(decode(&KIND, &file), Err(CheckpointError::Long { .. })));
    }

    #[test]
    fn a_count_is_not_believed_without_its_bytes() {
        let payload = u32::MAX.to_be_bytes();
        assert!(Fields::new(&KIND, &payload).count_of(8).is_err());
        let mut fields = Fields::new(&KIND, &[0, 0, 0, 1, 9]);
        assert_eq!(fields.count_of(1), Ok(1));
        assert_eq!(fields.u8(), Ok(9));
        assert!(fields.u8().is_err());
        assert!(fields.end().is_ok());
    }

    proptest! {
        #[test]
        fn every_payload_comes_back(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let file = encode(&KIND, 1, &payload);
            prop_assert_eq!(decode(&KIND, &file), Ok((1, &payload[..])));
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(
            payload in prop::collection::vec(any::<u8>(), 0..64),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut file = encode(&KIND, 1, &payload);
            let bit = bit.index(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&KIND, &file).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&KIND, &bytes);
            let mut named = b"TEST".to_vec();
            named.extend_from_slice(&bytes);
            let _ = decode(&KIND, &named);
        }
    }
}
