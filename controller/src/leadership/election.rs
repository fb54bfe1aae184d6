//! What to do about a Lease, as a pure function of what was seen of it and when.
//!
//! Clocks of different machines are never compared. A Lease has run out when *this* observer has seen
//! it unchanged for its whole duration, by its own monotonic clock. A holder gives up well before.

use std::time::Duration;

/// For how long a holder's word counts after it was last seen to change.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long stops to write.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks at the Lease.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Longest time of one call.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// A call that began just before the deadline ends before another replica may take over.
const _: () = assert!(RENEW_DEADLINE.as_secs() + CALL_TIMEOUT.as_secs() < LEASE_DURATION.as_secs());

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Changes with every write.
    pub(super) version: String,
    /// Who holds it; nobody after an orderly end.
    pub(super) holder: Option<String>,
    /// For how long the holder's word counts.
    pub(super) duration: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// There is no Lease: create one that we hold.
    Create,
    /// Nobody holds it any more: take it.
    Take,
    /// We hold it: renew it.
    Renew,
    /// Another replica holds it.
    Wait,
}

/// One replica's view of the election.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    seen: Option<(Record, Duration)>,
    renewed_at: Option<Duration>,
}

impl Election {
    pub(super) fn new(identity: String) -> Self {
        Self { identity, seen: None, renewed_at: None }
    }

    /// Notes what the Lease says at `now`, and decides.
    pub(super) fn decide(&mut self, now: Duration, found: Option<Record>) -> Move {
        let Some(record) = found else {
            self.seen = None;
            return Move::Create;
        };
        let unchanged_since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            Some(_) | None => now,
        };
        let ran_out = now.saturating_sub(unchanged_since) >= record.duration;
        let next = match &record.holder {
            Some(holder) if *holder == self.identity => Move::Renew,
            Some(_) if !ran_out => Move::Wait,
            Some(_) | None => Move::Take,
        };
        self.seen = Some((record, unchanged_since));
        next
    }

    /// A write that was begun at `began` has succeeded.
    pub(super) fn held(&mut self, began: Duration) {
        self.renewed_at = Some(began);
    }

    /// Another replica holds the Lease, or took it while we wrote.
    pub(super) fn lost(&mut self) {
        self.renewed_at = None;
    }

    /// Whether this replica may write at `now`.
    pub(super) fn leads(&self, now: Duration) -> bool {
        self.renewed_at.is_some_and(|at| now.saturating_sub(at) < RENEW_DEADLINE)
    }

    /// For how long this replica may still write when nothing renews its Lease.
    pub(super) fn leads_for(&self, now: Duration) -> Option<Duration> {
        let left = RENEW_DEADLINE.checked_sub(now.saturating_sub(self.renewed_at?))?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, holder: Option<&str>) -> Record {
        Record {
            version: version.to_owned(),
            holder: holder.map(str::to_owned),
            duration: LEASE_DURATION,
        }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_creates_and_then_renews() {
        let mut election = Election::new("a".into());
        assert_eq!(election.decide(at(0), None), Move::Create);
        assert!(!election.leads(at(0)), "not before the write succeeded");
        election.held(at(0));
        assert!(election.leads(at(9)));
        assert_eq!(election.decide(at(2), Some(record("1", Some("a")))), Move::Renew);
    }

    #[test]
    fn a_holder_that_renews_is_left_alone_for_ever() {
        let mut election = Election::new("b".into());
        for turn in 0..100 {
            let renewed = record(&turn.to_string(), Some("a"));
            assert_eq!(election.decide(at(turn * 14), Some(renewed)), Move::Wait, "turn {turn}");
        }
    }

    #[test]
    fn a_silent_holder_is_replaced_by_the_observers_own_clock() {
        let mut election = Election::new("b".into());
        let silent = record("7", Some("a"));
        // The Lease may be old already: only what we saw ourselves counts.
        assert_eq!(election.decide(at(1_000), Some(silent.clone())), Move::Wait);
        assert_eq!(election.decide(at(1_014), Some(silent.clone())), Move::Wait);
        assert_eq!(election.decide(at(1_015), Some(silent)), Move::Take);
    }

    #[test]
    fn an_orderly_end_is_taken_over_at_once() {
        let mut election = Election::new("b".into());
        assert_eq!(election.decide(at(0), Some(record("1", Some("a")))), Move::Wait);
        assert_eq!(election.decide(at(2), Some(record("2", None))), Move::Take);
    }

    #[test]
    fn a_holder_without_answers_stops_before_another_may_start() {
        let mut holder = Election::new("a".into());
        let mut observer = Election::new("b".into());
        holder.held(at(0));
        assert_eq!(observer.decide(at(0), Some(record("1", Some("a")))), Move::Wait);
        let may_take = (0..60)
            .find(|now| observer.decide(at(*now), Some(record("1", Some("a")))) == Move::Take)
            .expect("the observer takes over");
        let stops = (0..60).find(|now| !holder.leads(at(*now))).expect("the holder stops");
        assert!(stops + CALL_TIMEOUT.as_secs() < may_take, "{stops} {may_take}");
        assert_eq!(holder.leads_for(at(4)), Some(at(6)));
        assert_eq!(holder.leads_for(at(10)), None);
    }
}
