//! Reads every batch of a log and tells damage from an unsynced tail. What lies below the durable
//! frontier must be sound; what lies at or above it was never promised. Prints nothing.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::progress::Progress;
use rivvend::log::epochs::LeaderEpochs;
use rivvend::log::witness::{Gaps, Witness};
use rivvend::log::{Seals, load_log_start, segment_name};
use rivvend::record::BatchHeader;
use rivvend::record::layout::attributes;
use rivvend::storage::file::FileDisk;
use rivvend::types::{LeaderEpoch, Millis, Offset};
use serde::Serialize;

use super::directory::{LogFiles, SegmentFile};
use super::walk::{self, Step, Walk};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;

/// A place that is no sound batch.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Spot {
    pub(super) file: PathBuf,
    pub(super) byte: u64,
    pub(super) offset: i64,
    pub(super) bytes: u64,
    pub(super) reason: String,
}

/// What a place is for programs.
pub(super) const SPOT_FIELDS: &[Field] = &[
    Field::text("file", "The file."),
    Field::integer("byte", "Where in the file it begins.").unit("bytes"),
    Field::integer("offset", "Offset that the record there should have."),
    Field::integer("bytes", "From there to the end of the file.").unit("bytes"),
    Field::text("reason", "What is wrong there."),
];

/// The place that was durable once and is no sound batch now.
pub(super) const DAMAGE_FIELD: Field =
    Field::object("damage", "Where what was durable is not sound any more.", SPOT_FIELDS)
        .nullable();

/// The place from which on nothing was promised.
pub(super) const TAIL_FIELD: Field = Field::object(
    "tail",
    "Bytes above the durable frontier that are no batch, which a crash may leave.",
    SPOT_FIELDS,
)
.nullable();

/// Which log it is.
pub(super) const LOG_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic; null: nothing tells it.").nullable(),
    Field::text("topic_id", "Id of the topic."),
    Field::integer("partition", "Number of the partition."),
];

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spot { file, byte, offset, reason, .. } = self;
        write!(f, "{}: byte {byte}, offset {offset}: {reason}", file.display())
    }
}

/// How far a check goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The first place that is not sound: what follows is not served anyway.
    FirstSpot,
    /// The end; each segment behind such a place is checked by itself.
    End,
}

/// What was found in one segment.
pub(super) struct SegmentCheck {
    pub(super) file: PathBuf,
    pub(super) base: i64,
    pub(super) file_bytes: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// Size of the sound batches.
    pub(super) bytes: u64,
    /// The offset after the last sound batch.
    pub(super) end_offset: i64,
    /// Oldest and newest time stamp.
    pub(super) times: Option<(i64, i64)>,
    pub(super) tail: Option<Spot>,
    pub(super) damage: Option<Spot>,
}

/// What was found in one log.
pub(super) struct LogCheck {
    /// Offset up to which it is known to be durable.
    pub(super) durable_offset: Option<i64>,
    pub(super) start_offset: i64,
    /// Where it ends, or where the first spot is.
    pub(super) end_offset: i64,
    /// How many segments there are, read or not.
    pub(super) files: usize,
    pub(super) segments: Vec<SegmentCheck>,
    /// The first of each.
    pub(super) tail: Option<Spot>,
    pub(super) damage: Option<Spot>,
}

impl LogCheck {
    pub(super) fn sum(&self, of: fn(&SegmentCheck) -> u64) -> u64 {
        self.segments.iter().map(of).sum()
    }
}

/// Says on standard error what was found; damage is a failure.
pub(super) fn conclude<'a>(found: impl Iterator<Item = &'a LogCheck> + Clone) -> Outcome {
    for tail in found.clone().filter_map(|log| log.tail.as_ref()) {
        eprintln!("unsynced tail of {} bytes: {tail}", tail.bytes);
    }
    let (mut logs, mut batches, mut records) = (0, 0, 0);
    for log in found.clone() {
        logs += 1;
        batches += log.sum(|segment| segment.batches);
        records += log.sum(|segment| segment.records);
    }
    eprintln!("{logs} partitions, {batches} sound batches, {records} records");
    let damaged: Vec<String> =
        found.filter_map(|log| log.damage.as_ref()).map(|spot| spot.to_string()).collect();
    match damaged.as_slice() {
        [] => Ok(Exit::Ok),
        [only] => Err(Failure::failed(format!("damage in {only}"))),
        several => {
            let list = several.join("\n  ");
            Err(Failure::failed(format!("damage in {} places:\n  {list}", several.len())))
        }
    }
}

