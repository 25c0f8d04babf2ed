//! One segment of a log as readers see it: a file that is opened when first needed, its index, and
//! which of its blocks are known to be sound. Shared by every view; never changes what it holds.
//! Only the owner of the log writes to the file, through `Active`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::index::{Boundary, Index, NEVER};
use super::read::{Damage, Position, ReadError};
use super::scan::{Walk, WalkError, size_of};
use super::sidecar::{self, Flush, Kept};
use super::witness::{Contradiction, Witness};
use crate::limits;
use crate::planted::{self, Bug};
use crate::record::BatchHeader;
use crate::storage::{Access, Disk, DiskFile, Operation, StorageError};
use crate::types::{Millis, Offset};

/// What `len` holds while the segment is the last one and grows.
const GROWING: u64 = u64::MAX;

/// One segment. Everything in it is set once.
#[derive(Debug)]
pub(super) struct Segment {
    disk: Arc<dyn Disk>,
    base: Offset,
    path: Arc<Path>,
    /// What headers are held against besides their checksums.
    witness: Arc<Witness>,
    /// Bytes that were there when the log was opened: what is below was written by some earlier
    /// process and is verified before it is served.
    inherited: u64,
    len: AtomicU64,
    file: OnceLock<Arc<dyn DiskFile>>,
    index: OnceLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    index: Arc<Index>,
    /// Where headers stop making sense, when they do: nothing behind it is served.
    damage: Option<Damage>,
}

/// How far a stretch of a segment is sound.
pub(super) struct Sound {
    pub(super) until: u64,
    /// What is wrong there, unless it is the end that was asked for.
    pub(super) damage: Option<Damage>,
}

/// The batches behind the last boundary of an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) newest: Millis,
    pub(super) sum: u32,
    /// The offset after the last of them.
    pub(super) end: Offset,
}

impl Segment {
    /// A segment that this process has just created.
    pub(super) fn created(
        disk: Arc<dyn Disk>,
        path: Arc<Path>,
        base: Offset,
        file: Arc<dyn DiskFile>,
        witness: Arc<Witness>,
    ) -> Segment {
        let loaded = Loaded { index: Arc::new(Index::new(base)), damage: None };
        let len = AtomicU64::new(GROWING);
        Segment {
            disk,
            base,
            path,
            witness,
            inherited: 0,
            len,
            file: OnceLock::from(file),
            index: OnceLock::from(loaded),
        }
    }

    /// A segment that compaction has made, whose file has its name already.
    pub(super) fn compacted(
        disk: Arc<dyn Disk>,
        path: Arc<Path>,
        index: Arc<Index>,
        len: u64,
        witness: Arc<Witness>,
    ) -> Segment {
        let (base, inherited, file) = (index.base(), 0, OnceLock::new());
        let index = OnceLock::from(Loaded { index, damage: None });
        Segment { disk, base, path, witness, inherited, len: AtomicU64::new(len), file, index }
    }

    /// A segment found on the disk, of which `len` bytes count.
    pub(super) fn found(
        disk: Arc<dyn Disk>,
        path: Arc<Path>,
        base: Offset,
        len: u64,
        witness: Arc<Witness>,
    ) -> Segment {
        let (file, index) = (OnceLock::new(), OnceLock::new());
        Segment { disk, base, path, witness, inherited: len, len: AtomicU64::new(len), file, index }
    }

    /// The same segment cut at a place between batches.
    pub(super) fn cut(&self, end: Position) -> Segment {
        let (disk, path, len) = (self.disk.clone(), self.path.clone(), end.bytes);
        let witness = Arc::new(self.witness.cut(end.offset));
        let cut = Segment::found(disk, path, self.base, len, witness);
        if let Some(file) = self.file.get() {
            cut.file.get_or_init(|| file.clone());
        }
        // The index is of use only if what stays of the last block is known to be sound: behind the
        // last boundary nothing is verified any more.
        let is_sound = |known: &&Loaded| known.damage.is_none() && known.index.is_sound_up_to(len);
        if let Some(known) = self.index.get().filter(is_sound) {
            let index = Arc::new(known.index.cut(len));
            cut.index.get_or_init(|| Loaded { index, damage: None });
        }
        cut
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// What its headers are held against.
    pub(super) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// How many bytes of it another process wrote.
    pub(super) fn inherited(&self) -> u64 {
        self.inherited
    }

    /// Size of the file if it is final.
    pub(super) fn sealed_len(&self) -> Option<u64> {
        Some(self.len.load(Ordering::Acquire)).filter(|&len| len != GROWING)
    }

    /// Says that the segment will grow, or that it has its final size.
    pub(super) fn set_len(&self, len: Option<u64>) {
        self.len.store(len.unwrap_or(GROWING), Ordering::Release);
    }

    /// The file, opened if need be.
    pub(super) fn file(&self) -> Result<&Arc<dyn DiskFile>, StorageError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = self.disk.open(&self.path, Access::Read)?;
        if let Some(len) = self.sealed_len()
            && file.len()? < len
        {
            // Compaction has given the name to another file since.
            let source = std::io::ErrorKind::StaleNetworkFileHandle.into();
            return Err(StorageError::new(Operation::Open, &self.path, source));
        }
        Ok(self.file.get_or_init(|| file))
    }

