//! What manual pages say of the JSON that commands print, held against what they do print: nothing
//! is printed that is not documented, and nothing documented that is not printed. The set-up of
//! these tests is there to make every field appear.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rivvend::record::{BatchBuilder, Compression, ControlType, Marker, NewRecord};
use rivvend::types::{Millis, ProducerEpoch, ProducerId};
use serde_json::Value;

use super::broker::{Broker, Setup, files, rivvend, snapshot, wait_until};
use super::command::{Place, Ran, finish, start, words};
use super::load::{append, create_topic};

const TOPIC_COMMANDS: &[&str] = &[
    "topic create",
    "topic list",
    "topic describe",
    "topic alter",
    "topic add-partitions",
    "topic delete",
    "topic trim",
    "topic offsets",
    "topic storage",
];
const GROUP_COMMANDS: &[&str] = &[
    "group list",
    "group describe",
    "group reset-offsets",
    "group delete",
    "group delete-offsets",
    "group remove-member",
];
const RECORD_COMMANDS: &[&str] = &["produce", "consume"];
const INSPECT_COMMANDS: &[&str] = &[
    "inspect verify",
    "inspect log",
    "inspect batch",
    "inspect index",
    "inspect frontier",
    "inspect repair",
];
const BENCH_COMMANDS: &[&str] = &[
    "bench produce",
    "bench consume",
    "bench e2e",
    "bench mixed",
    "bench limits",
    "bench compare",
    "bench report",
];
const SETTING_COMMANDS: &[&str] = &[
    "config show",
    "config check",
    "config get",
    "config set",
    "config unset",
    "config reload",
    "config default",
    "context add",
    "context use",
    "context list",
    "context show",
    "context remove",
    "context previous",
    "doctor",
];
const JSON: &str = ".SH \"JSON FIELDS\"";
const JSONL: &str = ".SH \"JSONL FIELDS\"";

/// What a manual page says of a field.
#[derive(Debug)]
struct Documented {
    kind: String,
    is_nullable: bool,
    is_optional: bool,
}

type Fields = BTreeMap<String, Documented>;

/// The manual page of a command, as it is written for `man`.
fn page(command: &str) -> String {
    let ran = finish(words(&format!("man {command}")), "");
    assert_eq!(ran.exit, 0, "{ran:?}");
    ran.out.replace("\\-", "-")
}

/// The fields that a section of a manual page lists.
fn fields(page: &str, section: &str) -> Fields {
    let (_, text) = page.split_once(section).unwrap_or_else(|| panic!("no {section} in {page}"));
    let text = text.split("\n.SH ").next().expect("a section ends");
    let field = |entry: &str| {
        let (head, meaning) = entry.trim_start().split_once('\n').expect("a field has a meaning");
        assert!(meaning.trim().ends_with('.'), "a meaning is a sentence: {entry}");
        let (name, kind) = head.strip_prefix("\\fB")?.split_once("\\fR (")?;
        let words: Vec<&str> = kind.strip_suffix(')')?.split(", ").collect();
        let documented = Documented {
            kind: words[0].to_owned(),
            is_nullable: words.contains(&"or null"),
            is_optional: words.contains(&"optional"),
        };
        Some((name.to_owned(), documented))
    };
    let entries = text.split(".TP\n").skip(1);
    entries.map(|entry| field(entry).unwrap_or_else(|| panic!("{entry}"))).collect()
}

