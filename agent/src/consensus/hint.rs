//! Crash hints: when the leader's process is gone, the voters need not wait out its lease.
//!
//! A kernel closes the connections of a process that died, and then refuses new ones. Whoever sees
//! both knows more than silence tells: a paused, slow or unreachable leader shows neither. Then every
//! voter that saw it campaigns, one after another, and its request for votes says that the lease is
//! over. Safety of Raft does not rest on leases; only reads under a lease would, and there are none.
//!
//! What is decided is here, without clocks and sockets; [`watch`] asks the world.

pub(super) mod watch;

use std::time::Duration;

/// Pause between the campaigns of two voters: a campaign among well peers is over by then, so that
/// the second one finds a leader and stays at home.
const RANK_PAUSE: Duration = Duration::from_millis(8);
/// Reconnects that must be refused in a row: one could meet a listener that is being replaced.
const REFUSALS: usize = 2;
/// Reconnects that are tried. A kernel closes what a dying process had open one after another, and
/// most often the listener last, so the first attempts may still be answered.
const PROBES_MAX: usize = 6;

/// Pause of a voter that knows of a longer log. It cannot win, and its vote for itself would keep the
/// one with that log from winning the same term. Its turn comes when that one does not stand: after
/// two disk flushes under load.
const SHORTER_PAUSE: Duration = Duration::from_millis(150);

/// What consensus looks like to this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Raft id of this agent.
    pub(super) this: u64,
    /// The term.
    pub(super) term: u64,
    /// Who leads in it, when somebody does.
    pub(super) leader: Option<u64>,
    /// Raft ids of the voters.
    pub(super) voters: Vec<u64>,
}

/// What came of an attempt to connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// The kernel there said that nobody listens.
    Refused,
    /// Somebody listens. The process lives, or is not yet quite dead.
    Answered,
    /// Nothing came back, or no way leads there: the leader may live.
    Silent,
}

/// What the attempts so far say of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try once more.
    Open,
    /// Its process is gone.
    Gone,
    /// Nothing can be concluded.
    Unknown,
}

/// Judges the attempts to connect again, in order.
pub(super) fn verdict(probes: &[Probe]) -> Verdict {
    let refusals = probes.iter().rev().take_while(|probe| **probe == Probe::Refused).count();
    if probes.contains(&Probe::Silent) {
        Verdict::Unknown
    } else if refusals >= REFUSALS {
        Verdict::Gone
    } else if probes.len() >= PROBES_MAX {
        Verdict::Unknown
    } else {
        Verdict::Open
    }
}

/// To campaign for the office of a leader that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Campaign {
    /// The leader that is gone.
    pub(super) leader: u64,
    /// Its term.
    pub(super) term: u64,
}

impl Campaign {
    /// Whether nobody else has begun meanwhile.
    pub(super) fn still_stands(self, now: &Standing) -> bool {
        now.leader == Some(self.leader) && now.term == self.term
    }

    /// When this agent's turn is, from now: `own` is the end of its log, `others` are the ends of
    /// those of the other voters that are left, as far as they said.
    ///
    /// Among equal logs turns go by raft id, the lowest first. A vote for a higher id outweighs one
    /// for a lower id in the same term, so those who collide still agree.
    pub(super) fn turn<L: Ord>(this: u64, own: &L, others: &[(u64, Option<L>)]) -> Duration {
        if others.iter().any(|(_, log)| log.as_ref().is_some_and(|log| log > own)) {
            return SHORTER_PAUSE;
        }
        // Who did not say may have as much.
        let equal = |log: &Option<L>| log.as_ref().is_none_or(|log| log == own);
        let before = others.iter().filter(|(id, log)| *id < this && equal(log)).count();
        RANK_PAUSE.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))
    }
}

/// The hints of one agent: at most one for each term of a leader.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The last term that one was spent on. Terms only grow.
    spent: Option<u64>,
}

impl Hints {
    /// Whether the end of a connection from `peer` is reason to ask whether it still listens.
    pub(super) fn suspects(&self, peer: u64, now: &Standing) -> bool {
        let both_vote = now.voters.contains(&peer) && now.voters.contains(&now.this);
        let fresh = self.spent.is_none_or(|spent| spent < now.term);
        now.leader == Some(peer) && peer != now.this && both_vote && fresh
    }

