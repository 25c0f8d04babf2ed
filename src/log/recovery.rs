//! What is done with one log at start, as a table: facts that were observed on the left, one
//! decision on the right, and a test that goes through every combination. Owns the table, the scan
//! of a segment ([`scan()`]), the acts on files and the report; decides without looking itself.
//!
//! The log goes round a loop: observe, [`decide`], act, observe again. Every act removes the fact
//! that called for it, so the loop ends, with the log open or in quarantine.
//!
//! # What the words mean
//! *At or above the frontier* lies what was never known to be synced. It may end anywhere after a
//! power cut, and the first bad batch there is the end, even if later bytes look valid: they come
//! from a history with a hole. *Below the frontier* lies what was acknowledged. A bad batch there
//! is corruption, never silently removed (D9). A segment counts as *sealed* when all of it was
//! synced before the next one began: always in a log that waits for its disk, and proved by an
//! intact `.sum` in one that does not. A clean-shutdown marker is a frontier too: its
//! end. A marker beside that of a failed sync is worth nothing, one of the two must be wrong.

use super::frontier::FrontierEntry;
use crate::types::Offset;

mod act;
mod report;
mod scan;

pub use act::{cut_zeros, free_name, keep, remove_tail, rewrite_above};
pub use report::{Quarantine, Recovery, Truncation};
pub use scan::{Defect, DefectKind, LastBatch, ScanFrom, ScanResult, scan};

macro_rules! fact {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $value:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $value),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$value),+];
        }
    };
}

fact! {
    /// What the clean-shutdown marker says of this log.
    CleanMarker {
        /// There is no marker, it is unreadable, or it does not name this log.
        Absent,
        /// The last segment is as the marker says.
        Matches,
        /// The last segment is not as the marker says: something wrote to it while we were away.
        Contradicted,
    }
}

fact! {
    /// What the frontier journal says of this log.
    FrontierKnown {
        /// It has an entry.
        Entry,
        /// The journal is sound and has no entry: nothing of this log was ever claimed.
        NoEntry,
        /// The journal is missing or unreadable.
        No,
    }
}

fact! {
    /// Whether an earlier process left the marker that a sync of this log had failed.
    SyncFailed {
        /// No marker.
        No,
        /// The page cache may hold bytes as clean that the disk does not have.
        Yes,
    }
}

fact! {
    /// The first thing wrong, in the order of the log.
    Found {
        /// Nobody has looked yet.
        NotLooked,
        /// Every batch that was looked at is sound, up to the end of the last file.
        Sound,
        /// From some batch boundary on there are only zeros up to the end of the file.
        ZeroTail,
        /// A batch goes on past the end of its file.
        Torn,
        /// A batch is not what was written: checksum, length, order of offsets or epochs.
        Corrupt,
        /// The log ends before the frontier.
        Short,
        /// A segment between two others is not there.
        MissingSegment,
    }
}

fact! {
    /// Where the first bad batch begins. Of no matter while none is known.
    Place {
        /// In what was known to be synced.
        BelowFrontier,
        /// At its end or beyond.
        AtOrAbove,
    }
}

fact! {
    /// Which segment the first bad batch is in. Of no matter while none is known.
    Segment {
        /// The last one, which was being appended to.
        Last,
        /// An earlier one that was synced whole before the next began.
        Sealed,
        /// An earlier one of which this is not proved.
        Unproved,
    }
}

fact! {
    /// The state of the index files. They are disposable (D15).
    Indexes {
        /// They are there and agree with the log as far as was looked.
        Usable,
        /// They are absent, damaged or do not fit.
        Wrong,
    }
}

/// All that was observed of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The clean-shutdown marker.
    pub clean: CleanMarker,
    /// The frontier journal.
    pub frontier: FrontierKnown,
    /// The marker of a failed sync.
    pub sync_failed: SyncFailed,
    /// The first thing wrong.
    pub found: Found,
    /// Where it is, by the frontier.
    pub place: Place,
    /// Where it is, by its segment.
    pub segment: Segment,
    /// The index files.
    pub indexes: Indexes,
}

