//! Preface and frames of the native protocol. Pure: looks at what has arrived so far and says how
//! much is still missing. Knows nothing of sockets, nor of what the headers mean.
//!
//! ```text
//! preface, client to server, once       frame, both ways
//!  at  size  field                       at  size  field
//!   0     4  "RVN1"                       0     4  length of what follows this field
//!   4     1  oldest minor version         4     1  kind
//!   5     1  newest minor version         5     1  flags, zero
//!   6     2  reserved, zero               6     2  reserved, zero
//!                                         8     4  stream; 0: the connection itself
//!                                        12     4  header length
//!                                        16     …  header (protobuf), then payload (raw bytes)
//! ```
//!
//! All numbers are big endian. No checksum covers a frame: record batches bring their own CRC-32C,
//! and the transport's (TCP, TLS) covers the rest. Both lengths are checked before anybody
//! allocates for them.

use bytes::{BufMut, BytesMut};
use prost::Message;

use crate::limits;
use crate::protocol::error::ErrorCode;

/// First bytes of a connection; the digit is the major version.
pub const MAGIC: [u8; 4] = *b"RVN1";
/// Size of the preface.
pub const PREFACE_BYTES: usize = 8;
/// Oldest minor version this program speaks.
pub const MINOR_MIN: u8 = 0;
/// Newest minor version this program speaks.
pub const MINOR_MAX: u8 = 0;
/// Size of the fixed part at the front of a frame.
pub const FRAME_PREFIX_BYTES: usize = 16;
/// Size of the length field, which does not count itself.
pub const LENGTH_BYTES: usize = 4;
/// Payload of PING and PONG.
pub const PING_BYTES: usize = 8;
/// Payload of CREDIT.
pub const CREDIT_BYTES: usize = 4;

/// What the length field of a frame without header and payload says.
const LENGTH_MIN: usize = FRAME_PREFIX_BYTES - LENGTH_BYTES;
const KIND_AT: usize = 4;
const FLAGS_AT: usize = 5;
const RESERVED_AT: usize = 6;
const STREAM_AT: usize = 8;
const HEADER_LENGTH_AT: usize = 12;

const _: () = assert!(KIND_AT == LENGTH_BYTES && FLAGS_AT == KIND_AT + 1);
const _: () = assert!(RESERVED_AT == FLAGS_AT + 1 && STREAM_AT == RESERVED_AT + 2);
const _: () = assert!(HEADER_LENGTH_AT == STREAM_AT + 4);
const _: () = assert!(FRAME_PREFIX_BYTES == HEADER_LENGTH_AT + 4);
const _: () = assert!(limits::FRAME_BYTES_MAX < u32::MAX as usize);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $wire:literal;)*) => {
        /// What a frame is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// Every kind there is, in order of their numbers.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// The kind with this number, if there is one.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$name),)*
                    _ => None,
                }
            }

            /// The name in documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => $wire,)*
                }
            }
        }
    };
}

kinds! {
    /// The server's first frame: what it is and speaks.
    Hello = 1, "HELLO";
    /// Opens a stream with an operation.
    Request = 2, "REQUEST";
    /// Answers a request and ends its stream.
    Response = 3, "RESPONSE";
    /// One piece of a subscription.
    Data = 4, "DATA";
    /// Lets the server send more DATA on a stream.
    Credit = 5, "CREDIT";
    /// Asks the server to end a stream early.
    Cancel = 6, "CANCEL";
    /// Asks for a PONG.
    Ping = 7, "PING";
    /// Returns the payload of a PING.
    Pong = 8, "PONG";
    /// Announces that the sender is about to close the connection.
    GoAway = 9, "GO_AWAY";
    /// Says why the connection is closed.
    Error = 10, "ERROR";
    /// Ends a subscription.
    End = 11, "END";
}

impl Kind {
    /// Whether frames of this kind speak of the connection, and so belong on stream 0.
    #[must_use]
    pub const fn is_of_connection(self) -> bool {
        matches!(self, Kind::Hello | Kind::Ping | Kind::Pong | Kind::GoAway | Kind::Error)
    }

