//! Mutated and random frames of Kafka's protocol from a seed, for a while: the broker neither
//! panics nor grows, and goes on serving others. `RIVVEN_FUZZ_SEED` and `RIVVEN_FUZZ_SECONDS`
//! choose another walk.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, FetchRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, ProduceRequest, ProducerId, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rivvend::random::Random;

use super::frames::Victim;
use super::fuzz::{mutate, mutated};
use super::kafka_wire::{KafkaWire, framed_bytes, request};
use super::load::batch;
use super::rounds;

const TOPIC: &str = "fuzzed";
const MIB: u64 = 1 << 20;
const GROUP_MS: i32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_kafka_frames_neither_stop_the_broker_nor_make_it_grow() {
    let seed = rounds("RIVVEN_FUZZ_SEED", 1) as u64;
    let until = Instant::now() + Duration::from_secs(rounds("RIVVEN_FUZZ_SECONDS", 10) as u64);
    eprintln!("RIVVEN_FUZZ_SEED={seed}");
    // Groups that wait for nobody long, or the walk would be spent in waiting for members.
    let victim = Victim::with(|setup| {
        let setup = setup.env("RIVVEN_GROUP_INITIAL_REBALANCE_DELAY", "0ms");
        setup.env("RIVVEN_GROUP_SESSION_TIMEOUT_MIN", "1ms")
    })
    .await;
    let corpus = corpus();
    let mut random = Random::new(seed);
    let mut connections = 0;
    while Instant::now() < until {
        let mut wire = KafkaWire::connect(victim.broker.native);
        let mut bytes = Vec::new();
        for _ in 0..1 + random.below(4) {
            let frame = &corpus[random.below(corpus.len() as u64) as usize];
            bytes.extend(match random.chance(1, 10) {
                true => noise(&mut random),
                false => mutated(frame, &corpus, &mut random),
            });
        }
        if random.chance(1, 50) {
            mutate(&mut bytes, &mut random);
        }
        wire.send(&bytes);
        wire.finish();
        let answered = wire.rest(Duration::from_secs(60));
        assert!(answered.is_some(), "a connection that sends no more ends: {connections}");
        connections += 1;
    }
    eprintln!("{connections} connections of mutated frames");
    victim.assert_unharmed(512 * MIB).await;
}

/// A frame of an API and a version that may exist, around anything.
fn noise(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0, random.below(93) as u8, 0, random.below(18) as u8];
    bytes.extend((0..random.below(200)).map(|_| random.next_u64() as u8));
    framed_bytes(&bytes)
}

/// Sound frames of everything that is served, in an old and a new version.
fn corpus() -> Vec<Vec<u8>> {
    [of_topics(), of_groups()].concat()
}

fn of_groups() -> Vec<Vec<u8>> {
    let group = || GroupId(StrBytes::from_static_str("g"));
    let member = || StrBytes::from_static_str("m");
    let kind = || StrBytes::from_static_str("consumer");
    let assignor = || StrBytes::from_static_str("range");
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(assignor())
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
    let join = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(GROUP_MS)
        .with_rebalance_timeout_ms(GROUP_MS)
        .with_protocol_type(kind())
        .with_protocols(vec![protocol]);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member())
        .with_assignment(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
    let sync = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(1)
        .with_member_id(member())
        .with_protocol_type(Some(kind()))
        .with_protocol_name(Some(assignor()))
        .with_assignments(vec![assignment]);
    let beat = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(1)
        .with_member_id(member());
    let leaving = MemberIdentity::default().with_member_id(member());
    let leave = LeaveGroupRequest::default().with_group_id(group());
    let name = || TopicName(StrBytes::from_static_str(TOPIC));
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic =
        OffsetCommitRequestTopic::default().with_name(name()).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]);
    let all = OffsetFetchRequest::default().with_group_id(group()).with_topics(None);
    let asked = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let find = FindCoordinatorRequest::default();
    let described = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let deleted = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    vec![
        request(30, 0, &join),
        request(31, 4, &join),
        request(32, 9, &join.clone().with_group_instance_id(Some(member()))),
        request(33, 0, &sync),
        request(34, 5, &sync),
        request(35, 0, &beat),
        request(36, 4, &beat),
        request(37, 0, &leave.clone().with_member_id(member())),
        request(38, 5, &leave.with_members(vec![leaving])),
        request(39, 2, &commit),
        request(40, 9, &commit),
        request(41, 2, &all),
        request(42, 9, &OffsetFetchRequest::default().with_groups(vec![asked])),
        request(43, 0, &find.clone().with_key(member())),
        request(44, 6, &find.with_coordinator_keys(vec![member()])),
        request(45, 0, &described),
        request(46, 6, &described),
        request(47, 0, &ListGroupsRequest::default()),
        request(48, 5, &ListGroupsRequest::default()),
        request(49, 0, &deleted),
        request(50, 2, &deleted),
        request(51, 0, &OffsetDeleteRequest::default().with_group_id(group())),
    ]
}

fn of_topics() -> Vec<Vec<u8>> {
    let name = || TopicName(StrBytes::from_static_str(TOPIC));
    let records: Bytes = batch(&[b"a value", b"another"]);
    let partition = PartitionProduceData::default().with_records(Some(records));
    let data = TopicProduceData::default().with_name(name()).with_partition_data(vec![partition]);
    let produce = |acks| {
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(100);
        request.with_topic_data(vec![data.clone()])
    };
    let partition = FetchPartition::default().with_partition_max_bytes(9_999);
    let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
    let fetch = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_session_epoch(-1)
        .with_max_bytes(9_999)
        .with_topics(vec![topic]);
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let metadata = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
    let list = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let topic = CreatableTopic::default().with_name(name()).with_num_partitions(1);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true);
    let init = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1));
    let partitions = CreatePartitionsRequest::default().with_validate_only(true);
    let alter = IncrementalAlterConfigsRequest::default().with_validate_only(true);
    vec![
        request(1, 0, &ApiVersionsRequest::default()),
        request(2, 3, &ApiVersionsRequest::default()),
        request(3, 1, &metadata),
        request(4, 12, &metadata),
        request(5, 3, &produce(-1)),
        request(6, 12, &produce(1)),
        request(7, 9, &produce(0)),
        request(8, 4, &fetch),
        request(9, 12, &fetch.clone().with_session_epoch(-1)),
        request(10, 1, &list),
        request(11, 7, &list),
        request(12, 2, &create),
        request(13, 7, &create),
        request(14, 0, &partitions),
        request(15, 1, &alter),
        request(16, 4, &init),
        request(17, 4, &DescribeConfigsRequest::default()),
        request(18, 1, &DescribeClusterRequest::default()),
        request(19, 2, &DeleteRecordsRequest::default()),
    ]
}