/// Checks a log. A running broker may change which files it has meanwhile: nothing counts as
/// damaged before it was found again in the files that are there then.
pub(super) fn check_log(
    log: &LogFiles,
    until: Until,
    bar: Option<&Progress>,
) -> Result<LogCheck, Failure> {
    let first = log.segments.first().map_or(0, |segment| segment.base);
    let mut found = LogCheck {
        durable_offset: log.durable,
        start_offset: first,
        end_offset: first,
        files: log.segments.len(),
        segments: Vec::new(),
        tail: None,
        damage: None,
    };
    found.check_start(log);
    if found.damage.is_some() && until == Until::FirstSpot {
        return Ok(found);
    }
    let mut order = Order::of(log);
    let mut place = Place::begin(log, first);
    while let Some(segment) = place.files.segments.get(place.index) {
        let is_last = place.index + 1 == place.files.segments.len();
        let checked = check_segment(segment, place.expected, is_last, until, &mut order, bar)?;
        if is_doubtful(checked.as_ref(), is_last) && place.look_again(&mut found, &mut order)? {
            continue;
        }
        let Some(checked) = checked else {
            // Somebody has taken it away. The next one may be the first now.
            place.skip();
            continue;
        };
        let is_sound = found.take(checked);
        if !is_sound && until == Until::FirstSpot {
            return Ok(found);
        }
        place.expected = found.segments.last().map_or(place.expected, |last| last.end_offset);
        if is_sound || is_last {
            place.index += 1;
        } else {
            place.skip();
            order.epoch = LeaderEpoch(-1);
        }
    }
    found.hold_against_durable(log);
    Ok(found)
}

/// Whether what was found of a segment may come of its files changing meanwhile: it is gone, or not
/// sound although nobody writes to it.
fn is_doubtful(checked: Option<&SegmentCheck>, is_last: bool) -> bool {
    checked.is_none_or(|found| found.damage.is_some() || (found.tail.is_some() && !is_last))
}

/// How often the files are looked at again without getting any further.
const LOOKS_MAX: u32 = 20;

/// Where a check is.
struct Place<'a> {
    files: Cow<'a, LogFiles>,
    /// Number of the segment that is next,
    index: usize,
    /// and the offset that it should begin with.
    expected: i64,
    /// How often it was looked again there.
    looks: u32,
    /// The furthest that it was looked again at.
    furthest: i64,
}

impl<'a> Place<'a> {
    fn begin(log: &'a LogFiles, first: i64) -> Place<'a> {
        Place { files: Cow::Borrowed(log), index: 0, expected: first, looks: 0, furthest: first }
    }

    /// Goes on without a segment.
    fn skip(&mut self) {
        self.index += 1;
        let next = self.files.segments.get(self.index);
        self.expected = next.map_or(self.expected, |next| next.base);
    }

    /// Goes on in other files, if there are any: where the check is, or further ahead if a
    /// compacted segment begins there that has taken the place of several.
    fn look_again(&mut self, found: &mut LogCheck, order: &mut Order<'_>) -> Result<bool, Failure> {
        if self.expected > self.furthest {
            (self.looks, self.furthest) = (0, self.expected);
        }
        if self.looks == LOOKS_MAX {
            return Ok(false);
        }
        let Some(newer) = self.files.look_again()? else { return Ok(false) };
        let behind = newer.segments.partition_point(|segment| segment.base <= self.expected);
        self.index = behind.saturating_sub(1);
        let base = newer.segments.get(self.index).map_or(self.expected, |next| next.base);
        let is_below_start = || {
            let start = load_log_start(&FileDisk::default(), &newer.dir);
            start.is_ok_and(|start| start.is_some_and(|start| base <= start.0))
        };
        if base <= self.expected || is_below_start() {
            self.expected = base;
        }
        found.segments.retain(|checked| checked.base < base);
        found.files = newer.segments.len();
        order.begin_again(&newer);
        self.looks += 1;
        self.files = Cow::Owned(newer);
        Ok(true)
    }
}

impl LogCheck {
    /// Whether the log begins where it says.
    fn check_start(&mut self, log: &LogFiles) {
        let first = self.start_offset;
        let (file, offset, reason) = match load_log_start(&FileDisk::default(), &log.dir) {
            Err(error) => (log.dir.join("log-start"), first, error.to_string()),
            Ok(start) => {
                let start = start.map_or(0, |start| start.0);
                self.start_offset = first.max(start);
                let is_missing = first > start && log.is_durable(start, false);
                if log.segments.is_empty() || !is_missing {
                    return;
                }
                let reason = format!("the log begins at {start}: its first segment is missing");
                (log.dir.join(segment_name(Offset(start))), start, reason)
            }
        };
        self.end_offset = offset;
        self.damage = Some(Spot { file, byte: 0, offset, bytes: 0, reason });
    }

