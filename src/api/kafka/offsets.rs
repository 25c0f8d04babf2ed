//! ListOffsets and OffsetForLeaderEpoch.

use super::{Refused, check_epoch, note, refuse_replica};
use crate::api::{Context, offsets};
use crate::protocol::kafka::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsResponse,
    ListOffsetsResponsePartition, ListOffsetsResponseTopic,
};
use crate::protocol::kafka::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestPartition,
    OffsetForLeaderEpochResponse, OffsetForLeaderEpochResponsePartition,
    OffsetForLeaderEpochResponseTopic,
};
use crate::protocol::native::message::{Error, ListOffsetsPartition};
use crate::types::{LeaderEpoch, Offset, PartitionId};

/// Asks for the log's start on this node's disk, which without tiers is the log's start.
const EARLIEST_LOCAL: i64 = -4;
/// Asks for the last offset that is in a tier; there is none.
const LATEST_TIERED: i64 = -5;
const EARLIEST: i64 = -2;

/// Finds the offsets that a request asks for. May read from the disk.
#[must_use]
pub fn list(
    request: ListOffsetsRequest,
    version: i16,
    context: &Context<'_>,
    refused: &mut Refused,
) -> ListOffsetsResponse {
    let whole = refuse_replica(request.replica_id).and_then(|()| {
        let named = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        crate::api::fetch::check_count(named)
    });
    let topics = request.topics.into_iter().map(|topic| {
        let name = topic.name;
        let partitions = topic.partitions.iter().map(|entry| {
            let found = whole.clone().and_then(|()| find(&name, entry, version, context));
            found.unwrap_or_else(|error| ListOffsetsResponsePartition {
                partition_index: entry.partition_index,
                error_code: note(refused, error),
                ..ListOffsetsResponsePartition::default()
            })
        });
        let partitions = partitions.collect();
        ListOffsetsResponseTopic { name, partitions }
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
}

fn find(
    topic: &str,
    entry: &ListOffsetsRequestPartition,
    version: i16,
    context: &Context<'_>,
) -> Result<ListOffsetsResponsePartition, Error> {
    let found = context.find(topic)?;
    let handle = found.partition(PartitionId(entry.partition_index))?;
    let view = handle.view();
    check_epoch(entry.current_leader_epoch, view.epoch.0)?;
    let timestamp_ms = match entry.timestamp {
        LATEST_TIERED => {
            return Ok(ListOffsetsResponsePartition {
                partition_index: entry.partition_index,
                ..ListOffsetsResponsePartition::default()
            });
        }
        EARLIEST_LOCAL => EARLIEST,
        timestamp => timestamp,
    };
    let listed = offsets::list(
        ListOffsetsPartition {
            topic: topic.to_owned(),
            partition: entry.partition_index,
            timestamp_ms,
        },
        context,
    );
    if let Some(error) = listed.error {
        return Err(error);
    }
    // Older versions have no room for it.
    let epoch = match version {
        ..4 => LeaderEpoch(-1),
        _ => view.log.epochs().epoch_for(Offset(listed.offset)).unwrap_or(view.epoch),
    };
    Ok(ListOffsetsResponsePartition {
        partition_index: entry.partition_index,
        error_code: 0,
        timestamp: listed.timestamp_ms,
        offset: listed.offset,
        leader_epoch: epoch.0,
    })
}

/// Finds where leader epochs end, which tells a client whether what it has read is still there
/// (KIP-320).
#[must_use]
pub fn epochs(
    request: OffsetForLeaderEpochRequest,
    context: &Context<'_>,
    refused: &mut Refused,
) -> OffsetForLeaderEpochResponse {
    let whole = refuse_replica(request.replica_id).and_then(|()| {
        let named = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        crate::api::fetch::check_count(named)
    });
    let topics = request.topics.into_iter().map(|topic| {
        let name = topic.topic;
        let partitions = topic.partitions.iter().map(|entry| {
            let found = whole.clone().and_then(|()| epoch_end(&name, entry, context));
            found.unwrap_or_else(|error| OffsetForLeaderEpochResponsePartition {
                error_code: note(refused, error),
                partition: entry.partition,
                ..OffsetForLeaderEpochResponsePartition::default()
            })
        });
        let partitions = partitions.collect();
        OffsetForLeaderEpochResponseTopic { topic: name, partitions }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn epoch_end(
    topic: &str,
    entry: &OffsetForLeaderEpochRequestPartition,
    context: &Context<'_>,
) -> Result<OffsetForLeaderEpochResponsePartition, Error> {
    let found = context.find(topic)?;
    let view = found.partition(PartitionId(entry.partition))?.view();
    check_epoch(entry.current_leader_epoch, view.epoch.0)?;
    let end = view.high_watermark.offset;
    let asked = LeaderEpoch(entry.leader_epoch);
    let answer = OffsetForLeaderEpochResponsePartition {
        partition: entry.partition,
        ..OffsetForLeaderEpochResponsePartition::default()
    };
    if asked == view.epoch {
        // What the present leader has committed, even while it has appended nothing.
        return Ok(OffsetForLeaderEpochResponsePartition {
            leader_epoch: asked.0,
            end_offset: end.0,
            ..answer
        });
    }
    Ok(match view.log.epochs().end_offset_for(asked, end) {
        Some((epoch, end)) => OffsetForLeaderEpochResponsePartition {
            leader_epoch: epoch.0,
            end_offset: end.0,
            ..answer
        },
        None => answer,
    })
}
