//! Groups whose members leave the assignment to the server.

use super::*;
use crate::metadata::Command;
use assignor::Assignor;
use consumer::{Partitions, Subscription, decode_assignment};

pub(super) fn reader(assignor: Assignor, topics: &[&str], owned: &Partitions) -> Client {
    let subscription = Subscription {
        topics: topics.iter().map(|topic| Text::from(*topic)).collect(),
        owned: owned.clone(),
        generation: -1,
        rack: None,
    };
    Client {
        protocols: vec![(assignor.protocol(), subscription.encode())],
        assigner: Assigner::Server,
        ..Client::new()
    }
}

fn given(joined: &Joined) -> String {
    let bytes = joined.assignment.clone().expect("the server assigns");
    let partitions = decode_assignment(bytes).expect("own bytes");
    let list = partitions
        .iter()
        .flat_map(|(topic, list)| list.iter().map(move |partition| format!("{topic}/{partition}")));
    list.collect::<Vec<_>>().join(" ")
}

#[test]
fn members_are_given_their_partitions_with_the_answer_to_their_join() {
    let mut world = World::new();
    world.topic("t", 3);
    let mut members = [(); 2].map(|()| reader(Assignor::Range, &["t"], &Partitions::new()));
    let tickets = members.each_ref().map(|member| member.join(&mut world));
    world.pass(12_000);
    let replies = tickets.map(|ticket| world.take(ticket));
    let answers: Vec<Joined> =
        members.iter_mut().zip(replies).map(|(member, reply)| member.joined(reply)).collect();
    assert_eq!([given(&answers[0]), given(&answers[1])], ["t/0 t/1", "t/2"]);
    assert_eq!(world.state("g"), State::Stable);
    assert!(members.iter().all(|member| member.beat(&mut world).is_ok()));
    let again = members[0].join(&mut world);
    assert_eq!(given(&joined(world.take(again)).expect("at once")), "t/0 t/1");
    let described = world.describe("g");
    assert_eq!(described.assigner, Assigner::Server);
    world.restart();
    assert_eq!(members[1].beat(&mut world), Ok(()));
}

#[test]
fn new_partitions_of_a_topic_cause_a_rebalance() {
    let mut world = World::new();
    world.topic("t", 1);
    let mut member = reader(Assignor::Range, &["t"], &Partitions::new());
    let ticket = member.join(&mut world);
    world.pass(3_000);
    let reply = world.take(ticket);
    assert_eq!(given(&member.joined(reply)), "t/0");
    let topic = crate::metadata::TopicRef::Name("t".to_owned());
    world.change(Command::AddPartitions { topic, total: 2 });
    assert_eq!(member.beat(&mut world), Err(GroupError::RebalanceInProgress));
    let ticket = member.join(&mut world);
    let reply = world.take(ticket);
    assert_eq!(given(&member.joined(reply)), "t/0 t/1");
    let reasons = reasons(&mut world);
    assert_eq!(reasons[1], "2: topic t has 2 partitions, not 1");
}

/// G1, KIP-429: what moves is given to its next owner once the last one has let go of it.
#[test]
fn a_partition_that_moves_cooperatively_is_nobodys_for_a_generation() {
    let mut world = World::with(GroupConfig { initial_delay_ms: 0, ..GroupConfig::default() });
    world.topic("t", 2);
    let kind = Assignor::CooperativeSticky;
    let mut first = reader(kind, &["t"], &Partitions::new());
    let ticket = first.join(&mut world);
    let reply = world.take(ticket);
    let all = first.joined(reply);
    assert_eq!(given(&all), "t/0 t/1");
    let owned = decode_assignment(all.assignment.expect("given")).expect("own bytes");
    let mut second = reader(kind, &["t"], &Partitions::new());
    let late = second.join(&mut world);
    first.protocols = reader(kind, &["t"], &owned).protocols;
    let again = first.join(&mut world);
    let reply = world.take(again);
    let kept = first.joined(reply);
    assert_eq!(given(&kept), "t/1");
    let reply = world.take(late);
    assert_eq!(given(&second.joined(reply)), "");
    let owned = decode_assignment(kept.assignment.expect("given")).expect("own bytes");
    first.protocols = reader(kind, &["t"], &owned).protocols;
    let again = first.join(&mut world);
    let follow = second.join(&mut world);
    let reply = world.take(again);
    assert_eq!(given(&first.joined(reply)), "t/1");
    let reply = world.take(follow);
    assert_eq!(given(&second.joined(reply)), "t/0");
}

#[test]
fn clients_that_assign_themselves_and_those_that_do_not_do_not_mix() {
    let mut world = World::new();
    world.topic("t", 1);
    reader(Assignor::Range, &["t"], &Partitions::new()).join(&mut world);
    let refuse = |world: &mut World, client: Client| {
        let ticket = client.join(world);
        joined(world.take(ticket)).expect_err("refused").error
    };
    assert_eq!(refuse(&mut world, Client::new()), GroupError::InconsistentProtocol);
    let sneaky = Client {
        assigner: Assigner::Leader,
        ..reader(Assignor::Range, &["t"], &Partitions::new())
    };
    assert_eq!(refuse(&mut world, sneaky), GroupError::InconsistentProtocol);
    let unknown = Client {
        protocols: vec![("server-fair".into(), Bytes::new())],
        assigner: Assigner::Server,
        ..Client::new()
    };
    assert_eq!(refuse(&mut world, unknown), GroupError::InconsistentProtocol);
    let garbage = Client {
        protocols: vec![(Assignor::Range.protocol(), Bytes::from_static(&[0, 1, 127, 0, 0, 0]))],
        assigner: Assigner::Server,
        ..Client::new()
    };
    assert!(matches!(refuse(&mut world, garbage), GroupError::Malformed(_)));
}
