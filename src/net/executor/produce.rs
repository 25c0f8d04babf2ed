//! Produce, executed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::service::{Answer, Pending};
use super::appends::{Appends, Settled};
use super::{failed, timed_out};
use crate::api::produce::{self, Label};
use crate::broker::Node;
use crate::protocol::native::message::{Produce, ProducePartitionResult, Response};

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
    let (mut refused, appends) = (plan.refused, Appends::submit(node, plan.asks));
    if plan.silent {
        refused.extend(appends.into_labels().map(produce::unacknowledged));
        return Pending::Ready(Answer::of(Response::ok(produce::gather(refused))));
    }
    match appends.settled() {
        Ok(settled) => Pending::Ready(answer(refused, settled)),
        Err(mut appends) => {
            let node = Arc::clone(node);
            Pending::Later(Box::pin(async move {
                match tokio::time::timeout(timeout, appends.wait(&node)).await {
                    Ok(()) => answer(refused, appends.into_done()),
                    Err(_elapsed) => failed(timed_out(timeout)),
                }
            }))
        }
    }
}

fn answer(mut results: Vec<ProducePartitionResult>, settled: Vec<Settled<Label>>) -> Answer {
    results.extend(settled.into_iter().map(|(label, outcome)| produce::answer(label, outcome)));
    Answer::of(Response::ok(produce::gather(results)))
}
