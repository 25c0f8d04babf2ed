//! The configuration that the process runs with: told, changed for the whole cluster, read again.
//! Two tables of names meet here: the keys of the configuration file, and the settings that the
//! cluster keeps. Who reads the file again is the business of whoever started the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::super::service::{Answer, Pending};
use super::{admin, failed, timed_out};
use crate::api::topics;
use crate::broker::Node;
use crate::config::{self, Config, Size, Value as _, did_you_mean};
use crate::metadata::config::{BrokerDefaults, Change, Key, Source, Unit, effective_broker};
use crate::metadata::{Command, Reply};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{
    AlterConfig, AlterConfigResult, ConfigEntry, DescribeConfig, DescribeConfigResult, Error,
    ReloadConfigResult, Response,
};

/// Requests to read the configuration again that may wait; each is short.
const RELOADS_MAX: usize = 16;

/// The configuration that holds, and the way to whoever can read it again.
#[derive(Debug)]
pub struct Running {
    config: ArcSwap<Config>,
    /// None in a process that reads it only once.
    reloads: Option<mpsc::Sender<ReloadReply>>,
}

/// Where the outcome of reading the configuration again goes.
pub type ReloadReply = oneshot::Sender<Result<Reloaded, String>>;

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new values hold now.
    pub changed: Vec<&'static str>,
    /// Keys whose new values need a restart.
    pub later: Vec<&'static str>,
}

impl Running {
    /// The configuration of a process that reads it once.
    #[must_use]
    pub fn once(config: &Config) -> Arc<Running> {
        Arc::new(Running { config: ArcSwap::from_pointee(config.clone()), reloads: None })
    }

    /// The configuration of a process that serves the requests to read it again.
    #[must_use]
    pub fn with_reloads(config: &Config) -> (Arc<Running>, mpsc::Receiver<ReloadReply>) {
        let (reloads, requests) = mpsc::channel(RELOADS_MAX);
        let config = ArcSwap::from_pointee(config.clone());
        (Arc::new(Running { config, reloads: Some(reloads) }), requests)
    }

    /// What holds now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Lets another configuration hold.
    pub fn replace(&self, config: Config) {
        self.config.store(Arc::new(config));
    }
}

/// Has the configuration read again, and tells what came of it.
pub(super) fn reload(running: &Running, timeout: Duration) -> Pending {
    let Some(reloads) = &running.reloads else {
        let message = "no broker serves this directory; its next start reads the configuration";
        return Pending::Ready(failed(Error::new(ErrorCode::InvalidRequest, message)));
    };
    let (reply, outcome) = oneshot::channel();
    if reloads.try_send(reply).is_err() {
        let message = "the configuration is being read again already; try again in a moment";
        return Pending::Ready(failed(Error::new(ErrorCode::Overloaded, message)));
    }
    Pending::Later(Box::pin(async move {
        let owned = |keys: Vec<&'static str>| keys.into_iter().map(str::to_owned).collect();
        match tokio::time::timeout(timeout, outcome).await {
            Ok(Ok(Ok(reloaded))) => Answer::of(Response::ok(ReloadConfigResult {
                changed: owned(reloaded.changed),
                later: owned(reloaded.later),
            })),
            Ok(Ok(Err(wrong))) => failed(Error::new(ErrorCode::InvalidConfig, wrong)),
            Ok(Err(_)) => {
                failed(Error::new(ErrorCode::ShuttingDown, "the broker is shutting down"))
            }
            Err(_elapsed) => failed(timed_out(timeout)),
        }
    }))
}

/// What the cluster or the file says of these keys, or of all.
pub(super) fn describe(
    node: &Node,
    running: &Running,
    request: &DescribeConfig,
) -> Result<DescribeConfigResult, Error> {
    let dynamic = node.view().image().broker_config().clone();
    let all = entries(running, &node.topic_policy().defaults, &dynamic);
    if request.keys.is_empty() {
        return Ok(DescribeConfigResult { config: all });
    }
    let names = request.keys.iter().map(|key| Named::find(key).map(|named| named.listed()));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    Ok(DescribeConfigResult { config: select(&all, &names) })
}

/// Changes settings for the whole cluster, unless they do not go together with what this node's
/// file says.
pub(super) async fn alter(
    node: &Node,
    running: &Running,
    request: &AlterConfig,
) -> Result<AlterConfigResult, Error> {
    let mut changes = Vec::with_capacity(request.changes.len());
    let mut names = Vec::with_capacity(request.changes.len());
    for change in &request.changes {
        let (named, change) = translate(topics::plan_change(change)?)?;
        names.push(named.listed());
        changes.push(change);
    }
    let check = |settings: &BTreeMap<String, String>| {
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        running.config().check_with(settings)
    };
    let mut dynamic = node.view().image().broker_config().clone();
    // What was wrong before shall not keep anybody from making it right.
    let was_sound = check(&dynamic).is_ok();
    for change in &changes {
        match change {
            Change::Set { key, value } => _ = dynamic.insert(key.clone(), value.clone()),
            Change::Delete { key } => _ = dynamic.remove(key),
            Change::Append { .. } | Change::Subtract { .. } => {}
        }
    }
    if was_sound {
        check(&dynamic).map_err(|problems| invalid(problems.to_string()))?;
    }
    let command = Command::AlterBrokerConfig { changes };
    let reply = admin::change(node, command, request.validate_only).await?;
    let Reply::ConfigAltered { warnings } = reply else {
        unreachable!("settings were changed, not {reply:?}")
    };
    if !request.validate_only {
        dynamic = node.view().image().broker_config().clone();
    }
    let all = entries(running, &node.topic_policy().defaults, &dynamic);
    Ok(AlterConfigResult { config: select(&all, &names), warnings })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorCode::InvalidConfig, message)
}

