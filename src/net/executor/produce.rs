//! Produce, executed: submit in order, collect the outcomes as they settle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::service::{Answer, Pending};
use super::{failed, timed_out};
use crate::api::produce::{self, Ask, Label, Outcome};
use crate::broker::Node;
use crate::limits;
use crate::partition::{AppendRefusal, Appended};
use crate::protocol::native::message::{Produce, ProducePartitionResult, Response};
use crate::shard::Command;

pub(super) fn call(
    node: &Arc<Node>,
    request: Produce,
    payload: Bytes,
    timeout: Duration,
) -> Pending {
    node.expect_bytes(payload.len());
    let view = node.view();
    let plan = match produce::plan(request, payload, &view.context()) {
        Ok(plan) => plan,
        Err(error) => return Pending::Ready(failed(error)),
    };
    let mut results = plan.refused;
    let mut waiting = Vec::with_capacity(plan.asks.len());
    for ask in plan.asks {
        match submit(node, ask) {
            Ok(waiter) => waiting.push(waiter),
            Err(result) => results.push(result),
        }
    }
    if plan.silent {
        results.extend(waiting.into_iter().map(|(label, _)| produce::unacknowledged(label)));
        return Pending::Ready(Answer::of(Response::ok(produce::gather(results))));
    }
    collect(node, waiting, results, timeout)
}

/// Hands an append to the partition's owner and runs the owner if nobody else does.
fn submit(node: &Node, ask: Ask) -> Result<(Label, Outcome), ProducePartitionResult> {
    let id = ask.handle.id();
    match node.shards().submit(ask.handle.shard(), Command::Append(id, ask.append)) {
        Ok(()) => Ok((ask.label, ask.outcome)),
        Err(_full) => {
            let limit = limits::MAILBOX_COMMANDS_MAX;
            let refusal = AppendRefusal::Overloaded { pending: limit, limit };
            Err(produce::answer(ask.label, Err(refusal)))
        }
    }
}

/// Turns an outcome into the answer for its entry.
fn settled(
    node: &Node,
    label: Label,
    outcome: Result<Appended, AppendRefusal>,
) -> ProducePartitionResult {
    if let Err(refusal) = &outcome {
        node.note(refusal);
    }
    produce::answer(label, outcome)
}

fn collect(
    node: &Arc<Node>,
    waiting: Vec<(Label, Outcome)>,
    mut results: Vec<ProducePartitionResult>,
    timeout: Duration,
) -> Pending {
    let mut later = Vec::new();
    for (label, outcome) in waiting {
        match outcome.try_recv() {
            Ok(outcome) => results.push(settled(node, label, outcome)),
            Err(oneshot::TryRecvError::Empty) => later.push((label, outcome)),
            Err(oneshot::TryRecvError::Disconnected) => {
                results.push(produce::answer(label, Err(AppendRefusal::ShuttingDown)));
            }
        }
    }
    if later.is_empty() {
        return Pending::Ready(Answer::of(Response::ok(produce::gather(results))));
    }
    let node = Arc::clone(node);
    Pending::Later(Box::pin(async move {
        let all = async {
            for (label, outcome) in later {
                let outcome = outcome.await.unwrap_or(Err(AppendRefusal::ShuttingDown));
                results.push(settled(&node, label, outcome));
            }
            results
        };
        match tokio::time::timeout(timeout, all).await {
            Ok(results) => Answer::of(Response::ok(produce::gather(results))),
            Err(_elapsed) => failed(timed_out(timeout)),
        }
    }))
}
