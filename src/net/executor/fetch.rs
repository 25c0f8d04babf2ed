//! Fetch and subscribe, executed: look at the views, wait for their changes, never poll.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use event_listener::EventListener;

use super::super::service::{Answer, Feed, FileRange, Next, NextData, Payload, Pending, Piece};
use super::failed;
use crate::api::fetch::{self, Bounds, Found, Name, Target};
use crate::broker::Node;
use crate::log::ReadRange;
use crate::partition::Reader;
use crate::protocol::native::message::{
    Error, Fetch, FetchResult, Response, Subscribe, SubscribeData,
};

/// Payload of one DATA frame when the client has no wish.
const FRAME_BYTES_DEFAULT: usize = 1 << 20;

pub(super) fn call(node: &Arc<Node>, request: Fetch) -> Pending {
    let view = node.view();
    let plan = match fetch::plan(request, &view.context()) {
        Ok(plan) => plan,
        Err(error) => return Pending::Ready(failed(error)),
    };
    match look_now(&plan.targets, &plan.bounds) {
        Some(found) => Pending::Ready(answer(&plan.targets, &plan.names, found)),
        None => Pending::Later(Box::pin(async move {
            let found = wait(&plan.targets, &plan.bounds).await;
            answer(&plan.targets, &plan.names, found)
        })),
    }
}

/// What there is, unless more has to be waited for.
pub(super) fn look_now(targets: &[Target], bounds: &Bounds) -> Option<Found> {
    let found = look(targets, bounds.reader, bounds.bytes_max);
    let is_enough = found.failed || found.bytes >= bounds.bytes_min || bounds.wait_ms == 0;
    is_enough.then_some(found)
}

/// Opens a subscription.
pub(super) fn subscribe(node: &Arc<Node>, request: Subscribe) -> Result<Box<dyn Feed>, Error> {
    let view = node.view();
    let (names, targets) = fetch::targets(request.partitions, &view.context())?;
    let frame_bytes = match request.frame_bytes as usize {
        0 => FRAME_BYTES_DEFAULT,
        bytes => bytes.min(crate::limits::FETCH_BYTES_MAX),
    };
    let reader = fetch::reader(request.read_committed);
    Ok(Box::new(Subscription { names, targets, reader, frame_bytes }))
}

/// Waits until there is enough, something fails, or the time is up.
pub(super) async fn wait(targets: &[Target], bounds: &Bounds) -> Found {
    let deadline = tokio::time::sleep(Duration::from_millis(u64::from(bounds.wait_ms)));
    tokio::pin!(deadline);
    loop {
        // Registered before the views are looked at, or a change in between would be missed.
        let mut changes = listen(targets);
        let found = look(targets, bounds.reader, bounds.bytes_max);
        if found.failed || found.bytes >= bounds.bytes_min || deadline.is_elapsed() {
            return found;
        }
        tokio::select! {
            () = any(&mut changes) => {}
            () = &mut deadline => {}
        }
    }
}

/// Looking may read from a disk when data is checked for the first time, which must not hold up the
/// other connections of this thread.
fn look(targets: &[Target], reader: Reader, bytes_max: usize) -> Found {
    if targets.iter().flatten().all(|cursor| cursor.handle.view().log.is_own(cursor.offset)) {
        fetch::look(targets, reader, bytes_max)
    } else {
        tokio::task::block_in_place(|| fetch::look(targets, reader, bytes_max))
    }
}

fn listen(targets: &[Target]) -> Vec<EventListener> {
    targets.iter().flatten().map(|cursor| cursor.handle.listen()).collect()
}

/// Ends when one of the listeners is notified.
async fn any(listeners: &mut [EventListener]) {
    poll_fn(|context| {
        let notified = listeners.iter_mut().any(|l| Pin::new(l).poll(context) == Poll::Ready(()));
        if notified { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn answer(targets: &[Target], names: &[Name], found: Found) -> Answer {
    found.count(targets);
    let (partitions, ranges) = found.into_parts(names);
    Answer { response: Response::ok(FetchResult { partitions }), payload: payload(ranges) }
}

fn payload(ranges: Vec<ReadRange>) -> Payload {
    ranges.into_iter().flat_map(pieces).collect()
}

/// The pieces of files that a range is made of.
pub(super) fn pieces(range: ReadRange) -> impl Iterator<Item = Piece> {
    let pieces = range.pieces.into_iter();
    pieces.map(|p| Piece::File(FileRange { file: p.file, at: p.at, len: p.len }))
}

/// What a client reads as it becomes visible.
struct Subscription {
    names: Vec<Name>,
    targets: Vec<Target>,
    reader: Reader,
    frame_bytes: usize,
}

impl Feed for Subscription {
    fn next(mut self: Box<Self>, credit_bytes: u32) -> NextData {
        Box::pin(async move {
            let bytes_max = self.frame_bytes.min(credit_bytes as usize).max(1);
            loop {
                let mut changes = listen(&self.targets);
                let found = look(&self.targets, self.reader, bytes_max);
                if found.failed || found.bytes > 0 {
                    let answer = self.advance(found);
                    return Next::Data(self, answer);
                }
                if self.targets.is_empty() {
                    return Next::End(None);
                }
                any(&mut changes).await;
            }
        })
    }
}

impl Subscription {
    /// Moves the cursors behind what is sent now. A partition that failed tells so once and is left
    /// out from then on; the client subscribes to it again when it wants to.
    fn advance(&mut self, found: Found) -> Answer {
        found.count(&self.targets);
        let mut failed = Vec::new();
        for (index, (target, read)) in self.targets.iter_mut().zip(&found.reads).enumerate() {
            match (target, &read.range) {
                _ if read.error.is_some() => failed.push(index),
                (Ok(cursor), Some(range)) => cursor.offset = range.next_offset,
                _ => {}
            }
        }
        let (partitions, ranges) = found.into_parts(&self.names);
        for index in failed.into_iter().rev() {
            drop(self.targets.remove(index));
            self.names.remove(index);
        }
        // Partitions without news are left out: the client knows them already.
        let partitions =
            partitions.into_iter().filter(|p| p.error.is_some() || p.data_bytes > 0).collect();
        let result = SubscribeData { partitions };
        Answer { response: Response::ok(result), payload: payload(ranges) }
    }
}
