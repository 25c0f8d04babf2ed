//! `completions`, `man` and the hidden `generate`: what derives from the declaration of the command
//! line. Everything is made in memory first, because the generators panic when a pipe breaks.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use crate::Cli;
use crate::failure::{Exit, Failure, Outcome};

/// Print the completion script of a shell
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    rivvend completions bash > /etc/bash_completion.d/rivvend\n  \
    rivvend completions zsh > \"${fpath[1]}/_rivvend\"\n  \
    rivvend completions fish > ~/.config/fish/completions/rivvend.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
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
    print(&completion(args.shell))
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
        let name = clap_complete::Generator::file_name(shell, "rivvend");
        write(&completions.join(name), &completion(*shell))?;
    }
    for (name, content) in man_pages()? {
        write(&pages.join(format!("{name}.1")), &content)?;
    }
    Ok(Exit::Ok)
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rivvend", &mut script);
    script
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
    pages.push((name.to_owned(), page));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add_pages(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
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
