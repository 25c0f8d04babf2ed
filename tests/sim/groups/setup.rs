//! What a seed chooses before anything happens.

use std::sync::Arc;

use rivvend::coordinator::assignor::Assignor;
use rivvend::coordinator::{Assigner, GroupConfig, Text};
use rivvend::log::{CompactionConfig, LogConfig};
use rivvend::random::Random;
use rivvend::types::Durability;

use crate::setup::Setup as NodeSetup;

const SECOND: u64 = 1_000_000;

/// The topic whose partitions the members read.
pub(crate) const TOPIC: &str = "t";
/// A topic that is deleted and made again.
pub(crate) const FLEETING: &str = "u";
/// A group that only has offsets.
pub(crate) const LONE: &str = "lone";

/// How a group shares its partitions out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) assigner: Assigner,
    pub(crate) assignor: Assignor,
}

impl Kind {
    /// Whether members keep what they have until they are told to let go of it.
    pub(crate) fn is_cooperative(self) -> bool {
        self.assignor.is_cooperative()
    }

    /// The protocol that members name.
    pub(crate) fn protocol(self) -> Text {
        match self.assigner {
            Assigner::Leader => self.assignor.as_str().into(),
            Assigner::Server => self.assignor.protocol(),
        }
    }
}

/// A group that has members.
#[derive(Clone, Debug)]
pub(crate) struct GroupSetup {
    pub(crate) name: Text,
    pub(crate) kind: Kind,
    /// For each member whether it comes back under the same name.
    pub(crate) statics: Vec<bool>,
}

/// What goes wrong, as pauses between two of a kind; `None` where it never happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chaos {
    pub(crate) restart_us: Option<u64>,
    pub(crate) kill_us: Option<u64>,
    pub(crate) power_us: Option<u64>,
    pub(crate) fault_us: Option<u64>,
    pub(crate) full_us: Option<u64>,
    /// The wall clock jumps.
    pub(crate) clock_us: Option<u64>,
    /// A member crashes.
    pub(crate) crash_us: Option<u64>,
    /// A member falls silent for a while and then goes on as if nothing had happened.
    pub(crate) freeze_us: Option<u64>,
    /// A topic is deleted or made.
    pub(crate) topic_us: Option<u64>,
}

/// The choices of one run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What the node is started with. Its last partition is the coordinator's log.
    pub(crate) node: NodeSetup,
    pub(crate) config: Arc<GroupConfig>,
    pub(crate) groups: Vec<GroupSetup>,
    pub(crate) session_ms: u32,
    pub(crate) rebalance_ms: u32,
    /// New members are given an id first.
    pub(crate) id_required: bool,
    /// Clients understand that they may lead and have nothing to assign.
    pub(crate) skips_assignment: bool,
    /// Requests and answers that get lost, of a hundred each.
    pub(crate) lost_percent: u64,
    /// Requests may overtake each other, and may come twice.
    pub(crate) reorders: bool,
    pub(crate) think_us: u64,
    /// Of a hundred things that a member does, how many are commits.
    pub(crate) commit_percent: u64,
    /// Time between two things that somebody from outside does to the groups.
    pub(crate) errand_us: u64,
    pub(crate) compact_us: u64,
    pub(crate) chaos: Chaos,
}

