//! A server process from configuration to exit: what opens when, what an operator is told, how it
//! stops. And the same node without sockets, for commands that work on a data directory themselves.

mod reload;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::reload::Reloader;
use crate::api::Sticky;
use crate::broker::{self, CompactionPolicy, DataDirectory, Mode, Node, NodeOptions};
use crate::broker::{StartError, TopicPolicy};
use crate::config::{Address, Config};
use crate::coordinator::GroupConfig;
use crate::limits;
use crate::metadata::config::{BrokerDefaults, ConfigError};
use crate::net::executor::{Executor, Running};
use crate::net::listener::{UnixSocket, bind_tcp};
use crate::net::{Edge, Settings, systemd};
use crate::storage::file::FileDisk;
use crate::storage::platform::{FilesystemKind, filesystem_kind, raise_open_files};
use crate::storage::{Disk, StorageError};
use crate::telemetry::Telemetry;

pub use self::reload::Reload;

/// How long clients may take to see their last answers when the broker stops.
const GRACE: Duration = Duration::from_secs(2);
/// How long the advertised address may take to answer.
const DIAL_TIME: Duration = Duration::from_secs(3);
/// How long the look-up of the advertised name may take.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// How often a stop that takes longer says what it is waiting for.
const STOP_NEWS: Duration = Duration::from_secs(5);

/// Why a server does not start or ends badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The node does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener can not be opened.
    #[error("{what} {address}: {error}")]
    Listen {
        /// Which listener.
        what: &'static str,
        /// Where.
        address: String,
        /// Why not.
        error: std::io::Error,
    },
    /// Clients would be sent to a name that stands for nothing.
    #[error("server.advertised_address {address}: {error}; name an address that clients can reach")]
    Advertised {
        /// The address.
        address: Address,
        /// Why it stands for nothing.
        error: std::io::Error,
    },
    /// The configuration's defaults for topics are not possible.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Defaults(Vec<ConfigError>),
    /// The disk failed while stopping. Nothing acknowledged is lost; the next start recovers.
    #[error("the stop was not clean: {0}")]
    Stop(StorageError),
    /// The system refused signals, sockets or the like.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Serves until a signal says stop; on SIGHUP the configuration is read again.
///
/// # Errors
/// When the server does not start or does not stop cleanly.
pub async fn serve(config: &Config, reload: Reload<'_>) -> Result<(), ServeError> {
    let begun = Instant::now();
    let mut signals = Signals::listen()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let telemetry = Arc::new(Telemetry::default());
    let executor = Executor::new(Arc::clone(&telemetry));
    let options = options(config, Mode::Write, &telemetry)?;
    check_advertised(config).await?;
    // The directory before any port: a second server that is started by mistake finds both in use,
    // and the process that holds the directory is what its operator has to know.
    let held = DataDirectory::take(&options).map_err(StartError::from)?;
    if let Some(behind) = broker::clock::behind(&config.storage.data_dir) {
        tracing::warn!(
            "the clock is {} s behind what was last written to the data directory: records get \
             time stamps that go back, and retention goes by them; set the clock",
            behind.as_secs()
        );
    }
    // HTTP is there before anything is recovered, to tell how far that is.
    let http = open_http(config).await?;
    let http_address = http.local_addr()?;
    let settings = settings(config, http_address);
    let edge = Edge::new(Arc::clone(&executor), Arc::clone(&telemetry), settings);
    let http = crate::http::serve(&edge, http);
    let node = Node::open_held(options, held).await?;
    let native = open_native(config).await?;
    let native_address = native.local_addr()?;
    let unix = UnixSocket::bind(&config.storage.data_dir).map_err(|error| ServeError::Listen {
        what: "administration socket in",
        address: config.storage.data_dir.display().to_string(),
        error,
    })?;
    let (running, mut reloads) = Running::with_reloads(config);
    executor.serve(Arc::clone(&node), Arc::clone(&running));
    telemetry.recovery_ms.set(begun.elapsed().as_millis() as i64);
    announce(config, &node, native_address);
    let listeners = [http, edge.serve_tcp(native), edge.serve_unix(unix)];
    tracing::info!(
        native = %native_address,
        http = %http_address,
        ms = begun.elapsed().as_millis() as u64,
        "ready"
    );
    notify(systemd::State::Ready);
    tokio::spawn(dial_advertised(config.server.advertised_address.clone()));
    let reloader = Reloader::new(running, reload);
    loop {
        tokio::select! {
            () = signals.wait() => break,
            // What came of it is in the log.
            _ = hangups.recv() => drop(reloader.reload(&node, &telemetry)),
            Some(reply) = reloads.recv() => {
                // Whoever asked may be gone; that the broker has done it stays true.
                let _ = reply.send(reloader.reload(&node, &telemetry));
            }
            failure = node.failure() => return Err(ServeError::Start(StartError::Failed(failure))),
        }
    }
    notify(systemd::State::Stopping);
    stop(&mut signals, &edge, listeners, &node).await
}

