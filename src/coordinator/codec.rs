//! The primitives of Kafka's schemas, as far as records of groups use them: big-endian numbers,
//! strings and bytes with their length in front, and the compact forms of flexible versions.
//! Knows nothing of what the fields mean. Bytes that are read are never trusted: a length is
//! compared with what is left before anything is taken.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};

use super::Text;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end in the middle of a field.
    #[error("the bytes end within {0}")]
    Short(&'static str),
    /// A field has a value that it may not have.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A record of a kind or version that this build does not know.
    #[error("{what} {version} is not known to this version of rivvend")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its number.
        version: i16,
    },
}

/// Reads fields from the front of some bytes.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Reader {
        Reader(bytes)
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.0.try_get_i16().map_err(|_| DecodeError::Short(field))
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.0.try_get_i32().map_err(|_| DecodeError::Short(field))
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.0.try_get_i64().map_err(|_| DecodeError::Short(field))
    }

    pub(super) fn uuid(&mut self, field: &'static str) -> Result<[u8; 16], DecodeError> {
        let bytes = self.take(16, field)?;
        Ok(bytes.as_ref().try_into().expect("sixteen were taken"))
    }

    /// A string that may not be null, compact or not.
    pub(super) fn text(&mut self, compact: bool, field: &'static str) -> Result<Text, DecodeError> {
        self.optional_text(compact, field)?.ok_or(DecodeError::Invalid(field))
    }

    pub(super) fn optional_text(
        &mut self,
        compact: bool,
        field: &'static str,
    ) -> Result<Option<Text>, DecodeError> {
        let length = match compact {
            true => self.compact_length(field)?,
            false => length_of(i32::from(self.i16(field)?), field)?,
        };
        let Some(length) = length else { return Ok(None) };
        let bytes = self.take(length, field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::Invalid(field))?;
        Ok(Some(Arc::from(text)))
    }

    /// Bytes that may not be null, compact or not.
    pub(super) fn bytes(
        &mut self,
        compact: bool,
        field: &'static str,
    ) -> Result<Bytes, DecodeError> {
        self.optional_bytes(compact, field)?.ok_or(DecodeError::Invalid(field))
    }

    pub(super) fn optional_bytes(
        &mut self,
        compact: bool,
        field: &'static str,
    ) -> Result<Option<Bytes>, DecodeError> {
        let length = match compact {
            true => self.compact_length(field)?,
            false => length_of(self.i32(field)?, field)?,
        };
        length.map(|length| self.take(length, field)).transpose()
    }

    /// The number of elements that follow: each takes at least one byte, so more than there are
    /// bytes left is a lie.
    pub(super) fn count(
        &mut self,
        compact: bool,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let count = match compact {
            true => self.compact_length(field)?,
            false => length_of(self.i32(field)?, field)?,
        };
        let count = count.ok_or(DecodeError::Invalid(field))?;
        if count > self.0.len() {
            return Err(DecodeError::Short(field));
        }
        Ok(count)
    }

    /// Tagged fields, given to `take` one by one; what it does not know it leaves.
    pub(super) fn tags(
        &mut self,
        mut take: impl FnMut(u32, Bytes) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        const FIELD: &str = "tagged fields";
        for _ in 0..self.varint(FIELD)? {
            let tag = self.varint(FIELD)?;
            let length = self.varint(FIELD)? as usize;
            take(tag, self.take(length, FIELD)?)?;
        }
        Ok(())
    }

    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn end(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn compact_length(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        Ok((self.varint(field)? as usize).checked_sub(1))
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.0.try_get_u8().map_err(|_| DecodeError::Short(field))?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Invalid(field));
            }
        }
        Err(DecodeError::Invalid(field))
    }

    fn take(&mut self, length: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if length > self.0.len() {
            return Err(DecodeError::Short(field));
        }
        Ok(self.0.split_to(length))
    }
}

fn length_of(length: i32, field: &'static str) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| DecodeError::Invalid(field)),
    }
}

/// Writes fields, one after the other.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn i16(&mut self, value: i16) {
        self.0.put_i16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    pub(super) fn text(&mut self, text: &str) {
        let length = i16::try_from(text.len()).expect("texts are bounded where they come in");
        self.0.put_i16(length);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.put_i16(-1),
        }
    }

    pub(super) fn compact_text(&mut self, text: &str) {
        self.varint(text.len() as u32 + 1);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.put_i32(i32::try_from(bytes.len()).expect("bounded where they come in"));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.0.put_i32(-1),
        }
    }

    pub(super) fn count(&mut self, count: usize) {
        self.0.put_i32(i32::try_from(count).expect("bounded where they come in"));
    }

    pub(super) fn varint(&mut self, value: u32) {
        let mut value = value;
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}
