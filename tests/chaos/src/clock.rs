//! The only reader of clocks here.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the first call; never goes back.
#[expect(clippy::disallowed_methods, reason = "this file is the door through which time enters")]
pub(crate) fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// [`now`] in microseconds.
pub(crate) fn micros() -> u64 {
    u64::try_from(now().as_micros()).unwrap_or(u64::MAX)
}
