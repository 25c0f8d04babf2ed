//! Forms of output of the commands that verbs.rs and inspect.rs do not run: those about settings,
//! wherever they go, about contexts, and those that measure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::broker::Setup;
use super::command::{Place, Ran, finish, words};

const FORMS: [&str; 6] = ["table", "wide", "json", "jsonl", "yaml", "name"];

/// What a command printed, in each form.
struct Formed(BTreeMap<&'static str, Ran>);

impl Formed {
    fn of(run: impl Fn(&str) -> Ran) -> Formed {
        Formed(FORMS.into_iter().map(|form| (form, run(form))).collect())
    }

    /// The forms are about the same, so the command ends in the same way and says the same.
    fn assert_ends(&self, exit: i32) {
        let said = &self.0["json"].err;
        for (form, ran) in &self.0 {
            assert_eq!((ran.exit, &ran.err), (exit, said), "{form}: {ran:?}");
        }
    }

    fn lines(&self, form: &str) -> Vec<&str> {
        self.0[form].out.lines().collect()
    }

    fn parsed(&self) -> [Value; 3] {
        let (json, yaml) = (&self.0["json"].out, &self.0["yaml"].out);
        let lines = self.lines("jsonl").into_iter();
        [
            serde_json::from_str(json).unwrap_or_else(|_| panic!("JSON: {json}")),
            serde_yaml::from_str(yaml).unwrap_or_else(|_| panic!("YAML: {yaml}")),
            lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect(),
        ]
    }

    /// The items of a list, which every form has.
    fn items(&self, exit: i32, name: &str) -> Vec<Value> {
        self.assert_ends(exit);
        let [json, yaml, jsonl] = self.parsed();
        assert_eq!(yaml, json);
        assert_eq!(jsonl, json);
        let items = json.as_array().expect("a list").clone();
        let names: Vec<&str> = items.iter().filter_map(|item| item[name].as_str()).collect();
        assert_eq!(self.lines("name"), names);
        for form in ["table", "wide"] {
            assert_eq!(self.lines(form).len(), items.len() + 1, "{form}: titles and a row each");
        }
        items
    }

    /// The one object that the forms for programs print. What was measured differs from run to run,
    /// but not what there is to say.
    fn object(&self) -> Value {
        for (form, ran) in &self.0 {
            assert_eq!(ran.exit, 0, "{form}: {ran:?}");
        }
        let [json, yaml, mut jsonl] = self.parsed();
        assert_eq!(paths(&yaml), paths(&json));
        assert_eq!(self.lines("jsonl").len(), 1, "an object takes a line");
        assert_eq!(paths(&jsonl[0].take()), paths(&json));
        let names = self.lines("name");
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty()), "{names:?}");
        for form in ["table", "wide"] {
            let lines = self.lines(form);
            assert_eq!(lines.len(), names.len() + 1, "{form}: {lines:?}");
            let rows = lines[1..].iter().zip(&names);
            rows.for_each(|(row, name)| assert!(row.starts_with(name), "{form}: {row} {name}"));
        }
        json
    }
}

/// Where in a document there is anything; how long its lists are is no part of that.
fn paths(value: &Value) -> BTreeSet<String> {
    fn add(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
        paths.insert(path.to_owned());
        match value {
            Value::Array(items) => items.iter().for_each(|item| add(item, path, paths)),
            Value::Object(fields) => {
                fields
                    .iter()
                    .for_each(|(name, field)| add(field, &format!("{path}.{name}"), paths));
            }
            _ => {}
        }
    }
    let mut paths = BTreeSet::new();
    add(value, "", &mut paths);
    paths
}

fn at(place: &Place, line: &str) -> Formed {
    Formed::of(|form| place.run(&format!("{line} -o {form}"), ""))
}

/// The settings of a broker, asked and changed.
fn check_settings(place: &Place) {
    let key = "topic.retention_ms";
    let entry = |line: &str| {
        let items = at(place, line).items(0, "key");
        assert_eq!(items.len(), 1, "{line}: {items:?}");
        (items[0]["value"].clone(), items[0]["source"].clone())
    };
    let kept = (json!("3d"), json!("dynamic"));
    assert_eq!(entry(&format!("config get {key}")), (json!("7d"), json!("default")));
    assert_eq!(entry(&format!("config set {key} 3d --dry-run")), kept);
    assert_eq!(entry(&format!("config get {key}")).1, "default", "a dry run");
    assert_eq!(entry(&format!("config set {key} 3d")), kept);
    assert_eq!(entry(&format!("config get {key}")), kept);
    // Every key, the changed one among them; the rest depends on how the broker was started.
    let all = at(place, "config get").items(0, "key");
    let line = all.iter().find(|entry| entry["key"] == key).expect("listed");
    assert_eq!(line["value"], "3d");
    let shown = at(place, "config show").items(0, "key");
    let keys = |entries: &[Value]| -> Vec<Value> {
        entries.iter().map(|entry| entry["key"].clone()).collect()
    };
    assert_eq!(keys(&shown), keys(&all));
    assert_eq!(entry(&format!("config unset {key}")), (json!("7d"), json!("default")));
    for line in ["config get no.such", "config set topic.retention_ms soon", "config unset no.such"]
    {
        let refused = at(place, line);
        refused.assert_ends(2);
        assert!(refused.0.values().all(|ran| ran.out.is_empty()), "{line}");
    }
    let is_served = !matches!(place, Place::Embedded(_));
    let reloaded = at(place, "config reload");
    match is_served {
        true => assert_eq!(reloaded.items(0, "key"), Vec::<Value>::new()),
        false => reloaded.assert_ends(5),
    }
}

