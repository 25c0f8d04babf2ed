//! DescribeCluster, DescribeTopicPartitions and DescribeLogDirs, executed.

use super::{Asked, KafkaPending, ready};
use crate::api::kafka::{Refused, cluster as translate, code};
use crate::protocol::kafka::{
    DescribeClusterRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseTopic,
};

pub(super) fn describe(asked: &Asked, request: &DescribeClusterRequest) -> KafkaPending {
    let (node, view, endpoint) = (&asked.node, asked.node.view(), asked.endpoint());
    let own = (node.node_id(), &endpoint);
    let (context, mut refused) = (view.context(), Refused::new());
    let response = translate::describe(request, node.cluster_id(), own, &context, &mut refused);
    ready(asked.answer(&response, refused))
}

pub(super) fn topic_partitions(
    asked: &Asked,
    request: DescribeTopicPartitionsRequest,
) -> KafkaPending {
    let (view, mut refused) = (asked.node.view(), Refused::new());
    let described = translate::topic_partitions(request, &view.context(), &mut refused);
    let response = described.unwrap_or_else(|error| {
        // The message has no place for an error of its own.
        let error_code = code(&error);
        refused.push(error);
        let topic = DescribeTopicPartitionsResponseTopic { error_code, ..Default::default() };
        DescribeTopicPartitionsResponse { topics: vec![topic], ..Default::default() }
    });
    ready(asked.answer(&response, refused))
}

pub(super) fn log_dirs(asked: &Asked, request: &DescribeLogDirsRequest) -> KafkaPending {
    let (node, view) = (&asked.node, asked.node.view());
    let directory = node.options().data_dir.display().to_string();
    let response = translate::log_dirs(request, &directory, node.space_bytes(), &view.context());
    ready(asked.answer(&response, Refused::new()))
}
