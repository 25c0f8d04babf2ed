//! Bad input about consumer groups in Kafka's protocol against the live broker, and what there is
//! to measure of groups. Requests are made by an independent codec.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest,
    SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::broker::wait_until;
use super::frames::{TOPIC, Victim};
use super::kafka_frames::text;
use super::kafka_wire::{KafkaWire, request};

const MIB: u64 = 1 << 20;
/// Before members were given their ids first.
const JOIN_AT_ONCE: i16 = 3;
const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const COMMIT: i16 = 9;

const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const REBALANCE_IN_PROGRESS: i16 = 27;
const INVALID_COMMIT_OFFSET_SIZE: i16 = 28;
const INVALID_REQUEST: i16 = 42;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const FENCED_INSTANCE_ID: i16 = 82;

/// A broker whose groups do not wait for members that may come.
async fn victim_with(size_max: usize) -> Victim {
    let env = |setup: super::broker::Setup| {
        let setup = setup.env("RIVVEN_GROUP_INITIAL_REBALANCE_DELAY", "0ms");
        setup.env("RIVVEN_GROUP_SIZE_MAX", size_max)
    };
    Victim::with(env).await
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A commit of one offset by nobody in particular.
fn commit_of(of: &str, offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(group(of)).with_topics(vec![topic])
}

fn commit(wire: &mut KafkaWire, request: &OffsetCommitRequest) -> i16 {
    let answer = wire.ask(COMMIT, request);
    answer.topics[0].partitions[0].error_code
}

/// What a group has committed of the topic's first partition, with its metadata.
fn committed(wire: &mut KafkaWire, of: &str) -> (i64, String) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(of))
        .with_member_id(None)
        .with_topics(Some(vec![topic]));
    let answer = wire.ask(9, &OffsetFetchRequest::default().with_groups(vec![asked]));
    let partition = &answer.groups[0].topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    (partition.committed_offset, partition.metadata.as_deref().unwrap_or_default().to_owned())
}

