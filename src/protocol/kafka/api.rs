//! The APIs that are spoken, their numbers and their versions: Kafka 4.4's, exactly, as clients
//! take features from them. Old librdkafka asks for the lowest versions by number and silently
//! does without compression, groups or SASL where they are gone.

use std::ops::RangeInclusive;

/// The first flexible version of an API that has none.
const NEVER: i16 = i16::MAX;

/// The lowest version of Produce that is advertised. Kafka 4 serves none below 3 either, but old
/// librdkafka compresses only where it sees the version that brought the codec (KAFKA-18659).
const PRODUCE_ADVERTISED_MIN: i16 = 0;

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $served:expr, $flexible:expr;)*) => {
        /// One kind of request and its answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$doc])* $name = $code,)*
        }

        impl ApiKey {
            /// Every API there is, in order of their numbers.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The API with this number, if it is one that is spoken.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<ApiKey> {
                match code {
                    $($code => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The name in Kafka's documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions that can be decoded and are answered.
            #[must_use]
            pub const fn served(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $served,)*
                }
            }

            /// The first version with varint lengths and tagged fields (KIP-482).
            #[must_use]
            pub const fn flexible_from(self) -> i16 {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }
        }
    };
}

apis! {
    /// Writes record batches.
    Produce = 0, 3..=13, 9;
    /// Reads record batches.
    Fetch = 1, 4..=18, 12;
    /// Finds offsets by time.
    ListOffsets = 2, 1..=11, 6;
    /// Says which topics there are.
    Metadata = 3, 0..=13, 9;
    /// Stores consumer offsets.
    OffsetCommit = 8, 2..=10, 8;
    /// Tells committed consumer offsets.
    OffsetFetch = 9, 1..=10, 6;
    /// Finds the node of a group or transactional id.
    FindCoordinator = 10, 0..=6, 3;
    /// Enters a generation of a classic group.
    JoinGroup = 11, 0..=9, 6;
    /// Keeps a member of a classic group alive.
    Heartbeat = 12, 0..=4, 4;
    /// Leaves a classic group.
    LeaveGroup = 13, 0..=5, 4;
    /// Hands out the assignment of a classic group's generation.
    SyncGroup = 14, 0..=5, 4;
    /// Tells the state of classic groups.
    DescribeGroups = 15, 0..=6, 5;
    /// Tells which groups there are.
    ListGroups = 16, 0..=5, 3;
    /// Begins an authentication.
    SaslHandshake = 17, 0..=1, NEVER;
    /// Tells what is served.
    ApiVersions = 18, 0..=5, 3;
    /// Creates topics.
    CreateTopics = 19, 2..=7, 5;
    /// Deletes topics.
    DeleteTopics = 20, 1..=6, 4;
    /// Deletes the oldest records of partitions.
    DeleteRecords = 21, 0..=2, 2;
    /// Gives a producer its id and epoch.
    InitProducerId = 22, 0..=5, 2;
    /// Tells where leader epochs end.
    OffsetForLeaderEpoch = 23, 2..=4, 4;
    /// Makes partitions part of a transaction.
    AddPartitionsToTxn = 24, 0..=5, 3;
    /// Makes a group's consumer offsets part of a transaction.
    AddOffsetsToTxn = 25, 0..=4, 3;
    /// Commits or aborts a transaction.
    EndTxn = 26, 0..=5, 3;
    /// Writes the markers that end a transaction.
    WriteTxnMarkers = 27, 1..=2, 1;
    /// Stores consumer offsets as part of a transaction.
    TxnOffsetCommit = 28, 0..=6, 3;
    /// Tells configurations.
    DescribeConfigs = 32, 1..=4, 4;
    /// Replaces configurations.
    AlterConfigs = 33, 0..=2, 2;
    /// Tells how much room partitions take on disk.
    DescribeLogDirs = 35, 1..=5, 2;
    /// Exchanges the messages of a SASL mechanism.
    SaslAuthenticate = 36, 0..=2, 2;
    /// Adds partitions to topics.
    CreatePartitions = 37, 0..=3, 2;
    /// Deletes groups.
    DeleteGroups = 42, 0..=3, 2;
    /// Changes single keys of configurations.
    IncrementalAlterConfigs = 44, 0..=1, 1;
    /// Deletes committed consumer offsets.
    OffsetDelete = 47, 0..=0, NEVER;
    /// Tells the nodes of the cluster.
    DescribeCluster = 60, 0..=2, 0;
    /// Tells what partitions remember of their producers.
    DescribeProducers = 61, 0..=0, 0;
    /// Tells the state of transactions.
    DescribeTransactions = 65, 0..=0, 0;
    /// Tells which transactions there are.
    ListTransactions = 66, 0..=2, 0;
    /// The one request of members of the new group protocol (KIP-848).
    ConsumerGroupHeartbeat = 68, 0..=1, 0;
    /// Tells the state of groups of the new protocol.
    ConsumerGroupDescribe = 69, 0..=1, 0;
    /// Tells which things have a configuration.
    ListConfigResources = 74, 0..=1, 0;
    /// Tells topics and their partitions.
    DescribeTopicPartitions = 75, 0..=0, 0;
}

impl ApiKey {
    /// The versions that clients are told of.
    #[must_use]
    pub const fn advertised(self) -> RangeInclusive<i16> {
        let served = self.served();
        match self {
            ApiKey::Produce => PRODUCE_ADVERTISED_MIN..=*served.end(),
            _ => served,
        }
    }

    /// Version of the header in front of a request of this version.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if version >= self.flexible_from() { 2 } else { 1 }
    }

    /// Version of the header in front of the answer to a request of this version. That of
    /// ApiVersions is always 0: who asks does not know yet what the server speaks.
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            ApiKey::ApiVersions => 0,
            _ if version >= self.flexible_from() => 1,
            _ => 0,
        }
    }
}
