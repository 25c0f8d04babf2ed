//! Whether what was sent arrives: all that was acknowledged, each record once, in its order. A
//! number that is left out is no loss yet, since a send may fail; what is acknowledged and still
//! missing in the end is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::stamp::Stamp;

/// What the producers of a run have done, for those who wait for it on other threads.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Records that were acknowledged, of each partition.
    acknowledged: Vec<AtomicU64>,
    at_work: watch::Sender<usize>,
}

/// A producer that is not done yet; it is when this is dropped.
#[derive(Debug)]
pub(super) struct AtWork<'a>(&'a Ledger);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|producers| *producers -= 1);
    }
}

impl Ledger {
    /// Before any of so many producers has begun.
    pub(super) fn new(partitions: i32, producers: u16) -> Ledger {
        Ledger {
            acknowledged: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            at_work: watch::Sender::new(producers.into()),
        }
    }

    /// Taken once by each producer.
    pub(super) fn at_work(&self) -> AtWork<'_> {
        AtWork(self)
    }

    /// So many records more have to arrive.
    pub(super) fn acknowledge(&self, partition: i32, records: u64) {
        self.acknowledged[partition as usize].fetch_add(records, Ordering::Relaxed);
    }

    /// Returns when no producer is at work any more, and all that they did can be seen.
    pub(super) async fn finished(&self) {
        let mut at_work = self.at_work.subscribe();
        // The sender, which is ours, is not gone.
        drop(at_work.wait_for(|producers| *producers == 0).await);
    }
}

/// What one consumer has received of its partitions.
#[derive(Debug)]
pub(super) struct Inbox {
    run: u64,
    producers: u64,
    /// Records of this run, of each of its partitions.
    received: BTreeMap<i32, u64>,
    /// The next number, of each partition and producer.
    expected: BTreeMap<(i32, u64), u64>,
}

/// What must not happen to a record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("record {number} of producer {producer} came after {last}, in partition {partition}")]
    OutOfOrder { partition: i32, producer: u64, number: u64, last: u64 },
    #[error("a record that was never sent came in partition {partition}: {stamp:?}")]
    NeverSent { partition: i32, stamp: Stamp },
}

impl Inbox {
    /// An empty one, for these partitions.
    pub(super) fn new(run: u64, producers: u16, partitions: &[i32]) -> Inbox {
        let received = partitions.iter().map(|&partition| (partition, 0)).collect();
        Inbox { run, producers: producers.into(), received, expected: BTreeMap::new() }
    }

    /// Takes a value that came at this time of the run. Returns when it was meant to be sent;
    /// `None` for one that is not of this run.
    pub(super) fn take(
        &mut self,
        partition: i32,
        value: &[u8],
        now: Duration,
    ) -> Result<Option<Duration>, Wrong> {
        let Some(stamp) = Stamp::read(value).filter(|stamp| stamp.run == self.run) else {
            return Ok(None);
        };
        let Stamp { producer, number, intended, .. } = stamp;
        let (Some(received), Some(next)) =
            (self.received.get_mut(&partition), number.checked_add(1))
        else {
            return Err(Wrong::NeverSent { partition, stamp });
        };
        if producer >= self.producers || intended > now {
            return Err(Wrong::NeverSent { partition, stamp });
        }
        let expected = self.expected.entry((partition, producer)).or_insert(0);
        if number < *expected {
            let last = *expected - 1;
            return Err(Wrong::OutOfOrder { partition, producer, number, last });
        }
        *expected = next;
        *received += 1;
        Ok(Some(intended))
    }

    /// Records that were acknowledged so far and have not arrived.
    pub(super) fn missing(&self, ledger: &Ledger) -> u64 {
        let missing = self.received.iter().map(|(&partition, &received)| {
            let acknowledged = ledger.acknowledged[partition as usize].load(Ordering::Relaxed);
            acknowledged.saturating_sub(received)
        });
        missing.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::STAMP_BYTES;
    use super::*;

    const RUN: u64 = 77;
    const NOW: Duration = Duration::from_secs(5);

    fn value(run: u64, producer: u64, number: u64, intended: Duration) -> Vec<u8> {
        let value = Stamp { run, producer, number, intended }.write();
        assert_eq!(value.len(), STAMP_BYTES);
        value.to_vec()
    }

    fn inbox() -> Inbox {
        Inbox::new(RUN, 2, &[0, 3])
    }

    #[test]
    fn records_in_order_are_taken_and_those_of_others_passed_over() {
        let mut inbox = inbox();
        for (partition, producer, number) in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (3, 0, 0)] {
            let value = value(RUN, producer, number, NOW);
            assert_eq!(inbox.take(partition, &value, NOW), Ok(Some(NOW)));
        }
        assert_eq!(inbox.take(0, &value(RUN + 1, 0, 0, NOW), NOW), Ok(None));
        assert_eq!(inbox.take(0, b"short", NOW), Ok(None));
    }

    #[test]
    fn a_record_that_comes_again_or_late_is_out_of_order() {
        let mut inbox = inbox();
        for number in [0, 2] {
            inbox.take(0, &value(RUN, 1, number, NOW), NOW).expect("a gap is no error yet");
        }
        for number in [2, 1] {
            let taken = inbox.take(0, &value(RUN, 1, number, NOW), NOW);
            let wrong = Wrong::OutOfOrder { partition: 0, producer: 1, number, last: 2 };
            assert_eq!(taken, Err(wrong));
        }
    }

    /// Stamps are bytes from outside: none of them may be believed, or panic.
    #[test]
    fn stamps_that_no_producer_wrote_are_refused() {
        let later = NOW + Duration::from_nanos(1);
        let cases = [
            (0, value(RUN, 2, 0, NOW)),
            (0, value(RUN, 0, 0, later)),
            (0, value(RUN, 0, u64::MAX, NOW)),
            (0, value(RUN, 0, 0, Duration::from_nanos(u64::MAX))),
            (1, value(RUN, 0, 0, NOW)),
        ];
        let mut inbox = inbox();
        for (partition, value) in cases {
            let taken = inbox.take(partition, &value, NOW);
            assert!(matches!(taken, Err(Wrong::NeverSent { .. })), "{taken:?}");
        }
        assert_eq!(inbox.take(0, &value(RUN, 0, 0, NOW), NOW), Ok(Some(NOW)));
    }

    #[test]
    fn only_what_was_acknowledged_can_be_missing() {
        let ledger = Ledger::new(4, 2);
        let mut inbox = inbox();
        inbox.take(0, &value(RUN, 0, 5, NOW), NOW).expect("in order");
        assert_eq!(inbox.missing(&ledger), 0, "it came before its acknowledgement");
        for (partition, records) in [(0, 2), (1, 7), (3, 1)] {
            ledger.acknowledge(partition, records);
        }
        assert_eq!(inbox.missing(&ledger), 2, "one in each of its partitions");
    }

    #[tokio::test]
    async fn the_end_is_when_the_last_producer_has_left() {
        let ledger = Ledger::new(1, 2);
        let (one, two) = (ledger.at_work(), ledger.at_work());
        let mut finished = std::pin::pin!(ledger.finished());
        drop(one);
        assert!(futures_util::poll!(&mut finished).is_pending());
        drop(two);
        finished.await;
    }
}
