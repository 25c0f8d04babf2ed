//! The configuration: every key, its unit, default and documentation; where each value came from;
//! and all that is wrong with it, at once. Precedence: flag, environment, file, default.
//!
//! Owns names and values only. It reads no file, resolves no name and looks at no environment: the
//! caller hands over [`Sources`]. It knows nothing of what the values are used for.

mod declare;
mod file;
mod keys;
mod place;
mod problem;
mod value;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

pub use declare::Key;
pub use keys::{
    Cluster, Compaction, Config, KEYS, Log, Partitioner, SECTIONS, Server, Storage, Topic,
};
pub use problem::{Origin, Problem, Problems, did_you_mean};
pub use value::{Address, Limit, LogLevel, Size, Value};

/// Variables with our prefix that are not configuration keys.
const OTHER_VARIABLES: &[&str] = &["RIVVEN_CONFIG", "RIVVEN_CONTEXT", "RIVVEN_SERVER"];

/// A flag of the command line that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key it sets, such as `server.bind_address`.
    pub key: &'static str,
    /// The flag, such as `--bind`.
    pub flag: &'static str,
    /// Its value as given.
    pub value: String,
}

/// Everything a configuration is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Flags of the command line.
    pub flags: Vec<Flag>,
    /// The environment; only names that start with `RIVVEN_` are looked at.
    pub environment: BTreeMap<String, String>,
    /// Path and text of the configuration file.
    pub file: Option<(PathBuf, String)>,
}

/// A configuration that was brought up to date while the broker runs.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// What holds now.
    pub config: Config,
    /// Keys that have new values.
    pub changed: Vec<&'static str>,
    /// Keys whose new values need a restart.
    pub later: Vec<&'static str>,
}

impl Config {
    /// Puts the configuration together and checks it.
    ///
    /// # Errors
    /// Everything that is wrong, whichever source it came from.
    pub fn load(sources: &Sources) -> Result<Config, Problems> {
        let mut loader = Loader { config: Config::default(), problems: Vec::new() };
        loader.file(sources);
        loader.environment(&sources.environment);
        for flag in &sources.flags {
            loader.set(flag.key, &flag.value, flag.flag, Origin::Flag(flag.flag));
        }
        if loader.problems.is_empty() {
            loader.problems = loader.config.conflicts();
        }
        if loader.problems.is_empty() { Ok(loader.config) } else { Err(Problems(loader.problems)) }
    }

    /// This configuration with the values of `newer` that may change while the broker runs, and
    /// what became of each key that differs.
    ///
    /// # Errors
    /// When those values do not go together with the ones that stay.
    pub fn adopt(&self, newer: &Config) -> Result<Adopted, Problems> {
        let mut adopted = Adopted { config: self.clone(), changed: Vec::new(), later: Vec::new() };
        for key in KEYS {
            match (key.is_dynamic, key.differs(self, newer)) {
                (false, false) => {}
                (false, true) => adopted.later.push(key.path),
                (true, is_changed) => {
                    let value = newer.show(key);
                    let set = (key.set)(&mut adopted.config, &value);
                    set.expect("a value that was read once is one");
                    // Also where the value stayed: it may stand on another line now, or nowhere.
                    adopted.config.origins.insert(key.path, newer.origin(key).clone());
                    if is_changed {
                        adopted.changed.push(key.path);
                    }
                }
            }
        }
        let problems = adopted.config.conflicts();
        if problems.is_empty() { Ok(adopted) } else { Err(Problems(problems)) }
    }

