//! What members ask of a group, as in Kafka's classic protocol: join, sync, heartbeat, leave.
//! Static membership is KIP-345, ids that are given out first KIP-394, reasons KIP-800.

use std::sync::Arc;

use super::assignor::Assignor;
use super::consumer::{self, Subscription};
use super::group::{Group, Phase};
use super::member::Member;
use super::record::Record;
use super::request::{
    Assigner, GroupError, Heartbeat, Join, JoinRefused, Joined, JoinedMember, Leave, Leaving, Left,
    Reply, Sync, Synced, check_size,
};
use super::{Step, Text};
use crate::limits;
use crate::planted::{self, Bug};
use crate::telemetry::RebalanceCause;
use crate::time::Now;

impl<W> Group<W> {
    pub(super) fn join(&mut self, step: &mut Step<'_, W>, join: Join, to: W) {
        if let Err(error) = self.check_join(step, &join) {
            if let Some(member) = join.member.as_ref().filter(|_| error == GroupError::Full) {
                // There is no room for it after all, so nobody shall wait for it.
                self.pending.remove(member);
                self.remove(step, &Arc::clone(member), GroupError::Full);
                self.complete_if_joined(step);
            }
            step.answer(to, Reply::Joined(Err(JoinRefused::of(&join, error))));
            return;
        }
        match (join.member.clone(), join.instance.clone()) {
            (Some(id), _) if self.pending.contains_key(&id) => self.add(step, id, &join, to),
            (Some(id), _) => self.rejoin(step, &id, &join, to),
            (None, Some(instance)) => {
                let id = fresh_id(&instance, &join);
                match self.instances.get(&instance).cloned() {
                    Some(before) => self.take_over(step, &instance, &before, id, &join, to),
                    None => self.add(step, id, &join, to),
                }
            }
            (None, None) if join.id_required => self.give_id(step, &join, to),
            (None, None) => self.add(step, fresh_id(&join.client_id, &join), &join, to),
        }
    }

    fn check_join(&self, step: &Step<'_, W>, join: &Join) -> Result<(), GroupError> {
        let known = join.member.as_ref().and_then(|id| self.members.get(id));
        let has_room = match &self.phase {
            Phase::Empty => true,
            // Members that did not come back yet may lose their place to others.
            Phase::Preparing(_) => {
                known.is_some_and(|member| member.joining.is_some())
                    || self.joining_count() < step.config.size_max
            }
            Phase::Completing(_) | Phase::Stable(_) => {
                known.is_some() || self.members.len() < step.config.size_max
            }
        };
        if !has_room || (join.member.is_none() && self.pending.len() >= step.config.size_max) {
            return Err(GroupError::Full);
        }
        if !self.fits(&join.protocol_type, join.protocols.iter().map(|(name, _)| name)) {
            return Err(GroupError::InconsistentProtocol);
        }
        if join.assigner == Assigner::Server {
            check_server_assigned(join)?;
        }
        let bytes = join.protocols.iter().map(|(_, metadata)| metadata.len()).sum::<usize>();
        let what = "what all members tell their assignor";
        check_size(what, self.size_bytes() + bytes, limits::GROUP_BYTES_MAX)?;
        match &join.member {
            Some(id) if self.pending.contains_key(id) && join.instance.is_none() => Ok(()),
            Some(id) => self.check_member(id, join.instance.as_ref()),
            None => Ok(()),
        }
    }

    /// Makes an id known and has its member come again with it.
    fn give_id(&mut self, step: &mut Step<'_, W>, join: &Join, to: W) {
        let id = fresh_id(&join.client_id, join);
        let expires = step.now.monotonic_ms.saturating_add(u64::from(join.session_ms));
        self.pending.insert(Arc::clone(&id), expires);
        step.arm(expires);
        let refused = JoinRefused { error: GroupError::MemberIdRequired, member: Some(id) };
        step.answer(to, Reply::Joined(Err(refused)));
    }

