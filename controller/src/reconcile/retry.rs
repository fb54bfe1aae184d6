//! How long a failed look waits: longer each time, by object, forgotten at the first success. The
//! controller's own error policy knows neither the number of attempts nor of successes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause: when the agents or the API server come back, everything goes on within it.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Objects whose failures are remembered. Beyond it all are forgotten, which shortens their pauses.
const OBJECTS_MAX: usize = 20_000;

/// The failures of one object in a row.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    since: Duration,
}

/// Which objects fail, how often in a row, and since when.
#[derive(Debug, Default)]
pub(crate) struct Retries(Mutex<HashMap<String, Failures>>);

impl Retries {
    /// Notes one more failure, and says how long to wait.
    pub(super) fn next(&self, uid: &str, now: Duration) -> Duration {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if objects.len() >= OBJECTS_MAX && !objects.contains_key(uid) {
            objects.clear();
        }
        let failures = objects.entry(uid.to_owned()).or_insert(Failures { count: 0, since: now });
        failures.count = failures.count.saturating_add(1);
        pause(uid, failures.count)
    }

    /// For how long the object has failed without a success between.
    pub(super) fn failing_for(&self, uid: &str, now: Duration) -> Duration {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(uid).map_or(Duration::ZERO, |failures| now.saturating_sub(failures.since))
    }

    /// The object succeeded, or is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Doubles from [`PAUSE_MIN`] to [`PAUSE_MAX`]. Up to half of it is taken away by a number that
/// follows from the object and the attempt, so that objects that fail together do not return together.
fn pause(uid: &str, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let mut hasher = DefaultHasher::new();
    (uid, attempt).hash(&mut hasher);
    let share = u32::from(hasher.finish().to_le_bytes()[0]);
    full - full * share / (2 * u32::from(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_a_success_forgets_them() {
        let retries = Retries::default();
        let now = Duration::from_secs(100);
        let pauses: Vec<Duration> = (0..12).map(|_| retries.next("a", now)).collect();
        assert!(pauses[0] <= PAUSE_MIN && pauses[0] >= PAUSE_MIN / 2, "{pauses:?}");
        assert!(pauses[11] <= PAUSE_MAX && pauses[11] >= PAUSE_MAX / 2, "{pauses:?}");
        assert!(pauses[4] > pauses[0], "{pauses:?}");
        assert_eq!(retries.failing_for("a", now + PAUSE_MAX), PAUSE_MAX);
        retries.forget("a");
        assert_eq!(retries.failing_for("a", now + PAUSE_MAX), Duration::ZERO);
        assert!(retries.next("a", now) <= PAUSE_MIN);
    }

    #[test]
    fn objects_that_fail_together_do_not_return_together() {
        let mut pauses: Vec<Duration> =
            (0..100).map(|n| pause(&format!("object-{n}"), 8)).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 50, "{} different pauses", pauses.len());
    }
}
