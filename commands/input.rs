//! Cuts what `produce` reads into records: lines, a format with delimiters or lengths, or pieces of
//! one size. Works on large blocks and copies nothing: keys and values are slices of the block.
//! Does no I/O of its own beyond the reader it is given.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};
use rivvend::limits::BATCH_BYTES_MAX;

use crate::format::{braces, escape};

/// What `--help` says about formats.
pub(crate) const INPUT_HELP: &str = "\
Input formats:
  %k key   %v value   %p partition   %T timestamp in ms since 1970   %h header, name=value
  The text behind a verb ends it, unless its length came before:
  %K %V length of key or value: digits, or big-endian in N bytes: {1} {2} {4} {8}
  %k %v take {hex} and {base64}
  '%v\\n'  lines, the default
  '%k\\t%v\\n'  key, tab, value
  '%K{4}%V{4}%k%v'  lengths of four bytes each, then key and value
Escapes: \\n \\t \\r \\0 \\\\ \\xNN, %% for a percent sign";

/// How many bytes one read asks for: twice what the last one gave, within these bounds. A file
/// gives all it is asked for, a pipe 64 KiB at most, a terminal a line.
const READ_BYTES_MIN: usize = 64 << 10;
const READ_BYTES_MAX: usize = 1 << 20;
/// Longest a record may be before cutting gives up: nothing larger could be sent anyway.
const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// A record as it was read; what the input does not say is left open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InputRecord {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Bytes,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) headers: Vec<(String, Bytes)>,
}

/// How input is cut into records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InputFormat {
    /// One record a line, the value only.
    Lines,
    /// Pieces of this size, the last one shorter.
    Chunks(usize),
    /// By verbs.
    Verbs(Vec<Verb>),
}

/// One step of reading a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Text that must stand here. Never empty.
    Literal(Vec<u8>),
    /// A part of the record.
    Field(Field, Encoding),
    /// Length of a part that comes later.
    Length(Field, LengthForm),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Key,
    Value,
    Partition,
    Timestamp,
    Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Raw,
    Hex,
    Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthForm {
    /// As many digits as there are.
    Digits,
    /// Big-endian in this many bytes.
    Bytes(usize),
}

impl InputFormat {
    /// Reads a format.
    pub(crate) fn parse(text: &str) -> Result<InputFormat, String> {
        let verbs = parse_verbs(text)?;
        check_verbs(&verbs)?;
        let lines =
            [Verb::Field(Field::Value, Encoding::Raw), Verb::Literal(b"\n".to_vec())].to_vec();
        Ok(if verbs == lines { InputFormat::Lines } else { InputFormat::Verbs(verbs) })
    }

    /// Whether records say to which partition they go.
    pub(crate) fn names_partitions(&self) -> bool {
        let is_partition = |verb: &Verb| matches!(verb, Verb::Field(Field::Partition, _));
        matches!(self, InputFormat::Verbs(verbs) if verbs.iter().any(is_partition))
    }
}

fn parse_verbs(text: &str) -> Result<Vec<Verb>, String> {
    let mut verbs = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '%' && !rest[1..].starts_with('%') {
            let (verb, after) = parse_verb(&rest[1..])?;
            verbs.push(verb);
            rest = after;
            continue;
        }
        let mut piece = [0; 4];
        let (bytes, after): (&[u8], &str) = match c {
            '\\' => {
                let (byte, after) = escape(rest)?;
                piece[0] = byte;
                (&piece[..1], after)
            }
            '%' => (b"%", &rest[2..]),
            _ => (c.encode_utf8(&mut piece).as_bytes(), &rest[c.len_utf8()..]),
        };
        match verbs.last_mut() {
            Some(Verb::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => verbs.push(Verb::Literal(bytes.to_vec())),
        }
        rest = after;
    }
    Ok(verbs)
}

fn parse_verb(text: &str) -> Result<(Verb, &str), String> {
    let Some(letter) = text.chars().next() else {
        return Err("a single % at the end; write %% for a percent sign".to_owned());
    };
    let (modifier, rest) = braces(&text[letter.len_utf8()..])?;
    let verb = match letter {
        'k' => Verb::Field(Field::Key, encoding(modifier)?),
        'v' | 's' => Verb::Field(Field::Value, encoding(modifier)?),
        'h' => Verb::Field(Field::Header, encoding(modifier)?),
        'p' if modifier.is_none() => Verb::Field(Field::Partition, Encoding::Raw),
        'T' if modifier.is_none() => Verb::Field(Field::Timestamp, Encoding::Raw),
        'K' => Verb::Length(Field::Key, length_form(modifier)?),
        'V' | 'S' => Verb::Length(Field::Value, length_form(modifier)?),
        other => {
            return Err(format!("%{other} is no verb here; `rivvend produce --help` lists them"));
        }
    };
    Ok((verb, rest))
}

