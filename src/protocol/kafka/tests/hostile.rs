//! Bytes that no client should send: whatever they declare, they are refused without a panic and
//! without memory that what has arrived does not explain (bad-inputs.md 9 to 12).

use bytes::Bytes;

use super::*;
use crate::limits;

/// Flips, cuts, inflates and duplicates bytes of messages and decodes what comes of it.
#[test]
fn mutated_messages_never_panic() {
    struct Mutate(Random);
    impl Visit for Mutate {
        fn message<M: Whole>(&mut self, version: i16, _: bool) {
            for _ in 0..200 {
                let (_, bytes) = made::<M>(&mut self.0, version);
                let mut bytes = bytes.to_vec();
                for _ in 0..=self.0.below(3) {
                    mutate(&mut bytes, &mut self.0);
                }
                // What is still a message reads back as it was understood.
                if let Ok(message) = M::from_bytes(Bytes::from(bytes), version) {
                    let mut writer = Writer::default();
                    assert_eq!(message.encode(&mut writer, version), Ok(()));
                    let again = M::from_bytes(writer.finish().bytes, version);
                    assert_eq!(again, Ok(message), "{} {version}", M::NAME);
                }
            }
        }
    }
    visit(&mut Mutate(Random::new(4)));
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return bytes.push(random.next_u64() as u8);
    }
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes.truncate(at),
        2 => bytes[at] = [0, 0x7f, 0x80, 0xff][random.below(4) as usize],
        3 => {
            let end = bytes.len().min(at + 4);
            bytes[at..end].fill(0xff);
        }
        _ => bytes.extend_from_within(at..),
    }
}

fn metadata(version: i16, body: &[u8]) -> Result<MetadataRequest, DecodeError> {
    MetadataRequest::from_bytes(Bytes::copy_from_slice(body), version)
}