    fn add(&mut self, step: &mut Step<'_, W>, id: Text, join: &Join, to: W) {
        let mut member = Member::joining(join, self.next_turn(), step.now);
        member.joining = Some(to);
        step.arm(member.expires_ms);
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Arc::clone(&join.protocol_type);
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&id));
        }
        self.members.insert(Arc::clone(&id), member);
        if let Phase::Preparing(preparing) = &mut self.phase
            && let Some(initial) = &mut preparing.initial
        {
            initial.member_added = true;
        }
        let reason = format!("member {id} joined{}", because(join.reason.as_ref()));
        self.rebalance_or_complete(step, RebalanceCause::MemberJoined, &reason);
    }

    /// A member joins again.
    fn rejoin(&mut self, step: &mut Step<'_, W>, id: &Text, join: &Join, to: W) {
        let member = self.members.get(id).expect("it was checked that it is a member");
        let same = member.protocols == join.protocols;
        let leads = self.leader.as_ref() == Some(id);
        let because = because(join.reason.as_ref());
        match &self.phase {
            Phase::Empty => unreachable!("a group with a member is not empty"),
            Phase::Preparing(_) => {
                if !same {
                    self.explain(
                        step,
                        &format!("the subscription of member {id} changed{because}"),
                    );
                }
                self.update(step, id, join, to);
                self.complete_if_joined(step);
            }
            // It has not got its answer, or it has nothing new to say.
            Phase::Completing(_) if same => {
                let joined = self.joined(id, leads && self.assigner() == Assigner::Leader);
                step.answer(to, Reply::Joined(Ok(joined)));
            }
            Phase::Stable(_) if same && !(leads && self.assigner() == Assigner::Leader) => {
                let joined = self.joined(id, false);
                let member = self.members.get_mut(id).expect("it is a member");
                member.is_alive(step.now);
                step.answer(to, Reply::Joined(Ok(joined)));
            }
            _ => {
                let (cause, reason) = match same {
                    // What the leader knows of topics has changed, so it has to assign anew.
                    true => {
                        (RebalanceCause::LeaderRejoined, format!("leader {id} rejoined{because}"))
                    }
                    false => (
                        RebalanceCause::SubscriptionChanged,
                        format!("the subscription of member {id} changed{because}"),
                    ),
                };
                self.update(step, id, join, to);
                self.rebalance_or_complete(step, cause, &reason);
            }
        }
    }

    fn update(&mut self, step: &mut Step<'_, W>, id: &Text, join: &Join, to: W) {
        let member = self.members.get_mut(id).expect("the caller found it");
        member.protocols.clone_from(&join.protocols);
        member.session_ms = join.session_ms;
        member.rebalance_ms = join.rebalance_ms.min(i32::MAX as u32);
        // A request that the client gave up and sent again: only the last one can be answered.
        if let Some(before) = member.joining.replace(to) {
            let error = GroupError::RebalanceInProgress;
            let refused = JoinRefused { error, member: Some(Arc::clone(id)) };
            step.answer(before, Reply::Joined(Err(refused)));
        }
    }

    /// A member comes back under its instance's name with a new id; the old one is fenced.
    fn take_over(
        &mut self,
        step: &mut Step<'_, W>,
        instance: &Text,
        before: &Text,
        id: Text,
        join: &Join,
        to: W,
    ) {
        let mut member = self.members.remove(before).expect("an instance is a member's");
        refuse(step, before, &mut member, &GroupError::FencedInstance);
        member.turn = self.next_turn();
        member.is_alive(step.now);
        self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        self.members.insert(Arc::clone(&id), member);
        let led = self.leader.as_ref() == Some(before);
        if led {
            self.leader = Some(Arc::clone(&id));
        }
        self.update(step, &id, join, to);
        let because = because(join.reason.as_ref());
        match &self.phase {
            Phase::Empty => unreachable!("a group with a member is not empty"),
            Phase::Preparing(_) => {
                self.record_takeover(step, before, &id);
                self.complete_if_joined(step);
            }
            Phase::Completing(_) => {
                self.record_takeover(step, before, &id);
                // The leader may be assigning to the old id at this moment.
                let reason = format!("instance {instance} came back as member {id}{because}");
                self.rebalance_or_complete(step, RebalanceCause::InstanceReturned, &reason);
            }
            Phase::Stable(_) if self.keeps_assignment(&id, join) => {
                self.record(step);
                let mut joined = self.joined(&id, led && join.skips_assignment);
                joined.skip_assignment = led && join.skips_assignment;
                if led && !join.skips_assignment {
                    // It must not take itself for the leader, or it would assign to nobody.
                    joined.leader = Arc::clone(before);
                }
                let member = self.members.get_mut(&id).expect("it was just put there");
                let to = member.joining.take().expect("it was just put there");
                member.is_new = false;
                step.arm(member.expires_ms);
                step.answer(to, Reply::Joined(Ok(joined)));
            }
            Phase::Stable(_) => {
                let reason =
                    format!("instance {instance} came back with another protocol{because}");
                self.rebalance_or_complete(step, RebalanceCause::InstanceReturned, &reason);
            }
        }
    }

    /// Records that an instance has another id in the last generation that was recorded. Else the
    /// old id would count again after a restart, and its successor would be told that it is fenced.
    fn record_takeover(&self, step: &mut Step<'_, W>, before: &Text, id: &Text) {
        let stored = step.store.group(&self.id).and_then(|stored| stored.metadata.clone());
        let Some(mut recorded) = stored else { return };
        let Some(member) = recorded.members.iter_mut().find(|member| member.id == *before) else {
            return;
        };
        member.id = Arc::clone(id);
        if recorded.leader.as_ref() == Some(before) {
            recorded.leader = Some(Arc::clone(id));
        }
        step.append(Record::Group { group: Arc::clone(&self.id), value: Some(recorded) });
    }

    /// Whether the assignment stays right when a static member has come back as `id`.
    fn keeps_assignment(&self, id: &Text, join: &Join) -> bool {
        if self.elect_protocol() != self.protocol {
            return false;
        }
        // A leader would notice what the server has to see to itself.
        self.assigner() == Assigner::Leader || {
            let stored = self.members.get(id).expect("the caller put it there");
            let reads = |bytes| Subscription::decode(bytes).unwrap_or_default().topics;
            let name = self.protocol.as_deref().unwrap_or_default();
            let assigned = consumer::decode_assignment(stored.assignment.clone());
            let topics = reads(stored.metadata(name));
            join.protocols.iter().any(|(protocol, _)| **protocol == *name)
                && assigned.is_ok_and(|assigned| {
                    assigned.keys().all(|topic| topics.contains(topic))
                        && topics.iter().all(|t| self.assigned_counts.contains_key(t))
                })
        }
    }

    /// The answer to a join: with all members if this one is to assign to them.
    pub(super) fn joined(&self, id: &Text, assigns: bool) -> Joined {
        let protocol = self.protocol.clone().expect("a generation has a protocol");
        let member = self.members.get(id).expect("the caller found it");
        let by_server = self.assigner() == Assigner::Server;
        let members = self.members.iter().filter(|_| assigns);
        Joined {
            member: Arc::clone(id),
            generation: self.generation,
            protocol_type: Arc::clone(&self.protocol_type),
            leader: self.leader.clone().expect("a generation has a leader"),
            skip_assignment: false,
            members: members
                .map(|(id, member)| JoinedMember {
                    member: Arc::clone(id),
                    instance: member.instance.clone(),
                    metadata: member.metadata(&protocol),
                })
                .collect(),
            assignment: by_server.then(|| member.assignment.clone()),
            protocol,
        }
    }

    pub(super) fn sync(&mut self, step: &mut Step<'_, W>, sync: Sync, to: W) {
        if let Err(error) = self.check_sync(&sync) {
            step.answer(to, Reply::Synced(Err(error)));
            return;
        }
        let member = self.members.get_mut(&sync.member).expect("it was checked");
        member.has_synced = true;
        let waits = matches!(self.phase, Phase::Completing(_));
        if !waits || (planted::is(Bug::SkipSyncBarrier) && sync.assignments.is_empty()) {
            member.is_alive(step.now);
            let assignment = member.assignment.clone();
            step.answer(to, Reply::Synced(Ok(self.synced(assignment))));
            self.end_sync_deadline();
            return;
        }
        if let Some(before) = member.syncing.replace(to) {
            step.answer(before, Reply::Synced(Err(GroupError::RebalanceInProgress)));
        }
        self.end_sync_deadline();
        if self.leader.as_ref() == Some(&sync.member) {
            self.take_assignments(step, sync);
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        self.check_member(&sync.member, sync.instance.as_ref())?;
        self.check_generation(sync.generation)?;
        let differs = |given: &Option<Text>, own: Option<&Text>| {
            given.as_ref().is_some_and(|given| Some(given) != own)
        };
        if differs(&sync.protocol_type, Some(&self.protocol_type))
            || differs(&sync.protocol, self.protocol.as_ref())
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if let Phase::Preparing(_) = &self.phase {
            return Err(GroupError::RebalanceInProgress);
        }
        let bytes = sync.assignments.iter().map(|(_, assignment)| assignment.len()).sum();
        check_size("an assignment", bytes, limits::GROUP_ASSIGNMENT_BYTES_MAX)
    }

    fn synced(&self, assignment: bytes::Bytes) -> Synced {
        Synced {
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: self.protocol.clone().expect("a generation has a protocol"),
            assignment,
        }
    }

    /// The leader's assignment is here: it is recorded, and everybody who waits gets theirs.
    fn take_assignments(&mut self, step: &mut Step<'_, W>, sync: Sync) {
        for member in self.members.values_mut() {
            member.assignment = bytes::Bytes::new();
        }
        for (id, assignment) in sync.assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        let Phase::Completing(deadline) = self.phase else {
            unreachable!("assignments are taken while a rebalance completes")
        };
        self.phase = Phase::Stable(deadline);
        self.record(step);
        let ids: Vec<Text> = self.members.keys().cloned().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("nobody left meanwhile");
            let Some(to) = member.syncing.take() else { continue };
            member.is_alive(step.now);
            step.arm(member.expires_ms);
            let assignment = member.assignment.clone();
            step.answer(to, Reply::Synced(Ok(self.synced(assignment))));
        }
    }

    fn end_sync_deadline(&mut self) {
        if self.have_all_synced()
            && let Phase::Completing(deadline) | Phase::Stable(deadline) = &mut self.phase
        {
            *deadline = None;
        }
    }

    /// Allocates nothing, and moves no timer: a look that comes too early finds out.
    pub(super) fn heartbeat(&mut self, now: Now, beat: &Heartbeat) -> Result<(), GroupError> {
        self.check_member(&beat.member, beat.instance.as_ref())?;
        self.check_generation(beat.generation)?;
        let member = self.members.get_mut(&beat.member).expect("it was checked");
        member.is_alive(now);
        match &self.phase {
            Phase::Empty => unreachable!("a group with a member is not empty"),
            Phase::Preparing(_) => Err(GroupError::RebalanceInProgress),
            Phase::Completing(_) | Phase::Stable(_) => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, step: &mut Step<'_, W>, leave: &Leave) -> Vec<Left> {
        let mut outcomes = Vec::with_capacity(leave.members.len());
        let mut reasons = Vec::new();
        for leaving in &leave.members {
            let outcome = self.leave_one(step, leaving).map(|left| {
                if let Some(id) = left {
                    reasons.push(format!("member {id} left{}", because(leaving.reason.as_ref())));
                }
            });
            let (member, instance) = (leaving.member.clone(), leaving.instance.clone());
            outcomes.push(Left { member, instance, outcome });
        }
        self.after_removal(step, RebalanceCause::MemberLeft, &reasons);
        outcomes
    }

    /// Removes one that leaves; its id, unless it had not joined yet.
    fn leave_one(
        &mut self,
        step: &mut Step<'_, W>,
        leaving: &Leaving,
    ) -> Result<Option<Text>, GroupError> {
        let id = match (&leaving.member, &leaving.instance) {
            (Some(id), None) if self.pending.remove(id).is_some() => return Ok(None),
            (Some(id), instance) => {
                self.check_member(id, instance.as_ref())?;
                Arc::clone(id)
            }
            (None, Some(instance)) => {
                Arc::clone(self.instances.get(instance).ok_or(GroupError::UnknownMember)?)
            }
            (None, None) => return Err(GroupError::UnknownMember),
        };
        self.remove(step, &id, GroupError::UnknownMember);
        Ok(Some(id))
    }

    /// Takes a member out and tells it so if it waits. What follows for the group is the caller's.
    pub(super) fn remove(&mut self, step: &mut Step<'_, W>, id: &Text, error: GroupError) {
        let Some(mut member) = self.members.remove(id) else { return };
        refuse(step, id, &mut member, &error);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            let longest = self.members.iter().min_by_key(|(_, member)| member.turn);
            self.leader = longest.map(|(id, _)| Arc::clone(id));
        }
    }
}

