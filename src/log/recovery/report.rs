//! What recovery did to a log, as numbers for metrics and sentences for people.

use std::fmt;
use std::path::PathBuf;

use crate::types::Offset;

/// A tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The segment file.
    pub file: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// The log end offset since.
    pub offset: Offset,
    /// Bytes cut off, those of later segments included.
    pub bytes: u64,
    /// What was wrong there.
    pub why: String,
    /// Where the bytes were kept; empty when there was no room.
    pub kept: Vec<PathBuf>,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truncation { bytes, offset, why, .. } = self;
        let file = self.file.display();
        write!(
            f,
            "truncated {bytes} bytes at offset {offset} ({file} byte {}: {why}), ",
            self.position
        )?;
        if self.kept.is_empty() {
            return f.write_str("no room to keep them");
        }
        let kept: Vec<_> = self.kept.iter().map(|path| path.display().to_string()).collect();
        write!(f, "kept {}", kept.join(", "))
    }
}

/// Damage that recovery may not remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The damaged or missing file.
    pub file: PathBuf,
    /// Where the damage begins in it.
    pub position: u64,
    /// The first offset that is refused.
    pub offset: Offset,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, Quarantine { position, offset, why, .. }) = (self.file.display(), self);
        write!(f, "damaged at {file} byte {position}: {why}; refused from offset {offset} on")
    }
}

/// What recovery did to one log, or added up over several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// Batches that were found sound.
    pub scanned_batches: u64,
    /// Zeros cut off after the last batch.
    pub zero_bytes_cut: u64,
    /// Bytes written over themselves after a failed sync.
    pub rewritten_bytes: u64,
    /// Index files rebuilt.
    pub indexes_rebuilt: u64,
    /// Disposable files that were damaged and passed over, with what was wrong.
    pub skipped: Vec<String>,
    /// Tails that were cut off.
    pub truncations: Vec<Truncation>,
    /// Damage that stays.
    pub quarantines: Vec<Quarantine>,
}

impl Recovery {
    /// Adds what was done to another log.
    pub fn add(&mut self, other: Recovery) {
        self.scanned_bytes += other.scanned_bytes;
        self.scanned_batches += other.scanned_batches;
        self.zero_bytes_cut += other.zero_bytes_cut;
        self.rewritten_bytes += other.rewritten_bytes;
        self.indexes_rebuilt += other.indexes_rebuilt;
        self.skipped.extend(other.skipped);
        self.truncations.extend(other.truncations);
        self.quarantines.extend(other.quarantines);
    }

    /// Sentences for the log, worst first. Empty when there is nothing a person should know.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let mut messages: Vec<String> = self.quarantines.iter().map(ToString::to_string).collect();
        messages.extend(self.truncations.iter().map(ToString::to_string));
        if self.rewritten_bytes > 0 {
            let bytes = self.rewritten_bytes;
            messages.push(format!("an earlier sync had failed: wrote {bytes} bytes again"));
        }
        if self.zero_bytes_cut > 0 {
            messages.push(format!("cut {} zero bytes after the last batch", self.zero_bytes_cut));
        }
        messages.extend(self.skipped.iter().cloned());
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_lost_where_and_what_was_kept() {
        let truncation = Truncation {
            file: PathBuf::from("d/0.log"),
            position: 4_096,
            offset: Offset(1_000),
            bytes: 812,
            why: "the batch ends after 812 of 900 bytes".to_owned(),
            kept: vec![PathBuf::from("d/0.log.4096.torn")],
        };
        let quarantine = Quarantine {
            file: PathBuf::from("d/0.log"),
            position: 100,
            offset: Offset(7),
            why: "magic 3 where 2 belongs".to_owned(),
        };
        let mut report = Recovery { zero_bytes_cut: 10, ..Recovery::default() };
        report.add(Recovery {
            truncations: vec![truncation.clone(), Truncation { kept: vec![], ..truncation }],
            quarantines: vec![quarantine],
            ..Recovery::default()
        });
        let place = "(d/0.log byte 4096: the batch ends after 812 of 900 bytes)";
        assert_eq!(
            report.messages(),
            [
                "damaged at d/0.log byte 100: magic 3 where 2 belongs; refused from offset 7 on"
                    .to_owned(),
                format!("truncated 812 bytes at offset 1000 {place}, kept d/0.log.4096.torn"),
                format!("truncated 812 bytes at offset 1000 {place}, no room to keep them"),
                "cut 10 zero bytes after the last batch".to_owned(),
            ]
        );
        assert!(Recovery::default().messages().is_empty());
    }
}