    /// The file for the owner to write to; readers share the handle if they have none yet.
    pub(super) fn open_for_writing(&self) -> Result<Arc<dyn DiskFile>, StorageError> {
        let file = self.disk.open(&self.path, Access::Write)?;
        self.file.get_or_init(|| file.clone());
        Ok(file)
    }

    /// The index if it is in memory.
    pub(super) fn index_if_loaded(&self) -> Option<&Arc<Index>> {
        self.index.get().map(|loaded| &loaded.index)
    }

    /// The index, loaded or rebuilt if need be.
    pub(super) fn index(&self) -> Result<&Arc<Index>, StorageError> {
        Ok(&self.loaded()?.index)
    }

    /// Where the headers of the segment stop making sense.
    pub(super) fn damage(&self) -> Result<Option<&Damage>, StorageError> {
        Ok(self.loaded()?.damage.as_ref())
    }

    fn loaded(&self) -> Result<&Loaded, StorageError> {
        if let Some(loaded) = self.index.get() {
            return Ok(loaded);
        }
        let loaded = self.load()?;
        Ok(self.index.get_or_init(|| loaded))
    }

    fn load(&self) -> Result<Loaded, StorageError> {
        let Kept { index, wrong } =
            sidecar::load(self.disk.as_ref(), &self.path, self.base, self.inherited);
        if let Some(path) = wrong {
            tracing::warn!("{} is damaged; the index is found out again", path.display());
        }
        let hopped = self.complete(&index)?;
        if hopped.is_none() || index.last() == 0 {
            return Ok(Loaded { index: Arc::new(index), damage: hopped });
        }
        // Either the data is damaged or the index is: only the batches themselves can tell.
        let index = Index::new(self.base);
        let damage = self.complete(&index)?;
        Ok(Loaded { index: Arc::new(index), damage })
    }

    /// Finds the boundaries behind the last one that `index` has. The last stretch, too short for
    /// another boundary, is checked whole, so that what no block covers is sound. So is the stretch
    /// before a header that makes no sense: a wrong length in one header lets the next one be
    /// sought at the wrong place.
    fn complete(&self, index: &Index) -> Result<Option<Damage>, StorageError> {
        let interval = limits::INDEX_INTERVAL_BYTES as u64;
        let mut last = index.last_boundary();
        let walk = Walk::hop(self.file()?.clone(), last.at, self.inherited, last.offset);
        let mut walk = walk.against(&self.witness);
        let mut newest = last.newest;
        let mut beyond = None;
        while let Some(Ok(header)) = self.stop_at_damage(walk.peek(), &walk)? {
            if header.next_offset().0 - self.base.0 > i64::from(u32::MAX) {
                beyond = Some(self.damage_at(&walk, "the offset is none of this segment"));
                break;
            }
            walk.skip(&header);
            newest = newest.max(header.newest().unwrap_or(NEVER));
            if walk.at() - last.at >= interval {
                last = Boundary { offset: walk.expected(), at: walk.at(), newest, sum: None };
                index.push(last, false);
            }
        }
        let found = self.check_tail(index)?.err();
        Ok(found.into_iter().chain(beyond).min_by_key(|damage| damage.byte))
    }

    /// Checks what lies behind the last boundary and says what the owner needs to go on there.
    pub(super) fn check_tail(&self, index: &Index) -> Result<Result<Tail, Damage>, StorageError> {
        let last = index.last_boundary();
        let mut newest = last.newest;
        let walk = Walk::check(self.file()?.clone(), last.at, self.inherited, last.offset);
        let mut walk = walk.against(&self.witness);
        loop {
            let passed = walk.peek().and_then(|header| match header {
                Some(header) => walk.pass(&header).map(|()| Some(header)),
                None => Ok(None),
            });
            match self.stop_at_damage(passed, &walk)? {
                None => {
                    let (sum, end) = (walk.sum(), walk.expected());
                    return Ok(Ok(Tail { newest, sum, end }));
                }
                Some(Err(damage)) => return Ok(Err(damage)),
                Some(Ok(header)) => newest = newest.max(header.newest().unwrap_or(NEVER)),
            }
        }
    }

