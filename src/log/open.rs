//! Opening a log that is on the disk: finding out what of it counts, and cutting off what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean::CleanLog;
use super::epochs::LeaderEpochs;
use super::frontier::FrontierEntry;
use super::read::{Damage, Position};
use super::recover::Recoverer;
use super::recovery::{CleanMarker, Indexes, Quarantine, Recovery as Report, Truncation};
use super::repair::Lost;
use super::segment::Segment;
use super::sync::SYNC_FAILED;
use super::witness::Witness;
use super::{CompactionState, Log, LogConfig, SegmentPlace, compaction};
use super::{epochs, producers, repair, retention, sidecar};
use crate::planted::{self, Bug};
use crate::storage::{Disk, StorageError};
use crate::types::Offset;

/// Whether opening may change what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Recovery cuts off what does not count, and the log takes appends.
    Write,
    /// Nothing is changed; what does not count is left out of the view.
    ReadOnly,
}

/// What is known of a log besides its own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the frontier journal says.
    pub frontier: KnownFrontier,
    /// What the clean-shutdown marker says.
    pub clean: Option<CleanLog>,
}

/// What the frontier journal says of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownFrontier {
    /// There is no journal, or it can not be read: anything may have been acknowledged.
    Missing,
    /// The journal is sound: everything below this place is durable, of what is above nothing was
    /// known to be. `None` when the journal never heard of the log.
    At(Option<FrontierEntry>),
}

impl Known {
    /// Up to where the log was synced for certain. The marker of a clean stop tells it as well as
    /// the journal, unless a failed sync has left a marker of its own: then one of the two is
    /// wrong. So does compaction, which may have moved the place that the journal names.
    fn believed(
        &self,
        sync_failed: bool,
        compacted: Option<FrontierEntry>,
    ) -> Option<FrontierEntry> {
        let entry = match self.frontier {
            KnownFrontier::At(entry) => entry,
            KnownFrontier::Missing => None,
        };
        let clean = self.clean.filter(|_| !sync_failed).map(|clean| FrontierEntry {
            segment_base: clean.segment_base,
            end_offset: clean.end_offset,
            position: clean.position,
        });
        let all = compacted.into_iter().chain(entry).chain(clean);
        all.max_by_key(|entry| entry.end_offset)
    }
}

/// The file `leader-epochs`, as far as it can be read.
pub(super) type LoadedEpochs = Result<Option<Arc<LeaderEpochs>>, super::checkpoint::ReadError>;

/// Why a log can not be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file can not be read as what it is.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: super::checkpoint::ReadError,
    },
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The tail that was cut off, if one was that was not only zeros.
    pub torn: Option<Torn>,
    /// Where the log is damaged in what was durable.
    pub damage: Option<Damage>,
    /// What repairs have taken since the log was last opened.
    pub lost: Vec<Lost>,
    /// What a person should know besides: files that were passed over, or are none of ours.
    pub notes: Vec<String>,
    /// All of it as numbers and sentences.
    pub report: Report,
}

/// A tail that did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where the log ends now.
    pub at: Position,
    /// Bytes that were cut off, those of later segments included.
    pub bytes: u64,
    /// What was wrong with the first of them.
    pub why: String,
    /// Where a copy is, when there was room for one.
    pub kept: Option<PathBuf>,
}

impl Recovery {
    fn of(log: &Log, report: Report) -> Recovery {
        let torn = report.truncations.first().map(|cut| Torn {
            at: log.end,
            bytes: cut.bytes,
            why: cut.why.clone(),
            kept: cut.kept.first().cloned(),
        });
        let (damage, notes) = (log.damage().cloned(), report.skipped.clone());
        Recovery { torn, damage, lost: Vec::new(), notes, report }
    }
}

/// What a directory holds, by kind.
#[derive(Debug, Default)]
struct Found {
    segments: Vec<SegmentPlace>,
    /// What is known of the log's compaction, if it can be read.
    compaction: Option<CompactionState>,
    /// Why it can not, if that is so.
    unreadable_compaction: Option<String>,
    /// Segments whose three side files are there and of one size.
    indexed: BTreeSet<Offset>,
    sync_failed: bool,
    /// A repair has left word of what it took.
    repaired: bool,
    /// Segments that have side files.
    side_files: BTreeSet<Offset>,
    leftovers: Vec<PathBuf>,
    /// Segments were being removed.
    removing: bool,
    /// The newest snapshot of the producer state.
    snapshot: Option<Offset>,
    unknown: Vec<String>,
}

impl Found {
    /// What compaction has left is durable up to here.
    fn compacted(&self) -> Option<FrontierEntry> {
        let bases = self.segments.iter().map(|segment| segment.base);
        self.compaction.as_ref().and_then(|state| state.synced(bases))
    }
}

