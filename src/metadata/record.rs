//! What changes the cluster's metadata: the closed set of records and their bytes.
//!
//! A record is `u16 number | u8 version | fields in the order they are declared here`, big endian.
//! Strings and lists carry a `u32` length; a declared length is checked against the bytes that
//! remain before anything is taken for it. A number or version that this build does not know is an
//! error, never skipped: a state machine that leaves out a record it can not read differs from its
//! replicas. Numbers are never reused; a changed layout is a new version, and
//! `tests/golden/metadata` holds bytes of every version that must stay readable.
//!
//! Checksums and framing are the log's and the snapshot's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::image::Partition;
use crate::types::{BrokerEpoch, LeaderEpoch, Millis, NodeId, PartitionId, ProducerId, TopicId};

/// Why bytes are not records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a record.
    #[error("the metadata record ends early")]
    Truncated,
    /// A record of a newer build, or bytes that never were a record.
    #[error("metadata record {number} version {version} is not known to this build")]
    Unknown {
        /// What kind of record.
        number: u16,
        /// The version of its layout.
        version: u8,
    },
    /// A field holds what it can not hold.
    #[error("the metadata record holds an impossible {0}")]
    Invalid(&'static str),
}

/// The bytes of a record that are yet to be read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, whatever it means.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (front, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*front)
    }

    /// A declared count of things that take at least a byte each.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = u32::get(self)? as usize;
        if count > self.0.len() { Err(DecodeError::Truncated) } else { Ok(count) }
    }
}

/// A value with a fixed place in a record's bytes.
pub(crate) trait Field: Sized {
    fn put(&self, into: &mut Vec<u8>);
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! integer_fields {
    ($($name:ty),*) => {$(
        impl Field for $name {
            fn put(&self, into: &mut Vec<u8>) {
                into.extend_from_slice(&self.to_be_bytes());
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(<$name>::from_be_bytes(from.array()?))
            }
        }
    )*};
}

macro_rules! number_fields {
    ($($name:ident),*) => {$(
        impl Field for $name {
            fn put(&self, into: &mut Vec<u8>) {
                self.0.put(into);
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok($name(Field::get(from)?))
            }
        }
    )*};
}

integer_fields!(u8, u16, u32, u64, i32, i64);
number_fields!(NodeId, BrokerEpoch, LeaderEpoch, PartitionId, ProducerId, Millis);

impl Field for bool {
    fn put(&self, into: &mut Vec<u8>) {
        into.push(u8::from(*self));
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::get(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("yes or no")),
        }
    }
}

impl Field for Uuid {
    fn put(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.as_bytes());
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Uuid::from_bytes(from.array()?))
    }
}

impl Field for TopicId {
    fn put(&self, into: &mut Vec<u8>) {
        self.0.put(into);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(TopicId(Uuid::get(from)?))
    }
}

