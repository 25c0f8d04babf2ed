//! The format language of `consume -f`: text with verbs that stand for parts of a record. Verbs are
//! those of kcat and rpk; FORMAT_HELP lists them. Formatting appends to a buffer and does no I/O.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::fields::Field;

/// What `--help` says about formats.
pub(crate) const FORMAT_HELP: &str = "\
Format verbs:
  %t topic   %p partition   %o offset   %T timestamp in ms since 1970   %k key   %v %s value
  %K key length   %V %S value length (-1: none)   %H number of headers   %i running number
  %h{…} each header, with %k and %v inside; plain %h is name=value,…
Modifiers:
  %k %v: {hex} {base64} {json} {text} (control characters escaped)
  %T: {rfc3339}   numbers: {hex} or big-endian in N bytes, {1} {2} {4} {8}
Escapes: \\n \\t \\r \\0 \\\\ \\xNN, %% for a percent sign";

/// A record as a format sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// How many records were printed before this one.
    pub(crate) count: u64,
}

/// A format, ready to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Topic(Encoding),
    Key(Encoding),
    Value(Encoding),
    Number(Number, Width),
    Time,
    /// Each header by this format; `None` is the short form.
    Headers(Option<Format>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Raw,
    Hex,
    Base64,
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Partition,
    Offset,
    Timestamp,
    KeyLength,
    ValueLength,
    Headers,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Decimal,
    Hex,
    /// Big-endian in this many bytes.
    Bytes(usize),
}

impl Format {
    /// Reads a format.
    pub(crate) fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match c {
                '\\' => {
                    let (byte, after) = escape(rest)?;
                    literal.push(byte);
                    rest = after;
                }
                '%' if rest[1..].starts_with('%') => {
                    literal.push(b'%');
                    rest = &rest[2..];
                }
                '%' => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    let (piece, after) = verb(&rest[1..])?;
                    pieces.push(piece);
                    rest = after;
                }
                _ => {
                    literal.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Format(pieces))
    }

    /// Appends the record to `out`.
    pub(crate) fn write(&self, view: &View<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Topic(encoding) => write_bytes(Some(view.topic.as_bytes()), *encoding, out),
                Piece::Key(encoding) => write_bytes(view.key, *encoding, out),
                Piece::Value(encoding) => write_bytes(view.value, *encoding, out),
                Piece::Number(number, width) => write_number(number.of(view), *width, out),
                Piece::Time => write_time(view.timestamp_ms, out),
                Piece::Headers(format) => write_headers(view, format.as_ref(), out),
            }
        }
    }
}

impl Number {
    fn of(self, view: &View<'_>) -> i64 {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        match self {
            Number::Partition => i64::from(view.partition),
            Number::Offset => view.offset,
            Number::Timestamp => view.timestamp_ms,
            Number::KeyLength => length(view.key),
            Number::ValueLength => length(view.value),
            Number::Headers => view.headers.len() as i64,
            Number::Count => view.count as i64,
        }
    }
}

/// Reads the escape at the front of `text`: its byte and what follows.
pub(crate) fn escape(text: &str) -> Result<(u8, &str), String> {
    let mut chars = text.chars();
    chars.next();
    let byte = match chars.next() {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits = chars.as_str().get(..2).unwrap_or_default();
            let byte = u8::from_str_radix(digits, 16)
                .map_err(|_| "\\x needs two hexadecimal digits".to_owned())?;
            return Ok((byte, &chars.as_str()[2..]));
        }
        Some(other) => return Err(format!("\\{other} has no meaning; write \\\\ for a backslash")),
        None => return Err("a single \\ at the end; write \\\\ for a backslash".to_owned()),
    };
    Ok((byte, chars.as_str()))
}

/// Splits `{…}` off the front of `text`, with braces inside it paired.
pub(crate) fn braces(text: &str) -> Result<(Option<&str>, &str), String> {
    if !text.starts_with('{') {
        return Ok((None, text));
    }
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok((Some(&text[1..at]), &text[at + 1..]));
        }
    }
    Err("a { has no }".to_owned())
}

