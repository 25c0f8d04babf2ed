//! Declares messages: one list of fields per structure, with the versions each is part of, from
//! which follow the Rust type, its defaults, its decoder and its encoder. Knows no message itself.
//!
//! ```text
//! messages! {
//!     Metadata: MetadataRequest => MetadataResponse;
//!
//!     /// What it is.
//!     struct MetadataRequest {
//!         /// What it says.
//!         name: Type = default => since(first version).until(last one).ignorable()…,
//!     }
//! }
//! ```
//!
//! A field that a version lacks is dropped by the encoder when it is *ignorable* or has its
//! default; anything else is an error, because the peer would understand something different.

use bytes::Bytes;

use super::api::ApiKey;
use super::codec::{DecodeError, EncodeError, Encoded, Reader, Writer};
use super::header::{RequestHeader, ResponseHeader};
use super::wire::{Shape, Wire};

/// A request or a response.
pub trait Message: Wire {
    /// The API it belongs to.
    const KEY: ApiKey;
    /// Its name in Kafka's documentation.
    const NAME: &'static str;

    /// Takes the message off the front.
    ///
    /// # Errors
    /// When the bytes are not such a message, or there is no such version.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let shape = shape(Self::KEY, version).ok_or(DecodeError::UnsupportedVersion(version))?;
        Self::read(reader, shape)
    }

    /// Takes the message off the front and refuses bytes behind it.
    ///
    /// # Errors
    /// As [`Message::decode`], and [`DecodeError::Trailing`].
    fn decode_whole(mut reader: Reader, version: i16) -> Result<Self, DecodeError> {
        reader.skip(superfluous_bytes(Self::NAME, version, reader.rest()));
        let message = Self::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// Decodes bytes which are the message and nothing else.
    ///
    /// # Errors
    /// As [`Message::decode_whole`].
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        Self::decode_whole(Reader::new(bytes), version)
    }

    /// Appends the message.
    ///
    /// # Errors
    /// When the version has no room for what it says, or does not exist.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let shape = shape(Self::KEY, version).ok_or(EncodeError::UnsupportedVersion(version))?;
        self.write(writer, shape)
    }
}

/// A message that asks for something.
pub trait Request: Message {
    /// The message that answers it.
    type Response: Message;
}

/// A whole response frame: length, header, message.
///
/// # Errors
/// When the version has no room for what the message says.
pub fn response_frame<M: Message>(
    message: &M,
    version: i16,
    correlation_id: i32,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::with_capacity(FRAME_BYTES);
    writer.start_frame();
    ResponseHeader { correlation_id }.encode(&mut writer, M::KEY, version);
    message.encode(&mut writer, version)?;
    writer.finish_frame()
}

/// A whole request frame: length, header, message.
///
/// # Errors
/// When the version has no room for what the message says.
pub fn request_frame<M: Request>(
    message: &M,
    version: i16,
    correlation_id: i32,
    client_id: Option<super::Text>,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::with_capacity(FRAME_BYTES);
    writer.start_frame();
    let header = RequestHeader { api: M::KEY, version, correlation_id, client_id };
    header.encode(&mut writer)?;
    message.encode(&mut writer, version)?;
    writer.finish_frame()
}

/// What a frame gets at first; most answers fit.
const FRAME_BYTES: usize = 256;

/// How many bytes too many a widespread client writes in front of this message by mistake.
///
/// librdkafka (2.1 and later, and with it Confluent's clients) makes the null array of *all topics*
/// four zero bytes where the flexible format has one, and nothing but flags and an empty set of
/// tags comes after it. Kafka does not look behind a message, so nobody noticed. No other such
/// message has this length and those first bytes.
fn superfluous_bytes(name: &str, version: i16, message: &[u8]) -> usize {
    if name != "MetadataRequest" || version < ApiKey::Metadata.flexible_from() {
        return 0;
    }
    let flag_count = if version <= 10 { 3 } else { 2 };
    let mistaken = message.len() == 4 + flag_count + 1 && message.starts_with(&[0; 4]);
    if mistaken { 3 } else { 0 }
}

