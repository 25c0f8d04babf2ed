//! Contexts through the real binary: where commands go when a flag, a variable or a context says
//! so, and what becomes of the file in which contexts are kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::broker::{Setup, rivvend};
use super::load::create_topic;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFIGURATION: i32 = 78;

/// A user with a configuration directory of his own.
struct User(tempfile::TempDir);

impl User {
    fn new() -> User {
        User(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("rivvend/contexts.yaml")
    }

    /// Runs a command line with these variables.
    fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = rivvend();
        command.args(line.split_whitespace()).env("XDG_CONFIG_HOME", self.0.path());
        command.envs(variables.iter().copied()).output().expect("it runs")
    }

    fn run(&self, line: &str) -> Output {
        self.run_with(line, &[])
    }

    /// Standard output of a command that has to succeed.
    fn told(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn current(&self) -> String {
        self.told("context show -o name").trim().to_owned()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What this command line lists, with these variables.
fn topics(user: &User, line: &str, variables: &[(&str, &str)]) -> String {
    let output = user.run_with(&format!("topic list -o name {line}"), variables);
    assert!(output.status.success(), "{line} {variables:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Flag over variable over context over default, whatever kind of place each of them names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nearest_place_wins() {
    let user = User::new();
    let directory = tempfile::tempdir().expect("a directory");
    let mut brokers = Vec::new();
    for name in ["one", "two", "three"] {
        let broker = Setup::new(directory.path().join(name)).start();
        create_topic(&broker.client().await, name, 1, &[]).await;
        brokers.push(broker);
    }
    let [one, two, three] = &brokers[..] else { unreachable!("three were started") };
    let address = |broker: &super::broker::Broker| broker.native.to_string();
    user.told(&format!("context add one --server {}", one.native));
    // A place on disk, which goes through the socket of the broker that holds it.
    user.told(&format!("context add two --data-dir {}", two.data.display()));
    assert_eq!(topics(&user, "", &[]), "one", "the first is used");
    user.told("context use two");
    assert_eq!(topics(&user, "", &[]), "two");
    assert_eq!(topics(&user, "", &[("RIVVEN_CONTEXT", "one")]), "one");
    assert_eq!(topics(&user, "", &[("RIVVEN_CONTEXT", "")]), "two", "empty is not set");
    let server = address(three);
    let both = [("RIVVEN_CONTEXT", "one"), ("RIVVEN_SERVER", server.as_str())];
    assert_eq!(topics(&user, "", &both), "three");
    assert_eq!(topics(&user, "--context one", &both), "one");
    assert_eq!(topics(&user, &format!("--server {}", address(two)), &both), "two");
    assert_eq!(topics(&user, &format!("--data-dir {}", one.data.display()), &both), "one");
    let embedded = [("RIVVEN_DATA_DIR", two.data.to_str().expect("UTF-8")), both[1]];
    assert_eq!(topics(&user, "--embedded", &embedded), "two");
    let refused = user.run(&format!("topic list --context one --server {server}"));
    assert_eq!(refused.status.code(), Some(USAGE), "{}", stderr(&refused));
    for broker in brokers {
        broker.stop();
    }
}

#[test]
fn contexts_are_added_used_shown_and_removed() {
    let user = User::new();
    assert_eq!(user.told("context list -o json").trim(), "[]");
    user.told("context add dev --server localhost:9092");
    user.told("context add prod --server [2001:db8::1]:9092 --use");
    assert_eq!(user.current(), "prod");
    user.told("context -");
    assert_eq!(user.current(), "dev");
    user.told("context use -");
    assert_eq!(user.current(), "prod");
    let listed: Vec<Value> =
        serde_json::from_str(&user.told("context list -o json")).expect("JSON");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["name"], "prod");
    assert_eq!(listed[1]["is_current"], true);
    assert_eq!(listed[1]["server"], "[2001:db8::1]:9092");
    assert_eq!(listed[1]["data_dir"], Value::Null);
    for form in ["table", "wide", "jsonl", "yaml", "name"] {
        let text = user.told(&format!("context ls -o {form}"));
        assert!(text.contains("dev") && text.contains("prod"), "{form}: {text}");
    }
    let mode = |path: &Path| fs::metadata(path).expect("written").permissions().mode() & 0o777;
    assert_eq!(mode(&user.file()), 0o600);
    assert_eq!(mode(user.file().parent().expect("below")), 0o700);

    let exists = user.run("context add dev --server other:1");
    assert!(stderr(&exists).contains("--replace"), "{}", stderr(&exists));
    user.told("context add dev --server other:1 --replace");
    assert!(user.told("context show dev").contains("other:1"));
    assert_eq!(user.current(), "prod", "replacing one does not use it");

    let partly = user.run("context remove dev gone");
    assert_eq!(partly.status.code(), Some(NOT_FOUND));
    assert!(user.told("context list -o name").contains("dev"), "all or none");
    let removed = user.run("context remove prod");
    assert!(removed.status.success() && stderr(&removed).contains("no context is used"));
    assert_eq!(user.run("context show").status.code(), Some(NOT_FOUND));
    assert_eq!(user.run("context -").status.code(), Some(0), "dev was used before");
    assert_eq!(user.current(), "dev");
}

#[test]
fn what_does_not_exist_is_named_and_something_near_is_offered() {
    let user = User::new();
    let none = user.run("topic list --context prod");
    assert_eq!(none.status.code(), Some(NOT_FOUND), "{}", stderr(&none));
    assert!(stderr(&none).contains("context add"), "{}", stderr(&none));
    user.told("context add production --server localhost:9092");
    for line in ["topic list --context prodution", "context use prodution", "context rm prodution"]
    {
        let failed = user.run(line);
        assert_eq!(failed.status.code(), Some(NOT_FOUND), "{line}: {}", stderr(&failed));
        assert!(stderr(&failed).contains("did you mean \"production\"?"), "{}", stderr(&failed));
    }
    let variable = user.run_with("topic list", &[("RIVVEN_CONTEXT", "prodution")]);
    assert_eq!(variable.status.code(), Some(NOT_FOUND), "{}", stderr(&variable));
    for line in ["context add -x --server a:1", "context add a/b --server a:1", "context add x"] {
        assert_eq!(user.run(line).status.code(), Some(USAGE), "{line}");
    }
}

/// A file that somebody broke is explained, is not overwritten, and does not keep a command from
/// working that says itself where it goes.
#[test]
fn a_broken_file_is_explained_and_kept() {
    let user = User::new();
    let directory = tempfile::tempdir().expect("a directory");
    Setup::new(directory.path().join("data")).start().stop();
    fs::create_dir(user.file().parent().expect("below")).expect("made");
    let broken = "contexts:\n  prod: {sevrer: 'a:1'}\n";
    fs::write(user.file(), broken).expect("written");
    for line in ["topic list", "context list", "context add dev --server localhost:9092"] {
        let failed = user.run(line);
        let said = stderr(&failed);
        assert_eq!(failed.status.code(), Some(CONFIGURATION), "{line}: {said}");
        assert!(said.contains("contexts.yaml") && said.contains("sevrer"), "{said}");
        assert!(said.contains("line 2"), "{said}");
    }
    assert_eq!(fs::read_to_string(user.file()).expect("kept"), broken);
    let data = directory.path().join("data");
    assert_eq!(topics(&user, &format!("--data-dir {}", data.display()), &[]), "");
}

/// Changes at the same moment are made one after the other, and a link is followed, not replaced.
#[test]
fn changes_at_the_same_time_all_stay() {
    let user = User::new();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let kept = elsewhere.path().join("kept.yaml");
    fs::write(&kept, "").expect("written");
    fs::create_dir(user.file().parent().expect("below")).expect("made");
    std::os::unix::fs::symlink(&kept, user.file()).expect("linked");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let user = &user;
            scope.spawn(move || user.told(&format!("context add c{number} --server a:{number}")));
        }
    });
    assert_eq!(user.told("context list -o name").lines().count(), 8);
    assert!(fs::symlink_metadata(user.file()).expect("there").is_symlink());
    assert!(fs::read_to_string(&kept).expect("there").contains("c7"));
}
