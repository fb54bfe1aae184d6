//! A disk that hangs, seen from outside of it: a leader whose own flushes do not come back must not
//! go on leading.
//!
//! A leader commits through its followers' disks, so a hung disk of its own shows nowhere: what it
//! could not write piles up in memory, and a restart would find it gone. The oldest write that is not
//! durable yet tells.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::consensus::{Consensus, Inner, propose};

/// A flush takes milliseconds, and under the heaviest load tenths of a second. A disk that needs this
/// long does not work.
pub(super) const STALL_MIN: Duration = Duration::from_secs(2);
/// How often the age of the oldest write is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Writes that were handed to the disk and are not durable yet. Their bytes are bounded by the log's
/// queue, which makes further ones wait.
#[derive(Debug, Default)]
struct Unflushed {
    last: u64,
    /// Number and time of each, the oldest first.
    waiting: VecDeque<(u64, Duration)>,
}

impl Unflushed {
    fn begin(&mut self, at: Duration) -> u64 {
        self.last = self.last.saturating_add(1);
        self.waiting.push_back((self.last, at));
        self.last
    }

    /// Writes reach the disk in order: what came before this one is durable too.
    fn end(&mut self, number: u64) {
        while self.waiting.front().is_some_and(|(waiting, _)| *waiting <= number) {
            self.waiting.pop_front();
        }
    }

    fn oldest(&self, now: Duration) -> Duration {
        self.waiting.front().map_or(Duration::ZERO, |(_, at)| now.saturating_sub(*at))
    }
}

/// Keeps the times of one log's writes.
#[derive(Debug, Clone)]
pub(super) struct Flushes {
    clock: Clock,
    unflushed: Arc<Mutex<Unflushed>>,
}

impl Flushes {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, unflushed: Arc::default() }
    }

    // Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Unflushed> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write begins; it ends by calling what this answers.
    pub(super) fn begin(&self) -> impl FnOnce() + Send + 'static {
        let number = self.lock().begin(self.clock.monotonic());
        let flushes = self.clone();
        move || flushes.lock().end(number)
    }

    /// How long the disk has not answered, when that is too long.
    pub(super) fn stalled(&self) -> Option<Duration> {
        let age = self.lock().oldest(self.clock.monotonic());
        (age >= STALL_MIN).then_some(age)
    }
}

/// What is to be done about the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Nothing,
    /// Leadership must go elsewhere.
    HandOver,
    /// The disk works again, or another leads: heartbeats may go out again.
    Resume,
}

/// What the watchdog has done so far.
#[derive(Debug, Default)]
struct Watchdog {
    /// The term whose leadership was given up.
    given_up: Option<u64>,
}

impl Watchdog {
    /// Takes whether the disk stalls, and in which term this agent leads.
    fn look(&mut self, stalled: bool, leads: Option<u64>) -> Act {
        match (stalled, leads) {
            (true, Some(term)) if self.given_up != Some(term) => {
                self.given_up = Some(term);
                Act::HandOver
            }
            (true, Some(_)) => Act::Nothing,
            (false, _) | (true, None) if self.given_up.take().is_some() => Act::Resume,
            (false, _) | (true, None) => Act::Nothing,
        }
    }
}

impl Consensus {
    /// How long this agent's disk has not answered, when that is too long to be well.
    #[must_use]
    pub fn disk_stalled(&self) -> Option<Duration> {
        self.inner.flushes.stalled()
    }
}

/// Looks after the disk until consensus is gone.
pub(super) async fn watch(inner: Weak<Inner>) {
    let mut watchdog = Watchdog::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let consensus = Consensus { inner };
        let stalled = consensus.disk_stalled();
        let leads = propose::leads(&consensus.inner.raft).map(|leader| leader.term);
        match watchdog.look(stalled.is_some(), leads) {
            Act::Nothing => {}
            Act::HandOver => {
                let ms = stalled.unwrap_or_default().as_millis();
                tracing::error!(ms, "the disk does not answer, giving leadership up");
                if !consensus.hand_over().await {
                    // Nobody took it: without heartbeats the voters elect when they can.
                    consensus.inner.raft.runtime_config().heartbeat(false);
                }
            }
            Act::Resume => {
                tracing::info!("heartbeats may go out again");
                consensus.inner.raft.runtime_config().heartbeat(true);
            }
        }
    }
}

#[cfg(test)]
mod tests;
