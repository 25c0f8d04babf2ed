//! What a shell offers for the word under the cursor. The scripts of `rivvend completions` ask this
//! binary each time, so that topics and settings are those of the broker that the line names. A
//! broker that does not answer at once offers nothing, and nothing is ever printed beside the
//! candidates: the person is in the middle of a line.

mod bash;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Arg, Args as _, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Elvish, Fish, Powershell, Shells, Zsh};
use rivvend::metadata::config::{KEYS, Key, Rule};
use rivvend::metadata::names::is_internal;
use rivvend::record::Compression;

use crate::Cli;
use crate::context::Contexts;
use crate::failure::{Exit, Failure};
use crate::target::{self, Intent, TargetArgs};

/// Set by the scripts to the name of the shell.
const VARIABLE: &str = "RIVVEN_COMPLETE";
/// The shells that ask.
const SHELLS: Shells<'static> = Shells(&[&bash::Bash, &Elvish, &Fish, &Powershell, &Zsh]);
/// Longest time that a broker may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many candidates at most; nobody reads more.
const CANDIDATES_MAX: usize = 1000;

/// Answers a shell, if this process was started to do so; whether it was.
pub(crate) fn answer(arguments: &[OsString]) -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(null);
    }
    let completion = CompleteEnv::with_factory(command).var(VARIABLE).shells(SHELLS);
    // What can not be answered offers nothing, as an empty list would.
    let _ = completion.try_complete(arguments.iter().cloned(), None);
    true
}

/// The script that makes a shell ask.
pub(crate) fn script(shell: &str) -> Result<Vec<u8>, Failure> {
    let Some(completer) = SHELLS.completer(shell) else {
        return Err(Failure::new(Exit::Usage, format!("there are no completions for {shell}")));
    };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "rivvend", "rivvend", "rivvend", &mut script)?;
    // One line break at the end, whatever the generator thinks.
    let end = script.trim_ascii_end().len();
    let start = script.len() - script.trim_ascii_start().len();
    let mut script = script[start..end].to_vec();
    script.push(b'\n');
    Ok(script)
}

/// The command line with what its values may be.
fn command() -> Command {
    with_values(Cli::command(), &mut Vec::new())
}

fn with_values(command: Command, path: &mut Vec<String>) -> Command {
    let names = path.clone();
    let command = command.mut_args(|arg| with_value(arg, &names));
    let subcommands: Vec<_> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    subcommands.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |sub| {
            path.push(name.clone());
            let sub = with_values(sub, path);
            path.pop();
            sub
        })
    })
}

fn with_value(arg: Arg, path: &[String]) -> Arg {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let Some(value) = value else { return arg };
    match (path.as_slice(), value.as_str(), arg.is_positional()) {
        // A topic that is created is new.
        (["topic", "create"], "NAME", true) => arg,
        (["topic", _], "NAME", true) | (["produce" | "consume"], "TOPIC", true) => {
            arg.add(ArgValueCandidates::new(topics))
        }
        (["bench", _], _, false) if arg.get_id() == "topic" => {
            arg.add(ArgValueCandidates::new(topics))
        }
        (["group", _], "GROUP", true) | (["consume"], "GROUP", false) => {
            arg.add(ArgValueCandidates::new(groups))
        }
        (["context", "use" | "show" | "remove"], "NAME", true) => {
            arg.add(ArgValueCandidates::new(contexts))
        }
        (_, "NAME", false) if arg.get_id() == "context" => {
            arg.add(ArgValueCandidates::new(contexts))
        }
        (_, "CODEC", _) => arg.add(words(&Compression::ALL.map(Compression::as_str))),
        (_, "ACKS", _) => arg.add(words(&["all", "1", "0"])),
        (_, "MODE", _) if arg.get_id() == "durability" => arg.add(words(&["fsync", "os"])),
        (["consume"], "OFFSET", _) => arg.add(words(&["start", "end"])),
        (["topic", _], "KEY", _) => arg.add(ArgValueCandidates::new(settings)),
        (["topic", _], "KEY=VALUE", _) => arg.add(ArgValueCompleter::new(assignments)),
        _ => arg,
    }
}

