//! How connections are let in and how they end.

use std::sync::atomic::Ordering::SeqCst;

use tokio::net::TcpStream;

use super::fake::BULKY_BYTES;
use super::*;
use crate::limits;
use crate::net::listener::{UnixSocket, bind_tcp, connect_unix};
use crate::protocol::error::ErrorCode;

#[tokio::test(start_paused = true)]
async fn row_40_a_silent_connection_is_closed_and_one_that_answers_pings_is_not() {
    let edge = edge();
    let idle = Duration::from_millis(limits::IDLE_MS_DEFAULT);
    let begun = tokio::time::Instant::now();
    let mut client = connect(&edge).await;
    assert_eq!(client.refused().await.error_code(), Some(ErrorCode::RequestTimedOut));
    assert!(begun.elapsed() >= idle && begun.elapsed() < idle + 3 * SECOND);
    assert_eq!(rejections(&edge, Reason::Idle), 1);

    let mut client = connect(&edge).await;
    client.request(1, subscribe("quiet", 1), b"").await;
    for _ in 0..4 {
        let ping = client.frame().await;
        assert_eq!(ping.kind, Kind::Ping, "{ping:?} after {:?}", begun.elapsed());
        let mut pong = BytesMut::new();
        frame::put_pong(&mut pong, ping.payload[..].try_into().expect("eight bytes"));
        client.send(&pong).await;
    }
    assert_eq!(rejections(&edge, Reason::Idle), 1);
}

#[tokio::test(start_paused = true)]
async fn row_54_a_peer_that_never_reads_is_closed_and_costs_a_bounded_amount() {
    let edge = edge();
    let client = raw(&edge);
    let (_read, mut write) = client.stream.into_split();
    write.write_all(&Preface::OWN.encode()).await.expect("sent");
    let sending = async {
        // Far more than the socket's buffers hold next to what the server takes.
        for stream in 1..100_000 {
            let bytes = request_frame(stream, &fetch("bulky"), b"");
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        panic!("the server takes everything");
    };
    let begun = tokio::time::Instant::now();
    sending.await;
    assert!(begun.elapsed() >= Duration::from_millis(limits::WRITE_STALL_MS_MAX));
    client.served.expect("task").await.expect("it ended");
    assert_eq!(rejections(&edge, Reason::SlowReader), 1);
    // What was started fits the bound and the socket's buffers.
    let started = edge.telemetry.edge.requests.get() as usize;
    let bound = limits::CONNECTION_OUTPUT_BYTES_MAX / BULKY_BYTES;
    assert!(started >= bound && started < 2 * bound, "{started}");
}

#[tokio::test]
async fn a_stopping_server_finishes_what_changes_something_and_refuses_the_rest() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, produce("later"), b"x").await;
    client.request(2, fetch("never"), b"").await;
    client.request(3, subscribe("quiet", 1), b"").await;
    client.request(4, subscribe("endless", 100), b"").await;
    assert_eq!(client.frame().await.kind, Kind::Data);
    settle().await;
    edge.stop(60 * SECOND);
    let away = client.frame().await;
    assert_eq!(away.kind, Kind::GoAway);
    assert_eq!(away.error().error_code(), Some(ErrorCode::ShuttingDown));
    let mut ended = std::collections::BTreeMap::new();
    for _ in 0..3 {
        let frame = client.frame().await;
        let error = frame.response().error.expect("an error").error_code();
        assert_eq!(error, Some(ErrorCode::ShuttingDown));
        ended.insert(frame.stream, frame.kind);
    }
    let expected = [(2, Kind::Response), (3, Kind::End), (4, Kind::End)];
    assert_eq!(ended, expected.into_iter().collect());

    client.request(5, metadata(), b"").await;
    let crossed = client.frame().await.response().error.expect("refused");
    assert_eq!(crossed.error_code(), Some(ErrorCode::ShuttingDown));
    edge.service.release.add_permits(1);
    let last = client.frame().await;
    assert_eq!((last.stream, last.response().error), (1, None));
    assert!(client.try_frame().await.is_none());
    drop(client.stream);
    client.served.take().expect("task").await.expect("it ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finished_when_patience_ends_is_cut() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, produce("never"), b"x").await;
    settle().await;
    let begun = tokio::time::Instant::now();
    edge.stop(5 * SECOND);
    assert_eq!(client.frame().await.kind, Kind::GoAway);
    assert!(client.try_frame().await.is_none());
    assert!(begun.elapsed() >= 5 * SECOND && begun.elapsed() < 8 * SECOND);
    assert_eq!(edge.service.waiting.load(SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_has_said_everything_still_gets_its_answers() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, produce("later"), b"x").await;
    client.request(2, fetch("never"), b"").await;
    client.stream.shutdown().await.expect("half closed");
    settle().await;
    edge.service.release.add_permits(1);
    let mut streams = Vec::new();
    while let Some(frame) = client.try_frame().await {
        streams.push((frame.stream, frame.response().error.is_none()));
    }
    streams.sort_unstable();
    assert_eq!(streams, [(1, true), (2, false)]);
    client.served.take().expect("task").await.expect("it ended");
    assert_eq!(edge.telemetry.edge.connections(Listener::Embedded), 0);
}

/// With every stream taken nothing more is read, so the end is not read either.
#[tokio::test(start_paused = true)]
async fn a_client_that_closes_behind_what_is_not_read_yet_is_noticed() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let last = limits::CONNECTION_STREAMS_MAX as u32;
    for stream in 1..=last {
        client.request(stream, fetch("never"), b"").await;
    }
    client.request(last + 1, metadata(), b"").await;
    client.request(last + 2, fetch("never"), b"").await;
    client.stream.shutdown().await.expect("half closed");
    let mut answered = Vec::new();
    while let Some(frame) = client.try_frame().await {
        answered.extend(frame.response().error.is_none().then_some(frame.stream));
    }
    assert_eq!(answered, [last + 1]);
    client.served.take().expect("task").await.expect("it ended");
    assert_eq!(edge.service.waiting.load(SeqCst), 0);
}

