//! Commands and what they decide, records and what they add up to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::config::{self, BrokerDefaults, Change, ConfigError, Key, Layers, Source};
use super::names::NameError;
use super::record::{self, Reader};
use super::*;
use crate::types::{BrokerEpoch, Durability, LeaderEpoch, Millis, NodeId, PartitionId, TopicId};

const NOW: Now = Now { wall: Millis(1_700_000_000_000), monotonic_ms: 0 };

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn register(node: i32, incarnation: u128) -> Command {
    Command::RegisterBroker {
        node: NodeId(node),
        incarnation: Uuid::from_u128(incarnation),
        address: String::new(),
        rack: None,
    }
}

fn topic(name: &str, number: u128) -> CreateTopic {
    CreateTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: None,
        config: Vec::new(),
        topic_id: id(number),
        internal: false,
    }
}

fn named(name: &str) -> TopicRef {
    TopicRef::Name(name.to_owned())
}

fn set(key: &str, value: &str) -> Change {
    Change::Set { key: key.to_owned(), value: value.to_owned() }
}

fn apply(image: &mut Image, command: Command) -> Result<Reply, Refusal> {
    let outcome = decide(image, NOW, command)?;
    for record in &outcome.records {
        image.replay(record);
    }
    Ok(outcome.reply)
}

fn create(image: &mut Image, topic: CreateTopic) -> Result<Reply, Refusal> {
    apply(image, Command::CreateTopic(topic))
}

/// A cluster of one node.
fn single() -> Image {
    let mut image = Image::default();
    apply(&mut image, Command::FormCluster { cluster_id: "test".to_owned() }).expect("new");
    apply(&mut image, register(1, 1)).expect("registered");
    image
}

fn layers<'a>(image: &'a Image, name: &str, file: &'a BrokerDefaults) -> Layers<'a> {
    image.layers(image.topic(name).expect("a topic"), file)
}

#[test]
fn a_created_topic_is_found_by_name_and_id_with_its_partitions_placed() {
    let mut image = single();
    let wanted = CreateTopic { partitions: 3, ..topic("orders", 7) };
    let reply = create(&mut image, wanted).expect("created");
    let Reply::TopicCreated { partitions: 3, replication_factor: 1, .. } = reply else {
        panic!("{reply:?}");
    };
    let found = image.topic("orders").expect("by name");
    assert_eq!(image.topic_by_id(id(7)), Some(found));
    assert_eq!(image.partition_count(), 3);
    for partition in &found.partitions {
        assert_eq!(partition.leader, Some(NodeId(1)));
        assert_eq!(*partition.replicas, [NodeId(1)]);
        assert_eq!(*partition.isr, [NodeId(1)]);
    }
    assert_eq!(found.partition(PartitionId(3)), None);
    assert_eq!(found.partition(PartitionId(-1)), None);
}

/// bad-inputs 24 and 25.
#[test]
fn topics_that_break_a_rule_are_refused_and_change_nothing() {
    let mut image = single();
    create(&mut image, topic("a.b", 1)).expect("created");
    let before = image.clone();
    let name = |reason| {
        move |refusal: &Refusal| match refusal {
            Refusal::InvalidName { reason: found, .. } => *found == reason,
            _ => false,
        }
    };
    let replicas = |factor| CreateTopic { replication_factor: Some(factor), ..topic("x", 2) };
    let partitions = |partitions| CreateTopic { partitions, ..topic("x", 2) };
    let rf = |refusal: &Refusal| matches!(refusal, Refusal::ReplicationFactor { .. });
    let count = |refusal: &Refusal| matches!(refusal, Refusal::PartitionsOutOfBounds { .. });
    type Check<'a> = Box<dyn Fn(&Refusal) -> bool + 'a>;
    let rows: Vec<(CreateTopic, Check<'_>)> = vec![
        (topic("", 2), Box::new(name(NameError::Empty))),
        (topic("..", 2), Box::new(name(NameError::Dots))),
        (topic("a/b", 2), Box::new(name(NameError::Character('/')))),
        (topic("a_b", 2), Box::new(name(NameError::Collides("a.b".to_owned())))),
        (topic("__consumer_offsets", 2), Box::new(name(NameError::Internal))),
        (topic("a.b", 2), Box::new(|r| matches!(r, Refusal::TopicExists { .. }))),
        (topic("x", 1), Box::new(|r| matches!(r, Refusal::TopicIdTaken { .. }))),
        (partitions(0), Box::new(count)),
        (partitions(-5), Box::new(count)),
        (partitions(1_000_000_000), Box::new(count)),
        (replicas(0), Box::new(rf)),
        (replicas(-1), Box::new(rf)),
        (replicas(2), Box::new(rf)),
    ];
    for (wanted, expected) in rows {
        let name = format!("{wanted:?}");
        let refusal = create(&mut image, wanted).expect_err(&name);
        assert!(expected(&refusal), "{name}: {refusal}");
    }
    assert_eq!(image, before);
}

