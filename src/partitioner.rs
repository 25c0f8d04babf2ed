//! Which partition a record goes to: where its producer says, else by the hash of its key, else to
//! the partition that keyless records stick to for the moment. One implementation for the client,
//! HTTP and the server. Knows nothing of leaders, connections or clocks.
//!
//! Records with a key go where every Kafka client would put them: the key's 32-bit murmur2 without
//! its sign bit, modulo the partition count. Keyless records fill batches best when many in a row
//! go to one partition, so they stick to one until it got a batch's worth of bytes or the batch
//! would have been sent anyway; then another one is drawn (KIP-480, KIP-794).

use crate::random::Random;
use crate::time::Now;
use crate::types::PartitionId;

/// Bytes after which keyless records turn to another partition, by default.
pub const BATCH_SIZE_DEFAULT: usize = 16_384;
/// Milliseconds after which keyless records turn to another partition, by default.
pub const LINGER_MS_DEFAULT: u64 = 100;

/// Murmur2 with the seed that Kafka's clients use.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let (words, tail) = bytes.as_chunks::<4>();
    // Java's lengths are 32 bits wide, and so is their part in the hash.
    let mut hash = SEED ^ bytes.len() as u32;
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let mixed = (mixed ^ (mixed >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)) as i32
}

/// The partition of a key among `partitions`.
///
/// # Panics
/// When there are no partitions.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: i32) -> PartitionId {
    assert!(partitions > 0, "a topic has partitions");
    PartitionId((murmur2(key) & i32::MAX) % partitions)
}

/// Where the records of one producer to one topic go.
#[derive(Clone, Debug)]
pub struct StickyPartitioner {
    batch_size: usize,
    linger_ms: u64,
    current: Option<Current>,
}

/// The partition that keyless records stick to.
#[derive(Clone, Copy, Debug)]
struct Current {
    partition: i32,
    bytes: usize,
    since_ms: u64,
}

impl StickyPartitioner {
    /// A partitioner that turns to another partition after `batch_size` bytes or `linger_ms`
    /// milliseconds, whichever comes first. Zero of either: with every record.
    #[must_use]
    pub fn new(batch_size: usize, linger_ms: u64) -> StickyPartitioner {
        StickyPartitioner { batch_size, linger_ms, current: None }
    }

    /// The partition of a record: the one that is asked for, the one of its key, or the current one
    /// of those without. `None` when the one asked for does not exist.
    ///
    /// # Panics
    /// When there are no partitions.
    pub fn place(
        &mut self,
        record: &Unplaced<'_>,
        partitions: i32,
        now: Now,
        random: &mut Random,
    ) -> Option<PartitionId> {
        assert!(partitions > 0, "a topic has partitions");
        match (record.partition, record.key) {
            (Some(asked), _) => (0..partitions).contains(&asked.0).then_some(asked),
            (None, Some(key)) => Some(partition_for_key(key, partitions)),
            (None, None) => Some(self.stick(record.bytes, partitions, now, random)),
        }
    }

    /// Makes the next keyless record turn to another partition, as after an error of this one.
    pub fn turn(&mut self) {
        if let Some(current) = &mut self.current {
            current.bytes = usize::MAX;
        }
    }

    fn stick(&mut self, bytes: usize, count: i32, now: Now, random: &mut Random) -> PartitionId {
        let mut current = match self.current {
            Some(current) if !self.is_spent(current, count, now) => current,
            before => Current {
                partition: draw(before.map(|current| current.partition), count, random),
                bytes: 0,
                since_ms: now.monotonic_ms,
            },
        };
        current.bytes = current.bytes.saturating_add(bytes);
        self.current = Some(current);
        assert!((0..count).contains(&current.partition), "the partition exists");
        PartitionId(current.partition)
    }

    fn is_spent(&self, current: Current, count: i32, now: Now) -> bool {
        current.bytes >= self.batch_size
            || now.monotonic_ms.saturating_sub(current.since_ms) >= self.linger_ms
            || current.partition >= count
    }
}

impl Default for StickyPartitioner {
    fn default() -> StickyPartitioner {
        StickyPartitioner::new(BATCH_SIZE_DEFAULT, LINGER_MS_DEFAULT)
    }
}

