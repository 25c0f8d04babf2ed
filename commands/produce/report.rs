//! What `produce` tells: each acknowledged record in input order, or a summary at the end.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::time::Instant;

use serde::Serialize;

use super::batcher::Slot;
use crate::failure::Failure;
use crate::fields::{Field, Json};
use crate::format::write_json_string;
use crate::output::{Column, Format, Listing, print_one};

/// Output is written when this much of it has gathered, and whenever nothing else is to be done.
const BUFFER_BYTES: usize = 64 << 10;

/// What was acknowledged so far.
pub(super) struct Report {
    topic: String,
    format: Format,
    started: Instant,
    records: u64,
    bytes: u64,
    partitions: BTreeMap<i32, (i64, i64)>,
    failed: u64,
    first_failure: Option<Failure>,
    /// In the forms with a line per record: records whose line is not written yet, in input order,
    /// and the batches whose fate is known, with how many of their lines are not written.
    waiting: VecDeque<Slot>,
    fates: BTreeMap<u64, (u32, Fate)>,
    lines: Vec<u8>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was acknowledged; the offset is that of its first record, -1 when nobody could tell.
    Written { partition: i32, offset: i64 },
    /// It was given up.
    Failed(String),
}

/// The summary, as `--output json` prints it; the field names are stable.
#[derive(Serialize)]
struct Summary {
    records: u64,
    bytes: u64,
    elapsed_s: f64,
    partitions: Vec<Written>,
}

#[derive(Serialize)]
struct Written {
    partition: i32,
    first_offset: i64,
    last_offset: i64,
}

const COLUMNS: &[Column<Written>] = &[
    Column::number("PARTITION", |p| p.partition.to_string()),
    Column::number("FIRST", |p| p.first_offset.to_string()),
    Column::number("LAST", |p| p.last_offset.to_string()),
];

/// What it prints for programs.
pub(crate) const JSON: Json = Json::object(SUMMARY_FIELDS).or_lines(LINE_FIELDS);

const SUMMARY_FIELDS: &[Field] = &[
    Field::integer("records", "How many were acknowledged."),
    Field::integer("bytes", "Their keys and values together.").unit("bytes"),
    Field::number("elapsed_s", "How long it took.").unit("seconds"),
    Field::list("partitions", "Where they are.", WRITTEN_FIELDS),
];

const WRITTEN_FIELDS: &[Field] = &[
    Field::integer("partition", "Number of the partition."),
    Field::integer("first_offset", "Offset of the first record; -1: with --acks 0 nobody tells."),
    Field::integer("last_offset", "Offset of the last record; -1 likewise."),
];

const LINE_FIELDS: &[Field] = &[
    Field::integer("partition", "Where the record is.").optional(),
    Field::integer("offset", "Its offset; -1: with --acks 0 nobody tells.").optional(),
    Field::text("error", "Why it was given up; nothing else is there then.").optional(),
];

