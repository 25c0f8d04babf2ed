//! The settings themselves. Sorted by name; a test holds that, and that every default is valid.

use super::{Fallback, Key, Rule, Unit, Word};
use crate::limits;

const fn taken(word: &'static str) -> Word {
    Word { word, refused: None }
}

const fn refused(word: &'static str, reason: &'static str) -> Word {
    Word { word, refused: Some(reason) }
}

/// Every setting that is honoured, sorted by name.
pub const KEYS: &[Key] = &[
    Key {
        name: "cleanup.policy",
        broker_name: "log.cleanup.policy",
        rule: Rule::List(&[taken("delete"), taken("compact")]),
        unit: Unit::None,
        default: Fallback::Value("delete"),
        documentation: "What happens to old segments: \"delete\" removes those beyond \
                        retention.ms or retention.bytes, \"compact\" keeps the newest record of \
                        each key, and both together do both. Where it says \"compact\", records \
                        without a key are refused, and those from before are removed.",
    },
    Key {
        name: "compression.type",
        broker_name: "compression.type",
        rule: Rule::Choice(&[
            taken("producer"),
            taken("uncompressed"),
            refused("none", "it is called \"uncompressed\""),
            taken("gzip"),
            taken("snappy"),
            taken("lz4"),
            taken("zstd"),
        ]),
        unit: Unit::None,
        default: Fallback::Value("producer"),
        documentation: "The codec of stored batches: \"producer\" keeps the one that each \
                        producer chose, any other costs the broker the work of compressing anew.",
    },
    Key {
        name: "delete.retention.ms",
        broker_name: "log.cleaner.delete.retention.ms",
        rule: Rule::Number { min: 0, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("86400000"),
        documentation: "How long compaction keeps a record without a value, the tombstone of its \
                        key, after it found nothing older of that key: the time that consumers \
                        have to see that it is gone.",
    },
    Key {
        name: "durability",
        broker_name: "durability",
        rule: Rule::Choice(&[taken("fsync"), taken("os")]),
        unit: Unit::None,
        default: Fallback::Value("fsync"),
        documentation: "When a write is acknowledged: \"fsync\" once it is on stable storage, \
                        \"os\" once the operating system has it, which a power cut may undo.",
    },
    Key {
        name: "index.interval.bytes",
        broker_name: "log.index.interval.bytes",
        rule: Rule::Number { min: 128, max: 1024 * 1024 },
        unit: Unit::Bytes,
        default: Fallback::Value("4096"),
        documentation: "Distance of index entries in a segment: smaller finds an offset with less \
                        reading and takes more memory.",
    },
    Key {
        name: "max.compaction.lag.ms",
        broker_name: "log.cleaner.max.compaction.lag.ms",
        rule: Rule::Number { min: 1, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("9223372036854775807"),
        documentation: "Age of a record beyond which compaction does not wait until enough of the \
                        partition is dirty, nor for its segment to be full.",
    },
    Key {
        name: "max.message.bytes",
        broker_name: "message.max.bytes",
        rule: Rule::Number { min: 1, max: limits::BATCH_BYTES_MAX as i64 },
        unit: Unit::Bytes,
        default: Fallback::Value("1048588"),
        documentation: "Largest record batch that is accepted, as compressed by the producer.",
    },
    Key {
        name: "message.timestamp.after.max.ms",
        broker_name: "log.message.timestamp.after.max.ms",
        rule: Rule::Number { min: 0, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("3600000"),
        documentation: "How far a record's time stamp may lie in the future. Later ones are \
                        refused, because they would keep their segment from expiring.",
    },
    Key {
        name: "message.timestamp.before.max.ms",
        broker_name: "log.message.timestamp.before.max.ms",
        rule: Rule::Number { min: 0, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("9223372036854775807"),
        documentation: "How far a record's time stamp may lie in the past.",
    },
    Key {
        name: "message.timestamp.type",
        broker_name: "log.message.timestamp.type",
        rule: Rule::Choice(&[taken("CreateTime"), taken("LogAppendTime")]),
        unit: Unit::None,
        default: Fallback::Value("CreateTime"),
        documentation: "Whose clock time stamps are from: \"CreateTime\" is the producer's, \
                        \"LogAppendTime\" the broker's.",
    },
    Key {
        name: "min.cleanable.dirty.ratio",
        broker_name: "log.cleaner.min.cleanable.ratio",
        rule: Rule::Fraction,
        unit: Unit::None,
        default: Fallback::Value("0.5"),
        documentation: "Share of a partition that has to be new since it was last compacted \
                        before it is compacted again: less keeps it smaller and reads and writes \
                        it more often.",
    },
    Key {
        name: "min.compaction.lag.ms",
        broker_name: "log.cleaner.min.compaction.lag.ms",
        rule: Rule::Number { min: 0, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("0"),
        documentation: "Age that a record reaches before compaction may remove it.",
    },
    Key {
        name: "min.insync.replicas",
        broker_name: "min.insync.replicas",
        rule: Rule::Number { min: 1, max: i16::MAX as i64 },
        unit: Unit::Count,
        default: Fallback::MajorityOfReplicas,
        documentation: "In-sync replicas without which writes with acks=all are refused. The \
                        default is more than half of the topic's replicas.",
    },
    Key {
        name: "retention.bytes",
        broker_name: "log.retention.bytes",
        rule: Rule::Number { min: -1, max: i64::MAX },
        unit: Unit::Bytes,
        default: Fallback::Value("-1"),
        documentation: "Size of a partition beyond which its oldest segments are deleted; -1 is \
                        no limit.",
    },
    Key {
        name: "retention.ms",
        broker_name: "log.retention.ms",
        rule: Rule::Number { min: -1, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("604800000"),
        documentation: "Age of the newest record of a segment beyond which the segment is \
                        deleted; -1 is no limit.",
    },
    Key {
        name: "segment.bytes",
        broker_name: "log.segment.bytes",
        rule: Rule::Number { min: 16 * 1024, max: i32::MAX as i64 },
        unit: Unit::Bytes,
        default: Fallback::Value("1073741824"),
        documentation: "Size of a segment file at which the next one is begun. Retention removes \
                        whole segments.",
    },
    Key {
        name: "segment.ms",
        broker_name: "log.roll.ms",
        rule: Rule::Number { min: 1, max: i64::MAX },
        unit: Unit::Milliseconds,
        default: Fallback::Value("604800000"),
        documentation: "Age of a segment at which the next one is begun, so that retention can \
                        remove it even when it is not full.",
    },
    Key {
        name: "unclean.leader.election.enable",
        broker_name: "unclean.leader.election.enable",
        rule: Rule::Choice(&[
            taken("false"),
            refused("true", "a leader that lacks acknowledged records is never elected by itself"),
        ]),
        unit: Unit::None,
        default: Fallback::Value("false"),
        documentation: "Whether a replica that is not in sync may become leader and lose records.",
    },
];

/// Every setting of the broker that is no default for topics, sorted by name.
pub const BROKER_KEYS: &[Key] = &[
    Key {
        name: "auto.create.topics.enable",
        broker_name: "auto.create.topics.enable",
        rule: Rule::Choice(&[taken("true"), taken("false")]),
        unit: Unit::None,
        default: Fallback::Value("true"),
        documentation: "Whether a topic is created when a client first names it.",
    },
    Key {
        name: "num.partitions",
        broker_name: "num.partitions",
        rule: Rule::Number { min: 1, max: limits::TOPIC_PARTITIONS_MAX as i64 },
        unit: Unit::Count,
        default: Fallback::Value("1"),
        documentation: "Partitions of a topic that is created without a number.",
    },
];

const TIERING: &str = "it only matters to tiered storage, which this build does not have";
const DURABILITY: &str = "set durability=fsync or durability=os instead";
const THROTTLES: &str = "replication throttles need a cluster, which this build does not have";

/// Settings that Kafka has and this build refuses, with the reason.
pub const UNSUPPORTED: &[(&str, &str)] = &[
    ("file.delete.delay.ms", "readers keep their files open, so the delay is not adjustable"),
    ("flush.messages", DURABILITY),
    ("flush.ms", DURABILITY),
    ("follower.replication.throttled.replicas", THROTTLES),
    ("leader.replication.throttled.replicas", THROTTLES),
    ("local.retention.bytes", TIERING),
    ("local.retention.ms", TIERING),
    ("message.downconversion.enable", "old record formats are not served"),
    ("message.format.version", "there is one record format"),
    ("preallocate", "segment files grow as they are written"),
    ("remote.log.copy.disable", TIERING),
    ("remote.log.delete.on.disable", TIERING),
    ("remote.storage.enable", TIERING),
    ("segment.index.bytes", "indexes grow as they need"),
    ("segment.jitter.ms", "segments roll by their own records' age, which already differs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_every_default_is_a_valid_value_in_canonical_spelling() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(BROKER_KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(UNSUPPORTED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(UNSUPPORTED.iter().all(|(name, _)| KEYS.iter().all(|key| key.name != *name)));
        for key in KEYS.iter().chain(BROKER_KEYS) {
            if let Fallback::Value(value) = key.default {
                assert_eq!(key.canonical(value).as_deref(), Ok(value), "{}", key.name);
            }
            assert!(key.documentation.ends_with('.'), "{}", key.name);
        }
        let largest = KEYS.iter().find(|key| key.name == "max.message.bytes").expect("a key");
        let expected = limits::BATCH_BYTES_DEFAULT.to_string();
        assert_eq!(largest.fallback(1), expected);
    }
}
