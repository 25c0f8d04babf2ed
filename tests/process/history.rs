//! What producers were promised and consumers were shown, and whether a log read back agrees with
//! it. Knows no broker: it judges lists of records.

use std::collections::{BTreeMap, BTreeSet};

use rivvend::random::Random;

/// Bytes of a value that say which record it is; what follows is derived from them.
const ID_BYTES: usize = 16;
const PADDING_BYTES_MAX: u64 = 400;

/// One record: who made it, and the how manyth of its own it was in that partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) producer: u64,
    pub(super) number: u64,
}

impl Id {
    /// The value of the record. Every byte of it follows from the id, so that none can change
    /// unnoticed.
    pub(super) fn value(self) -> Vec<u8> {
        let mut value = self.producer.to_be_bytes().to_vec();
        value.extend(self.number.to_be_bytes());
        let mut random = Random::new(self.number.wrapping_mul(0x9E37).wrapping_add(self.producer));
        let padding = random.below(PADDING_BYTES_MAX);
        value.extend((0..padding).map(|_| random.next_u64() as u8));
        value
    }

    /// The id of a record with this value.
    pub(super) fn of(value: &[u8]) -> Id {
        let word = |at: usize| {
            let bytes = value.get(at..at + 8).expect("a value of ours has sixteen bytes");
            u64::from_be_bytes(bytes.try_into().expect("eight of them"))
        };
        let id = Id { producer: word(0), number: word(ID_BYTES / 2) };
        assert!(id.value() == value, "the value of {id:?} has changed");
        id
    }
}

/// All partitions of one topic.
#[derive(Clone, Debug)]
pub(super) struct History {
    partitions: Vec<Partition>,
    /// Producers that send anew what was not acknowledged, under the same sequence numbers.
    idempotent: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    /// Promised to producers.
    acked: BTreeMap<i64, Id>,
    /// Shown to consumers.
    seen: BTreeMap<i64, Id>,
    /// Refused for good: these may not be there.
    refused: BTreeSet<Id>,
    /// The next number of each producer.
    sent: BTreeMap<u64, u64>,
    /// Everything below was found right before.
    verified: i64,
    /// Of what lies below, the last number of each producer.
    last: BTreeMap<u64, u64>,
}

impl History {
    pub(super) fn new(partitions: i32, idempotent: impl IntoIterator<Item = u64>) -> History {
        History {
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            idempotent: idempotent.into_iter().collect(),
        }
    }

    /// Knows of what was sent, and refused, as much as `later` does, and promises no more.
    pub(super) fn learn_sent(&mut self, later: &History) {
        for (partition, later) in self.partitions.iter_mut().zip(&later.partitions) {
            partition.sent.clone_from(&later.sent);
            partition.refused.clone_from(&later.refused);
        }
    }

    /// Numbers below `next` have been sent at least once.
    pub(super) fn send(&mut self, partition: i32, producer: u64, next: u64) {
        self.partitions[partition as usize].sent.insert(producer, next);
    }

    /// The broker promised that the records from `first` on lie at `base` and after.
    pub(super) fn ack(&mut self, partition: i32, base: i64, first: Id, count: u64) {
        let acked = &mut self.partitions[partition as usize].acked;
        for (offset, number) in (base..).zip(first.number..first.number + count) {
            let id = Id { number, ..first };
            let before = acked.insert(offset, id);
            let same = before.is_none_or(|before| before == id);
            assert!(same, "{partition}@{offset} was promised to {before:?}, now to {id:?}");
        }
    }

    /// The broker said that it did not take these.
    pub(super) fn refuse(&mut self, partition: i32, first: Id, count: u64) {
        let ids = (first.number..first.number + count).map(|number| Id { number, ..first });
        self.partitions[partition as usize].refused.extend(ids);
    }

    /// A consumer was shown this record.
    pub(super) fn see(&mut self, partition: i32, offset: i64, id: Id) {
        let before = self.partitions[partition as usize].seen.insert(offset, id);
        let same = before.is_none_or(|before| before == id);
        assert!(same, "{partition}@{offset} was {before:?}, now it is {id:?}");
    }

    /// Where the part begins that was not verified yet.
    pub(super) fn verified(&self, partition: i32) -> i64 {
        self.partitions[partition as usize].verified
    }

