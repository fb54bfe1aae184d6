//! RingRift's node agent: thin shells (HTTP, gossip, consensus, disk, processes) around the core.
//!
//! A shell carries bytes, time and effects between the world and `ringrift-core`. It does not decide.

pub mod args;
pub mod capacity;
mod claims;
pub mod clock;
pub mod config;
pub mod consensus;
pub mod data_dir;
pub mod gossip;
mod http;
pub mod join;
pub mod leader;
mod metrics;
pub mod process;
pub mod restore;
pub mod run;
mod stream;
pub mod worker;
