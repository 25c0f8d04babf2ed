//! Members of the classic protocol.

use super::*;

#[test]
fn a_group_waits_a_while_for_its_first_members_and_gives_each_what_the_leader_says() {
    let mut world = World::new();
    let (mut one, mut two) = (Client::new(), Client::new());
    let first = one.join(&mut world);
    world.pass(2_000);
    let second = two.join(&mut world);
    world.pass(1_000);
    assert!(world.answers.is_empty(), "somebody came, so the wait goes on");
    world.pass(3_000);
    let replies = (world.take(first), world.take(second));
    let leader = one.joined(replies.0);
    let follower = two.joined(replies.1);
    assert_eq!((leader.generation, follower.generation), (1, 1));
    assert_eq!(leader.leader, one.id());
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(leader.members[0].metadata, b"x".as_slice());

    let waiting = two.sync(&mut world, &[]);
    assert!(world.answers.is_empty(), "followers wait for the leader");
    let leads = one.sync(&mut world, &[(&one, "a"), (&two, "b")]);
    assert_eq!(synced(world.take(waiting)).as_deref(), Ok(b"b".as_slice()));
    assert_eq!(synced(world.take(leads)).as_deref(), Ok(b"a".as_slice()));
    assert_eq!(world.state("g"), State::Stable);
    assert_eq!((one.beat(&mut world), two.beat(&mut world)), (Ok(()), Ok(())));
    let described = world.describe("g");
    assert_eq!(described.members[1].assignment, b"b".as_slice());
    assert_eq!(described.protocol.as_deref(), Some("range"));
}

/// Protocol trap 11: members learn of a rebalance from their heartbeats and are not thrown out.
#[test]
fn a_new_member_has_the_others_join_again() {
    let mut world = World::new();
    let mut members = stable(&mut world, vec![Client::new()]);
    let mut late = Client::new();
    let ticket = late.join(&mut world);
    assert_eq!(world.state("g"), State::PreparingRebalance);
    assert_eq!(members[0].beat(&mut world), Err(GroupError::RebalanceInProgress));
    let early = members[0].sync(&mut world, &[]);
    assert_eq!(synced(world.take(early)), Err(GroupError::RebalanceInProgress));
    assert_eq!(members[0].commit(&mut world, 7), Ok(()), "a commit before joining again counts");
    let again = members[0].join(&mut world);
    let reply = world.take(again);
    members[0].joined(reply);
    let reply = world.take(ticket);
    late.joined(reply);
    assert_eq!((members[0].generation, late.generation), (2, 2));
    assert_eq!(late.commit(&mut world, 8), Err(GroupError::RebalanceInProgress));
    members.push(late);
    settle(&mut world, &members);
}

#[test]
fn whoever_does_not_join_again_in_time_is_left_out() {
    let mut world = World::new();
    let client = Client { session_ms: 100_000, ..Client::new() };
    let mut members = stable(&mut world, vec![client.clone(), client]);
    let mut late = Client::new();
    let ticket = late.join(&mut world);
    let again = members[1].join(&mut world);
    world.pass(59_999);
    assert!(world.answers.is_empty());
    world.pass(1);
    let reply = world.take(ticket);
    late.joined(reply);
    let reply = world.take(again);
    let leader = members[1].joined(reply);
    assert_eq!(leader.leader, members[1].id(), "the old leader is gone");
    assert_eq!(members[0].beat(&mut world), Err(GroupError::UnknownMember), "G8");
    settle(&mut world, &[members[1].clone(), late]);
}

#[test]
fn silence_ends_a_membership_and_the_reason_is_kept() {
    let mut world = World::new();
    let members = stable(&mut world, vec![Client::new(), Client::new()]);
    for _ in 0..4 {
        world.pass(4_000);
        assert!(members[0].beat(&mut world).is_ok() || world.describe("g").members.len() == 1);
    }
    assert_eq!(members[1].beat(&mut world), Err(GroupError::UnknownMember));
    assert_eq!(members[0].beat(&mut world), Err(GroupError::RebalanceInProgress));
    let reasons = reasons(&mut world);
    let id = members[1].id();
    assert_eq!(reasons[2], format!("2: member {id} timed out after 10000 ms"));
    assert_eq!(reasons[0], format!("1: member {} joined", members[0].id()));
}

