//! No object is looked at twice within a second, however fast it or its run changes. A look writes at
//! most one status, so this bounds the writes to the API server as well.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The shortest time between two looks at one object.
pub(super) const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Objects whose last look is remembered. Beyond it all are forgotten, which costs one look each.
const OBJECTS_MAX: usize = 20_000;

/// When each object was looked at last.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<HashMap<String, Duration>>);

impl Pace {
    /// Nothing when the object may be looked at now, which is noted; else how long it has to wait.
    pub(super) fn take(&self, uid: &str, now: Duration) -> Option<Duration> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = looks.get(uid) {
            let wait = PERIOD_MIN.saturating_sub(now.saturating_sub(*last));
            if !wait.is_zero() {
                return Some(wait);
            }
        }
        if looks.len() >= OBJECTS_MAX {
            looks.clear();
        }
        looks.insert(uid.to_owned(), now);
        None
    }

    /// The object is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_looked_at_once_a_second() {
        let pace = Pace::default();
        let at = Duration::from_millis;
        assert_eq!(pace.take("a", at(0)), None);
        assert_eq!(pace.take("a", at(300)), Some(at(700)));
        assert_eq!(pace.take("b", at(300)), None, "each has its own pace");
        assert_eq!(pace.take("a", at(1_000)), None);
        pace.forget("a");
        assert_eq!(pace.take("a", at(1_001)), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let pace = Pace::default();
        for n in 0..=OBJECTS_MAX {
            assert_eq!(pace.take(&n.to_string(), Duration::ZERO), None);
        }
        assert!(pace.0.lock().unwrap().len() <= OBJECTS_MAX);
    }
}
