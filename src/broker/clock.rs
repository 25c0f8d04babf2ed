//! The one place of the node that reads clocks; everything below is given [`Now`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::log::{clean, frontier};
use crate::shard::driver::Clock;
use crate::storage::platform::last_change_ms;
use crate::time::Now;
use crate::types::Millis;

/// The times of files are as coarse as this on some file systems.
const SLACK: Duration = Duration::from_secs(2);

/// The system's clocks.
#[must_use]
pub fn system() -> Clock {
    let start = Instant::now();
    Arc::new(move || Now {
        wall: wall(),
        monotonic_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// How far the clock is behind what a broker last wrote into a data directory, if it is.
#[must_use]
pub fn behind(data_dir: &Path) -> Option<Duration> {
    let written = [frontier::FILE_NAME, clean::FILE_NAME].map(|name| data_dir.join(name));
    let newest = written.iter().filter_map(|path| last_change_ms(path)).max()?;
    let behind = u64::try_from(newest.saturating_sub(wall().0)).ok().map(Duration::from_millis);
    behind.filter(|behind| *behind > SLACK)
}

fn wall() -> Millis {
    // A clock before 1970 counts as 1970: time stamps are never negative.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