/// Where fields were seen: with a value, as null, and missing.
#[derive(Debug, Default)]
struct Seen {
    present: BTreeSet<String>,
    null: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl Seen {
    /// Looks at one object; `path` is what the paths of its fields begin with.
    fn look(&mut self, fields: &Fields, path: &str, value: &Value) {
        let object = value.as_object().unwrap_or_else(|| panic!("{path}: {value}"));
        let of_object = |name: &&String| {
            let name = name.strip_prefix(path).unwrap_or_default();
            !name.is_empty() && !name.contains(['.', '['])
        };
        let expected: Vec<&String> = fields.keys().filter(of_object).collect();
        for name in expected.iter().filter(|name| !object.contains_key(&name[path.len()..])) {
            assert!(fields[*name].is_optional, "{name} is missing in {value}");
            self.missing.insert((*name).clone());
        }
        for (name, value) in object {
            let name = format!("{path}{name}");
            let documented = fields.get(&name);
            let documented = documented.unwrap_or_else(|| panic!("{name} is not documented"));
            self.look_at_field(fields, &name, documented, value);
        }
    }

    fn look_at_field(&mut self, all: &Fields, name: &str, field: &Documented, value: &Value) {
        if value.is_null() {
            assert!(field.is_nullable || field.kind == "anything", "{name} is null");
            self.null.insert(name.to_owned());
            return;
        }
        self.present.insert(name.to_owned());
        let items = || value.as_array().unwrap_or_else(|| panic!("{name} is no list: {value}"));
        let is_as_told = match field.kind.as_str() {
            "text" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "true or false" => value.is_boolean(),
            "anything" => true,
            "list of text" => items().iter().all(Value::is_string),
            "list of integers" => items().iter().all(|item| item.is_i64() || item.is_u64()),
            "list of objects" => {
                items().iter().for_each(|item| self.look(all, &format!("{name}[]."), item));
                true
            }
            "object" => {
                self.look_at_object(all, name, value);
                true
            }
            other => panic!("{name}: {other} is no type"),
        };
        assert!(is_as_told, "{name} is no {}: {value}", field.kind);
    }

    /// The names in an object may be data; then it is the same of all of them.
    fn look_at_object(&mut self, all: &Fields, name: &str, value: &Value) {
        let keyed = format!("{name}.<");
        match all.keys().find(|other| other.starts_with(&keyed)) {
            None => self.look(all, &format!("{name}."), value),
            Some(inner) => {
                let end = inner.find(">.").expect("a key is followed by a field") + 2;
                let object = value.as_object().unwrap_or_else(|| panic!("{name}: {value}"));
                assert!(!object.is_empty(), "{name} is empty");
                object.values().for_each(|value| self.look(all, &inner[..end], value));
            }
        }
    }
}

/// Holds what a command printed in several runs against a section of its manual page. `constant`
/// are fields that are never null or missing where these tests run.
fn assert_documented(command: &str, section: &str, printed: &[Value], constant: &[&str]) {
    let fields = fields(&page(command), section);
    let mut seen = Seen::default();
    printed.iter().for_each(|value| seen.look(&fields, "", value));
    let never = |is: &dyn Fn(&str, &Documented) -> bool| -> Vec<&str> {
        let fields = fields.iter().filter(|(name, field)| is(name, field));
        fields.map(|(name, _)| name.as_str()).collect()
    };
    let unseen = never(&|name, _| !seen.present.contains(name) && !seen.null.contains(name));
    assert!(unseen.is_empty(), "{command} never prints {unseen:?}");
    let solid = never(&|name, field| field.is_nullable && !seen.null.contains(name));
    assert_eq!(without(solid, constant), [""; 0], "{command}: never null");
    let always = never(&|name, field| field.is_optional && !seen.missing.contains(name));
    assert_eq!(without(always, constant), [""; 0], "{command}: never missing");
}

fn without<'a>(names: Vec<&'a str>, constant: &[&str]) -> Vec<&'a str> {
    names.into_iter().filter(|name| !constant.contains(name)).collect()
}

/// What runs printed, by command.
#[derive(Default)]
struct Printed(BTreeMap<String, Vec<Value>>);

impl Printed {
    /// Adds what a run printed: a list stands for its items.
    fn add(&mut self, command: &str, ran: &Ran) {
        let values = serde_json::Deserializer::from_str(&ran.out).into_iter::<Value>();
        let values = values.map(|value| value.unwrap_or_else(|_| panic!("{command}: {ran:?}")));
        let items = values.flat_map(|value| match value {
            Value::Array(items) => items,
            other => vec![other],
        });
        self.0.entry(command.to_owned()).or_default().extend(items);
    }

