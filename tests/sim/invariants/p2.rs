//! P2: whoever sends one of its last five batches again is told the offset of the first time.

use super::require;
use crate::history::{Broken, Fact, History, Outcome, Purpose};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Acknowledged { sent, offset } => {
            let batch = &history.sends[*sent];
            match (batch.purpose, batch.outcome) {
                (Purpose::Idempotent, Outcome::Stored(first)) => require(first == *offset, || {
                    format!("{:?} got {first} and then {offset}", batch.identity)
                }),
                (Purpose::Conditional(expected), _) => require(expected == *offset, || {
                    format!("an append at {expected} was acknowledged at {offset}")
                }),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
