//! Which log is compacted when: one pass at a time on the whole node, over the dirtiest log, with
//! one budget of memory and no faster than it may. Asks the owners; does the reading and writing on
//! a thread of its own, where nothing waits for it. Tells what it does to the handles of the
//! partitions, for who looks at them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::node::Node;
use crate::limits::COMPACTION_STEP_BYTES;
use crate::log::{
    Compaction, CompactionError, CompactionOptions, CompactionReport, CompactionStep, Dirt,
    Exchange, ReadError, Survey,
};
use crate::partition::{Exchanged, PassEnd, PassRecord, Passes, Reply};
use crate::shard::{Command, shard_of};
use crate::storage::{Operation, StorageError};
use crate::types::{Millis, Offset, TopicPartition};

/// What compaction may use on a node.
#[derive(Clone, Copy, Debug)]
pub struct CompactionPolicy {
    /// Memory for the keys of a pass.
    pub memory_bytes: usize,
    /// Bytes that are read and written in a second; `None` is as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// Time between two looks for what has to be compacted.
    pub check_interval: Duration,
}

/// How a pass ended.
enum End {
    /// All was looked at that there was.
    Whole,
    /// Another has to follow.
    Partly,
    /// Something else was more important.
    Interrupted(&'static str),
    /// It could not go on.
    Failed(CompactionError),
}

impl From<&End> for PassEnd {
    fn from(end: &End) -> PassEnd {
        match end {
            End::Whole | End::Partly => PassEnd::Done,
            End::Interrupted(why) => PassEnd::PutOff(why),
            End::Failed(error) => PassEnd::Failed(error.to_string().into()),
        }
    }
}

/// Compacts what is dirty, until the node stops.
pub(super) async fn keep_compact(node: Weak<Node>) {
    let Some(policy) = node.upgrade().map(|node| node.options().compaction) else { return };
    // Logs over which a pass has failed are left alone for the rest of this process, as long as
    // they are no dirtier: what is damaged does not mend itself.
    let mut failed = std::collections::BTreeMap::new();
    loop {
        tokio::time::sleep(policy.check_interval).await;
        loop {
            let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else { return };
            let dirt = assess(&node).await;
            failed.retain(|id, _| dirt.iter().any(|(dirty, _)| dirty == id));
            let worth = |(id, dirt): &&(TopicPartition, Dirt)| {
                dirt.is_due && failed.get(id) != Some(&dirt.dirty_bytes)
            };
            let Some((id, dirt)) = dirt.iter().filter(worth).max_by_key(|(_, dirt)| dirt.ppm())
            else {
                break;
            };
            match compact(&node, *id, dirt.until, policy).await {
                Some(End::Whole | End::Partly) => {}
                Some(End::Failed(_)) => _ = failed.insert(*id, dirt.dirty_bytes),
                Some(End::Interrupted(_)) | None => break,
            }
        }
    }
}

/// How much there is for a pass, of each partition where there is something.
async fn assess(node: &Arc<Node>) -> Vec<(TopicPartition, Dirt)> {
    let mut surveys = Vec::new();
    for shard in 0..node.shards().count() {
        let (reply, survey) = Reply::channel();
        let asked = node.shards().submit(shard, Command::Survey(reply));
        if asked.is_ok() {
            surveys.extend(survey.await.unwrap_or_default());
        }
    }
    let now = (node.options().clock)().wall;
    // Ages may have to be read from the disk, which neither an owner nor this task may wait for.
    let dirt = move |(id, survey): (TopicPartition, Survey)| Some((id, dirt_of(id, &survey, now)?));
    let assess = move || surveys.into_iter().filter_map(dirt).collect();
    tokio::task::spawn_blocking(assess).await.expect("a panic ends the process")
}

fn dirt_of(partition: TopicPartition, survey: &Survey, now: Millis) -> Option<Dirt> {
    match survey.assess(now) {
        Ok(dirt) => dirt,
        // Retention has removed a segment meanwhile.
        Err(ReadError::Stale) => None,
        Err(error) => {
            tracing::warn!(%partition, %error, "the log can not be compacted");
            None
        }
    }
}

/// Passes over a log until it is clean up to `until`. `None` when there was nothing to do.
async fn compact(
    node: &Arc<Node>,
    id: TopicPartition,
    until: Offset,
    policy: CompactionPolicy,
) -> Option<End> {
    let shard = shard_of(id, node.shards().count());
    loop {
        let (memory_bytes, seed) = (policy.memory_bytes, uuid::Uuid::new_v4().as_u128());
        let options = Box::new(CompactionOptions { memory_bytes, seed, until });
        let (reply, pass) = Reply::channel();
        submit(node, shard, Command::Compact(id, options, reply)).await;
        let pass = pass.await.ok().flatten()?;
        let begun_ms = (node.options().clock)().monotonic_ms;
        note(node, id, None);
        let (pass, end) = take_steps(node, shard, id, pass, policy).await;
        let report = *pass.report();
        let abandon = move || pass.abandon();
        tokio::task::spawn_blocking(abandon).await.expect("a panic ends the process");
        let took_ms = (node.options().clock)().monotonic_ms - begun_ms;
        tell(node, id, &report, &end, took_ms);
        give_back(node, shard, id, &end).await;
        let at = (node.options().clock)().wall;
        note(node, id, Some(PassRecord { at, took_ms, end: (&end).into(), report }));
        if !matches!(end, End::Partly) {
            return Some(end);
        }
    }
}

async fn take_steps(
    node: &Arc<Node>,
    shard: usize,
    id: TopicPartition,
    mut pass: Box<Compaction>,
    policy: CompactionPolicy,
) -> (Box<Compaction>, End) {
    loop {
        if let Some(why) = interruption(node, &pass) {
            return (pass, End::Interrupted(why));
        }
        let before_ms = (node.options().clock)().monotonic_ms;
        let work = move || {
            let step = pass.step(COMPACTION_STEP_BYTES);
            (pass, step)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let step;
        (pass, step) = done.expect("a panic ends the process");
        match step {
            Err(error) => return (pass, End::Failed(error)),
            Ok(CompactionStep::Done { is_whole: true }) => return (pass, End::Whole),
            Ok(CompactionStep::Done { is_whole: false }) => return (pass, End::Partly),
            Ok(CompactionStep::More(bytes)) => {
                let took_ms = (node.options().clock)().monotonic_ms - before_ms;
                rest(bytes, took_ms, policy).await;
            }
            Ok(CompactionStep::Exchange(exchange)) => {
                match exchange_segments(node, shard, id, exchange).await {
                    Exchanged::Done => {}
                    Exchanged::Failed => return (pass, End::Interrupted("its disk failed")),
                    Exchanged::Refused(exchange) => {
                        pass.refused(&exchange);
                        return (pass, End::Interrupted("the log has changed"));
                    }
                }
            }
        }
    }
}

/// Why a pass has to end before its next step.
fn interruption(node: &Node, pass: &Compaction) -> Option<&'static str> {
    if node.is_stopping() || pass.is_cancelled() {
        return Some("the log is being closed");
    }
    // What it writes goes beside what it will replace.
    node.space().refusal().map(|_| "the disk is full")
}

/// Waits as long as keeps the pass from being faster than it may.
async fn rest(bytes: u64, took_ms: u64, policy: CompactionPolicy) {
    let Some(rate) = policy.bytes_per_second.filter(|rate| *rate > 0) else { return };
    let due_ms = bytes.saturating_mul(1_000) / rate;
    tokio::time::sleep(Duration::from_millis(due_ms.saturating_sub(took_ms))).await;
}

async fn exchange_segments(
    node: &Arc<Node>,
    shard: usize,
    id: TopicPartition,
    exchange: Exchange,
) -> Exchanged {
    let (reply, exchanged) = Reply::channel();
    submit(node, shard, Command::Exchange(id, Box::new(exchange), reply)).await;
    exchanged.await.unwrap_or(Exchanged::Failed)
}

/// Tells the owner that the pass is over, so that the log can be closed.
async fn give_back(node: &Arc<Node>, shard: usize, id: TopicPartition, end: &End) {
    let failed = match end {
        End::Failed(CompactionError::Unwritable(error)) => failed_sync(error),
        End::Failed(CompactionError::Unreadable(ReadError::Storage(error))) => failed_sync(error),
        _ => None,
    };
    submit(node, shard, Command::EndCompaction(id, failed)).await;
}

/// The error, where it was a sync that failed: that is final for more than what it was about.
fn failed_sync(error: &StorageError) -> Option<Box<StorageError>> {
    let is_final = error.operation == Operation::Sync;
    let source = std::io::Error::new(error.source.kind(), error.source.to_string());
    is_final.then(|| Box::new(StorageError::new(Operation::Sync, &error.path, source)))
}

/// Tells who looks at the partition that a pass over it begins, or has ended.
fn note(node: &Node, id: TopicPartition, ended: Option<PassRecord>) {
    let Some(handle) = node.directory().partition(id) else { return };
    let is_running = ended.is_none();
    let last = match ended {
        Some(record) => Some(Arc::new(record)),
        None => handle.passes().and_then(|passes| passes.last.clone()),
    };
    handle.note_passes(Passes { is_running, last });
}

/// Hands over a command that may not be refused, on a thread that may wait.
async fn submit(node: &Arc<Node>, shard: usize, command: Command) {
    let node = Arc::clone(node);
    let submit = move || node.shards().submit_waiting(shard, command);
    tokio::task::spawn_blocking(submit).await.expect("a panic ends the process");
}

fn tell(node: &Node, id: TopicPartition, report: &CompactionReport, end: &End, took_ms: u64) {
    let metrics = &node.telemetry().compaction;
    metrics.passes.add(1);
    metrics.read_bytes.add(report.read_bytes);
    metrics.written_bytes.add(report.written_bytes);
    metrics.removed_bytes.add(report.removed_bytes);
    metrics.removed_records.add(report.removed_records);
    metrics.busy_ms.add(took_ms);
    let view = node.view();
    let topic = view.image().topic_by_id(id.topic).map_or("?", |topic| &*topic.name);
    let partition = id.partition;
    match end {
        End::Whole | End::Partly => tracing::info!(
            topic,
            %partition,
            removed_records = report.removed_records,
            removed_bytes = report.removed_bytes,
            keyless_records = report.keyless_records,
            keys = report.keys,
            read_bytes = report.read_bytes,
            written_bytes = report.written_bytes,
            segments_before = report.replaced_segments,
            segments_after = report.new_segments,
            took_ms,
            is_whole = matches!(end, End::Whole),
            "compacted"
        ),
        End::Interrupted(why) => {
            tracing::info!(topic, %partition, why, took_ms, "compaction is put off");
        }
        End::Failed(error) => {
            metrics.failures.add(1);
            tracing::error!(topic, %partition, %error, took_ms, "a partition is not compacted");
        }
    }
}
