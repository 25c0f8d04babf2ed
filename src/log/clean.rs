//! The marker of a clean stop: with it the next start opens logs without scanning them. Owns the
//! file `clean-shutdown` of the data directory; knows nothing of what is done when it is absent.
//!
//! It is written last of all, after everything it speaks of is synced, and removed durably at start
//! before anything changes, so that it can never describe a directory that has moved on.
//!
//! Payload, version 1: broker epoch (8), count (4), then per log topic id (16), partition (4), base
//! offset of the last segment (8), end offset (8), size of the last segment's file (8), where its
//! last batch begins (8), CRC-32C of that batch (4); the last two are 0 in an empty segment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, CheckpointError, Fields, Kind};
use crate::limits::CLUSTER_PARTITIONS_MAX;
use crate::record::BatchHeader;
use crate::record::layout::HEADER_BYTES;
use crate::storage::{Disk, DiskFile, StorageError, Synced};
use crate::types::{BrokerEpoch, Offset, PartitionId, TopicId, TopicPartition};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "clean-shutdown";

const LOG_BYTES: usize = 16 + 4 + 8 + 8 + 8 + 8 + 4;
pub(super) const KIND: Kind = Kind {
    magic: *b"RVCS",
    name: "clean-shutdown",
    version: 1,
    payload_bytes_max: 8 + 4 + CLUSTER_PARTITIONS_MAX * LOG_BYTES,
};

/// How one log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanLog {
    /// Base offset of the last segment.
    pub segment_base: Offset,
    /// Log end offset.
    pub end_offset: Offset,
    /// Size of the last segment's file.
    pub position: u64,
    /// Where the last batch of that file begins; 0 when the file is empty.
    pub last_batch_at: u64,
    /// The CRC-32C that this batch carries; 0 when the file is empty.
    pub last_batch_crc: u32,
}

impl CleanLog {
    /// Whether the last segment is still as it was: same size, same last batch. Reads one header.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn matches(&self, last_segment: &dyn DiskFile) -> Result<bool, StorageError> {
        if last_segment.len()? != self.position {
            return Ok(false);
        }
        if self.position == 0 {
            return Ok(self.end_offset == self.segment_base);
        }
        let mut bytes = [0; HEADER_BYTES];
        let read = last_segment.read_at(self.last_batch_at, &mut bytes)?;
        let Some(header) = BatchHeader::parse(&bytes[..read]) else { return Ok(false) };
        let ends_at = header.size_bytes().map(|size| self.last_batch_at + size as u64);
        let last_offset = i64::from(header.last_offset_delta)
            .checked_add(1)
            .and_then(|count| header.base_offset.0.checked_add(count));
        Ok(header.crc == self.last_batch_crc
            && ends_at == Some(self.position)
            && last_offset == Some(self.end_offset.0))
    }
}

/// What a clean stop leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The registration of the process that stopped.
    pub broker_epoch: BrokerEpoch,
    /// How its logs ended.
    pub logs: BTreeMap<TopicPartition, CleanLog>,
}

/// What a start finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The last stop was not clean, or there was none.
    Absent,
    /// There was a marker and it can not be believed.
    Unreadable(String),
    /// The last stop was clean.
    Clean(CleanShutdown),
}

impl CleanShutdown {
    /// Leaves the marker. Everything it speaks of must be synced before.
    ///
    /// # Errors
    /// When the disk refuses; a failed sync is final.
    pub fn write(&self, disk: &dyn Disk, data_dir: &Path) -> Result<Synced, StorageError> {
        checkpoint::write(disk, &marker_path(data_dir), &KIND, &self.payload())
    }

    /// Reads the marker and removes it durably. To be called before anything else in the data
    /// directory changes.
    ///
    /// # Errors
    /// When it can not be removed; a failed sync is final.
    pub fn take(disk: &dyn Disk, data_dir: &Path) -> Result<Taken, StorageError> {
        let taken = CleanShutdown::peek(disk, data_dir);
        if taken != Taken::Absent {
            disk.remove(&marker_path(data_dir))?;
            disk.sync_dir(data_dir)?;
        }
        Ok(taken)
    }

