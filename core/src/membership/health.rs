//! Local health, after Lifeguard: who misses replies asks first whether the fault is its own.

use core::time::Duration;

/// The most that a member may doubt itself: nine times slower timers. Beyond that it would be no
/// detector any more.
const DOUBT_MAX: u32 = 8;

/// A counter: up on every sign that this member is slow, down on every probe that went well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    doubt: u32,
}

impl Health {
    pub(super) fn doubt(self) -> u32 {
        self.doubt
    }

    pub(super) fn worsen(&mut self) {
        self.doubt = self.doubt.saturating_add(1).min(DOUBT_MAX);
    }

    pub(super) fn improve(&mut self) {
        self.doubt = self.doubt.saturating_sub(1);
    }

    pub(super) fn stretch(self, wait: Duration) -> Duration {
        wait.saturating_mul(self.doubt.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_stretches_and_stays_in_bounds() {
        let mut health = Health::default();
        let second = Duration::from_secs(1);
        health.improve();
        assert_eq!(health.stretch(second), second);
        for _ in 0..20 {
            health.worsen();
        }
        assert_eq!((health.doubt(), health.stretch(second)), (8, Duration::from_secs(9)));
        health.improve();
        assert_eq!(health.stretch(second), Duration::from_secs(8));
    }
}
