//! Requests on their way to the coordinator and answers on their way back: either may get lost or
//! be late, and a request may come twice. What an answer says becomes a fact when it is given,
//! whether or not it arrives.

use std::collections::BTreeMap;

use rivvend::coordinator::consumer::decode_assignment;
use rivvend::coordinator::{
    Committed, Fetch, GroupError, Joined, Reply as GroupReply, Request, Text,
};
use rivvend::partition::{Answer, Reply};
use rivvend::shard::GroupCommand;
use uuid::Uuid;

use super::history::{Asked, Fact, Key};
use super::invariants::names;
use super::member::Context;
use super::world::{Event, World};
use crate::history::Broken;
use crate::node::id_of;

/// A request that waits for nobody and gets no answer for this long has been forgotten.
const ANSWER_US: u64 = 6_000_000;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The member that asks, and which process of it.
    from: Option<(usize, u64)>,
    request: Request,
    /// Which commit it is.
    commit: Option<usize>,
}

/// A request that has reached the coordinator.
struct Open {
    number: u64,
    ask: Ask,
    /// Counts arrivals and answers.
    arrived: u64,
    at_us: u64,
    /// How much of the log was durable then.
    durable: i64,
    was_ready: bool,
    /// Who had the instance then that the request names.
    holder: Option<Text>,
    answer: Answer<GroupReply>,
}

/// An answer on its way to the member that asked.
#[derive(Debug)]
pub(crate) struct Delivery {
    number: u64,
    to: (usize, u64),
    reply: GroupReply,
}

/// What is on its way.
#[derive(Default)]
pub(crate) struct Network {
    asks: BTreeMap<u64, Ask>,
    asked: u64,
    open: Vec<Open>,
    moments: u64,
    /// When the last request of each member arrives: the next one is not faster.
    lines: Vec<u64>,
}

impl Network {
    /// Nothing is on its way.
    pub(crate) fn new(members: usize) -> Network {
        Network { lines: vec![0; members], ..Network::default() }
    }

    /// The node is gone, and every connection with it.
    pub(crate) fn hang_up(&mut self) {
        self.open.clear();
        self.asks.clear();
    }

    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}

impl World {
    /// Lets a member do something.
    pub(crate) fn let_act(&mut self, member: usize) {
        self.with_member(member, |member, context| {
            member.act(context);
            Ok(())
        })
        .expect("to act breaks nothing");
    }

