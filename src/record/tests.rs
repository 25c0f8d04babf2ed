//! What holds for batches as a whole: round trips, refusals with their outcomes, bounds on what
//! hostile bytes can cost, agreement with another implementation and with frozen bytes.

mod foreign;

use bytes::Bytes;
use proptest::prelude::*;

use super::layout::{self, HEADER_BYTES, attributes};
use super::*;
use crate::limits;
use crate::types::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence};

type Headers = Vec<(String, Option<Vec<u8>>)>;
type Content = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

/// Builds a batch of records that own what they hold.
fn build(mut builder: BatchBuilder, records: &[Content]) -> CheckedBatch {
    for (timestamp, key, value, headers) in records {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        builder.push(&NewRecord {
            timestamp: Millis(*timestamp),
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        });
    }
    builder.build()
}

fn content(record: &OwnedRecord) -> Content {
    let own = |bytes: &Option<Bytes>| bytes.as_deref().map(<[u8]>::to_vec);
    let headers = record.headers.iter().map(|(name, value)| (name.clone(), own(value))).collect();
    (record.timestamp.0, own(&record.key), own(&record.value), headers)
}

/// Three records that use every part of the format.
fn sample() -> Vec<Content> {
    let headers = vec![("trace".to_owned(), Some(b"abc".to_vec())), ("no value".to_owned(), None)];
    vec![
        (1_700_000_000_000, Some(b"key".to_vec()), Some(b"value".to_vec()), headers),
        (1_699_999_999_000, None, Some(vec![]), vec![]),
        (1_700_000_000_005, Some(vec![0xff; 3]), None, vec![(String::new(), Some(vec![]))]),
    ]
}

fn sample_batch(compression: Compression) -> CheckedBatch {
    build(BatchBuilder::new(compression), &sample())
}

fn take(bytes: &[u8]) -> Result<CheckedBatch, BatchError> {
    CheckedBatch::take(&mut Bytes::copy_from_slice(bytes), &CheckRules::default())
}

/// A batch of these body bytes, whatever they are, with a header that lets them through.
fn forged(count: i32, codec: i16, body: &[u8]) -> Vec<u8> {
    let mut header = *sample_batch(Compression::None).header();
    header.records_count = count;
    header.last_offset_delta = count - 1;
    header.attributes = codec;
    header.base_timestamp = 0;
    forge(header, body)
}

fn forge(header: BatchHeader, body: &[u8]) -> Vec<u8> {
    let bytes = [&[0; HEADER_BYTES], body].concat();
    CheckedBatch::seal(header, bytes).bytes().to_vec()
}

/// The sample after a change to its header.
fn changed(change: impl FnOnce(&mut BatchHeader)) -> Result<CheckedBatch, BatchError> {
    let batch = sample_batch(Compression::None);
    let mut header = *batch.header();
    change(&mut header);
    take(&forge(header, batch.body()))
}

#[test]
fn every_codec_gives_back_what_was_built() {
    for compression in Compression::ALL {
        let batch = sample_batch(compression);
        let taken = take(batch.bytes()).expect("the builder makes what the checks accept");
        assert_eq!(taken.bytes(), batch.bytes());
        assert_eq!(taken.compression(), compression);
        assert_eq!(taken.header().max_timestamp, 1_700_000_000_005);
        let records = decode_records(&taken).expect("decodes");
        assert_eq!(records.iter().map(content).collect::<Vec<_>>(), sample());
        assert_eq!(records[2].offset, Offset(2));
    }
}

/// Strategy for records as odd as the format allows.
fn contents() -> impl Strategy<Value = Vec<Content>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::vec((".{0,8}", bytes()), 0..4);
    let record = (-1_i64..=i64::MAX / 2, bytes(), bytes(), headers);
    proptest::collection::vec(record, 1..20)
}

