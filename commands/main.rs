//! The command line of rivvend. Parsing does no I/O; each command has a file with its arguments and
//! a `run`. What a command does to topics and records goes through the library's client, whether a
//! server, a socket or the engine in this process answers.

mod bench;
mod complete;
mod config;
mod consume;
mod context;
mod doctor;
mod embedded;
mod failure;
mod fields;
mod format;
mod generate;
mod group;
mod input;
mod inspect;
mod interrupt;
mod offsets;
mod output;
mod positions;
mod produce;
mod progress;
mod prompt;
mod serve;
mod settings;
mod target;
mod terminal;
mod topic;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use failure::{Exit, Failure, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A durable event-streaming broker and every tool an operator needs for it
///
/// Without a subcommand, `rivvend` serves: `rivvend --data-dir ./data` is `rivvend serve --data-dir
/// ./data`. The flags of every other command follow its name.
#[derive(Parser, Debug)]
#[command(name = "rivvend", version, args_conflicts_with_subcommands = true)]
#[command(infer_subcommands = false, max_term_width = 100)]
#[command(
    after_help = "Examples:\n  rivvend --data-dir ./data                  run the broker\n  \
    rivvend topic create orders -p 3\n  echo hello | rivvend produce orders\n  \
    rivvend consume orders -f '%v\\n'\n\n\
    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not permitted, 5 unavailable or timed \
    out, 6 partly done; serve: 74 storage, 75 already running or port in use, 77 permission, 78 \
    configuration."
)]
struct Cli {
    #[command(flatten)]
    serve: serve::ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::ServeArgs),
    Topic(topic::TopicArgs),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    Group(group::GroupArgs),
    Inspect(inspect::InspectArgs),
    Bench(bench::BenchArgs),
    Config(config::ConfigArgs),
    Context(context::ContextArgs),
    Doctor(doctor::DoctorArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// How the parser marks what may have been meant.
const TIP: &str = "  tip: ";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if complete::answer(&arguments) {
        return ExitCode::SUCCESS;
    }
    let json_errors = arguments.iter().any(|argument| argument == "--json-errors");
    let outcome = parse(&arguments).and_then(|cli| match cli {
        Some(cli) => run(&cli),
        None => Ok(Exit::Ok),
    });
    let exit = outcome.unwrap_or_else(|failure| {
        failure.report(json_errors);
        failure.exit
    });
    exit.into()
}

fn run(cli: &Cli) -> Outcome {
    match &cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Topic(args)) => topic::run(args),
        Some(Command::Produce(args)) => produce::run(args),
        Some(Command::Consume(args)) => consume::run(args),
        Some(Command::Group(args)) => group::run(args),
        Some(Command::Inspect(args)) => inspect::run(args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::Config(args)) => config::run(args),
        Some(Command::Context(args)) => context::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Completions(args)) => generate::completions(args),
        Some(Command::Man(args)) => generate::man(args),
        Some(Command::Generate(args)) => generate::generate(args),
    }
}

/// The parsed command line, or `None` when it asked for help or the version, which is printed.
fn parse(arguments: &[OsString]) -> Result<Option<Cli>, Failure> {
    refuse_secrets(arguments)?;
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Ok(Some(cli)),
        Err(error) => error,
    };
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.print()?;
        return Ok(None);
    }
    if let Some(command) = misplaced_command(&error) {
        let message = format!("the flags of `{command}` follow its name");
        let hint = format!("write `rivvend {command} … --data-dir DIR` instead");
        return Err(Failure::usage(message).hint(hint));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let help = error.render().to_string();
        return Err(Failure::usage(format!("a subcommand is missing\n\n{}", help.trim_end())));
    }
    Err(explain(&error))
}

/// What is wrong with the command line, with the suggestion of the parser as the hint.
fn explain(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.trim_end();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let source = std::error::Error::source(error).map(ToString::to_string);
    let text = match source.as_deref().and_then(number_mistake) {
        Some((told, better)) => text.replacen(&told, better, 1),
        None => text.to_owned(),
    };
    let (tips, paragraphs): (Vec<&str>, Vec<&str>) =
        text.split("\n\n").partition(|paragraph| paragraph.starts_with(TIP));
    let failure = Failure::usage(paragraphs.join("\n\n"));
    let lines = tips.iter().flat_map(|tip| tip.lines());
    let tips: Vec<&str> = lines.map(|line| line.strip_prefix(TIP).unwrap_or(line)).collect();
    if tips.is_empty() { failure } else { failure.hint(tips.join("; ")) }
}

