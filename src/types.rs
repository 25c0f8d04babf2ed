//! The numbers and names every layer speaks of, each with a type of its own so that two integers in
//! a signature can never be swapped. Owns no behaviour beyond ordering, stepping and display.

use std::fmt;
use std::str::FromStr;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// Position of a record in its partition. The first record of a partition has offset 0.
    Offset(i64)
}
number! {
    /// Counts the leaders a partition has had; every batch carries the epoch that stamped it.
    LeaderEpoch(i32)
}
number! {
    /// Identifies one registration (one process lifetime) of a node.
    BrokerEpoch(i64)
}
number! {
    /// Identifies a node of the cluster. Never reused.
    NodeId(i32)
}
number! {
    /// Index of a partition within its topic.
    PartitionId(i32)
}
number! {
    /// Identifies an idempotent or transactional producer. Never reused.
    ProducerId(i64)
}
number! {
    /// Fences older incarnations of one producer id.
    ProducerEpoch(i16)
}
number! {
    /// Position of a record in what one producer sent to one partition; wraps to 0 after
    /// `i32::MAX`.
    Sequence(i32)
}
number! {
    /// A point in time as milliseconds since 1970-01-01 00:00 UTC.
    Millis(i64)
}

impl Offset {
    /// The offset of the first record of a partition.
    pub const ZERO: Offset = Offset(0);

    /// The offset `count` records further on.
    ///
    /// # Panics
    /// On overflow: offsets come from our own arithmetic, so that is our bug.
    #[must_use]
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0.checked_add(count).expect("an offset never overflows i64"))
    }
}

impl ProducerId {
    /// What a batch carries when its producer is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl Sequence {
    /// The sequence `count` records further on, wrapping as Kafka's does.
    #[must_use]
    pub fn plus(self, count: i32) -> Sequence {
        let sum = i64::from(self.0) + i64::from(count);
        Sequence((sum % (i64::from(i32::MAX) + 1)) as i32)
    }
}

/// Identifies a topic for ever; a deleted and re-created topic gets a new one. The default, all
/// zeros, is no topic's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub uuid::Uuid);

impl TopicId {
    /// The topic id made of these sixteen bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> TopicId {
        TopicId(uuid::Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes of the id, as they go on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<TopicId, uuid::Error> {
        uuid::Uuid::try_parse(text).map(TopicId)
    }
}

/// Names one partition of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition within it.
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// When a write counts as durable enough to be acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After `fdatasync`: survives a power cut.
    #[default]
    Fsync,
    /// Once it is in the page cache: survives `kill -9`, not a power cut.
    Os,
}

impl Durability {
    /// The value as configuration files and replies spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Os => "os",
        }
    }
}

impl FromStr for Durability {
    type Err = ();

    fn from_str(text: &str) -> Result<Durability, ()> {
        match text {
            "fsync" => Ok(Durability::Fsync),
            "os" => Ok(Durability::Os),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_maximum() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(0).plus(5), Sequence(5));
    }

    #[test]
    fn a_topic_id_reads_back_from_its_text() {
        let id = TopicId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<TopicId>().expect("own text"), id);
    }
}
