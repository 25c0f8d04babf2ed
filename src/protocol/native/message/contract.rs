//! Holds the derives against `rivven.proto`: every message, field, number, type and label.

use std::collections::BTreeSet;

use protox::prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor,
};

use super::*;

/// One field in words that both sides can be brought to.
fn row(message: &str, field: &str, number: &str, label: &str, kind: &str) -> String {
    format!("{message}.{field} = {number}: {label} {kind}")
}

fn rows_of_contract() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/native");
    let files = protox::compile(["rivven.proto"], [folder]).expect("the contract compiles");
    let pool = DescriptorPool::from_file_descriptor_set(files).expect("a complete set");
    let mut rows = BTreeSet::new();
    for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
        assert_eq!(message.package_name(), "rivven.v1");
        rows.insert(message.name().to_owned());
        rows.extend(message.fields().map(|field| row_of_contract(&message, &field)));
    }
    rows
}

fn row_of_contract(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let proto = field.field_descriptor_proto();
    let alone = field.containing_oneof().filter(|_| !proto.proto3_optional());
    let label = match (field.cardinality(), alone) {
        _ if field.is_map() => "map",
        (Cardinality::Repeated, _) => "repeated",
        (_, Some(_)) => "oneof",
        _ if proto.proto3_optional() => "optional",
        _ => "single",
    };
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let kind = |field: FieldDescriptor| format!("{:?}", field.kind()).to_lowercase();
            format!(
                "{}, {}",
                kind(entry.map_entry_key_field()),
                kind(entry.map_entry_value_field())
            )
        }
        Kind::Message(inner) => inner.name().to_owned(),
        Kind::Enum(inner) => inner.name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    row(message.name(), field.name(), &field.number().to_string(), label, &kind)
}

fn rows_of_derives() -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for message in envelope::DECLARED.iter().chain(operations::DECLARED).chain(groups::DECLARED) {
        rows.insert(message.name.to_owned());
        for (field, attribute, rust_type) in message.fields {
            rows.extend(rows_of_field(message.name, field, attribute, rust_type));
        }
    }
    rows
}

/// A oneof is several rows, one for each alternative.
fn rows_of_field(message: &str, field: &str, attribute: &str, rust_type: &str) -> Vec<String> {
    let number = value_of(attribute, "tag");
    let words: Vec<&str> = attribute.split(", ").map(str::trim).collect();
    if let Some(path) = value_of(attribute, "oneof") {
        let declared = match path.as_str() {
            "request::Operation" => &request::DECLARED,
            "response::Result" => &response::DECLARED,
            other => panic!("{other} is not compared"),
        };
        return rows_of_oneof(message, declared, &value_of(attribute, "tags").expect("has tags"));
    }
    let number = number.expect("every field has a tag");
    let label = match () {
        () if words[0].starts_with("btree_map") => "map",
        () if words.contains(&"repeated") => "repeated",
        () if words.contains(&"optional") && words[0] != "message" => "optional",
        () => "single",
    };
    let kind = match words[0].split(' ').next().expect("a first word") {
        "btree_map" => value_of(attribute, "btree_map").expect("has types"),
        "bytes" => "bytes".to_owned(),
        "message" => inner_type(rust_type),
        "enumeration" => inner_type(&value_of(attribute, "enumeration").expect("has a type")),
        scalar => scalar.to_owned(),
    };
    vec![row(message, field, &number, label, &kind)]
}

fn rows_of_oneof(message: &str, declared: &Declared, tags: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    let rows = declared.fields.iter().map(|(variant, attribute, rust_type)| {
        let number = value_of(attribute, "tag").expect("every alternative has a tag");
        let row = row(message, &snake(variant), &number, "oneof", rust_type);
        numbers.push(number);
        row
    });
    let rows = rows.collect();
    assert_eq!(
        numbers.join(","),
        tags.replace(' ', ""),
        "{} lists other tags than it has",
        declared.name
    );
    rows
}

/// The quoted value of `key` in the words of an attribute.
fn value_of(attribute: &str, key: &str) -> Option<String> {
    // `stringify!` breaks long attributes into lines as it likes.
    let words = attribute.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = words.split_once(&format!("{key} = \""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn inner_type(rust_type: &str) -> String {
    let name = |c: char| !(c.is_alphanumeric() || c == '_');
    rust_type.split(name).rfind(|word| !word.is_empty()).expect("a type has a name").to_owned()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Habit 15 of the style: one contract. A field that only one side has, or has otherwise, shows as
/// a row that only one side has.
#[test]
fn every_message_equals_the_published_contract() {
    let (contract, derives) = (rows_of_contract(), rows_of_derives());
    let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
    let published = only(&contract, &derives);
    let declared = only(&derives, &contract);
    assert!(published.is_empty(), "only rivven.proto has {published:#?}, Rust has {declared:#?}");
    assert!(declared.is_empty(), "only Rust has {declared:#?}");
    assert!(contract.len() > 150, "the comparison sees the whole contract");
}

#[test]
fn the_kinds_of_config_changes_equal_the_published_contract() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/native");
    let files = protox::compile(["rivven.proto"], [folder]).expect("the contract compiles");
    let pool = DescriptorPool::from_file_descriptor_set(files).expect("a complete set");
    let enums: Vec<_> = pool.all_enums().collect();
    assert_eq!(enums.len(), 1, "another enum wants a comparison here");
    let published: Vec<_> =
        enums[0].values().map(|value| (value.number(), value.name().to_owned())).collect();
    let declared: Vec<_> = (-8..64)
        .filter_map(|number| config_change::Kind::try_from(number).ok())
        .map(|kind| (kind as i32, format!("{kind:?}").to_uppercase()))
        .collect();
    assert_eq!(published, declared);
}

#[test]
fn an_error_carries_what_the_table_says_of_its_code() {
    let error = Error::new(ErrorCode::DiskFull, "no room")
        .with_details(ErrorDetails { limit: Some(7), ..ErrorDetails::default() });
    assert_eq!(error.error_code(), Some(ErrorCode::DiskFull));
    assert_eq!((error.name.as_str(), error.retriable), ("DISK_FULL", true));
    assert_eq!(error.details.as_ref().and_then(|details| details.limit), Some(7));
    assert_eq!(Error { code: 60_000, ..Error::default() }.error_code(), None);
}
