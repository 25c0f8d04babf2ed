//! What breaks a rule, and what is not ours to serve.

use super::*;
use crate::limits;
use crate::protocol::error::ErrorCode;

fn code(error: &Error) -> ErrorCode {
    error.error_code().expect("a known error")
}

#[tokio::test]
async fn row_1_an_impossible_length_closes_at_once() {
    let edge = edge();
    let lengths = [u32::MAX, 0, i32::MAX as u32, limits::FRAME_BYTES_MAX as u32 + 1, 11];
    for (index, length) in lengths.into_iter().enumerate() {
        let mut client = connect(&edge).await;
        client.send(&length.to_be_bytes()).await;
        let error = client.refused().await;
        let expected = if length < 12 { ErrorCode::Malformed } else { ErrorCode::FrameTooLarge };
        assert_eq!(code(&error), expected);
        assert_eq!(rejections(&edge, Reason::FrameSize), index as u64 + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_2_and_3_a_frame_that_does_not_come_or_only_drips_is_given_up() {
    let edge = edge();
    let allowed = Duration::from_millis(limits::FRAME_ARRIVAL_MS_MAX);
    for drip in [false, true] {
        let mut client = connect(&edge).await;
        let begun = tokio::time::Instant::now();
        client.send(&request_frame(1, &produce("ready"), &[0; 1_000])[..50]).await;
        if drip {
            for _ in 0..allowed.as_secs() - 1 {
                tokio::time::sleep(SECOND).await;
                client.send(&[0]).await;
            }
        }
        assert_eq!(code(&client.refused().await), ErrorCode::RequestTimedOut);
        let waited = begun.elapsed();
        assert!(waited >= allowed && waited < allowed + 3 * SECOND, "{waited:?}");
    }
    assert_eq!(rejections(&edge, Reason::SlowBody), 2);
}

#[tokio::test(start_paused = true)]
async fn rows_2_and_3_the_first_bytes_have_one_absolute_deadline() {
    let edge = edge();
    for drip in [&b""[..], b"RVN1"] {
        let mut client = raw(&edge);
        let begun = tokio::time::Instant::now();
        for byte in drip {
            tokio::time::sleep(2 * SECOND).await;
            client.send(&[*byte]).await;
        }
        assert_eq!(client.rest().await, b"");
        let waited = begun.elapsed();
        assert!(waited >= 10 * SECOND && waited < 12 * SECOND, "{waited:?}");
    }
    assert_eq!(rejections(&edge, Reason::HandshakeTimeout), 2);
}

#[tokio::test]
async fn row_4_other_protocols_are_recognised_and_closed() {
    let settings = Settings {
        http_address: Some("127.0.0.1:8088".parse().expect("address")),
        ..Settings::default()
    };
    let edge = edge_with(settings);
    let cases: [(&[u8], Reason, &str); 4] = [
        (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], Reason::Tls, ""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Reason::Http, "HTTP is on port 8088."),
        (b"POST / HTTP/1.1\r\n\r\n", Reason::Http, "HTTP is on port 8088."),
        // No other protocol begins so, and no request of Kafka's is that long.
        (&[0xff; 8], Reason::FrameSize, ""),
    ];
    for (bytes, reason, answer) in cases {
        let before = rejections(&edge, reason);
        let mut client = raw(&edge);
        client.send(bytes).await;
        let text = String::from_utf8(client.rest().await).expect("text");
        assert!(text.contains(answer) && text.is_empty() == answer.is_empty(), "{text}");
        assert_eq!(rejections(&edge, reason), before + 1);
    }
}

#[tokio::test]
async fn row_10_a_header_above_its_limit_or_of_nonsense_closes() {
    let edge = edge();
    let oversized = FrameHeader {
        kind: Kind::Request,
        stream: StreamId(1),
        header_bytes: limits::FRAME_HEADER_BYTES_MAX + 1,
        payload_bytes: 0,
    };
    let mut client = connect(&edge).await;
    client.send(&oversized.encode()).await;
    assert_eq!(code(&client.refused().await), ErrorCode::FrameTooLarge);

    let nonsense = FrameHeader { header_bytes: 4, ..oversized };
    let mut client = connect(&edge).await;
    client.send(&nonsense.encode()).await;
    client.send(&[0xff; 4]).await;
    assert_eq!(code(&client.refused().await), ErrorCode::Malformed);
}

#[tokio::test]
async fn row_11_a_long_client_id_is_refused_and_one_that_is_not_text_closes() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let long = Request { client_id: "x".repeat(256), ..metadata() };
    client.request(1, long, b"").await;
    let refusal = client.frame().await.response().error.expect("refused");
    assert_eq!(code(&refusal), ErrorCode::InvalidRequest);
    let control = Request { client_id: "a\0b".to_owned(), ..metadata() };
    client.request(2, control, b"").await;
    let refusal = client.frame().await.response().error.expect("refused");
    assert_eq!(code(&refusal), ErrorCode::InvalidRequest);
    assert_eq!(rejections(&edge, Reason::InvalidRequest), 2);
    client.request(2, metadata(), b"").await;
    assert!(client.frame().await.response().error.is_none(), "the connection goes on");

    let text = Request { client_id: "xxxx".to_owned(), ..metadata() };
    let mut bytes = request_frame(3, &text, b"");
    let at = bytes.windows(4).position(|window| window == b"xxxx").expect("the id");
    bytes[at..at + 2].copy_from_slice(&[0xc3, 0x28]);
    client.send(&bytes).await;
    assert_eq!(code(&client.refused().await), ErrorCode::Malformed);
}

#[tokio::test]
async fn row_12_bytes_behind_a_request_that_has_no_payload_close() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, metadata(), b"trailing").await;
    assert_eq!(code(&client.refused().await), ErrorCode::Malformed);
    assert_eq!(rejections(&edge, Reason::Malformed), 1);
}

