//! D14: cuts are atomic over crashes: what was removed does not come back, and no half-made file
//! stays in the way.

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let (partition, start) = match fact {
        Fact::View { partition, start, .. } => (*partition, *start),
        Fact::Recovered { partition, after, .. } => (*partition, after.start),
        Fact::Final { partition, content } => (*partition, content.start),
        _ => return Ok(()),
    };
    let seen = history.partitions[partition].start;
    require(start >= seen, || format!("{partition} started at {seen} and now starts at {start}"))
}
