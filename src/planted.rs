//! The deliberate bugs with which the tests are tested: each is one line at the place where
//! somebody could really have made it, and the simulator has to find every one of them. Only builds
//! with the feature `planted` can switch one on; in all others [`is`] is a constant that the
//! compiler removes.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Appends count as settled before they are synced.
    AckBeforeSync,
    /// A sync leaves out the directory, so that a new segment's name may be lost.
    SkipDirectorySync,
    /// A sync leaves out the files of segments that were sealed since the last one.
    SkipSealedSync,
    /// A failed sync is tried again and then believed.
    RetryFailedSync,
    /// The marker that a failed sync leaves behind is not looked at.
    IgnoreSyncFailed,
    /// The frontier is not looked at: a bad batch below it is cut off like a torn tail.
    TruncateBelowFrontier,
    /// The frontier claims what is written and not yet synced.
    ClaimBeforeSync,
    /// What an earlier process wrote is served without being verified.
    ServeUnverified,
    /// Readers see up to the end of the log.
    ServeAboveWatermark,
    /// One batch of each producer is remembered instead of five.
    RememberOneBatch,
    /// Sequence 0 is taken from any epoch.
    AcceptFencedZero,
    /// A gap in the sequence is no reason to refuse a batch.
    AcceptGaps,
    /// The log start moves without being written down first.
    ForgetLogStart,
    /// Retention takes every segment for expired.
    RetainNothing,
    /// What recovery keeps above the frontier is not synced before it is shown.
    ShowUnsyncedTail,
    /// A conditional append does not look at the offset.
    IgnoreExpectedOffset,
    /// Memory is taken for as many records as a batch says it holds.
    AllocateDeclared,
    /// A batch may expand as far as it likes.
    DecompressWithoutCap,
    /// A partition goes to its next owner while the last one still holds it.
    AssignHeld,
    /// A commit is taken from a member of any generation.
    CommitAnyGeneration,
    /// Offsets expire while their group has members.
    ExpireActiveOffsets,
    /// Compaction removes old segments before the new one is durable.
    CompactionDeletesFirst,
    /// A group's answer does not wait until what it rests on is durable.
    AnswerBeforeDurable,
    /// Groups answer while their log is still being read, as if nothing were in it.
    AnswerWhileLoading,
    /// Tombstones are left out when the log of a coordinator is replayed.
    ForgetTombstones,
    /// A member that asks early gets what it had in the generation before.
    SkipSyncBarrier,
    /// Nothing is due of groups that were loaded until somebody asks something of them.
    ForgetTimers,
    /// Who comes back under an instance's name does not fence who had it.
    IgnoreFence,
}

impl Bug {
    /// Every one.
    pub const ALL: [Bug; 28] = [
        Bug::AckBeforeSync,
        Bug::SkipDirectorySync,
        Bug::SkipSealedSync,
        Bug::RetryFailedSync,
        Bug::IgnoreSyncFailed,
        Bug::TruncateBelowFrontier,
        Bug::ClaimBeforeSync,
        Bug::ServeUnverified,
        Bug::ServeAboveWatermark,
        Bug::RememberOneBatch,
        Bug::AcceptFencedZero,
        Bug::AcceptGaps,
        Bug::ForgetLogStart,
        Bug::RetainNothing,
        Bug::ShowUnsyncedTail,
        Bug::IgnoreExpectedOffset,
        Bug::AllocateDeclared,
        Bug::DecompressWithoutCap,
        Bug::AssignHeld,
        Bug::CommitAnyGeneration,
        Bug::ExpireActiveOffsets,
        Bug::CompactionDeletesFirst,
        Bug::AnswerBeforeDurable,
        Bug::AnswerWhileLoading,
        Bug::ForgetTombstones,
        Bug::SkipSyncBarrier,
        Bug::ForgetTimers,
        Bug::IgnoreFence,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread has that bug.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this thread has that bug: never in a build without planted bugs.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

/// Gives this thread a bug, or takes it away again.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
