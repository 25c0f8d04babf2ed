//! From the metadata image to partitions that serve: opens logs, makes partitions, and follows the
//! image as topics come, change and go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::housekeeping::KnownLogs;
use super::node::{Node, StartError};
use crate::api::directory::TopicPartitions;
use crate::log::TailWindow;
use crate::log::{CompactionConfig, Known, KnownFrontier, Log, LogConfig, OpenMode, Recovery};
use crate::metadata::config::TopicSettings;
use crate::metadata::{Image, Topic};
use crate::partition::{Partition, PartitionHandle, Reply};
use crate::shard::{Command, shard_of};
use crate::types::{Offset, PartitionId, TopicId, TopicPartition};

/// How long a producer that sends nothing is remembered, as in Kafka.
const PRODUCER_EXPIRY_MS: i64 = 86_400_000;

/// Where the files of a topic are.
pub(super) fn topic_directory(data: &Path, topic: TopicId) -> PathBuf {
    data.join("topics").join(topic.to_string())
}

fn log_config(settings: &TopicSettings, tail_window: &Arc<TailWindow>) -> LogConfig {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    LogConfig {
        segment_bytes: settings.segment_bytes,
        segment_ms: signed(settings.segment_ms),
        index_interval_bytes: settings.index_interval_bytes,
        durability: settings.durability,
        retention_ms: settings.retention_ms.map(signed),
        retention_bytes: settings.retention_bytes,
        compaction: settings.compaction.map(|compaction| CompactionConfig {
            min_lag_ms: compaction.min_lag_ms,
            max_lag_ms: compaction.max_lag_ms,
            delete_retention_ms: compaction.delete_retention_ms,
            min_dirty_ppm: compaction.min_dirty_ppm,
        }),
        producer_expiry_ms: PRODUCER_EXPIRY_MS,
        tail_window: Arc::clone(tail_window),
        ..LogConfig::default()
    }
}

