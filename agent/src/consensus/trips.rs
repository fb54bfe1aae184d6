//! Whether the heartbeats come back in time for the timing that was chosen.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Heartbeats that are judged together: at 20 ms and two followers, ten seconds.
const WINDOW: usize = 1_000;
/// Slow ones among them that are let pass: one in a thousand.
const SLOW_MAX: usize = 1;

/// The round trips of a leader's heartbeats, to all followers.
#[derive(Debug)]
struct Trips {
    bound: Duration,
    slow: VecDeque<bool>,
}

impl Trips {
    fn new(bound: Duration) -> Self {
        Self { bound, slow: VecDeque::with_capacity(WINDOW) }
    }

    /// Takes one more. Answers how many were slow when a full window had too many, and begins anew.
    fn add(&mut self, trip: Duration) -> Option<usize> {
        if self.slow.len() == WINDOW {
            self.slow.pop_front();
        }
        self.slow.push_back(trip > self.bound);
        let slow = self.slow.iter().filter(|slow| **slow).count();
        if self.slow.len() < WINDOW || slow <= SLOW_MAX {
            return None;
        }
        self.slow.clear();
        Some(slow)
    }
}

/// Times heartbeats and warns when the network or the machines are too slow for the profile.
pub(super) struct Pacer {
    clock: Clock,
    bound: Duration,
    trips: Mutex<Trips>,
}

impl Pacer {
    pub(super) fn new(clock: Clock, bound: Duration) -> Self {
        Self { clock, bound, trips: Mutex::new(Trips::new(bound)) }
    }

    /// A heartbeat begins.
    pub(super) fn begin(&self) -> Duration {
        self.clock.monotonic()
    }

    /// It came back, or was given up.
    pub(super) fn end(&self, begin: Duration) {
        let trip = self.clock.monotonic().saturating_sub(begin);
        let verdict = self.trips.lock().unwrap_or_else(PoisonError::into_inner).add(trip);
        if let Some(slow) = verdict {
            tracing::warn!(
                slow,
                of = WINDOW,
                bound_ms = self.bound.as_millis(),
                "heartbeats are too slow for this consensus profile; with fast, take safe"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(11);

    #[test]
    fn one_slow_heartbeat_in_a_thousand_is_let_pass() {
        let mut trips = Trips::new(BOUND);
        for number in 0..10_000 {
            let trip = if number % WINDOW == 7 { SLOW } else { BOUND };
            assert_eq!(trips.add(trip), None, "heartbeat {number}");
        }
    }

    #[test]
    fn two_are_said_once_a_window() {
        let mut trips = Trips::new(BOUND);
        let verdicts: Vec<usize> = (0..3 * WINDOW)
            .filter_map(|number| trips.add(if number % WINDOW < 2 { SLOW } else { BOUND }))
            .collect();
        assert_eq!(verdicts, [2, 2, 2]);
    }

    #[test]
    fn nothing_is_said_of_a_few() {
        let mut trips = Trips::new(BOUND);
        assert!((0..WINDOW - 1).all(|_| trips.add(SLOW).is_none()));
        assert_eq!(trips.add(SLOW), Some(WINDOW));
    }
}
