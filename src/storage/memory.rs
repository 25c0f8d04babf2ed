//! The simulated file system.