#[tokio::test]
async fn row_39_connections_beyond_the_caps_are_reset_and_the_others_go_on() {
    for (total, per_address, reason) in
        [(2, 9, Reason::Connections), (9, 2, Reason::ConnectionsPerAddress)]
    {
        let edge = edge_with(Settings {
            connections_max: total,
            connections_per_address_max: per_address,
            ..Settings::default()
        });
        let port = bind_tcp("127.0.0.1:0".parse().expect("address")).await.expect("port");
        let address = port.local_addr().expect("address");
        let served = edge.serve_tcp(port);
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = Client::over(TcpStream::connect(address).await.expect("connected"));
            client.shake_hands().await;
            clients.push(client);
        }
        let mut refused = TcpStream::connect(address).await.expect("connected");
        let refusal = refused.read_u8().await.expect_err("refused");
        assert_eq!(refusal.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(edge.telemetry.edge.rejections(Listener::Client, reason), 1);
        assert_eq!(edge.telemetry.edge.connections(Listener::Client), 2);

        // The others go on, and a place that becomes free is given away again.
        clients[0].request(1, metadata(), b"").await;
        clients[0].frame().await;
        drop(clients.pop());
        while edge.telemetry.edge.connections(Listener::Client) > 1 {
            tokio::task::yield_now().await;
        }
        settle().await;
        Client::over(TcpStream::connect(address).await.expect("connected")).shake_hands().await;

        drop(clients);
        edge.stop(60 * SECOND);
        served.await.expect("the listener ended");
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn the_unix_socket_serves_its_owner_and_its_name_goes_when_the_server_stops() {
    let directory = tempfile::tempdir().expect("directory");
    let edge = edge();
    let served = edge.serve_unix(UnixSocket::bind(directory.path()).expect("bind"));
    let mut client = Client::over(connect_unix(directory.path()).await.expect("connected"));
    client.shake_hands().await;
    client.request(1, metadata(), b"").await;
    assert_eq!(client.frame().await.stream, 1);
    assert_eq!(edge.telemetry.edge.connections(Listener::Unix), 1);
    edge.stop(60 * SECOND);
    assert_eq!(client.frame().await.kind, Kind::GoAway);
    assert!(client.try_frame().await.is_none());
    drop(client);
    served.await.expect("it ended");
    assert!(std::fs::read_dir(directory.path()).expect("directory").next().is_none());
}