#[test]
fn the_last_member_that_leaves_makes_the_group_empty_and_the_reason_is_kept() {
    let mut world = World::new();
    let members = stable(&mut world, vec![Client::new()]);
    assert_eq!(members[0].leave(&mut world, "the consumer is being\nclosed"), Ok(()));
    let described = world.describe("g");
    assert_eq!((described.state, described.generation), (State::Empty, 2));
    let last = described.rebalances.last().expect("a reason");
    let expected = format!("member {} left: the consumer is being closed", members[0].id());
    assert_eq!(*last.reason, *expected);
    assert_eq!(members[0].leave(&mut world, ""), Err(GroupError::UnknownMember));
}

/// KIP-394.
#[test]
fn a_new_member_is_given_an_id_first_where_it_understands_that() {
    let mut world = World::new();
    let mut join = Join {
        group: "g".into(),
        member: None,
        instance: None,
        client_id: "app".into(),
        client_host: "/h".into(),
        session_ms: 10_000,
        rebalance_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::new())],
        reason: Some("first try".into()),
        assigner: Assigner::Leader,
        id_required: true,
        skips_assignment: true,
        fresh: Uuid::from_u128(7),
    };
    let Reply::Joined(Err(refused)) = world.get(Request::Join(join.clone())) else {
        panic!("an id comes first")
    };
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    let id = refused.member.expect("an id");
    assert_eq!(&*id, "app-00000000-0000-0000-0000-000000000007");
    assert!(world.describe("g").members.is_empty());
    join.member = Some(Arc::clone(&id));
    let ticket = world.ask(Request::Join(join.clone()));
    world.pass(3_000);
    assert_eq!(joined(world.take(ticket)).expect("joined").member, id);
    assert_eq!(reasons(&mut world), [format!("1: member {id} joined: first try")]);

    join.group = "h".into();
    join.member = None;
    assert!(matches!(world.get(Request::Join(join.clone())), Reply::Joined(Err(_))));
    world.pass(10_000);
    assert!(!world.coordinator.groups.contains_key("h"), "an id nobody came with is forgotten");
    join.member = Some(id);
    let Reply::Joined(Err(refused)) = world.get(Request::Join(join)) else {
        panic!("nobody knows that member there")
    };
    assert_eq!(refused.error, GroupError::UnknownMember);
}

/// KIP-345, G8, bad-inputs 36.
#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_the_one_before() {
    let mut world = World::new();
    let members = stable(&mut world, vec![Client::new(), Client::named("i")]);
    let mut back = Client::named("i");
    let ticket = back.join(&mut world);
    let reply = world.take(ticket);
    let answer = back.joined(reply);
    assert_eq!(answer.generation, 1);
    assert_ne!(back.id(), members[1].id());
    let sync = back.sync(&mut world, &[]);
    assert_eq!(synced(world.take(sync)).as_deref(), Ok(b"given".as_slice()));
    assert_eq!(members[1].beat(&mut world), Err(GroupError::FencedInstance));
    assert_eq!(members[1].commit(&mut world, 5), Err(GroupError::FencedInstance));
    assert_eq!(members[0].beat(&mut world), Ok(()));
    assert_eq!(back.commit(&mut world, 5), Ok(()));

    world.restart();
    assert_eq!(back.beat(&mut world), Ok(()), "the new id was recorded");
    assert_eq!(members[1].beat(&mut world), Err(GroupError::FencedInstance));
    // An administrator removes it by the instance alone.
    let leaving = Leaving { member: None, instance: Some("i".into()), reason: None };
    let leave = Leave { group: "g".into(), members: vec![leaving] };
    let Reply::Left(Ok(left)) = world.get(Request::Leave(leave)) else { panic!("left") };
    assert_eq!(left[0].outcome, Ok(()));
    assert_eq!(back.beat(&mut world), Err(GroupError::UnknownMember));
}

