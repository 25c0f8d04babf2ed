//! P4: once a newer epoch of a producer has written, nothing of an older one is taken.

use super::require;
use crate::history::{Broken, Fact, History, Purpose};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Acknowledged { sent, offset } => {
            let batch = &history.sends[*sent];
            require(batch.purpose != Purpose::Zombie, || {
                format!("{:?} is fenced and got {offset}", batch.identity)
            })
        }
        Fact::Final { partition, content } => {
            for record in content.batches.iter().flat_map(|batch| &batch.records) {
                let sent = &history.sends[history.batch_of[record.value as usize]];
                require(sent.purpose != Purpose::Zombie, || {
                    format!("{partition}@{} was sent by a fenced producer", record.offset)
                })?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