    /// The payload size of kinds that have neither protobuf header nor any other payload.
    const fn fixed_payload(self) -> Option<usize> {
        match self {
            Kind::Credit => Some(CREDIT_BYTES),
            Kind::Cancel => Some(0),
            Kind::Ping | Kind::Pong => Some(PING_BYTES),
            _ => None,
        }
    }
}

/// Names one exchange on a connection. The client chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The connection itself.
    pub const CONNECTION: StreamId = StreamId(0);
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How large frames may be, by who sent them and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest value of the length field.
    pub frame_bytes: usize,
    /// Largest protobuf header.
    pub header_bytes: usize,
}

impl FrameLimits {
    /// What a server takes from a client that it has not admitted yet.
    pub const BEFORE_ADMISSION: FrameLimits = FrameLimits {
        frame_bytes: limits::FRAME_BYTES_PRE_AUTH_MAX,
        header_bytes: limits::FRAME_BYTES_PRE_AUTH_MAX,
    };
    /// What a server takes from a client.
    pub const OF_CLIENTS: FrameLimits = FrameLimits {
        frame_bytes: limits::FRAME_BYTES_MAX,
        header_bytes: limits::FRAME_HEADER_BYTES_MAX,
    };
    /// What a client takes from its server, whose headers describe whole clusters.
    pub const OF_SERVERS: FrameLimits =
        FrameLimits { frame_bytes: limits::FRAME_BYTES_MAX, header_bytes: limits::FRAME_BYTES_MAX };
}

/// Why bytes are not a frame. The connection ends: without the length there is no next frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is above the limit.
    #[error("a frame of {length} bytes; at most {limit} are accepted")]
    TooLarge {
        /// As the frame says.
        length: usize,
        /// The bound it broke.
        limit: usize,
    },
    /// The length field does not even cover the fixed part.
    #[error("a frame of {0} bytes; even an empty one has {LENGTH_MIN}")]
    TooShort(usize),
    /// The header is above its limit.
    #[error("a frame header of {length} bytes; at most {limit} are accepted")]
    HeaderTooLarge {
        /// As the frame says.
        length: usize,
        /// The bound it broke.
        limit: usize,
    },
    /// The header would end behind the frame.
    #[error("a frame header of {header} bytes in a frame with room for {room}")]
    HeaderBeyondFrame {
        /// As the frame says.
        header: usize,
        /// Bytes left for header and payload.
        room: usize,
    },
    /// A kind without a meaning.
    #[error("frame kind {0} is unknown")]
    UnknownKind(u8),
    /// Bits that must be zero are not.
    #[error("flags {flags:#04x} and reserved bytes {reserved:#06x} of a frame must be zero")]
    Reserved {
        /// The flags.
        flags: u8,
        /// The reserved bytes.
        reserved: u16,
    },
    /// The kind belongs to the connection and the frame to a stream, or the other way round.
    #[error("a {} frame on stream {stream}", kind.name())]
    WrongStream {
        /// The kind.
        kind: Kind,
        /// The stream.
        stream: StreamId,
    },
    /// A kind of fixed size has another one.
    #[error("a {} frame with {header} header and {payload} payload bytes", kind.name())]
    WrongSize {
        /// The kind.
        kind: Kind,
        /// Bytes of the header.
        header: usize,
        /// Bytes of the payload.
        payload: usize,
    },
}

impl FrameError {
    /// The code that the peer learns.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            FrameError::TooLarge { .. } | FrameError::HeaderTooLarge { .. } => {
                ErrorCode::FrameTooLarge
            }
            _ => ErrorCode::Malformed,
        }
    }
}

/// The fixed part of a frame, found sound: the lengths are within limits and fit each other, the
/// kind is known and the stream suits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is for.
    pub kind: Kind,
    /// The exchange it belongs to.
    pub stream: StreamId,
    /// Bytes of the protobuf header that follows.
    pub header_bytes: usize,
    /// Bytes of the payload after that.
    pub payload_bytes: usize,
}

