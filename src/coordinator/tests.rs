//! Groups from outside: requests, time and restarts in; answers and records out. Every step is held
//! against the replay of what was written, through the bytes it is written as.

mod formats;
mod members;
mod model;
mod offsets;
mod server;

use std::collections::BTreeMap;

use super::*;
use crate::metadata::{Command, CreateTopic, TopicRef, decide};
use crate::types::{Millis, NodeId, Offset, PartitionId, TopicId};
use bytes::Bytes;
use uuid::Uuid;

/// A coordinator with its log, its clock and everybody who waits for an answer.
pub(super) struct World {
    pub(super) coordinator: Coordinator<u32>,
    pub(super) records: Vec<Record>,
    replayed: Store,
    pub(super) now: Now,
    tickets: u32,
    fresh: u128,
    pub(super) answers: BTreeMap<u32, Reply>,
    pub(super) image: Image,
    rebalances: Vec<RebalanceCause>,
}

impl World {
    pub(super) fn new() -> World {
        World::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> World {
        let now = Now { wall: Millis(1_700_000_000_000), monotonic_ms: 1_000 };
        let mut image = Image::default();
        apply(&mut image, now, Command::FormCluster { cluster_id: "test".to_owned() });
        let register = Command::RegisterBroker {
            node: NodeId(1),
            incarnation: Uuid::from_u128(1),
            address: String::new(),
            rack: None,
        };
        apply(&mut image, now, register);
        let shared = Arc::new(image.clone());
        World {
            coordinator: Coordinator::new(Arc::new(config), shared, Store::default(), now),
            records: Vec::new(),
            replayed: Store::default(),
            now,
            tickets: 0,
            fresh: 0,
            answers: BTreeMap::new(),
            image,
            rebalances: Vec::new(),
        }
    }

    pub(super) fn topic(&mut self, name: &str, partitions: i32) {
        let topic = CreateTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: None,
            config: Vec::new(),
            topic_id: TopicId(Uuid::from_u128(u128::from(self.fresh()))),
            internal: false,
        };
        self.change(Command::CreateTopic(topic));
    }

    pub(super) fn delete_topic(&mut self, name: &str) {
        self.change(Command::DeleteTopic { topic: TopicRef::Name(name.to_owned()) });
    }

    pub(super) fn change(&mut self, command: Command) {
        apply(&mut self.image, self.now, command);
        let (image, now) = (Arc::new(self.image.clone()), self.now);
        self.step(|coordinator, out| coordinator.set_topics(now, image, out));
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh as u64
    }

    /// Asks; the answer comes under the ticket, now or later.
    pub(super) fn ask(&mut self, request: Request) -> u32 {
        self.tickets += 1;
        let (ticket, now) = (self.tickets, self.now);
        self.step(|coordinator, out| coordinator.handle(now, ticket, request, out));
        ticket
    }

    /// Asks something that is answered at once.
    pub(super) fn get(&mut self, request: Request) -> Reply {
        let ticket = self.ask(request);
        self.answers.remove(&ticket).expect("an answer at once")
    }

    pub(super) fn take(&mut self, ticket: u32) -> Option<Reply> {
        self.answers.remove(&ticket)
    }

