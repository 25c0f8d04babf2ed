//! A connection of bytes: frames made by hand, right or wrong, and whatever comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use prost::Message as _;
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::frame::{
    FRAME_PREFIX_BYTES, FrameHeader, FrameLimits, Kind, Preface, StreamId, put_frame,
};
use rivvend::protocol::native::message::request::Operation;
use rivvend::protocol::native::message::{Error, Request, Response};

use super::broker::PATIENCE;

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) stream: u32,
    pub(super) header: Vec<u8>,
}

impl Frame {
    pub(super) fn response(&self) -> Response {
        assert_eq!(self.kind, Kind::Response, "an answer");
        Response::decode(&self.header[..]).expect("a sound header")
    }
}

impl Wire {
    /// A connection that has said nothing yet.
    pub(super) fn raw(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Wire { stream, received: Vec::new() }
    }

    /// A connection that speaks the protocol.
    pub(super) fn connect(address: SocketAddr) -> Wire {
        Wire::admitted(address).expect("a greeting")
    }

    /// The same, if the broker takes it.
    pub(super) fn admitted(address: SocketAddr) -> Option<Wire> {
        let mut wire = Wire::raw(address);
        wire.send(&Preface::OWN.encode());
        let greeting = wire.frame()?;
        assert_eq!(greeting.kind, Kind::Hello);
        Some(wire)
    }

    /// Sends; a peer that has closed already is no failure.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(super) fn request(&mut self, stream: u32, operation: impl Into<Operation>, data: &[u8]) {
        self.send(&request(stream, operation, data));
    }

    /// Asks once and returns the answer.
    pub(super) fn ask(&mut self, operation: impl Into<Operation>, data: &[u8]) -> Response {
        self.request(1, operation, data);
        self.frame().expect("an answer").response()
    }

    /// The next frame, or nothing when the peer has closed.
    pub(super) fn frame(&mut self) -> Option<Frame> {
        loop {
            let parsed = FrameHeader::parse(&self.received, FrameLimits::OF_SERVERS);
            if let Some(fixed) = parsed.expect("a sound frame")
                && self.received.len() >= fixed.frame_bytes()
            {
                let frame: Vec<u8> = self.received.drain(..fixed.frame_bytes()).collect();
                let header = &frame[FRAME_PREFIX_BYTES..][..fixed.header_bytes];
                return Some(Frame {
                    kind: fixed.kind,
                    stream: fixed.stream.0,
                    header: header.to_vec(),
                });
            }
            let mut room = [0; 64 << 10];
            match self.stream.read(&mut room) {
                Ok(0) => return None,
                Ok(read) => self.received.extend_from_slice(&room[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // A read with a deadline is not begun again by the kernel after a signal.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("neither a frame nor the end: {error}"),
            }
        }
    }

    /// The last words of a peer that closes, and its closing.
    pub(super) fn refused(&mut self) -> ErrorCode {
        let frame = self.frame().expect("last words");
        assert_eq!(frame.kind, Kind::Error, "{frame:?}");
        assert!(self.frame().is_none(), "then it closes");
        let error = Error::decode(&frame.header[..]).expect("a sound header");
        error.error_code().expect("a known code")
    }

    /// Everything that comes until the peer closes; nothing if it does not within `limit`.
    pub(super) fn rest(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(limit)).expect("a socket option");
        let mut rest = std::mem::take(&mut self.received);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => Some(rest),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(rest),
            Err(_) => None,
        }
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&self) {
        // A peer that is gone needs no telling.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// The frame of a request.
pub(super) fn request(stream: u32, operation: impl Into<Operation>, data: &[u8]) -> Vec<u8> {
    let request = Request {
        timeout_ms: 10_000,
        client_id: "test".to_owned(),
        operation: Some(operation.into()),
    };
    frame(stream, &request, data)
}

/// The frame of any request header.
pub(super) fn frame(stream: u32, request: &Request, data: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, Kind::Request, StreamId(stream), request, data.len());
    bytes.extend_from_slice(data);
    bytes.to_vec()
}

/// A request frame around a header of any bytes.
pub(super) fn frame_around(stream: u32, header: &[u8]) -> Vec<u8> {
    let fixed = FrameHeader {
        kind: Kind::Request,
        stream: StreamId(stream),
        header_bytes: header.len(),
        payload_bytes: 0,
    };
    [&fixed.encode()[..], header].concat()
}