    /// Spends the term's hint when `peer`, whose process is gone, still counts as the leader.
    pub(super) fn spend(&mut self, peer: u64, now: &Standing) -> Option<Campaign> {
        if !self.suspects(peer, now) {
            return None;
        }
        self.spent = Some(now.term);
        Some(Campaign { leader: peer, term: now.term })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters 10, 20 and 30, of which 20 leads.
    fn seen_by(this: u64) -> Standing {
        Standing { this, term: 7, leader: Some(20), voters: vec![10, 20, 30] }
    }

    #[test]
    fn the_longest_log_goes_first_and_equal_ones_go_by_raft_id() {
        let turn =
            |this, own: u64, others: &[(u64, Option<u64>)]| Campaign::turn(this, &own, others);
        let ms = Duration::from_millis;
        assert_eq!(turn(10, 7, &[(30, Some(7))]), ms(0));
        assert_eq!(turn(30, 7, &[(10, Some(7))]), ms(8));
        assert_eq!(turn(30, 8, &[(10, Some(7))]), ms(0), "the other one waits");
        assert_eq!(turn(10, 7, &[(30, Some(8))]), SHORTER_PAUSE);
        assert_eq!(turn(30, 7, &[(10, None)]), ms(8), "it may have as much");
        assert_eq!(turn(50, 7, &[(10, Some(7)), (30, Some(6)), (40, None)]), ms(16));
        assert_eq!(turn(10, 7, &[]), ms(0));
    }

    #[test]
    fn two_refusals_in_a_row_are_needed_and_silence_ends_it() {
        use Probe::{Answered, Refused, Silent};
        assert_eq!(verdict(&[]), Verdict::Open);
        assert_eq!(verdict(&[Refused]), Verdict::Open);
        assert_eq!(verdict(&[Refused, Refused]), Verdict::Gone);
        assert_eq!(verdict(&[Answered, Answered, Refused, Refused]), Verdict::Gone);
        assert_eq!(verdict(&[Refused, Answered, Refused]), Verdict::Open);
        assert_eq!(verdict(&[Answered; PROBES_MAX]), Verdict::Unknown, "a paused process answers");
        assert_eq!(verdict(&[Silent]), Verdict::Unknown, "as from behind a partition");
        assert_eq!(verdict(&[Refused, Silent]), Verdict::Unknown);
    }

    #[test]
    fn a_term_has_one_hint() {
        let mut hints = Hints::default();
        assert!(hints.spend(20, &seen_by(10)).is_some());
        assert!(!hints.suspects(20, &seen_by(10)));
        assert_eq!(hints.spend(20, &seen_by(10)), None);
        let older = Standing { term: 6, ..seen_by(10) };
        assert_eq!(hints.spend(20, &older), None);
        let next = Standing { term: 8, leader: Some(30), ..seen_by(10) };
        assert!(hints.spend(30, &next).is_some());
    }

    #[test]
    fn only_a_voter_hints_and_only_against_the_leader() {
        let hints = Hints::default();
        assert!(hints.suspects(20, &seen_by(10)));
        assert!(!hints.suspects(30, &seen_by(10)), "a follower's end changes nothing");
        assert!(!hints.suspects(20, &seen_by(20)), "the leader sees itself");
        assert!(!hints.suspects(20, &seen_by(99)), "a learner has no vote");
        assert!(!hints.suspects(20, &Standing { leader: None, ..seen_by(10) }));
        let removed = Standing { voters: vec![10, 30], ..seen_by(10) };
        assert!(!hints.suspects(20, &removed), "a removed leader steps down by itself");
    }

    #[test]
    fn a_campaign_ends_when_somebody_else_has_begun() {
        let campaign = Hints::default().spend(20, &seen_by(30)).unwrap();
        assert!(campaign.still_stands(&seen_by(30)));
        assert!(!campaign.still_stands(&Standing { term: 8, ..seen_by(30) }));
        assert!(!campaign.still_stands(&Standing { leader: None, ..seen_by(30) }));
        assert!(!campaign.still_stands(&Standing { leader: Some(10), ..seen_by(30) }));
    }
}
