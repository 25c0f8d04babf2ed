//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs and ListConfigResources. Topics have
//! Kafka's settings under Kafka's names; of the broker, those that the cluster keeps are told.

use std::collections::BTreeSet;

use super::{Refused, note, text};
use crate::metadata::config::{ConfigEntry, Rule, Source, Unit};
use crate::protocol::error::ErrorCode;
use crate::protocol::kafka::{
    AlterConfigsRequestConfig, AlterConfigsResponseResource, DescribeConfigsRequest,
    DescribeConfigsRequestResource, DescribeConfigsResponseConfig, DescribeConfigsResponseResource,
    DescribeConfigsResponseSynonym, IncrementalAlterConfigsRequestConfig,
    IncrementalAlterConfigsResponseResource, ListConfigResourcesRequest,
    ListConfigResourcesResponse, ListConfigResourcesResponseResource, Text,
};
use crate::protocol::native::message::config_change::Kind;
use crate::protocol::native::message::{ConfigChange, Error};
use crate::types::NodeId;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Whose settings a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic, by its name.
    Topic(String),
    /// This node.
    Node,
    /// What holds for every node that has nothing of its own.
    Cluster,
}

impl Resource {
    /// What a request names.
    ///
    /// # Errors
    /// When there are no such things, or it is another node.
    pub fn new(kind: i8, name: &str, node: NodeId) -> Result<Resource, Error> {
        match kind {
            TOPIC => Ok(Resource::Topic(name.to_owned())),
            BROKER if name.is_empty() => Ok(Resource::Cluster),
            BROKER if name == node.to_string() => Ok(Resource::Node),
            BROKER => {
                let message = format!("this is node {node}, ask node {name:?} itself");
                Err(Error::new(ErrorCode::InvalidRequest, message))
            }
            other => {
                let message = format!("there are no settings of resources of kind {other}");
                Err(Error::new(ErrorCode::InvalidRequest, message))
            }
        }
    }
}

/// The number for where a value comes from.
#[must_use]
pub fn source(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::DynamicBroker => 3,
        Source::StaticBroker => 4,
        Source::Default => 5,
    }
}

/// The number for what the values of a setting are.
fn kind(rule: Rule, unit: Unit) -> i8 {
    const BOOLEAN: i8 = 1;
    const STRING: i8 = 2;
    const LONG: i8 = 5;
    const LIST: i8 = 7;
    match rule {
        Rule::List(_) => LIST,
        Rule::Choice(words) if words.iter().any(|word| word.word == "true") => BOOLEAN,
        Rule::Choice(_) => STRING,
        _ if unit == Unit::None => STRING,
        _ => LONG,
    }
}

/// The answer about one resource.
#[must_use]
pub fn described(
    asked: DescribeConfigsRequestResource,
    found: Result<Vec<ConfigEntry>, Error>,
    options: &DescribeConfigsRequest,
    refused: &mut Refused,
) -> DescribeConfigsResponseResource {
    let mut answer = DescribeConfigsResponseResource {
        error_message: None,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        ..DescribeConfigsResponseResource::default()
    };
    let entries = match found {
        Ok(entries) => entries,
        Err(error) => {
            answer.error_message = text(&error);
            answer.error_code = note(refused, error);
            return answer;
        }
    };
    // Without keys, and with none, all of them are meant.
    let keys: BTreeSet<Text> = asked.configuration_keys.unwrap_or_default().into_iter().collect();
    let entries = entries.into_iter().filter(|entry| keys.is_empty() || keys.contains(entry.key));
    answer.configs = entries.map(|entry| config(entry, options)).collect();
    answer
}

fn config(entry: ConfigEntry, options: &DescribeConfigsRequest) -> DescribeConfigsResponseConfig {
    let mut synonyms = Vec::new();
    if options.include_synonyms {
        synonyms.extend(entry.synonyms.into_iter().map(|(name, value, from)| {
            DescribeConfigsResponseSynonym {
                name: Text::from_static(name),
                value: Some(Text::from(value)),
                source: source(from),
            }
        }));
    }
    DescribeConfigsResponseConfig {
        name: Text::from_static(entry.key),
        value: Some(Text::from(entry.value)),
        read_only: false,
        config_source: source(entry.source),
        is_sensitive: false,
        synonyms,
        config_type: kind(entry.rule, entry.unit),
        documentation: options
            .include_documentation
            .then(|| Text::from_static(entry.documentation)),
    }
}

