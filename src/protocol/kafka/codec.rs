//! Reads and writes the primitive values of Kafka's protocol: big-endian integers, lengths,
//! unsigned varints and tagged fields. Owns the bounds that hold for any message: what a peer
//! declares is believed only as far as bytes have arrived for it. Knows no message.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::Text;
use crate::limits;
use crate::planted::{self, Bug};

/// Why bytes are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes are left over behind the message.
    #[error("{0} bytes are left over behind the message")]
    Trailing(usize),
    /// A length is negative and does not mean null.
    #[error("a length is negative")]
    NegativeLength,
    /// A varint is longer than its type.
    #[error("a varint does not fit into 32 bits")]
    VarintTooLong,
    /// Null stands where this version of the message allows none.
    #[error("null stands where there must be a value")]
    UnexpectedNull,
    /// The byte in front of a structure that may be null is neither -1 nor 1.
    #[error("the mark of a structure that may be null is {0}")]
    NullMark(i8),
    /// A text is longer than any may be.
    #[error("a text of {0} bytes is longer than {max}", max = limits::KAFKA_TEXT_BYTES_MAX)]
    TextTooLong(usize),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    TextNotUtf8,
    /// A text contains a NUL.
    #[error("a text contains a NUL")]
    TextWithNul,
    /// An array declares more elements than bytes are left.
    #[error("an array of {0} elements does not fit into the bytes that are left")]
    CountTooLarge(usize),
    /// The elements of an array take no bytes, so its length could be anything.
    #[error("the elements of an array take no bytes")]
    EmptyElement,
    /// The message takes far more memory than bytes on the wire.
    #[error("the message takes far more memory than bytes on the wire")]
    MemoryExceeded,
    /// A structure has more tagged fields than any may have.
    #[error("{0} tagged fields are more than {max}", max = limits::KAFKA_TAGS_MAX)]
    TooManyTags(u32),
    /// The tagged fields of a header are too large.
    #[error("{0} bytes of tagged fields in a header are too many")]
    HeaderTagsTooLarge(usize),
    /// A tagged field is not as long as it says.
    #[error("tagged field {0} is not as long as it says")]
    TagLength(u32),
    /// The message has no such version.
    #[error("there is no version {0} of the message")]
    UnsupportedVersion(i16),
}

/// Why a message can not be put into bytes at some version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The version has no room for what the field says, which may not be left out.
    #[error("version {version} has no field {field}, which is set")]
    FieldNotInVersion {
        /// Name of the field.
        field: &'static str,
        /// Version that was asked for.
        version: i16,
    },
    /// Null where this version of the message allows none.
    #[error("null is not allowed at version {0}")]
    UnexpectedNull(i16),
    /// A text, an array, bytes or the whole frame are longer than their length field can say.
    #[error("{0} is more than a length field can say")]
    TooLong(u64),
    /// Bytes that are inserted later stand in a place whose length must be known now.
    #[error("records of a log can not stand inside a tagged field")]
    SpliceInTag,
    /// The message has no such version.
    #[error("there is no version {0} of the message")]
    UnsupportedVersion(i16),
}

/// Takes values off the front of a message. Texts and bytes are slices of what was received; memory
/// for arrays is taken as their elements arrive and never exceeds
/// [`limits::KAFKA_DECODE_FACTOR`] times the message's size by more than
/// [`limits::KAFKA_DECODE_SLACK_BYTES`].
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    /// Memory that arrays may still take.
    memory_bytes: usize,
}

