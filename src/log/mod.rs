//! One partition's durable log: the files that hold it and what is known about them.

pub mod checkpoint;
pub mod clean;
pub mod epochs;
pub mod frontier;
pub mod producers;
pub mod recovery;