    /// Lets time go by, with a look at every deadline on the way.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        while self.now.monotonic_ms < end {
            let next = self.coordinator.next_deadline().clamp(self.now.monotonic_ms + 1, end);
            self.now.wall.0 += (next - self.now.monotonic_ms) as i64;
            self.now.monotonic_ms = next;
            let now = self.now;
            self.step(|coordinator, out| coordinator.tick(now, out));
            assert!(self.coordinator.next_deadline() > next, "what is due was done");
        }
    }

    /// The process ends and another one takes over: only what was written is left.
    pub(super) fn restart(&mut self) {
        let mut store = Store::default();
        self.records.iter().for_each(|record| store.replay(&through_bytes(record)));
        assert_eq!(store.digest(), self.coordinator.store().digest());
        let (config, image) = (Arc::clone(&self.coordinator.config), Arc::new(self.image.clone()));
        self.coordinator = Coordinator::new(config, image, store, self.now);
    }

    /// What began the rebalances that began since this was last asked.
    pub(super) fn begun(&mut self) -> Vec<RebalanceCause> {
        std::mem::take(&mut self.rebalances)
    }

    pub(super) fn survey(&mut self) -> Survey {
        match self.get(Request::Survey) {
            Reply::Surveyed(Ok(survey)) => *survey,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self, group: &str) -> Described {
        match self.get(Request::Describe(group.into())) {
            Reply::Described(Ok(described)) => *described,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, group: &str) -> State {
        self.describe(group).state
    }

    fn step(&mut self, work: impl FnOnce(&mut Coordinator<u32>, &mut Outbox<u32>)) {
        let mut out = Outbox::default();
        work(&mut self.coordinator, &mut out);
        for record in &out.records {
            self.replayed.replay(&through_bytes(record));
        }
        // G3: live state is the replay of the log at every step.
        assert_eq!(self.coordinator.store(), &self.replayed);
        assert_eq!(self.coordinator.store().digest(), self.replayed.digest());
        self.records.append(&mut out.records);
        self.rebalances.append(&mut out.rebalances);
        for (ticket, reply) in out.answers.into_iter().chain(out.at_once) {
            assert!(self.answers.insert(ticket, reply).is_none(), "one answer to each request");
        }
        self.check();
    }

    /// What holds between steps: a stable group is as it was recorded, and every timer is of a
    /// group that knows of it.
    fn check(&self) {
        for (id, group) in &self.coordinator.groups {
            if let Some(due) = group.armed_ms {
                assert!(self.coordinator.timers.contains(&(due, Arc::clone(id))));
            }
            if let Some(due) = group.next_deadline() {
                assert!(group.armed_ms.is_some_and(|armed| armed <= due), "{id} is looked at");
            }
            let stored = self.coordinator.store().group(id).and_then(|s| s.metadata.as_ref());
            if group.state() != State::Stable {
                continue;
            }
            let stored = stored.expect("a stable group is recorded");
            assert_eq!((stored.generation, &stored.protocol), (group.generation, &group.protocol));
            let live = group.members.iter().map(|(id, m)| m.store(id, group.protocol.as_ref()));
            assert!(live.eq(stored.members.iter().cloned()), "members are as recorded");
        }
        let armed = self.coordinator.groups.values().filter(|g| g.armed_ms.is_some()).count();
        assert_eq!(armed, self.coordinator.timers.len());
    }
}

fn apply(image: &mut Image, now: Now, command: Command) {
    let decision = decide(image, now, command).expect("a sound command");
    decision.records.iter().for_each(|record| image.replay(record));
}

fn through_bytes(record: &Record) -> Record {
    let read = Record::decode(record.key(), record.value()).expect("own bytes");
    assert_eq!(&read, record);
    read
}

/// A member of group `g` as a test speaks for it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: Option<Text>,
    pub(super) instance: Option<Text>,
    pub(super) generation: i32,
    pub(super) protocols: Vec<(Text, Bytes)>,
    pub(super) assigner: Assigner,
    pub(super) session_ms: u32,
    pub(super) rebalance_ms: u32,
}

impl Client {
    pub(super) fn new() -> Client {
        Client {
            id: None,
            instance: None,
            generation: -1,
            protocols: vec![("range".into(), Bytes::from_static(b"x"))],
            assigner: Assigner::Leader,
            session_ms: 10_000,
            rebalance_ms: 60_000,
        }
    }

    pub(super) fn named(instance: &str) -> Client {
        Client { instance: Some(instance.into()), ..Client::new() }
    }

    pub(super) fn join(&self, world: &mut World) -> u32 {
        let fresh = Uuid::from_u128(u128::from(world.fresh()));
        world.ask(Request::Join(Join {
            group: "g".into(),
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_ms: self.session_ms,
            rebalance_ms: self.rebalance_ms,
            protocol_type: "consumer".into(),
            protocols: self.protocols.clone(),
            reason: None,
            assigner: self.assigner,
            id_required: false,
            skips_assignment: true,
            fresh,
        }))
    }

