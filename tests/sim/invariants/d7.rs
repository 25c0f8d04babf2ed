//! D7: a consumer whose position was within the log is never told that it is beyond the end.

use rivvend::log::ReadError;

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let Fact::ReadFailed { partition, from, error: ReadError::BeyondEnd { end, .. }, .. } = fact
    else {
        return Ok(());
    };
    let seen = &history.partitions[*partition];
    require(seen.rotten || *from > seen.watermark, || {
        format!("{partition}: {from} was within the log and now lies beyond its end {end}")
    })
}
