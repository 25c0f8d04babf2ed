//! What holds for batches as a whole: round trips, refusals with their outcomes, bounds on what
//! hostile bytes can cost, agreement with another implementation and with frozen bytes.

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
