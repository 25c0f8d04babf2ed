//! `rivvend inspect` on directories as brokers leave them, sound and damaged: every verb in every
//! form of output says the same, changes nothing, and names what is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rivvend::record::BatchHeader;
use serde_json::Value;

use super::broker::{Broker, Setup, memory_of, rivvend, snapshot};
use super::load::{append, batch, create_topic, read_all};

const TOPIC: &str = "orders";
/// The least there may be, so that few records make many segments.
const SEGMENT_BYTES: u32 = 16 << 10;
const BATCHES: usize = 40;
/// Records of a batch, and bytes of a value.
const BATCH_RECORDS: usize = 4;
const VALUE_BYTES: usize = 300;

const FORMS: &[&str] = &["table", "wide", "json", "jsonl", "yaml", "name"];
/// The verbs that only read, with what follows the directory.
const VERBS: &[(&str, &[&str])] = &[
    ("verify", &[]),
    ("log", &[]),
    ("batch", &["orders/0"]),
    ("index", &["orders/0"]),
    ("frontier", &[]),
];
const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const UNAVAILABLE: i32 = 5;
const PARTLY: i32 = 6;

/// A data directory with a topic of two partitions, of which the second is empty.
struct Stored {
    setup: Setup,
    _directory: tempfile::TempDir,
}

