//! The run of one seed: a clock, a queue of events, one node with a coordinator on its last
//! partition, the members of its groups and what goes wrong. The earliest event happens first;
//! after each of them the invariants are checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rivvend::coordinator::Text;
use rivvend::metadata::Image;
use rivvend::partition::{Append, Reply};
use rivvend::random::Random;
use rivvend::record::Compression;
use rivvend::shard::{Command, GroupCommand};
use rivvend::storage::Disk;
use rivvend::storage::memory::MemoryDisk;
use rivvend::time::Now;
use rivvend::types::{LeaderEpoch, Millis, PartitionId};

use super::chaos::{Calamity, Trouble, first_image};
use super::errands::Ghost;
use super::history::{Fact, History};
use super::log::{Mirror, Pass, Removals, Watch};
use super::member::Member;
use super::network::{Delivery, Network};
use super::setup::{FLEETING, Setup, TOPIC};
use crate::history::{Broken, make};
use crate::node::{DATA_DIR, Node, id_of};
use crate::world::{Summary, mix};

const WALL_MS: i64 = 1_700_000_000_000;
/// Time between two appends to the partitions that are read.
const PRODUCE_US: u64 = 40_000;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    Act(usize),
    Arrive(u64),
    Deliver(Box<Delivery>),
    Step(usize),
    RunJob(u64),
    EndJob(u64),
    Alarm,
    House,
    Maintain,
    Compact,
    Produce,
    Errand,
    Start,
    Calamity(Calamity),
}

