//! The run of one seed: a clock, a queue of events, one node, its clients and what goes wrong. The
//! earliest event happens first; after each of them the invariants are checked.

use std::collections::BTreeMap;
use std::path::Path;

use rivvend::partition::{Answer, Append, AppendRefusal, Appended, Health, Reply};
use rivvend::random::Random;
use rivvend::shard::Command;
use rivvend::storage::Disk;
use rivvend::storage::memory::MemoryDisk;
use rivvend::time::Now;
use rivvend::types::{LeaderEpoch, Millis, Offset};

use crate::chaos::{Calamity, Trouble};
use crate::clients::{Ask, Client, Context, Ending, Request, Tag};
use crate::history::{After, Before, Broken, Cut, Fact, History, Retention, Seen, Stop};
use crate::node::{DATA_DIR, Node, id_of};
use crate::setup::Setup;

/// A request that gets no answer for this long has been forgotten.
const ANSWER_US: u64 = 6_000_000;
/// After the faults are over everything has to be settled within this.
const SETTLE_US: u64 = 30_000_000;
const WALL_MS: i64 = 1_700_000_000_000;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    Client(usize),
    Step(usize),
    RunSync(u64),
    EndSync(u64),
    Reply(usize, usize, Tag, Ending),
    Overdue(u64),
    House,
    Maintain,
    Start,
    Calamity(Calamity),
}

struct Open {
    client: usize,
    partition: usize,
    what: Waiting,
}

enum Waiting {
    Append(Answer<Result<Appended, AppendRefusal>>, Tag),
    Delete(Answer<Result<Offset, AppendRefusal>>),
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) acknowledged: u64,
    pub(crate) starts: u64,
}

