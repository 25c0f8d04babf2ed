//! Frames and their headers: what can be told of a request that is not served, and where the bytes
//! of a log go.

use bytes::Bytes;

use super::*;

fn read(bytes: &[u8]) -> Result<RequestHeader, HeaderError> {
    RequestHeader::decode(&mut Reader::new(Bytes::copy_from_slice(bytes)))
}

/// Trap 1 and bad-inputs.md 5 and 6: who is to be told that something is not served has to be
/// answered with the right correlation id.
#[test]
fn a_request_that_is_not_served_still_says_what_to_answer() {
    let api = ApiKey::ApiVersions;
    let unsupported = HeaderError::UnsupportedVersion { api, version: 99, correlation_id: 7 };
    assert_eq!(read(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2]), Err(unsupported));
    let negative = HeaderError::UnsupportedVersion { api, version: -1, correlation_id: 7 };
    assert_eq!(read(&[0, 18, 0xff, 0xff, 0, 0, 0, 7]), Err(negative));
    let old =
        HeaderError::UnsupportedVersion { api: ApiKey::Produce, version: 2, correlation_id: 1 };
    assert_eq!(read(&[0, 0, 0, 2, 0, 0, 0, 1, 0, 0]), Err(old), "advertised and not served");
    let unknown = HeaderError::UnknownApi { code: 999, version: 3, correlation_id: -2 };
    assert_eq!(read(&[3, 0xe7, 0, 3, 0xff, 0xff, 0xff, 0xfe]), Err(unknown));
    for length in 0..8 {
        assert_eq!(read(&[0, 18, 0, 0, 0, 0, 0, 7][..length]), Err(HeaderError::Truncated));
    }
}

#[test]
fn a_header_says_who_asks_for_what() {
    let header = read(&[0, 3, 0, 8, 0, 0, 0, 5, 0, 2, b'm', b'e']);
    let expected = RequestHeader {
        api: ApiKey::Metadata,
        version: 8,
        correlation_id: 5,
        client_id: Some(Text::from_static("me")),
    };
    assert_eq!(header, Ok(expected.clone()));
    // The client id keeps its fixed-width length where the rest of the header is flexible.
    let flexible = read(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 2, b'm', b'e', 1, 9, 3, 1, 2, 3]);
    assert_eq!(flexible, Ok(RequestHeader { version: 9, ..expected }));
    let nobody = read(&[0, 3, 0, 8, 0, 0, 0, 5, 0xff, 0xff]).map(|header| header.client_id);
    assert_eq!(nobody, Ok(None));
}

/// bad-inputs.md 10 and 11.
#[test]
fn headers_are_bounded() {
    let start = |client_id: &[u8]| {
        let length = client_id.len() as u16;
        [&[0, 3, 0, 9, 0, 0, 0, 5][..], &length.to_be_bytes(), client_id].concat()
    };
    let cause = |bytes: &[u8]| match read(bytes) {
        Err(HeaderError::Malformed { cause, correlation_id: 5, .. }) => cause,
        other => panic!("{other:?}"),
    };
    let many = [&start(b"")[..], &[0x80, 0x80, 0x80, 0x08]].concat();
    assert_eq!(cause(&many), DecodeError::TooManyTags(1 << 24));
    let tag = |length: usize| {
        let varint = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
        [&start(b"")[..], &[1, 9], &varint, &vec![0; length]].concat()
    };
    assert!(read(&tag(1_000)).is_ok());
    assert_eq!(cause(&tag(1_024)), DecodeError::HeaderTagsTooLarge(1_028));
    assert_eq!(cause(&start(&[0xff])), DecodeError::TextNotUtf8);

    let long = "ß".repeat(200);
    let read = read(&[&start(long.as_bytes())[..], &[0]].concat()).map(|header| header.client_id);
    let cut = read.expect("it is only long").expect("it is there");
    assert_eq!(&cut[..], "ß".repeat(127), "the 255th byte is half a letter");
}

