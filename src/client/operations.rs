//! One method for each operation, and which operations may be repeated.

use std::time::Duration;

use bytes::Bytes;

use super::{Client, ClientError};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{
    AddPartitions, AlterConfig, AlterConfigResult, AlterTopic, ConfigEntry, CreateTopics,
    DeleteRecords, DeleteRecordsPartitionResult, DeleteTopics, DescribeConfig, DescribeTopics,
    Fetch, FetchPartitionResult, InitProducer, InitProducerResult, ListOffsets,
    ListOffsetsPartition, ListOffsetsPartitionResult, Metadata, MetadataResult, Metrics, Produce,
    ProducePartitionResult, ReloadConfig, ReloadConfigResult, TopicDescription, TopicResult,
    response,
};

/// The offsets that [`ListOffsets`] knows by name, as its time stamps.
#[derive(Debug)]
pub struct Offsets;

impl Offsets {
    /// After the last committed record.
    pub const LATEST: i64 = -1;
    /// Of the first record that is still there.
    pub const EARLIEST: i64 = -2;
    /// Of the record with the largest time stamp.
    pub const MAX_TIMESTAMP: i64 = -3;
}

/// Whether carrying the operation out twice does what once does.
pub(super) fn is_repeatable(operation: &Operation) -> bool {
    match operation {
        Operation::Metadata(_)
        | Operation::Fetch(_)
        | Operation::ListOffsets(_)
        | Operation::DescribeTopics(_)
        | Operation::InitProducer(_)
        | Operation::Metrics(_)
        | Operation::DescribeConfig(_)
        | Operation::ReloadConfig(_)
        | Operation::ListGroups(_)
        | Operation::DescribeGroups(_)
        | Operation::FetchOffsets(_)
        | Operation::GroupHeartbeat(_)
        | Operation::CommitOffsets(_)
        | Operation::DeleteOffsets(_) => true,
        // The high watermark moves between two tries; a named offset does not.
        Operation::DeleteRecords(delete) => {
            delete.validate_only || delete.partitions.iter().all(|one| one.before_offset >= 0)
        }
        Operation::CreateTopics(create) => create.validate_only,
        Operation::AlterTopic(alter) => alter.validate_only,
        Operation::AlterConfig(alter) => alter.validate_only,
        Operation::AddPartitions(add) => add.validate_only,
        Operation::DeleteTopics(delete) => delete.validate_only,
        Operation::DeleteGroups(delete) => delete.validate_only,
        // A second join could leave the first one's member behind.
        Operation::JoinGroup(_)
        | Operation::LeaveGroup(_)
        | Operation::Produce(_)
        | Operation::Subscribe(_) => false,
    }
}

fn is_refused_at_the_door(code: Option<ErrorCode>) -> bool {
    matches!(code, Some(ErrorCode::Overloaded | ErrorCode::CoordinatorLoadInProgress))
}

/// Whether a call that ended so may be made again.
pub(super) fn may_repeat(error: &ClientError, repeatable: bool) -> bool {
    match error {
        // Refused at the door: nothing was done.
        ClientError::Server(error) if is_refused_at_the_door(error.error_code()) => true,
        ClientError::Server(error) => repeatable && error.retriable,
        ClientError::Disconnected { .. } => repeatable,
        _ => false,
    }
}

/// Takes the expected alternative out of a result.
macro_rules! expect_result {
    ($client:expr, $name:ident, $result:expr) => {
        match $result {
            response::Result::$name(result) => Ok(result),
            _ => Err($client.unexpected(stringify!($name))),
        }
    };
}

pub(super) use expect_result;

impl Client {
    fn time(&self) -> Duration {
        self.options().request_timeout
    }

    pub(super) async fn ask(
        &self,
        operation: impl Into<Operation>,
    ) -> Result<response::Result, ClientError> {
        Ok(self.call(operation, Bytes::new(), self.time()).await?.0)
    }