/// G8: whoever came last under an instance's name is not fenced by who had it before, even if the
/// coordinator went before the next generation was recorded.
#[test]
fn a_static_member_that_came_back_in_a_rebalance_is_not_fenced_after_a_restart() {
    let mut world = World::new();
    let mut members = stable(&mut world, vec![Client::named("i"), Client::new()]);
    let before = members[0].clone();
    Client::new().join(&mut world);
    members[0].id = None;
    let ticket = members[0].join(&mut world);
    let again = members[1].join(&mut world);
    for (member, ticket) in members.iter_mut().zip([ticket, again]) {
        let reply = world.take(ticket);
        member.joined(reply);
    }
    assert_eq!(world.state("g"), State::CompletingRebalance);
    world.restart();
    let stale = GroupError::IllegalGeneration { given: 2, current: 1 };
    assert_eq!(members[0].beat(&mut world), Err(stale), "it joins again");
    assert_eq!(before.beat(&mut world), Err(GroupError::FencedInstance));
    assert_eq!(world.describe("g").leader, Some(members[0].id()));
}

#[test]
fn the_leader_that_joins_again_rebalances_and_a_follower_only_when_it_changed() {
    let mut world = World::new();
    let mut members = stable(&mut world, vec![Client::new(), Client::new()]);
    let follower = members[1].join(&mut world);
    let answer = joined(world.take(follower)).expect("told at once");
    assert_eq!((answer.generation, world.state("g")), (1, State::Stable));
    members[1].protocols = vec![("range".into(), Bytes::from_static(b"y"))];
    let changed = members[1].join(&mut world);
    assert_eq!(world.state("g"), State::PreparingRebalance);
    let leads = members[0].join(&mut world);
    for (member, ticket) in members.iter_mut().zip([leads, changed]) {
        let reply = world.take(ticket);
        member.joined(reply);
    }
    settle(&mut world, &members);
    let again = members[0].join(&mut world);
    let reasons = reasons(&mut world);
    assert_eq!(reasons[2], format!("2: the subscription of member {} changed", members[1].id()));
    assert_eq!(reasons[3], format!("3: leader {} rejoined", members[0].id()));
    assert!(world.take(again).is_none());
}

#[test]
fn the_protocol_that_all_support_and_most_prefer_is_elected() {
    let mut world = World::new();
    let with = |names: &[&str]| Client {
        protocols: names.iter().map(|name| (Text::from(*name), Bytes::new())).collect(),
        ..Client::new()
    };
    let members = [with(&["a", "b"]), with(&["b", "a"]), with(&["b", "c", "a"])];
    let tickets: Vec<u32> = members.iter().map(|member| member.join(&mut world)).collect();
    let stranger = with(&["d"]).join(&mut world);
    let refused = joined(world.take(stranger)).expect_err("nothing in common");
    assert_eq!(refused.error, GroupError::InconsistentProtocol);
    world.pass(12_000);
    assert_eq!(&*joined(world.take(tickets[0])).expect("joined").protocol, "b");
}

/// bad-inputs 35.
#[test]
fn requests_out_of_bounds_are_refused() {
    let mut world = World::with(GroupConfig { size_max: 2, ..GroupConfig::default() });
    let refused = |world: &mut World, client: Client| {
        let ticket = client.join(world);
        joined(world.take(ticket)).expect_err("refused").error
    };
    for session_ms in [1, 5_999, 86_400_000] {
        let error = refused(&mut world, Client { session_ms, ..Client::new() });
        assert!(
            matches!(error, GroupError::InvalidSessionTimeout { given, .. } if given == session_ms)
        );
    }
    let huge = Bytes::from(vec![0; limits::GROUP_MEMBER_BYTES_MAX + 1]);
    let error =
        refused(&mut world, Client { protocols: vec![("p".into(), huge)], ..Client::new() });
    assert!(matches!(error, GroupError::TooLarge { .. }));
    assert!(world.coordinator.is_empty(), "what is refused leaves nothing behind");

    let members = stable(&mut world, vec![Client::new(), Client::new()]);
    assert_eq!(refused(&mut world, Client::new()), GroupError::Full);
    let blob = "x".repeat(limits::GROUP_ASSIGNMENT_BYTES_MAX + 1);
    let ticket = members[0].sync(&mut world, &[(&members[1], &blob)]);
    assert!(matches!(synced(world.take(ticket)), Err(GroupError::TooLarge { .. })));
    let wrong = Client { generation: 9, ..members[0].clone() };
    let expected = GroupError::IllegalGeneration { given: 9, current: 1 };
    assert_eq!(wrong.beat(&mut world), Err(expected));
}

