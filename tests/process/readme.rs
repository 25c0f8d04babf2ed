//! The tour of the README, command by command as it is printed there, against what it says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process_group};

use super::broker::{Setup, rivvend};

const README: &str = include_str!("../../README.md");
/// Printed by the shell when a command is over.
const OVER: &str = "--- over";

/// A command of the README and what is printed below it.
#[derive(Debug)]
struct Step {
    command: &'static str,
    printed: Vec<&'static str>,
}

fn tour() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in README.lines() {
        match line {
            "```console" => is_console = true,
            "```" => is_console = false,
            _ if !is_console => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command, printed: Vec::new() }),
                None => steps.last_mut().expect("a command comes first").printed.push(line),
            },
        }
    }
    steps
}

/// One shell for the whole tour, with everything that it starts in one process group.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(directory: &Path, address: &str) -> Shell {
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").expect("a PATH"));
        // As users have it, but for the address: several tests run at once.
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(directory).env("PATH", path);
        bash.env("RIVVEN_SERVER", address).env("RIVVEN_BIND", address);
        bash.env("RIVVEN_HTTP_PORT", "0").env("HOME", directory);
        bash.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = bash.spawn().expect("bash runs");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut shell = Shell { child, input, output };
        shell.run("exec 2>&1");
        // Nothing but its own flag tells it the address.
        shell.run(r#"kcat() { command kcat "${@/#localhost:9092/$RIVVEN_SERVER}"; }"#);
        shell
    }

    /// Runs a command to its end; the lines that it printed.
    fn run(&mut self, command: &str) -> Vec<String> {
        writeln!(self.input, "{command}\necho '{OVER}'").expect("bash reads");
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("text") > 0, "bash ended: {lines:?}");
            match line.trim_end_matches('\n') {
                OVER => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id() as i32).expect("a process id");
        // Fails only when nothing of it is left.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// What is measured differs from run to run: its shape does not.
fn shape(command: &str, lines: &[impl AsRef<str>]) -> Vec<String> {
    static FIGURE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\s+[0-9.]+$").expect("valid"));
    let lines = lines.iter().map(AsRef::as_ref);
    if !command.contains("rivvend bench") {
        return lines.map(str::to_owned).collect();
    }
    // A busy machine is warned of, which is not what the README shows.
    let lines = lines.filter(|line| !line.starts_with("warning: "));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.map(|line| words(&FIGURE.replace(line, " N"))).collect()
}

#[test]
fn every_step_of_the_tour_prints_what_the_readme_says() {
    let directory = tempfile::tempdir().expect("a folder");
    let at = |name: &str| directory.path().join(name);
    symlink(rivvend().get_program(), at("rivvend")).expect("linked");
    let broker = Setup::new(at("data")).start();
    // Other tests have brokers, too.
    std::fs::write(at("pgrep"), format!("#!/bin/sh\necho {}\n", broker.pid())).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(at("pgrep"), executable).expect("made executable");
    let mut broker = Some(broker);
    let mut shell =
        Shell::start(directory.path(), &broker.as_ref().expect("runs").native.to_string());
    let steps = tour();
    assert!(steps.len() > 10, "the tour is found");
    for step in &steps {
        let printed = shell.run(step.command);
        let (is, said) = (shape(step.command, &printed), shape(step.command, &step.printed));
        assert_eq!(is, said, "after `{}`", step.command);
        if step.command.starts_with("kill -9") {
            drop(broker.take());
        }
        if step.command.starts_with("rivvend --data-dir") {
            // A person would not be faster than the start.
            shell.run("until grep -q ready log; do sleep 0.01; done");
        }
    }
}
