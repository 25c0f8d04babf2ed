//! Kafka's error codes: number, name, whether a retry can help, and what each means. The table is
//! Kafka 4.4's, complete, because clients ask for names of codes that we never send. Also says
//! which of them stands for each error of our own.

use crate::protocol::error::ErrorCode as NativeError;

macro_rules! error_codes {
    ($(
        $(#[$meta:meta])*
        $name:ident = $code:literal, $wire:literal, $retriable:literal,
            $message:literal;
    )*) => {
        /// What went wrong, as clients of the Kafka protocol learn it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(
                #[doc = $message]
                $(#[$meta])*
                $name = $code,
            )*
        }

        impl ErrorCode {
            /// Every code there is, in order.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// What a number on the wire means. Numbers that Kafka 4.4 does not know mean
            /// [`ErrorCode::UnknownServerError`], as they do to its own clients.
            #[must_use]
            pub const fn from_code(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$name,)*
                    _ => ErrorCode::UnknownServerError,
                }
            }

            /// The name in Kafka's documentation and tools.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $wire,)*
                }
            }

            /// Whether Kafka's clients try the same request again.
            #[must_use]
            pub const fn retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)*
                }
            }

            /// What it means, as a sentence.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $message,)*
                }
            }
        }
    };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", false,
        "Something went wrong on the server that has no code of its own.";
    #[default]
    None = 0, "NONE", false,
        "All is well.";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", false,
        "The offset is below the log start or above the end of what may be read.";
    CorruptMessage = 2, "CORRUPT_MESSAGE", true,
        "The batch's checksum does not match its bytes, or the bytes are no batch.";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", true,
        "This node has no such topic or partition.";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", false,
        "The size of the fetch makes no sense.";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", true,
        "Nobody leads the partition at the moment.";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", true,
        "This node does not lead the partition, or has no replica of it.";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", true,
        "The operation was not done in time; it may still happen.";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", false,
        "The node can not be reached.";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", true,
        "The node has no replica of the partition to read from.";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", false,
        "A batch is larger than the topic allows.";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", false,
        "Another controller has taken over.";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", false,
        "The text that goes with a committed offset is too long.";
    NetworkException = 13, "NETWORK_EXCEPTION", true,
        "The connection was lost before the answer came.";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", true,
        "The coordinator is still replaying its log.";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", true,
        "There is no coordinator at the moment.";
    NotCoordinator = 16, "NOT_COORDINATOR", true,
        "This node does not coordinate the group or the transactional id.";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", false,
        "The topic name breaks the rules for names, or the topic is an internal one.";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", false,
        "A batch is larger than a segment may be.";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", true,
        "Fewer replicas are in sync than the topic demands; nothing was written.";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", true,
        "The records were written, but to fewer replicas than the topic demands.";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", false,
        "`acks` is none of -1, 0 and 1.";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", false,
        "The generation is not the group's present one.";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", false,
        "The member supports no protocol that the group's other members have in common.";
    InvalidGroupId = 24, "INVALID_GROUP_ID", false,
        "The group id breaks the rules for ids.";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", false,
        "The group has no such member.";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", false,
        "The session timeout is outside what the server accepts.";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", false,
        "The group is rebalancing; the member must join again.";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", false,
        "What was to be committed is too large.";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", false,
        "The principal may not do this to the topic.";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", false,
        "The principal may not do this to the group.";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", false,
        "The principal may not do this to the cluster.";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", false,
        "A time stamp is outside what the topic accepts.";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", false,
        "The server does not offer this SASL mechanism.";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", false,
        "The request may not come at this point of the authentication.";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", false,
        "The server does not serve this version of the API.";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", false,
        "A topic of this name exists.";
    InvalidPartitions = 37, "INVALID_PARTITIONS", false,
        "The partition count is out of bounds or below the present one.";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", false,
        "The replication factor is out of bounds.";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", false,
        "The replicas can not be placed as the request wants.";
    InvalidConfig = 40, "INVALID_CONFIG", false,
        "A configuration key or value is not valid.";
    NotController = 41, "NOT_CONTROLLER", true,
        "This node is not the controller.";
    InvalidRequest = 42, "INVALID_REQUEST", false,
        "The request makes no sense.";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false,
        "The batch has a format version that is not supported.";
    PolicyViolation = 44, "POLICY_VIOLATION", false,
        "A bound or policy of the cluster forbids it.";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false,
        "A producer's batch leaves a gap in its sequence.";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", false,
        "The batch repeats one that is too old for its offset to be known.";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", false,
        "The producer's epoch is older than the present one.";
    InvalidTxnState = 48, "INVALID_TXN_STATE", false,
        "The transaction is not in a state in which this can be done.";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", false,
        "The producer id is not the one of the transactional id.";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", false,
        "The transaction timeout is outside what the server accepts.";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", true,
        "The transaction still has another change under way.";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", false,
        "Another coordinator has taken over the transactional id.";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false,
        "The principal may not use the transactional id.";
    SecurityDisabled = 54, "SECURITY_DISABLED", false,
        "Security is switched off.";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", false,
        "This part of the request was not tried, as another part failed.";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", true,
        "The partition's disk failed or is full.";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", false,
        "The node has no such log directory.";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", false,
        "The credentials are wrong.";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", false,
        "The partition has forgotten this producer.";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", false,
        "The partition's replicas are being moved.";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", false,
        "Delegation tokens are switched off.";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", false,
        "There is no such delegation token.";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", false,
        "The delegation token belongs to somebody else.";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false,
        "Delegation tokens can not be asked for over this connection.";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", false,
        "The principal may not do this with the delegation token.";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", false,
        "The delegation token has expired.";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", false,
        "There is no such type of principal.";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", false,
        "The group has members.";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", false,
        "There is no such group.";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", true,
        "The server has no such fetch session.";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", true,
        "The epoch is not the fetch session's next one.";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", true,
        "The leader has no listener like the one the request came in by.";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", false,
        "Topics may not be deleted.";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", true,
        "The leader epoch of the request is old.";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", true,
        "The leader epoch of the request is not known here yet.";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", false,
        "The codec is not supported.";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", false,
        "The broker epoch of the request is old.";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", true,
        "The new leader does not know the high watermark yet.";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", false,
        "The member has to join again, with the id it was just given.";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", true,
        "The preferred leader can not lead at the moment.";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", false,
        "The group has as many members as it may have.";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", false,
        "Another member has taken over the instance id.";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", true,
        "No replica that could lead is there.";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", true,
        "The partition is led by the right replica already.";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", false,
        "The partition's replicas are not being moved.";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", false,
        "The group is subscribed to the topic.";
    InvalidRecord = 87, "INVALID_RECORD", false,
        "The batch breaks a rule of its format or of the topic.";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", true,
        "The offset is part of a transaction that has not ended yet.";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", true,
        "A quota is used up.";
    ProducerFenced = 90, "PRODUCER_FENCED", false,
        "A newer producer with the same transactional id has taken over.";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", false,
        "The request names something that does not exist.";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", false,
        "The request names something twice.";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", false,
        "The password or its parameters are not acceptable.";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", false,
        "The sender or the receiver is not a voter.";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", false,
        "The version of the update is not valid.";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", false,
        "The features could not be changed.";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", false,
        "The principal of a forwarded request can not be read.";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", false,
        "There is no such snapshot.";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", false,
        "The position is outside the snapshot.";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", true,
        "No topic has this id.";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", false,
        "A node with this id is registered.";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", false,
        "No node with this id is registered.";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", true,
        "The topic id and the name or the log belong to different topics.";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", false,
        "The request is meant for another cluster.";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", false,
        "There is no such transactional id.";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", true,
        "The fetch session mixes topic names and topic ids.";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", false,
        "A replica may not be part of the in-sync replicas.";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", false,
        "The change was made, and brought another leader with it.";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", false,
        "The records at this offset are in tiered storage only.";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", false,
        "The member's epoch is not the present one; it must give up everything and join again.";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", false,
        "The instance id still belongs to another member.";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", false,
        "The group's coordinator has no such assignor.";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", false,
        "The member's epoch is old; the next heartbeat tells the new one.";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", false,
        "The request went to the wrong kind of listener.";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", false,
        "This kind of listener is not supported.";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", false,
        "There is no such controller.";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", false,
        "The telemetry subscription is not the present one.";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", false,
        "The telemetry is larger than the server accepts.";
    InvalidRegistration = 119, "INVALID_REGISTRATION", false,
        "The registration of the node is not valid.";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", false,
        "The transaction has failed; the producer can go on after aborting it.";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", false,
        "The record is not in a state in which it can be acknowledged.";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", true,
        "The server has no such share session.";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", true,
        "The epoch is not the share session's next one.";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", false,
        "The epoch of the share group's state is old.";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", false,
        "The voter's key is not the receiver's.";
    DuplicateVoter = 126, "DUPLICATE_VOTER", false,
        "The voter is one already.";
    VoterNotFound = 127, "VOTER_NOT_FOUND", false,
        "There is no such voter.";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", false,
        "The regular expression is not valid.";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", false,
        "The client knows the cluster of long ago and must start from its first addresses.";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", false,
        "The topology of the Streams application is not valid.";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", false,
        "The epoch of the Streams topology is not valid.";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", false,
        "The epoch of the Streams topology is old.";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", true,
        "The server has as many share sessions as it may have.";
    GroupDeletionFailed = 134, "GROUP_DELETION_FAILED", false,
        "The group could not be deleted; the message says why.";
    StreamsTopologyDescriptionUpdateFailed = 135,
        "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", false,
        "The description of the Streams topology was not taken; the message says why.";
    ControllerIdNotRegistered = 136, "CONTROLLER_ID_NOT_REGISTERED", false,
        "No controller with this id is registered.";
}

