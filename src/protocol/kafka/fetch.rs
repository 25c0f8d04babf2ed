//! API 1, Fetch. Reads record batches. Topics go by name up to version 12 and by id after it;
//! sessions begin with version 7.

use super::wire::{Records, Text};
use crate::types::TopicId;

messages! {
    Fetch: FetchRequest => FetchResponse;

    /// Asks for records, from some offset of each partition on.
    struct FetchRequest {
        /// Cluster that the client means; `None` when it does not say.
        cluster_id: Option<Text> => since(12).nullable(12).tag(0).ignorable(),
        /// Node whose replica asks; -1 for a consumer.
        replica_id: i32 = -1 => since(0).until(14),
        /// The replica that asks.
        replica_state: FetchRequestReplicaState => since(15).tag(1),
        /// How long the answer may wait for `min_bytes`.
        max_wait_ms: i32 => since(0),
        /// Bytes of records that are worth an answer.
        min_bytes: i32 => since(0),
        /// Bytes of records that the answer should have at most; the first batch is whole all the
        /// same.
        max_bytes: i32 = i32::MAX => since(3).ignorable(),
        /// 0: all records; 1: only those of committed transactions.
        isolation_level: i8 => since(4).ignorable(),
        /// Fetch session (KIP-227); 0 for none.
        session_id: i32 => since(7).ignorable(),
        /// Which request of the session this is; -1 ends it, 0 begins one.
        session_epoch: i32 = -1 => since(7).ignorable(),
        /// The topics.
        topics: Vec<FetchRequestTopic> => since(0),
        /// What the session is to leave out from now on.
        forgotten_topics_data: Vec<FetchRequestForgottenTopic> => since(7),
        /// Rack of the consumer.
        rack_id: Text => since(11).ignorable(),
    }

    /// The replica that asks.
    struct FetchRequestReplicaState {
        /// Node whose replica asks; -1 for a consumer.
        replica_id: i32 = -1 => since(15),
        /// Broker epoch of the replica; -1 when it is not known.
        replica_epoch: i64 = -1 => since(15),
    }

    /// One topic of a [`FetchRequest`].
    struct FetchRequestTopic {
        /// Name of the topic.
        topic: Text => since(0).until(12).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(13).ignorable(),
        /// The partitions.
        partitions: Vec<FetchRequestPartition> => since(0),
    }

    /// One partition of a [`FetchRequest`].
    struct FetchRequestPartition {
        /// The partition.
        partition: i32 => since(0),
        /// Leader epoch that the client knows of, for fencing; -1 when it knows none.
        current_leader_epoch: i32 = -1 => since(9).ignorable(),
        /// Where to read from.
        fetch_offset: i64 => since(0),
        /// Leader epoch of the last record that the replica has; -1 for a consumer.
        last_fetched_epoch: i32 = -1 => since(12),
        /// First offset of the replica that asks; -1 for a consumer.
        log_start_offset: i64 = -1 => since(5).ignorable(),
        /// Bytes of records that the answer should have of the partition at most.
        partition_max_bytes: i32 => since(0),
        /// Log directory of the replica; all zeros for a consumer.
        replica_directory_id: TopicId => since(17).tag(0).ignorable(),
        /// High watermark that the replica knows; `i64::MAX` when it does not say.
        high_watermark: i64 = i64::MAX => since(18).tag(1).ignorable(),
    }

    /// Partitions of one topic that the session leaves out from now on.
    struct FetchRequestForgottenTopic {
        /// Name of the topic.
        topic: Text => since(7).until(12).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(13).ignorable(),
        /// The partitions.
        partitions: Vec<i32> => since(7),
    }

    /// The records, whole batches but for the last of a partition.
    struct FetchResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// What is wrong with the request or its session: 0, or the number of an
        /// [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(7).ignorable(),
        /// Session the client may go on with; 0 for none.
        session_id: i32 => since(7),
        /// One answer for each topic.
        responses: Vec<FetchResponseTopic> => since(0),
        /// Where the leaders named above can be reached.
        node_endpoints: Vec<FetchResponseNodeEndpoint> => since(16).tag(0),
    }

    /// One topic of a [`FetchResponse`].
    struct FetchResponseTopic {
        /// Name of the topic.
        topic: Text => since(0).until(12).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(13).ignorable(),
        /// The partitions.
        partitions: Vec<FetchResponsePartition> => since(0),
    }

    /// One partition of a [`FetchResponse`].
    struct FetchResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The partition's high watermark.
        high_watermark: i64 => since(0),
        /// Offset below which every transaction has ended; -1 when it is not known.
        last_stable_offset: i64 = -1 => since(4).ignorable(),
        /// First offset of the partition; -1 when it is not known.
        log_start_offset: i64 = -1 => since(5).ignorable(),
        /// Where the replica's log and this one part.
        diverging_epoch: FetchResponseEpochEndOffset => since(12).tag(0),
        /// Who leads the partition, when it is not who was asked (KIP-951).
        current_leader: FetchResponseLeader => since(12).tag(1),
        /// Snapshot to take instead, when the offset lies below the log start.
        snapshot_id: FetchResponseSnapshotId => since(12).tag(2),
        /// Aborted transactions among the records; `None` when all records were asked for.
        aborted_transactions: Option<Vec<FetchResponseAbortedTransaction>> = Some(Vec::new())
            => since(4).nullable(4).ignorable(),
        /// Node that the consumer should rather read from; -1 for this one.
        preferred_read_replica: i32 = -1 => since(11),
        /// Record batches; `None` when there are none.
        records: Option<Records> => since(0).nullable(0),
    }

    /// A leader epoch and where it ends.
    struct FetchResponseEpochEndOffset {
        /// The leader epoch.
        epoch: i32 = -1 => since(12),
        /// Offset at which the epoch ends.
        end_offset: i64 = -1 => since(12),
    }

    /// Who leads the partition.
    struct FetchResponseLeader {
        /// Node that leads the partition; -1 for none.
        leader_id: i32 = -1 => since(12),
        /// Epoch of the leader; -1 when it is not known.
        leader_epoch: i32 = -1 => since(12),
    }

    /// A snapshot by where it ends.
    struct FetchResponseSnapshotId {
        /// Offset at which the epoch ends.
        end_offset: i64 = -1 => since(0),
        /// The leader epoch.
        epoch: i32 = -1 => since(0),
    }

    /// An aborted transaction whose records the consumer has to leave out.
    struct FetchResponseAbortedTransaction {
        /// The producer.
        producer_id: i64 => since(4),
        /// Where the transaction begins.
        first_offset: i64 => since(4),
    }

    /// Where a node can be reached.
    struct FetchResponseNodeEndpoint {
        /// The node.
        node_id: i32 => since(16),
        /// Host name or address of the node.
        host: Text => since(16),
        /// Port of the node.
        port: i32 => since(16),
        /// Rack of the node.
        rack: Option<Text> => since(16).nullable(16),
    }
}
