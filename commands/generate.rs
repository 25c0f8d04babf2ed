//! `completions`, `man` and the hidden `generate`: what derives from the declaration of the command
//! line. Everything is made in memory first, because the generators panic when a pipe breaks.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, ValueEnum};

use crate::failure::{Exit, Failure, Outcome};
use crate::fields::Json;
use crate::format::RECORD_FIELDS;
use crate::{Cli, bench, complete, config, context, doctor, group, inspect, produce, topic};

/// Print the completion script of a shell
///
/// The script asks rivvend itself for what may come next, so topics are completed, too: those of
/// the broker or data directory that the line names.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    rivvend completions bash > /etc/bash_completion.d/rivvend\n  \
    rivvend completions zsh > \"${fpath[1]}/_rivvend\"\n  \
    rivvend completions fish > ~/.config/fish/completions/rivvend.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// A shell that completions are made for.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Elvish => "elvish",
            Shell::Fish => "fish",
            Shell::Powershell => "powershell",
            Shell::Zsh => "zsh",
        }
    }

    /// The name under which the shell finds the script by itself, where it does.
    fn file_name(self) -> &'static str {
        match self {
            Shell::Bash => "rivvend.bash",
            Shell::Elvish => "rivvend.elv",
            Shell::Fish => "rivvend.fish",
            Shell::Powershell => "_rivvend.ps1",
            Shell::Zsh => "_rivvend",
        }
    }
}

/// Print a manual page
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rivvend man | man -l -\n  rivvend man topic create | man -l -"
)]
pub(crate) struct ManArgs {
    /// The command it is about; none: rivvend itself
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Write completions/ and man/
#[derive(Args, Clone, Debug)]
pub(crate) struct GenerateArgs {
    /// Directory that gets them
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Outcome {
    print(&complete::script(args.shell.name())?)
}

pub(crate) fn man(args: &ManArgs) -> Outcome {
    let pages = man_pages()?;
    let name = std::iter::once("rivvend").chain(args.command.iter().map(String::as_str));
    let name = name.collect::<Vec<_>>().join("-");
    match pages.iter().find(|(page, _)| *page == name) {
        Some((_, content)) => print(content),
        None => {
            let message = format!("there is no manual page for {:?}", args.command.join(" "));
            Err(Failure::new(Exit::NotFound, message).hint("`rivvend --help` lists the commands"))
        }
    }
}

pub(crate) fn generate(args: &GenerateArgs) -> Outcome {
    let completions = args.dir.join("completions");
    let pages = args.dir.join("man");
    for dir in [&completions, &pages] {
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("create", dir, &e))?;
    }
    for shell in Shell::value_variants() {
        write(&completions.join(shell.file_name()), &complete::script(shell.name())?)?;
    }
    for (name, content) in man_pages()? {
        write(&pages.join(format!("{name}.1")), &content)?;
    }
    Ok(Exit::Ok)
}

/// The pages of all commands, each under its name: `rivvend-topic-create`.
fn man_pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add_pages(&root, "rivvend", &mut pages)?;
    Ok(pages)
}

fn add_pages(
    command: &clap::Command,
    name: &str,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned())).render(&mut page)?;
    if let Some(json) = json_of(name) {
        page.extend(json.sections().into_bytes());
    }
    pages.push((name.to_owned(), page));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add_pages(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

/// What a command prints for programs, by the name of its page.
fn json_of(page: &str) -> Option<Json> {
    let words = page.strip_prefix("rivvend-")?;
    let (command, verb) = words.split_once('-').unwrap_or((words, ""));
    match command {
        "topic" => topic::json_of(verb),
        "produce" => Some(produce::JSON),
        "consume" => Some(Json::stream(RECORD_FIELDS)),
        "group" => group::json_of(verb),
        "inspect" => inspect::json_of(verb),
        "bench" => bench::json_of(verb),
        "config" => config::json_of(verb),
        "context" if !verb.is_empty() => Some(context::JSON),
        "doctor" => Some(doctor::JSON),
        _ => None,
    }
}

fn print(content: &[u8]) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(content)?;
    out.flush()?;
    Ok(Exit::Ok)
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(|error| Failure::file("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &clap::Command, name: &str) {
        let has_forms = command.get_arguments().any(|flag| flag.get_long() == Some("output"));
        assert_eq!(json_of(name).is_some(), has_forms, "{name}");
        for sub in command.get_subcommands() {
            check(sub, &format!("{name}-{}", sub.get_name()));
        }
    }

    #[test]
    fn exactly_the_commands_with_forms_of_output_document_their_fields() {
        let mut root = Cli::command().disable_help_subcommand(true);
        root.build();
        check(&root, "rivvend");
    }
}
