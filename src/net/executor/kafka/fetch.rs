//! Fetch, executed.

use super::super::fetch::{look_now, pieces, wait};
use super::{Asked, KafkaAnswer, KafkaPending, ready};
use crate::api::kafka::fetch::{self as translate, Answer};
use crate::net::service::Conversation;
use crate::protocol::kafka::FetchRequest;

pub(super) fn call(
    asked: Asked,
    conversation: &mut Conversation,
    request: FetchRequest,
) -> KafkaPending {
    let session = conversation.fetch.take();
    let view = asked.node.view();
    let sessions = asked.executor.fetch_sessions();
    let (version, context) = (asked.header.version, view.context());
    let plan = match translate::plan(request, version, session, sessions, &context) {
        Ok(plan) => plan,
        Err(answer) => return ready(encode(&asked, *answer)),
    };
    drop(view);
    match look_now(&plan.targets, &plan.bounds) {
        Some(found) => ready(encode(&asked, plan.answer(found))),
        None => KafkaPending::Waiting(Box::pin(async move {
            let found = wait(&plan.targets, &plan.bounds).await;
            encode(&asked, plan.answer(found))
        })),
    }
}

fn encode(asked: &Asked, answer: Answer) -> KafkaAnswer {
    let Answer { response, ranges, refused, session } = answer;
    let spliced = ranges.into_iter().map(|range| pieces(range).collect()).collect();
    let answer = asked.answer_with(&response, spliced, refused);
    KafkaAnswer { conversation: Some(Conversation { fetch: session }), ..answer }
}
