//! Every command about topics and records, in every form of output, wherever it goes: the data are
//! the same, and so is the exit code.

use serde_json::{Value, json};

use super::broker::Setup;
use super::command::Place;

const FORMS: [&str; 6] = ["table", "wide", "json", "jsonl", "yaml", "name"];

/// One command. `F` in it stands for the form, so that each form has topics of its own.
struct Step {
    line: &'static str,
    input: &'static str,
    exit: i32,
    shape: Shape,
    data: fn() -> Value,
}

/// What the forms of a command have to do with each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A list: a row and a name for each item.
    List,
    /// A list of which each item is more than a row.
    Pages,
    /// Records: a line each, and no titles.
    Records,
    /// A summary, of which the forms with lines have one for each record instead.
    Summary,
}

fn step(line: &'static str, exit: i32, shape: Shape, data: fn() -> Value) -> Step {
    Step { line, input: "", exit, shape, data }
}

fn script() -> Vec<Step> {
    use Shape::{List, Pages, Records, Summary};
    vec![
        step("topic create F-a F-b -p 2 -c retention.ms=7d", 0, List, || {
            json!([created("F-a", 2), created("F-b", 2)])
        }),
        step("topic create F-a F-c --dry-run", 6, List, || json!([created("F-c", 1)])),
        Step {
            input: "k1\tone\nk2\t\n",
            ..step("produce F-a -p 1 -H h:x -f %k\\t%v\\n", 0, Summary, || {
                let partition = json!({"partition": 1, "first_offset": 0, "last_offset": 1});
                json!({"records": 2, "bytes": 7, "partitions": [partition]})
            })
        },
        step("consume F-a", 0, Records, || {
            let record = |offset: i64, key: &str, value: &str| {
                json!({"topic": "F-a", "partition": 1, "offset": offset, "key": key,
                    "value": value, "headers": [{"key": "h", "value": "x"}]})
            };
            json!([record(0, "k1", "one"), record(1, "k2", "")])
        }),
        step("topic list -r F-.*", 0, List, || {
            let topic = |name: &str, has_bytes: bool| {
                json!({"name": name, "id": "ID", "partitions": 2, "replication_factor": 1,
                    "size_bytes": has_bytes})
            };
            json!([topic("F-a", true), topic("F-b", false)])
        }),
        step("topic offsets F-a", 0, List, || {
            let partition = |partition: i32, end: i64| {
                json!({"topic": "F-a", "partition": partition, "start": 0, "end": end,
                    "records": end})
            };
            json!([partition(0, 0), partition(1, 2)])
        }),
        step("topic storage F-a F-none", 6, List, || {
            let partition = |partition: i32, records: i64| {
                json!({"topic": "F-a", "id": "ID", "partition": partition, "records": records,
                    "size_bytes": records > 0, "segments": records.min(1)})
            };
            json!([partition(0, 0), partition(1, 2)])
        }),
        step("topic alter F-a --set retention.ms=1h", 0, List, || {
            json!([{"topic": "F-a", "key": "retention.ms", "operation": "set",
                "value": "3600000"}])
        }),
        step("topic add-partitions F-b --total 3", 0, List, || json!([created("F-b", 3)])),
        step("topic trim F-a --to 1 -p 1 --dry-run", 0, List, trimmed),
        step("topic trim F-a --to 1 -p 1 --yes", 0, List, trimmed),
        step("topic describe F-a", 0, Pages, || {
            let partition = |partition: i32, start: i64, end: i64| {
                json!({"partition": partition, "leader": 1, "replicas": [1], "isr": [1],
                    "elr": [], "log_start_offset": start, "high_watermark": end,
                    "last_stable_offset": end, "size_bytes": end > 0,
                    "compaction": null})
            };
            json!([{"name": "F-a", "id": "ID", "config": "CONFIG",
                "partitions": [partition(0, 0, 0), partition(1, 1, 2)]}])
        }),
        step("topic delete F-b F-none --yes", 6, List, || json!([{"name": "F-b"}])),
        step("topic describe F-b", 3, Pages, || json!([])),
    ]
}

fn created(name: &str, partitions: i32) -> Value {
    json!({"name": name, "id": "ID", "partitions": partitions, "replication_factor": 1,
        "warnings": []})
}