/// What to do next. All but the first two and the last are followed by another look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Open the log as it is.
    OpenWithoutScan,
    /// Sync what lies above the frontier, then open: nothing of it may be shown before.
    SyncTailAndOpen,
    /// Scan from the frontier's entry, or without one from the first segment not proved sealed.
    ScanAboveFrontier,
    /// Scan every segment; sealed ones by their `.sum`.
    ScanAll,
    /// Rebuild the index files from the log.
    RebuildIndexes,
    /// Write the bytes above the frontier (without one: of every segment not proved sealed) over
    /// themselves and sync them, then remove the marker of the failed sync.
    RewriteAboveFrontier,
    /// Cut the zeros off; nothing is lost, so nothing is kept.
    CutZeros,
    /// Cut the last segment at the first bad batch and keep what was cut.
    Truncate,
    /// Cut at the first bad batch, and the later segments with it; keep what was cut.
    TruncateAndDropLater,
    /// Change nothing. With replicas: leave the ISR and refetch. Alone: serve below the damage and
    /// refuse above it until a person decides.
    Quarantine,
}

/// One row of the table: it fires when every fact is among those it lists.
#[derive(Debug)]
pub struct Row {
    /// What was observed, in words for the operator.
    pub observed: &'static str,
    /// What follows.
    pub decision: Decision,
    clean: &'static [CleanMarker],
    frontier: &'static [FrontierKnown],
    sync_failed: &'static [SyncFailed],
    found: &'static [Found],
    place: &'static [Place],
    segment: &'static [Segment],
    indexes: &'static [Indexes],
}

impl Row {
    const fn new(observed: &'static str, found: &'static [Found], decision: Decision) -> Row {
        Row {
            observed,
            decision,
            clean: CleanMarker::ALL,
            frontier: FrontierKnown::ALL,
            sync_failed: SyncFailed::ALL,
            found,
            place: Place::ALL,
            segment: Segment::ALL,
            indexes: Indexes::ALL,
        }
    }

    fn fires(&self, facts: &Facts) -> bool {
        self.clean.contains(&facts.clean)
            && self.frontier.contains(&facts.frontier)
            && self.sync_failed.contains(&facts.sync_failed)
            && self.found.contains(&facts.found)
            && self.place.contains(&facts.place)
            && self.segment.contains(&facts.segment)
            && self.indexes.contains(&facts.indexes)
    }
}

const NOT_LOOKED: &[Found] = &[Found::NotLooked];
const SOUND: &[Found] = &[Found::Sound];
const ZERO_TAIL: &[Found] = &[Found::ZeroTail];
const BAD_BATCH: &[Found] = &[Found::Torn, Found::Corrupt];
const ANY_BAD: &[Found] = &[Found::ZeroTail, Found::Torn, Found::Corrupt];
const JOURNAL_SOUND: &[FrontierKnown] = &[FrontierKnown::Entry, FrontierKnown::NoEntry];
const NO_JOURNAL: &[FrontierKnown] = &[FrontierKnown::No];
const ABOVE: &[Place] = &[Place::AtOrAbove];

/// The table.
pub const ROWS: &[Row] = &[
    // Before the first look.
    Row {
        clean: &[CleanMarker::Matches],
        sync_failed: &[SyncFailed::No],
        indexes: &[Indexes::Usable],
        ..Row::new("stopped cleanly", NOT_LOOKED, Decision::OpenWithoutScan)
    },
    Row {
        clean: &[CleanMarker::Matches],
        sync_failed: &[SyncFailed::No],
        indexes: &[Indexes::Wrong],
        ..Row::new("stopped cleanly, indexes unusable", NOT_LOOKED, Decision::RebuildIndexes)
    },
    Row {
        clean: &[CleanMarker::Matches],
        sync_failed: &[SyncFailed::Yes],
        ..Row::new("a sync failed before a clean stop", NOT_LOOKED, Decision::ScanAll)
    },
    Row {
        clean: &[CleanMarker::Contradicted],
        ..Row::new("changed since a clean stop", NOT_LOOKED, Decision::ScanAll)
    },
    Row {
        clean: &[CleanMarker::Absent],
        frontier: JOURNAL_SOUND,
        ..Row::new("did not stop cleanly", NOT_LOOKED, Decision::ScanAboveFrontier)
    },
    Row {
        clean: &[CleanMarker::Absent],
        frontier: NO_JOURNAL,
        ..Row::new("no usable frontier journal", NOT_LOOKED, Decision::ScanAll)
    },
    // After a look that found nothing wrong.
    Row {
        sync_failed: &[SyncFailed::Yes],
        ..Row::new("a sync had failed", SOUND, Decision::RewriteAboveFrontier)
    },
    Row {
        sync_failed: &[SyncFailed::No],
        indexes: &[Indexes::Wrong],
        ..Row::new("indexes unusable", SOUND, Decision::RebuildIndexes)
    },
    Row {
        sync_failed: &[SyncFailed::No],
        indexes: &[Indexes::Usable],
        ..Row::new("sound to its end", SOUND, Decision::SyncTailAndOpen)
    },
    // After a look that found something wrong.
    Row::new("a segment is missing in the middle", &[Found::MissingSegment], Decision::Quarantine),
    Row::new(
        "the log ends before what was known to be synced",
        &[Found::Short],
        Decision::Quarantine,
    ),
    Row {
        place: &[Place::BelowFrontier],
        ..Row::new("damage in what was known to be synced", ANY_BAD, Decision::Quarantine)
    },
    Row {
        place: ABOVE,
        segment: &[Segment::Sealed],
        ..Row::new("damage in a sealed segment", ANY_BAD, Decision::Quarantine)
    },
    Row {
        place: ABOVE,
        segment: &[Segment::Last],
        ..Row::new("zeros after the last batch", ZERO_TAIL, Decision::CutZeros)
    },
    Row {
        place: ABOVE,
        segment: &[Segment::Last],
        ..Row::new("torn tail", BAD_BATCH, Decision::Truncate)
    },
    Row {
        place: ABOVE,
        segment: &[Segment::Unproved],
        frontier: JOURNAL_SOUND,
        ..Row::new("torn before the last segment", ANY_BAD, Decision::TruncateAndDropLater)
    },
    Row {
        place: ABOVE,
        segment: &[Segment::Unproved],
        frontier: NO_JOURNAL,
        ..Row::new("damage before the last segment", ANY_BAD, Decision::Quarantine)
    },
];

