//! Gathers the sources of a configuration: flags, environment and file. The only place of the
//! command line that reads them; what they mean is `rivvend::config`'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rivvend::config::{Address, Config, Flag, Size, Sources, Value};
use rivvend::limits::CONFIG_FILE_BYTES_MAX;

use crate::failure::{Exit, Failure};

/// The flags that choose a configuration. None has a default here, so that every value knows where
/// it came from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SettingsArgs {
    /// Configuration file, YAML [env: RIVVEN_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory that holds everything the broker keeps [default: ./data] [env: RIVVEN_DATA_DIR]
    #[arg(short, long, value_name = "DIR", value_parser = checked::<PathBuf>)]
    pub(crate) data_dir: Option<String>,
    /// Address and port for clients [default: 0.0.0.0:9092] [env: RIVVEN_BIND]
    #[arg(short, long, value_name = "ADDR", value_parser = checked::<Address>)]
    pub(crate) bind: Option<String>,
    /// Port of the HTTP API, health checks and metrics; 0 picks a free one [default: 8080]
    /// [env: RIVVEN_HTTP_PORT]
    #[arg(long, value_name = "PORT", value_parser = checked::<u16>)]
    pub(crate) http_port: Option<String>,
    /// Bytes without a key that go to one partition before the next is chosen [default: 16KiB]
    #[arg(long, hide_short_help = true, value_name = "SIZE", value_parser = checked::<Size>)]
    pub(crate) partitioner_batch_size: Option<String>,
    /// Longest time one partition is used for records without a key [default: 100ms]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = checked::<Duration>)]
    pub(crate) partitioner_linger_ms: Option<String>,
}

impl SettingsArgs {
    /// The settings for working on a directory without a server.
    pub(crate) fn for_directory(directory: &Path) -> Result<SettingsArgs, Failure> {
        let path = directory.to_str().ok_or_else(|| {
            Failure::usage(format!("the path {} is not UTF-8", directory.display()))
        })?;
        Ok(SettingsArgs { data_dir: Some(path.to_owned()), ..SettingsArgs::default() })
    }

    /// Loads the configuration from everywhere it can come from.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let environment = environment()?;
        let path = self.config.clone().or_else(|| environment.get("RIVVEN_CONFIG").map(Into::into));
        let file = match path {
            Some(path) => Some(read_file(&path).map(|text| (path, text))?),
            None => None,
        };
        Ok(Config::load(&Sources { flags: self.flags(), environment, file })?)
    }

    fn flags(&self) -> Vec<Flag> {
        let given = [
            ("storage.data_dir", "--data-dir", &self.data_dir),
            ("server.bind_address", "--bind", &self.bind),
            ("server.http_port", "--http-port", &self.http_port),
            ("partitioner.batch_size", "--partitioner-batch-size", &self.partitioner_batch_size),
            ("partitioner.linger_ms", "--partitioner-linger-ms", &self.partitioner_linger_ms),
        ];
        let flag = |(key, flag, value): (_, _, &Option<String>)| {
            value.clone().map(|value| Flag { key, flag, value })
        };
        given.into_iter().filter_map(flag).collect()
    }
}

/// Reads a configuration file; every way in which that fails names the file.
pub(crate) fn read_file(path: &Path) -> Result<String, Failure> {
    let wrong = |what: String| {
        let message = format!("the configuration file {} {what}", path.display());
        Failure::new(Exit::Configuration, message)
    };
    let unreadable = |error: std::io::Error| {
        let exit = match error.kind() {
            ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Configuration,
        };
        Failure { exit, ..wrong(format!("can not be read: {error}")) }
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(CONFIG_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > CONFIG_FILE_BYTES_MAX {
        return Err(wrong(format!("is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes);
    text.map_err(|error| {
        wrong(format!("is not UTF-8: byte {} is not", error.utf8_error().valid_up_to()))
    })
}

/// The variables that are ours.
fn environment() -> Result<BTreeMap<String, String>, Failure> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("RIVVEN_"))?;
        Some((name, value))
    });
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Failure::new(Exit::Configuration, format!("{name} is not UTF-8"))),
    })
    .collect()
}

/// Checks a flag's value by the rules of the configuration and keeps it as text.
pub(crate) fn checked<T: Value>(text: &str) -> Result<String, String> {
    T::read(text).map(|_| text.to_owned())
}

/// Reads a flag's value by the rules of the configuration.
pub(crate) fn value<T: Value>(text: &str) -> Result<T, String> {
    T::read(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bad input 59: each of these names the file and ends with 78.
    #[test]
    fn files_that_can_not_be_configuration_are_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let binary = dir.path().join("binary.yaml");
        std::fs::write(&binary, [b'a', 0xff]).expect("written");
        let large = dir.path().join("large.yaml");
        File::create(&large).and_then(|f| f.set_len(100 << 20)).expect("written");
        let missing = dir.path().join("missing.yaml");
        for path in [dir.path(), &binary, &large, &missing] {
            let failure = read_file(path).expect_err("refused");
            assert_eq!(failure.exit, Exit::Configuration, "{failure}");
            assert!(failure.message.contains(&path.display().to_string()), "{failure}");
        }
    }
}