    /// Verifies the blocks that `at..until` touches, each only the first time.
    pub(super) fn verify(&self, at: u64, until: u64) -> Result<Sound, StorageError> {
        if planted::is(Bug::ServeUnverified) {
            return Ok(Sound { until, damage: None });
        }
        let loaded = self.loaded()?;
        let first = loaded.index.floor_position(at);
        for block in first..loaded.index.last() {
            if loaded.index.boundary(block).at >= until {
                break;
            }
            if loaded.index.is_verified(block) {
                continue;
            }
            if let Some(damage) = self.verify_block(&loaded.index, block)? {
                return Ok(Sound { until: damage.byte.min(until), damage: Some(damage) });
            }
            loaded.index.set_verified(block);
        }
        match &loaded.damage {
            Some(damage) if damage.byte < until => {
                Ok(Sound { until: damage.byte, damage: Some(damage.clone()) })
            }
            _ => Ok(Sound { until, damage: None }),
        }
    }

    fn verify_block(&self, index: &Index, block: usize) -> Result<Option<Damage>, StorageError> {
        let (start, end) = (index.boundary(block), index.boundary(block + 1));
        let walk = Walk::check(self.file()?.clone(), start.at, end.at, start.offset);
        let mut walk = walk.against(&self.witness);
        let mut why = "the checksum over the headers of the block does not match";
        loop {
            let passed = walk.peek().and_then(|header| match header {
                Some(header) => walk.pass(&header).map(|()| true),
                None => Ok(false),
            });
            match passed {
                Ok(true) => {}
                Ok(false) => break,
                Err(WalkError::GoesBack) => {
                    why = Contradiction::GoesBack.why();
                    break;
                }
                Err(error) => return self.damaged(&walk, error).map(Some),
            }
        }
        // The last boundary of a compacted segment may lie behind a gap.
        let is_whole = walk.at() == end.at && walk.expected() <= end.offset;
        if is_whole && end.sum.is_none_or(|sum| sum == walk.sum()) {
            return Ok(None);
        }
        // Some header is not what was written, and which one can not be said.
        let (path, why) = (self.path.clone(), why.into());
        Ok(Some(Damage { path, byte: start.at, offset: start.offset, why }))
    }

    /// Turns what a walk met into a header, a damage, or nothing at the end.
    fn stop_at_damage(
        &self,
        met: Result<Option<BatchHeader>, WalkError>,
        walk: &Walk,
    ) -> Result<Option<Result<BatchHeader, Damage>>, StorageError> {
        match met {
            Ok(header) => Ok(header.map(Ok)),
            Err(error) => self.damaged(walk, error).map(|damage| Some(Err(damage))),
        }
    }

    /// The first batch of `at..until` for which the condition holds: its place and header. The
    /// stretch must have been verified.
    pub(super) fn find(
        &self,
        at: u64,
        until: u64,
        holds: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let mut walk = Walk::hop(self.file()?.clone(), at, until, self.base);
        loop {
            match walk.peek() {
                Ok(None) => return Ok(None),
                Ok(Some(header)) if holds(&header) => return Ok(Some((walk.at(), header))),
                Ok(Some(header)) => walk.skip(&header),
                Err(error) => return Err(self.refused(&walk, error)),
            }
        }
    }

    /// The last place between batches that is at most `bytes` behind `at`, with the offset there;
    /// behind the first batch if that alone is larger.
    pub(super) fn cut_after(
        &self,
        at: u64,
        bytes: u64,
        limit: Position,
    ) -> Result<(u64, Offset), ReadError> {
        let index = self.index()?;
        let boundary = index.boundary(index.floor_position(at + bytes));
        if boundary.at > at {
            return Ok((boundary.at, boundary.offset));
        }
        let mut walk = Walk::hop(self.file()?.clone(), at, limit.bytes, self.base);
        // The headers need not be sound yet. If they are not, verifying the range will say so.
        while let Ok(Some(header)) = walk.peek() {
            if walk.at() > at && walk.at() + size_of(&header) > at + bytes {
                break;
            }
            walk.skip(&header);
        }
        let nothing = walk.at() == at;
        Ok(if nothing { (limit.bytes, limit.offset) } else { (walk.at(), walk.expected()) })
    }

    /// The last place between batches that no offset beyond `offset` lies before.
    pub(super) fn position_below(&self, offset: Offset, len: u64) -> Result<Position, ReadError> {
        let index = self.index()?;
        let start = index.boundary(index.floor_offset(offset));
        let (at, next) = (start.at.min(len), start.offset);
        let mut walk = Walk::hop(self.file()?.clone(), at, len, next).against(&self.witness);
        loop {
            match walk.peek() {
                Ok(Some(header)) if header.next_offset() <= offset => walk.skip(&header),
                Ok(_) => break,
                Err(error) => return Err(self.refused(&walk, error)),
            }
        }
        Ok(Position { offset: walk.expected(), segment: self.base, bytes: walk.at() })
    }

