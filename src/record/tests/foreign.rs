//! Agreement with others: with the `kafka-protocol` crate's encoder and decoder in both directions,
//! and with the bytes that earlier versions of this code wrote.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;

use super::*;

fn their_codec(compression: Compression) -> theirs::Compression {
    match compression {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    }
}

/// Enough records that every codec writes more than one block.
fn many() -> Vec<Content> {
    let mut records = sample();
    for at in 0..3_000_u32 {
        let value = format!("the value of record number {at}, {}", at.wrapping_mul(2_654_435_761));
        records.push((1_700_000_000_000 + i64::from(at), None, Some(value.into_bytes()), vec![]));
    }
    records
}

fn their_record(index: usize, content: &Content) -> theirs::Record {
    let (timestamp, key, value, headers) = content.clone();
    let headers: IndexMap<_, _> = headers
        .into_iter()
        .map(|(name, value)| (StrBytes::from_string(name), value.map(Bytes::from)))
        .collect();
    theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 9,
        producer_epoch: 2,
        timestamp_type: theirs::TimestampType::Creation,
        offset: index as i64,
        sequence: 100 + index as i32,
        timestamp,
        key: key.map(Bytes::from),
        value: value.map(Bytes::from),
        headers,
    }
}

fn their_content(record: &theirs::Record) -> Content {
    let own = |bytes: &Option<Bytes>| bytes.as_deref().map(<[u8]>::to_vec);
    let headers = record.headers.iter().map(|(name, value)| (name.to_string(), own(value)));
    (record.timestamp, own(&record.key), own(&record.value), headers.collect())
}

#[test]
fn another_implementation_reads_what_we_write() {
    for compression in Compression::ALL {
        let producer = (ProducerId(9), ProducerEpoch(2), Sequence(100));
        let builder = BatchBuilder::new(compression).producer(producer.0, producer.1, producer.2);
        let batch = build(builder, &many()).stamp(Offset(70), LeaderEpoch(3));
        let set = theirs::RecordBatchDecoder::decode(&mut batch.to_bytes()).expect("decodes");
        assert_eq!(set.compression, their_codec(compression));
        assert_eq!(set.records.iter().map(their_content).collect::<Vec<_>>(), many());
        let last = set.records.last().expect("many records");
        assert_eq!(last.offset, 70 + many().len() as i64 - 1);
        assert_eq!((last.producer_id, last.producer_epoch), (9, 2));
        assert_eq!(last.sequence, 100 + many().len() as i32 - 1);
        assert_eq!(last.partition_leader_epoch, 3);
    }
}

#[test]
fn we_read_what_another_implementation_writes() {
    for compression in Compression::ALL {
        let records: Vec<_> = many()
            .iter()
            .enumerate()
            .map(|(index, content)| their_record(index, content))
            .collect();
        let options =
            theirs::RecordEncodeOptions { version: 2, compression: their_codec(compression) };
        let mut bytes = BytesMut::new();
        theirs::RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("encodes");
        let bytes = bytes.freeze();
        let batch = take(&bytes).expect("sound");
        assert_eq!(batch.bytes(), &bytes, "nothing had to be put right");
        let producer = (ProducerId(9), ProducerEpoch(2), Sequence(100));
        assert_eq!(batch.header().producer(), Some(producer));
        let read = decode_records(&batch).expect("decodes");
        assert_eq!(read.iter().map(content).collect::<Vec<_>>(), many());
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(str::chars).collect();
    let digits: String = digits.into_iter().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// What any version wrote, every later one reads. Compressed bytes may differ between
/// versions of a codec, so only the uncompressed batch must also be written the same.
#[test]
fn frozen_batches_are_still_read() {
    let frozen = [
        (Compression::None, include_str!("../../../tests/golden/record/none.hex")),
        (Compression::Gzip, include_str!("../../../tests/golden/record/gzip.hex")),
        (Compression::Snappy, include_str!("../../../tests/golden/record/snappy.hex")),
        (Compression::Lz4, include_str!("../../../tests/golden/record/lz4.hex")),
        (Compression::Zstd, include_str!("../../../tests/golden/record/zstd.hex")),
    ];
    for (compression, text) in frozen {
        let bytes = unhex(text);
        let batch = take(&bytes).expect("sound");
        assert_eq!(batch.compression(), compression);
        let read = decode_records(&batch).expect("decodes");
        assert_eq!(read.iter().map(content).collect::<Vec<_>>(), sample());
    }
    assert_eq!(sample_batch(Compression::None).bytes(), &unhex(frozen[0].1));
}

#[test]
fn frozen_markers_are_still_read() {
    let bytes = unhex(include_str!("../../../tests/golden/record/commit.hex"));
    let batch = CheckedBatch::take(&mut Bytes::from(bytes.clone()), &CheckRules::internal());
    let marker = Marker { outcome: ControlType::Commit, coordinator_epoch: 7 };
    assert_eq!(Marker::read(&batch.expect("sound")), Ok(Some(marker)));
    let now = Millis(1_700_000_000_000);
    let written = BatchBuilder::control(marker, ProducerId(5), ProducerEpoch(1), now);
    assert_eq!(written.bytes(), &bytes);
}
