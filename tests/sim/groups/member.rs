//! A member of a group as a state machine, as Kafka's clients behave: it joins, asks for its
//! assignment, sends heartbeats, commits what it reads, and begins anew when it is told to. It
//! knows the protocol and nothing of the coordinator.

use std::collections::BTreeMap;

use bytes::Bytes;
use rivvend::coordinator::assignor::Subscriber;
use rivvend::coordinator::consumer::{
    PROTOCOL_TYPE, Partitions, Subscription, decode_assignment, encode_assignment,
};
use rivvend::coordinator::{
    Commit, CommitOffset, Fetch, GroupError, Heartbeat, Join, JoinRefused, Joined, JoinedMember,
    Leave, Leaving, Reply, Request, Sync, Text,
};
use rivvend::random::Random;
use rivvend::types::{Offset, PartitionId};
use uuid::Uuid;

use super::history::{self, History};
use super::setup::{GroupSetup, Kind, Setup, TOPIC};
use crate::history::Broken;

/// What a member has at hand while it acts.
pub(crate) struct Context<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) random: &'a mut Random,
    pub(crate) history: &'a mut History,
    pub(crate) now_ms: u64,
    /// Where the partitions end that are read.
    pub(crate) watermarks: &'a [i64],
    /// The number of the last request of all.
    pub(crate) asked: &'a mut u64,
    /// What the member asks: number, request, and which commit it is if it is one.
    pub(crate) asks: Vec<(u64, Request, Option<usize>)>,
    /// The member did something that its group has to get over.
    pub(crate) disturbs: bool,
    /// Whether nobody is to leave any more.
    pub(crate) winding_down: bool,
}

impl Context<'_> {
    fn ask(&mut self, request: Request, commit: Option<usize>) -> u64 {
        *self.asked += 1;
        self.asks.push((*self.asked, request, commit));
        *self.asked
    }
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It is not there, or has just been told to join again.
    Away,
    Joining,
    Syncing,
    Reading,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: Text,
    pub(crate) kind: Kind,
    pub(crate) instance: Option<Text>,
    pub(crate) id: Option<Text>,
    pub(crate) generation: i32,
    pub(crate) holds: Partitions,
    pub(crate) doing: Doing,
    /// Counts the processes that it has been: answers do not reach the next one.
    pub(crate) process: u64,
    /// It does nothing before.
    pub(crate) idle_until_ms: u64,
    beat_at_ms: u64,
    /// The request that it waits for, and until when.
    waits: Option<(u64, u64)>,
    /// The same of a commit.
    commits: Option<(u64, u64)>,
}

impl Member {
    /// All members of a run.
    pub(crate) fn all(setup: &Setup) -> Vec<Member> {
        let members = |group: &GroupSetup| -> Vec<Member> {
            let statics = group.statics.iter().enumerate();
            let member = |(number, is_static): (usize, &bool)| Member {
                group: Text::clone(&group.name),
                kind: group.kind,
                instance: is_static.then(|| format!("i{number}").into()),
                id: None,
                generation: -1,
                holds: Partitions::new(),
                doing: Doing::Away,
                process: 0,
                idle_until_ms: 0,
                beat_at_ms: 0,
                waits: None,
                commits: None,
            };
            statics.map(member).collect()
        };
        setup.groups.iter().flat_map(members).collect()
    }

    /// The process ends, without a word.
    pub(crate) fn crash(&mut self, back_ms: u64) {
        self.process += 1;
        self.doing = Doing::Away;
        (self.id, self.generation) = (None, -1);
        self.holds.clear();
        (self.waits, self.commits) = (None, None);
        self.idle_until_ms = back_ms;
    }

    /// Lets the member do something.
    pub(crate) fn act(&mut self, context: &mut Context<'_>) {
        if context.now_ms < self.idle_until_ms {
            return;
        }
        if let Some((_, until_ms)) = self.waits {
            if context.now_ms < until_ms {
                return;
            }
            self.waits = None;
        }
        match self.doing {
            Doing::Away | Doing::Joining | Doing::Syncing => self.join(context),
            Doing::Reading => self.read(context),
        }
    }

    /// Whether it has its assignment and is awake.
    pub(crate) fn is_settled(&self, now_ms: u64) -> bool {
        self.doing == Doing::Reading && self.idle_until_ms <= now_ms
    }

