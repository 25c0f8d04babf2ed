//! The contexts of a user: named places that commands go to, in one YAML file below the user's
//! configuration directory. Owns the file: what it may hold, and how it is replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rivvend::config::{Address, Value as _, did_you_mean};
use rivvend::limits::CONFIG_FILE_BYTES_MAX;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

const FILE: &str = "contexts.yaml";
/// How long a change waits for another one of the same file.
const LOCK_TIME: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const NAME_BYTES_MAX: usize = 64;

/// Where the commands of a context go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `host:port` of a broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// A data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The context of commands that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// The one before, for going back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<String>,
    /// All of them by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads the user's file; there are none where there is no file.
    pub(crate) fn load() -> Result<Contexts, Failure> {
        match path() {
            Some(path) => read(&path),
            None => Ok(Contexts::default()),
        }
    }

    /// Reads the file, changes what it holds and replaces it, while nobody else does.
    pub(crate) fn change<T>(
        change: impl FnOnce(&mut Contexts) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let path = path().ok_or_else(|| {
            let failure = Failure::failed("there is no place for contexts: HOME is not set");
            failure.hint("set HOME or XDG_CONFIG_HOME")
        })?;
        let directory = path.parent().expect("a file below a directory");
        // Only its owner has to know where he goes.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| Failure::file("create", directory, &error))?;
        let _lock = lock(directory)?;
        let mut contexts = read(&path)?;
        let outcome = change(&mut contexts)?;
        // Whoever keeps the file elsewhere and links to it shall find the change there.
        let target = fs::canonicalize(&path).unwrap_or(path);
        replace(&target, &contexts)
            .map_err(|error| Failure::file("write the contexts to", &target, &error))?;
        Ok(outcome)
    }

    /// The context of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let failure = Failure::new(Exit::NotFound, format!("context {name:?} does not exist"));
            match did_you_mean(name, self.contexts.keys().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean {near:?}?")),
                None if self.contexts.is_empty() => {
                    failure.hint("make it with `rivvend context add NAME --server HOST:PORT`")
                }
                None => failure.hint("`rivvend context list` shows the contexts there are"),
            }
        })
    }

    /// Makes a context the current one.
    pub(crate) fn select(&mut self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        if self.current.as_deref() != Some(name) {
            self.previous = self.current.replace(name.to_owned());
        }
        Ok(())
    }
}

/// Where the file is: below `XDG_CONFIG_HOME` if that is an absolute path, as its specification
/// demands, else below the home directory.
fn path() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")));
    Some(base?.join("rivvend").join(FILE))
}

fn read(path: &Path) -> Result<Contexts, Failure> {
    let wrong = |what: String| {
        let failure = Failure::new(
            Exit::Configuration,
            format!("the file of contexts {} {what}", path.display()),
        );
        failure.hint("mend it or remove it; --server HOST:PORT works without it")
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(error) => return Err(Failure::file("read the contexts in", path, &error)),
    };
    let mut text = String::new();
    let limit = CONFIG_FILE_BYTES_MAX as u64;
    let read = file.take(limit + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > limit => {
            return Err(wrong(format!("is larger than {limit} bytes")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(wrong("is not UTF-8".to_owned()));
        }
        Err(error) => return Err(wrong(format!("can not be read: {error}"))),
    }
    if text.trim().is_empty() {
        return Ok(Contexts::default());
    }
    let contexts: Contexts =
        serde_yaml::from_str(&text).map_err(|error| wrong(format!("is not valid: {error}")))?;
    check(&contexts).map_err(|mistake| wrong(format!("is not valid: {mistake}")))?;
    Ok(contexts)
}

/// People edit the file, so it is held to what the commands would write.
fn check(contexts: &Contexts) -> Result<(), String> {
    for (name, context) in &contexts.contexts {
        context_name(name).map_err(|wrong| format!("context {name:?} {wrong}"))?;
        match (&context.server, &context.data_dir) {
            (Some(server), None) => {
                Address::read(server)
                    .map_err(|wrong| format!("context {name:?}: {server:?} {wrong}"))?;
            }
            (None, Some(_)) => {}
            _ => return Err(format!("context {name:?} needs either a server or a data_dir")),
        }
    }
    match &contexts.current {
        Some(current) if !contexts.contexts.contains_key(current) => {
            Err(format!("the current context {current:?} is not among the contexts"))
        }
        _ => Ok(()),
    }
}

/// Checks the name of a context: it shall need no quotes anywhere.
pub(crate) fn context_name(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
        return Err(format!(
            "is not a name: 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores"
        ));
    }
    if name.starts_with('-') {
        return Err("starts with a dash, like a flag".to_owned());
    }
    Ok(name.to_owned())
}

/// Holds the directory for one change of the file. A lock on the file itself would be on the one
/// that is replaced.
fn lock(directory: &Path) -> Result<File, Failure> {
    let failed = |error: &std::io::Error| Failure::file("lock", directory, error);
    let file = File::open(directory).map_err(|error| failed(&error))?;
    let until = Instant::now() + LOCK_TIME;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(error) => return Err(failed(&error.into())),
        }
    }
}

/// Writes beside the file, makes it durable and puts it in the file's place, so that a crash leaves
/// the old contexts or the new ones.
fn replace(path: &Path, contexts: &Contexts) -> std::io::Result<()> {
    let text = serde_yaml::to_string(contexts).map_err(std::io::Error::other)?;
    let beside = path.with_extension("yaml.tmp");
    let directory = path.parent().expect("a file below a directory");
    // What a crash left there may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        assert_eq!(read(&path).expect("no file"), Contexts::default());
        let server = Context { server: Some("[::1]:9092".into()), data_dir: None };
        let local = Context { server: None, data_dir: Some("/var/lib/rivvend".into()) };
        let contexts = Contexts {
            current: Some("prod".into()),
            previous: None,
            contexts: [("prod".into(), server), ("local".into(), local)].into(),
        };
        replace(&path, &contexts).expect("written");
        assert_eq!(read(&path).expect("ours"), contexts);
        assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 1, "nothing beside it");
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_explained() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let cases = [
            ("contexts: [", "not valid"),
            ("contexts:\n  a: {sever: x}\n", "sever"),
            ("contexts:\n  a: {}\n", "either a server or a data_dir"),
            ("contexts:\n  a: {server: x}\n", "port is missing"),
            ("contexts:\n  a b: {server: 'x:1'}\n", "not a name"),
            ("current: gone\n", "not among the contexts"),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).expect("written");
            let failure = read(&path).expect_err(text);
            assert_eq!(failure.exit, Exit::Configuration);
            assert!(failure.message.contains(expected), "{failure}");
            assert!(failure.message.contains(FILE), "{failure}");
        }
    }
}