#[test]
fn settings_are_the_same_in_every_form_wherever_one_asks() {
    let directory = tempfile::tempdir().expect("a folder");
    let data = directory.path().join("data");
    let broker = Setup::new(&data).start();
    check_settings(&Place::wire(&broker));
    check_settings(&Place::socket(&broker));
    broker.stop();
    check_settings(&Place::embedded(&data));
}

#[test]
fn a_configuration_without_a_broker_has_every_form() {
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("rivvend.yaml");
    let plain = |line: &str| Formed::of(|form| finish(words(&format!("{line} -o {form}")), ""));
    let defaults = plain("config default").items(0, "key");
    assert!(defaults.len() > 10 && defaults.iter().all(|entry| entry["source"] == "default"));
    let check = format!("config check {}", file.display());
    fs::write(&file, "topic:\n  retention_ms: 1h\n").expect("written");
    assert_eq!(plain(&check).items(0, "place"), Vec::<Value>::new());
    fs::write(&file, "topic:\n  retention_sm: 1h\n  max_message_bytes: x\n").expect("written");
    assert_eq!(plain(&check).items(78, "place").len(), 2);
}

/// A command about contexts, in each form, after the commands in `before`.
fn context(home: &Path, before: &[&str], line: &str) -> Formed {
    let run = |line: &str| {
        let mut command = words(line);
        command.env("XDG_CONFIG_HOME", home);
        finish(command, "")
    };
    Formed::of(|form| {
        for line in before {
            let ran = run(line);
            assert_eq!(ran.exit, 0, "{line}: {ran:?}");
        }
        run(&format!("{line} -o {form}"))
    })
}

#[test]
fn contexts_have_every_form() {
    let directory = tempfile::tempdir().expect("a folder");
    let check = |before: &[&str], line: &str, names: &[&str]| {
        let items = context(directory.path(), before, line).items(0, "name");
        let found: Vec<&str> = items.iter().filter_map(|item| item["name"].as_str()).collect();
        assert_eq!(found, names, "{line}");
    };
    let one = "context add one --server here:1 --replace";
    check(&[], one, &["one"]);
    let two = "context add two --data-dir /data --replace";
    check(&[], two, &["two"]);
    check(&[], "context list", &["one", "two"]);
    check(&[], "context use two", &["two"]);
    check(&[], "context show", &["two"]);
    check(&["context use two", "context use one"], "context previous", &["two"]);
    check(&[one, two], "context remove one two", &["one", "two"]);
}

/// What is measured is not the matter here, so it is little.
#[test]
fn what_measures_has_every_form() {
    let directory = tempfile::tempdir().expect("a folder");
    let broker = Setup::new(directory.path().join("data")).start();
    let saved = |name: &str| directory.path().join(name).display().to_string();
    let server = broker.native;
    let bench =
        |line: &str| Formed::of(|form| finish(words(&format!("bench {line} -o {form}")), ""));
    let few = format!("--records 200 --batch-records 10 --durability os --server {server}");
    let (a, b) = (saved("a.json"), saved("b.json"));
    let runs = [
        ("produce", format!("produce {few} --save {a}")),
        ("produce", format!("produce {few} --save {b}")),
        ("consume", format!("consume {few} --fill 100kB")),
        ("e2e", format!("e2e {few}")),
        ("mixed", format!("mixed {few} --rate 1000")),
        ("limits", format!("limits --only crc --dir {}", directory.path().display())),
    ];
    for (command, line) in runs {
        assert_eq!(bench(&line).object()["command"], command);
    }
    let compared = bench(&format!("compare {a} {b}"));
    compared.assert_ends(0);
    assert_eq!(compared.object()["command"], "compare");
    let page = saved("page.html");
    let reported = bench(&format!("report {a} {b} --html {page}"));
    reported.assert_ends(0);
    assert_eq!(reported.object()["html"], page);
    let missing = bench(&format!("compare {a} {}", saved("none.json")));
    missing.assert_ends(3);
    assert!(missing.0.values().all(|ran| ran.out.is_empty()));
}