#[tokio::test]
async fn row_13_a_stream_number_may_be_used_again_only_when_its_stream_has_ended() {
    let edge = edge();
    let mut client = connect(&edge).await;
    for _ in 0..2 {
        client.request(7, metadata(), b"").await;
        assert_eq!(client.frame().await.stream, 7);
    }
    client.request(7, produce("never"), b"x").await;
    client.request(7, metadata(), b"").await;
    assert_eq!(code(&client.refused().await), ErrorCode::Malformed);
}

#[tokio::test]
async fn frames_that_only_servers_send_close() {
    let edge = edge();
    for (kind, stream) in [(Kind::Hello, 0), (Kind::Data, 1), (Kind::Response, 1), (Kind::End, 1)] {
        let mut client = connect(&edge).await;
        let stream = StreamId(stream);
        let header = FrameHeader { kind, stream, header_bytes: 0, payload_bytes: 0 };
        client.send(&header.encode()).await;
        assert_eq!(code(&client.refused().await), ErrorCode::Malformed);
    }
}

#[tokio::test]
async fn row_38_a_version_that_is_not_spoken_is_told_which_are() {
    let edge = edge();
    let prefaces: [&[u8]; 2] = [b"RVN2\0\0\0\0", b"RVN1\x07\x09\0\0"];
    for preface in prefaces {
        let mut client = raw(&edge);
        client.send(preface).await;
        let error = client.refused().await;
        assert_eq!(code(&error), ErrorCode::UnsupportedVersion);
        assert!(error.message.contains("server speaks 1.0"), "{}", error.message);
    }
    assert_eq!(rejections(&edge, Reason::UnsupportedVersion), 2);
}

#[tokio::test]
async fn row_65_other_machines_are_refused_in_protected_mode_and_only_then() {
    let edge = edge();
    let mut client = raw_from(&edge, "192.0.2.7:40000");
    client.send(&Preface::OWN.encode()).await;
    let error = client.refused().await;
    assert_eq!(code(&error), ErrorCode::ProtectedMode);
    assert!(error.message.contains("server.protected_mode: false"), "{}", error.message);
    assert_eq!(rejections(&edge, Reason::ProtectedMode), 1);

    raw_from(&edge, "127.0.0.1:40000").shake_hands().await;
    let open = edge_with(Settings { protected_mode: false, ..Settings::default() });
    raw_from(&open, "192.0.2.7:40000").shake_hands().await;
    assert_eq!(open.telemetry.protected_mode.get(), 0);
    assert_eq!(edge.telemetry.protected_mode.get(), 1);
}
