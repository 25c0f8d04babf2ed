//! API 0, Produce. Writes record batches. Versions below 3 carry message formats that are gone;
//! they are advertised and not served, because old librdkafka compresses only when it sees them.

use super::wire::{Records, Text};
use crate::types::TopicId;

messages! {
    Produce: ProduceRequest => ProduceResponse;

    /// Record batches that are to be written. Sent with `acks` 0 it gets no answer.
    struct ProduceRequest {
        /// Transactional id of the producer; `None` outside transactions.
        transactional_id: Option<Text> => since(3).nullable(3),
        /// How many replicas have to have the records: 0, 1, or -1 for all in sync. 0 means no
        /// answer.
        acks: i16 => since(0),
        /// How long the server may take over it.
        timeout_ms: i32 => since(0),
        /// The topics.
        topic_data: Vec<ProduceRequestTopic> => since(0),
    }

    /// One topic of a [`ProduceRequest`].
    struct ProduceRequestTopic {
        /// Name of the topic.
        name: Text => since(0).until(12).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(13).ignorable(),
        /// The partitions.
        partition_data: Vec<ProduceRequestPartition> => since(0),
    }

    /// One partition of a [`ProduceRequest`].
    struct ProduceRequestPartition {
        /// The partition.
        index: i32 => since(0),
        /// Record batches; `None` when there are none.
        records: Option<Records> => since(0).nullable(0),
    }

    /// Where the batches were written, or why not.
    struct ProduceResponse {
        /// One answer for each topic.
        responses: Vec<ProduceResponseTopic> => since(0),
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// Where the leaders named above can be reached.
        node_endpoints: Vec<ProduceResponseNodeEndpoint> => since(10).tag(0),
    }

    /// One topic of a [`ProduceResponse`].
    struct ProduceResponseTopic {
        /// Name of the topic.
        name: Text => since(0).until(12).ignorable(),
        /// Id of the topic; all zeros when it is not known.
        topic_id: TopicId => since(13).ignorable(),
        /// One answer for each partition.
        partition_responses: Vec<ProduceResponsePartition> => since(0),
    }

    /// One partition of a [`ProduceResponse`].
    struct ProduceResponsePartition {
        /// The partition.
        index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// Offset of the first record that was written; -1 if none was.
        base_offset: i64 => since(0),
        /// When the broker wrote them, if that is the topic's kind of time stamp; else -1.
        log_append_time_ms: i64 = -1 => since(2).ignorable(),
        /// First offset of the partition; -1 when it is not known.
        log_start_offset: i64 = -1 => since(5).ignorable(),
        /// The records on whose account the batch was refused.
        record_errors: Vec<ProduceResponseRecordError> => since(8).ignorable(),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(8).nullable(8).ignorable(),
        /// Who leads the partition, when it is not who was asked (KIP-951).
        current_leader: ProduceResponseLeader => since(10).tag(0),
    }

    /// A record on whose account its batch was refused.
    struct ProduceResponseRecordError {
        /// Position of the record in its batch.
        batch_index: i32 => since(8),
        /// What is wrong with the record.
        batch_index_error_message: Option<Text> => since(8).nullable(8),
    }

    /// Who leads the partition.
    struct ProduceResponseLeader {
        /// Node that leads the partition; -1 for none.
        leader_id: i32 = -1 => since(10),
        /// Epoch of the leader; -1 when it is not known.
        leader_epoch: i32 = -1 => since(10),
    }

    /// Where a node can be reached.
    struct ProduceResponseNodeEndpoint {
        /// The node.
        node_id: i32 => since(10),
        /// Host name or address of the node.
        host: Text => since(10),
        /// Port of the node.
        port: i32 => since(10),
        /// Rack of the node.
        rack: Option<Text> => since(10).nullable(10),
    }
}
