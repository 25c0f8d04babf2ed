//! Why a group rebalanced: the last causes, each with its moment and the generation it led to.

use std::collections::VecDeque;

use super::Text;
use crate::limits;
use crate::types::Millis;

/// One cause of a rebalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// When.
    pub at: Millis,
    /// The generation it leads to.
    pub generation: i32,
    /// What happened, with the client's own reason where it gave one.
    pub reason: Text,
}

/// The newest causes; the oldest are forgotten first.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Rebalance>);

impl History {
    pub(super) fn push(&mut self, rebalance: Rebalance) {
        if self.0.len() >= limits::GROUP_REBALANCES_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(rebalance);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Rebalance> {
        self.0.iter()
    }
}