    /// Where the value of a key came from.
    #[must_use]
    pub fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(key.path).unwrap_or(&Origin::Default)
    }

    /// The value of a key as it is written in a file.
    #[must_use]
    pub fn show(&self, key: &Key) -> String {
        (key.show)(self)
    }

    /// The cluster-wide settings that somebody set here, under the names and in the plain numbers
    /// that the cluster keeps them. The others are left to the table of settings.
    #[must_use]
    pub fn cluster_settings(&self) -> Vec<(&'static str, String)> {
        let is_set = |key: &&Key| *self.origin(key) != Origin::Default;
        let set = KEYS.iter().filter(is_set);
        set.filter_map(|key| Some((key.setting?, (key.plain)(self)))).collect()
    }

    /// Whether this configuration would hold together with values that were set at run time, given
    /// as the cluster keeps them.
    ///
    /// # Errors
    /// Every conflict between them.
    pub fn check_with<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Problems> {
        let mut config = self.clone();
        let mut problems = Vec::new();
        for (name, value) in settings {
            let Some(key) = KEYS.iter().find(|key| key.setting == Some(name)) else { continue };
            if let Err(wrong) = (key.set)(&mut config, value) {
                problems.push(Problem::new(key.path, format!("{value:?} {wrong}")));
            }
        }
        problems.extend(config.conflicts());
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// What the operator should know although it is no error.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Values that are each valid and do not go together.
    fn conflicts(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut conflict =
            |place: &str, message: String| problems.push(Problem::new(place, message));
        let segment = self.storage.segment_bytes;
        if self.server.http_port != 0 && self.server.http_port == self.server.bind_address.port {
            let port = self.server.http_port;
            conflict("server.http_port", format!("{port} is the port of server.bind_address too"));
        }
        if let Some(address) = &self.server.advertised_address
            && (address.is_wildcard() || address.port == 0)
        {
            conflict("server.advertised_address", format!("nobody can connect to {address}"));
        }
        let (min, max) = (self.group.session_timeout_min, self.group.session_timeout_max);
        if min > max {
            let (min, max) = (min.write(), max.write());
            let message = format!("{min} is longer than group.session_timeout_max, {max}");
            conflict("group.session_timeout_min", message);
        }
        if segment < self.topic.max_message_bytes {
            let batch = self.topic.max_message_bytes.write();
            let message =
                format!("{} is less than topic.max_message_bytes, {batch}", segment.write());
            conflict("storage.segment_bytes", message);
        }
        if let Limit::At(kept) = self.topic.retention_bytes
            && kept < segment
        {
            let message = format!(
                "{} is less than storage.segment_bytes, {}: only whole segments are removed",
                kept.write(),
                segment.write()
            );
            conflict("topic.retention_bytes", message);
        }
        if self.partitioner.batch_size > self.topic.max_message_bytes {
            let (size, max) = (self.partitioner.batch_size, self.topic.max_message_bytes);
            let message =
                format!("{} is more than topic.max_message_bytes, {}", size.write(), max.write());
            conflict("partitioner.batch_size", message);
        }
        problems
    }
}

/// The file that documents every key, as `config/rivvend.yaml` holds it.
#[must_use]
pub fn default_file() -> String {
    let mut text = String::from(
        "# The configuration of rivvend: every key with its default.\n\
         #\n\
         # A flag wins over the environment, the environment over this file, this file over the\n\
         # defaults. Every key can be set as RIVVEN_<SECTION>_<KEY>; shorter names are given with\n\
         # the key. Sizes: B, kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024, a\n\
         # bare number is bytes. Durations: ms, s, m, h, d, a bare number is milliseconds.\n",
    );
    for (section, doc) in SECTIONS {
        text.push('\n');
        comment(&mut text, "", doc);
        let _ = writeln!(text, "{section}:");
        for (index, key) in KEYS.iter().filter(|key| key.section == *section).enumerate() {
            if index > 0 {
                text.push('\n');
            }
            comment(&mut text, "  ", key.doc);
            comment(&mut text, "  ", &facts(key));
            let _ = writeln!(text, "  {}: {}", key.name, key.default);
        }
    }
    text
}

/// Kind, range and short variable of a key, in one line.
fn facts(key: &Key) -> String {
    let mut facts = format!("[{}", key.kind);
    if let Some((min, max)) = (key.range_text)() {
        let _ = write!(facts, ", {min} to {max}");
    }
    if let Some(short) = key.short_variable {
        let _ = write!(facts, "; also {short}");
    }
    if key.is_dynamic {
        facts.push_str("; read again on SIGHUP");
    }
    facts.push(']');
    facts
}