impl Stored {
    /// What a broker that still runs has written.
    async fn running() -> (Stored, Broker) {
        let directory = tempfile::tempdir().expect("a directory");
        let setup = Setup::new(directory.path().join("data"));
        let broker = setup.start();
        let client = broker.client().await;
        let config = [("segment.bytes", SEGMENT_BYTES.to_string())];
        create_topic(&client, TOPIC, 2, &config).await;
        for number in 0..BATCHES {
            let values: Vec<Vec<u8>> = (0..BATCH_RECORDS).map(|at| value(number, at)).collect();
            let data = batch(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
            append(&client, TOPIC, 0, data).await.expect("taken");
        }
        (Stored { setup, _directory: directory }, broker)
    }

    /// A directory that was stopped in order.
    async fn new() -> Stored {
        let (stored, broker) = Stored::running().await;
        broker.stop();
        stored
    }

    /// A directory whose broker was killed when everything was in the frontier journal, and that
    /// nobody has recovered.
    async fn unrecovered() -> Stored {
        let stored = Stored::new().await;
        stored.setup.start().kill();
        stored
    }

    fn inspect(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = rivvend();
        command.args(["inspect", verb]).arg(&self.setup.data).args(arguments);
        command.output().expect("it runs")
    }

    /// A verb in one form.
    fn formed(&self, verb: &str, arguments: &[&str], form: &str) -> Output {
        self.inspect(verb, &[arguments, &["--output", form]].concat())
    }

    /// What a verb finds, as a program sees it.
    fn found(&self, verb: &str, arguments: &[&str]) -> Vec<Value> {
        let output = self.formed(verb, arguments, "json");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        found.as_array().expect("a list").clone()
    }

    /// The segments of partition 0, in order.
    fn segments(&self) -> Vec<PathBuf> {
        let found = self.found("log", &["orders/0"]);
        found.iter().map(|segment| text(&segment["file"]).into()).collect()
    }
}

fn value(number: usize, at: usize) -> Vec<u8> {
    let mut value = format!("{number}:{at};").into_bytes();
    value.resize(VALUE_BYTES, b'.');
    value
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Holds the forms of one verb against each other: as many items, the same fields, the same words
/// on standard error, and the same exit code, which is returned with what was said.
fn assert_forms_agree(stored: &Stored, verb: &str, arguments: &[&str]) -> (i32, String) {
    let outputs: BTreeMap<&str, Output> =
        FORMS.iter().map(|form| (*form, stored.formed(verb, arguments, form))).collect();
    let items: Vec<Value> = serde_json::from_slice(&outputs["json"].stdout).expect("JSON");
    let lines: Vec<Value> = stdout(&outputs["jsonl"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON on each line"))
        .collect();
    assert_eq!(lines, items, "{verb} jsonl");
    let yaml: Vec<Value> = serde_yaml::from_slice(&outputs["yaml"].stdout).expect("YAML");
    assert_eq!(yaml, items, "{verb} yaml");
    for form in ["table", "wide"] {
        let rows = stdout(&outputs[form]).lines().count();
        assert_eq!(rows, items.len() + 1, "{verb} {form}: a title and a row for each");
    }
    assert_eq!(stdout(&outputs["name"]).lines().count(), items.len(), "{verb} name");
    let (code, said) = (outputs["json"].status.code(), stderr(&outputs["json"]));
    for (form, output) in &outputs {
        assert_eq!(output.status.code(), code, "{verb} {form}: {}", stderr(output));
        assert_eq!(stderr(output), said, "{verb} {form}");
    }
    (code.expect("an exit, not a signal"), said)
}

/// Sound directories, in whatever state a broker leaves them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_has_every_form_and_changes_nothing() {
    for stored in [Stored::new().await, Stored::unrecovered().await] {
        let before = snapshot(&stored.setup.data);
        for (verb, arguments) in VERBS {
            let (code, said) = assert_forms_agree(&stored, verb, arguments);
            assert_eq!(code, OK, "{verb}: {said}");
        }
        assert!(snapshot(&stored.setup.data) == before, "only read");
    }
}

/// A running broker has the directory, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_works_beside_a_running_broker() {
    let (stored, broker) = Stored::running().await;
    for (verb, arguments) in VERBS {
        let output = stored.inspect(verb, arguments);
        assert_eq!(output.status.code(), Some(OK), "{verb}: {}", stderr(&output));
        assert!(stdout(&output).contains(TOPIC) || *verb == "batch", "{verb}: by name");
    }
    let client = broker.client().await;
    append(&client, TOPIC, 0, batch(&[b"one more"])).await.expect("it still takes batches");
    broker.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_listed_with_what_is_in_them() {
    let stored = Stored::new().await;
    let segments = stored.found("log", &["orders/0"]);
    assert!(segments.len() > 2, "{segments:?}");
    let mut next = 0;
    for (number, segment) in segments.iter().enumerate() {
        assert_eq!((&segment["topic"], &segment["partition"]), (&TOPIC.into(), &0.into()));
        assert_eq!(segment["base_offset"], next, "they follow each other");
        next = segment["end_offset"].as_i64().expect("an offset");
        let is_last = number + 1 == segments.len();
        let index = if is_last { "partial" } else { "complete" };
        assert!(text(&segment["index"]) == index || is_last, "{segment}");
        let file = fs::metadata(text(&segment["file"])).expect("there");
        assert_eq!(segment["size_bytes"], file.len());
        assert!(segment["first_timestamp"].as_i64() <= segment["last_timestamp"].as_i64());
    }
    assert_eq!(next, (BATCHES * BATCH_RECORDS) as i64);
    let records = segments.iter().map(|s| s["records"].as_u64().expect("a number"));
    assert_eq!(records.sum::<u64>(), (BATCHES * BATCH_RECORDS) as u64);
    let id = text(&segments[0]["topic_id"]);
    assert_eq!(stored.found("log", &[&format!("{id}/0")]), segments, "by id as by name");
    assert_eq!(stored.found("log", &["orders"]), segments, "the other partition has no files");
    let metadata = stored.found("log", &["metadata"]);
    assert!(metadata.iter().all(|s| s["topic"] == "metadata"));
    let year = 365 * 24 * 3_600_000;
    assert!(metadata[0]["first_timestamp"].as_i64() > Some(year), "a time nobody knows is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_found_by_any_of_its_offsets_and_shows_its_records() {
    let stored = Stored::new().await;
    for number in [0, 17, BATCHES - 1] {
        for at in [0, BATCH_RECORDS - 1] {
            let offset = (number * BATCH_RECORDS + at).to_string();
            let found = stored.found("batch", &["orders/0", "-o", &offset, "-v"]);
            assert_eq!(found.len(), 1, "{offset}");
            let batch = &found[0];
            assert_eq!(batch["base_offset"], number * BATCH_RECORDS);
            assert_eq!(batch["records_count"], BATCH_RECORDS);
            let file = fs::read(text(&batch["file"])).expect("there");
            let position = batch["position"].as_u64().expect("a byte") as usize;
            let header = BatchHeader::parse(&file[position..]).expect("whole");
            assert_eq!(batch["crc"], header.crc);
            let values: Vec<&str> = batch["records"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|record| text(&record["value"]))
                .collect();
            let written = (0..BATCH_RECORDS).map(|at| value(number, at));
            let written: Vec<String> =
                written.map(|value| String::from_utf8(value).expect("text")).collect();
            assert_eq!(values, written);
        }
    }
    let format = ["orders/0", "-o", "8", "-n", "2", "-f", "%o %v{hex}\\n"];
    let printed = stdout(&stored.inspect("batch", &format));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines = (8..16).map(|offset| format!("{offset} {}\n", hex(&value(offset / 4, offset % 4))));
    assert_eq!(printed, lines.collect::<String>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_an_error_that_says_what_is() {
    let stored = Stored::new().await;
    let refused = |verb: &str, arguments: &[&str], code: i32, words: &str| {
        let output = stored.inspect(verb, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    };
    refused("log", &["order"], NOT_FOUND, "did you mean \"orders\"?");
    refused("log", &["orders/1"], NOT_FOUND, "first append");
    refused("log", &["orders/x"], USAGE, "not the number of a partition");
    let end = (BATCHES * BATCH_RECORDS).to_string();
    refused("batch", &["orders/0", "-o", &end], NOT_FOUND, &format!("up to, but not, {end}"));
    refused("batch", &[], USAGE, "name one, as in");
    let foreign = tempfile::tempdir().expect("a directory");
    for (verb, arguments) in VERBS {
        let mut command = rivvend();
        let output = command.args(["inspect", verb]).arg(foreign.path()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(NOT_FOUND), "{verb}: {}", stderr(&output));
        let gone = foreign.path().join("gone");
        let output = rivvend().args(["inspect", verb]).arg(gone).output().expect("it runs");
        assert_eq!(output.status.code(), Some(NOT_FOUND), "{verb}: {}", stderr(&output));
        assert!(arguments.len() < 2);
    }
}

/// What happens to a partition.
struct Harm {
    what: &'static str,
    /// Changes files; gets the segments in order.
    act: fn(&[PathBuf]),
    /// What each of [`VERBS`] exits with.
    codes: [i32; 5],
    /// Which segment is named where something is wrong, and what is said of it.
    segment: usize,
    says: &'static str,
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

fn extend(path: &Path, with: &[u8]) {
    let mut bytes = fs::read(path).expect("readable");
    bytes.extend_from_slice(with);
    fs::write(path, bytes).expect("written");
}

fn last(segments: &[PathBuf]) -> &Path {
    segments.last().expect("there is always one")
}

/// The middle of the files of partition 0 is segment 1; it is sealed, and so is segment 0.
const HARMS: &[Harm] = &[
    Harm {
        what: "a flipped bit in a sealed segment",
        act: |segments| flip(&segments[1], 5_000),
        codes: [FAILED, FAILED, FAILED, FAILED, OK],
        segment: 1,
        says: "CRC-32C",
    },
    Harm {
        what: "a torn tail",
        act: |segments| {
            let whole = fs::read(last(segments)).expect("readable");
            extend(last(segments), &whole[..700]);
        },
        codes: [OK, OK, OK, OK, OK],
        segment: usize::MAX,
        says: "unsynced tail",
    },
    Harm {
        what: "a tail of zeros",
        act: |segments| extend(last(segments), &[0; 5_000]),
        codes: [OK, OK, OK, OK, OK],
        segment: usize::MAX,
        says: "zeros to the end of the file",
    },
    Harm {
        what: "a file that ends too early",
        act: |segments| {
            let whole = fs::read(last(segments)).expect("readable");
            fs::write(last(segments), &whole[..100]).expect("written");
        },
        codes: [FAILED, FAILED, FAILED, OK, FAILED],
        segment: usize::MAX,
        says: "bytes before it are missing",
    },
    Harm {
        what: "a missing segment",
        act: |segments| fs::remove_file(&segments[1]).expect("removed"),
        codes: [FAILED, FAILED, FAILED, OK, OK],
        segment: 2,
        says: "a segment is missing",
    },
    Harm {
        what: "a missing first segment",
        act: |segments| fs::remove_file(&segments[0]).expect("removed"),
        codes: [FAILED, FAILED, OK, OK, OK],
        segment: 0,
        says: "its first segment is missing",
    },
    Harm {
        what: "a wrong name",
        act: |segments| {
            fs::rename(&segments[1], segments[1].with_file_name("1.log")).expect("renamed");
        },
        codes: [FAILED, FAILED, FAILED, OK, OK],
        segment: 2,
        says: "1.log is no file of a log",
    },
    Harm {
        what: "a missing index",
        act: |segments| fs::remove_file(segments[1].with_extension("index")).expect("removed"),
        codes: [OK, OK, OK, FAILED, OK],
        segment: 1,
        says: "it is missing",
    },
    Harm {
        what: "a damaged index",
        act: |segments| flip(&segments[1].with_extension("timeindex"), 40),
        codes: [OK, OK, OK, FAILED, OK],
        segment: 1,
        says: "timeindex: byte 20",
    },
    Harm {
        what: "a damaged log start",
        act: |segments| fs::write(segments[0].with_file_name("log-start"), "?").expect("written"),
        codes: [FAILED, FAILED, OK, OK, FAILED],
        segment: usize::MAX,
        says: "log-start",
    },
];

/// Bad inputs 75 to 79: the same damage is found in every form of output, with the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_the_same_in_every_form_of_output() {
    let stored = Stored::unrecovered().await;
    let (segments, sound) = (stored.segments(), snapshot(&stored.setup.data));
    assert!(segments.len() > 3, "{segments:?}");
    for harm in HARMS {
        (harm.act)(&segments);
        let harmed = snapshot(&stored.setup.data);
        let mut said_of_it = false;
        for ((verb, arguments), expected) in VERBS.iter().zip(harm.codes) {
            let (code, said) = assert_forms_agree(&stored, verb, arguments);
            assert_eq!(code, expected, "{verb} with {}: {said}", harm.what);
            said_of_it |= said.contains(harm.says);
            if let (FAILED, Some(segment)) = (expected, segments.get(harm.segment)) {
                let stem = segment.with_extension("");
                assert!(said.contains(&stem.display().to_string()), "{}: {said}", harm.what);
            }
        }
        assert!(said_of_it, "nobody says {:?}", harm.says);
        assert!(snapshot(&stored.setup.data) == harmed, "only read");
        restore(&stored.setup.data, &harmed, &sound);
    }
    let (code, said) = assert_forms_agree(&stored, "verify", &[]);
    assert_eq!(code, OK, "all is restored: {said}");
}

/// Bad input 76: a person decides, the rest is served, what was taken out is kept and said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repair_takes_damage_out_and_a_broker_serves_the_rest() {
    // What is done, and the offset at which the log ends after it; a negative one: begins.
    type Case = (fn(&[PathBuf]), i64);
    let cases: &[Case] = &[
        (|segments| flip(&segments[1], 100), 48),
        (|segments| flip(&segments[1], 5_000), 60),
        (|segments| fs::remove_file(&segments[1]).expect("removed"), 48),
        (|segments| fs::remove_file(&segments[0]).expect("removed"), -48),
        (|segments| fs::write(last(segments), b"").expect("written"), 144),
        (|segments| fs::write(segments[0].with_file_name("log-start"), "?").expect("written"), 160),
    ];
    for ((harm, end), orderly) in cases.iter().flat_map(|case| [(case, true), (case, false)]) {
        let stored = if orderly { Stored::new().await } else { Stored::unrecovered().await };
        let segments = stored.segments();
        assert_eq!(segments[1].file_stem().expect("a name"), "00000000000000000048");
        harm(&segments);
        let harmed = snapshot(&stored.setup.data);
        let dry = stored.found("repair", &["orders/0", "--dry-run"]);
        let (code, said) = assert_forms_agree(&stored, "repair", &["--dry-run"]);
        assert_eq!(code, OK, "{said}");
        assert!(snapshot(&stored.setup.data) == harmed, "a dry run changes nothing");
        let output = stored.inspect("repair", &["orders/0"]);
        assert_eq!(output.status.code(), Some(USAGE), "nobody can be asked: {}", stderr(&output));
        let done = stored.found("repair", &["--yes"]);
        assert_eq!((done.len(), &done[0]["done"]), (1, &Value::Bool(true)), "{done:?}");
        for field in ["remedy", "offset", "lost_from", "lost_to", "removed_bytes"] {
            assert_eq!(done[0][field], dry[0][field], "what was said is what was done: {field}");
        }
        assert_kept(&stored, &harmed);
        let (code, said) = assert_forms_agree(&stored, "verify", &[]);
        assert_eq!(code, OK, "{said}");
        assert_eq!(stored.found("repair", &["--yes"]), Vec::<Value>::new(), "nothing is left");
        let broker = stored.setup.start();
        let (from, to) = if *end < 0 { (-end, 160) } else { (0, *end) };
        let read = read_all(&broker.client().await, TOPIC, 0, from).await;
        let read: Vec<(i64, Vec<u8>)> = read.into_iter().map(|(at, v)| (at, v.to_vec())).collect();
        let place = |at: i64| (at as usize / BATCH_RECORDS, at as usize % BATCH_RECORDS);
        let wanted: Vec<_> = (from..to).map(|at| (at, value(place(at).0, place(at).1))).collect();
        assert!(read == wanted, "{} records of {from}..{to}", read.len());
        let (lost, lost_to) = (&done[0]["lost_from"], &done[0]["lost_to"]);
        if lost != lost_to {
            let line = broker.wait_log("records are lost");
            let said = [format!("first_offset={lost}"), format!("end_offset={lost_to}")];
            assert!(said.iter().all(|words| line.contains(words)), "{line}");
        }
        broker.stop();
    }
}

/// Every byte that was in a segment still is: in its place, or in a file that was set aside.
fn assert_kept(stored: &Stored, harmed: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = snapshot(&stored.setup.data);
    let aside = |bytes: &[u8]| {
        let torn = now.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "torn"));
        torn.map(|(_, kept)| kept).any(|kept| kept == bytes)
    };
    for (path, bytes) in harmed.iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "log")) {
        let left = now.get(path).map_or(&[][..], Vec::as_slice);
        assert!(bytes.starts_with(left), "{}", path.display());
        let gone = &bytes[left.len()..];
        assert!(gone.is_empty() || aside(gone), "{} bytes of {}", gone.len(), path.display());
    }
}

/// What nobody has seen yet is not given up with the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repair_stops_before_damage_that_showed_only_then() {
    let stored = Stored::unrecovered().await;
    let segments = stored.segments();
    fs::remove_file(&segments[0]).expect("removed");
    flip(&segments[2], 100);
    let output = stored.inspect("repair", &["--yes"]);
    assert_eq!(output.status.code(), Some(PARTLY), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("more damage") && said.contains("--dry-run"), "{said}");
    let again = stored.found("repair", &["--yes"]);
    assert_eq!((&again[0]["done"], &again[0]["lost_from"]), (&true.into(), &96.into()));
    assert_eq!(stored.inspect("verify", &[]).status.code(), Some(OK));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repair_leaves_a_running_broker_and_what_is_sound_alone() {
    let (stored, broker) = Stored::running().await;
    let output = stored.inspect("repair", &["--yes"]);
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("pid {}", broker.pid())), "{}", stderr(&output));
    broker.stop();
    let before = snapshot(&stored.setup.data.join("topics"));
    let output = stored.inspect("repair", &["--yes"]);
    assert_eq!(output.status.code(), Some(OK), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing is damaged"), "{}", stderr(&output));
    assert!(snapshot(&stored.setup.data.join("topics")) == before, "what is sound is left alone");
}

/// As when the process is killed after the claims were taken back and before any file was: the log
/// is neither whole nor repaired, which is damage and can be repaired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_was_interrupted_can_be_done_again() {
    let stored = Stored::new().await;
    let segments = stored.segments();
    flip(&segments[1], 5_000);
    let dir = segments[0].parent().expect("a folder");
    let harmed = snapshot(dir);
    stored.found("repair", &["--yes"]);
    for path in snapshot(dir).keys().filter(|path| path.to_string_lossy().contains(".torn")) {
        fs::remove_file(path).expect("removed");
    }
    harmed.iter().for_each(|(path, content)| fs::write(path, content).expect("written"));
    assert_eq!(stored.inspect("verify", &[]).status.code(), Some(FAILED));
    let again = stored.found("repair", &["--yes"]);
    assert_eq!((&again[0]["done"], &again[0]["offset"]), (&true.into(), &60.into()));
    assert_eq!(stored.inspect("verify", &[]).status.code(), Some(OK));
    let broker = stored.setup.start();
    assert_eq!(read_all(&broker.client().await, TOPIC, 0, 0).await.len(), 60);
    broker.stop();
}

