//! What members of groups of the type `consumer` tell each other through the coordinator, in
//! Kafka's embedded consumer protocol: which topics a member reads, and which partitions it gets.
//!
//! ```text
//! subscription  version (i16), topics (strings), user data (nullable bytes); from 1 owned
//!               partitions: topic (string), partitions (i32); from 2 generation (i32); from 3 rack
//!               (nullable string)
//! assignment    version (i16), partitions: topic (string), partitions (i32); user data (nullable
//!               bytes)
//! ```
//! Later versions may only add fields at the end, so what follows those that are known is skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Text;
use super::codec::{DecodeError, Reader, Writer};
use crate::types::PartitionId;

/// The type of groups that speak so.
pub const PROTOCOL_TYPE: &str = "consumer";

const SUBSCRIPTION_VERSION: i16 = 3;
const ASSIGNMENT_VERSION: i16 = 3;

/// Partitions by topic.
pub type Partitions = BTreeMap<Text, Vec<PartitionId>>;

/// What a member wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics it reads.
    pub topics: Vec<Text>,
    /// The partitions it holds on to while the group rebalances.
    pub owned: Partitions,
    /// The generation that gave it those; -1 when it does not say.
    pub generation: i32,
    /// Where it is.
    pub rack: Option<Text>,
}

impl Subscription {
    /// As members send it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Writer::default();
        bytes.i16(SUBSCRIPTION_VERSION);
        bytes.count(self.topics.len());
        self.topics.iter().for_each(|topic| bytes.text(topic));
        bytes.optional_bytes(None);
        encode_partitions(&mut bytes, &self.owned);
        bytes.i32(self.generation);
        bytes.optional_text(self.rack.as_deref());
        bytes.finish()
    }

    /// Reads what a member sent.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(bytes: Bytes) -> Result<Subscription, DecodeError> {
        let mut bytes = Reader::new(bytes);
        let version = bytes.i16("version of a subscription")?;
        if version < 0 {
            return Err(DecodeError::Invalid("version of a subscription"));
        }
        let mut subscription = Subscription { generation: -1, ..Subscription::default() };
        for _ in 0..bytes.count(false, "topics")? {
            subscription.topics.push(bytes.text(false, "topic")?);
        }
        bytes.optional_bytes(false, "user data")?;
        // A client may call its subscription newer than what it sends.
        if version >= 1 && bytes.remaining() > 0 {
            subscription.owned = decode_partitions(&mut bytes)?;
        }
        if version >= 2 && bytes.remaining() > 0 {
            subscription.generation = bytes.i32("generation")?;
        }
        if version >= 3 && bytes.remaining() > 0 {
            subscription.rack = bytes.optional_text(false, "rack")?;
        }
        Ok(subscription)
    }
}

/// Which partitions a member gets, as it is sent.
#[must_use]
pub fn encode_assignment(partitions: &Partitions) -> Bytes {
    let mut bytes = Writer::default();
    bytes.i16(ASSIGNMENT_VERSION);
    encode_partitions(&mut bytes, partitions);
    bytes.optional_bytes(None);
    bytes.finish()
}

/// Reads which partitions a member got. No bytes are no partitions.
///
/// # Errors
/// When they are malformed.
pub fn decode_assignment(bytes: Bytes) -> Result<Partitions, DecodeError> {
    if bytes.is_empty() {
        return Ok(Partitions::new());
    }
    let mut bytes = Reader::new(bytes);
    if bytes.i16("version of an assignment")? < 0 {
        return Err(DecodeError::Invalid("version of an assignment"));
    }
    decode_partitions(&mut bytes)
}

fn encode_partitions(bytes: &mut Writer, partitions: &Partitions) {
    bytes.count(partitions.len());
    for (topic, partitions) in partitions {
        bytes.text(topic);
        bytes.count(partitions.len());
        partitions.iter().for_each(|partition| bytes.i32(partition.0));
    }
}

fn decode_partitions(bytes: &mut Reader) -> Result<Partitions, DecodeError> {
    let mut partitions = Partitions::new();
    for _ in 0..bytes.count(false, "topics")? {
        let topic = bytes.text(false, "topic")?;
        let of_topic = partitions.entry(Arc::clone(&topic)).or_default();
        for _ in 0..bytes.count(false, "partitions")? {
            of_topic.push(PartitionId(bytes.i32("partition")?));
        }
    }
    Ok(partitions)
}