fn comment(text: &mut String, indent: &str, doc: &str) {
    for line in doc.lines() {
        let _ = writeln!(text, "{indent}# {}", line.trim());
    }
}

/// The feature that a key or section belongs to when this build does not have it.
fn not_yet(path: &str) -> Option<&'static str> {
    let matches =
        |name: &str| path == name || path.strip_prefix(name).is_some_and(|r| r.starts_with('.'));
    keys::NOT_YET.iter().find(|(name, _)| matches(name)).map(|(_, feature)| *feature)
}

fn not_yet_message(feature: &str) -> String {
    format!("this build does not have {feature} yet; remove the key to start without")
}

struct Loader {
    config: Config,
    problems: Vec<Problem>,
}

impl Loader {
    fn file(&mut self, sources: &Sources) {
        let Some((path, text)) = &sources.file else { return };
        for setting in file::parse(path, text, &mut self.problems) {
            // Each known key comes once, so a hostile file is not read anew for every line of it.
            let is_known = KEYS.iter().any(|key| key.path == setting.path);
            let line = if is_known { place::line_of(text, &setting.path) } else { None };
            let origin = Origin::File { path: path.clone(), line };
            self.set(&setting.path, &setting.value, &setting.path, origin);
        }
    }

    fn environment(&mut self, environment: &BTreeMap<String, String>) {
        for key in KEYS {
            let long = key.variable();
            let names = [Some(long.as_str()), key.short_variable];
            let mut given =
                names.into_iter().flatten().filter_map(|n| environment.get_key_value(n));
            let Some((name, value)) = given.next() else { continue };
            if let Some((other, different)) = given.next()
                && different != value
            {
                let message = format!("is set beside {other} to another value; keep one of them");
                self.problems.push(Problem::new(name, message));
            }
            self.set(key.path, value, name, Origin::Environment(name.clone()));
        }
        for name in environment.keys() {
            self.unknown_variable(name);
        }
    }

    /// Variables of other programs may share the prefix (a service named "rivven" in Kubernetes
    /// makes some), so only what is near a key or names a missing feature is an error.
    fn unknown_variable(&mut self, name: &str) {
        let Some(rest) = name.strip_prefix("RIVVEN_") else { return };
        let known =
            KEYS.iter().any(|key| key.variable() == name || key.short_variable == Some(name));
        if known || OTHER_VARIABLES.contains(&name) {
            return;
        }
        for (path, feature) in keys::NOT_YET {
            let prefix = path.replace('.', "_").to_ascii_uppercase();
            if rest == prefix || rest.starts_with(&format!("{prefix}_")) {
                self.problems.push(Problem::new(name, not_yet_message(feature)));
                return;
            }
        }
        let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
        let candidates = variables.iter().map(String::as_str);
        let shorts = KEYS.iter().filter_map(|key| key.short_variable);
        match did_you_mean(name, candidates.chain(shorts)) {
            Some(near) => {
                let message = format!("unknown variable, did you mean {near}?");
                self.problems.push(Problem::new(name, message));
            }
            None => self.config.warnings.push(format!("{name}: no key has this variable")),
        }
    }

    fn set(&mut self, path: &str, value: &str, place: &str, origin: Origin) {
        let Some(key) = KEYS.iter().find(|key| key.path == path) else {
            let message = not_yet(path).map_or_else(|| file::unknown(path), not_yet_message);
            self.problems.push(Problem::new(place, message));
            return;
        };
        match (key.set)(&mut self.config, value) {
            Ok(()) => {
                self.config.origins.insert(key.path, origin);
            }
            Err(wrong) => {
                let shown: String = value.chars().take(80).collect();
                self.problems.push(Problem::new(place, format!("{shown:?} {wrong}")));
            }
        }
    }
}

#[cfg(test)]
mod manual;
#[cfg(test)]
mod tests;
