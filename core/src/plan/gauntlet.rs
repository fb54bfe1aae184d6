//! A gauntlet: one candidate against baselines, one sequential test each.
//!
//! The verdict is Promote when every test accepts its upper hypothesis, Reject when any accepts its
//! lower one, else Inconclusive. The probability of a false promotion needs no correction for
//! several baselines: promotion needs all tests to accept, so it is at most that of the one test
//! whose lower hypothesis is true (an intersection-union test: R. Berger, "Multiparameter hypothesis
//! testing and acceptance sampling"). The probability of missing a better candidate does grow, to at
//! most beta times the number of baselines.
//!
//! A first rejection settles the verdict, yet all match-ups are played until they are decided: the
//! figures against every baseline, and whether the run fails on an unplayable pair, would else
//! depend on which match-up happened to be quicker.

use super::pairs::Step;
use crate::run::{Advance, Decision, DecisionKind, GauntletSpec, Outcome, Run, Stop, Verdict};
use crate::stats::{Pentanomial, Status, Test};

/// The next step of a gauntlet, with at most `items_max` new pairs.
pub(super) fn step(run: &Run, spec: &GauntletSpec, items_max: usize) -> Advance {
    let mut step = Step::new(run, &spec.play, spec.stop.pairs_max, items_max);
    decide(&mut step, run, &spec.stop);
    step.replay_fallen();
    if let Some(outcome) = blocked(&step) {
        return step.end(outcome);
    }
    if let Some(verdict) = verdict(&step.advance.plan.decided) {
        return step.end(Outcome::Verdict(verdict));
    }
    step.fill_windows();
    step.advance
}

/// Tests each open match-up along its prefix, from where the last step stopped.
fn decide(step: &mut Step<'_>, run: &Run, stop: &Stop) {
    // A test that cannot decide lets the pairs run out; validation refuses it at the edge.
    let test = Test::try_from(&stop.sprt).ok();
    let plan = &mut step.advance.plan;
    plan.tested.resize(plan.decided.len(), [0; 5]);
    for (matchup, slot) in plan.decided.iter_mut().enumerate() {
        let (None, Some(tested)) = (&slot, plan.tested.get_mut(matchup)) else {
            continue;
        };
        let mut counts = Pentanomial::from(*tested);
        *slot = decision(&mut counts, run, matchup, stop, test.as_ref());
        *tested = counts.into();
        if let (Some(_), Ok(number)) = (slot, u16::try_from(matchup)) {
            step.advance.close.push(number);
        }
    }
}

/// Extends `counts` pair by pair to the first decision, or to the end of the prefix.
fn decision(
    counts: &mut Pentanomial,
    run: &Run,
    matchup: usize,
    stop: &Stop,
    test: Option<&Test>,
) -> Option<Decision> {
    let first = u32::try_from(counts.total()).unwrap_or(u32::MAX);
    let accepted = run.ledger.pairs.get(matchup);
    for index in first..stop.pairs_max {
        let pair = accepted?.get(&index)?;
        counts.add(pair.scores()?);
        let pairs = index + 1;
        let status = match test {
            Some(test) if pairs >= stop.pairs_min => test.status(counts),
            Some(_) | None => Status::Continue,
        };
        match status {
            Status::AcceptH1 => {
                return Some(Decision { kind: DecisionKind::AcceptH1, pairs });
            }
            Status::AcceptH0 => {
                return Some(Decision { kind: DecisionKind::AcceptH0, pairs });
            }
            Status::Continue => {}
        }
    }
    Some(Decision { kind: DecisionKind::Inconclusive, pairs: first.max(stop.pairs_max) })
}

/// The end of a run one of whose open match-ups has come to a pair that cannot be played.
fn blocked(step: &Step<'_>) -> Option<Outcome> {
    let plan = &step.advance.plan;
    let open = plan.decided.iter().zip(&plan.tested).zip(&plan.unplayable).enumerate();
    open.filter(|(_, ((decided, _), _))| decided.is_none()).find_map(
        |(matchup, ((_, tested), pair))| {
            let pair = pair.as_ref()?;
            let prefix: u64 = tested.iter().copied().map(u64::from).sum();
            (prefix == u64::from(pair.index)).then(|| step.unplayable(matchup, pair))
        },
    )
}

/// The verdict, once every match-up is decided. Nothing was shown about a candidate without
/// baselines.
pub(super) fn verdict(decided: &[Option<Decision>]) -> Option<Verdict> {
    let mut verdict = if decided.is_empty() { Verdict::Inconclusive } else { Verdict::Promote };
    for decision in decided {
        verdict = match (decision.as_ref()?.kind, verdict) {
            (DecisionKind::AcceptH0, _) | (_, Verdict::Reject) => Verdict::Reject,
            (DecisionKind::Inconclusive, _) | (_, Verdict::Inconclusive) => Verdict::Inconclusive,
            (DecisionKind::AcceptH1, Verdict::Promote) => Verdict::Promote,
        };
    }
    Some(verdict)
}
