//! Appends under way: submitted in the order of their request, collected as they settle. What they
//! answer is a label that the protocol chooses.

use crate::api::produce::{Ask, Counted, Outcome};
use crate::broker::Node;
use crate::limits;
use crate::partition::{AppendRefusal, Appended};
use crate::shard::Command;

/// What came of an append.
pub(super) type Settled<L> = (L, Result<Appended, AppendRefusal>);

/// The appends of one request.
pub(super) struct Appends<L> {
    done: Vec<Settled<L>>,
    waiting: Vec<(L, Outcome, Counted)>,
}

impl<L> Appends<L> {
    /// Hands appends to the owners of their partitions, running those that nobody else runs.
    pub(super) fn submit(node: &Node, asks: Vec<(L, Ask)>) -> Appends<L> {
        let mut appends = Appends { done: Vec::new(), waiting: Vec::with_capacity(asks.len()) };
        for (label, ask) in asks {
            let id = ask.handle.id();
            match node.shards().submit(ask.handle.shard(), Command::Append(id, ask.append)) {
                Ok(()) => appends.waiting.push((label, ask.outcome, ask.counted)),
                Err(_full) => {
                    let limit = limits::MAILBOX_COMMANDS_MAX;
                    let refusal = AppendRefusal::Overloaded { pending: limit, limit };
                    appends.done.push((label, Err(refusal)));
                }
            }
        }
        appends.take_settled(node);
        appends
    }

    fn take_settled(&mut self, node: &Node) {
        let mut at = 0;
        while let Some((_, outcome, counted)) = self.waiting.get(at) {
            let outcome = match outcome.try_recv() {
                Ok(outcome) => settle(node, counted, outcome),
                Err(oneshot::TryRecvError::Empty) => {
                    at += 1;
                    continue;
                }
                Err(oneshot::TryRecvError::Disconnected) => Err(AppendRefusal::ShuttingDown),
            };
            let (label, ..) = self.waiting.swap_remove(at);
            self.done.push((label, outcome));
        }
    }

    /// Everything, if nothing has to be waited for.
    pub(super) fn settled(self) -> Result<Vec<Settled<L>>, Appends<L>> {
        if self.waiting.is_empty() { Ok(self.done) } else { Err(self) }
    }

    /// Waits for all of them.
    pub(super) async fn wait(&mut self, node: &Node) {
        while let Some((_, outcome, counted)) = self.waiting.last_mut() {
            let outcome = outcome.await.unwrap_or(Err(AppendRefusal::ShuttingDown));
            let outcome = settle(node, counted, outcome);
            let (label, ..) = self.waiting.pop().expect("it was just waited for");
            self.done.push((label, outcome));
        }
    }

    /// What still has to be waited for.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &L> {
        self.waiting.iter().map(|(label, ..)| label)
    }

    /// What is settled by now.
    pub(super) fn into_done(self) -> Vec<Settled<L>> {
        self.done
    }

    /// What the appends answer, for a client that does not wait for them.
    pub(super) fn into_labels(self) -> impl Iterator<Item = L> {
        let done = self.done.into_iter().map(|(label, _)| label);
        done.chain(self.waiting.into_iter().map(|(label, ..)| label))
    }
}

/// Takes note of an outcome.
fn settle(
    node: &Node,
    counted: &Counted,
    outcome: Result<Appended, AppendRefusal>,
) -> Result<Appended, AppendRefusal> {
    match &outcome {
        Ok(appended) => counted.count(appended),
        Err(refusal) => node.note(refusal),
    }
    outcome
}