fn shape(api: ApiKey, version: i16) -> Option<Shape> {
    let flexible = version >= api.flexible_from();
    api.served().contains(&version).then_some(Shape { version, flexible, nullable: false })
}

/// In which versions a field stands where, and what may be done about it in the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    since: i16,
    until: i16,
    null_since: i16,
    ignorable: bool,
    tag: Option<u32>,
}

/// Where a version of a message has a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it is declared.
    Here,
    /// Behind the others, with this tag, if it has not its default.
    Tagged(u32),
    /// Nowhere, and what it says is not missed.
    Dropped,
    /// Nowhere, so it must not say anything but its default.
    Missing,
}

/// A field that messages have from this version on.
pub(super) const fn since(version: i16) -> Field {
    Field { since: version, until: i16::MAX, null_since: i16::MAX, ignorable: false, tag: None }
}

impl Field {
    /// The last version that has it.
    pub(super) const fn until(self, version: i16) -> Field {
        Field { until: version, ..self }
    }

    /// It may be null from this version on.
    pub(super) const fn nullable(self, version: i16) -> Field {
        Field { null_since: version, ..self }
    }

    /// Versions without it do well without what it says.
    pub(super) const fn ignorable(self) -> Field {
        Field { ignorable: true, ..self }
    }

    /// It stands among the tagged fields behind the others, if it has not its default.
    pub(super) const fn tag(self, tag: u32) -> Field {
        Field { tag: Some(tag), ..self }
    }

    /// Where this version has it.
    pub(super) const fn place(&self, version: i16) -> Place {
        match self.tag {
            _ if version < self.since || version > self.until => {
                if self.ignorable {
                    Place::Dropped
                } else {
                    Place::Missing
                }
            }
            Some(tag) => Place::Tagged(tag),
            None => Place::Here,
        }
    }

    /// The shape of its value in a structure of this shape.
    pub(super) const fn shape(&self, whole: Shape) -> Shape {
        let nullable = self.null_since <= whole.version;
        Shape { nullable, ..whole }
    }
}

/// The error of a field that says something which the version has no room for.
pub(super) fn missing(field: &'static str, shape: Shape) -> EncodeError {
    EncodeError::FieldNotInVersion { field, version: shape.version }
}

/// Declares the messages of one API and the structures they are made of; see the module.
macro_rules! messages {
    (
        $api:ident: $request:ident => $response:ident;
        $($structs:tt)*
    ) => {
        impl $crate::protocol::kafka::message::Message for $request {
            const KEY: $crate::protocol::kafka::ApiKey = $crate::protocol::kafka::ApiKey::$api;
            const NAME: &'static str = stringify!($request);
        }

        impl $crate::protocol::kafka::message::Message for $response {
            const KEY: $crate::protocol::kafka::ApiKey = $crate::protocol::kafka::ApiKey::$api;
            const NAME: &'static str = stringify!($response);
        }

        impl $crate::protocol::kafka::message::Request for $request {
            type Response = $response;
        }

        structs! { $($structs)* }
    };
}