    /// Reads the marker and leaves it where it is, for those who change nothing.
    #[must_use]
    pub fn peek(disk: &dyn Disk, data_dir: &Path) -> Taken {
        match checkpoint::read(disk, &marker_path(data_dir), &KIND) {
            Err(error) if error.is_not_found() => Taken::Absent,
            Err(error) => Taken::Unreadable(error.to_string()),
            Ok(bytes) => match CleanShutdown::decode(&bytes) {
                Ok(marker) => Taken::Clean(marker),
                Err(error) => Taken::Unreadable(error.to_string()),
            },
        }
    }

    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        checkpoint::encode(&KIND, KIND.version, &self.payload())
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is damaged, newer, or breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<CleanShutdown, CheckpointError> {
        let (_, payload) = checkpoint::decode(&KIND, bytes)?;
        let mut fields = Fields::new(&KIND, payload);
        let broker_epoch = BrokerEpoch(fields.i64()?);
        let count = fields.count_of(LOG_BYTES)?;
        let mut logs = BTreeMap::new();
        for _ in 0..count {
            let topic = TopicId::from_bytes(fields.bytes()?);
            let partition = PartitionId(fields.i32()?);
            let log = CleanLog {
                segment_base: Offset(fields.i64()?),
                end_offset: Offset(fields.i64()?),
                position: fields.u64()?,
                last_batch_at: fields.u64()?,
                last_batch_crc: fields.u32()?,
            };
            let ordered = Offset::ZERO <= log.segment_base && log.segment_base <= log.end_offset;
            if partition.0 < 0 || !ordered || log.last_batch_at > log.position {
                return Err(fields.broken("a log's numbers contradict each other"));
            }
            if logs.insert(TopicPartition { topic, partition }, log).is_some() {
                return Err(fields.broken("a log appears twice"));
            }
        }
        fields.end()?;
        Ok(CleanShutdown { broker_epoch, logs })
    }

    fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(8 + 4 + self.logs.len() * LOG_BYTES);
        payload.extend_from_slice(&self.broker_epoch.0.to_be_bytes());
        payload.extend_from_slice(&(self.logs.len() as u32).to_be_bytes());
        for (name, log) in &self.logs {
            payload.extend_from_slice(name.topic.as_bytes());
            payload.extend_from_slice(&name.partition.0.to_be_bytes());
            payload.extend_from_slice(&log.segment_base.0.to_be_bytes());
            payload.extend_from_slice(&log.end_offset.0.to_be_bytes());
            payload.extend_from_slice(&log.position.to_be_bytes());
            payload.extend_from_slice(&log.last_batch_at.to_be_bytes());
            payload.extend_from_slice(&log.last_batch_crc.to_be_bytes());
        }
        payload
    }
}

