//! A full disk is a state and not a crash: writing is refused with numbers, everything else goes
//! on, and writing resumes by itself when there is room.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rivvend::client::{Client, ClientError};
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{DeleteRecords, DeleteRecordsPartition, DeleteTopics};
use rustix::fs::{FallocateFlags, fallocate};

use super::broker::{PATIENCE, Setup};
use super::image::{EXT4, TestDisk};
use super::load::{append, batch, create_topic, read, read_all};

const MIB: u64 = 1 << 20;
const TOPIC: &str = "filling";
/// Appends after which the disk of these tests is full for certain.
const APPENDS_MAX: usize = 2_000;

/// A value that says which it is.
fn value(number: usize) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(500_000, number as u8);
    value
}

/// Appends until the disk is full; how many were acknowledged, and the refusal.
async fn fill(client: &Client, from: usize) -> (usize, ClientError) {
    for number in from..from + APPENDS_MAX {
        match append(client, TOPIC, 0, batch(&[&value(number)])).await {
            Ok(offset) => assert_eq!(offset, number as i64, "nothing refused was appended"),
            Err(error) => return (number, error),
        }
    }
    panic!("the disk never filled up");
}

fn assert_says_full(error: &ClientError) {
    assert_eq!(error.code(), Some(ErrorCode::DiskFull), "{error}");
    assert!(error.is_retriable(), "{error}");
}

async fn assert_whole(client: &Client, from: usize, count: usize) {
    let mut next = from;
    while next < count {
        let (values, _) = read(client, TOPIC, 0, next as i64, 0).await.expect("reading goes on");
        assert_eq!(values.first().map(|(offset, _)| *offset), Some(next as i64));
        for (offset, found) in values {
            assert!(found == value(offset as usize), "a wrong value at {offset}");
            next = offset as usize + 1;
        }
    }
}

async fn delete_below(client: &Client, before_offset: i64) {
    let entry = DeleteRecordsPartition { topic: TOPIC.to_owned(), partition: 0, before_offset };
    let delete = DeleteRecords { partitions: vec![entry], validate_only: false };
    let deleted = client.delete_records(delete).await.expect("an answer");
    assert_eq!(deleted[0].error, None, "deleting goes on");
}

/// Tries until writing is accepted again; returns the number after the one that was.
async fn resumed(client: &Client, number: usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match append(client, TOPIC, 0, batch(&[&value(number)])).await {
            Ok(offset) => {
                assert_eq!(offset, number as i64);
                return number + 1;
            }
            Err(error) => assert_says_full(&error),
        }
        assert!(Instant::now() < deadline, "writing never resumed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Takes all the room there is, or gives it back.
fn take_room(path: &Path) {
    let file = fs::File::create(path).expect("made");
    let (mut at, mut step) = (0, 64 * MIB);
    while step >= 4_096 {
        match fallocate(&file, FallocateFlags::empty(), at, step) {
            Ok(()) => at += step,
            Err(_) => step /= 2,
        }
    }
}

/// Bad input 83: refused before there is nothing left, however quick the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_low_water_mark_everything_but_writing_goes_on() {
    let Some(disk) = TestDisk::new(256 * MIB, EXT4) else { return };
    let mount = disk.mount();
    let setup = Setup::new(mount.data());
    let broker = setup.start();
    let client = broker.client().await;
    create_topic(&client, TOPIC, 1, &[("segment.bytes", (8 * MIB).to_string())]).await;
    let (count, error) = fill(&client, 0).await;
    assert_says_full(&error);
    let said = error.to_string();
    assert!(said.contains("bytes free") && said.contains("needs"), "{said}");
    let metrics = client.metrics().await.expect("an answer");
    assert!(metrics.contains("\nrivven_disk_full 1\n"), "the alarm is raised: {metrics}");
    broker.wait_log("disk full");
    assert_whole(&client, 0, count).await;
    create_topic(&client, "another", 1, &[]).await;
    let names = vec!["another".to_owned()];
    let deleted = client.delete_topics(DeleteTopics { names, validate_only: false }).await;
    assert_eq!(deleted.expect("an answer")[0].error, None);
    drop(client);
    broker.kill();

    let broker = setup.start();
    let client = broker.client().await;
    assert_whole(&client, 0, count).await;
    // A start may find a little more room than there was, but not for long.
    let (count, error) = fill(&client, count).await;
    assert_says_full(&error);
    delete_below(&client, count as i64 - 10).await;
    let next = resumed(&client, count).await;
    assert_whole(&client, count - 10, next).await;
    broker.stop();
    mount.unmount();
}

/// Bad input 82: the file system itself has nothing left, in the middle of an append.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_no_room_leaves_nothing_behind() {
    // Without reserve for root, as the broker of this test is.
    let ext4 = [EXT4, &["-m", "0"]].concat();
    let Some(disk) = TestDisk::new(256 * MIB, &ext4) else { return };
    let mount = disk.mount();
    let setup = Setup::new(mount.data()).env("RIVVEN_STORAGE_LOW_WATER_BYTES", 0);
    let mut broker = setup.start();
    let mut client = broker.client().await;
    create_topic(&client, TOPIC, 1, &[("segment.bytes", (8 * MIB).to_string())]).await;
    let mut count = 0;
    let hog = mount.folder.join("hog");
    for round in 0..4 {
        count = resumed(&client, count).await;
        take_room(&hog);
        let (full_at, error) = fill(&client, count).await;
        assert_says_full(&error);
        count = full_at;
        assert_whole(&client, 0, count).await;
        if round % 2 == 1 {
            broker.kill();
            broker = setup.start();
            client = broker.client().await;
            assert_whole(&client, 0, count).await;
        }
        fs::remove_file(&hog).expect("removed");
        count = resumed(&client, count).await;
    }
    assert_eq!(read_all(&client, TOPIC, 0, 0).await.len(), count);
    assert_whole(&client, 0, count).await;
    broker.stop();
    mount.unmount();
}