    pub(super) fn joined(&mut self, reply: Option<Reply>) -> Joined {
        let joined = joined(reply).expect("joined");
        self.id = Some(Arc::clone(&joined.member));
        self.generation = joined.generation;
        joined
    }

    pub(super) fn sync(&self, world: &mut World, assignments: &[(&Client, &str)]) -> u32 {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let assignments = assignments.iter().map(|(to, text)| (to.id(), bytes(text)));
        world.ask(Request::Sync(Sync {
            group: "g".into(),
            member: self.id(),
            instance: self.instance.clone(),
            generation: self.generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        }))
    }

    pub(super) fn beat(&self, world: &mut World) -> Result<(), GroupError> {
        let beat = Heartbeat {
            group: "g".into(),
            member: self.id(),
            instance: self.instance.clone(),
            generation: self.generation,
        };
        match world.get(Request::Heartbeat(beat)) {
            Reply::Done(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&self, world: &mut World, reason: &str) -> Result<(), GroupError> {
        let leaving = Leaving {
            member: Some(self.id()),
            instance: self.instance.clone(),
            reason: Some(reason.into()),
        };
        let leave = Leave { group: "g".into(), members: vec![leaving] };
        match world.get(Request::Leave(leave)) {
            Reply::Left(outcome) => outcome?.remove(0).outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn commit(&self, world: &mut World, offset: i64) -> Result<(), GroupError> {
        let commit = Commit {
            group: "g".into(),
            member: self.id.clone(),
            instance: self.instance.clone(),
            generation: self.generation,
            retention_ms: None,
            offsets: vec![offset_of("t", 0, offset)],
        };
        committed(world.get(Request::Commit(commit)))
    }

    pub(super) fn id(&self) -> Text {
        Arc::clone(self.id.as_ref().expect("a member by now"))
    }
}

pub(super) fn joined(reply: Option<Reply>) -> Result<Joined, JoinRefused> {
    match reply {
        Some(Reply::Joined(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

pub(super) fn synced(reply: Option<Reply>) -> Result<Bytes, GroupError> {
    match reply {
        Some(Reply::Synced(outcome)) => outcome.map(|synced| synced.assignment),
        other => panic!("{other:?}"),
    }
}

pub(super) fn committed(reply: Reply) -> Result<(), GroupError> {
    match reply {
        Reply::Committed(outcome) => outcome?.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn offset_of(topic: &str, partition: i32, offset: i64) -> CommitOffset {
    CommitOffset {
        topic: topic.into(),
        topic_id: None,
        partition: PartitionId(partition),
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: "".into(),
    }
}

/// A stable group of these members, of which the first leads.
pub(super) fn stable(world: &mut World, mut clients: Vec<Client>) -> Vec<Client> {
    let tickets: Vec<u32> = clients.iter().map(|client| client.join(world)).collect();
    world.pass(u64::from(world.coordinator.config.initial_delay_ms) * 4);
    for (client, ticket) in clients.iter_mut().zip(tickets) {
        let reply = world.take(ticket);
        client.joined(reply);
    }
    settle(world, &clients);
    clients
}

/// Lets the members of a new generation sync.
pub(super) fn settle(world: &mut World, clients: &[Client]) {
    let assignments: Vec<(&Client, &str)> = clients.iter().map(|c| (c, "given")).collect();
    let tickets: Vec<u32> = clients.iter().map(|client| client.sync(world, &assignments)).collect();
    for ticket in tickets {
        assert_eq!(synced(world.take(ticket)).as_deref(), Ok(b"given".as_slice()));
    }
    assert_eq!(world.state("g"), State::Stable);
}

pub(super) fn reasons(world: &mut World) -> Vec<String> {
    let rebalances = world.describe("g").rebalances;
    rebalances.into_iter().map(|r| format!("{}: {}", r.generation, r.reason)).collect()
}
