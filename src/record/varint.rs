//! Zigzag varints, the integers inside a record: base-128 groups, least significant first, the top
//! bit of a byte saying that another follows, small magnitudes of either sign in few bytes.
//! (Protocol Buffers calls them `sint32` and `sint64`.)

/// Splits a 32-bit varint off the front. `None` when it is cut short or does not fit; padded
/// encodings are accepted up to the five bytes that 32 bits can need, as everywhere in the field.
#[inline]
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let raw = take_unsigned(bytes, 5)?;
    let raw = u32::try_from(raw).ok()?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Splits a 64-bit varint off the front, under the same rules with ten bytes.
#[inline]
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_unsigned(bytes, 10)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Appends a 32-bit varint.
pub(super) fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(zigzag_i32(value)));
}

/// Appends a 64-bit varint.
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag_i64(value));
}

/// Bytes that [`put_i32`] appends.
pub(super) fn size_i32(value: i32) -> usize {
    size_unsigned(u64::from(zigzag_i32(value)))
}

/// Bytes that [`put_i64`] appends.
pub(super) fn size_i64(value: i64) -> usize {
    size_unsigned(zigzag_i64(value))
}

#[inline]
fn take_unsigned(bytes: &mut &[u8], bytes_max: usize) -> Option<u64> {
    // Nearly every number in a record takes one byte or two.
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Some(u64::from(first))
        }
        [first, second, ref rest @ ..] if second < 0x80 => {
            *bytes = rest;
            Some(u64::from(first & 0x7f) | u64::from(second) << 7)
        }
        _ => take_long(bytes, bytes_max),
    }
}

fn take_long(bytes: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().take(bytes_max).enumerate() {
        let group = u64::from(byte & 0x7f);
        // The tenth group has room for one bit only.
        if at == 9 && group > 1 {
            return None;
        }
        value |= group << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn size_unsigned(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag_i32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

fn zigzag_i64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_edges_of_every_size_read_back_and_their_size_is_foretold() {
        let mut values = vec![0, i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX)];
        for shift in 0..63 {
            values.extend([1_i64 << shift, -(1 << shift), (1 << shift) - 1, !(1 << shift)]);
        }
        for value in values {
            let mut bytes = Vec::new();
            put_i64(&mut bytes, value);
            assert_eq!(bytes.len(), size_i64(value));
            assert_eq!(take_i64(&mut bytes.as_slice()), Some(value));
            assert_eq!(take_i64(&mut &bytes[..bytes.len() - 1]), None, "cut short");
            if let Ok(narrow) = i32::try_from(value) {
                assert_eq!(bytes.len(), size_i32(narrow));
                assert_eq!(take_i32(&mut bytes.as_slice()), Some(narrow));
            }
        }
    }

    #[test]
    fn bits_beyond_the_width_are_refused() {
        assert_eq!(take_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None, "33 bits");
        assert_eq!(take_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]), None, "six bytes");
        let mut eleven = [0x80; 11];
        eleven[10] = 0;
        assert_eq!(take_i64(&mut &eleven[..]), None);
        let mut wide = [0xff; 10];
        wide[9] = 2;
        assert_eq!(take_i64(&mut &wide[..]), None, "65 bits");
    }
}
