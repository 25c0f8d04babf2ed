//! `kill -9` in the middle of work, again and again: what was acknowledged is at its offset exactly
//! once, in its producer's order; what was shown to a consumer stays.

use rivvend::random::Random;

use super::broker::{Setup, assert_verified};
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
        let running = load.run_a_while(&broker, producers, &mut random).await;
        broker.kill();
        producers = running.await.expect("the load ends with the broker");
        if round % 4 == 0 {
            // A directory that nobody recovered yet is sound below its frontier.
            assert_verified(&setup.data);
        }
        broker = setup.start();
        load.verify(&broker, false).await;
    }
    load.verify_all(&broker).await;
    broker.stop();
    assert_verified(&setup.data);
}
