//! A connected stream socket, whatever its family, with the three operations the edge needs in
//! their readiness form. Knows nothing of frames.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UnixStream};

/// How long a peer that is sent away may take to close its side.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read and dropped from a peer that is sent away.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

impl Socket {
    /// The number of its descriptor.
    pub(super) fn descriptor(&self) -> u64 {
        let number = match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        };
        u64::try_from(number).expect("an open descriptor is not negative")
    }

    /// The address at which the peer has reached this side.
    pub(super) fn reached(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => {
                let address = stream.local_addr().ok()?;
                Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }
            Socket::Unix(_) => None,
        }
    }

    /// Waits until there is something to read, without a buffer to read it into.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether the peer has closed its side, which shows before all that it has sent is read.
    pub(super) fn has_left(&self) -> bool {
        // Neither socket has urgent data in this sense, so only the end answers at once.
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match self {
            Socket::Tcp(stream) => pin!(stream.ready(Interest::PRIORITY)).poll(&mut cx),
            Socket::Unix(stream) => pin!(stream.ready(Interest::PRIORITY)).poll(&mut cx),
        };
        // A socket that can not be asked any more is told of by the next read.
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Reads what is there, at most `bytes_max`, into the spare room of `buffer`; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut room = buffer.limit(bytes_max);
        // The future has no state of its own between polls, so it may be made anew each time.
        match self {
            Socket::Tcp(stream) => pin!(stream.read_buf(&mut room)).poll(cx),
            Socket::Unix(stream) => pin!(stream.read_buf(&mut room)).poll(cx),
        }
    }

    /// Writes as much of `pieces` as the socket takes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    /// Sends bytes of a file that are in the page cache; 0 means that the file ends before `at`.
    pub(super) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx))?;
            let send = |fd: BorrowedFd<'_>| {
                let mut position = at;
                rustix::fs::sendfile(fd, file, Some(&mut position), len).map_err(io::Error::from)
            };
            use std::os::fd::AsFd as _;
            let sent = match self {
                Socket::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
                Socket::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
            };
            match sent {
                // Not writable after all; the next look at the readiness registers the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write_ready(cx),
            Socket::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Reads once into `buffer`; 0 is the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read_buf(buffer).await,
            Socket::Unix(stream) => stream.read_buf(buffer).await,
        }
    }

    /// Writes all of `bytes`.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.write_all(bytes).await,
            Socket::Unix(stream) => stream.write_all(bytes).await,
        }
    }

    /// Closes so that the last words arrive: a socket closed with unread bytes in it resets the
    /// connection, which makes the peer's kernel throw away what it has not delivered yet.
    pub(super) async fn close_gently(mut self) {
        let shut = match &mut self {
            Socket::Tcp(stream) => stream.shutdown().await,
            Socket::Unix(stream) => stream.shutdown().await,
        };
        if shut.is_err() {
            return;
        }
        let drain = async {
            let mut dropped = 0;
            let mut buffer = BytesMut::with_capacity(4096);
            while dropped < LINGER_BYTES_MAX {
                match self.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => dropped += read,
                }
                buffer.clear();
            }
        };
        // Whether the peer closed or the time is over makes no difference any more.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Closes so that the peer learns at once that it is not welcome, without a state that stays
    /// behind in the kernel.
    pub(super) fn reset(self) {
        if let Socket::Tcp(stream) = self {
            // Without effect when the peer is gone already, and then there is nothing to reset.
            let _ = stream.set_zero_linger();
        }
    }
}
