//! `inspect batch`: the header of batches, with their records when asked for, as they lie in the
//! files of a partition.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rivvend::log::SideFiles;
use rivvend::record::layout::attributes;
use rivvend::record::{
    BatchHeader, CheckedBatch, Compression, ControlType, Marker, OwnedRecord, decode_records,
};
use rivvend::storage::file::FileDisk;
use rivvend::types::Offset;
use serde::{Serialize, Serializer};

use super::check::Spot;
use super::directory::{LogFiles, SegmentFile, locate};
use super::time_column;
use super::walk::{Step, Walk, last_offset};
use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Field;
use crate::format::{FORMAT_HELP, Format as RecordFormat, RECORD_FIELDS, View, write_json};
use crate::output::{Column, ErrorArgs, Format, Sink, Stream};

/// Show the header of batches, and their records
#[derive(Args, Clone, Debug)]
#[command(after_help = format!(
    "Examples:\n  rivvend inspect batch ./data orders/0 -o 1000\n  \
    rivvend inspect batch ./data orders/0 -o 1000 -v --output json\n  \
    rivvend inspect batch ./data orders/0 -o 1000 -n 3 -f '%o %k{{hex}} %v{{hex}}\\n'\n  \
    rivvend inspect batch data/topics/<topic id>/0/00000000000000000000.log\n\n{FORMAT_HELP}"
))]
pub(super) struct BatchArgs {
    /// A data directory, the directory of a partition, or a .log file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The partition, in a data directory; the topic by name or id, or `metadata`
    #[arg(value_name = "TOPIC/PARTITION")]
    partition: Option<String>,
    /// Begin with the batch that holds this offset [default: the first]
    #[arg(short, long, value_name = "OFFSET")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
    /// How many batches [default: 1 with --offset, else all]
    #[arg(short = 'n', long = "num", value_name = "N")]
    num: Option<usize>,
    /// Show the records, too
    #[arg(short = 'v', long)]
    records: bool,
    /// Print the records by this format and nothing else; its verbs are below
    #[arg(short, long, value_name = "FORMAT", value_parser = RecordFormat::parse)]
    #[arg(conflicts_with_all = ["output", "records"])]
    format: Option<RecordFormat>,
    /// Form of the output
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    errors: ErrorArgs,
}

/// A batch as it is printed; the field names are stable. Of a damaged one, the numbers are what
/// stands where its header should be.
#[derive(Serialize)]
struct Batch {
    file: PathBuf,
    position: u64,
    base_offset: i64,
    last_offset: i64,
    size_bytes: Option<usize>,
    leader_epoch: i32,
    magic: i8,
    crc: u32,
    compression: String,
    /// Who set the time stamps: `create` or `append`.
    timestamp_type: &'static str,
    transactional: bool,
    control: bool,
    /// What a control batch says: `commit` or `abort`.
    marker: Option<&'static str>,
    records_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<StoredRecord>>,
}

/// A record with what it needs to be printed.
struct StoredRecord {
    topic: String,
    partition: i32,
    record: OwnedRecord,
}

