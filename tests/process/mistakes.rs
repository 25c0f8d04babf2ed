//! What commands do when something is wrong with what they were given or with where they write:
//! the exit code, and a message that is enough to go on, for people and for programs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::broker::{Broker, Setup, rivvend, wait_until};
use super::command::{Place, Ran, finish, start, words};
use super::{has_root_and, is_installed};

/// `nobody` on every Linux.
const NOBODY: u32 = 65_534;
const INTERRUPTED: i32 = 130;

fn new_directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A broker with the topic `orders`.
fn broker(directory: &tempfile::TempDir) -> Broker {
    let broker = Setup::new(directory.path().join("data")).start();
    Place::wire(&broker).done("topic create orders", "");
    broker
}

/// Runs what `command` makes, once for a person and once for a program.
fn assert_told(command: impl Fn() -> Command, exit: i32, needles: &[&str]) {
    let assert = |ran: &Ran, text: &str| {
        assert_eq!(ran.exit, exit, "{ran:?}");
        assert_eq!(ran.out, "", "an error is no data: {ran:?}");
        needles.iter().for_each(|needle| assert!(text.contains(needle), "{needle:?}: {ran:?}"));
    };
    let ran = finish(command(), "");
    assert!(ran.err.starts_with("error: "), "{ran:?}");
    assert(&ran, &ran.err);
    let mut for_programs = command();
    for_programs.arg("--json-errors");
    let ran = finish(for_programs, "");
    let error: Value = serde_json::from_str(&ran.err).expect("nothing but one JSON object");
    let error = &error["error"];
    assert_eq!(error["exit_code"], exit);
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    assert(&ran, &(text("message") + &text("hint")));
}

/// Bad inputs 57 and 58 among them.
#[test]
fn ten_mistakes_are_told_so_that_one_can_go_on() {
    let directory = new_directory();
    let broker = broker(&directory);
    let missing = directory.path().join("none.txt");
    let missing = missing.to_str().expect("UTF-8");
    let there = Place::wire(&broker);
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").to_string()
    };
    let cases: [(&str, i32, &[&str]); 10] = [
        ("topc list", 2, &["topc", "topic"]),
        ("topic creat orders", 2, &["creat", "'create'"]),
        ("topic list --outptu json", 2, &["--outptu", "--output"]),
        ("topic list --output jsn", 2, &["jsn", "'json'"]),
        ("topic list --server localhost:port", 2, &["--server", "localhost:port"]),
        ("topic list --password secret", 2, &["visible in ps", "--password-file"]),
        ("consume orders -f %q", 2, &["%q", "--help"]),
        ("topic list --data-dir /nowhere", 3, &["/nowhere"]),
        (&format!("produce orders --file {missing}"), 3, &[missing]),
        (&format!("topic list --server {nobody}"), 5, &[&nobody, "rivvend serve"]),
    ];
    for (line, exit, needles) in cases {
        assert_told(|| words(line), exit, needles);
    }
    let cases: [(&str, i32, &[&str]); 5] = [
        ("consume ordrs", 3, &["ordrs", "did you mean \"orders\""]),
        ("topic describe ordrs", 3, &["ordrs", "did you mean \"orders\""]),
        ("produce orders -p 7", 3, &["no partition 7", "numbered from 0"]),
        ("topic create new -c retention.sm=1", 2, &["retention.sm", "\"retention.ms\""]),
        ("topic delete orders", 2, &["--yes"]),
    ];
    for (line, exit, needles) in cases {
        assert_told(|| there.command(line), exit, needles);
    }
    let http = format!("topic list --server {}", broker.http);
    assert_told(|| words(&http), 5, &["HTTP", "native port"]);
}

/// Runs as somebody who may nothing.
fn as_nobody(mut command: Command) -> Command {
    command.uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn files_and_directories_of_others_are_named() {
    if !has_root_and(&[]) {
        return;
    }
    let directory = new_directory();
    let path = directory.path().join("secret.txt");
    fs::write(&path, "x").expect("written");
    let only_ours = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&path, only_ours).expect("our own file");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let name = path.to_str().expect("UTF-8");
    let line = format!("produce orders --file {name}");
    assert_told(|| as_nobody(words(&line)), 4, &[name]);

    let broker = broker(&directory);
    let there = Place::socket(&broker);
    let data = broker.data.to_str().expect("UTF-8");
    let advice = "the user who owns the data directory";
    assert_told(|| as_nobody(there.command("topic list")), 4, &[data, advice]);
}

/// Bad input 73: whoever reads may stop reading, which is no failure; a disk that is full is one.
#[test]
fn a_reader_that_leaves_is_success_and_a_full_disk_is_not() {
    let directory = new_directory();
    let broker = broker(&directory);
    let there = Place::wire(&broker);
    let many = "a line that is long enough to fill any pipe soon\n".repeat(20_000);
    there.done("produce orders", &many);
    for line in ["consume orders", "consume orders --output json", "consume orders --follow"] {
        let mut child = start(&mut there.command(line));
        let mut out = child.stdout.take().expect("is piped");
        out.read_exact(&mut [0; 100]).expect("records come");
        drop(out);
        let ended = child.wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), err.as_str()), (Some(0), ""), "{line}");
    }
    for line in ["consume orders", "topic list", "topic list --output json", "topic --help"] {
        let mut command = if line.ends_with("help") { words(line) } else { there.command(line) };
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let ended = command.stdout(full).stderr(Stdio::piped()).output().expect("it runs");
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{line}: {err}");
        assert!(err.contains("can not write the output: No space left"), "{line}: {err}");
    }
}