impl FrameHeader {
    /// Reads the fixed part at the front of `bytes`, or `None` while too little has arrived. An
    /// impossible length is refused as soon as the four bytes that say it are there.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn parse(bytes: &[u8], limits: FrameLimits) -> Result<Option<FrameHeader>, FrameError> {
        let Some(length) = bytes.first_chunk().map(|field| u32::from_be_bytes(*field) as usize)
        else {
            return Ok(None);
        };
        if length > limits.frame_bytes {
            return Err(FrameError::TooLarge { length, limit: limits.frame_bytes });
        }
        if length < LENGTH_MIN {
            return Err(FrameError::TooShort(length));
        }
        match bytes.first_chunk() {
            Some(prefix) => FrameHeader::check(prefix, length - LENGTH_MIN, limits).map(Some),
            None => Ok(None),
        }
    }

    /// Checks everything behind the length; `room` is what it leaves for header and payload.
    fn check(
        prefix: &[u8; FRAME_PREFIX_BYTES],
        room: usize,
        limits: FrameLimits,
    ) -> Result<FrameHeader, FrameError> {
        let kind = prefix[KIND_AT];
        let kind = Kind::from_number(kind).ok_or(FrameError::UnknownKind(kind))?;
        let flags = prefix[FLAGS_AT];
        let reserved = u16::from_be_bytes(field(prefix, RESERVED_AT));
        if flags != 0 || reserved != 0 {
            return Err(FrameError::Reserved { flags, reserved });
        }
        let stream = StreamId(u32::from_be_bytes(field(prefix, STREAM_AT)));
        if kind.is_of_connection() != (stream == StreamId::CONNECTION) {
            return Err(FrameError::WrongStream { kind, stream });
        }
        let header = u32::from_be_bytes(field(prefix, HEADER_LENGTH_AT)) as usize;
        if header > limits.header_bytes {
            return Err(FrameError::HeaderTooLarge { length: header, limit: limits.header_bytes });
        }
        let payload =
            room.checked_sub(header).ok_or(FrameError::HeaderBeyondFrame { header, room })?;
        if let Some(size) = kind.fixed_payload()
            && (header, payload) != (0, size)
        {
            return Err(FrameError::WrongSize { kind, header, payload });
        }
        Ok(FrameHeader { kind, stream, header_bytes: header, payload_bytes: payload })
    }

    /// Size of the whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        FRAME_PREFIX_BYTES + self.header_bytes + self.payload_bytes
    }

    /// The fixed part as bytes.
    ///
    /// # Panics
    /// When the frame is larger than any receiver accepts: who builds it bounds it before.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_PREFIX_BYTES] {
        let length = self.frame_bytes() - LENGTH_BYTES;
        assert!(length <= limits::FRAME_BYTES_MAX, "a frame of {length} bytes can not be sent");
        assert!(self.kind.is_of_connection() == (self.stream == StreamId::CONNECTION));
        let mut bytes = [0; FRAME_PREFIX_BYTES];
        bytes[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
        bytes[KIND_AT] = self.kind as u8;
        bytes[STREAM_AT..STREAM_AT + 4].copy_from_slice(&self.stream.0.to_be_bytes());
        bytes[HEADER_LENGTH_AT..].copy_from_slice(&(self.header_bytes as u32).to_be_bytes());
        bytes
    }
}

/// Appends the fixed part and `header` of a frame to `out`; `payload_bytes` bytes must follow on
/// the wire.
///
/// # Panics
/// When the frame is larger than any receiver accepts; see [`FrameHeader::encode`].
pub fn put_frame(
    out: &mut BytesMut,
    kind: Kind,
    stream: StreamId,
    header: &impl Message,
    payload_bytes: usize,
) {
    let header_bytes = header.encoded_len();
    out.reserve(FRAME_PREFIX_BYTES + header_bytes);
    out.put_slice(&FrameHeader { kind, stream, header_bytes, payload_bytes }.encode());
    header.encode_raw(out);
}

/// Appends a frame without header whose payload is at hand: CREDIT, CANCEL, PING or PONG.
fn put_plain(out: &mut BytesMut, kind: Kind, stream: StreamId, payload: &[u8]) {
    assert!(kind.fixed_payload() == Some(payload.len()), "{kind:?} has another payload");
    out.reserve(FRAME_PREFIX_BYTES + payload.len());
    let payload_bytes = payload.len();
    out.put_slice(&FrameHeader { kind, stream, header_bytes: 0, payload_bytes }.encode());
    out.put_slice(payload);
}