/// What lies below the log start is served to nobody, so nothing that is served is given up for it
/// unasked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_below_the_log_start_costs_no_record() {
    let stored = Stored::new().await;
    let broker = stored.setup.start();
    let mut trim = rivvend();
    trim.args(["topic", "trim", TOPIC, "-p", "0", "--to", "60", "--yes"]);
    trim.args(["--server", &broker.native.to_string()]);
    let output = trim.output().expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    broker.stop();
    let segments = stored.segments();
    let cut = segments.iter().find(|path| path.ends_with("00000000000000000048.log"));
    flip(cut.expect("it holds the log start"), 100);
    let harmed = snapshot(&stored.setup.data.join("topics"));
    let output = stored.inspect("repair", &["--yes"]);
    assert_eq!(output.status.code(), Some(FAILED), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("left alone") && said.contains("topic trim --to 96"), "{said}");
    assert!(snapshot(&stored.setup.data.join("topics")) == harmed, "nothing was touched");
}

fn restore(data: &Path, harmed: &BTreeMap<PathBuf, Vec<u8>>, sound: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in harmed.keys().filter(|path| !sound.contains_key(*path)) {
        fs::remove_file(path).expect("removed");
    }
    for (path, content) in sound.iter().filter(|(path, content)| harmed.get(*path) != Some(content))
    {
        fs::write(path, content).expect("written");
    }
    assert!(snapshot(data) == *sound);
}

