//! Loading, precedence and every mistake of bad-inputs 59 to 64 that needs no file system.

use std::path::Path;
use std::time::Duration;

use super::*;

fn from_file(text: &str) -> Result<Config, Problems> {
    Config::load(&Sources {
        file: Some(("broker.yaml".into(), text.to_owned())),
        ..Sources::default()
    })
}

fn problems(text: &str) -> Vec<String> {
    from_file(text).expect_err("this file is wrong").0.iter().map(Problem::to_string).collect()
}

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn key(path: &str) -> &'static Key {
    KEYS.iter().find(|key| key.path == path).expect("a key of the table")
}

/// The file in config/ is what the table says. Set UPDATE=1 to write it.
#[test]
fn the_checked_in_file_is_the_table_of_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rivvend.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, default_file()).expect("config/ is writable");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(checked_in, default_file(), "run the test with UPDATE=1 to write the file anew");
}

#[test]
fn the_default_file_loads_and_sets_every_key_to_its_default() {
    let config = from_file(&default_file()).expect("our own file");
    let default = Config::default();
    for key in KEYS {
        assert_eq!(config.show(key), default.show(key), "{}", key.path);
        let Origin::File { path, line: Some(line) } = config.origin(key) else {
            panic!("{}: {}", key.path, config.origin(key));
        };
        assert_eq!(path, Path::new("broker.yaml"));
        let text = default_file();
        let line = text.lines().nth(line - 1).expect("a line of the file").trim();
        assert!(line.starts_with(&format!("{}: ", key.name)), "{}: {line}", key.path);
        let mut again = Config::default();
        assert_eq!((key.set)(&mut again, &default.show(key)), Ok(()), "{} reads back", key.path);
    }
}

#[test]
fn the_documented_defaults_hold() {
    let config = Config::load(&Sources::default()).expect("defaults");
    assert_eq!(config.server.bind_address.to_string(), "0.0.0.0:9092");
    assert_eq!(config.server.http_port, 8080);
    assert_eq!(config.storage.data_dir, Path::new("./data"));
    assert_eq!(config.topic.max_message_bytes, Size(crate::limits::BATCH_BYTES_DEFAULT as u64));
    assert_eq!(config.partitioner.batch_size, Size(16_384));
    assert_eq!(config.partitioner.linger_ms, Duration::from_millis(100));
}

#[test]
fn cluster_settings_are_plain_numbers() {
    let config = from_file("topic: {retention_ms: 1h, retention_bytes: -1, durability: os}");
    let defaults: BTreeMap<_, _> = config.expect("valid").cluster_settings().into_iter().collect();
    assert_eq!(defaults["retention.ms"], "3600000");
    assert_eq!(defaults["retention.bytes"], "-1");
    assert_eq!(defaults["durability"], "os");
    assert_eq!(defaults.len(), 3, "what nobody set is left to the table of topic settings");
}

/// Flag over environment over file over default, and each value knows its source.
#[test]
fn the_nearest_source_wins() {
    let mut sources = Sources {
        file: Some((
            "f.yaml".into(),
            "server:\n  bind_address: 1.1.1.1:1\n  http_port: 1\n".into(),
        )),
        ..Sources::default()
    };
    sources.environment = environment(&[("RIVVEN_BIND", "2.2.2.2:2"), ("OTHER", "x")]);
    let config = Config::load(&sources).expect("valid");
    assert_eq!(config.server.bind_address.port, 2);
    assert_eq!(config.server.http_port, 1);
    assert_eq!(config.origin(key("server.http_port")).to_string(), "file f.yaml:3");
    assert_eq!(config.origin(key("server.bind_address")).to_string(), "environment RIVVEN_BIND");
    assert_eq!(*config.origin(key("storage.data_dir")), Origin::Default);

    let value = "3.3.3.3:3".to_owned();
    sources.flags.push(Flag { key: "server.bind_address", flag: "--bind", value });
    let config = Config::load(&sources).expect("valid");
    assert_eq!(config.server.bind_address.port, 3);
    assert_eq!(config.origin(key("server.bind_address")).to_string(), "flag --bind");
}

