//! D5: what one idempotent producer sent to a partition lies there in the order it was sent in.

use std::collections::BTreeMap;

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    let Fact::Final { partition, content } = fact else { return Ok(()) };
    let mut last: BTreeMap<i64, u64> = BTreeMap::new();
    for batch in &content.batches {
        let Some((id, _, _)) = batch.identity else { continue };
        for record in &batch.records {
            // Values ascend in the order of sending.
            if let Some(before) = last.insert(id.0, record.value) {
                require(before < record.value, || {
                    format!("{partition}: producer {id} sent {} before {before}", record.value)
                })?;
            }
        }
    }
    Ok(())
}
