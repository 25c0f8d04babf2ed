//! The power goes, on a real file system. Two ways, since neither shows everything: shutting the
//! file system down under a stopped broker, and cloning the disk under a running one.
//!
//! The broker is stopped before the file system is shut down: a sync that races the shutdown can
//! report success for data that is gone, which would blame the broker for the kernel.

use std::path::Path;

use rivvend::random::Random;

use super::broker::{Setup, assert_verified};
use super::image::{EXT4, Mount, TestDisk, XFS, format, run};
use super::load::{Load, append, batch, create_topic, read_all};
use super::rounds;

const SEED: u64 = 0x5EED_0002;
const MIB: u64 = 1 << 20;
const PARTITIONS: i32 = 5;
const PRODUCERS: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut() {
    let Some(disk) = TestDisk::new(512 * MIB, EXT4) else { return };
    let mut mount = disk.mount();
    let setup = Setup::new(mount.data());
    let mut broker = setup.start();
    let (load, mut producers) =
        Load::begin(&broker.client().await, PARTITIONS, PRODUCERS, SEED).await;
    let mut random = Random::new(SEED);
    for _ in 0..rounds("RIVVEN_POWER_ROUNDS", 6) {
        let running = load.run_a_while(&broker, producers, &mut random).await;
        broker.freeze();
        mount.cut_power();
        broker.kill();
        producers = running.await.expect("the load ends with the broker");
        mount.unmount();
        mount = disk.mount();
        broker = setup.start();
        load.verify(&broker, false).await;
    }
    load.verify_all(&broker).await;
    broker.stop();
    assert_verified(&setup.data);
    mount.unmount();
}

/// The method has teeth: what was promised to the page cache only is gone afterwards, and the same
/// cut leaves what was promised to the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_takes_what_was_never_synced() {
    let Some(disk) = TestDisk::new(512 * MIB, EXT4) else { return };
    let mount = disk.mount();
    let setup = Setup::new(mount.data());
    let broker = setup.start();
    let client = broker.client().await;
    for durability in ["os", "fsync"] {
        create_topic(&client, durability, 1, &[("durability", durability.to_owned())]).await;
    }
    // The one that syncs comes first: a sync of one file may carry others along.
    append(&client, "fsync", 0, batch(&[b"one"])).await.expect("taken");
    for _ in 0..10 {
        append(&client, "os", 0, batch(&[b"one"])).await.expect("taken");
    }
    broker.freeze();
    mount.cut_power();
    broker.kill();
    mount.unmount();
    let mount = disk.mount();
    let broker = setup.start();
    let client = broker.client().await;
    assert_eq!(read_all(&client, "fsync", 0, 0).await.len(), 1);
    assert!(read_all(&client, "os", 0, 0).await.len() < 10, "the cut took nothing: it is none");
    broker.stop();
    mount.unmount();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_moment_of_the_disk_holds_what_was_acknowledged_before() {
    let Some(host) = TestDisk::new(4096 * MIB, XFS) else { return };
    let below = host.mount();
    let (image, clone) = (below.folder.join("disk"), below.folder.join("clone"));
    format(&image, 512 * MIB, EXT4);
    let mount = Mount::new(&image, host.folder("disk.mounted"));
    let broker = Setup::new(mount.data()).start();
    let (load, mut producers) =
        Load::begin(&broker.client().await, PARTITIONS, PRODUCERS, SEED).await;
    let mut random = Random::new(SEED);
    for _ in 0..rounds("RIVVEN_POWER_ROUNDS", 6) {
        let running = load.run_a_while(&broker, producers, &mut random).await;
        let promised = load.snapshot();
        clone_disk(&image, &clone);
        let judged = load.with_promises_of(promised);
        load.stop();
        producers = running.await.expect("the load ends when it is told to");
        let cloned = Mount::new(&clone, host.folder("clone.mounted"));
        let copy = Setup::new(cloned.data()).start();
        judged.verify(&copy, true).await;
        copy.stop();
        assert_verified(&cloned.data());
        cloned.unmount();
    }
    load.verify_all(&broker).await;
    broker.stop();
    mount.unmount();
    below.unmount();
}

/// The disk as it is at one moment.
fn clone_disk(disk: &Path, clone: &Path) {
    let (disk, clone) = (disk.to_str().expect("text"), clone.to_str().expect("text"));
    run("cp", &["--reflink=always", disk, clone]);
}