/// Name of the segment that begins at `base`.
#[must_use]
pub fn segment_name(base: Offset) -> String {
    format!("{:020}.log", base.0)
}

/// The base offset in the name of a file of a segment; `None` for every other name.
fn segment_base(name: &str, extension: &str) -> Option<Offset> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(Offset)
}

impl Log {
    /// Opens the log in `dir`, which need not exist, and recovers it if its last stop was not
    /// clean.
    ///
    /// # Errors
    /// When the disk fails or a file of the log makes no sense. Damaged batches are no error: the
    /// log then serves what lies below them.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: LogConfig,
        known: Known,
        mode: OpenMode,
    ) -> Result<(Log, Recovery), OpenError> {
        let mut log = Log::create(disk, dir, config);
        log.writable = mode == OpenMode::Write;
        if log.writable {
            compaction::resume(log.disk.as_ref(), &log.dir)?;
        }
        let found = match list(log.disk.as_ref(), &log.dir) {
            Err(error) if error.is_not_found() => Found::default(),
            found => found?,
        };
        if log.writable {
            log.remove_leftovers(&found)?;
        }
        let epochs = LeaderEpochs::load(log.disk.as_ref(), &log.dir).map(|kept| kept.map(Arc::new));
        let believed = known.believed(found.sync_failed, found.compacted());
        let durable = believed.map_or(Offset::ZERO, |entry| entry.end_offset);
        log.restore_compaction(&found);
        log.load_segments(&found.segments, durable, epochs.as_ref().ok().cloned().flatten())?;
        log.leave_out_below_start(&found)?;
        let mut report = log.recover(known, &found, epochs)?;
        let unknown = |name: &String| format!("unknown file {}", log.dir.join(name).display());
        report.skipped.extend(found.unknown.iter().map(unknown));
        report.skipped.extend(found.unreadable_compaction);
        let mut recovery = Recovery::of(&log, report);
        if found.repaired && log.writable {
            let has = log.start..log.end.offset;
            match repair::take_lost(log.disk.as_ref(), &log.dir, has)? {
                Ok(lost) => recovery.lost = lost,
                Err(error) => recovery.notes.push(format!("what a repair took is lost: {error}")),
            }
        }
        Ok((log, recovery))
    }

    /// What a crash has kept from going. Side files without their segment must be gone for good
    /// before there can be another one of that name: they would speak of the wrong batches.
    fn remove_leftovers(&self, found: &Found) -> Result<(), StorageError> {
        found.leftovers.iter().try_for_each(|path| self.disk.remove(path))?;
        let is_there = |base: &&Offset| found.segments.iter().any(|there| there.base == **base);
        let mut orphans = found.side_files.iter().filter(|base| !is_there(base)).peekable();
        if orphans.peek().is_none() {
            return Ok(());
        }
        for &base in orphans {
            sidecar::remove(self.disk.as_ref(), &self.dir.join(segment_name(base)))?;
        }
        self.disk.sync_dir(&self.dir).map(drop)
    }

    /// Without a word on its compaction, a log of a compacted topic may miss offsets everywhere but
    /// in the last segment, which no pass touches.
    fn restore_compaction(&mut self, found: &Found) {
        let last = found.segments.last().map_or(Offset::ZERO, |last| last.base);
        let is_unknown = self.config.compaction.is_some() || found.unreadable_compaction.is_some();
        match &found.compaction {
            Some(state) => {
                self.compaction.gaps_below = state.gaps_below;
                self.compaction.clean_to = state.clean_to;
            }
            None if is_unknown => self.compaction.gaps_below = last,
            None => {}
        }
    }

    fn load_segments(
        &mut self,
        found: &[SegmentPlace],
        durable: Offset,
        epochs: Option<Arc<LeaderEpochs>>,
    ) -> Result<(), OpenError> {
        let gaps = self.config.gaps;
        let witness = match epochs {
            Some(epochs) => Witness::with_epochs(gaps, epochs, durable),
            None => Witness::new(gaps),
        };
        let witness = Arc::new(witness.compacted_below(self.compaction.gaps_below));
        let start = retention::load_log_start(self.disk.as_ref(), &self.dir)
            .map_err(|source| OpenError::File { path: self.dir.join("log-start"), source })?;
        let segments: Vec<_> = found
            .iter()
            .map(|SegmentPlace { base, len, path }| {
                let path: Arc<Path> = path.as_path().into();
                Arc::new(Segment::found(self.disk.clone(), path, *base, *len, witness.clone()))
            })
            .collect();
        self.segments = Arc::new(segments);
        // A start that is not zero is written down before anything below it goes.
        self.start = start.unwrap_or_default();
        Ok(())
    }
}