/// Appends a CREDIT frame that lets the server send `bytes` more on the stream.
pub fn put_credit(out: &mut BytesMut, stream: StreamId, bytes: u32) {
    put_plain(out, Kind::Credit, stream, &bytes.to_be_bytes());
}

/// Appends a CANCEL frame.
pub fn put_cancel(out: &mut BytesMut, stream: StreamId) {
    put_plain(out, Kind::Cancel, stream, &[]);
}

/// Appends a PING frame.
pub fn put_ping(out: &mut BytesMut, payload: [u8; PING_BYTES]) {
    put_plain(out, Kind::Ping, StreamId::CONNECTION, &payload);
}

/// Appends the PONG frame that answers a PING with this payload.
pub fn put_pong(out: &mut BytesMut, payload: [u8; PING_BYTES]) {
    put_plain(out, Kind::Pong, StreamId::CONNECTION, &payload);
}

/// The protocol versions a client speaks: the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// Oldest minor version.
    pub minor_min: u8,
    /// Newest minor version.
    pub minor_max: u8,
}

/// Why a connection can not go on after its first bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// Not this protocol at all.
    #[error("the first bytes are not RVN1: this is not the native protocol")]
    NotNative,
    /// This protocol in versions that are not spoken here.
    #[error(
        "unsupported protocol version {theirs}; server speaks \
         {}.{MINOR_MIN}–{}.{MINOR_MAX}", char::from(MAGIC[3]), char::from(MAGIC[3])
    )]
    UnsupportedVersion {
        /// What the client speaks, for example `1.3–1.4`, or `2` for another major version.
        theirs: String,
    },
    /// The preface breaks a rule of its format.
    #[error("bad preface: {0}")]
    Malformed(&'static str),
}

impl PrefaceError {
    /// The code that the client learns.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            PrefaceError::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
            PrefaceError::NotNative | PrefaceError::Malformed(_) => ErrorCode::Malformed,
        }
    }
}

impl Preface {
    /// What this program's client sends.
    pub const OWN: Preface = Preface { minor_min: MINOR_MIN, minor_max: MINOR_MAX };

    /// Reads the preface at the front of `bytes`, or `None` while too little has arrived. Only the
    /// fourth byte of the magic may differ without it being another protocol.
    ///
    /// # Errors
    /// When the bytes are no preface, or one that no version here suits.
    pub fn parse(bytes: &[u8]) -> Result<Option<Preface>, PrefaceError> {
        let Some(magic) = bytes.first_chunk::<4>() else { return Ok(None) };
        if magic[..3] != MAGIC[..3] {
            return Err(PrefaceError::NotNative);
        }
        if magic[3] != MAGIC[3] {
            let theirs = char::from(magic[3]).escape_default().to_string();
            return Err(PrefaceError::UnsupportedVersion { theirs });
        }
        let Some(preface) = bytes.first_chunk::<PREFACE_BYTES>() else { return Ok(None) };
        if preface[6..] != [0, 0] {
            return Err(PrefaceError::Malformed("the reserved bytes must be zero"));
        }
        if preface[4] > preface[5] {
            return Err(PrefaceError::Malformed("the oldest version is above the newest"));
        }
        Ok(Some(Preface { minor_min: preface[4], minor_max: preface[5] }))
    }

    /// The preface as bytes.
    #[must_use]
    pub fn encode(self) -> [u8; PREFACE_BYTES] {
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, self.minor_min, self.minor_max, 0, 0]
    }

    /// The newest minor version that both this client and this program speak.
    ///
    /// # Errors
    /// When there is none; the text is what the client gets in an ERROR frame.
    pub fn negotiate(self) -> Result<u8, PrefaceError> {
        let own = Preface::OWN;
        if self.minor_max < own.minor_min || self.minor_min > own.minor_max {
            let theirs = format!("1.{}–1.{}", self.minor_min, self.minor_max);
            return Err(PrefaceError::UnsupportedVersion { theirs });
        }
        Ok(self.minor_max.min(own.minor_max))
    }
}

fn field<const N: usize>(bytes: &[u8; FRAME_PREFIX_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

#[cfg(test)]
mod tests;