/// bad-inputs 25: the cluster's own bound is another error than a topic's.
#[test]
fn partitions_of_all_topics_together_are_bounded() {
    let mut image = single();
    let large = |name, number| CreateTopic { partitions: 100_000, ..topic(name, number) };
    create(&mut image, large("one", 1)).expect("within");
    create(&mut image, large("two", 2)).expect("within");
    let refusal = create(&mut image, topic("three", 3)).expect_err("one too many");
    assert!(matches!(refusal, Refusal::ClusterPartitions { present: 200_000, requested: 1 }));
    apply(&mut image, Command::DeleteTopic { topic: named("one") }).expect("deleted");
    create(&mut image, topic("three", 3)).expect("there is room again");
}

/// bad-inputs 37: the refusal names the key.
#[test]
fn unknown_keys_and_bad_values_are_refused_by_name() {
    let image = &mut single();
    for (key, value, says) in [
        ("retention.msec", "1", "did you mean \"retention.ms\"?"),
        ("Retention_MS", "1", "did you mean \"retention.ms\"?"),
        ("colour", "red", "\"colour\" is not a topic setting"),
        ("retention.ms", "7d", "retention.ms=\"7d\" is not valid"),
        ("retention.ms", "-2", "not below -1"),
        ("segment.bytes", "99999999999", "between 16384 and 2147483647"),
        ("max.message.bytes", "", "max.message.bytes=\"\""),
        ("cleanup.policy", "remove", "a comma-separated list of delete, compact"),
        ("min.cleanable.dirty.ratio", "50%", "a number between 0 and 1"),
        ("min.cleanable.dirty.ratio", "NaN", "a number between 0 and 1"),
        ("max.compaction.lag.ms", "0", "not below 1"),
        ("min.compaction.lag.ms", "-1", "not below 0"),
        ("compression.type", "none", "it is called \"uncompressed\""),
        ("durability", "maybe", "one of fsync, os"),
        ("flush.ms", "1", "set durability=fsync"),
        ("min.insync.replicas", "2", "1 replica(s)"),
    ] {
        let config = vec![(key.to_owned(), value.to_owned())];
        let refusal = create(image, CreateTopic { config, ..topic("x", 2) }).expect_err(key);
        let Refusal::Config(error) = &refusal else { panic!("{refusal}") };
        let text = error.to_string();
        assert!(text.contains(says) && text.contains(key), "{text:?} should say {says:?}");
    }
    let twice = vec![("retention.ms".to_owned(), "1".to_owned()); 2];
    let refusal = create(image, CreateTopic { config: twice, ..topic("x", 2) });
    assert!(matches!(refusal, Err(Refusal::Config(ConfigError::Twice { .. }))));
}

#[test]
fn values_come_from_the_topic_then_the_cluster_then_the_file_then_the_table() {
    let mut image = single();
    create(&mut image, topic("orders", 1)).expect("created");
    let file = BrokerDefaults::new([("retention.ms", "4"), ("segment.bytes", "65536")])
        .expect("valid defaults");
    let value = |image: &Image, key| {
        Key::find(key).expect("a key").effective(&layers(image, "orders", &file))
    };
    assert_eq!(value(&image, "retention.ms"), ("4".to_owned(), Source::StaticBroker));
    let changes = vec![set("log.retention.ms", "3"), set("segment.bytes", "0032768")];
    apply(&mut image, Command::AlterBrokerConfig { changes }).expect("altered");
    assert_eq!(value(&image, "retention.ms"), ("3".to_owned(), Source::DynamicBroker));
    assert_eq!(value(&image, "segment.bytes"), ("32768".to_owned(), Source::DynamicBroker));
    let changes = vec![set("retention.ms", " 2 ")];
    apply(&mut image, Command::AlterTopicConfig { topic: named("orders"), changes })
        .expect("altered");
    assert_eq!(value(&image, "retention.ms"), ("2".to_owned(), Source::Topic));
    assert_eq!(value(&image, "retention.bytes"), ("-1".to_owned(), Source::Default));
    let listed = config::effective(&layers(&image, "orders", &file));
    let line = listed.iter().find(|entry| entry.key == "retention.ms").expect("every key");
    let places: Vec<Source> = line.synonyms.iter().map(|(_, _, source)| *source).collect();
    assert_eq!(
        places,
        [Source::Topic, Source::DynamicBroker, Source::StaticBroker, Source::Default]
    );
    let changes = vec![Change::Delete { key: "retention.ms".to_owned() }];
    apply(&mut image, Command::AlterTopicConfig { topic: named("orders"), changes })
        .expect("altered");
    assert_eq!(value(&image, "retention.ms").1, Source::DynamicBroker);
}

