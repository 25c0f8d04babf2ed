//! One run of the binary as a command: what it was given, what it wrote, how it ended.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::broker::{Broker, rivvend};

/// What a command wrote, and its exit code.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// Where a command goes.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Into the directory, with the engine in its own process.
    Embedded(String),
    /// To the broker that holds the directory.
    Socket(String),
    /// To an address.
    Wire(String),
}

impl Place {
    pub(super) fn embedded(directory: &Path) -> Place {
        Place::Embedded(directory.to_str().expect("UTF-8").to_owned())
    }

    pub(super) fn socket(broker: &Broker) -> Place {
        Place::Socket(broker.data.to_str().expect("UTF-8").to_owned())
    }

    pub(super) fn wire(broker: &Broker) -> Place {
        Place::Wire(broker.native.to_string())
    }

    fn flags(&self) -> [&str; 2] {
        match self {
            Place::Embedded(directory) | Place::Socket(directory) => ["--data-dir", directory],
            Place::Wire(address) => ["--server", address],
        }
    }

    /// The words of a line, with the flags for this place behind them.
    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = words(line);
        command.args(self.flags());
        command
    }

    /// Runs a line to its end.
    pub(super) fn run(&self, line: &str, input: &str) -> Ran {
        finish(self.command(line), input)
    }

    /// Runs a line that must succeed; what it wrote to standard output.
    pub(super) fn done(&self, line: &str, input: &str) -> String {
        let ran = self.run(line, input);
        assert_eq!(ran.exit, 0, "{line}: {}", ran.err);
        ran.out
    }
}

/// A command of the words of a line.
pub(super) fn words(line: &str) -> Command {
    let mut command = rivvend();
    command.args(line.split(' ').filter(|word| !word.is_empty()));
    command
}

/// Runs a command to its end on this input.
pub(super) fn finish(mut command: Command, input: &str) -> Ran {
    let mut child = start(&mut command);
    // A command that refuses its flags does not read.
    let _ = child.stdin.take().expect("is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let exit = output.status.code().expect("an exit, not a signal");
    Ran { exit, out: text(output.stdout), err: text(output.stderr) }
}

/// Starts a command with all three streams piped.
pub(super) fn start(command: &mut Command) -> Child {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("the binary starts")
}
