//! ApiVersions and Metadata, executed.

use super::super::admin;
use super::{Asked, KafkaAnswer, KafkaPending, ready};
use crate::api::kafka::metadata::{self as translate, Wanted};
use crate::api::kafka::{Refused, code};
use crate::protocol::kafka::ApiKey;
use crate::protocol::kafka::ApiVersionsRequest;
use crate::protocol::kafka::{MetadataRequest, MetadataResponse, MetadataResponseTopic};

/// The APIs that are served, which clients take features from.
pub(super) const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

pub(super) fn versions(asked: &Asked, _request: &ApiVersionsRequest) -> KafkaPending {
    let response = translate::versions(SERVED.iter().copied(), 0);
    ready(asked.answer(&response, Refused::new()))
}

pub(super) async fn metadata(asked: Asked, request: MetadataRequest) -> KafkaAnswer {
    let (node, version) = (&asked.node, asked.header.version);
    let auto_create = request.allow_auto_topic_creation;
    let wanted = match translate::wanted(request, version, node.view().image()) {
        Ok(wanted) => wanted,
        Err(error) => {
            let response = MetadataResponse { error_code: code(&error), ..Default::default() };
            return asked.answer(&response, vec![error]);
        }
    };
    let mut refused = Refused::new();
    let mut topics = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        topics.push(topic(&asked, wanted, auto_create, &mut refused).await);
    }
    let (view, endpoint) = (node.view(), asked.endpoint());
    let cluster =
        translate::cluster(node.cluster_id(), (node.node_id(), &endpoint), &view.context());
    asked.answer(&MetadataResponse { topics, ..cluster }, refused)
}

async fn topic(
    asked: &Asked,
    wanted: Wanted,
    auto_create: bool,
    refused: &mut Refused,
) -> MetadataResponseTopic {
    let node = &asked.node;
    let name = match wanted {
        Wanted::Name(name) => name,
        Wanted::Id(id) => {
            let view = node.view();
            match view.image().topic_by_id(id) {
                Some(topic) => topic.name.to_string(),
                None => return translate::unknown_id(id, asked.header.version, refused),
            }
        }
    };
    let found = admin::topic_metadata(node, &name, auto_create).await;
    translate::topic(found, &node.view().context(), refused)
}