impl Node {
    /// Opens every partition of the image. Runs on several threads, since after a crash each log
    /// may have to be read from its frontier on.
    pub(super) fn open_all(&self, image: &Image, known: &KnownLogs) -> Result<(), StartError> {
        let topics: Vec<&Arc<Topic>> = image.topics().collect();
        let total: usize = topics.iter().map(|t| t.partitions.len()).sum();
        self.telemetry().recovery_logs_total.set(total as i64);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let share = topics.len().div_ceil(threads).max(1);
        let opened = std::thread::scope(|scope| {
            let workers: Vec<_> = topics
                .chunks(share)
                .map(|topics| scope.spawn(move || self.open_topics(image, topics, known)))
                .collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().expect("a panic while opening logs ends the start")
            };
            workers.into_iter().map(join).collect::<Result<Vec<_>, StartError>>()
        })?;
        self.directory().replace(opened.into_iter().flatten().collect());
        Ok(())
    }

    fn open_topics(
        &self,
        image: &Image,
        topics: &[&Arc<Topic>],
        known: &KnownLogs,
    ) -> Result<Vec<(TopicId, Arc<TopicPartitions>)>, StartError> {
        let open = |topic: &&Arc<Topic>| {
            let settings = image.settings(topic, &self.topic_policy().defaults);
            let handles = (0..topic.partition_count())
                .map(|partition| {
                    self.open_partition(topic, PartitionId(partition), &settings, known)
                })
                .collect::<Result<_, StartError>>()?;
            let metrics = self.telemetry().topic(&topic.name);
            Ok((topic.id, Arc::new(TopicPartitions::new(settings, metrics, handles))))
        };
        topics.iter().map(open).collect()
    }

    fn open_partition(
        &self,
        topic: &Topic,
        partition: PartitionId,
        settings: &TopicSettings,
        known: &KnownLogs,
    ) -> Result<Arc<PartitionHandle>, StartError> {
        let id = TopicPartition { topic: topic.id, partition };
        let directory = topic_directory(self.data_dir(), topic.id).join(partition.to_string());
        let config = log_config(settings, self.tail_window());
        let disk = Arc::clone(self.disk());
        let known = known.of(id);
        // A directory that is gone although something in it was durable is damage, not a new log.
        let log = if disk.exists(&directory)? || was_durable(known) {
            let mode = if self.is_read_only() { OpenMode::ReadOnly } else { OpenMode::Write };
            let (log, recovery) = Log::open(disk, directory, config, known, mode)
                .map_err(|error| StartError::Log { id, error: Box::new(error) })?;
            self.report(&topic.name, partition, &recovery);
            log
        } else {
            Log::create(disk, directory, config)
        };
        self.telemetry().recovery_logs_done.add(1);
        let epoch =
            topic.partition(partition).expect("the partition is one of the topic's").leader_epoch;
        let shard = shard_of(id, self.shards().count());
        let partition = Partition::lead(id, shard, log, epoch);
        let handle = Arc::clone(partition.handle());
        self.shards().submit_waiting(shard, Command::Open(Box::new(partition)));
        Ok(handle)
    }

    fn report(&self, topic: &str, partition: PartitionId, recovery: &Recovery) {
        if let Some(torn) = &recovery.torn {
            tracing::info!(
                topic, %partition,
                offset = torn.at.offset.0,
                bytes = torn.bytes,
                kept = torn.kept.as_ref().map(|path| tracing::field::display(path.display())),
                "a tail that is not known to be durable was cut off: {}", torn.why
            );
        }
        for lost in &recovery.lost {
            tracing::warn!(
                topic, %partition,
                first_offset = lost.first.0,
                end_offset = lost.end.0,
                "records are lost: `rivvend inspect repair` took damage out of the log. Offsets up \
                 to, but not, end_offset that are at or beyond the log's end will be given again"
            );
        }
        if let Some(damage) = &recovery.damage {
            tracing::error!(
                topic, %partition,
                "{damage}; what lies before it is served. `rivvend inspect verify` shows the extent"
            );
        }
        for note in &recovery.notes {
            tracing::warn!(topic, %partition, "{note}");
        }
    }

    /// Brings the partitions of this node in line with a newer image.
    pub(super) fn follow(&self, image: &Image) -> Result<(), StartError> {
        let before = self.directory().snapshot();
        let mut after = BTreeMap::new();
        for topic in image.topics() {
            let settings = image.settings(topic, &self.topic_policy().defaults);
            let present = before.get(&topic.id);
            let partitions = match present {
                Some(present)
                    if *present.settings() == settings
                        && present.handles().len() == topic.partitions.len() =>
                {
                    Arc::clone(present)
                }
                present => self.change_topic(topic, settings, present)?,
            };
            after.insert(topic.id, partitions);
        }
        let gone: Vec<TopicId> =
            before.keys().filter(|id| !after.contains_key(id)).copied().collect();
        self.directory().replace(after);
        for id in gone {
            self.close_topic(&before[&id]);
        }
        Ok(())
    }

    fn change_topic(
        &self,
        topic: &Topic,
        settings: TopicSettings,
        present: Option<&Arc<TopicPartitions>>,
    ) -> Result<Arc<TopicPartitions>, StartError> {
        let mut handles = present.map_or_else(Vec::new, |p| p.handles().to_vec());
        for handle in &handles {
            let config = log_config(&settings, self.tail_window());
            let command = Command::Configure(handle.id(), Box::new(config));
            self.shards().submit_waiting(handle.shard(), command);
        }
        for partition in handles.len()..topic.partitions.len() {
            let partition = PartitionId(partition as i32);
            let known = KnownLogs::none();
            handles.push(self.open_partition(topic, partition, &settings, &known)?);
        }
        let metrics = self.telemetry().topic(&topic.name);
        Ok(Arc::new(TopicPartitions::new(settings, metrics, handles)))
    }

    /// Gives the partitions of a topic up, and waits until nothing touches their files any more.
    fn close_topic(&self, partitions: &TopicPartitions) {
        let close = |handle: &Arc<PartitionHandle>| {
            let (reply, log) = Reply::channel();
            self.shards().submit_waiting(handle.shard(), Command::Close(handle.id(), reply));
            log
        };
        let closing: Vec<_> = partitions.handles().iter().map(close).collect();
        for log in closing {
            // What is in the logs goes with their topic.
            drop(log.recv());
        }
    }
}

/// Whether something of the log was surely on the disk once.
fn was_durable(known: Known) -> bool {
    matches!(known.frontier, KnownFrontier::At(Some(entry)) if entry.end_offset > Offset::ZERO)
}
