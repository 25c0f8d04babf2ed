//! Control batches: the markers that end a producer's transaction in a partition.
//!
//! ```text
//! key    version i16 (0), type i16: 0 abort, 1 commit; more exist in Kafka's metadata logs
//! value  version i16 (0), epoch of the transaction coordinator i32
//! ```
//!
//! Numbers are big endian. Later versions only append, so readers take the front and ignore the
//! rest. A marker's batch is transactional and carries the producer whose transaction it ends; it
//! takes one offset.

use super::{BatchBuilder, BatchError, CheckedBatch, Compression, NewRecord, Scratch};
use crate::types::{Millis, ProducerEpoch, ProducerId, Sequence};

const VERSION: i16 = 0;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlType {
    /// The producer's open transaction never happened.
    Abort = 0,
    /// The producer's open transaction is valid as a whole.
    Commit = 1,
}

impl ControlType {
    /// The type with this number; others there may be say nothing about transactions.
    #[must_use]
    pub fn from_code(code: i16) -> Option<ControlType> {
        match code {
            0 => Some(ControlType::Abort),
            1 => Some(ControlType::Commit),
            _ => None,
        }
    }
}

/// The end of a transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// How it ended.
    pub outcome: ControlType,
    /// Epoch of the coordinator that decided, which fences older ones.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// The marker in a batch: `None` for batches of records and for control types that do not
    /// concern transactions.
    ///
    /// # Errors
    /// When a control batch is not one record with the key and value of a marker.
    pub fn read(batch: &CheckedBatch) -> Result<Option<Marker>, BatchError> {
        if !batch.header().is_control() {
            return Ok(None);
        }
        let mut scratch = Scratch::default();
        let mut records = batch.records(&mut scratch)?;
        let Some(record) = records.next().transpose()? else {
            return Ok(None);
        };
        let malformed = || BatchError::Invalid("a control record has no readable key and value");
        let key = record.key.ok_or_else(malformed)?;
        let code = number(key, 2).map(i16::from_be_bytes).ok_or_else(malformed)?;
        let Some(outcome) = ControlType::from_code(code) else {
            return Ok(None);
        };
        let value = record.value.ok_or_else(malformed)?;
        let coordinator_epoch = number(value, 2).map(i32::from_be_bytes).ok_or_else(malformed)?;
        Ok(Some(Marker { outcome, coordinator_epoch }))
    }
}

impl BatchBuilder {
    /// The batch that ends a producer's transaction.
    #[must_use]
    pub fn control(
        marker: Marker,
        producer: ProducerId,
        epoch: ProducerEpoch,
        timestamp: Millis,
    ) -> CheckedBatch {
        assert!(producer > ProducerId::NONE, "a transaction belongs to a producer");
        let mut key = [0; 4];
        key[..2].copy_from_slice(&VERSION.to_be_bytes());
        key[2..].copy_from_slice(&(marker.outcome as i16).to_be_bytes());
        let mut value = [0; 6];
        value[..2].copy_from_slice(&VERSION.to_be_bytes());
        value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
        let mut builder = BatchBuilder::new(Compression::None)
            .producer(producer, epoch, Sequence(-1))
            .transactional()
            .marked_control();
        builder.push(&NewRecord { timestamp, key: Some(&key), value: Some(&value), headers: &[] });
        builder.build()
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_has_kafkas_bytes() {
        for outcome in [ControlType::Abort, ControlType::Commit] {
            let marker = Marker { outcome, coordinator_epoch: 7 };
            let batch = BatchBuilder::control(marker, ProducerId(5), ProducerEpoch(1), Millis(9));
            assert_eq!(Marker::read(&batch), Ok(Some(marker)));
            assert!(batch.header().is_control() && batch.header().is_transactional());
            assert_eq!(batch.header().last_offset_delta, 0);
            let record = [32, 0, 0, 0, 8, 0, 0, 0, outcome as u8, 12, 0, 0, 0, 0, 0, 7, 0];
            assert_eq!(batch.body(), record);
        }
    }

    #[test]
    fn batches_of_records_have_no_marker() {
        let batch = BatchBuilder::single(Millis(1), Some(&[0, 0, 0, 1]), Some(&[0; 6]));
        assert_eq!(Marker::read(&batch), Ok(None));
    }
}
