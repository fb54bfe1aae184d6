//! The only reader of clocks in the agent. Everything else takes the time as an argument or asks the
//! [`Clock`] that it was given.

use std::time::{Duration, Instant, SystemTime};

use ringrift_core::time::Moment;

/// A clock that grows from the start of the agent, and the wall clock beside it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door through which time enters"
    )]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the agent started; never goes back.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// Wall-clock time; may jump. Only a leader's stamp and people's displays use it.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door through which time enters"
    )]
    pub fn wall(&self) -> Moment {
        let since_epoch =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
