//! What a seed chooses before anything happens: sizes, rates and limits. Each run has some of the
//! things that can happen and not others, since faults that always come together hide each other.

use rivvend::log::{LogConfig, TailWindow};
use rivvend::random::Random;
use rivvend::types::Durability;

/// The choices of one run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) partitions: usize,
    pub(crate) shards: usize,
    pub(crate) log: LogConfig,
    /// The log of the last partition, where it keeps consumer groups.
    pub(crate) offsets: Option<LogConfig>,
    pub(crate) idempotent: usize,
    pub(crate) plain: usize,
    pub(crate) conditional: usize,
    pub(crate) consumers: usize,
    /// Whether clients ask for records to be deleted.
    pub(crate) deletes: bool,
    pub(crate) records_max: u64,
    pub(crate) value_bytes_max: u64,
    /// Pause of a client between two actions, at most.
    pub(crate) think_us: u64,
    /// Replies that get lost, of a hundred.
    pub(crate) lost_percent: u64,
    pub(crate) sync_us_max: u64,
    /// Phase one ends here.
    pub(crate) faulty_us: u64,
    pub(crate) frontier_us: u64,
    pub(crate) maintain_us: u64,
    pub(crate) chaos: Chaos,
}

/// What goes wrong, as pauses between two of a kind; `None` where it never happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chaos {
    pub(crate) restart_us: Option<u64>,
    pub(crate) kill_us: Option<u64>,
    pub(crate) power_us: Option<u64>,
    pub(crate) fault_us: Option<u64>,
    pub(crate) full_us: Option<u64>,
    /// Whether a bit rots while the node is stopped.
    pub(crate) rot: bool,
    /// Whether side files are lost or damaged while the node is stopped.
    pub(crate) side_files: bool,
}

const SECOND: u64 = 1_000_000;

impl Setup {
    /// The choices of a seed.
    pub(crate) fn choose(random: &mut Random) -> Setup {
        let durability = if random.chance(1, 8) { Durability::Os } else { Durability::Fsync };
        let log = log_config(random, durability);
        let chaos = chaos(random, durability);
        // A snapshot of the producer state is all that is left of batches whose segments are gone.
        let removes = log.retention_ms.is_some() || log.retention_bytes.is_some();
        let chaos = Chaos { side_files: chaos.side_files && !removes, ..chaos };
        Setup {
            partitions: 1 + random.below(4) as usize,
            shards: 1 + random.below(2) as usize,
            idempotent: random.below(4) as usize + 1,
            plain: random.below(3) as usize,
            conditional: random.below(2) as usize,
            consumers: 1 + random.below(3) as usize,
            deletes: !chaos.side_files && random.chance(1, 3),
            records_max: [1, 3, 20][random.below(3) as usize],
            value_bytes_max: [16, 200, 3_000][random.below(3) as usize],
            think_us: [20_000, 50_000, 150_000][random.below(3) as usize],
            lost_percent: [0, 5, 30][random.below(3) as usize],
            sync_us_max: [500, 5_000, 50_000, 500_000][random.below(4) as usize],
            faulty_us: (3 + random.below(7)) * SECOND,
            frontier_us: [200_000, SECOND][random.below(2) as usize],
            maintain_us: [500_000, 2 * SECOND][random.below(2) as usize],
            log,
            offsets: None,
            chaos,
        }
    }

    /// What the log of a partition is opened with.
    pub(crate) fn log_of(&self, partition: usize) -> &LogConfig {
        let is_last = partition + 1 == self.partitions;
        self.offsets.as_ref().filter(|_| is_last).unwrap_or(&self.log)
    }
}

fn log_config(random: &mut Random, durability: Durability) -> LogConfig {
    let keeps = random.chance(1, 2);
    LogConfig {
        segment_bytes: [1 << 11, 1 << 13, 1 << 15, 1 << 20][random.below(4) as usize],
        segment_ms: if random.chance(1, 4) { 1_500 } else { i64::MAX },
        index_interval_bytes: [128, 512, 4_096][random.below(3) as usize],
        durability,
        retention_ms: (!keeps && random.chance(1, 2)).then_some(2_000),
        retention_bytes: (!keeps && random.chance(1, 2)).then_some(1 << 14),
        tail_window: TailWindow::new([0, 1 << 14, 1 << 20][random.below(3) as usize]),
        ..LogConfig::default()
    }
}

fn chaos(random: &mut Random, durability: Durability) -> Chaos {
    let mut sometimes = |of: u64, pause_us: u64| random.chance(1, of).then_some(pause_us);
    let mut chaos = Chaos {
        restart_us: sometimes(2, 3 * SECOND),
        kill_us: sometimes(2, 2 * SECOND),
        full_us: sometimes(4, 4 * SECOND),
        ..Chaos::default()
    };
    // A log that does not sync before it acknowledges promises nothing beyond the page cache.
    if durability == Durability::Fsync {
        chaos.power_us = sometimes(2, 2 * SECOND);
        chaos.fault_us = sometimes(2, 2 * SECOND);
        chaos.rot = random.chance(1, 3);
    }
    chaos.side_files = random.chance(1, 3);
    chaos
}
