//! Fetch and subscribe: byte ranges of published views, no owner asked.

use std::sync::Arc;

use super::directory::TopicPartitions;
use super::{Context, error};
use crate::limits;
use crate::log::{ReadError, ReadRange};
use crate::partition::{Health, PartitionHandle, PartitionView, Reader};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::{Error, Fetch, FetchPartition, FetchPartitionResult};
use crate::types::{Offset, PartitionId};

/// A place in a partition that somebody reads from.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The topic, for explanations.
    pub topic: Arc<str>,
    /// The topic, for its counters.
    pub partitions: Arc<TopicPartitions>,
    /// The partition.
    pub handle: Arc<PartitionHandle>,
    /// The next offset that is wanted.
    pub offset: Offset,
    /// At most this much at once.
    pub bytes_max: usize,
}

/// One partition of a request: where to read, or why not.
pub type Target = Result<Cursor, Error>;

/// A partition as the client named it.
#[derive(Clone, Debug)]
pub struct Name {
    topic: String,
    partition: i32,
}

/// What to do for a fetch request.
#[derive(Debug)]
pub struct Plan {
    /// The partitions, in the order of the request.
    pub targets: Vec<Target>,
    /// What the client calls them.
    pub names: Vec<Name>,
    /// When to answer, and with how much.
    pub bounds: Bounds,
}

/// When a fetch is answered, and with how much.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How far the reader may see.
    pub reader: Reader,
    /// Bound of the whole answer.
    pub bytes_max: usize,
    /// Answer when this much is there …
    pub bytes_min: usize,
    /// … or after so many milliseconds.
    pub wait_ms: u32,
}

/// What one look at the views found.
#[derive(Debug, Default)]
pub struct Found {
    /// For each partition of the request what is known of it.
    pub reads: Vec<Read>,
    /// Size of the payload.
    pub bytes: usize,
    /// Whether a partition has an error to tell, so that waiting would only hide it.
    pub failed: bool,
}

/// What was found in one partition. Offsets are -1 where nothing is known.
#[derive(Debug)]
pub struct Read {
    /// Why nothing was read.
    pub error: Option<Error>,
    /// Offset of the first record that can be read.
    pub log_start_offset: i64,
    /// Where what is committed ends.
    pub high_watermark: i64,
    /// Where what is committed and of no open transaction ends.
    pub last_stable_offset: i64,
    /// The bytes, if there are any.
    pub range: Option<ReadRange>,
}

/// Decides what a fetch request means. Bounds beyond the server's are cut to them.
///
/// # Errors
/// When the request as a whole makes no sense.
pub fn plan(request: Fetch, context: &Context<'_>) -> Result<Plan, Error> {
    let (names, targets) = targets(request.partitions, context)?;
    let bytes_max = clamp(request.max_bytes);
    let bounds = Bounds {
        reader: reader(request.read_committed),
        bytes_max,
        bytes_min: (request.min_bytes as usize).min(bytes_max),
        wait_ms: request.max_wait_ms.min(limits::FETCH_WAIT_MS_MAX),
    };
    Ok(Plan { targets, names, bounds })
}

/// How far somebody with this isolation level may see.
#[must_use]
pub fn reader(read_committed: bool) -> Reader {
    if read_committed { Reader::Committed } else { Reader::Uncommitted }
}

/// Finds the partitions that a request names.
///
/// # Errors
/// When it names more than a request may.
pub fn targets(
    partitions: Vec<FetchPartition>,
    context: &Context<'_>,
) -> Result<(Vec<Name>, Vec<Target>), Error> {
    check_count(partitions.len())?;
    let named = partitions.into_iter().map(|entry| {
        let target = target(&entry, context);
        (Name { topic: entry.topic, partition: entry.partition }, target)
    });
    Ok(named.unzip())
}

/// Refuses requests that name too many partitions.
///
/// # Errors
/// When this is one.
pub fn check_count(partitions: usize) -> Result<(), Error> {
    let limit = limits::REQUEST_PARTITIONS_MAX;
    if partitions <= limit {
        return Ok(());
    }
    let message = format!("a request may name {limit} partitions, this one names {partitions}");
    Err(Error::new(ErrorCode::InvalidRequest, message))
}

/// Reads what the views hold for the cursors at this moment.
#[must_use]
pub fn look(targets: &[Target], reader: Reader, bytes_max: usize) -> Found {
    let mut found = Found { reads: Vec::with_capacity(targets.len()), ..Found::default() };
    for target in targets {
        let read = match target {
            Ok(cursor) => found.read(cursor, reader, bytes_max),
            Err(error) => Read::failed(error.clone()),
        };
        found.failed |= read.error.is_some();
        found.bytes += read.range.as_ref().map_or(0, bytes_of);
        found.reads.push(read);
    }
    found
}

impl Read {
    /// Nothing is known but why.
    fn failed(error: Error) -> Read {
        Read {
            error: Some(error),
            log_start_offset: -1,
            high_watermark: -1,
            last_stable_offset: -1,
            range: None,
        }
    }
}