impl Reader {
    /// Reads these bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Reader {
        let memory_bytes =
            limits::KAFKA_DECODE_FACTOR * bytes.len() + limits::KAFKA_DECODE_SLACK_BYTES;
        Reader { bytes, at: 0, memory_bytes }
    }

    /// Bytes that are still to be read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes that are still to be read.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Leaves out bytes, which have to be there.
    pub(super) fn skip(&mut self, count: usize) {
        assert!(count <= self.remaining(), "there are as many bytes");
        self.at += count;
    }

    /// Refuses bytes that nobody has read.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when there are any.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.bytes[self.at..].first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        let taken = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(taken)
    }

    pub(super) fn text(&mut self, length: usize) -> Result<Text, DecodeError> {
        if length > limits::KAFKA_TEXT_BYTES_MAX {
            return Err(DecodeError::TextTooLong(length));
        }
        let text = self.remark(length)?;
        match memchr::memchr(0, text.as_bytes()) {
            Some(_) => Err(DecodeError::TextWithNul),
            None => Ok(text),
        }
    }

    /// A text that may hold a NUL, and as much as the frame does.
    pub(super) fn remark(&mut self, length: usize) -> Result<Text, DecodeError> {
        Text::try_from(self.slice(length)?).map_err(|_| DecodeError::TextNotUtf8)
    }

    #[inline]
    pub(super) fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for at in 0..5 {
            let [byte] = self.array()?;
            let group = u32::from(byte & 0x7f);
            // The fifth group has room for four bits only.
            if at == 4 && group > 0x0f {
                return Err(DecodeError::VarintTooLong);
            }
            value |= group << (7 * at);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// The length in front of a text: 16 bits, or a varint of it plus one in flexible versions.
    /// `None` means null.
    pub(super) fn text_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        length(i32::from(i16::from_be_bytes(self.array()?)))
    }

    /// The length in front of bytes or an array: 32 bits, or a varint of it plus one in flexible
    /// versions. `None` means null.
    pub(super) fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        length(i32::from_be_bytes(self.array()?))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    /// Makes room in `items` for more of the `count` elements that were declared, by few at first:
    /// the count is a claim until the elements are there.
    pub(super) fn grow<T>(&mut self, items: &mut Vec<T>, count: usize) -> Result<(), DecodeError> {
        const FIRST: usize = 32;
        const FACTOR: usize = 4;
        let bounded = count.min(FIRST.max(items.capacity().saturating_mul(FACTOR)));
        let room = if planted::is(Bug::AllocateDeclared) {
            count
        } else {
            let bytes = bounded.saturating_mul(size_of::<T>());
            let left = self.memory_bytes.checked_sub(bytes).ok_or(DecodeError::MemoryExceeded)?;
            self.memory_bytes = left;
            bounded
        };
        items.reserve_exact(room - items.len());
        Ok(())
    }

    /// Reads the tagged fields behind a structure. `take` reads the field with a tag that it knows
    /// and says so; the others are skipped, as they come from a newer peer.
    pub(super) fn tags(
        &mut self,
        mut take: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        if count > limits::KAFKA_TAGS_MAX {
            return Err(DecodeError::TooManyTags(count));
        }
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let length = self.unsigned_varint()? as usize;
            if length > self.remaining() {
                return Err(DecodeError::Truncated);
            }
            let end = self.at + length;
            if !take(self, tag)? {
                self.at = end;
            } else if self.at != end {
                return Err(DecodeError::TagLength(tag));
            }
        }
        Ok(())
    }
}

fn length(declared: i32) -> Result<Option<usize>, DecodeError> {
    match declared {
        -1 => Ok(None),
        _ => usize::try_from(declared).map(Some).map_err(|_| DecodeError::NegativeLength),
    }
}

/// A place in encoded bytes where others belong, which come from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// How many of the encoded bytes go before.
    pub at: usize,
    /// How many bytes are to be inserted.
    pub len: u64,
}

/// What a [`Writer`] has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes, without those that are to be inserted.
    pub bytes: Bytes,
    /// Where to insert what, front to back.
    pub splices: Vec<Splice>,
}

impl Encoded {
    /// Bytes on the wire, inserted ones included.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.splices.iter().map(|splice| splice.len).sum::<u64>()
    }
}

/// Puts values into one buffer, and remembers where bytes of a log belong between them.
#[derive(Default)]
pub struct Writer {
    bytes: BytesMut,
    splices: Vec<Splice>,
    /// Length of all splices.
    spliced_bytes: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({} bytes, {} splices)", self.bytes.len(), self.splices.len())
    }
}