impl Field for String {
    fn put(&self, into: &mut Vec<u8>) {
        (self.len() as u32).put(into);
        into.extend_from_slice(self.as_bytes());
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.count()?;
        let text = std::str::from_utf8(from.take(count)?);
        text.map(str::to_owned).map_err(|_| DecodeError::Invalid("text"))
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, into: &mut Vec<u8>) {
        self.is_some().put(into);
        if let Some(value) = self {
            value.put(into);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::get(from)? { T::get(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, into: &mut Vec<u8>) {
        (self.len() as u32).put(into);
        self.iter().for_each(|item| item.put(into));
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.count()?;
        // Grown as items arrive: the declared count bounds bytes, not the memory of what they mean.
        (0..count).map(|_| T::get(from)).collect()
    }
}

impl<T: Field + Clone> Field for Arc<[T]> {
    fn put(&self, into: &mut Vec<u8>) {
        (self.len() as u32).put(into);
        self.iter().for_each(|item| item.put(into));
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::get(from).map(Arc::from)
    }
}

impl Field for BTreeMap<String, String> {
    fn put(&self, into: &mut Vec<u8>) {
        (self.len() as u32).put(into);
        for (key, value) in self {
            key.put(into);
            value.put(into);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.count()?;
        (0..count).map(|_| Ok((String::get(from)?, String::get(from)?))).collect()
    }
}

/// Gives a struct the bytes of its fields, one after the other.
macro_rules! field_order {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl Field for $name {
            fn put(&self, into: &mut Vec<u8>) {
                $(self.$field.put(into);)*
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $(let $field = Field::get(from)?;)*
                Ok($name { $($field),* })
            }
        }
    };
}
field_order!(Partition { leader, leader_epoch, partition_epoch, replicas, isr });

/// Declares every record once: number, version, fields.
macro_rules! records {
    ($(
        $(#[$doc:meta])*
        $number:literal v $version:literal $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }
            field_order!($name { $($field),* });

            impl From<$name> for Record {
                fn from(body: $name) -> Record {
                    Record::$name(body)
                }
            }
        )*

        /// One change of the cluster's metadata.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $($(#[$doc])* $name($name),)*
        }

        impl Record {
            /// Appends the bytes of the record.
            pub fn encode(&self, into: &mut Vec<u8>) {
                match self {
                    $(Record::$name(body) => {
                        ($number as u16).put(into);
                        ($version as u8).put(into);
                        body.put(into);
                    })*
                }
            }

            /// Takes one record off the front.
            pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Record, DecodeError> {
                let (number, version) = (u16::get(from)?, u8::get(from)?);
                match (number, version) {
                    $(($number, $version) => Field::get(from).map(Record::$name),)*
                    _ => Err(DecodeError::Unknown { number, version }),
                }
            }
        }
    };
}

records! {
    /// The cluster has its identity. The first record there is.
    1 v 0 ClusterFormed {
        /// Named by whoever made the cluster; never changes.
        cluster_id: String,
    }
    /// A node has started. It leads what it led before, each partition in a new leader epoch,
    /// because a restarted leader may have lost a tail that it never acknowledged.
    2 v 0 BrokerRegistered {
        /// The node.
        node: NodeId,
        /// Of this registration; grows over all registrations of all nodes.
        epoch: BrokerEpoch,
        /// Drawn by the process, so that its own retry is not taken for a restart.
        incarnation: Uuid,
        /// Where clients reach it, `host:port`, or nothing if every client shall use the address it
        /// already connected to.
        address: String,
        /// Its failure domain, for placement.
        rack: Option<String>,
    }
    /// A topic exists, its partitions in this state.
    3 v 0 TopicCreated {
        /// Never used before.
        id: TopicId,
        /// Free until now.
        name: String,
        /// Whether it is one of the broker's own.
        internal: bool,
        /// Partition 0, partition 1, …
        partitions: Vec<Partition>,
        /// What is set on the topic itself, in canonical spelling.
        config: BTreeMap<String, String>,
    }
    /// Settings of a topic changed.
    4 v 0 TopicConfigChanged {
        /// The topic.
        id: TopicId,
        /// Keys with their new values.
        set: BTreeMap<String, String>,
        /// Keys that have no value of their own any more.
        removed: Vec<String>,
    }
    /// A topic has more partitions.
    5 v 0 PartitionsAdded {
        /// The topic.
        id: TopicId,
        /// Index of the first new one: how many there were.
        first: PartitionId,
        /// Their state.
        partitions: Vec<Partition>,
    }
    /// A topic is gone. Only this allows its files to be deleted.
    6 v 0 TopicDeleted {
        /// The topic.
        id: TopicId,
        /// The name it had.
        name: String,
        /// When it was deleted, by the clock of the node that decided.
        at: Millis,
    }
    /// No file of a deleted topic is left, so that nobody needs to know of it any more.
    7 v 0 TopicForgotten {
        /// The topic.
        id: TopicId,
    }
    /// Producer ids below this number are spoken for.
    8 v 0 ProducerIdsAllocated {
        /// The first id that is still free.
        next: ProducerId,
    }
    /// Defaults that hold for every topic of the cluster changed, by the names of topic settings.
    9 v 0 BrokerConfigChanged {
        /// Keys with their new values.
        set: BTreeMap<String, String>,
        /// Keys that have no value of their own any more.
        removed: Vec<String>,
    }
}

/// Reads records until the bytes end.
///
/// # Errors
/// When they are not records, all of them known to this build.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let mut from = Reader::new(bytes);
    let mut records = Vec::new();
    while !from.is_empty() {
        records.push(Record::decode(&mut from)?);
    }
    Ok(records)
}

/// The bytes of records, one after the other.
#[must_use]
pub fn encode_all<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.into_iter().for_each(|record| record.encode(&mut bytes));
    bytes
}
