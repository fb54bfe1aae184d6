//! Match-ups: who meets whom in a run, how often at most, and what its items need.

use crate::plan::{WORK_TYPE_PAIR, WORK_TYPE_TASK};
use crate::queue::item::Needs;
use crate::run::spec::{Contestant, Play, RunSpec};

impl RunSpec {
    /// Number of match-ups: one for each baseline of a gauntlet, n (n - 1) / 2 for n players of a
    /// tournament, none for a Job. The opponents of a gauntlet do not meet each other.
    #[must_use]
    pub fn matchups(&self) -> usize {
        match self {
            Self::Job(_) => 0,
            Self::Gauntlet(spec) => spec.baselines.len(),
            Self::Tournament(spec) => {
                let players = spec.contestants.len();
                players.saturating_mul(players.saturating_sub(1)) / 2
            }
        }
    }

    /// The two contestants of a match-up, the one whose side is counted first; nothing when there
    /// is no such match-up.
    #[must_use]
    pub fn contestants(&self, matchup: u16) -> Option<[&Contestant; 2]> {
        match self {
            Self::Job(_) => None,
            Self::Gauntlet(spec) => {
                Some([&spec.candidate, spec.baselines.get(usize::from(matchup))?])
            }
            Self::Tournament(spec) => {
                let (first, second) = round_robin(spec.contestants.len(), matchup)?;
                Some([spec.contestants.get(first)?, spec.contestants.get(second)?])
            }
        }
    }

    /// Pairs that one match-up may need at most; 0 for a Job.
    #[must_use]
    pub fn pairs_max(&self) -> u32 {
        match self {
            Self::Job(_) => 0,
            Self::Gauntlet(spec) => spec.stop.pairs_max,
            Self::Tournament(spec) => spec.pairs,
        }
    }

    /// How games are played; nothing for a Job.
    #[must_use]
    pub fn play(&self) -> Option<&Play> {
        match self {
            Self::Job(_) => None,
            Self::Gauntlet(spec) => Some(&spec.play),
            Self::Tournament(spec) => Some(&spec.play),
        }
    }

    /// What each of its items needs of a node.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self {
            Self::Job(spec) => spec.needs.clone(),
            Self::Gauntlet(spec) => spec.play.needs(),
            Self::Tournament(spec) => spec.play.needs(),
        }
    }

    /// The work type of its items.
    #[must_use]
    pub const fn work_type(&self) -> &'static str {
        match self {
            Self::Job(_) => WORK_TYPE_TASK,
            Self::Gauntlet(_) | Self::Tournament(_) => WORK_TYPE_PAIR,
        }
    }
}

impl Play {
    /// What a pair needs of a node.
    #[must_use]
    pub fn needs(&self) -> Needs {
        Needs { demand: self.demand, ..Needs::default() }
    }
}

/// The players of match-up `matchup` in the order (0,1), (0,2), ..., (0,n-1), (1,2), ...; nothing
/// beyond the last one.
#[must_use]
pub fn round_robin(players: usize, matchup: u16) -> Option<(usize, usize)> {
    let mut rest = usize::from(matchup);
    for first in 0..players {
        let opponents = players - first - 1;
        if rest < opponents {
            return Some((first, first + 1 + rest));
        }
        rest -= opponents;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::round_robin;

    #[test]
    fn six_players_meet_as_the_circle_method_lets_them_meet() {
        // Cutechess' rounds (roundrobintournament.cpp). All match-ups run side by side here, so only
        // their union matters.
        let rounds: [[(usize, usize); 3]; 5] = [
            [(0, 5), (1, 4), (2, 3)],
            [(0, 4), (3, 5), (1, 2)],
            [(0, 3), (2, 4), (1, 5)],
            [(0, 2), (1, 3), (4, 5)],
            [(0, 1), (2, 5), (3, 4)],
        ];
        let expected: BTreeSet<_> = rounds.into_iter().flatten().collect();
        let ours: Vec<_> = (0..).map_while(|matchup| round_robin(6, matchup)).collect();
        assert_eq!(ours[..6], [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2)]);
        assert_eq!(ours.len(), 15);
        assert_eq!(ours.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn fewer_than_two_players_have_no_match_up() {
        assert_eq!(round_robin(0, 0), None);
        assert_eq!(round_robin(1, 0), None);
        assert_eq!(round_robin(2, 0), Some((0, 1)));
        assert_eq!(round_robin(2, 1), None);
    }
}