impl Report {
    pub(super) fn new(topic: &str, format: Format) -> Report {
        Report {
            topic: topic.to_owned(),
            format,
            started: Instant::now(),
            records: 0,
            bytes: 0,
            partitions: BTreeMap::new(),
            failed: 0,
            first_failure: None,
            waiting: VecDeque::new(),
            fates: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    /// A record is on its way.
    #[inline]
    pub(super) fn sent(&mut self, slot: Slot) {
        if self.has_lines() {
            self.waiting.push_back(slot);
        }
    }

    /// A batch was acknowledged.
    pub(super) fn written(
        &mut self,
        number: u64,
        partition: i32,
        offset: i64,
        records: u32,
        bytes: u64,
    ) -> Result<(), Failure> {
        self.records += u64::from(records);
        self.bytes += bytes;
        let last = if offset < 0 { -1 } else { offset + i64::from(records) - 1 };
        let range = self.partitions.entry(partition).or_insert((offset, last));
        *range = (range.0.min(offset), range.1.max(last));
        self.decide(number, records, Fate::Written { partition, offset })
    }

    /// A batch was given up.
    pub(super) fn failed(
        &mut self,
        number: u64,
        records: u32,
        failure: Failure,
    ) -> Result<(), Failure> {
        self.failed += u64::from(records);
        let fate = Fate::Failed(failure.message.clone());
        self.first_failure.get_or_insert(failure);
        self.decide(number, records, fate)
    }

    /// Whether any record was given up.
    pub(super) fn has_failed(&self) -> bool {
        self.first_failure.is_some()
    }

    fn has_lines(&self) -> bool {
        matches!(self.format, Format::Jsonl | Format::Name)
    }

    /// Notes a batch's fate and writes the lines that no longer wait for one before them.
    fn decide(&mut self, number: u64, records: u32, fate: Fate) -> Result<(), Failure> {
        if !self.has_lines() {
            return Ok(());
        }
        self.fates.insert(number, (records, fate));
        while let Some(slot) = self.waiting.front().copied() {
            let Some((left, fate)) = self.fates.get_mut(&slot.batch) else { break };
            write_line(&mut self.lines, &self.topic, self.format, fate, slot.index)?;
            *left -= 1;
            if *left == 0 {
                self.fates.remove(&slot.batch);
            }
            self.waiting.pop_front();
            if self.lines.len() >= BUFFER_BYTES {
                write_out(&mut self.lines)?;
            }
        }
        Ok(())
    }

    /// Writes what has gathered.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        write_out(&mut self.lines)
    }

    /// Prints the summary; how many records were written, how many given up, and the first reason.
    pub(super) fn finish(mut self) -> Result<(u64, u64, Option<Failure>), Failure> {
        self.flush()?;
        let written = self.partitions.iter().map(|(&partition, &(first_offset, last_offset))| {
            Written { partition, first_offset, last_offset }
        });
        let partitions: Vec<Written> = written.collect();
        let elapsed_s = self.started.elapsed().as_secs_f64();
        let (records, bytes) = (self.records, self.bytes);
        match self.format {
            Format::Jsonl | Format::Name => {}
            Format::Table | Format::Wide if partitions.is_empty() => {}
            Format::Table | Format::Wide => {
                let name = |written: &Written| written.partition.to_string();
                Listing { items: &partitions, columns: COLUMNS, name }.print(self.format)?;
            }
            Format::Json => {
                let summary = Summary { records, bytes, elapsed_s, partitions };
                // On one line, which a script can take as the last of the output.
                print_one(Format::Jsonl, &summary)?;
            }
            Format::Yaml => {
                print_one(Format::Yaml, &Summary { records, bytes, elapsed_s, partitions })?;
            }
        }
        Ok((self.records, self.failed, self.first_failure))
    }
}

fn write_line(
    lines: &mut Vec<u8>,
    topic: &str,
    format: Format,
    fate: &Fate,
    index: u32,
) -> io::Result<()> {
    match fate {
        Fate::Written { partition, offset } => {
            let offset = if *offset < 0 { -1 } else { offset + i64::from(index) };
            match format {
                Format::Name => writeln!(lines, "{topic}/{partition}@{offset}"),
                _ => writeln!(lines, "{{\"partition\":{partition},\"offset\":{offset}}}"),
            }
        }
        Fate::Failed(reason) if format == Format::Jsonl => {
            lines.extend_from_slice(b"{\"error\":");
            write_json_string(reason, lines);
            lines.extend_from_slice(b"}\n");
            Ok(())
        }
        Fate::Failed(_) => Ok(()),
    }
}

fn write_out(lines: &mut Vec<u8>) -> Result<(), Failure> {
    if !lines.is_empty() {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()?;
        lines.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(batch: u64, index: u32) -> Slot {
        Slot { batch, index }
    }

    fn lines(report: &Report) -> String {
        String::from_utf8_lossy(&report.lines).into_owned()
    }

    /// Two partitions take turns, and the second one's batch is acknowledged first.
    #[test]
    fn lines_come_in_input_order_whatever_is_acknowledged_first() {
        let mut report = Report::new("t", Format::Jsonl);
        [slot(1, 0), slot(2, 0), slot(1, 1), slot(3, 0)].into_iter().for_each(|s| report.sent(s));
        report.written(2, 7, 100, 1, 1).expect("memory");
        assert_eq!(lines(&report), "");
        report.written(1, 5, 40, 2, 2).expect("memory");
        let expected = [(5, 40), (7, 100), (5, 41)]
            .map(|(p, o)| format!("{{\"partition\":{p},\"offset\":{o}}}\n"))
            .concat();
        assert_eq!(lines(&report), expected);
        report.failed(3, 1, Failure::failed("no \"room\"")).expect("memory");
        assert_eq!(lines(&report), format!("{expected}{{\"error\":\"no \\\"room\\\"\"}}\n"));
        assert!(report.waiting.is_empty() && report.fates.is_empty());
    }

    #[test]
    fn a_summary_holds_first_and_last_offsets() {
        let mut report = Report::new("t", Format::Json);
        report.written(1, 0, 10, 5, 50).expect("memory");
        report.written(2, 0, 15, 5, 50).expect("memory");
        report.written(3, 1, -1, 5, 50).expect("memory");
        assert_eq!(report.partitions[&0], (10, 19));
        assert_eq!(report.partitions[&1], (-1, -1));
        assert_eq!((report.records, report.bytes), (15, 150));
    }
}
