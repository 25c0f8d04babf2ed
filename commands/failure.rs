//! How a command ends: the exit codes, and failures that say what happened and what to do. Knows no
//! command.

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use rivvend::config::Problems;
use rivvend::protocol::error::ErrorCode;

use crate::terminal;

const ERROR_STYLE: Style = AnsiColor::Red.on_default().bold();
const HINT_STYLE: Style = AnsiColor::Green.on_default().bold();

/// The exit codes of `rivvend`, as its manual lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A topic, group or file that was named does not exist.
    NotFound = 3,
    /// Not permitted, or not authenticated.
    Denied = 4,
    /// No broker was reached, or it did not answer in time.
    Unavailable = 5,
    /// Some of it was done.
    Partly = 6,
    /// `serve`: the disk failed, or what is on it is damaged.
    Storage = 74,
    /// `serve`: already running, or a port is in use.
    Busy = 75,
    /// `serve`: the system does not permit it.
    Permission = 77,
    /// `serve`: the configuration is not valid.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends. `Ok` for a reader that went away, which nobody needs to hear of.
    pub(crate) exit: Exit,
    /// What happened, and why.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The broker's code, when it was the broker that refused.
    pub(crate) code: Option<ErrorCode>,
}

/// What a command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None, code: None }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// The failure of a file operation.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Failure {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("can not {what} {}: {error}", path.display()))
    }

    /// Writes the failure to standard error, for a person or for a program.
    pub(crate) fn report(&self, as_json: bool) {
        use io::Write as _;
        if self.exit == Exit::Ok {
            return;
        }
        let text = match as_json {
            true => self.to_json(),
            false if terminal::is_styled(&io::stderr()) => self.text(ERROR_STYLE, HINT_STYLE),
            false => self.to_string(),
        };
        // Nobody is left to be told when standard error is gone too.
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn text(&self, error: Style, hint: Style) -> String {
        let text = format!("{error}error:{error:#} {}", self.message);
        match &self.hint {
            Some(advice) => format!("{text}\n{hint}hint:{hint:#} {advice}"),
            None => text,
        }
    }

    fn to_json(&self) -> String {
        serde_json::json!({"error": {
            "message": self.message,
            "hint": self.hint,
            "code": self.code.map(ErrorCode::name),
            "exit_code": self.exit as u8,
        }})
        .to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Style::new(), Style::new()))
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Failure {
        Failure::new(Exit::Configuration, problems.to_string())
    }
}

/// Only writing to standard output gives a bare I/O error; files name themselves.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, String::new()),
            _ => Failure::failed(format!("can not write the output: {error}")),
        }
    }
}

/// The exit code that a refusal of the broker ends with.
pub(crate) fn exit_of(code: Option<ErrorCode>) -> Exit {
    match code {
        Some(
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::GroupIdNotFound
            | ErrorCode::UnknownMemberId,
        ) => Exit::NotFound,
        // Names and settings come from the command line, and no broker takes these.
        Some(ErrorCode::InvalidTopic | ErrorCode::InvalidConfig | ErrorCode::InvalidGroupId) => {
            Exit::Usage
        }
        Some(ErrorCode::ClusterAuthorizationFailed | ErrorCode::ProtectedMode) => Exit::Denied,
        Some(
            ErrorCode::RequestTimedOut
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::Overloaded
            | ErrorCode::DiskFull
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::ShuttingDown,
        ) => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_success() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(gone.exit, Exit::Ok);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit, Exit::Failed);
    }

    #[test]
    fn json_errors_have_message_hint_code_and_exit_code() {
        let failure = Failure::usage("no \"such\" thing").hint("try another");
        let parsed: serde_json::Value = serde_json::from_str(&failure.to_json()).expect("JSON");
        assert_eq!(parsed["error"]["message"], "no \"such\" thing");
        assert_eq!(parsed["error"]["exit_code"], 2);
        assert!(parsed["error"]["code"].is_null());
    }
}