impl StoredRecord {
    /// Calls `write` with the record as the formats of `consume` know it.
    fn with_view<T>(&self, count: u64, write: impl FnOnce(&View<'_>) -> T) -> T {
        let record = &self.record;
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        write(&View {
            topic: &self.topic,
            partition: self.partition,
            offset: record.offset.0,
            timestamp_ms: record.timestamp.0,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            count,
        })
    }
}

/// The same object that `consume --output json` prints.
impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = Vec::new();
        self.with_view(0, |view| write_json(view, &mut json));
        let value: serde_json::Value =
            serde_json::from_slice(&json).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

const COLUMNS: &[Column<Batch>] = &[
    Column::number("POSITION", |b| b.position.to_string()),
    Column::number("BASE", |b| b.base_offset.to_string()),
    Column::number("LAST", |b| b.last_offset.to_string()),
    Column::number("RECORDS", |b| b.records_count.to_string()),
    Column::number("BYTES", |b| b.size_bytes.map_or_else(String::new, |bytes| bytes.to_string())),
    Column::number("EPOCH", |b| b.leader_epoch.to_string()),
    Column::text("CODEC", |b| b.compression.clone()),
    Column::text("MAX TIMESTAMP", |b| time_column(b.max_timestamp)),
    Column::filled("MARKER", |b| b.marker.unwrap_or_default().to_owned()),
    Column::filled("ERROR", |b| b.error.clone().unwrap_or_default()),
    Column::wide("BASE TIMESTAMP", |b| time_column(b.base_timestamp)),
    Column::wide("TIME", |b| b.timestamp_type.to_owned()),
    Column::wide("PRODUCER", |b| b.producer_id.to_string()),
    Column::wide("PRODUCER EPOCH", |b| b.producer_epoch.to_string()),
    Column::wide("SEQUENCE", |b| b.base_sequence.to_string()),
    Column::wide("CONTROL", |b| b.control.to_string()),
    Column::wide("TRANSACTIONAL", |b| b.transactional.to_string()),
    Column::wide("CRC", |b| format!("{:08x}", b.crc)),
    Column::wide("FILE", |b| b.file.display().to_string()),
];

pub(super) const FIELDS: &[Field] = &[
    Field::text("file", "The file."),
    Field::integer("position", "Where in the file it begins.").unit("bytes"),
    Field::integer("base_offset", "Offset of its first record."),
    Field::integer("last_offset", "Offset of its last record."),
    Field::integer("size_bytes", "What it takes; null: its length can not be true.")
        .unit("bytes")
        .nullable(),
    Field::integer("leader_epoch", "Epoch of the leader that wrote it."),
    Field::integer("magic", "Version of the format; 2."),
    Field::integer("crc", "Its checksum, CRC-32C."),
    Field::text("compression", "none, gzip, snappy, lz4 or zstd."),
    Field::text("timestamp_type", "Who set the time stamps: create or append."),
    Field::flag("transactional", "Whether it is part of a transaction."),
    Field::flag("control", "Whether it ends a transaction rather than hold records of anyone."),
    Field::text("marker", "What a control batch says: commit or abort.").nullable(),
    Field::integer("records_count", "How many records it holds."),
    Field::integer("base_timestamp", "Time stamp of its first record; -1: none.")
        .unit("milliseconds since 1970"),
    Field::integer("max_timestamp", "Newest time stamp in it; -1: none.")
        .unit("milliseconds since 1970"),
    Field::integer("producer_id", "Producer that numbers its batches; -1: none."),
    Field::integer("producer_epoch", "Epoch of that producer; -1: none."),
    Field::integer("base_sequence", "Number of its first record; -1: none."),
    Field::text("error", "Why it is not sound; the other fields are then what stands there.")
        .nullable(),
    Field::list("records", "With --records, its records.", RECORD_FIELDS).optional(),
];

pub(super) fn run(args: &BatchArgs) -> Outcome {
    let logs = locate(&args.path, args.partition.as_deref())?;
    let log = match logs.as_slice() {
        [only] => only,
        [] => return Err(Failure::new(Exit::NotFound, "there are no files yet")),
        several => {
            let message = format!("{} partitions are meant", several.len());
            let example = format!("name one, as in {}", several[0].label());
            return Err(Failure::usage(message).hint(example));
        }
    };
    let mut search = Search {
        log,
        from: args.offset.unwrap_or(i64::MIN),
        most: args.num.unwrap_or(if args.offset.is_some() { 1 } else { usize::MAX }),
        records: args.records || args.format.is_some(),
        found: 0,
        spot: None,
        end: log.segments.first().map_or(0, |first| first.base),
    };
    print(args, &mut search)?;
    match (search.spot, args.offset) {
        (Some((damage, true)), _) => Err(Failure::failed(format!("damage in {damage}"))),
        (Some((tail, false)), _) => {
            eprintln!("unsynced tail of {} bytes: {tail}", tail.bytes);
            Ok(Exit::Ok)
        }
        (None, Some(offset)) if search.found == 0 => {
            let first = log.segments.first().map_or(0, |first| first.base);
            let message = format!(
                "offset {offset} is not in {}, which has {first} up to, but not, {}",
                log.dir.display(),
                search.end
            );
            Err(Failure::new(Exit::NotFound, message))
        }
        _ => Ok(Exit::Ok),
    }
}

/// Prints what is found while it is. A table of batches comes before their records, so those are
/// searched for once more.
fn print(args: &BatchArgs, search: &mut Search<'_>) -> Result<(), Failure> {
    if let Some(format) = &args.format {
        return print_records(search, format);
    }
    let is_for_people = matches!(args.output, Format::Table | Format::Wide);
    let again = (args.records && is_for_people).then(|| search.clone());
    search.records = args.records && !is_for_people;
    let name = |batch: &Batch| batch.base_offset.to_string();
    Stream { columns: COLUMNS, name }.print(args.output, |sink| search.run(sink))?;
    if let Some(mut search) = again {
        let line = "%t/%p@%o  %T{rfc3339}  %h{%k{text}=%v{text} } %k{text}  %v{text}\\n";
        let format = RecordFormat::parse(line).expect("our own formats are valid");
        io::stdout().lock().write_all(b"\n")?;
        return print_records(&mut search, &format);
    }
    Ok(())
}

fn print_records(search: &mut Search<'_>, format: &RecordFormat) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut line, mut count) = (Vec::new(), 0);
    let searched = search.run(&mut |batch| {
        for record in batch.records.iter().flatten() {
            line.clear();
            record.with_view(count, |view| format.write(view, &mut line));
            out.write_all(&line)?;
            count += 1;
        }
        Ok(())
    });
    out.flush()?;
    searched
}

/// What is looked for, and what was found. Batches are given away as soon as they are.
#[derive(Clone)]
struct Search<'a> {
    log: &'a LogFiles,
    from: i64,
    most: usize,
    records: bool,
    /// Batches that were given away.
    found: usize,
    /// Where the search ended, if that was no sound batch, and whether it had been durable.
    spot: Option<(Spot, bool)>,
    /// The offset after the last batch that was passed.
    end: i64,
}

