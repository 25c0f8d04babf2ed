//! The configuration file: YAML in two levels, sections and keys. Parsing keeps duplicates and
//! every kind of mistake, so that all of them can be reported at once; only a syntax error ends it.
//! Lines that may hold a secret are never printed.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use super::problem::{Problem, did_you_mean};
use super::{KEYS, SECTIONS};

/// A key of the file with its value as text.
pub(super) struct Setting {
    pub path: String,
    pub value: String,
}

/// Reads all settings of the file; what is wrong with its shape goes to `problems`.
pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Setting> {
    if text.trim().is_empty() {
        problems.push(Problem::new(path.display().to_string(), "the file is empty"));
        return Vec::new();
    }
    if text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim().starts_with('#')) {
        return Vec::new();
    }
    match serde_yaml::from_str::<Node>(text) {
        Ok(Node::Map(sections)) => flatten(sections, problems),
        Ok(other) => {
            let message = format!("{} stands where sections are expected", other.kind());
            problems.push(Problem::new(path.display().to_string(), message));
            Vec::new()
        }
        Err(error) => {
            problems.push(syntax_error(path, text, &error));
            Vec::new()
        }
    }
}

/// What a name that no key has may mean.
pub(super) fn unknown(path: &str) -> String {
    let paths = || KEYS.iter().map(|key| key.path);
    let by_name = || {
        let name = path.rsplit('.').next().unwrap_or(path);
        paths().find(|candidate| candidate.rsplit('.').next() == Some(name))
    };
    match did_you_mean(path, paths()).or_else(by_name) {
        Some(near) => format!("unknown key, did you mean {near}?"),
        None => "unknown key; `rivvend config default` prints every key there is".to_owned(),
    }
}

fn flatten(sections: Vec<(Node, Node)>, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (name, content) in sections {
        let Some(section) = name.text() else {
            problems.push(Problem::new("file", format!("{} is not a section", name.kind())));
            continue;
        };
        if seen.contains(&section) {
            problems.push(Problem::new(&section, "the section stands twice; join its keys in one"));
        }
        seen.push(section.clone());
        match content {
            Node::Map(entries) => flatten_section(&section, entries, &mut settings, problems),
            content => problems.push(not_a_section(&section, &content)),
        }
    }
    settings
}

fn flatten_section(
    section: &str,
    entries: Vec<(Node, Node)>,
    settings: &mut Vec<Setting>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in entries {
        let Some(name) = name.text() else {
            problems.push(Problem::new(section, format!("{} is not a key", name.kind())));
            continue;
        };
        let path = format!("{section}.{name}");
        if settings.iter().any(|setting| setting.path == path) {
            problems.push(Problem::new(path, "the key stands twice"));
            continue;
        }
        match value.text() {
            Some(value) => settings.push(Setting { path, value }),
            None if super::not_yet(&path).is_some() => {
                settings.push(Setting { path, value: String::new() });
            }
            None => {
                let message = format!("{} stands where one value is expected", value.kind());
                problems.push(Problem::new(path, message));
            }
        }
    }
}

fn not_a_section(name: &str, content: &Node) -> Problem {
    if let Some(feature) = super::not_yet(name) {
        return Problem::new(name, super::not_yet_message(feature));
    }
    if let Some((section, key)) = name.split_once('.')
        && KEYS.iter().any(|known| known.path == name)
    {
        return Problem::new(
            name,
            format!("write it as two levels: {section}: and below it {key}:"),
        );
    }
    if SECTIONS.iter().any(|(section, _)| *section == name) {
        return Problem::new(name, format!("{} stands where keys are expected", content.kind()));
    }
    if let Some(section) = did_you_mean(name, SECTIONS.iter().map(|(section, _)| *section)) {
        return Problem::new(name, format!("unknown section, did you mean {section}?"));
    }
    Problem::new(name, unknown(name))
}

fn syntax_error(path: &Path, text: &str, error: &serde_yaml::Error) -> Problem {
    let message = error.to_string();
    let Some(location) = error.location() else {
        return Problem::new(path.display().to_string(), message);
    };
    let (line, column) = (location.line(), location.column());
    // The place comes first here; where the broken construct began is part of the explanation.
    let (what, rest) = message.split_once(" at line ").unwrap_or((&message, ""));
    let begun = rest.split_once(", ").map(|(_, begun)| format!(", {begun}")).unwrap_or_default();
    let place = format!("{}:{line}:{column}", path.display());
    Problem::new(place, format!("{what}{begun}\n{}", excerpt(text, line, column)))
}

/// The line with a mark below the column, or stars where it may be part of a secret.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let index = line.saturating_sub(1).min(lines.len().saturating_sub(1));
    let shown = lines.get(index).copied().unwrap_or_default();
    if is_secret(&lines, index) {
        return format!("    {line} | ********");
    }
    let shown: String = shown.chars().take(160).collect();
    let margin = " ".repeat(line.to_string().len() + 4);
    let mark = " ".repeat(column.saturating_sub(1).min(160));
    format!("    {line} | {shown}\n{margin} | {mark}^")
}

/// Whether the line, or the key that it continues, is named like a secret.
fn is_secret(lines: &[&str], index: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let secret = |line: &str| {
        let lower = line.to_ascii_lowercase();
        let words = ["secret", "password", "passphrase", "token", "credential", "key"];
        words.iter().any(|word| lower.contains(word))
    };
    let Some(own) = lines.get(index) else { return false };
    let above = lines[..index].iter().rev().filter(|line| !line.trim().is_empty());
    // A scalar of several lines is indented below its key, or not at all when quoted.
    let holder = above.clone().find(|line| indent(line) < indent(own) && line.contains(':'));
    let before = above.clone().next().filter(|_| !own.contains(':'));
    secret(own) || holder.is_some_and(|l| secret(l)) || before.is_some_and(|l| secret(l))
}

/// YAML without losing anything: duplicates stay, scalars become text.
enum Node {
    Null,
    Scalar(String),
    Float(f64),
    List,
    Map(Vec<(Node, Node)>),
    Tagged,
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Node::Null => "nothing",
            Node::Scalar(_) | Node::Float(_) => "a single value",
            Node::List => "a list",
            Node::Map(_) => "a group of keys",
            Node::Tagged => "a value with a tag",
        }
    }

    /// The text of a scalar. A decimal number gives a text that no number type accepts, so that
    /// `1e3` is not quietly taken for 1000.
    fn text(&self) -> Option<String> {
        match self {
            Node::Scalar(text) => Some(text.clone()),
            Node::Float(number) => Some(format!("{number:?}")),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<Node>()?.is_some() {}
        Ok(Node::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Node, Node>()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        let (_tag, content) = data.variant::<serde::de::IgnoredAny>()?;
        serde::de::VariantAccess::newtype_variant::<serde::de::IgnoredAny>(content)?;
        Ok(Node::Tagged)
    }
}
