//! One batch on its way: its bytes, who waits for it, and how it gets its number. Numbering changes
//! fourteen bytes of the header; the records are neither copied nor read again.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum_combine};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Delivery;
use crate::client::ClientError;
use crate::record::layout::{ATTRIBUTES_AT, HEADER_BYTES, crc32c};
use crate::record::{BatchHeader, CheckedBatch};
use crate::types::{ProducerEpoch, ProducerId, Sequence};

/// Under which name batches are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// Who waits for one delivery.
pub(super) type Waiter = oneshot::Sender<Result<Delivery, ClientError>>;

/// Who waits for a batch.
#[derive(Debug)]
pub(super) enum Acknowledge {
    /// One for each record, in order.
    Records(Vec<Waiter>),
    /// One for all.
    Batch(Waiter),
}

/// A finished batch and all that is known of its delivery.
#[derive(Debug)]
pub(super) struct Batch {
    /// Place in the order in which batches of the producer were begun.
    pub(super) order: u64,
    header: BatchHeader,
    bytes: Bytes,
    pub(super) number: Option<(Identity, Sequence)>,
    /// The offset that its first record must get, where that was asked for.
    pub(super) expected_offset: Option<i64>,
    /// How many of its queue were numbered before it.
    pub(super) nth: u64,
    pub(super) deadline: Instant,
    pub(super) cost: usize,
    acknowledge: Acknowledge,
    /// What the last try ended with.
    pub(super) trouble: Option<ClientError>,
    /// The try of which nobody knows whether it appended the batch.
    pub(super) doubt: Option<ClientError>,
}

impl Batch {
    pub(super) fn new(
        order: u64,
        batch: &CheckedBatch,
        deadline: Instant,
        cost: usize,
        acknowledge: Acknowledge,
    ) -> Batch {
        let (header, bytes) = (*batch.header(), batch.bytes().clone());
        Batch {
            order,
            header,
            bytes,
            number: None,
            expected_offset: None,
            nth: 0,
            deadline,
            cost,
            acknowledge,
            trouble: None,
            doubt: None,
        }
    }

    /// Whether whoever made the batch numbered it himself.
    pub(super) fn is_foreign(&self) -> bool {
        self.header.producer().is_some()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn records(&self) -> i32 {
        self.header.records_count
    }

    /// Appends the batch as it goes on the wire, in one or two pieces.
    pub(super) fn put(&self, payload: &mut Vec<Bytes>) {
        match self.number {
            None => payload.push(self.bytes.clone()),
            Some((identity, sequence)) => {
                let header = numbered(&self.header, &self.bytes, identity, sequence);
                payload.push(Bytes::copy_from_slice(&header));
                payload.push(self.bytes.slice(HEADER_BYTES..));
            }
        }
    }

    /// Tells everybody who waits. An error of the last try does not outweigh doubt about an
    /// earlier one.
    pub(super) fn finish(self, outcome: Result<Delivery, ClientError>) {
        let outcome = match (outcome, self.doubt) {
            (Err(last), Some(earlier)) if !last.is_uncertain() => {
                let (last, earlier) = (Box::new(last), Box::new(earlier));
                Err(ClientError::Doubtful { last, earlier })
            }
            (outcome, _) => outcome,
        };
        match self.acknowledge {
            Acknowledge::Batch(waiter) => drop(waiter.send(outcome)),
            Acknowledge::Records(waiters) => {
                for (index, waiter) in waiters.into_iter().enumerate() {
                    let outcome = outcome.clone().map(|first| Delivery {
                        // An unknown offset is unknown for all.
                        offset: if first.offset < 0 { -1 } else { first.offset + index as i64 },
                        ..first
                    });
                    drop(waiter.send(outcome));
                }
            }
        }
    }
}

/// The header with this number in it. A CRC is linear: how it changes with the header follows from
/// the two headers and the length behind them. So the CRC that whoever made the batch computed over
/// the records still vouches for them, which one computed anew here would not.
fn numbered(
    header: &BatchHeader,
    bytes: &[u8],
    identity: Identity,
    sequence: Sequence,
) -> [u8; HEADER_BYTES] {
    let mut header = BatchHeader {
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        base_sequence: sequence,
        ..*header
    };
    let covered = |header: &[u8]| u64::from(crc32c(&header[ATTRIBUTES_AT..HEADER_BYTES]));
    let change = covered(&header.encode()) ^ covered(bytes);
    let behind = (bytes.len() - HEADER_BYTES) as u64;
    header.crc ^= checksum_combine(CrcAlgorithm::Crc32Iscsi, change, 0, behind) as u32;
    header.encode()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{BatchBuilder, CheckRules, Compression, NewRecord};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_numbered_batch_passes_every_check_and_keeps_its_records(
            value in proptest::collection::vec(any::<u8>(), 0..3_000),
            id in 0..i64::MAX,
            epoch in 0..i16::MAX,
            sequence in 0..i32::MAX,
        ) {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() });
            let built = builder.build();
            let (waiter, _) = oneshot::channel();
            let acknowledge = Acknowledge::Batch(waiter);
            let mut batch = Batch::new(0, &built, Instant::now(), 0, acknowledge);
            let identity = Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) };
            batch.number = Some((identity, Sequence(sequence)));
            let mut pieces = Vec::new();
            batch.put(&mut pieces);
            let mut wire = Bytes::from(pieces.concat());
            let checked = CheckedBatch::take(&mut wire, &CheckRules::default());
            let checked = checked.expect("the CRC is right");
            let number = (identity.id, identity.epoch, Sequence(sequence));
            prop_assert_eq!(checked.header().producer(), Some(number));
            prop_assert_eq!(checked.body(), built.body());
        }
    }
}