/// What the standard library says of text that is no number, and how to say it to people.
fn number_mistake(told: &str) -> Option<(String, &'static str)> {
    let mistakes = [
        ("", "is no number"),
        ("x", "is no whole number"),
        ("99999999999999999999", "is too large"),
        ("-99999999999999999999", "is too small"),
    ];
    let told_of = |text: &str| text.parse::<i64>().map_err(|error| error.to_string()).err();
    let known = mistakes.into_iter().filter_map(|(text, better)| Some((told_of(text)?, better)));
    known.into_iter().find(|(known, _)| told == known)
}

/// The subcommand that came after a flag.
fn misplaced_command(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidSubcommand)?) {
        (ErrorKind::ArgumentConflict, ContextValue::String(command)) => Some(command.clone()),
        _ => None,
    }
}

/// Every process of the machine can read the arguments of every other one.
fn refuse_secrets(arguments: &[OsString]) -> Result<(), Failure> {
    let flags = arguments.iter().take_while(|argument| *argument != "--");
    for argument in flags.filter_map(|argument| argument.to_str()) {
        let name = argument.split('=').next().unwrap_or(argument);
        let (file_flag, variable) = match name {
            "--password" => ("--password-file", "RIVVEN_PASSWORD_FILE"),
            "--api-key" => ("--api-key-file", "RIVVEN_API_KEY_FILE"),
            _ => continue,
        };
        let message = format!("{name}: secrets on the command line are visible in ps");
        let hint = format!("use {file_flag} FILE, the variable {variable}, or standard input");
        return Err(Failure::usage(message).hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Result<Option<Cli>, Failure> {
        let words = line.split_whitespace().map(OsString::from);
        parse(&std::iter::once("rivvend".into()).chain(words).collect::<Vec<_>>())
    }

    fn refused(line: &str) -> String {
        let failure = parsed(line).expect_err("not a valid command line");
        assert_eq!(failure.exit, Exit::Usage);
        failure.to_string()
    }

    #[test]
    fn the_declaration_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_subcommand_it_serves() {
        let cli = parsed("--data-dir ./d -b 127.0.0.1:0 --http-port 0").expect("valid");
        assert!(cli.is_some_and(|cli| cli.command.is_none()));
    }

    #[test]
    fn a_flag_before_the_subcommand_is_told_its_place() {
        for line in ["--data-dir d config show", "-d d config show"] {
            let message = refused(line);
            assert!(message.contains("follow its name"), "{message}");
            assert!(message.contains("rivvend config"), "{message}");
        }
    }

    /// Bad input 57.
    #[test]
    fn misspelt_commands_and_flags_get_a_suggestion() {
        assert!(refused("confg show").contains("config"));
        assert!(refused("config show --outptu json").contains("--output"));
        assert!(refused("serve --bind").contains("--bind"));
        assert!(refused("serve --http-port 70000").contains("65535"));
        for (line, why) in [
            ("topic create a -p many", "'many' for '--partitions <N>': is no whole number"),
            ("topic create a -p 1.5", "is no whole number"),
            ("topic create a -p 99999999999999999999", "is too large"),
            ("consume a -n none", "is no whole number"),
            ("consume a -p 0,x", "is no whole number"),
            ("inspect batch d -n 1e3", "is no whole number"),
            ("bench produce --producers x", "is no whole number"),
            ("consume -r (", "is no regular expression: unclosed group"),
        ] {
            assert!(refused(line).contains(why), "{line}: {}", refused(line));
        }
        let failure = parsed("topic creat x").expect_err("no such verb");
        assert!(failure.hint.is_some_and(|hint| hint.contains("'create'")));
        assert!(failure.message.contains("Usage: rivvend topic"), "{}", failure.message);
        let missing = refused("topic");
        assert!(missing.contains("subcommand is missing") && missing.contains("add-partitions"));
    }

    /// Bad input 58, and the secret is not repeated.
    #[test]
    fn secrets_in_arguments_are_refused() {
        for line in ["config show --password hunter2", "config show --api-key=hunter2"] {
            let message = refused(line);
            assert!(message.contains("visible in ps") && message.contains("-file"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
