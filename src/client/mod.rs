//! The asynchronous client of the native protocol: one connection for everything, answers in any
//! order, reconnecting by itself. Used by the commands, the benchmarks and the tests, and by other
//! programs. Knows the protocol and nothing of the broker.
//!
//! [`Client`] makes single calls, [`Producer`] sends records, [`Consumer`] reads them and
//! [`Subscription`] hands out batches as they are stored.
#![doc = include_str!("example.md")]
//! # What is retried
//! A call that changes nothing, or has the same effect twice, is repeated until its time is up; any
//! other is only repeated when the server surely did nothing. [`Producer`] repeats batches under
//! their sequence numbers, so that none is appended twice.

mod buffer;
mod command;
mod connection;
mod consumer;
mod error;
mod groups;
mod link;
mod operations;
mod producer;
mod stranger;
mod subscription;
mod target;

#[cfg(test)]
mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use consumer::{Consumer, ConsumerConfig, ConsumerRecord, OnOutOfRange, Position, StartOffset};
pub use error::ClientError;
pub use operations::Offsets;
pub use producer::{Acks, Delivery, DeliveryHandle, Producer, ProducerConfig, ProducerRecord};
pub use subscription::Subscription;
pub use target::Target;

use crate::limits;
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{Request, Response, ServerHello, response};
use command::{Call, CallId, CancelOnDrop, Command, Commands, Outcome, Reply};
use link::{Link, Status};

/// Commands that wait for the connection's task before callers wait too.
const COMMANDS_MAX: usize = limits::CONNECTION_IN_FLIGHT_MAX;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Name given to the server, for its logs and quotas.
    pub client_id: String,
    /// Longest time one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Time that a call gets unless it brings its own.
    pub request_timeout: Duration,
    /// Silence, while an answer is awaited, after which the server is asked whether it still lives.
    /// After twice that the connection is given up.
    pub keep_alive: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            client_id: "rivvend".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// A handle on a connection to a broker. Clones share the connection; it is closed when the last of
/// them is gone.
#[derive(Clone, Debug)]
pub struct Client {
    commands: Commands,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ClientOptions,
    next_call: AtomicU64,
    status: Arc<Status>,
}

impl Client {
    /// Connects, trying once.
    ///
    /// # Errors
    /// When no connection could be made, or what answers does not speak this protocol.
    pub async fn connect(target: Target, options: ClientOptions) -> Result<Client, ClientError> {
        if options.client_id.len() > limits::CLIENT_ID_BYTES_MAX {
            let max = limits::CLIENT_ID_BYTES_MAX;
            return Err(ClientError::Config(format!("a client id has at most {max} bytes")));
        }
        let (link, connection) =
            Link::open(target, options.connect_timeout, options.keep_alive).await?;
        let hello = arc_swap::ArcSwap::new(connection.hello());
        let status = Arc::new(Status { hello, trouble: arc_swap::ArcSwapOption::empty() });
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(link.run(connection, queue, Arc::clone(&status)));
        let shared = Shared { options, next_call: AtomicU64::new(0), status };
        Ok(Client { commands, shared: Arc::new(shared) })
    }

    /// What the server said of itself when the connection was made.
    #[must_use]
    pub fn server(&self) -> Arc<ServerHello> {
        self.shared.status.hello.load_full()
    }

    /// How this client behaves.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Carries out one operation and returns its result with the payload that came along. Repeats
    /// it within `timeout` where that is safe.
    ///
    /// # Errors
    /// When the server refuses the operation as a whole, or no answer can be had. What went wrong
    /// with single topics or partitions is in the result.
    pub async fn call(
        &self,
        operation: impl Into<Operation>,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<(response::Result, Bytes), ClientError> {
        let operation = operation.into();
        let deadline = Instant::now() + timeout;
        let (name, repeatable) = (operation.name(), operations::is_repeatable(&operation));
        let payload = if payload.is_empty() { Vec::new() } else { vec![payload] };
        let mut pause = link::BACKOFF_MIN;
        loop {
            let attempt = self.attempt(operation.clone(), payload.clone(), timeout, deadline).await;
            let error = match attempt {
                Ok((Response { result: Some(result), .. }, payload)) => {
                    return Ok((result, payload));
                }
                Ok(_) => return Err(self.unexpected(name)),
                Err(error) => error,
            };
            let again = operations::may_repeat(&error, repeatable);
            if !again || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(link::BACKOFF_MAX);
        }
    }

    async fn attempt(
        &self,
        operation: Operation,
        payload: Vec<Bytes>,
        timeout: Duration,
        deadline: Instant,
    ) -> Outcome {
        let name = operation.name();
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            let id = self.start(operation, payload, Reply::Once(reply), deadline).await?;
            let mut cancel = CancelOnDrop { id, commands: self.commands.clone(), armed: true };
            let outcome = answer.await.unwrap_or(Err(ClientError::Closed));
            cancel.armed = false;
            outcome
        };
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.late(name, timeout)),
        }
    }

    /// Queues a request; its answer goes to `reply`.
    async fn start(
        &self,
        operation: Operation,
        payload: Vec<Bytes>,
        reply: Reply,
        deadline: Instant,
    ) -> Result<CallId, ClientError> {
        let id = CallId(self.shared.next_call.fetch_add(1, Ordering::Relaxed));
        let left = deadline.saturating_duration_since(Instant::now());
        let request = Request {
            timeout_ms: server_share(left),
            client_id: self.shared.options.client_id.clone(),
            operation: Some(operation),
        };
        let call = Call { id, request, payload, reply, deadline };
        let command = Command::Call(Box::new(call));
        self.commands.send(command).await.map_err(|_| ClientError::Closed)?;
        Ok(id)
    }

    fn late(&self, operation: &'static str, after: Duration) -> ClientError {
        let cause = self.shared.status.trouble.load_full();
        let cause = cause.map(|error| Box::new(ClientError::clone(&error)));
        ClientError::Timeout { operation, after, cause }
    }

    fn lost(&self, reason: &str) -> ClientError {
        let target = format!("node {}", self.server().node_id);
        ClientError::Disconnected { target, reason: reason.to_owned() }
    }

    fn unexpected(&self, operation: &'static str) -> ClientError {
        ClientError::Protocol {
            target: format!("node {}", self.server().node_id),
            reason: format!("{operation} was answered with the result of something else"),
        }
    }
}

/// What the server is told of the time that is left: a little less, so that its own account of why
/// it took too long still arrives.
fn server_share(left: Duration) -> u32 {
    let margin = (left / 10).min(Duration::from_millis(500));
    u32::try_from((left - margin).as_millis()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