#[test]
fn a_declared_count_is_believed_only_as_far_as_there_are_bytes() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    assert_eq!(metadata(9, &huge), Err(DecodeError::CountTooLarge(u32::MAX as usize - 1)));
    let huge = metadata(1, &[0x7f, 0xff, 0xff, 0xff, 0]);
    assert_eq!(huge, Err(DecodeError::CountTooLarge(0x7fff_ffff)));
    assert_eq!(metadata(1, &[0xff, 0xff, 0xff, 0xfe]), Err(DecodeError::NegativeLength));
    // One more than there are bytes behind it.
    assert_eq!(metadata(1, &[0, 0, 0, 3, 0, 0]), Err(DecodeError::CountTooLarge(3)));
    let text = [2, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(metadata(9, &text), Err(DecodeError::TextTooLong(u32::MAX as usize - 1)));
    // No transactional id, acks, time-out, one topic "t", its partition 0, and records of 2 GiB.
    let start = [0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0];
    let records = [&start[..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    let read = ProduceRequest::from_bytes(Bytes::from(records), 8);
    assert_eq!(read, Err(DecodeError::Truncated));
}

/// An array of structures that are large in memory and small on the wire stops where the bytes that
/// have arrived no longer explain the memory.
#[test]
fn an_array_takes_no_more_memory_than_its_bytes_explain() {
    const COUNT: usize = 1 << 20;
    // Replica, waits and limits, session; then topics without name and partitions: three bytes each
    // on the wire and many more in memory.
    let mut body = vec![0; 4 + 4 + 4 + 4 + 1 + 8];
    body.extend_from_slice(&[0x81, 0x80, 0x40]);
    body.extend([1, 1, 0].repeat(COUNT));
    assert!(size_of::<FetchRequestTopic>() > 3 * limits::KAFKA_DECODE_FACTOR);
    let read = FetchRequest::from_bytes(Bytes::from(body), 12);
    assert_eq!(read, Err(DecodeError::MemoryExceeded));
}

/// Memory is taken as elements arrive, in a few steps, and all of it is accounted for.
#[test]
fn growing_an_array_keeps_within_the_bound() {
    let mut reader = Reader::new(Bytes::from(vec![0; 4_096]));
    let bound = limits::KAFKA_DECODE_FACTOR * 4_096 + limits::KAFKA_DECODE_SLACK_BYTES;
    let mut taken = 0;
    let mut items: Vec<[u8; 64]> = Vec::new();
    let refused = loop {
        if items.len() == items.capacity() {
            if let Err(error) = reader.grow(&mut items, 4_096) {
                break error;
            }
            taken += items.capacity() * 64;
        }
        items.push([0; 64]);
    };
    assert_eq!(refused, DecodeError::MemoryExceeded);
    assert!(taken <= bound, "{taken} of {bound}");
    assert!(items.len() > 500, "what was honest so far is there");
}

/// A newer client's fields are skipped, wherever they stand, and tags have a bound.
#[test]
fn unknown_tagged_fields_are_skipped_and_bounded() {
    // One topic with a tagged field of its own, and one behind the whole request.
    let mut body = vec![2, 2, b't', 1, 5, 2, 0xaa, 0xbb, 1, 0, 0, 1, 6, 1, 0xcc];
    let read = metadata(9, &body).expect("they are only unknown");
    assert_eq!(read.topics.as_ref().map(Vec::len), Some(1));
    assert_eq!(read.topics.and_then(|topics| topics[0].name.clone()).as_deref(), Some("t"));
    body[11] = 65;
    assert_eq!(metadata(9, &body), Err(DecodeError::TooManyTags(65)));
    body[11] = 1;
    body[13] = 2;
    assert_eq!(metadata(9, &body), Err(DecodeError::Truncated));
}

/// A tagged field that is known and is not as long as it says hides something.
#[test]
fn a_known_tagged_field_is_as_long_as_it_says() {
    let fetch = |tag: &[u8]| {
        // Replica, waits and limits, session, no topics, no forgotten ones, no rack.
        let fixed = [0_u8; 12 + 1 + 8];
        let body = [&[0xff; 4][..], &fixed, &[1, 1, 1], tag].concat();
        FetchRequest::from_bytes(Bytes::from(body), 12)
    };
    let cluster = fetch(&[1, 0, 3, 3, b'a', b'b']).map(|request| request.cluster_id);
    assert_eq!(cluster.expect("it is right").as_deref(), Some("ab"));
    assert_eq!(fetch(&[1, 0, 4, 3, b'a', b'b', 0]), Err(DecodeError::TagLength(0)));
    assert_eq!(fetch(&[1, 0, 2, 3, b'a', b'b']), Err(DecodeError::TagLength(0)));
}

/// Elements without a byte could be any number.
#[test]
fn elements_that_take_no_bytes_are_refused() {
    #[derive(Debug, PartialEq)]
    struct Nothing;
    impl wire::Wire for Nothing {
        fn read(_: &mut Reader, _: wire::Shape) -> Result<Nothing, DecodeError> {
            Ok(Nothing)
        }

        fn write(&self, _: &mut Writer, _: wire::Shape) -> Result<(), EncodeError> {
            Ok(())
        }
    }
    let mut reader = Reader::new(Bytes::from_static(&[0, 0, 0, 2, 0, 0]));
    let shape = arbitrary::shape(ApiKey::Metadata, 0);
    let read: Result<Vec<Nothing>, _> = wire::Wire::read(&mut reader, shape);
    assert_eq!(read, Err(DecodeError::EmptyElement));
}

#[test]
fn a_structure_is_marked_as_there_or_as_null() {
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0];
    let read = |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        let read = ConsumerGroupHeartbeatResponse::from_bytes(bytes, 0);
        read.map(|response| response.assignment)
    };
    assert_eq!(read(&bytes), Ok(None));
    bytes[16] = 2;
    assert_eq!(read(&bytes), Err(DecodeError::NullMark(2)));
    bytes[16] = 1;
    bytes.splice(17.., [1, 0, 0]);
    assert_eq!(read(&bytes), Ok(Some(ConsumerGroupHeartbeatResponseAssignment::default())));
}
