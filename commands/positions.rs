//! From named positions to offsets: asks the broker what `start`, `end` and a time mean for each
//! partition.

use std::time::{SystemTime, UNIX_EPOCH};

use rivvend::client::{Client, Offsets};
use rivvend::protocol::native::message::ListOffsetsPartition;

use crate::failure::Failure;
use crate::offsets::Position;

/// First and next offset of a partition, as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Offset of the first record that is kept.
    pub(crate) start: i64,
    /// High watermark: the offset after the last record that may be read.
    pub(crate) end: i64,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The bounds of partitions, in their order.
pub(crate) async fn bounds(
    client: &Client,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<Bounds>, Failure> {
    let start = list(client, topic, partitions, Offsets::EARLIEST).await?;
    let end = list(client, topic, partitions, Offsets::LATEST).await?;
    Ok(start.into_iter().zip(end).map(|(start, end)| Bounds { start, end }).collect())
}

/// The offset that a position names in each partition, within the bounds.
pub(crate) async fn resolve(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    bounds: &[Bounds],
    position: Position,
) -> Result<Vec<i64>, Failure> {
    let Position::Time(moment) = position else {
        return Ok(bounds.iter().map(|bounds| within(*bounds, position)).collect());
    };
    let found = list(client, topic, partitions, moment.resolve(now_ms())).await?;
    let after = |(offset, bounds): (i64, &Bounds)| if offset < 0 { bounds.end } else { offset };
    Ok(found.into_iter().zip(bounds).map(after).collect())
}

fn within(bounds: Bounds, position: Position) -> i64 {
    let offset = match position {
        Position::Start => bounds.start,
        Position::End => bounds.end,
        Position::At(offset) => offset,
        Position::AfterStart(count) => bounds.start.saturating_add(count),
        Position::BeforeEnd(count) => bounds.end.saturating_sub(count),
        Position::Time(_) => unreachable!("times are asked of the broker"),
    };
    offset.max(bounds.start).min(bounds.end)
}

/// The first offset at or after a time stamp in each partition, or -1.
pub(crate) async fn list(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    timestamp_ms: i64,
) -> Result<Vec<i64>, Failure> {
    let ask = |partition: &i32| ListOffsetsPartition {
        topic: topic.to_owned(),
        partition: *partition,
        timestamp_ms,
    };
    let results = client.list_offsets(partitions.iter().map(ask).collect()).await?;
    let mut offsets = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let Some(result) = results.iter().find(|result| result.partition == *partition) else {
            let message = format!("the broker did not answer for {topic}/{partition}");
            return Err(Failure::failed(message));
        };
        if let Some(error) = result.error.clone() {
            return Err(error.into());
        }
        offsets.push(result.offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay_within_the_partition() {
        let at = |position| within(Bounds { start: 10, end: 20 }, position);
        assert_eq!(at(Position::Start), 10);
        assert_eq!(at(Position::End), 20);
        assert_eq!(at(Position::At(15)), 15);
        assert_eq!(at(Position::At(5)), 10);
        assert_eq!(at(Position::At(25)), 20);
        assert_eq!(at(Position::AfterStart(3)), 13);
        assert_eq!(at(Position::AfterStart(i64::MAX)), 20);
        assert_eq!(at(Position::BeforeEnd(3)), 17);
        assert_eq!(at(Position::BeforeEnd(i64::MAX)), 10);
    }
}
