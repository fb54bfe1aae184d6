//! The work queue: items, claims under fenced leases, retries, tenants' queues, sessions, locks.
//!
//! ```text
//!              enqueue                         claim                    complete
//!  (after) ┌── Blocked ──(others end)─┐
//!  (delay) ├── Delayed ──(time)──► Ready ───────────────► Claimed ───────────────► Completed
//!          └────────▲───────────────▲                       │  start: the attempt counts
//!                   │  fail: backoff │  lease ended         │
//!                   └───────────────┴────────────────────────┤
//!                         redrive ◄── Dead ◄────────────────┴─ attempts used up, or no retry
//!  any unfinished state ── a deadline ──► Dead; ── cancel, or the end of its run ──► Cancelled
//! ```

pub mod command;
pub mod item;
pub mod lock;
pub mod resources;
pub mod session;
pub mod tenant;
pub mod waits;