/// The changes that an incremental request asks for.
///
/// # Errors
/// When one makes no sense, or a key is changed twice.
pub fn changes(
    configs: &[IncrementalAlterConfigsRequestConfig],
) -> Result<Vec<ConfigChange>, Error> {
    let mut seen = BTreeSet::new();
    let change = |config: &IncrementalAlterConfigsRequestConfig| {
        let key = config.name.to_string();
        if !seen.insert(key.clone()) {
            let message = format!("{key} is changed more than once");
            return Err(Error::new(ErrorCode::InvalidRequest, message));
        }
        let kind = Kind::try_from(i32::from(config.config_operation)).map_err(|_| {
            let message = format!("{key}: {} is no kind of change", config.config_operation);
            Error::new(ErrorCode::InvalidRequest, message)
        })?;
        if config.value.is_none() && kind != Kind::Delete {
            return Err(without_value(&key));
        }
        let value = config.value.as_ref().map(Text::to_string).unwrap_or_default();
        Ok(ConfigChange { kind: kind.into(), key, value })
    };
    configs.iter().map(change).collect()
}

/// The changes that leave a resource with these settings and nothing else, given what it has.
///
/// # Errors
/// When a key has no value.
pub fn replacement<'a>(
    configs: &[AlterConfigsRequestConfig],
    present: impl Iterator<Item = &'a String>,
) -> Result<Vec<ConfigChange>, Error> {
    let mut changes = Vec::with_capacity(configs.len());
    for config in configs {
        let key = config.name.to_string();
        let Some(value) = &config.value else { return Err(without_value(&key)) };
        changes.push(ConfigChange { kind: Kind::Set.into(), key, value: value.to_string() });
    }
    let named: BTreeSet<&str> = configs.iter().map(|config| &config.name[..]).collect();
    let removed = present.filter(|key| !named.contains(key.as_str()));
    changes.extend(removed.map(|key| ConfigChange {
        kind: Kind::Delete.into(),
        key: key.clone(),
        value: String::new(),
    }));
    Ok(changes)
}

fn without_value(key: &str) -> Error {
    Error::new(ErrorCode::InvalidConfig, format!("{key} has no value"))
}

/// The answer about one resource of an incremental request.
#[must_use]
pub fn altered(
    resource_type: i8,
    resource_name: Text,
    outcome: Result<(), Error>,
    refused: &mut Refused,
) -> IncrementalAlterConfigsResponseResource {
    let mut answer = IncrementalAlterConfigsResponseResource {
        error_message: None,
        resource_type,
        resource_name,
        ..IncrementalAlterConfigsResponseResource::default()
    };
    if let Err(error) = outcome {
        answer.error_message = text(&error);
        answer.error_code = note(refused, error);
    }
    answer
}

/// The same in the message of the older request.
#[must_use]
pub fn replaced(answer: IncrementalAlterConfigsResponseResource) -> AlterConfigsResponseResource {
    AlterConfigsResponseResource {
        error_code: answer.error_code,
        error_message: answer.error_message,
        resource_type: answer.resource_type,
        resource_name: answer.resource_name,
    }
}

/// The resources that have settings. Before version 1 only client metrics were meant, of which
/// there are none.
#[must_use]
pub fn resources<'a>(
    request: &ListConfigResourcesRequest,
    version: i16,
    topics: impl Iterator<Item = &'a str>,
    node: NodeId,
) -> ListConfigResourcesResponse {
    let wants = |kind: i8| {
        version > 0 && (request.resource_types.is_empty() || request.resource_types.contains(&kind))
    };
    let resource = |resource_type: i8, name: String| ListConfigResourcesResponseResource {
        resource_name: Text::from(name),
        resource_type,
    };
    let topics = topics.filter(|_| wants(TOPIC)).map(|name| resource(TOPIC, name.to_owned()));
    let nodes = wants(BROKER).then(|| resource(BROKER, node.to_string()));
    let config_resources = topics.chain(nodes).collect();
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}
