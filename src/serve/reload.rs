//! The configuration, read again while the broker runs: what may change does, what can not is
//! named, and a configuration with anything wrong in it changes nothing.

use std::sync::Arc;

use super::topic_policy;
use crate::broker::Node;
use crate::config::{Adopted, Config};
use crate::net::executor::{Reloaded, Running};
use crate::telemetry::{Log, Telemetry};

/// Where a configuration comes from again, and what it changes outside the node.
#[derive(Clone, Copy)]
pub struct Reload<'a> {
    /// Reads it from where it came from, or says what is wrong with it.
    pub load: &'a (dyn Fn() -> Result<Config, String> + Sync),
    /// The log of the process.
    pub log: &'a Log,
}

impl std::fmt::Debug for Reload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reload")
    }
}

/// The configuration that holds, and where a newer one comes from.
pub(super) struct Reloader<'a> {
    running: Arc<Running>,
    source: Reload<'a>,
}

impl<'a> Reloader<'a> {
    pub(super) fn new(running: Arc<Running>, source: Reload<'a>) -> Reloader<'a> {
        Reloader { running, source }
    }

    /// Reads the configuration again and tells what came of it, in the log as well.
    pub(super) fn reload(&self, node: &Node, telemetry: &Telemetry) -> Result<Reloaded, String> {
        let outcome = self.adopt(node);
        telemetry.config_reload_failed.set(i64::from(outcome.is_err()));
        match outcome {
            Ok(adopted) => {
                tracing::info!(changed = adopted.changed.join(", "), "configuration reloaded");
                if !adopted.later.is_empty() {
                    let keys = adopted.later.join(", ");
                    tracing::warn!(keys, "these changes of the configuration need a restart");
                }
                self.running.replace(adopted.config);
                Ok(Reloaded { changed: adopted.changed, later: adopted.later })
            }
            Err(error) => {
                let line = error.lines().map(str::trim).collect::<Vec<_>>().join("; ");
                tracing::error!("the configuration was not reloaded, the old one stays: {line}");
                Err(format!("the configuration was not reloaded, the old one stays: {error}"))
            }
        }
    }

    fn adopt(&self, node: &Node) -> Result<Adopted, String> {
        let newer = (self.source.load)()?;
        let adopted =
            self.running.config().adopt(&newer).map_err(|problems| problems.to_string())?;
        let view = node.view();
        let settings = view.image().broker_config().iter();
        let settings = settings.map(|(key, value)| (key.as_str(), value.as_str()));
        adopted.config.check_with(settings).map_err(|problems| {
            format!("{problems}\nwith what `rivvend config set` has set for the cluster")
        })?;
        let policy = topic_policy(&adopted.config).map_err(|errors| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })?;
        let level = adopted.config.log.level.as_str();
        self.source.log.set_level(level).map_err(|error| error.to_string())?;
        node.set_topic_policy(policy);
        Ok(adopted)
    }
}