/// Opens the node of a data directory inside this process and connects to it.
///
/// # Errors
/// When the directory can not be used.
pub async fn embed(config: &Config, mode: Mode) -> Result<(Arc<Node>, UnixStream), ServeError> {
    let telemetry = Arc::new(Telemetry::default());
    let executor = Executor::new(Arc::clone(&telemetry));
    let node = Node::open(options(config, mode, &telemetry)?).await?;
    executor.serve(Arc::clone(&node), Running::once(config));
    let edge = Edge::new(executor, telemetry, Settings::default());
    let (client, _served) = edge.embedded()?;
    Ok((node, client.into_std()?))
}

async fn stop(
    signals: &mut Signals,
    edge: &Edge<Executor>,
    listeners: [tokio::task::JoinHandle<()>; 3],
    node: &Arc<Node>,
) -> Result<(), ServeError> {
    tracing::info!("stopping: finishing what is under way; a second signal stops at once");
    let drain = async {
        node.release_groups();
        edge.stop(GRACE);
        for listener in listeners {
            // A listener that panicked has nothing left to finish.
            drop(listener.await);
        }
        node.stop().await
    };
    tokio::select! {
        outcome = drain => outcome.map_err(ServeError::Stop)?,
        () = signals.wait() => {
            tracing::warn!("stopped at once; the next start recovers");
            return Ok(());
        }
        never = say_what_is_awaited(node) => match never {},
    }
    tracing::info!("stopped cleanly");
    Ok(())
}

/// Nothing here can hurry a disk, but whoever waits shall know for what.
async fn say_what_is_awaited(node: &Node) -> Infallible {
    loop {
        tokio::time::sleep(STOP_NEWS).await;
        tracing::warn!(
            "still stopping, waiting for {}; a second signal stops at once",
            node.awaited_by_stop()
        );
    }
}

/// Says what an operator should know before the first client comes.
fn announce(config: &Config, node: &Node, native: SocketAddr) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.storage.data_dir.display(),
        cluster_id = node.cluster_id(),
        node_id = node.node_id().0,
        "rivvend"
    );
    if !config.server.protected_mode {
        tracing::warn!(
            "protected mode is off and there is no authentication: whoever reaches the port may do \
             everything"
        );
    } else if !native.ip().is_loopback() {
        tracing::info!(
            "protected mode: there is no authentication, so only clients of this machine are served"
        );
    }
    if let Ok(kind) = filesystem_kind(&config.storage.data_dir)
        && let Some(doubt) = doubt_about_syncs(kind)
    {
        tracing::warn!(%kind, "the data directory is {doubt}: a sync means nothing there");
    }
}

/// Why what was synced on this file system may be gone after a power cut, if so.
#[must_use]
pub fn doubt_about_syncs(kind: FilesystemKind) -> Option<&'static str> {
    if kind.is_volatile() {
        Some("in memory")
    } else if kind.is_remote() {
        Some("on another machine, whose word is all there is")
    } else if kind == FilesystemKind::Overlay {
        Some("on an overlay, which goes with its container and may be mounted without syncs")
    } else {
        None
    }
}

fn notify(state: systemd::State) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = systemd::notify(&socket, state)
    {
        tracing::warn!(%error, "systemd could not be told");
    }
}

fn settings(config: &Config, http_address: SocketAddr) -> Settings {
    let open_files = raise_open_files();
    Settings {
        protected_mode: config.server.protected_mode,
        http_address: Some(http_address),
        idle_timeout: config.server.idle_timeout,
        descriptors_max: open_files - limits::DESCRIPTORS_RESERVED.min(open_files / 2),
        ..Settings::default()
    }
}

fn options(
    config: &Config,
    mode: Mode,
    telemetry: &Arc<Telemetry>,
) -> Result<NodeOptions, ServeError> {
    raise_open_files();
    let data_dir = config.storage.data_dir.clone();
    Ok(NodeOptions {
        disk: disk(&data_dir),
        data_dir,
        mode,
        node_id: config.cluster.node_id,
        address: config
            .server
            .advertised_address
            .as_ref()
            .map_or_else(String::new, |a| a.to_string()),
        topics: topic_policy(config).map_err(ServeError::Defaults)?,
        sticky: Sticky {
            batch_bytes: config.partitioner.batch_size.0,
            linger_ms: config.partitioner.linger_ms.as_millis() as u64,
        },
        tail_window_bytes: config.storage.tail_window_bytes.0,
        low_water_bytes: config.storage.low_water_bytes.map(|size| size.0),
        retention_check_ms: config.storage.retention_check_interval.as_millis() as u64,
        groups: Arc::new(group_config(config)),
        compaction: CompactionPolicy {
            memory_bytes: usize::try_from(config.compaction.memory_bytes.0).unwrap_or(usize::MAX),
            bytes_per_second: config.compaction.bytes_per_second.bound().map(|rate| rate.0),
            check_interval: config.compaction.check_interval,
        },
        clock: broker::clock::system(),
        telemetry: Arc::clone(telemetry),
    })
}

