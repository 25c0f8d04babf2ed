//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs and ListConfigResources, executed.

use super::super::{admin, config};
use super::{Asked, KafkaAnswer, KafkaPending, ready};
use crate::api::fetch::check_count;
use crate::api::kafka::Refused;
use crate::api::kafka::configs::{self as translate, Resource};
use crate::metadata::config::{ConfigEntry, effective, effective_broker};
use crate::protocol::kafka::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
};
use crate::protocol::native::message::{AlterConfig, AlterTopic, ConfigChange, Error};

pub(super) fn describe(asked: &Asked, mut request: DescribeConfigsRequest) -> KafkaPending {
    let resources = std::mem::take(&mut request.resources);
    let whole = check_count(resources.len());
    let mut refused = Refused::new();
    let results = resources.into_iter().map(|resource| {
        let (kind, name) = (resource.resource_type, &resource.resource_name);
        let found = whole
            .clone()
            .and_then(|()| Resource::new(kind, name, asked.node.node_id()))
            .and_then(|wanted| entries(asked, &wanted));
        translate::described(resource, found, &request, &mut refused)
    });
    let results = results.collect();
    ready(asked.answer(&DescribeConfigsResponse { results, ..Default::default() }, refused))
}

fn entries(asked: &Asked, resource: &Resource) -> Result<Vec<ConfigEntry>, Error> {
    let (view, policy) = (asked.node.view(), asked.node.topic_policy());
    match resource {
        Resource::Topic(name) => {
            let found = view.context().find(name)?;
            Ok(effective(&view.image().layers(&found.topic, &policy.defaults)))
        }
        Resource::Node | Resource::Cluster => {
            Ok(effective_broker(view.image().broker_config(), &policy.defaults))
        }
    }
}

pub(super) async fn alter(asked: Asked, request: IncrementalAlterConfigsRequest) -> KafkaAnswer {
    let whole = check_count(request.resources.len());
    let (mut refused, mut responses) =
        (Refused::new(), Vec::with_capacity(request.resources.len()));
    for resource in request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let wanted = whole
            .clone()
            .and_then(|()| Resource::new(kind, &name, asked.node.node_id()))
            .and_then(|wanted| Ok((wanted, translate::changes(&resource.configs)?)));
        let outcome = match wanted {
            Ok((wanted, changes)) => change(&asked, wanted, changes, request.validate_only).await,
            Err(error) => Err(error),
        };
        responses.push(translate::altered(kind, name, outcome, &mut refused));
    }
    asked.answer(&IncrementalAlterConfigsResponse { responses, ..Default::default() }, refused)
}

pub(super) async fn replace(asked: Asked, request: AlterConfigsRequest) -> KafkaAnswer {
    let whole = check_count(request.resources.len());
    let (mut refused, mut responses) =
        (Refused::new(), Vec::with_capacity(request.resources.len()));
    for resource in request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let wanted = whole
            .clone()
            .and_then(|()| Resource::new(kind, &name, asked.node.node_id()))
            .and_then(|wanted| {
                let view = asked.node.view();
                let changes = match &wanted {
                    Resource::Topic(name) => {
                        let found = view.context().find(name)?;
                        translate::replacement(&resource.configs, found.topic.config.keys())?
                    }
                    Resource::Node | Resource::Cluster => {
                        let present = view.image().broker_config().keys();
                        translate::replacement(&resource.configs, present)?
                    }
                };
                Ok((wanted, changes))
            });
        let outcome = match wanted {
            Ok((wanted, changes)) => change(&asked, wanted, changes, request.validate_only).await,
            Err(error) => Err(error),
        };
        let answer = translate::altered(kind, name, outcome, &mut refused);
        responses.push(translate::replaced(answer));
    }
    asked.answer(&AlterConfigsResponse { responses, ..Default::default() }, refused)
}

async fn change(
    asked: &Asked,
    resource: Resource,
    changes: Vec<ConfigChange>,
    validate_only: bool,
) -> Result<(), Error> {
    match resource {
        Resource::Topic(name) => {
            let alter = AlterTopic { name, changes, validate_only };
            let result = admin::alter_topic(&asked.node, alter).await?;
            match result.topic.and_then(|topic| topic.error) {
                None => Ok(()),
                Some(error) => Err(error),
            }
        }
        // What the cluster keeps holds for every node, so a change of one is a change of all.
        Resource::Node | Resource::Cluster => {
            let alter = AlterConfig { changes, validate_only };
            config::alter(&asked.node, asked.executor.running(), &alter).await.map(|_| ())
        }
    }
}

pub(super) fn resources(asked: &Asked, request: &ListConfigResourcesRequest) -> KafkaPending {
    let view = asked.node.view();
    let topics = view.image().topics().map(|topic| &*topic.name);
    let version = asked.header.version;
    let response = translate::resources(request, version, topics, asked.node.node_id());
    ready(asked.answer(&response, Refused::new()))
}
