//! A node put together: data directory, metadata quorum, shards and the partitions this node leads.
//! The same node serves sockets (`rivvend serve`) and works inside a command (`--data-dir`). Knows
//! nothing of protocols' bytes.

pub mod clock;
mod compaction;
mod directory;
mod groups;
mod housekeeping;
mod node;
mod partitions;
mod space;
mod stopping;

pub use compaction::CompactionPolicy;
pub use directory::{DataDirectory, DirectoryError, Mode};
pub use groups::{AboveWatermark, CommitOutcome, Groups};
pub use node::{Node, NodeOptions, StartError, TopicPolicy, View};
pub use space::low_water_bytes;
pub use stopping::Awaited;
