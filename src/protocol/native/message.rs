//! The protobuf headers of the native protocol: `rivven.proto` as Rust types. The `.proto` file is
//! the published contract; the tests compile it and hold every name, number, type and label here
//! against it. Knows nothing of frames or of what the operations do.

use crate::protocol::error::ErrorCode;

/// What a message declares, for the test that compares it with `rivven.proto`.
#[cfg(test)]
#[derive(Debug)]
struct Declared {
    /// Name of the message, or of the oneof.
    name: &'static str,
    /// Of each field its name, the words of its `prost` attribute and its Rust type.
    fields: &'static [(&'static str, &'static str, &'static str)],
}

/// Derives the messages and, for tests, keeps what was declared: the derive and the comparison with
/// the contract see the same words.
macro_rules! messages {
    ($(
        $(#[doc = $doc:expr])*
        pub struct $name:ident {$(
            $(#[doc = $field_doc:expr])*
            #[prost($($attribute:tt)*)]
            pub $field:ident: $type:ty,
        )*}
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct $name {$(
                $(#[doc = $field_doc])*
                #[prost($($attribute)*)]
                pub $field: $type,
            )*}
        )*

        #[cfg(test)]
        pub(super) const DECLARED: &[super::Declared] = &[$(super::Declared {
            name: stringify!($name),
            fields: &[$((
                stringify!($field),
                stringify!($($attribute)*),
                stringify!($type),
            ),)*],
        },)*];
    };
}

/// As [`messages`], for the alternatives of a oneof.
macro_rules! oneof {
    (
        $(#[doc = $doc:expr])*
        pub enum $name:ident {$(
            $(#[doc = $variant_doc:expr])*
            #[prost($($attribute:tt)*)]
            $variant:ident(super::$type:ident),
        )*}
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, prost::Oneof)]
        pub enum $name {$(
            $(#[doc = $variant_doc])*
            #[prost($($attribute)*)]
            $variant(super::$type),
        )*}

        impl $name {
            /// Name of the alternative that is set.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {$(
                    $name::$variant(_) => stringify!($variant),
                )*}
            }
        }

        $(
            impl From<super::$type> for $name {
                fn from(message: super::$type) -> $name {
                    $name::$variant(message)
                }
            }
        )*

        #[cfg(test)]
        pub(super) const DECLARED: super::Declared = super::Declared {
            name: stringify!($name),
            fields: &[$((
                stringify!($variant),
                stringify!($($attribute)*),
                stringify!($type),
            ),)*],
        };
    };
}

mod envelope;
mod groups;
mod operations;
pub use envelope::*;
pub use groups::*;
pub use operations::*;

/// The alternatives of a [`Request`].
pub mod request {
    oneof! {
        /// What a request asks for.
        pub enum Operation {
        /// See [`super::Metadata`].
        #[prost(message, tag = "10")]
        Metadata(super::Metadata),
        /// See [`super::Produce`].
        #[prost(message, tag = "11")]
        Produce(super::Produce),
        /// See [`super::Fetch`].
        #[prost(message, tag = "12")]
        Fetch(super::Fetch),
        /// See [`super::Subscribe`].
        #[prost(message, tag = "13")]
        Subscribe(super::Subscribe),
        /// See [`super::ListOffsets`].
        #[prost(message, tag = "14")]
        ListOffsets(super::ListOffsets),
        /// See [`super::CreateTopics`].
        #[prost(message, tag = "15")]
        CreateTopics(super::CreateTopics),
        /// See [`super::AlterTopic`].
        #[prost(message, tag = "16")]
        AlterTopic(super::AlterTopic),
        /// See [`super::AddPartitions`].
        #[prost(message, tag = "17")]
        AddPartitions(super::AddPartitions),
        /// See [`super::DeleteTopics`].
        #[prost(message, tag = "18")]
        DeleteTopics(super::DeleteTopics),
        /// See [`super::DescribeTopics`].
        #[prost(message, tag = "19")]
        DescribeTopics(super::DescribeTopics),
        /// See [`super::DeleteRecords`].
        #[prost(message, tag = "20")]
        DeleteRecords(super::DeleteRecords),
        /// See [`super::InitProducer`].
        #[prost(message, tag = "21")]
        InitProducer(super::InitProducer),
        /// See [`super::Metrics`].
        #[prost(message, tag = "22")]
        Metrics(super::Metrics),
        /// See [`super::ReloadConfig`].
        #[prost(message, tag = "23")]
        ReloadConfig(super::ReloadConfig),
        /// See [`super::DescribeConfig`].
        #[prost(message, tag = "24")]
        DescribeConfig(super::DescribeConfig),
        /// See [`super::AlterConfig`].
        #[prost(message, tag = "25")]
        AlterConfig(super::AlterConfig),
        /// See [`super::ListGroups`].
        #[prost(message, tag = "30")]
        ListGroups(super::ListGroups),
        /// See [`super::DescribeGroups`].
        #[prost(message, tag = "31")]
        DescribeGroups(super::DescribeGroups),
        /// See [`super::DeleteGroups`].
        #[prost(message, tag = "32")]
        DeleteGroups(super::DeleteGroups),
        /// See [`super::CommitOffsets`].
        #[prost(message, tag = "33")]
        CommitOffsets(super::CommitOffsets),
        /// See [`super::FetchOffsets`].
        #[prost(message, tag = "34")]
        FetchOffsets(super::FetchOffsets),
        /// See [`super::DeleteOffsets`].
        #[prost(message, tag = "35")]
        DeleteOffsets(super::DeleteOffsets),
        /// See [`super::JoinGroup`].
        #[prost(message, tag = "36")]
        JoinGroup(super::JoinGroup),
        /// See [`super::GroupHeartbeat`].
        #[prost(message, tag = "37")]
        GroupHeartbeat(super::GroupHeartbeat),
        /// See [`super::LeaveGroup`].
        #[prost(message, tag = "38")]
        LeaveGroup(super::LeaveGroup),
        }
    }
}

/// The alternatives of a [`Response`].
pub mod response {
    oneof! {
        /// What came of a request; the alternative has the number of the request's operation.
        pub enum Result {
        /// See [`super::MetadataResult`].
        #[prost(message, tag = "10")]
        Metadata(super::MetadataResult),
        /// See [`super::ProduceResult`].
        #[prost(message, tag = "11")]
        Produce(super::ProduceResult),
        /// See [`super::FetchResult`].
        #[prost(message, tag = "12")]
        Fetch(super::FetchResult),
        /// See [`super::SubscribeData`].
        #[prost(message, tag = "13")]
        Subscribe(super::SubscribeData),
        /// See [`super::ListOffsetsResult`].
        #[prost(message, tag = "14")]
        ListOffsets(super::ListOffsetsResult),
        /// See [`super::CreateTopicsResult`].
        #[prost(message, tag = "15")]
        CreateTopics(super::CreateTopicsResult),
        /// See [`super::AlterTopicResult`].
        #[prost(message, tag = "16")]
        AlterTopic(super::AlterTopicResult),
        /// See [`super::AddPartitionsResult`].
        #[prost(message, tag = "17")]
        AddPartitions(super::AddPartitionsResult),
        /// See [`super::DeleteTopicsResult`].
        #[prost(message, tag = "18")]
        DeleteTopics(super::DeleteTopicsResult),
        /// See [`super::DescribeTopicsResult`].
        #[prost(message, tag = "19")]
        DescribeTopics(super::DescribeTopicsResult),
        /// See [`super::DeleteRecordsResult`].
        #[prost(message, tag = "20")]
        DeleteRecords(super::DeleteRecordsResult),
        /// See [`super::InitProducerResult`].
        #[prost(message, tag = "21")]
        InitProducer(super::InitProducerResult),
        /// See [`super::MetricsResult`].
        #[prost(message, tag = "22")]
        Metrics(super::MetricsResult),
        /// See [`super::ReloadConfigResult`].
        #[prost(message, tag = "23")]
        ReloadConfig(super::ReloadConfigResult),
        /// See [`super::DescribeConfigResult`].
        #[prost(message, tag = "24")]
        DescribeConfig(super::DescribeConfigResult),
        /// See [`super::AlterConfigResult`].
        #[prost(message, tag = "25")]
        AlterConfig(super::AlterConfigResult),
        /// See [`super::ListGroupsResult`].
        #[prost(message, tag = "30")]
        ListGroups(super::ListGroupsResult),
        /// See [`super::DescribeGroupsResult`].
        #[prost(message, tag = "31")]
        DescribeGroups(super::DescribeGroupsResult),
        /// See [`super::DeleteGroupsResult`].
        #[prost(message, tag = "32")]
        DeleteGroups(super::DeleteGroupsResult),
        /// See [`super::CommitOffsetsResult`].
        #[prost(message, tag = "33")]
        CommitOffsets(super::CommitOffsetsResult),
        /// See [`super::FetchOffsetsResult`].
        #[prost(message, tag = "34")]
        FetchOffsets(super::FetchOffsetsResult),
        /// See [`super::DeleteOffsetsResult`].
        #[prost(message, tag = "35")]
        DeleteOffsets(super::DeleteOffsetsResult),
        /// See [`super::JoinGroupResult`].
        #[prost(message, tag = "36")]
        JoinGroup(super::JoinGroupResult),
        /// See [`super::GroupHeartbeatResult`].
        #[prost(message, tag = "37")]
        GroupHeartbeat(super::GroupHeartbeatResult),
        /// See [`super::LeaveGroupResult`].
        #[prost(message, tag = "38")]
        LeaveGroup(super::LeaveGroupResult),
        }
    }
}

/// What [`ConfigChange`] refers to.
pub mod config_change {
    /// What to do with a setting.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
    #[repr(i32)]
    pub enum Kind {
        /// Give it this value.
        Set = 0,
        /// Go back to the default.
        Delete = 1,
        /// Add the value to a list.
        Append = 2,
        /// Take the value out of a list.
        Subtract = 3,
    }
}

impl Error {
    /// The error with this code; name and retriability follow from it.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error {
            code: u32::from(code.code()),
            name: code.name().to_owned(),
            retriable: code.is_retriable(),
            message: message.into(),
            details: None,
        }
    }

    /// The same error with details a program can act on.
    #[must_use]
    pub fn with_details(self, details: ErrorDetails) -> Error {
        Error { details: Some(details), ..self }
    }

    /// The error of the table, or `None` when this program is too old to know the code.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.name)
    }
}

impl std::error::Error for Error {}

impl Request {
    /// A request for this operation; the server's default time-out, no client id.
    #[must_use]
    pub fn new(operation: impl Into<request::Operation>) -> Request {
        Request { operation: Some(operation.into()), ..Request::default() }
    }
}

impl Response {
    /// The answer of an operation that was done.
    #[must_use]
    pub fn ok(result: impl Into<response::Result>) -> Response {
        Response { result: Some(result.into()), ..Response::default() }
    }

    /// The answer of an operation that failed as a whole.
    #[must_use]
    pub fn failed(error: Error) -> Response {
        Response { error: Some(error), ..Response::default() }
    }
}

#[cfg(test)]
mod contract;
