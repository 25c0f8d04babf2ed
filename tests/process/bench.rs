//! `rivvend bench` as a process: the form of the results of every measuring subcommand, and that a
//! stall, a record that comes twice, a run that says little and a senseless flag are noticed.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use rivvend::client::Client;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::broker::{Broker, PATIENCE, Setup, rivvend, wait_until};
use super::has_tools;
use super::load::{append, batch, create_topic, read_all};

/// What every result has, in the order in which it is printed.
const FIELDS: &[&str] = &[
    "command",
    "version",
    "started_at",
    "command_line",
    "machine",
    "mode",
    "settings",
    "records",
    "bytes",
    "elapsed_s",
    "records_per_s",
    "mb_per_s",
    "latency_ms",
    "errors",
    "client_cpu_s",
    "server",
    "intervals",
    "latency_count",
    "latency_curve",
    "warnings",
];
const QUANTILES: &[&str] = &["mean", "p50", "p90", "p95", "p99", "p999", "p9999", "max"];
const TOPIC: &str = "measured";

/// Runs `rivvend bench` with a private broker in this directory, to its end.
fn bench(directory: &Path, flags: &str) -> Output {
    let mut command = rivvend();
    command.arg("bench").args(flags.split(' ')).arg("--dir").arg(directory);
    command.output().expect("it runs")
}