impl Log {
    fn recover(
        &mut self,
        known: Known,
        found: &Found,
        epochs: LoadedEpochs,
    ) -> Result<Report, OpenError> {
        let frontier = known.believed(found.sync_failed, found.compacted());
        let Some(last) = self.segments.last().cloned() else {
            return Ok(self.recover_nothing(frontier));
        };
        if self.segments[0].base() > self.start {
            return self.recover_headless(frontier, known.frontier);
        }
        let clean = match &known.clean {
            None => CleanMarker::Absent,
            Some(clean)
                if clean.segment_base == last.base() && clean.matches(last.file()?.as_ref())? =>
            {
                self.settle_end(clean.end_offset, clean.segment_base, clean.position);
                self.last_batch = Some((clean.last_batch_at, clean.last_batch_crc));
                CleanMarker::Matches
            }
            Some(_) => CleanMarker::Contradicted,
        };
        let frontier = frontier.filter(|_| !planted::is(Bug::TruncateBelowFrontier));
        let (known, report) = (known.frontier, Report::default());
        let (sync_failed, indexes) = (found.sync_failed, Indexes::Usable);
        let mut recoverer =
            Recoverer { log: self, frontier, known, clean, sync_failed, indexes, report };
        recoverer.indexes = recoverer.indexes(&found.indexed);
        let from = recoverer.run()?;
        let mut report = recoverer.report;
        if self.end.offset < self.start {
            self.begin_again()?;
        }
        self.restore(from, epochs, &mut report)?;
        Ok(report)
    }

    /// A log whose first segment is missing. Without a claim that there was one, a power cut has
    /// kept the entry of a later segment and lost that of the first.
    fn recover_headless(
        &mut self,
        entry: Option<FrontierEntry>,
        known: KnownFrontier,
    ) -> Result<Report, OpenError> {
        let claimed = entry.is_some_and(|entry| entry.end_offset > self.start);
        if claimed || known == KnownFrontier::Missing {
            let end_offset = self.segments.last().map_or(self.start, |last| last.base());
            let (segment_base, position) = (end_offset, 0);
            self.segments = Arc::default();
            let there = FrontierEntry { segment_base, end_offset, position };
            return Ok(self.recover_nothing(entry.or(Some(there))));
        }
        let lost: u64 = self.segments.iter().filter_map(|segment| segment.sealed_len()).sum();
        self.begin_again()?;
        let mut report = Report::default();
        report.truncations.push(Truncation {
            file: self.dir.join(segment_name(self.start)),
            position: 0,
            offset: self.start,
            bytes: lost,
            why: "the first segment is missing and was never known to be synced".to_owned(),
            kept: Vec::new(),
        });
        Ok(report)
    }

    /// A log without segments is empty, unless more is known of it.
    fn recover_nothing(&mut self, entry: Option<FrontierEntry>) -> Report {
        let mut report = Report::default();
        (self.end, self.synced) = (Position::start_of(self.start), Position::start_of(self.start));
        if let Some(entry) = entry.filter(|entry| entry.end_offset > self.start) {
            let (offset, byte, why) = (self.start, 0, "the segment that begins here is missing");
            let path: Arc<Path> = self.dir.join(segment_name(offset)).into();
            let (file, position) = (path.to_path_buf(), byte);
            report.quarantines.push(Quarantine { file, position, offset, why: why.to_owned() });
            self.end = Position { offset: entry.end_offset, ..self.end };
            self.synced = self.end;
            self.damage = Some(Arc::new(Damage { path, byte, offset, why: why.into() }));
        }
        report
    }

    /// What is left of a log that was told to begin again further on.
    fn begin_again(&mut self) -> Result<(), OpenError> {
        if self.writable {
            retention::cut_segments(self.disk.as_ref(), &self.dir, &self.segments)?;
        }
        self.segments = Arc::default();
        (self.end, self.synced) = (Position::start_of(self.start), Position::start_of(self.start));
        (self.sealed_bytes, self.last_batch) = (0, None);
        Ok(())
    }

    /// Segments wholly below the log start are what a crash kept from being removed. They stay if
    /// they alone tell of some producer: none is removed before a snapshot does.
    fn leave_out_below_start(&mut self, found: &Found) -> Result<(), OpenError> {
        let after_first = self.segments.get(1..).unwrap_or_default();
        let below = after_first.iter().take_while(|next| next.base() <= self.start).count();
        let Some(first) = self.segments.get(below).map(|first| first.base()) else { return Ok(()) };
        if !found.removing && found.snapshot.is_none_or(|snapshot| snapshot < first) {
            return Ok(());
        }
        let gone = self.segments[..below].to_vec();
        self.segments = Arc::new(self.segments[below..].to_vec());
        if self.writable && !gone.is_empty() {
            let paths = gone.iter().map(|gone| gone.path().as_ref());
            retention::remove_segments(self.disk.as_ref(), &self.dir, paths)?;
        }
        Ok(())
    }