    /// The work that writes complete side files of a sealed segment that `next` follows. `None`
    /// when its last stretch is damaged.
    pub(super) fn complete_side_files(&self, next: Offset) -> Result<Option<Flush>, StorageError> {
        let index = self.index()?;
        let end = self.inherited;
        if index.last_boundary().at < end {
            let Ok(tail) = self.check_tail(index)? else { return Ok(None) };
            // Where nothing may be missing, the end is where the batches say. It is held against
            // the next segment later, and must not be made to fit here.
            let offset = if self.witness.allows_gaps() { next } else { tail.end };
            let (newest, sum) = (tail.newest, Some(tail.sum));
            index.push(Boundary { offset, at: end, newest, sum }, true);
        }
        Ok(Some(Flush {
            log: self.path.clone(),
            base: self.base,
            index: index.clone(),
            written: 0,
            until: index.last(),
            file_bytes: 0,
        }))
    }

    /// Place and checksum of the batch that ends at `end`.
    pub(super) fn last_batch(&self, end: Position) -> Result<(u64, u32), ReadError> {
        let start = self.position_below(Offset(end.offset.0 - 1), end.bytes)?;
        let mut last = (0, 0);
        let mut at = start.bytes;
        self.for_each_header(start, end.bytes, |header| {
            last = (at, header.crc);
            at += size_of(header);
        })?;
        Ok(last)
    }

    /// Calls `note` with every header from `at` to `until`, hopping.
    pub(super) fn for_each_header(
        &self,
        from: Position,
        until: u64,
        mut note: impl FnMut(&BatchHeader),
    ) -> Result<(), ReadError> {
        self.try_for_each_header(from, until, |_, header| {
            note(header);
            Ok(())
        })
    }

    /// The same with the place of each, until one is refused.
    pub(super) fn try_for_each_header(
        &self,
        from: Position,
        until: u64,
        mut note: impl FnMut(u64, &BatchHeader) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let walk = Walk::hop(self.file()?.clone(), from.bytes, until, from.offset);
        let mut walk = walk.against(&self.witness);
        loop {
            match walk.peek() {
                Ok(None) => return Ok(()),
                Ok(Some(header)) => {
                    note(walk.at(), &header)?;
                    walk.skip(&header);
                }
                Err(error) => return Err(self.refused(&walk, error)),
            }
        }
    }

    /// Largest time stamp of the first batch.
    pub(super) fn first_timestamp(&self, len: u64) -> Result<Option<Millis>, StorageError> {
        let mut walk = Walk::hop(self.file()?.clone(), 0, len, self.base);
        match walk.peek() {
            Ok(header) => Ok(header.map(|header| Millis(header.max_timestamp))),
            Err(WalkError::Storage(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Newest time stamp of a sealed segment, if it is in memory.
    pub(super) fn newest_if_known(&self) -> Option<Millis> {
        let len = self.sealed_len()?;
        // The index of an inherited segment may end before its last batches.
        let complete = |index: &&Arc<Index>| index.last_boundary().at == len;
        let index = self.index_if_loaded().filter(complete)?;
        Some(index.last_boundary().newest)
    }

    /// Newest time stamp of a sealed segment, without keeping its index in memory.
    pub(super) fn newest(&self) -> Result<Millis, StorageError> {
        let len = self.sealed_len().expect("asked of sealed segments only");
        if let Some(newest) = self.newest_if_known() {
            return Ok(newest);
        }
        let index = sidecar::load(self.disk.as_ref(), &self.path, self.base, len).index;
        if index.last_boundary().at == len {
            return Ok(index.last_boundary().newest);
        }
        let index = self.index()?;
        let tail = self.check_tail(index)?;
        Ok(tail.map_or(index.last_boundary().newest, |tail| tail.newest))
    }

    fn refused(&self, walk: &Walk, error: WalkError) -> ReadError {
        self.damaged(walk, error).map_or_else(ReadError::from, ReadError::from)
    }

    fn damaged(&self, walk: &Walk, error: WalkError) -> Result<Damage, StorageError> {
        match error {
            WalkError::Storage(error) => Err(error),
            WalkError::Bad { why } => Ok(self.damage_at(walk, why)),
            WalkError::GoesBack => Ok(self.damage_at(walk, Contradiction::GoesBack.why())),
        }
    }

    fn damage_at(&self, walk: &Walk, why: &'static str) -> Damage {
        let (path, byte, offset) = (self.path.clone(), walk.at(), walk.expected());
        Damage { path, byte, offset, why: why.into() }
    }
}
