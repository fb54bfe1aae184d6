//! A tournament: everyone against everyone, a fixed number of pairs each. There is nothing to test:
//! every pair counts, so one that cannot be played ends the run.

use super::pairs::Step;
use crate::run::{Advance, Outcome, Run, TournamentSpec};

/// The next step of a tournament, with at most `items_max` new pairs.
pub(super) fn step(run: &Run, spec: &TournamentSpec, items_max: usize) -> Advance {
    let mut step = Step::new(run, &spec.play, spec.pairs, items_max);
    step.replay_fallen();
    let lost = step.advance.plan.unplayable.iter().enumerate();
    let lost = lost.filter_map(|(matchup, pair)| Some((matchup, pair.as_ref()?))).next();
    if let Some((matchup, pair)) = lost {
        let outcome = step.unplayable(matchup, pair);
        return step.end(outcome);
    }
    if (0..run.spec.matchups()).all(|matchup| step.accepted(matchup) >= spec.pairs) {
        return step.end(Outcome::Standings);
    }
    step.fill_windows();
    step.advance
}
