//! What groups write to `__consumer_offsets`, in the schemas of Kafka's own topic. A record without
//! a value is a tombstone.
//!
//! ```text
//! key    kind (i16): 0 or 1 an offset: group, topic (strings), partition (i32)
//!                    2 a group: group (string)
//! offset version (i16), offset (i64), leader epoch (i32, from 3), metadata (string),
//!        commit time (i64), expiry (i64, 1 only), topic id (tagged 0, from 4)
//! group  version (i16), protocol type (string), generation (i32), protocol and leader (nullable
//!        strings), time of the state (i64, from 2), members: id (string), instance (nullable
//!        string, from 3), client id, client host (strings), rebalance timeout (i32, from 1),
//!        session timeout (i32), subscription, assignment (bytes)
//! ```
//! Versions 4 of both are flexible: compact lengths, and tagged fields at the end of each struct.
//! Offsets are written in version 4 (in 1 where they expire by themselves) and groups in version
//! 3, as Kafka 4.4 reads them; every version up to 4 is read. There is no checksum here: a record
//! batch has one.

use bytes::Bytes;

use super::Text;
pub use super::codec::DecodeError;
use super::codec::{Reader, Writer};
use crate::types::{Millis, Offset, PartitionId, TopicId};

const KIND_OFFSET: i16 = 1;
const KIND_GROUP: i16 = 2;
const VERSION_MAX: i16 = 4;
const FLEXIBLE_FROM: i16 = 4;
const OFFSET_VERSION: i16 = 4;
/// The only version that has room for an expiry; it has none for leader epochs and topic ids.
const EXPIRING_VERSION: i16 = 1;
const GROUP_VERSION: i16 = 3;
const TAG_TOPIC_ID: u32 = 0;

/// One change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// What the group is now, or that it is gone.
    Group {
        /// Its name.
        group: Text,
        /// Its members and what they were given.
        value: Option<GroupMetadata>,
    },
    /// An offset was committed, or is kept no longer.
    Offset {
        /// The group's name.
        group: Text,
        /// The topic's name.
        topic: Text,
        /// Which partition of it.
        partition: PartitionId,
        /// What was committed.
        value: Option<Committed>,
    },
}

/// A generation of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupMetadata {
    /// What kind of group: `consumer`, `connect` and so on; empty for one that only has offsets.
    pub protocol_type: Text,
    /// Counts its rebalances.
    pub generation: i32,
    /// How partitions are assigned; nothing for a group without members.
    pub protocol: Option<Text>,
    /// The member that assigns.
    pub leader: Option<Text>,
    /// Since when it is so.
    pub since: Millis,
    /// The members, by their ids.
    pub members: Vec<StoredMember>,
}

/// A member of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredMember {
    /// Its id.
    pub id: Text,
    /// The name under which it comes back after a restart.
    pub instance: Option<Text>,
    /// What the client calls itself.
    pub client_id: Text,
    /// Where it connected from.
    pub client_host: Text,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_ms: u32,
    /// Silence after which it counts as gone, in milliseconds.
    pub session_ms: u32,
    /// What it told the assignor.
    pub subscription: Bytes,
    /// What the assignor gave it.
    pub assignment: Bytes,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// The next offset to read.
    pub offset: Offset,
    /// Leader epoch of the last record that was read; -1 when nobody said.
    pub leader_epoch: i32,
    /// Whatever the client added.
    pub metadata: Text,
    /// When it was committed.
    pub at: Millis,
    /// When it expires whatever the group does, as old clients could ask.
    pub expires: Option<Millis>,
    /// The topic it is of, so that it is not taken for another one's of the same name.
    pub topic_id: Option<TopicId>,
}

impl Record {
    /// The key of the record on disk.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let mut key = Writer::default();
        match self {
            Record::Group { group, .. } => {
                key.i16(KIND_GROUP);
                key.text(group);
            }
            Record::Offset { group, topic, partition, .. } => {
                key.i16(KIND_OFFSET);
                key.text(group);
                key.text(topic);
                key.i32(partition.0);
            }
        }
        key.finish()
    }

    /// Its value; none for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Bytes> {
        match self {
            Record::Group { value, .. } => value.as_ref().map(encode_group),
            Record::Offset { value, .. } => value.as_ref().map(encode_offset),
        }
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// When it is malformed or of a kind or version that is not known.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Record, DecodeError> {
        let mut key = Reader::new(key);
        let record = match key.i16("kind of record")? {
            0 | KIND_OFFSET => Record::Offset {
                group: key.text(false, "group")?,
                topic: key.text(false, "topic")?,
                partition: PartitionId(key.i32("partition")?),
                value: value.map(decode_offset).transpose()?,
            },
            KIND_GROUP => Record::Group {
                group: key.text(false, "group")?,
                value: value.map(decode_group).transpose()?,
            },
            version => return Err(DecodeError::Unknown { what: "kind of record", version }),
        };
        key.end()?;
        Ok(record)
    }

    /// The group it is about.
    #[must_use]
    pub fn group(&self) -> &Text {
        match self {
            Record::Group { group, .. } | Record::Offset { group, .. } => group,
        }
    }
}