impl Setup {
    /// The choices of a seed.
    pub(crate) fn choose(random: &mut Random) -> Setup {
        let partitions = 2 + random.below(4) as usize;
        let node = NodeSetup {
            partitions: partitions + 1,
            log: LogConfig {
                segment_bytes: 1 << 14,
                durability: Durability::Fsync,
                retention_ms: None,
                retention_bytes: None,
                ..LogConfig::default()
            },
            offsets: Some(offsets_log(random)),
            ..NodeSetup::choose(random)
        };
        let session_ms = [900, 1_500, 3_000][random.below(3) as usize];
        let config = GroupConfig {
            session_ms_min: 500,
            initial_delay_ms: [0, 300][random.below(2) as usize],
            retention_ms: [2_000, 6_000, 600_000][random.below(3) as usize],
            retention_check_ms: 400,
            ..GroupConfig::default()
        };
        let chaos = chaos(random);
        let is_calm = random.chance(1, 3);
        Setup {
            node: NodeSetup {
                faulty_us: (10 + random.below(20)) * SECOND,
                // No session ends while its member waits for the disk.
                sync_us_max: node.sync_us_max.min(u64::from(session_ms) * 100),
                ..node
            },
            config: Arc::new(config),
            groups: (0..1 + random.below(2)).map(|number| group(number, random)).collect(),
            session_ms,
            rebalance_ms: [700, 1_500, 4_000][random.below(3) as usize],
            id_required: random.chance(1, 2),
            skips_assignment: random.chance(2, 3),
            lost_percent: if is_calm { 0 } else { [2, 8, 20][random.below(3) as usize] },
            reorders: !is_calm && random.chance(1, 2),
            think_us: [20_000, 60_000][random.below(2) as usize],
            commit_percent: [1, 10, 40][random.below(3) as usize],
            errand_us: [100_000, 400_000, 2 * SECOND][random.below(3) as usize],
            compact_us: [10_000, 50_000, 400_000][random.below(3) as usize],
            chaos,
        }
    }

    /// How many partitions the members share.
    pub(crate) fn partitions(&self) -> i32 {
        self.node.partitions as i32 - 1
    }

    /// The partition that is the coordinator's log.
    pub(crate) fn offsets_partition(&self) -> usize {
        self.node.partitions - 1
    }

    /// How long a rebalance may take after the last thing that disturbed the group (G7): whoever
    /// vanished is noticed by the end of its session or of the rebalance it was needed for, then
    /// the others have their time. The rest is what requests and syncs take on their way.
    pub(crate) fn rebalance_bound_ms(&self) -> u64 {
        let noticed = self.session_ms.max(self.rebalance_ms);
        let initial = self.config.initial_delay_ms;
        u64::from(noticed + self.rebalance_ms + initial) + 3_000
    }
}

fn offsets_log(random: &mut Random) -> LogConfig {
    let compaction = CompactionConfig {
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: [2_000, 86_400_000][random.below(2) as usize],
        min_dirty_ppm: 0,
    };
    LogConfig {
        segment_bytes: [1 << 11, 1 << 13, 1 << 15][random.below(3) as usize],
        index_interval_bytes: 256,
        durability: Durability::Fsync,
        retention_ms: None,
        retention_bytes: None,
        compaction: Some(compaction),
        ..LogConfig::default()
    }
}

fn group(number: u64, random: &mut Random) -> GroupSetup {
    let assigner = if random.chance(1, 2) { Assigner::Leader } else { Assigner::Server };
    let assignor = match random.below(6) {
        0 => Assignor::Range,
        1 => Assignor::RoundRobin,
        2 => Assignor::Sticky,
        _ => Assignor::CooperativeSticky,
    };
    let members = 2 + random.below(3);
    let is_static = random.below(3);
    GroupSetup {
        name: format!("g{number}").into(),
        kind: Kind { assigner, assignor },
        statics: (0..members).map(|_| random.chance(is_static, 2)).collect(),
    }
}

fn chaos(random: &mut Random) -> Chaos {
    let mut sometimes = |of: u64, pauses_us: [u64; 2]| {
        let pause_us = pauses_us[random.below(2) as usize];
        random.chance(1, of).then_some(pause_us)
    };
    Chaos {
        restart_us: sometimes(3, [2 * SECOND, 6 * SECOND]),
        kill_us: sometimes(2, [SECOND, 5 * SECOND]),
        power_us: sometimes(2, [SECOND, 5 * SECOND]),
        fault_us: sometimes(3, [5 * SECOND; 2]),
        full_us: sometimes(4, [6 * SECOND; 2]),
        clock_us: sometimes(2, [4 * SECOND; 2]),
        crash_us: sometimes(2, [SECOND / 2, 3 * SECOND]),
        freeze_us: sometimes(2, [SECOND / 2, 3 * SECOND]),
        topic_us: sometimes(2, [3 * SECOND; 2]),
    }
}
