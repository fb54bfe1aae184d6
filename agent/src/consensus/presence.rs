//! Time without the times when nobody led.
//!
//! Nobody can renew a lease while there is no leader, so that time must not count against anyone:
//! replicated time stands still from the last word of the old leader to the first moment of the new
//! one. Nothing is added to any lease for it, and no lease is looked at. Steering makes up for it
//! afterwards, slowly.

use std::time::Duration;

use crate::consensus::vocabulary::LeaderId;

/// What one agent knows of the presence of leaders. All times are of its monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Presence {
    /// Who was heard last; nobody since the start.
    leader: Option<LeaderId>,
    /// When that one was heard first.
    since: Duration,
    heard_at: Duration,
    /// Time without a leader, up to `heard_at`.
    absent: Duration,
}

impl Presence {
    /// Nobody was heard before `start`.
    pub(super) fn new(start: Duration) -> Self {
        Self { leader: None, since: start, heard_at: start, absent: start }
    }

    /// A leader was heard at `at`; a leader hears itself. What passed before another leader's first
    /// word is counted as absence, silence of the same leader is not: it led on, out of reach.
    pub(super) fn hear(&mut self, leader: LeaderId, at: Duration) {
        match self.leader {
            // A word that was long on its way, or of a leader that does not know of its end yet.
            Some(known) if leader < known => return,
            Some(known) if leader == known => {}
            Some(_) | None => {
                self.absent = self.absent.saturating_add(at.saturating_sub(self.heard_at));
                self.since = at;
            }
        }
        self.leader = Some(leader);
        self.heard_at = self.heard_at.max(at);
    }

    /// Since when the leader was heard that was heard last, and when that was; the start when nobody was.
    pub(super) fn contact(&self) -> (Duration, Duration) {
        (self.since, self.heard_at)
    }

    /// How long a leader was there, up to the last word of one. Never goes back.
    pub(super) fn running(&self) -> Duration {
        self.heard_at.saturating_sub(self.absent)
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId as _;
    use ringrift_core::time::Moment;

    use super::*;
    use crate::consensus::stamp::{Anchor, Stamper};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn leader(term: u64) -> LeaderId {
        LeaderId::new(term, 1)
    }

    /// Heard leader 1 from 1 s to 5 s, twice a second.
    fn follower() -> Presence {
        let mut presence = Presence::new(ms(1_000));
        for beat in 2..=10 {
            presence.hear(leader(1), ms(beat * 500));
        }
        presence
    }

    #[test]
    fn time_runs_by_the_heartbeats_of_a_leader_and_stands_without() {
        let presence = follower();
        // From the first heartbeat on.
        assert_eq!(presence.running(), ms(4_000));
    }

    #[test]
    fn the_gap_between_two_leaders_does_not_pass() {
        let mut presence = follower();
        presence.hear(leader(2), ms(65_000));
        assert_eq!(presence.running(), ms(4_000), "a minute without a leader");
        presence.hear(leader(2), ms(65_400));
        assert_eq!(presence.running(), ms(4_400));
        presence.hear(leader(3), ms(70_000));
        presence.hear(leader(3), ms(70_001));
        assert_eq!(presence.running(), ms(4_401), "gaps add up");
    }

    #[test]
    fn the_silence_of_the_same_leader_passes() {
        let mut presence = follower();
        presence.hear(leader(1), ms(65_000));
        assert_eq!(presence.running(), ms(64_000));
    }

    #[test]
    fn a_deposed_leader_is_not_listened_to() {
        let mut presence = follower();
        presence.hear(leader(2), ms(6_000));
        presence.hear(leader(1), ms(9_000));
        assert_eq!(presence.running(), ms(4_000));
    }

    #[test]
    fn words_out_of_order_do_not_turn_time_back() {
        let mut presence = follower();
        presence.hear(leader(1), ms(4_700));
        assert_eq!(presence.running(), ms(4_000));
    }

    /// What a follower that becomes leader at `elected` stamps then, and each second after. The last
    /// batch was stamped and applied at 5 s, when the wall clock agreed with it.
    fn stamps(mut presence: Presence, elected: u64, seconds: u64) -> Vec<u64> {
        let wall = |at: u64| Moment(1_000_000 + at - 5_000);
        let applied = Anchor { moment: wall(5_000), at: presence.running() };
        let mut stamper = Stamper::default();
        // Asked while nobody leads, time stands.
        let before = stamper.stamp(applied, presence.running(), wall(elected));
        assert_eq!(before, wall(5_000));
        let mut stamp = |at: u64| {
            presence.hear(leader(2), ms(at));
            stamper.stamp(applied, presence.running(), wall(at)).0
        };
        (0..=seconds).map(|second| stamp(elected + 1_000 * second)).collect()
    }

    #[test]
    fn a_new_leader_goes_on_where_the_old_one_fell_silent_and_catches_up_by_a_tenth() {
        let stamps = stamps(follower(), 7_000, 25);
        assert_eq!(stamps[0], 1_000_000, "two seconds without a leader");
        assert_eq!(stamps[1], 1_001_100);
        assert_eq!(stamps[10], 1_011_000);
        assert_eq!(stamps[20], 1_022_000, "the wall clock is reached");
        assert_eq!(stamps[25], 1_027_000, "and not passed");
    }

    #[test]
    fn an_idle_leader_lets_time_pass_and_its_followers_know() {
        // Batches ended at 2 s, heartbeats went on to 5 s.
        let mut presence = follower();
        let mut stamper = Stamper::default();
        let applied = Anchor { moment: Moment(1_000_000), at: ms(1_000) };
        presence.hear(leader(2), ms(5_900));
        let stamp = stamper.stamp(applied, presence.running(), Moment(1_003_900));
        // Three seconds of heartbeats passed, drawn towards the wall clock by a tenth; 900 ms did not.
        assert_eq!(stamp, Moment(1_003_300));
    }

    #[test]
    fn a_cluster_that_slept_for_hours_goes_on_where_it_stopped() {
        let start = ms(3);
        let mut presence = Presence::new(start);
        let restored = Anchor { moment: Moment(1_000_000), at: presence.running() };
        let hours_later = Moment(1_000_000 + 4 * 3_600_000);
        presence.hear(leader(9), ms(900));
        let mut stamper = Stamper::default();
        let first = stamper.stamp(restored, presence.running(), hours_later);
        assert_eq!(first, Moment(1_000_000));
        presence.hear(leader(9), ms(1_900));
        let second = stamper.stamp(restored, presence.running(), hours_later);
        assert_eq!(second, Moment(1_001_100));
    }
}
