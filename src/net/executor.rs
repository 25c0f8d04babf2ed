//! The broker as the edge sees it: executes what the handlers of `api` plan. Appends are submitted
//! inline on the connection's task; reads are ranges of published views; everything else is
//! awaited. Knows partitions only through their handles and commands.

mod admin;
mod appends;
mod config;
mod fetch;
mod groups;
mod kafka;
mod produce;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

pub use self::config::{ReloadReply, Reloaded, Running};
use super::service::{
    Answer, Conversation, Feed, Health, KafkaPending, Pending, Progress, Service, Session,
};
use crate::api::kafka::fetch::Sessions;
use crate::broker::Node;
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{
    Error, MetricsResult, Request, Response, ServerHello, Subscribe,
};
use crate::telemetry::{Gauge, Reason, Telemetry};

/// How long a request may take when it does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// No request may ask for more.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// Executes requests on a node, once there is one.
#[derive(Debug)]
pub struct Executor {
    /// Empty while the node recovers, when only its progress can be asked for.
    node: OnceLock<Arc<Node>>,
    /// Set together with the node.
    running: OnceLock<Arc<Running>>,
    telemetry: Arc<Telemetry>,
    /// What Kafka's clients have told that they read.
    fetch_sessions: Arc<Sessions>,
}

impl Executor {
    /// An executor that says how far recovery is.
    #[must_use]
    pub fn new(telemetry: Arc<Telemetry>) -> Arc<Executor> {
        Arc::new(Executor {
            node: OnceLock::new(),
            running: OnceLock::new(),
            telemetry,
            fetch_sessions: Arc::default(),
        })
    }

    /// Serves this node, which runs with this configuration, from now on.
    ///
    /// # Panics
    /// When it serves one already.
    pub fn serve(&self, node: Arc<Node>, running: Arc<Running>) {
        assert!(self.running.set(running).is_ok(), "an executor serves one node");
        assert!(self.node.set(node).is_ok(), "an executor serves one node");
    }

    fn fetch_sessions(&self) -> &Arc<Sessions> {
        &self.fetch_sessions
    }

    fn node(&self) -> Result<&Arc<Node>, Error> {
        let message = "the broker is recovering; try again in a moment";
        self.node.get().ok_or_else(|| Error::new(ErrorCode::LeaderNotAvailable, message))
    }

    /// What the node runs with. Only for requests, which come once there is a node.
    fn running(&self) -> &Arc<Running> {
        self.running.get().expect("the configuration is there before the node")
    }
}

impl Service for Executor {
    fn hello(&self) -> ServerHello {
        ServerHello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: self.node.get().map_or("", |node| node.cluster_id()).to_owned(),
            node_id: self.node.get().map_or(-1, |node| node.node_id().0),
            frame_bytes_max: limits::FRAME_BYTES_MAX as u32,
            ..ServerHello::default()
        }
    }

    fn call(self: &Arc<Self>, session: &Session, request: Request, payload: Bytes) -> Pending {
        let timeout = match request.timeout_ms {
            0 => TIMEOUT_DEFAULT,
            ms => Duration::from_millis(u64::from(ms)).min(TIMEOUT_MAX),
        };
        let node = match self.node() {
            Ok(node) => node,
            Err(error) => return Pending::Ready(failed(error)),
        };
        match request.operation {
            Some(Operation::Produce(produce)) => produce::call(node, produce, payload, timeout),
            Some(Operation::Fetch(fetch)) => fetch::call(node, fetch),
            Some(Operation::Metrics(_)) => {
                let executor = Arc::clone(self);
                Pending::Later(Box::pin(async move {
                    let text = executor.metrics().await;
                    Answer::of(Response::ok(MetricsResult { text }))
                }))
            }
            Some(Operation::ReloadConfig(_)) => config::reload(self.running(), timeout),
            Some(Operation::Subscribe(_)) | None => {
                let message = "the request names no operation that this version knows";
                Pending::Ready(failed(Error::new(ErrorCode::InvalidRequest, message)))
            }
            Some(operation) if groups::is_of_groups(&operation) => {
                groups::call(node, session, request.client_id, operation, timeout)
            }
            Some(operation) => admin::call(node, self.running(), operation, timeout),
        }
    }

    fn subscribe(
        self: &Arc<Self>,
        _session: &Session,
        subscribe: Subscribe,
    ) -> Result<Box<dyn Feed>, Error> {
        fetch::subscribe(self.node()?, subscribe)
    }

    fn kafka(
        self: &Arc<Self>,
        session: &Session,
        conversation: &mut Conversation,
        frame: Bytes,
    ) -> KafkaPending {
        kafka::call(self, session, conversation, frame)
    }

    fn kafka_refusal(
        self: &Arc<Self>,
        frame: Bytes,
        reason: Reason,
        code: ErrorCode,
        message: &str,
    ) -> KafkaPending {
        kafka::refuse(frame, reason, code, message)
    }

    fn health(&self) -> Health {
        let telemetry = &self.telemetry;
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        match self.node.get() {
            Some(node) if node.is_stopping() => Health::Stopping,
            Some(_) => Health::Ready,
            None => Health::Recovering(Progress {
                logs_done: count(&telemetry.recovery_logs_done),
                logs_total: count(&telemetry.recovery_logs_total),
                bytes_done: count(&telemetry.recovery_bytes_done),
                bytes_total: count(&telemetry.recovery_bytes_total),
            }),
        }
    }

    async fn metrics(self: &Arc<Self>) -> String {
        match self.node.get() {
            Some(node) => node.metrics().await,
            None => self.telemetry.exposition().into_text(),
        }
    }
}

fn failed(error: Error) -> Answer {
    Answer::of(Response::failed(error))
}

fn timed_out(after: Duration) -> Error {
    let message = format!(
        "not done within {} ms; it may still happen, so find out before repeating it",
        after.as_millis()
    );
    Error::new(ErrorCode::RequestTimedOut, message)
}
