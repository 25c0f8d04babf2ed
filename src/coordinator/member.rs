//! A member of a group, between its first join and its end.

use std::sync::Arc;

use bytes::Bytes;

use super::record::StoredMember;
use super::{Join, Text};
use crate::limits;
use crate::time::Now;
use crate::types::Millis;

/// A member.
#[derive(Debug)]
pub(super) struct Member<W> {
    pub(super) instance: Option<Text>,
    pub(super) client_id: Text,
    pub(super) client_host: Text,
    pub(super) session_ms: u32,
    pub(super) rebalance_ms: u32,
    /// How it can be assigned to, by preference.
    pub(super) protocols: Vec<(Text, Bytes)>,
    pub(super) assignment: Bytes,
    pub(super) since: Millis,
    /// Counts the joins of the group, so that the one that waits longest can be told.
    pub(super) turn: u64,
    /// It waits for the rebalance to end.
    pub(super) joining: Option<W>,
    /// It waits for the leader's assignment.
    pub(super) syncing: Option<W>,
    /// It has asked for its assignment in this generation.
    pub(super) has_synced: bool,
    /// It has not been in any generation yet: it knows no id to send heartbeats with, so it expires
    /// even while it waits, or clients that went away would pile up.
    pub(super) is_new: bool,
    /// When it counts as gone, unless it waits for an answer.
    pub(super) expires_ms: u64,
}

impl<W> Member<W> {
    pub(super) fn joining(join: &Join, turn: u64, now: Now) -> Member<W> {
        Member {
            instance: join.instance.clone(),
            client_id: Arc::clone(&join.client_id),
            client_host: Arc::clone(&join.client_host),
            session_ms: join.session_ms,
            // As much as its record can hold; some clients ask for all there is.
            rebalance_ms: join.rebalance_ms.min(i32::MAX as u32),
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            since: now.wall,
            turn,
            joining: None,
            syncing: None,
            has_synced: false,
            is_new: true,
            expires_ms: now.monotonic_ms + limits::GROUP_NEW_MEMBER_MS_MAX,
        }
    }

    /// A member as it was recorded, with a full session before it.
    pub(super) fn restore(stored: &StoredMember, protocol: &Text, turn: u64, now: Now) -> Self {
        let mut member = Member {
            instance: stored.instance.clone(),
            client_id: Arc::clone(&stored.client_id),
            client_host: Arc::clone(&stored.client_host),
            session_ms: stored.session_ms,
            rebalance_ms: stored.rebalance_ms,
            protocols: vec![(Arc::clone(protocol), stored.subscription.clone())],
            assignment: stored.assignment.clone(),
            since: now.wall,
            turn,
            joining: None,
            syncing: None,
            has_synced: true,
            is_new: false,
            expires_ms: 0,
        };
        member.is_alive(now);
        member
    }

    pub(super) fn store(&self, id: &Text, protocol: Option<&Text>) -> StoredMember {
        StoredMember {
            id: Arc::clone(id),
            instance: self.instance.clone(),
            client_id: Arc::clone(&self.client_id),
            client_host: Arc::clone(&self.client_host),
            rebalance_ms: self.rebalance_ms,
            session_ms: self.session_ms,
            subscription: protocol.map_or_else(Bytes::new, |name| self.metadata(name)),
            assignment: self.assignment.clone(),
        }
    }

    /// It was heard of: its session begins anew.
    pub(super) fn is_alive(&mut self, now: Now) {
        self.expires_ms = now.monotonic_ms.saturating_add(u64::from(self.session_ms));
    }

    /// When it counts as gone; never while it waits for an answer, which is its sign of life.
    pub(super) fn deadline(&self) -> Option<u64> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.expires_ms)
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    /// What it tells the assignor of this name.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| **name == *protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| **name == *protocol)
    }

    /// How many bytes its subscription and assignment take.
    pub(super) fn size_bytes(&self) -> usize {
        let metadata = self.protocols.iter().map(|(_, metadata)| metadata.len());
        metadata.sum::<usize>() + self.assignment.len()
    }
}
