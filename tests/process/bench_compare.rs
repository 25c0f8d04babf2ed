//! `rivvend bench compare` as a process: that it sees a slowdown of a tenth and none between
//! equals, in made-up results and in real runs, and what it refuses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::broker::{Setup, rivvend};

/// Noise that looks like it and is the same every time.
const NOISE: [f64; 10] = [0.3, -0.9, 0.7, 0.1, -0.4, 1.0, -0.6, -0.2, 0.8, -0.8];

/// The result of a run of ten seconds: `speed` in MB/s, seconds that differ by some percent.
fn result(speed: f64, percent: f64) -> Value {
    let latency = |speed: f64| {
        let ms = 1_000.0 / speed;
        json!({"mean": ms, "p50": ms, "p90": ms * 1.2, "p95": ms * 1.3, "p99": ms * 1.5,
               "p999": ms * 2.0, "p9999": ms * 3.0, "max": ms * 3.0})
    };
    let second = |(at, noise): (usize, &f64)| {
        let speed = speed * (1.0 + noise * percent / 100.0);
        json!({"start_s": at, "records": speed * 1_000.0, "bytes": speed * 1e6,
               "mb_per_s": speed, "latency_ms": latency(speed)})
    };
    let intervals: Vec<Value> = NOISE.iter().enumerate().map(second).map(whole).collect();
    whole(json!({
        "command": "produce", "version": "0.1.0",
        "machine": {"cpu": "a", "cores": 2, "memory_bytes": 1, "kernel": "6", "filesystem": "ext4",
                    "load_average": 0.1},
        "mode": "closed", "settings": {"durability": "fsync", "record_size": 1000},
        "records": speed * 10_000.0, "bytes": speed * 1e7, "elapsed_s": 10.0,
        "records_per_s": speed * 1_000.0, "mb_per_s": speed, "latency_ms": latency(speed),
        "errors": 0, "client_cpu_s": 1.0,
        "server": {"cpu_s": 5.0, "rss_bytes": 1, "rss_peak_bytes": 1,
                   "cpu_s_per_gb": 500.0 / speed},
        "intervals": intervals,
    }))
}

/// Counts as whole numbers, as a run writes them.
fn whole(mut result: Value) -> Value {
    for field in ["records", "bytes"] {
        result[field] = json!(result[field].as_f64().expect("a number") as u64);
    }
    result
}

/// A file with this result.
fn saved(directory: &Path, name: &str, result: &Value) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, result.to_string()).expect("written");
    path
}

/// Files of runs around a speed, which differ by some percent among themselves.
fn runs(directory: &Path, side: &str, count: usize, speed: f64, percent: f64) -> Vec<PathBuf> {
    let run = |(at, noise): (usize, &f64)| {
        let speed = speed * (1.0 + noise * percent / 100.0);
        saved(directory, &format!("{side}{at}.json"), &result(speed, 3.0))
    };
    NOISE.iter().enumerate().take(count).map(run).collect()
}

fn compare(a: &[PathBuf], b: &[PathBuf], flags: &str) -> Output {
    let mut command = rivvend();
    command.args(["bench", "compare"]).args(flags.split_whitespace());
    command.args(a).arg("--").args(b).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The figures of a comparison, by name.
fn figures(output: &Output) -> Vec<(String, Value)> {
    let compared: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{:?}: {}", output.status, said(output)));
    let figures = compared["figures"].as_array().expect("a list").iter();
    figures.map(|f| (f["figure"].as_str().expect("a name").to_owned(), f.clone())).collect()
}

#[test]
fn equal_builds_show_no_difference() {
    let directory = tempfile::tempdir().expect("a directory");
    for count in [1, 2, 3, 5] {
        let a = runs(directory.path(), "a", count, 500.0, 4.0);
        let b = runs(directory.path(), "b", count, 498.0, -4.0);
        let output = compare(&a, &b, "-o json --fail-above 0");
        // A gate that can not tell is shut; what it can tell may be asked alone.
        let is_shut = said(&output).contains("nothing can be told of server CPU s/GB");
        assert_eq!((output.status.code(), is_shut), (Some(i32::from(count < 3)), count < 3));
        let asked = compare(&a, &b, "--fail-above 0 --only latency,records/s,MB/s");
        assert_eq!(asked.status.code(), Some(0), "{}", said(&asked));
        let figures = figures(&output);
        assert!(figures.len() >= 6, "{figures:?}");
        for (name, figure) in figures {
            let is_cost_of_few = count < 3 && name.contains("CPU");
            let expected = if is_cost_of_few { "unknown" } else { "no difference" };
            assert_eq!(figure["text"], expected, "{count} runs: {name}");
        }
    }
}

/// A broker that took nothing has no speed that could be compared, and must not pass for it.
#[test]
fn a_run_that_did_nothing_fails_where_a_slower_one_would() {
    let directory = tempfile::tempdir().expect("a directory");
    let a = runs(directory.path(), "a", 3, 500.0, 1.0);
    let mut idle = result(500.0, 3.0);
    (idle["records_per_s"], idle["mb_per_s"]) = (json!(0.0), json!(0.0));
    let idle = vec![saved(directory.path(), "idle.json", &idle)];
    let output = compare(&a, &idle, "--fail-above 5");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("records/s") && said(&output).contains("less than A"));
}