    fn join(&mut self, context: &mut Context<'_>) {
        // Only cooperative members hold on to anything while they rebalance.
        if !self.kind.is_cooperative() {
            self.holds.clear();
        }
        context.disturbs |= self.id.is_none();
        let generation = if self.kind.is_cooperative() { self.generation } else { -1 };
        let subscription = Subscription {
            topics: vec![TOPIC.into()],
            owned: self.holds.clone(),
            generation,
            rack: None,
        };
        let (session_ms, rebalance_ms) = (context.setup.session_ms, context.setup.rebalance_ms);
        let join = Join {
            group: Text::clone(&self.group),
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: "c".into(),
            client_host: "/h".into(),
            session_ms,
            rebalance_ms,
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![(self.kind.protocol(), subscription.encode())],
            reason: None,
            assigner: self.kind.assigner,
            id_required: context.setup.id_required && self.instance.is_none(),
            skips_assignment: context.setup.skips_assignment,
            fresh: Uuid::nil(),
        };
        let ask = context.ask(Request::Join(join), None);
        // Sometimes less patient than the rebalance is long.
        let patience_ms = match context.random.below(4) {
            0 => u64::from(rebalance_ms) / 2,
            _ => u64::from(rebalance_ms) + 1_000,
        };
        self.doing = Doing::Joining;
        self.waits = Some((ask, context.now_ms + patience_ms));
    }

    fn read(&mut self, context: &mut Context<'_>) {
        let Some(id) = self.id.clone() else { return self.join(context) };
        if context.now_ms >= self.beat_at_ms {
            let every_ms = u64::from(context.setup.session_ms) / 4;
            self.beat_at_ms = context.now_ms + every_ms;
            let beat = Heartbeat {
                group: Text::clone(&self.group),
                member: id,
                instance: self.instance.clone(),
                generation: self.generation,
            };
            let ask = context.ask(Request::Heartbeat(beat), None);
            self.waits = Some((ask, context.now_ms + every_ms));
            return;
        }
        if self.commits.is_some_and(|(_, until_ms)| context.now_ms >= until_ms) {
            self.commits = None;
        }
        let leaves = !context.winding_down && context.random.chance(1, 400);
        if context.random.chance(context.setup.commit_percent, 100) && self.commits.is_none() {
            self.commit(context);
        } else if leaves {
            self.leave(id, context);
        } else if !context.winding_down && context.random.chance(1, 300) {
            self.join(context);
        } else if context.random.chance(1, 20) {
            let list = self.holds.values().flatten().copied().map(|p| (TOPIC.into(), p)).collect();
            let fetch = Fetch { group: Text::clone(&self.group), partitions: Some(list) };
            context.ask(Request::Fetch(fetch), None);
        }
    }

    /// Commits one of the partitions it reads, somewhere in what can be read of it.
    pub(crate) fn commit(&mut self, context: &mut Context<'_>) {
        let held: Vec<PartitionId> = self.holds.values().flatten().copied().collect();
        if held.is_empty() {
            return;
        }
        let partition = held[context.random.below(held.len() as u64) as usize];
        let watermark = context.watermarks[partition.0 as usize];
        let offset = context.random.below(watermark as u64 + 1) as i64;
        let key = (Text::clone(&self.group), TOPIC.into(), partition);
        let own = (self.id.clone(), self.instance.clone(), self.generation);
        let commit = History::unsent(key, offset, own);
        let request = commit_request(&commit, context.history.commits.len(), None);
        let number = context.history.commit(commit);
        let ask = context.ask(request, Some(number));
        self.commits = Some((ask, context.now_ms + u64::from(context.setup.session_ms) / 2));
    }

    fn leave(&mut self, id: Text, context: &mut Context<'_>) {
        let leaving = Leaving { member: Some(id), instance: self.instance.clone(), reason: None };
        let leave = Leave { group: Text::clone(&self.group), members: vec![leaving] };
        context.ask(Request::Leave(leave), None);
        context.disturbs = true;
        self.crash(context.now_ms + 200 + context.random.below(4_000));
    }

