//! Starting and stopping: what the process says, which exit codes it ends with, and what it leaves
//! alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::DeleteTopics;
use rustix::process::Signal;

use super::broker::{PATIENCE, Setup, assert_verified, rivvend, snapshot, wait_until};
use super::has_root_and;
use super::load::{append, batch, create_topic, read_all};

const UNAVAILABLE: i32 = 5;
const STORAGE: i32 = 74;
const BUSY: i32 = 75;
const PERMISSION: i32 = 77;
const CONFIGURATION: i32 = 78;
/// `nobody` on every Linux.
const NOBODY: u32 = 65_534;

fn new_directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_keeps_everything_and_leaves_the_marker() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let marker = setup.data.join("clean-shutdown");
    let mut broker = setup.start();
    assert!(broker.native.port() != 0 && broker.http.port() != 0, "real ports are named");
    let client = broker.client().await;
    create_topic(&client, "kept", 1, &[]).await;
    for number in 0..10 {
        let data = batch(&[format!("{number}").as_bytes()]);
        assert_eq!(append(&client, "kept", 0, data).await.expect("taken"), number);
    }
    assert!(!marker.exists(), "a running broker has not stopped cleanly");
    broker.signal(Signal::TERM);
    let status = broker.wait_exit(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
    assert!(marker.exists() && !setup.data.join("rivvend.sock").exists());

    let broker = setup.start();
    assert!(!marker.exists(), "the marker is used up");
    let values = read_all(&broker.client().await, "kept", 0, 0).await;
    let values: Vec<_> = values.iter().map(|(_, value)| value.as_ref()).collect();
    assert_eq!(values, [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"]);
    broker.stop();
}

/// An answer that never leaves holds the drain up for its grace; a second signal does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once_and_loses_nothing() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let mut broker = setup.start();
    let client = broker.client().await;
    create_topic(&client, "kept", 1, &[]).await;
    append(&client, "kept", 0, batch(&[b"one"])).await.expect("taken");
    broker.freeze();
    // Both are pending when it goes on, so the second finds the first under way or is merged into
    // it; either way it ends quickly.
    broker.signal(Signal::TERM);
    broker.signal(Signal::INT);
    broker.signal(Signal::CONT);
    assert_eq!(broker.wait_exit(Duration::from_secs(5)).code(), Some(0));
    let broker = setup.start();
    assert_eq!(read_all(&broker.client().await, "kept", 0, 0).await.len(), 1);
}

/// Bad input 72: SIGHUP applies what may change, names what needs a restart, and keeps all of the
/// old configuration when anything is wrong with the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_read_again_on_sighup_as_a_whole_or_not_at_all() {
    let directory = new_directory();
    let path = directory.path().join("rivvend.yaml");
    let configure = |text: &str| fs::write(&path, text).expect("written");
    configure("topic:\n  max_message_bytes: 1MiB\n");
    let setup = Setup::new(directory.path().join("data"));
    let broker = Setup { config: Some(path.clone()), ..setup }.start();
    let client = broker.client().await;
    create_topic(&client, "kept", 1, &[]).await;
    let large = || batch(&[&vec![7; 2_000_000]]);
    let refused = append(&client, "kept", 0, large()).await.expect_err("above the limit");
    assert_eq!(refused.code(), Some(ErrorCode::MessageTooLarge));

    configure("topic:\n  max_message_bytes: 4MiB\nstorage:\n  tail_window_bytes: 1GiB\n");
    broker.signal(Signal::HUP);
    let told = broker.wait_log("configuration reloaded");
    assert!(told.contains("changed=\"topic.max_message_bytes\""), "{told}");
    let told = broker.wait_log("need a restart");
    assert!(told.contains("WARN") && told.contains("storage.tail_window_bytes"), "{told}");
    let deadline = Instant::now() + PATIENCE;
    while append(&client, "kept", 0, large()).await.is_err() {
        assert!(Instant::now() < deadline, "the new limit holds soon");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    for (broken, reason) in [
        ("topic:\n  max_message_bytes: 1KiB\n  retention_sm: 1h\n", "retention_sm"),
        ("topic:\n  max_message_bytes: 1KiB\n  retention_bytes: 1MiB\n", "segment_bytes"),
        ("topic: [", "rivvend.yaml"),
    ] {
        configure(broken);
        broker.signal(Signal::HUP);
        let told = broker.wait_log(reason);
        assert!(told.contains("ERROR") && told.contains("the old one stays"), "{told}");
        append(&client, "kept", 0, large()).await.expect("the old limit still holds");
        let metrics = client.metrics().await.expect("an answer");
        assert!(metrics.contains("\nrivven_config_reload_failed 1\n"), "{metrics}");
    }
    configure("log:\n  level: debug\n");
    broker.signal(Signal::HUP);
    broker.wait_log("log.level");
    let metrics = client.metrics().await.expect("an answer");
    assert!(metrics.contains("\nrivven_config_reload_failed 0\n"), "{metrics}");
    broker.stop();
}

/// Bad input 69. With the same ports too, as when the same command is given twice.
#[test]
fn a_second_process_on_the_same_directory_names_the_first() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let broker = setup.start();
    let (bind, http_port) = (broker.native.to_string(), broker.http.port());
    for again in [setup.clone(), Setup { bind, http_port, ..setup }] {
        let (code, said) = again.refused();
        assert_eq!(code, BUSY, "{said}");
        assert!(said.contains(&format!("pid {}", broker.pid())), "{said}");
    }
    broker.stop();
}