fn verb(text: &str) -> Result<(Piece, &str), String> {
    let Some(letter) = text.chars().next() else {
        return Err("a single % at the end; write %% for a percent sign".to_owned());
    };
    let (modifier, rest) = braces(&text[letter.len_utf8()..])?;
    let piece = match letter {
        't' => Piece::Topic(encoding(modifier)?),
        'k' => Piece::Key(encoding(modifier)?),
        'v' | 's' => Piece::Value(encoding(modifier)?),
        'p' => Piece::Number(Number::Partition, width(modifier)?),
        'o' => Piece::Number(Number::Offset, width(modifier)?),
        'K' => Piece::Number(Number::KeyLength, width(modifier)?),
        'V' | 'S' => Piece::Number(Number::ValueLength, width(modifier)?),
        'H' => Piece::Number(Number::Headers, width(modifier)?),
        'i' => Piece::Number(Number::Count, width(modifier)?),
        'T' if modifier == Some("rfc3339") => Piece::Time,
        'T' => Piece::Number(Number::Timestamp, width(modifier)?),
        'h' => Piece::Headers(modifier.map(Format::parse).transpose()?),
        other => return Err(format!("%{other} is no verb; `rivvend consume --help` lists them")),
    };
    Ok((piece, rest))
}

fn encoding(modifier: Option<&str>) -> Result<Encoding, String> {
    match modifier {
        None => Ok(Encoding::Raw),
        Some("hex") => Ok(Encoding::Hex),
        Some("base64") => Ok(Encoding::Base64),
        Some("json") => Ok(Encoding::Json),
        Some("text") => Ok(Encoding::Text),
        Some(other) => Err(format!(
            "{{{other}}} is no encoding; use {{hex}}, {{base64}}, {{json}} or {{text}}"
        )),
    }
}

fn width(modifier: Option<&str>) -> Result<Width, String> {
    match modifier {
        None | Some("ascii") => Ok(Width::Decimal),
        Some("hex") => Ok(Width::Hex),
        Some("1" | "big8") => Ok(Width::Bytes(1)),
        Some("2" | "big16") => Ok(Width::Bytes(2)),
        Some("4" | "big32") => Ok(Width::Bytes(4)),
        Some("8" | "big64") => Ok(Width::Bytes(8)),
        Some(other) => Err(format!(
            "{{{other}}} is no form of a number; use {{hex}}, {{1}}, {{2}}, {{4}}, {{8}}"
        )),
    }
}

fn write_bytes(bytes: Option<&[u8]>, encoding: Encoding, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else {
        if encoding == Encoding::Json {
            out.extend_from_slice(b"null");
        }
        return;
    };
    match encoding {
        Encoding::Raw => out.extend_from_slice(bytes),
        Encoding::Hex => {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        }
        Encoding::Base64 => out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes()),
        Encoding::Json => write_json_string(&String::from_utf8_lossy(bytes), out),
        Encoding::Text => write_text(&String::from_utf8_lossy(bytes), out),
    }
}

pub(crate) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string always has a JSON form, and memory takes it");
}

/// Text for a terminal: nothing in it can move the cursor or change colours.
fn write_text(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default().map(|c| c as u8));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn write_number(number: i64, width: Width, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let written = match width {
        Width::Decimal => write!(out, "{number}"),
        Width::Hex => write!(out, "{number:x}"),
        Width::Bytes(width) => {
            out.extend_from_slice(&number.to_be_bytes()[8 - width..]);
            Ok(())
        }
    };
    written.expect("memory takes every write");
}

fn write_time(timestamp_ms: i64, out: &mut Vec<u8>) {
    match jiff::Timestamp::from_millisecond(timestamp_ms) {
        Ok(time) => out.extend_from_slice(format!("{time:.3}").as_bytes()),
        Err(_) => write_number(timestamp_ms, Width::Decimal, out),
    }
}

fn write_headers(view: &View<'_>, format: Option<&Format>, out: &mut Vec<u8>) {
    for (index, (name, value)) in view.headers.iter().enumerate() {
        match format {
            Some(format) => {
                let key = Some(name.as_bytes());
                format.write(&View { key, value: *value, headers: &[], ..*view }, out);
            }
            None => {
                out.extend_from_slice(if index == 0 { b"" } else { b"," });
                out.extend_from_slice(name.as_bytes());
                out.push(b'=');
                out.extend_from_slice(value.unwrap_or_default());
            }
        }
    }
}

/// What a record is for programs.
pub(crate) const RECORD_FIELDS: &[Field] = &[
    Field::text("topic", "Name of the topic."),
    Field::integer("partition", "Number of the partition."),
    Field::integer("offset", "Offset of the record."),
    Field::integer("timestamp", "Its time stamp.").unit("milliseconds since 1970"),
    Field::text("key", "The key, if it is UTF-8; null: it has none.").nullable().optional(),
    Field::text("key_base64", "The key, if it is not UTF-8.").optional(),
    Field::text("value", "The value, if it is UTF-8; null: a tombstone.").nullable().optional(),
    Field::text("value_base64", "The value, if it is not UTF-8.").optional(),
    Field::list("headers", "Its headers, in order.", HEADER_FIELDS),
];

