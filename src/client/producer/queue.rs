//! The batches of one partition: what is being filled, what waits, what is under way, and in which
//! order and under which numbers it may be sent. Pure: told what happened and when, it says what to
//! send; it sends nothing itself.
//!
//! # Order and numbers
//! Batches are numbered when they are first sent and keep their number when they are sent again:
//! that is how the broker knows those it has already. After a failure that a repetition may cure,
//! nothing more is sent until everything under way is answered; then it all goes out again from the
//! oldest on. The broker knows only the last [`limits::PRODUCER_BATCHES`] again, so no batch gets a
//! number that would make it forget one that is still unfinished.
//!
//! A batch that failed for good leaves a gap, so the broker refuses the next one as out of order.
//! That says for certain that neither it nor anything after it was appended, so they get new
//! numbers, from zero on, under a new epoch.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Delivery;
use super::batch::{Acknowledge, Batch, Identity, Waiter};
use crate::client::ClientError;
use crate::client::link::{BACKOFF_MAX, BACKOFF_MIN};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::record::{BatchBuilder, NewRecord};
use crate::types::Sequence;

/// Names a request.
pub(super) type Tag = u64;

/// A batch that is still being filled.
#[derive(Debug)]
struct Open {
    order: u64,
    builder: BatchBuilder,
    waiters: Vec<Waiter>,
    cost: usize,
    since: Instant,
}

/// What comes with a record.
pub(super) struct Accepted {
    pub(super) waiter: Waiter,
    pub(super) cost: usize,
}

/// A batch with its outcome, ready to be told.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) batch: Batch,
    pub(super) outcome: Result<Delivery, ClientError>,
}

/// The times that decide when a batch goes and when it is given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) linger: Duration,
    pub(super) delivery: Duration,
}

/// The batches of one partition.
#[derive(Debug)]
pub(super) struct Queue {
    times: Times,
    /// `None`: batches are not numbered.
    identity: Option<Identity>,
    next_sequence: Sequence,
    /// Batches that got a number so far.
    numbered: u64,
    open: Option<Open>,
    waiting: VecDeque<Batch>,
    under_way: VecDeque<(Tag, Batch)>,
    /// Set by a failure: nothing is sent until all under way are answered.
    holding: bool,
    /// Set when the numbers have a gap that only a new epoch can close.
    renumber: bool,
    /// Failures in a row, and until when they hold the queue back.
    failures: u32,
    not_before: Option<Instant>,
}

