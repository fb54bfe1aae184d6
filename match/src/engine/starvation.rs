//! How long a process stood ready and did not get a processor.
//!
//! A late reply loses the game, and a busy machine makes replies late. The kernel knows which of
//! the two it was: it counts, for each thread, the time spent waiting for a processor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Threads that are looked at: the largest engines have one a processor.
const THREADS_MAX: usize = 1_024;

/// Time spent waiting for a processor so far, by thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits(BTreeMap<String, Duration>);

impl Waits {
    /// Reads the present state of a process. A kernel that does not count gives no waits, and then
    /// nothing excuses a late reply.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self::read(Path::new(&format!("/proc/{process}/task"))).unwrap_or_default()
    }

    fn read(threads: &Path) -> Option<Self> {
        let mut waits = BTreeMap::new();
        for thread in fs::read_dir(threads).ok()?.take(THREADS_MAX) {
            // A thread may end at any moment.
            let Ok(thread) = thread else { continue };
            let counters = fs::read_to_string(thread.path().join("schedstat"));
            if let Some(wait) = counters.ok().as_deref().and_then(wait) {
                waits.insert(thread.file_name().to_string_lossy().into_owned(), wait);
            }
        }
        Some(Self(waits))
    }

    /// The longest wait of a thread since an earlier state. Threads wait at the same time, so their
    /// waits do not add up.
    #[must_use]
    pub fn since(&self, before: &Self) -> Duration {
        let grown = self.0.iter().map(|(thread, wait)| {
            wait.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        grown.max().unwrap_or_default()
    }
}

/// The second number: nanoseconds ready to run, but not running.
fn wait(counters: &str) -> Option<Duration> {
    counters.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_new_wait_counts() {
        assert_eq!(wait("4063714 1500000 3\n"), Some(Duration::from_micros(1_500)));
        assert_eq!(wait("4063714"), None);
        let waits = |entries: &[(&str, u64)]| {
            let entry =
                |(thread, ms): &(&str, u64)| ((*thread).to_owned(), Duration::from_millis(*ms));
            Waits(entries.iter().map(entry).collect())
        };
        let before = waits(&[("1", 100), ("2", 5)]);
        let after = waits(&[("1", 110), ("2", 45), ("3", 20)]);
        assert_eq!(after.since(&before), Duration::from_millis(40));
        assert_eq!(waits(&[]).since(&before), Duration::ZERO);
    }

    #[test]
    fn a_process_that_is_gone_has_no_waits() {
        assert_eq!(Waits::of(0), Waits::default());
        assert!(!Waits::of(std::process::id()).0.is_empty());
    }
}