/// What placing needs to know of a record.
#[derive(Clone, Copy, Debug)]
pub struct Unplaced<'a> {
    /// The partition its producer asks for.
    pub partition: Option<PartitionId>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// About how many bytes it will take in a batch.
    pub bytes: usize,
}

/// Any partition but the one before, if there is another.
fn draw(before: Option<i32>, count: i32, random: &mut Random) -> i32 {
    match before {
        Some(before) if before < count && count > 1 => {
            let drawn = random.below(count as u64 - 1) as i32;
            if drawn < before { drawn } else { drawn + 1 }
        }
        _ => random.below(count as u64) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Millis;

    fn at(monotonic_ms: u64) -> Now {
        Now { wall: Millis(0), monotonic_ms }
    }

    fn keyless(bytes: usize) -> Unplaced<'static> {
        Unplaced { partition: None, key: None, bytes }
    }

    /// The vectors of Kafka's own tests, and the tails of every length.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("1", -1_993_445_489),
            ("12", 126_087_238),
            ("123", -267_702_483),
            ("1234", -1_614_185_708),
            ("12345", -1_188_365_604),
            ("", 275_646_681),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
        assert_eq!(murmur2(&[12, 42, 56, 24, 109, 111]), 274_204_207);
    }

    #[test]
    fn a_key_goes_where_kafkas_clients_put_it() {
        // 1357151166 is the hash of foobar without its sign bit.
        assert_eq!(partition_for_key(b"foobar", 6), PartitionId(1_357_151_166 % 6));
        let mut sticky = StickyPartitioner::default();
        let record = Unplaced { partition: None, key: Some(b"foobar"), bytes: 1 };
        let placed = sticky.place(&record, 6, at(0), &mut Random::new(1));
        assert_eq!(placed, Some(PartitionId(1_357_151_166 % 6)));
    }

    #[test]
    fn the_partition_asked_for_wins_over_the_key_and_must_exist() {
        let mut sticky = StickyPartitioner::default();
        let mut place = |asked| {
            let partition = Some(PartitionId(asked));
            let record = Unplaced { partition, key: Some(b"foobar"), bytes: 1 };
            sticky.place(&record, 6, at(0), &mut Random::new(1))
        };
        assert_eq!(place(5), Some(PartitionId(5)));
        assert_eq!(place(6), None);
        assert_eq!(place(-1), None);
    }

    #[test]
    fn keyless_records_stick_until_the_bytes_are_reached() {
        let mut sticky = StickyPartitioner::new(100, 1_000);
        let mut random = Random::new(3);
        let mut place = |bytes| sticky.place(&keyless(bytes), 8, at(0), &mut random);
        let first = place(60);
        assert_eq!(place(40), first, "the batch is not full before this one");
        let second = place(1);
        assert_ne!(second, first);
        assert_eq!(place(98), second);
    }

    #[test]
    fn keyless_records_stick_until_the_time_is_up_and_after_an_error() {
        let mut sticky = StickyPartitioner::new(100, 50);
        let mut random = Random::new(3);
        let first = sticky.place(&keyless(1), 8, at(10), &mut random);
        assert_eq!(sticky.place(&keyless(1), 8, at(59), &mut random), first);
        let second = sticky.place(&keyless(1), 8, at(60), &mut random);
        assert_ne!(second, first);
        sticky.turn();
        assert_ne!(sticky.place(&keyless(1), 8, at(60), &mut random), second);
    }

    #[test]
    fn every_partition_gets_its_share_and_none_that_does_not_exist() {
        let mut sticky = StickyPartitioner::new(1, 1_000);
        let mut random = Random::new(9);
        let mut seen = [0; 4];
        for _ in 0..4_000 {
            let placed = sticky.place(&keyless(1), 4, at(0), &mut random).expect("always placed");
            seen[placed.0 as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (900..1_100).contains(&count)), "{seen:?}");
        for _ in 0..10 {
            assert_eq!(sticky.place(&keyless(1), 1, at(0), &mut random), Some(PartitionId(0)));
        }
    }
}
