//! API 60, DescribeCluster. Tells the nodes of the cluster.

use super::wire::Text;

messages! {
    DescribeCluster: DescribeClusterRequest => DescribeClusterResponse;

    /// Asks for the nodes of the cluster.
    struct DescribeClusterRequest {
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool => since(0),
        /// Whose addresses: 1 brokers, 2 controllers.
        endpoint_type: i8 = 1 => since(1),
        /// Whether to tell brokers that are fenced, too.
        include_fenced_brokers: bool => since(2),
    }

    /// The nodes.
    struct DescribeClusterResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> => since(0).nullable(0),
        /// Whose addresses these are: 1 brokers, 2 controllers.
        endpoint_type: i8 = 1 => since(1),
        /// Id of the cluster.
        cluster_id: Text => since(0),
        /// Node to send administration to; -1 for none.
        controller_id: i32 = -1 => since(0),
        /// The nodes of the cluster.
        brokers: Vec<DescribeClusterResponseBroker> => since(0),
        /// What the client may do to the cluster, one bit for each; `i32::MIN` when it did not ask.
        cluster_authorized_operations: i32 = i32::MIN => since(0),
    }

    /// One node of a [`DescribeClusterResponse`].
    struct DescribeClusterResponseBroker {
        /// The node.
        broker_id: i32 => since(0),
        /// Host name or address of the node.
        host: Text => since(0),
        /// Port of the node.
        port: i32 => since(0),
        /// Rack of the node.
        rack: Option<Text> => since(0).nullable(0),
        /// Whether the broker is fenced.
        is_fenced: bool => since(2),
    }
}
