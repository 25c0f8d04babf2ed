//! The asynchronous edge: listeners, framing, flow control, deadlines. Owns sockets and nothing
//! else; what a request means is behind [`service::Service`].
//!
//! One task serves one connection, reading and writing alike ([`transport`]); it polls the answers
//! of its own requests, so nothing is spawned per request. Whatever a peer can make grow has a
//! bound in `limits`; past a bound the connection stops reading, and the peer's own socket makes it
//! wait.

mod admission;
mod arrival;
pub mod executor;
mod handshake;
mod input;
mod kafka;
pub mod listener;
mod native;
mod output;
mod rejection;
pub mod service;
mod socket;
mod stop;
mod streams;
pub mod systemd;
mod transport;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use self::socket::Socket;
pub(crate) use self::stop::Stop;

use self::admission::Room;
use self::handshake::Greeted;
use self::service::{Peer, Service, Session};
use crate::limits;
use crate::protocol::native::message::Response;
use crate::telemetry::{Listener, Quiet, Reason, Telemetry};

/// What an operator decides about the edge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Refuse peers from other machines, because authentication is off.
    pub protected_mode: bool,
    /// Where HTTP is spoken, for those who try it on the wrong port.
    pub http_address: Option<SocketAddr>,
    /// Connections of one listener.
    pub connections_max: usize,
    /// Connections of one listener from one address.
    pub connections_per_address_max: usize,
    /// Bytes of requests under way over all connections.
    pub pending_bytes_max: usize,
    /// Silence after which a connection is closed.
    pub idle_timeout: Duration,
    /// Descriptors with this number or above are left to the process itself: a connection that
    /// gets one is turned away. The system gives the lowest free number, so it says how many are
    /// in use.
    pub descriptors_max: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            protected_mode: true,
            http_address: None,
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_MAX,
            pending_bytes_max: limits::NODE_PENDING_BYTES_MAX,
            idle_timeout: Duration::from_millis(limits::IDLE_MS_DEFAULT),
            descriptors_max: u64::MAX,
        }
    }
}

/// What all listeners and connections of the process share.
#[derive(Debug)]
pub struct Edge<S> {
    service: Arc<S>,
    telemetry: Arc<Telemetry>,
    settings: Settings,
    room: Room,
    stop: Stop,
    quiet: Quiet,
    /// For what is ordinary, so that it does not keep a warning of the same reason back.
    quiet_ordinary: Quiet,
    sessions: AtomicU64,
    started: Instant,
}