/// Trap 1: the header of the answer to ApiVersions is version 0 however flexible the body is.
#[test]
fn answers_have_the_header_their_api_and_version_want() {
    let answer = ApiVersionsResponse { error_code: 35, ..ApiVersionsResponse::default() };
    let frame = response_frame(&answer, 3, 7).expect("it fits").bytes;
    assert_eq!(&frame[..], [0, 0, 0, 12, 0, 0, 0, 7, 0, 35, 1, 0, 0, 0, 0, 0]);
    let answer = HeartbeatResponse { throttle_time_ms: 1, error_code: 27 };
    let fixed = response_frame(&answer, 3, 7).expect("it fits").bytes;
    assert_eq!(&fixed[..], [0, 0, 0, 10, 0, 0, 0, 7, 0, 0, 0, 1, 0, 27]);
    let flexible = response_frame(&answer, 4, 7).expect("it fits").bytes;
    assert_eq!(&flexible[..], [0, 0, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 1, 0, 27, 0]);
    let mut reader = Reader::new(flexible.slice(4..));
    let header = ResponseHeader::decode(&mut reader, ApiKey::Heartbeat, 4);
    assert_eq!(header, Ok(ResponseHeader { correlation_id: 7 }));
    assert_eq!(HeartbeatResponse::decode_whole(reader, 4), Ok(answer));
}

#[test]
fn requests_read_back_from_their_frames() {
    for version in ApiKey::Metadata.served() {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let client_id = Some(Text::from_static("me"));
        let frame = request_frame(&request, version, 9, client_id.clone());
        let frame = frame.expect("it fits").bytes;
        let declared = u32::from_be_bytes(*frame.first_chunk().expect("there is a length"));
        assert_eq!(declared as usize, frame.len() - 4);
        let mut reader = Reader::new(frame.slice(4..));
        let header = RequestHeader::decode(&mut reader).expect("it is one");
        let expected =
            RequestHeader { api: ApiKey::Metadata, version, correlation_id: 9, client_id };
        assert_eq!(header, expected);
        assert_eq!(MetadataRequest::decode_whole(reader, version), Ok(request), "{version}");
    }
}

/// What librdkafka 2.16 sends when asked for all topics, which has three bytes too many.
#[test]
fn all_topics_of_librdkafka_are_all_topics() {
    for version in 9..=13 {
        let flags: &[u8] = if version <= 10 { &[1, 0, 0] } else { &[1, 0] };
        let sent = [&[0, 0, 0, 0], flags, &[0]].concat();
        let expected = MetadataRequest { topics: None, ..MetadataRequest::default() };
        let read = MetadataRequest::from_bytes(sent.clone().into(), version);
        assert_eq!(read, Ok(expected), "version {version}");
        let longer = [&sent[..], &[0]].concat();
        let read = MetadataRequest::from_bytes(longer.into(), version);
        assert!(read.is_err(), "version {version}");
    }
}

/// The bytes of a log are counted by every length around them and left out, and putting them where
/// the splices say gives what encoding them would have given.
#[test]
fn records_of_a_log_go_where_their_splices_say() {
    for version in ApiKey::Fetch.served() {
        let partition = |records| FetchResponsePartition {
            records,
            current_leader: if version < 12 {
                FetchResponseLeader::default()
            } else {
                FetchResponseLeader { leader_id: 1, leader_epoch: 2 }
            },
            ..FetchResponsePartition::default()
        };
        let logs = [vec![1_u8; 300], Vec::new(), vec![2; 70_000]];
        let answer = |records: &dyn Fn(&Vec<u8>) -> Records| FetchResponse {
            responses: vec![FetchResponseTopic {
                partitions: logs.iter().map(|log| partition(Some(records(log)))).collect(),
                ..FetchResponseTopic::default()
            }],
            ..FetchResponse::default()
        };
        let here = answer(&|log| Records::Bytes(Bytes::copy_from_slice(log)));
        let foreign = answer(&|log| Records::Foreign { len: log.len() as u64 });
        let whole = response_frame(&here, version, 3).expect("it fits");
        let spliced = response_frame(&foreign, version, 3).expect("it fits");
        assert_eq!(whole.splices, []);
        assert_eq!(spliced.wire_bytes(), whole.bytes.len() as u64);

        let mut sent = Vec::new();
        let mut from = 0;
        let filled = logs.iter().filter(|log| !log.is_empty());
        assert_eq!(spliced.splices.len(), filled.clone().count(), "nothing has no place");
        for (splice, log) in spliced.splices.iter().zip(filled) {
            assert_eq!(splice.len, log.len() as u64);
            sent.extend_from_slice(&spliced.bytes[from..splice.at]);
            sent.extend_from_slice(log);
            from = splice.at;
        }
        sent.extend_from_slice(&spliced.bytes[from..]);
        assert_eq!(sent, whole.bytes, "{version}");
    }
}

