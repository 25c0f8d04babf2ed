//! rivvend: an event-streaming broker and every tool an operator needs for it, in one binary.
//!
//! # The one idea
//! Everything durable is a partition log. Everything stateful is a replay of a partition log. Every
//! partition has exactly one owner. Every read is a published snapshot.
//!
//! # Layers, bottom up
//! Each may use those above it in this list and none below; `tests/tidy.rs` holds the exact table.
//!
//! * [`types`], [`limits`], [`time`], [`random`]: values, bounds, time and chance as parameters
//! * [`config`]: every key an operator may set, and where its value came from
//! * [`planted`]: the bugs that test builds can have on purpose
//! * [`record`]: what a record batch is
//! * [`partitioner`]: which partition a record goes to
//! * [`storage`]: the seam to disks
//! * [`log`]: one partition's durable log
//! * [`machine`], [`metadata`]: state as a fold over records; the cluster's topics and nodes
//! * [`coordinator`]: consumer groups and their offsets
//! * [`quorum`]: agreement on the metadata
//! * [`protocol`]: wire codecs
//! * [`telemetry`]: numbers and the log
//! * [`partition`], [`shard`]: the unit of ownership and its owners
//! * [`api`]: what requests mean
//! * [`broker`]: a node put together
//! * [`net`], [`http`]: the asynchronous edge
//! * [`client`]: the native protocol from the other side; knows nothing of the broker
//! * [`serve`]: a server process from configuration to exit
//!
//! # Absences that hold
//! Invariant: nothing below `net` reads a clock, opens a socket or draws a random number of its
//! own. Invariant: only `storage` touches the file system, and only `storage::file` uses `std::fs`.
//! Invariant: no acknowledgement leaves without the token that says its bytes are where they were
//! promised to be.
#![forbid(unsafe_code)]

pub mod api;
pub mod broker;
pub mod client;
pub mod config;
pub mod coordinator;
pub mod http;
pub mod limits;
pub mod log;
pub mod machine;
pub mod metadata;
pub mod net;
pub mod partition;
pub mod partitioner;
pub mod planted;
pub mod protocol;
pub mod quorum;
pub mod random;
pub mod record;
pub mod serve;
pub mod shard;
pub mod storage;
pub mod telemetry;
pub mod time;
pub mod types;
