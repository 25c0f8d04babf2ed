//! Fetches ahead of the printer: a task asks the broker for the next data while the last are being
//! formatted. Checks batches on the way and keeps the position of each partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rivvend::client::Client;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{Fetch, FetchPartition, FetchPartitionResult};
use rivvend::record::{Batches, CheckedBatch};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// How much one fetch may bring, of all partitions and of one.
const FETCH_BYTES_MAX: u32 = 8 << 20;
const PARTITION_BYTES_MAX: u32 = 4 << 20;
/// How long the broker holds a fetch that finds nothing new.
const WAIT_MS_MAX: u32 = 5_000;
/// Partitions' results that wait for the printer.
const QUEUE: usize = 4;
/// Pause before a partition that has no leader at the moment is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A partition and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Next offset to read.
    pub(super) next: i64,
    /// First offset that is not read any more; none: reading goes on.
    pub(super) stop: Option<i64>,
}

impl Reading {
    fn is_done(&self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }
}

/// What a fetch brought of one partition. The first and the last batch may reach beyond what was
/// asked for.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// First offset that counts.
    pub(super) from: i64,
    /// First offset that does not count any more.
    pub(super) stop: Option<i64>,
    pub(super) batches: Vec<CheckedBatch>,
}

type Item = Result<Fetched, Failure>;

/// The queue between the task and the printer.
pub(super) struct Fetcher {
    queue: mpsc::Receiver<Item>,
}

impl Fetcher {
    /// Starts fetching; ends when every partition has reached its stop.
    pub(super) fn start(
        client: &Client,
        readings: Vec<Reading>,
        read_committed: bool,
        timeout: Duration,
    ) -> Fetcher {
        let (sender, queue) = mpsc::channel(QUEUE);
        let client = client.clone();
        tokio::spawn(async move {
            let mut task = Task { client, read_committed, timeout, sender, trouble_since: None };
            if let Err(failure) = task.run(readings).await {
                // A printer that has left needs no reason.
                let _ = task.sender.send(Err(failure)).await;
            }
        });
        Fetcher { queue }
    }

    /// What has been fetched already, if anything: `Some(None)` at the end.
    pub(super) fn ready(&mut self) -> Option<Option<Item>> {
        match self.queue.try_recv() {
            Ok(item) => Some(Some(item)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(None),
        }
    }

    /// Waits for what is fetched next; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Item> {
        self.queue.recv().await
    }
}

struct Task {
    client: Client,
    read_committed: bool,
    timeout: Duration,
    sender: mpsc::Sender<Item>,
    /// Since when a partition could not be read for a reason that may pass.
    trouble_since: Option<Instant>,
}

impl Task {
    async fn run(&mut self, mut readings: Vec<Reading>) -> Result<(), Failure> {
        readings.retain(|reading| !reading.is_done());
        while !readings.is_empty() && !self.sender.is_closed() {
            // The partitions take turns at the front, where the broker starts to fill its answer.
            readings.rotate_left(1);
            let results = self.client.fetch(self.request(&readings)).await?;
            let mut is_troubled = false;
            for (result, bytes) in results {
                let found = readings
                    .iter_mut()
                    .find(|r| r.partition == result.partition && r.topic == result.topic);
                let Some(reading) = found else { continue };
                is_troubled |= !self.take(reading, result, bytes).await?;
            }
            readings.retain(|reading| !reading.is_done());
            self.bear(is_troubled).await;
        }
        Ok(())
    }

    fn request(&self, readings: &[Reading]) -> Fetch {
        let partition = |reading: &Reading| FetchPartition {
            topic: reading.topic.clone(),
            partition: reading.partition,
            offset: reading.next,
            max_bytes: PARTITION_BYTES_MAX,
        };
        Fetch {
            partitions: readings.iter().map(partition).collect(),
            max_bytes: FETCH_BYTES_MAX,
            min_bytes: 1,
            max_wait_ms: WAIT_MS_MAX,
            read_committed: self.read_committed,
        }
    }

    /// Takes one partition's result; false when it has to be asked again.
    async fn take(
        &mut self,
        reading: &mut Reading,
        result: FetchPartitionResult,
        bytes: Bytes,
    ) -> Result<bool, Failure> {
        if let Some(error) = result.error {
            let is_behind = reading.next < result.log_start_offset;
            if error.error_code() == Some(ErrorCode::OffsetOutOfRange) && is_behind {
                let (topic, partition) = (&reading.topic, reading.partition);
                let (next, start) = (reading.next, result.log_start_offset);
                eprintln!("warning: {topic}/{partition}: offsets {next} to {start} are gone");
                reading.next = start;
                return Ok(true);
            }
            let has_time = self.trouble_since.is_none_or(|since| since.elapsed() < self.timeout);
            return if error.retriable && has_time { Ok(false) } else { Err(error.into()) };
        }
        let mut fetched = Fetched {
            topic: Arc::from(reading.topic.as_str()),
            partition: reading.partition,
            from: reading.next,
            stop: reading.stop,
            batches: Vec::new(),
        };
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| {
                let (topic, partition, next) = (&reading.topic, reading.partition, reading.next);
                Failure::failed(format!("{topic}/{partition} at offset {next}: {error}"))
            })?;
            reading.next = reading.next.max(next_offset(&batch));
            if !batch.header().is_control() {
                fetched.batches.push(batch);
            }
        }
        if !fetched.batches.is_empty() {
            // The printer has left when it has enough.
            let _ = self.sender.send(Ok(fetched)).await;
        }
        Ok(true)
    }

    /// Waits a little when a partition could not be read.
    async fn bear(&mut self, is_troubled: bool) {
        if is_troubled {
            self.trouble_since.get_or_insert_with(Instant::now);
            tokio::time::sleep(RETRY_PAUSE).await;
        } else {
            self.trouble_since = None;
        }
    }
}

/// As the header's own arithmetic, but for numbers that a stranger sent.
fn next_offset(batch: &CheckedBatch) -> i64 {
    let header = batch.header();
    header.base_offset.0.saturating_add(i64::from(header.last_offset_delta)).saturating_add(1)
}
