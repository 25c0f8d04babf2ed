//! P1: a batch of a producer, epoch and sequence is appended to a partition at most once.

use std::collections::BTreeMap;

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    let Fact::Final { partition, content } = fact else { return Ok(()) };
    let mut seen = BTreeMap::new();
    for batch in &content.batches {
        let Some(identity) = batch.identity else { continue };
        let before = seen.insert(identity, batch.base);
        require(before.is_none(), || {
            format!("{partition}: {identity:?} is at {before:?} and again at {}", batch.base)
        })?;
    }
    Ok(())
}
