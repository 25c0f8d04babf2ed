//! Mutated frames from a seed, for a while: the broker neither panics nor grows, and goes on
//! serving others. `RIVVEN_FUZZ_SEED` and `RIVVEN_FUZZ_SECONDS` choose another walk.

use std::time::{Duration, Instant};

use rivvend::protocol::native::frame::Preface;
use rivvend::protocol::native::message::{
    AlterConfig, AlterTopic, CreateTopics, DeleteRecords, DeleteRecordsPartition, DescribeConfig,
    DescribeTopics, Fetch, FetchPartition, InitProducer, ListOffsets, ListOffsetsPartition,
    Metadata, Metrics, NewTopic, Produce, ProducePartition, ReloadConfig, Subscribe,
};
use rivvend::random::Random;

use super::frames::Victim;
use super::load::batch;
use super::rounds;
use super::wire::{Wire, request};

const TOPIC: &str = "fuzzed";
const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_frames_neither_stop_the_broker_nor_make_it_grow() {
    let seed = rounds("RIVVEN_FUZZ_SEED", 1) as u64;
    let until = Instant::now() + Duration::from_secs(rounds("RIVVEN_FUZZ_SECONDS", 10) as u64);
    eprintln!("RIVVEN_FUZZ_SEED={seed}");
    let victim = Victim::new().await;
    let corpus = corpus();
    let mut random = Random::new(seed);
    let mut connections = 0;
    while Instant::now() < until {
        let mut wire = Wire::raw(victim.broker.native);
        let mut bytes = Preface::OWN.encode().to_vec();
        for _ in 0..1 + random.below(4) {
            let frame = &corpus[random.below(corpus.len() as u64) as usize];
            bytes.extend(mutated(frame, &corpus, &mut random));
        }
        if random.chance(1, 50) {
            mutate(&mut bytes, &mut random);
        }
        wire.send(&bytes);
        wire.finish();
        let answered = wire.rest(Duration::from_secs(60));
        assert!(answered.is_some(), "a connection that sends no more ends: {connections}");
        connections += 1;
    }
    eprintln!("{connections} connections of mutated frames");
    victim.assert_unharmed(512 * MIB).await;
}

pub(super) fn mutated(frame: &[u8], corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    match random.below(8) {
        0 => {}
        1 => {
            let other = &corpus[random.below(corpus.len() as u64) as usize];
            let (cut, from) = (below(bytes.len(), random), below(other.len(), random));
            bytes.truncate(cut);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            for _ in 0..1 + random.below(6) {
                mutate(&mut bytes, random);
            }
        }
    }
    // Mostly the length is made right again, or nothing behind it would ever be looked at.
    if random.chance(4, 5) && bytes.len() >= 4 {
        let length = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

pub(super) fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = below(bytes.len(), random);
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next_u64() as u8,
        2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5) as usize],
        3 => bytes.truncate(at),
        4 => {
            let end = (at + 1 + below(16, random)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => drop(bytes.drain(at..(at + 1 + below(8, random)).min(bytes.len()))),
    }
}

fn below(bound: usize, random: &mut Random) -> usize {
    random.below(bound.max(1) as u64) as usize
}

/// A sound frame of every operation that a flipped bit can not turn into an expensive one.
fn corpus() -> Vec<Vec<u8>> {
    let topic = || TOPIC.to_owned();
    let read = FetchPartition { topic: topic(), partition: 0, offset: 0, max_bytes: 9_999 };
    let data = batch(&[b"a value", b"another"]);
    let entry = |partition| ProducePartition {
        topic: topic(),
        partition,
        data_bytes: data.len() as u32,
        expected_offset: None,
    };
    let both: Vec<u8> = [&data[..], &data[..]].concat();
    vec![
        request(1, Metadata { topics: vec![topic()], auto_create: true }, &[]),
        request(2, Produce { partitions: vec![entry(0)], acks: -1 }, &data),
        request(3, Produce { partitions: vec![entry(0), entry(-1)], acks: 1 }, &both),
        request(
            4,
            Fetch { partitions: vec![read.clone()], max_bytes: 9_999, ..Fetch::default() },
            &[],
        ),
        request(5, Subscribe { partitions: vec![read], ..Subscribe::default() }, &[]),
        request(
            6,
            ListOffsets {
                partitions: vec![ListOffsetsPartition {
                    topic: topic(),
                    partition: 0,
                    timestamp_ms: -1,
                }],
            },
            &[],
        ),
        request(
            7,
            CreateTopics {
                topics: vec![NewTopic { name: topic(), ..NewTopic::default() }],
                validate_only: true,
            },
            &[],
        ),
        request(8, AlterTopic { name: topic(), ..AlterTopic::default() }, &[]),
        request(9, DescribeTopics { names: vec![topic()], internal: true }, &[]),
        request(
            10,
            DeleteRecords {
                partitions: vec![DeleteRecordsPartition {
                    topic: topic(),
                    partition: 0,
                    before_offset: -1,
                }],
                validate_only: false,
            },
            &[],
        ),
        request(11, InitProducer { producer_id: -1, producer_epoch: -1 }, &[]),
        request(12, Metrics {}, &[]),
        request(13, ReloadConfig {}, &[]),
        request(14, DescribeConfig { keys: vec![topic()] }, &[]),
        request(15, AlterConfig { validate_only: true, ..AlterConfig::default() }, &[]),
    ]
}
