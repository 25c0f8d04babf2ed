//! Holds the codec: every message in every version against itself, against an independent codec
//! (`peer`), against bytes that Kafka made (`fixtures`), and against bytes that nobody should send.

mod arbitrary;
mod fixtures;
mod frames;
mod hostile;
mod peer;

pub(super) use arbitrary::Arbitrary;

use bytes::Bytes;

use super::*;
use crate::random::Random;

/// How many messages of each kind and version are made.
const ROUNDS: u64 = 40;

/// Hands every request type there is to a macro.
macro_rules! with_each_request {
    ($call:ident) => {
        $call!(
            ProduceRequest,
            FetchRequest,
            ListOffsetsRequest,
            MetadataRequest,
            OffsetCommitRequest,
            OffsetFetchRequest,
            FindCoordinatorRequest,
            JoinGroupRequest,
            HeartbeatRequest,
            LeaveGroupRequest,
            SyncGroupRequest,
            DescribeGroupsRequest,
            ListGroupsRequest,
            SaslHandshakeRequest,
            ApiVersionsRequest,
            CreateTopicsRequest,
            DeleteTopicsRequest,
            DeleteRecordsRequest,
            InitProducerIdRequest,
            OffsetForLeaderEpochRequest,
            AddPartitionsToTxnRequest,
            AddOffsetsToTxnRequest,
            EndTxnRequest,
            WriteTxnMarkersRequest,
            TxnOffsetCommitRequest,
            DescribeConfigsRequest,
            AlterConfigsRequest,
            DescribeLogDirsRequest,
            SaslAuthenticateRequest,
            CreatePartitionsRequest,
            DeleteGroupsRequest,
            IncrementalAlterConfigsRequest,
            OffsetDeleteRequest,
            DescribeClusterRequest,
            DescribeProducersRequest,
            DescribeTransactionsRequest,
            ListTransactionsRequest,
            ConsumerGroupHeartbeatRequest,
            ConsumerGroupDescribeRequest,
            ListConfigResourcesRequest,
            DescribeTopicPartitionsRequest
        )
    };
}

/// What every message is.
trait Whole: Message + Arbitrary + Clone + std::fmt::Debug + PartialEq + Default {}
impl<M: Message + Arbitrary + Clone + std::fmt::Debug + PartialEq + Default> Whole for M {}

/// What a test does with every message at every version of it.
trait Visit {
    fn message<M: Whole>(&mut self, version: i16, response: bool);
}

/// Lets a test see every message at every version that is served.
fn visit(visitor: &mut impl Visit) {
    fn versions<R: Request + Whole>(visitor: &mut impl Visit)
    where
        R::Response: Whole,
    {
        for version in R::KEY.served() {
            visitor.message::<R>(version, false);
            visitor.message::<R::Response>(version, true);
        }
    }
    macro_rules! each {
        ($($request:ident),*) => {$(versions::<$request>(visitor);)*};
    }
    with_each_request!(each);
}

/// A message at some version with its bytes.
fn made<M: Message + Arbitrary>(random: &mut Random, version: i16) -> (M, Bytes) {
    let message = M::arbitrary(random, arbitrary::shape(M::KEY, version));
    let mut writer = Writer::default();
    let encoded = message.encode(&mut writer, version);
    encoded.unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
    let encoded = writer.finish();
    assert_eq!(encoded.splices, [], "records are at hand");
    (message, encoded.bytes)
}

#[test]
fn every_api_has_its_messages() {
    let mut keys = Vec::new();
    macro_rules! each {
        ($($request:ident),*) => {$(
            keys.push($request::KEY);
            assert_eq!(<$request as Message>::NAME, format!("{}Request", $request::KEY.name()));
            let response = <<$request as Request>::Response as Message>::NAME;
            assert_eq!(response, format!("{}Response", $request::KEY.name()));
        )*};
    }
    with_each_request!(each);
    assert_eq!(keys, ApiKey::ALL);
    for &api in ApiKey::ALL {
        assert_eq!(ApiKey::from_code(api.code()), Some(api));
        assert!(api.advertised().start() <= api.served().start());
        assert_eq!(api.advertised().end(), api.served().end());
    }
    assert_eq!(ApiKey::from_code(4), None, "brokers' own APIs are not spoken");
}

/// Every message at every version reads back, and its bytes are the only ones it has.
#[test]
fn messages_read_back_from_their_bytes() {
    struct RoundTrip(Random);
    impl Visit for RoundTrip {
        fn message<M: Whole>(&mut self, version: i16, _: bool) {
            for _ in 0..ROUNDS {
                let (message, bytes) = made::<M>(&mut self.0, version);
                let read = M::from_bytes(bytes, version);
                assert_eq!(read, Ok(message), "{} {version}", M::NAME);
            }
        }
    }
    visit(&mut RoundTrip(Random::new(1)));
}

/// A message cut short anywhere is refused, and so is one with a byte too many (bad-inputs.md 12).
#[test]
fn a_byte_too_few_or_too_many_is_refused() {
    struct Cut(Random);
    impl Visit for Cut {
        fn message<M: Whole>(&mut self, version: i16, _: bool) {
            for _ in 0..4 {
                let (_, bytes) = made::<M>(&mut self.0, version);
                for length in 0..bytes.len() {
                    let cut = M::from_bytes(bytes.slice(..length), version);
                    assert!(cut.is_err(), "{} {version} cut to {length}", M::NAME);
                }
                let longer = Bytes::from([&bytes[..], &[0]].concat());
                let read = M::from_bytes(longer, version);
                assert_eq!(read, Err(DecodeError::Trailing(1)), "{} {version}", M::NAME);
            }
        }
    }
    visit(&mut Cut(Random::new(2)));
}