impl From<NativeError> for ErrorCode {
    /// The code that makes Kafka's clients do what the native error asks for. Errors that Kafka has
    /// no code for get one with the same consequence: retry, or give up.
    fn from(error: NativeError) -> ErrorCode {
        match error {
            NativeError::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
            // A consumer stops at damaged records and says where; a retry would only repeat it.
            NativeError::CorruptMessage | NativeError::Corruption => ErrorCode::CorruptMessage,
            NativeError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
            NativeError::LeaderNotAvailable => ErrorCode::LeaderNotAvailable,
            // A node that is about to stop leads nothing soon: clients ask for the new leader.
            NativeError::NotLeaderOrFollower | NativeError::ShuttingDown => {
                ErrorCode::NotLeaderOrFollower
            }
            // The code that every client answers with patience, whatever it had asked for.
            NativeError::RequestTimedOut | NativeError::Overloaded => ErrorCode::RequestTimedOut,
            NativeError::MessageTooLarge | NativeError::FrameTooLarge => ErrorCode::MessageTooLarge,
            NativeError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            NativeError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            NativeError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
            NativeError::IllegalGeneration => ErrorCode::IllegalGeneration,
            NativeError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            NativeError::InvalidGroupId => ErrorCode::InvalidGroupId,
            NativeError::UnknownMemberId => ErrorCode::UnknownMemberId,
            NativeError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            NativeError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            NativeError::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
            NativeError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            NativeError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            NativeError::MemberIdRequired => ErrorCode::MemberIdRequired,
            NativeError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            NativeError::FencedInstanceId => ErrorCode::FencedInstanceId,
            NativeError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            NativeError::InvalidTopic => ErrorCode::InvalidTopicException,
            NativeError::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
            NativeError::InvalidRequiredAcks => ErrorCode::InvalidRequiredAcks,
            NativeError::ClusterAuthorizationFailed | NativeError::ProtectedMode => {
                ErrorCode::ClusterAuthorizationFailed
            }
            NativeError::InvalidTimestamp => ErrorCode::InvalidTimestamp,
            NativeError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
            NativeError::TopicAlreadyExists => ErrorCode::TopicAlreadyExists,
            NativeError::InvalidPartitions => ErrorCode::InvalidPartitions,
            NativeError::InvalidReplicationFactor => ErrorCode::InvalidReplicationFactor,
            NativeError::InvalidReplicaAssignment => ErrorCode::InvalidReplicaAssignment,
            NativeError::InvalidConfig => ErrorCode::InvalidConfig,
            NativeError::InvalidRequest
            | NativeError::UnexpectedOffset
            | NativeError::Malformed => ErrorCode::InvalidRequest,
            NativeError::UnsupportedForMessageFormat => ErrorCode::UnsupportedForMessageFormat,
            NativeError::PolicyViolation | NativeError::ReadOnly => ErrorCode::PolicyViolation,
            NativeError::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
            NativeError::DuplicateSequence => ErrorCode::DuplicateSequenceNumber,
            NativeError::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            NativeError::InvalidTransactionTimeout => ErrorCode::InvalidTransactionTimeout,
            NativeError::StorageError | NativeError::DiskFull => ErrorCode::KafkaStorageError,
            NativeError::UnknownProducerId => ErrorCode::UnknownProducerId,
            NativeError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
            NativeError::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
            NativeError::UnsupportedCompressionType => ErrorCode::UnsupportedCompressionType,
            NativeError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
            NativeError::InvalidRecord => ErrorCode::InvalidRecord,
            NativeError::ProducerFenced => ErrorCode::ProducerFenced,
            NativeError::UnknownTopicId => ErrorCode::UnknownTopicId,
            NativeError::InconsistentTopicId => ErrorCode::InconsistentTopicId,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_kafkas_without_a_hole_and_find_their_error_again() {
        let numbers: Vec<i16> = ErrorCode::ALL.iter().map(|error| error.code()).collect();
        assert_eq!(numbers, (-1..=136).collect::<Vec<i16>>());
        let mut names = std::collections::BTreeSet::new();
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), error);
            assert!(names.insert(error.name()), "{} stands twice", error.name());
        }
        assert_eq!(ErrorCode::from_code(137), ErrorCode::UnknownServerError);
        assert_eq!(ErrorCode::from_code(i16::MIN), ErrorCode::UnknownServerError);
    }

    #[test]
    fn a_native_error_with_a_number_of_kafkas_keeps_number_name_and_consequence() {
        for &native in NativeError::ALL.iter().filter(|error| error.code() < 1_000) {
            let kafka = ErrorCode::from(native);
            assert_eq!(kafka.code() as u16, native.code());
            assert_eq!(kafka.name(), native.name());
            assert_eq!(kafka.retriable(), native.is_retriable(), "{}", kafka.name());
        }
    }

    /// Outcomes that clients rely on (bad-inputs.md 65 and 82), and that no error of ours becomes
    /// the code which says nothing.
    #[test]
    fn errors_of_our_own_get_codes_with_the_same_consequence() {
        assert_eq!(ErrorCode::from(NativeError::DiskFull), ErrorCode::KafkaStorageError);
        let protected = ErrorCode::from(NativeError::ProtectedMode);
        assert_eq!(protected, ErrorCode::ClusterAuthorizationFailed);
        for &native in NativeError::ALL {
            let kafka = ErrorCode::from(native);
            assert_ne!(kafka, ErrorCode::UnknownServerError, "{}", native.name());
            if native != NativeError::Corruption {
                assert_eq!(kafka.retriable(), native.is_retriable(), "{}", native.name());
            }
        }
    }
}
