//! The configuration through the real binary: what is refused, with which code and which words, and
//! where `config show` says that each value comes from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::broker::{Setup, rivvend};
use super::has_root_and;
use super::load::{append, batch, create_topic};

const PERMISSION: i32 = 77;
const CONFIGURATION: i32 = 78;
/// `nobody` on every Linux.
const NOBODY: u32 = 65_534;

/// A directory for the files of one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        Files(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        path
    }

    /// What `serve` says to this configuration, and that it made nothing for it.
    fn refused(&self, config: &Path) -> (i32, String) {
        // Without the flags of other tests, so that the file has the last word.
        let data = self.path("data");
        let mut serve = rivvend();
        serve.args(["serve", "-c"]).arg(config).env("RIVVEN_DATA_DIR", &data);
        let refused = serve.output().expect("it runs");
        assert!(!data.exists(), "nothing is made for a configuration that is refused");
        (refused.status.code().expect("an exit, not a signal"), stderr(&refused))
    }

    /// What `serve` and `config check` say alike to a file with this text.
    fn refused_text(&self, text: &str) -> String {
        let config = self.file("broken.yaml", text);
        let (code, said) = self.refused(&config);
        assert_eq!(code, CONFIGURATION, "{said}");
        let checked = run(&["config", "check", config.to_str().expect("UTF-8")]);
        assert_eq!(checked.status.code(), Some(CONFIGURATION), "{}", stderr(&checked));
        assert_eq!(stderr(&checked), said);
        assert!(checked.stdout.is_empty());
        said
    }
}

