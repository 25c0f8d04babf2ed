//! A server for tests that does what its script says, over Unix sockets in this process.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{Client, ClientOptions, Target};
use crate::protocol::native::frame::{
    self, FRAME_PREFIX_BYTES, FrameHeader, FrameLimits, Kind, PREFACE_BYTES, Preface, StreamId,
};
use crate::protocol::native::message::{
    self, Request, Response, ServerHello, SubscribeData, request, response,
};

/// Credit that the fake server gives each subscription.
pub(super) const CREDIT_BYTES: u32 = 1_000;

pub(super) fn hello() -> ServerHello {
    ServerHello {
        version: "test".to_owned(),
        cluster_id: "test".to_owned(),
        node_id: 1,
        frame_bytes_max: crate::limits::FRAME_BYTES_MAX as u32,
        credit_bytes: CREDIT_BYTES,
        ..ServerHello::default()
    }
}

/// One connection of the fake server.
pub(super) struct FakeServer {
    stream: UnixStream,
    buffer: BytesMut,
}

/// A request as it arrived.
pub(super) struct Asked {
    pub(super) stream: StreamId,
    pub(super) operation: request::Operation,
    pub(super) payload: Bytes,
}

/// A client connected to a fake server that has greeted it.
pub(super) async fn connected() -> (Client, FakeServer) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    theirs.set_nonblocking(true).expect("non-blocking");
    let theirs = UnixStream::from_std(theirs).expect("a runtime");
    let options = ClientOptions::default();
    let (client, server) = tokio::join!(
        Client::connect(Target::Connected(ours), options),
        FakeServer::greet(theirs, hello())
    );
    (client.expect("connects"), server)
}

/// A server that can be connected to again.
pub(super) struct FakeListener {
    listener: UnixListener,
    folder: tempfile::TempDir,
}

impl FakeListener {
    pub(super) fn new() -> FakeListener {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("binds");
        FakeListener { listener, folder }
    }

    pub(super) fn target(&self) -> Target {
        Target::Unix(self.folder.path().join("socket"))
    }

    pub(super) async fn accept(&self) -> FakeServer {
        let (stream, _) = self.listener.accept().await.expect("accepts");
        FakeServer::greet(stream, hello()).await
    }

    /// Breaks a connection and takes the next one.
    pub(super) async fn accept_after(&self, broken: FakeServer) -> FakeServer {
        drop(broken);
        self.accept().await
    }

    /// A client and the server's end of its first connection.
    pub(super) async fn connected(&self) -> (Client, FakeServer) {
        let options = ClientOptions::default();
        let (client, server) = tokio::join!(Client::connect(self.target(), options), self.accept());
        (client.expect("connects"), server)
    }
}

impl FakeServer {
    pub(super) async fn greet(mut stream: UnixStream, hello: ServerHello) -> FakeServer {
        let mut preface = [0; PREFACE_BYTES];
        stream.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(Preface::parse(&preface), Ok(Some(Preface::OWN)));
        let mut server = FakeServer { stream, buffer: BytesMut::new() };
        server.send(Kind::Hello, StreamId::CONNECTION, &hello, b"").await;
        server
    }

    pub(super) async fn frame(&mut self) -> (FrameHeader, Bytes, Bytes) {
        self.try_frame().await.expect("the client closed the connection")
    }

    /// `None` when the client is gone.
    pub(super) async fn try_frame(&mut self) -> Option<(FrameHeader, Bytes, Bytes)> {
        loop {
            let parsed = FrameHeader::parse(&self.buffer, FrameLimits::OF_CLIENTS);
            if let Some(fixed) = parsed.expect("a sound frame")
                && self.buffer.len() >= fixed.frame_bytes()
            {
                let mut header = self.buffer.split_to(fixed.frame_bytes()).freeze();
                header.advance(FRAME_PREFIX_BYTES);
                let payload = header.split_off(fixed.header_bytes);
                return Some((fixed, header, payload));
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next request.
    pub(super) async fn asked(&mut self) -> Asked {
        self.try_asked().await.expect("the client closed the connection")
    }

    /// `None` when the client is gone. Pings are answered on the way.
    pub(super) async fn try_asked(&mut self) -> Option<Asked> {
        let (mut fixed, mut header, mut payload) = self.try_frame().await?;
        while fixed.kind == Kind::Ping {
            self.pong(&payload).await;
            (fixed, header, payload) = self.try_frame().await?;
        }
        assert_eq!(fixed.kind, Kind::Request);
        let request = Request::decode(header).expect("a request");
        assert!(request.timeout_ms > 0, "the server learns the deadline");
        let operation = request.operation.expect("is set");
        Some(Asked { stream: fixed.stream, operation, payload })
    }

    /// Credit that has arrived, without waiting for more than what is on its way.
    pub(super) async fn credit(&mut self) -> Option<u32> {
        let brief = std::time::Duration::from_millis(2);
        let (fixed, _, payload) = tokio::time::timeout(brief, self.frame()).await.ok()?;
        assert_eq!(fixed.kind, Kind::Credit);
        Some(u32::from_be_bytes(payload[..].try_into().expect("four bytes")))
    }

    pub(super) async fn pong(&mut self, ping: &[u8]) {
        let mut out = BytesMut::new();
        frame::put_pong(&mut out, ping.try_into().expect("the payload of a ping"));
        self.raw(&out).await;
    }

    pub(super) async fn send(
        &mut self,
        kind: Kind,
        stream: StreamId,
        header: &impl Message,
        payload: &[u8],
    ) {
        let mut out = BytesMut::new();
        frame::put_frame(&mut out, kind, stream, header, payload.len());
        out.put_slice(payload);
        self.raw(&out).await;
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client reads");
    }

    pub(super) async fn answer(&mut self, stream: StreamId, result: impl Into<response::Result>) {
        self.send(Kind::Response, stream, &Response::ok(result), b"").await;
    }

    pub(super) async fn refuse(&mut self, stream: StreamId, error: message::Error) {
        self.send(Kind::Response, stream, &Response::failed(error), b"").await;
    }

    pub(super) async fn data(
        &mut self,
        stream: StreamId,
        partitions: Vec<message::FetchPartitionResult>,
        payload: &[u8],
    ) {
        let response = Response::ok(SubscribeData { partitions });
        self.send(Kind::Data, stream, &response, payload).await;
    }
}
