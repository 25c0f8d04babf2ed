//! One record inside the body of a batch: its bytes, in both directions. The format is in the head
//! of [`super`]. Owns what makes a single record well formed; knows nothing of the records around
//! it nor of the batch they are in.

use super::varint;
use crate::limits;
use crate::types::Millis;

/// Attributes, time stamp, offset, key, value and header count take at least a byte each, and so
/// does the length in front of them.
pub(super) const RECORD_BYTES_MIN: usize = 7;

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// When it was made; -1 when nobody knows.
    pub timestamp: Millis,
    /// What partitioning and compaction go by.
    pub key: Option<&'a [u8]>,
    /// The content; `None` is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Names and values that travel with the record.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// A record as it lies in a batch, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Offset, less the base offset of the batch.
    pub offset_delta: i32,
    /// When it was made or, where the topic says so, appended.
    pub timestamp: Millis,
    /// What partitioning and compaction go by.
    pub key: Option<&'a [u8]>,
    /// The content; `None` is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Names and values that travel with the record, in their order.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers.clone()
    }
}

/// The headers of a record. The bytes were verified when the record was read.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let header = take_header(&mut self.bytes);
        assert!(header.is_ok(), "headers were read once when their record was");
        header.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Splits one record off the front. Its time stamp is still the delta to the batch's base.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence about the record.
#[inline]
pub(super) fn take_record<'a>(bytes: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let length = varint::take_i32(bytes).ok_or("has no readable length")?;
    let mut body = take(bytes, length).ok_or("has a length beyond the end of the batch")?;
    let body = &mut body;
    // The attributes of a record have no meaning yet; readers are to ignore them.
    take(body, 1).ok_or("ends before its attributes")?;
    let timestamp = varint::take_i64(body).ok_or("has no readable time stamp")?;
    let offset_delta = varint::take_i32(body).ok_or("has no readable offset")?;
    let key = take_nullable(body).ok_or("has a key beyond its end")?;
    let value = take_nullable(body).ok_or("has a value beyond its end")?;
    let headers = take_headers(body)?;
    if !body.is_empty() {
        return Err("has bytes after its headers");
    }
    Ok(Record { offset_delta, timestamp: Millis(timestamp), key, value, headers })
}

/// Appends a record whose time stamp is `timestamp_delta` after the base.
pub(super) fn put_new(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    record: &NewRecord<'_>,
) {
    let length = 1
        + varint::size_i64(timestamp_delta)
        + varint::size_i32(offset_delta)
        + nullable_size(record.key)
        + nullable_size(record.value)
        + headers_size(record.headers);
    put_front(out, length, timestamp_delta, offset_delta);
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    varint::put_i32(out, length_i32(record.headers.len()));
    for (name, value) in record.headers {
        put_nullable(out, Some(name.as_bytes()));
        put_nullable(out, *value);
    }
}

/// Appends a record that was read elsewhere, its headers as they are.
pub(super) fn put_read(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    record: &Record<'_>,
) {
    let count = length_i32(record.headers.count);
    let length = 1
        + varint::size_i64(timestamp_delta)
        + varint::size_i32(offset_delta)
        + nullable_size(record.key)
        + nullable_size(record.value)
        + varint::size_i32(count)
        + record.headers.bytes.len();
    put_front(out, length, timestamp_delta, offset_delta);
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    varint::put_i32(out, count);
    out.extend_from_slice(record.headers.bytes);
}

/// Most bytes [`put_new`] appends for a record, whatever its deltas are.
pub(super) fn size_max(record: &NewRecord<'_>) -> usize {
    const LENGTH_ATTRIBUTES_DELTAS: usize = 5 + 1 + 10 + 5;
    LENGTH_ATTRIBUTES_DELTAS
        + nullable_size(record.key)
        + nullable_size(record.value)
        + headers_size(record.headers)
}

fn put_front(out: &mut Vec<u8>, length: usize, timestamp_delta: i64, offset_delta: i32) {
    out.reserve(length + 5);
    varint::put_i32(out, length_i32(length));
    out.push(0);
    varint::put_i64(out, timestamp_delta);
    varint::put_i32(out, offset_delta);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put_i32(out, -1),
        Some(bytes) => {
            varint::put_i32(out, length_i32(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    let length = bytes.map_or(0, <[u8]>::len);
    // The length is -1 or below 2^31 when it is written; for sizing, five bytes at the most.
    varint::size_i32(i32::try_from(length).unwrap_or(i32::MAX)) + length
}

fn headers_size(headers: &[(&str, Option<&[u8]>)]) -> usize {
    let each = headers
        .iter()
        .map(|(name, value)| nullable_size(Some(name.as_bytes())) + nullable_size(*value));
    varint::size_i32(i32::try_from(headers.len()).unwrap_or(i32::MAX)) + each.sum::<usize>()
}

fn length_i32(length: usize) -> i32 {
    i32::try_from(length).expect("whoever builds a batch keeps it within the batch size limit")
}

#[inline]
fn take_headers<'a>(body: &mut &'a [u8]) -> Result<Headers<'a>, &'static str> {
    let count = varint::take_i32(body).ok_or("has no readable header count")?;
    if count == 0 {
        return Ok(Headers::default());
    }
    let count = usize::try_from(count).map_err(|_| "has a negative header count")?;
    if count > limits::RECORD_HEADERS_MAX {
        return Err("has more headers than a record may carry");
    }
    let whole = *body;
    for _ in 0..count {
        take_header(body)?;
    }
    Ok(Headers { count, bytes: &whole[..whole.len() - body.len()] })
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<(&'a str, Option<&'a [u8]>), &'static str> {
    let length = varint::take_i32(bytes).ok_or("has a header without a readable key")?;
    let key = take(bytes, length).ok_or("has a header key beyond its end")?;
    let key = std::str::from_utf8(key).map_err(|_| "has a header key that is not UTF-8")?;
    let value = take_nullable(bytes).ok_or("has a header value beyond its end")?;
    Ok((key, value))
}

/// Length and bytes; the outer `None` is a broken rule, the inner one a null.
#[inline]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint::take_i32(bytes)? {
        -1 => Some(None),
        length => take(bytes, length).map(Some),
    }
}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], length: i32) -> Option<&'a [u8]> {
    let length = usize::try_from(length).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
