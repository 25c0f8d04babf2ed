//! L3: every request is answered in time, and errors of the disk are told only where it fails.

use rivvend::log::ReadError;
use rivvend::partition::AppendRefusal;

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Unanswered { what } => Err(format!("{what} got no answer")),
        Fact::Refused {
            refusal: refusal @ (AppendRefusal::Offline(_) | AppendRefusal::DiskFull(_)),
            faulty: false,
            ..
        } => Err(format!("on a sound disk: {refusal}")),
        Fact::View { partition, health_good: false, faulty: false, .. } => {
            require(history.partitions[*partition].rotten, || {
                format!("{partition} does not serve although nothing is wrong")
            })
        }
        Fact::ReadFailed {
            partition,
            from,
            error: error @ (ReadError::Storage(_) | ReadError::Stale),
            faulty: false,
            ..
        } => Err(format!("{partition}@{from} can not be read: {error}")),
        _ => Ok(()),
    }
}
