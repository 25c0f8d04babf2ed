//! Bytes on disk: fixed for ever, and whatever lies there instead is an error and never a panic.

use proptest::prelude::*;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn offset_record() -> Record {
    Record::Offset {
        group: "g".into(),
        topic: "t".into(),
        partition: PartitionId(3),
        value: Some(Committed {
            offset: Offset(42),
            leader_epoch: 5,
            metadata: "m".into(),
            at: Millis(1_000),
            expires: None,
            topic_id: Some(TopicId::from_bytes([0xab; 16])),
        }),
    }
}

fn group_record() -> Record {
    Record::Group {
        group: "g".into(),
        value: Some(GroupMetadata {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: Some("range".into()),
            leader: None,
            since: Millis(9),
            members: vec![StoredMember {
                id: "a".into(),
                instance: Some("i".into()),
                client_id: "c".into(),
                client_host: "/h".into(),
                rebalance_ms: 300,
                session_ms: 200,
                subscription: Bytes::from_static(&[1, 2]),
                assignment: Bytes::from_static(&[3]),
            }],
        }),
    }
}

/// The schemas of Kafka's `__consumer_offsets`: OffsetCommitKey 1 and Value 4, GroupMetadataKey 2
/// and Value 3, written out by hand.
#[test]
fn records_have_the_bytes_that_kafka_reads() {
    let offset = offset_record();
    assert_eq!(hex(&offset.key()), concat!("0001", "000167", "000174", "00000003"));
    let value = concat!(
        "0004",
        "000000000000002a",
        "00000005",
        "026d",
        "00000000000003e8",
        "01",
        "00",
        "10",
        "abababababababababababababababab"
    );
    assert_eq!(hex(&offset.value().expect("a value")), value);
    let group = group_record();
    assert_eq!(hex(&group.key()), concat!("0002", "000167"));
    let value = concat!(
        "0003",
        "0008636f6e73756d6572",
        "00000007",
        "000572616e6765",
        "ffff",
        "0000000000000009",
        "00000001",
        "000161",
        "000169",
        "000163",
        "00022f68",
        "0000012c",
        "000000c8",
        "00000002",
        "0102",
        "00000001",
        "03"
    );
    assert_eq!(hex(&group.value().expect("a value")), value);
}

#[test]
fn older_and_newer_versions_that_kafka_writes_are_read() {
    let key = offset_record().key();
    let read = |value: &'static [u8]| match Record::decode(key.clone(), Some(value.into())) {
        Ok(Record::Offset { value: Some(committed), .. }) => committed,
        other => panic!("{other:?}"),
    };
    let first = read(b"\0\x01\0\0\0\0\0\0\0\x07\0\x01m\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x09");
    assert_eq!((first.offset, first.expires, first.leader_epoch), (Offset(7), Some(Millis(9)), -1));
    let third = read(b"\0\x03\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\0\0\0\0\0\0\x05");
    assert_eq!((third.offset, third.leader_epoch, third.expires), (Offset(7), 2, None));
    // A group of version 4: compact lengths and tagged fields after the member and at the end.
    let value: &[u8] = b"\0\x04\x09consumer\0\0\0\x07\x06range\x02a\0\0\0\0\0\0\0\x09\x02\
        \x02a\0\x02c\x03/h\0\0\x01\x2c\0\0\0\xc8\x03\x01\x02\x02\x03\0\0";
    let record = Record::decode(group_record().key(), Some(Bytes::copy_from_slice(value)));
    let Ok(Record::Group { value: Some(group), .. }) = record else { panic!("{record:?}") };
    assert_eq!((group.leader.as_deref(), group.members[0].instance.as_deref()), (Some("a"), None));
    assert_eq!(group.members[0].assignment, [3].as_slice());
    let newer = Record::decode(key, Some(Bytes::from_static(&[0, 5])));
    let expected = DecodeError::Unknown { what: "version of an offset", version: 5 };
    assert_eq!(newer, Err(expected));
}

#[test]
fn bytes_that_end_early_or_go_on_are_refused() {
    for record in [offset_record(), group_record()] {
        let (key, value) = (record.key(), record.value().expect("a value"));
        for end in 0..value.len() {
            assert!(Record::decode(key.clone(), Some(value.slice(..end))).is_err(), "{end}");
        }
        for end in 0..key.len() {
            assert!(Record::decode(key.slice(..end), None).is_err());
        }
        let longer: Bytes = [&value[..], b"x"].concat().into();
        assert!(Record::decode(key, Some(longer)).is_err());
    }
}

proptest! {
    #[test]
    fn whatever_is_read_is_an_error_or_a_record_that_is_written_the_same(
        kind in 0_i16..3,
        key in prop::collection::vec(any::<u8>(), 0..40),
        version in 0_i16..6,
        value in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let key: Bytes = [&kind.to_be_bytes()[..], &key].concat().into();
        let value: Bytes = [&version.to_be_bytes()[..], &value].concat().into();
        if let Ok(record) = Record::decode(key, Some(value.clone())) {
            let again = Record::decode(record.key(), record.value());
            prop_assert!(again.is_ok());
        }
        _ = consumer::Subscription::decode(value.clone());
        _ = consumer::decode_assignment(value);
    }

    #[test]
    fn subscriptions_and_assignments_come_back_as_they_were(
        topics in prop::collection::vec("[a-z]{1,8}", 0..5),
        owned in prop::collection::btree_map(
            "[a-z]{1,8}",
            prop::collection::vec(0..9_i32, 0..4),
            0..4,
        ),
        generation in -1..5_i32,
        rack in prop::option::of("[a-z]{1,4}"),
    ) {
        let partitions: consumer::Partitions = owned
            .iter()
            .map(|(topic, list)| {
                let list = list.iter().map(|partition| PartitionId(*partition)).collect();
                (Text::from(topic.as_str()), list)
            })
            .collect();
        let subscription = consumer::Subscription {
            topics: topics.iter().map(|topic| Text::from(topic.as_str())).collect(),
            owned: partitions.clone(),
            generation,
            rack: rack.as_deref().map(Text::from),
        };
        let read = consumer::Subscription::decode(subscription.encode());
        prop_assert_eq!(read, Ok(subscription));
        let read = consumer::decode_assignment(consumer::encode_assignment(&partitions));
        prop_assert_eq!(read, Ok(partitions));
    }
}
