//! The edge against bytes as they come: a fake broker behind it, raw frames before it. Numbers in
//! names and messages are rows of the table of bad inputs.

mod bad_input;
mod fake;
mod flow;
mod lifetime;
mod payloads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use self::fake::Fake;
use super::service::Peer;
use super::{Edge, Settings, Socket, greet};
use crate::protocol::native::frame::{self, FrameHeader, FrameLimits, Kind, Preface, StreamId};
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{
    Error, Fetch, FetchPartition, Metadata, Produce, ProducePartition, Request, Response,
    ServerHello, Subscribe,
};
use crate::telemetry::{Listener, Reason, Telemetry};

fn edge() -> Arc<Edge<Fake>> {
    edge_with(Settings::default())
}

fn edge_with(settings: Settings) -> Arc<Edge<Fake>> {
    Edge::new(Arc::default(), Arc::new(Telemetry::default()), settings)
}

fn rejections(edge: &Edge<Fake>, reason: Reason) -> u64 {
    Listener::ALL.iter().map(|&at| edge.telemetry.edge.rejections(at, reason)).sum()
}

/// A frame as it arrived.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    stream: u32,
    header: Bytes,
    payload: Bytes,
}

impl Frame {
    fn response(&self) -> Response {
        Response::decode(&self.header[..]).expect("a response")
    }

    fn error(&self) -> Error {
        Error::decode(&self.header[..]).expect("an error")
    }
}

/// The client's side of a connection, byte by byte.
struct Client<T> {
    stream: T,
    buffer: BytesMut,
    /// The task that serves it.
    served: Option<JoinHandle<()>>,
}

/// Connects from this process.
fn raw(edge: &Arc<Edge<Fake>>) -> Client<UnixStream> {
    let (stream, served) = edge.embedded().expect("socket pair");
    Client { stream, buffer: BytesMut::new(), served: Some(served) }
}

/// Connects as if from that address.
fn raw_from(edge: &Arc<Edge<Fake>>, address: &str) -> Client<UnixStream> {
    let (stream, server) = UnixStream::pair().expect("socket pair");
    let address: SocketAddr = address.parse().expect("address");
    let session = edge.session(Peer::Tcp(address));
    let served =
        tokio::spawn(greet(Arc::clone(edge), Listener::Client, Socket::Unix(server), session));
    Client { stream, buffer: BytesMut::new(), served: Some(served) }
}

/// Connects from this process and shakes hands.
async fn connect(edge: &Arc<Edge<Fake>>) -> Client<UnixStream> {
    let mut client = raw(edge);
    client.shake_hands().await;
    client
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    fn over(stream: T) -> Client<T> {
        Client { stream, buffer: BytesMut::new(), served: None }
    }

    async fn shake_hands(&mut self) -> ServerHello {
        self.send(&Preface::OWN.encode()).await;
        let frame = self.frame().await;
        assert_eq!((frame.kind, frame.stream), (Kind::Hello, 0));
        ServerHello::decode(&frame.header[..]).expect("a hello")
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    async fn request(&mut self, stream: u32, request: Request, payload: &[u8]) {
        let bytes = request_frame(stream, &request, payload);
        self.send(&bytes).await;
    }

    /// The next frame, or `None` when the server has closed.
    async fn try_frame(&mut self) -> Option<Frame> {
        loop {
            let header = FrameHeader::parse(&self.buffer, FrameLimits::OF_SERVERS).expect("frame");
            if let Some(header) = header
                && self.buffer.len() >= header.frame_bytes()
            {
                self.buffer.advance(frame::FRAME_PREFIX_BYTES);
                return Some(Frame {
                    kind: header.kind,
                    stream: header.stream.0,
                    header: self.buffer.split_to(header.header_bytes).freeze(),
                    payload: self.buffer.split_to(header.payload_bytes).freeze(),
                });
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the server cut a frame");
                    return None;
                }
                Ok(_) => {}
                Err(error) => panic!("the connection was reset: {error}"),
            }
        }
    }

    async fn frame(&mut self) -> Frame {
        self.try_frame().await.expect("the server answers")
    }

    /// Everything until the server closes, as bytes.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = self.buffer.split().to_vec();
        // A reset closes too.
        let _ = self.stream.read_to_end(&mut bytes).await;
        bytes
    }

    /// Expects an ERROR frame and the end.
    async fn refused(&mut self) -> Error {
        let frame = self.frame().await;
        assert_eq!((frame.kind, frame.stream), (Kind::Error, 0), "{frame:?}");
        assert!(self.try_frame().await.is_none(), "ERROR is the last frame");
        frame.error()
    }

    /// Expects that nothing comes for a while of the tests' own time.
    async fn is_silent(&mut self) {
        tokio::select! {
            biased;
            frame = self.try_frame() => panic!("unexpected: {frame:?}"),
            () = settle() => {}
        }
    }
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn request_frame(stream: u32, request: &Request, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame::put_frame(&mut bytes, Kind::Request, StreamId(stream), request, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

fn of(operation: impl Into<Operation>) -> Request {
    Request { operation: Some(operation.into()), ..Request::default() }
}

fn metadata() -> Request {
    of(Metadata::default())
}

/// A produce request whose topic tells the fake what to do.
fn produce(topic: &str) -> Request {
    let partition = ProducePartition { topic: topic.to_owned(), ..ProducePartition::default() };
    of(Produce { partitions: vec![partition], acks: -1 })
}

fn fetch(topic: &str) -> Request {
    let partition = FetchPartition { topic: topic.to_owned(), ..FetchPartition::default() };
    of(Fetch { partitions: vec![partition], ..Fetch::default() })
}

fn subscribe(topic: &str, frame_bytes: u32) -> Request {
    let partition = FetchPartition { topic: topic.to_owned(), ..FetchPartition::default() };
    of(Subscribe { partitions: vec![partition], frame_bytes, ..Subscribe::default() })
}

const SECOND: Duration = Duration::from_secs(1);
