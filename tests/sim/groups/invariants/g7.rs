//! G7: a rebalance is over in bounded time after whatever disturbed it, and then everything is read
//! by somebody.

use std::collections::BTreeSet;

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    match fact {
        Fact::Rebalancing { group, for_ms, bound_ms } => require(for_ms <= bound_ms, || {
            format!("{group} rebalances for {for_ms} ms, it should have taken {bound_ms}")
        }),
        Fact::Lingering { group, for_ms, bound_ms } => require(for_ms <= bound_ms, || {
            format!("a member of {group} is gone for {for_ms} ms, it should have expired")
        }),
        Fact::Settled { group, members, partitions } => {
            let lists = members.iter().flat_map(|(_, all)| all.values());
            let read: BTreeSet<_> = lists.flatten().collect();
            require(read.len() == *partitions as usize, || {
                format!("of {partitions} partitions members of {group} read {read:?}")
            })
        }
        Fact::Unanswered { request } => Err(format!("there is no answer to {request:?}")),
        _ => Ok(()),
    }
}
