//! Room for requests that arrive or are under way: what all connections together may hold of the
//! node's memory. Knows bytes and who waits for them, not what they mean.
//!
//! Room is taken as bytes arrive and not as they are announced, so that who only announces holds
//! nothing. Beyond its first bytes, which are free, a frame is given room ahead: all it needs if it
//! is an ordinary one and there is plenty, else about as much again as it has sent.
//!
//! Frames that hold a part and wait for the rest could leave everybody waiting for everybody. So a
//! part of the room, the reserve, is enough for any frame and given to one connection at a time,
//! which then waits for nobody. That connection has to be quick, or it loses its place: its frame
//! is given less time ([`Admission::holds_reserve`]).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::input::Arriving;
use crate::limits;

/// A header is decoded into values that can be several times its size; room is reckoned with that.
const HEADER_WEIGHT: usize = 16;
/// What the largest request needs.
const REQUEST_MAX: usize = limits::FRAME_BYTES_MAX + HEADER_WEIGHT * limits::FRAME_HEADER_BYTES_MAX;

const _: () = assert!(2 * REQUEST_MAX <= limits::NODE_PENDING_BYTES_MAX);
const _: () = assert!(limits::NODE_PENDING_BYTES_MAX <= u32::MAX as usize);

type Permit = OwnedSemaphorePermit;
type Wait = Pin<Box<dyn Future<Output = Result<Permit, AcquireError>> + Send>>;

/// The room of the node.
#[derive(Debug)]
pub(super) struct Room {
    /// One permit per byte. Waiting is first come, first served, so large requests are not starved
    /// by small ones.
    shared: Arc<Semaphore>,
    /// One permit for all of it.
    reserve: Arc<Semaphore>,
    /// With so much of the shared room left there is plenty.
    plenty: usize,
}

impl Room {
    /// Room for `bytes`, but at least for two of the largest requests.
    pub(super) fn new(bytes: usize) -> Room {
        let bytes = bytes.clamp(2 * REQUEST_MAX, limits::NODE_PENDING_BYTES_MAX);
        let shared = bytes - REQUEST_MAX;
        Room {
            shared: Arc::new(Semaphore::new(shared)),
            reserve: Arc::new(Semaphore::new(1)),
            plenty: shared / 2,
        }
    }

    /// Whether there is so much that nobody needs to be held short.
    pub(super) fn is_plenty(&self) -> bool {
        self.shared.available_permits() >= self.plenty
    }
}

/// What a request holds of the room, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    shared: Option<Permit>,
    reserve: Option<Permit>,
}

impl Held {
    fn bytes(&self) -> usize {
        match (&self.reserve, &self.shared) {
            (Some(_), _) => REQUEST_MAX,
            (None, Some(permit)) => permit.num_permits(),
            (None, None) => 0,
        }
    }

    fn add(&mut self, more: Permit) {
        match &mut self.shared {
            Some(held) => held.merge(more),
            None => self.shared = Some(more),
        }
    }
}

/// What the request at the front of a connection has of the room, and waits for.
#[derive(Default)]
pub(super) struct Admission {
    held: Held,
    waiting: Option<(Wait, Wait)>,
}

impl Admission {
    /// Waits until more of the frame may be received, or all of it be executed if it has arrived.
    /// Answers how much of it may be received before this is asked again.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        room: &Room,
        frame: Arriving,
    ) -> Poll<usize> {
        loop {
            let held = self.held.bytes();
            let allowed = held.max(limits::ARRIVING_BYTES_FREE);
            let enough = match frame.is_complete() {
                true => held >= needed(frame),
                false => frame.received < allowed,
            };
            if enough {
                return Poll::Ready(allowed);
            }
            ready!(self.poll_more(cx, room, goal(room, frame) - held));
        }
    }

    /// Whether the frame holds what others may be waiting for.
    pub(super) fn holds_reserve(&self) -> bool {
        self.held.reserve.is_some()
    }

    /// Hands over what the frame holds, for the request that it became.
    pub(super) fn take(&mut self) -> Held {
        assert!(self.waiting.is_none(), "a request is taken when it waits for nothing more");
        std::mem::take(&mut self.held)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, room: &Room, bytes: usize) -> Poll<()> {
        let bytes = u32::try_from(bytes).expect("a request needs less than the room there is");
        let (shared, reserve) = match &mut self.waiting {
            Some(waiting) => waiting,
            None => {
                if let Ok(permit) = Arc::clone(&room.shared).try_acquire_many_owned(bytes) {
                    self.held.add(permit);
                    return Poll::Ready(());
                }
                let shared = Box::pin(Arc::clone(&room.shared).acquire_many_owned(bytes));
                let reserve = Box::pin(Arc::clone(&room.reserve).acquire_owned());
                self.waiting.insert((shared, reserve))
            }
        };
        if let Poll::Ready(permit) = shared.as_mut().poll(cx) {
            self.held.add(permit.expect(NEVER_CLOSED));
        } else {
            let permit = ready!(reserve.as_mut().poll(cx)).expect(NEVER_CLOSED);
            // It covers the whole frame, so the rest is others'.
            self.held = Held { shared: None, reserve: Some(permit) };
        }
        self.waiting = None;
        Poll::Ready(())
    }
}

const NEVER_CLOSED: &str = "the node's room is never closed";

/// What the frame needs in the end.
fn needed(frame: Arriving) -> usize {
    frame.frame_bytes + HEADER_WEIGHT * frame.decoded_bytes
}