#[test]
fn members_that_never_fetch_their_assignment_are_left_out() {
    let mut world = World::new();
    let client = Client { rebalance_ms: 8_000, ..Client::new() };
    let mut members = [client.clone(), client];
    let tickets = members.each_ref().map(|member| member.join(&mut world));
    world.pass(8_000);
    for (member, ticket) in members.iter_mut().zip(tickets) {
        let reply = world.take(ticket);
        member.joined(reply);
    }
    let waiting = members[1].sync(&mut world, &[]);
    for _ in 0..3 {
        world.pass(3_000);
        _ = members[0].beat(&mut world);
    }
    assert_eq!(synced(world.take(waiting)), Err(GroupError::RebalanceInProgress));
    assert_eq!(members[0].beat(&mut world), Err(GroupError::UnknownMember));
    let reasons = reasons(&mut world);
    let expected = "did not fetch its assignment in time";
    assert!(reasons.last().is_some_and(|reason| reason.ends_with(expected)), "{reasons:?}");
}

/// G3, G5: a restart keeps a stable group, its generation and who leads.
#[test]
fn a_stable_group_outlives_a_restart_and_a_member_that_does_not_come_back_expires() {
    let mut world = World::new();
    let members = stable(&mut world, vec![Client::new(), Client::new()]);
    world.pass(9_000);
    world.restart();
    assert_eq!(world.state("g"), State::Stable);
    world.pass(9_000);
    assert_eq!(members[0].beat(&mut world), Ok(()), "a full session begins at the restart");
    let sync = members[0].sync(&mut world, &[]);
    assert_eq!(synced(world.take(sync)).as_deref(), Ok(b"given".as_slice()));
    world.pass(1_000);
    assert_eq!(members[1].beat(&mut world), Err(GroupError::UnknownMember));
    assert_eq!(members[0].beat(&mut world), Err(GroupError::RebalanceInProgress));
}

/// A rebalance is counted once, by what began it, whatever else happens while it is under way.
#[test]
fn a_rebalance_is_counted_by_what_began_it() {
    let mut world = World::new();
    let mut members = stable(&mut world, vec![Client::new(), Client::named("i")]);
    assert_eq!(world.begun(), [RebalanceCause::MemberJoined], "for both members");

    // Somebody new comes, and somebody leaves before all have joined again.
    let mut late = Client::new();
    let ticket = late.join(&mut world);
    members[0].leave(&mut world, "done").expect("a member");
    let rejoined = members[1].join(&mut world);
    let reply = world.take(ticket);
    late.joined(reply);
    let reply = world.take(rejoined);
    members[1].joined(reply);
    assert_eq!(world.begun(), [RebalanceCause::MemberJoined]);
    let members = vec![members.remove(1), late];
    settle(&mut world, &members);

    // One wants something else, and then both fall silent.
    let mut changed = members[1].clone();
    changed.protocols = vec![("range".into(), Bytes::from_static(b"y"))];
    let ticket = changed.join(&mut world);
    let rejoined = members[0].join(&mut world);
    assert!(world.take(ticket).is_some() && world.take(rejoined).is_some());
    assert_eq!(world.begun(), [RebalanceCause::SubscriptionChanged]);
    world.pass(20_000);
    assert_eq!(world.begun(), [RebalanceCause::MemberTimedOut]);
    assert_eq!(world.state("g"), State::Empty);
}

#[test]
fn a_survey_counts_groups_and_members() {
    let mut world = World::new();
    assert_eq!(world.survey(), Survey::default());
    let members = stable(&mut world, vec![Client::new(), Client::new()]);
    let survey = world.survey();
    assert_eq!(survey.states, BTreeMap::from([(State::Stable, 1)]));
    assert_eq!((survey.members, survey.committed.len()), (2, 0));
    members[0].commit(&mut world, 7).expect("a member");
    members.iter().for_each(|member| member.leave(&mut world, "").expect("a member"));
    let survey = world.survey();
    assert_eq!(survey.states, BTreeMap::from([(State::Empty, 1)]));
    let offsets = vec![(PartitionId(0), Offset(7))];
    let committed = CommittedTopic { group: "g".into(), topic: "t".into(), offsets };
    assert_eq!((survey.members, survey.committed), (0, vec![committed]));
}
