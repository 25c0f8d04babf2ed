//! Single calls and the life of a connection.

use tokio::net::UnixStream;

use super::fake::{FakeListener, FakeServer, connected, hello};
use super::*;
use crate::protocol::error::ErrorCode;
use crate::protocol::native::frame::{Kind, StreamId};
use crate::protocol::native::message::{self, MetricsResult};

fn metrics(text: &str) -> MetricsResult {
    MetricsResult { text: text.to_owned() }
}

fn create() -> message::CreateTopics {
    message::CreateTopics::default()
}

async fn pair(server_hello: ServerHello) -> (Result<Client, ClientError>, FakeServer) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    theirs.set_nonblocking(true).expect("non-blocking");
    let theirs = UnixStream::from_std(theirs).expect("a runtime");
    let connect = Client::connect(Target::Connected(ours), ClientOptions::default());
    tokio::join!(connect, FakeServer::greet(theirs, server_hello))
}

#[tokio::test]
async fn calls_share_a_connection_and_answers_come_in_any_order() {
    let (client, mut server) = connected().await;
    let calls = async { tokio::join!(client.metrics(), client.metrics(), client.metrics()) };
    let script = async {
        let asked = [server.asked().await, server.asked().await, server.asked().await];
        for at in [2, 0, 1] {
            server.answer(asked[at].stream, metrics(&at.to_string())).await;
        }
    };
    let ((first, second, third), ()) = tokio::join!(calls, script);
    let texts = [first, second, third].map(|result| result.expect("answered"));
    assert_eq!(texts, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_payload_arrives_as_it_was_sent_in_both_directions() {
    let (client, mut server) = connected().await;
    let sent: Bytes = (0..3_000_000u32).map(|number| number as u8).collect();
    let fetch = message::Fetch::default();
    let call = client.call(fetch, sent.clone(), Duration::from_secs(9));
    let script = async {
        let asked = server.asked().await;
        let response = Response::ok(message::FetchResult::default());
        server.send(Kind::Response, asked.stream, &response, &asked.payload).await;
    };
    let (result, ()) = tokio::join!(call, script);
    assert!(result.expect("answered").1 == sent);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_answer_times_out_and_is_cancelled() {
    let (client, mut server) = connected().await;
    let call = client.call(message::Metrics {}, Bytes::new(), Duration::from_secs(3));
    let (result, asked) = tokio::join!(call, server.asked());
    assert!(matches!(result, Err(ClientError::Timeout { operation: "Metrics", .. })), "{result:?}");
    let (fixed, ..) = server.frame().await;
    assert_eq!((fixed.kind, fixed.stream), (Kind::Cancel, asked.stream));
    // The late answer ends the stream and disturbs nobody.
    server.answer(asked.stream, metrics("late")).await;
    let script = async {
        let asked = server.asked().await;
        server.answer(asked.stream, metrics("in time")).await;
    };
    assert_eq!(tokio::join!(client.metrics(), script).0.expect("answered"), "in time");
}

#[tokio::test(start_paused = true)]
async fn what_is_safe_to_repeat_is_repeated_while_the_server_says_so() {
    let (client, mut server) = connected().await;
    let script = async {
        for code in [ErrorCode::LeaderNotAvailable, ErrorCode::Overloaded] {
            let asked = server.asked().await;
            server.refuse(asked.stream, message::Error::new(code, "not now")).await;
        }
        let asked = server.asked().await;
        server.answer(asked.stream, metrics("now")).await;
    };
    assert_eq!(tokio::join!(client.metrics(), script).0.expect("repeated"), "now");
    let script = async {
        let asked = server.asked().await;
        let error = message::Error::new(ErrorCode::RequestTimedOut, "perhaps");
        server.refuse(asked.stream, error).await;
    };
    let error = tokio::join!(client.create_topics(create()), script).0.expect_err("not repeated");
    assert_eq!(error.code(), Some(ErrorCode::RequestTimedOut));
    assert!(error.is_uncertain());
}

#[tokio::test(start_paused = true)]
async fn after_a_disconnect_only_what_is_safe_is_repeated_on_the_next_connection() {
    let listener = FakeListener::new();
    let (client, mut server) = listener.connected().await;
    let calls = async { tokio::join!(client.metrics(), client.create_topics(create())) };
    let script = async {
        server.asked().await;
        server.asked().await;
        drop(server);
        let mut server = listener.accept().await;
        let asked = server.asked().await;
        server.answer(asked.stream, metrics("again")).await;
        server
    };
    let ((safe, unsafe_), mut server) = tokio::join!(calls, script);
    assert_eq!(safe.expect("repeated"), "again");
    let error = unsafe_.expect_err("not repeated");
    assert!(matches!(error, ClientError::Disconnected { .. }) && error.is_uncertain(), "{error}");
    // Neither is there a second CREATE TOPICS, nor does the client need more than the next call.
    let script = async {
        let asked = server.asked().await;
        server.answer(asked.stream, metrics("on")).await;
    };
    assert_eq!(tokio::join!(client.metrics(), script).0.expect("answered"), "on");
}

#[tokio::test(start_paused = true)]
async fn without_a_server_a_call_tries_to_its_deadline_and_says_why() {
    let listener = FakeListener::new();
    let (client, server) = listener.connected().await;
    drop(server);
    drop(listener);
    let before = Instant::now();
    let error = client.metrics().await.expect_err("nobody is there");
    let waited = before.elapsed();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(waited > Duration::from_secs(25) && waited <= Duration::from_secs(30), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_only_connection_of_a_client_closes_it() {
    let (client, server) = connected().await;
    drop(server);
    let error = client.create_topics(create()).await.expect_err("closed");
    assert!(!matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(matches!(client.metrics().await, Err(ClientError::Closed)));
}

/// bad-inputs 1 and 9, seen from the client.
#[tokio::test]
async fn a_server_that_breaks_the_protocol_fails_every_call_at_once() {
    let oversized = [0x7f, 0xff, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let garbage = *b"\0\0\0\x10garbage!garb";
    let not_open = [0, 0, 0, 12, 3, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0];
    let request = [0, 0, 0, 12, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let bad_header = [0, 0, 0, 13, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff];
    for bytes in [&oversized[..], &garbage, &not_open, &request, &bad_header] {
        let (client, mut server) = connected().await;
        let script = async {
            server.asked().await;
            server.raw(bytes).await;
        };
        let error = tokio::join!(client.metrics(), script).0.expect_err("refused");
        assert!(matches!(error, ClientError::Protocol { .. }), "{bytes:02x?}: {error}");
        assert!(server.try_frame().await.is_none(), "the connection is closed");
    }
}

#[tokio::test]
async fn an_answer_with_the_wrong_result_is_an_error() {
    let (client, mut server) = connected().await;
    let script = async {
        let asked = server.asked().await;
        server.answer(asked.stream, message::FetchResult::default()).await;
    };
    let error = tokio::join!(client.metrics(), script).0.expect_err("not metrics");
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_finishes_what_is_under_way_and_gets_nothing_new() {
    let listener = FakeListener::new();
    let (client, mut server) = listener.connected().await;
    let script = async {
        let asked = server.asked().await;
        let error = message::Error::new(ErrorCode::ShuttingDown, "stopping");
        server.send(Kind::GoAway, StreamId::CONNECTION, &error, b"").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        // A call made now waits for the next connection.
        let late = tokio::spawn({
            let client = client.clone();
            async move { client.metrics().await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        server.answer(asked.stream, metrics("finished")).await;
        assert!(server.try_frame().await.is_none(), "the client hangs up");
        let mut next = listener.accept().await;
        let asked = next.asked().await;
        next.answer(asked.stream, metrics("elsewhere")).await;
        late.await.expect("runs").expect("answered")
    };
    let (finished, late) = tokio::join!(client.metrics(), script);
    assert_eq!((finished.expect("answered").as_str(), late.as_str()), ("finished", "elsewhere"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_and_then_given_up() {
    let (client, mut server) = connected().await;
    let call = client.call(create(), Bytes::new(), Duration::from_secs(300));
    let script = async {
        server.asked().await;
        let asked = Instant::now();
        for _ in 0..3 {
            let (fixed, _, payload) = server.frame().await;
            assert_eq!(fixed.kind, Kind::Ping);
            let mut out = bytes::BytesMut::new();
            let payload = payload[..].try_into().expect("eight bytes");
            crate::protocol::native::frame::put_pong(&mut out, payload);
            server.raw(&out).await;
        }
        assert!(asked.elapsed() >= ClientOptions::default().keep_alive * 3);
        assert_eq!(server.frame().await.0.kind, Kind::Ping);
        assert!(server.try_frame().await.is_none());
    };
    let error = tokio::join!(call, script).0.expect_err("given up");
    assert!(matches!(error, ClientError::Disconnected { .. }), "{error}");
}

#[tokio::test]
async fn pings_are_answered_with_their_own_bytes() {
    let (_client, mut server) = connected().await;
    let mut out = bytes::BytesMut::new();
    crate::protocol::native::frame::put_ping(&mut out, *b"12345678");
    server.raw(&out).await;
    let (fixed, _, payload) = server.frame().await;
    assert_eq!((fixed.kind, &payload[..]), (Kind::Pong, &b"12345678"[..]));
}

#[tokio::test]
async fn greetings_that_do_not_suit_are_refused_with_their_reason() {
    let newer = ServerHello { minor_min: 9, minor_max: 12, ..hello() };
    let error = pair(newer).await.0.expect_err("too new");
    assert!(error.to_string().contains("1.9–1.12"), "{error}");
    let locked = ServerHello { mechanisms: vec!["SCRAM-SHA-512".to_owned()], ..hello() };
    let error = pair(locked).await.0.expect_err("no credentials");
    assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_greets_is_not_waited_for() {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let connect = Client::connect(Target::Connected(ours), ClientOptions::default());
    let error = connect.await.expect_err("no greeting");
    assert!(error.to_string().contains("no greeting within 10s"), "{error}");
}

#[tokio::test]
async fn a_request_beyond_the_servers_limit_is_not_sent() {
    let small = ServerHello { frame_bytes_max: 1_000, ..hello() };
    let (client, _server) = pair(small).await;
    let payload = Bytes::from(vec![0; 1_000]);
    let client = client.expect("connects");
    let error = client.produce(message::Produce::default(), payload).await.expect_err("too large");
    assert!(matches!(error, ClientError::TooLarge { limit: 1_000, .. }), "{error}");
}

#[tokio::test]
async fn the_connection_closes_with_the_last_handle() {
    let (client, mut server) = connected().await;
    let other = client.clone();
    drop(client);
    drop(other);
    assert!(server.try_frame().await.is_none());
}

#[tokio::test]
async fn a_socket_below_a_very_long_path_is_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("d".repeat(120));
    std::fs::create_dir(&deep).expect("a deep folder");
    let link = folder.path().join("l");
    std::os::unix::fs::symlink(&deep, &link).expect("a short name for it");
    let listener = tokio::net::UnixListener::bind(link.join("s")).expect("binds");
    let connect = Client::connect(Target::Unix(deep.join("s")), ClientOptions::default());
    let accept = async {
        let (stream, _) = listener.accept().await.expect("accepts");
        FakeServer::greet(stream, hello()).await
    };
    tokio::join!(connect, accept).0.expect("connects");
}