fn marker_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::record::BatchBuilder;
    use crate::storage::memory::MemoryDisk;
    use crate::storage::memory::enumerate::enumerate_crashes;
    use crate::types::{LeaderEpoch, Millis};

    fn name(topic: &[u8; 16], partition: i32) -> TopicPartition {
        TopicPartition { topic: TopicId::from_bytes(*topic), partition: PartitionId(partition) }
    }

    fn sample() -> CleanShutdown {
        let full = CleanLog {
            segment_base: Offset(512),
            end_offset: Offset(1_000),
            position: 4_096,
            last_batch_at: 3_500,
            last_batch_crc: 0xdead_beef,
        };
        let empty = CleanLog {
            segment_base: Offset(0),
            end_offset: Offset(0),
            position: 0,
            last_batch_at: 0,
            last_batch_crc: 0,
        };
        let logs = [(name(b"0123456789abcdef", 3), full), (name(b"fedcba9876543210", 0), empty)];
        CleanShutdown { broker_epoch: BrokerEpoch(42), logs: logs.into() }
    }

    #[test]
    fn the_frozen_fixture_is_what_we_write_and_read() {
        let fixture = include_bytes!("../../tests/golden/log/clean-shutdown-v1.bin");
        assert_eq!(sample().encode(), fixture);
        assert_eq!(CleanShutdown::decode(fixture), Ok(sample()));
    }

    #[test]
    fn contradictory_numbers_are_refused() {
        let broken: [fn(&mut CleanLog); 3] = [
            |log| log.end_offset = Offset(511),
            |log| log.segment_base = Offset(-1),
            |log| log.last_batch_at = 4_097,
        ];
        for breaks in broken {
            let mut marker = sample();
            marker.logs.values_mut().for_each(breaks);
            let decoded = CleanShutdown::decode(&marker.encode());
            assert!(matches!(decoded, Err(CheckpointError::Payload { .. })));
        }
    }

    #[test]
    fn a_marker_is_taken_once() {
        let disk = MemoryDisk::new();
        let here = Path::new("");
        assert_eq!(CleanShutdown::take(&disk, here).expect("sound disk"), Taken::Absent);
        sample().write(&disk, here).expect("sound disk");
        assert_eq!(CleanShutdown::take(&disk, here).expect("sound disk"), Taken::Clean(sample()));
        assert_eq!(CleanShutdown::take(&disk, here).expect("sound disk"), Taken::Absent);
    }

    #[test]
    fn a_damaged_marker_is_not_believed_and_does_not_stay() {
        let disk = MemoryDisk::new();
        let here = Path::new("");
        sample().write(&disk, here).expect("sound disk");
        disk.flip_bit(Path::new(FILE_NAME), 20, 3).expect("it exists");
        let taken = CleanShutdown::take(&disk, here).expect("sound disk");
        assert!(matches!(taken, Taken::Unreadable(_)), "{taken:?}");
        assert_eq!(CleanShutdown::take(&disk, here).expect("sound disk"), Taken::Absent);
    }

    // L6: whatever survives, a marker that was taken does not come back.
    #[test]
    fn a_crash_leaves_the_whole_marker_or_none() {
        let here = Path::new("");
        let coverage = enumerate_crashes(
            |disk| sample().write(disk, here).is_ok() && CleanShutdown::take(disk, here).is_ok(),
            |disk, &taken, _| {
                let found = CleanShutdown::take(&disk, here).expect("sound disk");
                assert!(found == Taken::Absent || found == Taken::Clean(sample()), "{found:?}");
                assert!(!taken || found == Taken::Absent);
            },
        );
        assert!(coverage.crashes > 5, "{coverage:?}");
    }

    #[test]
    fn a_log_matches_only_as_long_as_nothing_has_changed() {
        let disk = MemoryDisk::new();
        let mut content = Vec::new();
        let mut last_batch_at = 0;
        for offset in 10..13 {
            let batch = BatchBuilder::single(Millis(1), None, Some(b"value"));
            let stamped = batch.stamp(Offset(offset), LeaderEpoch(0));
            last_batch_at = content.len() as u64;
            stamped.slices().iter().for_each(|piece| content.extend_from_slice(piece));
        }
        let header = BatchHeader::parse(&content[last_batch_at as usize..]).expect("whole");
        let log = CleanLog {
            segment_base: Offset(10),
            end_offset: Offset(13),
            position: content.len() as u64,
            last_batch_at,
            last_batch_crc: header.crc,
        };
        let file = disk.create(Path::new("0.log")).expect("new disk");
        file.write_at(0, &mut [IoSlice::new(&content)]).expect("sound disk");
        let matches = |log: CleanLog| log.matches(&*file).expect("sound disk");
        assert!(matches(log));
        assert!(!matches(CleanLog { end_offset: Offset(12), ..log }));
        assert!(!matches(CleanLog { last_batch_crc: header.crc ^ 1, ..log }));
        assert!(!matches(CleanLog { last_batch_at: 0, ..log }));
        assert!(!matches(CleanLog { position: log.position + 1, ..log }));
        file.truncate(0).expect("sound disk");
        let empty = CleanLog { position: 0, end_offset: Offset(10), ..log };
        assert!(matches(empty) && !matches(log));
    }
}
