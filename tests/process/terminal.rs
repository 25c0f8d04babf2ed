//! What only a terminal gets: the progress of long work, and questions. `script` is the terminal.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::broker::{Broker, Setup, files, snapshot, wait_until};
use super::command::{Place, finish, words};
use super::has_tools;

/// Work that takes less shows no progress.
const QUIET: Duration = Duration::from_secs(1);
const INTERRUPTED: i32 = 130;

/// A command on a terminal, as one would type it there.
fn on_terminal(command: &Command, setting: &str, redirection: &str) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().expect("UTF-8")).collect();
    // Tests that run in the background inherit an interrupt that is ignored, and hand it down.
    let words = words.join(" ");
    let line = format!("env --default-signal=INT {setting} {words} {redirection}");
    let mut script = Command::new("script");
    script.args(["-qefc", &line, "/dev/null"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    script
}

/// A broker with an empty topic, and a command that reads so many records from it as they come.
fn consuming(directory: &Path, records: u64) -> (Broker, Place, Command) {
    let broker = Setup::new(directory.join("data")).start();
    let place = Place::wire(&broker);
    place.done("topic create orders", "");
    let command = place.command(&format!("consume orders -n {records}"));
    (broker, place, command)
}

#[test]
fn long_work_shows_its_progress_on_a_terminal() {
    if !has_tools(&["script"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a folder");
    let (_broker, place, command) = consuming(directory.path(), 10_000);
    let (screen, begun) = (directory.path().join("screen"), Instant::now());
    let mut script = on_terminal(&command, "TERM=xterm", ">/dev/null");
    script.stdout(fs::File::create(&screen).expect("created"));
    let mut child = script.spawn().expect("script starts");
    let shown = || fs::read_to_string(&screen).expect("text");
    wait_until("the bar is there", || {
        place.done("produce orders", "a record\n");
        shown().contains("/10,000 records")
    });
    assert!(begun.elapsed() >= QUIET, "not at once: {}", shown());
    place.done("produce orders", &"a record\n".repeat(10_000));
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{}", shown());
}

#[test]
fn progress_is_nothing_for_a_pipe_a_dumb_terminal_or_short_work() {
    if !has_tools(&["script"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a folder");
    let (_broker, place, mut piped) = consuming(directory.path(), 10_000);
    let dumb = on_terminal(&piped, "TERM=dumb", ">/dev/null").spawn().expect("script starts");
    piped.stdout(Stdio::null()).stderr(Stdio::piped());
    let piped = piped.spawn().expect("it starts");
    let begun = Instant::now();
    // Twice as long as nothing is shown for, with records all the time.
    while begun.elapsed() < QUIET * 2 {
        place.done("produce orders", "a record\n");
    }
    place.done("produce orders", &"a record\n".repeat(10_000));
    for child in [dumb, piped] {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    let short = place.command("consume orders -n 10");
    let short = finish(on_terminal(&short, "TERM=xterm", ">/dev/null"), "");
    assert_eq!((short.exit, short.out.as_str()), (0, ""), "{short:?}");
}

/// What a child shows until it asks this.
fn read_until(child: &mut Child, question: &str) -> String {
    let out = child.stdout.as_mut().expect("piped");
    let mut shown = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&shown).contains(question) {
        let read = out.read(&mut byte).expect("readable");
        assert_eq!(read, 1, "it ended: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

/// A data directory with a topic whose first segment is damaged.
fn damaged(directory: &Path) -> std::path::PathBuf {
    let data = directory.join("data");
    let place = Place::embedded(&data);
    place.done("topic create orders -c segment.bytes=16KiB", "");
    for _ in 0..5 {
        place.done("produce orders --chunk 9000", &"x".repeat(9_000));
    }
    let segments = files(&data, "log");
    assert!(segments.len() > 2, "{segments:?}");
    let mut bytes = fs::read(&segments[0]).expect("readable");
    bytes[3_000] ^= 0x10;
    fs::write(&segments[0], bytes).expect("written");
    data
}

#[test]
fn repair_asks_on_a_terminal_and_only_a_yes_changes_anything() {
    if !has_tools(&["script"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a folder");
    let data = damaged(directory.path());
    let logs = || snapshot(&data.join("topics"));
    let harmed = logs();
    let line = format!("inspect repair {}", data.display());
    for (typed, exit, said) in [
        ("n\n", 1, "nothing was done"),
        ("\n", 1, "nothing was done"),
        ("yesterday\n", 1, "nothing was done"),
        ("\u{3}", INTERRUPTED, ""),
        ("y\n", 0, "orders"),
    ] {
        assert!(logs() == harmed, "nothing was changed before {typed:?}");
        let mut child = on_terminal(&words(&line), "TERM=xterm", "").spawn().expect("starts");
        let asked = read_until(&mut child, "[y/N] ");
        assert!(asked.contains("Repair 1 partitions and give"), "{asked}");
        // Kept open, or the end of the input would be an answer before the interrupt is.
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(typed.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        drop(stdin);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{typed:?}: {shown}");
        assert!(shown.contains(said), "{typed:?}: {shown}");
    }
    assert!(logs() != harmed, "a yes repairs");
    super::broker::assert_verified(&data);
}
