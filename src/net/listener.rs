//! Listening sockets and the loop that accepts from them: who is let in, how many at once, and what
//! happens when the process runs out of file descriptors. Each listener has its own bounds, so a
//! flood on one leaves the others alone. Knows nothing of what the connections speak.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, timeout_at};

use super::service::{Peer, Service, Session};
use super::{Edge, Socket};
use crate::telemetry::{Listener, Reason};

/// Name of the Unix socket in the data directory.
pub const SOCKET_NAME: &str = "rivvend.sock";
/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 1_024;
/// How long accepting rests when the process has no file descriptor left.
const REST: Duration = Duration::from_millis(100);
/// Silence after which the kernel asks whether a peer still lives, and how it asks.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Opens a TCP port. With port 0 the system chooses one; `local_addr` tells which.
///
/// # Errors
/// When the address is taken, not ours or not allowed.
pub async fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    // Lets a restarted server have the port while old connections time out; two servers that both
    // listen are still refused.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG as u32)
}

/// The Unix socket of a data directory. Its name is removed when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    directory: OwnedFd,
    path: PathBuf,
    /// Who owns the data directory, and so may connect besides root.
    owner: u32,
}

impl UnixSocket {
    /// Listens in `directory`, whose lock the caller must hold until this is dropped: a name that a
    /// dead server left behind is removed, which would cut off one that lives.
    ///
    /// The name is reached through the directory's descriptor, because a socket's path is limited
    /// to 108 bytes and a data directory's is not.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(directory: &Path) -> io::Result<UnixSocket> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(directory, flags, Mode::empty())?;
        let status = rustix::fs::fstat(&fd)?;
        let owner = status.st_uid;
        remove_name(&fd)?;
        let kind = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, kind, None)?;
        // The name inherits the mode of the unbound socket, so there is no moment at which others
        // could connect.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path_through(&fd))?)?;
        if rustix::process::geteuid().is_root() && owner != 0 {
            // Root serves somebody else's directory: its owner must be able to connect.
            let (user, group) = (Uid::from_raw(owner), Gid::from_raw(status.st_gid));
            rustix::fs::chownat(&fd, SOCKET_NAME, Some(user), Some(group), AtFlags::empty())?;
        }
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(UnixSocket { listener, directory: fd, path: directory.join(SOCKET_NAME), owner })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = remove_name(&self.directory) {
            tracing::warn!(path = %self.path.display(), "the socket's name stays: {error}");
        }
    }
}

/// A path to the socket of the directory behind `fd` that is short however long the directory's is.
fn path_through(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", fd.as_raw_fd()))
}

fn remove_name(directory: &OwnedFd) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, SOCKET_NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Connects to the server of a data directory, however long its path is.
///
/// # Errors
/// When nobody listens there or the system refuses.
pub async fn connect_unix(directory: &Path) -> io::Result<tokio::net::UnixStream> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty())?;
    tokio::net::UnixStream::connect(path_through(&fd)).await
}

/// What connections come from.
#[derive(Debug)]
pub(crate) enum Acceptor {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl Acceptor {
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Socket::Tcp(stream), Peer::Tcp(address)))
            }
            Acceptor::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                let credentials = stream.peer_cred()?;
                let peer = Peer::Unix { uid: credentials.uid(), pid: credentials.pid() };
                Ok((Socket::Unix(stream), peer))
            }
        }
    }

    /// Whether the kernel's word on who connects is good enough. The mode of the socket says the
    /// same, but modes can be changed.
    fn trusts(&self, peer: &Peer) -> bool {
        match (self, peer) {
            (Acceptor::Unix(socket), Peer::Unix { uid, .. }) => *uid == 0 || *uid == socket.owner,
            _ => true,
        }
    }
}

/// Connections of one listener, and how many each address has.
#[derive(Debug, Default)]
struct Admitted {
    tasks: JoinSet<()>,
    /// Whose connection a task serves; only TCP connections have an address.
    addresses: HashMap<Id, IpAddr>,
    per_address: BTreeMap<IpAddr, usize>,
}

impl Admitted {
    fn count(&self, peer: &Peer) -> usize {
        peer.ip().and_then(|ip| self.per_address.get(&ip)).copied().unwrap_or(0)
    }

    fn spawn(&mut self, peer: &Peer, serve: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(serve).id();
        if let Some(ip) = peer.ip() {
            self.addresses.insert(id, ip);
            *self.per_address.entry(ip).or_default() += 1;
        }
    }

    /// Waits for the end of a connection; for ever if there is none.
    async fn reap(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return std::future::pending().await,
        };
        let Some(ip) = self.addresses.remove(&id) else { return };
        let count = self.per_address.get_mut(&ip).expect("an address is counted while it is used");
        *count -= 1;
        if *count == 0 {
            self.per_address.remove(&ip);
        }
    }

    /// Waits for all connections and cuts those that are left at the deadline.
    async fn drain(mut self, deadline: tokio::time::Instant) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Accepts connections and has `serve` serve each on a task of its own until the edge is stopped;
