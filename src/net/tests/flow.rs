//! Order, bounds and credit.

use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::limits;
use crate::protocol::error::ErrorCode;

#[tokio::test]
async fn answers_come_as_they_are_ready_and_requests_start_as_they_arrive() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, produce("later"), b"first").await;
    client.request(2, produce("ready"), b"second").await;
    client.request(3, metadata(), b"").await;
    assert_eq!((client.frame().await.stream, client.frame().await.stream), (2, 3));
    edge.service.release.add_permits(1);
    let frame = client.frame().await;
    assert_eq!((frame.kind, frame.stream), (Kind::Response, 1));
    assert_eq!(*edge.service.produced.lock().expect("lock"), [&b"first"[..], b"second"]);
}

#[tokio::test]
async fn row_13_ten_thousand_pipelined_requests_are_answered_with_a_bound_under_way() {
    const COUNT: u32 = 10_000;
    let edge = edge();
    let client = connect(&edge).await;
    let (mut read, mut write) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        for stream in 1..=COUNT {
            let bytes = request_frame(stream, &produce("later"), &stream.to_be_bytes());
            write.write_all(&bytes).await.expect("sent");
        }
        write
    });
    settle().await;
    let service = &edge.service;
    assert_eq!(service.waiting.load(SeqCst), limits::CONNECTION_IN_FLIGHT_MAX);
    service.release.add_permits(COUNT as usize);
    let mut seen = std::collections::BTreeSet::new();
    let mut reader = Client::over(tokio::io::join(&mut read, tokio::io::sink()));
    while seen.len() < COUNT as usize {
        assert!(seen.insert(reader.frame().await.stream), "one answer each");
    }
    sender.await.expect("all sent");
    assert_eq!(service.waiting_max.load(SeqCst), limits::CONNECTION_IN_FLIGHT_MAX);
    let produced = service.produced.lock().expect("lock");
    assert!(produced.iter().zip(1..=COUNT).all(|(payload, n)| payload[..] == n.to_be_bytes()));
}

#[tokio::test]
async fn a_payload_of_any_size_arrives_whole_however_it_is_cut() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let sizes = [0, 1, 4_080, 4_096, 65_535, 65_536, 70_000, 1 << 20, 3 << 20];
    let payloads: Vec<Vec<u8>> =
        sizes.iter().map(|&size| (0..size).map(|at| (at % 251) as u8).collect()).collect();
    for cut in [7, 4_096, 100_000, usize::MAX] {
        for (payload, stream) in payloads.iter().zip(1..) {
            let bytes = request_frame(stream, &produce("ready"), payload);
            for part in bytes.chunks(cut.max(payload.len() / 64)) {
                client.send(part).await;
            }
            assert_eq!(client.frame().await.stream, stream);
        }
        let produced = std::mem::take(&mut *edge.service.produced.lock().expect("lock"));
        assert!(produced == payloads);
    }
}

#[tokio::test]
async fn a_subscription_sends_within_its_credit_and_goes_on_when_it_is_returned() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, subscribe("endless", 40), b"").await;
    // Credit of 100: after 40 and 80 there is some left, so a whole frame still goes.
    for number in 0..3 {
        let frame = client.frame().await;
        assert_eq!((frame.kind, frame.stream, frame.payload[0]), (Kind::Data, 1, number));
    }
    client.is_silent().await;
    let mut credit = BytesMut::new();
    frame::put_credit(&mut credit, StreamId(1), 20);
    client.send(&credit).await;
    client.is_silent().await;
    client.send(&credit).await;
    assert_eq!(client.frame().await.payload[0], 3);
    client.is_silent().await;
}

#[tokio::test]
async fn a_reader_slow_on_one_stream_holds_up_no_other() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, subscribe("endless", 200), b"").await;
    client.request(2, subscribe("endless", 1), b"").await;
    client.request(3, metadata(), b"").await;
    let mut frames = [0; 4];
    for _ in 0..1 + 100 + 1 {
        frames[client.frame().await.stream as usize] += 1;
    }
    assert_eq!(frames, [0, 1, 100, 1]);
    client.is_silent().await;
}