#[test]
fn a_slowdown_of_a_tenth_is_said_and_can_fail() {
    let directory = tempfile::tempdir().expect("a directory");
    for count in [1, 3, 5] {
        let a = runs(directory.path(), "a", count, 500.0, 1.0);
        let b = runs(directory.path(), "b", count, 450.0, 1.0);
        let output = compare(&a, &b, "-o json");
        assert_eq!(output.status.code(), Some(0), "a difference is no failure");
        for (name, figure) in figures(&output) {
            let expected = match &*name {
                "server CPU s/GB" if count < 3 => "unknown",
                "server CPU s/GB" => "B costs 11 % more",
                name if name.contains("latency") => "B is 11 % slower",
                _ => "B is 10 % slower",
            };
            let is_of_few = count < 3 && expected != "unknown";
            let expected = format!("{expected}{}", if is_of_few { " (few runs)" } else { "" });
            assert_eq!(figure["text"], expected, "{count} runs: {name}");
        }
        for (flags, code) in [
            ("--fail-above 5", 1),
            ("--fail-above 20 --only latency,records/s,MB/s", 0),
            ("--fail-above 20", i32::from(count < 3)),
            ("--fail-above 10.5", 1),
            ("--fail-above 10.5 --only records/s", 0),
        ] {
            assert_eq!(compare(&a, &b, flags).status.code(), Some(code), "{flags}");
        }
        let output = compare(&b, &a, "--fail-above 5 --only latency,records/s");
        assert_eq!(output.status.code(), Some(0), "B is faster");
    }
}

