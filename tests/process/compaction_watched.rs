//! Looking at compaction while it works: `inspect verify` beside it finds no damage that is not
//! there and all that is, `topic describe` and the metrics tell what it does and what it waits for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::broker::{Broker, Setup, files, rivvend, wait_until};
use super::command::Place;
use super::rounds;

/// A broker that looks for what to compact all the time.
fn setup(directory: &tempfile::TempDir) -> Setup {
    let config = directory.path().join("rivvend.yaml");
    let text = "compaction: {check_interval: 100ms, bytes_per_second: unlimited}\n";
    std::fs::write(&config, text).expect("written");
    Setup { config: Some(config), ..Setup::new(directory.path().join("data")) }
}

fn create(place: &Place, topic: &str, more: &str) {
    let config = "-c cleanup.policy=compact -c segment.bytes=16KiB";
    place.done(&format!("topic create {topic} -p 1 {config} {more}"), "");
}

/// Updates of five keys that fill some segments.
fn update(place: &Place, topic: &str) {
    for _ in 0..4 {
        let lines: String = (0..200).map(|n| format!("key-{}\t{n:>80}\n", n % 5)).collect();
        place.done(&format!("produce {topic} -f %k\\t%v\\n"), &lines);
    }
}

/// What `topic describe` says of the only partition of a topic.
fn told(place: &Place, topic: &str) -> Value {
    let text = place.done(&format!("topic describe {topic} -o json"), "");
    let topics: Value = serde_json::from_str(&text).expect("JSON");
    topics[0]["partitions"][0]["compaction"].clone()
}

fn wait_for_state(place: &Place, topic: &str, state: &str) -> Value {
    wait_until(state, || told(place, topic)["state"] == state);
    told(place, topic)
}

fn metrics(http: SocketAddr) -> String {
    let mut stream = TcpStream::connect(http).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("text");
    page
}

fn held_back(told: &Value) -> &str {
    told["held_back"].as_str().expect("a reason")
}

#[test]
fn describe_tells_what_compaction_has_done_and_waits_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&directory);
    let broker = setup.start();
    let place = Place::wire(&broker);
    place.done("topic create plain", "");
    assert_eq!(told(&place, "plain"), Value::Null, "it is not compacted");
    create(&place, "young", "-c min.compaction.lag.ms=1h");
    update(&place, "young");
    let young = wait_for_state(&place, "young", "waiting");
    assert!(held_back(&young).contains("min.compaction.lag.ms"), "{young}");
    assert!(young["dirty_ratio"] == 1.0 && young["last"].is_null(), "{young}");

    create(&place, "latest", "-c min.cleanable.dirty.ratio=0.9");
    update(&place, "latest");
    wait_until("a pass has ended", || told(&place, "latest")["last"]["removed_records"] != 0);
    let clean = wait_for_state(&place, "latest", "clean");
    let last = &clean["last"];
    assert!(last["outcome"] == "done" && last["reason"].is_null(), "{clean}");
    assert!(last["removed_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000), "{clean}");
    assert!(clean["clean_to"].as_i64().is_some_and(|offset| offset > 0), "{clean}");
    assert!(clean["dirty_bytes"] == 0 && clean["held_back"].is_null(), "{clean}");
    let table = place.done("topic describe latest", "");
    assert!(table.contains("COMPACTION") && table.contains("clean"), "{table}");

    let page = metrics(broker.http);
    for name in ["passes_total", "removed_records_total", "removed_bytes_total", "seconds_total"] {
        let name = format!("rivven_compaction_{name} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&*name));
        let value: f64 = line.and_then(|value| value.parse().ok()).expect("a number");
        assert!(value > 0.0 || name.contains("seconds"), "{name}: {value}");
    }
    assert!(page.contains("\nrivven_compaction_failures_total 0\n"), "{page}");
    check_without_a_broker(broker, clean);
}

/// Without a broker there are no passes, and what the files tell is told all the same.
fn check_without_a_broker(broker: Broker, before: Value) {
    let data = broker.data.clone();
    broker.stop();
    let embedded = Place::embedded(&data);
    let found = told(&embedded, "latest");
    for key in ["state", "dirty_bytes", "clean_bytes", "clean_to"] {
        assert_eq!(found[key], before[key], "{key}");
    }
    assert!(found["last"].is_null(), "{found}");
}

/// D9: damage ends compaction of that partition, which says so, and of no other.
#[test]
fn describe_tells_why_compaction_has_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&directory);
    let broker = setup.start();
    let place = Place::wire(&broker);
    create(&place, "broken", "-c min.compaction.lag.ms=1h");
    update(&place, "broken");
    broker.stop();
    let first = files(&setup.data, "log").into_iter().next().expect("a segment");
    let mut bytes = std::fs::read(&first).expect("read");
    bytes[200] ^= 1;
    std::fs::write(&first, bytes).expect("written");
    let broker = setup.start();
    let place = Place::wire(&broker);
    place.done("topic alter broken --delete min.compaction.lag.ms", "");
    let failed = wait_for_state(&place, "broken", "failed");
    assert!(held_back(&failed).contains("damaged"), "{failed}");
    assert_eq!(failed["last"]["outcome"], "failed");
    create(&place, "sound", "");
    update(&place, "sound");
    wait_for_state(&place, "sound", "clean");
}

fn verified(data: &Path) -> (bool, String) {
    let output = rivvend().args(["inspect", "verify"]).arg(data).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// D16 beside a running broker: segments are exchanged under the eyes of whoever reads them.
#[test]
fn verify_finds_no_damage_beside_compaction() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = setup(&directory).start();
    let place = Place::wire(&broker);
    create(&place, "latest", "-c min.cleanable.dirty.ratio=0");
    let (data, is_done) = (broker.data.clone(), AtomicBool::new(false));
    let runs = rounds("RIVVEN_VERIFY_ROUNDS", 60);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                update(&place, "latest");
            }
        });
        let mut failures = Vec::new();
        for _ in 0..runs {
            let (is_sound, said) = verified(&data);
            failures.extend((!is_sound).then_some(said));
        }
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(failures, [""; 0], "{} of {runs} runs found damage", failures.len());
    });
    let passes = told(&place, "latest");
    assert_eq!(passes["last"]["outcome"], "done", "compaction was at work: {passes}");
}

/// What is damaged is found all the same while other files change.
#[test]
fn verify_finds_real_damage_beside_compaction() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = setup(&directory).start();
    let place = Place::wire(&broker);
    create(&place, "latest", "-c min.compaction.lag.ms=1h");
    update(&place, "latest");
    let segments = |data: &Path| -> Vec<PathBuf> { files(data, "log") };
    let damaged = segments(&broker.data).into_iter().nth(1).expect("some segments");
    let mut bytes = std::fs::read(&damaged).expect("read");
    bytes[200] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    // The frontier journal may lag a second behind; what it does not claim yet is no damage.
    let begun = Instant::now();
    let said = loop {
        match verified(&broker.data) {
            (false, said) => break said,
            (true, said) => assert!(begun.elapsed() < Duration::from_secs(30), "{said}"),
        }
    };
    assert!(said.contains(&damaged.display().to_string()), "{said}");
}
