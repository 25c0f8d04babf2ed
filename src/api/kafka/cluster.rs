//! DescribeCluster, DescribeTopicPartitions and DescribeLogDirs.

use super::metadata::brokers;
use super::{Endpoint, Refused, note};
use crate::api::topics;
use crate::api::{Context, error};
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeClusterResponseBroker,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResponseLogDir,
    DescribeLogDirsResponsePartition, DescribeLogDirsResponseTopic, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseCursor,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, Text,
};
use crate::protocol::native::message::Error;
use crate::types::NodeId;

/// Asks for brokers, and not for controllers.
const BROKERS: i8 = 1;
/// Most partitions that one answer describes.
const PARTITIONS_MAX: i32 = 2_000;

/// The nodes of the cluster.
#[must_use]
pub fn describe(
    request: &DescribeClusterRequest,
    cluster_id: &str,
    own: (NodeId, &Endpoint),
    context: &Context<'_>,
    refused: &mut Refused,
) -> DescribeClusterResponse {
    let mut answer = DescribeClusterResponse {
        endpoint_type: request.endpoint_type,
        cluster_id: Text::from(cluster_id),
        controller_id: own.0.0,
        ..DescribeClusterResponse::default()
    };
    if request.endpoint_type != BROKERS {
        let message = "this port serves clients; controllers have no port of their own";
        let error = Error::new(ErrorCode::UnsupportedVersion, message);
        answer.error_message = super::text(&error);
        answer.error_code = note(refused, error);
        return answer;
    }
    answer.brokers = brokers(own, context)
        .map(|(broker_id, endpoint, rack)| DescribeClusterResponseBroker {
            broker_id,
            host: Text::from(endpoint.host),
            port: i32::from(endpoint.port),
            rack: rack.map(Text::from),
            is_fenced: false,
        })
        .collect();
    answer
}

/// The partitions of topics, as many as fit an answer, from the cursor on.
///
/// # Errors
/// When the request names too many topics.
pub fn topic_partitions(
    request: DescribeTopicPartitionsRequest,
    context: &Context<'_>,
    refused: &mut Refused,
) -> Result<DescribeTopicPartitionsResponse, Error> {
    crate::api::fetch::check_count(request.topics.len())?;
    let named = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    let mut names = topics::named(named, true, context);
    names.sort_unstable();
    let (first_topic, mut first) = match &request.cursor {
        Some(cursor) => (&cursor.topic_name[..], cursor.partition_index.max(0) as usize),
        None => ("", 0),
    };
    let mut left = request.response_partition_limit.clamp(1, PARTITIONS_MAX) as usize;
    let mut answer = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| &name[..] >= first_topic) {
        if name != first_topic {
            first = 0;
        }
        if left == 0 {
            answer.next_cursor = Some(cursor(&name, first));
            break;
        }
        let (topic, total) = topic(&name, first, left, context, refused);
        let told = topic.partitions.len();
        answer.topics.push(topic);
        left -= told;
        if first + told < total {
            answer.next_cursor = Some(cursor(&name, first + told));
            break;
        }
    }
    Ok(answer)
}

fn cursor(name: &str, partition: usize) -> DescribeTopicPartitionsResponseCursor {
    DescribeTopicPartitionsResponseCursor {
        topic_name: Text::from(name),
        partition_index: partition as i32,
    }
}

/// The part about one topic, and how many partitions it has in all.
fn topic(
    name: &str,
    first: usize,
    most: usize,
    context: &Context<'_>,
    refused: &mut Refused,
) -> (DescribeTopicPartitionsResponseTopic, usize) {
    let mut answer = DescribeTopicPartitionsResponseTopic {
        name: Some(Text::from(name)),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let Some(topic) = context.image.topic(name) else {
        answer.error_code = note(refused, error::unknown_topic(name));
        return (answer, 0);
    };
    answer.topic_id = topic.id;
    answer.is_internal = topic.internal;
    let partitions = topic.partitions.iter().enumerate().skip(first).take(most);
    answer.partitions = partitions
        .map(|(index, partition)| DescribeTopicPartitionsResponsePartition {
            partition_index: index as i32,
            leader_id: partition.leader.map_or(-1, |node| node.0),
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
            isr_nodes: partition.isr.iter().map(|node| node.0).collect(),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribeTopicPartitionsResponsePartition::default()
        })
        .collect();
    (answer, topic.partitions.len())
}

/// What the partitions take of the disk, which tools show as the sizes of topics.
#[must_use]
pub fn log_dirs(
    request: &DescribeLogDirsRequest,
    directory: &str,
    (total_bytes, usable_bytes): (u64, u64),
    context: &Context<'_>,
) -> DescribeLogDirsResponse {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let wants = |name: &str, partition: i32| match &request.topics {
        None => true,
        Some(topics) => {
            topics.iter().any(|topic| topic.topic == name && topic.partitions.contains(&partition))
        }
    };
    let mut topics = Vec::new();
    for topic in context.image.topics() {
        let Some(found) = context.directory.topic(topic.id) else { continue };
        let partitions = found.handles().iter().filter_map(|handle| {
            let partition_index = handle.id().partition.0;
            wants(&topic.name, partition_index).then(|| DescribeLogDirsResponsePartition {
                partition_index,
                partition_size: signed(handle.view().size_bytes),
                ..DescribeLogDirsResponsePartition::default()
            })
        });
        let partitions: Vec<_> = partitions.collect();
        if !partitions.is_empty() {
            let name = Text::from(&*topic.name);
            topics.push(DescribeLogDirsResponseTopic { name, partitions });
        }
    }
    DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResponseLogDir {
            log_dir: Text::from(directory),
            topics,
            total_bytes: signed(total_bytes),
            usable_bytes: signed(usable_bytes),
            ..DescribeLogDirsResponseLogDir::default()
        }],
        ..DescribeLogDirsResponse::default()
    }
}
