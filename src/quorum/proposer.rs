//! The one proposer: takes waiting commands, decides them one after another on a scratch image and
//! proposes all their records as one entry, one at a time. So each command sees those before it,
//! and a thousand topics cost a handful of syncs. Replies, refusals included, leave only once what
//! they depend on is committed and applied.

use std::sync::Arc;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{Raft, ServerState};
use tokio::sync::{mpsc, oneshot};

use super::error::ProposeError;
use super::machine::Published;
use super::types::{Applied, Proposal, TypeConfig};
use crate::limits;
use crate::metadata::{self, Command, Image, Refusal, Reply};
use crate::time::Now;
use crate::types::{NodeId, Offset};

/// An answer, and the offset of the metadata log that it depends on.
pub(super) type Answer = Result<(Reply, Offset), ProposeError>;

/// A command that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) now: Now,
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// See the module.
pub(super) struct Proposer {
    raft: Raft<TypeConfig>,
    published: Arc<Published>,
    commands: mpsc::Receiver<Waiting>,
    /// The term in which this node is known to lead with every earlier entry applied.
    leading: Option<u64>,
}

/// Decided commands that go into one entry.
struct Batch {
    proposal: Proposal,
    decided: Vec<(Waiting, Result<Reply, Refusal>)>,
}

impl Proposer {
    pub(super) fn new(
        raft: Raft<TypeConfig>,
        published: Arc<Published>,
        commands: mpsc::Receiver<Waiting>,
    ) -> Proposer {
        Proposer { raft, published, commands, leading: None }
    }

    /// Runs until nobody can propose any more.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.next().await {
            if let Err(error) = self.lead().await {
                self.fail(first, &error);
                continue;
            }
            let batch = self.decide(first);
            self.propose(batch).await;
        }
    }

    /// The next command that somebody waits for. Whoever has stopped waiting does not want it to
    /// happen any more.
    async fn next(&mut self) -> Option<Waiting> {
        loop {
            let waiting = self.commands.recv().await?;
            if !waiting.reply.is_closed() {
                return Some(waiting);
            }
        }
    }

    /// The same without waiting.
    fn next_queued(&mut self) -> Option<Waiting> {
        loop {
            let waiting = self.commands.try_recv().ok()?;
            if !waiting.reply.is_closed() {
                return Some(waiting);
            }
        }
    }

    /// Makes sure that this node leads and its image has everything that was committed before.
    async fn lead(&mut self) -> Result<(), ProposeError> {
        let (state, term) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.state, metrics.current_term)
        };
        if state == ServerState::Leader && self.leading == Some(term) {
            return Ok(());
        }
        self.leading = None;
        confirm(&self.raft).await?;
        self.leading = Some(term);
        Ok(())
    }

    fn decide(&mut self, first: Waiting) -> Batch {
        let image = self.published.image();
        let mut scratch = Image::clone(&image);
        let mut batch = Batch {
            proposal: Proposal {
                at: first.now.wall,
                base: image.version(),
                records: bytes::Bytes::new(),
            },
            decided: Vec::new(),
        };
        let mut records = Vec::new();
        let mut next = Some(first);
        while let Some(waiting) = next {
            let decided = decide_one(&mut scratch, &waiting, &mut records);
            batch.decided.push((waiting, decided));
            let full = records.len() >= limits::METADATA_ENTRY_BYTES
                || batch.decided.len() >= limits::METADATA_COMMANDS_MAX;
            next = if full { None } else { self.next_queued() };
        }
        batch.proposal.records = records.into();
        batch
    }

    async fn propose(&mut self, batch: Batch) {
        let base = batch.proposal.base;
        if batch.proposal.records.is_empty() {
            return answer(batch.decided, base);
        }
        match self.raft.client_write(batch.proposal).await {
            Ok(written) if written.data == Applied::Changed => {
                answer(batch.decided, written.log_id.index);
            }
            // Leadership went and came back in between, and with it entries of others. Rare enough
            // to leave the second try to those who asked.
            Ok(_) => {
                self.leading = None;
                self.fail_all(batch.decided, &ProposeError::NotLeader { leader: None });
            }
            Err(error) => {
                self.leading = None;
                let error = propose_error(error);
                self.fail_all(batch.decided, &error);
            }
        }
    }

    fn fail(&self, waiting: Waiting, error: &ProposeError) {
        _ = waiting.reply.send(Err(error.clone()));
    }

    fn fail_all(&self, decided: Vec<(Waiting, Result<Reply, Refusal>)>, error: &ProposeError) {
        decided.into_iter().for_each(|(waiting, _)| self.fail(waiting, error));
    }
}

fn decide_one(
    scratch: &mut Image,
    waiting: &Waiting,
    records: &mut Vec<u8>,
) -> Result<Reply, Refusal> {
    let outcome = metadata::decide(scratch, waiting.now, waiting.command.clone())?;
    for record in &outcome.records {
        scratch.replay(record);
        record.encode(records);
    }
    Ok(outcome.reply)
}

fn answer(decided: Vec<(Waiting, Result<Reply, Refusal>)>, index: u64) {
    let position = Offset(i64::try_from(index).expect("2^63 entries are never written"));
    for (waiting, result) in decided {
        let result = result.map(|reply| (reply, position)).map_err(ProposeError::from);
        // Whoever does not wait any more does not need to know.
        _ = waiting.reply.send(result);
    }
}

/// Waits until this node's image has everything that was committed before the call, anywhere.
pub(super) async fn confirm(raft: &Raft<TypeConfig>) -> Result<(), ProposeError> {
    match raft.ensure_linearizable().await {
        Ok(_) => Ok(()),
        Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
        Err(RaftError::APIError(error)) => Err(ProposeError::NotLeader {
            leader: match error {
                openraft::error::CheckIsLeaderError::ForwardToLeader(forward) => {
                    forward.leader_id.and_then(node_id)
                }
                openraft::error::CheckIsLeaderError::QuorumNotEnough(_) => None,
            },
        }),
    }
}

fn propose_error(
    error: RaftError<u64, ClientWriteError<u64, super::types::Member>>,
) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id.and_then(node_id) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            unreachable!("a proposal does not change the membership: {error}")
        }
        RaftError::Fatal(_) => ProposeError::Stopped,
    }
}

/// A Raft id as one of ours.
pub(super) fn node_id(id: u64) -> Option<NodeId> {
    i32::try_from(id).ok().map(NodeId)
}
