//! The work queue: items, claims under fenced leases, retries, locks.
//!
//! ```text
//!              enqueue                         claim                    complete
//!  (delay) ┌── Delayed ──(time)──► Ready ───────────────► Claimed ───────────────► Completed
//!          └────────▲───────────────▲                       │  start: the attempt counts
//!                   │  fail: backoff │  lease ended         │
//!                   └───────────────┴────────────────────────┤
//!                                                            └─ attempts used up, or no retry ──► Dead
//!  any unfinished state ── cancel, or the end of its run ──► Cancelled
//! ```

pub mod command;
pub mod item;
pub mod lock;
