//! Consumer groups through the real binary: what a group has read it does not read again, whoever
//! asks and whatever happens to the broker in between.

use std::process::Child;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::broker::{Broker, PATIENCE, Setup};
use super::command::{Place, start};

/// A broker whose groups do not wait for members that may come.
fn broker(directory: &tempfile::TempDir) -> Broker {
    let setup = Setup::new(directory.path().join("data"));
    setup.env("RIVVEN_GROUP_INITIAL_REBALANCE_DELAY", "0ms").start()
}

fn described(place: &Place, group: &str) -> Value {
    let text = place.done(&format!("group describe {group} -o json"), "");
    serde_json::from_str(&text).expect("JSON")
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("line-{number}\n")).collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

const READ: &str = "consume orders -g billing -f %v\\n";

/// The contract of `group describe -o json`, and every verb on the way.
fn check_verbs(place: &Place) {
    place.done("topic create orders -p 2", "");
    let records = lines(10);
    let (first, second) = records.split_at(records.len() / 2);
    place.done("produce orders -p 0", first);
    place.done("produce orders -p 1", second);
    assert_eq!(sorted(&place.done(READ, "")), sorted(&records));
    assert_eq!(place.done(READ, ""), "", "what was read is committed");
    let listed = place.done("group list -o json", "");
    let expected = json!([{"group": "billing", "protocol_type": "consumer", "state": "Empty"}]);
    assert_eq!(serde_json::from_str::<Value>(&listed).expect("JSON"), expected);

    let group = described(place, "billing");
    assert_eq!((&group["group"], &group["state"]), (&json!("billing"), &json!("Empty")));
    assert_eq!((&group["coordinator"], &group["members"]), (&json!(1), &json!([])));
    let offsets = group["offsets"].as_array().expect("a list");
    let total = |key: &str| offsets.iter().map(|o| o[key].as_i64().expect(key)).sum::<i64>();
    assert_eq!((total("committed"), total("high_watermark"), total("lag")), (10, 10, 0));
    let reasons = group["rebalances"].as_array().expect("a list");
    let has = |words: &str| reasons.iter().any(|r| r["reason"].to_string().contains(words));
    assert!(has("joined: rivvend consume") && has("left: the consumer is done"), "{reasons:?}");
    assert!(reasons.iter().all(|r| r["at"].is_string() && r["generation"].is_i64()));

    let plan = place.done("group reset-offsets billing --export", "");
    assert_eq!(plan.lines().count(), 2, "{plan}");
    place.done("group reset-offsets billing --to start --dry-run", "");
    assert_eq!(place.done(READ, ""), "", "a dry run changes nothing");
    place.done("group reset-offsets billing --to start", "");
    assert_eq!(sorted(&place.done(READ, "")), sorted(&records));
    place.done("group reset-offsets billing --to start", "");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &plan).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    place.done(&format!("group reset-offsets billing --from-file {path}"), "");
    assert_eq!(place.done(READ, ""), "", "the plan led back to the end");

    place.done("group delete-offsets billing --topic orders:0 --yes", "");
    assert_eq!(described(place, "billing")["offsets"].as_array().map(Vec::len), Some(1));
    assert_eq!(place.run("group delete billing", "").exit, 2, "nobody can be asked");
    place.done("group delete billing --yes", "");
    let gone = place.run("group describe biling", "");
    assert_eq!(gone.exit, 3, "{}", gone.err);
}

#[test]
fn groups_are_read_and_changed_through_the_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = broker(&directory);
    check_verbs(&Place::socket(&broker));
}

#[test]
fn groups_are_read_and_changed_over_the_wire() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = broker(&directory);
    check_verbs(&Place::wire(&broker));
}

/// G3: a kill loses nothing that was committed; and a command without a broker sees and changes
/// the same.
#[test]
fn what_is_committed_outlives_a_kill_and_is_there_without_a_broker() {
    let directory = tempfile::tempdir().expect("a directory");
    let killed = broker(&directory);
    let place = Place::socket(&killed);
    place.done("produce orders", &lines(10));
    assert_eq!(place.done(READ, "").lines().count(), 10);
    let before = described(&place, "billing");
    let embedded = Place::embedded(&killed.data);
    killed.kill();
    let after = described(&embedded, "billing");
    assert_eq!(after["offsets"], before["offsets"]);
    assert_eq!(after["generation"], before["generation"]);
    embedded.done("group reset-offsets billing --to 7", "");
    let broker = broker(&directory);
    let read = Place::wire(&broker).done(READ, "");
    assert_eq!(read, "line-7\nline-8\nline-9\n");
}

/// A member that runs until it is told to stop.
fn follow(place: &Place) -> Child {
    start(&mut place.command("consume orders -g billing --follow -f %v\\n"))
}

fn interrupt(member: &mut Child) {
    let pid = Pid::from_child(member);
    kill_process(pid, Signal::INT).expect("it runs");
    assert!(member.wait().expect("it ends").success());
}

/// How many partitions each member has, smallest first.
fn shares(place: &Place) -> Vec<usize> {
    let ran = place.run("group describe billing -o json", "");
    let group: Value = serde_json::from_str(&ran.out).unwrap_or_default();
    if group["state"] != "Stable" {
        return Vec::new();
    }
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let count = |topic: &Value| topic["partitions"].as_array().map_or(0, Vec::len);
    let share = |member: &Value| {
        member["assignment"].as_array().map_or(0, |topics| topics.iter().map(count).sum())
    };
    let mut shares: Vec<usize> = members.iter().map(share).collect();
    shares.sort_unstable();
    shares
}

fn wait_for(place: &Place, wanted: &[usize]) {
    let begun = Instant::now();
    let mut seen = shares(place);
    while seen != wanted {
        assert!(begun.elapsed() < PATIENCE, "members have {seen:?}, not {wanted:?}");
        seen = shares(place);
    }
}

/// G1, G7: partitions go to whoever is there, and to the others when one leaves.
#[test]
fn members_share_the_partitions_and_take_over_from_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = broker(&directory);
    let place = Place::wire(&broker);
    place.done("topic create orders -p 4", "");
    let mut one = follow(&place);
    wait_for(&place, &[4]);
    let in_use = place.run("group reset-offsets billing --topic orders --to start", "");
    assert!(in_use.exit == 1 && in_use.err.contains("has members"), "{}", in_use.err);
    let mut two = follow(&place);
    wait_for(&place, &[2, 2]);
    interrupt(&mut one);
    wait_for(&place, &[4]);
    let removed = place.done("group remove-member billing --all --dry-run -o name", "");
    assert_eq!(removed.lines().count(), 1);
    interrupt(&mut two);
    let group = described(&place, "billing");
    assert_eq!((&group["state"], &group["members"]), (&json!("Empty"), &json!([])));
}

/// A stop does not wait for members that wait for each other.
#[test]
fn a_broker_stops_while_members_follow() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = broker(&directory);
    let place = Place::wire(&broker);
    place.done("topic create orders", "");
    let mut member = follow(&place);
    wait_for(&place, &[1]);
    broker.stop();
    member.kill().expect("it may be gone");
    member.wait().expect("it ends");
}
