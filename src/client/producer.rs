//! Sends records: gathers them into batches, keeps several under way, repeats what failed without
//! appending anything twice or out of order. The handle is here; [`task`] does the work, one
//! [`queue`] per partition knows what may be sent when, and [`batch`] what is sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Client, ClientError};
use crate::limits;
#[cfg(doc)]
use crate::protocol::error::ErrorCode;
use crate::record::{CheckedBatch, Compression};
use crate::types::Durability;

mod batch;
mod queue;
mod task;

use batch::Acknowledge;
use task::{Input, Place, Task};

/// What a record costs beside its bytes, against the bound on what waits.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// When an append counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// When it is durable on every replica that is in sync.
    #[default]
    All,
    /// When the leader has it.
    Leader,
    /// As soon as the leader has read it; offsets are unknown then.
    None,
}

impl Acks {
    fn code(self) -> i32 {
        match self {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::None => 0,
        }
    }
}

/// How a producer behaves.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// When an append counts as done.
    pub acks: Acks,
    /// How batches are compressed.
    pub compression: Compression,
    /// How hard the codec tries; its own default without this.
    pub compression_level: Option<i32>,
    /// Batches are sent at this size, before compression.
    pub batch_bytes: usize,
    /// Longest a record waits for others while a batch is not full. With zero a batch grows only
    /// while everything that may be under way is.
    pub linger: Duration,
    /// Requests under way at once, each with at most one batch of a partition.
    pub in_flight: usize,
    /// Number batches, so that the broker drops those it has already. Needs [`Acks::All`] and at
    /// most five requests in flight. Without it, repeating may append twice, and out of order.
    pub idempotent: bool,
    /// Time from a record's acceptance to the last try to send it.
    pub delivery_timeout: Duration,
    /// Bytes of records that may wait or be under way; beyond it, sending waits.
    pub buffer_bytes: usize,
    /// Create missing topics where the server allows it.
    pub auto_create: bool,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: Acks::All,
            compression: Compression::None,
            compression_level: None,
            batch_bytes: 16_384,
            linger: Duration::ZERO,
            in_flight: limits::PRODUCER_BATCHES,
            idempotent: true,
            delivery_timeout: Duration::from_secs(120),
            buffer_bytes: 32 * 1024 * 1024,
            auto_create: true,
        }
    }
}

impl ProducerConfig {
    fn check(&self) -> Result<(), ClientError> {
        let refuse = |text: String| Err(ClientError::Config(text));
        if self.idempotent && self.acks != Acks::All {
            return refuse(
                "an idempotent producer needs acks=all; or set idempotent: false".into(),
            );
        }
        let most = limits::PRODUCER_BATCHES;
        if self.idempotent && self.in_flight > most {
            let text = format!("an idempotent producer has at most {most} requests in flight");
            return refuse(text);
        }
        if self.in_flight == 0 || self.batch_bytes == 0 || self.buffer_bytes == 0 {
            return refuse("in_flight, batch_bytes and buffer_bytes are at least 1".into());
        }
        if self.batch_bytes > limits::BATCH_BYTES_MAX {
            let max = limits::BATCH_BYTES_MAX;
            return refuse(format!("a batch has at most {max} bytes"));
        }
        if self.buffer_bytes > u32::MAX as usize {
            return refuse("buffer_bytes is at most 4 GiB".into());
        }
        Ok(())
    }
}

/// A record to be sent.
#[derive(Clone, Debug, Default)]
pub struct ProducerRecord {
    /// The topic. Sharing one name among many records saves time.
    pub topic: Arc<str>,
    /// Index of the partition; without one the key decides, and without a key the producer.
    pub partition: Option<i32>,
    /// What partitioning and compaction go by.
    pub key: Option<Bytes>,
    /// The content; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// Names and values that travel with the record.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since 1970; without one, the time at which it was accepted.
    pub timestamp: Option<i64>,
}

impl ProducerRecord {
    /// A record with a value and nothing else.
    pub fn new(topic: impl Into<Arc<str>>, value: impl Into<Bytes>) -> ProducerRecord {
        let (topic, value) = (topic.into(), Some(value.into()));
        ProducerRecord { topic, value, ..ProducerRecord::default() }
    }

    /// Bytes of everything in it.
    fn bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + len(value));
        len(&self.key) + len(&self.value) + headers.sum::<usize>()
    }
}

/// Where a record or batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Index of the partition.
    pub partition: i32,
    /// Offset of the record, or of the batch's first; -1 where the server could not tell.
    pub offset: i64,
    /// What the acknowledgement meant, as far as the server said.
    pub durability: Option<Durability>,
}

/// Waits for an acknowledgement. Dropping it changes nothing about the delivery.
#[derive(Debug)]
#[must_use = "errors are only seen by who awaits the delivery"]
pub struct DeliveryHandle(oneshot::Receiver<Result<Delivery, ClientError>>);

impl Future for DeliveryHandle {
    type Output = Result<Delivery, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or(Err(ClientError::Closed)))
    }
}

