//! What this node knows about a claim of its own, by its own clock.

use std::time::Duration;

use ringrift_core::limits;
use ringrift_core::time::Span;
use tokio::sync::watch;

use super::CLAIM_WAIT_MAX;
use crate::process;

/// A process is dead so long before its lease ends: a tenth of the lease, in which the cluster's time
/// may be ahead of ours, and at least this.
const DEAD_BEFORE_MIN: Duration = Duration::from_secs(2);

/// Everything that follows from the length of a lease, so that no two settings contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    lease: Duration,
}

impl Timing {
    pub(super) fn of(lease: Span) -> Self {
        let lease = lease.clamp(limits::LEASE_MIN, limits::LEASE_MAX);
        Self { lease: Duration::from_millis(lease.0) }
    }

    pub(super) fn lease(self) -> Duration {
        self.lease
    }

    /// A claim waits for work at most this long, because its lease is counted from before the wait.
    pub(super) fn claim_wait(self) -> Duration {
        (self.lease / 3).min(CLAIM_WAIT_MAX)
    }

    /// Two heartbeats may get lost before a claim is.
    pub(super) fn renew_period(self) -> Duration {
        self.lease / 3
    }

    /// After a failed heartbeat.
    pub(super) fn renew_retry(self) -> Duration {
        self.lease / 20
    }

    /// A request that is not answered by then is sent again.
    pub(super) fn request_wait(self) -> Duration {
        (self.lease / 3).min(CLAIM_WAIT_MAX)
    }

    /// A process is killed this long before its lease ends. A lease below 12 s has no room for the
    /// least that it should be, and gives a sixth.
    pub(super) fn dead_before(self) -> Duration {
        (self.lease / 10).max(DEAD_BEFORE_MIN).min(self.lease / 6)
    }

    /// A process is stopped this long before its lease ends, so that the kill too comes in time.
    pub(super) fn margin(self) -> Duration {
        self.dead_before().saturating_add(self.grace(Cause::LeaseEnds))
    }

    /// How long a process may take to end by itself.
    pub(super) fn grace(self, cause: Cause) -> Duration {
        match cause {
            Cause::LeaseEnds => (self.lease / 12).min(process::STOP_GRACE),
            // Another may have it already.
            Cause::Lost => (self.lease / 12).min(process::STOP_GRACE),
            Cause::Shutdown => process::STOP_GRACE,
        }
    }
}

/// Why an item must be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No heartbeat got through.
    LeaseEnds,
    /// The cluster says that the item is not ours, or not wanted, any more.
    Lost,
    /// The agent ends.
    Shutdown,
}

/// The worker's side: renews and stops.
#[derive(Debug)]
pub(super) struct Lease {
    token: String,
    since: Duration,
    until: watch::Sender<Duration>,
    stop: watch::Sender<Option<Cause>>,
}

/// The item's side: looks.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    token: String,
    until: watch::Receiver<Duration>,
    stop: watch::Receiver<Option<Cause>>,
}

impl Lease {
    /// A claim that was learnt of at `since` and surely holds to `until`.
    pub(super) fn new(token: String, since: Duration, until: Duration) -> (Self, Holding) {
        let (until, held_until) = watch::channel(until);
        let (stop, stopped) = watch::channel(None);
        let holding = Holding { token: token.clone(), until: held_until, stop: stopped };
        (Self { token, since, until, stop }, holding)
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a heartbeat that was sent then spoke of this claim.
    pub(super) fn was_held_at(&self, sent: Duration) -> bool {
        self.since <= sent
    }

    pub(super) fn renew(&mut self, until: Duration) {
        self.until.send_if_modified(|held_until| {
            let is_later = until > *held_until;
            *held_until = until.max(*held_until);
            is_later
        });
    }

    /// When the process must be stopped unless a heartbeat gets through; nothing once it was.
    pub(super) fn stop_at(&self, timing: Timing) -> Option<Duration> {
        let until = *self.until.borrow();
        self.stop.borrow().is_none().then(|| until.saturating_sub(timing.margin()))
    }

    /// The first cause counts.
    pub(super) fn stop(&mut self, cause: Cause) {
        self.stop.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert(cause);
            is_first
        });
    }
}

impl Holding {
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Until when the claim is surely ours; moves with every heartbeat.
    pub(super) fn until(&self) -> Duration {
        *self.until.borrow()
    }

    /// The same for a process, which is gone before.
    pub(super) fn deadline(&self, timing: Timing) -> process::Deadline {
        process::Deadline::new(self.until.clone(), timing.dead_before())
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        *self.stop.borrow()
    }

    /// Waits until the item must be given up.
    pub(super) async fn stopped(&self) -> Cause {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await.map(|cause| *cause) {
            Ok(Some(cause)) => cause,
            // The worker is gone and takes its tasks with it.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_lease_leaves_time_for_two_heartbeats_and_the_stop() {
        for lease in
            [Span(0), Span(1_000), Span(3_000), Span::seconds(30), Span::seconds(9_999_999)]
        {
            let timing = Timing::of(lease);
            assert!(timing.claim_wait() + timing.renew_period() + timing.margin() < timing.lease());
            assert!(2 * timing.renew_period() + timing.margin() < timing.lease());
            assert!(timing.grace(Cause::LeaseEnds) < timing.margin());
        }
        assert_eq!(Timing::of(Span(0)).lease(), SECOND, "no shorter than the shortest");
    }

    #[test]
    fn a_process_is_dead_a_tenth_of_its_lease_and_two_seconds_before_the_end() {
        for (lease, dead_before) in [(3_600, 360), (30, 3), (20, 2), (12, 2), (6, 1)] {
            let timing = Timing::of(Span::seconds(lease));
            assert_eq!(timing.dead_before(), dead_before * SECOND, "of {lease} s");
            assert_eq!(timing.margin() - timing.grace(Cause::LeaseEnds), timing.dead_before());
        }
    }

    #[test]
    fn a_lease_moves_only_forward_and_stops_once() {
        let timing = Timing::of(Span::seconds(6));
        let (mut lease, holding) = Lease::new("t".to_owned(), SECOND, 7 * SECOND);
        assert_eq!(lease.stop_at(timing), Some(7 * SECOND - timing.margin()));
        lease.renew(9 * SECOND);
        lease.renew(8 * SECOND);
        assert_eq!(holding.until(), 9 * SECOND);
        assert!(lease.was_held_at(SECOND) && !lease.was_held_at(SECOND / 2));
        lease.stop(Cause::Lost);
        lease.stop(Cause::Shutdown);
        assert_eq!((holding.cause(), lease.stop_at(timing)), (Some(Cause::Lost), None));
    }
}