#[tokio::test]
async fn a_subscription_ends_once_by_itself_by_cancel_or_by_refusal() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let mut cancel = BytesMut::new();
    frame::put_cancel(&mut cancel, StreamId(1));
    // Waiting for data; out of credit; over by itself.
    for (topic, size, data) in [("quiet", 1, 0), ("endless", 100, 1), ("short", 1, 1)] {
        client.request(1, subscribe(topic, size), b"").await;
        for _ in 0..data {
            assert_eq!(client.frame().await.kind, Kind::Data);
        }
        if topic != "short" {
            client.is_silent().await;
            client.send(&cancel).await;
        }
        let end = client.frame().await;
        assert_eq!((end.kind, end.stream), (Kind::End, 1), "{topic}");
        assert!(end.response().error.is_none());
        assert_eq!(edge.service.waiting.load(SeqCst), 0, "the feed is dropped");
        // What crosses the end is ignored.
        client.send(&cancel).await;
        client.is_silent().await;
    }
    client.request(1, subscribe("refused", 1), b"").await;
    let end = client.frame().await;
    let error = end.response().error.expect("refused").error_code();
    assert_eq!((end.kind, error), (Kind::End, Some(ErrorCode::UnknownTopicOrPartition)));
}

#[tokio::test]
async fn a_waiting_fetch_can_be_cancelled_and_a_produce_can_not() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, fetch("never"), b"").await;
    client.request(2, produce("later"), b"x").await;
    let mut cancels = BytesMut::new();
    frame::put_cancel(&mut cancels, StreamId(2));
    frame::put_cancel(&mut cancels, StreamId(1));
    client.send(&cancels).await;
    let frame = client.frame().await;
    assert_eq!((frame.kind, frame.stream), (Kind::Response, 1));
    assert!(frame.response().error.is_some());
    client.is_silent().await;
    edge.service.release.add_permits(1);
    let frame = client.frame().await;
    assert_eq!((frame.stream, frame.response().error), (2, None));
}

#[tokio::test]
async fn without_room_in_the_node_requests_wait_and_pings_behind_them_too() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let all = edge.room.free_bytes();
    let held = edge.room.take_all();
    client.request(1, produce("ready"), b"x").await;
    client.is_silent().await;
    drop(held);
    assert_eq!(client.frame().await.stream, 1);
    client.request(2, produce("later"), b"x").await;
    settle().await;
    assert!(edge.room.free_bytes() < all, "held while it is under way");
    edge.service.release.add_permits(1);
    client.frame().await;
    settle().await;
    assert_eq!(edge.room.free_bytes(), all);
}

/// What comes in pieces, because there is little room or the frame is large, is whole in the end.
#[tokio::test]
async fn a_large_payload_arrives_whole_with_little_room_and_with_plenty() {
    let payload: Vec<u8> =
        (0..13_u32 << 20).map(|at| (at.wrapping_mul(0x9E37) >> 9) as u8).collect();
    let small = &payload[..300_000];
    for left in [usize::MAX, 1 << 20, 0] {
        let edge = edge();
        let held = edge.room.leave(left);
        let mut client = connect(&edge).await;
        for (stream, payload) in [(1, small), (2, &payload[..]), (3, small)] {
            client.request(stream, produce("ready"), payload).await;
        }
        for stream in 1..=3 {
            assert_eq!(client.frame().await.stream, stream);
        }
        let produced = edge.service.produced.lock().expect("lock");
        assert!(produced[0] == small && produced[1] == payload && produced[2] == small, "{left}");
        drop(held);
    }
}

/// Announces the largest frame there may be and sends `sent` bytes of it.
async fn giant(edge: &Arc<Edge<Fake>>, sent: usize) -> Client<UnixStream> {
    let mut client = connect(edge).await;
    let payload = limits::FRAME_BYTES_MAX - 1_000;
    let mut bytes = BytesMut::new();
    frame::put_frame(&mut bytes, Kind::Request, StreamId(1), &produce("ready"), payload);
    client.send(&bytes).await;
    client.send(&vec![7; sent]).await;
    client
}

/// What was announced and does not come is nobody else's problem.
#[tokio::test]
async fn stalled_giants_hold_up_nobody() {
    let edge = edge();
    let all = edge.room.free_bytes();
    let mut giants = Vec::new();
    for sent in [0, 0, 0, 0, 0, 100_000, 100_000, 100_000, 100_000, 100_000] {
        giants.push(giant(&edge, sent).await);
    }
    settle().await;
    let held = all - edge.room.free_bytes();
    assert!(held <= 5 * limits::FRAME_BYTES_ORDINARY, "{held} bytes for nothing");
    let mut honest = connect(&edge).await;
    for (stream, bytes) in [(1, 10), (2, 1 << 20), (3, 20 << 20)] {
        honest.request(stream, produce("ready"), &vec![1; bytes]).await;
        assert_eq!(honest.frame().await.stream, stream);
    }
    // And who goes on after all is served as well.
    let mut late = giants.pop().expect("a giant");
    late.send(&vec![7; limits::FRAME_BYTES_MAX - 1_000 - 100_000]).await;
    assert_eq!(late.frame().await.stream, 1);
}