fn encoding(modifier: Option<&str>) -> Result<Encoding, String> {
    match modifier {
        None => Ok(Encoding::Raw),
        Some("hex") => Ok(Encoding::Hex),
        Some("base64") => Ok(Encoding::Base64),
        Some(other) => Err(format!("{{{other}}} is no encoding; use {{hex}} or {{base64}}")),
    }
}

fn length_form(modifier: Option<&str>) -> Result<LengthForm, String> {
    match modifier {
        None | Some("ascii") => Ok(LengthForm::Digits),
        Some("1" | "big8") => Ok(LengthForm::Bytes(1)),
        Some("2" | "big16") => Ok(LengthForm::Bytes(2)),
        Some("4" | "big32") => Ok(LengthForm::Bytes(4)),
        Some("8" | "big64") => Ok(LengthForm::Bytes(8)),
        Some(other) => {
            Err(format!("{{{other}}} is no form of a length; use {{1}}, {{2}}, {{4}} or {{8}}"))
        }
    }
}

/// Every part must have an end, or the input could only be cut by guessing.
fn check_verbs(verbs: &[Verb]) -> Result<(), String> {
    let mut sized: Vec<Field> = Vec::new();
    let mut seen: Vec<Field> = Vec::new();
    for (index, verb) in verbs.iter().enumerate() {
        match verb {
            Verb::Literal(_) => {}
            Verb::Length(field, form) => {
                let open = matches!(form, LengthForm::Digits);
                if open && !matches!(verbs.get(index + 1), Some(Verb::Literal(_))) {
                    return Err("a length in digits needs text behind it, or a width".to_owned());
                }
                sized.push(*field);
            }
            Verb::Field(field, _) => {
                if *field != Field::Header && seen.contains(field) {
                    return Err("a part of the record stands twice".to_owned());
                }
                let ends = matches!(verbs.get(index + 1), Some(Verb::Literal(_)));
                if !sized.contains(field) && !ends {
                    return Err(
                        "each part needs text behind it, or its length before it".to_owned()
                    );
                }
                seen.push(*field);
            }
        }
    }
    if let Some(field) = sized.iter().find(|field| !seen.contains(field)) {
        return Err(format!("the length of the {field:?} is read, but it never comes"));
    }
    if seen.is_empty() { Err("nothing of a record is in it".to_owned()) } else { Ok(()) }
}

/// What became of an attempt to cut one record.
enum Cut {
    /// A record, and how many bytes it took.
    Record(InputRecord, usize),
    /// The block ends before the record does.
    Unfinished,
}

/// Reads blocks and cuts them into records.
#[derive(Debug)]
pub(crate) struct Cutter<R> {
    reader: R,
    format: InputFormat,
    /// The beginning of a record whose end has not been read yet.
    rest: BytesMut,
    is_at_end: bool,
    /// How many records were cut, to say where input is malformed.
    count: u64,
    /// How many bytes were read.
    bytes_read: u64,
    /// How many bytes the next read asks for.
    read_bytes: usize,
}

impl<R: Read> Cutter<R> {
    pub(crate) fn new(reader: R, format: InputFormat) -> Cutter<R> {
        let rest = BytesMut::new();
        let read_bytes = READ_BYTES_MAX;
        Cutter { reader, format, rest, is_at_end: false, count: 0, bytes_read: 0, read_bytes }
    }

    /// How far the input has been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The records of the next block; none at the end of the input.
    ///
    /// # Errors
    /// When reading fails, or the input does not follow the format.
    pub(crate) fn next_block(&mut self) -> io::Result<Vec<InputRecord>> {
        let mut records = Vec::new();
        while records.is_empty() && !self.is_at_end {
            self.fill()?;
            self.cut(&mut records)?;
        }
        Ok(records)
    }

