//! rivvend's own protocol: frames ([`frame`]) around protobuf headers ([`message`]) and raw record
//! batches. man/rivvend-protocol.7 describes it for other programs. Pure: bytes to values and back.
//!
//! # Rules of a connection
//! * The client sends the preface, the server HELLO, or ERROR when no version suits both.
//! * A REQUEST opens a stream under a number that no open stream of the connection has. Answers
//!   come in any order. Every stream is ended by the server with exactly one frame: RESPONSE, or,
//!   for a subscription, END. Until then its number stays taken.
//! * DATA frames of a stream spend its [`credit`]; nothing else does. CREDIT returns it.
//! * CANCEL asks for an early end. The ending frame still comes, whatever was on its way before it.
//!   A CANCEL or CREDIT for a stream that has ended already is ignored: it crossed the end.
//! * Either side may PING; the other answers PONG with the same bytes as soon as it reads it.
//! * GO_AWAY: no new streams; open ones are finished, then the connection is closed. A request that
//!   crossed it is answered with its error.
//! * ERROR is the last frame of a connection.

pub mod credit;
pub mod frame;
pub mod message;

#[cfg(test)]
mod manual;
