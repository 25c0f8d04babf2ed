//! Opening a log that is on the disk: finding out what of it counts, and cutting off what does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean::CleanLog;
use super::frontier::FrontierEntry;
use super::read::{Damage, Position};
use super::segment::Segment;
use super::sync::SYNC_FAILED;
use super::{Log, LogConfig, producers, retention};
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
    /// The clean-shutdown marker matched, so nothing was scanned.
    pub clean: bool,
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// The tail that was cut off, if one was.
    pub torn: Option<Torn>,
    /// Where the log is damaged below what was durable.
    pub damage: Option<Damage>,
    /// Names in the directory that are none of ours.
    pub unknown: Vec<String>,
    /// Files that were found wrong and could be done without.
    pub notes: Vec<String>,
}

/// A tail that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where the log ends now.
    pub at: Position,
    /// Bytes that were cut off, those of later segments included.
    pub bytes: u64,
    /// They were all zero, so no copy was kept.
    pub zeros: bool,
    /// What was wrong with the first of them.
    pub why: &'static str,
    /// Where the copy is.
    pub kept: Option<PathBuf>,
}

/// What a directory holds, by kind.
#[derive(Debug, Default)]
struct Found {
    /// Base offset and size.
    segments: Vec<(Offset, u64)>,
    leftovers: Vec<PathBuf>,
    unknown: Vec<String>,
}

/// Name of the segment that begins at `base`.
pub(super) fn segment_name(base: Offset) -> String {
    format!("{:020}.log", base.0)
}

fn segment_base(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(Offset)
}

impl Log {
    /// Opens the log in `dir`, which need not exist, and recovers it if its last stop was not clean.
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
        let mut recovery = Recovery::default();
        let found = match list(log.disk.as_ref(), &log.dir) {
            Err(error) if error.is_not_found() => return Ok((log, recovery)),
            found => found?,
        };
        recovery.unknown = found.unknown;
        if log.writable {
            found.leftovers.iter().try_for_each(|path| log.disk.remove(path))?;
        }
        log.load_segments(&found.segments)?;
        log.recover(known, &mut recovery)?;
        log.damage = recovery.damage.clone().map(Arc::new);
        Ok((log, recovery))
    }

    fn load_segments(&mut self, found: &[(Offset, u64)]) -> Result<(), OpenError> {
        let start = retention::load_log_start(self.disk.as_ref(), &self.dir)
            .map_err(|source| OpenError::File { path: self.dir.join("log-start"), source })?;
        let segments: Vec<_> = found
            .iter()
            .map(|&(base, len)| {
                let path: Arc<Path> = self.dir.join(segment_name(base)).into();
                Arc::new(Segment::found(self.disk.clone(), path, base, len))
            })
            .collect();
        self.segments = Arc::new(segments);
        let first = found.first().map(|&(base, _)| base);
        self.start = start.or(first).unwrap_or_default();
        Ok(())
    }
}

impl Log {
    fn recover(&mut self, known: Known, recovery: &mut Recovery) -> Result<(), OpenError> {
        self.leave_out_below_start()?;
        let Some(last) = self.segments.last().cloned() else {
            (self.end, self.synced) =
                (Position::at_start(self.start), Position::at_start(self.start));
            return Ok(());
        };
        let clean = match &known.clean {
            Some(clean) if clean.segment_base == last.base() => {
                clean.matches(last.file()?.as_ref())?
            }
            _ => false,
        };
        if let Some(clean) = known.clean.filter(|_| clean) {
            recovery.clean = true;
            self.settle_end(clean.end_offset, clean.segment_base, clean.position);
            self.last_batch = Some((clean.last_batch_at, clean.last_batch_crc));
            return self.restore(self.end, recovery);
        }
        let scanned = self.scan(known.frontier, recovery)?;
        self.restore(scanned, recovery)
    }

    /// Segments wholly below the log start are what a crash kept from being removed.
    fn leave_out_below_start(&mut self) -> Result<(), OpenError> {
        let after_first = self.segments.get(1..).unwrap_or_default();
        let below = after_first.iter().take_while(|next| next.base() <= self.start).count();
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
    fn at_start(offset: Offset) -> Position {
        Position { offset, segment: offset, bytes: 0 }
    }
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Found, StorageError> {
    let mut found = Found::default();
    for entry in disk.list(dir)? {
        let name = entry.name;
        let known = ["leader-epochs", "log-start", SYNC_FAILED].contains(&name.as_str())
            || producers::snapshot_offset(&name).is_some()
            || [".index", ".timeindex", ".sum", ".torn"].iter().any(|end| name.ends_with(end));
        match segment_base(&name) {
            Some(base) => found.segments.push((base, entry.len)),
            None if name.ends_with(".tmp") || name.ends_with(retention::DELETED) => {
                found.leftovers.push(dir.join(name));
            }
            None if known => {}
            None => found.unknown.push(name),
        }
    }
    Ok(found)
}