/// Bad input 73: streams that are closed.
#[test]
fn closed_streams_are_no_reason_to_panic() {
    let directory = new_directory();
    let broker = broker(&directory);
    let data = broker.data.to_str().expect("UTF-8");
    for line in ["topic list", "produce orders", "consume orders", "topic describe none"] {
        for streams in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let mut shell = Command::new("sh");
            let script = format!("\"$0\" {line} --data-dir {data} {streams}");
            shell.args(["-c", &script]).arg(rivvend().get_program()).stdin(Stdio::null());
            let ended = shell.output().expect("a shell");
            let exit = if line.ends_with("none") { 3 } else { 0 };
            let err = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(exit), "{line} {streams}: {err}");
            assert!(!err.contains("panicked"), "{line} {streams}: {err}");
        }
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id() as i32).expect("a process id");
    rustix::process::kill_process(pid, Signal::INT).expect("our own child takes signals");
}

#[test]
fn an_interrupt_ends_following_as_success() {
    let directory = new_directory();
    let broker = broker(&directory);
    let there = Place::wire(&broker);
    there.done("produce orders", "one\ntwo\n");
    let mut child = start(&mut there.command("consume orders --follow"));
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!((next(), next()), ("one".to_owned(), "two".to_owned()));
    there.done("produce orders", "three\n");
    assert_eq!(next(), "three");
    interrupt(&child);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), b"".as_slice()));
}

/// Whether a request waits in the receive buffer of a broker that does not read.
fn is_waited_for(broker: &Broker) -> bool {
    let port = format!(":{:04X}", broker.native.port());
    let sockets = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    sockets.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let waiting = fields[4].split_once(':').is_some_and(|(_, rx)| rx != "00000000");
        fields[1].ends_with(&port) && fields[3] == "01" && waiting
    })
}

/// A server that takes connections and says nothing is left at once.
#[test]
fn an_interrupt_ends_a_command_that_connects() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let line = format!("topic list --server {}", silent.local_addr().expect("bound"));
    let child = start(&mut words(&line));
    let connected = silent.accept().expect("it connects");
    interrupt(&child);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1), "one interrupt is enough");
    assert_eq!(ended.stderr, b"error: interrupted\n");
    drop(connected);
}

#[test]
fn a_second_interrupt_ends_a_command_that_waits() {
    let directory = new_directory();
    let broker = broker(&directory);
    let there = Place::wire(&broker);
    let mut child = start(&mut there.command("produce orders --output jsonl"));
    let mut input = child.stdin.take().expect("is piped");
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    input.write_all(b"one\n").expect("it reads");
    let acknowledged = lines.next().expect("a line").expect("text");
    assert_eq!(acknowledged, "{\"partition\":0,\"offset\":0}");
    broker.freeze();
    input.write_all(b"two\n").expect("it reads");
    wait_until("the second record is under way", || is_waited_for(&broker));
    // The first asks it to stop, which it does when the record is acknowledged or given up.
    let mut status = None;
    wait_until("it ends", || {
        interrupt(&child);
        status = child.try_wait().expect("our own child");
        status.is_some()
    });
    assert_eq!(status.expect("it has ended").code(), Some(INTERRUPTED));
}

/// Runs a line on a terminal of 60 columns, as one would type it there.
fn on_terminal(place: &Place, line: &str, setting: &str, typed: &str) -> String {
    let command = place.command(line);
    let arguments: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
    let program = command.get_program().to_str().expect("UTF-8");
    let typed_line = format!("{program} {}", arguments.join(" "));
    let mut script = Command::new("script");
    let inside = format!("stty cols 60; env TERM=xterm {setting} {typed_line}");
    script.args(["-qec", &inside, "/dev/null"]);
    let ran = finish(script, typed);
    assert_eq!(ran.exit, 0, "{ran:?}");
    ran.out
}

#[test]
fn a_terminal_gets_tables_that_fit_bold_titles_and_questions() {
    if !is_installed("script") {
        eprintln!("skipped: script is missing");
        return;
    }
    let directory = new_directory();
    let broker = broker(&directory);
    let there = Place::wire(&broker);
    let shown = on_terminal(&there, "topic list -o wide", "A=", "");
    assert!(shown.contains("\u{1b}[1mNAME"), "{shown:?}");
    let shown = on_terminal(&there, "topic list -o wide", "NO_COLOR=1", "");
    assert!(shown.contains("NAME") && !shown.contains('\u{1b}'), "{shown:?}");
    let widest = shown.lines().map(|line| line.trim_end().len()).max();
    assert!(widest.is_some_and(|widest| widest <= 60), "{shown}");
    let shown = on_terminal(&there, "topic delete orders", "A=", "y\n");
    assert!(shown.contains("Delete orders with 0 records? [y/N]"), "{shown}");
    assert_eq!(there.done("topic list -o name", ""), "");
}