/// The whole simulated world.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) random: Random,
    pub(crate) now_us: u64,
    /// How far the wall clock has been moved.
    pub(crate) skew_ms: i64,
    queue: BTreeMap<(u64, u64), (u64, Event)>,
    queued: u64,
    pub(crate) node: Option<Node>,
    /// What the node left behind; the same disk as the node's while it runs.
    pub(crate) disk: MemoryDisk,
    pub(crate) history: History,
    pub(crate) members: Vec<Member>,
    pub(crate) ghosts: Vec<Ghost>,
    pub(crate) network: Network,
    pub(crate) image: Image,
    pub(crate) mirror: Mirror,
    pub(crate) watch: Watch,
    pub(crate) removals: Removals,
    pub(crate) pass: Option<Pass>,
    step_due: Vec<bool>,
    alarm_us: u64,
    /// Counts the starts of the node: events of an earlier process do not reach the next one.
    pub(crate) generation: u64,
    pub(crate) trouble: Trouble,
    pub(crate) healed: bool,
    /// Nothing is wrong and every group has settled.
    pub(crate) calm: bool,
    pub(crate) summary: Summary,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let setup = Setup::choose(&mut random);
        let members = Member::all(&setup);
        let now = Now { wall: Millis(WALL_MS), monotonic_ms: 0 };
        let mut world = World {
            step_due: vec![false; setup.node.shards],
            network: Network::new(members.len()),
            image: first_image(&[TOPIC, FLEETING], setup.partitions(), now),
            mirror: Mirror::default(),
            watch: Watch::default(),
            removals: Removals::default(),
            pass: None,
            history: History::default(),
            trouble: Trouble::default(),
            members,
            ghosts: Vec::new(),
            setup,
            random,
            now_us: 0,
            skew_ms: 0,
            queue: BTreeMap::new(),
            queued: 0,
            node: None,
            disk: MemoryDisk::new(),
            alarm_us: u64::MAX,
            generation: 0,
            healed: false,
            calm: false,
            summary: Summary::default(),
        };
        world.disk.create_dir_all(Path::new(DATA_DIR)).expect("a new disk works");
        world.after(0, Event::Start);
        for member in 0..world.members.len() {
            let delay_us = 1_000 + world.random.below(1_000_000);
            world.after(delay_us, Event::Act(member));
        }
        world.after(world.setup.node.frontier_us, Event::House);
        world.after(world.setup.node.maintain_us, Event::Maintain);
        world.after(world.setup.compact_us, Event::Compact);
        world.after(PRODUCE_US, Event::Produce);
        world.after(world.setup.errand_us, Event::Errand);
        world.schedule_calamities();
        world
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Summary, Broken> {
        self.run_until(self.setup.node.faulty_us, |_| false)?;
        self.heal()?;
        let settle_us = (2 * self.setup.rebalance_bound_ms() + 5_000) * 1_000;
        self.run_until(self.now_us + settle_us, World::is_settled)?;
        self.must_have_settled()?;
        self.calm = true;
        self.run_until(self.now_us + 3_000_000, |_| false)?;
        self.must_have_settled()?;
        self.calm = false;
        self.restart_in_order()?;
        self.ask_for_everything();
        self.run_until(self.now_us + 4_000_000, |_| false)?;
        self.must_have_settled()?;
        self.note(self.disk.fingerprint());
        Ok(self.summary)
    }

    /// Lets an event happen later.
    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now_us + delay_us, self.queued), (self.generation, event));
    }

    fn run_until(&mut self, end_us: u64, done: impl Fn(&World) -> bool) -> Result<(), Broken> {
        while !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end_us)
            else {
                break;
            };
            let ((at, _), (generation, event)) = entry.remove_entry();
            self.now_us = at;
            self.summary.events += 1;
            self.note(at);
            self.handle(generation, event)?;
            self.look()?;
        }
        Ok(())
    }

    fn handle(&mut self, generation: u64, event: Event) -> Result<(), Broken> {
        let current = generation == self.generation;
        match event {
            Event::Act(member) => {
                self.let_act(member);
                let pause_us = 1 + self.random.below(self.setup.think_us);
                self.after(pause_us, Event::Act(member));
            }
            // A connection ends with the process that it led to.
            Event::Arrive(ask) if current => self.arrive(ask),
            Event::Deliver(delivery) => return self.deliver(*delivery),
            Event::Step(shard) if current => {
                self.step_due[shard] = false;
                return self.step(shard);
            }
            Event::RunJob(job) if current => {
                if let Some(node) = &mut self.node {
                    node.run(job);
                    let delay_us = self.random.below(self.setup.node.sync_us_max / 4 + 1);
                    self.after(delay_us, Event::EndJob(job));
                }
            }
            Event::EndJob(job) if current => {
                if let Some(shard) = self.node.as_mut().and_then(|node| node.tell(job)) {
                    self.wake(shard);
                }
            }
            Event::Alarm if current => {
                self.alarm_us = u64::MAX;
                self.tell_coordinator(GroupCommand::Tick);
            }
            Event::House => {
                self.keep_house(false)?;
                self.after(self.setup.node.frontier_us, Event::House);
            }
            Event::Maintain => {
                self.keep_house(true)?;
                self.attend();
                self.after(self.setup.node.maintain_us, Event::Maintain);
            }
            Event::Compact => {
                self.compact()?;
                self.after(self.setup.compact_us, Event::Compact);
            }
            Event::Produce => self.produce(),
            Event::Errand if !self.healed => {
                self.run_errand();
                self.after(self.setup.errand_us, Event::Errand);
            }
            Event::Start => return self.start(),
            Event::Calamity(calamity) => self.strike(calamity),
            _ => {}
        }
        Ok(())
    }

    /// The clocks as the engine is given them.
    pub(crate) fn now(&self) -> Now {
        let ms = self.now_us / 1_000;
        Now { wall: Millis(WALL_MS + ms as i64 + self.skew_ms), monotonic_ms: ms }
    }

    /// Takes a number into the hash of everything that has happened.
    pub(crate) fn note(&mut self, number: u64) {
        self.summary.trace = mix(self.summary.trace, number);
    }

    /// Has a shard work off its mailbox soon.
    pub(crate) fn wake(&mut self, shard: usize) {
        if !std::mem::replace(&mut self.step_due[shard], true) {
            let delay_us = self.random.below(300);
            self.after(delay_us, Event::Step(shard));
        }
    }

    /// Tells the coordinator's shard something, if the node is there.
    pub(crate) fn tell_coordinator(&mut self, command: GroupCommand) {
        let Some(node) = &mut self.node else { return };
        let shard = node.shard(self.setup.offsets_partition());
        node.submit(shard, Command::Groups(Box::new(command)));
        self.wake(shard);
    }

    /// Tells the coordinator which topics there are.
    pub(crate) fn tell_topics(&mut self) {
        self.removals.topics = true;
        self.tell_coordinator(GroupCommand::Topics(Arc::new(self.image.clone())));
    }

    fn step(&mut self, shard: usize) -> Result<(), Broken> {
        let now = self.now();
        let offsets = self.setup.offsets_partition();
        let Some(node) = &mut self.node else { return Ok(()) };
        let before = self.watch.before(node, shard, offsets);
        let begun = node.step(shard, now);
        self.schedule(begun);
        self.arm();
        if let Some(before) = before {
            self.look_for_removals(&before)?;
        }
        Ok(())
    }

    fn keep_house(&mut self, enforce: bool) -> Result<(), Broken> {
        let now = self.now();
        let offsets = self.setup.offsets_partition();
        let Some(node) = &mut self.node else { return Ok(()) };
        let shard = node.shard(offsets);
        let before = self.watch.before(node, shard, offsets);
        let begun = node.keep_house(enforce, now);
        self.schedule(begun);
        self.arm();
        if let Some(before) = before {
            self.look_for_removals(&before)?;
        }
        self.look_at_rebalances()
    }

    /// Lets jobs run when their time has come.
    pub(crate) fn schedule(&mut self, begun: Vec<u64>) {
        for job in begun {
            let delay_us = 100 + self.random.below(self.setup.node.sync_us_max);
            self.after(delay_us, Event::RunJob(job));
        }
    }

    /// Has the coordinator looked at when it wants to be.
    pub(crate) fn arm(&mut self) {
        let Some(due_ms) = self.node.as_mut().and_then(Node::take_due) else { return };
        let due_us = due_ms.saturating_mul(1_000).max(self.now_us + 1_000);
        if due_us < self.alarm_us && due_ms < u64::MAX / 1_000 {
            self.alarm_us = due_us;
            self.after(due_us - self.now_us, Event::Alarm);
        }
    }

    fn produce(&mut self) {
        let partition = self.random.below(self.setup.partitions() as u64) as usize;
        let wall_ms = self.now().wall.0;
        if let Some(node) = &mut self.node {
            let made = make(0, &[8], wall_ms, None, Compression::None);
            let reply = Reply::ignored();
            let append = Append { batches: vec![made.batch], expected_offset: None, reply };
            let shard = node.shard(partition);
            node.submit(shard, Command::Append(id_of(partition), append));
            self.wake(shard);
        }
        self.after(PRODUCE_US, Event::Produce);
    }

    /// Where a partition ends that members read, as its readers see it.
    pub(crate) fn watermark(&self, topic: &Text, partition: PartitionId) -> Option<i64> {
        let node = self.node.as_ref().filter(|_| **topic == *TOPIC)?;
        let view = node.handles.get(partition.0 as usize)?.view();
        Some(view.high_watermark.offset.0)
    }

    /// What everybody can see after an event.
    fn look(&mut self) -> Result<(), Broken> {
        self.note(self.disk.operations());
        if self.disk.is_off() {
            self.die();
            return Ok(());
        }
        self.read_log()?;
        self.collect_answers()?;
        self.look_at_coordinator()?;
        self.look_at_members()
    }

    /// Starts the node on what is on the disk.
    pub(crate) fn start(&mut self) -> Result<(), Broken> {
        if self.node.is_some() {
            return Ok(());
        }
        self.summary.starts += 1;
        self.generation += 1;
        self.history.process = self.generation;
        self.step_due = vec![false; self.setup.node.shards];
        self.alarm_us = u64::MAX;
        let epoch = LeaderEpoch((self.summary.starts / 3) as i32);
        match Node::start(self.disk.clone(), &self.setup.node, epoch, self.now()) {
            Ok((node, _)) => {
                self.node = Some(node);
                self.trouble.failed_starts = 0;
                self.watch.started(self.now_us);
                let host = GroupCommand::Host {
                    id: id_of(self.setup.offsets_partition()),
                    config: Arc::clone(&self.setup.config),
                    image: Arc::new(self.image.clone()),
                    may_write: true,
                };
                self.tell_coordinator(host);
                Ok(())
            }
            Err(why) if self.disk.is_off() || self.trouble.is_faulty => {
                self.note(why.len() as u64);
                self.trouble.failed_starts += 1;
                if self.trouble.failed_starts > 2 {
                    self.disk.clear_faults();
                    self.disk.set_capacity(None);
                }
                self.after(200_000, Event::Start);
                Ok(())
            }
            Err(why) => Err(format!("L8: the node does not start on a sound disk: {why}")),
        }
    }

    /// The process is gone: nobody hears of what was under way.
    pub(crate) fn gone(&mut self) {
        self.pass = None;
        self.network.hang_up();
        self.removals = Removals::default();
        self.disturb_all();
        let delay_us = 10_000 + self.random.below(400_000);
        self.after(delay_us, Event::Start);
    }

    fn is_settled(&self) -> bool {
        let now_ms = self.now().monotonic_ms;
        let mut names = self.setup.groups.iter().map(|group| &group.name);
        self.members.iter().all(|member| member.is_settled(now_ms))
            && names.all(|name| self.watch.is_stable(name, &self.members))
    }

    fn must_have_settled(&mut self) -> Result<(), Broken> {
        if !self.is_settled() {
            let doing: Vec<_> = self.members.iter().map(|m| (&m.group, &m.id, m.doing)).collect();
            return Err(format!(
                "G7: groups do not settle although all faults are over: {doing:?}, {:?}",
                self.watch
            ));
        }
        let partitions = self.setup.partitions();
        for group in self.setup.groups.clone() {
            let members = self.members.iter().filter(|member| member.group == group.name);
            let members: Vec<_> =
                members.filter_map(|m| m.id.as_ref().map(|id| (id, &m.holds))).collect();
            let group = &group.name;
            self.history.observe(&Fact::Settled { group, members: &members, partitions })?;
            self.history.observe(&Fact::Reading { group, members: &members })?;
        }
        Ok(())
    }
}