fn join_of(member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(300_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn sync_of(joined: &JoinGroupResponse, assignment: Bytes) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(assignment);
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(vec![assignment])
}

fn heartbeat_of(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

/// A connection to a broker that has read what there is of the group.
fn coordinated(victim: &Victim) -> KafkaWire {
    let mut wire = victim.kafka();
    let find = FindCoordinatorRequest::default().with_key(text("g"));
    let describe = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    wait_until("the group has a coordinator", || wire.ask(3, &find).error_code == 0);
    wait_until("it has read its log", || wire.ask(5, &describe).groups[0].error_code == 0);
    wire
}

/// How many members the group has.
fn members(wire: &mut KafkaWire) -> usize {
    let describe = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    let answer = wire.ask(5, &describe);
    answer.groups[0].members.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_34_offsets_and_metadata_that_can_not_be_committed() {
    let victim = Victim::new().await;
    let mut wire = coordinated(&victim);
    let [large, long, more, most] = [1 << 20, 32_768, 4_097, 4_096].map(|bytes| "x".repeat(bytes));
    for (what, offset, metadata, expected) in [
        ("-2", -2, "", INVALID_COMMIT_OFFSET_SIZE),
        ("-1", -1, "", INVALID_COMMIT_OFFSET_SIZE),
        ("the least there is", i64::MIN, "", INVALID_COMMIT_OFFSET_SIZE),
        ("1 MB of metadata", 1, large.as_str(), OFFSET_METADATA_TOO_LARGE),
        ("longer than any other text", 1, long.as_str(), OFFSET_METADATA_TOO_LARGE),
        ("a byte too many", 1, more.as_str(), OFFSET_METADATA_TOO_LARGE),
        ("as much as there may be", 1, most.as_str(), 0),
    ] {
        assert_eq!(commit(&mut wire, &commit_of("g", offset, metadata)), expected, "{what}");
    }
    assert_eq!(committed(&mut wire, "g"), (1, most), "what was refused changed nothing");
    let refused = "rivven_group_offset_commits_refused_total{reason=\"invalid\"}";
    assert_eq!(victim.broker.scraped(refused), Some(6.0));

    // Above the high watermark: taken, as in Kafka, and flagged.
    for offset in [2, i64::MAX] {
        assert_eq!(commit(&mut wire, &commit_of("g", offset, "m")), 0, "{offset}");
        assert_eq!(committed(&mut wire, "g"), (offset, "m".to_owned()));
    }
    assert_eq!(victim.rejections("offset_out_of_range").await, 2);
    let flagged = "rivven_group_offset_commits_above_watermark_total";
    assert_eq!(victim.broker.scraped(flagged), Some(2.0));
    // Nor does what is worked out from it go wrong.
    let lag = format!("rivven_group_lag_records{{group=\"g\",topic=\"{TOPIC}\"}}");
    assert_eq!(victim.broker.scraped(&lag), Some(0.0));
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_sessions_of_a_millisecond_or_a_day() {
    const DAY_MS: i32 = 86_400_000;
    let victim = Victim::new().await;
    let mut wire = coordinated(&victim);
    for version in 0..=JOIN {
        for ms in [1, 0, -1, i32::MIN, 5_999, 1_800_001, DAY_MS, i32::MAX] {
            let answer = wire.ask(version, &join_of("").with_session_timeout_ms(ms));
            assert_eq!(answer.error_code, INVALID_SESSION_TIMEOUT, "{ms} ms in {version}");
        }
    }
    assert_eq!(members(&mut wire), 0);
    assert_eq!(victim.rejections("invalid_request").await, 80);
    victim.assert_unharmed(32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_a_group_that_is_full_takes_nobody_else() {
    const SIZE_MAX: usize = 5;
    let victim = victim_with(SIZE_MAX).await;
    let mut first = coordinated(&victim);
    let joined = first.ask(JOIN_AT_ONCE, &join_of(""));
    assert_eq!(joined.error_code, 0);
    // The others wait for the first one to join again.
    let waiting: Vec<KafkaWire> = (1..SIZE_MAX)
        .map(|_| {
            let mut wire = victim.kafka();
            wire.send(&request(1, JOIN_AT_ONCE, &join_of("")));
            wire
        })
        .collect();
    wait_until("all have come", || members(&mut first) == SIZE_MAX);
    let rejoined = first.ask(JOIN_AT_ONCE, &join_of(&joined.member_id));
    assert_eq!((rejoined.error_code, rejoined.members.len()), (0, SIZE_MAX));
    let mut late = victim.kafka();
    for version in [0, JOIN_AT_ONCE, 4, JOIN] {
        let answer = late.ask(version, &join_of(""));
        assert_eq!(answer.error_code, GROUP_MAX_SIZE_REACHED, "{version}");
    }
    assert_eq!(members(&mut first), SIZE_MAX);
    assert_eq!(victim.rejections("policy").await, 4);
    drop(waiting);
    victim.assert_unharmed(32 * MIB).await;
}

/// Clients that only ever ask for an id, as those do whose answers get lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_a_hundred_thousand_members_are_refused_by_the_bound() {
    const MANY: i32 = 100_000;
    const SIZE_MAX: usize = 1_000;
    let victim = victim_with(SIZE_MAX).await;
    let mut wire = coordinated(&victim);
    let mut sender = wire.twin();
    let (mut given, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for ids in (0..MANY).collect::<Vec<i32>>().chunks(1_000) {
                let frames: Vec<u8> =
                    ids.iter().flat_map(|id| request(*id, JOIN, &join_of(""))).collect();
                sender.send(&frames);
            }
        });
        for id in 0..MANY {
            let (answered, answer) = wire.answer::<JoinGroupRequest>(JOIN);
            assert_eq!(answered, id);
            match answer.error_code {
                MEMBER_ID_REQUIRED => given += 1,
                GROUP_MAX_SIZE_REACHED => refused += 1,
                other => panic!("{other}"),
            }
        }
    });
    assert_eq!((given, refused), (SIZE_MAX as i32, MANY - SIZE_MAX as i32));
    assert_eq!(members(&mut wire), 0, "an id is no member yet");
    victim.assert_unharmed(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_blobs_of_ten_megabytes_are_refused_and_the_group_goes_on() {
    let blob = || Bytes::from(vec![7; 10 << 20]);
    let victim = victim_with(10).await;
    let mut wire = coordinated(&victim);
    let mut join = join_of("");
    join.protocols[0].metadata = blob();
    for version in [0, JOIN] {
        assert_eq!(wire.ask(version, &join).error_code, INVALID_REQUEST, "{version}");
    }
    let joined = wire.ask(JOIN_AT_ONCE, &join_of(""));
    assert_eq!(joined.error_code, 0);
    for version in [0, SYNC] {
        let answer = wire.ask(version, &sync_of(&joined, blob()));
        assert_eq!(answer.error_code, INVALID_REQUEST, "{version}");
        assert!(answer.assignment.is_empty());
    }
    let answer = wire.ask(SYNC, &sync_of(&joined, Bytes::from_static(b"given")));
    assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"given"[..]));
    assert_eq!(wire.ask(HEARTBEAT, &heartbeat_of(&joined)).error_code, 0);
    victim.assert_unharmed(128 * MIB).await;
}

/// KIP-345: whoever came later under the name of an instance has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_36_a_static_member_that_was_replaced_is_fenced() {
    let victim = victim_with(10).await;
    let mut wire = coordinated(&victim);
    let instance = || Some(StrBytes::from_static_str("i"));
    let join = |member: &str| join_of(member).with_group_instance_id(instance());
    let old = wire.ask(JOIN, &join(""));
    assert_eq!(old.error_code, 0);
    let sync = |of: &JoinGroupResponse| {
        sync_of(of, Bytes::from_static(b"given")).with_group_instance_id(instance())
    };
    assert_eq!(wire.ask(SYNC, &sync(&old)).error_code, 0);
    let new = wire.ask(JOIN, &join(""));
    assert_eq!((new.error_code, new.generation_id), (0, old.generation_id));
    assert_ne!(new.member_id, old.member_id);

    let beat = |of: &JoinGroupResponse| heartbeat_of(of).with_group_instance_id(instance());
    let commit_by = |of: &JoinGroupResponse| {
        commit_of("g", 1, "")
            .with_member_id(of.member_id.clone())
            .with_generation_id_or_member_epoch(of.generation_id)
            .with_group_instance_id(instance())
    };
    assert_eq!(wire.ask(HEARTBEAT, &beat(&old)).error_code, FENCED_INSTANCE_ID);
    assert_eq!(wire.ask(SYNC, &sync(&old)).error_code, FENCED_INSTANCE_ID);
    assert_eq!(wire.ask(JOIN, &join(&old.member_id)).error_code, FENCED_INSTANCE_ID);
    assert_eq!(commit(&mut wire, &commit_by(&old)), FENCED_INSTANCE_ID);
    let leaving = MemberIdentity::default()
        .with_member_id(old.member_id.clone())
        .with_group_instance_id(instance());
    let leave = LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![leaving]);
    assert_eq!(wire.ask(5, &leave).members[0].error_code, FENCED_INSTANCE_ID);
    assert_eq!(victim.rejections("fenced").await, 5);
    // Without the instance's name it is just nobody.
    assert_eq!(wire.ask(HEARTBEAT, &heartbeat_of(&old)).error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(wire.ask(HEARTBEAT, &beat(&new)).error_code, 0);
    assert_eq!(commit(&mut wire, &commit_by(&new)), 0);
    victim.assert_unharmed(32 * MIB).await;
}

/// The rebalance it waited for may take as long as its members like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_while_it_joins_leaves_no_connection_behind() {
    let victim = victim_with(100).await;
    let mut first = coordinated(&victim);
    let joined = first.ask(JOIN_AT_ONCE, &join_of(""));
    let open = || victim.broker.scraped("rivven_connections{listener=\"client\"}");
    let before = open();
    let leaving: Vec<KafkaWire> = (0..20)
        .map(|_| {
            let mut wire = victim.kafka();
            let join = join_of("").with_rebalance_timeout_ms(i32::MAX);
            wire.send(&request(1, JOIN_AT_ONCE, &join));
            wire
        })
        .collect();
    wait_until("they have joined", || members(&mut first) == 21);
    assert_eq!(open(), before.map(|count| count + 20.0));
    drop(leaving);
    wait_until("their connections are closed", || open() == before);
    let answer = first.ask(HEARTBEAT, &heartbeat_of(&joined));
    assert_eq!(answer.error_code, REBALANCE_IN_PROGRESS, "the group goes on");
}

