//! A partition driven by hand on the simulated disk: what is acknowledged, and when.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::log::LogConfig;
use crate::record::{BatchBuilder, CheckedBatch, Compression, NewRecord};
use crate::storage::memory::{Fault, FaultKind, MemoryDisk};
use crate::types::{Millis, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId};

const NOW: Now = Now { wall: Millis(1_000), monotonic_ms: 0 };

fn partition() -> Partition {
    partition_on(&MemoryDisk::default())
}

fn partition_on(disk: &MemoryDisk) -> Partition {
    let disk = Arc::new(disk.clone());
    let log = Log::create(disk, PathBuf::from("/p"), LogConfig::default());
    let id = TopicPartition { topic: TopicId::from_bytes([1; 16]), partition: PartitionId(0) };
    Partition::lead(id, 0, log, LeaderEpoch(1))
}

fn batch(sequence: Option<i32>) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord { timestamp: NOW.wall, value: Some(b"v"), ..NewRecord::default() });
    if let Some(sequence) = sequence {
        builder = builder.producer(ProducerId(7), ProducerEpoch(0), Sequence(sequence));
    }
    builder.build()
}

fn append(
    partition: &mut Partition,
    batch: CheckedBatch,
    expected_offset: Option<Offset>,
) -> Answer<Result<Appended, AppendRefusal>> {
    let (reply, answer) = Reply::channel();
    partition.append(NOW, Append { batches: vec![batch], expected_offset, reply });
    answer
}

fn settle(partition: &mut Partition) -> Option<Job> {
    let mut jobs = Vec::new();
    partition.settle(NOW, &mut |job| jobs.push(job));
    assert!(jobs.len() <= 1, "so little needs no upkeep");
    jobs.pop()
}

fn settle_all(partition: &mut Partition) {
    while let Some(job) = settle(partition) {
        partition.finish(job.run());
    }
}

#[test]
fn nothing_is_acknowledged_or_shown_before_its_sync() {
    let mut partition = partition();
    let answer = append(&mut partition, batch(None), None);
    let job = settle(&mut partition).expect("something waits for a sync");
    assert!(answer.try_recv().is_err(), "D1: written is not durable");
    assert_eq!(partition.handle().view().high_watermark.offset, Offset(0));
    partition.finish(job.run());
    assert!(settle(&mut partition).is_none());
    let appended = answer.try_recv().expect("an answer").expect("accepted");
    assert_eq!((appended.base_offset, appended.next_offset), (Offset(0), Offset(1)));
    assert_eq!(partition.handle().view().high_watermark.offset, Offset(1));
}

/// No sync comes when everything is durable, so nothing would ever release these replies.
#[test]
fn a_repeat_and_a_refusal_that_rest_on_durable_records_are_answered_at_once() {
    let mut partition = partition();
    let first = append(&mut partition, batch(Some(0)), None);
    settle_all(&mut partition);
    assert!(first.try_recv().expect("an answer").is_ok());

    let again = append(&mut partition, batch(Some(0)), None);
    let appended = again.try_recv().expect("P2: at once").expect("the first answer again");
    assert_eq!(appended.base_offset, Offset(0));

    let gap = append(&mut partition, batch(Some(5)), None);
    let refusal = gap.try_recv().expect("P3: at once").expect_err("a gap");
    assert!(matches!(refusal, AppendRefusal::OutOfOrderSequence { .. }), "{refusal:?}");

    let wrong = append(&mut partition, batch(None), Some(Offset(9)));
    let refusal = wrong.try_recv().expect("at once").expect_err("another end");
    let expected = AppendRefusal::UnexpectedOffset { expected: Offset(9), actual: Offset(1) };
    assert_eq!(refusal, expected);
}

#[test]
fn a_repeat_of_records_that_are_not_durable_waits_with_them() {
    let mut partition = partition();
    let first = append(&mut partition, batch(Some(0)), None);
    let job = settle(&mut partition).expect("a sync");
    let again = append(&mut partition, batch(Some(0)), None);
    assert!(settle(&mut partition).is_none(), "one sync at a time");
    assert!(again.try_recv().is_err(), "a crash could still take the first one back");
    partition.finish(job.run());
    settle_all(&mut partition);
    assert!(first.try_recv().expect("an answer").is_ok());
    assert_eq!(again.try_recv().expect("an answer").expect("ok").base_offset, Offset(0));
}

#[test]
fn records_gathered_in_one_step_keep_their_order_and_one_sync_covers_them() {
    let mut partition = partition();
    let answers: Vec<_> = (0..10).map(|_| append(&mut partition, batch(None), None)).collect();
    settle_all(&mut partition);
    for (index, answer) in answers.into_iter().enumerate() {
        let appended = answer.try_recv().expect("an answer").expect("accepted");
        assert_eq!(appended.base_offset, Offset(index as i64));
    }
}

#[test]
fn a_deletion_waits_for_the_sync_under_way_and_never_passes_the_high_watermark() {
    let mut partition = partition();
    for _ in 0..3 {
        drop(append(&mut partition, batch(None), None));
    }
    let job = settle(&mut partition).expect("a sync");
    let (reply, deleted) = Reply::channel();
    partition.delete_records(Some(Offset(2)), reply);
    assert!(settle(&mut partition).is_none());
    assert!(deleted.try_recv().is_err(), "the log is busy");
    partition.finish(job.run());
    settle_all(&mut partition);
    assert_eq!(deleted.try_recv().expect("an answer"), Ok(Offset(2)));
    assert_eq!(partition.handle().view().start(), Offset(2));

    let (reply, beyond) = Reply::channel();
    partition.delete_records(Some(Offset(4)), reply);
    settle_all(&mut partition);
    let refusal = beyond.try_recv().expect("an answer").expect_err("D13");
    assert!(matches!(refusal, AppendRefusal::OutOfRange { .. }), "{refusal:?}");
}

/// Nobody is refused for records that are refused themselves.
#[test]
fn a_refusal_does_not_rest_on_records_for_which_there_was_no_room() {
    let disk = MemoryDisk::default();
    let mut partition = partition_on(&disk);
    drop(append(&mut partition, batch(None), None));
    let job = settle(&mut partition).expect("a sync");
    let gathered = append(&mut partition, batch(None), None);
    assert!(settle(&mut partition).is_none(), "it waits for the sync under way");
    disk.inject(Fault::once(FaultKind::NoSpace, ".log"));
    let conditional = append(&mut partition, batch(None), Some(Offset(1)));
    let refusal = gathered.try_recv().expect("an answer").expect_err("no room");
    assert!(matches!(refusal, AppendRefusal::DiskFull(_)), "{refusal:?}");
    partition.finish(job.run());
    settle_all(&mut partition);
    let appended = conditional.try_recv().expect("an answer").expect("offset 1 was free");
    assert_eq!(appended.base_offset, Offset(1));
}
