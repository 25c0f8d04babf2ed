//! Rebalances from their cause to the next generation, and what time does to a group.

use std::sync::Arc;

use super::group::{Group, Initial, Phase, Preparing};
use super::request::{Assigner, GroupError, Reply};
use super::{Step, Text};
use crate::telemetry::RebalanceCause;

impl<W> Group<W> {
    /// Something changed that every member has to learn of: a rebalance begins, unless one is on
    /// its way.
    pub(super) fn rebalance_or_complete(
        &mut self,
        step: &mut Step<'_, W>,
        cause: RebalanceCause,
        reason: &str,
    ) {
        self.explain(step, reason);
        match &self.phase {
            Phase::Preparing(preparing) if preparing.initial.is_some() => return,
            Phase::Preparing(_) => return self.complete_if_joined(step),
            Phase::Empty => self.prepare_first(step),
            Phase::Completing(_) | Phase::Stable(_) => self.prepare(step),
        }
        step.out.rebalances.push(cause);
    }

    /// The first members of an empty group wait a while for others, or each of them would cause a
    /// rebalance of its own.
    fn prepare_first(&mut self, step: &mut Step<'_, W>) {
        let delay_ms = u64::from(step.config.initial_delay_ms);
        let remaining_ms = self.rebalance_ms().saturating_sub(delay_ms);
        let deadline_ms = step.now.monotonic_ms + delay_ms;
        let initial = Some(Initial { remaining_ms, delay_ms, member_added: false });
        self.phase = Phase::Preparing(Preparing { deadline_ms, initial });
        step.arm(deadline_ms);
        if delay_ms == 0 {
            self.complete(step);
        }
    }

    fn prepare(&mut self, step: &mut Step<'_, W>) {
        // Whoever waits for an assignment of the generation that ends here has to join again.
        for member in self.members.values_mut() {
            if let Some(to) = member.syncing.take() {
                member.is_alive(step.now);
                step.arm(member.expires_ms);
                step.answer(to, Reply::Synced(Err(GroupError::RebalanceInProgress)));
            }
        }
        let deadline_ms = step.now.monotonic_ms.saturating_add(self.rebalance_ms());
        self.phase = Phase::Preparing(Preparing { deadline_ms, initial: None });
        step.arm(deadline_ms);
        self.complete_if_joined(step);
    }

    /// Goes on once everybody is here, except that the first rebalance waits for its time.
    pub(super) fn complete_if_joined(&mut self, step: &mut Step<'_, W>) {
        if let Phase::Preparing(preparing) = &self.phase
            && preparing.initial.is_none()
            && self.have_all_joined()
        {
            self.complete(step);
        }
    }

    /// What follows when members are gone, for these reasons.
    pub(super) fn after_removal(
        &mut self,
        step: &mut Step<'_, W>,
        cause: RebalanceCause,
        reasons: &[String],
    ) {
        match &self.phase {
            Phase::Completing(_) | Phase::Stable(_) => {
                let Some((last, earlier)) = reasons.split_last() else { return };
                earlier.iter().for_each(|reason| self.explain(step, reason));
                self.rebalance_or_complete(step, cause, last);
            }
            Phase::Preparing(_) => {
                reasons.iter().for_each(|reason| self.explain(step, reason));
                if self.have_all_joined() {
                    self.complete(step);
                }
            }
            Phase::Empty => {}
        }
    }

