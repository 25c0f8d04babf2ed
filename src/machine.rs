//! What every replicated state of the broker has in common: commands are decided into records, and
//! replaying records is the only way the state changes, live, on start-up and on fail-over alike.
//! Knows nothing of logs, clocks or who asks.

use crate::time::Now;
use crate::types::{ProducerEpoch, ProducerId};

/// State that is a fold over records.
///
/// `decide` is pure: the same state, moment and command give the same answer, so a simulator can
/// repeat it, and the caller decides whether the records are appended or (to validate only)
/// dropped.
pub trait Machine {
    /// What may be asked of it: a closed enum.
    type Command;
    /// What changes it: a closed enum with explicit numbers.
    type Record;
    /// The answer to a command that was accepted.
    type Reply;
    /// Why a command was not accepted; nothing changes then.
    type Refusal;

    /// What `command` would change at this moment, and the answer to it.
    ///
    /// # Errors
    /// When the command is refused.
    fn decide(
        &self,
        now: Now,
        command: Self::Command,
    ) -> Result<Decision<Self::Record, Self::Reply>, Self::Refusal>;

    /// Applies one entry of the log.
    ///
    /// # Panics
    /// When the entry contradicts the state: records are our own, so that is a bug or a log that is
    /// not this machine's, and going on would make replicas differ.
    fn replay(&mut self, entry: &Entry<Self::Record>);
}

/// An accepted command: the records to append (none when nothing changes) and the reply, to be
/// released once they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<Record, Reply> {
    /// What to append, in this order.
    pub records: Vec<Record>,
    /// The answer.
    pub reply: Reply,
}

impl<Record, Reply> Decision<Record, Reply> {
    /// An answer that changes nothing.
    pub fn unchanged(reply: Reply) -> Decision<Record, Reply> {
        Decision { records: Vec::new(), reply }
    }

    /// One record and the answer.
    pub fn one(record: Record, reply: Reply) -> Decision<Record, Reply> {
        Decision { records: vec![record], reply }
    }
}

/// One thing that a machine's log may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<Record> {
    /// A record, with the producer and epoch of its transaction if it belongs to one.
    Record {
        /// The transaction whose outcome decides whether the record counts.
        transaction: Option<(ProducerId, ProducerEpoch)>,
        /// What changes.
        record: Record,
    },
    /// The end of a transaction.
    Marker {
        /// Whose transaction ends.
        producer: ProducerId,
        /// The epoch it ran in.
        epoch: ProducerEpoch,
        /// Whether its records count.
        commit: bool,
    },
}
