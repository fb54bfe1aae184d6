//! Agents' consensus on loopback: real sockets, real logs on disk, several agents in one process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

#[path = "consensus/backup.rs"]
mod backup;
#[path = "consensus/compaction.rs"]
mod compaction;
#[path = "consensus/duties.rs"]
mod duties;
#[path = "consensus/failover.rs"]
mod failover;
#[path = "consensus/harness.rs"]
mod harness;
#[path = "consensus/members.rs"]
mod members;
#[path = "consensus/replacement.rs"]
mod replacement;
#[path = "consensus/replication.rs"]
mod replication;
#[path = "consensus/transfer.rs"]
mod transfer;