/// What an operator sees of groups, from the first member to the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_measured_as_they_come_read_and_go() {
    let victim = victim_with(10).await;
    let see = |series: &str| victim.broker.scraped(series);
    let groups = |state: &str| see(&format!("rivven_groups{{state=\"{state}\"}}"));
    let began =
        |reason: &str| see(&format!("rivven_group_rebalances_total{{reason=\"{reason}\"}}"));
    let lag = format!("rivven_group_lag_records{{group=\"g\",topic=\"{TOPIC}\"}}");
    assert_eq!((groups("Stable"), see("rivven_group_members")), (Some(0.0), Some(0.0)));
    assert_eq!((see(&lag), began("member_joined")), (None, Some(0.0)));

    let mut wire = coordinated(&victim);
    let ready = "rivven_group_coordinators{state=\"ready\"}";
    wait_until("all coordinators are ready", || see(ready) == Some(16.0));
    let joined = wire.ask(JOIN_AT_ONCE, &join_of(""));
    assert_eq!(groups("CompletingRebalance"), Some(1.0));
    assert_eq!(wire.ask(SYNC, &sync_of(&joined, Bytes::new())).error_code, 0);
    assert_eq!((groups("Stable"), see("rivven_group_members")), (Some(1.0), Some(1.0)));
    assert_eq!(began("member_joined"), Some(1.0));
    assert_eq!(see("rivven_group_coordinators{state=\"silent\"}"), Some(0.0));
    assert_eq!(see("rivven_group_load_seconds_count"), Some(16.0));

    let by = |generation: i32, offset: i64| {
        commit_of("g", offset, "")
            .with_member_id(joined.member_id.clone())
            .with_generation_id_or_member_epoch(generation)
    };
    assert_eq!(commit(&mut wire, &by(joined.generation_id, 0)), 0);
    assert_eq!(see(&lag), Some(1.0), "the topic has one record");
    assert_eq!(commit(&mut wire, &by(joined.generation_id, 1)), 0);
    assert_eq!(see(&lag), Some(0.0));
    assert_eq!(commit(&mut wire, &by(7, 1)), ILLEGAL_GENERATION);
    assert_eq!(see("rivven_group_offset_commits_total"), Some(2.0));
    let refused = "rivven_group_offset_commits_refused_total{reason=\"illegal_generation\"}";
    assert_eq!(see(refused), Some(1.0));
    assert_eq!(see("rivven_group_lag_records{group=\"(other)\",topic=\"(other)\"}"), Some(0.0));
    assert_eq!(see("rivven_group_lag_left_out"), Some(0.0));

    let leave = LeaveGroupRequest::default()
        .with_group_id(group("g"))
        .with_members(vec![MemberIdentity::default().with_member_id(joined.member_id.clone())]);
    assert_eq!(wire.ask(5, &leave).members[0].error_code, 0);
    assert_eq!((groups("Empty"), see("rivven_group_members")), (Some(1.0), Some(0.0)));
    assert_eq!(began("member_left"), Some(1.0));
    assert_eq!(see(&lag), Some(0.0), "what is committed stays");
}
