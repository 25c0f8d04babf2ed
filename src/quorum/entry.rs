//! Raft entries as record batches: one entry is one batch with one record, so an entry's index is
//! the record's offset and its term the batch's leader epoch.
//!
//! The record has no key; its time stamp is that of the proposal. Its value:
//!
//! ```text
//!  at  size  field
//!   0     1  version           0
//!   1     1  kind              0 blank, 1 records, 2 membership
//!   2     8  term              also the batch's leader epoch, which no checksum covers
//!  10     8  node that led
//!  18     …  body              records: u64 version of the image they were decided on, then
//!                              metadata records to the end; membership: lists of voters, members
//! ```

use bytes::Bytes;
use openraft::EntryPayload;

use super::types::{Entry, LogId, Membership, Proposal};
use crate::metadata::DecodeError;
use crate::metadata::record::{Field, Reader};
use crate::record::{BatchBuilder, CheckedBatch, StampedBatch, decode_records};
use crate::types::{LeaderEpoch, Millis, Offset};

const VERSION: u8 = 0;
const BLANK: u8 = 0;
const RECORDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Time stamp of entries that nobody's clock was asked for.
const NO_TIME: Millis = Millis(-1);

/// The batch of an entry.
pub(super) fn encode(entry: &Entry) -> StampedBatch {
    let mut value = Vec::new();
    VERSION.put(&mut value);
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(_) => RECORDS,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    kind.put(&mut value);
    entry.log_id.leader_id.term.put(&mut value);
    entry.log_id.leader_id.node_id.put(&mut value);
    let mut at = NO_TIME;
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(proposal) => {
            at = proposal.at;
            proposal.base.put(&mut value);
            value.extend_from_slice(&proposal.records);
        }
        EntryPayload::Membership(membership) => membership.put(&mut value),
    }
    let index = i64::try_from(entry.log_id.index).expect("2^63 entries are never written");
    let term = i32::try_from(entry.log_id.leader_id.term).expect("2^31 elections never happen");
    BatchBuilder::single(at, None, Some(&value)).stamp(Offset(index), LeaderEpoch(term))
}

/// The entry in a batch, or what is wrong with it.
pub(super) fn decode(batch: &CheckedBatch) -> Result<Entry, String> {
    let records = decode_records(batch).map_err(|error| error.to_string())?;
    let [record] = records.as_slice() else {
        return Err(format!("an entry has one record, not {}", records.len()));
    };
    let value = record.value.clone().ok_or("an entry has a value")?;
    let index = u64::try_from(record.offset.0).map_err(|_| "an entry's index is not negative")?;
    let entry = decode_value(&value, index, record.timestamp).map_err(|error| error.to_string())?;
    // The checksum of a batch does not cover its leader epoch; that of the value is in it.
    match u64::try_from(batch.header().leader_epoch.0) {
        Ok(term) if term == entry.log_id.leader_id.term => Ok(entry),
        _ => Err("the leader epoch is not the entry's term".to_owned()),
    }
}

fn decode_value(value: &Bytes, index: u64, at: Millis) -> Result<Entry, DecodeError> {
    let mut from = Reader::new(value);
    let (version, kind) = (u8::get(&mut from)?, u8::get(&mut from)?);
    let (term, node) = (u64::get(&mut from)?, u64::get(&mut from)?);
    let payload = match (version, kind) {
        (VERSION, BLANK) => EntryPayload::Blank,
        (VERSION, RECORDS) => {
            let base = u64::get(&mut from)?;
            let records = value.slice_ref(from.rest());
            EntryPayload::Normal(Proposal { at, base, records })
        }
        (VERSION, MEMBERSHIP) => EntryPayload::Membership(Membership::get(&mut from)?),
        _ => return Err(DecodeError::Unknown { number: u16::from(kind), version }),
    };
    let leader_id = openraft::CommittedLeaderId::new(term, node);
    Ok(Entry { log_id: LogId { leader_id, index }, payload })
}
