//! Coordinated omission, through the real binary: the same stall of the broker as the two ways to
//! send see it. An open loop counts all that should have been sent meanwhile; a closed loop has
//! sent only what it had under way, and loses the stall among the rest.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::broker::{PATIENCE, Setup, rivvend};
use super::load::{create_topic, read};

const TOPIC: &str = "measured";
/// A little more than the second that is looked for.
const STALL: Duration = Duration::from_millis(1_100);

/// Runs `bench produce` with single small records against a broker that stands still for a while in
/// the middle of it; the latencies in milliseconds.
async fn latency_over_a_stall(flags: &str) -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Setup::new(directory.path().join("data")).start();
    let client = broker.client().await;
    create_topic(&client, TOPIC, 1, &[("durability", "os".to_owned())]).await;
    let mut command: Command = rivvend();
    command.args(["bench", "produce", "--topic", TOPIC, "--server", &broker.native.to_string()]);
    command.args("--batch-records 1 --record-size 100 --warmup 0s -o json".split(' '));
    command.args(flags.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    while read(&client, TOPIC, 0, 0, 0).await.expect("readable").1 < 100 {
        assert!(Instant::now() < deadline, "the run has begun");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    broker.freeze();
    tokio::time::sleep(STALL).await;
    broker.signal(Signal::CONT);
    let output = run.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["errors"], 0);
    broker.stop();
    result["latency_ms"].take()
}

/// 1,100 of 4,000 records are due during the stall, and 100 of them wait for a second and more: far
/// more than one in a thousand. At most 256 of them are under way at once; the others count too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_shows_a_stall_in_its_high_quantiles() {
    let latency = latency_over_a_stall("--rate 1000 --records 4000").await;
    let at = |name: &str| latency[name].as_f64().expect("a number");
    assert!(at("p999") >= 1_000.0, "{latency}");
    assert!(at("p9999") >= 1_050.0 && at("max") >= 1_050.0, "{latency}");
    assert!(at("p90") >= 500.0, "a quarter of the records waited: {latency}");
}

/// One of 30,000 records is under way during the stall, so that only the maximum tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_hides_a_stall_but_in_its_maximum() {
    let latency = latency_over_a_stall("--in-flight 1 --records 30000").await;
    let at = |name: &str| latency[name].as_f64().expect("a number");
    assert!(at("max") >= 1_050.0, "{latency}");
    assert!(at("p999") < 500.0, "{latency}");
}
