//! Every bound of the system in one place, with the relations between them checked at compile time.
//! Sizes are bytes unless the name says otherwise. What an operator may change lives in `config`;
//! these are the walls that configuration may not move.

/// Largest frame an authenticated client may send: a request with all its record batches.
pub const FRAME_BYTES_MAX: usize = 100 * MIB;
/// Largest frame before the client has been admitted (preface and authentication).
pub const FRAME_BYTES_PRE_AUTH_MAX: usize = 64 * KIB;
/// Largest protobuf header inside a frame; the payload is bounded by the frame itself.
pub const FRAME_HEADER_BYTES_MAX: usize = MIB;
/// Largest request of Kafka's protocol that is not one of a producer.
pub const KAFKA_REQUEST_BYTES_MAX: usize = 16 * MIB;
/// Largest record batch, whatever `topic.max_message_bytes` says.
pub const BATCH_BYTES_MAX: usize = 64 * MIB;
/// Default of `topic.max_message_bytes`, as in Kafka: one MiB and its batch overhead.
pub const BATCH_BYTES_DEFAULT: usize = MIB + 12;
/// Most records one batch may hold.
pub const BATCH_RECORDS_MAX: usize = 1 << 20;
/// Decompressed size a batch may reach at least, however small it was compressed.
pub const DECOMPRESSED_BYTES_FLOOR: usize = 64 * MIB;
/// Beyond the floor a batch may expand by this factor.
pub const DECOMPRESSED_FACTOR: usize = 4;
/// Bytes that all batches which are being decompressed in this process may expand to together,
/// beyond [`SCRATCH_BYTES_KEPT`] for each. Past it a batch is refused as one that may come again.
pub const NODE_EXPANSION_BYTES_MAX: usize = 256 * MIB;
/// Largest zstd window accepted, as its base-2 logarithm: 8 MiB, what every zstd level below
/// `--long` uses. A frame that declares more is refused before anything is allocated for it.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Most headers one record may carry.
pub const RECORD_HEADERS_MAX: usize = 10_000;

/// Longest topic name, as in Kafka (the name once was a directory name there).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Most partitions one topic may have.
pub const TOPIC_PARTITIONS_MAX: i32 = 100_000;
/// Most partitions of all topics together.
pub const CLUSTER_PARTITIONS_MAX: usize = 200_000;
/// Longest client id; longer ones are refused.
pub const CLIENT_ID_BYTES_MAX: usize = 255;

/// Frames up to this size get all of their buffer at once; larger ones as they arrive.
pub const FRAME_BYTES_ORDINARY: usize = 8 * MIB;
/// Bytes of a frame that may arrive before it needs any of the node's room.
pub const ARRIVING_BYTES_FREE: usize = 64 * KIB;
/// Room that a large frame is given ahead of its bytes, at most.
pub const ARRIVING_BYTES_AHEAD_MAX: usize = 4 * MIB;
/// Requests of one connection that may be under way at once; past it the server stops reading.
pub const CONNECTION_IN_FLIGHT_MAX: usize = 256;
/// Bytes of requests one connection may have under way; one frame is always admitted.
pub const CONNECTION_IN_FLIGHT_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Streams (subscriptions, long polls) one connection may hold open.
pub const CONNECTION_STREAMS_MAX: usize = 1_024;
/// Bytes accepted and not yet durable over all connections of the node.
pub const NODE_PENDING_BYTES_MAX: usize = 512 * MIB;
/// Bytes accepted and not yet durable in one partition.
pub const PARTITION_PENDING_BYTES_MAX: usize = 256 * MIB;
/// Bytes that a partition gathers before it writes, so that one write stays short.
pub const STAGED_BYTES_MAX: usize = 16 * MIB;
/// Connections of all listeners together.
pub const CONNECTIONS_MAX: usize = 16_384;
/// File descriptors that connections leave to the process itself (segments, snapshots, journals),
/// or half of what the system allows if that is less.
pub const DESCRIPTORS_RESERVED: u64 = 1_024;
/// Connections from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 4_096;

/// Commands waiting for one shard.
pub const MAILBOX_COMMANDS_MAX: usize = 1_024;
/// Commands one holder of a shard applies before it hands the baton on, so that nobody's latency
/// pays for everybody's work.
pub const SHARD_DRAIN_MAX: usize = 64;
/// Shards per core; partitions are hashed over all shards.
pub const SHARDS_PER_CORE: usize = 4;
/// Small batches that come while a log syncs are gathered up to so many bytes ...
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// ... and so many batches, and then written with one call when the sync ends.
pub const GATHERED_BATCHES_MAX: usize = 256;
/// Threads that run `fdatasync` and read what is not in the page cache.
pub const FLUSHERS: usize = 8;

