//! ListOffsets and OffsetForLeaderEpoch, executed.

use super::{Asked, KafkaAnswer, KafkaPending, ready};
use crate::api::kafka::{Refused, offsets as translate};
use crate::protocol::kafka::ListOffsetsRequest;
use crate::protocol::kafka::OffsetForLeaderEpochRequest;

pub(super) async fn list(asked: Asked, request: ListOffsetsRequest) -> KafkaAnswer {
    // Looking up a time may read from the disk.
    let list = move || {
        let mut refused = Refused::new();
        let view = asked.node.view();
        let response =
            translate::list(request, asked.header.version, &view.context(), &mut refused);
        drop(view);
        asked.answer(&response, refused)
    };
    tokio::task::spawn_blocking(list).await.expect("a panic in a lookup ends the process")
}

pub(super) fn epochs(asked: &Asked, request: OffsetForLeaderEpochRequest) -> KafkaPending {
    let mut refused = Refused::new();
    let view = asked.node.view();
    let response = translate::epochs(request, &view.context(), &mut refused);
    ready(asked.answer(&response, refused))
}
