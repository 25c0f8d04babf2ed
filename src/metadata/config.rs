//! Every setting a topic may have: name, type, unit, default, what it does, what is valid. One
//! table from which validation, effective values, typed settings and every listing derive. Knows
//! nothing of protocols or configuration files.
//!
//! A key stands here only when the broker honours it. Keys and values that Kafka has and this build
//! does not honour are refused with the reason, because a setting that is accepted and ignored is a
//! promise broken later.
//!
//! A value comes from the first of: the topic itself, the cluster-wide default set at run time, the
//! default from this node's configuration file, the table.

use std::collections::BTreeMap;
use std::fmt;

use crate::limits;
use crate::record::Compression;
use crate::types::Durability;

mod change;
mod table;

pub use change::{Change, Changes, change};
pub use table::{BROKER_KEYS, KEYS, UNSUPPORTED};

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its name on a topic, Kafka's where Kafka has it.
    pub name: &'static str,
    /// The name of the broker-wide default for it, as in Kafka.
    pub broker_name: &'static str,
    /// What its values are.
    pub rule: Rule,
    /// What its numbers count.
    pub unit: Unit,
    /// Its value when nobody set it.
    pub default: Fallback,
    /// What it does, in a sentence or two.
    pub documentation: &'static str,
}

/// Which values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A whole number within bounds, both inclusive.
    Number {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A share of the whole, from 0 to 1.
    Fraction,
    /// One of these words.
    Choice(&'static [Word]),
    /// Some of these words with commas between them, at least one.
    List(&'static [Word]),
}

/// A word that Kafka knows as a value, and why it is refused if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The value.
    pub word: &'static str,
    /// Why this build does not take it.
    pub refused: Option<&'static str>,
}

/// What the numbers of a setting count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// The value is not a number.
    None,
}

/// The value of a setting that nobody set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Always the same.
    Value(&'static str),
    /// More than half of the topic's replicas.
    MajorityOfReplicas,
}

/// Where an effective value comes from, the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table.
    Default,
    /// The configuration file of the node.
    StaticBroker,
    /// A cluster-wide default that was set at run time.
    DynamicBroker,
    /// The topic.
    Topic,
}

impl Source {
    /// As a listing of the broker's own configuration spells it.
    #[must_use]
    pub fn origin(self) -> &'static str {
        match self {
            Source::Default => "default",
            Source::StaticBroker => "file",
            Source::DynamicBroker => "dynamic",
            Source::Topic => "topic",
        }
    }

    /// As listings of a topic's configuration spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Default => "default",
            Source::StaticBroker | Source::DynamicBroker => "broker",
            Source::Topic => "topic",
        }
    }
}

/// One line of a listing: a key with its effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The name: the topic's, or the broker's in a listing of broker-wide defaults.
    pub key: &'static str,
    /// The value that holds.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
    /// The value it would have if nobody had set anything.
    pub default: String,
    /// What the key does.
    pub documentation: &'static str,
    /// What its values are.
    pub rule: Rule,
    /// What its numbers count.
    pub unit: Unit,
    /// Every place that has a value for it, the strongest first: that place's name of the key, the
    /// value, the place.
    pub synonyms: Vec<(&'static str, String, Source)>,
}