/// Words that a flag takes, where it takes more than those and so declares none of them.
fn words(words: &[&'static str]) -> ArgValueCandidates {
    let words = words.to_vec();
    ArgValueCandidates::new(move || words.iter().copied().map(CompletionCandidate::new).collect())
}

/// The topics of the broker or directory that the line names.
fn topics() -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    let _ = target::run(&named_target(), Intent::Read, async |session| {
        let metadata = session.client.metadata(&[], false).await?;
        let names = metadata.topics.into_iter().filter(|topic| !is_internal(&topic.name));
        found.extend(names.map(|topic| CompletionCandidate::new(topic.name)));
        Ok(Exit::Ok)
    });
    found.truncate(CANDIDATES_MAX);
    found
}

/// The groups of the broker or directory that the line names.
fn groups() -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    let _ = target::run(&named_target(), Intent::Read, async |session| {
        let groups = session.client.list_groups(Vec::new()).await?;
        found.extend(groups.into_iter().map(|group| CompletionCandidate::new(group.group)));
        Ok(Exit::Ok)
    });
    found.truncate(CANDIDATES_MAX);
    found
}

fn contexts() -> Vec<CompletionCandidate> {
    let names = Contexts::load().unwrap_or_default().contexts.into_keys();
    names.map(CompletionCandidate::new).collect()
}

fn settings() -> Vec<CompletionCandidate> {
    KEYS.iter().map(|key| CompletionCandidate::new(key.name).help(help(key))).collect()
}

/// `key=` for what has no `=` yet, and the words that a key takes behind it.
fn assignments(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let Some((name, value)) = current.split_once('=') else {
        let keys = KEYS.iter().filter(|key| key.name.starts_with(current));
        return keys
            .map(|key| CompletionCandidate::new(format!("{}=", key.name)).help(help(key)))
            .collect();
    };
    let key = KEYS.iter().find(|key| key.name == name);
    let words = match key.map(|key| &key.rule) {
        Some(Rule::Choice(words) | Rule::List(words)) => *words,
        Some(_) | None => &[],
    };
    let taken = words.iter().filter(|word| word.refused.is_none() && word.word.starts_with(value));
    taken.map(|word| CompletionCandidate::new(format!("{name}={}", word.word))).collect()
}

fn help(key: &Key) -> Option<clap::builder::StyledStr> {
    Some(key.documentation.into())
}

/// Where the line goes as far as it is typed. Only the flags that say so are looked at: the others
/// may be unfinished.
fn named_target() -> TargetArgs {
    let command = TargetArgs::augment_args(Command::new("rivvend")).no_binary_name(true);
    let typed: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").collect();
    let typed = if bash::is_asking() { bash::join(typed, 0).0 } else { typed };
    let mut flags: Vec<OsString> = Vec::new();
    for (at, word) in typed.iter().enumerate() {
        let Some(text) = word.to_str() else { continue };
        let name = text.split('=').next().unwrap_or(text);
        let is_named = |arg: &Arg| {
            arg.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long))
                || arg.get_short().is_some_and(|short| text == format!("-{short}"))
        };
        let Some(arg) = command.get_arguments().find(|arg| is_named(arg)) else { continue };
        flags.push(word.clone());
        if arg.get_action().takes_values() && name.len() == text.len() {
            flags.extend(typed.get(at + 1).cloned());
        }
    }
    let parse = |flags: Vec<OsString>| {
        let matches = command.clone().try_get_matches_from(flags)?;
        TargetArgs::from_arg_matches(&matches)
    };
    let parsed = parse(flags).or_else(|_| parse(Vec::new()));
    let mut target = parsed.expect("without any flag there is nothing to refuse");
    target.timeout = PATIENCE;
    target
}
