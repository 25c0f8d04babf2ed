//! The batches that a run sends: built once, then sent over and over, so that the client costs next
//! to nothing. Values are pseudo-random letters, which compress to about a half.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rivvend::random::Random;
use rivvend::record::layout::{
    self, ATTRIBUTES_AT, BASE_SEQUENCE_AT, CRC_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT,
};
use rivvend::record::{BatchBuilder, Compression, NewRecord};
use rivvend::types::{Millis, ProducerEpoch, ProducerId, Sequence};

/// What batches are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Records in a batch.
    pub(super) records: u32,
    /// Bytes of a value.
    pub(super) record_size: usize,
    /// How many different keys there are; none: no keys.
    pub(super) keys: Option<u64>,
    /// How the records are compressed.
    pub(super) compression: Compression,
}

/// A batch that is ready to be sent as often as needed; clones share its memory.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// As it goes over the wire.
    pub(super) bytes: Bytes,
    /// Records in it.
    pub(super) records: u64,
    /// Bytes of keys and values, which throughput counts.
    pub(super) payload_bytes: u64,
}

impl Batch {
    /// Builds one; the seed chooses its content.
    pub(super) fn build(shape: &Shape, seed: u64) -> Batch {
        let mut random = Random::new(seed);
        let mut builder = BatchBuilder::new(shape.compression);
        let timestamp = now();
        let mut payload_bytes = 0;
        for _ in 0..shape.records {
            let value = letters(&mut random, shape.record_size);
            let key = shape.keys.map(|keys| format!("key-{:08}", random.below(keys)).into_bytes());
            payload_bytes += value.len() + key.as_ref().map_or(0, Vec::len);
            let (key, value) = (key.as_deref(), Some(&value[..]));
            builder.push(&NewRecord { timestamp, key, value, headers: &[] });
        }
        let bytes = builder.build().bytes().clone();
        Batch { bytes, records: u64::from(shape.records), payload_bytes: payload_bytes as u64 }
    }

    /// The same batch as the next one of an idempotent producer. Copies it.
    pub(super) fn sequenced(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        base: Sequence,
    ) -> Bytes {
        let mut bytes = self.bytes.to_vec();
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(PRODUCER_ID_AT, &producer.0.to_be_bytes());
        put(PRODUCER_EPOCH_AT, &epoch.0.to_be_bytes());
        put(BASE_SEQUENCE_AT, &base.0.to_be_bytes());
        sealed(bytes)
    }
}

/// A batch that was changed, with the checksum of what it holds now.
pub(super) fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let crc = layout::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(since.as_millis() as i64)
}

/// Sixteen letters, so that four bits of chance make a byte.
fn letters(random: &mut Random, count: usize) -> Vec<u8> {
    let mut letters = Vec::with_capacity(count + 16);
    while letters.len() < count {
        let bits = random.next_u64();
        letters.extend((0..16).map(|nibble| b'a' + (bits >> (nibble * 4) & 15) as u8));
    }
    letters.truncate(count);
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use rivvend::record::{CheckRules, CheckedBatch, decode_records};

    /// Whatever is sent passes the broker's checks, sequenced or not.
    #[test]
    fn batches_are_sound_and_hold_what_was_asked_for() {
        for compression in [Compression::None, Compression::Lz4] {
            let shape = Shape { records: 10, record_size: 100, keys: Some(3), compression };
            let batch = Batch::build(&shape, 1);
            let id = (ProducerId(7), ProducerEpoch(2), Sequence(30));
            for mut bytes in [batch.bytes.clone(), batch.sequenced(id.0, id.1, id.2)] {
                let sequenced = bytes != batch.bytes;
                let checked = CheckedBatch::take(&mut bytes, &CheckRules::default()).expect("ok");
                assert_eq!(checked.header().producer(), sequenced.then_some(id));
                let records = decode_records(&checked).expect("records");
                assert_eq!(records.len(), 10);
                assert!(records.iter().all(|r| r.value.as_ref().is_some_and(|v| v.len() == 100)));
            }
            assert_eq!(batch.payload_bytes, 10 * (100 + 12));
        }
    }
}