    /// Hands a member what it may use, and sends off what it asks.
    fn with_member(
        &mut self,
        number: usize,
        work: impl FnOnce(&mut super::member::Member, &mut Context<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let topic = super::setup::TOPIC.into();
        let partitions = (0..self.setup.partitions()).map(rivvend::types::PartitionId);
        let watermarks: Vec<i64> =
            partitions.map(|p| self.watermark(&topic, p).unwrap_or_default()).collect();
        let now_ms = self.now().monotonic_ms;
        let mut context = Context {
            setup: &self.setup,
            random: &mut self.random,
            history: &mut self.history,
            now_ms,
            watermarks: &watermarks,
            asked: &mut self.network.asked,
            asks: Vec::new(),
            disturbs: false,
            winding_down: self.healed,
        };
        // A process that ends can not be asked any more, its last request is sent all the same.
        let process = self.members[number].process;
        work(&mut self.members[number], &mut context)?;
        let (asks, disturbs) = (context.asks, context.disturbs);
        if disturbs {
            self.disturb_of(number);
        }
        for (ask, request, commit) in asks {
            self.send(ask, Ask { from: Some((number, process)), request, commit });
        }
        Ok(())
    }

    /// Asks something that no member asks.
    pub(crate) fn ask(
        &mut self,
        from: Option<(usize, u64)>,
        request: Request,
        commit: Option<usize>,
    ) {
        self.network.asked += 1;
        let number = self.network.asked;
        self.send(number, Ask { from, request, commit });
    }

    fn send(&mut self, number: u64, ask: Ask) {
        let group = group_of(&ask.request).clone();
        let mut arrives_us = self.now_us + self.random.below(3_000);
        if !self.healed {
            if self.random.chance(self.setup.lost_percent, 100) {
                self.disturb(&group);
                return;
            }
            if self.setup.reorders && self.random.chance(1, 15) {
                arrives_us += self.random.below(1_500_000);
                self.disturb(&group);
            } else if let Some((member, _)) = ask.from {
                let line = &mut self.network.lines[member];
                arrives_us = arrives_us.max(*line);
                *line = arrives_us;
            }
            if self.setup.reorders && self.random.chance(1, 20) {
                let delay_us = arrives_us - self.now_us + self.random.below(800_000);
                self.after(delay_us, Event::Arrive(number));
                self.disturb(&group);
            }
        }
        self.network.asks.insert(number, ask);
        self.after(arrives_us - self.now_us, Event::Arrive(number));
    }

    /// A request has reached the node.
    pub(crate) fn arrive(&mut self, number: u64) {
        let Some(node) = &self.node else { return };
        let Some(mut ask) = self.network.asks.get(&number).cloned() else { return };
        let was_ready = node.coordinator(self.setup.offsets_partition()).is_some();
        let arrived = self.network.moment();
        if let Some(commit) = ask.commit {
            self.history.arrived(commit);
        }
        match &mut ask.request {
            Request::Join(join) => {
                // Whoever takes a request from the network draws this.
                join.fresh = Uuid::from_u128(u128::from(self.random.next_u64()));
                self.removals.joins = true;
                if let (None, Some(instance)) = (&join.member, &join.instance) {
                    let key = (Text::clone(&join.group), Text::clone(instance));
                    self.history.instances.entry(key).or_default().asked = arrived;
                }
            }
            Request::DeleteGroup(group) => self.removals.groups.push(Text::clone(group)),
            Request::DeleteOffsets(delete) => {
                self.removals.groups.push(Text::clone(&delete.group));
            }
            _ => {}
        }
        let (reply, answer) = Reply::channel();
        let id = id_of(self.setup.offsets_partition());
        self.tell_coordinator(GroupCommand::Ask(id, ask.request.clone(), reply));
        let holder = self.holder(&ask.request);
        let (at_us, durable) = (self.now_us, self.mirror.next);
        let open = Open { number, ask, arrived, at_us, durable, was_ready, holder, answer };
        self.network.open.push(open);
    }

    /// Who has the instance that a request names.
    fn holder(&self, request: &Request) -> Option<Text> {
        let (group, _, instance) = names(request)?;
        let node = self.node.as_ref()?;
        let coordinator = node.coordinator(self.setup.offsets_partition())?;
        let mut members = coordinator.describe(group).ok()?.members.into_iter();
        let instance = instance?;
        members.find(|member| member.instance.as_ref() == Some(instance)).map(|m| m.member)
    }

    /// Sends off the answers that the coordinator has given.
    pub(crate) fn collect_answers(&mut self) -> Result<(), Broken> {
        let mut still_open = Vec::new();
        for open in std::mem::take(&mut self.network.open) {
            match open.answer.try_recv() {
                Ok(reply) => {
                    self.observe(&open, &reply)?;
                    self.send_back(open, reply);
                }
                Err(oneshot::TryRecvError::Empty) => {
                    let request = &open.ask.request;
                    let waits = matches!(request, Request::Join(_) | Request::Sync(_));
                    let is_late = self.now_us > open.at_us + ANSWER_US;
                    if is_late && !waits && !self.trouble.is_faulty {
                        self.history.observe(&Fact::Unanswered { request })?;
                    }
                    still_open.push(open);
                }
                // The coordinator is made anew, as its log could not be written.
                Err(oneshot::TryRecvError::Disconnected) => {
                    let request = &open.ask.request;
                    if !self.trouble.is_faulty {
                        self.history.observe(&Fact::Unanswered { request })?;
                    }
                    let group = group_of(request).clone();
                    self.disturb(&group);
                }
            }
        }
        self.network.open = still_open;
        Ok(())
    }

    fn send_back(&mut self, open: Open, reply: GroupReply) {
        let Some(to) = open.ask.from else { return };
        let group = group_of(&open.ask.request).clone();
        if !self.healed && self.random.chance(self.setup.lost_percent, 100) {
            self.disturb(&group);
            return;
        }
        let mut delay_us = self.random.below(2_000);
        if !self.healed && self.setup.reorders && self.random.chance(1, 15) {
            delay_us += self.random.below(1_000_000);
            self.disturb(&group);
        }
        let delivery = Delivery { number: open.number, to, reply };
        self.after(delay_us, Event::Deliver(Box::new(delivery)));
    }

    /// A member gets an answer, once it is awake.
    pub(crate) fn deliver(&mut self, delivery: Delivery) -> Result<(), Broken> {
        let (number, process) = delivery.to;
        let member = &self.members[number];
        if member.process != process {
            return Ok(());
        }
        let now_ms = self.now().monotonic_ms;
        if member.idle_until_ms > now_ms {
            let delay_us = (member.idle_until_ms - now_ms) * 1_000;
            self.after(delay_us, Event::Deliver(Box::new(delivery)));
            return Ok(());
        }
        let Delivery { number: ask, reply, .. } = delivery;
        self.with_member(number, |member, context| member.answered(ask, reply, context))
    }

    /// Takes an answer for what it says.
    fn observe(&mut self, open: &Open, reply: &GroupReply) -> Result<(), Broken> {
        let Open { ask, arrived, was_ready, .. } = open;
        let offsets = self.setup.offsets_partition();
        let is_ready = self.node.as_ref().is_some_and(|node| node.coordinator(offsets).is_some());
        let asked = Asked {
            request: &ask.request,
            arrived: *arrived,
            sound: !self.trouble.is_faulty,
            ready: *was_ready && is_ready,
            calm: self.calm,
            fenced: open.holder.is_some()
                && open.holder == self.holder(&ask.request)
                && open.holder.as_ref() != names(&ask.request).map(|(_, member, _)| member),
        };
        match (&ask.request, reply) {
            (_, GroupReply::Joined(Ok(joined))) => {
                self.history.observe(&Fact::Accepted { asked })?;
                self.observe_joined(open, joined)
            }
            (Request::Sync(sync), GroupReply::Synced(Ok(synced))) => {
                self.history.observe(&Fact::Accepted { asked })?;
                let partitions = decode_assignment(synced.assignment.clone());
                let partitions = partitions.map_err(|error| error.to_string())?;
                self.history.observe(&Fact::Given {
                    group: &sync.group,
                    generation: sync.generation,
                    member: &sync.member,
                    instance: sync.instance.as_ref(),
                    partitions: &partitions,
                })
            }
            (Request::Heartbeat(_), GroupReply::Done(Ok(()))) => {
                self.history.observe(&Fact::Accepted { asked })
            }
            (Request::Fetch(fetch), GroupReply::Fetched(Ok(found))) => {
                let keys = keys(fetch);
                let mut both = keys.iter().zip(found);
                both.try_for_each(|(key, found)| {
                    self.observe_fetched(open, key, found.committed.as_ref())
                })
            }
            (_, GroupReply::Committed(Ok(outcomes))) => {
                let outcome = outcomes.first().ok_or("a commit has an outcome")?;
                self.observe_committed(asked, open, outcome.as_ref().err())
            }
            (_, GroupReply::Committed(Err(error))) => {
                self.observe_committed(asked, open, Some(error))
            }
            (Request::Leave(leave), GroupReply::Left(Ok(left))) => {
                for member in left.iter().filter(|left| left.outcome.is_ok()) {
                    let id = member.member.clone().ok_or("whoever leaves has an id")?;
                    let process = self.history.process;
                    self.history.left.insert((Text::clone(&leave.group), id), process);
                }
                Ok(())
            }
            (_, reply) => match error_of(reply) {
                Some(error) => self.history.observe(&Fact::Refused { asked, error }),
                None => Ok(()),
            },
        }
    }

    fn observe_joined(&mut self, open: &Open, joined: &Joined) -> Result<(), Broken> {
        let Request::Join(join) = &open.ask.request else {
            return Err("an answer to a join is given to something else".into());
        };
        self.history.joined(&join.group, joined.generation, &joined.member);
        if let (None, Some(instance)) = (&join.member, &join.instance) {
            let key = (Text::clone(&join.group), Text::clone(instance));
            let told = self.network.moment();
            let instance = self.history.instances.entry(key).or_default();
            instance.ids.insert(Text::clone(&joined.member), (open.arrived, told));
        }
        let Some(bytes) = &joined.assignment else { return Ok(()) };
        let partitions = decode_assignment(bytes.clone()).map_err(|error| error.to_string())?;
        self.history.observe(&Fact::Given {
            group: &join.group,
            generation: joined.generation,
            member: &joined.member,
            instance: join.instance.as_ref(),
            partitions: &partitions,
        })
    }

    fn observe_fetched(
        &mut self,
        open: &Open,
        key: &Key,
        found: Option<&Committed>,
    ) -> Result<(), Broken> {
        let watermark = self.watermark(&key.1, key.2);
        let (from, to) = (open.durable, self.mirror.next);
        self.note(found.map_or(0, |committed| committed.offset.0 as u64));
        self.history.observe(&Fact::Fetched { key, found, from, to, watermark })
    }

    fn observe_committed(
        &mut self,
        asked: Asked<'_>,
        open: &Open,
        error: Option<&GroupError>,
    ) -> Result<(), Broken> {
        let commit = open.ask.commit.ok_or("a commit that nobody noted")?;
        let Some(error) = error else {
            let (_, topic, partition) = self.history.commits[commit].key.clone();
            let watermark = self.watermark(&topic, partition);
            self.summary.acknowledged += 1;
            self.history.observe(&Fact::Accepted { asked })?;
            return self.history.observe(&Fact::Acknowledged { commit, watermark });
        };
        // What could not be written may be there all the same.
        if !matches!(error, GroupError::NotAvailable(_)) {
            self.history.commits[commit].refused += 1;
        }
        self.history.observe(&Fact::Refused { asked, error })
    }

    /// Asks for all that was ever committed.
    pub(crate) fn ask_for_everything(&mut self) {
        let keys: Vec<Key> = self.history.offsets.keys().cloned().collect();
        for (group, topic, partition) in keys {
            let fetch = Fetch { group, partitions: Some(vec![(topic, partition)]) };
            // After the coordinator has read its log.
            self.network.asked += 1;
            let number = self.network.asked;
            self.network
                .asks
                .insert(number, Ask { from: None, request: Request::Fetch(fetch), commit: None });
            self.after(2_000_000, Event::Arrive(number));
        }
    }
}

fn keys(fetch: &Fetch) -> Vec<Key> {
    let partitions = fetch.partitions.iter().flatten();
    partitions.map(|(topic, p)| (Text::clone(&fetch.group), Text::clone(topic), *p)).collect()
}

/// The group that a request is about.
fn group_of(request: &Request) -> &Text {
    match request {
        Request::Join(join) => &join.group,
        Request::Sync(sync) => &sync.group,
        Request::Heartbeat(beat) => &beat.group,
        Request::Leave(leave) => &leave.group,
        Request::Commit(commit) => &commit.group,
        Request::Fetch(fetch) => &fetch.group,
        Request::DeleteOffsets(delete) => &delete.group,
        Request::DeleteGroup(group) | Request::Describe(group) => group,
        Request::List(_) | Request::Survey => {
            unreachable!("nobody here asks about all groups")
        }
    }
}

fn error_of(reply: &GroupReply) -> Option<&GroupError> {
    match reply {
        GroupReply::Joined(outcome) => outcome.as_ref().err().map(|refused| &refused.error),
        GroupReply::Synced(outcome) => outcome.as_ref().err(),
        GroupReply::Left(outcome) => outcome.as_ref().err(),
        GroupReply::Committed(outcome) => outcome.as_ref().err(),
        GroupReply::Fetched(outcome) => outcome.as_ref().err(),
        GroupReply::OffsetsDeleted(outcome) => outcome.as_ref().err(),
        GroupReply::Listed(outcome) => outcome.as_ref().err(),
        GroupReply::Described(outcome) => outcome.as_ref().err(),
        GroupReply::Done(outcome) => outcome.as_ref().err(),
        GroupReply::Surveyed(outcome) => outcome.as_ref().err(),
    }
}
