//! Bytes that the code of Kafka 4.4 itself (kafka-clients, from its JSON form of each message)
//! made, for the versions that `peer` lacks and for the largest request of all. They may never
//! change.

use bytes::Bytes;

use super::*;
use crate::types::TopicId;

/// The bytes are this message, and this message is those bytes.
fn check<M: Message + Clone + std::fmt::Debug + PartialEq>(version: i16, hex: &str, message: M) {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("they are hex digits");
    let bytes: Bytes = (0..hex.len()).step_by(2).map(digits).collect();
    assert_eq!(M::from_bytes(bytes.clone(), version), Ok(message.clone()));
    let mut writer = Writer::default();
    assert_eq!(message.encode(&mut writer, version), Ok(()));
    assert_eq!(writer.finish().bytes, bytes, "{} {version}", M::NAME);
}

fn topic_id() -> TopicId {
    TopicId::from_bytes(std::array::from_fn(|at| at as u8))
}

fn text(text: &'static str) -> Text {
    Text::from_static(text)
}

#[test]
fn fetch_18_of_a_follower() {
    let partition = FetchRequestPartition {
        partition: 3,
        current_leader_epoch: 5,
        fetch_offset: 42,
        last_fetched_epoch: 4,
        log_start_offset: 10,
        partition_max_bytes: 900,
        replica_directory_id: topic_id(),
        high_watermark: 41,
    };
    check(
        18,
        "000001f400000001000003e801000000150000000302000102030405060708090a0b0c0d0e0f02000000\
         0300000005000000000000002a00000004000000000000000a0000038402001000010203040506070809\
         0a0b0c0d0e0f010800000000000000290002000102030405060708090a0b0c0d0e0f0200000102000272\
         0200020263010d00000002000000000000000c00",
        FetchRequest {
            cluster_id: Some(text("c")),
            replica_state: FetchRequestReplicaState { replica_id: 2, replica_epoch: 12 },
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 1_000,
            isolation_level: 1,
            session_id: 21,
            session_epoch: 3,
            topics: vec![FetchRequestTopic {
                topic_id: topic_id(),
                partitions: vec![partition],
                ..FetchRequestTopic::default()
            }],
            forgotten_topics_data: vec![FetchRequestForgottenTopic {
                topic_id: topic_id(),
                partitions: vec![258],
                ..FetchRequestForgottenTopic::default()
            }],
            rack_id: text("r"),
            ..FetchRequest::default()
        },
    );
}

#[test]
fn list_offsets_11() {
    check(
        11,
        "ffffffff0102037431020000000300000005fffffffffffffffb0000000005dc00",
        ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 1,
            topics: vec![ListOffsetsRequestTopic {
                name: text("t1"),
                partitions: vec![ListOffsetsRequestPartition {
                    partition_index: 3,
                    current_leader_epoch: 5,
                    timestamp: -5,
                }],
            }],
            timeout_ms: 1_500,
        },
    );
    check(
        11,
        "0000000702037431020000000300000000018bcfe56800000000000000002a00000005000000",
        ListOffsetsResponse {
            throttle_time_ms: 7,
            topics: vec![ListOffsetsResponseTopic {
                name: text("t1"),
                partitions: vec![ListOffsetsResponsePartition {
                    partition_index: 3,
                    error_code: 0,
                    timestamp: 1_700_000_000_000,
                    offset: 42,
                    leader_epoch: 5,
                }],
            }],
        },
    );
}