/// Most partitions one produce or fetch request may name.
pub const REQUEST_PARTITIONS_MAX: usize = 10_000;
/// Partitions that all fetch sessions of Kafka's clients remember together.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 1_000_000;
/// Longest a fetch may wait for data, in milliseconds.
pub const FETCH_WAIT_MS_MAX: u32 = 300_000;
/// Most bytes one fetch returns.
pub const FETCH_BYTES_MAX: usize = 64 * MIB;
/// Batch entries of one segment that a partition keeps in memory for its newest data.
pub const INDEX_INTERVAL_BYTES: usize = 4 * KIB;
/// Producers one partition remembers; the least recently used is forgotten first.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;
/// Batches per producer and partition whose offsets are remembered, as in Kafka.
pub const PRODUCER_BATCHES: usize = 5;
/// Memory for decompressing that is kept from batch to batch; what a larger batch needed is given
/// back.
pub const SCRATCH_BYTES_KEPT: usize = 4 * MIB;
/// Leader epochs one partition remembers; the oldest are forgotten first.
pub const LEADER_EPOCHS_MAX: usize = 65_536;
/// Synced bytes after which the frontier journal is told without waiting for its time: half of the
/// 256 MB that it may lag behind, since more is synced while it is written.
pub const FRONTIER_BACKLOG_BYTES: u64 = 128 << 20;
/// The frontier journal is rewritten when it exceeds this and a multiple of what is in use.
pub const FRONTIER_REWRITE_BYTES: usize = 4 * MIB;
/// Largest frontier journal that is read.
pub const FRONTIER_BYTES_MAX: usize = 256 * MIB;
/// Bytes of a log that recovery holds in memory at a time.
pub const RECOVERY_BUFFER_BYTES: usize = 4 * MIB;

/// Segments that one compacted segment may take the place of.
pub const COMPACTION_GROUP_SEGMENTS_MAX: usize = 4_096;
/// Aborted transactions that one pass of compaction knows of; what comes later waits for the next.
pub const COMPACTION_ABORTED_MAX: usize = 1 << 20;
/// Bytes that compaction reads before it looks whether it is to stop, and rests if it is too fast.
pub const COMPACTION_STEP_BYTES: u64 = 8 * MIB as u64;

/// Milliseconds within which a new connection must have said what it speaks and who it is.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Milliseconds without a sign of life after which a connection is closed, unless configured
/// otherwise.
pub const IDLE_MS_DEFAULT: u64 = 600_000;
/// Milliseconds a frame may take to arrive, plus a second for every so many bytes that came.
pub const FRAME_ARRIVAL_MS_MAX: u64 = 30_000;
/// The same for a frame that holds the room which others wait for.
pub const FRAME_ARRIVAL_RESERVE_MS_MAX: u64 = 5_000;
/// Bytes per second a large frame must arrive with at least.
pub const FRAME_ARRIVAL_BYTES_PER_SECOND_MIN: usize = MIB;
/// Milliseconds a peer may leave an answer unread before its connection is closed.
pub const WRITE_STALL_MS_MAX: u64 = 30_000;
/// Bytes of answers waiting to be written past which a connection starts nothing more.
pub const CONNECTION_OUTPUT_BYTES_MAX: usize = 4 * MIB;
/// Bytes a connection reads, or writes, before others on its worker get their turn.
pub const CONNECTION_TURN_BYTES: usize = MIB;
/// Requests a connection starts before others on its worker get their turn.
pub const CONNECTION_TURN_REQUESTS: usize = 64;
/// Payload bytes a subscription may send before the client grants more.
pub const STREAM_CREDIT_BYTES: u32 = 4 * MIB as u32;
/// Longest the server pauses reading from a client that it throttles, in milliseconds.
pub const THROTTLE_MS_MAX: u32 = 30_000;
/// Connections the HTTP listener serves at once.
pub const HTTP_CONNECTIONS_MAX: usize = 1_024;
/// Milliseconds a request's head may take to arrive over HTTP, and a kept connection may be silent.
pub const HTTP_HEAD_MS_MAX: u64 = 10_000;
/// Largest head of an HTTP request.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Largest body of an HTTP request.
pub const HTTP_BODY_BYTES_MAX: usize = 16 * MIB;
/// Topics that have series of their own among the metrics; the others share one.
pub const TOPIC_SERIES_MAX: usize = 2_000;
/// Topics of consumer groups that have series of their own among the metrics; the others share one.
pub const GROUP_SERIES_MAX: usize = 2_000;
/// Committed offsets that one coordinator tells of when it is measured.
pub const GROUP_SURVEY_OFFSETS_MAX: usize = 100_000;
/// Longest text in a Kafka message, as the 16-bit length of older versions has it.
pub const KAFKA_TEXT_BYTES_MAX: usize = i16::MAX as usize;
/// Most tagged fields behind one structure of a Kafka message.
pub const KAFKA_TAGS_MAX: u32 = 64;
/// Bytes that the tagged fields of a Kafka header may take.
pub const KAFKA_HEADER_TAG_BYTES_MAX: usize = KIB;
/// Memory that the arrays of a Kafka message may take for each of its bytes,
pub const KAFKA_DECODE_FACTOR: usize = 16;
/// and beyond that for the whole message.
pub const KAFKA_DECODE_SLACK_BYTES: usize = 64 * KIB;