impl<S: Service> Edge<S> {
    /// An edge in front of `service`.
    #[must_use]
    pub fn new(service: Arc<S>, telemetry: Arc<Telemetry>, settings: Settings) -> Arc<Edge<S>> {
        telemetry.protected_mode.set(i64::from(settings.protected_mode));
        Arc::new(Edge {
            service,
            telemetry,
            room: Room::new(settings.pending_bytes_max),
            settings,
            stop: Stop::default(),
            quiet: Quiet::default(),
            quiet_ordinary: Quiet::default(),
            sessions: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    /// Serves clients on a TCP port until the edge is stopped; the task ends when its last
    /// connection has.
    pub fn serve_tcp(self: &Arc<Self>, port: tokio::net::TcpListener) -> JoinHandle<()> {
        let acceptor = listener::Acceptor::Tcp(port);
        tokio::spawn(listener::accept(Arc::clone(self), Listener::Client, acceptor, greet))
    }

    /// Serves local clients on the Unix socket until the edge is stopped; the task ends when its
    /// last connection has, and the socket's name is gone by then.
    pub fn serve_unix(self: &Arc<Self>, socket: listener::UnixSocket) -> JoinHandle<()> {
        let acceptor = listener::Acceptor::Unix(socket);
        tokio::spawn(listener::accept(Arc::clone(self), Listener::Unix, acceptor, greet))
    }

    /// A connection of this process to itself, served until either side closes it.
    ///
    /// # Errors
    /// When the system gives no socket pair.
    pub fn embedded(self: &Arc<Self>) -> io::Result<(UnixStream, JoinHandle<()>)> {
        let (client, server) = UnixStream::pair()?;
        let session = self.session(Peer::Embedded);
        let edge = Arc::clone(self);
        let served = tokio::spawn(async move {
            greet(edge, Listener::Embedded, Socket::Unix(server), session).await;
        });
        Ok((client, served))
    }

    /// Stops accepting, lets every connection finish what is under way, and closes whatever is
    /// still open after `grace`. Returns at once; the tasks of the listeners end when it is done.
    pub fn stop(&self, grace: Duration) {
        self.stop.set(Instant::now() + grace);
    }

    pub(crate) fn service(&self) -> &Arc<S> {
        &self.service
    }

    /// The numbers of the process.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    pub(crate) fn stopping(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counts a connection as open until the value is dropped, however its task ends.
    pub(crate) fn opened(&self, listener: Listener) -> Opened {
        self.telemetry.edge.opened(listener);
        Opened { telemetry: Arc::clone(&self.telemetry), listener }
    }

    /// Whether this peer is served at all.
    pub(crate) fn admits(&self, peer: &Peer) -> bool {
        peer.is_local() || !self.settings.protected_mode
    }

    pub(crate) fn session(&self, peer: Peer) -> Session {
        Session { id: self.sessions.fetch_add(1, Ordering::Relaxed), peer, reached: None }
    }

    /// Counts what an answer refuses, whole or in part.
    pub(crate) fn refuse_in(&self, listener: Listener, peer: &Peer, response: &Response) {
        rejection::for_each_error(response, |error| {
            if let Some(reason) = error.error_code().and_then(rejection::reason_of) {
                self.refuse(listener, reason, peer, &error.message);
            }
        });
    }

    /// Counts what an answer refuses, and logs it like [`Edge::reject`]; what sound clients meet in
    /// the course of things is only there for those who look closely.
    pub(crate) fn refuse(
        &self,
        listener: Listener,
        reason: Reason,
        peer: &Peer,
        detail: impl Display,
    ) {
        if !reason.is_ordinary() {
            return self.reject(listener, reason, peer, detail);
        }
        if let Some(left_out) = self.count_rejected(&self.quiet_ordinary, listener, reason, peer) {
            tracing::debug!(
                listener = listener.as_str(),
                reason = reason.as_str(),
                %peer,
                left_out,
                "refused: {}", rejection::Logged(detail)
            );
        }
    }

    /// Counts something turned away and, unless the reason was reported a moment ago, logs it.
    pub(crate) fn reject(
        &self,
        listener: Listener,
        reason: Reason,
        peer: &Peer,
        detail: impl Display,
    ) {
        if let Some(left_out) = self.count_rejected(&self.quiet, listener, reason, peer) {
            tracing::warn!(
                listener = listener.as_str(),
                reason = reason.as_str(),
                %peer,
                left_out,
                "refused: {}", rejection::Logged(detail)
            );
        }
    }

    /// Whether to report it now, and how many reports were left out before.
    fn count_rejected(
        &self,
        quiet: &Quiet,
        listener: Listener,
        reason: Reason,
        peer: &Peer,
    ) -> Option<u64> {
        self.telemetry.edge.rejected(listener, reason);
        if *peer == Peer::Embedded {
            // The command that is refused is this process, and says so itself.
            return None;
        }
        quiet.report(reason, self.started.elapsed().as_millis() as u64)
    }
}

/// What the client of another machine is told while authentication is off.
pub(crate) const PROTECTED_MODE: &str = "protected mode: authentication is off, so only this \
    machine is served; enable auth or set server.protected_mode: false";

/// Serves one connection that has been let in.
async fn greet<S: Service>(
    edge: Arc<Edge<S>>,
    listener: Listener,
    socket: Socket,
    session: Session,
) {
    let opened = edge.opened(listener);
    match handshake::greet(&edge, listener, socket, &session).await {
        Some(Greeted::Native(socket, read)) => {
            native::serve(edge, listener, socket, session, read).await;
        }
        Some(Greeted::Kafka(socket, read)) => {
            kafka::serve(edge, listener, socket, session, read).await;
        }
        None => {}
    }
    drop(opened);
}

/// An open connection, as far as it is counted.
#[derive(Debug)]
pub(crate) struct Opened {
    telemetry: Arc<Telemetry>,
    listener: Listener,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.telemetry.edge.closed(self.listener);
    }
}
