//! Credit, positions and resuming, against servers that fail.

use super::*;
use crate::client::fake::{CREDIT_BYTES, FakeListener, FakeServer, connected};
use crate::protocol::native::frame::{Kind, StreamId};
use crate::protocol::native::message::{self, ListOffsetsResult, Response, request::Operation};
use crate::record::{BatchBuilder, Compression, NewRecord};
use crate::types::{LeaderEpoch, Offset};

/// Stored batches with one record for each of `values`, from `base` on.
fn batch(base: i64, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(&NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() });
    }
    builder.build().stamp(Offset(base), LeaderEpoch(0)).to_bytes().to_vec()
}

fn result(partition: i32, data: &[u8]) -> FetchPartitionResult {
    FetchPartitionResult {
        topic: "t".to_owned(),
        partition,
        data_bytes: data.len() as u32,
        high_watermark: 100,
        ..FetchPartitionResult::default()
    }
}

async fn subscribed(server: &mut FakeServer) -> (StreamId, Vec<(i32, i64)>) {
    let asked = server.asked().await;
    let Operation::Subscribe(subscribe) = asked.operation else { panic!("not a subscription") };
    let places = subscribe.partitions.iter().map(|one| (one.partition, one.offset)).collect();
    (asked.stream, places)
}

async fn push(server: &mut FakeServer, stream: StreamId, data: &[u8]) {
    server.data(stream, vec![result(0, data)], data).await;
}

/// Leaves the grants to the server, so that credit can be counted.
fn config() -> ConsumerConfig {
    ConsumerConfig { window_bytes: 0, ..ConsumerConfig::default() }
}

async fn consumer(client: Client, config: ConsumerConfig, at: i64) -> Consumer {
    let start = vec![("t".to_owned(), 0, StartOffset::At(at))];
    Consumer::new(client, config, start).await.expect("nothing to look up")
}

async fn values(consumer: &mut Consumer) -> Vec<(i64, String)> {
    let records = consumer.next_batch().await.expect("records");
    let text = |value: Bytes| String::from_utf8(value.to_vec()).expect("text");
    let pair = |one: ConsumerRecord| (one.offset, text(one.value.expect("a value")));
    records.into_iter().map(pair).collect()
}

fn expected(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
    pairs.iter().map(|&(offset, value)| (offset, value.to_owned())).collect()
}

#[tokio::test]
async fn records_before_the_start_are_left_out_and_the_position_moves_on() {
    let (client, mut server) = connected().await;
    let mut consumer = consumer(client, config(), 6).await;
    let script = async {
        let (stream, places) = subscribed(&mut server).await;
        assert_eq!(places, [(0, 6)]);
        let two = [batch(5, &["a", "b", "c"]), batch(8, &["d"])].concat();
        push(&mut server, stream, &two).await;
    };
    let (records, ()) = tokio::join!(values(&mut consumer), script);
    assert_eq!(records, expected(&[(6, "b"), (7, "c"), (8, "d")]));
    assert_eq!(consumer.positions()[0].offset, 9);
    assert_eq!(consumer.positions()[0].high_watermark, 100);
}

