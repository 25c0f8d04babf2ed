//! Holds man/rivvend.yaml.5 against the table of keys.

use super::KEYS;

const MANUAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/man/rivvend.yaml.5"));

/// Text as a reader sees it: without the marks of the formatter.
fn read(text: &str) -> String {
    let shown = |line: &str| line.trim_start_matches(".B ").trim_start_matches(".I ").to_owned();
    let lines: Vec<String> = text.lines().map(shown).collect();
    plain(&lines.join(" ").replace("\\-", "-").replace("\\&", ""))
}

/// Text with single blanks, and without the marks of code.
fn plain(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every key there is has an entry, in the order of the file, that says what the table says.
#[test]
fn every_key_is_described_as_it_is() {
    let mut rest = MANUAL;
    for key in KEYS {
        let title = format!("\n.TP\n.B {}\n", key.path);
        let at = rest.find(&title).unwrap_or_else(|| panic!("{} has no entry", key.path));
        rest = &rest[at + title.len()..];
        let end = [rest.find("\n.TP"), rest.find("\n.SS"), rest.find("\n.SH")];
        let entry = read(&rest[..end.into_iter().flatten().min().unwrap_or(rest.len())]);
        let mut facts = vec![plain(key.doc), format!("Default: {}.", key.default)];
        facts.push(match (key.range_text)() {
            Some((min, max)) => format!("Value: {}, {min} to {max}.", key.kind),
            None => format!("Value: {}.", key.kind),
        });
        facts.extend(key.short_variable.map(|variable| format!("Variable: {variable}.")));
        facts.extend(key.is_dynamic.then(|| "Reloaded.".to_owned()));
        facts.extend(key.setting.map(|setting| format!("Cluster setting: {setting}.")));
        for fact in facts {
            assert!(entry.contains(&fact), "{}: {fact:?} is not in {entry:?}", key.path);
        }
        let is_reloaded = entry.contains("Reloaded.");
        assert_eq!(is_reloaded, key.is_dynamic, "{}: {entry}", key.path);
    }
    let entries = MANUAL.matches("\n.TP\n.B ").count();
    assert_eq!(entries, KEYS.len(), "there is an entry for something that is no key");
}