/// Declares structures; see the module.
macro_rules! structs {
    ($(
        $(#[doc = $doc:expr])*
        struct $name:ident {$(
            $(#[doc = $field_doc:expr])*
            $field:ident: $type:ty $(= $default:expr)? => $versions:expr,
        )*}
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {$(
            $(#[doc = $field_doc])*
            pub $field: $type,
        )*}

        impl Default for $name {
            fn default() -> $name {
                $name {$($field: or_default!($type $(, $default)?),)*}
            }
        }

        impl $crate::protocol::kafka::wire::Wire for $name {
            #[allow(unused_mut, reason = "there are structures without fields")]
            fn read(
                reader: &mut $crate::protocol::kafka::codec::Reader,
                shape: $crate::protocol::kafka::wire::Shape,
            ) -> Result<$name, $crate::protocol::kafka::codec::DecodeError> {
                #[allow(unused_imports, reason = "there are structures without fields")]
                use $crate::protocol::kafka::{message::{Field, Place, since}, wire::Wire};
                let mut value = $name::default();
                $({
                    const FIELD: Field = $versions;
                    if FIELD.place(shape.version) == Place::Here {
                        value.$field = Wire::read(reader, FIELD.shape(shape))?;
                    }
                })*
                if shape.flexible {
                    reader.tags(|_reader, _tag| {
                        $({
                            const FIELD: Field = $versions;
                            if FIELD.place(shape.version) == Place::Tagged(_tag) {
                                value.$field = Wire::read(_reader, FIELD.shape(shape))?;
                                return Ok(true);
                            }
                        })*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }

            fn write(
                &self,
                writer: &mut $crate::protocol::kafka::codec::Writer,
                shape: $crate::protocol::kafka::wire::Shape,
            ) -> Result<(), $crate::protocol::kafka::codec::EncodeError> {
                #[allow(unused_imports, reason = "there are structures without fields")]
                use $crate::protocol::kafka::{
                    message::{Field, Place, missing, since}, wire::Wire,
                };
                #[allow(unused_mut, reason = "most structures have no tagged fields")]
                let mut tags = 0;
                $({
                    const FIELD: Field = $versions;
                    let is_default = || self.$field == or_default!($type $(, $default)?);
                    match FIELD.place(shape.version) {
                        Place::Here => self.$field.write(writer, FIELD.shape(shape))?,
                        Place::Tagged(_) => tags += u32::from(!is_default()),
                        Place::Missing if !is_default() => {
                            return Err(missing(stringify!($field), shape));
                        }
                        Place::Missing | Place::Dropped => {}
                    }
                })*
                if shape.flexible {
                    writer.unsigned_varint(tags);
                    $({
                        const FIELD: Field = $versions;
                        if let Place::Tagged(tag) = FIELD.place(shape.version)
                            && self.$field != or_default!($type $(, $default)?)
                        {
                            writer.tag(tag, |writer| {
                                self.$field.write(writer, FIELD.shape(shape))
                            })?;
                        }
                    })*
                }
                Ok(())
            }
        }

        impl $crate::protocol::kafka::wire::Nullable for $name {
            fn read_nullable(
                reader: &mut $crate::protocol::kafka::codec::Reader,
                shape: $crate::protocol::kafka::wire::Shape,
            ) -> Result<Option<$name>, $crate::protocol::kafka::codec::DecodeError> {
                $crate::protocol::kafka::wire::read_marked(reader, shape)
            }

            fn write_nullable(
                value: Option<&$name>,
                writer: &mut $crate::protocol::kafka::codec::Writer,
                shape: $crate::protocol::kafka::wire::Shape,
            ) -> Result<(), $crate::protocol::kafka::codec::EncodeError> {
                $crate::protocol::kafka::wire::write_marked(value, writer, shape)
            }
        }

        #[cfg(test)]
        impl $crate::protocol::kafka::tests::Arbitrary for $name {
            #[allow(unused_mut, unused_variables, reason = "there are structures without fields")]
            fn arbitrary(
                random: &mut $crate::random::Random,
                shape: $crate::protocol::kafka::wire::Shape,
            ) -> $name {
                #[allow(unused_imports, reason = "there are structures without fields")]
                use $crate::protocol::kafka::{
                    message::{Field, Place, since}, tests::Arbitrary,
                };
                let mut value = $name::default();
                $({
                    const FIELD: Field = $versions;
                    if matches!(FIELD.place(shape.version), Place::Here | Place::Tagged(_)) {
                        value.$field = Arbitrary::arbitrary(random, FIELD.shape(shape));
                    }
                })*
                value
            }
        }
    )*};
}

/// The default that a declaration gives, or the type's.
macro_rules! or_default {
    ($type:ty) => {
        <$type as Default>::default()
    };
    ($type:ty, $default:expr) => {
        $default
    };
}
