//! Replies that wait for their records to be where they were promised to be. A [`Settled`] token is
//! the only key that lets one out with a success.

use std::collections::VecDeque;

use super::append::{AppendRefusal, AppendReply, Appended};
use crate::log::Settled;
use crate::types::Offset;

/// The parked replies of one partition, in the order of the offsets they depend on.
#[derive(Debug, Default)]
pub struct Pending {
    parked: VecDeque<Parked>,
    bytes: usize,
}

#[derive(Debug)]
struct Parked {
    /// Released when everything below this offset is settled.
    depends_on: Offset,
    bytes: usize,
    outcome: Result<Appended, AppendRefusal>,
    reply: AppendReply,
}

impl Pending {
    /// Parks an outcome, refusals included: a client must not learn of a state that a crash could
    /// still take back. What depends on nothing beyond `settled_end` is answered at once, because
    /// no sync may ever come to release it.
    pub(super) fn park(
        &mut self,
        settled_end: Offset,
        depends_on: Offset,
        bytes: usize,
        outcome: Result<Appended, AppendRefusal>,
        reply: AppendReply,
    ) {
        if depends_on <= settled_end {
            reply.send(outcome);
            return;
        }
        if let Some(last) = self.parked.back() {
            assert!(last.depends_on <= depends_on, "replies are parked in the order of the log");
        }
        self.bytes += bytes;
        self.parked.push_back(Parked { depends_on, bytes, outcome, reply });
    }

    /// Sends every reply whose records are settled.
    pub(super) fn release(&mut self, settled: &Settled) {
        while self.parked.front().is_some_and(|p| p.depends_on <= settled.up_to()) {
            let parked = self.parked.pop_front().expect("there is a first one");
            self.bytes -= parked.bytes;
            parked.reply.send(parked.outcome);
        }
    }

    /// Tells everybody who waits that their records' fate is not known to be good.
    pub(super) fn refuse_all(&mut self, refusal: &AppendRefusal) {
        for parked in self.parked.drain(..) {
            parked.reply.send(Err(refusal.clone()));
        }
        self.bytes = 0;
    }

    /// Bytes of records whose replies are parked.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
