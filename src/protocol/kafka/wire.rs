//! How each type of value stands on the wire: in versions before the flexible ones lengths are
//! fixed-width, in flexible ones they are varints of the length plus one, and structures end with
//! tagged fields (KIP-482). Knows types, not messages.

use std::fmt;

use bytes::Bytes;
pub use bytestring::ByteString as Text;

use super::codec::{DecodeError, EncodeError, Reader, Writer};
use crate::types::TopicId;

/// What decides how a value is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Version of the message.
    pub version: i16,
    /// Whether that is a flexible version.
    pub flexible: bool,
    /// Whether the value may be null at that version.
    pub nullable: bool,
}

impl Shape {
    /// The shape of a part that is never null.
    pub(super) fn of_element(self) -> Shape {
        Shape { nullable: false, ..self }
    }
}

/// A value that has a place on the wire.
pub trait Wire: Sized {
    /// Takes the value off the front.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    fn read(reader: &mut Reader, shape: Shape) -> Result<Self, DecodeError>;

    /// Appends the value.
    ///
    /// # Errors
    /// When the version has no room for it.
    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError>;
}

/// A value that null can stand for.
pub trait Nullable: Wire {
    /// Takes the value, or null, off the front.
    ///
    /// # Errors
    /// When the bytes are neither.
    fn read_nullable(reader: &mut Reader, shape: Shape) -> Result<Option<Self>, DecodeError>;

    /// Appends the value, or null.
    ///
    /// # Errors
    /// When the version has no room for the value.
    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        shape: Shape,
    ) -> Result<(), EncodeError>;
}

