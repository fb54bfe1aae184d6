//! The runner's one door to the clock: deadlines and the time that an engine took.

use std::time::Instant;

/// The present moment of the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the runner's only reader of the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
