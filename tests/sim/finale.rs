//! The last look: every partition is read from end to end, then the files themselves.

use rivvend::log::{LogView, Position};
use rivvend::partition::Reader;
use rivvend::types::{Millis, Offset};

use crate::history::{Broken, Content, Fact, SegmentFile, Stop, parse};
use crate::node::{Node, directory_of};
use crate::world::World;
use rivvend::storage::Disk;

/// Time stamps that are looked up in each partition.
const LOOKUPS: u64 = 4;

impl World {
    /// Stops the node in order, starts it again and reads everything that is there.
    pub(crate) fn read_everything(&mut self) -> Result<(), Broken> {
        self.stop_in_order()?;
        self.start()?;
        for partition in 0..self.setup.partitions {
            let content = self.read_partition(partition)?;
            self.history.observe(&Fact::Final { partition, content: &content })?;
        }
        self.stop_in_order()?;
        for partition in 0..self.setup.partitions {
            let files = self.files(partition)?;
            self.history.observe(&Fact::Files { partition, files: &files })?;
        }
        Ok(())
    }

    fn stop_in_order(&mut self) -> Result<(), Broken> {
        let now = self.now();
        let Some(mut node) = self.node.take() else {
            return Err("L8: the node is down although all faults are over".into());
        };
        let before = node.ends();
        node.stop(now).map_err(|why| format!("L6: the stop failed on a sound disk: {why}"))?;
        drop::<Node>(node);
        self.gone(Stop::Clean, before);
        Ok(())
    }

    fn read_partition(&mut self, partition: usize) -> Result<Content, Broken> {
        let node = self.node.as_ref().ok_or("the node has just been started")?;
        let view = node.handles[partition].view();
        let (start, end) = (view.start().0, view.high_watermark.offset.0);
        let mut content = Content { start, end, ..Content::default() };
        let mut from = start;
        while from < end {
            let range = view
                .read(Offset(from), Reader::Uncommitted, 1 << 20)
                .and_then(|range| range.copy())
                .map_err(|error| format!("D1: {partition} can not be read at {from}: {error}"))?;
            let batches = parse(range).map_err(|why| format!("D16: {partition}: {why}"))?;
            let Some(last) = batches.last() else { break };
            from = last.next;
            content.batches.extend(batches);
        }
        let newest = content.batches.iter().flat_map(|b| &b.records).map(|r| r.timestamp).max();
        let oldest = content.batches.iter().flat_map(|b| &b.records).map(|r| r.timestamp).min();
        if let (Some(oldest), Some(newest)) = (oldest, newest) {
            for _ in 0..LOOKUPS {
                let room = (newest - oldest) as u64 + 2;
                let timestamp = oldest + self.random.below(room) as i64;
                let found = look_up(&view.log, view.high_watermark, timestamp)?;
                content.lookups.push((timestamp, found));
            }
        }
        Ok(content)
    }

    fn files(&self, partition: usize) -> Result<Vec<SegmentFile>, Broken> {
        let directory = directory_of(partition);
        let Ok(entries) = self.disk.list(&directory) else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for entry in entries {
            if entry.name.ends_with(".deleted") || entry.name.ends_with(".tmp") {
                return Err(format!("D14: {} is left in {}", entry.name, directory.display()));
            }
            let Some(base) = entry.name.strip_suffix(".log") else { continue };
            let base = base.parse().map_err(|_| format!("D16: a segment called {base}"))?;
            let path = directory.join(&entry.name);
            let bytes = self.disk.read_small(&path, 1 << 30).map_err(|error| error.to_string())?;
            files.push(SegmentFile { base, bytes });
        }
        Ok(files)
    }
}

fn look_up(log: &LogView, end: Position, timestamp: i64) -> Result<Option<i64>, Broken> {
    let range = log
        .batch_for_timestamp(Millis(timestamp), end)
        .map_err(|error| format!("D15: a lookup by time fails: {error}"))?;
    let Some(range) = range else { return Ok(None) };
    let bytes = range.copy().map_err(|error| error.to_string())?;
    let batches = parse(bytes).map_err(|why| format!("D15: a lookup by time: {why}"))?;
    Ok(batches.first().map(|batch| batch.base))
}