const HEADER_FIELDS: &[Field] = &[
    Field::text("key", "Name of the header."),
    Field::text("value", "Its value, if it is UTF-8; null: it has none.").nullable().optional(),
    Field::text("value_base64", "Its value, if it is not UTF-8.").optional(),
];

/// Appends the record as one JSON object and a line feed. Bytes that are no UTF-8 come under the
/// same name with `_base64` behind it, as in the HTTP API.
pub(crate) fn write_json(view: &View<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    write_json_string(view.topic, out);
    for (name, number) in [
        ("partition", i64::from(view.partition)),
        ("offset", view.offset),
        ("timestamp", view.timestamp_ms),
    ] {
        write_json_name(name, "", out);
        write_number(number, Width::Decimal, out);
    }
    write_json_bytes("key", view.key, out);
    write_json_bytes("value", view.value, out);
    out.extend_from_slice(b",\"headers\":[");
    for (index, (name, value)) in view.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"key\":" } else { b",{\"key\":" });
        write_json_string(name, out);
        write_json_bytes("value", *value, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
}

fn write_json_name(name: &str, suffix: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_json_bytes(name: &str, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(std::str::from_utf8) {
        None => {
            write_json_name(name, "", out);
            out.extend_from_slice(b"null");
        }
        Some(Ok(text)) => {
            write_json_name(name, "", out);
            write_json_string(text, out);
        }
        Some(Err(_)) => {
            write_json_name(name, "_base64", out);
            out.push(b'"');
            write_bytes(bytes, Encoding::Base64, out);
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("b", None)];

    fn view() -> View<'static> {
        View {
            topic: "orders",
            partition: 3,
            offset: 258,
            timestamp_ms: 3_600_001,
            key: Some(b"k\xff"),
            value: Some(b"v\"\n"),
            headers: HEADERS,
            count: 9,
        }
    }

    fn written(format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(format).expect("a valid format").write(&view(), &mut out);
        out
    }

    #[test]
    fn every_verb_writes_its_part() {
        let cases: &[(&str, &[u8])] = &[
            ("%t/%p@%o #%i %T", b"orders/3@258 #9 3600001"),
            ("%k|%v|%s", b"k\xff|v\"\n|v\"\n"),
            ("%K %V %S %H", b"2 3 3 2"),
            ("%h", b"a=1,b="),
            ("%h{%k:%v;}", b"a:1;b:;"),
            ("%k{hex} %v{hex}", b"6bff 76220a"),
            ("%v{base64}", b"diIK"),
            ("%v{json}", b"\"v\\\"\\n\""),
            ("%v{text}", b"v\"\\n"),
            ("%T{rfc3339}", b"1970-01-01T01:00:00.001Z"),
            ("%o{4}%o{2}%o{hex}", b"\0\0\x01\x02\x01\x02102"),
            ("100%%\\t\\x41\\0\\\\\\r\\n", b"100%\tA\0\\\r\n"),
            ("größe", "größe".as_bytes()),
        ];
        for (format, wanted) in cases {
            assert_eq!(written(format), *wanted, "{format}");
        }
    }

    #[test]
    fn a_missing_key_is_nothing_or_null() {
        let mut out = Vec::new();
        let none = View { key: None, value: None, headers: &[], ..view() };
        Format::parse("[%k][%v{json}][%K]").expect("valid").write(&none, &mut out);
        assert_eq!(out, b"[][null][-1]");
    }

    #[test]
    fn formats_that_mean_nothing_are_refused() {
        for format in ["%", "%z", "\\", "\\q", "\\x4", "%v{hexx}", "%v{hex", "%o{3}", "%h{%q}"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn json_holds_every_part_and_marks_binary() {
        let mut out = Vec::new();
        write_json(&view(), &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let wanted = serde_json::json!({
            "topic": "orders", "partition": 3, "offset": 258, "timestamp": 3_600_001,
            "key_base64": "a/8=", "value": "v\"\n",
            "headers": [{"key": "a", "value": "1"}, {"key": "b", "value": null}],
        });
        assert_eq!(json, wanted);
        assert!(out.ends_with(b"}\n"));
    }

    proptest! {
        #[test]
        fn no_format_panics(format in "[%\\\\{}a-zA-Z0-9é]{0,16}") {
            if let Ok(format) = Format::parse(&format) {
                format.write(&view(), &mut Vec::new());
            }
        }
    }
}
