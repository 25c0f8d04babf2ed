//! Changing settings: from what a client asks for to keys that get or lose a value.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConfigError, Key, Layers, Rule};

/// One change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key gets this value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The key falls back to the next place that has a value for it.
    Delete {
        /// The key.
        key: String,
    },
    /// The list gets these words as well.
    Append {
        /// The key.
        key: String,
        /// Words with commas between them.
        value: String,
    },
    /// The list loses these words.
    Subtract {
        /// The key.
        key: String,
        /// Words with commas between them.
        value: String,
    },
}

impl Change {
    fn key(&self) -> &str {
        match self {
            Change::Set { key, .. }
            | Change::Delete { key }
            | Change::Append { key, .. }
            | Change::Subtract { key, .. } => key,
        }
    }
}

/// What changes: nothing that was so before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys with their new values, in canonical spelling.
    pub set: BTreeMap<String, String>,
    /// Keys that have no value of their own any more.
    pub removed: Vec<String>,
}

impl Changes {
    /// Whether everything stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// What `requested` changes in `own`, one of the maps of `layers`, with keys looked up by `find`.
/// Lists grow and shrink from their effective value, as in Kafka.
///
/// # Errors
/// The first change that is not valid; then none counts.
pub fn change(
    own: &BTreeMap<String, String>,
    layers: &Layers<'_>,
    find: fn(&str) -> Result<&'static Key, ConfigError>,
    requested: &[Change],
) -> Result<Changes, ConfigError> {
    let mut changes = Changes::default();
    let mut seen = BTreeSet::new();
    for one in requested {
        let found = find(one.key());
        let name = found.as_ref().map_or(one.key(), |key| key.name);
        if !seen.insert(name.to_owned()) {
            return Err(ConfigError::Twice { key: one.key().to_owned() });
        }
        if matches!(one, Change::Delete { .. }) {
            // Also a key that only another build knows: it must be possible to get rid of it.
            match (own.contains_key(name), found) {
                (true, _) => changes.removed.push(name.to_owned()),
                (false, Ok(_)) => {}
                (false, Err(error)) => return Err(error),
            }
            continue;
        }
        let value = new_value(found?, layers, one)?;
        if own.get(name) != Some(&value) {
            changes.set.insert(name.to_owned(), value);
        }
    }
    Ok(changes)
}

fn new_value(
    key: &'static Key,
    layers: &Layers<'_>,
    change: &Change,
) -> Result<String, ConfigError> {
    let (value, append) = match change {
        Change::Set { value, .. } => return key.canonical(value),
        Change::Append { value, .. } => (value, true),
        Change::Subtract { value, .. } => (value, false),
        Change::Delete { .. } => unreachable!("deletions have no new value"),
    };
    if !matches!(key.rule, Rule::List(_)) {
        return Err(ConfigError::NotAList { key: key.name });
    }
    let (present, _) = key.effective(layers);
    if append {
        return key.canonical(&format!("{present},{value}"));
    }
    let gone: Vec<&str> = value.split(',').map(str::trim).collect();
    let left: Vec<&str> = present.split(',').filter(|word| !gone.contains(word)).collect();
    key.canonical(&left.join(","))
}