    fn assert_documented(&self, commands: &[&str], constant: &[&str]) {
        for command in commands {
            let printed = self.0.get(*command);
            let printed = printed.unwrap_or_else(|| panic!("{command} was not run"));
            assert_documented(command, JSON, printed, constant);
        }
        assert_eq!(self.0.len(), commands.len(), "{:?}", self.0.keys());
    }
}

/// Every command that has forms of output is in one of the tests below.
#[test]
fn no_command_with_json_is_left_out() {
    let directory = tempfile::tempdir().expect("a folder");
    let ended = rivvend().arg("generate").arg(directory.path()).output().expect("it runs");
    assert!(ended.status.success(), "{ended:?}");
    let page = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        text.contains(JSON).then_some(name)
    };
    let with_json: BTreeSet<String> =
        snapshot(&directory.path().join("man")).into_keys().filter_map(page).collect();
    let groups = [
        TOPIC_COMMANDS,
        GROUP_COMMANDS,
        RECORD_COMMANDS,
        INSPECT_COMMANDS,
        BENCH_COMMANDS,
        SETTING_COMMANDS,
    ];
    let tested =
        groups.concat().into_iter().map(|name| format!("rivvend-{name}").replace(' ', "-"));
    assert_eq!(with_json, tested.collect());
}

/// A place that commands go to, and what they printed there.
struct Session {
    place: Place,
    printed: Printed,
}

impl Session {
    fn run(&mut self, command: &str, arguments: &str, exit: i32) {
        let ran = self.place.run(&format!("{command} {arguments} -o json"), "");
        assert_eq!(ran.exit, exit, "{command}: {ran:?}");
        self.printed.add(command, &ran);
    }
}

#[test]
fn commands_about_topics_print_what_is_documented() {
    let directory = tempfile::tempdir().expect("a folder");
    let data = directory.path().join("data");
    let place = Place::embedded(&data);
    let mut session = Session { place, printed: Printed::default() };
    session.run("topic create", "a b -p 2 -c segment.bytes=16KiB", 0);
    session.run("topic create", "a -p 3 --if-not-exists", 0);
    for _ in 0..8 {
        session.place.done("produce a -p 0 --chunk 9000", &"x".repeat(9_000));
    }
    session.run("topic list", "", 0);
    session.run("topic describe", "a", 0);
    session.run("topic offsets", "a --at -1h", 0);
    session.run("topic offsets", "a", 0);
    session.run("topic storage", "", 0);
    session.run("topic alter", "a --set retention.ms=1h", 0);
    session.run("topic add-partitions", "b --num 1", 0);
    session.run("topic delete", "b --yes", 0);
    session.run("topic trim", "a --to 1 -p 0 --yes", 0);
    // A partition that has lost a segment says so.
    let segments = files(&data, "log");
    assert!(segments.len() > 3, "{segments:?}");
    fs::remove_file(&segments[1]).expect("removed");
    session.run("topic describe", "a", 0);
    describe_compacted(&mut session, directory.path());
    session.printed.assert_documented(TOPIC_COMMANDS, &[]);
}

/// A compacted topic before the first pass over it, and after, which only a broker tells.
fn describe_compacted(session: &mut Session, directory: &Path) {
    let config = directory.join("rivvend.yaml");
    let text = "compaction: {check_interval: 100ms, bytes_per_second: unlimited}\n";
    fs::write(&config, text).expect("written");
    let setup = Setup { config: Some(config), ..Setup::new(directory.join("more")) };
    let embedded = Place::embedded(&setup.data);
    embedded.done("topic create c -p 1 -c cleanup.policy=compact -c segment.bytes=16KiB", "");
    for _ in 0..5 {
        let records: String = (0..300).map(|n| format!("key-{}\t{n:>60}\n", n % 5)).collect();
        embedded.done("produce c -f %k\\t%v\\n", &records);
    }
    session.place = embedded;
    session.run("topic describe", "c", 0);
    let broker = setup.start();
    session.place = Place::wire(&broker);
    wait_until("the pass is told", || {
        session.place.run("topic describe c -o json", "").out.contains("removed_records")
    });
    session.run("topic describe", "c", 0);
}