fn codecs() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_is_built_is_accepted_and_reads_back(
        records in contents(),
        compression in codecs(),
        level in proptest::option::of(-30..30),
    ) {
        let batch = build(BatchBuilder::new(compression).level(level), &records);
        let taken = take(batch.bytes()).expect("the builder makes what the checks accept");
        prop_assert_eq!(taken.bytes(), batch.bytes());
        let read = decode_records(&taken).expect("decodes");
        prop_assert_eq!(read.iter().map(content).collect::<Vec<_>>(), records);
    }

    #[test]
    fn a_record_that_fits_keeps_the_batch_within_the_bound(
        records in contents(),
        compression in codecs(),
    ) {
        let bytes_max = 600;
        let mut builder = BatchBuilder::new(compression);
        for (timestamp, key, value, _) in &records {
            let (key, value) = (key.as_deref(), value.as_deref());
            let record = NewRecord { timestamp: Millis(*timestamp), key, value, headers: &[] };
            if builder.fits(&record, bytes_max) {
                builder.push(&record);
            }
            prop_assert!(builder.estimated_bytes() <= bytes_max);
        }
    }

    /// Bytes that carry a right CRC, as anybody can make them, and yet make no sense.
    #[test]
    fn no_body_makes_the_checks_panic(
        bits in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4),
        compression in codecs(),
        internal in any::<bool>(),
    ) {
        let batch = sample_batch(compression);
        let mut body = batch.body().to_vec();
        for bit in bits {
            let bit = bit.index(body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
        }
        let bytes = forge(*batch.header(), &body);
        let rules = CheckRules { internal, ..CheckRules::default() };
        if let Ok(batch) = CheckedBatch::take(&mut Bytes::from(bytes), &rules) {
            let records = decode_records(&batch).expect("what was checked can be read");
            prop_assert_eq!(records.len() as i32, batch.header().records_count);
        }
    }

    #[test]
    fn a_record_list_reads_back(records in contents()) {
        let mut list = RecordList::new();
        for (timestamp, key, value, _) in &records {
            let (key, value) = (key.as_deref(), value.as_deref());
            list.push(&NewRecord { timestamp: Millis(*timestamp), key, value, headers: &[] });
        }
        prop_assert_eq!(list.len(), records.len());
        let bytes = list.finish();
        let read = parse_record_list(&bytes, records.len()).expect("reads back");
        for (read, (timestamp, key, value, _)) in read.iter().zip(&records) {
            prop_assert_eq!(read.timestamp, Millis(*timestamp));
            prop_assert_eq!((read.key, read.value), (key.as_deref(), value.as_deref()));
        }
        prop_assert!(parse_record_list(&bytes, records.len() - 1).is_err());
        // A cut leaves a list that is shorter or none.
        for end in 0..bytes.len() {
            let cut = parse_record_list(&bytes[..end], records.len());
            prop_assert!(cut.map_or(0, |read| read.len()) < records.len());
        }
    }
}

#[test]
fn a_batch_cut_anywhere_is_truncated_and_stays_where_it_was() {
    for compression in Compression::ALL {
        let whole = sample_batch(compression);
        for end in 0..whole.bytes().len() {
            let mut cut = whole.bytes().slice(..end);
            let refused = CheckedBatch::take(&mut cut, &CheckRules::default());
            assert!(
                matches!(refused, Err(BatchError::Truncated { available, .. }) if available == end),
                "{compression} cut at {end}: {refused:?}"
            );
            assert_eq!(cut.len(), end);
        }
    }
}

/// D9: damage is noticed. Base offset and leader epoch are the leader's, so no CRC covers them.
#[test]
fn every_flipped_bit_is_noticed() {
    for compression in Compression::ALL {
        let batch = sample_batch(compression);
        for bit in 0..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Bit 7 makes the base offset negative, which no offset is.
            let stamped = (bit / 8 < layout::LENGTH_AT && bit != 7)
                || (layout::LEADER_EPOCH_AT..layout::MAGIC_AT).contains(&(bit / 8));
            assert_eq!(take(&bytes).is_ok(), stamped, "{compression}, bit {bit}");
            // What comes from a log is not read record by record, yet damage shows.
            let taken = CheckedBatch::take(&mut Bytes::from(bytes), &CheckRules::internal());
            assert_eq!(taken.is_ok(), stamped, "{compression}, bit {bit}");
        }
    }
}