    /// Adds the next segment; whether everything is sound up to its end.
    fn take(&mut self, checked: SegmentCheck) -> bool {
        let is_sound = checked.tail.is_none() && checked.damage.is_none();
        if self.tail.is_none() && self.damage.is_none() {
            self.end_offset = checked.end_offset;
            self.damage.clone_from(&checked.damage);
            self.tail.clone_from(&checked.tail);
        } else if self.damage.is_none() {
            self.damage.clone_from(&checked.damage);
        }
        self.segments.push(checked);
        is_sound
    }

    /// A log that ends too early is damaged as well.
    fn hold_against_durable(&mut self, log: &LogFiles) {
        let end = self.end_offset;
        let Some(durable) = self.durable_offset.filter(|durable| *durable > end) else { return };
        if self.damage.is_some() {
            return;
        }
        let last = self.segments.last_mut();
        let reason = match &last {
            None => format!("the log is missing, and it was durable up to offset {durable}"),
            Some(_) => format!("the log ends here, and it was durable up to offset {durable}"),
        };
        let spot = Spot {
            file: last.as_ref().map_or_else(|| log.dir.clone(), |last| last.file.clone()),
            byte: last.as_ref().map_or(0, |last| last.file_bytes),
            offset: end,
            bytes: 0,
            reason,
        };
        if let Some(last) = last {
            last.damage = Some(spot.clone());
        }
        self.damage = Some(spot);
    }
}

/// What batches are held against besides their checksums, which leave out where a batch belongs
/// and which leader epoch stamped it.
struct Order<'a> {
    log: &'a LogFiles,
    witness: Witness,
    epoch: LeaderEpoch,
}

impl Order<'_> {
    fn of(log: &LogFiles) -> Order<'_> {
        let below = Offset(log.durable.unwrap_or(0));
        let witness = match LeaderEpochs::load(&FileDisk::default(), &log.dir) {
            Ok(Some(epochs)) => Witness::with_epochs(Gaps::Refused, Arc::new(epochs), below),
            Ok(None) => Witness::new(Gaps::Refused),
            Err(error) => {
                eprintln!("warning: {}: {error}", log.dir.display());
                Witness::new(Gaps::Refused)
            }
        };
        let witness = witness.compacted_below(log.gaps_below);
        Order { log, witness, epoch: LeaderEpoch(-1) }
    }

    /// Goes on anywhere in the files as they are now.
    fn begin_again(&mut self, files: &LogFiles) {
        self.witness = self.witness.clone().compacted_below(files.gaps_below);
        self.epoch = LeaderEpoch(-1);
    }

    fn pass(&mut self, header: &BatchHeader, expected: i64) -> Result<(), String> {
        let (base, epoch) = (header.base_offset, header.leader_epoch);
        self.witness.check(header, Offset(expected), self.epoch).map_err(|contradiction| {
            let why = contradiction.why();
            format!("{why} (offset {base}, epoch {epoch} where offset {expected} comes next)")
        })?;
        self.epoch = epoch;
        Ok(())
    }
}

impl SegmentCheck {
    /// Of a segment nothing is known of yet.
    pub(super) fn of(segment: &SegmentFile) -> SegmentCheck {
        SegmentCheck {
            file: segment.path.clone(),
            base: segment.base,
            file_bytes: segment.len,
            batches: 0,
            records: 0,
            bytes: 0,
            end_offset: segment.base,
            times: None,
            tail: None,
            damage: None,
        }
    }