/// The mirror image of bad input 4: a command that is sent to a port where the native protocol is
/// not spoken says what is spoken there, and which port it needs.
#[test]
fn a_command_at_a_port_of_another_protocol_names_it_and_the_port_it_needs() {
    let directory = new_directory();
    let broker = Setup::new(directory.path().join("data")).start();
    let ssh = answering(b"SSH-2.0-OpenSSH_9.6\r\n");
    let tls = answering(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]);
    let mail = answering(b"220 mail.example ESMTP\r\n");
    let cases = [(broker.http, "HTTP"), (ssh, "SSH"), (tls, "TLS"), (mail, "\"220 mail.example")];
    for (port, protocol) in cases {
        let server = port.to_string();
        let list = rivvend().args(["topic", "list", "--server", &server]).output();
        let list = list.expect("it runs");
        let said = String::from_utf8_lossy(&list.stderr).into_owned();
        assert_eq!(list.status.code(), Some(UNAVAILABLE), "{said}");
        assert_eq!(said.lines().count(), 1, "one clear sentence: {said}");
        for part in [&server, protocol, "native port", "9092 by default"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    broker.stop();
}

/// A port where whoever connects is told this, whatever he says, and then nothing more.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = port.accept().expect("somebody connects");
        stream.write_all(answer).expect("sent");
        // Until the other side has gone, so that no reset overtakes the answer.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    address
}

/// Bad input 64.
#[test]
fn a_port_in_use_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let native = Setup { bind: format!("127.0.0.1:{port}"), ..setup.clone() };
    let http = Setup { http_port: port, ..setup.clone() };
    for (setup, key) in [(native, "server.bind_address"), (http, "server.http_port")] {
        let (code, said) = setup.refused();
        assert_eq!(code, BUSY, "{said}");
        assert!(said.contains(key) && said.contains(&port.to_string()), "{said}");
    }
    // Neither attempt left the directory in a state that keeps a broker from it.
    setup.start().stop();
}