/// Even when the room is full of what really came, one after the other gets through, and who holds
/// the last of it without using it loses it soon.
#[tokio::test(start_paused = true)]
async fn a_full_room_is_passed_through_one_by_one_and_the_slow_lose_their_place() {
    let edge = edge();
    let full = edge.room.leave(0);
    let begun = tokio::time::Instant::now();
    let mut stalled = giant(&edge, 100_000).await;
    settle().await;
    let mut honest = connect(&edge).await;
    honest.request(1, produce("ready"), &vec![1; 1 << 20]).await;
    assert_eq!(honest.frame().await.stream, 1);
    let reserve = Duration::from_millis(limits::FRAME_ARRIVAL_RESERVE_MS_MAX);
    assert!(begun.elapsed() >= reserve && begun.elapsed() < reserve + 3 * SECOND);
    assert_eq!(stalled.refused().await.error_code(), Some(ErrorCode::RequestTimedOut));
    assert_eq!(rejections(&edge, Reason::SlowBody), 1);
    drop(full);
}

/// Rows 2 and 3 where there is little room, so that reading pauses in between.
#[tokio::test(start_paused = true)]
async fn pauses_are_not_charged_to_a_frame_and_do_not_begin_its_time_anew() {
    let free = limits::ARRIVING_BYTES_FREE;
    for is_slow in [false, true] {
        let edge = edge();
        let _reserve = edge.room.take_reserve();
        let mut steps = vec![edge.room.leave(4 * free), edge.room.leave(2 * free)];
        let mut client = connect(&edge).await;
        let frame = request_frame(1, &produce("ready"), &vec![7; 1 << 20]);
        steps.push(edge.room.leave(0));
        client.send(&frame[..free]).await;
        client.is_silent().await;
        drop(steps.pop());
        client.is_silent().await;
        tokio::time::sleep(20 * SECOND).await;
        client.send(&frame[free..2 * free]).await;
        client.is_silent().await;
        tokio::time::sleep(100 * SECOND).await;
        drop(steps.pop());
        client.is_silent().await;
        let begun = tokio::time::Instant::now();
        if is_slow {
            assert_eq!(client.refused().await.error_code(), Some(ErrorCode::RequestTimedOut));
            assert!(begun.elapsed() >= 9 * SECOND && begun.elapsed() < 12 * SECOND, "30 in all");
        } else {
            tokio::time::sleep(9 * SECOND).await;
            drop(steps);
            client.send(&frame[2 * free..]).await;
            assert_eq!(client.frame().await.stream, 1);
        }
        assert_eq!(rejections(&edge, Reason::SlowBody), u64::from(is_slow));
    }
}

/// Requests wait then; what may end a stream, and so let them go on, does not.
#[tokio::test(start_paused = true)]
async fn with_every_stream_taken_all_frames_but_requests_are_heard() {
    let edge = edge();
    let mut client = connect(&edge).await;
    client.request(1, subscribe("endless", 100), b"").await;
    assert_eq!(client.frame().await.kind, Kind::Data);
    let last = limits::CONNECTION_STREAMS_MAX as u32;
    for stream in 2..=last {
        client.request(stream, fetch("never"), b"").await;
    }
    settle().await;
    assert_eq!(edge.service.waiting.load(SeqCst), limits::CONNECTION_STREAMS_MAX);

    let mut others = BytesMut::new();
    frame::put_ping(&mut others, *b"12345678");
    frame::put_credit(&mut others, StreamId(1), 100);
    frame::put_cancel(&mut others, StreamId(7));
    client.send(&others).await;
    let heard = [client.frame().await, client.frame().await, client.frame().await];
    let mut heard = heard.map(|frame| (frame.kind, frame.stream));
    heard.sort_unstable();
    assert_eq!(heard, [(Kind::Response, 7), (Kind::Data, 1), (Kind::Pong, 0)]);

    client.request(7, fetch("never"), b"").await;
    client.request(8_000, metadata(), b"").await;
    client.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttled_client_is_not_read_for_as_long_as_it_was_told() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let begun = tokio::time::Instant::now();
    client.request(1, produce("throttled"), b"x").await;
    client.frame().await;
    client.request(2, metadata(), b"").await;
    client.frame().await;
    assert!(begun.elapsed() >= SECOND && begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_ping_is_answered_with_its_bytes() {
    let edge = edge();
    let mut client = connect(&edge).await;
    let mut ping = BytesMut::new();
    frame::put_ping(&mut ping, *b"12345678");
    client.send(&ping).await;
    let pong = client.frame().await;
    assert_eq!((pong.kind, &pong.payload[..]), (Kind::Pong, &b"12345678"[..]));
}
