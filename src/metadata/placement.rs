//! Which nodes get which partitions. Pure: the same nodes and seed give the same placement.

use std::sync::Arc;

use super::image::Partition;
use crate::types::{LeaderEpoch, NodeId};

/// Places partitions `first .. first + count` on `nodes`, `replication_factor` replicas each.
///
/// Leaders go round the nodes, starting at a place that the seed chooses, so that many small topics
/// spread as evenly as one large one. The distance from leader to the next replica grows by one
/// each round, so that the partitions of a failed leader spread over all other nodes (Kafka's
/// scheme).
pub(super) fn place(
    nodes: &[NodeId],
    seed: u64,
    first: i32,
    count: i32,
    replication_factor: usize,
) -> Vec<Partition> {
    assert!((1..=nodes.len()).contains(&replication_factor), "replicas need nodes of their own");
    (first..first + count).map(|index| place_one(nodes, seed, index, replication_factor)).collect()
}

fn place_one(nodes: &[NodeId], seed: u64, index: i32, replication_factor: usize) -> Partition {
    let n = nodes.len();
    let turn = index as usize;
    let start = ((seed % n as u64) as usize + turn) % n;
    let others = n.saturating_sub(1).max(1);
    let shift = turn / n;
    let replica = |k: usize| match k {
        0 => nodes[start],
        k => nodes[(start + 1 + (shift + k - 1) % others) % n],
    };
    let replicas: Arc<[NodeId]> = (0..replication_factor).map(replica).collect();
    Partition {
        leader: replicas.first().copied(),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        isr: Arc::clone(&replicas),
        replicas,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn replicas_are_distinct_and_leaders_spread_evenly() {
        for n in 1..6 {
            let nodes: Vec<NodeId> = (1..=n).map(NodeId).collect();
            for factor in 1..=nodes.len() {
                let placed = place(&nodes, 7, 0, n * 6, factor);
                let mut led: BTreeMap<_, usize> = BTreeMap::new();
                for partition in &placed {
                    let distinct: BTreeSet<_> = partition.replicas.iter().collect();
                    assert_eq!(distinct.len(), factor);
                    *led.entry(partition.leader).or_default() += 1;
                }
                assert!(led.len() == nodes.len() && led.values().all(|&count| count == 6));
            }
        }
    }

    #[test]
    fn partitions_added_later_are_placed_as_if_they_had_been_there() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let all = place(&nodes, 3, 0, 9, 2);
        assert_eq!(place(&nodes, 3, 4, 5, 2), all[4..]);
    }
}
