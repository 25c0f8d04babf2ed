//! Time as a value. Cores receive `Now`; only edges read a clock and make one.

use crate::types::Millis;

/// The moment an input is handled: the wall clock for time stamps that leave the process, and a
/// monotonic clock for everything that measures or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock. May jump.
    pub wall: Millis,
    /// Milliseconds since an arbitrary point. Never goes back.
    pub monotonic_ms: u64,
}
