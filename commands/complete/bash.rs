//! Completion in bash, which cuts a line into words at `:` and `=`, too. What belongs together is
//! put together again before it is asked about, and what stands before the last cut is left off the
//! candidates, because bash only replaces what comes behind it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::engine;
use clap_complete::env::EnvCompleter;

/// Says to [`Bash::write_complete`] which word the cursor is in.
const INDEX: &str = "RIVVEN_COMPLETE_WORD";

pub(super) struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        binary: &str,
        completer: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        writeln!(
            out,
            r#"# One candidate a line. No blank follows what is not over: a folder, `key=`, `host:`.
_{name}() {{
    local IFS=$'\n'
    COMPREPLY=($({variable}=bash {INDEX}=$COMP_CWORD {completer} -- "${{COMP_WORDS[@]}}"))
    if [[ ${{COMPREPLY-}} == *[=/:] ]]; then
        compopt -o nospace 2> /dev/null
    fi
}}
complete -o bashdefault -o nosort -F _{name} {binary} 2> /dev/null ||
    complete -o bashdefault -F _{name} {binary}"#
        )
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        directory: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let index = std::env::var(INDEX).ok().and_then(|index| index.parse().ok());
        let (words, index) = join(words, index.unwrap_or_default());
        let current = words.get(index).map(OsString::as_os_str).unwrap_or_default();
        let kept = before_last_cut(current);
        for candidate in engine::complete(command, words.clone(), index, directory)? {
            let value = candidate.get_value().to_string_lossy();
            writeln!(out, "{}", value.strip_prefix(&kept).unwrap_or(&value))?;
        }
        Ok(())
    }
}

/// Whether the words of this process are those of bash.
pub(super) fn is_asking() -> bool {
    std::env::var_os(INDEX).is_some()
}

fn is_cut(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b":=".contains(&b)))
}

/// The words as they were typed, and the one with the cursor.
pub(super) fn join(cut: Vec<OsString>, cursor: usize) -> (Vec<OsString>, usize) {
    let (mut words, mut index, mut joins_next) = (Vec::<OsString>::new(), 0, false);
    for (at, word) in cut.into_iter().enumerate() {
        let joins = is_cut(&word);
        match words.last_mut() {
            // The name of the program and flags stand alone before what follows them.
            Some(last) if joins || joins_next => last.push(&word),
            _ => words.push(word),
        }
        joins_next = joins;
        if at == cursor {
            index = words.len() - 1;
        }
    }
    (words, index)
}

/// The part of a word that bash leaves alone when it completes it.
fn before_last_cut(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    word.rfind([':', '=']).map_or_else(String::new, |cut| word[..=cut].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bash_has_cut_is_whole_again() {
        let joined = |cut: &[&str], cursor| {
            let (words, index) = join(cut.iter().map(Into::into).collect(), cursor);
            let words: Vec<_> = words.iter().map(|word| word.to_str().expect("text")).collect();
            (words.join(" "), index)
        };
        let line = ["rivvend", "consume", "--server", "127.0.0.1", ":", "9092", "ord"];
        assert_eq!(joined(&line, 6), ("rivvend consume --server 127.0.0.1:9092 ord".into(), 4));
        let line = ["rivvend", "topic", "create", "t", "-c", "durability", "=", "f"];
        assert_eq!(joined(&line, 7), ("rivvend topic create t -c durability=f".into(), 5));
        assert_eq!(joined(&line[..7], 6), ("rivvend topic create t -c durability=".into(), 5));
        assert_eq!(before_last_cut(OsStr::new("durability=f")), "durability=");
        assert_eq!(before_last_cut(OsStr::new("orders")), "");
        // A word that has not begun is no part of what stands before it.
        let line = ["rivvend", "--server", "host", ":", "1", ""];
        assert_eq!(joined(&line, 5), ("rivvend --server host:1 ".into(), 3));
    }
}
