//! D1: what was acknowledged is in the final read at exactly the offset that was said. And before
//! that: nothing is shown or acknowledged that a power cut could take away.

use std::collections::BTreeMap;

use rivvend::types::Durability;

use super::require;
use crate::history::{Broken, Fact, History, Outcome};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::View { partition, watermark, synced, durability: Durability::Fsync, .. }
            if !history.partitions[*partition].rotten =>
        {
            require(watermark <= synced, || {
                format!("{partition} shows up to {watermark}, of which {synced} is durable")
            })
        }
        Fact::Final { partition, content } => {
            let records = content.batches.iter().flat_map(|batch| &batch.records);
            let found: BTreeMap<i64, u64> = records.map(|r| (r.offset, r.value)).collect();
            for sent in history.sends.iter().filter(|sent| sent.partition == *partition) {
                let Outcome::Stored(offset) = sent.outcome else { continue };
                for i in 0..sent.count {
                    let at = offset + i as i64;
                    let there = found.get(&at);
                    require(at < content.start || there == Some(&(sent.first + i)), || {
                        let value = sent.first + i;
                        format!("{partition}@{at} was acknowledged as {value}, is {there:?}")
                    })?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