#[test]
fn commands_about_groups_print_what_is_documented() {
    let directory = tempfile::tempdir().expect("a folder");
    let setup = Setup::new(directory.path().join("data"));
    let broker = setup.env("RIVVEN_GROUP_INITIAL_REBALANCE_DELAY", "0ms").start();
    let mut session = Session { place: Place::wire(&broker), printed: Printed::default() };
    session.place.done("topic create orders -p 2", "");
    session.place.done("produce orders -p 0", "one\ntwo\n");
    session.place.done("consume orders -g billing", "");
    session.run("group list", "", 0);
    // Partition 0 is committed and partition 1 is not.
    let follow = "consume orders -g billing --follow";
    let mut member = start(&mut session.place.command(follow));
    wait_until("somebody is a member", || {
        session.place.run("group describe billing", "").out.contains("Stable")
    });
    session.run("group describe", "billing", 0);
    session.run("group remove-member", "billing --all", 0);
    member.kill().expect("it is there");
    member.wait().expect("it ends");
    wait_until("it is gone", || {
        session.place.run("group remove-member billing --all", "");
        session.place.run("group describe billing", "").out.contains("Empty")
    });
    session.run("group describe", "billing", 0);
    session.run("group reset-offsets", "billing --to start --topic orders", 0);
    session.run("group delete-offsets", "billing --topic orders:0 --yes", 0);
    session.run("group delete", "billing --yes", 0);
    // Offsets go with their topics, so there is always an end.
    let constant = ["offsets[].high_watermark", "offsets[].lag"];
    session.printed.assert_documented(GROUP_COMMANDS, &constant);
}

/// Records of every kind: without a key, without a value, and of bytes that are no text.
fn records() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let (text, bytes): (&[u8], &[u8]) = (b"text", b"\xff");
    for part in [None, Some(text), Some(bytes)] {
        let headers = [("header", part)];
        builder.push(&NewRecord {
            timestamp: Millis(1),
            key: part,
            value: part,
            headers: &headers,
        });
    }
    builder.build().bytes().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_about_records_print_what_is_documented() {
    let directory = tempfile::tempdir().expect("a folder");
    let broker = Setup::new(directory.path().join("data")).start();
    let place = Place::wire(&broker);
    place.done("topic create small", "");
    let mut printed = Printed::default();
    let summary = place.run("produce small --output json", "one\ntwo\n");
    printed.add("produce", &summary);
    let lines = place.run("produce small --output jsonl", "one\n");
    let refused = place.run("produce small --expect-offset 99 --output jsonl", "one\n");
    assert_eq!(refused.exit, 1, "{refused:?}");
    let mut each = Printed::default();
    [lines, refused].iter().for_each(|ran| each.add("produce", ran));
    assert_documented("produce", JSONL, &each.0["produce"], &[]);
    append(&broker.client().await, "small", 0, records()).await.expect("taken");
    printed.add("consume", &place.run("consume small --output json", ""));
    printed.assert_documented(RECORD_COMMANDS, &[]);
}

/// A record of so many bytes without a time stamp.
fn untimed(bytes: usize) -> Bytes {
    let value = vec![b'x'; bytes];
    BatchBuilder::single(Millis(-1), None, Some(&value)).bytes().clone()
}

/// A directory with a topic whose first partition has several segments.
async fn stored(directory: &Path) -> (Setup, Broker) {
    let setup = Setup::new(directory.join("data"));
    let broker = setup.start();
    let client = broker.client().await;
    // Records of long ago would be over before they are read.
    let config = [("segment.bytes", (16 << 10).to_string()), ("retention.ms", "-1".to_owned())];
    create_topic(&client, "orders", 1, &config).await;
    // The first place that an index tells has only times before it that nobody knows.
    append(&client, "orders", 0, untimed(7_000)).await.expect("taken");
    append(&client, "orders", 0, records()).await.expect("taken");
    for _ in 0..10 {
        let data = super::load::batch(&[&[b'x'; 7_000]]);
        append(&client, "orders", 0, data).await.expect("taken");
    }
    (setup, broker)
}

