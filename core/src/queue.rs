//! The work queue: items, claims under fenced leases, retries, locks.

pub mod command;
pub mod item;