/// Why a setting is refused. Every variant names the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// There is no such key.
    UnknownKey {
        /// As it was given.
        key: String,
        /// The key that may have been meant.
        suggestion: Option<&'static str>,
    },
    /// Kafka has the key, this build does not honour it.
    UnsupportedKey {
        /// The key.
        key: String,
        /// Why not.
        reason: &'static str,
    },
    /// Kafka has the value, this build does not honour it.
    UnsupportedValue {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// The value is not one that the key takes.
    InvalidValue {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        rule: Rule,
    },
    /// Append and subtract are for lists.
    NotAList {
        /// The key.
        key: &'static str,
    },
    /// One request changes a key twice.
    Twice {
        /// The key.
        key: String,
    },
    /// No record could be both old enough and not yet too old to be compacted.
    CompactionLags {
        /// What `min.compaction.lag.ms` would be.
        min: i64,
        /// What `max.compaction.lag.ms` would be.
        max: i64,
    },
    /// With these values no produce request that waits for all replicas could ever succeed.
    MinInSyncAboveReplicas {
        /// What `min.insync.replicas` would be.
        min: i64,
        /// How many replicas the topic has.
        replicas: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::UnknownKey { key, suggestion: Some(suggestion) } => {
                write!(f, "{key:?} is not a topic setting; did you mean {suggestion:?}?")
            }
            ConfigError::UnknownKey { key, suggestion: None } => {
                write!(f, "{key:?} is not a topic setting")
            }
            ConfigError::UnsupportedKey { key, reason } => {
                write!(f, "{key:?} is not supported: {reason}")
            }
            ConfigError::UnsupportedValue { key, value, reason } => {
                write!(f, "{key}={value} is not supported: {reason}")
            }
            ConfigError::InvalidValue { key, value, rule } => {
                write!(f, "{key}={value:?} is not valid: it takes {rule}")
            }
            ConfigError::NotAList { key } => {
                write!(f, "{key} is not a list: set it instead of appending or subtracting")
            }
            ConfigError::Twice { key } => write!(f, "{key:?} is changed twice in one request"),
            ConfigError::CompactionLags { min, max } => write!(
                f,
                "min.compaction.lag.ms={min} is more than max.compaction.lag.ms={max}: a record \
                 would have to be compacted before it may be"
            ),
            ConfigError::MinInSyncAboveReplicas { min, replicas } => write!(
                f,
                "min.insync.replicas={min} is more than the topic's {replicas} replica(s): no \
                 write with acks=all could succeed"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Number { min, max: i64::MAX } => {
                write!(f, "a whole number that is not below {min}")
            }
            Rule::Number { min, max } => write!(f, "a whole number between {min} and {max}"),
            Rule::Fraction => write!(f, "a number between 0 and 1"),
            Rule::Choice(words) => write!(f, "one of {}", accepted(words).join(", ")),
            Rule::List(words) => {
                write!(f, "a comma-separated list of {}", accepted(words).join(", "))
            }
        }
    }
}

/// Settings that the node's configuration file sets, by the names of topic settings and, where
/// they are no defaults for topics, of the broker's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerDefaults(BTreeMap<String, String>);

impl BrokerDefaults {
    /// Checks defaults given as topic keys with values.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new<'a>(
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<BrokerDefaults, Vec<ConfigError>> {
        let mut defaults = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, value) in values {
            match Key::find_broker(name).and_then(|key| key.canonical(value)) {
                Ok(value) => _ = defaults.insert(name.to_owned(), value),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(BrokerDefaults(defaults)) } else { Err(errors) }
    }
}

/// Every place that may have a value for a topic's setting.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// What is set on the topic.
    pub topic: &'a BTreeMap<String, String>,
    /// What is set for the cluster at run time.
    pub dynamic: &'a BTreeMap<String, String>,
    /// What the node's configuration file sets.
    pub file: &'a BrokerDefaults,
    /// How many replicas the topic has.
    pub replicas: usize,
}

