//! Headers of the operations: what each asks for and what comes back. Shapes only; what they mean
//! is the business of the handlers.

use std::collections::BTreeMap;

use super::{Error, config_change};

messages! {
    /// Which topics exist and who leads their partitions: what a client needs to produce and
    /// consume.
    pub struct Metadata {
        /// The topics; none: all that the principal may see.
        #[prost(string, repeated, tag = "1")]
        pub topics: Vec<String>,
        /// Create missing topics if the server allows it.
        #[prost(bool, tag = "2")]
        pub auto_create: bool,
    }

    /// Answer to [`Metadata`].
    pub struct MetadataResult {
        /// The cluster.
        #[prost(string, tag = "1")]
        pub cluster_id: String,
        /// Node that leads the metadata.
        #[prost(int32, tag = "2")]
        pub controller: i32,
        /// The nodes clients may connect to.
        #[prost(message, repeated, tag = "3")]
        pub nodes: Vec<Node>,
        /// The topics.
        #[prost(message, repeated, tag = "4")]
        pub topics: Vec<TopicMetadata>,
    }

    /// A node clients may connect to.
    pub struct Node {
        /// Number of the node.
        #[prost(int32, tag = "1")]
        pub id: i32,
        /// Where clients reach it, `host:port`.
        #[prost(string, tag = "2")]
        pub address: String,
        /// Rack of the node; empty: unknown.
        #[prost(string, tag = "3")]
        pub rack: String,
    }

    /// One topic.
    pub struct TopicMetadata {
        /// Why there is nothing to tell about the topic.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Name.
        #[prost(string, tag = "2")]
        pub name: String,
        /// Sixteen bytes.
        #[prost(bytes = "vec", tag = "3")]
        pub topic_id: Vec<u8>,
        /// The partitions.
        #[prost(message, repeated, tag = "4")]
        pub partitions: Vec<PartitionMetadata>,
        /// Largest batch the topic takes.
        #[prost(uint32, tag = "5")]
        pub max_message_bytes: u32,
        /// Fsync or os.
        #[prost(string, tag = "6")]
        pub durability: String,
    }

    /// One partition and its leader.
    pub struct PartitionMetadata {
        /// Index of the partition.
        #[prost(int32, tag = "1")]
        pub partition: i32,
        /// -1: none.
        #[prost(int32, tag = "2")]
        pub leader: i32,
        /// Counts the leaders it has had.
        #[prost(int32, tag = "3")]
        pub leader_epoch: i32,
        /// Nodes that hold a replica.
        #[prost(int32, repeated, tag = "4")]
        pub replicas: Vec<i32>,
        /// Replicas that are in sync.
        #[prost(int32, repeated, tag = "5")]
        pub isr: Vec<i32>,
    }

    /// Appends. The payload holds the data of the partitions one after the other, in their order
    /// here.
    pub struct Produce {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<ProducePartition>,
        /// -1 all, 1 leader, 0 none: the answer does not wait for the append and its offsets are
        /// -1.
        #[prost(sint32, tag = "2")]
        pub acks: i32,
    }

    /// The share of one partition.
    pub struct ProducePartition {
        /// The topic.
        #[prost(string, tag = "1")]
        pub topic: String,
        /// Index of the partition; -1: the data is a plain record list that the server spreads over
        /// the partitions, at least once, with one result for each.
        #[prost(int32, tag = "2")]
        pub partition: i32,
        /// Share of the payload.
        #[prost(uint32, tag = "3")]
        pub data_bytes: u32,
        /// Append only if it will get exactly this offset.
        #[prost(int64, optional, tag = "4")]
        pub expected_offset: Option<i64>,
    }

    /// Answer to [`Produce`].
    pub struct ProduceResult {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<ProducePartitionResult>,
    }

    /// What became of one partition's share.
    pub struct ProducePartitionResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// The topic.
        #[prost(string, tag = "2")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "3")]
        pub partition: i32,
        /// Offset of the first record.
        #[prost(int64, tag = "4")]
        pub base_offset: i64,
        /// Offset after the last record.
        #[prost(int64, tag = "5")]
        pub next_offset: i64,
        /// First offset that can be read.
        #[prost(int64, tag = "6")]
        pub log_start_offset: i64,
        /// What the acknowledgement means: fsync or os.
        #[prost(string, tag = "7")]
        pub durability: String,
        /// Which entry of the request this answers.
        #[prost(uint32, tag = "8")]
        pub request_index: u32,
    }

    /// Reads. The payload of the answer holds whole batches; the first may start before `offset`.
    pub struct Fetch {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<FetchPartition>,
        /// Most bytes of the whole answer; the first batch always fits.
        #[prost(uint32, tag = "2")]
        pub max_bytes: u32,
        /// Wait until this much is there.
        #[prost(uint32, tag = "3")]
        pub min_bytes: u32,
        /// Longest wait for `min_bytes`, in milliseconds.
        #[prost(uint32, tag = "4")]
        pub max_wait_ms: u32,
        /// Leave out what open and aborted transactions wrote.
        #[prost(bool, tag = "5")]
        pub read_committed: bool,
    }

    /// Where to read in one partition.
    pub struct FetchPartition {
        /// The topic.
        #[prost(string, tag = "1")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "2")]
        pub partition: i32,
        /// First offset that is wanted.
        #[prost(int64, tag = "3")]
        pub offset: i64,
        /// Most bytes wanted of this partition; 0: no bound of its own.
        #[prost(uint32, tag = "4")]
        pub max_bytes: u32,
    }

    /// Answer to [`Fetch`].
    pub struct FetchResult {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<FetchPartitionResult>,
    }

    /// What was read from one partition.
    pub struct FetchPartitionResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// The topic.
        #[prost(string, tag = "2")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "3")]
        pub partition: i32,
        /// Share of the payload.
        #[prost(uint32, tag = "4")]
        pub data_bytes: u32,
        /// First offset that can be read.
        #[prost(int64, tag = "5")]
        pub log_start_offset: i64,
        /// Offset after the last committed record.
        #[prost(int64, tag = "6")]
        pub high_watermark: i64,
        /// Offset after the last record of no open transaction.
        #[prost(int64, tag = "7")]
        pub last_stable_offset: i64,
    }

    /// A stream of what becomes visible from the given offsets on. The server sends DATA frames
    /// while the stream has credit; the client returns credit with CREDIT frames and ends it with
    /// CANCEL.
    pub struct Subscribe {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<FetchPartition>,
        /// Leave out what open and aborted transactions wrote.
        #[prost(bool, tag = "2")]
        pub read_committed: bool,
        /// Aim of one DATA frame's payload; 0: the server's choice.
        #[prost(uint32, tag = "3")]
        pub frame_bytes: u32,
    }

    /// What became visible.
    pub struct SubscribeData {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<FetchPartitionResult>,
    }

    /// Asks for offsets by time.
    pub struct ListOffsets {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<ListOffsetsPartition>,
    }

    /// One partition and the time looked for.
    pub struct ListOffsetsPartition {
        /// The topic.
        #[prost(string, tag = "1")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "2")]
        pub partition: i32,
        /// -1 latest, -2 earliest, -3 of the largest time stamp, else first at or after it.
        #[prost(int64, tag = "3")]
        pub timestamp_ms: i64,
    }

    /// Answer to [`ListOffsets`].
    pub struct ListOffsetsResult {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<ListOffsetsPartitionResult>,
    }

    /// The offset found in one partition.
    pub struct ListOffsetsPartitionResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// The topic.
        #[prost(string, tag = "2")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "3")]
        pub partition: i32,
        /// Offset of the record; -1: there is none.
        #[prost(int64, tag = "4")]
        pub offset: i64,
        /// Time stamp of that record; -1: there is none.
        #[prost(int64, tag = "5")]
        pub timestamp_ms: i64,
    }

    /// Creates topics, each on its own.
    pub struct CreateTopics {
        /// The topics.
        #[prost(message, repeated, tag = "1")]
        pub topics: Vec<NewTopic>,
        /// Check everything and change nothing.
        #[prost(bool, tag = "2")]
        pub validate_only: bool,
    }

    /// A topic to create.
    pub struct NewTopic {
        /// Name.
        #[prost(string, tag = "1")]
        pub name: String,
        /// -1: topic.default_partitions.
        #[prost(int32, tag = "2")]
        pub partitions: i32,
        /// -1: the cluster's default.
        #[prost(int32, tag = "3")]
        pub replication_factor: i32,
        /// Settings.
        #[prost(btree_map = "string, string", tag = "4")]
        pub config: BTreeMap<String, String>,
    }

    /// Answer to [`CreateTopics`].
    pub struct CreateTopicsResult {
        /// One result for each topic, in the order of the request.
        #[prost(message, repeated, tag = "1")]
        pub topics: Vec<TopicResult>,
    }

    /// What became of one topic.
    pub struct TopicResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Name.
        #[prost(string, tag = "2")]
        pub name: String,
        /// Sixteen bytes that name the topic for ever; like the numbers unset if it failed.
        #[prost(bytes = "vec", tag = "3")]
        pub topic_id: Vec<u8>,
        /// Partitions the topic has now, or had before it was deleted.
        #[prost(int32, tag = "4")]
        pub partitions: i32,
        /// Replicas of each partition.
        #[prost(int32, tag = "5")]
        pub replication_factor: i32,
        /// What was accepted but deserves a look.
        #[prost(string, repeated, tag = "6")]
        pub warnings: Vec<String>,
    }

    /// Changes settings of a topic.
    pub struct AlterTopic {
        /// Name.
        #[prost(string, tag = "1")]
        pub name: String,
        /// The changes, all or none.
        #[prost(message, repeated, tag = "2")]
        pub changes: Vec<ConfigChange>,
        /// Check everything and change nothing.
        #[prost(bool, tag = "3")]
        pub validate_only: bool,
    }

    /// One change of one setting.
    pub struct ConfigChange {
        /// What to do with it.
        #[prost(enumeration = "config_change::Kind", tag = "1")]
        pub kind: i32,
        /// The setting.
        #[prost(string, tag = "2")]
        pub key: String,
        /// Its value.
        #[prost(string, tag = "3")]
        pub value: String,
    }

    /// Answer to [`AlterTopic`].
    pub struct AlterTopicResult {
        /// The topic.
        #[prost(message, optional, tag = "1")]
        pub topic: Option<TopicResult>,
    }

    /// Adds partitions to a topic.
    pub struct AddPartitions {
        /// Name.
        #[prost(string, tag = "1")]
        pub name: String,
        /// Partitions the topic shall have.
        #[prost(int32, tag = "2")]
        pub total: i32,
        /// Check everything and change nothing.
        #[prost(bool, tag = "3")]
        pub validate_only: bool,
    }

    /// Answer to [`AddPartitions`].
    pub struct AddPartitionsResult {
        /// The topic.
        #[prost(message, optional, tag = "1")]
        pub topic: Option<TopicResult>,
    }

    /// Deletes topics with all their records.
    pub struct DeleteTopics {
        /// The topics.
        #[prost(string, repeated, tag = "1")]
        pub names: Vec<String>,
        /// Check everything and change nothing.
        #[prost(bool, tag = "2")]
        pub validate_only: bool,
    }

    /// Answer to [`DeleteTopics`].
    pub struct DeleteTopicsResult {
        /// The topics.
        #[prost(message, repeated, tag = "1")]
        pub topics: Vec<TopicResult>,
    }

    /// Asks for everything about topics.
    pub struct DescribeTopics {
        /// The topics; none: all.
        #[prost(string, repeated, tag = "1")]
        pub names: Vec<String>,
        /// Internal topics too.
        #[prost(bool, tag = "2")]
        pub internal: bool,
    }

    /// Answer to [`DescribeTopics`].
    pub struct DescribeTopicsResult {
        /// The topics.
        #[prost(message, repeated, tag = "1")]
        pub topics: Vec<TopicDescription>,
    }

    /// Everything about a topic.
    pub struct TopicDescription {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Name.
        #[prost(string, tag = "2")]
        pub name: String,
        /// Sixteen bytes that name the topic for ever.
        #[prost(bytes = "vec", tag = "3")]
        pub topic_id: Vec<u8>,
        /// The partitions.
        #[prost(message, repeated, tag = "4")]
        pub partitions: Vec<PartitionDescription>,
        /// Settings.
        #[prost(message, repeated, tag = "5")]
        pub config: Vec<ConfigEntry>,
    }

    /// Everything about a partition.
    pub struct PartitionDescription {
        /// Index of the partition.
        #[prost(int32, tag = "1")]
        pub partition: i32,
        /// Node that leads it; -1: none.
        #[prost(int32, tag = "2")]
        pub leader: i32,
        /// Counts the leaders it has had.
        #[prost(int32, tag = "3")]
        pub leader_epoch: i32,
        /// Nodes that hold a replica.
        #[prost(int32, repeated, tag = "4")]
        pub replicas: Vec<i32>,
        /// Replicas that are in sync.
        #[prost(int32, repeated, tag = "5")]
        pub isr: Vec<i32>,
        /// Replicas out of sync that still hold everything committed.
        #[prost(int32, repeated, tag = "6")]
        pub elr: Vec<i32>,
        /// First offset that can be read.
        #[prost(int64, tag = "7")]
        pub log_start_offset: i64,
        /// Offset after the last committed record.
        #[prost(int64, tag = "8")]
        pub high_watermark: i64,
        /// Offset after the last record of no open transaction.
        #[prost(int64, tag = "9")]
        pub last_stable_offset: i64,
        /// Bytes on disk.
        #[prost(uint64, tag = "10")]
        pub size_bytes: u64,
        /// Files the log is cut into.
        #[prost(uint32, tag = "11")]
        pub segments: u32,
        /// Why the partition is offline or damaged.
        #[prost(message, optional, tag = "12")]
        pub error: Option<Error>,
        /// How far it is compacted; unset: its topic is not.
        #[prost(message, optional, tag = "13")]
        pub compaction: Option<Compaction>,
    }

    /// How far a partition is compacted.
    pub struct Compaction {
        /// Clean, waiting, due, running or failed.
        #[prost(string, tag = "1")]
        pub state: String,
        /// Why there is no pass now; empty: nothing keeps it.
        #[prost(string, tag = "2")]
        pub held_back: String,
        /// Bytes of whole segments that a pass could look at.
        #[prost(uint64, tag = "3")]
        pub dirty_bytes: u64,
        /// Bytes of those before.
        #[prost(uint64, tag = "4")]
        pub clean_bytes: u64,
        /// Below this offset every key has one record.
        #[prost(int64, tag = "5")]
        pub clean_to: i64,
        /// The last pass; unset: none has ended since the broker started.
        #[prost(message, optional, tag = "6")]
        pub last: Option<CompactionPass>,
    }

    /// What a pass of compaction did.
    pub struct CompactionPass {
        /// When it ended, in milliseconds since 1970.
        #[prost(int64, tag = "1")]
        pub ended_ms: i64,
        /// Milliseconds that it took.
        #[prost(uint64, tag = "2")]
        pub took_ms: u64,
        /// Done, put off or failed.
        #[prost(string, tag = "3")]
        pub outcome: String,
        /// Why it was not done; empty: it was.
        #[prost(string, tag = "4")]
        pub reason: String,
        /// Records that are gone.
        #[prost(uint64, tag = "5")]
        pub removed_records: u64,
        /// Bytes that the partition is smaller by.
        #[prost(uint64, tag = "6")]
        pub removed_bytes: u64,
        /// Bytes that were read.
        #[prost(uint64, tag = "7")]
        pub read_bytes: u64,
        /// Bytes that were written.
        #[prost(uint64, tag = "8")]
        pub written_bytes: u64,
    }

    /// One setting and where its value came from.
    pub struct ConfigEntry {
        /// The setting.
        #[prost(string, tag = "1")]
        pub key: String,
        /// Its present value.
        #[prost(string, tag = "2")]
        pub value: String,
        /// Topic, broker or default.
        #[prost(string, tag = "3")]
        pub source: String,
        /// What it would be if nobody had set it.
        #[prost(string, tag = "4")]
        pub default_value: String,
        /// What it means.
        #[prost(string, tag = "5")]
        pub documentation: String,
    }

    /// Deletes the records below an offset.
    pub struct DeleteRecords {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<DeleteRecordsPartition>,
        /// Check everything and change nothing.
        #[prost(bool, tag = "2")]
        pub validate_only: bool,
    }

    /// One partition and the new start of its log.
    pub struct DeleteRecordsPartition {
        /// The topic.
        #[prost(string, tag = "1")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "2")]
        pub partition: i32,
        /// -1: the high watermark.
        #[prost(int64, tag = "3")]
        pub before_offset: i64,
    }

    /// Answer to [`DeleteRecords`].
    pub struct DeleteRecordsResult {
        /// The partitions.
        #[prost(message, repeated, tag = "1")]
        pub partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// Where one partition's log starts now.
    pub struct DeleteRecordsPartitionResult {
        /// Why it failed; unset: it did not.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// The topic.
        #[prost(string, tag = "2")]
        pub topic: String,
        /// Index of the partition.
        #[prost(int32, tag = "3")]
        pub partition: i32,
        /// First offset that can be read.
        #[prost(int64, tag = "4")]
        pub log_start_offset: i64,
    }

    /// A producer id for idempotent appends.
    pub struct InitProducer {
        /// The present id; -1: a new one.
        #[prost(int64, tag = "1")]
        pub producer_id: i64,
        /// The present epoch, which is fenced; -1: none yet.
        #[prost(int32, tag = "2")]
        pub producer_epoch: i32,
    }

    /// Answer to [`InitProducer`].
    pub struct InitProducerResult {
        /// The producer id.
        #[prost(int64, tag = "1")]
        pub producer_id: i64,
        /// Its epoch.
        #[prost(int32, tag = "2")]
        pub producer_epoch: i32,
    }

    /// Asks for the metrics.
    pub struct Metrics {}

    /// Answer to [`Metrics`].
    pub struct MetricsResult {
        /// Prometheus text format.
        #[prost(string, tag = "1")]
        pub text: String,
    }
    /// Reads the broker's configuration again, as SIGHUP does: as a whole or not at all.
    pub struct ReloadConfig {}

    /// Answer to [`ReloadConfig`].
    pub struct ReloadConfigResult {
        /// Keys whose new values hold now.
        #[prost(string, repeated, tag = "1")]
        pub changed: Vec<String>,
        /// Keys whose new values need a restart.
        #[prost(string, repeated, tag = "2")]
        pub later: Vec<String>,
    }

    /// The configuration that the broker runs with.
    pub struct DescribeConfig {
        /// The keys; none: all.
        #[prost(string, repeated, tag = "1")]
        pub keys: Vec<String>,
    }

    /// Answer to [`DescribeConfig`].
    pub struct DescribeConfigResult {
        /// The keys with their values.
        #[prost(message, repeated, tag = "1")]
        pub config: Vec<ConfigEntry>,
    }

    /// Changes settings of all brokers of the cluster, all or none; they hold above every node's
    /// file.
    pub struct AlterConfig {
        /// What changes.
        #[prost(message, repeated, tag = "1")]
        pub changes: Vec<ConfigChange>,
        /// Only say what would come of it.
        #[prost(bool, tag = "2")]
        pub validate_only: bool,
    }

    /// Answer to [`AlterConfig`].
    pub struct AlterConfigResult {
        /// What the changed keys are then.
        #[prost(message, repeated, tag = "1")]
        pub config: Vec<ConfigEntry>,
        /// What whoever changed them should know.
        #[prost(string, repeated, tag = "2")]
        pub warnings: Vec<String>,
    }
}
