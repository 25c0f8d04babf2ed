//! Wire codecs: bytes to messages and back. Pure; knows nothing that has state.

pub mod error;
pub mod kafka;
pub mod native;
