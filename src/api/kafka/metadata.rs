//! ApiVersions and Metadata.

use super::{Endpoint, Refused, note};
use crate::api::{Context, error, topics};
use crate::metadata::Image;
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::{ApiKey, Text};
use crate::protocol::kafka::{ApiVersionsResponse, ApiVersionsResponseApi};
use crate::protocol::kafka::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::native::message::{Error, Node, TopicMetadata};
use crate::types::{NodeId, TopicId};

/// The APIs and versions that are served.
#[must_use]
pub fn versions(served: impl Iterator<Item = ApiKey>, error_code: i16) -> ApiVersionsResponse {
    let api = |api: ApiKey| {
        let versions = api.advertised();
        ApiVersionsResponseApi {
            api_key: api.code(),
            min_version: *versions.start(),
            max_version: *versions.end(),
        }
    };
    ApiVersionsResponse { error_code, api_keys: served.map(api).collect(), ..Default::default() }
}

/// A topic that a request asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By its name.
    Name(String),
    /// By its id.
    Id(TopicId),
}

/// The topics that a request asks about. Before version 1 an empty list meant all of them.
///
/// # Errors
/// When it names too many.
pub fn wanted(request: MetadataRequest, version: i16, image: &Image) -> Result<Vec<Wanted>, Error> {
    match request.topics {
        Some(topics) if version > 0 || !topics.is_empty() => {
            crate::api::fetch::check_count(topics.len())?;
            Ok(once(topics))
        }
        _ => Ok(image.topics().map(|topic| Wanted::Name(topic.name.to_string())).collect()),
    }
}

/// Each once, however often it is named: the answer is much larger than the question.
fn once(topics: Vec<MetadataRequestTopic>) -> Vec<Wanted> {
    let mut seen = std::collections::BTreeSet::new();
    let wanted = topics.into_iter().filter_map(|topic| {
        let name = topic.name.unwrap_or_default();
        if !seen.insert((topic.topic_id, name.clone())) {
            return None;
        }
        Some(if topic.topic_id == TopicId::default() {
            Wanted::Name(name.to_string())
        } else {
            Wanted::Id(topic.topic_id)
        })
    });
    wanted.collect()
}

/// The part of an answer that is about one topic.
#[must_use]
pub fn topic(
    found: TopicMetadata,
    context: &Context<'_>,
    refused: &mut Refused,
) -> MetadataResponseTopic {
    let internal = context.image.topic(&found.name).is_some_and(|topic| topic.internal);
    let id = <[u8; 16]>::try_from(&found.topic_id[..]).map(TopicId::from_bytes);
    let partitions = found.partitions.into_iter().map(|partition| MetadataResponsePartition {
        error_code: if partition.leader < 0 {
            ErrorCode::LeaderNotAvailable.code() as i16
        } else {
            0
        },
        partition_index: partition.partition,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas,
        isr_nodes: partition.isr,
        offline_replicas: Vec::new(),
    });
    MetadataResponseTopic {
        error_code: found.error.map_or(0, |error| note(refused, error)),
        name: Some(Text::from(found.name)),
        topic_id: id.unwrap_or_default(),
        is_internal: internal,
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}

/// The part of an answer that says that there is no topic with this id.
#[must_use]
pub fn unknown_id(id: TopicId, version: i16, refused: &mut Refused) -> MetadataResponseTopic {
    // Only newer versions can say that there is no name.
    let name = (version < 12).then(Text::new);
    let error_code = note(refused, error::unknown_topic_id(id));
    MetadataResponseTopic { error_code, name, topic_id: id, ..MetadataResponseTopic::default() }
}

/// The answer but for its topics. `own` is where this client reaches this node, which is known
/// best by how it has done so, unless an address is configured.
#[must_use]
pub fn cluster(
    cluster_id: &str,
    own: (NodeId, &Endpoint),
    context: &Context<'_>,
) -> MetadataResponse {
    MetadataResponse {
        brokers: brokers(own, context)
            .map(|(node_id, endpoint, rack)| MetadataResponseBroker {
                node_id,
                host: Text::from(endpoint.host),
                port: i32::from(endpoint.port),
                rack: rack.map(Text::from),
            })
            .collect(),
        cluster_id: Some(Text::from(cluster_id)),
        controller_id: own.0.0,
        ..MetadataResponse::default()
    }
}

/// Every node with the address that clients use, and its rack.
pub fn brokers<'a>(
    (own, endpoint): (NodeId, &'a Endpoint),
    context: &Context<'_>,
) -> impl Iterator<Item = (i32, Endpoint, Option<String>)> + use<'a> {
    topics::nodes(context).into_iter().map(move |Node { id, address, rack }| {
        let configured = split(&address);
        let reached = configured.unwrap_or_else(|| {
            debug_assert_eq!(id, own.0, "nodes of a cluster have addresses");
            endpoint.clone()
        });
        (id, reached, Some(rack).filter(|rack| !rack.is_empty()))
    })
}

/// Host and port of an address; IPv6 addresses stand in brackets there and without them here.
fn split(address: &str) -> Option<Endpoint> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_whatever_their_family() {
        let endpoint = |host: &str, port| Some(Endpoint { host: host.to_owned(), port });
        assert_eq!(split("broker.example:9092"), endpoint("broker.example", 9092));
        assert_eq!(split("[::1]:9092"), endpoint("::1", 9092));
        assert_eq!(split("10.0.0.1:1"), endpoint("10.0.0.1", 1));
        assert_eq!(split(""), None);
    }

    #[test]
    fn a_topic_that_is_named_twice_is_told_once() {
        let topic = |name: &str| MetadataRequestTopic {
            name: Some(Text::from(name)),
            ..MetadataRequestTopic::default()
        };
        let asked = once(vec![topic("a"), topic("b"), topic("a")]);
        assert_eq!(asked, [Wanted::Name("a".to_owned()), Wanted::Name("b".to_owned())]);
    }
}