fn run(arguments: &[&str]) -> Output {
    rivvend().args(arguments).output().expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Bad input 59.
#[test]
fn a_file_that_can_not_be_configuration_is_refused_by_name() {
    let files = Files::new();
    let large = files.file("large.yaml", "");
    fs::File::options().write(true).open(&large).and_then(|f| f.set_len(100 << 20)).expect("ours");
    let cases = [
        (files.path("missing.yaml"), "No such file"),
        (files.0.path().to_path_buf(), "directory"),
        (files.file("binary.yaml", [b'a', 0xff]), "UTF-8"),
        (files.file("empty.yaml", ""), "empty"),
        (large, "larger than"),
    ];
    for (path, reason) in cases {
        let (code, said) = files.refused(&path);
        assert_eq!(code, CONFIGURATION, "{said}");
        assert!(said.contains(reason) && said.contains(path.to_str().expect("UTF-8")), "{said}");
        let checked = run(&["config", "check", path.to_str().expect("UTF-8")]);
        assert_eq!(checked.status.code(), Some(CONFIGURATION), "{}", stderr(&checked));
    }
    if !has_root_and(&[]) {
        return;
    }
    let secret = files.file("secret.yaml", "log:\n  level: info\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("ours");
    let checked =
        rivvend().args(["config", "check"]).arg(&secret).uid(NOBODY).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(PERMISSION), "{}", stderr(&checked));
    assert!(stderr(&checked).contains("secret.yaml"), "{}", stderr(&checked));
}

/// Bad input 60.
#[test]
fn a_syntax_error_shows_its_place_and_no_secret() {
    let files = Files::new();
    let said = files.refused_text("server:\n  bind_address: 127.0.0.1:0\n   http_port: 1\n");
    assert!(said.contains("broken.yaml:3:"), "{said}");
    assert!(said.contains("http_port: 1") && said.contains('^'), "{said}");
    let said = files.refused_text("auth:\n  password: \"hunter2\" \"more\n");
    assert!(said.contains("broken.yaml:3:") && said.contains("****"), "{said}");
    assert!(said.contains("quoted scalar at line 2"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

/// Bad inputs 61, 62, 63, 64 and 66: whatever is wrong with one file is said at once.
#[test]
fn all_mistakes_of_a_file_are_listed_together() {
    let files = Files::new();
    let cases: [(&str, &[&str]); 4] = [
        (
            "server:\n  bind_adress: a:1\n  http_port: 1\n  http_port: 2\nStorage:\n  data_dir: x\n",
            &[
                "did you mean server.bind_address?",
                "stands twice",
                "did you mean storage.data_dir?",
            ],
        ),
        (
            "storage:\n  segment_bytes: 1e3\n  tail_window_bytes: -1\n  low_water_bytes: 10G\n\
             topic:\n  retention_ms: 7D\n  max_message_bytes: 99999999999999999999\n",
            &["segment_bytes", "tail_window_bytes", "10GiB or 10GB", "7d", "too large"],
        ),
        (
            "server:\n  bind_address: '127.0.0.1:9092'\n  http_port: 9092\n\
             \u{20} advertised_address: 0.0.0.0:9092\nstorage:\n  segment_bytes: 64KiB\n\
             topic:\n  retention_bytes: 1KiB\npartitioner:\n  batch_size: 2MiB\n",
            &[
                "has 5 problems",
                "server.http_port: 9092 is the port of server.bind_address too",
                "server.advertised_address: nobody can connect to 0.0.0.0:9092",
                "storage.segment_bytes: 64KiB is less than topic.max_message_bytes",
                "topic.retention_bytes: 1KiB is less than storage.segment_bytes",
                "partitioner.batch_size: 2MiB is more than topic.max_message_bytes",
            ],
        ),
        ("server:\n  bind_address: '::1:9092'\n", &["bind_address", "brackets"]),
    ];
    for (text, expected) in cases {
        let said = files.refused_text(text);
        for part in expected {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

/// Decimal and binary units are different numbers, and a bare number is bytes or milliseconds.
#[test]
fn units_mean_what_is_documented() {
    let files = Files::new();
    let config = files.file(
        "units.yaml",
        "storage:\n  tail_window_bytes: 10GB\n  low_water_bytes: 10GiB\ntopic:\n  \
         retention_ms: 250\n",
    );
    let shown = run(&["config", "show", "-o", "json", "-c", config.to_str().expect("UTF-8")]);
    let entries: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let value = |key: &str| {
        let entries = entries.as_array().expect("a list").iter();
        let entry = entries.clone().find(|entry| entry["key"] == key).expect("every key");
        entry["value"].as_str().expect("text").to_owned()
    };
    assert_eq!(value("storage.tail_window_bytes"), "10GB");
    assert_eq!(value("storage.low_water_bytes"), "10GiB");
    assert_eq!(value("topic.retention_ms"), "250ms");
}

/// Bad input 64, for a user who may not have the port.
#[test]
fn a_privileged_port_is_named_with_its_key() {
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first_free: u16 = first_free.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(1024);
    if !has_root_and(&[]) || first_free < 2 {
        eprintln!("skipped: this system lets everybody have every port");
        return;
    }
    let files = Files::new();
    let data = files.path("data");
    fs::create_dir(&data).expect("made");
    std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).expect("we are root");
    let setup = Setup::new(&data);
    let (code, said) =
        Setup { bind: "127.0.0.1:1".to_owned(), uid: Some(NOBODY), ..setup }.refused();
    assert_eq!(code, PERMISSION, "{said}");
    assert!(said.contains("server.bind_address 127.0.0.1:1"), "{said}");
}

/// Bad input 66: clients would be sent to a name that stands for nothing.
#[test]
fn an_advertised_name_that_stands_for_no_address_is_refused() {
    let files = Files::new();
    // A name that is reserved to stand for nothing, RFC 6761.
    let config = files.file("a.yaml", "server:\n  advertised_address: broker.invalid:9092\n");
    let (code, said) = files.refused(&config);
    assert_eq!(code, CONFIGURATION, "{said}");
    assert!(said.contains("server.advertised_address broker.invalid:9092"), "{said}");
    let config = files.file("a.yaml", "server:\n  advertised_address: localhost:9092\n");
    Setup { config: Some(config), ..Setup::new(files.path("data")) }.start().stop();
}

/// Flag, environment, file with its line, default: nearest first, and each says so.
#[test]
fn every_value_says_where_it_comes_from() {
    let files = Files::new();
    let config = files.file(
        "f.yaml",
        "# ours\nserver:\n  bind_address: 1.1.1.1:1\n  http_port: 1\n  idle_timeout: 1m\n",
    );
    let show = |form: &str| {
        let mut command = rivvend();
        command.args(["config", "show", "--bind", "3.3.3.3:3", "-o", form, "-c"]).arg(&config);
        command.env("RIVVEN_HTTP_PORT", "2").env("RIVVEN_BIND", "2.2.2.2:2");
        let shown = command.output().expect("it runs");
        assert!(shown.status.success(), "{}", stderr(&shown));
        stdout(&shown)
    };
    let file = format!("file {}:5", config.display());
    let expected = [
        ("server.bind_address", "3.3.3.3:3", "flag --bind"),
        ("server.http_port", "2", "environment RIVVEN_HTTP_PORT"),
        ("server.idle_timeout", "1m", &file),
        ("server.protected_mode", "true", "default"),
    ];
    let entries: Vec<Value> = serde_json::from_str(&show("json")).expect("JSON");
    for (key, value, source) in expected {
        let entry = entries.iter().find(|entry| entry["key"] == key).expect("every key");
        assert_eq!((&entry["value"], &entry["source"]), (&value.into(), &source.into()), "{key}");
        let line = |form: &str| {
            let text = show(form);
            let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
            line.unwrap_or_else(|| panic!("{key} in {text}"))
        };
        for form in ["table", "wide"] {
            assert!(line(form).contains(value) && line(form).contains(source), "{}", line(form));
        }
        assert_eq!(line("name"), key);
    }
    let lines: Vec<Value> =
        show("jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, entries);
    let yaml: Vec<Value> = serde_yaml::from_str(&show("yaml")).expect("YAML");
    assert_eq!(yaml, entries);
    let default = run(&["config", "default", "-o", "name"]);
    assert_eq!(stdout(&default), show("name"));
}

/// `config check` lists mistakes for programs too, and what it accepts `serve` accepts.
#[test]
fn checking_a_file_lists_its_mistakes_as_data() {
    let files = Files::new();
    let wrong = files.file("wrong.yaml", "server:\n  http_prot: 1\ntopic:\n  durability: disk\n");
    let wrong = wrong.to_str().expect("UTF-8");
    let checked = run(&["config", "check", wrong, "-o", "jsonl"]);
    assert_eq!(checked.status.code(), Some(CONFIGURATION));
    let found: Vec<Value> =
        stdout(&checked).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["place"], "server.http_prot");
    assert_eq!(found[1]["place"], "topic.durability");
    assert!(stderr(&checked).contains("has 2 problems"), "{}", stderr(&checked));

    let default = run(&["config", "default"]);
    let file = files.file("default.yaml", &default.stdout);
    let checked = run(&["config", "check", file.to_str().expect("UTF-8"), "-o", "json"]);
    assert_eq!((checked.status.code(), stdout(&checked).trim()), (Some(0), "[]"));
}

/// Bad input 72 through the command: what changed is told, what needs a restart is named, and a
/// broken file keeps the old values and ends the command with 78.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_broker_reads_its_configuration_again_when_asked() {
    let files = Files::new();
    let config = files.file("f.yaml", "topic:\n  retention_ms: 1h\n");
    let setup = Setup { config: Some(config), ..Setup::new(files.path("data")) };
    let broker = setup.start();
    let server = broker.native.to_string();
    let data = setup.data.to_str().expect("UTF-8");
    let reload = |place: [&str; 2]| run(&["config", "reload", "-o", "json", place[0], place[1]]);
    let gauge = async || {
        let metrics = broker.client().await.metrics().await.expect("an answer");
        let line = metrics.lines().find(|l| l.starts_with("rivven_config_reload_failed "));
        line.expect("a gauge").to_owned()
    };
    files.file("f.yaml", "topic:\n  retention_ms: 2h\nstorage:\n  tail_window_bytes: 1GiB\n");
    let told = reload(["--server", &server]);
    assert!(told.status.success(), "{}", stderr(&told));
    let keys: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let expected = serde_json::json!([
        {"key": "topic.retention_ms", "is_applied": true},
        {"key": "storage.tail_window_bytes", "is_applied": false},
    ]);
    assert_eq!(keys, expected);
    assert!(stderr(&told).contains("need a restart"), "{}", stderr(&told));
    // Through the socket of the broker that holds the directory; it still has the old window.
    let told = reload(["--data-dir", data]);
    assert!(stdout(&told).contains("tail_window_bytes"), "{}", stdout(&told));
    assert!(!stdout(&told).contains("retention_ms"), "{}", stdout(&told));
    assert!(gauge().await.ends_with(" 0"));

    files.file("f.yaml", "topic:\n  retention_ms: 3h\n  retention_sm: 1h\n");
    let refused = reload(["--server", &server]);
    assert_eq!(refused.status.code(), Some(CONFIGURATION), "{}", stderr(&refused));
    assert!(refused.stdout.is_empty());
    assert!(stderr(&refused).contains("did you mean topic.retention_ms?"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("the old one stays"), "{}", stderr(&refused));
    assert!(gauge().await.ends_with(" 1"));
    files.file("f.yaml", "topic:\n  retention_ms: 2h\n");
    assert_eq!(reload(["--server", &server]).status.code(), Some(0));
    assert!(gauge().await.ends_with(" 0"));
    broker.stop();
    let nobody = reload(["--data-dir", data]);
    assert_eq!(nobody.status.code(), Some(5), "{}", stderr(&nobody));
}

/// Settings of the cluster hold at once, above the file, for all who ask, and after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_of_the_cluster_holds_above_the_file_until_it_is_unset() {
    let files = Files::new();
    let config = files.file("f.yaml", "topic:\n  max_message_bytes: 512KiB\n");
    let setup = Setup { config: Some(config), ..Setup::new(files.path("data")) };
    let data = setup.data.to_str().expect("UTF-8").to_owned();
    let broker = setup.start();
    let server = broker.native.to_string();
    let key = "topic.max_message_bytes";
    let large = || batch(&[&vec![7; 700_000]]);
    let client = broker.client().await;
    create_topic(&client, "kept", 1, &[]).await;
    append(&client, "kept", 0, large()).await.expect_err("above the limit of the file");

    let dry = run(&["config", "set", key, "1MiB", "--dry-run", "--server", &server, "-o", "json"]);
    assert_eq!(one(&dry), (key.into(), "1MiB".into(), "dynamic".into()));
    append(&client, "kept", 0, large()).await.expect_err("nothing has changed");
    let set = run(&["config", "set", key, "1MiB", "--server", &server, "-o", "json"]);
    assert_eq!(one(&set), (key.into(), "1MiB".into(), "dynamic".into()));
    append(&client, "kept", 0, large()).await.expect("the new limit holds at once");
    // Under Kafka's name, through the socket; listed under the name of the file.
    let get = run(&["config", "get", "message.max.bytes", "-d", &data, "-o", "json"]);
    assert_eq!(one(&get), (key.into(), "1MiB".into(), "dynamic".into()));
    broker.stop();

    // The stopped directory, without a server; what the command itself is given counts as well.
    let shown = run(&["config", "show", "-d", &data, "--http-port", "7", "-o", "table"]);
    let line = |key: &str| {
        let text = stdout(&shown);
        let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{key}: {text} {}", stderr(&shown)))
    };
    assert!(line(key).ends_with("dynamic") && line(key).contains("1MiB"), "{}", line(key));
    assert!(line("server.http_port").ends_with("flag --http-port"), "{}", line("server.http_port"));
    let set = run(&["config", "set", "topic.auto_create_topics", "false", "--data-dir", &data]);
    assert!(set.status.success(), "{}", stderr(&set));

    let broker = setup.start();
    let (client, server) = (broker.client().await, broker.native.to_string());
    append(&client, "kept", 0, large()).await.expect("it is kept");
    let metadata = client.metadata(&["new"], true).await.expect("an answer");
    assert!(metadata.topics[0].error.is_some(), "topics are no longer created so");
    let unset = ["config", "unset", key, "topic.auto_create_topics", "--server", &server];
    let unset = run(&unset);
    assert!(unset.status.success(), "{}", stderr(&unset));
    assert!(stdout(&unset).contains("512KiB"), "{}", stdout(&unset));
    append(&client, "kept", 0, large()).await.expect_err("the file counts again");
    let metadata = client.metadata(&["new"], true).await.expect("an answer");
    assert!(metadata.topics[0].error.is_none());
    broker.stop();
}

/// Key, value and source of the only entry that a command printed as JSON.
/// What the cluster was told and what the file says have to go together, whichever changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_contradicts_what_the_cluster_was_told_is_not_taken_over() {
    let files = Files::new();
    let config = files.file("f.yaml", "topic:\n  max_message_bytes: 512KiB\n");
    let setup = Setup { config: Some(config), ..Setup::new(files.path("data")) };
    let broker = setup.start();
    let server = broker.native.to_string();
    let set = |key: &str, value: &str| run(&["config", "set", key, value, "--server", &server]);
    assert!(set("storage.segment_bytes", "1MiB").status.success());
    files.file("f.yaml", "topic:\n  max_message_bytes: 50MiB\n");
    let reloaded = run(&["config", "reload", "--server", &server]);
    assert_eq!(reloaded.status.code(), Some(78), "{}", stderr(&reloaded));
    let said = stderr(&reloaded);
    assert!(said.contains("max_message_bytes") && said.contains("config set"), "{said}");
    let get = run(&["config", "get", "topic.max_message_bytes", "--server", &server]);
    assert!(stdout(&get).contains("512KiB"), "{}", stdout(&get));
    let other = set("topic.auto_create_topics", "false");
    assert!(other.status.success(), "nothing is in its way: {}", stderr(&other));
    let contradiction = set("topic.max_message_bytes", "50MiB");
    assert_eq!(contradiction.status.code(), Some(2), "{}", stderr(&contradiction));
    broker.stop();
}

fn one(output: &Output) -> (String, String, String) {
    assert!(output.status.success(), "{}", stderr(output));
    let entries: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let [entry] = &entries[..] else { panic!("one entry: {entries:?}") };
    let text = |name: &str| entry[name].as_str().expect("text").to_owned();
    (text("key"), text("value"), text("source"))
}

/// What can not be set is refused with the reason and with what to do instead; nothing is changed.
#[test]
fn settings_that_can_not_be_set_are_explained() {
    let files = Files::new();
    let setup = Setup::new(files.path("data"));
    let broker = setup.start();
    let server = broker.native.to_string();
    let cases = [
        ("topic.retention_sm", "1h", "did you mean \"topic.retention_ms\"?"),
        ("retention.msx", "1h", "did you mean \"retention.ms\"?"),
        ("topic.retention_ms", "7 weeks", "duration such as"),
        ("topic.durability", "disk", "neither fsync nor os"),
        ("num.partitions", "0", "out of range"),
        ("min.insync.replicas", "none", "whole number"),
        ("cleanup.policy", "compress", "a comma-separated list of delete, compact"),
        ("server.http_port", "1", "restart"),
        ("log.level", "debug", "config reload"),
        // Larger than the segments of the file.
        ("topic.max_message_bytes", "99GiB", "out of range"),
        ("storage.segment_bytes", "16KiB", "less than topic.max_message_bytes"),
    ];
    for (key, value, expected) in cases {
        let refused = run(&["config", "set", key, value, "--server", &server]);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{key}={value}: {said}");
        assert!(said.contains(expected), "{key}={value}: {said}");
        assert!(refused.stdout.is_empty());
    }
    let refused = run(&["config", "get", "topic.retention_sm", "--server", &server]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let all = run(&["config", "get", "--server", &server]);
    assert!(all.status.success() && !stdout(&all).contains("dynamic"), "{}", stdout(&all));
    assert!(stdout(&all).contains("log.roll.ms"), "settings without a key are listed too");
    broker.stop();
}
