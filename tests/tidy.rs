//! The rules the source keeps, held as data: layers, sizes, bans. An illegal edge fails here with
//! the file, the line and the rule; changing a table below is the architectural review.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the library may use, besides itself. Values that any layer may use are in
/// `EVERYWHERE`.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("limits", &[]),
    ("time", &[]),
    ("random", &[]),
    ("planted", &[]),
    ("record", &[]),
    ("storage", &[]),
    ("partitioner", &["record"]),
    ("log", &["record", "storage"]),
    ("partition", &["log", "record", "storage"]),
    ("machine", &["record"]),
    ("metadata", &["machine", "record"]),
    ("coordinator", &["metadata", "machine", "record"]),
    ("shard", &["partition", "log", "machine", "metadata", "coordinator", "record", "storage"]),
    ("quorum", &["log", "storage", "metadata", "machine", "record"]),
    ("protocol", &["record"]),
    ("config", &[]),
    ("telemetry", &[]),
    (
        "api",
        &[
            "protocol",
            "metadata",
            "coordinator",
            "partition",
            "log",
            "shard",
            "record",
            "partitioner",
            "storage",
        ],
    ),
    (
        "broker",
        &[
            "shard",
            "quorum",
            "api",
            "metadata",
            "coordinator",
            "machine",
            "partition",
            "log",
            "storage",
            "record",
        ],
    ),
    ("http", &["broker", "api", "protocol", "config", "net"]),
    (
        "net",
        &[
            "broker",
            "api",
            "protocol",
            "config",
            "coordinator",
            "partition",
            "storage",
            "metadata",
            "log",
            "http",
            "shard",
            "quorum",
        ],
    ),
    ("serve", &["api", "broker", "config", "coordinator", "http", "metadata", "net", "storage"]),
    ("client", &["protocol", "record", "partitioner"]),
];

/// Values without behaviour of their own, below everything.
const EVERYWHERE: &[&str] = &["types", "limits", "time", "random", "telemetry", "planted"];

/// Files that may hold a lock, each with its reason.
const LOCKS: &[(&str, &str)] = &[
    ("src/shard/driver.rs", "the baton of a shard, which is taken if free and never waited for"),
    ("src/storage/handles.rs", "the list of open files, held to add one or to look for idle ones"),
    ("src/shard/queue.rs", "the queue of the pool, held for a push or a pop"),
    ("src/storage/memory", "the simulated disk is shared by its files, as a real one is"),
];

/// Words that do not occur outside tests, and where they may all the same.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "Instant::now",
        &["src/net", "src/http", "src/client", "src/broker/clock.rs", "src/serve.rs", "commands"],
        "only edges read a clock",
    ),
    (
        "SystemTime::now",
        &["src/net", "src/broker/clock.rs", "src/client", "commands"],
        "only edges read a clock",
    ),
    ("thread::spawn", &["commands"], "threads start in shard/driver.rs, by name"),
    (
        "std::fs",
        &["src/storage/file", "src/storage/lock.rs", "src/net", "src/config", "commands"],
        "files go through the Disk seam",
    ),
    ("unsafe ", &[], "unsafe code is forbidden"),
    (concat!("to", "do!("), &[], "nothing is left for later"),
    (concat!("unimpl", "emented!("), &[], "nothing is left for later"),
    (concat!("dbg", "!("), &[], "debugging leftovers"),
    (concat!("FIX", "ME"), &[], "nothing is left for later"),
    (".unwrap()", &[], "say with expect why it can not fail, or handle it"),
    ("allow(dead_code", &[], "delete what is dead"),
];

const LINE_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

struct Source {
    path: String,
    /// The lines before the file's own tests.
    code: Vec<String>,
    lines: Vec<String>,
}