/// Rows 15 to 21 and 23 of the table of bad inputs.
#[test]
fn each_broken_rule_has_its_outcome() {
    let good = sample_batch(Compression::None);
    let crc = good.header().crc;
    let mut flipped = good.bytes().to_vec();
    *flipped.last_mut().expect("not empty") ^= 1;
    let outcome = take(&flipped).expect_err("a bad CRC");
    assert!(matches!(outcome, BatchError::Crc { stored, .. } if stored == crc), "{outcome}");

    for magic in [0, 1, 3, -1] {
        assert_eq!(changed(|header| header.magic = magic).err(), Some(BatchError::Magic(magic)));
    }
    for codec in [5, 6, 7] {
        let outcome = changed(|header| header.attributes = codec).err();
        assert_eq!(outcome, Some(BatchError::Codec(codec)));
    }
    let rules = CheckRules { bytes_max: good.bytes().len() - 1, ..CheckRules::default() };
    let outcome = CheckedBatch::take(&mut good.bytes().clone(), &rules).err();
    let (size, limit) = (good.bytes().len(), rules.bytes_max);
    assert_eq!(outcome, Some(BatchError::TooLarge { size, limit }));
    let outcome = changed(|header| header.attributes = attributes::LOG_APPEND_TIME).err();
    assert_eq!(outcome, Some(BatchError::TimestampType));
}

#[test]
fn headers_that_lie_are_invalid() {
    type Change = fn(&mut BatchHeader);
    let lies: [(&str, Change); 16] = [
        ("fewer records than there are", |header| {
            header.records_count = 2;
            header.last_offset_delta = 1;
        }),
        ("more records than there are", |header| {
            header.records_count = 4;
            header.last_offset_delta = 3;
        }),
        ("no records", |header| header.records_count = 0),
        ("fewer than none", |header| header.records_count = -1),
        ("the least number", |header| header.records_count = i32::MIN),
        ("the greatest number", |header| header.records_count = i32::MAX),
        ("as many as can be written", |header| {
            header.records_count = limits::BATCH_RECORDS_MAX as i32 + 1;
            header.last_offset_delta = limits::BATCH_RECORDS_MAX as i32;
        }),
        ("last offset too low", |header| header.last_offset_delta = 1),
        ("last offset too high", |header| header.last_offset_delta = 3),
        ("last offset negative", |header| header.last_offset_delta = -1),
        ("a control batch", |header| header.attributes = attributes::CONTROL),
        ("a transaction", |header| header.attributes = attributes::TRANSACTIONAL),
        ("a delete horizon", |header| header.attributes = attributes::DELETE_HORIZON),
        ("an unknown attribute", |header| header.attributes = 1 << 7),
        ("a producer without sequence", |header| header.producer_id = ProducerId(1)),
        ("no such producer", |header| header.producer_id = ProducerId(-2)),
    ];
    for (lie, change) in lies {
        let outcome = changed(change).expect_err(lie);
        let invalid = matches!(outcome, BatchError::Invalid(_) | BatchError::Record { .. });
        assert!(invalid, "{lie}: {outcome:?}");
    }
    for offset in [-1, i64::MIN, i64::MAX, i64::MAX - 2] {
        let outcome = changed(|header| header.base_offset = Offset(offset));
        assert!(matches!(outcome, Err(BatchError::Invalid(_))), "base offset {offset}");
    }
    let last = changed(|header| header.base_offset = Offset(i64::MAX - 3)).expect("just fits");
    assert_eq!(last.keep_stamp().next_offset(), Offset(i64::MAX));
    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = sample_batch(Compression::None).bytes().to_vec();
        bytes[layout::LENGTH_AT..][..4].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(take(&bytes), Err(BatchError::Invalid(_))), "{length}");
    }
    let whole = CheckRules { transactional: true, ..CheckRules::default() };
    let batch = build(
        BatchBuilder::new(Compression::None)
            .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
            .transactional(),
        &sample(),
    );
    assert!(CheckedBatch::take(&mut batch.bytes().clone(), &whole).is_ok());
}