/// Starts `rivvend bench` against a broker of ours; its result comes on standard output.
fn start_bench(address: &str, flags: &str) -> Child {
    let mut command = rivvend();
    command.arg("bench").args(flags.split(' '));
    command.args(["--server", address, "--topic", TOPIC, "-o", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn result(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

/// Looks at the fields of a result and at what is in each of them.
fn assert_form(result: &Value, more: &[&str]) {
    let fields: Vec<&str> = result.as_object().expect("an object").keys().map(|k| &**k).collect();
    let mut expected = [FIELDS, more].concat();
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_latency(&result["latency_ms"]);
    for part in result["intervals"].as_array().expect("a list") {
        assert_latency(&part["latency_ms"]);
    }
    let curve = result["latency_curve"].as_array().expect("a list");
    let at = |point: &Value, name: &str| point[name].as_f64().expect("a number");
    assert!(curve.is_sorted_by_key(|p| (at(p, "quantile"), at(p, "ms")).0), "{result}");
    assert_eq!(curve.last().map(|p| at(p, "ms")), result["latency_ms"]["max"].as_f64());
    assert!(result["latency_count"].as_u64().is_some_and(|count| count > 0), "{result}");
    let command_line = result["command_line"].as_str().expect("text");
    assert!(command_line.starts_with("rivvend bench "), "{command_line}");
    for field in ["cpu_s", "rss_bytes", "cpu_s_per_gb"] {
        assert!(result["server"][field].as_f64().is_some_and(|n| n >= 0.0), "{field}: {result}");
    }
}

/// Quantiles that follow each other.
fn assert_latency(latency: &Value) {
    let at = |name: &str| latency[name].as_f64().unwrap_or_else(|| panic!("{name}: {latency}"));
    let quantiles: Vec<f64> = QUANTILES[1..].iter().map(|name| at(name)).collect();
    assert!(quantiles.is_sorted() && quantiles[0] > 0.0 && at("mean") > 0.0, "{latency}");
}

fn assert_empty(directory: &Path) {
    assert_eq!(std::fs::read_dir(directory).expect("readable").count(), 0, "nothing is left");
}

#[test]
fn e2e_counts_every_record_and_prints_what_was_promised() {
    let directory = tempfile::tempdir().expect("a directory");
    let saved = tempfile::NamedTempFile::new().expect("a file");
    let flags = "e2e --records 300 --rate 1000 --batch-records 5 --producers 2 -o json --save";
    let output = bench(directory.path(), &format!("{flags} {}", saved.path().display()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result = result(&output);
    assert_form(&result, &["ack_latency_ms"]);
    assert_latency(&result["ack_latency_ms"]);
    assert_eq!((&result["command"], &result["mode"]), (&"e2e".into(), &"open".into()));
    assert_eq!((&result["records"], &result["errors"]), (&300.into(), &0.into()), "{result}");
    assert_eq!(result["bytes"], 300_000);
    let settings = &result["settings"];
    let pairs = [&settings["producers"], &settings["consumers"], &settings["partitions"]];
    assert_eq!(pairs, [&Value::from(2); 3], "each producer has a partition and a consumer");
    assert!(result["elapsed_s"].as_f64().is_some_and(|s| s > 0.25), "the rate is kept: {result}");
    let kept = std::fs::read_to_string(saved.path()).expect("saved");
    assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), result);
    assert_empty(directory.path());
}

#[test]
fn produce_and_consume_print_and_save_what_was_promised() {
    let directory = tempfile::tempdir().expect("a directory");
    let saved = tempfile::NamedTempFile::new().expect("a file");
    for (flags, command, records) in [
        ("produce --records 3000 --batch-records 100 --durability os", "produce", 3_000),
        ("consume --records 3000 --batch-records 100 --fill 300kB --durability os", "consume", 0),
        ("consume --records 3000 --batch-records 100 --fill 300kB --subscribe", "consume", 0),
    ] {
        let flags = format!("{flags} -o json --save {}", saved.path().display());
        let output = bench(directory.path(), &flags);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let result = result(&output);
        assert_form(&result, &[]);
        assert_eq!((&result["command"], &result["mode"]), (&command.into(), &"closed".into()));
        let counted = result["records"].as_u64().expect("a number");
        assert!(if records > 0 { counted == records } else { counted >= 3_000 }, "{result}");
        let kept = std::fs::read_to_string(saved.path()).expect("saved");
        assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), result);
        assert!(!text(&output.stderr).contains("MB/s"), "no progress without a terminal");
    }
    assert_empty(directory.path());
}

#[test]
fn limits_prints_and_saves_what_was_promised() {
    let directory = tempfile::tempdir().expect("a directory");
    let saved = tempfile::NamedTempFile::new().expect("a file");
    let flags = "limits --only crc,raw --bytes 4MB -o json --save";
    let output = bench(directory.path(), &format!("{flags} {}", saved.path().display()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result = result(&output);
    let fields: Vec<&str> = result.as_object().expect("an object").keys().map(|k| &**k).collect();
    assert_eq!(fields, ["command", "machine", "results", "rounds", "version"]);
    for found in result["results"].as_array().expect("a list") {
        for field in ["parallel", "block_bytes", "bytes", "elapsed_s", "mb_per_s", "per_s"] {
            assert!(found[field].as_f64().is_some_and(|n| n > 0.0), "{field}: {found}");
        }
    }
    let kept = std::fs::read_to_string(saved.path()).expect("saved");
    assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), result);
    assert_empty(directory.path());
}

/// A run of some milliseconds in memory says so, on standard error and in its result.
#[test]
fn a_result_that_can_not_be_trusted_says_why() {
    let memory = Path::new("/dev/shm");
    let directory = tempfile::tempdir_in(if memory.is_dir() { memory } else { Path::new("/tmp") });
    let directory = directory.expect("a directory");
    let output = bench(directory.path(), "produce --records 500 --batch-records 100 -o json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (said, result) = (text(&output.stderr), result(&output));
    let warnings = result["warnings"].as_array().expect("a list").iter();
    let codes: Vec<&str> = warnings.filter_map(|warning| warning["code"].as_str()).collect();
    assert!(codes.contains(&"short") && codes.contains(&"few-latencies"), "{result}");
    assert!(said.contains("warning: the run counted for"), "{said}");
    assert!(said.contains("warning: 5 latencies were counted"), "{said}");
    if memory.is_dir() {
        assert!(codes.contains(&"tmpfs"), "{result}");
        assert_eq!(said.matches("syncs are free there").count(), 1, "{said}");
    }
}

/// `script` gives it a terminal, on which every second has its figures.
#[test]
fn a_terminal_sees_how_a_run_is_going() {
    if !has_tools(&["script"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let program = rivvend().get_program().to_string_lossy().into_owned();
    let flags = "produce --duration 3s --warmup 0s --rate 1000 --durability os --batch-records 10";
    let line = format!("{program} bench {flags} --dir {}", directory.path().display());
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm");
    let output = script.output().expect("it runs");
    let seen = text(&output.stdout);
    assert!(output.status.success(), "{seen}");
    assert!(seen.contains("1.0 MB/s") && seen.contains(" records/s  p99 "), "{seen}");
    assert!(seen.contains("durability"), "and the table in the end: {seen}");
}

/// Four consumers of two partitions: each record is received twice.
#[test]
fn mixed_reports_both_sides() {
    let directory = tempfile::tempdir().expect("a directory");
    let flags = "mixed --records 2000 --batch-records 100 --in-flight 2 --producers 2 \
                 --consumers 4 --durability os";
    let output = bench(directory.path(), &format!("{flags} -o jsonl"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result = result(&output);
    assert_form(&result, &["produce", "consume"]);
    assert_eq!((&result["command"], &result["mode"]), (&"mixed".into(), &"closed".into()));
    for (side, records) in [("produce", 2_000), ("consume", 4_000)] {
        let side = &result[side];
        assert_eq!(
            (&side["records"], &side["bytes"]),
            (&records.into(), &(records * 1_000).into())
        );
        assert!(side["mb_per_s"].as_f64().is_some_and(|mb| mb > 0.0), "{side}");
        assert_latency(&side["latency_ms"]);
    }
    assert_eq!(result["errors"], 0);
    assert_empty(directory.path());
}

/// Producers and consumers in Kafka's protocol, on a topic that the run makes: all that they count
/// is there afterwards, in the way that was asked for, and nothing comes twice or is missing.
#[tokio::test]
async fn every_run_can_speak_kafkas_protocol() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Setup::new(directory.path().join("data")).start();
    let client = broker.client().await;
    let run = async |flags: &str| {
        let flags = format!("{flags} --protocol kafka");
        let child = start_bench(&broker.native.to_string(), &flags);
        let ended = tokio::task::spawn_blocking(|| child.wait_with_output()).await;
        let output = ended.expect("waited for").expect("ended");
        let result = result(&output);
        assert_eq!(output.status.code(), Some(0), "{flags}: {}", text(&output.stderr));
        assert_eq!(result["settings"]["protocol"], "kafka", "{flags}");
        assert_eq!(result["settings"]["durability"], "os", "{flags}");
        assert_eq!(result["errors"], 0, "{flags}");
        result
    };
    let kept = "--durability os --partitions 2 --keep";
    let shape = "--records 600 --batch-records 20 --record-size 100";
    let mut count = 0;
    for more in ["--acks 1", "--acks all --idempotent --in-flight 5"] {
        let result = run(&format!("produce {shape} {kept} {more}")).await;
        assert_eq!(result["records"], 600, "{more}");
        count += 600;
        let partitions =
            [read_all(&client, TOPIC, 0, 0).await, read_all(&client, TOPIC, 1, 0).await];
        assert_eq!(partitions.iter().map(Vec::len).sum::<usize>(), count, "{more}");
    }
    let consumed = run("consume --records 5000 --consumers 2 --verify").await;
    assert!(consumed["records"].as_u64().is_some_and(|records| records >= 5_000), "{consumed}");
    let shape = "--producers 2 --consumers 4 --record-size 100 --batch-records 10";
    let mixed = run(&format!("mixed --records 1000 {shape}")).await;
    assert_eq!(mixed["consume"]["records"], 2_000, "each is received twice: {mixed}");
    let aged = run("e2e --records 200 --rate 1000 --record-size 100").await;
    assert_eq!(aged["records"], 200, "{aged}");
}

/// A broker with the topic that runs are to use.
async fn start_broker(directory: &Path) -> (Broker, Client) {
    let broker = Setup::new(directory.join("data")).start();
    let client = broker.client().await;
    create_topic(&client, TOPIC, 1, &[("durability", "os".to_owned())]).await;
    (broker, client)
}

/// Waits until so many records of a run are there.
async fn wait_records(client: &Client, records: usize) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while read_all(client, TOPIC, 0, 0).await.len() < records {
        assert!(std::time::Instant::now() < deadline, "the run has begun");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every record that was due while nothing moved counts with all of its wait, those too that could
/// not even be sent because 256 were under way: 600 of 3,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_the_broker_is_seen_in_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let (broker, client) = start_broker(directory.path()).await;
    let flags = "e2e --warmup 0s --duration 3s --rate 1000 --record-size 100";
    let run = start_bench(&broker.native.to_string(), flags);
    wait_records(&client, 100).await;
    broker.freeze();
    tokio::time::sleep(Duration::from_millis(600)).await;
    broker.signal(Signal::CONT);
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result = result(&output);
    for latency in [&result["latency_ms"], &result["ack_latency_ms"]] {
        let at = |name: &str| latency[name].as_f64().expect("a number");
        assert!(at("max") >= 590.0, "{latency}");
        assert!(at("p90") >= 200.0, "{latency}");
    }
    broker.stop();
}

/// Somebody appends a record of the run once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_comes_twice_fails_the_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let (broker, client) = start_broker(directory.path()).await;
    let run = start_bench(&broker.native.to_string(), "e2e --warmup 0s --duration 1s --rate 500");
    wait_records(&client, 20).await;
    append(&client, TOPIC, 0, batch(&[b"of somebody else"])).await.expect("taken");
    let seventh = read_all(&client, TOPIC, 0, 7).await.swap_remove(0).1;
    append(&client, TOPIC, 0, batch(&[&seventh])).await.expect("taken");
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("record 7 of producer 0 came after"), "{output:?}");
    assert_eq!(result(&output)["errors"], 1, "and what is not of the run is passed over");
    broker.stop();
}

/// The broker of the run is killed in the middle of it.
#[test]
fn a_private_broker_that_dies_ends_the_run_at_once_and_is_named() {
    for flags in ["produce --duration 60s", "mixed --duration 60s", "produce --idempotent"] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = rivvend();
        command.arg("bench").args(flags.split(' ')).arg("--dir").arg(directory.path());
        let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut broker = None;
        wait_until("its broker has records", || {
            broker = child_of(run.id());
            broker.is_some() && has_records(directory.path())
        });
        let killed = Instant::now();
        let pid = broker.and_then(Pid::from_raw).expect("a broker");
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
        let output = run.wait_with_output().expect("it ends");
        let said = text(&output.stderr);
        assert!(killed.elapsed() < Duration::from_secs(10), "{flags}: {:?}", killed.elapsed());
        assert_eq!(output.status.code(), Some(1), "{flags}: {said}");
        assert!(said.contains("the private broker ended"), "{flags}: {said}");
        assert!(said.contains("signal: 9"), "{flags}: {said}");
        assert_empty(directory.path());
    }
}

/// The only child of a process, whichever thread of it has started that.
fn child_of(pid: u32) -> Option<i32> {
    let children = paths(&PathBuf::from(format!("/proc/{pid}/task"))).into_iter();
    let children = children.flat_map(|task| std::fs::read_to_string(task.join("children")));
    children.collect::<String>().split_ascii_whitespace().next()?.parse().ok()
}

/// Whether the broker of a run in this directory has got records.
fn has_records(directory: &Path) -> bool {
    let mut topics = paths(directory).into_iter().flat_map(|run| paths(&run.join("data/topics")));
    topics.any(|topic| !paths(&topic).is_empty())
}

/// What is in a directory; nothing when it is not there.
fn paths(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

#[test]
fn senseless_flags_are_refused_before_anything_is_started() {
    let directory = tempfile::tempdir().expect("a directory");
    for (flags, named) in [
        ("e2e --rate 0", "--rate"),
        ("e2e --rate -5", "--rate"),
        ("e2e --rate 99999999999999999999", "--rate"),
        ("e2e --record-size 31", "--record-size"),
        ("e2e --batch-records 0", "--batch-records"),
        ("e2e --batch-records 1000000 --record-size 1000", "--batch-records"),
        ("e2e --duration 0s", "--duration"),
        ("e2e --duration 999999999d", "--duration"),
        ("e2e --warmup -1s", "--warmup"),
        ("e2e --producers 0", "--producers"),
        ("e2e --consumers -1", "--consumers"),
        ("e2e --partitions 0", "--partitions"),
        ("e2e --acks 2", "--acks"),
        ("e2e --durability none", "--durability"),
        ("mixed --rate 5 --in-flight 2", "--in-flight"),
        ("mixed --in-flight 100000", "--in-flight"),
        ("mixed --consumers 0", "--consumers"),
        ("mixed --producers 100 --in-flight 20", "1 GiB"),
        ("consume --subscribe --protocol kafka", "--subscribe"),
    ] {
        let output = bench(directory.path(), flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {said}");
        assert!(said.contains(named), "{flags}: {said}");
    }
    assert_empty(directory.path());
}
