//! Keeps a client connected: runs the present connection, and makes the next one when it broke and
//! somebody asks for something. Calls that were not sent yet simply wait in the queue meanwhile.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::command::{Call, Command};
use super::connection::{Connection, End, Transport, connect_error};
use super::error::ClientError;
use super::target::{self, Address, Target};
use crate::protocol::native::message::ServerHello;

/// Pause after a first failure to connect; doubles up to [`BACKOFF_MAX`].
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What callers can see of the link.
#[derive(Debug)]
pub(super) struct Status {
    /// What the server said of itself at the last greeting.
    pub(super) hello: ArcSwap<ServerHello>,
    /// Why there is no connection, while that is so.
    pub(super) trouble: ArcSwapOption<ClientError>,
}

/// How connections are made.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    address: Address,
    connect_timeout: Duration,
    keep_alive: Duration,
}

impl Link {
    /// Makes the first connection.
    pub(super) async fn open(
        target: Target,
        connect_timeout: Duration,
        keep_alive: Duration,
    ) -> Result<(Link, Connection), ClientError> {
        let name = target.to_string();
        let (address, connected) = target.split();
        let link = Link { name, address, connect_timeout, keep_alive };
        let connection = link.connect(connected, connect_timeout).await?;
        Ok((link, connection))
    }

    async fn connect(
        &self,
        connected: Option<std::os::unix::net::UnixStream>,
        patience: Duration,
    ) -> Result<Connection, ClientError> {
        let failed = |error| connect_error(&self.name, error);
        let open = async {
            let transport: Box<dyn Transport> = match connected {
                Some(stream) => target::adopt(stream).map_err(failed)?,
                None => self.address.open().await.map_err(failed)?,
            };
            Connection::open(self.name.clone(), transport, self.keep_alive).await
        };
        let late = || {
            let text = format!("no greeting within {patience:?}");
            failed(io::Error::new(io::ErrorKind::TimedOut, text))
        };
        tokio::time::timeout(patience, open).await.unwrap_or_else(|_| Err(late()))
    }

    /// Serves commands until every sender is gone.
    pub(super) async fn run(
        self,
        mut connection: Connection,
        mut commands: mpsc::Receiver<Command>,
        status: Arc<Status>,
    ) {
        loop {
            match connection.run(&mut commands).await {
                End::Unused => return,
                End::Broken(error) => status.trouble.store(Some(Arc::new(error))),
            }
            // The server learns at once that nobody listens any more, not with the next connection.
            drop(connection);
            match self.reconnect(&mut commands, &status).await {
                Some(next) => connection = next,
                None => return,
            }
            status.trouble.store(None);
            status.hello.store(connection.hello());
        }
    }

    /// Makes the next connection when a call asks for it; `None` when none ever will.
    async fn reconnect(
        &self,
        commands: &mut mpsc::Receiver<Command>,
        status: &Status,
    ) -> Option<Connection> {
        loop {
            // What concerns calls of the broken connection ended with it.
            let Command::Call(call) = commands.recv().await? else { continue };
            match self.connect_for(&call, status).await {
                Ok(mut connection) => {
                    connection.take(Command::Call(call));
                    return Some(connection);
                }
                Err(error) => call.reply.give(Err(error)),
            }
        }
    }

    /// Tries until the call's deadline.
    async fn connect_for(&self, call: &Call, status: &Status) -> Result<Connection, ClientError> {
        if matches!(self.address, Address::Once) {
            return Err(ClientError::Closed);
        }
        let mut pause = BACKOFF_MIN;
        loop {
            let left = call.deadline.saturating_duration_since(Instant::now());
            let error = match self.connect(None, left.min(self.connect_timeout)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            status.trouble.store(Some(Arc::new(error.clone())));
            if !error.is_retriable() || Instant::now() + pause >= call.deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }
}
