//! D3: an offset of a partition never stands for two values, whoever says so and whenever.

use super::require;
use crate::history::{Broken, Fact, History, ReadBatch};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Acknowledged { sent, offset } => {
            let sent = &history.sends[*sent];
            (0..sent.count).try_for_each(|i| {
                agrees(sent.partition, offset + i as i64, sent.first + i, history)
            })
        }
        Fact::Read { partition, batch, .. } => agree(*partition, batch, history),
        Fact::Final { partition, content } => {
            content.batches.iter().try_for_each(|batch| agree(*partition, batch, history))
        }
        _ => Ok(()),
    }
}

fn agree(partition: usize, batch: &ReadBatch, history: &History) -> Result<(), Broken> {
    let mut records = batch.records.iter();
    records.try_for_each(|record| agrees(partition, record.offset, record.value, history))
}

fn agrees(partition: usize, offset: i64, value: u64, history: &History) -> Result<(), Broken> {
    let known = history.partitions[partition].values.get(&offset);
    require(known.is_none_or(|known| *known == value), || {
        format!("{partition}@{offset} was {known:?} and is {value}")
    })
}
