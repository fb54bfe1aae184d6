//! The time that elections go by. It stands still while this process does.
//!
//! A process that was stopped, or got no processor, heard nothing because it did not listen. By the
//! system's clock its leader was silent for all that time, and it would campaign before the heartbeat that
//! waits in its socket is read; and since all replicas of one machine stand still together, all of them
//! would agree. The core looks at the time several times in one heartbeat interval, so a longer gap between
//! two looks means that nobody looked: of such a gap, one interval counts.
//!
//! By this time openraft decides when to campaign, when a leader has lost its followers, and how long they
//! were silent, and it waits. No read goes by it, nor what others are told about the age of a replica.
//!
//! All cores of a process share it, and with it tokio's clock: one that a test moves must not be theirs.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, Instant as _};

use crate::consensus::runtime::chance_is_decided;

/// tokio's clock, as openraft sees it.
type Ticking = <TokioRuntime as AsyncRuntime>::Instant;

/// Of the process: it stands still as a whole.
static STANDSTILL: Mutex<Standstill> = Mutex::new(Standstill::NONE);

/// How much of the time that passed this process did not live through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standstill {
    /// What may pass between two looks; nothing is a standstill before it is known.
    gap_max: Option<Duration>,
    looked: Option<Ticking>,
    lost: Duration,
}

impl Standstill {
    const NONE: Self = Self { gap_max: None, looked: None, lost: Duration::ZERO };

    fn look(&mut self, now: Ticking) {
        let Some(gap_max) = self.gap_max else {
            return;
        };
        let gap =
            self.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        self.lost = self.lost.saturating_add(gap.saturating_sub(gap_max));
        self.looked = self.looked.max(Some(now));
    }
}

fn standstill() -> MutexGuard<'static, Standstill> {
    // Nothing panics while it is held.
    STANDSTILL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The core looks at the time at least once in `interval` from here on. With several cores in one process,
/// the slowest decides.
pub(in crate::consensus) fn is_looked_at_every(interval: Duration) {
    let mut standstill = standstill();
    standstill.gap_max = standstill.gap_max.max(Some(interval));
}

/// How long this process stood still since a core first ran in it, the time between two cores included.
pub(crate) fn lost() -> Duration {
    standstill().lost
}

/// A point in time, as openraft sees it: that of tokio's clock, without what was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::consensus) struct Instant(Ticking);

impl Instant {
    /// When that is by tokio's clock, if nothing stands still until then.
    pub(super) fn on_tokio(self) -> Ticking {
        if chance_is_decided() { self.0 } else { self.0 + lost() }
    }
}

impl openraft::Instant for Instant {
    fn now() -> Self {
        // A simulation decides what time it is, and when a replica stands still.
        if chance_is_decided() {
            return Self(Ticking::now());
        }
        let mut standstill = standstill();
        // One look for both: were the second one later, the next instant could be earlier than this one.
        let now = Ticking::now();
        standstill.look(now);
        Self(now - standstill.lost)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0 - time)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, time: Duration) {
        *self = *self - time;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn of_a_gap_between_two_looks_what_is_usual_counts() {
        let begin = Ticking::now();
        let mut standstill = Standstill { gap_max: Some(20 * MS), ..Standstill::NONE };
        let mut lost_after = |at: u32| {
            standstill.look(begin + at * MS);
            standstill.lost
        };
        assert_eq!(lost_after(0), Duration::ZERO);
        assert_eq!(lost_after(20), Duration::ZERO);
        assert_eq!(lost_after(1_020), 980 * MS);
        assert_eq!(lost_after(1_015), 980 * MS, "another thread that looked earlier adds nothing");
        assert_eq!(lost_after(1_040), 980 * MS);
        assert_eq!(lost_after(1_061), 981 * MS);
    }

    #[test]
    fn nothing_is_a_standstill_before_a_core_looks_at_the_time() {
        let begin = Ticking::now();
        let mut standstill = Standstill::NONE;
        standstill.look(begin);
        standstill.look(begin + 1_000 * MS);
        assert_eq!(standstill, Standstill::NONE);
        standstill.gap_max = Some(20 * MS);
        standstill.look(begin + 2_000 * MS);
        assert_eq!(standstill.lost, Duration::ZERO);
    }
}
