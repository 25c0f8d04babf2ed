//! Compaction as the owner sees it: a pass is handed out, comes back for each exchange of segments,
//! and ends. Appends, syncs and retention go on meanwhile; only an exchange, which takes a few
//! syncs of small files, keeps files from changing in other ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Job, Partition, Reply};
use crate::log::{Compaction, CompactionOptions, CompactionReport, Exchange, ExchangeDone, Survey};
use crate::storage::StorageError;
use crate::time::Now;
use crate::types::Millis;

/// What becomes of an exchange.
#[derive(Debug)]
pub enum Exchanged {
    /// It is done.
    Done,
    /// The log is not as the pass found it any more, or takes no changes: the pass has to end.
    Refused(Exchange),
    /// The disk failed, and the partition with it.
    Failed,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassEnd {
    /// It did what it could.
    Done,
    /// Something else was more important.
    PutOff(&'static str),
    /// It could not go on.
    Failed(Arc<str>),
}

/// What a pass did.
#[derive(Clone, Debug)]
pub struct PassRecord {
    /// When it ended.
    pub at: Millis,
    /// How long it took.
    pub took_ms: u64,
    /// How it ended.
    pub end: PassEnd,
    /// What it read, wrote and removed.
    pub report: CompactionReport,
}

/// What is known of the passes over a partition since the process began.
#[derive(Clone, Debug, Default)]
pub struct Passes {
    /// Whether one is under way.
    pub is_running: bool,
    /// The last one that ended.
    pub last: Option<Arc<PassRecord>>,
}

/// Where a pass is handed out to; `None` when there is nothing to compact now.
pub type CompactionReply = Reply<Option<Box<Compaction>>>;

/// The pass that is out.
#[derive(Debug, Default)]
pub(super) struct Compacting {
    /// Tells the pass to end. None: no pass is out.
    cancel: Option<Arc<AtomicBool>>,
    /// An exchange that is to begin.
    waiting: Option<(Exchange, Reply<Exchanged>)>,
    /// Who waits for the one under way.
    exchanging: Option<Reply<Exchanged>>,
}

impl Compacting {
    pub(super) fn is_under_way(&self) -> bool {
        self.cancel.is_some()
    }

    pub(super) fn is_exchanging(&self) -> bool {
        self.exchanging.is_some()
    }
}

impl Partition {
    /// What of the log a pass of compaction could look at; `None` when there is nothing, or a pass
    /// is out.
    #[must_use]
    pub fn survey(&self) -> Option<Survey> {
        if self.compacting.is_under_way() || self.closing || self.offline.is_some() {
            return None;
        }
        self.log.survey(self.high_watermark).filter(|survey| !survey.is_clean())
    }

    /// Hands out a pass over the log.
    pub fn begin_compaction(
        &mut self,
        now: Now,
        options: CompactionOptions,
        reply: CompactionReply,
    ) {
        if self.survey().is_none() {
            reply.send(None);
            return;
        }
        // As in the view: no transaction is open.
        let (stable, committed) = (self.high_watermark, self.high_watermark);
        let pass = self.log.begin_compaction(now.wall, stable, committed, options);
        self.compacting.cancel = pass.as_ref().map(Compaction::cancellation);
        reply.send(pass.map(Box::new));
    }

    /// Lets a pass exchange segments. Done by [`Partition::settle`], as soon as nothing waits that
    /// changes which files there are.
    ///
    /// # Panics
    /// When no pass is out, or another exchange waits.
    pub fn exchange(&mut self, exchange: Exchange, reply: Reply<Exchanged>) {
        assert!(self.compacting.is_under_way(), "only a pass exchanges segments");
        assert!(self.compacting.waiting.is_none(), "a pass waits for its exchange");
        if self.closing || self.offline.is_some() {
            reply.send(Exchanged::Refused(exchange));
        } else {
            self.compacting.waiting = Some((exchange, reply));
        }
    }

    /// Takes the pass back, with the sync that failed if it was one that ended it: what it has
    /// dropped may have been more than the pass's own.
    pub fn end_compaction(&mut self, failed: Option<StorageError>) {
        assert!(self.compacting.is_under_way(), "a pass that ends is out");
        self.compacting.cancel = None;
        if let Some(error) = failed {
            let reason = error.to_string();
            self.log.fail(error);
            self.go_offline(&reason);
        }
    }

    pub(super) fn begin_exchange(&mut self, start: &mut impl FnMut(Job)) {
        if self.compacting.is_exchanging() {
            return;
        }
        let Some((exchange, reply)) = self.compacting.waiting.take() else { return };
        match self.log.begin_exchange(exchange) {
            Ok(job) => {
                self.compacting.exchanging = Some(reply);
                start(Job::Exchange(Box::new(job)));
            }
            Err(exchange) => reply.send(Exchanged::Refused(exchange)),
        }
    }

    pub(super) fn finish_exchange(&mut self, done: ExchangeDone) {
        let reply = self.compacting.exchanging.take().expect("an exchange that ends was begun");
        match self.log.finish_exchange(done) {
            Ok(Some(exchange)) => reply.send(Exchanged::Refused(exchange)),
            Ok(None) => {
                // The places that readers were shown lie in files that are gone.
                self.publish();
                reply.send(Exchanged::Done);
            }
            Err(poisoned) => {
                self.go_offline(&poisoned.to_string());
                reply.send(Exchanged::Failed);
            }
        }
    }

    pub(super) fn cancel_compaction(&mut self) {
        if let Some(cancel) = &self.compacting.cancel {
            cancel.store(true, Ordering::Relaxed);
        }
        if let Some((exchange, reply)) = self.compacting.waiting.take() {
            reply.send(Exchanged::Refused(exchange));
        }
    }
}