/// Row 17: what is wrong with a single record, at the record it is wrong with.
#[test]
fn malformed_records_are_named() {
    let bodies: [(&str, &[u8]); 18] = [
        ("nothing", &[]),
        ("an endless length", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a negative length", &[1, 0, 0, 0, 1, 1, 0]),
        ("no content", &[0]),
        ("a length beyond the batch", &[14, 0, 0, 0, 1, 1, 0]),
        ("a length below the content", &[10, 0, 0, 0, 1, 1, 0]),
        ("a byte inside the length", &[14, 0, 0, 0, 1, 1, 0, 0]),
        ("another offset", &[12, 0, 0, 2, 1, 1, 0]),
        ("a negative offset", &[12, 0, 0, 1, 1, 1, 0]),
        ("a key of length -2", &[12, 0, 0, 0, 3, 1, 0]),
        ("a key beyond the record", &[12, 0, 0, 0, 8, 1, 0]),
        ("a value of length -2", &[12, 0, 0, 0, 1, 3, 0]),
        ("a value beyond the record", &[12, 0, 0, 0, 1, 4, 0]),
        ("a negative header count", &[12, 0, 0, 0, 1, 1, 1]),
        ("headers that are not there", &[12, 0, 0, 0, 1, 1, 2]),
        ("too many headers", &[18, 0, 0, 0, 1, 1, 0xa2, 0x9c, 0x01, 0]),
        ("a header without key", &[16, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("a header key that is not UTF-8", &[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1]),
    ];
    for (what, body) in bodies {
        let outcome = take(&forged(1, 0, body)).expect_err(what);
        assert!(matches!(outcome, BatchError::Record { index: 0, .. }), "{what}: {outcome:?}");
    }
    let good: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    assert!(take(&forged(1, 0, good)).is_ok());
    let outcome = take(&forged(2, 0, &[good, good].concat())).err();
    assert!(matches!(outcome, Some(BatchError::Record { index: 1, .. })), "the same offset twice");
    let outcome = take(&forged(1, 0, &[good, &[0]].concat())).err();
    assert!(matches!(outcome, Some(BatchError::Invalid(_))), "a byte after the last record");
}

#[test]
fn records_carry_as_many_headers_as_they_may_and_no_more() {
    for (count, accepted) in
        [(limits::RECORD_HEADERS_MAX, true), (limits::RECORD_HEADERS_MAX + 1, false)]
    {
        let headers = vec![("h", None); count];
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { headers: &headers, ..NewRecord::default() });
        assert_eq!(take(builder.build().bytes()).is_ok(), accepted, "{count} headers");
    }
}

/// What compaction leaves has gaps, and nothing else is different about it.
#[test]
fn offsets_in_a_log_ascend_within_the_batch() {
    let record = |delta: u8| [12, 0, 0, delta << 1, 1, 1, 0];
    let rules = CheckRules { check_records: true, ..CheckRules::internal() };
    for (deltas, sound) in [
        ([0, 1], true),
        ([0, 4], true),
        ([2, 4], true),
        ([2, 2], false),
        ([3, 2], false),
        ([0, 5], false),
    ] {
        let mut header = *sample_batch(Compression::None).header();
        (header.records_count, header.last_offset_delta) = (2, 4);
        let body = deltas.map(record).concat();
        let taken = CheckedBatch::take(&mut forge(header, &body).into(), &rules);
        assert_eq!(taken.is_ok(), sound, "{deltas:?}");
    }
}

/// Row 23: the bounds of the topic hold for every record, and nothing else is a time.
#[test]
fn timestamps_outside_the_bounds_are_refused() {
    let at = |timestamp| BatchBuilder::single(Millis(timestamp), None, Some(b"v"));
    for timestamp in [i64::MIN, -2] {
        let outcome = take(at(timestamp).bytes()).err();
        assert_eq!(outcome, Some(BatchError::Timestamp { index: Some(0), timestamp }));
    }
    let (earliest, latest) = (Millis(1_000), Millis(2_000));
    let timestamps = Some(Timestamps { earliest, latest });
    for check_records in [true, false] {
        let rules = CheckRules { timestamps, check_records, ..CheckRules::default() };
        let outcome = |time| CheckedBatch::take(&mut at(time).bytes().clone(), &rules).err();
        for timestamp in [0, 999, 2_001, i64::MAX] {
            let index = check_records.then_some(0);
            assert_eq!(outcome(timestamp), Some(BatchError::Timestamp { index, timestamp }));
        }
        for accepted in [1_000, 2_000, -1] {
            assert_eq!(outcome(accepted), None);
        }
    }
    // A delta that leads beyond the last millisecond there is.
    let mut header = *at(0).header();
    header.base_timestamp = i64::MAX;
    let outcome = take(&forge(header, &[12, 0, 2, 0, 1, 1, 0])).err();
    let timestamp = i64::MAX;
    assert_eq!(outcome, Some(BatchError::Timestamp { index: Some(0), timestamp }));
}

#[test]
fn a_largest_timestamp_that_a_producer_left_wrong_is_put_right() {
    for wrong in [-1, 0, i64::MAX] {
        let batch = sample_batch(Compression::Lz4);
        let header = BatchHeader { max_timestamp: wrong, ..*batch.header() };
        let bytes = forge(header, batch.body());
        let taken = take(&bytes).expect("only the largest time stamp is wrong");
        assert_eq!(taken.header().max_timestamp, 1_700_000_000_005);
        assert_eq!(take(taken.bytes()).expect("sound").bytes(), taken.bytes());
        assert_eq!(taken.bytes(), batch.bytes());
        let kept = CheckedBatch::take(
            &mut Bytes::from(bytes.clone()),
            &CheckRules { check_records: true, ..CheckRules::internal() },
        );
        assert_eq!(kept.expect("sound").bytes(), &bytes, "a log's batches are never changed");
    }
}

#[test]
fn the_time_of_the_append_stands_for_every_record() {
    let batch = sample_batch(Compression::Gzip).with_append_time(Millis(42));
    let mut bytes = batch.bytes().clone();
    let rules = CheckRules { check_records: true, ..CheckRules::internal() };
    let taken = CheckedBatch::take(&mut bytes, &rules).expect("the CRC was computed anew");
    let records = decode_records(&taken).expect("decodes");
    assert!(records.iter().all(|record| record.timestamp == Millis(42)));
    assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
}

#[test]
fn a_compacted_topic_needs_keys() {
    let rules = CheckRules { keys_required: true, ..CheckRules::default() };
    let outcome =
        CheckedBatch::take(&mut sample_batch(Compression::Zstd).bytes().clone(), &rules).err();
    assert!(matches!(outcome, Some(BatchError::Record { index: 1, .. })), "{outcome:?}");
}

#[test]
fn a_stamp_changes_only_what_the_leader_owns() {
    let batch = sample_batch(Compression::Snappy);
    let stamped = batch.clone().stamp(Offset(1_000), LeaderEpoch(7));
    assert_eq!(stamped.next_offset(), Offset(1_003));
    assert_eq!(stamped.size_bytes(), batch.bytes().len());
    let bytes = stamped.to_bytes();
    assert_eq!(bytes[layout::MAGIC_AT..], batch.bytes()[layout::MAGIC_AT..]);
    assert_eq!(stamped.slices().iter().map(|slice| &**slice).collect::<Vec<_>>().concat(), bytes);
    let kept = CheckedBatch::take(&mut bytes.clone(), &CheckRules::internal())
        .expect("the CRC does not cover the stamp")
        .keep_stamp();
    assert_eq!(kept.to_bytes(), bytes);
    assert_eq!(kept.header(), stamped.header());
}

#[test]
fn batches_come_one_after_the_other_and_end_at_the_first_that_is_not_whole() {
    let one = sample_batch(Compression::Lz4).stamp(Offset(5), LeaderEpoch(1)).to_bytes();
    let two = sample_batch(Compression::None).stamp(Offset(8), LeaderEpoch(1)).to_bytes();
    let both = Bytes::from([&one[..], &two].concat());
    let offsets: Vec<_> = Batches::new(both.clone())
        .map(|batch| batch.expect("whole").header().base_offset)
        .collect();
    assert_eq!(offsets, [Offset(5), Offset(8)]);
    for end in one.len() + 1..both.len() {
        let cut = both.slice(..end);
        let strict: Vec<_> = Batches::new(cut.clone()).collect();
        assert_eq!(strict.len(), 2);
        assert!(matches!(strict[1], Err(BatchError::Truncated { .. })));
        assert_eq!(Batches::new(cut).allow_partial_tail().filter(Result::is_ok).count(), 1);
    }
    let mut damaged = both.to_vec();
    damaged[one.len() - 1] ^= 1;
    let read: Vec<_> = Batches::new(damaged.into()).allow_partial_tail().collect();
    assert!(matches!(read[..], [Err(BatchError::Crc { .. })]), "damage is not a partial batch");
}

#[test]
fn a_rewritten_batch_keeps_offsets_and_producer_and_drops_the_rest() {
    for compression in Compression::ALL {
        let builder =
            BatchBuilder::new(compression).producer(ProducerId(3), ProducerEpoch(1), Sequence(10));
        let stamped = build(builder, &sample()).stamp(Offset(100), LeaderEpoch(2)).to_bytes();
        let batch = CheckedBatch::take(&mut stamped.clone(), &CheckRules::internal());
        let batch = batch.expect("sound");
        let mut scratch = Scratch::default();
        let kept = batch
            .rewrite(Some(Millis(5)), &mut scratch, |record| record.offset_delta != 1)
            .expect("readable");
        let rules = CheckRules { check_records: true, ..CheckRules::internal() };
        let kept = CheckedBatch::take(&mut kept.bytes().clone(), &rules).expect("sound");
        assert_eq!(kept.header().producer(), batch.header().producer());
        assert_eq!(kept.header().next_offset(), Offset(103));
        assert_eq!(kept.header().base_timestamp, 5);
        let records = decode_records(&kept).expect("readable");
        let expected = [sample()[0].clone(), sample()[2].clone()];
        assert_eq!(records.iter().map(content).collect::<Vec<_>>(), expected);
        assert_eq!(records[1].offset, Offset(102));
        assert!(take(kept.bytes()).is_err(), "no client may send gaps");

        let emptied = kept.rewrite(None, &mut scratch, |_| false).expect("readable");
        assert_eq!(emptied.bytes().len(), HEADER_BYTES);
        let emptied = CheckedBatch::take(&mut emptied.bytes().clone(), &rules).expect("sound");
        assert_eq!(decode_records(&emptied), Ok(vec![]));
        assert_eq!(emptied.header().next_offset(), Offset(103));
    }
}

/// Row 22: a batch of a few kilobytes that would become 65 MiB.
#[test]
fn a_bomb_is_refused_at_the_floor_and_its_memory_given_back() {
    let packed = Compression::Zstd.compress(None, &vec![0; limits::DECOMPRESSED_BYTES_FLOOR + 1]);
    assert!(packed.len() < 10_000);
    let bomb = forged(1, Compression::Zstd.codec(), &packed);
    let limit = limits::DECOMPRESSED_BYTES_FLOOR;
    assert_eq!(take(&bomb).err(), Some(BatchError::Expansion { limit }));
    let mut scratch = Scratch::default();
    assert!(scratch.expand(Compression::Zstd, &packed).is_err());
    assert!(scratch.size_bytes() > limit);
    scratch.trim();
    assert!(scratch.size_bytes() <= 2 * limits::SCRATCH_BYTES_KEPT);
    let small = sample_batch(Compression::Zstd);
    assert_eq!(small.records(&mut scratch).map(Iterator::count), Ok(3), "it still works");
}
