//! Where a broker is reached, and how a transport to it is opened.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt;
use tokio::net::{TcpSocket, UnixStream};

use super::connection::Transport;

/// Receive buffer asked of the system: a small one is clearly slower when megabytes are consumed.
const RECEIVE_BUFFER_BYTES: u32 = 2 * 1024 * 1024;
/// Longest path that fits a Unix socket address.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Where a broker is.
#[derive(Debug)]
pub enum Target {
    /// `host:port`.
    Tcp(String),
    /// A Unix socket, usually `rivvend.sock` in a data directory. The path may be of any length.
    Unix(PathBuf),
    /// A connection that exists already, for example to a broker in this process. It can not be
    /// made anew: when it ends, the client is closed.
    Connected(std::os::unix::net::UnixStream),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => f.write_str(address),
            Target::Unix(path) => path.display().fmt(f),
            Target::Connected(_) => f.write_str("the broker in this process"),
        }
    }
}

/// What is left of a target once the first connection is there: how to make another.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Tcp(String),
    Unix(PathBuf),
    /// There is no way to make another.
    Once,
}

impl Target {
    /// Splits into the way to make connections and the one that is there already.
    pub(super) fn split(self) -> (Address, Option<std::os::unix::net::UnixStream>) {
        match self {
            Target::Tcp(address) => (Address::Tcp(address), None),
            Target::Unix(path) => (Address::Unix(path), None),
            Target::Connected(stream) => (Address::Once, Some(stream)),
        }
    }
}

impl Address {
    /// Opens a transport. The caller bounds the time it may take.
    pub(super) async fn open(&self) -> io::Result<Box<dyn Transport>> {
        match self {
            Address::Tcp(address) => open_tcp(address).await,
            Address::Unix(path) => open_unix(path).await,
            Address::Once => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Tries all addresses of the name in turn: `localhost` may be two, of which one is listened on.
async fn open_tcp(address: &str) -> io::Result<Box<dyn Transport>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Before connecting, since the window's scale is agreed then. A system that grants less is
        // slower and works.
        drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Box::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open_unix(path: &Path) -> io::Result<Box<dyn Transport>> {
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(widen(UnixStream::connect(path).await?));
    }
    // A socket address has room for about a hundred bytes; a name below an open folder is shorter.
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let short = Path::new("/proc/self/fd").join(number.to_string()).join(name);
    Ok(widen(UnixStream::connect(short).await?))
}

/// The transport over a connection that somebody else made.
pub(super) fn adopt(stream: std::os::unix::net::UnixStream) -> io::Result<Box<dyn Transport>> {
    stream.set_nonblocking(true)?;
    Ok(widen(UnixStream::from_std(stream)?))
}

/// On Unix sockets it is the sender's buffer that counts.
fn widen(stream: UnixStream) -> Box<dyn Transport> {
    let bytes = RECEIVE_BUFFER_BYTES as usize;
    let _ = sockopt::set_socket_send_buffer_size(stream.as_fd(), bytes);
    let _ = sockopt::set_socket_recv_buffer_size(stream.as_fd(), bytes);
    Box::new(stream)
}
