//! Committed offsets and the administration of groups.

use super::*;

fn fetch(world: &mut World) -> Option<(i64, String)> {
    let partitions = Some(vec![("t".into(), PartitionId(0))]);
    match world.get(Request::Fetch(Fetch { group: "g".into(), partitions })) {
        Reply::Fetched(Ok(mut found)) => {
            let committed = found.remove(0).committed?;
            Some((committed.offset.0, committed.metadata.to_string()))
        }
        other => panic!("{other:?}"),
    }
}

fn loner() -> Client {
    Client::new()
}

/// G3: zombies of an earlier generation change nothing.
#[test]
pub(super) fn commits_are_taken_from_present_members_alone() {
    let mut world = World::new();
    world.topic("t", 1);
    let members = stable(&mut world, vec![Client::new()]);
    assert_eq!(members[0].commit(&mut world, 5), Ok(()));
    let old = Client { generation: 0, ..members[0].clone() };
    let expected = GroupError::IllegalGeneration { given: 0, current: 1 };
    assert_eq!(old.commit(&mut world, 3), Err(expected));
    let stranger = Client { id: Some("who".into()), ..members[0].clone() };
    assert_eq!(stranger.commit(&mut world, 3), Err(GroupError::UnknownMember));
    assert_eq!(loner().commit(&mut world, 3), Err(GroupError::UnknownMember));
    assert_eq!(fetch(&mut world), Some((5, String::new())));
    world.restart();
    assert_eq!(fetch(&mut world), Some((5, String::new())));
}

/// Protocol trap 6, bad-inputs 34.
#[test]
fn a_consumer_without_a_group_commits_and_its_metadata_comes_back() {
    let mut world = World::new();
    world.topic("t", 1);
    let commit = |offset, metadata: &str| {
        let mut offset = offset_of("t", 0, offset);
        offset.metadata = metadata.into();
        Request::Commit(Commit {
            group: "g".into(),
            member: None,
            instance: None,
            generation: -1,
            retention_ms: None,
            offsets: vec![offset],
        })
    };
    assert_eq!(committed(world.get(commit(41, "from me"))), Ok(()));
    assert_eq!(fetch(&mut world), Some((41, "from me".to_owned())));
    let long = "x".repeat(4_097);
    let refused = committed(world.get(commit(42, &long)));
    assert_eq!(refused, Err(GroupError::MetadataTooLarge { bytes: 4_097, limit: 4_096 }));
    let refused = committed(world.get(commit(-2, "")));
    assert_eq!(refused, Err(GroupError::InvalidOffset(Offset(-2))));
    assert_eq!(committed(world.get(commit(i64::MAX, ""))), Ok(()));
    let described = world.describe("g");
    assert_eq!((described.state, &*described.protocol_type), (State::Empty, ""));
    let all = Fetch { group: "other".into(), partitions: None };
    assert_eq!(world.get(Request::Fetch(all)), Reply::Fetched(Ok(Vec::new())));
}

/// G6.
#[test]
pub(super) fn offsets_expire_after_the_last_member_is_gone() {
    let config = GroupConfig { retention_ms: 100_000, ..GroupConfig::default() };
    let mut world = World::with(GroupConfig { retention_check_ms: 1_000, ..config });
    world.topic("t", 1);
    let members = stable(&mut world, vec![Client::new()]);
    assert_eq!(members[0].commit(&mut world, 5), Ok(()));
    for _ in 0..50 {
        world.pass(5_000);
        assert_eq!(members[0].beat(&mut world), Ok(()));
    }
    assert_eq!(fetch(&mut world), Some((5, String::new())), "the group is active");
    members[0].leave(&mut world, "").expect("left");
    world.pass(98_000);
    assert_eq!(fetch(&mut world), Some((5, String::new())), "it lost its last member just now");
    world.pass(3_000);
    assert_eq!(fetch(&mut world), None);
    assert!(world.coordinator.is_empty(), "nor is anything left of the group");
    assert_eq!(world.coordinator.store(), &Store::default());
}

/// Clients of old could say how long.
#[test]
fn an_offset_that_was_to_be_kept_for_a_while_goes_by_itself_once_nobody_is_there() {
    let mut world = World::with(GroupConfig { retention_check_ms: 1_000, ..Default::default() });
    world.topic("t", 1);
    let commit = Commit {
        group: "g".into(),
        member: None,
        instance: None,
        generation: -1,
        retention_ms: Some(5_000),
        offsets: vec![offset_of("t", 0, 5)],
    };
    committed(world.get(Request::Commit(commit))).expect("committed");
    world.restart();
    world.pass(4_000);
    assert_eq!(fetch(&mut world), Some((5, String::new())));
    world.pass(2_000);
    assert_eq!(fetch(&mut world), None);
}

