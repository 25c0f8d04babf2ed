//! Members that come, go, crash and fall silent at random, with restarts of the coordinator in
//! between. Whatever happens: no partition has two owners (G1), a rebalance ends in bounded time
//! (G7), who is unknown is told so (G8), and in the end everybody is assigned again.

use super::server::reader;
use super::*;
use crate::planted::Bug;
use crate::random::Random;
use assignor::Assignor;
use consumer::{Partitions, decode_assignment, encode_assignment};

const PARTITIONS: i32 = 7;
const SESSION_MS: u32 = 6_000;
const REBALANCE_MS: u32 = 9_000;

#[derive(Debug, PartialEq)]
enum Doing {
    Joining(u32),
    Syncing(u32),
    Reading,
    Dead,
}

struct Actor {
    client: Client,
    doing: Doing,
    holds: Partitions,
    beat_at: u64,
}

struct Model {
    world: World,
    random: Random,
    actors: Vec<Actor>,
    kind: Option<Assignor>,
    unsettled_since: Option<u64>,
}

impl Model {
    fn new(seed: u64, kind: Option<Assignor>) -> Model {
        let mut world = World::new();
        world.topic("t", PARTITIONS);
        let mut random = Random::new(seed);
        let actors = (0..6).map(|number| {
            let mut client = match kind {
                Some(kind) => reader(kind, &["t"], &Partitions::new()),
                None => Client::new(),
            };
            client.session_ms = SESSION_MS;
            client.rebalance_ms = REBALANCE_MS;
            if random.chance(1, 3) {
                client.instance = Some(format!("i{number}").into());
            }
            Actor { client, doing: Doing::Dead, holds: Partitions::new(), beat_at: 0 }
        });
        let actors = actors.collect();
        Model { world, random, actors, kind, unsettled_since: None }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let actor = self.random.below(self.actors.len() as u64) as usize;
            match self.random.below(40) {
                0 => self.crash(actor),
                1 => self.leave(actor),
                2 if self.random.chance(1, 4) => self.restart(),
                3..=12 if self.actors[actor].doing == Doing::Dead => self.join(actor),
                _ => {}
            }
            self.advance();
        }
    }

    /// No more accidents: in bounded time everybody reads, and every partition is read.
    fn settle(&mut self) {
        for actor in 0..self.actors.len() {
            if self.actors[actor].doing == Doing::Dead {
                self.join(actor);
            }
        }
        for _ in 0..400 {
            self.advance();
        }
        assert_eq!(self.world.state("g"), State::Stable);
        assert!(self.actors.iter().all(|actor| actor.doing == Doing::Reading));
        let held: usize =
            self.actors.iter().flat_map(|actor| actor.holds.values()).map(Vec::len).sum();
        assert_eq!(held, PARTITIONS as usize, "all partitions are read");
    }

    fn advance(&mut self) {
        self.world.pass(1 + self.random.below(200));
        for actor in 0..self.actors.len() {
            self.act(actor);
        }
        self.check();
    }

    fn join(&mut self, actor: usize) {
        if let Some(kind) = self.kind {
            // Only cooperative members hold on to anything while they rebalance.
            if !kind.is_cooperative() {
                self.actors[actor].holds.clear();
            }
            let holds = self.actors[actor].holds.clone();
            self.actors[actor].client.protocols = reader(kind, &["t"], &holds).protocols;
        } else {
            self.actors[actor].holds.clear();
        }
        let ticket = self.actors[actor].client.join(&mut self.world);
        self.actors[actor].doing = Doing::Joining(ticket);
    }

    fn crash(&mut self, actor: usize) {
        let actor = &mut self.actors[actor];
        actor.doing = Doing::Dead;
        actor.client.id = None;
        actor.holds.clear();
    }

    fn leave(&mut self, actor: usize) {
        if self.actors[actor].doing == Doing::Reading {
            let client = self.actors[actor].client.clone();
            _ = client.leave(&mut self.world, "enough");
            self.crash(actor);
        }
    }

    fn restart(&mut self) {
        self.world.restart();
        self.world.answers.clear();
        self.unsettled_since = None;
        for actor in 0..self.actors.len() {
            // Whoever waited never hears; it asks again.
            if let Doing::Joining(_) | Doing::Syncing(_) = self.actors[actor].doing {
                self.join(actor);
            }
        }
    }

    fn act(&mut self, actor: usize) {
        match self.actors[actor].doing {
            Doing::Joining(ticket) => {
                if let Some(reply) = self.world.take(ticket) {
                    self.after_join(actor, reply);
                }
            }
            Doing::Syncing(ticket) => {
                if let Some(reply) = self.world.take(ticket) {
                    match synced(Some(reply)) {
                        Ok(bytes) => self.own(actor, bytes),
                        Err(error) => self.refused(actor, &error),
                    }
                }
            }
            Doing::Reading => self.beat(actor),
            Doing::Dead => {}
        }
    }

    fn after_join(&mut self, actor: usize, reply: Reply) {
        let answer = match joined(Some(reply)) {
            Ok(answer) => answer,
            Err(refused) => return self.refused(actor, &refused.error),
        };
        let client = &mut self.actors[actor].client;
        client.id = Some(Arc::clone(&answer.member));
        client.generation = answer.generation;
        if let Some(bytes) = answer.assignment {
            return self.own(actor, bytes);
        }
        let members = answer.members.iter().map(|member| Arc::clone(&member.member));
        let members: Vec<Text> = members.collect();
        let mut shares = vec![Partitions::new(); members.len()];
        for partition in 0..PARTITIONS {
            if !members.is_empty() {
                let share = &mut shares[partition as usize % members.len()];
                share.entry("t".into()).or_default().push(PartitionId(partition));
            }
        }
        let assignments = members.into_iter().zip(shares.iter().map(encode_assignment)).collect();
        let client = &self.actors[actor].client;
        let sync = Sync {
            group: "g".into(),
            member: client.id(),
            instance: client.instance.clone(),
            generation: client.generation,
            protocol_type: None,
            protocol: None,
            assignments,
        };
        let ticket = self.world.ask(Request::Sync(sync));
        self.actors[actor].doing = Doing::Syncing(ticket);
    }

    fn own(&mut self, actor: usize, bytes: Bytes) {
        let given = decode_assignment(bytes).expect("whole");
        let held = std::mem::take(&mut self.actors[actor].holds);
        let lost = held.iter().any(|(topic, list)| {
            list.iter().any(|p| !given.get(topic).is_some_and(|given| given.contains(p)))
        });
        self.actors[actor].holds = given;
        self.actors[actor].beat_at = self.world.now.monotonic_ms + 1_000;
        self.actors[actor].doing = Doing::Reading;
        if lost && self.kind.is_some_and(Assignor::is_cooperative) {
            self.join(actor);
        }
    }

    fn beat(&mut self, actor: usize) {
        if self.world.now.monotonic_ms < self.actors[actor].beat_at {
            return;
        }
        self.actors[actor].beat_at = self.world.now.monotonic_ms + 1_000;
        let client = self.actors[actor].client.clone();
        let offset = self.random.below(100) as i64;
        if let Err(error) = client.beat(&mut self.world) {
            self.refused(actor, &error);
        } else if self.random.chance(1, 4) {
            assert_eq!(client.commit(&mut self.world, offset), Ok(()), "whose heartbeat counts");
        }
    }

    fn refused(&mut self, actor: usize, error: &GroupError) {
        match error {
            GroupError::RebalanceInProgress | GroupError::IllegalGeneration { .. } => {}
            GroupError::UnknownMember => {
                self.actors[actor].client.id = None;
                self.actors[actor].holds.clear();
            }
            // Another incarnation of this test's actor took its place.
            GroupError::FencedInstance => self.crash(actor),
            other => panic!("{other}"),
        }
        if self.actors[actor].doing != Doing::Dead {
            self.join(actor);
        }
    }

    fn check(&mut self) {
        let Some(group) = self.world.coordinator.groups.get("g") else { return };
        let mut owners = BTreeMap::new();
        for actor in &self.actors {
            let is_member =
                actor.client.id.as_ref().is_some_and(|id| group.members.contains_key(id));
            // Members of the classic protocol learn from their heartbeats that they own nothing any
            // more; by generation nobody owns what somebody else does.
            let generation = if self.kind.is_some_and(Assignor::is_cooperative) {
                0
            } else {
                actor.client.generation
            };
            if !is_member || actor.doing == Doing::Dead {
                continue;
            }
            for partition in actor.holds.values().flatten() {
                let before = owners.insert((generation, *partition), actor.client.id());
                assert_eq!(before, None, "G1: partition {partition} has two owners");
            }
        }
        match self.world.coordinator.groups.get("g").map(Group::state) {
            Some(State::PreparingRebalance | State::CompletingRebalance) => {
                let now = self.world.now.monotonic_ms;
                let since = *self.unsettled_since.get_or_insert(now);
                let bound = 4 * u64::from(SESSION_MS + REBALANCE_MS);
                assert!(now - since <= bound, "G7: a rebalance goes on for ever");
            }
            _ => self.unsettled_since = None,
        }
    }
}

fn run(seed: u64, kind: Option<Assignor>) {
    let mut model = Model::new(seed, kind);
    model.run(400);
    model.settle();
}

#[test]
fn members_come_and_go_at_random_and_the_group_stays_sound() {
    for seed in 0..40 {
        run(seed, None);
        for kind in Assignor::ALL {
            run(seed, Some(kind));
        }
    }
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found() {
    use crate::planted::plant;
    let held = || (0..20).for_each(|seed| run(seed, Some(Assignor::CooperativeSticky)));
    let bugs: [(Bug, fn()); 3] = [
        (Bug::AssignHeld, held),
        (Bug::CommitAnyGeneration, offsets::commits_are_taken_from_present_members_alone),
        (Bug::ExpireActiveOffsets, offsets::offsets_expire_after_the_last_member_is_gone),
    ];
    for (bug, test) in bugs {
        plant(Some(bug));
        let found = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(found, "{bug:?} goes unnoticed");
    }
}