    pub(super) fn settle_end(&mut self, offset: Offset, segment: Offset, bytes: u64) {
        self.end = Position { offset, segment, bytes };
        self.synced = self.end;
        let sealed = &self.segments[..self.segments.len() - 1];
        self.sealed_bytes = sealed.iter().filter_map(|segment| segment.sealed_len()).sum();
    }
}

impl Position {
    /// The end of a log that is empty and begins at `offset`.
    pub(super) fn start_of(offset: Offset) -> Position {
        Position { offset, segment: offset, bytes: 0 }
    }
}

/// What a file in the directory of a log is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The segment that begins at this offset.
    Segment(Offset),
    /// One of the three side files of that segment.
    SideFile(Offset),
    /// What was known of the producers at this offset.
    ProducerSnapshot(Offset),
    /// `leader-epochs`, `log-start`, `compaction`, `repaired` or the marker of a failed sync.
    State,
    /// A copy of what was cut off or set aside; nothing reads it.
    SetAside,
    /// What a change that was cut short has left behind.
    Leftover,
    /// No file of ours.
    Unknown,
}

impl FileKind {
    /// The kind of file with this name.
    #[must_use]
    pub fn of(name: &str) -> FileKind {
        let side_file = || sidecar::KINDS.iter().find_map(|(kind, _)| segment_base(name, kind));
        let leftover = || {
            let ends = [".tmp", ".unfinished", retention::DELETED];
            compaction::is_cleaned(name) || ends.iter().any(|end| name.ends_with(end))
        };
        if let Some(base) = segment_base(name, "log") {
            FileKind::Segment(base)
        } else if let Some(base) = side_file() {
            FileKind::SideFile(base)
        } else if leftover() {
            FileKind::Leftover
        } else if let Some(offset) = producers::snapshot_offset(name) {
            FileKind::ProducerSnapshot(offset)
        } else if STATE_FILES.contains(&name) {
            FileKind::State
        } else if name.ends_with(".torn") {
            FileKind::SetAside
        } else {
            FileKind::Unknown
        }
    }
}

/// Files that tell of a log as a whole.
const STATE_FILES: [&str; 5] = [
    epochs::FILE_NAME,
    retention::LOG_START_NAME,
    repair::FILE_NAME,
    compaction::FILE_NAME,
    SYNC_FAILED,
];

fn list(disk: &dyn Disk, dir: &Path) -> Result<Found, StorageError> {
    let mut found = Found::default();
    let mut side_files: BTreeMap<Offset, Vec<u64>> = BTreeMap::new();
    for entry in disk.list(dir)? {
        let name = entry.name;
        match FileKind::of(&name) {
            FileKind::Segment(base) => {
                let (len, path) = (entry.len, dir.join(name));
                found.segments.push(SegmentPlace { base, len, path });
            }
            FileKind::SideFile(base) => side_files.entry(base).or_default().push(entry.len),
            FileKind::Leftover => {
                found.removing |= name.ends_with(retention::DELETED);
                found.leftovers.push(dir.join(name));
            }
            FileKind::ProducerSnapshot(offset) => {
                found.snapshot = found.snapshot.max(Some(offset));
            }
            FileKind::State => {
                found.sync_failed |= name == SYNC_FAILED;
                found.repaired |= name == repair::FILE_NAME;
            }
            FileKind::SetAside => {}
            FileKind::Unknown => found.unknown.push(name),
        }
    }
    let complete = |sizes: &Vec<u64>| {
        sizes.len() == sidecar::KINDS.len() && sizes.iter().all(|&size| size == sizes[0])
    };
    match CompactionState::load(disk, dir) {
        Ok(state) => found.compaction = state,
        Err(error) => {
            let why = format!("{}: {error}; compaction begins anew", compaction::FILE_NAME);
            found.unreadable_compaction = Some(why);
        }
    }
    if let Some(state) = &found.compaction {
        let segments = std::mem::take(&mut found.segments);
        found.segments = state.settle(disk, dir, segments);
    }
    found.side_files = side_files.keys().copied().collect();
    found.indexed =
        side_files.iter().filter(|(_, sizes)| complete(sizes)).map(|(&at, _)| at).collect();
    Ok(found)
}
