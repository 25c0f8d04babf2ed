//! Which names a topic may have: Kafka's rules, and why a name breaks them.

use std::fmt;

use crate::limits;

/// The topics that the broker makes for itself. Clients may read about them but not create them.
pub const INTERNAL_TOPICS: &[&str] = &["__consumer_offsets", "__transaction_state"];

/// Names that start so are kept for topics that later versions may need.
pub const INTERNAL_PREFIX: &str = "__rivven";

/// Which rule a topic name breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There are no characters.
    Empty,
    /// `.` or `..`, which mean something else to every file system.
    Dots,
    /// More bytes than allowed.
    TooLong(usize),
    /// This character is not an ASCII letter, digit, `.`, `_` or `-`.
    Character(char),
    /// The broker keeps the name for itself.
    Internal,
    /// Only `.` against `_` tells it from the name of this other topic, and metrics can not.
    Collides(String),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("it is empty"),
            NameError::Dots => f.write_str("it is neither \".\" nor \"..\" that names a topic"),
            NameError::TooLong(bytes) => {
                write!(f, "it has {bytes} bytes, {} are allowed", limits::TOPIC_NAME_BYTES_MAX)
            }
            NameError::Character(c) => {
                write!(f, "{c:?} is not allowed: use ASCII letters, digits, \".\", \"_\" and \"-\"")
            }
            NameError::Internal => f.write_str("the broker keeps this name for itself"),
            NameError::Collides(other) => {
                write!(f, "it differs from topic {other:?} only in \".\" against \"_\"")
            }
        }
    }
}

/// Whether the name is one of the broker's own.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name) || name.starts_with(INTERNAL_PREFIX)
}

/// Checks everything about a name that can be seen without knowing the other topics.
///
/// # Errors
/// The rule that the name breaks.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    if name.len() > limits::TOPIC_NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_".contains(*c))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// The name as metrics spell it; two topics may not share it.
pub(super) fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// bad-inputs 24.
    #[test]
    fn names_that_kafka_refuses_are_refused_with_the_rule_they_break() {
        let long = "x".repeat(250);
        for (name, error) in [
            ("", NameError::Empty),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            (long.as_str(), NameError::TooLong(250)),
            ("a/b", NameError::Character('/')),
            ("orders\0", NameError::Character('\0')),
            ("a b", NameError::Character(' ')),
            ("größe", NameError::Character('ö')),
            ("日本", NameError::Character('日')),
            ("a\n", NameError::Character('\n')),
        ] {
            assert_eq!(check(name), Err(error), "{name:?}");
        }
        for name in ["a", "...", "__other", "A.b-c_9", &"x".repeat(249)] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn only_our_own_names_are_internal() {
        assert!(is_internal("__consumer_offsets") && is_internal("__rivven_audit"));
        assert!(!is_internal("__my_topic") && !is_internal("consumer_offsets"));
    }
}