#[test]
fn a_value_set_at_run_time_is_plain_and_reads_back() {
    let retention = key("topic.retention_ms");
    assert_eq!(retention.to_plain("7d").as_deref(), Ok("604800000"));
    assert_eq!(retention.to_plain("unlimited").as_deref(), Ok("-1"));
    assert_eq!(retention.from_plain("604800000"), "7d");
    assert_eq!(retention.from_plain("-1"), "unlimited");
    assert!(retention.to_plain("7 weeks").is_err());
    // Kafka takes messages of five bytes at most, our file does not.
    assert_eq!(key("topic.max_message_bytes").from_plain("5"), "5");
    let config = from_file("storage: {segment_bytes: 2MiB}").expect("valid");
    assert!(config.check_with([("max.message.bytes", "2097152"), ("other", "x")]).is_ok());
    let conflict = config.check_with([("max.message.bytes", "2097153")]).expect_err("too large");
    assert!(conflict.to_string().contains("storage.segment_bytes"), "{conflict}");
}

#[test]
fn long_and_short_variables_agree_or_are_refused() {
    let load =
        |pairs| Config::load(&Sources { environment: environment(pairs), ..Sources::default() });
    let both = load(&[("RIVVEN_BIND", "a:1"), ("RIVVEN_SERVER_BIND_ADDRESS", "a:1")]);
    assert!(both.is_ok());
    let both = load(&[("RIVVEN_BIND", "a:1"), ("RIVVEN_SERVER_BIND_ADDRESS", "b:1")]);
    assert!(both.is_err_and(|problems| problems.to_string().contains("RIVVEN_BIND")));
    let partitioner =
        load(&[("RIVVEN_PARTITIONER_BATCH_SIZE", "32KiB"), ("RIVVEN_PARTITIONER_LINGER_MS", "5")])
            .expect("the names of the mission");
    assert_eq!(partitioner.partitioner.batch_size, Size(32_768));
    assert_eq!(partitioner.partitioner.linger_ms, Duration::from_millis(5));
}

#[test]
fn a_misspelt_variable_is_an_error_and_a_foreign_one_a_warning() {
    let load = |name| {
        Config::load(&Sources { environment: environment(&[(name, "1")]), ..Sources::default() })
    };
    let misspelt = load("RIVVEN_STORAGE_DATADIR").expect_err("misspelt").to_string();
    assert!(misspelt.contains("did you mean RIVVEN_STORAGE_DATA_DIR?"), "{misspelt}");
    let auth = load("RIVVEN_AUTH_ENABLED").expect_err("a feature that is not there").to_string();
    assert!(auth.contains("authentication"), "{auth}");
    let foreign = load("RIVVEN_PORT_9092_TCP_PROTO").expect("from Kubernetes");
    assert_eq!(foreign.warnings().len(), 1);
}

/// Bad input 61, and that all problems come at once.
#[test]
fn unknown_misspelt_and_duplicate_keys_are_all_listed() {
    let found = problems(
        "server:\n  bind_adress: a:1\n  http_port: 1\n  http_port: 2\nStorage:\n  data_dir: x\n\
         topic:\n  default_partitions: none\n  data_dir: y\nwhat: 1\n",
    );
    assert_eq!(
        found,
        [
            "server.http_port: the key stands twice",
            "what: unknown key; `rivvend config default` prints every key there is",
            "server.bind_adress: unknown key, did you mean server.bind_address?",
            "Storage.data_dir: unknown key, did you mean storage.data_dir?",
            "topic.default_partitions: \"none\" is not a whole number, written with digits only",
            "topic.data_dir: unknown key, did you mean storage.data_dir?",
        ]
    );
}

/// Bad input 60: file, line and column, and no secret in the excerpt.
#[test]
fn a_syntax_error_is_shown_with_its_place_and_without_secrets() {
    let found = problems("server:\n  http_port: [1\n  bind_address: x\n");
    assert!(found[0].starts_with("broker.yaml:3:"), "{found:?}");
    assert!(found[0].contains("| "), "{found:?}");
    let found = problems("auth:\n  password: 'hunter2\nserver:\n");
    assert!(!found[0].contains("hunter2"), "{found:?}");
    let found = problems("auth:\n  password: \"hunter2\" \"x\n");
    assert!(!found[0].contains("hunter2"), "{found:?}");
    let found = problems("auth:\n  secret: |\n    hunter2\n   hunter3: [\n");
    assert!(!found[0].contains("hunter"), "{found:?}");
}

