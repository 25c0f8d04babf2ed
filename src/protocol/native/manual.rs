//! Holds man/rivvend-protocol.7 against the code: the tables people program from must be true.

use std::collections::BTreeSet;

use super::frame::{Kind, Preface, put_ping};
use crate::limits;
use crate::protocol::error::ErrorCode;

const MANUAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/man/rivvend-protocol.7"));

#[test]
fn the_errors_of_the_manual_are_those_of_the_table() {
    let entry = |&code: &ErrorCode| {
        let (number, name) = (code.code(), code.name());
        match code.is_retriable() {
            true => format!(".BR \"{number} {name}\" \" (retry)\""),
            false => format!(".B \"{number} {name}\""),
        }
    };
    let table: BTreeSet<_> = ErrorCode::ALL.iter().map(entry).collect();
    let errors = MANUAL.split_once("\n.SH ERRORS\n").expect("has the section").1;
    let errors = errors.split("\n.SH ").next().expect("has an end").lines();
    let manual = errors.filter(|line| line.starts_with(".B")).map(str::to_owned).collect();
    let only = |one: &BTreeSet<_>, other| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(only(&table, &manual), Vec::<String>::new(), "the manual lacks them");
    assert_eq!(only(&manual, &table), Vec::<String>::new(), "only the manual has them");
}

#[test]
fn the_kinds_of_the_manual_are_those_of_the_code() {
    let kind = |&kind: &Kind| {
        let stream = if kind.is_of_connection() { "0" } else { "any other" };
        ((kind as u8).to_string(), kind.name(), stream)
    };
    let code: Vec<_> = Kind::ALL.iter().map(kind).collect();
    let rows = MANUAL.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let kinds = rows.filter(|row| row.len() == 5 && row[0] != "number");
    let manual: Vec<_> = kinds.map(|row| (row[0].to_owned(), row[1], row[4])).collect();
    assert_eq!(manual, code);
}

#[test]
fn the_numbers_of_the_manual_are_those_of_the_code() {
    for number in
        [limits::FRAME_BYTES_MAX, limits::FRAME_BYTES_PRE_AUTH_MAX, limits::FRAME_HEADER_BYTES_MAX]
    {
        assert!(MANUAL.contains(&format!(" {number}")), "{number} is not in the manual");
    }
}

#[test]
fn the_example_of_the_manual_is_what_a_client_sends() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    let mut ping = bytes::BytesMut::new();
    put_ping(&mut ping, *b"01234567");
    let mut lines = vec![hex(&Preface::OWN.encode())];
    lines.extend(ping.chunks(16).map(hex));
    let lines: Vec<_> = lines.iter().map(|line| line.join(" ")).collect();
    assert!(MANUAL.contains(&lines.join("\n")), "{lines:?}");
}
