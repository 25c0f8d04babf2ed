//! Whether results may be compared at all: only where the same was run. Machines are said, since
//! comparing them may be the purpose.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::bench::machine::Machine;
use crate::bench::saved::{Content, Saved};
use crate::fields::Field;

/// Something that a run has and the first run has otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) value: Value,
    /// What it is in the first file.
    pub(super) first: Value,
}

/// The same as programs read it.
pub(super) const DIFFERENCE_FIELDS: &[Field] = &[
    Field::text("name", "What differs."),
    Field::text("file", "In which file."),
    Field::any("value", "What it is there."),
    Field::any("first", "What it is in the first file."),
];

/// What was run otherwise than in the first file. What only one of them knows is passed over: a
/// newer version may have settings that an older one did not write.
pub(super) fn settings(all: &[&Saved]) -> Vec<Difference> {
    differences(all, |saved| match &saved.content {
        Content::Limits(found) => vec![("command", Value::from(&*found.command))],
        Content::Run(document) => {
            let own = [("command", &document.command), ("mode", &document.mode)];
            let own = own.map(|(name, value)| (name, Value::from(&**value)));
            let settings = document.settings.as_object().into_iter().flatten();
            let settings = settings.map(|(name, value)| (&**name, value.clone()));
            own.into_iter().chain(settings).collect()
        }
    })
}

/// In what the machines differ from the first one.
pub(super) fn machines(all: &[&Saved]) -> Vec<Difference> {
    differences(all, |saved| {
        let machine = match &saved.content {
            Content::Limits(found) => &found.machine,
            Content::Run(document) => &document.machine,
        };
        let Machine { cpu, cores, memory_bytes, kernel, filesystem, disk, .. } = machine;
        let mut facts = vec![
            ("cpu", Value::from(&**cpu)),
            ("cores", Value::from(*cores)),
            ("memory_bytes", Value::from(*memory_bytes)),
            ("kernel", Value::from(&**kernel)),
            ("filesystem", Value::from(filesystem.as_deref())),
        ];
        // Not recorded by older versions.
        facts.extend(disk.as_deref().map(|disk| ("disk", Value::from(disk))));
        facts
    })
}

fn differences<'a>(
    all: &[&'a Saved],
    facts: impl Fn(&'a Saved) -> Vec<(&'a str, Value)>,
) -> Vec<Difference> {
    let Some((first, others)) = all.split_first() else { return Vec::new() };
    let first: BTreeMap<&str, Value> = facts(first).into_iter().collect();
    let mut found: Vec<Difference> = Vec::new();
    for other in others {
        for (name, value) in facts(other) {
            let Some(in_first) = first.get(name).filter(|in_first| **in_first != value) else {
                continue;
            };
            let is_told = |told: &Difference| told.name == name && told.value == value;
            if !found.iter().any(is_told) {
                let (name, first) = (name.to_owned(), in_first.clone());
                found.push(Difference { name, file: other.shown(), value, first });
            }
        }
    }
    found
}

/// One line for people.
pub(super) fn line(difference: &Difference, first: &str) -> String {
    let Difference { name, file, value, first: in_first } = difference;
    format!("{name}: {in_first} in {first}, {value} in {file}")
}
