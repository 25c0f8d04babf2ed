//! The cluster's metadata as a state machine: which nodes, topics, partitions and settings there
//! are. [`decide`] turns a command into records without changing anything; [`Image::replay`]
//! applies a record and is the only thing that changes an image. To validate without doing, decide
//! and drop the records.
//!
//! Pure: no clock, no chance, no files. Knows nothing of Raft, partitions' logs or protocols.

pub mod config;

mod brokers;
mod command;
mod image;
mod map;
pub mod names;
mod placement;
pub mod record;
mod topics;

pub use command::{Command, CreateTopic, Refusal, Reply, TopicRef};
pub use image::{Broker, DeletedTopic, Image, Partition, Topic};
pub use record::{DecodeError, Record};

use crate::limits;
use crate::machine::{Decision, Entry, Machine};
use crate::time::Now;
use crate::types::ProducerId;

/// What a command would change, and the answer to it.
///
/// # Errors
/// When the command is refused.
pub fn decide(image: &Image, now: Now, command: Command) -> Result<Outcome, Refusal> {
    match command {
        Command::FormCluster { cluster_id } => brokers::form(image, cluster_id),
        Command::RegisterBroker { node, incarnation, address, rack } => {
            Ok(brokers::register(image, node, incarnation, address, rack))
        }
        Command::CreateTopic(topic) => topics::create(image, topic),
        Command::AlterTopicConfig { topic, changes } => {
            topics::alter_config(image, &topic, &changes)
        }
        Command::AlterBrokerConfig { changes } => topics::alter_broker_config(image, &changes),
        Command::AddPartitions { topic, total } => topics::add_partitions(image, &topic, total),
        Command::DeleteTopic { topic } => topics::delete(image, now, &topic),
        Command::ForgetTopics { topics } => Ok(topics::forget(image, &topics)),
        Command::AllocateProducerIds { count } => allocate_producer_ids(image, count),
    }
}

/// An accepted command.
pub type Outcome = Decision<Record, Reply>;

impl Machine for Image {
    type Command = Command;
    type Record = Record;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, now: Now, command: Command) -> Result<Outcome, Refusal> {
        decide(self, now, command)
    }

    fn replay(&mut self, entry: &Entry<Record>) {
        match entry {
            Entry::Record { transaction: None, record } => Image::replay(self, record),
            other => panic!("the metadata log holds no transactions: {other:?}"),
        }
    }
}

fn allocate_producer_ids(image: &Image, count: u32) -> Result<Outcome, Refusal> {
    if count == 0 || count > limits::PRODUCER_ID_BLOCK_MAX {
        return Err(Refusal::ProducerIdCount);
    }
    let first = image.next_producer_id();
    let next = first.0.checked_add(i64::from(count)).expect("2^63 producer ids are never used up");
    let record = record::ProducerIdsAllocated { next: ProducerId(next) };
    Ok(Decision::one(record.into(), Reply::ProducerIds { first, count }))
}

#[cfg(test)]
mod tests;