/// then waits for the tasks.
pub(crate) async fn accept<S, F, Served>(
    edge: Arc<Edge<S>>,
    name: Listener,
    acceptor: Acceptor,
    serve: F,
) where
    S: Service,
    F: Fn(Arc<Edge<S>>, Listener, Socket, Session) -> Served + Send,
    Served: Future<Output = ()> + Send + 'static,
{
    let mut admitted = Admitted::default();
    let mut reserve = reserve_descriptor();
    let deadline = loop {
        let accepted = tokio::select! {
            biased;
            deadline = edge.stopping().wait() => break deadline,
            () = admitted.reap() => continue,
            accepted = acceptor.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                match refusal(&edge, name, &acceptor, &admitted, &socket, &peer) {
                    Some(reason) => {
                        edge.reject(name, reason, &peer, "at the door");
                        socket.reset();
                    }
                    None => {
                        prepare(&socket);
                        let session = Session { reached: socket.reached(), ..edge.session(peer) };
                        admitted.spawn(&peer, serve(Arc::clone(&edge), name, socket, session));
                    }
                }
            }
            Err(error) if is_exhausted(&error) => {
                rest(&edge, name, &acceptor, &mut reserve, &error).await;
            }
            // The peer gave up while it was in the queue: its matter, not ours.
            Err(error) => tracing::debug!("a connection was lost before it was accepted: {error}"),
        }
    };
    drop(acceptor);
    admitted.drain(deadline).await;
}

fn refusal<S: Service>(
    edge: &Edge<S>,
    name: Listener,
    acceptor: &Acceptor,
    admitted: &Admitted,
    socket: &Socket,
    peer: &Peer,
) -> Option<Reason> {
    let settings = edge.settings();
    let connections_max = match name {
        Listener::Http => settings.connections_max.min(crate::limits::HTTP_CONNECTIONS_MAX),
        _ => settings.connections_max,
    };
    if !acceptor.trusts(peer) {
        Some(Reason::Credentials)
    } else if admitted.tasks.len() >= connections_max {
        Some(Reason::Connections)
    } else if admitted.count(peer) >= settings.connections_per_address_max {
        Some(Reason::ConnectionsPerAddress)
    } else if name != Listener::Unix && socket.descriptor() >= settings.descriptors_max {
        // The administration socket may use the reserve: it is how an operator gets in then.
        Some(Reason::FileDescriptors)
    } else {
        None
    }
}

/// Answers are sent when they are ready, and peers that vanish are noticed. A socket that refuses
/// an option still works, only worse.
fn prepare(socket: &Socket) {
    let Socket::Tcp(stream) = socket else { return };
    let options = [
        rustix::net::sockopt::set_tcp_nodelay(stream, true),
        rustix::net::sockopt::set_socket_keepalive(stream, true),
        rustix::net::sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE),
        rustix::net::sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL),
        rustix::net::sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES),
    ];
    if let Some(error) = options.into_iter().find_map(Result::err) {
        tracing::debug!("a socket option was refused: {error}");
    }
}

/// Whether accepting failed for want of descriptors or kernel memory, which does not pass by trying
/// again at once.
fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| exhausted.contains(&error))
}

/// A descriptor kept for the moment when there are no others.
fn reserve_descriptor() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Without a descriptor left, the first in the queue would wait for nobody knows what. The reserve
/// lets it in just to be turned away; then accepting rests, so that the loop does not burn a core.
async fn rest<S: Service>(
    edge: &Edge<S>,
    name: Listener,
    acceptor: &Acceptor,
    reserve: &mut Option<OwnedFd>,
    error: &io::Error,
) {
    drop(reserve.take());
    if let Ok(Ok((socket, peer))) = tokio::time::timeout(REST, acceptor.accept()).await {
        edge.reject(name, Reason::FileDescriptors, &peer, error);
        socket.reset();
    }
    *reserve = reserve_descriptor();
    sleep(REST).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_want_of_descriptors_or_memory_makes_accepting_rest() {
        assert!(is_exhausted(&Errno::MFILE.into()) && is_exhausted(&Errno::NOMEM.into()));
        assert!(!is_exhausted(&Errno::CONNABORTED.into()));
        assert!(!is_exhausted(&io::Error::other("else")));
    }

    #[tokio::test]
    async fn the_socket_has_mode_0600_a_path_of_any_length_and_leaves_no_name_behind() {
        let root = tempfile::tempdir().expect("directory");
        let mut directory = root.path().to_path_buf();
        for _ in 0..10 {
            directory.push("a-directory-with-a-long-name");
        }
        std::fs::create_dir_all(&directory).expect("directories");
        std::fs::write(directory.join(SOCKET_NAME), "left behind").expect("stale name");

        let socket = UnixSocket::bind(&directory).expect("bind");
        let stat = rustix::fs::stat(socket.path()).expect("stat");
        assert_eq!(stat.st_mode & 0o7777, 0o600);
        let acceptor = Acceptor::Unix(socket);
        let (client, accepted) = tokio::join!(connect_unix(&directory), acceptor.accept());
        client.expect("connected");
        let (_, peer) = accepted.expect("accepted");
        let uid = rustix::process::geteuid().as_raw();
        assert!(matches!(peer, Peer::Unix { uid: u, pid: Some(_) } if u == uid));
        assert!(acceptor.trusts(&peer));
        assert!(!acceptor.trusts(&Peer::Unix { uid: 4_000_000_000, pid: None }));

        drop(acceptor);
        assert!(!directory.join(SOCKET_NAME).exists());
        assert!(connect_unix(&directory).await.is_err());
    }
}
