//! rivvend's own protocol: frames ([`frame`]) around protobuf headers ([`message`]) and raw record
//! batches. man/rivvend-protocol.7 describes it for other programs. Pure: bytes to values and back.

pub mod frame;
pub mod message;
