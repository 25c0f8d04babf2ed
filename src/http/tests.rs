//! The HTTP front as raw bytes over loopback.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::net::Settings;
use crate::net::listener::bind_tcp;
use crate::net::service::{Answer, Conversation, Feed, KafkaPending, Pending, Progress};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message;
use crate::telemetry::{Reason, Telemetry};

/// A broker of which only the health matters.
#[derive(Default)]
struct Fake {
    health: AtomicU8,
    pages: AtomicUsize,
}

impl Service for Fake {
    fn hello(&self) -> message::ServerHello {
        message::ServerHello::default()
    }

    fn call(self: &Arc<Self>, _: &Session, _: message::Request, _: Bytes) -> Pending {
        Pending::Ready(Answer::default())
    }

    fn subscribe(
        self: &Arc<Self>,
        _: &Session,
        _: message::Subscribe,
    ) -> Result<Box<dyn Feed>, message::Error> {
        Err(message::Error::new(ErrorCode::InvalidRequest, "nothing to subscribe to"))
    }

    fn kafka(
        self: &Arc<Self>,
        _session: &Session,
        _conversation: &mut Conversation,
        _frame: Bytes,
    ) -> KafkaPending {
        unreachable!("these tests speak HTTP")
    }

    fn kafka_refusal(
        self: &Arc<Self>,
        _frame: Bytes,
        _reason: Reason,
        _code: ErrorCode,
        _message: &str,
    ) -> KafkaPending {
        unreachable!("these tests speak HTTP")
    }

    fn health(&self) -> Health {
        match self.health.load(SeqCst) {
            0 => {
                Health::Recovering(Progress { logs_done: 1, logs_total: 3, ..Progress::default() })
            }
            1 => Health::Ready,
            _ => Health::Stopping,
        }
    }

    async fn metrics(self: &Arc<Self>) -> String {
        "rivven_messages_received_total 7\n".repeat(self.pages.load(SeqCst).max(1))
    }
}

struct Server {
    edge: Arc<Edge<Fake>>,
    address: std::net::SocketAddr,
    served: JoinHandle<()>,
}

async fn server() -> Server {
    let edge = Edge::new(Arc::default(), Arc::new(Telemetry::default()), Settings::default());
    let port = bind_tcp("127.0.0.1:0".parse().expect("address")).await.expect("port");
    let address = port.local_addr().expect("address");
    let served = serve(&edge, port);
    Server { edge, address, served }
}

impl Server {
    /// Sends a request that asks for the connection to be closed; status, head and body.
    async fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        let request = format!("{request}Host: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        answer(stream).await
    }

    /// A connection from `peer` that is not accepted but served at once.
    fn connect_from(&self, peer: Peer) -> tokio::net::UnixStream {
        let session = self.edge.session(peer);
        let routes = routes(Arc::clone(self.edge.service()));
        let (client, socket) = tokio::net::UnixStream::pair().expect("pair");
        let (edge, socket) = (Arc::clone(&self.edge), Socket::Unix(socket));
        tokio::spawn(serve_connection(edge, Listener::Http, socket, session, routes));
        client
    }
}