impl Key {
    /// The key of this name.
    ///
    /// # Errors
    /// When this build honours no such key.
    pub fn find(name: &str) -> Result<&'static Key, ConfigError> {
        if let Some(key) = KEYS.iter().find(|key| key.name == name) {
            return Ok(key);
        }
        if let Some((_, reason)) = UNSUPPORTED.iter().find(|(known, _)| *known == name) {
            return Err(ConfigError::UnsupportedKey { key: name.to_owned(), reason });
        }
        Err(ConfigError::UnknownKey { key: name.to_owned(), suggestion: suggest(name) })
    }

    /// The key whose broker-wide value has this name; of a default for topics the topic's own name
    /// is taken as well.
    ///
    /// # Errors
    /// When this build honours no such key.
    pub fn find_broker(name: &str) -> Result<&'static Key, ConfigError> {
        let key = KEYS.iter().chain(BROKER_KEYS).find(|key| key.broker_name == name);
        key.map_or_else(|| Key::find(name), Ok)
    }

    /// The one spelling of a valid value.
    ///
    /// # Errors
    /// When the value is not valid.
    pub fn canonical(&'static self, value: &str) -> Result<String, ConfigError> {
        let value = value.trim();
        let invalid =
            || ConfigError::InvalidValue { key: self.name, value: shorten(value), rule: self.rule };
        match self.rule {
            Rule::Number { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
                _ => Err(invalid()),
            },
            Rule::Fraction => match value.parse::<f64>() {
                // Zero has a sign, which says nothing here.
                Ok(number) if (0.0..=1.0).contains(&number) => Ok((number + 0.0).to_string()),
                _ => Err(invalid()),
            },
            Rule::Choice(words) => self.word(words, value)?.ok_or_else(invalid),
            Rule::List(words) => {
                let mut list: Vec<String> = Vec::new();
                for part in value.split(',').map(str::trim) {
                    let word = self.word(words, part)?.ok_or_else(invalid)?;
                    if !list.contains(&word) {
                        list.push(word);
                    }
                }
                Ok(list.join(","))
            }
        }
    }

    /// The value that holds, and where it comes from.
    #[must_use]
    pub fn effective(&self, layers: &Layers<'_>) -> (String, Source) {
        let places = [
            (layers.topic, Source::Topic),
            (layers.dynamic, Source::DynamicBroker),
            (&layers.file.0, Source::StaticBroker),
        ];
        for (place, source) in places {
            if let Some(value) = place.get(self.name) {
                return (value.clone(), source);
            }
        }
        (self.fallback(layers.replicas), Source::Default)
    }

    fn fallback(&self, replicas: usize) -> String {
        match self.default {
            Fallback::Value(value) => value.to_owned(),
            Fallback::MajorityOfReplicas => (replicas / 2 + 1).to_string(),
        }
    }

    fn word(&'static self, words: &[Word], value: &str) -> Result<Option<String>, ConfigError> {
        // Kafka takes words in any case.
        let Some(word) = words.iter().find(|word| word.word.eq_ignore_ascii_case(value)) else {
            return Ok(None);
        };
        match word.refused {
            None => Ok(Some(word.word.to_owned())),
            Some(reason) => Err(ConfigError::UnsupportedValue {
                key: self.name,
                value: word.word.to_owned(),
                reason,
            }),
        }
    }

    fn entry(&'static self, layers: &Layers<'_>, key: &'static str) -> ConfigEntry {
        let (value, source) = self.effective(layers);
        let mut synonyms = Vec::new();
        let mut note = |name, found: Option<&String>, source| {
            synonyms.extend(found.map(|value| (name, value.clone(), source)));
        };
        note(self.name, layers.topic.get(self.name), Source::Topic);
        note(self.broker_name, layers.dynamic.get(self.name), Source::DynamicBroker);
        note(self.broker_name, layers.file.0.get(self.name), Source::StaticBroker);
        let default = self.fallback(layers.replicas);
        synonyms.push((self.broker_name, default.clone(), Source::Default));
        ConfigEntry {
            key,
            value,
            source,
            default,
            documentation: self.documentation,
            rule: self.rule,
            unit: self.unit,
            synonyms,
        }
    }
}

/// Every setting of a topic with its effective value, in the order of the names.
#[must_use]
pub fn effective(layers: &Layers<'_>) -> Vec<ConfigEntry> {
    KEYS.iter().map(|key| key.entry(layers, key.name)).collect()
}

/// Every setting of the broker, under the broker's names: the defaults for topics first.
#[must_use]
pub fn effective_broker(
    dynamic: &BTreeMap<String, String>,
    file: &BrokerDefaults,
) -> Vec<ConfigEntry> {
    let topic = BTreeMap::new();
    let layers = Layers { topic: &topic, dynamic, file, replicas: 1 };
    KEYS.iter().chain(BROKER_KEYS).map(|key| key.entry(&layers, key.broker_name)).collect()
}

/// The settings of the broker itself as requests use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerSettings {
    /// Whether a topic is created when a client first names it.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is created without a number.
    pub default_partitions: i32,
}

impl BrokerSettings {
    /// The settings that hold, given what was set at run time and what the node's file sets.
    ///
    /// # Panics
    /// When a stored value is not valid: nothing gets into an image unchecked.
    #[must_use]
    pub fn of(dynamic: &BTreeMap<String, String>, file: &BrokerDefaults) -> BrokerSettings {
        let topic = BTreeMap::new();
        let layers = Layers { topic: &topic, dynamic, file, replicas: 1 };
        BrokerSettings {
            auto_create_topics: key("auto.create.topics.enable").effective(&layers).0 == "true",
            default_partitions: number(&layers, "num.partitions") as i32,
        }
    }
}

/// How the partitions of a topic are compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionSettings {
    /// Records younger than this stay.
    pub min_lag_ms: i64,
    /// Records older than this wait for nothing but a pass.
    pub max_lag_ms: i64,
    /// How long tombstones stay.
    pub delete_retention_ms: i64,
    /// Share of a partition that has to be dirty before a pass, in millionths.
    pub min_dirty_ppm: u32,
}