/// More batches than memory may take are shown one after the other, with their records.
#[test]
fn a_large_log_is_shown_in_little_memory() {
    const BATCHES: i64 = 200;
    const VALUE_BYTES: usize = 500_000;
    // Two thirds of the log; a few values of half a megabyte in several forms take 51 MB.
    const MEMORY_BYTES_MAX: u64 = 64 << 20;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("00000000000000000000.log");
    let mut log = fs::File::create(&path).expect("created");
    let mut sound = batch(&[&[b'x'; VALUE_BYTES]]).to_vec();
    for offset in 0..BATCHES {
        sound[..8].copy_from_slice(&offset.to_be_bytes());
        log.write_all(&sound).expect("written");
    }
    for flags in ["--output json -v", "--output yaml -v", "--output wide -v", "-f %v\\n"] {
        let mut command = rivvend();
        command.args(["inspect", "batch"]).arg(&path).args(flags.split(' '));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut out = child.stdout.take().expect("piped");
        let (mut block, mut read, mut peak) = (vec![0; 1 << 20], 0, 0);
        // While there is more than a pipe holds, it is there to be looked at.
        while read < BATCHES as usize * VALUE_BYTES * 9 / 10 {
            peak = memory_of(child.id()).1.max(peak);
            match out.read(&mut block).expect("readable") {
                0 => panic!("{flags}: it printed {read} bytes only"),
                more => read += more,
            }
        }
        io::copy(&mut out, &mut io::sink()).expect("readable");
        assert!(child.wait().expect("it ends").success(), "{flags}");
        assert!(peak < MEMORY_BYTES_MAX, "{flags}: {peak} bytes");
    }
}
