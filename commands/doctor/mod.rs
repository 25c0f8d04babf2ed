//! `rivvend doctor`: looks at the machine and at a data directory the way the broker will need
//! them, and says what to change. It changes nothing: the one file it writes, to time syncs, is
//! gone when it ends.

mod checks;
mod directory;

use std::io::{self, Write as _};

use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::fields::{Field, Json};
use crate::output::{Column, Listing, OutputArgs};
use crate::settings::SettingsArgs;

/// Check this machine and a data directory, and say what to change
#[derive(Args, Clone, Debug)]
#[command(after_help = "States: ok, warning (works, but not as well or as safely as it could), \
critical (the broker does not start, or promises what it can not hold). Exit code 1 when anything \
is critical.\n\nWith --check the exit codes are those of Nagios and its like: 0 all is well, 1 \
warning, 2 critical; standard output gets one line.\n\nExamples:\n  rivvend doctor\n  \
rivvend doctor --data-dir /var/lib/rivvend\n  rivvend doctor -c /etc/rivvend.yaml -o json\n  \
rivvend doctor --check -d /var/lib/rivvend")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// One line and the exit codes of monitoring plugins
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// How bad something is, in the order of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Critical,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Critical => "critical",
        }
    }
}

/// What was found about one thing. The field names are stable.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    detail: String,
    /// What to do about it; empty when nothing needs doing.
    advice: String,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, detail: detail.into(), advice: String::new() }
    }

    fn warning(
        check: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let state = State::Warning;
        Finding { check, state, detail: detail.into(), advice: advice.into() }
    }

    fn critical(
        check: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let state = State::Critical;
        Finding { check, state, detail: detail.into(), advice: advice.into() }
    }
}

const COLUMNS: &[Column<Finding>] = &[
    Column::text("CHECK", |f| f.check.to_owned()),
    Column::text("STATE", |f| f.state.as_str().to_owned()),
    Column::text("FOUND", |f| f.detail.clone()),
    Column::filled("WHAT TO DO", |f| f.advice.clone()),
];

/// What it prints for programs.
pub(crate) const JSON: Json = Json::list(FIELDS);

const FIELDS: &[Field] = &[
    Field::text("check", "What was looked at."),
    Field::text("state", "ok, warning or critical."),
    Field::text("detail", "What was found."),
    Field::text("advice", "What to do about it; empty when nothing needs doing."),
];

pub(crate) fn run(args: &DoctorArgs) -> Outcome {
    let findings = examine(&args.settings);
    let worst = findings.iter().map(|f| f.state).max().unwrap_or(State::Ok);
    if args.check {
        return monitor(&findings, worst);
    }
    let name = |f: &Finding| f.check.to_owned();
    Listing { items: &findings, columns: COLUMNS, name }.print(args.output.output)?;
    match worst {
        State::Critical => Err(Failure::failed(summary(&findings, State::Critical))),
        _ => Ok(Exit::Ok),
    }
}

/// All checks. A configuration that is not valid is a finding, too, and the only one then: without
/// it nobody knows what to look at.
fn examine(settings: &SettingsArgs) -> Vec<Finding> {
    let config = match settings.load() {
        Ok(config) => config,
        Err(failure) => {
            let advice = "`rivvend config check FILE` lists every mistake";
            return vec![Finding::critical("configuration", failure.message, advice)];
        }
    };
    let mut findings = vec![Finding::ok("configuration", "valid")];
    findings.extend([checks::open_files(), checks::locked_memory()]);
    let (place, held) = directory::place(&config, &mut findings);
    if let Some(place) = &place {
        findings.push(checks::filesystem(place));
        findings.push(checks::space(place, &config));
        findings.push(checks::syncs(place));
    }
    findings.push(checks::clock(&config.storage.data_dir));
    findings.extend(checks::ports(&config, held));
    findings.push(Finding::ok("certificates", "none in use: this build has no TLS"));
    findings.extend(directory::leftovers(&config.storage.data_dir));
    findings
}

/// The things in a state, in one line.
fn summary(findings: &[Finding], state: State) -> String {
    let bad = findings.iter().filter(|f| f.state == state);
    let list: Vec<String> = bad.map(|f| format!("{}: {}", f.check, f.detail)).collect();
    list.join("; ")
}

/// As the guidelines of monitoring plugins have it.
fn monitor(findings: &[Finding], worst: State) -> Outcome {
    // Their codes 1 and 2 mean something else elsewhere in rivvend.
    let (word, exit) = match worst {
        State::Ok => ("OK", Exit::Ok),
        State::Warning => ("WARNING", Exit::Failed),
        State::Critical => ("CRITICAL", Exit::Usage),
    };
    let text = match worst {
        State::Ok => format!("{} checks passed", findings.len()),
        worst => summary(findings, worst),
    };
    let line = format!("RIVVEND {word} - {}", text.replace(['\n', '|'], " "));
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(exit)
}
