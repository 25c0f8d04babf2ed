//! API 27, WriteTxnMarkers. Writes the markers that end a transaction; administrators abort hanging
//! ones with it.

use super::wire::Text;

messages! {
    WriteTxnMarkers: WriteTxnMarkersRequest => WriteTxnMarkersResponse;

    /// Ends transactions in the partitions themselves.
    struct WriteTxnMarkersRequest {
        /// The markers.
        markers: Vec<WriteTxnMarkersRequestMarker> => since(0),
    }

    /// One producer's transaction.
    struct WriteTxnMarkersRequestMarker {
        /// The producer.
        producer_id: i64 => since(0),
        /// Epoch of the producer.
        producer_epoch: i16 => since(0),
        /// Whether the transaction is committed rather than aborted.
        transaction_result: bool => since(0),
        /// The topics.
        topics: Vec<WriteTxnMarkersRequestTopic> => since(0),
        /// Epoch of the coordinator's partition.
        coordinator_epoch: i32 => since(0),
        /// Version of the transaction protocol; 2 bumps the epoch with each transaction.
        transaction_version: i8 => since(2).ignorable(),
    }

    /// One topic of a [`WriteTxnMarkersRequest`].
    struct WriteTxnMarkersRequestTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partition_indexes: Vec<i32> => since(0),
    }

    /// What became of each marker.
    struct WriteTxnMarkersResponse {
        /// The markers.
        markers: Vec<WriteTxnMarkersResponseMarker> => since(0),
    }

    /// What became of one producer's markers.
    struct WriteTxnMarkersResponseMarker {
        /// The producer.
        producer_id: i64 => since(0),
        /// One answer for each topic.
        topics: Vec<WriteTxnMarkersResponseTopic> => since(0),
    }

    /// One topic of a [`WriteTxnMarkersResponse`].
    struct WriteTxnMarkersResponseTopic {
        /// Name of the topic.
        name: Text => since(0),
        /// The partitions.
        partitions: Vec<WriteTxnMarkersResponsePartition> => since(0),
    }

    /// One partition of a [`WriteTxnMarkersResponse`].
    struct WriteTxnMarkersResponsePartition {
        /// The partition.
        partition_index: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
    }
}