    fn count(&mut self, header: &BatchHeader, end_offset: i64, bytes: u64) {
        self.end_offset = end_offset;
        self.batches += 1;
        self.records += u64::try_from(header.records_count).unwrap_or(0);
        self.bytes += bytes;
        // A batch whose records have no time says -1. One with a delete horizon has that in the
        // place of its first record's time.
        let Some(Millis(last)) = header.newest() else { return };
        let has_horizon = header.attributes & attributes::DELETE_HORIZON != 0;
        let first = if has_horizon { last } else { header.base_timestamp };
        if first >= 0 && last >= 0 {
            let (oldest, newest) = self.times.unwrap_or((first, last));
            self.times = Some((oldest.min(first), newest.max(last)));
        }
    }

    /// Notes the first place that is no sound batch.
    fn stop(mut self, spot: Spot, log: &LogFiles, is_last: bool) -> SegmentCheck {
        if self.damage.is_some() || self.tail.is_some() {
            return self;
        }
        // A repair that was interrupted has taken the claims back and left later segments.
        let is_damage = log.is_durable(spot.offset, is_last) || (!is_last && log.is_under_repair());
        if is_damage {
            self.damage = Some(spot);
        } else {
            self.tail = Some(spot);
        }
        self
    }
}

/// Checks a segment whose first offset has to be the end of what is before it, up to the first
/// place that is not sound. `None` when it does not exist any more.
fn check_segment(
    segment: &SegmentFile,
    expected: i64,
    is_last: bool,
    until: Until,
    order: &mut Order<'_>,
    bar: Option<&Progress>,
) -> Result<Option<SegmentCheck>, Failure> {
    let mut seals =
        Seals::load(&FileDisk::default(), &segment.path, Offset(segment.base), segment.len);
    let unreadable = |error| Failure::file("read", &segment.path, &error);
    let mut walk = match Walk::open(&segment.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        walk => walk.map_err(unreadable)?,
    };
    let spot = |byte: u64, offset: i64, reason: String| {
        let bytes = segment.len.saturating_sub(byte);
        Spot { file: segment.path.clone(), byte, offset, bytes, reason }
    };
    let mut found = SegmentCheck::of(segment);
    if segment.base != expected {
        let reason = format!("it should begin at offset {expected}: a segment is missing");
        found = found.stop(spot(0, expected, reason), order.log, is_last);
        if until == Until::FirstSpot {
            found.end_offset = expected;
            return Ok(Some(found));
        }
    }
    loop {
        let (at, next) = (walk.position(), found.end_offset);
        let batch = match walk.next().map_err(unreadable)? {
            Step::Batch(batch) => batch,
            Step::End => return Ok(Some(found)),
            Step::Bad(mut why) => {
                if walk.is_zero_from_here().map_err(unreadable)? {
                    "zeros to the end of the file".clone_into(&mut why);
                }
                return Ok(Some(found.stop(spot(at, next, why), order.log, is_last)));
            }
        };
        let header = batch.header();
        if let Err(why) = order.pass(header, next) {
            return Ok(Some(found.stop(spot(at, next, why), order.log, is_last)));
        }
        if let Err(block) = seals.pass(header, walk.position()) {
            let why = "the checksum over the headers of the block does not match".to_owned();
            let spot = spot(block.bytes, block.offset.0, why);
            return Ok(Some(found.stop(spot, order.log, is_last)));
        }
        let bytes = walk.position() - at;
        found.count(header, walk::last_offset(header).saturating_add(1), bytes);
        if let Some(bar) = bar {
            bar.advance(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rivvend::record::BatchBuilder;
    use rivvend::types::{PartitionId, TopicId, TopicPartition};

    use super::super::directory::DataDir;

    use super::*;

    const SEGMENTS: [i64; 2] = [0, 2];

    struct Case {
        root: tempfile::TempDir,
        log: LogFiles,
    }

    /// Two segments with two batches of one record each.
    fn case() -> Case {
        let root = tempfile::tempdir().expect("a directory");
        let id = TopicPartition {
            topic: TopicId::from_bytes(*b"0123456789abcdef"),
            partition: PartitionId(0),
        };
        let dir = root.path().join("topics").join(id.topic.to_string()).join("0");
        fs::create_dir_all(&dir).expect("created");
        for base in SEGMENTS {
            let mut bytes = Vec::new();
            for offset in [base, base + 1] {
                let batch = BatchBuilder::single(Millis(offset), None, Some(b"value"));
                let stamped = batch.stamp(Offset(offset), LeaderEpoch(0));
                stamped.slices().iter().for_each(|slice| bytes.extend_from_slice(slice));
            }
            fs::write(dir.join(format!("{base:020}.log")), bytes).expect("written");
        }
        let log = only_log(root.path());
        Case { root, log }
    }

    fn only_log(root: &Path) -> LogFiles {
        DataDir::open(root).expect("ours").logs.remove(0)
    }

    fn check(case: &Case, durable: Option<i64>) -> LogCheck {
        check_until(case, durable, Until::FirstSpot)
    }

    fn check_until(case: &Case, durable: Option<i64>, until: Until) -> LogCheck {
        let log = LogFiles { durable, ..only_log(case.root.path()) };
        check_log(&log, until, None).expect("readable")
    }

    fn change(case: &Case, segment: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = &case.log.segments[segment].path;
        let mut bytes = fs::read(path).expect("read");
        change(&mut bytes);
        fs::write(path, bytes).expect("written");
    }

    #[test]
    fn a_sound_log_is_counted() {
        let found = check(&case(), Some(4));
        let (batches, records) = (found.sum(|at| at.batches), found.sum(|at| at.records));
        assert_eq!((batches, records, found.end_offset), (4, 4, 4));
        assert!(found.damage.is_none() && found.tail.is_none());
    }

    /// The same flipped byte is damage below the frontier and a tail above it.
    #[test]
    fn the_frontier_tells_damage_from_a_tail() {
        let case = case();
        change(&case, 1, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
        let found = check(&case, Some(4));
        let damage = found.damage.expect("it was durable");
        assert_eq!(damage.offset, 3);
        assert_eq!(damage.byte * 2, case.log.segments[1].len);
        let found = check(&case, Some(3));
        assert!(found.damage.is_none() && found.tail.is_some_and(|tail| tail.offset == 3));
        assert!(
            check(&case, None).tail.is_some(),
            "without a journal the last segment may be torn"
        );
    }

    /// D9: no checksum of a batch covers its leader epoch. On a sealed segment the side files do.
    #[test]
    fn a_flipped_epoch_is_damage_where_something_tells_of_it() {
        use rivvend::log::{Known, KnownFrontier, Log, LogConfig, OpenMode};
        let case = case();
        let path = case.log.segments[0].path.clone();
        let epoch = |bytes: &mut Vec<u8>| bytes[15] ^= 1;
        // Opened and closed once, the sealed segment has its side files, and the log its epochs.
        let known = Known { frontier: KnownFrontier::Missing, clean: None };
        let (disk, dir) = (Arc::new(FileDisk::default()), case.log.dir.clone());
        let opened = Log::open(disk, dir, LogConfig::default(), known, OpenMode::Write);
        opened.expect("opens").0.close().expect("closes");
        assert!(check(&case, Some(4)).damage.is_none());
        change(&case, 0, epoch);
        let damage = check(&case, Some(4)).damage.expect("the file of epochs tells");
        assert_eq!((damage.byte, damage.offset), (0, 0));
        change(&case, 0, epoch);
        fs::remove_file(case.log.dir.join("leader-epochs")).expect("removed");
        // The order of epochs alone would find fault with the segment behind.
        change(&case, 0, |bytes| {
            let second = bytes.len() / 2;
            bytes[second + 15] ^= 1;
        });
        let damage = check(&case, Some(4)).damage.expect("the checksum over headers tells");
        assert!(damage.file == path && damage.reason.contains("headers"), "{damage:?}");
    }

    /// The metadata is a log like any other.
    #[test]
    fn damaged_metadata_is_damage() {
        let case = case();
        let dir = case.root.path().join("metadata").join("log");
        fs::create_dir_all(&dir).expect("created");
        for segment in &case.log.segments {
            let name = segment.path.file_name().expect("a name");
            fs::copy(&segment.path, dir.join(name)).expect("copied");
        }
        let checked = |floor| {
            let log = LogFiles { durable: Some(floor), ..only_log(case.root.path()) };
            assert_eq!(log.label(), "metadata/0", "people read a name");
            assert_eq!(log.id.topic.to_string(), "00000000-0000-0000-0000-000000000000");
            check_log(&log, Until::FirstSpot, None).expect("readable")
        };
        assert!(checked(4).damage.is_none());
        let path = dir.join(format!("{:020}.log", 2));
        let mut bytes = fs::read(&path).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, bytes).expect("written");
        assert!(checked(4).damage.is_some_and(|damage| damage.offset == 3));
        assert!(checked(3).tail.is_some());
    }

    #[test]
    fn lost_bytes_and_segments_are_damage() {
        let short = case();
        change(&short, 1, |bytes| bytes.truncate(bytes.len() / 2));
        assert!(check(&short, Some(4)).damage.is_some_and(|d| d.reason.contains("durable up to")));
        assert!(check(&short, Some(3)).damage.is_none());
        let gap = case();
        change(&gap, 0, |bytes| bytes.truncate(bytes.len() / 2));
        assert!(check(&gap, Some(4)).damage.is_some_and(|d| d.reason.contains("is missing")));
        let early = case();
        change(&early, 0, |bytes| bytes[20] ^= 1);
        assert!(check(&early, None).damage.is_some(), "only the last segment may be torn");
    }

    /// Compaction of a running broker has made one segment of two since those were listed.
    #[test]
    fn files_that_have_taken_the_place_of_others_are_no_damage() {
        use rivvend::log::CompactionState;
        let case = case();
        let [first, second] = [0, 1].map(|i| case.log.segments[i].path.clone());
        let [one, other] = [&first, &second].map(|path| fs::read(path).expect("read"));
        let kept = [&one[..one.len() / 2], &other[other.len() / 2..]].concat();
        let cleaned = first.with_extension("cleaned.log");
        fs::write(&cleaned, kept).expect("written");
        fs::rename(&cleaned, &first).expect("renamed");
        fs::remove_file(&second).expect("removed");
        let (gaps_below, clean_to) = (Offset(4), Offset(4));
        let state = CompactionState { gaps_below, clean_to, exchange: Vec::new() };
        fs::write(case.log.dir.join("compaction"), state.encode()).expect("written");
        let listed_before = LogFiles { durable: Some(4), ..case.log.clone() };
        let found = check_log(&listed_before, Until::FirstSpot, None).expect("readable");
        assert!(found.damage.is_none() && found.tail.is_none(), "{:?}", found.damage);
        assert_eq!((found.files, found.sum(|at| at.batches), found.end_offset), (1, 2, 4));
        change(&case, 0, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
        let found = check_log(&listed_before, Until::FirstSpot, None).expect("readable");
        assert!(found.damage.is_some_and(|damage| damage.file == first && damage.offset == 1));
    }

    #[test]
    fn zeros_behind_the_frontier_are_a_tail() {
        let case = case();
        change(&case, 1, |bytes| bytes.resize(bytes.len() + 100, 0));
        let tail = check(&case, Some(4)).tail.expect("there are bytes behind the end");
        assert_eq!((tail.bytes, tail.reason.as_str()), (100, "zeros to the end of the file"));
    }

    #[test]
    fn what_lies_behind_damage_is_checked_by_itself() {
        let case = case();
        change(&case, 0, |bytes| bytes[20] ^= 1);
        let found = check_until(&case, Some(4), Until::End);
        assert!(found.segments[0].damage.is_some() && found.segments[1].damage.is_none());
        assert_eq!((found.segments[1].batches, found.end_offset), (2, 0));
        change(&case, 1, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
        let found = check_until(&case, Some(4), Until::End);
        assert!(found.segments[1].damage.as_ref().is_some_and(|damage| damage.offset == 3));
        assert!(found.damage.is_some_and(|damage| damage.offset == 0), "the first one counts");
    }

    #[test]
    fn a_log_whose_beginning_or_whole_is_missing_is_damaged() {
        let headless = case();
        fs::remove_file(&headless.log.segments[0].path).expect("removed");
        let found = check(&headless, Some(4));
        let damage = found.damage.expect("it was durable");
        assert_eq!((damage.offset, damage.file), (0, headless.log.segments[0].path.clone()));
        assert!(check(&headless, Some(0)).damage.is_none(), "it never was durable");
        let (durable, segments) = (Some(4), Vec::new());
        let gone = LogFiles { durable, segments, ..only_log(case().root.path()) };
        let found = check_log(&gone, Until::End, None).expect("readable");
        assert!(conclude([&found].into_iter()).is_err());
        assert!(found.damage.is_some_and(|damage| damage.reason.contains("is missing")));
    }
}
