//! `rivvend doctor`: each trouble that it knows is made, found, named, and told in every form.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use serde_json::Value;

use super::broker::{Setup, rivvend};
use super::command::{Place, Ran, finish};
use super::has_root_and;

/// Runs it for a directory, on ports that are free unless `more` says otherwise.
fn doctor(data: &Path, more: &[&str]) -> Ran {
    let mut command = rivvend();
    command.arg("doctor").arg("--data-dir").arg(data);
    if !more.contains(&"--bind") {
        command.args(["--bind", "127.0.0.1:0"]);
    }
    command.args(["--http-port", "0"]).args(more);
    // How full the disk of the tests is, is not their matter.
    command.env("RIVVEN_STORAGE_LOW_WATER_BYTES", "0");
    finish(command, "")
}

/// What it found about one thing: state, detail and advice.
fn finding(data: &Path, more: &[&str], check: &str) -> (String, String, String) {
    let ran = doctor(data, &[more, &["-o", "json"]].concat());
    let found: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let of_check = |finding: &&Value| finding["check"] == check;
    let found = found.as_array().expect("a list").iter().find(of_check).expect("looked at");
    let text = |name: &str| found[name].as_str().expect("text").to_owned();
    (text("state"), text("detail"), text("advice"))
}

#[test]
fn a_sound_directory_is_found_sound_whether_it_is_served_or_not_or_not_there_yet() {
    let directory = tempfile::tempdir().expect("a folder");
    let data = directory.path().join("data");
    let (state, detail, _) = finding(&data, &[], "data directory");
    assert!(state == "ok" && detail.contains("the first start makes it"), "{detail}");
    assert!(!data.exists(), "nobody asked for it");

    let broker = Setup::new(&data).start();
    Place::wire(&broker).done("topic create orders", "");
    let address = broker.native.to_string();
    let (state, detail, _) = finding(&data, &[], "data directory");
    assert!(state == "ok" && detail.contains(&format!("process {}", broker.pid())), "{detail}");
    let (state, detail, _) = finding(&data, &["--bind", &address], "native port");
    assert!(state == "ok" && detail.contains("the broker of the directory runs"), "{detail}");
    broker.stop();

    let before = super::broker::snapshot(&data);
    for check in ["configuration", "orphaned directories", "clock", "native port"] {
        let (state, detail, advice) = finding(&data, &[], check);
        assert_eq!((state.as_str(), advice.as_str()), ("ok", ""), "{check}: {detail}");
    }
    // How fast the disk is, beside other tests, is not the broker's doing; that it was measured is.
    let (state, detail, advice) = finding(&data, &[], "sync latency");
    assert!(detail.starts_with("4 KiB: p50 ") && detail.ends_with(" syncs)"), "{detail}");
    assert!(matches!((&*state, &*advice), ("ok", "") | ("warning", _)), "{state}: {advice}");
    assert_eq!(super::broker::snapshot(&data), before, "it leaves everything as it was");
}

#[test]
fn what_is_wrong_is_named_with_what_to_do_about_it() {
    let directory = tempfile::tempdir().expect("a folder");
    let setup = Setup::new(directory.path().join("data"));
    setup.start().stop();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (state, detail, advice) = finding(&setup.data, &["--bind", &address], "native port");
    assert_eq!(state, "critical");
    assert!(detail.contains(&address) && advice.contains("--bind"), "{detail}; {advice}");

    let orphan = setup.data.join("topics/00000000-0000-0000-0000-0000000000aa");
    fs::create_dir_all(orphan.join("0")).expect("made");
    fs::write(orphan.join("0/00000000000000000000.log"), [0; 100]).expect("written");
    let (state, detail, _) = finding(&setup.data, &[], "orphaned directories");
    assert_eq!(state, "warning");
    assert!(detail.contains("0000000000aa") && detail.contains("100 B"), "{detail}");

    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(setup.data.join("frontier")).expect("there");
    file.set_modified(later).expect("our own file");
    let (state, detail, _) = finding(&setup.data, &[], "clock");
    assert!(state == "warning" && detail.contains("behind what was last written"), "{detail}");

    let config = directory.path().join("rivvend.yaml");
    fs::write(&config, "storage:\n  segment_bites: 1MiB\n").expect("written");
    let config = config.to_str().expect("UTF-8");
    let (state, detail, advice) = finding(&setup.data, &["--config", config], "configuration");
    assert!(state == "critical" && detail.contains("segment_bites"), "{detail}");
    assert!(advice.contains("config check"), "{advice}");
}

/// Bad input 90: what the broker warns of at its start, this says in the same words.
#[test]
fn a_file_system_without_durable_syncs_is_told_as_at_the_start() {
    let memory = tempfile::tempdir_in("/dev/shm").expect("Linux has it");
    let setup = Setup::new(memory.path().join("data"));
    let setup = setup.env("RIVVEN_STORAGE_LOW_WATER_BYTES", 0);
    let broker = setup.start();
    broker.wait_log("in memory: a sync means nothing there");
    broker.stop();
    let (state, detail, advice) = finding(&setup.data, &[], "file system");
    assert_eq!(
        (state.as_str(), detail.as_str()),
        ("warning", "tmpfs: in memory: a sync means nothing there")
    );
    assert!(advice.contains("local disk"), "{advice}");
}

#[test]
fn whoever_may_not_write_there_hears_of_it() {
    if !has_root_and(&[]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a folder");
    let data = directory.path().join("data");
    Setup::new(&data).start().stop();
    let mut command = rivvend();
    command.args(["doctor", "--bind", "127.0.0.1:0", "--http-port", "0", "--data-dir"]).arg(&data);
    let ran = finish(
        {
            command.uid(65_534).gid(65_534);
            command
        },
        "",
    );
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.out.contains("critical") && ran.err.starts_with("error: "), "{ran:?}");
}

#[test]
fn monitoring_gets_one_line_and_its_exit_codes() {
    let memory = tempfile::tempdir_in("/dev/shm").expect("Linux has it");
    let data = memory.path().join("data");
    let warned = doctor(&data, &["--check"]);
    assert_eq!((warned.exit, warned.out.lines().count()), (1, 1), "{warned:?}");
    let is_told = warned.out.contains("file system: tmpfs: in memory");
    assert!(warned.out.starts_with("RIVVEND WARNING - ") && is_told, "{warned:?}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let bad = doctor(&data, &["--check", "--bind", &address]);
    assert_eq!((bad.exit, bad.err.as_str()), (2, ""), "{bad:?}");
    assert!(bad.out.starts_with("RIVVEND CRITICAL - native port: "), "{bad:?}");
    let told = doctor(&data, &["--bind", &address]);
    assert!(told.exit == 1 && told.err.contains("native port"), "{told:?}");
}

#[test]
fn every_form_says_the_same() {
    let directory = tempfile::tempdir().expect("a folder");
    let data = directory.path().join("data");
    let run = |form: &str| doctor(&data, &["-o", form]).out;
    let json: Vec<Value> = serde_json::from_str(&run("json")).expect("JSON");
    let checks: Vec<&str> = json.iter().map(|f| f["check"].as_str().expect("text")).collect();
    let lines: Vec<Value> =
        run("jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), json.len());
    assert_eq!(run("name").lines().collect::<Vec<_>>(), checks);
    for form in ["table", "wide", "yaml"] {
        let text = run(form);
        checks.iter().for_each(|check| assert!(text.contains(check), "{form}: {text}"));
    }
}