#[tokio::test(start_paused = true)]
async fn after_a_disconnect_reading_goes_on_where_it_was() {
    let listener = FakeListener::new();
    let (client, mut server) = listener.connected().await;
    let mut consumer = consumer(client, config(), 0).await;
    let script = async {
        let (stream, _) = subscribed(&mut server).await;
        push(&mut server, stream, &batch(0, &["a", "b"])).await;
        server
    };
    let (records, server) = tokio::join!(values(&mut consumer), script);
    assert_eq!(records, expected(&[(0, "a"), (1, "b")]));
    let script = async {
        let mut server = listener.accept_after(server).await;
        let (stream, places) = subscribed(&mut server).await;
        assert_eq!(places, [(0, 2)]);
        push(&mut server, stream, &batch(2, &["c"])).await;
        server
    };
    let (records, _server) = tokio::join!(values(&mut consumer), script);
    assert_eq!(records, expected(&[(2, "c")]));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_subscription_and_errors_that_pass_are_survived() {
    let (client, mut server) = connected().await;
    let mut consumer = consumer(client, config(), 0).await;
    let script = async {
        let (stream, _) = subscribed(&mut server).await;
        server.send(Kind::End, stream, &Response::default(), b"").await;
        let (stream, _) = subscribed(&mut server).await;
        let error = message::Error::new(ErrorCode::ShuttingDown, "stopping");
        server.send(Kind::End, stream, &Response::failed(error), b"").await;
        let (stream, _) = subscribed(&mut server).await;
        let error = Some(message::Error::new(ErrorCode::LeaderNotAvailable, "electing"));
        let failed = FetchPartitionResult { error, ..result(0, b"") };
        server.data(stream, vec![failed], b"").await;
        let (fixed, ..) = server.frame().await;
        assert_eq!((fixed.kind, fixed.stream), (Kind::Cancel, stream));
        server.send(Kind::End, stream, &Response::default(), b"").await;
        let (stream, _) = subscribed(&mut server).await;
        push(&mut server, stream, &batch(0, &["a"])).await;
    };
    let (records, ()) = tokio::join!(values(&mut consumer), script);
    assert_eq!(records, expected(&[(0, "a")]));
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_is_gone_is_an_error_or_a_new_start() {
    for policy in [OnOutOfRange::Fail, OnOutOfRange::Earliest] {
        let (client, mut server) = connected().await;
        let config = ConsumerConfig { on_out_of_range: policy, ..config() };
        let mut consumer = consumer(client, config, 3).await;
        let script = async {
            let (stream, _) = subscribed(&mut server).await;
            let error = Some(message::Error::new(ErrorCode::OffsetOutOfRange, "starts at 7"));
            let failed = FetchPartitionResult { error, ..result(0, b"") };
            server.data(stream, vec![failed], b"").await;
            assert_eq!(server.frame().await.0.kind, Kind::Cancel);
            if policy == OnOutOfRange::Fail {
                return;
            }
            let asked = server.asked().await;
            let Operation::ListOffsets(list) = asked.operation else { panic!("not that") };
            assert_eq!(list.partitions[0].timestamp_ms, Offsets::EARLIEST);
            server.answer(asked.stream, offsets(&[(0, 7)])).await;
            let (stream, places) = subscribed(&mut server).await;
            assert_eq!(places, [(0, 7)]);
            push(&mut server, stream, &batch(7, &["a"])).await;
        };
        let (outcome, ()) = tokio::join!(consumer.next_batch(), script);
        match policy {
            OnOutOfRange::Fail => {
                let error = outcome.expect_err("gone");
                assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
            }
            _ => assert_eq!(outcome.expect("records")[0].offset, 7),
        }
    }
}

fn offsets(found: &[(i32, i64)]) -> ListOffsetsResult {
    let result = |&(partition, offset): &(i32, i64)| ListOffsetsPartitionResult {
        topic: "t".to_owned(),
        partition,
        offset,
        ..ListOffsetsPartitionResult::default()
    };
    ListOffsetsResult { partitions: found.iter().map(result).collect() }
}

#[tokio::test(start_paused = true)]
async fn starts_are_looked_up_together() {
    let (client, mut server) = connected().await;
    let start = [
        StartOffset::At(3),
        StartOffset::Earliest,
        StartOffset::Latest,
        StartOffset::Time(1_000),
        StartOffset::Time(2_000),
        StartOffset::Last(5),
        StartOffset::Last(5_000),
    ];
    let partitions = (0..).zip(start).map(|(partition, one)| ("t".to_owned(), partition, one));
    let script = async {
        let asked = server.asked().await;
        let Operation::ListOffsets(list) = asked.operation else { panic!("not that") };
        let times: Vec<_> = list.partitions.iter().map(|one| one.timestamp_ms).collect();
        assert_eq!(times, [-2, -1, 1_000, -1, 2_000, -1, -2, -1, -2, -1]);
        let places = list.partitions.iter().map(|one| one.partition);
        let answers = [10, 90, 40, 90, -1, 90, 10, 90, 10, 90];
        let found: Vec<_> = places.zip(answers).collect();
        server.answer(asked.stream, offsets(&found)).await;
    };
    let new = Consumer::new(client, config(), partitions.collect());
    let (consumer, ()) = tokio::join!(new, script);
    let consumer = consumer.expect("looked up");
    let found: Vec<_> = consumer.positions().iter().map(|position| position.offset).collect();
    assert_eq!(found, [3, 10, 90, 40, 90, 85, 10]);
}

#[tokio::test]
async fn damaged_batches_are_errors_that_name_their_place() {
    let (client, mut server) = connected().await;
    let mut consumer = consumer(client, config(), 0).await;
    let script = async {
        let (stream, _) = subscribed(&mut server).await;
        let mut data = batch(0, &["a"]);
        *data.last_mut().expect("bytes") ^= 1;
        push(&mut server, stream, &data).await;
    };
    let (outcome, ()) = tokio::join!(consumer.next_batch(), script);
    let error = outcome.expect_err("damaged").to_string();
    assert!(error.contains("t/0 at offset 0") && error.contains("CRC"), "{error}");
}

/// A batch whose offsets can not be is refused, not added up.
#[tokio::test]
async fn impossible_offsets_are_errors() {
    for base in [i64::MAX, -1] {
        let (client, mut server) = connected().await;
        let mut consumer = consumer(client, config(), 0).await;
        let script = async {
            let (stream, _) = subscribed(&mut server).await;
            let mut data = batch(0, &["a"]);
            data[..8].copy_from_slice(&base.to_be_bytes());
            push(&mut server, stream, &data).await;
        };
        let (outcome, ()) = tokio::join!(consumer.next_batch(), script);
        assert!(matches!(outcome, Err(ClientError::Record(_))), "{outcome:?}");
    }
}

/// The sum of what is unread never exceeds the window by more than a frame, and everything that
/// was taken comes back as credit.
#[tokio::test(start_paused = true)]
async fn credit_comes_back_as_data_is_taken() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe(Subscribe::default(), 0).await.expect("subscribed");
    let (stream, _) = subscribed(&mut server).await;
    let data = [7; 100];
    let (mut sent, mut returned) = (0, 0);
    for _ in 0..50 {
        assert!(returned + i64::from(CREDIT_BYTES) > sent, "the server may always go on");
        push(&mut server, stream, &data).await;
        sent += 100;
        let (_, share) = subscription.next().await.expect("open").expect("data");
        assert_eq!(share, data[..]);
        while let Some(bytes) = server.credit().await {
            returned += i64::from(bytes);
        }
        assert!(returned <= sent - 100, "what is still in hand is not paid for");
    }
    assert!(returned >= sent - 100 - i64::from(CREDIT_BYTES) / 4);
}

#[tokio::test]
async fn a_larger_window_is_granted_at_once() {
    let (client, mut server) = connected().await;
    let _subscription = client.subscribe(Subscribe::default(), 50_000).await.expect("subscribed");
    subscribed(&mut server).await;
    let (fixed, _, payload) = server.frame().await;
    assert_eq!((fixed.kind, &payload[..]), (Kind::Credit, &49_000u32.to_be_bytes()[..]));
}

#[tokio::test]
async fn data_beyond_the_credit_ends_the_connection() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe(Subscribe::default(), 0).await.expect("subscribed");
    let (stream, _) = subscribed(&mut server).await;
    // One frame may overdraw, since a batch can not be cut; a second one may not.
    let data = vec![7; CREDIT_BYTES as usize * 2];
    push(&mut server, stream, &data).await;
    push(&mut server, stream, &data).await;
    assert!(server.try_frame().await.is_none());
    assert!(subscription.next().await.expect("open").is_ok());
    let error = subscription.next().await.expect("an error").expect_err("overdrawn");
    assert!(error.to_string().contains("beyond the credit"), "{error}");
}

#[tokio::test]
async fn a_refused_subscription_yields_the_reason_and_shares_must_add_up() {
    let (client, mut server) = connected().await;
    let mut subscription = client.subscribe(Subscribe::default(), 0).await.expect("subscribed");
    let (stream, _) = subscribed(&mut server).await;
    let error = message::Error::new(ErrorCode::InvalidRequest, "no partitions");
    server.send(Kind::End, stream, &Response::failed(error), b"").await;
    let error = subscription.next().await.expect("an error").expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::InvalidRequest));
    assert!(subscription.next().await.is_none());

    let mut subscription = client.subscribe(Subscribe::default(), 0).await.expect("subscribed");
    let (stream, _) = subscribed(&mut server).await;
    server.data(stream, vec![result(0, b"123")], b"1234").await;
    let error = subscription.next().await.expect("an error").expect_err("one byte too many");
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_dropped_subscription_is_cancelled() {
    let (client, mut server) = connected().await;
    let subscription = client.subscribe(Subscribe::default(), 0).await.expect("subscribed");
    let (stream, _) = subscribed(&mut server).await;
    drop(subscription);
    let (fixed, ..) = server.frame().await;
    assert_eq!((fixed.kind, fixed.stream), (Kind::Cancel, stream));
}