impl Writer {
    /// A writer with room for this many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { bytes: BytesMut::with_capacity(bytes), ..Writer::default() }
    }

    /// What has been written.
    #[must_use]
    pub fn finish(self) -> Encoded {
        Encoded { bytes: self.bytes.freeze(), splices: self.splices }
    }

    /// Leaves room for the length of a frame, which [`Writer::finish_frame`] fills in.
    pub(super) fn start_frame(&mut self) {
        debug_assert!(self.bytes.is_empty(), "a frame starts with its length");
        self.bytes.put_i32(0);
    }

    /// What has been written since [`Writer::start_frame`], with the length in front. It counts
    /// what is to be inserted too.
    pub(super) fn finish_frame(mut self) -> Result<Encoded, EncodeError> {
        let (prefix, body) =
            self.bytes.split_first_chunk_mut::<4>().expect("the frame was started with its length");
        let length = body.len() as u64 + self.spliced_bytes;
        *prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?.to_be_bytes();
        Ok(self.finish())
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    pub(super) fn unsigned_varint(&mut self, value: u32) {
        let (bytes, length) = varint(value);
        self.put(&bytes[..length]);
    }

    /// The length in front of a text; see [`Reader::text_length`].
    pub(super) fn text_length(&mut self, length: usize, flexible: bool) -> Result<(), EncodeError> {
        if length > limits::KAFKA_TEXT_BYTES_MAX {
            return Err(EncodeError::TooLong(length as u64));
        }
        if flexible {
            return self.length(length as u64, true);
        }
        self.put(&(length as i16).to_be_bytes());
        Ok(())
    }

    /// The length in front of bytes or an array; see [`Reader::length`].
    pub(super) fn length(&mut self, length: u64, flexible: bool) -> Result<(), EncodeError> {
        let narrow = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        if flexible {
            self.unsigned_varint(narrow as u32 + 1);
        } else {
            self.put(&narrow.to_be_bytes());
        }
        Ok(())
    }

    /// Null in place of a text.
    pub(super) fn null_text(&mut self, flexible: bool) {
        if flexible {
            self.put(&[0]);
        } else {
            self.put(&(-1_i16).to_be_bytes());
        }
    }

    /// Null in place of bytes or an array.
    pub(super) fn null(&mut self, flexible: bool) {
        if flexible {
            self.put(&[0]);
        } else {
            self.put(&(-1_i32).to_be_bytes());
        }
    }

    /// Says that `len` bytes are to be inserted here.
    pub(super) fn splice(&mut self, len: u64) {
        if len > 0 {
            self.splices.push(Splice { at: self.bytes.len(), len });
            self.spliced_bytes += len;
        }
    }

    /// Writes one tagged field: its tag, its length, and what `write` writes.
    pub(super) fn tag(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unsigned_varint(tag);
        let start = self.bytes.len();
        let splices = self.splices.len();
        write(self)?;
        if self.splices.len() != splices {
            return Err(EncodeError::SpliceInTag);
        }
        // The length goes in front once it is known: tagged fields are small and rare.
        let length = self.bytes.len() - start;
        let narrow = u32::try_from(length).map_err(|_| EncodeError::TooLong(length as u64))?;
        let (prefix, prefix_bytes) = varint(narrow);
        self.put(&prefix[..prefix_bytes]);
        self.bytes[start..].rotate_right(prefix_bytes);
        Ok(())
    }
}

/// An unsigned varint and how many of the bytes it takes.
fn varint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_read_back() {
        for shift in 0..32 {
            for value in [1_u32 << shift, (1 << shift) - 1, u32::MAX >> shift] {
                let mut writer = Writer::default();
                writer.unsigned_varint(value);
                let mut reader = Reader::new(writer.finish().bytes);
                assert_eq!(reader.unsigned_varint(), Ok(value));
                assert_eq!(reader.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn varints_beyond_32_bits_are_refused() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]] {
            let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
            assert_eq!(reader.unsigned_varint(), Err(DecodeError::VarintTooLong));
        }
    }

    #[test]
    fn the_length_of_a_tagged_field_goes_in_front_of_it() {
        for length in [0, 1, 127, 128, 20_000] {
            let mut writer = Writer::default();
            writer.put(b"before");
            let content = vec![7; length];
            writer
                .tag(300, |writer| {
                    writer.put(&content);
                    Ok(())
                })
                .expect("it is small");
            let mut reader = Reader::new(writer.finish().bytes);
            assert_eq!(&reader.slice(6).expect("it is there")[..], b"before");
            assert_eq!(reader.unsigned_varint(), Ok(300));
            assert_eq!(reader.unsigned_varint(), Ok(length as u32));
            assert_eq!(reader.slice(length).expect("it is there"), content);
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn texts_that_no_request_may_have_are_refused() {
        let read = |bytes: &[u8]| Reader::new(Bytes::copy_from_slice(bytes)).text(bytes.len());
        assert_eq!(read("größe".as_bytes()).as_deref(), Ok("größe"));
        assert_eq!(read(&[0xc3, 0x28]), Err(DecodeError::TextNotUtf8));
        assert_eq!(read(b"a\0b"), Err(DecodeError::TextWithNul));
        assert_eq!(read(&[b'a'; 32_767]).map(|text| text.len()), Ok(32_767));
        assert_eq!(read(&[b'a'; 32_768]), Err(DecodeError::TextTooLong(32_768)));
        assert_eq!(Reader::new(Bytes::new()).text(1), Err(DecodeError::Truncated));
    }
}