/// Sends records. Clones share everything. What was accepted is still sent after the last of them
/// is gone, as long as the runtime lives; [`Producer::close`] waits for that.
#[derive(Clone)]
pub struct Producer {
    inputs: mpsc::UnboundedSender<Input>,
    buffer: Arc<Semaphore>,
    buffer_bytes: usize,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("buffer_bytes", &self.buffer_bytes).finish()
    }
}

impl Producer {
    /// A producer over the client's connection. An idempotent one gets its producer id first.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or there is no producer id to be had.
    pub async fn new(client: Client, config: ProducerConfig) -> Result<Producer, ClientError> {
        config.check()?;
        let buffer = Arc::new(Semaphore::new(config.buffer_bytes));
        let buffer_bytes = config.buffer_bytes;
        let (inputs, queue) = mpsc::unbounded_channel();
        let task = Task::new(client, config, Arc::clone(&buffer), queue).await?;
        tokio::spawn(task.run());
        Ok(Producer { inputs, buffer, buffer_bytes })
    }

    /// Sends a record and waits until it is acknowledged. To keep many under way,
    /// [`enqueue`](Producer::enqueue) them and await the handles later.
    ///
    /// # Errors
    /// When the record was refused or could not be delivered in time.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        self.enqueue(record).await?.await
    }

    /// Accepts a record, waiting while too many bytes are on their way. Records of one caller to
    /// one partition are appended in the order in which they were accepted.
    ///
    /// # Errors
    /// When the record can never be sent. What becomes of one that can, the handle tells.
    pub async fn enqueue(&self, record: ProducerRecord) -> Result<DeliveryHandle, ClientError> {
        if record.headers.len() > limits::RECORD_HEADERS_MAX {
            let max = limits::RECORD_HEADERS_MAX;
            return Err(ClientError::Record(format!("a record has at most {max} headers")));
        }
        let bytes = record.bytes();
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(ClientError::TooLarge { bytes, limit: limits::BATCH_BYTES_MAX });
        }
        let cost = self.reserve(bytes + RECORD_OVERHEAD_BYTES).await?;
        let (acknowledge, handle) = oneshot::channel();
        self.put(Input::Record { record, cost, acknowledge }, DeliveryHandle(handle))
    }

    /// Accepts a whole batch as it is, the fastest path. An idempotent producer numbers it as its
    /// own, unless it names a producer already.
    ///
    /// # Errors
    /// When the client is closed. What becomes of the batch, the handle tells.
    pub async fn send_batch(
        &self,
        topic: &Arc<str>,
        partition: i32,
        batch: CheckedBatch,
    ) -> Result<DeliveryHandle, ClientError> {
        self.put_batch((Arc::clone(topic), partition), batch, None).await
    }

    /// As [`send_batch`](Producer::send_batch), but only if the batch's first record gets exactly
    /// this offset, so that whoever writes knows everything that was written before. Otherwise the
    /// handle ends with [`ErrorCode::UnexpectedOffset`], whose details hold the offset it would
    /// have got, and nothing is appended.
    ///
    /// A refusal does not hold back batches that were sent behind it, and one of them may find its
    /// own offset by chance: await the handle before sending the next.
    ///
    /// # Errors
    /// As [`send_batch`](Producer::send_batch).
    pub async fn send_batch_at(
        &self,
        topic: &Arc<str>,
        partition: i32,
        expected_offset: i64,
        batch: CheckedBatch,
    ) -> Result<DeliveryHandle, ClientError> {
        self.put_batch((Arc::clone(topic), partition), batch, Some(expected_offset)).await
    }

    async fn put_batch(
        &self,
        place: Place,
        batch: CheckedBatch,
        expected_offset: Option<i64>,
    ) -> Result<DeliveryHandle, ClientError> {
        let cost = self.reserve(batch.bytes().len()).await?;
        let (acknowledge, handle) = oneshot::channel();
        let acknowledge = Acknowledge::Batch(acknowledge);
        let input = Input::Batch { place, batch, expected_offset, cost, acknowledge };
        self.put(input, DeliveryHandle(handle))
    }

    /// Sends what waits without lingering, and waits until everything accepted before is
    /// acknowledged or has failed.
    ///
    /// # Errors
    /// When the client is closed. Failed deliveries are the handles' to tell.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (done, flushed) = oneshot::channel();
        self.put(Input::Flush(done), ())?;
        flushed.await.map_err(|_| ClientError::Closed)
    }

    /// Flushes and lets go of the producer. Clones of it go on.
    ///
    /// # Errors
    /// As [`flush`](Producer::flush).
    pub async fn close(self) -> Result<(), ClientError> {
        self.flush().await
    }

    /// Takes room in the buffer; one record is always admitted, however small the buffer.
    async fn reserve(&self, bytes: usize) -> Result<usize, ClientError> {
        let cost = bytes.min(self.buffer_bytes);
        let room = u32::try_from(cost).expect("the configuration keeps the buffer below 4 GiB");
        let permit = self.buffer.acquire_many(room).await.map_err(|_| ClientError::Closed)?;
        // Whoever finishes the delivery gives it back.
        permit.forget();
        Ok(cost)
    }

    fn put<T>(&self, input: Input, handle: T) -> Result<T, ClientError> {
        self.inputs.send(input).map_err(|_| ClientError::Closed)?;
        Ok(handle)
    }
}

#[cfg(test)]
mod tests;
