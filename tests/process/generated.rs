//! What derives from the declaration of the command line and is kept beside it: completions, manual
//! pages, help texts and errors of usage. `UPDATE=1` brings the kept files up to date.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::broker::rivvend;
use super::is_installed;

/// Lines of a terminal that is not small. What `-h` says fits on it.
const SCREEN_LINES: usize = 60;

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files of a directory by name; none when there is no directory.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, fs::read_to_string(entry.path()).expect("text"))
    };
    entries.map(file).collect()
}

/// Holds the files of a directory, as far as this test keeps them, against what they shall be.
fn assert_kept(directory: &str, wanted: &BTreeMap<String, String>, is_ours: impl Fn(&str) -> bool) {
    let path = repository(directory);
    let mut kept = files(&path);
    kept.retain(|name, _| is_ours(name));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&path).expect("created");
        let old = kept.keys().filter(|name| !wanted.contains_key(*name));
        old.for_each(|name| fs::remove_file(path.join(name)).expect("removed"));
        let write = |(name, text)| fs::write(path.join(name), text).expect("written");
        wanted.iter().for_each(write);
        return;
    }
    for (name, text) in wanted {
        let kept = kept.remove(name);
        assert_eq!(kept.as_ref(), Some(text), "{directory}/{name} is stale: run with UPDATE=1");
    }
    assert!(kept.is_empty(), "{directory} has files of commands that are gone: {:?}", kept.keys());
}

/// The commands there are, as the names of their manual pages.
fn generated() -> (tempfile::TempDir, Vec<String>) {
    let directory = tempfile::tempdir().expect("a folder");
    let ended = rivvend().arg("generate").arg(directory.path()).output().expect("it runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let pages = files(&directory.path().join("man"));
    let names = pages.keys().map(|name| name.strip_suffix(".1").expect("section 1").to_owned());
    let names = names.collect();
    (directory, names)
}

#[test]
fn completions_and_manual_pages_are_those_of_this_binary() {
    let (directory, _) = generated();
    assert_kept("completions", &files(&directory.path().join("completions")), |_| true);
    let pages = files(&directory.path().join("man"));
    assert_kept("man", &pages, |name| name.ends_with(".1"));
}

/// A line as it is typed and everything that it prints.
fn transcript(line: &str) -> String {
    let mut command = rivvend();
    command.args(line.split_whitespace().skip(1)).env("COLUMNS", "100");
    command.env_remove("XDG_CONFIG_HOME").env("HOME", "/nonexistent");
    let ended = command.output().expect("it runs");
    let (out, err) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    format!("$ {line}\n{}{}", out.expect("UTF-8"), err.expect("UTF-8"))
}

#[test]
fn help_is_what_it_was_and_its_short_form_fits_a_screen() {
    let (_directory, names) = generated();
    let page = |name: &String| {
        // No name of a command has a hyphen but add-partitions and its like.
        let words = command_words(name, &names);
        let short = transcript(&format!("{words} -h"));
        let lines = short.lines().count();
        assert!(lines <= SCREEN_LINES, "`{words} -h` prints {lines} lines");
        (format!("{name}.txt"), format!("{short}\n{}", transcript(&format!("{words} --help"))))
    };
    assert_kept("tests/golden/help", &names.iter().map(page).collect(), |_| true);
}

/// `rivvend-topic-add-partitions` as it is typed: the longest name that is a prefix is the parent.
fn command_words(name: &str, names: &[String]) -> String {
    let is_parent = |other: &&String| name.starts_with(&format!("{other}-"));
    match names.iter().filter(is_parent).max_by_key(|other| other.len()) {
        Some(parent) => {
            format!("{} {}", command_words(parent, names), &name[parent.len() + 1..])
        }
        None => name.to_owned(),
    }
}

/// Bad inputs 57 and 58, and whatever else can be told without a broker.
#[test]
fn errors_of_usage_are_what_they_were() {
    let lines = [
        "rivvend sevre",
        "rivvend topic",
        "rivvend topic creat orders",
        "rivvend topic create",
        "rivvend topic create orders -p",
        "rivvend topic create orders -p many",
        "rivvend topic create orders -c retention.ms",
        "rivvend topic list --outptu json",
        "rivvend topic list -o jsn",
        "rivvend topic list --server localhost",
        "rivvend topic list --server localhost:port",
        "rivvend topic list --server localhost:9092 --data-dir data",
        "rivvend topic list --data-dir /nowhere",
        "rivvend topic list --embedded",
        "rivvend topic list --context nowhere",
        "rivvend topic list --password secret",
        "rivvend topic list --api-key=secret",
        "rivvend --data-dir data topic list",
        "rivvend produce",
        "rivvend produce orders -f %q",
        "rivvend produce orders -z lzma",
        "rivvend produce orders --acks 2",
        "rivvend produce orders --chunk 0",
        "rivvend produce orders --delivery-timeout soon",
        "rivvend produce orders --file /nowhere/records",
        "rivvend consume",
        "rivvend consume orders -o yesterday",
        "rivvend consume orders -r (",
        "rivvend consume orders -n none",
        "rivvend inspect verify /nowhere",
        "rivvend config check /nowhere/rivvend.yaml",
        "rivvend context use nowhere",
        "rivvend bench produce --rate 10 --in-flight 2",
        "rivvend bench compare /nowhere/a.json /nowhere/b.json",
        "rivvend man topic creat",
        "rivvend completions tcsh",
    ];
    let told = lines.map(transcript).join("\n");
    let wanted = BTreeMap::from([("usage.txt".to_owned(), told)]);
    assert_kept("tests/golden/errors", &wanted, |_| true);
}

/// All of them, those written by hand included.
#[test]
fn manual_pages_are_rendered_without_a_warning() {
    if let Some(missing) = ["man", "groff"].into_iter().find(|tool| !is_installed(tool)) {
        assert!(std::env::var_os("RIVVEN_TESTS_ALL").is_none(), "can not run: no {missing}");
        eprintln!("skipped: {missing} is missing");
        return;
    }
    for name in files(&repository("man")).keys() {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(repository("man").join(name));
        man.env("MANROFFSEQ", "").env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let ended = man.output().expect("man runs");
        let warned = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success() && warned.is_empty(), "{name}: {warned}");
        assert!(ended.stdout.len() > 500, "{name} says nothing");
    }
}