/// The whole simulated world.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) random: Random,
    pub(crate) now_us: u64,
    queue: BTreeMap<(u64, u64), (u64, Event)>,
    queued: u64,
    pub(crate) node: Option<Node>,
    /// What the node left behind; the same disk as the node's while it runs.
    pub(crate) disk: MemoryDisk,
    pub(crate) history: History,
    clients: Vec<Client>,
    open: BTreeMap<u64, Open>,
    requests: u64,
    step_due: Vec<bool>,
    /// Counts the starts of the node: events of an earlier process do not reach the next one.
    generation: u64,
    pub(crate) trouble: Trouble,
    before: Option<(Stop, Vec<Before>)>,
    pub(crate) healed: bool,
    summary: Summary,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let setup = Setup::choose(&mut random);
        let clients = Client::all(&setup, &mut random);
        let partitions = vec![Seen::default(); setup.partitions];
        let mut world = World {
            step_due: vec![false; setup.shards],
            history: History { partitions, ..History::default() },
            trouble: Trouble::default(),
            setup,
            random,
            now_us: 0,
            queue: BTreeMap::new(),
            queued: 0,
            node: None,
            disk: MemoryDisk::new(),
            clients,
            open: BTreeMap::new(),
            requests: 0,
            generation: 0,
            before: None,
            healed: false,
            summary: Summary::default(),
        };
        world.disk.create_dir_all(Path::new(DATA_DIR)).expect("a new disk works");
        world.after(0, Event::Start);
        for client in 0..world.clients.len() {
            world.after(1_000, Event::Client(client));
        }
        world.after(world.setup.frontier_us, Event::House);
        world.after(world.setup.maintain_us, Event::Maintain);
        world.schedule_calamities();
        world
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Summary, Broken> {
        self.run_until(self.setup.faulty_us, |_| false)?;
        self.heal()?;
        let deadline = self.now_us + SETTLE_US;
        self.run_until(deadline, |world| world.clients.iter().all(Client::is_settled))?;
        if !self.clients.iter().all(Client::is_settled) {
            return Err("L3: batches are not acknowledged although all faults are over".into());
        }
        self.read_everything()?;
        self.summary.trace = mix(self.summary.trace, self.disk.fingerprint());
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
        self.now_us = self.now_us.max(end_us.min(self.now_us + 1_000_000));
        Ok(())
    }

    fn handle(&mut self, generation: u64, event: Event) -> Result<(), Broken> {
        let current = generation == self.generation;
        match event {
            Event::Client(client) => return self.let_act(client),
            Event::Step(shard) if current => {
                self.step_due[shard] = false;
                return self.run_node(false, |node, now| node.step(shard, now));
            }
            Event::RunSync(job) if current => {
                if let Some(node) = &mut self.node {
                    node.run(job);
                    let delay_us = self.random.below(self.setup.sync_us_max / 4 + 1);
                    self.after(delay_us, Event::EndSync(job));
                }
            }
            Event::EndSync(job) if current => {
                if let Some(shard) = self.node.as_mut().and_then(|node| node.tell(job)) {
                    self.wake(shard);
                }
            }
            Event::Reply(client, partition, tag, ending) => {
                return self.deliver(client, partition, &tag, ending);
            }
            Event::Overdue(request) if current && self.open.contains_key(&request) => {
                let what = match self.open[&request].what {
                    Waiting::Append(..) => "an append",
                    Waiting::Delete(_) => "a deletion",
                };
                return self.history.observe(&Fact::Unanswered { what });
            }
            Event::House => {
                self.keep_house(false)?;
                self.after(self.setup.frontier_us, Event::House);
            }
            Event::Maintain => {
                self.keep_house(true)?;
                self.attend();
                self.after(self.setup.maintain_us, Event::Maintain);
            }
            Event::Start => return self.start(),
            Event::Calamity(calamity) => self.strike(calamity),
            _ => {}
        }
        Ok(())
    }

    /// The clock as the engine is given it.
    pub(crate) fn now(&self) -> Now {
        let ms = self.now_us / 1_000;
        Now { wall: Millis(WALL_MS + ms as i64), monotonic_ms: ms }
    }

    fn note(&mut self, number: u64) {
        self.summary.trace = mix(self.summary.trace, number);
    }

    fn wake(&mut self, shard: usize) {
        if !std::mem::replace(&mut self.step_due[shard], true) {
            let delay_us = self.random.below(300);
            self.after(delay_us, Event::Step(shard));
        }
    }

    fn schedule_syncs(&mut self, begun: Vec<u64>) {
        for job in begun {
            let delay_us = 100 + self.random.below(self.setup.sync_us_max);
            self.after(delay_us, Event::RunSync(job));
        }
    }

    fn let_act(&mut self, client: usize) -> Result<(), Broken> {
        let wall_ms = self.now().wall.0;
        let mut context = Context {
            setup: &self.setup,
            random: &mut self.random,
            history: &mut self.history,
            wall_ms,
            handles: self.node.as_ref().map(|node| node.handles.as_slice()),
            requests: Vec::new(),
            faulty: self.trouble.is_faulty,
            winding_down: self.healed,
        };
        self.clients[client].act(&mut context)?;
        let requests = context.requests;
        for request in requests {
            self.submit(client, request);
        }
        let pause_us = 1 + self.random.below(self.setup.think_us);
        self.after(pause_us, Event::Client(client));
        Ok(())
    }

    fn submit(&mut self, client: usize, request: Request) {
        let Request { partition, what } = request;
        let Some(node) = &mut self.node else {
            if let Ask::Append { tag, .. } = what {
                self.after(1_000, Event::Reply(client, partition, tag, None));
            }
            return;
        };
        let shard = node.shard(partition);
        let (command, what) = match what {
            Ask::Append { batches, expected, tag } => {
                let (reply, answer) = Reply::channel();
                let append = Append { batches, expected_offset: expected.map(Offset), reply };
                (Command::Append(id_of(partition), append), Waiting::Append(answer, tag))
            }
            Ask::Delete { before } => {
                let (reply, answer) = Reply::channel();
                let before = Some(Offset(before));
                let command = Command::DeleteRecords(id_of(partition), before, reply);
                (command, Waiting::Delete(answer))
            }
        };
        node.submit(shard, command);
        self.requests += 1;
        self.open.insert(self.requests, Open { client, partition, what });
        self.after(ANSWER_US, Event::Overdue(self.requests));
        self.wake(shard);
    }

    /// Sends off the answers that the engine has given.
    fn collect_answers(&mut self) {
        let mut answered = Vec::new();
        for (&request, open) in &mut self.open {
            match &mut open.what {
                Waiting::Append(answer, tag) => {
                    if let Ok(outcome) = answer.try_recv() {
                        let tag = std::mem::take(tag);
                        answered.push((request, Some((tag, outcome))));
                    }
                }
                Waiting::Delete(answer) => {
                    if answer.try_recv().is_ok() {
                        answered.push((request, None));
                    }
                }
            }
        }
        let off = self.disk.is_off();
        for (request, answer) in answered {
            let open = self.open.remove(&request).expect("it was found above");
            let Some((mut tag, outcome)) = answer else { continue };
            tag.faulty = self.trouble.is_faulty;
            // Errors that a power cut makes never get out of the machine.
            let lost = self.random.chance(self.setup.lost_percent, 100) && !self.healed;
            let ending = (!(lost || off && outcome.is_err())).then_some(outcome);
            let delay_us = match ending {
                Some(_) => self.random.below(2_000),
                None => 200_000,
            };
            self.after(delay_us, Event::Reply(open.client, open.partition, tag, ending));
        }
    }

    fn deliver(
        &mut self,
        client: usize,
        partition: usize,
        tag: &Tag,
        ending: Ending,
    ) -> Result<(), Broken> {
        match &ending {
            Some(Ok(appended)) => {
                let mut offset = appended.base_offset.0;
                self.note(offset as u64);
                for &sent in &tag.sends {
                    self.history.observe(&Fact::Acknowledged { sent, offset })?;
                    offset += self.history.sends[sent].count as i64;
                    self.summary.acknowledged += 1;
                }
            }
            Some(Err(refusal)) => {
                let (settled, faulty) = (tag.settled, tag.faulty);
                for &sent in &tag.sends {
                    let fact = Fact::Refused { sent, refusal, settled, faulty };
                    self.history.observe(&fact)?;
                }
            }
            None => {}
        }
        self.clients[client].ended(partition, tag, ending);
        Ok(())
    }

    fn keep_house(&mut self, enforce: bool) -> Result<(), Broken> {
        self.run_node(enforce, |node, now| node.keep_house(enforce, now))
    }

    /// Lets the node work and holds what it removed against what it may remove.
    fn run_node(
        &mut self,
        enforces: bool,
        work: impl FnOnce(&mut Node, Now) -> Vec<u64>,
    ) -> Result<(), Broken> {
        let now = self.now();
        let Some(node) = &mut self.node else { return Ok(()) };
        let before = node.starts();
        let begun = work(node, now);
        let after = node.handles.iter().map(|handle| handle.view()).collect::<Vec<_>>();
        self.schedule_syncs(begun);
        let uncertain = self.disk.is_off() || self.trouble.is_faulty;
        for (partition, ((from, changes), view)) in before.into_iter().zip(after).enumerate() {
            let seen = &mut self.history.partitions[partition];
            // What was asked for is deletable since it was sent.
            let asked = seen.deletable;
            if uncertain && (enforces || changes) {
                // The new start may be on the disk although nobody was told that it is.
                seen.deletable = seen.deletable.max(seen.watermark);
            }
            let (to, watermark) = (view.start().0, view.high_watermark.offset.0);
            if to <= from || to <= asked || self.disk.is_off() {
                continue;
            }
            let retention = Retention {
                now: now.wall.0,
                age_ms: self.setup.log.retention_ms,
                bytes: self.setup.log.retention_bytes,
                left: view.size_bytes,
            };
            let cut = Cut { from, to, watermark, retention: Some(retention) };
            self.history.observe(&Fact::Cut { partition, cut })?;
        }
        Ok(())
    }

    /// What everybody can see after an event.
    fn look(&mut self) -> Result<(), Broken> {
        self.collect_answers();
        self.note(self.disk.operations());
        if self.disk.is_off() {
            self.die();
            return Ok(());
        }
        let Some(node) = &self.node else { return Ok(()) };
        let ends = node.ends();
        for (partition, end) in ends.into_iter().enumerate() {
            let view = node.handles[partition].view();
            let fact = Fact::View {
                partition,
                start: view.start().0,
                watermark: view.high_watermark.offset.0,
                synced: end.synced,
                durability: self.setup.log.durability,
                health_good: matches!(view.health, Health::Good),
                faulty: self.trouble.is_faulty,
            };
            self.history.observe(&fact)?;
        }
        Ok(())
    }

    /// Starts the node on what is on the disk.
    pub(crate) fn start(&mut self) -> Result<(), Broken> {
        if self.node.is_some() {
            return Ok(());
        }
        self.summary.starts += 1;
        self.generation += 1;
        self.step_due = vec![false; self.setup.shards];
        let epoch = LeaderEpoch((self.summary.starts / 3) as i32);
        match Node::start(self.disk.clone(), &self.setup, epoch, self.now()) {
            Ok((node, opened)) => {
                let before = self.before.take();
                for (partition, opened) in opened.iter().enumerate() {
                    let (start, end) = (opened.start, opened.end);
                    self.note(end as u64);
                    let after = After { start, end, recovery: &opened.recovery };
                    let (stop, before) = match &before {
                        Some((stop, before)) => (*stop, Some(before[partition])),
                        None => (Stop::Clean, None),
                    };
                    let fact = Fact::Recovered { partition, stop, before, after };
                    self.history.observe(&fact)?;
                }
                self.node = Some(node);
                self.trouble.started(&self.disk, self.now_us);
                Ok(())
            }
            Err(why) if self.disk.is_off() || self.trouble.is_faulty => {
                self.note(why.len() as u64);
                self.trouble.fail_to_start(&self.disk);
                self.after(200_000, Event::Start);
                Ok(())
            }
            Err(why) => Err(format!("L8: the node does not start on a sound disk: {why}")),
        }
    }

    /// The process is gone: nobody hears of what was under way.
    pub(crate) fn gone(&mut self, stop: Stop, before: Vec<Before>) {
        self.node = None;
        // A start that failed has not changed what must be there after the next one, but may have
        // made the way down harder.
        let harder = |a: Stop, b: Stop| if a == Stop::Power { a } else { b };
        self.before = Some(match self.before.take() {
            Some((earlier, kept)) => (harder(earlier, stop), kept),
            None => (stop, before),
        });
        for (_, open) in std::mem::take(&mut self.open) {
            if let Waiting::Append(_, tag) = open.what {
                let delay_us = 1 + self.random.below(50_000);
                self.after(delay_us, Event::Reply(open.client, open.partition, tag, None));
            }
        }
        let delay_us = 10_000 + self.random.below(400_000);
        self.after(delay_us, Event::Start);
    }

    /// Notes that a further power cut came before the next start.
    pub(crate) fn harden(&mut self, stop: Stop) {
        if let Some((earlier, _)) = &mut self.before
            && *earlier != Stop::Power
        {
            *earlier = stop;
        }
    }
}

/// Takes a number into a hash of everything that has happened.
pub(crate) fn mix(hash: u64, number: u64) -> u64 {
    (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}
