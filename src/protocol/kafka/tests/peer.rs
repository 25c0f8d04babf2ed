//! Holds every message against the codec of the `kafka-protocol` crate, which was generated from
//! Kafka's own definitions: it reads what is written here, by the same names, with the same values,
//! and writes it with the same bytes, which read back here. Versions that it lacks are in
//! `fixtures`.

use std::iter::Peekable;
use std::str::Chars;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as peer;

use super::*;

/// What the peer knows less of than is served here: the highest version, of which message.
const LACKING: &[(ApiKey, i16, bool)] = &[
    (ApiKey::ListOffsets, 11, false),
    (ApiKey::ListOffsets, 11, true),
    (ApiKey::OffsetCommit, 10, false),
    (ApiKey::OffsetFetch, 10, false),
    (ApiKey::ApiVersions, 5, false),
    (ApiKey::ApiVersions, 5, true),
    (ApiKey::WriteTxnMarkers, 2, false),
    (ApiKey::WriteTxnMarkers, 2, true),
    (ApiKey::TxnOffsetCommit, 6, false),
    (ApiKey::TxnOffsetCommit, 6, true),
    (ApiKey::DescribeLogDirs, 5, false),
    (ApiKey::DescribeLogDirs, 5, true),
    (ApiKey::DeleteGroups, 3, false),
    (ApiKey::DeleteGroups, 3, true),
];

/// Fields that the peer lacks because it lacks the versions that have them.
const NEWER: &[(ApiKey, &str)] = &[
    (ApiKey::ApiVersions, "cluster_id"),
    (ApiKey::ApiVersions, "node_id"),
    (ApiKey::WriteTxnMarkers, "transaction_version"),
    (ApiKey::TxnOffsetCommit, "topic_id"),
    (ApiKey::DescribeLogDirs, "is_cordoned"),
    (ApiKey::DeleteGroups, "error_message"),
];

/// Fields of a version that is not served.
const UNSTABLE: &[(ApiKey, &str)] = &[
    (ApiKey::InitProducerId, "enable_2_pc"),
    (ApiKey::InitProducerId, "keep_prepared_txn"),
    (ApiKey::InitProducerId, "ongoing_txn_producer_id"),
    (ApiKey::InitProducerId, "ongoing_txn_producer_epoch"),
];

/// A field that got another name with a version that the peer lacks.
const RENAMED: (ApiKey, &str, &str) =
    (ApiKey::TxnOffsetCommit, "generation_id", "generation_id_or_member_epoch");

struct Compare {
    random: Random,
    lacking: Vec<(ApiKey, i16, bool)>,
}

impl Visit for Compare {
    fn message<M: Whole>(&mut self, version: i16, response: bool) {
        for _ in 0..ROUNDS {
            let (message, bytes) = made::<M>(&mut self.random, version);
            let (text, again) = match through_peer(M::KEY, version, response, &bytes) {
                Ok(done) => done,
                Err(error) if format!("{error:#}").contains("not supported") => {
                    self.lacking.push((M::KEY, version, response));
                    return;
                }
                Err(error) => panic!("{} {version}: {error:#}\n{message:?}", M::NAME),
            };
            let ours = without(NEWER, M::KEY, values(&format!("{message:?}")));
            let theirs = without(UNSTABLE, M::KEY, values(&text));
            assert_eq!(ours, theirs, "{} {version}", M::NAME);
            assert_eq!(again, bytes, "{} {version}: {message:?}", M::NAME);
            assert_eq!(M::from_bytes(again, version), Ok(message), "{} {version}", M::NAME);
        }
    }
}

#[test]
fn an_independent_codec_understands_the_same() {
    let mut compare = Compare { random: Random::new(3), lacking: Vec::new() };
    visit(&mut compare);
    assert_eq!(compare.lacking, LACKING, "what the peer lacks needs a fixture");
}

/// What the peer reads, printed, and the bytes it writes for it.
fn through_peer(
    api: ApiKey,
    version: i16,
    response: bool,
    bytes: &Bytes,
) -> anyhow::Result<(String, Bytes)> {
    let key = peer::ApiKey::try_from(api.code()).expect("the peer knows the API");
    let mut left = bytes.clone();
    let mut again = BytesMut::new();
    let text = if response {
        let read = peer::ResponseKind::decode(key, &mut left, version)?;
        read.encode(&mut again, version)?;
        format!("{read:?}")
    } else {
        let read = peer::RequestKind::decode(key, &mut left, version)?;
        read.encode(&mut again, version)?;
        format!("{read:?}")
    };
    anyhow::ensure!(left.is_empty(), "the peer leaves {} bytes", left.len());
    Ok((text, again.freeze()))
}

/// The names and values of a printed message, without the names of types and without what the peer
/// keeps of unknown fields.
fn values(printed: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = printed.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '"' => words.push(quoted(&mut chars)),
            c if c.is_alphanumeric() || c == '_' || c == '-' => {
                let mut word = String::from(c);
                let part = |c: &char| c.is_alphanumeric() || *c == '_' || *c == '-';
                while let Some(c) = chars.next_if(part) {
                    word.push(c);
                }
                words.push(word);
            }
            '[' | ']' => words.push(String::from(next)),
            _ => {}
        }
    }
    // Names of types and of variants start with a capital; but for the one that says something.
    words.retain(|word| word == "None" || !word.starts_with(|c: char| c.is_ascii_uppercase()));
    // Bytes are printed as text with a `b` in front.
    words.retain(|word| word != "b" && word != "unknown_tagged_fields");
    words
}

/// The words without these fields of this API and the one word that each has as its value.
fn without(fields: &[(ApiKey, &str)], api: ApiKey, words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if fields.contains(&(api, &word)) {
            words.next();
        } else if (api, &word[..]) == (RENAMED.0, RENAMED.1) {
            kept.push(RENAMED.2.to_owned());
        } else {
            kept.push(word);
        }
    }
    kept
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::from('"');
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend([Some('\\'), chars.next()].into_iter().flatten()),
            _ => text.push(c),
        }
    }
    text
}