    /// Ends the wait for members: those who joined make the next generation.
    fn complete(&mut self, step: &mut Step<'_, W>) {
        let absent: Vec<Text> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && !member.is_static())
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in absent {
            self.explain(step, &format!("member {id} did not rejoin in time"));
            self.remove(step, &id, GroupError::UnknownMember);
        }
        if self.members.is_empty() {
            self.become_empty(step);
        } else if self.elect_leader() {
            self.begin_generation(step);
        } else {
            // Static members keep their place until their sessions end.
            let deadline_ms = step.now.monotonic_ms.saturating_add(self.rebalance_ms().max(1));
            self.phase = Phase::Preparing(Preparing { deadline_ms, initial: None });
            step.arm(deadline_ms);
        }
    }

    fn become_empty(&mut self, step: &mut Step<'_, W>) {
        self.generation = self.next_generation();
        self.protocol = None;
        self.leader = None;
        self.assigned_counts.clear();
        self.phase = Phase::Empty;
        self.record(step);
    }

    /// Sees to it that the leader is somebody who joined; whether there is one.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Text| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.iter().filter(|(_, member)| member.joining.is_some());
        let Some((id, _)) = joined.min_by_key(|(_, member)| member.turn) else { return false };
        self.leader = Some(Arc::clone(id));
        true
    }

    fn begin_generation(&mut self, step: &mut Step<'_, W>) {
        self.generation = self.next_generation();
        self.protocol = self.elect_protocol();
        assert!(self.protocol.is_some(), "members are only let in with a common protocol");
        let by_server = self.assigner() == Assigner::Server;
        if by_server {
            self.assign(step);
            self.phase = Phase::Stable(None);
            self.record(step);
        } else {
            let deadline = step.now.monotonic_ms.saturating_add(self.rebalance_ms());
            self.phase = Phase::Completing(Some(deadline));
            step.arm(deadline);
        }
        let ids: Vec<Text> = self.members.keys().cloned().collect();
        for id in ids {
            let leads = self.leader.as_ref() == Some(&id);
            let joined = self.joined(&id, leads && !by_server);
            let member = self.members.get_mut(&id).expect("nobody left meanwhile");
            member.has_synced = by_server;
            member.is_new = false;
            member.is_alive(step.now);
            step.arm(member.expires_ms);
            if let Some(to) = member.joining.take() {
                step.answer(to, Reply::Joined(Ok(joined)));
            }
        }
    }

    /// Partitions that the server assigned have changed in number.
    pub(super) fn topics_changed(&mut self, step: &mut Step<'_, W>) {
        let changed = self.assigned_counts.iter().find_map(|(topic, before)| {
            let now = step.image.topic(topic).map_or(0, |topic| topic.partition_count());
            (now != *before).then(|| format!("topic {topic} has {now} partitions, not {before}"))
        });
        if let Some(reason) = changed {
            self.rebalance_or_complete(step, RebalanceCause::TopicsChanged, &reason);
        }
    }

    /// Does what is due, and asks to be looked at again.
    pub(super) fn tick(&mut self, step: &mut Step<'_, W>) {
        let now = step.now.monotonic_ms;
        let pending = self.pending.len();
        self.pending.retain(|_, expires| *expires > now);
        let reasons = self.remove_expired(step);
        if !reasons.is_empty() || self.pending.len() < pending {
            self.after_removal(step, RebalanceCause::MemberTimedOut, &reasons);
        }
        match &self.phase {
            Phase::Preparing(preparing) if preparing.deadline_ms <= now => {
                self.join_timed_out(step)
            }
            Phase::Completing(Some(due)) | Phase::Stable(Some(due)) if *due <= now => {
                self.sync_timed_out(step);
            }
            _ => {}
        }
        if let Some(due) = self.next_deadline() {
            step.arm(due);
        }
    }

    fn remove_expired(&mut self, step: &mut Step<'_, W>) -> Vec<String> {
        let now = step.now.monotonic_ms;
        let expired: Vec<(Text, u32, bool)> = self
            .members
            .iter()
            .filter(|(_, member)| member.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, member)| (Arc::clone(id), member.session_ms, member.is_new))
            .collect();
        let remove = |(id, session_ms, is_new): (Text, u32, bool)| {
            self.remove(step, &id, GroupError::UnknownMember);
            match is_new {
                true => format!("member {id} waited too long for its first generation"),
                false => format!("member {id} timed out after {session_ms} ms"),
            }
        };
        expired.into_iter().map(remove).collect()
    }

    /// The first rebalance is put off as long as members keep coming; any other goes on.
    fn join_timed_out(&mut self, step: &mut Step<'_, W>) {
        let Phase::Preparing(preparing) = &mut self.phase else {
            unreachable!("the caller saw a rebalance being prepared")
        };
        if let Some(initial) = &mut preparing.initial
            && initial.member_added
            && initial.remaining_ms > 0
        {
            let delay_ms = u64::from(step.config.initial_delay_ms).min(initial.remaining_ms);
            initial.remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
            initial.delay_ms = delay_ms;
            initial.member_added = false;
            preparing.deadline_ms = step.now.monotonic_ms + delay_ms;
            return;
        }
        self.complete(step);
    }

    /// Members that joined and never asked for their assignment are left out.
    fn sync_timed_out(&mut self, step: &mut Step<'_, W>) {
        if let Phase::Completing(deadline) | Phase::Stable(deadline) = &mut self.phase {
            *deadline = None;
        }
        let missing: Vec<Text> = self
            .members
            .iter()
            .filter(|(_, member)| !member.has_synced)
            .map(|(id, _)| Arc::clone(id))
            .collect();
        let mut reasons = Vec::with_capacity(missing.len());
        for id in missing {
            self.remove(step, &id, GroupError::UnknownMember);
            reasons.push(format!("member {id} did not fetch its assignment in time"));
        }
        self.after_removal(step, RebalanceCause::AssignmentNotFetched, &reasons);
    }
}
