//! D9: damage below the frontier is found before any byte of it is served, is said to be damage,
//! and nothing of what was durable is cut off because of it.

use rivvend::log::ReadError;
use rivvend::partition::AppendRefusal;

use super::require;
use crate::history::{Broken, Fact, History};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let rotten = |partition: usize| history.partitions[partition].rotten;
    let has_rotted = |partition: usize| history.partitions[partition].has_rotted;
    match fact {
        Fact::Garbled { partition, from, why } => {
            Err(format!("{partition}: what is served from {from} on is damaged: {why}"))
        }
        Fact::Recovered { partition, before: Some(before), after, .. } if rotten(*partition) => {
            let seen = history.partitions[*partition].watermark.min(before.synced);
            let explained = after.recovery.damage.is_some();
            require(after.end >= seen || explained, || {
                format!("{partition} was cut from {seen} to {} because of rot", after.end)
            })?;
            require(after.recovery.torn.as_ref().is_none_or(|t| t.at.offset.0 >= seen), || {
                format!("{partition}: durable data was cut off: {:?}", after.recovery.torn)
            })
        }
        Fact::ReadFailed { partition, from, error: ReadError::Corrupt(damage), old, .. } => {
            require(rotten(*partition) || *old && has_rotted(*partition), || {
                format!("{partition}@{from} is called damaged and is not: {damage}")
            })
        }
        Fact::Refused { sent, refusal: AppendRefusal::Damaged(why), .. } => {
            let partition = history.sends[*sent].partition;
            require(has_rotted(partition), || {
                format!("{partition} takes no more records though nothing is damaged: {why}")
            })
        }
        _ => Ok(()),
    }
}
