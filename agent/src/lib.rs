//! RingRift's node agent: thin shells (HTTP, gossip, consensus, disk, processes) around the core.
//!
//! A shell carries bytes, time and effects between the world and `ringrift-core`. It does not decide.

pub mod clock;
pub mod consensus;
pub mod gossip;
pub mod http;
pub mod leader;
pub mod process;
pub mod worker;