/// Bad input 71.
#[test]
fn a_directory_of_somebody_else_is_not_touched() {
    let directory = new_directory();
    fs::write(directory.path().join("thesis.txt"), "years of work").expect("written");
    fs::create_dir_all(directory.path().join("topics/0")).expect("made");
    let before = snapshot(directory.path());
    let (code, said) = Setup::new(directory.path()).refused();
    assert_eq!(code, CONFIGURATION, "{said}");
    assert!(said.contains(&directory.path().display().to_string()), "{said}");
    assert_eq!(snapshot(directory.path()), before);
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 2);

    let fresh = new_directory();
    fs::create_dir(fresh.path().join("lost+found")).expect("made");
    Setup::new(fresh.path()).start().stop();
}

/// Bad input 70.
#[test]
fn the_directory_of_another_node_or_of_a_newer_program_is_refused() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    setup.clone().env("RIVVEN_NODE_ID", 3).start().stop();
    let unchanged = |setup: &Setup, expected: &[&str]| {
        let before = files_of_the_stop(&setup.data);
        let (code, said) = setup.refused();
        assert_eq!(code, CONFIGURATION, "{said}");
        for part in expected {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(files_of_the_stop(&setup.data), before);
    };
    unchanged(&setup.clone().env("RIVVEN_NODE_ID", 4), &["node 3", "node 4"]);
    setup.start().stop();

    let meta = setup.data.join("meta.yaml");
    let text = fs::read_to_string(&meta).expect("text");
    assert!(text.contains("format: 1"), "{text}");
    fs::write(&meta, text.replace("format: 1", "format: 2\nnew_field: 3")).expect("written");
    unchanged(&setup, &["format 2", "newer"]);
}

/// Everything but the lock file, which every attempt writes its process id into.
fn files_of_the_stop(data: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = snapshot(data);
    files.remove(&data.join("rivvend.lock"));
    files
}

/// Bad input 91.
#[test]
fn missing_permissions_end_with_their_own_code() {
    if !has_root_and(&[]) {
        return;
    }
    let directory = new_directory();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("ours");
    let setup = Setup::new(directory.path().join("data"));
    setup.start().stop();
    let stranger = Setup { uid: Some(NOBODY), ..setup.clone() };
    let (code, said) = stranger.refused();
    assert_eq!(code, PERMISSION, "{said}");
    assert!(said.contains(&setup.data.display().to_string()), "{said}");
    // Not even their owner may look into these.
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).expect("made");
    std::os::unix::fs::chown(&closed, Some(NOBODY), Some(NOBODY)).expect("we are root");
    let none = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&closed, none).expect("ours");
    let (code, said) = Setup { data: closed.clone(), ..stranger.clone() }.refused();
    assert_eq!(code, PERMISSION, "{said}");
    assert!(said.contains(&closed.display().to_string()), "{said}");
    let missing = Setup { data: directory.path().join("new"), ..stranger };
    let (code, said) = missing.refused();
    assert_eq!(code, PERMISSION, "{said}");
    setup.start().stop();
}

/// What this build does not have is an error and not ignored, wherever it is asked for.
#[test]
fn keys_of_features_that_are_not_there_are_refused() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let config = directory.path().join("rivvend.yaml");
    let cases = [
        ("auth:\n  enabled: true\n", "auth.enabled"),
        ("tls:\n  enabled: true\n", "tls.enabled"),
        ("quotas:\n  default: 1\n", "quotas.default"),
        ("cluster:\n  peers: [a:9093]\n", "cluster.peers"),
        ("server:\n  bind_adress: 127.0.0.1:0\n", "did you mean"),
    ];
    for (text, expected) in cases {
        fs::write(&config, text).expect("written");
        let (code, said) = Setup { config: Some(config.clone()), ..setup.clone() }.refused();
        assert_eq!(code, CONFIGURATION, "{said}");
        assert!(said.contains(expected), "{said}");
    }
    for variable in ["RIVVEN_AUTH_ENABLED", "RIVVEN_TLS_ENABLED"] {
        let (code, said) = setup.clone().env(variable, true).refused();
        assert_eq!(code, CONFIGURATION, "{said}");
        assert!(said.contains(variable), "{said}");
    }
    assert!(!setup.data.exists(), "nothing was made for a configuration that is refused");
}