impl Search<'_> {
    fn run(&mut self, sink: &mut Sink<'_, Batch>) -> Result<(), Failure> {
        let first = self.log.segments.partition_point(|segment| segment.base <= self.from);
        let mut before = None;
        for segment in &self.log.segments[first.saturating_sub(1)..] {
            if self.found >= self.most || self.spot.is_some() {
                break;
            }
            if let Some(end) = before.filter(|end| *end != segment.base) {
                let why = format!("it should begin at offset {end}: a segment is missing");
                self.stop(segment, 0, why);
                break;
            }
            self.search(segment, sink)?;
            before = Some(self.end);
        }
        Ok(())
    }

    fn search(&mut self, segment: &SegmentFile, sink: &mut Sink<'_, Batch>) -> Result<(), Failure> {
        let unreadable = |error| Failure::file("read", &segment.path, &error);
        let (offset, position) = self.start_in(segment);
        let mut walk = Walk::open_at(&segment.path, position).map_err(unreadable)?;
        self.end = offset;
        while self.found < self.most {
            let at = walk.position();
            match walk.next().map_err(unreadable)? {
                Step::End => break,
                Step::Batch(batch) => self.take(segment, at, &batch, sink)?,
                Step::Bad(mut why) => {
                    if walk.is_zero_from_here().map_err(unreadable)? {
                        "zeros to the end of the file".clone_into(&mut why);
                    } else if let Some(header) = walk.header_here() {
                        let batch = Batch::of(&segment.path, at, &header);
                        self.give(Batch { error: Some(why.clone()), ..batch }, sink)?;
                    }
                    self.stop(segment, at, why);
                }
            }
            if self.spot.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// The nearest place before the offset that the index tells, so that damage further up does
    /// not hide what is behind it.
    fn start_in(&self, segment: &SegmentFile) -> (i64, u64) {
        let (base, path) = (Offset(segment.base), &segment.path);
        let files = SideFiles::read(&FileDisk::default(), path, base, segment.len);
        let before = files.entries.iter().rev().find(|entry| entry.offset.0 <= self.from);
        before.map_or((segment.base, 0), |entry| (entry.offset.0, entry.position))
    }

    fn take(
        &mut self,
        segment: &SegmentFile,
        at: u64,
        batch: &CheckedBatch,
        sink: &mut Sink<'_, Batch>,
    ) -> Result<(), Failure> {
        let (header, expected) = (batch.header(), self.end);
        self.end = last_offset(header).saturating_add(1);
        let is_wanted = self.end > self.from;
        if !is_wanted && header.base_offset.0 == expected {
            return Ok(());
        }
        let mut item = Batch::of(&segment.path, at, header);
        item.marker = marker(batch);
        if self.records && is_wanted {
            match decode_records(batch) {
                Ok(records) => item.records = Some(self.stored(records)),
                Err(error) => item.error = Some(error.to_string()),
            }
        }
        if header.base_offset.0 != expected {
            item.error = Some(format!("it should begin at offset {expected}"));
        }
        let error = item.error.clone();
        self.give(item, sink)?;
        if let Some(why) = error {
            self.end = expected;
            self.stop(segment, at, why);
        }
        Ok(())
    }

    fn give(&mut self, batch: Batch, sink: &mut Sink<'_, Batch>) -> Result<(), Failure> {
        self.found += 1;
        sink(batch)
    }

    fn stored(&self, records: Vec<OwnedRecord>) -> Vec<StoredRecord> {
        let (topic, partition) = (self.log.topic_label(), self.log.id.partition.0);
        let stored = |record| StoredRecord { topic: topic.clone(), partition, record };
        records.into_iter().map(stored).collect()
    }

    /// Ends the search at a place that is no sound batch.
    fn stop(&mut self, segment: &SegmentFile, byte: u64, reason: String) {
        let (file, bytes) = (segment.path.clone(), segment.len.saturating_sub(byte));
        let is_last = self.log.segments.last().is_some_and(|last| last.base == segment.base);
        let is_durable = self.log.is_durable(self.end, is_last);
        self.spot = Some((Spot { file, byte, offset: self.end, bytes, reason }, is_durable));
    }
}

fn marker(batch: &CheckedBatch) -> Option<&'static str> {
    match Marker::read(batch).ok().flatten()?.outcome {
        ControlType::Commit => Some("commit"),
        ControlType::Abort => Some("abort"),
    }
}

impl Batch {
    fn of(file: &Path, position: u64, header: &BatchHeader) -> Batch {
        let codec = header.attributes & attributes::CODEC;
        let is_append_time = header.attributes & attributes::LOG_APPEND_TIME != 0;
        Batch {
            file: file.to_owned(),
            position,
            base_offset: header.base_offset.0,
            last_offset: last_offset(header),
            size_bytes: header.size_bytes(),
            leader_epoch: header.leader_epoch.0,
            magic: header.magic,
            crc: header.crc,
            compression: Compression::from_codec(codec)
                .map_or_else(|| format!("unknown ({codec})"), |known| known.to_string()),
            timestamp_type: if is_append_time { "append" } else { "create" },
            transactional: header.is_transactional(),
            control: header.is_control(),
            marker: None,
            records_count: header.records_count,
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            producer_id: header.producer_id.0,
            producer_epoch: header.producer_epoch.0,
            base_sequence: header.base_sequence.0,
            error: None,
            records: None,
        }
    }
}