fn encode_offset(committed: &Committed) -> Bytes {
    let mut value = Writer::default();
    if let Some(expires) = committed.expires {
        value.i16(EXPIRING_VERSION);
        value.i64(committed.offset.0);
        value.text(&committed.metadata);
        value.i64(committed.at.0);
        value.i64(expires.0);
        return value.finish();
    }
    value.i16(OFFSET_VERSION);
    value.i64(committed.offset.0);
    value.i32(committed.leader_epoch);
    value.compact_text(&committed.metadata);
    value.i64(committed.at.0);
    match committed.topic_id {
        None => value.varint(0),
        Some(id) => {
            value.varint(1);
            value.varint(TAG_TOPIC_ID);
            value.varint(16);
            value.raw(id.as_bytes());
        }
    }
    value.finish()
}

fn decode_offset(value: Bytes) -> Result<Committed, DecodeError> {
    let mut value = Reader::new(value);
    let version = version_of(&mut value, "version of an offset")?;
    let flexible = version >= FLEXIBLE_FROM;
    let offset = Offset(value.i64("offset")?);
    let leader_epoch = if version >= 3 { value.i32("leader epoch")? } else { -1 };
    let metadata = value.text(flexible, "metadata")?;
    let at = Millis(value.i64("commit time")?);
    let expires = if version == EXPIRING_VERSION { value.i64("expiry")? } else { -1 };
    let mut topic_id = None;
    if flexible {
        value.tags(|tag, bytes| {
            if tag == TAG_TOPIC_ID {
                let mut bytes = Reader::new(bytes);
                topic_id = Some(TopicId::from_bytes(bytes.uuid("topic id")?));
                bytes.end()?;
            }
            Ok(())
        })?;
    }
    value.end()?;
    let expires = (expires >= 0).then_some(Millis(expires));
    Ok(Committed { offset, leader_epoch, metadata, at, expires, topic_id })
}

fn encode_group(group: &GroupMetadata) -> Bytes {
    let mut value = Writer::default();
    value.i16(GROUP_VERSION);
    value.text(&group.protocol_type);
    value.i32(group.generation);
    value.optional_text(group.protocol.as_deref());
    value.optional_text(group.leader.as_deref());
    value.i64(group.since.0);
    value.count(group.members.len());
    for member in &group.members {
        value.text(&member.id);
        value.optional_text(member.instance.as_deref());
        value.text(&member.client_id);
        value.text(&member.client_host);
        value.i32(member.rebalance_ms as i32);
        value.i32(member.session_ms as i32);
        value.bytes(&member.subscription);
        value.bytes(&member.assignment);
    }
    value.finish()
}

fn decode_group(value: Bytes) -> Result<GroupMetadata, DecodeError> {
    let mut value = Reader::new(value);
    let version = version_of(&mut value, "version of a group")?;
    let flexible = version >= FLEXIBLE_FROM;
    let protocol_type = value.text(flexible, "protocol type")?;
    let generation = value.i32("generation")?;
    let protocol = value.optional_text(flexible, "protocol")?;
    let leader = value.optional_text(flexible, "leader")?;
    let since = Millis(if version >= 2 { value.i64("time of the state")? } else { -1 });
    let mut members = Vec::new();
    for _ in 0..value.count(flexible, "members")? {
        members.push(decode_member(&mut value, version)?);
    }
    if flexible {
        value.tags(|_, _| Ok(()))?;
    }
    value.end()?;
    Ok(GroupMetadata { protocol_type, generation, protocol, leader, since, members })
}

fn decode_member(value: &mut Reader, version: i16) -> Result<StoredMember, DecodeError> {
    let flexible = version >= FLEXIBLE_FROM;
    let milliseconds = |ms: i32, field| u32::try_from(ms).map_err(|_| DecodeError::Invalid(field));
    let id = value.text(flexible, "member id")?;
    let instance =
        if version >= 3 { value.optional_text(flexible, "group instance")? } else { None };
    let client_id = value.text(flexible, "client id")?;
    let client_host = value.text(flexible, "client host")?;
    let rebalance = if version >= 1 { Some(value.i32("rebalance timeout")?) } else { None };
    let session_ms = milliseconds(value.i32("session timeout")?, "session timeout")?;
    let rebalance_ms = match rebalance {
        Some(ms) => milliseconds(ms, "rebalance timeout")?,
        None => session_ms,
    };
    let subscription = value.bytes(flexible, "subscription")?;
    let assignment = value.bytes(flexible, "assignment")?;
    if flexible {
        value.tags(|_, _| Ok(()))?;
    }
    let member = StoredMember {
        id,
        instance,
        client_id,
        client_host,
        rebalance_ms,
        session_ms,
        subscription,
        assignment,
    };
    Ok(member)
}

fn version_of(value: &mut Reader, what: &'static str) -> Result<i16, DecodeError> {
    match value.i16(what)? {
        version @ 0..=VERSION_MAX => Ok(version),
        version => Err(DecodeError::Unknown { what, version }),
    }
}
