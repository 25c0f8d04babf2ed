//! Every key of the configuration. To add one, add it here and write the file anew: a test compares
//! config/rivvend.yaml with this table and prints what it should be.

use std::path::PathBuf;
use std::time::Duration;

use super::declare::{Key, declare_keys};
use super::problem::Origin;
use super::value::{Address, Limit, LogLevel, Size, Value};
use crate::limits;
use crate::telemetry::LogFormat;
use crate::types::{Durability, NodeId};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SEGMENT_BYTES_MIN: u64 = 16 * KIB;
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
const HOUR_MS: u64 = 3_600_000;
const PARTITIONS_MAX: u64 = limits::TOPIC_PARTITIONS_MAX as u64;
const BATCH_BYTES_MAX: u64 = limits::BATCH_BYTES_MAX as u64;
const GROUP_MEMBERS_MAX: u64 = limits::GROUP_MEMBERS_MAX as u64;
const GROUP_SESSION_MS_MAX: u64 = 24 * HOUR_MS;
const NODE_ID_MAX: u64 = i32::MAX as u64;

declare_keys! {
    /// Who can connect, and where.
    server: Server {
        /// Address and port for clients, native and Kafka alike. 0.0.0.0 is every IPv4 address of
        /// the machine; port 0 picks a free one, which the start-up line names.
        bind_address: Address = "0.0.0.0:9092" or "RIVVEN_BIND";
        /// Address that clients are told to connect to. `auto` is the bound address, or the
        /// machine's name when the broker listens on every address.
        advertised_address: Option<Address> = "auto";
        /// Port of the HTTP API, health checks and metrics, on the host of `bind_address`. 0 picks
        /// a free one.
        http_port: u16 = "8080" or "RIVVEN_HTTP_PORT";
        /// Refuse clients of other machines as long as authentication is off. Only switch this off
        /// in a network that nobody else can reach.
        protected_mode: bool = "true";
        /// Silence after which a client's connection is closed. The broker asks clients that wait
        /// for data whether they are still there.
        idle_timeout: Duration = "10m" in 100 ..= (24 * HOUR_MS);
    }
    /// What is kept on disk, and how.
    storage: Storage {
        /// Directory that holds everything the broker keeps. Created when it is missing.
        data_dir: PathBuf = "./data" or "RIVVEN_DATA_DIR";
        /// Size at which a partition starts a new segment file. Old records are removed by whole
        /// segments.
        segment_bytes: Size = "1GiB" in SEGMENT_BYTES_MIN ..= SEGMENT_BYTES_MAX
            as "segment.bytes";
        /// Newest data of the directory that stays in the page cache; older data leaves it once it
        /// is durable and nobody reads near it.
        tail_window_bytes: Size = "512MiB" in MIB ..= (1_u64 << 40);
        /// Free space below which producers are refused until there is room again. `auto` is 5 % of
        /// the file system, at least 64MiB and at most 2GiB.
        low_water_bytes: Option<Size> = "auto" in 0 ..= (1_u64 << 50);
        /// Time between two looks for segments that have outlived their retention.
        retention_check_interval: Duration = "5m" in 100 ..= (24 * HOUR_MS);
    }
    /// Defaults for topics. Each topic can have its own.
    topic: Topic {
        /// Create a topic when a client first names it.
        auto_create_topics: bool = "true" [dynamic] as "auto.create.topics.enable";
        /// Partitions of a topic that is created without a number.
        default_partitions: u32 = "1" in 1 ..= PARTITIONS_MAX [dynamic] as "num.partitions";
        /// Largest record batch that is accepted, as it is sent (compressed).
        max_message_bytes: Size = "1048588" in KIB ..= BATCH_BYTES_MAX [dynamic]
            as "max.message.bytes";
        /// When a write is acknowledged: `fsync` after it is on stable storage and survives a power
        /// cut; `os` once the system has it, which survives only a crash of the broker.
        durability: Durability = "fsync" [dynamic] as "durability";
        /// Age at which records are removed, or `unlimited`.
        retention_ms: Limit<Duration> = "7d" [dynamic] as "retention.ms";
        /// Size of a partition above which its oldest records are removed, or `unlimited`.
        retention_bytes: Limit<Size> = "unlimited" [dynamic] as "retention.bytes";
    }
    /// Compaction of topics whose cleanup.policy says so: of each key only the newest record stays.
    compaction: Compaction {
        /// Memory for the keys of one pass, 24 bytes each. What does not fit is left to another
        /// pass over the same partition.
        memory_bytes: Size = "128MiB" in MIB ..= (1_u64 << 40);
        /// Bytes that compaction reads and writes in a second at most, or `unlimited`.
        bytes_per_second: Limit<Size> = "128MiB" in MIB ..= (1_u64 << 40);
        /// Time between two looks for partitions that are dirty enough.
        check_interval: Duration = "15s" in 100 ..= (24 * HOUR_MS);
    }
    /// How records without a key and without a partition are spread over the partitions of a topic:
    /// one partition at a time, until a batch is full or the time is over.
    partitioner: Partitioner {
        /// Bytes that go to one partition before the next is chosen.
        batch_size: Size = "16KiB" in 1 ..= BATCH_BYTES_MAX;
        /// Longest time one partition is used before the next is chosen.
        linger_ms: Duration = "100ms" in 0 ..= HOUR_MS;
    }
    /// Consumer groups.
    group: Group {
        /// Members a group may have. Those that come later are refused.
        size_max: u32 = "1000" in 1 ..= GROUP_MEMBERS_MAX;
        /// Shortest session timeout a member may ask for: the silence after which it counts as
        /// gone.
        session_timeout_min: Duration = "6s" in 1 ..= GROUP_SESSION_MS_MAX;
        /// Longest session timeout a member may ask for.
        session_timeout_max: Duration = "30m" in 1 ..= GROUP_SESSION_MS_MAX;
        /// How long the first rebalance of an empty group waits for more members to come.
        initial_rebalance_delay: Duration = "3s" in 0 ..= HOUR_MS;
        /// How long committed offsets are kept after a group has lost its last member.
        offsets_retention: Duration = "7d";
        /// Time between two looks for offsets that are kept no longer.
        offsets_retention_check_interval: Duration = "10m" in 100 ..= (24 * HOUR_MS);
    }
    /// This node's place in the cluster.
    cluster: Cluster {
        /// Number of this node. `auto` is the number that the data directory has, and 1 for a new
        /// one.
        node_id: Option<NodeId> = "auto" in 1 ..= NODE_ID_MAX or "RIVVEN_NODE_ID";
    }
    /// What the broker writes to standard error.
    log: Log {
        /// `text` for people, `json` for machines.
        format: LogFormat = "text";
        /// Least important lines that are written: error, warn, info, debug or trace.
        level: LogLevel = "info" [dynamic];
    }
}

/// Keys and sections of features that this build does not have, with what they belong to. Setting
/// one is an error, because a broker that ignores `auth.enabled` is worse than one that does not
/// start.
pub(super) const NOT_YET: &[(&str, &str)] = &[
    ("auth", "authentication"),
    ("tls", "TLS"),
    ("dashboard", "the dashboard"),
    ("server.dashboard", "the dashboard"),
    ("cluster.peers", "clusters of several nodes"),
    ("cluster.bind_address", "clusters of several nodes"),
    ("cluster.rack", "clusters of several nodes"),
    ("quotas", "quotas"),
    ("tiering", "tiered storage"),
];
