//! D15: indexes are disposable: whatever happened to them, a lookup by time finds the batch that a
//! reader of everything would find.

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    let Fact::Final { partition, content } = fact else { return Ok(()) };
    for (timestamp, found) in &content.lookups {
        let newer = |record: &crate::history::ReadRecord| {
            record.timestamp >= *timestamp && record.offset >= content.start
        };
        let mut batches = content.batches.iter();
        let expected = batches.find(|batch| batch.records.iter().any(newer)).map(|b| b.base);
        require(*found == expected, || {
            format!("{partition}: time {timestamp} is at {expected:?}, the lookup says {found:?}")
        })?;
    }
    Ok(())
}