/// A directory whose metadata are gone while its records are there is not a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_metadata_stop_the_start_and_delete_nothing() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let broker = setup.start();
    let client = broker.client().await;
    create_topic(&client, "kept", 1, &[]).await;
    append(&client, "kept", 0, batch(&[b"one"])).await.expect("taken");
    broker.stop();
    fs::rename(setup.data.join("metadata"), directory.path().join("metadata")).expect("moved");
    let topics = snapshot(&setup.data.join("topics"));
    let (code, said) = setup.refused();
    assert_eq!(code, STORAGE, "{said}");
    assert_eq!(snapshot(&setup.data.join("topics")), topics);
    let gone = setup.data.join("metadata");
    if gone.exists() {
        fs::remove_dir_all(&gone).expect("removed");
    }
    fs::rename(directory.path().join("metadata"), gone).expect("moved back");
    let mut broker = setup.start();
    assert_eq!(read_all(&broker.client().await, "kept", 0, 0).await.len(), 1);
    broker.signal(Signal::TERM);
    broker.wait_exit(PATIENCE);
}

/// Bad input 74: offsets do not care for the clock, and whoever set it back hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_went_back_is_told_of_and_disturbs_no_offset() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    let broker = setup.start();
    create_topic(&broker.client().await, "kept", 1, &[]).await;
    append(&broker.client().await, "kept", 0, batch(&[b"one"])).await.expect("taken");
    assert!(!broker.log_text().contains("the clock is"), "{}", broker.log_text());
    broker.stop();
    // An hour back, as the files see it.
    let journal = fs::File::options().write(true).open(setup.data.join("frontier"));
    let later = SystemTime::now() + Duration::from_secs(3600);
    journal.and_then(|file| file.set_modified(later)).expect("our own file");
    let broker = setup.start();
    let told = broker.wait_log("the clock is 3599 s behind");
    assert!(told.contains("WARN") && told.contains("set the clock"), "{told}");
    let client = broker.client().await;
    append(&client, "kept", 0, batch(&[b"two"])).await.expect("taken");
    assert_eq!(read_all(&client, "kept", 0, 0).await.len(), 2);
    broker.stop();
}

/// What was durable of a topic is not missed once the topic is deleted, however the broker ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_of_a_deleted_topic() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    for is_orderly in [true, false] {
        let broker = setup.start();
        let client = broker.client().await;
        create_topic(&client, "gone", 2, &[]).await;
        append(&client, "gone", 0, batch(&[b"one"])).await.expect("taken");
        append(&client, "gone", 1, batch(&[b"two"])).await.expect("taken");
        // A stop says in the frontier journal how far everything is durable.
        broker.stop();
        let broker = setup.start();
        let delete = DeleteTopics { names: vec!["gone".to_owned()], ..DeleteTopics::default() };
        broker.client().await.delete_topics(delete).await.expect("deleted");
        // Its directory goes last, and nothing below it holds still meanwhile.
        let topics = setup.data.join("topics");
        wait_until("its files are gone", || {
            std::fs::read_dir(&topics).expect("a directory").next().is_none()
        });
        match is_orderly {
            true => broker.stop(),
            false => broker.kill(),
        }
        assert_verified(&setup.data);
    }
}

/// A command that works on a directory itself is the broker then, and says what went wrong once.
#[test]
fn a_refusal_inside_a_command_is_told_by_the_command_alone() {
    let directory = new_directory();
    let setup = Setup::new(directory.path().join("data"));
    setup.start().stop();
    let describe = rivvend()
        .args(["topic", "describe", "missing", "--data-dir"])
        .arg(&setup.data)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&describe.stderr).into_owned();
    assert_eq!(describe.status.code(), Some(3), "{said}");
    assert!(said.contains("missing") && !said.contains("WARN"), "{said}");
}
