//! The headers that every frame of their kind carries, whatever the operation. Shapes only.

use super::{request, response};

messages! {
    /// Header of the HELLO frame, the server's first answer, on stream 0.
    pub struct ServerHello {
        /// Oldest protocol version the server speaks.
        #[prost(uint32, tag = "1")]
        pub minor_min: u32,
        /// Newest protocol version the server speaks.
        #[prost(uint32, tag = "2")]
        pub minor_max: u32,
        /// Version of the program.
        #[prost(string, tag = "3")]
        pub version: String,
        /// The cluster.
        #[prost(string, tag = "4")]
        pub cluster_id: String,
        /// The node that answers.
        #[prost(int32, tag = "5")]
        pub node_id: i32,
        /// Larger frames close the connection.
        #[prost(uint32, tag = "6")]
        pub frame_bytes_max: u32,
        /// Initial credit of every subscription, in payload bytes.
        #[prost(uint32, tag = "7")]
        pub credit_bytes: u32,
        /// Ways to authenticate; empty: none is needed.
        #[prost(string, repeated, tag = "8")]
        pub mechanisms: Vec<String>,
    }

    /// What went wrong.
    pub struct Error {
        /// Number of the error; see [`ErrorCode`].
        #[prost(uint32, tag = "1")]
        pub code: u32,
        /// Name of the error.
        #[prost(string, tag = "2")]
        pub name: String,
        /// Whether the same request may succeed later.
        #[prost(bool, tag = "3")]
        pub retriable: bool,
        /// For a person: what, why, what to do.
        #[prost(string, tag = "4")]
        pub message: String,
        /// Numbers and names that a program can act on.
        #[prost(message, optional, tag = "5")]
        pub details: Option<ErrorDetails>,
    }

    /// What a program can act on in an error.
    pub struct ErrorDetails {
        /// The bound that was broken.
        #[prost(uint64, optional, tag = "1")]
        pub limit: Option<u64>,
        /// The value that broke it.
        #[prost(uint64, optional, tag = "2")]
        pub actual: Option<u64>,
        /// Address (host:port) of the partition's leader.
        #[prost(string, optional, tag = "3")]
        pub leader: Option<String>,
        /// Milliseconds after which another try makes sense.
        #[prost(uint32, optional, tag = "4")]
        pub throttle_ms: Option<u32>,
        /// For example the actual end offset of a conditional append.
        #[prost(int64, optional, tag = "5")]
        pub offset: Option<i64>,
        /// Position of the record that broke a rule, from 0: in its batch, or in the list of plain
        /// records.
        #[prost(int32, optional, tag = "6")]
        pub record: Option<i32>,
    }

    /// Header of a REQUEST frame.
    pub struct Request {
        /// Milliseconds the operation may take; 0: the server's default.
        #[prost(uint32, tag = "1")]
        pub timeout_ms: u32,
        /// Name the client gives itself, for logs and quotas.
        #[prost(string, tag = "2")]
        pub client_id: String,
        /// What to do.
        #[prost(
            oneof = "request::Operation",
            tags = "10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,30,31,32,33,34,35,36,37,38"
        )]
        pub operation: Option<request::Operation>,
    }

    /// Header of RESPONSE, DATA and END frames.
    pub struct Response {
        /// Set: the whole operation failed and there is no result.
        #[prost(message, optional, tag = "1")]
        pub error: Option<Error>,
        /// Milliseconds for which the server pauses reading from this client.
        #[prost(uint32, tag = "2")]
        pub throttle_ms: u32,
        /// What came of it.
        #[prost(
            oneof = "response::Result",
            tags = "10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,30,31,32,33,34,35,36,37,38"
        )]
        pub result: Option<response::Result>,
    }
}
