//! A connection that speaks Kafka's protocol: requests made by an independent codec or byte by
//! byte, and whatever comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion, Request, StrBytes};

use super::broker::PATIENCE;

const LENGTH_BYTES: usize = 4;
/// An answer of a server that can not know what an answer looks like: id and error.
const BARE_BYTES: usize = 6;

/// One connection.
pub(super) struct KafkaWire {
    stream: TcpStream,
    received: Vec<u8>,
    next_id: i32,
}

impl KafkaWire {
    pub(super) fn connect(address: SocketAddr) -> KafkaWire {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        KafkaWire { stream, received: Vec::new(), next_id: 1 }
    }

    /// The same connection once more, for a thread that sends while another reads.
    pub(super) fn twin(&self) -> KafkaWire {
        let stream = self.stream.try_clone().expect("a descriptor");
        KafkaWire { stream, received: Vec::new(), next_id: self.next_id }
    }

    /// Sends; a peer that has closed already is no failure.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Asks once and returns the answer.
    pub(super) fn ask<R: Request>(&mut self, version: i16, message: &R) -> R::Response {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&request(id, version, message));
        let (answered, response) = self.answer::<R>(version);
        assert_eq!(answered, id);
        response
    }

    /// The next answer, which has to be one to this kind of request, with the id that it repeats.
    pub(super) fn answer<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = Bytes::from(self.frame().expect("an answer"));
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).expect("a sound header");
        let response = R::Response::decode(&mut frame, version).expect("a sound answer");
        assert!(frame.is_empty(), "an answer has nothing behind it");
        (header.correlation_id, response)
    }

    /// The next frame without its length, or nothing when the peer has closed.
    pub(super) fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = self.received.first_chunk::<LENGTH_BYTES>() {
                let end = LENGTH_BYTES + u32::from_be_bytes(*length) as usize;
                if self.received.len() >= end {
                    let frame: Vec<u8> = self.received.drain(..end).collect();
                    return Some(frame[LENGTH_BYTES..].to_vec());
                }
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

    /// An answer that is an id and an error and nothing else.
    pub(super) fn bare(&mut self) -> (i32, i16) {
        let frame = self.frame().expect("an answer");
        assert_eq!(frame.len(), BARE_BYTES, "{frame:?}");
        let mut frame = &frame[..];
        (frame.get_i32(), frame.get_i16())
    }

    /// The same as last words: then the peer closes.
    pub(super) fn refused(&mut self) -> (i32, i16) {
        let bare = self.bare();
        self.assert_closed();
        bare
    }

    /// Nothing more comes, and the peer closes.
    pub(super) fn assert_closed(&mut self) {
        let frame = self.frame();
        assert!(frame.is_none() && self.received.is_empty(), "{frame:?}");
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
pub(super) fn request<R: Request>(id: i32, version: i16, message: &R) -> Vec<u8> {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).expect("the version has these fields");
    let header_version = <R as HeaderVersion>::header_version(version);
    framed(R::KEY, version, id, header_version, &body)
}

/// The frame of a request around a body of any bytes.
pub(super) fn framed(api: i16, version: i16, id: i32, header_version: i16, body: &[u8]) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(api)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, header_version).expect("a header");
    bytes.extend_from_slice(body);
    framed_bytes(&bytes)
}

/// The frame of any bytes.
pub(super) fn framed_bytes(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat()
}
