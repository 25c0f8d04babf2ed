//! Disks that fail while the broker runs: nothing is acknowledged that is not kept, a log that met
//! the failure takes nothing more, metadata that can not be written end the process, and the next
//! start finds everything that was acknowledged.

use std::time::SystemTime;

use rivvend::client::Client;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{CreateTopics, NewTopic};
use rustix::process::Signal;

use super::broker::{Broker, PATIENCE, Setup, snapshot, wait_until};
use super::image::{EXT4, Mount, TestDisk, format};
use super::load::{append, batch, create_topic, read, read_all};

const MIB: u64 = 1 << 20;
const TOPIC: &str = "kept";
const STORAGE: i32 = 74;

/// A broker on a disk of its own with one record in each of two partitions.
async fn on_disk(mount: &Mount) -> (Broker, Client) {
    let broker = Setup::new(mount.data()).start();
    let client = broker.client().await;
    create_topic(&client, TOPIC, 2, &[]).await;
    for partition in [0, 1] {
        append(&client, TOPIC, partition, batch(&[b"one"])).await.expect("taken");
    }
    (broker, client)
}

/// No batch is acknowledged, now or later, and the partition says that it is offline.
async fn assert_takes_nothing(client: &Client, partition: i32) {
    for _ in 0..3 {
        let refused = append(client, TOPIC, partition, batch(&[b"two"])).await;
        let error = refused.expect_err("nothing is acknowledged that the disk refused");
        assert_eq!(error.code(), Some(ErrorCode::StorageError), "{error}");
    }
    let error = append(client, TOPIC, partition, batch(&[b"two"])).await.expect_err("offline");
    assert!(error.to_string().contains("restart the broker"), "{error}");
}

/// Metadata that can not be written end the process with the code of storage.
async fn assert_metadata_end_it(mut broker: Broker, client: Client) {
    let topic = NewTopic {
        name: "another".to_owned(),
        partitions: 1,
        replication_factor: -1,
        ..NewTopic::default()
    };
    let create = CreateTopics { topics: vec![topic], validate_only: false };
    // Whether an answer comes before the process ends is a matter of luck, a promise never does.
    if let Ok(created) = client.create_topics(create).await {
        assert!(created[0].error.is_some(), "{created:?}");
    }
    let status = broker.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(STORAGE), "{}", broker.log_text());
    assert!(!broker.log_text().contains("panicked"));
}

async fn assert_kept(disk: &TestDisk) {
    let mount = disk.mount();
    let broker = Setup::new(mount.data()).start();
    let client = broker.client().await;
    for partition in [0, 1] {
        assert_eq!(read_all(&client, TOPIC, partition, 0).await[0].1.as_ref(), b"one");
        append(&client, TOPIC, partition, batch(&[b"two"])).await.expect("it is online again");
    }
    let metadata = client.metadata(&[], false).await.expect("an answer");
    assert_eq!(metadata.topics.len(), 1, "what failed did not happen: {:?}", metadata.topics);
    broker.stop();
    mount.unmount();
}

/// Bad inputs 84 and 85: every write and every sync fails from one moment on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_every_write_and_sync_gets_nothing_acknowledged() {
    let Some(disk) = TestDisk::new(256 * MIB, EXT4) else { return };
    let mount = disk.mount();
    let (broker, client) = on_disk(&mount).await;
    mount.cut_power();
    for partition in [0, 1] {
        assert_takes_nothing(&client, partition).await;
    }
    assert_metadata_end_it(broker, client).await;
    mount.unmount();
    assert_kept(&disk).await;
}

