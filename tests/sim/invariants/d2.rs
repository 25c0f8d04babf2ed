//! D2: what was refused for good is never seen; what nobody knows the fate of is there once or not
//! at all where its producer is idempotent, and otherwise no more often than it was sent.

use std::collections::BTreeMap;

use super::require;
use crate::history::{Broken, Fact, History, Outcome, Purpose, ReadBatch};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Read { partition, batch, .. } => is_not_refused(*partition, batch, history),
        Fact::Final { partition, content } => {
            let mut times: BTreeMap<u64, u32> = BTreeMap::new();
            for batch in &content.batches {
                is_not_refused(*partition, batch, history)?;
                for record in &batch.records {
                    *times.entry(record.value).or_default() += 1;
                }
            }
            for (value, times) in times {
                let sent = &history.sends[history.batch_of[value as usize]];
                let most = if sent.purpose == Purpose::Plain { sent.tries.max(1) } else { 1 };
                require(times <= most, || {
                    format!("value {value} is {times} times in {partition}")
                })?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_not_refused(partition: usize, batch: &ReadBatch, history: &History) -> Result<(), Broken> {
    for record in &batch.records {
        let known = history.batch_of.get(record.value as usize);
        let sent = known.map(|&sent| &history.sends[sent]);
        require(sent.is_some_and(|sent| sent.partition == partition), || {
            format!("{partition}@{} holds {}, which nobody sent there", record.offset, record.value)
        })?;
        require(sent.is_none_or(|sent| sent.outcome != Outcome::Refused), || {
            format!("{partition}@{} holds {}, which was refused", record.offset, record.value)
        })?;
    }
    Ok(())
}
