//! What callers ask of the connection's task, and how the answers come back.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::error::ClientError;
use crate::protocol::native::message::{FetchPartitionResult, Request, Response};

/// Names one call for its whole life, over every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallId(pub(super) u64);

/// How a call ends.
pub(super) type Outcome = Result<(Response, Bytes), ClientError>;

/// One DATA frame: results and the payload they share.
pub(super) type Piece = (Vec<FetchPartitionResult>, Bytes);

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// To one waiting caller.
    Once(oneshot::Sender<Outcome>),
    /// To a task that has many calls under way and told them apart by a number.
    Tagged(u64, mpsc::UnboundedSender<(u64, Outcome)>),
    /// To a subscription: pieces, then at most one error.
    Stream(mpsc::Sender<Result<Piece, ClientError>>),
}

impl Reply {
    /// Gives the answer. Whoever no longer waits for it is no error.
    pub(super) fn give(self, outcome: Outcome) {
        match self {
            Reply::Once(caller) => drop(caller.send(outcome)),
            Reply::Tagged(tag, task) => drop(task.send((tag, outcome))),
            // When the queue is full of data nobody takes, dropping the sender says enough.
            Reply::Stream(events) => {
                if let Err(error) = outcome {
                    drop(events.try_send(Err(error)));
                }
            }
        }
    }
}

/// A request on its way to the connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) request: Request,
    pub(super) payload: Vec<Bytes>,
    pub(super) reply: Reply,
    /// Until when a connection for it is looked for.
    pub(super) deadline: Instant,
}

/// What the task can be asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Send a request.
    Call(Box<Call>),
    /// Return credit of a subscription.
    Credit(CallId, u32),
    /// Nobody waits for the call's answer any more.
    Cancel(CallId),
}

/// The callers' end of the queue to the connection's task; many may hold it.
pub(super) type Commands = mpsc::Sender<Command>;

/// Cancels its call unless the answer came.
#[derive(Debug)]
pub(super) struct CancelOnDrop {
    pub(super) id: CallId,
    pub(super) commands: Commands,
    pub(super) armed: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            // A full queue only means that the answer will come and be thrown away.
            drop(self.commands.try_send(Command::Cancel(self.id)));
        }
    }
}
