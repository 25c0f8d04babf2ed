//! What a record batch is: Kafka's magic-2 format, byte for byte as it lies on disk and goes over
//! the wire. Owns layout, checks, building, control records and compression. Knows nothing of files
//! or replicas.
//!
//! The types carry the rules: bytes from outside become a [`CheckedBatch`] only when CRC, bounds and
//! counts hold, and a [`StampedBatch`] only when its offset and leader epoch are assigned. The log
//! takes nothing but the last.

mod batch;
pub mod layout;

pub use batch::{BatchError, CheckRules, CheckedBatch, StampedBatch, Timestamps};
pub use layout::BatchHeader;
