//! The power goes, on a real file system. Two ways, since neither shows everything: shutting the
//! file system down under a stopped broker, and cloning the disk under a running one.
//!
//! The broker is stopped before the file system is shut down: a sync that races the shutdown can
//! report success for data that is gone, which would blame the broker for the kernel.

use std::path::Path;
use std::time::Duration;

use rivvend::random::Random;

use super::broker::{Setup, rivvend};
use super::image::{Mount, TOOLS, format, run};
use super::load::{Load, append, batch, create_topic, read_all};
use super::{has_root_and, rounds};

const SEED: u64 = 0x5EED_0002;
const MIB: u64 = 1 << 20;
const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F"];
const XFS: &[&str] = &["mkfs.xfs", "-q", "-m", "reflink=1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut() {
    if !has_root_and(TOOLS) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("disk");
    format(&image, 512 * MIB, EXT4);
    let mounted = || Mount::new(&image, directory.path().join("mounted"));
    let mut mount = mounted();
    let setup = Setup::new(mount.data());
    let mut broker = setup.start();
    let (load, mut producers) = Load::begin(&broker.client().await, 5, 4, SEED).await;
    let mut random = Random::new(SEED);
    for _ in 0..rounds("RIVVEN_POWER_ROUNDS", 6) {
        let running = load.run(&broker, producers);
        // The moment of the cut is what is varied, so this waits for nothing in particular.
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        broker.freeze();
        mount.cut_power();
        broker.kill();
        producers = running.await.expect("the load ends with the broker");
        mount.unmount();
        mount = mounted();
        broker = setup.start();
        load.verify(&broker, false).await;
    }
    load.verify(&broker, true).await;
    let records = load.acked_records();
    assert!(records > 0, "something was acknowledged");
    eprintln!("{records} acknowledged records are where they were promised to be");
    broker.stop();
    inspect(&setup.data);
    mount.unmount();
}

/// The method has teeth: what was promised to the page cache only is gone afterwards, and the same
/// cut leaves what was promised to the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_takes_what_was_never_synced() {
    if !has_root_and(TOOLS) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("disk");
    format(&image, 512 * MIB, EXT4);
    let mounted = || Mount::new(&image, directory.path().join("mounted"));
    let mount = mounted();
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
    let mount = mounted();
    let broker = setup.start();
    let client = broker.client().await;
    assert_eq!(read_all(&client, "fsync", 0, 0).await.len(), 1);
    assert!(read_all(&client, "os", 0, 0).await.len() < 10, "the cut took nothing: it is none");
    broker.stop();
    mount.unmount();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_moment_of_the_disk_holds_what_was_acknowledged_before() {
    if !has_root_and(TOOLS) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let host_image = directory.path().join("host");
    format(&host_image, 4096 * MIB, XFS);
    let host = Mount::new(&host_image, directory.path().join("host.mounted"));
    let (disk, clone) = (host.folder.join("disk"), host.folder.join("clone"));
    format(&disk, 512 * MIB, EXT4);
    let mount = Mount::new(&disk, directory.path().join("mounted"));
    let broker = Setup::new(mount.data()).start();
    let (load, mut producers) = Load::begin(&broker.client().await, 5, 4, SEED).await;
    let mut random = Random::new(SEED);
    for _ in 0..rounds("RIVVEN_POWER_ROUNDS", 6) {
        let running = load.run(&broker, producers);
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        let promised = load.snapshot();
        clone_disk(&disk, &clone);
        let judged = load.with_promises_of(promised);
        load.stop();
        producers = running.await.expect("the load ends when it is told to");
        let cloned = Mount::new(&clone, directory.path().join("cloned"));
        let copy = Setup::new(cloned.data()).start();
        judged.verify(&copy, true).await;
        copy.stop();
        inspect(&cloned.data());
        cloned.unmount();
    }
    assert!(load.acked_records() > 0, "something was acknowledged");
    load.verify(&broker, true).await;
    broker.stop();
    mount.unmount();
    host.unmount();
}

/// The disk as it is at one moment.
fn clone_disk(disk: &Path, clone: &Path) {
    let (disk, clone) = (disk.to_str().expect("text"), clone.to_str().expect("text"));
    run("cp", &["--reflink=always", disk, clone]);
}

fn inspect(data: &Path) {
    let verified = rivvend().args(["inspect", "verify"]).arg(data).output().expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