/// What a client may call a setting: a key of the file, or a setting of the cluster under its name
/// or that of the default for topics.
#[derive(Clone, Copy)]
enum Named {
    File(&'static config::Key),
    Cluster(&'static Key),
}

impl Named {
    fn find(name: &str) -> Result<Named, Error> {
        if let Some(key) = config::KEYS.iter().find(|key| key.path == name) {
            return Ok(Named::File(key));
        }
        let unknown = match Key::find_broker(name) {
            Ok(key) => {
                let in_file = config::KEYS.iter().find(|one| one.setting == Some(key.name));
                return Ok(in_file.map_or(Named::Cluster(key), Named::File));
            }
            Err(unknown) => unknown,
        };
        let paths = config::KEYS.iter().map(|key| key.path);
        let last = |path: &&str| path.rsplit('.').next() == Some(name);
        let near = did_you_mean(name, paths.clone()).or_else(|| paths.clone().find(last));
        Err(match near {
            Some(near) => invalid(format!("there is no key {name:?}; did you mean {near:?}?")),
            None => invalid(unknown.to_string()),
        })
    }

    /// The name under which it is listed.
    fn listed(self) -> &'static str {
        match self {
            Named::File(key) => key.path,
            Named::Cluster(key) => key.broker_name,
        }
    }

    /// The name under which the cluster keeps it.
    fn setting(self) -> Result<&'static str, Error> {
        let key = match self {
            Named::Cluster(key) => return Ok(key.name),
            Named::File(key) => key,
        };
        key.setting.ok_or_else(|| {
            let path = key.path;
            invalid(if key.is_dynamic {
                format!(
                    "{path} is each broker's own: change it in its file, then `rivvend config \
                     reload`"
                )
            } else {
                format!("{path} can not change while the broker runs: change the file and restart")
            })
        })
    }

    /// The value as the cluster keeps it.
    fn plain(self, value: &str) -> Result<String, Error> {
        let wrong = |wrong: String| {
            let shown: String = value.chars().take(80).collect();
            invalid(format!("{}: {shown:?} {wrong}", self.listed()))
        };
        let amount = match self {
            Named::File(key) => return key.to_plain(value).map_err(wrong),
            Named::Cluster(key) => match key.unit {
                Unit::Milliseconds => Duration::read(value).ok().and_then(|span| span.amount()),
                Unit::Bytes => Size::read(value).ok().map(|size| size.0),
                Unit::Count | Unit::None => None,
            },
        };
        // What has no unit is checked by the cluster itself.
        Ok(amount.map_or_else(|| value.to_owned(), |amount| amount.to_string()))
    }
}

/// A change under the names and in the values of the cluster.
fn translate(change: Change) -> Result<(Named, Change), Error> {
    let (Change::Set { key, .. }
    | Change::Delete { key }
    | Change::Append { key, .. }
    | Change::Subtract { key, .. }) = &change;
    let named = Named::find(key)?;
    let key = named.setting()?.to_owned();
    let change = match change {
        Change::Set { value, .. } => Change::Set { key, value: named.plain(&value)? },
        Change::Delete { .. } => Change::Delete { key },
        Change::Append { value, .. } => Change::Append { key, value },
        Change::Subtract { value, .. } => Change::Subtract { key, value },
    };
    Ok((named, change))
}

fn select(all: &[ConfigEntry], names: &[&str]) -> Vec<ConfigEntry> {
    let named = names.iter().filter_map(|name| all.iter().find(|entry| entry.key == *name));
    named.cloned().collect()
}

/// Every key with the value that holds, given what is set for the cluster: those of the file first.
fn entries(
    running: &Running,
    file: &BrokerDefaults,
    dynamic: &BTreeMap<String, String>,
) -> Vec<ConfigEntry> {
    let config = running.config();
    let of_file = config::KEYS.iter().map(|key| {
        let set = key.setting.and_then(|setting| dynamic.get(setting));
        let (value, source) = match set {
            Some(plain) => (key.from_plain(plain), Source::DynamicBroker.origin().to_owned()),
            None => (config.show(key), config.origin(key).to_string()),
        };
        ConfigEntry {
            key: key.path.to_owned(),
            value,
            source,
            default_value: key.default.to_owned(),
            documentation: key.doc.lines().map(str::trim).collect::<Vec<_>>().join(" "),
        }
    });
    let of_cluster = effective_broker(dynamic, file)
        .into_iter()
        .filter(|entry| matches!(Named::find(entry.key), Ok(Named::Cluster(_))));
    let of_cluster = of_cluster.map(|entry| ConfigEntry {
        key: entry.key.to_owned(),
        value: entry.value,
        source: entry.source.origin().to_owned(),
        default_value: entry.default,
        documentation: entry.documentation.to_owned(),
    });
    of_file.chain(of_cluster).collect()
}