#[test]
fn offsets_of_a_deleted_topic_go_and_do_not_come_back_with_its_name() {
    let mut world = World::new();
    world.topic("t", 1);
    world.topic("other", 1);
    let mut commit = Commit {
        group: "g".into(),
        member: None,
        instance: None,
        generation: -1,
        retention_ms: None,
        offsets: vec![offset_of("t", 0, 5), offset_of("other", 0, 6)],
    };
    commit.offsets[0].topic_id = world.image.topic("t").map(|topic| topic.id);
    committed(world.get(Request::Commit(commit))).expect("committed");
    world.delete_topic("t");
    world.topic("t", 1);
    assert_eq!(fetch(&mut world), None);
    let Reply::Fetched(Ok(all)) =
        world.get(Request::Fetch(Fetch { group: "g".into(), partitions: None }))
    else {
        panic!("fetched")
    };
    assert_eq!(all.len(), 1);
}

#[test]
fn a_group_is_deleted_when_it_is_empty_and_so_are_offsets_that_nobody_reads() {
    let mut world = World::new();
    world.topic("t", 1);
    let subscription = consumer::Subscription {
        topics: vec!["t".into()],
        generation: -1,
        ..consumer::Subscription::default()
    };
    let reader =
        Client { protocols: vec![("range".into(), subscription.encode())], ..Client::new() };
    let members = stable(&mut world, vec![reader]);
    members[0].commit(&mut world, 5).expect("committed");
    let delete = |world: &mut World| match world.get(Request::DeleteGroup("g".into())) {
        Reply::Done(outcome) => outcome,
        other => panic!("{other:?}"),
    };
    let forget = |world: &mut World, topic: &str| {
        let partitions = vec![(topic.into(), PartitionId(0))];
        match world.get(Request::DeleteOffsets(DeleteOffsets { group: "g".into(), partitions })) {
            Reply::OffsetsDeleted(outcome) => outcome.map(|mut all| all.remove(0)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut world), Err(GroupError::NotEmpty));
    assert_eq!(forget(&mut world, "t"), Ok(Err(GroupError::Subscribed)));
    assert_eq!(forget(&mut world, "unread"), Ok(Ok(())));
    members[0].leave(&mut world, "").expect("left");
    assert_eq!(forget(&mut world, "t"), Ok(Ok(())));
    assert_eq!(fetch(&mut world), None);
    assert_eq!(delete(&mut world), Ok(()));
    assert_eq!(delete(&mut world), Err(GroupError::NotFound));
    assert_eq!(forget(&mut world, "t"), Err(GroupError::NotFound));
    world.restart();
    assert!(world.coordinator.is_empty(), "nor does it come back");
}

#[test]
fn groups_are_listed_by_state() {
    let mut world = World::new();
    stable(&mut world, vec![Client::new()]);
    loner_of(&mut world, "alone");
    let list = |world: &mut World, states: &[State]| -> Vec<String> {
        match world.get(Request::List(Filter { states: states.to_vec() })) {
            Reply::Listed(Ok(listed)) => listed
                .iter()
                .map(|l| format!("{} {} {}", l.group, l.protocol_type, l.state))
                .collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(&mut world, &[]), ["alone  Empty", "g consumer Stable"]);
    assert_eq!(list(&mut world, &[State::Stable]), ["g consumer Stable"]);
    assert_eq!("stable".parse(), Ok(State::Stable));
}

fn loner_of(world: &mut World, group: &str) {
    let commit = Commit {
        group: group.into(),
        member: None,
        instance: None,
        generation: -1,
        retention_ms: None,
        offsets: vec![offset_of("t", 0, 1)],
    };
    committed(world.get(Request::Commit(commit))).expect("committed");
}

#[test]
fn a_group_is_found_where_kafka_finds_it() {
    // String.hashCode of "test" is 3556498 in Java.
    assert_eq!(partition_of("test", 50), 3_556_498 % 50);
    assert_eq!(partition_of("", 16), 0);
    assert_eq!(partition_of("polygenelubricants", 16), 0, "its hash is the smallest number");
    assert_eq!(partition_of("größe", i32::MAX), java("größe"));
}

fn java(text: &str) -> i32 {
    let hash = text.encode_utf16().fold(0_i64, |h, unit| (h * 31 + i64::from(unit)) & 0xffff_ffff);
    (hash & 0x7fff_ffff) as i32 % i32::MAX
}

/// L4: who measures gets no more than there is room for, and learns how much that leaves out.
#[test]
fn a_survey_leaves_out_what_is_too_much() {
    let most = limits::GROUP_SURVEY_OFFSETS_MAX as i32;
    let mut world = World::new();
    let mut commit = |topic: &str, partitions: i32| {
        let offsets = (0..partitions).map(|partition| offset_of(topic, partition, 1)).collect();
        let commit = Commit {
            group: "g".into(),
            member: None,
            instance: None,
            generation: -1,
            retention_ms: None,
            offsets,
        };
        committed(world.get(Request::Commit(commit))).expect("committed");
        world.survey()
    };
    assert_eq!(commit("b", most).left_out, 0);
    let survey = commit("c", 1);
    assert_eq!((survey.committed.len(), survey.left_out), (1, 1));
    // Those that come first by name are there.
    let survey = commit("a", 1);
    let topics: Vec<&str> = survey.committed.iter().map(|c| &*c.topic).collect();
    assert_eq!((topics, survey.left_out), (vec!["a", "c"], 1), "what does not fit leaves room");
}