/// Answers a member that waits with why it waits no longer.
fn refuse<W>(step: &mut Step<'_, W>, id: &Text, member: &mut Member<W>, error: &GroupError) {
    if let Some(to) = member.joining.take() {
        let refused = JoinRefused { error: error.clone(), member: Some(Arc::clone(id)) };
        step.answer(to, Reply::Joined(Err(refused)));
    }
    if let Some(to) = member.syncing.take() {
        step.answer(to, Reply::Synced(Err(error.clone())));
    }
}

/// Members that the server assigns to name assignors that it has and topics that can be read.
fn check_server_assigned(join: &Join) -> Result<(), GroupError> {
    if *join.protocol_type != *consumer::PROTOCOL_TYPE {
        return Err(GroupError::InconsistentProtocol);
    }
    for (name, metadata) in &join.protocols {
        if Assignor::from_protocol(name).is_none() {
            return Err(GroupError::InconsistentProtocol);
        }
        Subscription::decode(metadata.clone())
            .map_err(|_| GroupError::Malformed("the subscription can not be read"))?;
    }
    Ok(())
}

/// An id that nobody had before, which tells whose it is.
fn fresh_id(name: &Text, join: &Join) -> Text {
    format!("{name}-{}", join.fresh.hyphenated()).into()
}

/// The client's reason as the end of a sentence: bounded, on one line.
fn because(reason: Option<&Text>) -> String {
    let Some(reason) = reason.filter(|reason| !reason.is_empty()) else { return String::new() };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let shown = reason.chars().take(limits::GROUP_REASON_CHARS_MAX).map(plain);
    format!(": {}", shown.collect::<String>())
}