#[test]
fn offset_commit_10() {
    check(
        10,
        "026700000004026d026902000102030405060708090a0b0c0d0e0f0200000003000000000000002a0000\
         000504776879000000",
        OffsetCommitRequest {
            group_id: text("g"),
            generation_id_or_member_epoch: 4,
            member_id: text("m"),
            group_instance_id: Some(text("i")),
            topics: vec![OffsetCommitRequestTopic {
                topic_id: topic_id(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: 3,
                    committed_offset: 42,
                    committed_leader_epoch: 5,
                    committed_metadata: Some(Remark(text("why"))),
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        },
    );
    check(
        10,
        "0000000702000102030405060708090a0b0c0d0e0f02000000030064000000",
        OffsetCommitResponse {
            throttle_time_ms: 7,
            topics: vec![OffsetCommitResponseTopic {
                topic_id: topic_id(),
                partitions: vec![OffsetCommitResponsePartition {
                    partition_index: 3,
                    error_code: ErrorCode::UnknownTopicId.code(),
                }],
                ..OffsetCommitResponseTopic::default()
            }],
        },
    );
}

#[test]
fn offset_fetch_10() {
    let all = OffsetFetchRequestGroup {
        group_id: text("h"),
        topics: None,
        ..OffsetFetchRequestGroup::default()
    };
    let some = OffsetFetchRequestGroup {
        group_id: text("g"),
        member_id: Some(text("m")),
        member_epoch: 4,
        topics: Some(vec![OffsetFetchRequestGroupTopic {
            topic_id: topic_id(),
            partition_indexes: vec![3, 258],
            ..OffsetFetchRequestGroupTopic::default()
        }]),
    };
    check(
        10,
        "030267026d0000000402000102030405060708090a0b0c0d0e0f0300000003000001020000026800ffff\
         ffff00000100",
        OffsetFetchRequest {
            groups: vec![some, all],
            require_stable: true,
            ..OffsetFetchRequest::default()
        },
    );
    check(
        10,
        "0000000702026702000102030405060708090a0b0c0d0e0f0200000003000000000000002a0000000504\
         7768790058000000100000",
        OffsetFetchResponse {
            throttle_time_ms: 7,
            groups: vec![OffsetFetchResponseGroup {
                group_id: text("g"),
                topics: vec![OffsetFetchResponseGroupTopic {
                    topic_id: topic_id(),
                    partitions: vec![OffsetFetchResponseGroupPartition {
                        partition_index: 3,
                        committed_offset: 42,
                        committed_leader_epoch: 5,
                        metadata: Some(text("why")),
                        error_code: ErrorCode::UnstableOffsetCommit.code(),
                    }],
                    ..OffsetFetchResponseGroupTopic::default()
                }],
                error_code: ErrorCode::NotCoordinator.code(),
            }],
            ..OffsetFetchResponse::default()
        },
    );
}

#[test]
fn api_versions_5() {
    check(
        5,
        "0772697676656e04312e3002630000000900",
        ApiVersionsRequest {
            client_software_name: text("rivven"),
            client_software_version: text("1.0"),
            cluster_id: Some(text("c")),
            node_id: 9,
        },
    );
    check(
        5,
        "000002001200000005000000000703001a02147472616e73616374696f6e2e76657273696f6e00000002\
         000108000000000000000b021a02147472616e73616374696f6e2e76657273696f6e0002000100",
        ApiVersionsResponse {
            error_code: 0,
            api_keys: vec![ApiVersionsResponseApi { api_key: 18, min_version: 0, max_version: 5 }],
            throttle_time_ms: 7,
            supported_features: vec![ApiVersionsResponseSupportedFeature {
                name: text("transaction.version"),
                min_version: 0,
                max_version: 2,
            }],
            finalized_features_epoch: 11,
            finalized_features: vec![ApiVersionsResponseFinalizedFeature {
                name: text("transaction.version"),
                max_version_level: 2,
                min_version_level: 1,
            }],
            zk_migration_ready: false,
        },
    );
}

#[test]
fn write_txn_markers_2() {
    check(
        2,
        "0200000000000003e8000601020374310300000003000001020000000008020000",
        WriteTxnMarkersRequest {
            markers: vec![WriteTxnMarkersRequestMarker {
                producer_id: 1_000,
                producer_epoch: 6,
                transaction_result: true,
                topics: vec![WriteTxnMarkersRequestTopic {
                    name: text("t1"),
                    partition_indexes: vec![3, 258],
                }],
                coordinator_epoch: 8,
                transaction_version: 2,
            }],
        },
    );
    check(
        2,
        "0200000000000003e8020374310200000003002f00000000",
        WriteTxnMarkersResponse {
            markers: vec![WriteTxnMarkersResponseMarker {
                producer_id: 1_000,
                topics: vec![WriteTxnMarkersResponseTopic {
                    name: text("t1"),
                    partitions: vec![WriteTxnMarkersResponsePartition {
                        partition_index: 3,
                        error_code: ErrorCode::InvalidProducerEpoch.code(),
                    }],
                }],
            }],
        },
    );
}

#[test]
fn txn_offset_commit_6() {
    check(
        6,
        "0278026700000000000003e8000600000004026d026902000102030405060708090a0b0c0d0e0f020000\
         0003000000000000002a0000000504776879000000",
        TxnOffsetCommitRequest {
            transactional_id: text("x"),
            group_id: text("g"),
            producer_id: 1_000,
            producer_epoch: 6,
            generation_id_or_member_epoch: 4,
            member_id: text("m"),
            group_instance_id: Some(text("i")),
            topics: vec![TxnOffsetCommitRequestTopic {
                topic_id: topic_id(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: 3,
                    committed_offset: 42,
                    committed_leader_epoch: 5,
                    committed_metadata: Some(Remark(text("why"))),
                }],
                ..TxnOffsetCommitRequestTopic::default()
            }],
        },
    );
    check(
        6,
        "0000000702000102030405060708090a0b0c0d0e0f02000000030064000000",
        TxnOffsetCommitResponse {
            throttle_time_ms: 7,
            topics: vec![TxnOffsetCommitResponseTopic {
                topic_id: topic_id(),
                partitions: vec![TxnOffsetCommitResponsePartition {
                    partition_index: 3,
                    error_code: ErrorCode::UnknownTopicId.code(),
                }],
                ..TxnOffsetCommitResponseTopic::default()
            }],
        },
    );
}

#[test]
fn describe_log_dirs_5() {
    check(
        5,
        "020374310300000003000001020000",
        DescribeLogDirsRequest {
            topics: Some(vec![DescribeLogDirsRequestTopic {
                topic: text("t1"),
                partitions: vec![3, 258],
            }]),
        },
    );
    check(
        5,
        "000000070000020000032f64020374310200000003000000000000100000000000000000020000000000\
         0000000003e80000000000000258010000",
        DescribeLogDirsResponse {
            throttle_time_ms: 7,
            results: vec![DescribeLogDirsResponseLogDir {
                log_dir: text("/d"),
                topics: vec![DescribeLogDirsResponseTopic {
                    name: text("t1"),
                    partitions: vec![DescribeLogDirsResponsePartition {
                        partition_index: 3,
                        partition_size: 4_096,
                        offset_lag: 2,
                        is_future_key: false,
                    }],
                }],
                total_bytes: 1_000,
                usable_bytes: 600,
                is_cordoned: true,
                ..DescribeLogDirsResponseLogDir::default()
            }],
            ..DescribeLogDirsResponse::default()
        },
    );
}

#[test]
fn delete_groups_3() {
    let request = DeleteGroupsRequest { groups_names: vec![text("g"), text("h")] };
    check(3, "030267026800", request);
    let busy = DeleteGroupsResponseGroup {
        group_id: text("g"),
        error_code: ErrorCode::NonEmptyGroup.code(),
        error_message: Some(text("busy")),
    };
    let done = DeleteGroupsResponseGroup {
        group_id: text("h"),
        error_message: None,
        ..DeleteGroupsResponseGroup::default()
    };
    check(
        3,
        "00000007030267004405627573790002680000000000",
        DeleteGroupsResponse { throttle_time_ms: 7, results: vec![busy, done] },
    );
}