    /// Forgets what was verified, so that everything is verified again.
    pub(super) fn forget_verified(&mut self) {
        for partition in &mut self.partitions {
            partition.verified = 0;
            partition.last.clear();
        }
    }

    pub(super) fn acked_records(&self) -> usize {
        self.partitions.iter().map(|partition| partition.acked.len()).sum()
    }

    /// Judges what is in a partition from the verified part on.
    ///
    /// # Errors
    /// The promise that was broken.
    pub(super) fn verify(&mut self, partition: i32, records: &[(i64, Id)]) -> Result<(), String> {
        let idempotent = &self.idempotent;
        let it = &mut self.partitions[partition as usize];
        it.verify(records, idempotent).map_err(|broken| format!("partition {partition}: {broken}"))
    }
}

impl Partition {
    fn verify(&mut self, records: &[(i64, Id)], idempotent: &BTreeSet<u64>) -> Result<(), String> {
        let from = self.verified;
        for (expected, (offset, _)) in (from..).zip(records) {
            if *offset != expected {
                return Err(format!("offset {offset} follows {}", expected - 1));
            }
        }
        let at = |offset: i64| records.get((offset - from) as usize).map(|(_, id)| *id);
        for (promise, kept) in [("acknowledged", &self.acked), ("shown", &self.seen)] {
            for (&offset, &id) in kept.range(from..) {
                match at(offset) {
                    Some(found) if found == id => {}
                    found => {
                        return Err(format!("{id:?} was {promise} at {offset}: now {found:?}"));
                    }
                }
            }
        }
        for &(offset, id) in records {
            self.verify_order(offset, id, idempotent)?;
        }
        self.verified = from + records.len() as i64;
        self.seen.extend(records.iter().copied());
        Ok(())
    }

    fn verify_order(
        &mut self,
        offset: i64,
        id: Id,
        idempotent: &BTreeSet<u64>,
    ) -> Result<(), String> {
        let sent = self.sent.get(&id.producer).copied().unwrap_or(0);
        if id.number >= sent {
            return Err(format!("{id:?} at {offset} was never sent"));
        }
        if self.refused.contains(&id) {
            return Err(format!("{id:?} at {offset} had been refused"));
        }
        let last = self.last.insert(id.producer, id.number);
        if last.is_some_and(|last| id.number <= last) {
            return Err(format!("{id:?} at {offset} comes after number {last:?}"));
        }
        let next = last.map_or(0, |last| last + 1);
        if idempotent.contains(&id.producer) && id.number != next {
            return Err(format!("{id:?} at {offset} where number {next} was due"));
        }
        Ok(())
    }
}

/// The judge itself: a right history passes, and each kind of wrong one is told.
#[test]
fn the_checker_tells_lost_duplicated_reordered_and_invented_records() {
    let id = |number| Id { producer: 1, number };
    let history = || {
        let mut history = History::new(1, [1]);
        history.send(0, 1, 4);
        history.ack(0, 0, id(0), 3);
        history
    };
    let right = [(0, id(0)), (1, id(1)), (2, id(2)), (3, id(3))];
    assert_eq!(history().verify(0, &right), Ok(()));
    let wrong: [(&str, &[(i64, Id)]); 6] = [
        ("lost", &[(0, id(0)), (1, id(1))]),
        ("twice", &[(0, id(0)), (1, id(1)), (2, id(2)), (3, id(2))]),
        ("reordered", &[(0, id(0)), (1, id(2)), (2, id(1))]),
        ("invented", &[(0, id(0)), (1, id(1)), (2, id(2)), (3, Id { producer: 9, number: 0 })]),
        ("not sent", &[(0, id(0)), (1, id(1)), (2, id(2)), (3, id(3)), (4, id(4))]),
        ("a gap", &[(0, id(0)), (1, id(1)), (2, id(2)), (4, id(3))]),
    ];
    for (what, records) in wrong {
        assert!(history().verify(0, records).is_err(), "{what}");
    }
    let mut refused = history();
    refused.refuse(0, id(3), 1);
    assert!(refused.verify(0, &right).is_err(), "refused and there");
    let mut later = history();
    assert_eq!(later.verify(0, &right), Ok(()));
    assert_eq!((later.verified(0), later.verify(0, &[])), (4, Ok(())));
    later.forget_verified();
    assert!(later.verify(0, &right[..3]).is_err(), "what was there once stays");
}
