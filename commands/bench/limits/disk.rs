//! What the disk does, without any network: how long a sync takes by the size of what is new, and
//! how fast threads that sync every block write, each its own file.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::appender::{Appender, Sync};
use super::measurement::Measurement;
use super::{Limits, claim, joined};
use crate::bench::latency::Latencies;
use crate::bench::stop;

/// Appends that a size is measured with at most …
const APPENDS_MAX: u64 = 500;
/// … and for how long.
const TIME: Duration = Duration::from_secs(1);

/// Append and sync, one thread, by size.
pub(super) fn latency(limits: &Limits<'_>) -> anyhow::Result<Vec<Measurement>> {
    let sizes = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
    sizes.into_iter().map(|size| latency_of(limits, size)).collect()
}

fn latency_of(limits: &Limits<'_>, size: usize) -> anyhow::Result<Measurement> {
    let part = limits.directory.part("sync")?;
    let mut appender = Appender::create(&part.path().join("log"), Sync::After, None)?;
    let block = vec![0x5A; size];
    let mut latencies = Latencies::new();
    let (begun, mut count) = (Instant::now(), 0);
    while count < APPENDS_MAX && begun.elapsed() < TIME {
        stop::check()?;
        let started = Instant::now();
        appender.append(&block)?;
        latencies.record(started.elapsed());
        count += 1;
    }
    let measured = Measurement::new("disk.sync", 1, size, count, begun.elapsed());
    let latency_ms = Some(latencies.quantiles());
    Ok(Measurement { durability: Some("fsync".into()), latency_ms, ..measured })
}

/// Blocks that are synced one by one, plain and with a bounded share of the page cache.
pub(super) fn bandwidth(limits: &Limits<'_>) -> anyhow::Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for threads in [1, 4, 8] {
        found.push(write(limits, "disk.plain", threads, Sync::After, None)?);
        let window = Some(limits.window_bytes / threads as u64);
        found.push(write(limits, "disk.drop_behind", threads, Sync::After, window)?);
        found.push(write(limits, "disk.write_through", threads, Sync::Within, window)?);
    }
    Ok(found)
}

fn write(
    limits: &Limits<'_>,
    name: &'static str,
    threads: usize,
    sync: Sync,
    window: Option<u64>,
) -> anyhow::Result<Measurement> {
    let part = limits.directory.part("disk")?;
    let count = limits.bytes / limits.block.payload_bytes;
    let left = AtomicU64::new(count);
    let appenders = (0..threads)
        .map(|thread| Appender::create(&part.path().join(thread.to_string()), sync, window))
        .collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let all = std::thread::scope(|scope| {
        let left = &left;
        let writers: Vec<_> = appenders
            .into_iter()
            .map(|appender| scope.spawn(move || write_blocks(limits, appender, left)))
            .collect();
        writers.into_iter().map(joined).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let elapsed = begun.elapsed();
    let mut latencies = Latencies::new();
    all.iter().for_each(|more| latencies.merge(more));
    let block_bytes = limits.block.payload_bytes as usize;
    let measured = Measurement::new(name, threads, block_bytes, count, elapsed);
    drop(part);
    limits.directory.settle()?;
    let latency_ms = Some(latencies.quantiles());
    Ok(Measurement { durability: Some("fsync".into()), latency_ms, ..measured })
}

fn write_blocks(
    limits: &Limits<'_>,
    mut appender: Appender,
    left: &AtomicU64,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    while claim(left) {
        stop::check()?;
        let started = Instant::now();
        appender.append(&limits.block.bytes)?;
        latencies.record(started.elapsed());
    }
    Ok(latencies)
}