impl Queue {
    pub(super) fn new(times: Times, identity: Option<Identity>) -> Queue {
        Queue {
            times,
            identity,
            next_sequence: Sequence(0),
            numbered: 0,
            open: None,
            waiting: VecDeque::new(),
            under_way: VecDeque::new(),
            holding: false,
            renumber: false,
            failures: 0,
            not_before: None,
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether a record can still join the batch that is being filled.
    pub(super) fn fits(&self, record: &NewRecord<'_>, batch_bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|open| open.builder.fits(record, batch_bytes))
    }

    /// Adds a record to the batch that is being filled. Ask [`fits`](Queue::fits) first, and
    /// [`begin`](Queue::begin) another when it does not.
    pub(super) fn push(&mut self, record: &NewRecord<'_>, accepted: Accepted) {
        let open = self.open.as_mut().expect("a batch was begun before records are pushed");
        open.builder.push(record);
        open.waiters.push(accepted.waiter);
        open.cost += accepted.cost;
    }

    /// Closes the batch that is being filled and begins another.
    pub(super) fn begin(&mut self, order: u64, builder: BatchBuilder, now: Instant) {
        self.seal();
        self.open = Some(Open { order, builder, waiters: Vec::new(), cost: 0, since: now });
    }

    /// Adds a finished batch behind everything else.
    pub(super) fn push_batch(&mut self, batch: Batch) {
        self.seal();
        self.waiting.push_back(batch);
    }

    /// Closes the batch that is being filled.
    pub(super) fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let deadline = open.since + self.times.delivery;
        let waiters = Acknowledge::Records(open.waiters);
        let batch = Batch::new(open.order, &open.builder.build(), deadline, open.cost, waiters);
        self.waiting.push_back(batch);
    }

    /// Whether the queue waits for an identity newer than this one.
    pub(super) fn wants_identity(&self, newest: Identity) -> bool {
        self.renumber && self.under_way.is_empty() && self.identity == Some(newest)
    }

    /// Prepares what may be sent now; `hurry` ends lingering. Returns the size of the next batch.
    pub(super) fn ready(
        &mut self,
        now: Instant,
        newest: Option<Identity>,
        hurry: bool,
    ) -> Option<usize> {
        self.release(newest);
        if self.holding || self.renumber || self.not_before.is_some_and(|until| now < until) {
            return None;
        }
        if self.waiting.is_empty() {
            let open = self.open.as_ref()?;
            if !hurry && now < open.since + self.times.linger {
                return None;
            }
            self.seal();
        }
        let next = self.waiting.front().filter(|batch| self.may_go(batch))?;
        Some(next.size_bytes())
    }

    /// Whether the broker would still know the oldest unfinished batch again after this one.
    fn may_go(&self, batch: &Batch) -> bool {
        let own = self.under_way.iter().filter(|(_, batch)| batch.number.is_some());
        let oldest = own.map(|(_, batch)| batch.nth).min();
        match oldest {
            Some(oldest) if self.numbers(batch) => {
                self.numbered - oldest < limits::PRODUCER_BATCHES as u64
            }
            _ => true,
        }
    }

    /// Whether the batch gets a number when it is taken.
    fn numbers(&self, batch: &Batch) -> bool {
        self.identity.is_some() && batch.number.is_none() && !batch.is_foreign()
    }

    /// Ends holding once everything under way is answered, with new numbers where they are due.
    fn release(&mut self, newest: Option<Identity>) {
        if !self.under_way.is_empty() {
            return;
        }
        self.holding = false;
        if self.renumber && self.identity != newest {
            self.renumber = false;
            self.identity = newest;
            self.next_sequence = Sequence(0);
            self.waiting.iter_mut().for_each(|batch| batch.number = None);
        }
    }

    /// Takes the next batch to be sent with request `tag`, after [`ready`](Queue::ready) said there
    /// is one. It stays here as under way.
    pub(super) fn take(&mut self, tag: Tag) -> &Batch {
        let mut batch = self.waiting.pop_front().expect("the queue said that a batch is ready");
        if let Some(identity) = self.identity.filter(|_| self.numbers(&batch)) {
            batch.number = Some((identity, self.next_sequence));
            batch.nth = self.numbered;
            self.numbered += 1;
            self.next_sequence = self.next_sequence.plus(batch.records());
        }
        let newer = |before: &(Tag, Batch)| before.1.order < batch.order;
        assert!(self.under_way.back().is_none_or(newer), "batches leave in their order");
        self.under_way.push_back((tag, batch));
        &self.under_way.back().expect("just pushed").1
    }

    /// Whether request `tag` carries a batch that was not answered yet.
    pub(super) fn is_under_way(&self, tag: Tag) -> bool {
        self.under_way.iter().any(|(under_way, _)| *under_way == tag)
    }

    /// Handles the answer of request `tag`; returns the batch if that ends it.
    pub(super) fn answer(
        &mut self,
        tag: Tag,
        outcome: Result<Delivery, ClientError>,
        now: Instant,
    ) -> Option<Finished> {
        let at = self.under_way.iter().position(|(under_way, _)| *under_way == tag)?;
        let (_, mut batch) = self.under_way.remove(at)?;
        let error = match outcome {
            Ok(delivery) => {
                self.failures = 0;
                self.not_before = None;
                return Some(Finished { batch, outcome: Ok(delivery) });
            }
            Err(error) => error,
        };
        match self.judge(&batch, at, &error) {
            Verdict::Fail => {
                self.take_number_back(&batch, &error);
                return Some(Finished { batch, outcome: Err(error) });
            }
            Verdict::Renumber => self.renumber = true,
            Verdict::Retry => {}
        }
        match error.code() {
            // Under its number the broker does not have it, whatever became of earlier tries.
            Some(ErrorCode::OutOfOrderSequence) => batch.doubt = None,
            _ if error.is_uncertain() => batch.doubt = Some(error.clone()),
            _ => {}
        }
        self.holding = true;
        self.back_off(now);
        batch.trouble = Some(error);
        let place = self.waiting.partition_point(|other| other.order < batch.order);
        self.waiting.insert(place, batch);
        None
    }

    /// What an error means for a batch that was the `at`-th oldest under way.
    fn judge(&self, batch: &Batch, at: usize, error: &ClientError) -> Verdict {
        let numbered = batch.number.is_some();
        match error.code() {
            Some(ErrorCode::OutOfOrderSequence) if numbered => {
                let before = |other: &Batch| other.order < batch.order;
                // Follows from the failure of an earlier batch, which decides for both.
                let follows = at > 0 || self.waiting.front().is_some_and(before) || self.renumber;
                if follows { Verdict::Retry } else { Verdict::Renumber }
            }
            Some(
                ErrorCode::UnknownProducerId
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::ProducerFenced,
            ) if numbered => Verdict::Renumber,
            _ if error.is_retriable() => Verdict::Retry,
            _ => Verdict::Fail,
        }
    }

    /// The usual end of a refused batch leaves no gap: its number goes to the next one when it was
    /// the last that was given and the broker surely did not take it, which after more than one try
    /// nobody can be sure of.
    fn take_number_back(&mut self, batch: &Batch, error: &ClientError) {
        let Some((identity, sequence)) = batch.number else { return };
        let last = sequence.plus(batch.records()) == self.next_sequence;
        let refused = matches!(error, ClientError::Server(_) | ClientError::TooLarge { .. });
        let once = batch.trouble.is_none();
        if refused && once && last && self.under_way.is_empty() && self.identity == Some(identity) {
            self.next_sequence = sequence;
        }
    }

    fn back_off(&mut self, now: Instant) {
        let pause = BACKOFF_MIN * 2u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        self.not_before = Some(now + pause.min(BACKOFF_MAX));
    }

    /// Gives up what has waited too long. What is under way is left to its request's time-out.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Finished> {
        let mut expired = Vec::new();
        if self.open.as_ref().is_some_and(|open| open.since + self.times.delivery <= now) {
            self.seal();
        }
        while self.waiting.front().is_some_and(|batch| batch.deadline <= now) {
            let Some(batch) = self.waiting.pop_front() else { break };
            let cause = batch.trouble.clone().map(Box::new);
            let after = self.times.delivery;
            let error = ClientError::Timeout { operation: "Produce", after, cause };
            expired.push(Finished { batch, outcome: Err(error) });
        }
        expired
    }

