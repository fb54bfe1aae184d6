//! The only reader of clocks in the controller. Everything else takes the time as an argument or
//! asks the [`Clock`] that it was given.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

/// A clock that grows from the start of the controller, and the wall clock beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door through which time enters"
    )]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the controller started; never goes back. Everything that is decided rests on it.
    pub(crate) fn monotonic(self) -> Duration {
        self.start.elapsed()
    }

    /// Wall-clock time, for people: it is written into objects and never compared.
    #[expect(clippy::unused_self, reason = "a method, so that time has one door")]
    pub(crate) fn wall(self) -> Timestamp {
        Timestamp::now()
    }
}