    /// One read. A pipe that has little gives little, and it is passed on at once.
    fn fill(&mut self) -> io::Result<()> {
        let have = self.rest.len();
        self.rest.resize(have + self.read_bytes, 0);
        let read = loop {
            match self.reader.read(&mut self.rest[have..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.rest.truncate(have + *read.as_ref().unwrap_or(&0));
        let read = read?;
        self.bytes_read += read as u64;
        self.read_bytes = (2 * read).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.is_at_end = read == 0;
        Ok(())
    }

    fn cut(&mut self, records: &mut Vec<InputRecord>) -> io::Result<()> {
        let block = std::mem::take(&mut self.rest).freeze();
        let used = match &self.format {
            InputFormat::Lines => cut_lines(&block, self.is_at_end, records),
            InputFormat::Chunks(size) => cut_chunks(&block, *size, self.is_at_end, records),
            InputFormat::Verbs(verbs) => {
                let cut = cut_verbs(verbs, &block, self.is_at_end, records);
                cut.map_err(|wrong| {
                    let number = self.count + records.len() as u64 + 1;
                    io::Error::new(io::ErrorKind::InvalidData, format!("record {number}: {wrong}"))
                })?
            }
        };
        self.count += records.len() as u64;
        let left = &block[used..];
        if left.len() > RECORD_BYTES_MAX {
            let number = self.count + 1;
            let message = format!("record {number} is longer than {RECORD_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        // Nothing was cut: the record goes on in the next read, and nobody else holds the block.
        self.rest = match used {
            0 => block.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref())),
            _ => BytesMut::from(left),
        };
        Ok(())
    }
}

/// The lines of a block; returns how much they took. At the end of the input a line needs no feed.
fn cut_lines(block: &Bytes, is_at_end: bool, records: &mut Vec<InputRecord>) -> usize {
    let mut at = 0;
    while let Some(length) = memchr(b'\n', &block[at..]) {
        records.push(InputRecord { value: block.slice(at..at + length), ..InputRecord::default() });
        at += length + 1;
    }
    if is_at_end && at < block.len() {
        records.push(InputRecord { value: block.slice(at..), ..InputRecord::default() });
        at = block.len();
    }
    at
}

fn cut_chunks(block: &Bytes, size: usize, is_at_end: bool, out: &mut Vec<InputRecord>) -> usize {
    let mut at = 0;
    while block.len() - at >= size {
        out.push(InputRecord { value: block.slice(at..at + size), ..InputRecord::default() });
        at += size;
    }
    if is_at_end && at < block.len() {
        out.push(InputRecord { value: block.slice(at..), ..InputRecord::default() });
        at = block.len();
    }
    at
}

fn cut_verbs(
    verbs: &[Verb],
    block: &Bytes,
    is_at_end: bool,
    records: &mut Vec<InputRecord>,
) -> Result<usize, String> {
    let mut at = 0;
    while at < block.len() {
        match cut_one(verbs, &block.slice(at..), is_at_end)? {
            Cut::Record(record, used) => {
                records.push(record);
                at += used;
            }
            Cut::Unfinished if is_at_end => {
                return Err("the input ends in the middle of it".to_owned());
            }
            Cut::Unfinished => break,
        }
    }
    Ok(at)
}

fn cut_one(verbs: &[Verb], block: &Bytes, is_at_end: bool) -> Result<Cut, String> {
    let mut record = InputRecord::default();
    let (mut key_length, mut value_length) = (None, None);
    let mut at = 0;
    for (index, verb) in verbs.iter().enumerate() {
        let rest = &block[at..];
        let is_last = index + 1 == verbs.len();
        match verb {
            Verb::Literal(literal) if rest.starts_with(literal) => at += literal.len(),
            // The last line of a file often lacks its feed.
            Verb::Literal(_) if is_last && is_at_end && rest.is_empty() => {}
            Verb::Literal(literal) if literal.starts_with(rest) => return Ok(Cut::Unfinished),
            Verb::Literal(literal) => {
                let wanted = String::from_utf8_lossy(literal);
                return Err(format!("{wanted:?} is missing at byte {at} of it"));
            }
            Verb::Length(field, form) => {
                let Some((length, used)) = read_length(*form, rest)? else {
                    return Ok(Cut::Unfinished);
                };
                at += used;
                match field {
                    Field::Key => key_length = Some(length),
                    _ => value_length = Some(length),
                }
            }
            Verb::Field(field, encoding) => {
                let length = match field {
                    Field::Key => key_length,
                    Field::Value => value_length,
                    _ => None,
                };
                let end = verbs.get(index + 1).filter(|_| length.is_none());
                let closing = is_at_end && index + 2 == verbs.len();
                let Some(length) = length.or_else(|| find_end(rest, end, closing)) else {
                    return Ok(Cut::Unfinished);
                };
                if length > rest.len() {
                    return Ok(Cut::Unfinished);
                }
                set(&mut record, *field, decode(block.slice(at..at + length), *encoding)?)?;
                at += length;
            }
        }
    }
    Ok(Cut::Record(record, at))
}

/// Where the text that ends a part begins. When the input is over and the text is the last of the
/// format, the part may end with the input instead.
fn find_end(rest: &[u8], end: Option<&Verb>, closing: bool) -> Option<usize> {
    let Some(Verb::Literal(literal)) = end else { return None };
    let found = match literal.as_slice() {
        [byte] => memchr(*byte, rest),
        literal => memmem::find(rest, literal),
    };
    found.or_else(|| closing.then_some(rest.len()))
}

fn read_length(form: LengthForm, rest: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let (length, used) = match form {
        LengthForm::Digits => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match rest.get(digits) {
                None if digits < 20 => return Ok(None),
                _ => (decimal(&rest[..digits]), digits),
            }
        }
        LengthForm::Bytes(width) => {
            let Some(bytes) = rest.get(..width) else { return Ok(None) };
            // As a number, four digits would be more than 800 million, beyond any record: whoever
            // writes digits in so many bytes means digits.
            let digits = width >= 4 && bytes.iter().all(u8::is_ascii_digit);
            let number = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            (if digits { decimal(bytes) } else { Some(number) }, width)
        }
    };
    match length.and_then(|length| usize::try_from(length).ok()) {
        Some(length) if length <= RECORD_BYTES_MAX => Ok(Some((length, used))),
        Some(length) => Err(format!("a length of {length} bytes is more than {RECORD_BYTES_MAX}")),
        None => Err("there is no length where one is expected".to_owned()),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn decode(bytes: Bytes, encoding: Encoding) -> Result<Bytes, String> {
    use base64::Engine as _;
    match encoding {
        Encoding::Raw => Ok(bytes),
        Encoding::Base64 => {
            let decoded = base64::prelude::BASE64_STANDARD.decode(&bytes);
            decoded.map(Bytes::from).map_err(|error| format!("not base64: {error}"))
        }
        Encoding::Hex => {
            let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
            let pairs = bytes.chunks(2).map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            });
            let decoded: Option<Vec<u8>> = pairs.collect();
            decoded.map(Bytes::from).ok_or_else(|| "not hexadecimal".to_owned())
        }
    }
}

fn set(record: &mut InputRecord, field: Field, bytes: Bytes) -> Result<(), String> {
    match field {
        Field::Key => record.key = Some(bytes),
        Field::Value => record.value = bytes,
        Field::Partition => record.partition = Some(number(&bytes)?),
        Field::Timestamp => record.timestamp_ms = Some(number(&bytes)?),
        Field::Header => {
            let text = std::str::from_utf8(&bytes);
            let (name, value) = text
                .ok()
                .and_then(|text| text.split_once('='))
                .ok_or_else(|| "a header is no name=value".to_owned())?;
            record.headers.push((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, String> {
    let text = String::from_utf8_lossy(bytes);
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its input in pieces of a size, so that records end in every place of a read.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(self.0.len()).min(into.len());
            into[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn cut(input: &[u8], format: &InputFormat, step: usize) -> io::Result<Vec<InputRecord>> {
        let mut cutter = Cutter::new(Trickle(input, step), format.clone());
        let mut all = Vec::new();
        loop {
            let block = cutter.next_block()?;
            if block.is_empty() {
                assert_eq!(cutter.bytes_read(), input.len() as u64);
                return Ok(all);
            }
            all.extend(block);
        }
    }

    fn pairs(input: &[u8], format: &str) -> Result<Vec<(String, String)>, String> {
        let format = InputFormat::parse(format)?;
        let records = cut(input, &format, 3).map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pair = |r: &InputRecord| (text(r.key.as_deref().unwrap_or(b"-")), text(&r.value));
        Ok(records.iter().map(pair).collect())
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_values_and_the_last_needs_no_feed() {
        let lines = |input: &[u8]| pairs(input, "%v\\n").expect("lines");
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"a\n\nbc\n"), [pair("-", "a"), pair("-", ""), pair("-", "bc")]);
        assert_eq!(lines(b"a\nb"), [pair("-", "a"), pair("-", "b")]);
        assert_eq!(lines(b"a\r\n"), [pair("-", "a\r")]);
        assert_eq!(InputFormat::parse("%v\\n"), Ok(InputFormat::Lines));
    }

    #[test]
    fn delimiters_end_keys_and_values() {
        assert_eq!(
            pairs(b"k1\tv1\nk2\tv2\tx", "%k\\t%v\\n"),
            Ok(vec![pair("k1", "v1"), pair("k2", "v2\tx")])
        );
        assert_eq!(
            pairs(b"key: a, value: b;;key: c, value: d;;", "key: %k, value: %v;;"),
            Ok(vec![pair("a", "b"), pair("c", "d")])
        );
        assert_eq!(pairs(b"6b:dg==\n", "%k{hex}:%v{base64}\\n"), Ok(vec![pair("k", "v")]));
        assert!(pairs(b"no tab\n", "%k\\t%v\\n").is_err_and(|e| e.contains("record 1")));
        assert!(pairs(b"a\tb\nxx", "%k\\t%v\\n").is_err_and(|e| e.contains("record 2")));
        assert!(pairs(b"x", "%k{hex}:%v\\n").is_err());
    }

    #[test]
    fn lengths_come_as_bytes_or_digits() {
        let binary = b"\0\0\0\x02\0\0\0\x03abcde\0\0\0\0\0\0\0\x01z";
        let wanted = Ok(vec![pair("ab", "cde"), pair("", "z")]);
        assert_eq!(pairs(binary, "%K{4}%V{4}%k%v"), wanted);
        assert_eq!(pairs(binary, "%K{big32}%V{big32}%k%v"), wanted);
        assert_eq!(pairs(b"00020003abcde00000001z", "%K{4}%V{4}%k%v"), wanted);
        assert_eq!(pairs(b"2 ab 3 cde\n0  1 z\n", "%K %k %V %v\\n"), wanted);
        assert_eq!(pairs(b"\x01\x02x\n\ny", "%K{1}%V{1}%k\\n%v"), Ok(vec![pair("x", "\ny")]));
    }

    #[test]
    fn impossible_lengths_end_with_an_error_and_reserve_nothing() {
        assert!(pairs(b"\xff\xff\xff\xff\0\0\0\0", "%K{4}%V{4}%k%v").is_err());
        assert!(pairs(b"99999999999999999999999 x", "%V %v").is_err());
        assert!(pairs(b"x", "%V %v").is_err());
        assert!(pairs(b"\0\0\0\x05ab", "%V{4}%v").is_err_and(|e| e.contains("ends in the middle")));
    }

    #[test]
    fn partition_time_and_headers_are_read() {
        let format = InputFormat::parse("%p %T %h %h %v\\n").expect("valid");
        let records = cut(b"2 1700 a=1 b=x=y hello\n", &format, 5).expect("well formed");
        assert_eq!((records[0].partition, records[0].timestamp_ms), (Some(2), Some(1700)));
        let header = |name: &str, value: &'static str| (name.to_owned(), Bytes::from(value));
        assert_eq!(records[0].headers, [header("a", "1"), header("b", "x=y")]);
        assert!(cut(b"x 1 a=1 b=2 v\n", &format, 5).is_err());
    }

    #[test]
    fn formats_that_can_not_be_cut_are_refused() {
        for format in [
            "",
            "text",
            "%v",
            "%k%v\\n",
            "%K%k%v\\n",
            "%K{4}%v\\n",
            "%z",
            "%v%",
            "%v\\n%v\\n",
            "%K{3}%k",
        ] {
            assert!(InputFormat::parse(format).is_err(), "{format:?}");
        }
    }

    #[test]
    fn chunks_have_one_size_but_the_last() {
        let records = cut(b"abcdefg", &InputFormat::Chunks(3), 2).expect("anything goes");
        let values: Vec<&[u8]> = records.iter().map(|record| record.value.as_ref()).collect();
        assert_eq!(values, [b"abc".as_slice(), b"def", b"g"]);
        assert_eq!(cut(b"", &InputFormat::Chunks(3), 2).expect("nothing"), []);
    }

    proptest! {
        /// However reads fall, the same records come out.
        #[test]
        fn lines_do_not_depend_on_the_reads(
            lines in prop::collection::vec("[a-c]{0,9}", 0..20), step in 1_usize..40
        ) {
            let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let records = cut(input.as_bytes(), &InputFormat::Lines, step).expect("lines");
            let got: Vec<String> =
                records.iter().map(|r| String::from_utf8_lossy(&r.value).into_owned()).collect();
            prop_assert_eq!(got, lines);
        }

        #[test]
        fn no_input_and_no_format_panics(
            format in "[%kvKVphT{}48\\\\nt ]{0,12}",
            input in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(format) = InputFormat::parse(&format) {
                let _ = cut(&input, &format, 7);
            }
        }
    }
}