    /// When something is to be done without anything happening.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let oldest = self.waiting.front().map(|batch| batch.deadline);
        let linger = self.open.as_ref().map(|open| open.since + self.times.linger);
        // Once over, neither is what the queue waits for.
        let linger = linger.filter(|_| self.waiting.is_empty()).filter(|&at| at > now);
        let patience = self.not_before.filter(|&at| at > now);
        let expiry = self.open.as_ref().map(|open| open.since + self.times.delivery);
        [oldest, linger, patience, expiry].into_iter().flatten().min()
    }

    /// The order of the oldest batch that is not finished.
    pub(super) fn oldest(&self) -> Option<u64> {
        let under_way = self.under_way.iter().map(|(_, batch)| batch.order);
        let waiting = self.waiting.iter().map(|batch| batch.order);
        let open = self.open.iter().map(|open| open.order);
        under_way.chain(waiting).chain(open).min()
    }

    /// Everything there is, with the error that ended the producer.
    pub(super) fn fail_all(&mut self, error: &ClientError) -> Vec<Finished> {
        self.seal();
        let under_way = std::mem::take(&mut self.under_way).into_iter().map(|(_, batch)| batch);
        let all = under_way.chain(std::mem::take(&mut self.waiting));
        all.map(|batch| Finished { batch, outcome: Err(error.clone()) }).collect()
    }
}

/// What becomes of a batch that was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is sent again under its number.
    Retry,
    /// It is sent again under another number.
    Renumber,
    /// It is over.
    Fail,
}