    /// Takes an answer.
    pub(crate) fn answered(
        &mut self,
        ask: u64,
        reply: Reply,
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        if self.commits.is_some_and(|(commit, _)| commit == ask) {
            self.commits = None;
            if let Reply::Committed(outcome) = reply
                && let Err(error) =
                    outcome.and_then(|all| all.into_iter().collect::<Result<(), _>>())
            {
                self.refused(&error, context);
            }
            return Ok(());
        }
        if self.waits.is_none_or(|(waits, _)| waits != ask) {
            return Ok(());
        }
        self.waits = None;
        match reply {
            Reply::Joined(Ok(joined)) => self.joined(joined, context)?,
            Reply::Joined(Err(JoinRefused { error: GroupError::MemberIdRequired, member })) => {
                self.id = member;
                self.join(context);
            }
            Reply::Joined(Err(JoinRefused { error, .. })) => self.refused(&error, context),
            Reply::Synced(Ok(synced)) => self.own(synced.assignment, context)?,
            Reply::Synced(Err(error)) | Reply::Done(Err(error)) => self.refused(&error, context),
            _ => {}
        }
        Ok(())
    }

    fn joined(&mut self, joined: Joined, context: &mut Context<'_>) -> Result<(), Broken> {
        self.id = Some(Text::clone(&joined.member));
        self.generation = joined.generation;
        if let Some(bytes) = joined.assignment {
            return self.own(bytes, context);
        }
        let assignments = match joined.skip_assignment {
            true => Vec::new(),
            false => assign(self.kind, &joined.members, context.setup.partitions()),
        };
        let sync = Sync {
            group: Text::clone(&self.group),
            member: joined.member,
            instance: self.instance.clone(),
            generation: joined.generation,
            protocol_type: None,
            protocol: Some(joined.protocol),
            assignments,
        };
        let ask = context.ask(Request::Sync(sync), None);
        self.doing = Doing::Syncing;
        self.waits = Some((ask, context.now_ms + u64::from(context.setup.rebalance_ms) + 1_000));
        Ok(())
    }

    /// It has its assignment; what it loses is given up before it says so with another join.
    fn own(&mut self, bytes: Bytes, context: &mut Context<'_>) -> Result<(), Broken> {
        let given = decode_assignment(bytes).map_err(|error| error.to_string())?;
        let held = std::mem::replace(&mut self.holds, given);
        let keeps = |topic: &Text, p| self.holds.get(topic).is_some_and(|list| list.contains(p));
        let lost = held.iter().any(|(topic, list)| !list.iter().all(|p| keeps(topic, p)));
        self.doing = Doing::Reading;
        self.beat_at_ms = context.now_ms;
        if lost && self.kind.is_cooperative() {
            self.join(context);
        }
        Ok(())
    }

    fn refused(&mut self, error: &GroupError, context: &mut Context<'_>) {
        match error {
            GroupError::UnknownMember => {
                (self.id, self.generation) = (None, -1);
                self.holds.clear();
            }
            GroupError::IllegalGeneration { .. } => {
                self.generation = -1;
                self.holds.clear();
            }
            GroupError::RebalanceInProgress => {}
            // Another process has its name; it ends, and is started again some time.
            GroupError::FencedInstance => {
                return self.crash(context.now_ms + 500 + context.random.below(2_000));
            }
            // The coordinator is not there; who waits for it joins again.
            _ => {
                self.idle_until_ms = context.now_ms + 20 + context.random.below(100);
                return;
            }
        }
        self.join(context);
    }
}

/// What the leader gives to whom.
fn assign(kind: Kind, members: &[JoinedMember], partitions: i32) -> Vec<(Text, Bytes)> {
    let subscriber = |member: &JoinedMember| {
        let metadata = member.metadata.clone();
        let owned = Subscription::decode(metadata.clone()).unwrap_or_default().owned;
        let instance = member.instance.as_ref();
        Subscriber::of(&member.member, instance, metadata, encode_assignment(&owned))
    };
    let subscribers: Vec<Subscriber> = members.iter().map(subscriber).collect();
    let counts = BTreeMap::from([(Text::from(TOPIC), partitions)]);
    let shares = kind.assignor.assign(&subscribers, &counts);
    let ids = members.iter().map(|member| Text::clone(&member.member));
    ids.zip(shares.iter().map(encode_assignment)).collect()
}

/// The request of a commit, which can be told from all others by its metadata.
pub(crate) fn commit_request(
    commit: &history::Commit,
    number: usize,
    retention_ms: Option<u64>,
) -> Request {
    let (group, topic, partition) = &commit.key;
    let offset = CommitOffset {
        topic: Text::clone(topic),
        topic_id: None,
        partition: *partition,
        offset: Offset(commit.offset),
        leader_epoch: -1,
        metadata: number.to_string().into(),
    };
    Request::Commit(Commit {
        group: Text::clone(group),
        member: commit.member.clone(),
        instance: commit.instance.clone(),
        generation: commit.generation,
        retention_ms,
        offsets: vec![offset],
    })
}