/// How much the frame should hold next.
fn goal(room: &Room, frame: Arriving) -> usize {
    let needed = needed(frame);
    if frame.is_complete() {
        return needed;
    }
    let free = limits::ARRIVING_BYTES_FREE;
    let ahead = match room.is_plenty() {
        true => limits::FRAME_BYTES_ORDINARY,
        false => free,
    };
    let step = frame.received.clamp(free, limits::ARRIVING_BYTES_AHEAD_MAX);
    needed.min((frame.received + step).max(ahead))
}

#[cfg(test)]
impl Room {
    /// Takes all there is but the reserve and so many bytes.
    pub(super) fn leave(&self, bytes: usize) -> Held {
        let all = self.shared.available_permits().saturating_sub(bytes);
        let all = u32::try_from(all).expect("below 4 GiB");
        let shared = Arc::clone(&self.shared).try_acquire_many_owned(all).expect("it is there");
        Held { shared: Some(shared), reserve: None }
    }

    /// Takes the reserve.
    pub(super) fn take_reserve(&self) -> Held {
        Held { shared: None, reserve: Arc::clone(&self.reserve).try_acquire_owned().ok() }
    }

    /// Takes all there is.
    pub(super) fn take_all(&self) -> Held {
        Held { reserve: self.take_reserve().reserve, ..self.leave(0) }
    }

    /// Bytes that nobody holds.
    pub(super) fn free_bytes(&self) -> usize {
        self.shared.available_permits() + self.reserve.available_permits() * REQUEST_MAX
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;

    const MIB: usize = 1 << 20;
    const SHARED: usize = REQUEST_MAX;

    fn frame(received: usize, frame_bytes: usize) -> Arriving {
        Arriving { received, frame_bytes, decoded_bytes: 100 }
    }

    fn poll(admission: &mut Admission, room: &Room, frame: Arriving) -> Option<usize> {
        let waker = noop_waker();
        match admission.poll(&mut Context::from_waker(&waker), room, frame) {
            Poll::Ready(allowed) => Some(allowed),
            Poll::Pending => None,
        }
    }

    #[test]
    fn announcing_holds_nothing_and_an_ordinary_frame_asks_once_while_there_is_plenty() {
        let room = Room::new(0);
        let all = room.free_bytes();
        let mut admission = Admission::default();
        assert!(poll(&mut admission, &room, frame(20, 100 * MIB)).is_some());
        assert_eq!(room.free_bytes(), all);
        let ordinary = frame(limits::ARRIVING_BYTES_FREE, MIB);
        assert!(poll(&mut admission, &room, ordinary).expect("room") >= MIB);
        let left = room.free_bytes();
        assert!(poll(&mut admission, &room, frame(MIB, MIB)).is_some());
        assert_eq!(room.free_bytes(), left, "it has what it needs");
        drop(admission.take());
        assert_eq!(room.free_bytes(), all);
    }

    #[test]
    fn a_small_frame_is_executed_only_with_room_for_it() {
        let room = Room::new(0);
        let all = room.take_all();
        let mut admission = Admission::default();
        assert!(poll(&mut admission, &room, frame(500, 1_000)).is_some(), "it may arrive");
        assert_eq!(poll(&mut admission, &room, frame(1_000, 1_000)), None);
        drop(all);
        assert!(poll(&mut admission, &room, frame(1_000, 1_000)).is_some());
        let held = room.free_bytes();
        drop(admission.take());
        assert_eq!(room.free_bytes() - held, 1_000 + HEADER_WEIGHT * 100);
    }

    /// Whatever the order: as long as each sends what it may, all come through.
    #[test]
    fn frames_that_are_larger_together_than_the_room_do_not_wait_for_each_other_for_ever() {
        const FRAME: usize = 90 * MIB;
        let room = Room::new(0);
        const { assert!(3 * FRAME > 2 * SHARED) };
        let mut waiting: Vec<_> = (0..8).map(|_| (Admission::default(), 0)).collect();
        let mut done = 0;
        while done < 8 {
            let mut moved = false;
            waiting.retain_mut(|(admission, received)| {
                let allowed = poll(admission, &room, frame(*received, FRAME));
                let Some(allowed) = allowed else { return true };
                moved = true;
                if *received == FRAME {
                    done += 1;
                    drop(admission.take());
                    return false;
                }
                assert!(allowed > *received, "it may send more");
                *received = allowed.min(FRAME);
                true
            });
            assert!(moved, "{done} of 8 came through, the others wait for each other");
        }
        assert_eq!(room.free_bytes(), Room::new(0).free_bytes());
    }

    #[test]
    fn without_plenty_nobody_gets_more_than_as_much_again_as_he_sent() {
        let room = Room::new(0);
        let held = Arc::clone(&room.shared).try_acquire_many_owned((SHARED - 8 * MIB) as u32);
        let mut admission = Admission::default();
        for received in [64 << 10, 256 << 10, MIB] {
            let allowed = poll(&mut admission, &room, frame(received, 50 * MIB)).expect("room");
            assert!(allowed <= 2 * received, "{allowed} for {received}");
        }
        drop(held);
    }

    #[test]
    fn the_reserve_goes_to_one_at_a_time_and_covers_all_of_the_frame() {
        let room = Room::new(0);
        let full = Arc::clone(&room.shared).try_acquire_many_owned(SHARED as u32);
        let [mut first, mut second] = [Admission::default(), Admission::default()];
        let half = frame(50 * MIB, 100 * MIB);
        assert!(poll(&mut first, &room, half).expect("the reserve") >= 100 * MIB);
        assert!(first.holds_reserve());
        assert_eq!(poll(&mut second, &room, half), None);
        drop(first.take());
        assert!(poll(&mut second, &room, half).is_some() && second.holds_reserve());
        drop(full);
    }
}
