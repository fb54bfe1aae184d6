//! The only reader of clocks in the bench.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the first call; never goes back.
#[expect(clippy::disallowed_methods, reason = "this file is the door through which time enters")]
pub(crate) fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Milliseconds for people, with three digits behind the point.
pub(crate) fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
