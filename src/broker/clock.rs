//! The one place of the node that reads clocks; everything below is given [`Now`].

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::shard::driver::Clock;
use crate::time::Now;
use crate::types::Millis;

/// The system's clocks.
#[must_use]
pub fn system() -> Clock {
    let start = Instant::now();
    Arc::new(move || Now {
        wall: wall(),
        monotonic_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn wall() -> Millis {
    // A clock before 1970 counts as 1970: time stamps are never negative.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