fn trimmed() -> Value {
    json!([{"topic": "F-a", "partition": 1, "log_start_offset": 1, "records_deleted": 1}])
}

/// Takes out what differs from run to run, after a look at whether it can be right.
fn normalize(value: &mut Value, form: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| normalize(item, form)),
        Value::String(text) => *text = text.replace(&format!("{form}-"), "F-"),
        Value::Object(fields) => {
            for name in ["leader_epoch", "elapsed_s", "timestamp"] {
                assert!(fields.remove(name).is_none_or(|value| value.as_f64() >= Some(0.0)));
            }
            if let Some(id) = fields.get_mut("id") {
                let text = id.as_str().expect("text");
                assert!(uuid::Uuid::parse_str(text).is_ok_and(|id| !id.is_nil()), "{text}");
                *id = "ID".into();
            }
            if let Some(size) = fields.get_mut("size_bytes") {
                *size = (size.as_u64().expect("a number") > 0).into();
            }
            if let Some(config) = fields.get_mut("config") {
                let kept = &config["retention.ms"];
                let wanted = json!({"value": "3600000", "source": "topic", "default": "604800000"});
                assert_eq!(kept, &wanted);
                *config = "CONFIG".into();
            }
            fields.values_mut().for_each(|value| normalize(value, form));
        }
        _ => {}
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The data in what a form for programs printed.
fn data(form: &str, shape: Shape, text: &str) -> Value {
    let mut data = match (form, shape) {
        ("yaml", _) => serde_yaml::from_str(text).expect("YAML"),
        ("jsonl", _) | ("json", Shape::Records) => lines(text).into(),
        _ => serde_json::from_str(text).expect("JSON"),
    };
    normalize(&mut data, form);
    data
}

/// Runs the script in one form and compares what it prints with what it should.
fn check(place: &Place, form: &str) {
    for step in script() {
        let line = format!("{} --output {form}", step.line.replace("F-", &format!("{form}-")));
        let ran = place.run(&line, step.input);
        let told = format!("{place:?}: {line}\n{}{}", ran.out, ran.err);
        assert_eq!(ran.exit, step.exit, "{told}");
        assert_eq!(ran.err.contains("error: "), step.exit != 0, "{told}");
        assert!(!ran.out.contains('\u{1b}'), "a pipe gets no colours: {told}");
        let expected = (step.data)();
        let items = expected.as_array().map_or(0, Vec::len);
        let printed = ran.out.lines().filter(|line| !line.trim().is_empty()).count();
        let is_empty = step.exit != 0 && items == 0;
        match (form, step.shape) {
            ("jsonl", Shape::Summary) => {
                let lines = lines(&ran.out);
                assert_eq!(lines[0], json!({"partition": 1, "offset": 0}), "{told}");
                assert_eq!(lines[1], json!({"partition": 1, "offset": 1}), "{told}");
            }
            ("json" | "jsonl" | "yaml", shape) => {
                assert_eq!(data(form, shape, &ran.out), expected, "{told}");
            }
            ("name", Shape::Summary) => assert_eq!(ran.out, "name-a/1@0\nname-a/1@1\n", "{told}"),
            ("name", _) => assert_eq!(printed, items, "{told}"),
            (_, Shape::List) if !is_empty => assert_eq!(printed, items + 1, "{told}"),
            (_, Shape::Records) => assert_eq!(printed, items, "{told}"),
            _ => assert_eq!(printed > 0, !is_empty, "{told}"),
        }
    }
}

fn check_forms(place: &Place) {
    FORMS.iter().for_each(|form| check(place, form));
}

#[test]
fn every_verb_prints_the_same_data_in_every_form_in_this_process() {
    let directory = tempfile::tempdir().expect("a directory");
    check_forms(&Place::embedded(&directory.path().join("data")));
}

#[test]
fn every_verb_prints_the_same_data_in_every_form_through_the_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Setup::new(directory.path().join("data")).start();
    check_forms(&Place::socket(&broker));
}

#[test]
fn every_verb_prints_the_same_data_in_every_form_over_the_wire() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Setup::new(directory.path().join("data")).start();
    check_forms(&Place::wire(&broker));
}
