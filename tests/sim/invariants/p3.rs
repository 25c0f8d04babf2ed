//! P3: a gap in a producer's sequence is refused and nothing is appended; and a batch whose
//! predecessors are all acknowledged is never called out of order.

use rivvend::partition::AppendRefusal;

use super::require;
use crate::history::{Broken, Fact, History, Purpose};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Acknowledged { sent, offset } => {
            let batch = &history.sends[*sent];
            require(batch.purpose != Purpose::Gap, || {
                format!("{:?} leaves a gap and got {offset}", batch.identity)
            })
        }
        Fact::Refused { sent, refusal, settled: true, .. } => {
            let batch = &history.sends[*sent];
            let out_of_order = matches!(refusal, AppendRefusal::OutOfOrderSequence { .. });
            require(!out_of_order, || {
                format!("{:?} follows all that was acknowledged: {refusal}", batch.identity)
            })
        }
        Fact::Final { partition, content } => {
            for record in content.batches.iter().flat_map(|batch| &batch.records) {
                let sent = &history.sends[history.batch_of[record.value as usize]];
                require(sent.purpose != Purpose::Gap, || {
                    format!("{partition}@{} was sent beyond a gap", record.offset)
                })?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