fn group_config(config: &Config) -> GroupConfig {
    let ms = |duration: Duration| duration.as_millis() as u64;
    GroupConfig {
        size_max: config.group.size_max as usize,
        session_ms_min: ms(config.group.session_timeout_min) as u32,
        session_ms_max: ms(config.group.session_timeout_max) as u32,
        initial_delay_ms: ms(config.group.initial_rebalance_delay) as u32,
        retention_ms: ms(config.group.offsets_retention),
        retention_check_ms: ms(config.group.offsets_retention_check_interval),
        ..GroupConfig::default()
    }
}

fn disk(data_dir: &Path) -> Arc<dyn Disk> {
    Arc::new(FileDisk::new(data_dir))
}

fn topic_policy(config: &Config) -> Result<TopicPolicy, Vec<ConfigError>> {
    let values = config.cluster_settings();
    Ok(TopicPolicy {
        defaults: BrokerDefaults::new(values.iter().map(|(key, value)| (*key, value.as_str())))?,
    })
}

async fn open_native(config: &Config) -> Result<tokio::net::TcpListener, ServeError> {
    let address = &config.server.bind_address;
    let listen = |error| ServeError::Listen {
        what: "server.bind_address",
        address: address.to_string(),
        error,
    };
    let resolved = resolve(&address.host, address.port).await.map_err(listen)?;
    bind_tcp(resolved).await.map_err(listen)
}

/// The first address that a name stands for.
async fn resolve(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    tokio::net::lookup_host((host, port)).await?.next().ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::NotFound, "the name stands for no address")
    })
}

/// Tries the address that clients are told as they would: most who can not connect to a broker that
/// runs were told an address that leads nowhere. Where none is configured, each client is told the
/// address by which it came.
async fn dial_advertised(address: Option<Address>) {
    let Some(address) = address else { return };
    let dialled = tokio::net::TcpStream::connect((address.host.as_str(), address.port));
    let why = match tokio::time::timeout(DIAL_TIME, dialled).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer within {} s", DIAL_TIME.as_secs()),
    };
    tracing::warn!(
        %address,
        "clients are told this address, and it can not be reached from here: {why}; if they can \
         not either, mend server.advertised_address"
    );
}

/// Refuses an advertised name that stands for no address. Where nobody answers in time, nothing is
/// known, and a broker must start without its name server.
async fn check_advertised(config: &Config) -> Result<(), ServeError> {
    let Some(address) = &config.server.advertised_address else { return Ok(()) };
    match tokio::time::timeout(RESOLVE_TIME, resolve(&address.host, address.port)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ServeError::Advertised { address: address.clone(), error }),
        Err(_elapsed) => {
            tracing::warn!(%address, "the name that clients are told could not be looked up");
            Ok(())
        }
    }
}

async fn open_http(config: &Config) -> Result<tokio::net::TcpListener, ServeError> {
    let (host, port) = (&config.server.bind_address.host, config.server.http_port);
    let listen = |error| ServeError::Listen {
        what: "server.http_port",
        address: format!("{host}:{port}"),
        error,
    };
    bind_tcp(resolve(host, port).await.map_err(listen)?).await.map_err(listen)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one that says stop.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metadata::config::{Key, effective_broker};

    /// bad-inputs 90
    #[test]
    fn a_sync_is_doubted_in_memory_over_the_network_and_on_overlays() {
        use FilesystemKind as Kind;
        for kind in [Kind::Tmpfs, Kind::Ramfs, Kind::Overlay, Kind::Nfs, Kind::Smb, Kind::Plan9] {
            assert!(doubt_about_syncs(kind).is_some(), "{kind}");
        }
        for kind in [Kind::Ext4, Kind::Xfs, Kind::Btrfs, Kind::Zfs, Kind::F2fs] {
            assert_eq!(doubt_about_syncs(kind), None, "{kind}");
        }
    }

    /// What a file may set and the cluster may override is one setting with one default.
    #[test]
    fn settings_of_the_file_and_of_the_cluster_have_the_same_defaults() {
        let mut shared = 0;
        for key in crate::config::KEYS {
            let Some(setting) = key.setting else { continue };
            let entries = effective_broker(&BTreeMap::new(), &BrokerDefaults::default());
            let found = Key::find_broker(setting).expect("the cluster knows it");
            let entry = entries.iter().find(|entry| entry.key == found.broker_name);
            let default = key.to_plain(key.default).expect("a default");
            assert_eq!(entry.expect("it is listed").value, default, "{}", key.path);
            shared += 1;
        }
        assert_eq!(shared, 7);
    }
}
