//! Batches as they become visible, pushed by the server and paid for with credit. What they hold is
//! [`super::consumer`]'s business.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::command::{CancelOnDrop, Command, Piece, Reply};
use super::operations::split_payload;
use super::{Client, ClientError};
use crate::protocol::native::message::{FetchPartitionResult, Subscribe};

/// Pieces that may wait for a subscriber. Credit bounds their bytes; this bounds what an endless
/// row of tiny ones costs.
const PIECES_MAX: usize = 128 * 1024;

/// A stream of what becomes visible in some partitions. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    pieces: mpsc::Receiver<Result<Piece, ClientError>>,
    /// Shares of the frame that is being handed out, and its size.
    shares: VecDeque<(FetchPartitionResult, Bytes)>,
    frame_bytes: usize,
    /// Bytes that were handed out and whose credit was not returned yet.
    owed: usize,
    call: CancelOnDrop,
}

impl Client {
    /// Subscribes to what the partitions hold from the given offsets on, and to whatever comes
    /// after. The server sends up to `window_bytes` ahead of what was taken, and never fewer than
    /// it grants by itself.
    ///
    /// # Errors
    /// When the client is closed. That the server refuses is the first thing the stream yields.
    pub async fn subscribe(
        &self,
        subscribe: Subscribe,
        window_bytes: u32,
    ) -> Result<Subscription, ClientError> {
        let (events, pieces) = mpsc::channel(PIECES_MAX);
        let deadline = Instant::now() + self.options().request_timeout;
        let id = self.start(subscribe.into(), Vec::new(), Reply::Stream(events), deadline).await?;
        let call = CancelOnDrop { id, commands: self.commands.clone(), armed: true };
        let subscription = Subscription {
            client: self.clone(),
            pieces,
            shares: VecDeque::new(),
            frame_bytes: 0,
            owed: 0,
            call,
        };
        let granted = self.server().credit_bytes;
        if window_bytes > granted {
            subscription.grant(window_bytes - granted).await;
        }
        Ok(subscription)
    }
}

impl Subscription {
    /// The next batches of one partition, or what is wrong with it. `None` when the server has
    /// ended the stream; an error ends it too. Asking for the next says that the last is done with,
    /// which returns its credit. May be dropped at any point without losing anything.
    pub async fn next(&mut self) -> Option<Result<(FetchPartitionResult, Bytes), ClientError>> {
        loop {
            if let Some(share) = self.shares.pop_front() {
                return Some(Ok(share));
            }
            self.owed += std::mem::take(&mut self.frame_bytes);
            self.settle().await;
            let (partitions, payload) = match self.pieces.recv().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.call.armed = false;
                    return None;
                }
            };
            self.frame_bytes = payload.len();
            match split_payload(partitions, payload) {
                Some(shares) => self.shares = shares.into(),
                None => return Some(Err(self.client.unexpected("Subscribe"))),
            }
        }
    }

    /// Returns credit in few large portions: a quarter of what the server grants is never missed.
    async fn settle(&mut self) {
        if self.owed == 0 || self.owed < self.client.server().credit_bytes as usize / 4 {
            return;
        }
        let bytes = u32::try_from(self.owed).unwrap_or(u32::MAX);
        self.grant(bytes).await;
        self.owed -= bytes as usize;
    }

    /// A connection that is gone has told the stream, so there is nothing to report here.
    async fn grant(&self, bytes: u32) {
        drop(self.call.commands.send(Command::Credit(self.call.id, bytes)).await);
    }
}
