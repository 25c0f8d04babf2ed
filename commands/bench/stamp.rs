//! What a record of an end-to-end run carries: who sent it, its number and when it was meant to be
//! sent. Owns the format; compares nothing and reads no clock.
//!
//! A stamp is the first [`STAMP_BYTES`] bytes of a value, numbers in big-endian order:
//!
//! ```text
//! run        8 bytes   random, the same for all records of one run
//! producer   8 bytes   number of the producer in that run
//! number     8 bytes   of the record among those of this producer in this partition, from 0
//! intended   8 bytes   nanoseconds from the begin of the run to the time it was meant to be sent
//! ```

use std::time::Duration;

use bytes::Bytes;
use rivvend::record::{CheckRules, CheckedBatch, Compression, Scratch};

use super::batch::{Batch, Shape, sealed};

/// Bytes of a stamp, so that no value is shorter.
pub(super) const STAMP_BYTES: usize = 32;

/// Whose a record is, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) run: u64,
    pub(super) producer: u64,
    pub(super) number: u64,
    /// Since the run began, by the clock of this process.
    pub(super) intended: Duration,
}

impl Stamp {
    /// The stamp at the front of a value; `None` when that is too short for one.
    pub(super) fn read(value: &[u8]) -> Option<Stamp> {
        let (run, rest) = value.split_first_chunk()?;
        let (producer, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let intended = rest.first_chunk()?;
        Some(Stamp {
            run: u64::from_be_bytes(*run),
            producer: u64::from_be_bytes(*producer),
            number: u64::from_be_bytes(*number),
            intended: Duration::from_nanos(u64::from_be_bytes(*intended)),
        })
    }

    /// As it lies at the front of a value.
    pub(super) fn write(&self) -> [u8; STAMP_BYTES] {
        // Five hundred years fit.
        let intended = self.intended.as_nanos() as u64;
        let mut bytes = [0; STAMP_BYTES];
        let fields = [self.run, self.producer, self.number, intended];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }
}

/// A batch whose records take stamps.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) batch: Batch,
    /// Where the values begin.
    places: Vec<usize>,
}

impl Template {
    /// A batch of so many records of this size.
    pub(super) fn build(records: u32, record_size: usize) -> Template {
        assert!(record_size >= STAMP_BYTES, "a value has room for its stamp");
        let shape = Shape { records, record_size, keys: None, compression: Compression::None };
        let batch = Batch::build(&shape, 1);
        let places = places(&batch.bytes);
        assert_eq!(places.len() as u64, batch.records, "every record of the batch has a value");
        Template { batch, places }
    }

    /// The batch with these stamps, of which `first` is that of the first record.
    pub(super) fn stamped(&self, first: Stamp) -> Bytes {
        let mut bytes = self.batch.bytes.to_vec();
        for (number, &place) in (first.number..).zip(&self.places) {
            let stamp = Stamp { number, ..first };
            bytes[place..place + STAMP_BYTES].copy_from_slice(&stamp.write());
        }
        sealed(bytes)
    }
}

/// Where the values of an uncompressed batch begin.
fn places(bytes: &Bytes) -> Vec<usize> {
    let batch = CheckedBatch::take(&mut bytes.clone(), &CheckRules::internal());
    let batch = batch.expect("what was just built is sound");
    let mut scratch = Scratch::default();
    let records = batch.records(&mut scratch).expect("what was just built is sound");
    let begin = bytes.as_ptr().addr();
    records
        .map(|record| record.expect("what was just built is sound").value.unwrap_or_default())
        .map(|value| value.as_ptr().addr() - begin)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rivvend::record::decode_records;

    #[test]
    fn every_record_of_a_sound_batch_carries_its_stamp() {
        for records in [1, 300] {
            let template = Template::build(records, STAMP_BYTES + 5);
            let intended = Duration::from_nanos(u64::MAX);
            let first = Stamp { run: 9, producer: 2, number: 70, intended };
            let mut bytes = template.stamped(first);
            let batch = CheckedBatch::take(&mut bytes, &CheckRules::default()).expect("sound");
            let decoded = decode_records(&batch).expect("records");
            assert_eq!(decoded.len(), records as usize);
            for (number, record) in (70..).zip(decoded) {
                let value = record.value.expect("a value");
                assert_eq!(value.len(), STAMP_BYTES + 5);
                assert_eq!(Stamp::read(&value), Some(Stamp { number, ..first }));
                assert_eq!(Stamp::read(&value[..STAMP_BYTES - 1]), None);
            }
        }
    }
}
