//! Tells systemd how the service is doing: one datagram to the socket it names in the environment,
//! as `sd_notify(3)` describes. Without systemd nothing happens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A state that systemd knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Clients can connect.
    Ready,
    /// The process is about to end.
    Stopping,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ready => "READY=1",
            State::Stopping => "STOPPING=1",
        }
    }
}

/// Reports the state to `socket`, the value of `NOTIFY_SOCKET`; a leading `@` stands for the
/// abstract name space.
///
/// # Errors
/// When the socket can not be reached, which is worth a warning and nothing more.
pub fn notify(socket: &OsStr, state: State) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_str().as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_arrives_under_a_path_and_under_an_abstract_name() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("notify");
        let name = format!("rivvend-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(name.as_bytes()).expect("name");
        let cases = [
            (UnixDatagram::bind(&path).expect("bind"), path.into_os_string(), State::Ready),
            (
                UnixDatagram::bind_addr(&abstract_address).expect("bind"),
                format!("@{name}").into(),
                State::Stopping,
            ),
        ];
        for (receiver, socket, state) in cases {
            notify(&socket, state).expect("notify");
            let mut buffer = [0; 64];
            let len = receiver.recv(&mut buffer).expect("datagram");
            assert_eq!(&buffer[..len], state.as_str().as_bytes());
        }
    }
}