fn extend(path: &Path, with: &[u8]) {
    let mut bytes = fs::read(path).expect("readable");
    bytes.extend_from_slice(with);
    fs::write(path, bytes).expect("written");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

/// The end of a transaction, as the next batch of a log.
fn marker(next_offset: i64) -> Vec<u8> {
    let marker = Marker { outcome: ControlType::Commit, coordinator_epoch: 0 };
    let batch = BatchBuilder::control(marker, ProducerId(5), ProducerEpoch(1), Millis(9));
    let mut bytes = batch.bytes().to_vec();
    bytes[..8].copy_from_slice(&next_offset.to_be_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_inspect_print_what_is_documented() {
    let directory = tempfile::tempdir().expect("a folder");
    let (setup, broker) = stored(directory.path()).await;
    let data = setup.data.to_str().expect("UTF-8").to_owned();
    let mut printed = Printed::default();
    let mut look = |verb: &str, arguments: &str| {
        let line = format!("inspect {verb} {data} {arguments} --output json");
        let ran = finish(words(&line), "");
        printed.add(&format!("inspect {verb}"), &ran);
    };
    let verbs = ["verify", "log", "frontier", "repair --dry-run"];
    let look_at_all = |look: &mut dyn FnMut(&str, &str)| {
        for verb in verbs {
            let (verb, flags) = verb.split_once(' ').unwrap_or((verb, ""));
            look(verb, flags);
        }
        look("index", "orders/0");
        look("batch", "orders/0");
        look("batch", "orders/0 -o 0 -n 2 -v");
    };
    look_at_all(&mut look);
    broker.stop();
    look_at_all(&mut look);
    setup.start().kill();
    let segments = files(&setup.data, "log");
    let last = segments.last().expect("several").clone();
    // Above the frontier: a marker, and then something that is no batch.
    extend(&last, &marker(14));
    extend(&last, b"torn");
    look_at_all(&mut look);
    // A length that can not be true, and a bit that has turned.
    let sound = fs::read(&segments[1]).expect("readable");
    let mut wrong = sound.clone();
    wrong[8] = 0xff;
    fs::write(&segments[1], wrong).expect("written");
    look_at_all(&mut look);
    fs::write(&segments[1], sound).expect("written");
    flip(&segments[1], 5_000);
    look_at_all(&mut look);
    look("repair", "--yes");
    for extension in ["index", "timeindex", "sum"] {
        fs::remove_file(segments[0].with_extension(extension)).expect("there was one");
    }
    setup.start().stop();
    look("index", "orders/0");
    // Nothing says what is durable or what a topic is called, and there is more to repair.
    flip(&segments[0], 3_000);
    for name in ["frontier", "clean-shutdown", "metadata"] {
        let path = setup.data.join(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
    }
    for verb in verbs {
        let (verb, flags) = verb.split_once(' ').unwrap_or((verb, ""));
        look(verb, flags);
    }
    // Only files of an index that do not belong together lack a time, or a sum; only a directory
    // whose metadata are gone lacks the names of topics.
    printed.assert_documented(INSPECT_COMMANDS, &["newest_timestamp", "sum", "topic"]);
}

/// A file of a result with some fields changed.
fn altered(from: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut result: Value =
        serde_json::from_slice(&fs::read(from).expect("readable")).expect("JSON");
    change(&mut result);
    let path = from.with_file_name(name);
    fs::write(&path, result.to_string()).expect("written");
    path
}

#[test]
fn commands_that_measure_print_what_is_documented() {
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().to_str().expect("UTF-8").to_owned();
    let mut printed = Printed::default();
    let mut run = |command: &str, flags: &str| {
        let ran = finish(words(&format!("{command} {flags} --output json")), "");
        assert_eq!(ran.exit, 0, "{command} {flags}: {ran:?}");
        printed.add(command, &ran);
    };
    let broker = Setup::new(directory.path().join("data")).start();
    let (here, there) = (format!("--dir {path}"), format!("--server {}", broker.native));
    let saved = directory.path().join("saved.json");
    // A second that is over has figures of the broker; one at a rate has none in flight.
    let save = format!("--save {}", saved.display());
    run("bench produce", &format!("--duration 2s --warmup 0s --rate 2000 {save} {here}"));
    run("bench produce", &format!("--records 1000 --keys random:5 {there}"));
    let small = "--records 200 --batch-records 10 --durability os";
    run("bench consume", &format!("{small} --fill 100kB --topic filled {there}"));
    run("bench consume", &format!("--duration 2s --warmup 0s --fill 100kB --subscribe {here}"));
    // Records without keys and values cost nothing that could be divided by their bytes.
    Place::wire(&broker).done("produce empty", &"\n".repeat(1_000));
    let pid = broker.pid();
    run("bench consume", &format!("--records 1000 --topic empty --server-pid {pid} {there}"));
    for command in ["bench e2e", "bench mixed"] {
        run(command, &format!("{small} --rate 1000 {there}"));
        run(command, &format!("--duration 2s --warmup 0s {here}"));
    }
    run("bench limits", &format!("--only crc,sync,raw --bytes 4MB {here}"));
    let other = altered(&saved, "other.json", |result| {
        result["settings"]["acks"] = 1.into();
        result["machine"]["cpu"] = "another".into();
    });
    let (a, b) = (saved.display(), other.display());
    run("bench compare", &format!("{a} {b} --force"));
    run("bench report", &format!("{a} --html {path}/page.html"));
    // One always keeps a rate, one always has a directory, and most always have bytes. A kernel
    // that tells nothing of a disk is none of these tests' making.
    let constant = ["settings.rate", "machine.filesystem", "machine.disk", "server.cpu_s_per_gb"];
    printed.assert_documented(BENCH_COMMANDS, &constant);
}

#[test]
fn commands_about_settings_print_what_is_documented() {
    let directory = tempfile::tempdir().expect("a folder");
    let home = directory.path().to_str().expect("UTF-8").to_owned();
    let config = directory.path().join("rivvend.yaml");
    let name = config.display().to_string();
    fs::write(&config, "topic:\n  retention_ms: 1h\n").expect("written");
    let setup = Setup { config: Some(config.clone()), ..Setup::new(directory.path().join("data")) };
    let broker = setup.start();
    let there = format!("--server {}", broker.native);
    let mut printed = Printed::default();
    let mut run = |command: &str, arguments: &str, exit: i32| {
        let mut line = words(&format!("{command} {arguments} -o json"));
        line.env("XDG_CONFIG_HOME", &home);
        let ran = finish(line, "");
        assert_eq!(ran.exit, exit, "{command}: {ran:?}");
        printed.add(command, &ran);
    };
    run("config show", &format!("-c {name}"), 0);
    run("config default", "", 0);
    run("config get", &there, 0);
    run("config set", &format!("topic.retention_ms 2h {there}"), 0);
    run("config unset", &format!("topic.retention_ms {there}"), 0);
    fs::write(&config, "topic:\n  retention_ms: 3h\n").expect("written");
    run("config reload", &there, 0);
    fs::write(&config, "topic:\n  retention_sm: 1h\n").expect("written");
    run("config check", &name, 78);
    run("context add", &format!("one {there}"), 0);
    run("context add", &format!("two --data-dir {home}"), 0);
    run("context list", "", 0);
    for context in ["two", "one"] {
        run("context use", context, 0);
        run("context show", "", 0);
    }
    run("context previous", "", 0);
    run("context previous", "", 0);
    run("context remove", "one two", 0);
    let ports = "--bind 127.0.0.1:0 --http-port 0";
    run("doctor", &format!("--data-dir {home}/data {ports}"), 0);
    printed.assert_documented(SETTING_COMMANDS, &[]);
}
