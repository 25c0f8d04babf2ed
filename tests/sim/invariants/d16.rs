//! D16: the files are sound at the end: whole batches with right checksums, a chain without a gap,
//! epochs that never go back, segments named after their first offset.

use super::require;
use crate::history::{Broken, Fact, History, parse};

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    let Fact::Files { partition, files } = fact else { return Ok(()) };
    let mut at = files.first().map_or(0, |first| first.base);
    let mut epoch = 0;
    for file in *files {
        let name = file.base;
        require(name == at, || format!("{partition}: segment {name} follows a log up to {at}"))?;
        let batches =
            parse(file.bytes.clone()).map_err(|why| format!("{partition}/{name}: {why}"))?;
        for batch in batches {
            let (base, found) = (batch.base, batch.epoch);
            require(base == at, || format!("{partition}/{name}: batch {base} follows {at}"))?;
            require(found >= epoch, || format!("{partition}/{name}: epoch {found} at {base}"))?;
            (at, epoch) = (batch.next, found);
        }
    }
    Ok(())
}
