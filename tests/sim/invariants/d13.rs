//! D13: nothing is removed that is not committed, that nobody asked to remove and that retention
//! still covers.

use super::require;
use crate::history::{Broken, Cut, Fact, History, Retention};

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::View { partition, start, watermark, .. } => {
            require(start <= watermark, || {
                format!("{partition} starts at {start}, beyond its watermark {watermark}")
            })?;
            let deletable = history.partitions[*partition].deletable;
            require(*start <= deletable, || {
                format!("{partition} starts at {start}, of which {deletable} may be removed")
            })
        }
        Fact::Cut { partition, cut } => is_covered(*partition, cut, history),
        _ => Ok(()),
    }
}

fn is_covered(partition: usize, cut: &Cut, history: &History) -> Result<(), Broken> {
    require(cut.to <= cut.watermark, || {
        format!("{partition}: retention removed up to {}, beyond the watermark", cut.to)
    })?;
    let seen = &history.partitions[partition];
    let Some(retention) = cut.retention.filter(|_| cut.to > seen.deletable && !seen.rotten) else {
        return Ok(());
    };
    let Retention { now, age_ms, bytes, left } = retention;
    if bytes.is_some_and(|most| left >= most) {
        return Ok(());
    }
    let young = seen.values.range(cut.from..cut.to).find(|&(_, &value)| {
        let timestamp = history.sends[history.batch_of[value as usize]].timestamp;
        age_ms.is_none_or(|kept_ms| now - timestamp <= kept_ms)
    });
    require(young.is_none(), || {
        format!("{partition}: retention removed {young:?} although it is young, {left} bytes left")
    })
}