#[test]
fn a_frame_longer_than_its_length_can_say_is_an_error() {
    let log = |len| FetchResponsePartition {
        records: Some(Records::Foreign { len }),
        ..FetchResponsePartition::default()
    };
    let answer = |partitions| FetchResponse {
        responses: vec![FetchResponseTopic { partitions, ..FetchResponseTopic::default() }],
        ..FetchResponse::default()
    };
    let one = response_frame(&answer(vec![log(1 << 31)]), 12, 0);
    assert_eq!(one, Err(EncodeError::TooLong(1 << 31)));
    let together = response_frame(&answer(vec![log(1 << 30), log(1 << 30)]), 12, 0);
    assert!(matches!(together, Err(EncodeError::TooLong(length)) if length > 1 << 31));
}

/// A version without a field loses what may be lost and refuses the rest.
#[test]
fn a_version_without_a_field_refuses_what_may_not_be_dropped() {
    let mut writer = Writer::default();
    let rack = FetchRequest { rack_id: Text::from_static("r"), ..FetchRequest::default() };
    assert_eq!(rack.encode(&mut writer, 4), Ok(()), "rack is ignorable");
    let forgotten = FetchRequest {
        forgotten_topics_data: vec![FetchRequestForgottenTopic::default()],
        ..FetchRequest::default()
    };
    let field = "forgotten_topics_data";
    let refused = EncodeError::FieldNotInVersion { field, version: 6 };
    assert_eq!(forgotten.encode(&mut writer, 6), Err(refused));
    assert_eq!(forgotten.encode(&mut writer, 7), Ok(()));
    let tagged = FetchRequest {
        replica_state: FetchRequestReplicaState { replica_id: 1, replica_epoch: 1 },
        ..FetchRequest::default()
    };
    let refused = EncodeError::FieldNotInVersion { field: "replica_state", version: 14 };
    assert_eq!(tagged.encode(&mut writer, 14), Err(refused));
    assert_eq!(tagged.encode(&mut writer, 15), Ok(()));
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(all.encode(&mut writer, 0), Err(EncodeError::UnexpectedNull(0)));
    assert_eq!(all.encode(&mut writer, 14), Err(EncodeError::UnsupportedVersion(14)));
}

/// The fields that became nullable in a later version than the one that brought them. (The peer
/// codec takes null everywhere.)
#[test]
fn null_is_refused_before_the_version_that_allows_it() {
    fn check<M: Message>(since: i16, message: &M) {
        let before = message.encode(&mut Writer::default(), since - 1);
        assert_eq!(before, Err(EncodeError::UnexpectedNull(since - 1)), "{}", M::NAME);
        assert_eq!(message.encode(&mut Writer::default(), since), Ok(()), "{}", M::NAME);
    }
    let nameless = MetadataRequestTopic { name: None, ..MetadataRequestTopic::default() };
    check(1, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    check(10, &MetadataRequest { topics: Some(vec![nameless]), ..MetadataRequest::default() });
    let nameless = MetadataResponseTopic { name: None, ..MetadataResponseTopic::default() };
    check(12, &MetadataResponse { topics: vec![nameless], ..MetadataResponse::default() });
    check(2, &OffsetFetchRequest { topics: None, ..OffsetFetchRequest::default() });
    check(7, &JoinGroupResponse { protocol_name: None, ..JoinGroupResponse::default() });
    let nameless = DeleteTopicsResponseTopic { name: None, ..DeleteTopicsResponseTopic::default() };
    check(
        6,
        &DeleteTopicsResponse { responses: vec![nameless], ..DeleteTopicsResponse::default() },
    );

    let null = Bytes::from_static(&[0xff; 4]);
    assert_eq!(MetadataRequest::from_bytes(null, 0), Err(DecodeError::UnexpectedNull));
}
