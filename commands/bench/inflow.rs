//! What a live consumer of `bench e2e` and `bench mixed` receives, in either protocol: pushed by a
//! rivvend, or fetched as Kafka's consumers do.

use std::time::Duration;

use bytes::Bytes;
use rivvend::client::{Consumer, ConsumerConfig, StartOffset};
use rivvend::record::{BatchHeader, CheckRules, CheckedBatch, Scratch};

use super::kafka::Kafka;
use super::wire::{Connection, Fetched, Place, Portion, ends, fetch_all};

/// How long in a row a consumer's subscription may fail.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// What one fetch asks for, as Kafka's consumers do by default.
const FETCH: Portion = Portion { max_bytes: 50 << 20, max_wait_ms: 500 };

/// A record, as far as the benchmark looks at it.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) partition: i32,
    pub(super) value: Bytes,
}

/// What arrives in some partitions from when it was opened.
#[derive(Debug)]
pub(super) enum Inflow {
    Pushed(Consumer),
    Fetched(Fetching),
}

/// Fetches one after the other.
#[derive(Debug)]
pub(super) struct Fetching {
    kafka: Kafka,
    topic: String,
    places: Vec<Place>,
}

impl Inflow {
    /// Reads on from the end of these partitions.
    pub(super) async fn open(
        connection: Connection,
        topic: &str,
        partitions: &[i32],
    ) -> anyhow::Result<Inflow> {
        Ok(match connection {
            Connection::Native(client) => {
                let config =
                    ConsumerConfig { retry_timeout: RETRY_TIMEOUT, ..ConsumerConfig::default() };
                let from = |&partition: &i32| (topic.to_owned(), partition, StartOffset::Latest);
                let from = partitions.iter().map(from).collect();
                Inflow::Pushed(Consumer::new(client, config, from).await?)
            }
            Connection::Kafka(kafka) => {
                let places = ends(&kafka, topic, partitions).await?;
                Inflow::Fetched(Fetching { kafka, topic: topic.to_owned(), places })
            }
        })
    }

    /// What came next, some of it. Nothing is lost when this is dropped.
    pub(super) async fn next(&mut self) -> anyhow::Result<Vec<Arrived>> {
        match self {
            Inflow::Pushed(consumer) => {
                let records = consumer.next_batch().await?.into_iter().map(|record| Arrived {
                    partition: record.partition,
                    value: record.value.unwrap_or_default(),
                });
                Ok(records.collect())
            }
            Inflow::Fetched(fetching) => fetching.next().await,
        }
    }
}

impl Fetching {
    /// Places move on only when all that came was read, so that a fetch can be given up.
    async fn next(&mut self) -> anyhow::Result<Vec<Arrived>> {
        let fetched = fetch_all(&self.kafka, &self.topic, &self.places, FETCH).await?;
        let mut arrived = Vec::new();
        for part in fetched {
            let place = self.places.iter_mut().find(|place| place.partition == part.partition);
            if let Some(place) = place {
                read(part, place, &mut arrived)?;
            }
        }
        Ok(arrived)
    }
}

/// Reads whole batches from a place on; the last may be cut off.
fn read(fetched: Fetched, place: &mut Place, arrived: &mut Vec<Arrived>) -> anyhow::Result<()> {
    let mut batches = fetched.batches;
    let mut scratch = Scratch::default();
    let is_whole = |bytes: &Bytes| {
        let size = BatchHeader::parse(bytes).and_then(|header| header.size_bytes());
        size.is_some_and(|size| size <= bytes.len())
    };
    while is_whole(&batches) {
        let batch = CheckedBatch::take(&mut batches, &CheckRules::internal())?;
        for record in batch.records(&mut scratch)? {
            let record = record?;
            let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
            arrived.push(Arrived { partition: fetched.partition, value });
        }
        place.offset = batch.header().next_offset().0;
    }
    Ok(())
}