impl<T: Nullable> Wire for Option<T> {
    fn read(reader: &mut Reader, shape: Shape) -> Result<Option<T>, DecodeError> {
        if shape.nullable {
            T::read_nullable(reader, shape.of_element())
        } else {
            T::read(reader, shape).map(Some)
        }
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        match self {
            _ if shape.nullable => T::write_nullable(self.as_ref(), writer, shape.of_element()),
            Some(value) => value.write(writer, shape),
            None => Err(EncodeError::UnexpectedNull(shape.version)),
        }
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            #[inline]
            fn read(reader: &mut Reader, _: Shape) -> Result<$number, DecodeError> {
                reader.array().map(<$number>::from_be_bytes)
            }

            #[inline]
            fn write(&self, writer: &mut Writer, _: Shape) -> Result<(), EncodeError> {
                writer.put(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64);

impl Wire for bool {
    /// Any byte but zero is true, as Kafka takes it.
    fn read(reader: &mut Reader, shape: Shape) -> Result<bool, DecodeError> {
        i8::read(reader, shape).map(|byte| byte != 0)
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        i8::from(*self).write(writer, shape)
    }
}

impl Wire for TopicId {
    fn read(reader: &mut Reader, _: Shape) -> Result<TopicId, DecodeError> {
        reader.array().map(TopicId::from_bytes)
    }

    fn write(&self, writer: &mut Writer, _: Shape) -> Result<(), EncodeError> {
        writer.put(self.as_bytes());
        Ok(())
    }
}

impl Wire for Text {
    fn read(reader: &mut Reader, shape: Shape) -> Result<Text, DecodeError> {
        Text::read_nullable(reader, shape)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        writer.text_length(self.len(), shape.flexible)?;
        writer.put(self.as_bytes());
        Ok(())
    }
}

impl Nullable for Text {
    fn read_nullable(reader: &mut Reader, shape: Shape) -> Result<Option<Text>, DecodeError> {
        let length = reader.text_length(shape.flexible)?;
        length.map(|length| reader.text(length)).transpose()
    }

    fn write_nullable(
        value: Option<&Text>,
        writer: &mut Writer,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        match value {
            Some(text) => text.write(writer, shape)?,
            None => writer.null_text(shape.flexible),
        }
        Ok(())
    }
}

/// A text that only its owner reads, so it may hold anything, a NUL too. One that is too long has
/// an error of its own, so it is read whatever its length.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Remark(pub Text);

impl fmt::Debug for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Wire for Remark {
    fn read(reader: &mut Reader, shape: Shape) -> Result<Remark, DecodeError> {
        Remark::read_nullable(reader, shape)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        self.0.write(writer, shape)
    }
}

impl Nullable for Remark {
    fn read_nullable(reader: &mut Reader, shape: Shape) -> Result<Option<Remark>, DecodeError> {
        let length = reader.text_length(shape.flexible)?;
        length.map(|length| reader.remark(length).map(Remark)).transpose()
    }

    fn write_nullable(
        value: Option<&Remark>,
        writer: &mut Writer,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        Text::write_nullable(value.map(|remark| &remark.0), writer, shape)
    }
}

impl Wire for Bytes {
    fn read(reader: &mut Reader, shape: Shape) -> Result<Bytes, DecodeError> {
        Bytes::read_nullable(reader, shape)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        writer.length(self.len() as u64, shape.flexible)?;
        writer.put(self);
        Ok(())
    }
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader, shape: Shape) -> Result<Option<Bytes>, DecodeError> {
        let length = reader.length(shape.flexible)?;
        length.map(|length| reader.slice(length)).transpose()
    }

    fn write_nullable(
        value: Option<&Bytes>,
        writer: &mut Writer,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        match value {
            Some(bytes) => bytes.write(writer, shape)?,
            None => writer.null(shape.flexible),
        }
        Ok(())
    }
}

/// Reads a structure that may be null: a byte in front, -1 for null and 1 for the structure.
pub(super) fn read_marked<T: Wire>(
    reader: &mut Reader,
    shape: Shape,
) -> Result<Option<T>, DecodeError> {
    match i8::read(reader, shape)? {
        -1 => Ok(None),
        1 => T::read(reader, shape).map(Some),
        mark => Err(DecodeError::NullMark(mark)),
    }
}

/// Writes a structure that may be null; see [`read_marked`].
pub(super) fn write_marked<T: Wire>(
    value: Option<&T>,
    writer: &mut Writer,
    shape: Shape,
) -> Result<(), EncodeError> {
    match value {
        Some(value) => {
            1_i8.write(writer, shape)?;
            value.write(writer, shape)
        }
        None => (-1_i8).write(writer, shape),
    }
}

/// Record batches in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// They are here. What is decoded is always this, a slice of the message.
    Bytes(Bytes),
    /// They lie in a log, from where whoever sends the message inserts them; see
    /// [`super::codec::Splice`].
    Foreign {
        /// How many bytes of the log.
        len: u64,
    },
}

impl Default for Records {
    fn default() -> Records {
        Records::Bytes(Bytes::new())
    }
}

impl Wire for Records {
    fn read(reader: &mut Reader, shape: Shape) -> Result<Records, DecodeError> {
        Bytes::read(reader, shape).map(Records::Bytes)
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        match self {
            Records::Bytes(bytes) => bytes.write(writer, shape)?,
            Records::Foreign { len } => {
                writer.length(*len, shape.flexible)?;
                writer.splice(*len);
            }
        }
        Ok(())
    }
}

impl Nullable for Records {
    fn read_nullable(reader: &mut Reader, shape: Shape) -> Result<Option<Records>, DecodeError> {
        Ok(Bytes::read_nullable(reader, shape)?.map(Records::Bytes))
    }

    fn write_nullable(
        value: Option<&Records>,
        writer: &mut Writer,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        match value {
            Some(records) => records.write(writer, shape)?,
            None => writer.null(shape.flexible),
        }
        Ok(())
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read(reader: &mut Reader, shape: Shape) -> Result<Vec<T>, DecodeError> {
        Vec::read_nullable(reader, shape)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, writer: &mut Writer, shape: Shape) -> Result<(), EncodeError> {
        writer.length(self.len() as u64, shape.flexible)?;
        self.iter().try_for_each(|item| item.write(writer, shape.of_element()))
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader, shape: Shape) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = reader.length(shape.flexible)? else { return Ok(None) };
        // Every element takes at least a byte.
        if count > reader.remaining() {
            return Err(DecodeError::CountTooLarge(count));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            if items.len() == items.capacity() {
                reader.grow(&mut items, count)?;
            }
            let before = reader.position();
            items.push(T::read(reader, shape.of_element())?);
            if reader.position() == before {
                return Err(DecodeError::EmptyElement);
            }
        }
        Ok(Some(items))
    }

    fn write_nullable(
        value: Option<&Vec<T>>,
        writer: &mut Writer,
        shape: Shape,
    ) -> Result<(), EncodeError> {
        match value {
            Some(items) => items.write(writer, shape)?,
            None => writer.null(shape.flexible),
        }
        Ok(())
    }
}
