//! Until when a process tree may live.

use std::time::Duration;

use tokio::sync::watch;

/// The moment at which a leash kills its tree, whether or not the agent still answers. It moves with
/// what it is made from: a lease that is renewed.
#[derive(Debug, Clone)]
pub struct Deadline {
    until: watch::Receiver<Duration>,
    margin: Duration,
}

impl Deadline {
    /// `margin` before what `until` holds, which is time [since boot](crate::clock::since_boot).
    #[must_use]
    pub fn new(until: watch::Receiver<Duration>, margin: Duration) -> Self {
        Self { until, margin }
    }

    /// The moment, as far as it is known now.
    pub(super) fn at(&mut self) -> Duration {
        self.until.borrow_and_update().saturating_sub(self.margin)
    }

    /// Waits until the moment has changed; for ever when nobody is left to change it.
    pub(super) async fn moved(&mut self) -> Duration {
        match self.until.changed().await {
            Ok(()) => self.at(),
            Err(_nobody) => std::future::pending().await,
        }
    }
}
