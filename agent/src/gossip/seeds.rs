//! Whom to ask to be let in, and when to ask again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::SEEDS_MAX;

/// First pause between two attempts while nobody has answered.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause while nobody has answered: a cluster that starts late must not wait for long.
const PAUSE_ALONE_MAX: Duration = Duration::from_secs(5);
/// Pause once others are known: only a cluster that fell apart needs the seeds again.
const PAUSE_JOINED: Duration = Duration::from_secs(30);
/// Addresses taken from one name.
const ADDRESSES_OF_NAME_MAX: usize = 8;

/// The seeds and the time of the next attempt.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    names: BTreeSet<String>,
    next_at: Option<Duration>,
    failures: u32,
}

impl Seeds {
    /// Adds seeds; the next attempt is at once.
    pub(super) fn add(&mut self, names: Vec<String>, now: Duration) {
        for name in names {
            if self.names.len() >= SEEDS_MAX && !self.names.contains(&name) {
                tracing::warn!(
                    seed = name,
                    limit = SEEDS_MAX,
                    "too many seeds, this one is left out"
                );
                continue;
            }
            self.names.insert(name);
        }
        if !self.names.is_empty() {
            self.failures = 0;
            self.next_at = Some(now);
        }
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.next_at
    }

    /// The names to ask when an attempt is due, and sets the time of the next.
    pub(super) fn take_due(&mut self, now: Duration, alone: bool) -> Option<Vec<String>> {
        if self.next_at.is_none_or(|at| at > now) {
            return None;
        }
        let pause = if alone {
            self.failures = self.failures.saturating_add(1);
            let doubled = PAUSE_FIRST.saturating_mul(1 << (self.failures - 1).min(8));
            doubled.min(PAUSE_ALONE_MAX)
        } else {
            self.failures = 0;
            PAUSE_JOINED
        };
        self.next_at = Some(now.saturating_add(pause));
        Some(self.names.iter().cloned().collect())
    }

    /// Attempts since somebody was known.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Looks the names up. Those that have no address are named in the log and left out.
pub(super) async fn resolve(names: Vec<String>) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for name in names {
        match tokio::net::lookup_host(name.as_str()).await {
            Ok(addresses) => found.extend(addresses.take(ADDRESSES_OF_NAME_MAX)),
            Err(error) => {
                tracing::warn!(seed = name, %error, "cannot resolve a seed, will try again")
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_slow_down_while_alone_and_never_end() {
        let mut seeds = Seeds::default();
        assert_eq!(seeds.take_due(Duration::ZERO, true), None);
        seeds.add(vec!["a:1".to_owned()], Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let now = seeds.next_at().unwrap();
            assert_eq!(seeds.take_due(now, true), Some(vec!["a:1".to_owned()]));
            assert_eq!(seeds.take_due(now, true), None, "once for each turn");
            pauses.push((seeds.next_at().unwrap() - now).as_millis());
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        let now = seeds.next_at().unwrap();
        assert!(seeds.take_due(now, false).is_some());
        assert_eq!(seeds.next_at().unwrap() - now, PAUSE_JOINED);
    }

    #[test]
    fn seeds_are_bounded() {
        let mut seeds = Seeds::default();
        seeds.add((0..200).map(|n| format!("h{n}:1")).collect(), Duration::ZERO);
        assert_eq!(seeds.take_due(Duration::ZERO, true).unwrap().len(), SEEDS_MAX);
    }
}