/// Longest name of a consumer group.
pub const GROUP_ID_BYTES_MAX: usize = 1_024;
/// Longest id of a member, of an instance, of a protocol, and whatever else names a client there.
pub const GROUP_NAME_BYTES_MAX: usize = 4 * KIB;
/// Protocols a member may offer.
pub const GROUP_PROTOCOLS_MAX: usize = 32;
/// What one member may tell its assignor.
pub const GROUP_MEMBER_BYTES_MAX: usize = MIB;
/// What the leader may assign to all members together.
pub const GROUP_ASSIGNMENT_BYTES_MAX: usize = 8 * MIB;
/// What all members of a group may tell their assignor and be assigned, as one record holds it.
pub const GROUP_BYTES_MAX: usize = 16 * MIB;
/// Milliseconds that a new member may wait for its first generation, as in Kafka.
pub const GROUP_NEW_MEMBER_MS_MAX: u64 = 300_000;
/// Largest group that an operator may allow.
pub const GROUP_MEMBERS_MAX: usize = 10_000;
/// Causes of rebalances that are remembered of each group.
pub const GROUP_REBALANCES_KEPT: usize = 32;
/// Characters of a client's reason that are kept.
pub const GROUP_REASON_CHARS_MAX: usize = 255;
/// Offsets one group may have committed.
pub const GROUP_OFFSETS_MAX: usize = 200_000;
/// Longest timeout that a transaction may ask for, in milliseconds, as in Kafka.
pub const TRANSACTION_MS_MAX: i32 = 900_000;
/// Groups that one partition of `__consumer_offsets` keeps.
pub const GROUPS_PER_PARTITION_MAX: usize = 50_000;

/// Deleted topics that may wait for their files to go; past it nothing more is deleted until some
/// are gone.
pub const DELETED_TOPICS_MAX: usize = 100_000;
/// Producer ids that are reserved at once.
pub const PRODUCER_ID_BLOCK_MAX: u32 = 1_000_000;
/// Largest snapshot of the cluster's metadata.
pub const METADATA_SNAPSHOT_BYTES_MAX: usize = 1024 * MIB;
/// Metadata commands that may wait for the proposer.
pub const METADATA_COMMANDS_MAX: usize = 1_024;
/// Bytes of records that are put into one metadata entry before the next command has to wait for
/// the next entry.
pub const METADATA_ENTRY_BYTES: usize = MIB;
/// Largest configuration file that is read.
pub const CONFIG_FILE_BYTES_MAX: usize = MIB;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// A TLS record starts 0x16 0x03 and the native preface starts "RVN1": read as a Kafka length prefix
// both must lie above every frame that is accepted, or the first bytes could not tell them apart.
const _: () = assert!(FRAME_BYTES_MAX < 0x1603_0000);
const _: () = assert!(FRAME_BYTES_MAX < u32::from_be_bytes(*b"RVN1") as usize);
const _: () = assert!(BATCH_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(ARRIVING_BYTES_FREE <= FRAME_BYTES_ORDINARY);
const _: () = assert!(FRAME_HEADER_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_PRE_AUTH_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(PARTITION_PENDING_BYTES_MAX >= FRAME_BYTES_MAX);
const _: () = assert!(NODE_PENDING_BYTES_MAX >= PARTITION_PENDING_BYTES_MAX);
const _: () = assert!(GROUP_BYTES_MAX + GROUP_ASSIGNMENT_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(SHARD_DRAIN_MAX < MAILBOX_COMMANDS_MAX);
const _: () = assert!(DECOMPRESSED_BYTES_FLOOR >= BATCH_BYTES_DEFAULT);
const _: () = assert!(DECOMPRESSED_FACTOR * BATCH_BYTES_MAX <= NODE_EXPANSION_BYTES_MAX);