#[test]
fn modules_use_only_what_their_layer_may() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources("src") {
        let Some(module) = module_of(&source.path) else { continue };
        let Some(may) = allowed.get(module) else {
            broken.push(format!("{}: module {module} has no row in LAYERS", source.path));
            continue;
        };
        for (number, line) in source.code.iter().enumerate() {
            for used in used_modules(line) {
                let fine = used == module
                    || EVERYWHERE.contains(&used.as_str())
                    || may.contains(&used.as_str());
                if !fine {
                    let at = format!("{}:{}", source.path, number + 1);
                    broken.push(format!("{at}: {module} may not use {used}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "layers:\n{}", broken.join("\n"));
}

#[test]
fn lines_functions_and_files_stay_small() {
    let mut broken = Vec::new();
    for source in ["src", "commands", "tests"].into_iter().flat_map(sources) {
        for (number, line) in source.lines.iter().enumerate() {
            if line.chars().count() > LINE_MAX && !line.contains("http") {
                broken.push(format!("{}:{}: over {LINE_MAX} columns", source.path, number + 1));
            }
        }
        if source.code.len() > FILE_LINES_MAX {
            let lines = source.code.len();
            broken.push(format!("{}: {lines} lines without tests", source.path));
        }
        for (at, lines) in long_functions(&source.lines) {
            broken.push(format!("{}:{at}: a function of {lines} lines", source.path));
        }
    }
    assert!(broken.is_empty(), "sizes:\n{}", broken.join("\n"));
}

#[test]
fn banned_words_stay_out() {
    let mut broken = Vec::new();
    for source in ["src", "commands"].into_iter().flat_map(sources) {
        for (number, line) in source.code.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, exempt, reason) in BANNED {
                if code.contains(word) && !exempt.iter().any(|e| source.path.starts_with(e)) {
                    broken.push(format!("{}:{}: {word}: {reason}", source.path, number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "bans:\n{}", broken.join("\n"));
}

#[test]
fn locks_in_the_engine_are_the_listed_ones() {
    const ENGINE: &[&str] = &[
        "src/record",
        "src/storage",
        "src/log",
        "src/partition",
        "src/metadata",
        "src/coordinator",
        "src/shard",
        "src/machine",
    ];
    let mut broken = Vec::new();
    for source in sources("src") {
        let engine = ENGINE.iter().any(|e| source.path.starts_with(e));
        if !engine || LOCKS.iter().any(|(path, _)| source.path.starts_with(path)) {
            continue;
        }
        for (number, line) in source.code.iter().enumerate() {
            if ["Mutex<", "RwLock<", "DashMap<"].iter().any(|lock| line.contains(lock)) {
                broken.push(format!("{}:{}: a lock in the engine", source.path, number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "locks:\n{}", broken.join("\n"));
}

#[test]
fn every_file_opens_with_its_intent() {
    let silent: Vec<String> = ["src", "commands", "tests"]
        .into_iter()
        .flat_map(sources)
        .filter(|source| !source.lines.first().is_some_and(|line| line.starts_with("//!")))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "files without a `//!` head: {silent:?}");
}

/// The function finds what it is for: a made-up file with an illegal edge and a long function.
#[test]
fn the_rules_can_fail() {
    assert_eq!(used_modules("use crate::{net::listener, types::Offset};"), ["net", "types"]);
    assert_eq!(used_modules("    crate::shard::Command::Open"), ["shard"]);
    let mut long = vec!["fn long() {".to_owned()];
    long.extend(std::iter::repeat_n("    x();".to_owned(), FUNCTION_LINES_MAX));
    long.push("}".to_owned());
    assert_eq!(long_functions(&long).len(), 1);
    assert!(long_functions(&long[1..]).is_empty());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is part of the project") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source file is text");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let end = lines.iter().position(|l| l.starts_with("#[cfg(test)]")).unwrap_or(lines.len());
    let relative = path.strip_prefix(root()).expect("below the root");
    let own_tests = relative.starts_with("src")
        && relative.with_extension("").iter().any(|part| part == "tests" || part == "suite");
    Source {
        path: relative.to_string_lossy().into_owned(),
        code: if own_tests { Vec::new() } else { lines[..end].to_vec() },
        lines,
    }
}

/// The top-level module a file of the library belongs to.
fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let module = inner.split('/').next()?.trim_end_matches(".rs");
    (module != "lib").then_some(module)
}

/// The top-level modules that `crate::…` paths of a line name.
fn used_modules(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => used.extend(
                group.trim_end_matches(['}', ';']).split(',').map(|part| first_word(part.trim())),
            ),
            None => used.push(first_word(rest)),
        }
    }
    // Names that start with a capital are re-exports of the crate's root.
    used.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    used
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Functions over the limit: the line they start at and how long they are. Formatted code closes a
/// function with a brace at the indentation it began with.
fn long_functions(lines: &[String]) -> Vec<(usize, usize)> {
    let mut long = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let starts = is_function(line.trim_start());
        match open {
            Some((start, depth))
                if line.starts_with(&" ".repeat(depth))
                    && indent == depth
                    && line.trim_start().starts_with('}') =>
            {
                let length = number - start + 1;
                if length > FUNCTION_LINES_MAX {
                    long.push((start + 1, length));
                }
                open = None;
            }
            None if starts && !line.trim_end().ends_with([';', '}']) => {
                open = Some((number, indent))
            }
            _ => {}
        }
    }
    long
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "fn" => return true,
            "const" | "async" | "extern" | "default" => {}
            word if word.starts_with("pub") => {
                // `pub(in path)` has a space inside.
                if word.starts_with("pub(in") {
                    words.next();
                }
            }
            _ => return false,
        }
    }
    false
}