#[test]
fn other_settings_are_refused_and_other_machines_are_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let a = saved(directory.path(), "a.json", &result(500.0, 3.0));
    let mut other = result(500.0, 3.0);
    other["settings"]["durability"] = "os".into();
    other["machine"]["kernel"] = "7".into();
    other["settings"]["of_a_newer_version"] = 1.into();
    let b = saved(directory.path(), "b.json", &other);
    let (a, b) = ([a], [b]);
    let refused = compare(&a, &b, "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("durability: \"fsync\" in"), "{}", said(&refused));
    assert!(said(&refused).contains("--force") && refused.stdout.is_empty());
    let forced = compare(&a, &b, "--force -o json");
    assert_eq!(forced.status.code(), Some(0));
    assert!(said(&forced).contains("another setting: durability"), "{}", said(&forced));
    assert!(said(&forced).contains("another machine: kernel: \"6\""), "{}", said(&forced));
    let compared: Value = serde_json::from_slice(&forced.stdout).expect("JSON");
    assert_eq!(compared["settings_differ"][0]["name"], "durability");
    assert_eq!(compared["machines_differ"][0]["value"], "7");
    assert_eq!(compared["settings_differ"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_a_run_says_against_itself_is_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let a = saved(directory.path(), "a.json", &result(500.0, 3.0));
    let mut doubtful = result(500.0, 3.0);
    doubtful["warnings"] = json!([{"code": "steal", "text": "the host took 9 % away"}]);
    let b = saved(directory.path(), "b.json", &doubtful);
    let output = compare(&[a], &[b], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("b.json: the host took 9 % away"), "{}", said(&output));
    assert!(!said(&output).contains("a.json"), "{}", said(&output));
}

#[test]
fn every_form_of_output_holds_the_verdict() {
    let directory = tempfile::tempdir().expect("a directory");
    let a = runs(directory.path(), "a", 3, 500.0, 1.0);
    let b = runs(directory.path(), "b", 3, 400.0, 1.0);
    for (form, held) in [
        ("table", "B is 20 % slower"),
        ("wide", "B is 20 % slower"),
        ("json", "\"text\": \"B is 20 % slower\""),
        ("jsonl", "\"text\":\"B is 20 % slower\""),
        ("yaml", "text: B is 20 % slower"),
        ("name", "records/s\n"),
    ] {
        let output = compare(&a, &b, &format!("-o {form}"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(held), "{form}:\n{text}");
        assert_eq!(text.contains("NOISE OF A"), form == "wide");
        assert!(form != "table" || text.lines().all(|line| line.chars().count() < 100), "{text}");
    }
}

#[test]
fn what_is_no_result_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let good = saved(directory.path(), "good.json", &result(500.0, 3.0));
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    for (bad, code) in [
        (directory.path().join("missing.json"), 3),
        (file("empty.json", ""), 1),
        (file("list.json", "[1]"), 1),
        (file("binary.json", "\u{0}\u{1}"), 1),
        (file("other.json", r#"{"command":"compare"}"#), 1),
        (file("half.json", r#"{"command":"produce","version":"1"}"#), 1),
    ] {
        let output = compare(std::slice::from_ref(&good), std::slice::from_ref(&bad), "");
        let name = bad.file_name().and_then(|name| name.to_str()).expect("a name");
        assert_eq!(output.status.code(), Some(code), "{name}: {}", said(&output));
        assert!(said(&output).contains(name), "{}", said(&output));
    }
    let output = rivvend().args(["bench", "compare"]).args([&good, &good, &good]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("A A A -- B B B"), "{}", said(&output));
    for flag in ["--base", "--only=p50 --base"] {
        let mut command = rivvend();
        command.args(["bench", "compare"]).args(flag.split(' ')).args([&good, &good]);
        assert_eq!(command.output().expect("it runs").status.code(), Some(0), "{flag}");
    }
}

/// A way to the broker on which every answer is held up for this long.
async fn relay(broker: SocketAddr, held: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(broker).await.expect("the broker serves");
            client.set_nodelay(true).expect("a socket");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(length @ 1..) = from_server.read(&mut chunk).await {
                    tokio::time::sleep(held).await;
                    if to_client.write_all(&chunk[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Two ways to the same broker, of which one is slower by a tenth. What is compared is the median
/// of sends that are mostly waiting, which hardly depends on what else the machine does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_slower_by_a_tenth_are_told_from_equal_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Setup::new(directory.path().join("data")).start();
    let held = |ms| relay(broker.native, Duration::from_millis(ms));
    let (fast, slow) = (held(40).await, held(44).await);
    let run = |name: String, address: SocketAddr| {
        let path = directory.path().join(name);
        let mut command = rivvend();
        command.args("bench produce --records 20 --batch-records 1 --durability os".split(' '));
        command.args(["--server", &address.to_string(), "--save"]).arg(&path);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
        path
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..6 {
        a.push(run(format!("a{round}.json"), fast));
        b.push(run(format!("b{round}.json"), slow));
    }
    let output = compare(&a, &b, "-o json --only p50 --fail-above 5");
    let (_, figure) = figures(&output).remove(0);
    assert_eq!((&figure["verdict"], &figure["basis"]), (&"worse".into(), &"pairs".into()));
    assert!(figure["ratio"].as_f64().is_some_and(|r| r > 1.07 && r < 1.13), "{figure}");
    assert_eq!(output.status.code(), Some(1), "more than 5 %");
    let (odd, even): (Vec<_>, Vec<_>) = a.into_iter().enumerate().partition(|(at, _)| at % 2 == 1);
    let paths = |runs: Vec<(usize, PathBuf)>| runs.into_iter().map(|(_, path)| path);
    let (odd, even): (Vec<_>, Vec<_>) = (paths(odd).collect(), paths(even).collect());
    let output = compare(&odd, &even, "-o json --only p50 --fail-above 2");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(figures(&output)[0].1["text"], "no difference");
    broker.stop();
}