/// The settings of a topic as the engine uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// Records older than this may go; `None` keeps them, as where nothing is deleted.
    pub retention_ms: Option<u64>,
    /// A partition larger than this loses its oldest segments; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// How the topic is compacted, if it is.
    pub compaction: Option<CompactionSettings>,
    /// A segment of this size is closed.
    pub segment_bytes: u64,
    /// A segment this old is closed.
    pub segment_ms: u64,
    /// Distance of index entries.
    pub index_interval_bytes: usize,
    /// Largest batch.
    pub max_message_bytes: usize,
    /// How far a record's time stamp may lie before the broker's clock.
    pub timestamp_before_max_ms: i64,
    /// How far a record's time stamp may lie after the broker's clock.
    pub timestamp_after_max_ms: i64,
    /// In-sync replicas without which `acks=all` is refused.
    pub min_insync_replicas: usize,
    /// When a write counts as acknowledged.
    pub durability: Durability,
    /// How batches are compressed, unless as their producer chose.
    pub compression: Option<Compression>,
    /// Whether records bear the time of their append.
    pub append_time: bool,
}

impl TopicSettings {
    /// The settings that hold for a topic.
    ///
    /// # Panics
    /// When a stored value is not valid: nothing gets into an image unchecked.
    #[must_use]
    pub fn of(layers: &Layers<'_>) -> TopicSettings {
        let number = |name| number(layers, name);
        let limit = |name| u64::try_from(number(name)).ok();
        let size = |name| limit(name).expect("the table allows no negative size here");
        let word = |name| key(name).effective(layers).0;
        let policy = word("cleanup.policy");
        let deletes = policy.split(',').any(|word| word == "delete");
        let compacts = policy.split(',').any(|word| word == "compact");
        TopicSettings {
            retention_ms: limit("retention.ms").filter(|_| deletes),
            retention_bytes: limit("retention.bytes").filter(|_| deletes),
            compaction: compacts.then(|| CompactionSettings::of(layers)),
            segment_bytes: size("segment.bytes"),
            segment_ms: size("segment.ms"),
            index_interval_bytes: size("index.interval.bytes") as usize,
            max_message_bytes: size("max.message.bytes") as usize,
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            min_insync_replicas: size("min.insync.replicas") as usize,
            durability: word("durability").parse().expect("the table allows only these words"),
            compression: codec(&word("compression.type")),
            append_time: word("message.timestamp.type") == "LogAppendTime",
        }
    }
}

/// The codec that a topic asks for.
fn codec(word: &str) -> Option<Compression> {
    match word {
        "producer" => None,
        "uncompressed" => Some(Compression::None),
        word => {
            let named = Compression::ALL.into_iter().find(|one| one.as_str() == word);
            Some(named.expect("the table allows only these words"))
        }
    }
}

impl CompactionSettings {
    fn of(layers: &Layers<'_>) -> CompactionSettings {
        let (ratio, _) = key("min.cleanable.dirty.ratio").effective(layers);
        let ratio: f64 = ratio.parse().expect("stored numbers were checked when they were set");
        CompactionSettings {
            min_lag_ms: number(layers, "min.compaction.lag.ms"),
            max_lag_ms: number(layers, "max.compaction.lag.ms"),
            delete_retention_ms: number(layers, "delete.retention.ms"),
            min_dirty_ppm: (ratio * 1e6).round() as u32,
        }
    }
}

fn key(name: &str) -> &'static Key {
    Key::find_broker(name).expect("the tables have every key that the engine asks for")
}

fn number(layers: &Layers<'_>, name: &str) -> i64 {
    key(name).effective(layers).0.parse().expect("stored numbers were checked when they were set")
}

fn accepted(words: &[Word]) -> Vec<&'static str> {
    words.iter().filter(|word| word.refused.is_none()).map(|word| word.word).collect()
}

/// What a client sent, short enough for an error message.
fn shorten(value: &str) -> String {
    value.chars().take(limits::CLIENT_ID_BYTES_MAX).collect()
}

/// The key that a misspelt one may have meant.
fn suggest(name: &str) -> Option<&'static str> {
    // Keys are short; a long name is no slip of a finger, and its distance would cost time.
    if name.len() > 64 {
        return None;
    }
    let spelt = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let nearest = KEYS.iter().map(|key| (distance(&spelt, key.name), key.name)).min()?;
    (nearest.0 <= nearest.1.len() / 3).then_some(nearest.1)
}

/// Levenshtein distance in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let cheapest = (row[j] + 1).min(row[j + 1] + 1).min(diagonal + usize::from(a != b));
            diagonal = std::mem::replace(&mut row[j + 1], cheapest);
        }
    }
    row[other.len()]
}
