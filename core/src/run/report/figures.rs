//! Counts and statistics of match-ups.

use alloc::vec::Vec;

use super::{MatchupReport, Standing};
use crate::run::matchup::round_robin;
use crate::run::{Run, RunSpec, Score};
use crate::stats::{Pentanomial, Test, estimate};

/// Every match-up of a run; none of a Job.
pub(super) fn matchups(run: &Run) -> Vec<MatchupReport> {
    let test = match &run.spec {
        RunSpec::Gauntlet(spec) => Test::try_from(&spec.stop.sprt).ok(),
        RunSpec::Job(_) | RunSpec::Tournament(_) => None,
    };
    let count = u16::try_from(run.spec.matchups()).unwrap_or(u16::MAX);
    (0..count).filter_map(|number| matchup(run, number, test.as_ref())).collect()
}

fn matchup(run: &Run, number: u16, test: Option<&Test>) -> Option<MatchupReport> {
    let contestants = run.spec.contestants(number)?.map(|contestant| contestant.name.clone());
    let slot = usize::from(number);
    let decision = run.plan.decided.get(slot).copied().flatten();
    let tally = Tally::of_prefix(run, slot, decision.map(|decision| decision.pairs));
    let counts = tally.pairs;
    let estimate = estimate(&counts);
    let pairs_done = run.ledger.pairs.get(slot).map_or(0, |pairs| pairs.len());
    Some(MatchupReport {
        contestants,
        pairs_done: u32::try_from(pairs_done).unwrap_or(u32::MAX),
        pairs_used: u32::try_from(counts.total()).unwrap_or(u32::MAX),
        pairs_max: run.spec.pairs_max(),
        pentanomial: counts.into(),
        wins: tally.wins,
        draws: tally.draws,
        losses: tally.losses,
        score: estimate.map_or(0.5, |estimate| estimate.score),
        elo: estimate.and_then(|estimate| estimate.elo),
        elo_error: estimate.and_then(|estimate| estimate.elo_error),
        los: estimate.and_then(|estimate| estimate.los),
        llr: test.and_then(|test| test.llr(&counts)).map(|llr| llr.value),
        llr_bounds: test.map(|test| [test.bounds().lower, test.bounds().upper]),
        decision: decision.map(|decision| decision.kind),
    })
}

/// Results of a match-up's prefix.
#[derive(Default)]
struct Tally {
    pairs: Pentanomial,
    wins: u32,
    draws: u32,
    losses: u32,
}

impl Tally {
    /// The contiguous prefix from pair 0, or its first `pairs` pairs.
    fn of_prefix(run: &Run, matchup: usize, pairs: Option<u32>) -> Self {
        let mut tally = Self::default();
        let accepted = run.ledger.pairs.get(matchup).into_iter().flatten();
        for (index, (found, pair)) in (0..pairs.unwrap_or(u32::MAX)).zip(accepted) {
            let Some(scores) = pair.scores().filter(|_| found == index) else {
                break;
            };
            tally.pairs.add(scores);
            for score in scores {
                match score {
                    Score::Win => tally.wins += 1,
                    Score::Draw => tally.draws += 1,
                    Score::Loss => tally.losses += 1,
                }
            }
        }
        tally
    }
}

/// A tournament's table, best first; those with equal points in the order of the spec. Like all
/// figures it rests on the prefixes of the match-ups, so that quick pairs do not colour it.
pub(super) fn standings(spec: &RunSpec, matchups: &[MatchupReport]) -> Vec<Standing> {
    let RunSpec::Tournament(spec) = spec else {
        return Vec::new();
    };
    let line = |name: &str| Standing {
        name: name.into(),
        points: 0.0,
        games: 0,
        wins: 0,
        draws: 0,
        losses: 0,
    };
    let players = spec.contestants.len();
    let mut table: Vec<Standing> = spec.contestants.iter().map(|one| line(&one.name)).collect();
    for (number, matchup) in (0..).zip(matchups) {
        let Some((first, second)) = round_robin(players, number) else {
            break;
        };
        let MatchupReport { wins, draws, losses, .. } = *matchup;
        for (player, wins, losses) in [(first, wins, losses), (second, losses, wins)] {
            let Some(line) = table.get_mut(player) else {
                continue;
            };
            line.wins += wins;
            line.draws += draws;
            line.losses += losses;
        }
    }
    for line in &mut table {
        line.games = line.wins + line.draws + line.losses;
        line.points = f64::from(line.wins) + f64::from(line.draws) / 2.0;
    }
    table.sort_by(|a, b| b.points.total_cmp(&a.points));
    table
}
