//! What a record batch is: Kafka's magic-2 format, byte for byte as it lies on disk and goes over
//! the wire. Owns layout, checks, building, control records and compression. Knows nothing of files
//! or replicas.
//!
//! The types carry the rules: bytes from outside become a [`CheckedBatch`] only when CRC, bounds
//! and counts hold, and a [`StampedBatch`] only when its offset and leader epoch are assigned. The
//! log takes nothing but the last.
//!
//! # Format
//! A batch is the fixed header of [`layout`] and the records, which the codec of the header's
//! attributes compresses together as one stream. A record is:
//!
//! ```text
//! field             type     meaning
//! length            varint   bytes of the record that follow this field
//! attributes        1 byte   written as 0, ignored when read
//! timestamp delta   varlong  milliseconds after the batch's base timestamp; may be negative
//! offset delta      varint   offset less the batch's base offset: 0, 1, 2, …; compaction and
//!                            nothing else leaves gaps
//! key length        varint   -1: no key
//! key               bytes
//! value length      varint   -1: no value, a tombstone where the topic is compacted
//! value             bytes
//! header count      varint   then for each header:
//!   key length      varint   not negative
//!   key             bytes    UTF-8; keys may repeat, their order is kept
//!   value length    varint   -1: no value
//!   value           bytes
//! ```
//!
//! A varint is a signed number in zigzag order (0, -1, 1, -2, …) as base-128 groups, least
//! significant first, the top bit of a byte set when another follows: at most 5 bytes, a varlong at
//! most 10. Nothing lies between records or after the last.
//!
//! Where the attributes say that time stamps are those of the append, every record bears the
//! batch's max timestamp whatever its delta says. A time stamp of -1 means that nobody knows the
//! time.
//!
//! After a producer made a batch only the sixteen bytes before magic change (base offset, length,
//! leader epoch), with three exceptions that compute the CRC anew: a largest time stamp that the
//! producer left wrong, a topic that stamps the time of the append, and compaction.

mod batch;
mod body;
mod builder;
mod compression;
mod control;
mod error;
mod expansion;
pub mod layout;
mod list;
mod read;
mod rewrite;
mod varint;

pub use batch::{CheckRules, CheckedBatch, StampedBatch, Timestamps};
pub use body::{Headers, NewRecord, Record};
pub use builder::BatchBuilder;
pub use compression::{Compression, UnknownCompression};
pub use control::{ControlType, Marker};
pub use error::BatchError;
pub use layout::BatchHeader;
pub use list::{RecordList, parse_record_list};
pub use read::{Batches, OwnedRecord, Records, Scratch, decode_records};

#[cfg(test)]
mod tests;