async fn answer(mut stream: impl AsyncRead + Unpin) -> (u16, String, String) {
    let mut bytes = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn readiness_follows_the_broker_and_liveness_does_not() {
    let server = server().await;
    let recovery = r#"{"bytes_done":0,"bytes_total":0,"logs_done":1,"logs_total":3}"#;
    let expected = [
        (503, format!(r#"{{"recovery":{recovery},"status":"recovering"}}"#)),
        (200, r#"{"status":"ready"}"#.to_owned()),
        (503, r#"{"status":"stopping"}"#.to_owned()),
    ];
    for (health, (status, body)) in expected.into_iter().enumerate() {
        server.edge.service().health.store(health as u8, SeqCst);
        let (actual, _, text) = server.ask("GET /readyz HTTP/1.1\r\n").await;
        assert_eq!((actual, text), (status, body));
        assert_eq!(server.ask("GET /livez HTTP/1.1\r\n").await.0, 200);
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let (status, head, body) = server().await.ask("GET /metrics HTTP/1.1\r\n").await;
    assert_eq!((status, body.as_str()), (200, "rivven_messages_received_total 7\n"));
    assert!(head.contains("content-type: text/plain; version=0.0.4"));
    assert!(head.contains("x-content-type-options: nosniff"));
}

#[tokio::test]
async fn what_does_not_fit_gets_its_own_status_and_a_problem_document() {
    let server = server().await;
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n", "x".repeat(2 * HTTP_HEAD_BYTES_MAX));
    let large = format!("GET /livez HTTP/1.1\r\nContent-Length: {}\r\n", HTTP_BODY_BYTES_MAX + 1);
    let cases = [
        ("GET /nowhere HTTP/1.1\r\n", 404),
        ("DELETE /metrics HTTP/1.1\r\n", 405),
        (large.as_str(), 413),
        (long.as_str(), 431),
        ("nonsense\r\n", 400),
    ];
    for (request, expected) in cases {
        let (status, head, body) = server.ask(request).await;
        assert_eq!(status, expected, "{head}");
        if [404, 405, 413].contains(&status) {
            assert!(head.contains("application/problem+json"), "{head}");
            let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(document["status"], expected);
        }
    }
    for (reason, count) in
        [(Reason::InvalidRequest, 2), (Reason::MessageTooLarge, 1), (Reason::Malformed, 2)]
    {
        let edge = &server.edge.telemetry().edge;
        assert_eq!(edge.rejections(Listener::Http, reason), count, "{reason:?}");
    }
    let (_, head, _) = server.ask("DELETE /metrics HTTP/1.1\r\n").await;
    assert!(head.contains("allow: get,head"), "{head}");
}

#[tokio::test]
async fn row_65_another_machine_gets_403_for_everything() {
    let server = server().await;
    let peer = Peer::Tcp("192.0.2.7:40000".parse().expect("address"));
    let mut client = server.connect_from(peer);
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.expect("sent");
    let (status, _, body) = answer(client).await;
    assert_eq!(status, 403);
    assert!(body.contains("server.protected_mode: false"), "{body}");
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_given_up() {
    let server = server().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut client = server.connect_from(Peer::Embedded);
    client.write_all(b"GET /livez HTT").await.expect("sent");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("closed");
    let limit = Duration::from_millis(HTTP_HEAD_MS_MAX);
    assert!(begun.elapsed() >= limit && begun.elapsed() < limit + Duration::from_secs(3));
}

#[tokio::test]
async fn a_stopping_server_closes_idle_connections_and_frees_the_port() {
    let server = server().await;
    let mut idle = TcpStream::connect(server.address).await.expect("connected");
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("answered");
    assert_eq!(&first, b"HTTP/1.1 200");
    server.edge.stop(Duration::from_secs(60));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed");
    server.served.await.expect("ended");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_kept_connection_that_stays_silent_is_closed() {
    let server = server().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut client = server.connect_from(Peer::Embedded);
    client.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.expect("closed");
    assert!(all.starts_with(b"HTTP/1.1 200"));
    let limit = Duration::from_millis(HTTP_HEAD_MS_MAX);
    assert!(begun.elapsed() >= limit && begun.elapsed() < limit + Duration::from_secs(3));
}

#[tokio::test]
async fn row_54_a_client_that_never_reads_is_given_up() {
    let server = server().await;
    server.edge.service().pages.store(1_000_000, SeqCst);
    tokio::time::pause();
    let mut client = server.connect_from(Peer::Embedded);
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let open = || server.edge.telemetry().edge.connections(Listener::Http);
    while open() == 0 {
        tokio::task::yield_now().await;
    }
    let begun = tokio::time::Instant::now();
    while open() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let limit = Duration::from_millis(crate::limits::WRITE_STALL_MS_MAX);
    assert!(begun.elapsed() >= limit && begun.elapsed() < limit + Duration::from_secs(5));
}
