//! What can be wrong with a configuration, as sentences for the operator. All problems of one load
//! are collected, so that nobody has to start the broker once per mistake.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line of the key.
        line: Option<usize>,
    },
    /// This environment variable.
    Environment(String),
    /// This command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line: Some(line) } => write!(f, "file {}:{line}", path.display()),
            Origin::File { path, line: None } => write!(f, "file {}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One mistake: where it is, what it is, and what to do when that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Key path, variable, flag or file.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "the configuration is not valid: {only}");
        }
        write!(f, "the configuration has {} problems:", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// The candidate that `word` is most likely a misspelling of. Also used for topics and commands.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = |candidate: &&'a str| distance(&fold(word), &fold(candidate)) <= allowed;
    let candidates = candidates.into_iter().filter(near);
    candidates.min_by_key(|candidate| distance(&fold(word), &fold(candidate)))
}

/// Case and the kind of separator are the mistakes made most, so they cost nothing.
fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) that turn one word into the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, &have) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &want) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(have != want);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && have == to[column - 1] && from[row - 1] == want {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let keys = ["bind_address", "http_port", "protected_mode"];
        assert_eq!(did_you_mean("bind_adress", keys), Some("bind_address"));
        assert_eq!(did_you_mean("HTTP_Port", keys), Some("http_port"));
        assert_eq!(did_you_mean("http-port", keys), Some("http_port"));
        assert_eq!(did_you_mean("htpt_port", keys), Some("http_port"));
        assert_eq!(did_you_mean("retention", keys), None);
        assert_eq!(did_you_mean("", keys), None);
    }
}
