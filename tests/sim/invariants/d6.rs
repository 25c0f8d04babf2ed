//! D6: the high watermark that anybody saw never goes back, over restarts as well.

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let (partition, watermark) = match fact {
        Fact::View { partition, watermark, .. } => (*partition, *watermark),
        Fact::Final { partition, content } => (*partition, content.end),
        _ => return Ok(()),
    };
    // What lies behind damage is not shown until the damage is repaired.
    if history.partitions[partition].rotten {
        return Ok(());
    }
    let seen = history.partitions[partition].watermark;
    require(watermark >= seen, || {
        format!("{partition}: the high watermark was {seen} and is {watermark}")
    })
}