/// The row that these facts call for.
///
/// # Panics
/// Never: the table covers every combination, as its test shows.
#[must_use]
pub fn decide(facts: &Facts) -> &'static Row {
    ROWS.iter().find(|row| row.fires(facts)).expect("the table covers every combination of facts")
}

/// Where a bad batch at `position` of the segment with base offset `base` lies. `frontier` is the
/// larger of the journal's entry and the end that a contradicted clean-shutdown marker gave.
#[must_use]
pub fn place(
    frontier: Option<&FrontierEntry>,
    base: Offset,
    position: u64,
    segment: Segment,
) -> Place {
    let Some(frontier) = frontier else { return Place::AtOrAbove };
    // A frontier inside a segment since sealed counts as its end. Compaction may have moved the
    // frontier's segment into an earlier one, which is below it all the same.
    let below = base < frontier.segment_base
        || base == frontier.segment_base
            && (segment == Segment::Sealed || position < frontier.position);
    if below { Place::BelowFrontier } else { Place::AtOrAbove }
}

/// A segment file as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSeen {
    /// Offset in its name.
    pub base: Offset,
    /// Size of the file.
    pub bytes: u64,
    /// Its place among the others.
    pub kind: Segment,
}

/// Whether a log of these segments, in order, ends before the frontier.
#[must_use]
pub fn falls_short(frontier: &FrontierEntry, segments: &[SegmentSeen]) -> bool {
    let Some(last) = segments.last() else { return frontier.position > 0 };
    // In a sealed segment the position means nothing: compaction may have made it smaller.
    let cut = |seen: &SegmentSeen| {
        seen.base == frontier.segment_base
            && seen.kind != Segment::Sealed
            && seen.bytes < frontier.position
    };
    last.base < frontier.segment_base || segments.iter().any(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_combination() -> Vec<Facts> {
        let mut all = Vec::new();
        for &clean in CleanMarker::ALL {
            for &frontier in FrontierKnown::ALL {
                for &sync_failed in SyncFailed::ALL {
                    for &found in Found::ALL {
                        for &place in Place::ALL {
                            for &segment in Segment::ALL {
                                for &indexes in Indexes::ALL {
                                    all.push(Facts {
                                        clean,
                                        frontier,
                                        sync_failed,
                                        found,
                                        place,
                                        segment,
                                        indexes,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn exactly_one_row_fires_for_every_combination_of_facts() {
        let all = every_combination();
        assert_eq!(all.len(), 3 * 3 * 2 * 7 * 2 * 3 * 2);
        for facts in all {
            let firing: Vec<_> =
                ROWS.iter().filter(|row| row.fires(&facts)).map(|row| row.observed).collect();
            assert_eq!(firing.len(), 1, "{facts:?}: {firing:?}");
        }
    }

    #[test]
    fn every_row_is_needed() {
        let all = every_combination();
        for row in ROWS {
            assert!(all.iter().any(|facts| row.fires(facts)), "{}", row.observed);
        }
    }

    // D9: what was known to be synced is never removed, and without a journal only the last segment
    // is ever cut.
    #[test]
    fn nothing_known_to_be_synced_is_ever_removed() {
        for facts in every_combination() {
            let cuts = match decide(&facts).decision {
                Decision::Truncate | Decision::CutZeros => {
                    assert_eq!(facts.segment, Segment::Last, "{facts:?}");
                    true
                }
                Decision::TruncateAndDropLater => {
                    assert_eq!(facts.segment, Segment::Unproved, "{facts:?}");
                    assert_ne!(facts.frontier, FrontierKnown::No, "{facts:?}");
                    true
                }
                _ => false,
            };
            assert!(!cuts || facts.place == Place::AtOrAbove, "{facts:?}");
        }
    }

    #[test]
    fn a_failed_sync_is_never_trusted_without_a_rewrite() {
        for facts in every_combination() {
            if facts.sync_failed == SyncFailed::Yes {
                let decision = decide(&facts).decision;
                let opens =
                    matches!(decision, Decision::OpenWithoutScan | Decision::SyncTailAndOpen);
                assert!(!opens, "{facts:?}");
            }
        }
    }

    /// What an act leaves to be observed, for each thing that the next look may show.
    fn after(decision: Decision, facts: Facts) -> Vec<Facts> {
        let looked =
            |found: &'static [Found]| found.iter().map(move |&f| Facts { found: f, ..facts });
        match decision {
            Decision::OpenWithoutScan | Decision::SyncTailAndOpen | Decision::Quarantine => vec![],
            Decision::ScanAboveFrontier | Decision::ScanAll => looked(&Found::ALL[1..]).collect(),
            Decision::RebuildIndexes => vec![Facts { indexes: Indexes::Usable, ..facts }],
            Decision::RewriteAboveFrontier => {
                vec![Facts { sync_failed: SyncFailed::No, ..facts }]
            }
            Decision::CutZeros | Decision::Truncate | Decision::TruncateAndDropLater => {
                looked(SOUND).collect()
            }
        }
    }

    #[test]
    fn the_loop_of_looking_and_acting_ends() {
        for start in every_combination() {
            let mut now = vec![start];
            for _ in 0..6 {
                now = now.into_iter().flat_map(|f| after(decide(&f).decision, f)).collect();
            }
            assert!(now.is_empty(), "{start:?} goes on with {now:?}");
        }
    }

    #[test]
    fn a_place_is_found_by_segment_and_position() {
        let frontier =
            FrontierEntry { segment_base: Offset(500), end_offset: Offset(700), position: 4_096 };
        let table = [
            (400, 9_000, Segment::Sealed, Place::BelowFrontier),
            (400, 9_000, Segment::Unproved, Place::BelowFrontier),
            (500, 4_095, Segment::Last, Place::BelowFrontier),
            (500, 4_096, Segment::Last, Place::AtOrAbove),
            (500, 4_096, Segment::Unproved, Place::AtOrAbove),
            (500, 9_000, Segment::Sealed, Place::BelowFrontier),
            (900, 0, Segment::Last, Place::AtOrAbove),
        ];
        for (base, position, segment, expected) in table {
            let found = place(Some(&frontier), Offset(base), position, segment);
            assert_eq!(found, expected, "{base} {position} {segment:?}");
        }
        assert_eq!(place(None, Offset(0), 0, Segment::Last), Place::AtOrAbove);
    }

    #[test]
    fn a_log_falls_short_when_bytes_below_the_frontier_are_gone() {
        let frontier =
            FrontierEntry { segment_base: Offset(500), end_offset: Offset(700), position: 4_096 };
        let seen = |base, bytes, kind| SegmentSeen { base: Offset(base), bytes, kind };
        let after = seen(900, 0, Segment::Last);
        let table = [
            (vec![seen(500, 4_096, Segment::Last)], false),
            (vec![seen(500, 4_095, Segment::Last)], true),
            (vec![seen(0, 9_000, Segment::Last)], true),
            (vec![seen(500, 100, Segment::Sealed), after], false),
            (vec![seen(500, 100, Segment::Unproved), after], true),
            (vec![], true),
        ];
        for (segments, expected) in table {
            assert_eq!(falls_short(&frontier, &segments), expected, "{segments:?}");
        }
    }
}