#[test]
fn settings_are_typed_and_an_unlimited_one_is_none() {
    let mut image = single();
    let config = [("retention.ms", "-1"), ("retention.bytes", "5"), ("durability", "OS")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let reply = create(&mut image, CreateTopic { config, ..topic("orders", 1) }).expect("valid");
    assert!(matches!(reply, Reply::TopicCreated { warnings, .. } if warnings.len() == 1));
    let file = BrokerDefaults::default();
    let settings = image.settings(image.topic("orders").expect("a topic"), &file);
    assert_eq!((settings.retention_ms, settings.retention_bytes), (None, Some(5)));
    assert_eq!(settings.durability, Durability::Os);
    assert_eq!((settings.segment_bytes, settings.min_insync_replicas), (1 << 30, 1));
}

#[test]
fn lists_grow_and_shrink_and_only_lists_do() {
    let mut image = single();
    create(&mut image, topic("orders", 1)).expect("created");
    let alter = |image: &mut Image, change| {
        let changes = vec![change];
        apply(image, Command::AlterTopicConfig { topic: named("orders"), changes })
    };
    let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let append = |(key, value)| Change::Append { key, value };
    let subtract = |(key, value)| Change::Subtract { key, value };
    alter(&mut image, append(of("cleanup.policy", "delete"))).expect("there already");
    let gone = alter(&mut image, subtract(of("cleanup.policy", "delete")));
    assert!(matches!(gone, Err(Refusal::Config(ConfigError::InvalidValue { .. }))), "{gone:?}");
    let number = alter(&mut image, append(of("retention.ms", "5")));
    assert!(matches!(number, Err(Refusal::Config(ConfigError::NotAList { .. }))));
}

#[test]
fn a_change_to_what_is_so_already_writes_nothing() {
    let mut image = single();
    create(&mut image, topic("orders", 1)).expect("created");
    let changes = vec![set("retention.ms", "5")];
    let alter = Command::AlterTopicConfig { topic: named("orders"), changes };
    assert_eq!(decide(&image, NOW, alter.clone()).expect("valid").records.len(), 1);
    apply(&mut image, alter.clone()).expect("valid");
    assert_eq!(decide(&image, NOW, alter).expect("valid").records, []);
}

#[test]
fn partitions_are_only_added_and_keep_those_that_were_there() {
    let mut image = single();
    create(&mut image, topic("orders", 1)).expect("created");
    let add = |total| Command::AddPartitions { topic: named("orders"), total };
    apply(&mut image, add(4)).expect("more");
    assert_eq!(image.partition_count(), 4);
    for total in [4, 3] {
        let refusal = apply(&mut image, add(total));
        assert!(matches!(refusal, Err(Refusal::PartitionsNotMore { present: 4, .. })));
    }
    for total in [0, -1, 1_000_000_000] {
        let refusal = apply(&mut image, add(total));
        assert!(matches!(refusal, Err(Refusal::PartitionsOutOfBounds { .. })));
    }
}

/// D14: a name that is used again is another topic, and only a tombstone allows files to go.
#[test]
fn a_deleted_topic_leaves_a_tombstone_until_it_is_forgotten() {
    let mut image = single();
    create(&mut image, topic("a.b", 1)).expect("created");
    apply(&mut image, Command::DeleteTopic { topic: TopicRef::Id(id(1)) }).expect("deleted");
    assert!(image.is_deleted(id(1)) && image.topic("a.b").is_none());
    let again = apply(&mut image, Command::DeleteTopic { topic: named("a.b") });
    assert!(matches!(again, Err(Refusal::UnknownTopic { .. })));
    let same_id = create(&mut image, topic("a.b", 1));
    assert!(matches!(same_id, Err(Refusal::TopicIdTaken { .. })));
    create(&mut image, topic("a_b", 2)).expect("the name that collided is free as well");
    let forget = Command::ForgetTopics { topics: vec![id(1), id(1), id(2), id(9)] };
    apply(&mut image, forget).expect("forgotten");
    assert!(!image.is_deleted(id(1)) && image.topic_by_id(id(2)).is_some());
}

#[test]
fn the_brokers_own_topics_are_made_only_by_it_and_never_changed_in_shape() {
    let mut image = single();
    let own = CreateTopic { internal: true, partitions: 16, ..topic("__consumer_offsets", 1) };
    create(&mut image, own).expect("created");
    let own = named("__consumer_offsets");
    for command in [
        Command::DeleteTopic { topic: own.clone() },
        Command::AddPartitions { topic: own, total: 17 },
    ] {
        let refusal = apply(&mut image, command);
        assert!(matches!(refusal, Err(Refusal::InternalTopic { .. })));
    }
    let foreign = CreateTopic { internal: true, ..topic("orders", 2) };
    assert!(matches!(create(&mut image, foreign), Err(Refusal::InvalidName { .. })));
}

/// P6: ids of producers are unique for ever.
#[test]
fn blocks_of_producer_ids_never_overlap() {
    let mut image = single();
    let mut next = 0;
    for count in [1, 1_000, 1, 1_000_000] {
        let reply = apply(&mut image, Command::AllocateProducerIds { count }).expect("a block");
        assert_eq!(reply, Reply::ProducerIds { first: ProducerId(next), count });
        next += i64::from(count);
    }
    for count in [0, 1_000_001] {
        let refusal = apply(&mut image, Command::AllocateProducerIds { count });
        assert_eq!(refusal, Err(Refusal::ProducerIdCount));
    }
}

/// R6: epochs grow with each start of a process and with nothing else.
#[test]
fn a_restart_begins_new_epochs_and_a_repeated_registration_does_not() {
    let mut image = single();
    create(&mut image, topic("orders", 1)).expect("created");
    let epochs = |image: &Image| {
        let partition = &image.topic("orders").expect("a topic").partitions[0];
        (image.broker_epoch(), partition.leader_epoch, partition.partition_epoch)
    };
    assert_eq!(epochs(&image), (BrokerEpoch(1), LeaderEpoch(0), 0));
    apply(&mut image, register(1, 1)).expect("the same process");
    assert_eq!(epochs(&image), (BrokerEpoch(1), LeaderEpoch(0), 0));
    apply(&mut image, register(1, 2)).expect("another process");
    assert_eq!(epochs(&image), (BrokerEpoch(2), LeaderEpoch(1), 1));
    apply(&mut image, register(2, 3)).expect("another node");
    assert_eq!(epochs(&image), (BrokerEpoch(3), LeaderEpoch(1), 1));
}

/// bad-inputs 70: the data of one cluster is not taken for that of another.
#[test]
fn a_cluster_keeps_its_identity() {
    let mut image = single();
    let form = |id: &str| Command::FormCluster { cluster_id: id.to_owned() };
    apply(&mut image, form("test")).expect("the same");
    let other = apply(&mut image, form("other"));
    assert!(matches!(other, Err(Refusal::OtherCluster { .. })));
}

fn commands() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b", "c.d", "c_d", "e"]);
    prop_oneof![
        4 => (name(), 0u128..40, 1i32..4).prop_map(|(name, number, partitions)| {
            Command::CreateTopic(CreateTopic { partitions, ..topic(name, number) })
        }),
        2 => name().prop_map(|name| Command::DeleteTopic { topic: named(name) }),
        2 => (name(), 1i32..8)
            .prop_map(|(name, total)| Command::AddPartitions { topic: named(name), total }),
        2 => (name(), 0u32..5, any::<bool>()).prop_map(|(name, ms, delete)| {
            let key = "retention.ms".to_owned();
            let change = match delete {
                true => Change::Delete { key },
                false => Change::Set { key, value: ms.to_string() },
            };
            Command::AlterTopicConfig { topic: named(name), changes: vec![change] }
        }),
        1 => (1u32..5).prop_map(|ms| Command::AlterBrokerConfig {
            changes: vec![set("log.retention.ms", &ms.to_string())],
        }),
        1 => (1i32..4, 0u128..9).prop_map(|(node, incarnation)| register(node, incarnation)),
        1 => prop::collection::vec(0u128..40, 0..9)
            .prop_map(|ids| Command::ForgetTopics { topics: ids.into_iter().map(id).collect() }),
        1 => (1u32..9).prop_map(|count| Command::AllocateProducerIds { count }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// M4: an image rebuilt from its snapshot or from its log is the image.
    #[test]
    fn a_snapshot_and_the_log_lead_to_the_same_image(
        commands in prop::collection::vec(commands(), 0..60),
    ) {
        let (mut image, mut log) = (Image::default(), Vec::new());
        for command in commands {
            if let Ok(outcome) = decide(&image, NOW, command) {
                let bytes = record::encode_all(&outcome.records);
                let decoded = record::decode_all(&bytes).expect("own bytes");
                prop_assert_eq!(&decoded, &outcome.records);
                decoded.iter().for_each(|record| image.replay(record));
                log.extend(bytes);
            }
        }
        let count = image.topics().map(|topic| topic.partitions.len()).sum::<usize>();
        prop_assert_eq!(image.partition_count(), count);
        prop_assert_eq!(&Image::from_bytes(0, &log).expect("own bytes"), &image);
        let snapshot = image.to_bytes();
        let restored = Image::from_bytes(0, &snapshot).expect("own bytes");
        prop_assert_eq!(restored.to_bytes(), snapshot);
        prop_assert_eq!(&restored, &image);
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = record::decode_all(&bytes);
    }
}

fn samples() -> Vec<Record> {
    let partition = |leader, epoch| Partition {
        leader,
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: 9,
        replicas: [NodeId(1), NodeId(2)].into(),
        isr: [NodeId(2)].into(),
    };
    let pairs = || BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
    let removed = || vec!["segment.ms".to_owned()];
    vec![
        record::ClusterFormed { cluster_id: "9bUaqWq1TPmyXHPYVVbSVg".to_owned() }.into(),
        record::BrokerRegistered {
            node: NodeId(1),
            epoch: BrokerEpoch(2),
            incarnation: Uuid::from_u128(3),
            address: "host:9092".to_owned(),
            rack: Some("r1".to_owned()),
        }
        .into(),
        record::TopicCreated {
            id: id(4),
            name: "orders".to_owned(),
            internal: false,
            partitions: vec![partition(Some(NodeId(1)), 0), partition(None, 7)],
            config: pairs(),
        }
        .into(),
        record::TopicConfigChanged { id: id(4), set: pairs(), removed: removed() }.into(),
        record::PartitionsAdded {
            id: id(4),
            first: PartitionId(2),
            partitions: vec![partition(Some(NodeId(2)), 1)],
        }
        .into(),
        record::TopicDeleted { id: id(4), name: "orders".to_owned(), at: Millis(5) }.into(),
        record::TopicForgotten { id: id(4) }.into(),
        record::ProducerIdsAllocated { next: ProducerId(1_000) }.into(),
        record::BrokerConfigChanged { set: pairs(), removed: removed() }.into(),
    ]
}

/// The fixture holds one record a line as hexadecimal bytes. It may grow, never change: it stands
/// for logs on disks.
#[test]
fn the_bytes_of_every_record_are_frozen() {
    let fixture = include_str!("../../tests/golden/metadata/records.hex");
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let present: Vec<String> =
        samples().iter().map(|record| hex(record::encode_all([record]))).collect();
    assert_eq!(fixture.lines().collect::<Vec<_>>(), present, "\n{}\n", present.join("\n"));
    for (line, expected) in fixture.lines().zip(samples()) {
        let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..line.len()).step_by(2).map(byte).collect();
        assert_eq!(record::decode_all(&bytes), Ok(vec![expected]));
        for end in 1..bytes.len() {
            assert_eq!(record::decode_all(&bytes[..end]), Err(DecodeError::Truncated));
        }
    }
}

#[test]
fn records_of_a_newer_build_are_an_error_and_never_skipped() {
    for (bytes, number, version) in [([0, 0, 0], 0, 0), ([0, 10, 0], 10, 0), ([0, 1, 1], 1, 1)] {
        assert_eq!(record::decode_all(&bytes), Err(DecodeError::Unknown { number, version }));
    }
}

#[test]
fn a_declared_length_beyond_the_bytes_takes_no_memory() {
    let mut bytes = vec![0, 3, 0];
    bytes.extend([0; 16]);
    bytes.extend([0xff; 8]);
    assert_eq!(Record::decode(&mut Reader::new(&bytes)), Err(DecodeError::Truncated));
}

#[test]
fn ten_thousand_topics_are_created_one_by_one_while_every_image_is_kept_for_a_moment() {
    let mut image = single();
    for number in 0..10_000 {
        let published = image.clone();
        create(&mut image, topic(&format!("t{number}"), number)).expect("created");
        assert_eq!(published.topic_count() + 1, image.topic_count());
    }
    let restored = Image::from_bytes(0, &image.to_bytes()).expect("own bytes");
    assert_eq!(restored, image);
    assert!(image.topics_from("t9999").map(|t| &*t.name).eq(["t9999"]));
}