impl Found {
    /// Counts what is sent, once it is decided that it is.
    pub fn count(&self, targets: &[Target]) {
        for (target, read) in targets.iter().zip(&self.reads) {
            if let (Ok(cursor), Some(range)) = (target, &read.range) {
                let records = range.next_offset.0 - cursor.offset.0;
                let metrics = cursor.partitions.metrics();
                metrics.messages_sent.add(u64::try_from(records).unwrap_or(0));
                metrics.bytes_sent.add(range.len());
            }
        }
    }

    /// The answer's header and the ranges of its payload.
    #[must_use]
    pub fn into_parts(self, names: &[Name]) -> (Vec<FetchPartitionResult>, Vec<ReadRange>) {
        let parts = names.iter().zip(self.reads).map(|(name, read)| {
            let result = FetchPartitionResult {
                error: read.error,
                topic: name.topic.clone(),
                partition: name.partition,
                data_bytes: read.range.as_ref().map_or(0, |range| bytes_of(range) as u32),
                log_start_offset: read.log_start_offset,
                high_watermark: read.high_watermark,
                last_stable_offset: read.last_stable_offset,
            };
            (result, read.range)
        });
        let (results, ranges): (Vec<_>, Vec<_>) = parts.unzip();
        (results, ranges.into_iter().flatten().collect())
    }

    fn read(&self, cursor: &Cursor, reader: Reader, bytes_max: usize) -> Read {
        let view = cursor.handle.view();
        let result = Read {
            error: None,
            log_start_offset: view.start().0,
            high_watermark: view.high_watermark.offset.0,
            last_stable_offset: view.last_stable.offset.0,
            range: None,
        };
        // The first batch of an answer is always whole, later ones only as far as they fit.
        let room = bytes_max.saturating_sub(self.bytes);
        if room == 0 && self.bytes > 0 {
            return result;
        }
        match read(&view, cursor, reader, room) {
            Ok(Some(range)) if self.bytes == 0 || bytes_of(&range) <= room => {
                Read { range: Some(range), ..result }
            }
            Ok(_) => result,
            Err(error) => Read { error: Some(error), ..result },
        }
    }
}

fn read(
    view: &PartitionView,
    cursor: &Cursor,
    reader: Reader,
    room: usize,
) -> Result<Option<ReadRange>, Error> {
    let partition = cursor.handle.id().partition;
    if let Health::Offline(reason) = &view.health {
        return Err(error::offline(&cursor.topic, partition, reason));
    }
    let bytes_max = cursor.bytes_max.min(room);
    let mut found = view.read(cursor.offset, reader, bytes_max);
    if matches!(found, Err(ReadError::Stale)) {
        // The files changed after the view was loaded, so by now there is a newer one.
        found = cursor.handle.view().read(cursor.offset, reader, bytes_max);
    }
    let range = found.map_err(|e| error::of_read(&e, &cursor.topic, partition))?;
    assert!(bytes_of(&range) <= u32::MAX as usize, "a range is bounded by the largest answer");
    Ok((!range.is_empty()).then_some(range))
}

fn bytes_of(range: &ReadRange) -> usize {
    range.len() as usize
}

fn target(entry: &FetchPartition, context: &Context<'_>) -> Target {
    let found = context.find(&entry.topic)?;
    cursor(&found, entry.partition, Offset(entry.offset), clamp(entry.max_bytes))
}

/// A place in a partition of this topic.
///
/// # Errors
/// When it has no such partition.
pub fn cursor(found: &super::Found, partition: i32, offset: Offset, bytes_max: usize) -> Target {
    let handle = Arc::clone(found.partition(PartitionId(partition))?);
    Ok(Cursor {
        topic: Arc::clone(&found.topic.name),
        partitions: Arc::clone(&found.partitions),
        handle,
        offset,
        bytes_max,
    })
}

/// Zero means "as much as the server gives".
fn clamp(bytes: u32) -> usize {
    match bytes as usize {
        0 => limits::FETCH_BYTES_MAX,
        bytes => bytes.min(limits::FETCH_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::directory::Directory;
    use crate::api::{Sticky, Writes};
    use crate::metadata::Image;
    use crate::time::Now;
    use crate::types::Millis;

    /// bad-inputs 27
    #[test]
    fn bounds_beyond_the_servers_are_cut_to_them() {
        let (image, directory) = (Image::default(), Directory::default());
        let context = Context {
            image: &image,
            directory: &directory,
            now: Now { wall: Millis(0), monotonic_ms: 0 },
            writes: Writes::Accepted,
            sticky: Sticky { batch_bytes: 1, linger_ms: 1 },
        };
        let fetch = |bytes| Fetch {
            partitions: Vec::new(),
            max_bytes: bytes,
            min_bytes: bytes,
            max_wait_ms: bytes,
            read_committed: false,
        };
        for bytes in [u32::MAX, i32::MAX as u32, 1 << 31] {
            let plan = plan(fetch(bytes), &context).expect("cut, not refused");
            let plan = plan.bounds;
            assert_eq!(plan.bytes_max, limits::FETCH_BYTES_MAX);
            assert_eq!(plan.bytes_min, plan.bytes_max, "or it would wait for what never comes");
            assert_eq!(plan.wait_ms, 300_000, "five minutes");
        }
        let plan = plan(fetch(0), &context).expect("as much as there may be").bounds;
        assert_eq!((plan.bytes_max, plan.bytes_min), (limits::FETCH_BYTES_MAX, 0));
    }
}
