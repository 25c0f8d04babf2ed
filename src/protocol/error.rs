//! The one table of errors that clients can see: code, name, whether a retry can help, and what it
//! means. Codes below 1000 are Kafka's where the meaning is the same; the others are our own.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $wire:literal, $retriable:literal;)*) => {
        /// What went wrong, as clients of every protocol learn it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ErrorCode {
            /// Every error there is, in order of their codes.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The error with this number, if there is one.
            #[must_use]
            pub fn from_code(code: u32) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }

            /// The name on the wire and in documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $wire,)*
                }
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)*
                }
            }
        }
    };
}

error_codes! {
    /// The offset is below the log start or above the high watermark.
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", false;
    /// The batch's checksum does not match its bytes.
    CorruptMessage = 2, "CORRUPT_MESSAGE", true;
    /// No such topic or partition.
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", true;
    /// Nobody leads the partition at the moment.
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", true;
    /// This node does not lead the partition.
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", true;
    /// The operation was not done in time; it may still happen.
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", true;
    /// A batch is larger than the topic allows.
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", false;
    /// The metadata of an offset to commit is too large.
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", false;
    /// The coordinator is reading its log.
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", true;
    /// The coordinator can not answer at the moment.
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", true;
    /// The topic name breaks the rules for names.
    InvalidTopic = 17, "INVALID_TOPIC_EXCEPTION", false;
    /// Fewer replicas are in sync than the topic demands.
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", true;
    /// `acks` is none of -1, 0 and 1.
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", false;
    /// The generation is not the group's present one.
    IllegalGeneration = 22, "ILLEGAL_GENERATION", false;
    /// The member has no protocol in common with the others of its group.
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", false;
    /// No group can have that name.
    InvalidGroupId = 24, "INVALID_GROUP_ID", false;
    /// The group has no such member.
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", false;
    /// The session timeout is outside what the broker allows.
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", false;
    /// The group is rebalancing: the member has to join again.
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", false;
    /// The offset can not be committed.
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", false;
    /// The principal may not do this to the cluster.
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", false;
    /// A time stamp is outside what the topic accepts.
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", false;
    /// The version or operation is not supported.
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", false;
    /// A topic of this name exists.
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", false;
    /// The partition count is out of bounds or below the present one.
    InvalidPartitions = 37, "INVALID_PARTITIONS", false;
    /// The replication factor is out of bounds.
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", false;
    /// Replicas are assigned in a way that is not possible.
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", false;
    /// A configuration key or value is not valid.
    InvalidConfig = 40, "INVALID_CONFIG", false;
    /// The request makes no sense.
    InvalidRequest = 42, "INVALID_REQUEST", false;
    /// The batch has a format version that is not supported.
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false;
    /// A bound of the cluster forbids it.
    PolicyViolation = 44, "POLICY_VIOLATION", false;
    /// A producer's batch leaves a gap in its sequence.
    OutOfOrderSequence = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false;
    /// The batch repeats one that is too old for its offset to be known.
    DuplicateSequence = 46, "DUPLICATE_SEQUENCE_NUMBER", false;
    /// A newer incarnation of the producer has fenced this one.
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", false;
    /// The timeout of a transaction is none, or longer than the broker allows.
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", false;
    /// The partition's disk failed; it is offline until the broker is restarted.
    StorageError = 56, "KAFKA_STORAGE_ERROR", true;
    /// The partition has forgotten this producer.
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", false;
    /// The group has members.
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", false;
    /// There is no such group.
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", false;
    /// The leader epoch of the request is old.
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", true;
    /// The leader epoch of the request is not known here yet.
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", true;
    /// The codec is not supported.
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", false;
    /// The leader does not know the high watermark yet.
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", true;
    /// The member has to join again with the id that it was given.
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", false;
    /// The group has as many members as it may have.
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", false;
    /// Another member has come with the same instance id.
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", false;
    /// Members of the group read that topic.
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", false;
    /// The batch breaks a rule of its format.
    InvalidRecord = 87, "INVALID_RECORD", false;
    /// A newer producer with the same transactional id has taken over.
    ProducerFenced = 90, "PRODUCER_FENCED", false;
    /// No topic has this id.
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", true;
    /// The topic id and the name belong to different topics.
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", true;

    /// The file system has too little room to take more records.
    DiskFull = 1001, "DISK_FULL", true;
    /// Stored records are damaged and are not served.
    Corruption = 1002, "CORRUPTION", false;
    /// A conditional append found another end offset.
    UnexpectedOffset = 1003, "UNEXPECTED_OFFSET", false;
    /// Protected mode refuses connections from other machines.
    ProtectedMode = 1004, "PROTECTED_MODE", false;
    /// A bound on pending work or on open files is reached.
    Overloaded = 1005, "OVERLOADED", true;
    /// The data directory is open for reading only.
    ReadOnly = 1006, "READ_ONLY", false;
    /// The broker is stopping.
    ShuttingDown = 1007, "SHUTTING_DOWN", true;
    /// The frame breaks the protocol.
    Malformed = 1008, "MALFORMED_FRAME", false;
    /// The frame is larger than the server accepts.
    FrameTooLarge = 1009, "FRAME_TOO_LARGE", false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_finds_its_error_again_and_no_two_share_a_name() {
        let mut names = std::collections::BTreeSet::new();
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(u32::from(error.code())), Some(error));
            assert!(names.insert(error.name()), "{} stands twice", error.name());
        }
        assert_eq!(ErrorCode::from_code(9999), None);
    }
}
