//! D4: there are no holes in what can be seen, and nothing beyond its end.

use super::require;
use crate::history::{Broken, Fact, History, ReadBatch};

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    match fact {
        Fact::Read { partition, from, watermark, batch } => {
            require(batch.base <= *from && *from < batch.next, || {
                format!("{partition}: asked for {from}, got {}..{}", batch.base, batch.next)
            })?;
            require(batch.next <= *watermark, || {
                format!("{partition}: {} lies beyond the watermark {watermark}", batch.next)
            })?;
            is_full(*partition, batch)
        }
        Fact::Final { partition, content } => {
            let mut at = content.start;
            for batch in &content.batches {
                require(batch.base <= at && at < batch.next, || {
                    format!("{partition}: a hole at {at}, the next batch is at {}", batch.base)
                })?;
                is_full(*partition, batch)?;
                at = batch.next;
            }
            require(at == content.end, || {
                format!("{partition} ends at {}, read up to {at}", content.end)
            })
        }
        _ => Ok(()),
    }
}

fn is_full(partition: usize, batch: &ReadBatch) -> Result<(), Broken> {
    let offsets = batch.records.iter().map(|record| record.offset);
    require(offsets.eq(batch.base..batch.next), || {
        format!("{partition}: the batch at {} does not hold all its offsets", batch.base)
    })
}