    /// Which of these topics exist and who leads their partitions; no names means all topics.
    /// `auto_create` creates missing ones where the server allows it.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn metadata(
        &self,
        topics: &[&str],
        auto_create: bool,
    ) -> Result<MetadataResult, ClientError> {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        expect_result!(self, Metadata, self.ask(Metadata { topics, auto_create }).await?)
    }

    /// Appends once, without retries; [`super::Producer`] is the one that does everything.
    /// `payload` holds the batches of the partitions one after the other.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn produce(
        &self,
        produce: Produce,
        payload: Bytes,
    ) -> Result<Vec<ProducePartitionResult>, ClientError> {
        let (result, _) = self.call(produce, payload, self.time()).await?;
        Ok(expect_result!(self, Produce, result)?.partitions)
    }

    /// Reads once. Each result comes with its share of the payload: whole batches, of which the
    /// first may start before the offset asked for.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn fetch(
        &self,
        fetch: Fetch,
    ) -> Result<Vec<(FetchPartitionResult, Bytes)>, ClientError> {
        let time = self.time() + Duration::from_millis(u64::from(fetch.max_wait_ms));
        let (result, payload) = self.call(fetch, Bytes::new(), time).await?;
        let partitions = expect_result!(self, Fetch, result)?.partitions;
        split_payload(partitions, payload).ok_or_else(|| self.unexpected("Fetch"))
    }

    /// Finds offsets by time; see [`Offsets`] for those that have a name.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn list_offsets(
        &self,
        partitions: Vec<ListOffsetsPartition>,
    ) -> Result<Vec<ListOffsetsPartitionResult>, ClientError> {
        let result = self.ask(ListOffsets { partitions }).await?;
        Ok(expect_result!(self, ListOffsets, result)?.partitions)
    }

    /// Creates topics, each on its own.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn create_topics(
        &self,
        create: CreateTopics,
    ) -> Result<Vec<TopicResult>, ClientError> {
        Ok(expect_result!(self, CreateTopics, self.ask(create).await?)?.topics)
    }

    /// Changes settings of a topic, all or none.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn alter_topic(&self, alter: AlterTopic) -> Result<TopicResult, ClientError> {
        let result = expect_result!(self, AlterTopic, self.ask(alter).await?)?;
        topic_result(result.topic)
    }

    /// Adds partitions to a topic.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn add_partitions(&self, add: AddPartitions) -> Result<TopicResult, ClientError> {
        let result = expect_result!(self, AddPartitions, self.ask(add).await?)?;
        topic_result(result.topic)
    }

    /// Deletes topics, each on its own.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn delete_topics(
        &self,
        delete: DeleteTopics,
    ) -> Result<Vec<TopicResult>, ClientError> {
        Ok(expect_result!(self, DeleteTopics, self.ask(delete).await?)?.topics)
    }

    /// Everything about these topics, or about all when there are no names.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn describe_topics(
        &self,
        describe: DescribeTopics,
    ) -> Result<Vec<TopicDescription>, ClientError> {
        Ok(expect_result!(self, DescribeTopics, self.ask(describe).await?)?.topics)
    }

    /// Deletes records below an offset.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn delete_records(
        &self,
        delete: DeleteRecords,
    ) -> Result<Vec<DeleteRecordsPartitionResult>, ClientError> {
        Ok(expect_result!(self, DeleteRecords, self.ask(delete).await?)?.partitions)
    }

    /// A producer id for idempotent appends: a new one, or with `present` the next epoch of that
    /// one, which fences the present.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn init_producer(
        &self,
        present: Option<(i64, i32)>,
    ) -> Result<InitProducerResult, ClientError> {
        let (producer_id, producer_epoch) = present.unwrap_or((-1, -1));
        let result = self.ask(InitProducer { producer_id, producer_epoch }).await?;
        expect_result!(self, InitProducer, result)
    }

    /// The server's metrics in the Prometheus text format.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        Ok(expect_result!(self, Metrics, self.ask(Metrics {}).await?)?.text)
    }

    /// The configuration that the server runs with; no keys means all of it.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn describe_config(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        Ok(expect_result!(self, DescribeConfig, self.ask(DescribeConfig { keys }).await?)?.config)
    }

    /// Changes settings of all brokers of the cluster, all or none.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn alter_config(&self, alter: AlterConfig) -> Result<AlterConfigResult, ClientError> {
        expect_result!(self, AlterConfig, self.ask(alter).await?)
    }

    /// Lets the server read its configuration again, and tells which keys have new values.
    ///
    /// # Errors
    /// See [`Client::call`]; a configuration with anything wrong in it changes nothing.
    pub async fn reload_config(&self) -> Result<ReloadConfigResult, ClientError> {
        expect_result!(self, ReloadConfig, self.ask(ReloadConfig {}).await?)
    }
}

/// The one topic of a result; what went wrong with it is what went wrong at all.
fn topic_result(result: Option<TopicResult>) -> Result<TopicResult, ClientError> {
    let result = result.unwrap_or_default();
    match result.error {
        Some(error) => Err(ClientError::server(error)),
        None => Ok(result),
    }
}

/// Gives each result its share of the payload; `None` when the shares do not add up to it.
pub(super) fn split_payload(
    partitions: Vec<FetchPartitionResult>,
    mut payload: Bytes,
) -> Option<Vec<(FetchPartitionResult, Bytes)>> {
    let mut shares = Vec::with_capacity(partitions.len());
    for result in partitions {
        let bytes = result.data_bytes as usize;
        if bytes > payload.len() {
            return None;
        }
        shares.push((result, payload.split_to(bytes)));
    }
    payload.is_empty().then_some(shares)
}
