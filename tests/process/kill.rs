//! `kill -9` in the middle of work, again and again: what was acknowledged is at its offset exactly
//! once, in its producer's order; what was shown to a consumer stays.

use std::time::Duration;

use rivvend::random::Random;

use super::broker::{Setup, rivvend};
use super::load::Load;
use super::rounds;

const SEED: u64 = 0x5EED_0001;
const PARTITIONS: i32 = 5;
const PRODUCERS: u64 = 4;

/// Holds the promise of `durability: fsync` for every crash of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_any_number_of_kills() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(directory.path().join("data"));
    let mut broker = setup.start();
    let (load, mut producers) =
        Load::begin(&broker.client().await, PARTITIONS, PRODUCERS, SEED).await;
    let mut random = Random::new(SEED);
    for round in 0..rounds("RIVVEN_KILL_ROUNDS", 12) {
        let running = load.run(&broker, producers);
        // The moment of the kill is what is varied, so this waits for nothing in particular.
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        broker.kill();
        producers = running.await.expect("the load ends with the broker");
        if round % 4 == 0 {
            inspect(&setup);
        }
        broker = setup.start();
        load.verify(&broker, false).await;
    }
    load.verify(&broker, true).await;
    let records = load.acked_records();
    assert!(records > 0, "something was acknowledged");
    eprintln!("{records} acknowledged records are where they were promised to be");
    broker.stop();
    inspect(&setup);
}

/// A directory that nobody recovered yet is sound below its frontier.
fn inspect(setup: &Setup) {
    let verified =
        rivvend().args(["inspect", "verify"]).arg(&setup.data).output().expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
