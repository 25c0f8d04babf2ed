//! The configuration that the process runs with, and having it read again. Who reads it, and what
//! becomes of what was read, is the business of whoever started the process.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::super::service::{Answer, Pending};
use super::{failed, timed_out};
use crate::config::Config;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{Error, ReloadConfigResult, Response};

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