#[test]
fn empty_files_lists_and_several_documents_are_refused() {
    assert_eq!(problems(" \n\n"), ["broker.yaml: the file is empty"]);
    assert!(from_file("# nothing but comments\n---\n").is_ok());
    assert!(problems("- a\n")[0].contains("a list stands where sections are expected"));
    assert!(problems("server:\n")[0].contains("server: nothing stands where keys are expected"));
    assert!(problems("server: {http_port: }")[0].contains("nothing stands where one value"));
    assert!(problems("server: {http_port: [1]}")[0].contains("a list stands where one value"));
    assert!(problems("server: {http_port: !secret 1}")[0].contains("a value with a tag"));
    assert!(problems("server.http_port: 1")[0].contains("two levels"));
    problems("server: {http_port: 1}\n---\nserver: {http_port: 2}\n");
    problems("a: &a [*a]");
}

/// Bad input 62 through the file: YAML's own numbers do not widen what is accepted.
#[test]
fn numbers_of_yaml_are_not_taken_for_others() {
    for bad in ["1e3", "-5", "1.5", "99999999999999999999", "0", "~", "true"] {
        problems(&format!("storage: {{segment_bytes: {bad}}}"));
    }
    let config = from_file("storage: {segment_bytes: 2000000, retention_check_interval: 2000}");
    let config = config.expect("bare numbers");
    assert_eq!(config.storage.segment_bytes, Size(2_000_000));
    assert_eq!(config.storage.retention_check_interval, Duration::from_secs(2));
}

/// Bad inputs 63, 64 and 66: all conflicts at once.
#[test]
fn values_that_do_not_go_together_are_all_listed() {
    let found = problems(
        "server: {http_port: 9092, advertised_address: '0.0.0.0:1'}\n\
         storage: {segment_bytes: 64KiB}\ntopic: {retention_bytes: 1KiB}\n\
         partitioner: {batch_size: 2MiB}\n",
    );
    let places: Vec<&str> = found.iter().filter_map(|p| p.split(':').next()).collect();
    assert_eq!(
        places,
        [
            "server.http_port",
            "server.advertised_address",
            "storage.segment_bytes",
            "topic.retention_bytes",
            "partitioner.batch_size"
        ]
    );
    assert!(from_file("server: {bind_address: 'h:0', http_port: 0}").is_ok());
}

/// Keys of features that are not there are refused, whatever their value.
#[test]
fn keys_of_missing_features_stop_the_start() {
    let found = problems(
        "auth: {enabled: false}\ntls:\n  cert_file: x\n\
         cluster:\n  peers: [a, b]\ndashboard: true\n",
    );
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|problem| problem.contains("this build does not have")), "{found:?}");
}

#[test]
fn hostile_yaml_is_an_error_and_no_crash() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (name, of) in ('b'..='i').zip('a'..) {
        bomb.push_str(&format!(
            "{name}: &{name} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]\n"
        ));
    }
    problems(&bomb);
    problems(&"[".repeat(10_000));
    problems(&format!("server: {}", "{a: ".repeat(5_000)));
    problems("\u{0}");
}

#[test]
fn a_newer_configuration_changes_what_may_change_and_names_the_rest() {
    let load = |text: &str| {
        let file = Some(("f.yaml".into(), text.to_owned()));
        Config::load(&Sources { file, ..Sources::default() }).expect("valid")
    };
    let old = load("topic:\n  retention_ms: 1h\nstorage:\n  segment_bytes: 2MiB\n");
    let newer = load("topic:\n  max_message_bytes: 1MiB\nserver:\n  http_port: 1\n");
    let adopted = old.adopt(&newer).expect("they go together");
    assert_eq!(adopted.changed, ["topic.max_message_bytes", "topic.retention_ms"]);
    assert_eq!(adopted.later, ["server.http_port", "storage.segment_bytes"]);
    assert_eq!(adopted.config.topic, newer.topic);
    assert_eq!(
        (adopted.config.storage.segment_bytes, adopted.config.server.http_port),
        (Size(2 << 20), 8080)
    );
    // What was set and no longer is counts as not set.
    assert!(adopted.config.cluster_settings().iter().all(|(key, _)| *key != "retention.ms"));
    // Larger messages than the segments that stay.
    let newer = load("topic:\n  max_message_bytes: 4MiB\n");
    let problems = old.adopt(&newer).expect_err("they do not go together");
    assert!(problems.to_string().contains("storage.segment_bytes"), "{problems}");
}
