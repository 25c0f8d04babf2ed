//! The asynchronous edge: listeners, framing, flow control, deadlines. Owns sockets and nothing
//! else; what a request means is behind [`service::Service`].

pub mod service;
