//! D8: recovery ends at or above what was synced, and after a mere kill at what was written; it
//! does not take a torn tail for damage.

use super::require;
use crate::history::{Broken, Fact, History, Stop};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let Fact::Recovered { partition, stop, before, after } = fact else { return Ok(()) };
    if history.partitions[*partition].rotten {
        return Ok(());
    }
    require(after.recovery.damage.is_none(), || {
        format!("{partition} is called damaged and is not: {:?}", after.recovery.damage)
    })?;
    let Some(before) = before else { return Ok(()) };
    let least = match stop {
        Stop::Clean | Stop::Kill if !before.failed => before.written,
        Stop::Clean | Stop::Kill | Stop::Power => before.synced,
    };
    require(after.end >= least, || {
        let (synced, end) = (before.synced, after.end);
        format!("{partition} ends at {end} after {stop:?}; it must hold {least}, synced {synced}")
    })
}
