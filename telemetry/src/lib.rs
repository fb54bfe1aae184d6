//! Logging and metrics set-up shared by RingRift's binaries.

pub mod logging;
pub mod metrics;
