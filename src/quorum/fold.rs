//! The metadata as the fold over committed entries, for a running node, a restart and an embedded
//! reader alike.

use openraft::EntryPayload;

use super::files;
use super::files::StoredSnapshot;
use super::types::{Applied, Entry, LogId, Proposal, StoredMembership};
use crate::metadata::record::decode_all;
use crate::metadata::{DecodeError, Image};

/// The state after the entries up to `applied`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fold {
    pub(super) image: Image,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
}

impl Fold {
    /// The state in a snapshot.
    pub(super) fn of(snapshot: &StoredSnapshot) -> Result<Fold, DecodeError> {
        Ok(Fold {
            image: snapshot.image()?,
            applied: snapshot.last,
            membership: snapshot.membership.clone(),
        })
    }

    /// The state as a snapshot.
    pub(super) fn snapshot(&self) -> StoredSnapshot {
        StoredSnapshot {
            last: self.applied,
            membership: self.membership.clone(),
            data: files::image_bytes(&self.image),
        }
    }

    /// Applies the next committed entry.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<Applied, DecodeError> {
        assert!(Some(entry.log_id) > self.applied, "entries are applied once and in order");
        let applied = match &entry.payload {
            EntryPayload::Blank => Applied::Nothing,
            EntryPayload::Normal(proposal) => self.change(proposal, entry.log_id.index)?,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Applied::Nothing
            }
        };
        self.applied = Some(entry.log_id);
        Ok(applied)
    }

    fn change(&mut self, proposal: &Proposal, index: u64) -> Result<Applied, DecodeError> {
        // Another leader's entry came in between: what was decided may not be right any more. The
        // same everywhere, because every node has the same image here.
        if proposal.base != self.image.version() {
            return Ok(Applied::Stale);
        }
        for record in decode_all(&proposal.records)? {
            self.image.replay(&record);
        }
        self.image.set_version(index);
        Ok(Applied::Changed)
    }
}