/// Bad input 86: the kernel takes the disk away from writers. Who has not met it is read from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_went_read_only_is_read_from_and_not_written_to() {
    let Some(disk) = TestDisk::new(256 * MIB, EXT4) else { return };
    let mount = disk.mount();
    let (broker, client) = on_disk(&mount).await;
    mount.go_read_only();
    assert_takes_nothing(&client, 0).await;
    let error = read(&client, TOPIC, 0, 0, 0).await.expect_err("it is offline as a whole");
    assert_eq!(error.code(), Some(ErrorCode::StorageError), "{error}");
    assert_eq!(read_all(&client, TOPIC, 1, 0).await.len(), 1, "others are read from");
    assert_metadata_end_it(broker, client).await;
    mount.unmount();
    let checked = std::process::Command::new("e2fsck").args(["-p", "-f"]).arg(&disk.image).output();
    assert!(checked.expect("it runs").status.code() <= Some(1), "repaired");
    assert_kept(&disk).await;
}

/// Bad input 87, when the broker is to stop: nothing can hurry the disk, but it is said what is
/// waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_the_disk_holds_up_names_the_partitions_it_waits_for() {
    // A disk in a file of another one: while that is frozen, no sync of this one returns.
    let Some(disk) = TestDisk::new(512 * MIB, EXT4) else { return };
    let below = disk.mount();
    let image = below.folder.join("image");
    format(&image, 256 * MIB, EXT4);
    let mount = Mount::new(&image, disk.folder("above"));
    let (mut broker, client) = on_disk(&mount).await;
    let since = SystemTime::now();
    let vote = broker.data.join("metadata/vote");
    wait_until("the metadata are written down", || {
        std::fs::metadata(&vote).and_then(|file| file.modified()).expect("there") > since
    });

    let frozen = below.freeze();
    let stuck = tokio::spawn({
        let client = client.clone();
        async move { append(&client, TOPIC, 0, batch(&[b"two"])).await }
    });
    wait_until("it is written and waits for its sync", || {
        snapshot(&broker.data.join("topics")).values().any(|file| file.ends_with(b"two\0"))
    });
    broker.signal(Signal::TERM);
    let told = broker.wait_log("still stopping");
    // The vote may be on its way to the same disk, and then that is what is waited for.
    let awaited = ["1 partition: kept/0;", "the disk to take the metadata;"];
    let is_named = awaited.iter().any(|what| told.contains(what));
    assert!(told.contains("WARN") && is_named, "{told}");
    drop(frozen);
    assert_eq!(broker.wait_exit(PATIENCE).code(), Some(0));
    broker.wait_log("stopped cleanly");
    // Its answer came too late to be heard, which makes it doubtful and no failure.
    let doubtful = stuck.await.expect("no panic").expect_err("the connection was closed");
    assert!(doubtful.is_uncertain(), "{doubtful}");
    let broker = Setup::new(mount.data()).start();
    assert_eq!(read_all(&broker.client().await, TOPIC, 0, 0).await.len(), 2);
    broker.stop();
    mount.unmount();
    below.unmount();
}

/// Bad input 90: where a sync promises nothing, the log says so at the start.
#[test]
fn a_directory_where_syncs_mean_nothing_is_told_of() {
    let Some(disk) = TestDisk::new(128 * MIB, EXT4) else { return };
    let memory = Mount::special("tmpfs", "size=256m", disk.folder("memory"));
    for folder in ["lower", "upper", "work"] {
        std::fs::create_dir(memory.folder.join(folder)).expect("made");
    }
    let at = |folder: &str| memory.folder.join(folder).display().to_string();
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    let overlay = Mount::special("overlay", &layers, disk.folder("overlay"));
    let start =
        |mount: &Mount| Setup::new(mount.data()).env("RIVVEN_STORAGE_LOW_WATER_BYTES", 0).start();
    for (mount, kind) in [(&memory, "tmpfs"), (&overlay, "overlay")] {
        let broker = start(mount);
        let line = broker.wait_log("a sync means nothing there");
        assert!(line.contains("WARN") && line.contains(kind), "{line}");
        broker.stop();
    }
    let mount = disk.mount();
    let broker = start(&mount);
    assert!(!broker.log_text().contains("a sync means nothing"), "{}", broker.log_text());
    broker.stop();
    for mount in [mount, overlay, memory] {
        mount.unmount();
    }
}
